/* SPDX-License-Identifier: Apache-2.0 */
#include "relay_fleet.c"

#include "../../mod_serviceless/transport/relay_private.h"

static int requests(node_t *node)
{
    return responder_get(node->responder, &node->responder->requests);
}

/* Nothing but a signed 200 or 202 from the right node for this request counts. */
static const struct {
    behaviour_e behaviour;
    svl_peer_result_e result;
    int living;
    const char *words;
} faults[] = {
    {ANSWER_503, SVL_PEER_UNAVAILABLE, 0, "answered 503"},
    {ANSWER_409, SVL_PEER_REFUSED, 1, "answered 409"},
    {UNSIGNED_200, SVL_PEER_UNSIGNED, 0, "not signed"},
    {OTHER_ID, SVL_PEER_UNSIGNED, 0, "not signed"},
    {OTHER_NODE, SVL_PEER_BROKEN, 0, "no acknowledgement"},
    {CLIENT_KEY, SVL_PEER_UNSIGNED, 0, "not signed"},
    {STALE, SVL_PEER_UNSIGNED, 0, "not signed"},
    {NOT_AN_ACK, SVL_PEER_BROKEN, 0, "no acknowledgement"},
    {HANGING, SVL_PEER_TIMEOUT, 0, "down (timeout)"},
    {DRIPPING, SVL_PEER_TIMEOUT, 0, "down (timeout)"},
    {ENDLESS, SVL_PEER_BROKEN, 0, "too large"},
    {REDIRECTING, SVL_PEER_UNSIGNED, 0, "not signed"},
    {CLOSING, SVL_PEER_BROKEN, 0, "down (broken)"},
};

static void what_is_no_acknowledgement_moves_the_call_on(void **state)
{
    for (size_t n = 0; n < 2 * UNIT_COUNT(faults); n++) {
        const size_t i = n / 2;
        const apr_uint64_t kept = n % 2; /* the connection, so that the whole request goes out at once */
        apr_pool_t *p;
        apr_pool_create(&p, *state);
        fleet_t *fleet = fleet_new(p, 4);
        node_t *a = &fleet->nodes[0];
        fleet->http.timeout = faults[i].result == SVL_PEER_TIMEOUT ? apr_time_from_msec(300) : PATIENCE;
        node_begin(a);
        if (kept) {
            node_call(a, "before", 1);
            AWAIT(node_work(a) == 0);
        }
        fleet->nodes[1].behaviour = faults[i].behaviour;
        node_call(a, "call", 1);
        AWAIT(node_work(a) == 0);
        assert_int_equal(node_relays(a, 1, faults[i].result), 1);
        assert_int_equal(svl_peer_living(&a->states[1]), faults[i].living);
        assert_int_equal(node_calls(a, 1), kept);
        assert_int_equal(node_calls(a, 2), 1);
        assert_int_equal(node_heard(&fleet->nodes[2], "[\"d\"],\"arity\":1}}\n{\"id\":\"call\""), 1);
        assert_int_equal(fleet_logged(fleet, faults[i].words), 1);
        apr_pool_destroy(p);
    }
}

static void a_signed_200_acknowledges_as_well(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 3);

    fleet->nodes[1].behaviour = ACKNOWLEDGE_200;
    node_call(&fleet->nodes[0], "call", 1);
    AWAIT(node_work(&fleet->nodes[0]) == 0);
    assert_int_equal(node_calls(&fleet->nodes[0], 1), 1);
    assert_int_equal(requests(&fleet->nodes[2]), 0);
}

static void a_peer_that_is_down_is_skipped_at_once(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 6);
    node_t *a = &fleet->nodes[0];

    a->states[1].down = a->states[2].down = a->states[4].down = 1;
    node_call(a, "call", 1);
    AWAIT(node_work(a) == 0);
    assert_int_equal(requests(&fleet->nodes[1]) + requests(&fleet->nodes[2]) + requests(&fleet->nodes[4]), 0);
    assert_int_equal(node_heard(&fleet->nodes[3], "\"route\":[\"f\"]"), 1);
    assert_int_equal(node_relays(a, 1, SVL_PEER_SKIPPED), 1);
}

static void a_route_without_a_living_node_is_done(void **state)
{
    fleet_t *fleet = fleet_new(*state, 4);
    node_t *a = &fleet->nodes[0];

    fleet->nodes[1].url = refusing_url(fleet->p);
    fleet->nodes[2].behaviour = CLOSING;
    node_begin(a);
    a->states[3].down = 1;
    node_call(a, "call", 1);
    AWAIT(node_work(a) == 0);
    assert_int_equal(node_relays(a, 1, SVL_PEER_CONNECT), 1);
    node_call(a, "at-once", 1);
    assert_int_equal(svl_relay_backlog(a->relay), 0);
    assert_int_equal(node_work(a), 0);
}

static void what_waits_behind_a_failure_goes_along(void **state)
{
    fleet_t *fleet = fleet_new(*state, 3);
    node_t *a = &fleet->nodes[0], *b = &fleet->nodes[1];

    fleet->connect_timeout = PATIENCE; /* so that nothing here is slow */
    node_begin(a);
    b->gated = 1;
    b->behaviour = ANSWER_503;
    node_call(a, "first", 1);
    AWAIT(requests(b) == 1);
    for (int i = 0; i < 20; i++) {
        node_call(a, apr_psprintf(fleet->p, "later-%02d", i), 1);
    }
    responder_open(b->responder);
    AWAIT(node_work(a) == 0);
    assert_int_equal(requests(b), 1);
    assert_int_equal(requests(&fleet->nodes[2]), 1);
    assert_int_equal(node_calls(a, 2), 21);
    assert_int_equal(fleet_logged(fleet, "node b is down"), 1);
}

static void refusals_of_messages_are_logged_once_a_second(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 2);
    node_t *a = &fleet->nodes[0];
    apr_time_t began = apr_time_now();

    fleet->nodes[1].behaviour = ANSWER_409;
    for (int i = 0; i < 30; i++) {
        node_call(a, apr_psprintf(fleet->p, "call-%d", i), 1);
        AWAIT(svl_relay_backlog(a->relay) == 0);
    }
    assert_true(fleet_logged(fleet, "refused a message") <= 1 + (apr_time_now() - began) / APR_USEC_PER_SEC);
    assert_int_equal(node_relays(a, 1, SVL_PEER_REFUSED), 30);
}

static void a_probe_brings_a_peer_back(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 4);
    node_t *a = &fleet->nodes[0];
    apr_time_t now = apr_time_now();

    fleet->nodes[2].behaviour = ANSWER_503;
    for (int i = 1; i < 4; i++) {
        svl_peer_note(&a->states[i], SVL_PEER_CONNECT, 10, now);
    }
    a->states[3].next_probe = now + apr_time_from_sec(20);
    svl_relay_probe(a->relay, now);
    assert_int_equal(requests(&fleet->nodes[1]), 0); /* not due */
    svl_relay_probe(a->relay, now + SVL_PEER_BACKOFF_MIN * 5 / 4 + 1);
    assert_true(svl_peer_living(&a->states[1]));
    assert_false(svl_peer_living(&a->states[2]));
    assert_string_equal(responder_body(fleet->nodes[1].responder, 0),
                        "{\"relay\":{\"from\":\"a\",\"route\":[],\"arity\":0}}\n");
    assert_int_equal(requests(&fleet->nodes[3]), 0);
    assert_int_equal(fleet_logged(fleet, "node b is up again"), 1);
    assert_int_equal(a->states[2].failures, 2);
}

static void the_peers_clock_is_seen(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 2);
    node_t *a = &fleet->nodes[0];

    a->states[1].clock_offset = 12345;
    node_call(a, "call", 1);
    AWAIT(node_work(a) == 0);
    assert_true(a->states[1].clock_offset >= -APR_USEC_PER_SEC && a->states[1].clock_offset <= APR_USEC_PER_SEC);
    assert_int_not_equal(a->states[1].clock_offset, 12345);
}

static void a_queue_is_bounded_and_what_is_beyond_is_counted(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 2);
    node_t *a = &fleet->nodes[0], *b = &fleet->nodes[1];
    apr_uint64_t position = node_accept(a, "call", 1, 1);

    b->gated = 1;
    svl_relay_push(a->relay, position, 1, NULL, &a->ring, 1, 0);
    AWAIT(requests(b) == 1);
    for (int i = 0; i < SVL_RELAY_QUEUE_MAX + 1000; i++) {
        svl_relay_push(a->relay, position, 1, NULL, &a->ring, 1, 1);
    }
    assert_int_equal(svl_relay_backlog(a->relay), SVL_RELAY_QUEUE_MAX + 1);
    assert_int_equal(node_relays(a, 1, SVL_PEER_SKIPPED), 1000);
    assert_int_equal(fleet_logged(fleet, "left to sync"), 1);
    responder_open(b->responder);
    AWAIT(svl_relay_backlog(a->relay) == 0);
    assert_int_equal(requests(b), 1 + SVL_RELAY_QUEUE_MAX / SVL_RELAY_CALLS_MAX);
}

/* 2,000 nodes with names of full length: what would not fit a relay line is handed to a node of its own. */
static void a_route_too_long_for_a_relay_line_is_divided(void **state)
{
    enum { MANY = 2000 };
    fleet_t *fleet = fleet_begin(*state, 4);
    node_t *a = &fleet->nodes[0];
    svl_relay_peer_t *peers = apr_pcalloc(fleet->p, MANY * sizeof(*peers));
    svl_peer_state_t *states = apr_pcalloc(fleet->p, MANY * sizeof(*states));
    apr_uint32_t *nodes = apr_pcalloc(fleet->p, MANY * sizeof(*nodes));
    svl_route_t ring = {MANY - 1, nodes};
    svl_relay_options_t options = a->options;
    svl_relay_t *relay = NULL;

    for (apr_uint32_t i = 0; i < MANY; i++) {
        nodes[i] = i + 1;
        peers[i] = (svl_relay_peer_t){apr_psprintf(fleet->p, "%064u", i), fleet->nodes[3].url, &states[i]};
    }
    for (int i = 1; i < 4; i++) {
        node_t *node = &fleet->nodes[i];
        peers[1 + (i - 1) * 901].url = node->url;
        node->name = peers[1 + (i - 1) * 901].name;
    }
    options.peers = peers;
    options.count = MANY;
    options.max_body = 1000;
    assert_int_equal(svl_relay_create(&relay, &options, a->p), APR_SUCCESS);
    svl_relay_push(relay, node_accept(a, "call", 1, 1), 1, NULL, &ring, 1, 0);
    AWAIT(svl_relay_backlog(relay) == 0);
    for (int i = 1; i < 4; i++) {
        assert_int_equal(requests(&fleet->nodes[i]), 1);
        assert_true(strlen(responder_body(fleet->nodes[i].responder, 0)) <= 1000 + SVL_MESSAGE_SLACK);
        assert_int_equal(node_heard(&fleet->nodes[i], peers[(i - 1) * 901 + 100].name), 1);
    }
    assert_int_equal(node_heard(&fleet->nodes[3], peers[MANY - 1].name), 1);
    assert_int_equal(svl_relay_stop(relay, apr_time_now() + PATIENCE), APR_SUCCESS);
}

/* As where a process can have no more threads: what was begun is not seen to until the peer's time is over. */
static void a_request_that_lay_says_nothing_of_its_peer(void **state)
{
    fleet_t *fleet = fleet_new(*state, 3);
    node_t *a = &fleet->nodes[0];
    svl_relay_batch_t *finished = NULL;
    apr_time_t late;

    fleet->http.timeout = apr_time_from_msec(200);
    fleet->connect_timeout = apr_time_from_msec(400);
    node_begin(a);
    fleet->nodes[1].behaviour = HANGING;
    svl_relay_lock(a->relay);
    svl_relay_queue_split(a->relay, svl_relay_queue_batch(a->relay, node_accept(a, "call", 10, 1), 1, NULL, &a->ring, 1),
                          &finished);
    svl_relay_work_begin(a->relay, 1);
    svl_relay_unlock(a->relay);
    late = svl_transport_monotonic() + fleet->http.timeout;
    AWAIT(svl_transport_monotonic() > late);
    svl_relay_poke(a->relay);
    AWAIT(node_work(a) == 0);
    assert_true(svl_peer_living(&a->states[1]));
    assert_int_equal(node_calls(a, 1), 0);
    assert_int_equal(node_calls(a, 2), 1); /* it went on to the next one */
    assert_int_equal(fleet_logged(fleet, "waited"), 1);
}

static void stop_ends_a_probe_that_hangs(void **state)
{
    fleet_t *fleet = fleet_new(*state, 3);
    node_t *a = &fleet->nodes[0];
    apr_time_t began;

    fleet->http.timeout = apr_time_from_msec(100);
    fleet->connect_timeout = PATIENCE; /* of a probe */
    node_begin(a);
    fleet->nodes[1].behaviour = fleet->nodes[2].behaviour = HANGING;
    node_call(a, "call", 1);
    AWAIT(requests(&fleet->nodes[2]) == 1); /* asked ahead, because the first one took until its timeout */
    began = apr_time_now();
    svl_relay_abort(a->relay);
    assert_int_equal(svl_relay_stop(a->relay, began + PATIENCE), APR_SUCCESS);
    assert_true(apr_time_now() - began < apr_time_from_sec(2));
    assert_int_equal(node_work(a), 1);
}

static const struct CMUnitTest promises[] = {
    PROMISE("what is no acknowledgement moves the call on", what_is_no_acknowledgement_moves_the_call_on),
    PROMISE("a signed 200 acknowledges as well", a_signed_200_acknowledges_as_well),
    PROMISE("a peer that is down is skipped at once", a_peer_that_is_down_is_skipped_at_once),
    PROMISE("a route without a living node is done", a_route_without_a_living_node_is_done),
    PROMISE("what waits behind a failure goes along", what_waits_behind_a_failure_goes_along),
    PROMISE("refusals of messages are logged once a second", refusals_of_messages_are_logged_once_a_second),
    PROMISE("a probe brings a peer back", a_probe_brings_a_peer_back),
    PROMISE("the peer's clock is seen", the_peers_clock_is_seen),
    PROMISE("a queue is bounded, and what is beyond is counted", a_queue_is_bounded_and_what_is_beyond_is_counted),
    PROMISE("a route too long for a relay line is divided", a_route_too_long_for_a_relay_line_is_divided),
    PROMISE("a request that lay says nothing of its peer", a_request_that_lay_says_nothing_of_its_peer),
    PROMISE("stop ends a probe that hangs", stop_ends_a_probe_that_hangs),
};

UNIT_MAIN(promises)

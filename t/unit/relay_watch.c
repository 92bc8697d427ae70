/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of routes whose next node acknowledged them.  The looks are made by hand, at times of the test's choice. */
#include "relay_fleet.c"

#define LOOK apr_time_from_sec(10)
#define EARLY apr_time_from_sec(5) /* nothing is due yet */

static int requests(node_t *node)
{
    return responder_get(node->responder, &node->responder->requests);
}

static svl_relay_t *relay_that_watches(node_t *node)
{
    svl_relay_options_t options = node->options;
    svl_relay_t *relay = NULL;
    options.look = LOOK;
    assert_int_equal(svl_relay_create(&relay, &options, node->p), APR_SUCCESS);
    return relay;
}

/* The origin hands its calls over and looks after them. */
static fleet_t *fleet_that_watches(apr_pool_t *p, apr_uint32_t count)
{
    fleet_t *fleet = fleet_begin(p, count);
    node_t *a = &fleet->nodes[0];
    assert_int_equal(svl_relay_stop(a->relay, apr_time_now() + PATIENCE), APR_SUCCESS);
    a->relay = relay_that_watches(a);
    return fleet;
}

static void call_and_wait(node_t *node, const char *id, apr_uint32_t arity)
{
    node_call(node, id, arity);
    AWAIT(svl_relay_backlog(node->relay) == 0);
}

static void look(node_t *node, apr_interval_time_t later)
{
    svl_relay_watch(node->relay, apr_time_now() + later);
    AWAIT(svl_relay_backlog(node->relay) == 0);
}

static void a_peer_that_lives_is_asked_once(void **state)
{
    fleet_t *fleet = fleet_that_watches(*state, 4);
    node_t *a = &fleet->nodes[0], *b = &fleet->nodes[1];

    call_and_wait(a, "call", 1);
    look(a, EARLY);
    assert_int_equal(requests(b), 1);
    look(a, LOOK);
    assert_int_equal(requests(b), 2);
    assert_string_equal(responder_body(b->responder, 1), "{\"relay\":{\"from\":\"a\",\"route\":[],\"arity\":0}}\n");
    look(a, 2 * LOOK);
    assert_int_equal(requests(b), 2);
    assert_int_equal(requests(&fleet->nodes[2]) + requests(&fleet->nodes[3]), 0);
}

static void a_peer_that_answered_since_is_not_asked(void **state)
{
    fleet_t *fleet = fleet_that_watches(*state, 4);
    node_t *a = &fleet->nodes[0], *b = &fleet->nodes[1];

    call_and_wait(a, "call", 1);
    __atomic_add_fetch(&a->states[1].last_ok, LOOK, __ATOMIC_RELAXED);
    look(a, LOOK);
    b->behaviour = CLOSING;
    look(a, 2 * LOOK);
    assert_int_equal(requests(b), 1);
    assert_int_equal(requests(&fleet->nodes[2]), 0);
}

/* Directly: some of them may have had it already, and would not hand it on. */
static void every_node_behind_a_peer_that_is_gone_gets_the_call(void **state)
{
    fleet_t *fleet = fleet_that_watches(*state, 5);
    node_t *a = &fleet->nodes[0], *b = &fleet->nodes[1];

    call_and_wait(a, "call", 1);
    call_and_wait(a, "another", 1);
    b->behaviour = CLOSING;
    look(a, LOOK);
    for (int i = 2; i < 5; i++) {
        assert_int_equal(node_heard(&fleet->nodes[i], "{\"id\":\"call\""), 1);
        assert_int_equal(node_heard(&fleet->nodes[i], "{\"id\":\"another\""), 1);
        assert_int_equal(node_heard(&fleet->nodes[i], "\"route\":[],"), 1);
    }
    assert_int_equal(fleet_logged(fleet, "since it took 2 calls over"), 1);
    look(a, 2 * LOOK);
    assert_int_equal(requests(&fleet->nodes[2]), 1);
    assert_int_equal(node_work(a), 0);
}

static void a_peer_known_to_be_down_is_not_waited_for(void **state)
{
    fleet_t *fleet = fleet_that_watches(*state, 4);
    node_t *a = &fleet->nodes[0];

    call_and_wait(a, "call", 1);
    svl_peer_note(&a->states[1], SVL_PEER_CONNECT, 10, apr_time_now());
    look(a, EARLY);
    assert_int_equal(requests(&fleet->nodes[2]), 0); /* it may be about to start again */
    look(a, LOOK);
    assert_int_equal(requests(&fleet->nodes[1]), 1);
    assert_int_equal(node_calls(a, 2) + node_calls(a, 3), 2);
}

static void a_peer_that_refuses_now_has_not_proven_that_it_lives(void **state)
{
    fleet_t *fleet = fleet_that_watches(*state, 3);
    node_t *a = &fleet->nodes[0];

    call_and_wait(a, "call", 1);
    fleet->nodes[1].behaviour = ANSWER_409;
    look(a, LOOK);
    assert_int_equal(node_calls(a, 2), 1);
}

static void the_last_node_of_a_route_is_not_watched(void **state)
{
    fleet_t *fleet = fleet_that_watches(*state, 4);
    node_t *a = &fleet->nodes[0];

    call_and_wait(a, "call", SVL_ROUTE_BROADCAST);
    look(a, LOOK);
    for (int i = 1; i < 4; i++) {
        assert_int_equal(requests(&fleet->nodes[i]), 1);
    }
}

static void each_slice_of_a_tree_is_watched(void **state)
{
    fleet_t *fleet = fleet_that_watches(*state, 7);
    node_t *a = &fleet->nodes[0];

    call_and_wait(a, "call", 2); /* b with c and d, e with f and g */
    fleet->nodes[4].behaviour = CLOSING;
    look(a, LOOK);
    assert_int_equal(requests(&fleet->nodes[2]) + requests(&fleet->nodes[3]), 0);
    assert_int_equal(node_calls(a, 5) + node_calls(a, 6), 2);
}

static void children_ask_together_once_a_second(void **state)
{
    fleet_t *fleet = fleet_that_watches(*state, 3);
    node_t *a = &fleet->nodes[0], *b = &fleet->nodes[1];
    svl_relay_t *sibling = relay_that_watches(a);
    apr_time_t now = apr_time_now() + LOOK;

    call_and_wait(a, "call", 1);
    svl_relay_push(sibling, node_accept(a, "other", 10, 1), 1, NULL, &a->ring, 1, 0);
    AWAIT(svl_relay_backlog(sibling) == 0);
    b->behaviour = ANSWER_409; /* which no sibling sees */
    svl_relay_watch(a->relay, now);
    svl_relay_watch(sibling, now);
    assert_int_equal(requests(b), 3);
    svl_relay_watch(sibling, now + SVL_PEER_LOOK_MIN);
    assert_int_equal(requests(b), 4);
    AWAIT(svl_relay_backlog(sibling) == 0);
    assert_int_equal(node_heard(&fleet->nodes[2], "{\"id\":\"other\""), 1);
    assert_int_equal(svl_relay_stop(sibling, apr_time_now() + PATIENCE), APR_SUCCESS);
}

static void what_is_watched_is_bounded(void **state)
{
    fleet_t *fleet = fleet_that_watches(*state, 3);
    node_t *a = &fleet->nodes[0];
    apr_uint64_t first = node_accept(a, "call-0", 10, 1);

    for (int i = 1; i < 100; i++) {
        node_accept(a, apr_psprintf(fleet->p, "call-%d", i), 10, 1);
    }
    for (int i = SVL_RELAY_WATCHED_MAX + 1000; i >= 0; i--) { /* backwards, so that none is the next one */
        svl_relay_push(a->relay, first + (apr_uint64_t)i % 100, 1, NULL, &a->ring, 1, 1);
    }
    AWAIT(svl_relay_backlog(a->relay) == 0);
    assert_int_equal(fleet_logged(fleet, "are left to sync; not told again"), 1);
    fleet->nodes[1].behaviour = CLOSING;
    look(a, LOOK);
    assert_in_range(node_calls(a, 2), SVL_RELAY_WATCHED_MAX, SVL_RELAY_WATCHED_MAX + 100);
}

static const struct CMUnitTest promises[] = {
    PROMISE("a peer that lives is asked once", a_peer_that_lives_is_asked_once),
    PROMISE("a peer that answered since is not asked", a_peer_that_answered_since_is_not_asked),
    PROMISE("every node behind a peer that is gone gets the call", every_node_behind_a_peer_that_is_gone_gets_the_call),
    PROMISE("a peer known to be down is not waited for", a_peer_known_to_be_down_is_not_waited_for),
    PROMISE("a peer that refuses now has not proven that it lives", a_peer_that_refuses_now_has_not_proven_that_it_lives),
    PROMISE("the last node of a route is not watched", the_last_node_of_a_route_is_not_watched),
    PROMISE("each slice of a tree is watched", each_slice_of_a_tree_is_watched),
    PROMISE("children ask together once a second", children_ask_together_once_a_second),
    PROMISE("what is watched is bounded", what_is_watched_is_bounded),
};

UNIT_MAIN(promises)

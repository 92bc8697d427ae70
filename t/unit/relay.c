/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>

#include "relay_fleet.c"

static int requests(node_t *node)
{
    return responder_get(node->responder, &node->responder->requests);
}

static void gate(node_t *node)
{
    __atomic_store_n(&node->gated, 1, __ATOMIC_RELEASE);
}

/* Over a connection that is kept a message goes out at once, and its answer is not waited for: twice, so that who begins differs. */
static void keep_connections(node_t *a)
{
    node_call(a, "before-1", SVL_ROUTE_BROADCAST);
    AWAIT(node_work(a) == 0);
    node_call(a, "before-2", SVL_ROUTE_BROADCAST);
    AWAIT(node_work(a) == 0);
}

static void queue(apr_pool_t *p, int before)
{
    fleet_t *fleet = fleet_begin(p, 2);
    node_t *a = &fleet->nodes[0], *b = &fleet->nodes[1];

    if (before) {
        keep_connections(a);
    }
    assert_int_equal(requests(b), before);
    gate(b);
    node_call(a, "first", 1);
    AWAIT(requests(b) == before + 1);
    for (int i = 0; i < 100; i++) {
        node_call(a, apr_psprintf(fleet->p, "later-%02d", i), 1);
    }
    assert_int_equal(svl_relay_backlog(a->relay), 101);
    responder_open(b->responder);
    AWAIT(svl_relay_backlog(a->relay) == 0);
    assert_int_equal(requests(b), before + 2);
    assert_int_equal(responder_get(b->responder, &b->responder->most_in_flight), 1);
    assert_null(strstr(responder_body(b->responder, before), "later"));
    assert_non_null(strstr(responder_body(b->responder, before + 1), "later-00"));
    assert_non_null(strstr(responder_body(b->responder, before + 1), "later-99"));
    assert_int_equal(node_calls(a, 1), before + 101);
    assert_int_equal(node_relays(a, 1, SVL_PEER_OK), before + 2);
    assert_int_equal(responder_get(b->responder, &b->responder->connections), 1);
}

static void what_queues_meanwhile_goes_in_the_next_message(void **state)
{
    queue(*state, 0);
    queue(*state, 2);
}

static void a_route_leaves_the_log_with_its_last_slice(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 4);
    node_t *a = &fleet->nodes[0];

    gate(&fleet->nodes[2]);
    node_call(a, "call", SVL_ROUTE_BROADCAST);
    AWAIT(node_calls(a, 1) == 1 && node_calls(a, 3) == 1 && requests(&fleet->nodes[2]) == 1);
    assert_int_equal(node_work(a), 1);
    assert_int_equal(svl_relay_backlog(a->relay), 1);
    responder_open(fleet->nodes[2].responder);
    AWAIT(node_work(a) == 0);
    assert_int_equal(svl_relay_backlog(a->relay), 0);
}

static void the_route_is_split_by_arity(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 7);
    node_t *a = &fleet->nodes[0], *nodes = fleet->nodes;

    node_call(a, "chain", 1);
    node_call(a, "star", SVL_ROUTE_BROADCAST);
    node_call(a, "tree", 3);
    AWAIT(svl_relay_backlog(a->relay) == 0);
    assert_int_equal(node_heard(&nodes[1], "[\"c\",\"d\",\"e\",\"f\",\"g\"],\"arity\":1}}\n{\"id\":\"chain\""), 1);
    assert_int_equal(node_heard(&nodes[1], "[\"c\"],\"arity\":3}}\n{\"id\":\"tree\""), 1);
    assert_int_equal(node_heard(&nodes[3], "[\"e\"],\"arity\":3}}\n{\"id\":\"tree\""), 1);
    assert_int_equal(node_heard(&nodes[5], "[\"g\"],\"arity\":3}}\n{\"id\":\"tree\""), 1);
    for (int i = 1; i < 7; i++) {
        assert_int_equal(node_heard(&nodes[i], "[],\"arity\":0}}\n{\"id\":\"star\""), 1);
        assert_int_equal(node_heard(&nodes[i], "chain"), i == 1);
        assert_int_equal(node_heard(&nodes[i], "tree"), i % 2);
    }
}

/* Copied routes that are equal count as one, in sequence; others have relay lines of their own. */
static void calls_with_one_route_share_a_relay_line(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 4);
    node_t *a = &fleet->nodes[0], *b = &fleet->nodes[1];
    apr_uint32_t bcd[] = {1, 2, 3}, bd[] = {1, 3};
    svl_route_t routes[] = {{3, bcd}, {3, bcd}, {2, bd}, {2, bd}, {3, bcd}};
    apr_uint64_t positions[5];
    int lines = 0;

    for (int i = 0; i < 5; i++) {
        positions[i] = node_accept(a, apr_psprintf(fleet->p, "call-%d", i), 1, 1);
    }
    gate(b);
    node_call(a, "first", 1);
    AWAIT(requests(b) == 1);
    for (int i = 0; i < 5; i++) {
        svl_relay_push(a->relay, positions[i], 1, &routes[i], NULL, 1, 1);
        bcd[2] = 3; /* what was pushed is copied */
    }
    responder_open(b->responder);
    AWAIT(svl_relay_backlog(a->relay) == 0);
    for (const char *at = responder_body(b->responder, 1); (at = strstr(at, "{\"relay\"")) != NULL; at++) {
        lines++;
    }
    assert_int_equal(lines, 3);
    assert_non_null(strstr(responder_body(b->responder, 1), "[\"d\"],\"arity\":1}}\n{\"id\":\"call-2\""));
    assert_int_equal(node_work(a), 0);
}

static void a_message_is_bounded_and_has_room_for_one_call(void **state)
{
    fleet_t *fleet = fleet_new(*state, 2);
    node_t *a = &fleet->nodes[0], *b = &fleet->nodes[1];
    apr_uint64_t first = 0;

    fleet->max_body = 10000;
    node_begin(a);
    for (int i = 0; i < 50; i++) {
        apr_uint64_t position = node_accept(a, apr_psprintf(fleet->p, "call-%02d", i), i == 20 ? 300000 : 9000, 1);
        first = first ? first : position;
    }
    svl_relay_push(a->relay, first, 50, NULL, &a->ring, 1, 0);
    AWAIT(svl_relay_backlog(a->relay) == 0);
    assert_true(requests(b) >= 7 && requests(b) <= 10);
    for (int i = 0; i < requests(b); i++) {
        const char *body = responder_body(b->responder, i);
        int alone = strstr(body, "call-20") != NULL;
        assert_true(alone ? !strstr(body, "call-19") && !strstr(body, "call-21") : strlen(body) <= 10000 + SVL_MESSAGE_SLACK);
    }
    for (int i = 0; i < 50; i++) {
        assert_int_equal(node_heard(b, apr_psprintf(fleet->p, "call-%02d", i)), 1);
    }
    assert_int_equal(node_calls(a, 1), 50);
}

static void a_large_batch_goes_in_several_messages(void **state)
{
    enum { MANY = 2 * SVL_RELAY_CALLS_MAX + 10 };
    fleet_t *fleet = fleet_begin(*state, 2);
    node_t *a = &fleet->nodes[0], *b = &fleet->nodes[1];
    apr_uint64_t first = node_accept(a, "call-0", 1, 1);

    for (int i = 1; i < MANY; i++) {
        node_accept(a, apr_psprintf(fleet->p, "call-%d", i), 1, 1);
    }
    svl_relay_push(a->relay, first, MANY, NULL, &a->ring, 1, 0);
    AWAIT(svl_relay_backlog(a->relay) == 0);
    assert_int_equal(requests(b), 3);
    assert_int_equal(node_calls(a, 1), MANY);
    assert_int_equal(node_heard(b, "\"call-0\""), 1);
    assert_int_equal(node_heard(b, apr_psprintf(fleet->p, "\"call-%d\"", MANY - 1)), 1);
}

static void what_is_not_in_the_log_is_not_sent(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 2);
    node_t *a = &fleet->nodes[0], *b = &fleet->nodes[1];
    apr_uint64_t position = node_accept(a, "call", 1, 1);

    svl_relay_push(a->relay, position + 1000, 5, NULL, &a->ring, 1, 0);
    AWAIT(svl_relay_backlog(a->relay) == 0);
    assert_int_equal(requests(b), 0);
    svl_relay_push(a->relay, position, 1000, NULL, &a->ring, 1, 1);
    AWAIT(svl_relay_backlog(a->relay) == 0);
    assert_int_equal(node_calls(a, 1), 1);
}

static void a_refused_node_is_relayed_to_by_the_sender_once(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 5);
    node_t *a = &fleet->nodes[0], *nodes = fleet->nodes;

    nodes[1].unknown = "d";
    nodes[3].behaviour = ANSWER_409;
    node_call(a, "call", 1);
    AWAIT(node_work(a) == 0);
    assert_int_equal(node_heard(&nodes[1], "[\"c\",\"d\",\"e\"]"), 1);
    assert_int_equal(node_heard(&nodes[3], "\"route\":[],\"arity\":1}}\n{\"id\":\"call\""), 1);
    assert_int_equal(requests(&nodes[1]) + requests(&nodes[2]) + requests(&nodes[3]) + requests(&nodes[4]), 2);
    assert_int_equal(fleet_logged(fleet, "node b does not know node d"), 1);
}

static void a_refused_call_is_logged_and_done(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 3);
    node_t *a = &fleet->nodes[0], *b = &fleet->nodes[1];

    b->refuses_calls = 1;
    for (int i = 0; i < 50; i++) {
        node_accept(a, apr_psprintf(fleet->p, "call-%d", i), 1, 1);
    }
    svl_relay_push(a->relay, 1, 50, NULL, &a->ring, 1, 0);
    AWAIT(svl_relay_backlog(a->relay) == 0);
    assert_int_equal(fleet_logged(fleet, "refused call call-"), 8);
    assert_int_equal(fleet_logged(fleet, "(409): a\\x0Ab") + fleet_logged(fleet, "(409): a\\x0ab"), 8);
    assert_int_equal(fleet_logged(fleet, "refused 50 calls"), 1);
    assert_int_equal(requests(&fleet->nodes[2]), 0);
    assert_true(svl_peer_living(&a->states[1]));
}

static void ask_three_of_eight(apr_pool_t *p, int before)
{
    fleet_t *fleet = fleet_new(p, 9);
    node_t *a = &fleet->nodes[0];
    int waiting = 0;

    fleet->simultaneous = 3;
    node_begin(a);
    if (before) {
        keep_connections(a);
    }
    for (int i = 1; i < 9; i++) {
        assert_int_equal(requests(&fleet->nodes[i]), before);
        gate(&fleet->nodes[i]);
    }
    node_call(a, "call", SVL_ROUTE_BROADCAST);
    for (int i = 1; i < 4; i++) {
        AWAIT(requests(&fleet->nodes[i]) > before);
    }
    for (int i = 0; i < 50; i++) { /* time enough for a fourth one */
        unit_breathe();
    }
    for (int i = 1; i < 9; i++) {
        waiting += requests(&fleet->nodes[i]) - before;
    }
    assert_int_equal(waiting, 3);
    responder_open(fleet->nodes[2].responder); /* the others still hang: its place is the next one's */
    AWAIT(requests(&fleet->nodes[4]) > before);
    for (int i = 1; i < 9; i++) {
        responder_open(fleet->nodes[i].responder);
    }
    AWAIT(node_work(a) == 0);
}

static void simultaneous_requests_are_as_many_as_configured(void **state)
{
    ask_three_of_eight(*state, 0);
    ask_three_of_eight(*state, 2);
}

static void all_peers_are_served_at_the_same_time(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 10);
    node_t *a = &fleet->nodes[0];

    for (int i = 1; i < 10; i++) {
        gate(&fleet->nodes[i]);
    }
    node_call(a, "call", SVL_ROUTE_BROADCAST);
    for (int i = 1; i < 10; i++) {
        AWAIT(requests(&fleet->nodes[i]) == 1);
    }
    for (int i = 1; i < 10; i++) {
        responder_open(fleet->nodes[i].responder);
    }
    AWAIT(node_work(a) == 0);
}

static void stop_aborts_transfers_and_keeps_their_routes(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 4);
    node_t *a = &fleet->nodes[0];
    apr_time_t began;

    fleet->nodes[1].behaviour = HANGING;
    fleet->nodes[2].behaviour = DRIPPING;
    node_call(a, "call", SVL_ROUTE_BROADCAST);
    AWAIT(requests(&fleet->nodes[1]) == 1 && requests(&fleet->nodes[2]) == 1 && node_calls(a, 3) == 1);
    node_call(a, "behind", 1);
    began = apr_time_now();
    assert_int_equal(svl_relay_stop(a->relay, began + apr_time_from_sec(2)), APR_SUCCESS);
    assert_true(apr_time_now() - began < apr_time_from_sec(1));
    node_call(a, "too-late", 1);
    assert_int_equal(svl_relay_stop(a->relay, began), APR_SUCCESS);
    assert_int_equal(svl_relay_backlog(a->relay), 0);
    assert_int_equal(node_work(a), 3);
    assert_true(svl_peer_living(&a->states[1]));
}

static void stop_says_when_a_thread_does_not_end(void **state)
{
    fleet_t *fleet = fleet_begin(*state, 2);
    node_t *a = &fleet->nodes[0];

    fleet->nodes[1].behaviour = HANGING;
    node_call(a, "call", 1);
    AWAIT(requests(&fleet->nodes[1]) == 1);
    assert_int_equal(svl_relay_stop(a->relay, apr_time_now() - 1), APR_TIMEUP);
    assert_int_equal(svl_relay_stop(a->relay, apr_time_now() + PATIENCE), APR_SUCCESS);
}

#ifndef __SANITIZE_THREAD__ /* which objects to free in a signal handler, as it may; httpd has done it for decades */
static struct {
    svl_relay_t *volatile relay;
    volatile int stopped;
} leaving;

/* As prefork's, which destroys pools in the thread that it interrupts. */
static void leave(int signal_number)
{
    (void)signal_number;
    leaving.stopped = svl_relay_stop(leaving.relay, apr_time_now() + PATIENCE) == APR_SUCCESS ? 1 : -1;
}

static void *interrupt(void *thread)
{
    for (int i = 0; i < 5; i++) {
        unit_breathe();
    }
    pthread_kill(*(pthread_t *)thread, SIGTERM);
    return NULL;
}

static void a_signal_handler_may_stop_the_relay_while_its_thread_pushes(void **state)
{
    struct sigaction action = {.sa_handler = leave}, before;
    pthread_t self = pthread_self(), other;

    sigaction(SIGTERM, &action, &before);
    alarm(120); /* ends a deadlock */
    for (int round = 0; round < 20; round++) {
        apr_pool_t *p;
        apr_pool_create(&p, *state);
        fleet_t *fleet = fleet_begin(p, round % 2 ? 3 : 10);
        node_t *a = &fleet->nodes[0];
        apr_uint64_t position = node_accept(a, "call", 1, 1);

        leaving.relay = a->relay;
        leaving.stopped = 0;
        pthread_create(&other, NULL, interrupt, &self);
        while (!leaving.stopped) {
            svl_relay_push(a->relay, position, 1, NULL, &a->ring, SVL_ROUTE_BROADCAST, 1);
        }
        pthread_join(other, NULL);
        assert_int_equal(leaving.stopped, 1);
        apr_pool_destroy(p);
    }
    alarm(0);
    sigaction(SIGTERM, &before, NULL);
}

#endif

static const struct CMUnitTest promises[] = {
    PROMISE("what queues meanwhile goes in the next message", what_queues_meanwhile_goes_in_the_next_message),
    PROMISE("a route leaves the log with its last slice", a_route_leaves_the_log_with_its_last_slice),
    PROMISE("the route is split by arity", the_route_is_split_by_arity),
    PROMISE("calls with one route share a relay line", calls_with_one_route_share_a_relay_line),
    PROMISE("a message is bounded and has room for one call", a_message_is_bounded_and_has_room_for_one_call),
    PROMISE("a large batch goes in several messages", a_large_batch_goes_in_several_messages),
    PROMISE("what is not in the log is not sent", what_is_not_in_the_log_is_not_sent),
    PROMISE("a refused node is relayed to by the sender, once", a_refused_node_is_relayed_to_by_the_sender_once),
    PROMISE("a refused call is logged and done", a_refused_call_is_logged_and_done),
    PROMISE("simultaneous requests are as many as configured", simultaneous_requests_are_as_many_as_configured),
    PROMISE("all peers are served at the same time", all_peers_are_served_at_the_same_time),
    PROMISE("stop aborts transfers and keeps their routes", stop_aborts_transfers_and_keeps_their_routes),
#ifndef __SANITIZE_THREAD__
    PROMISE("a signal handler may stop the relay while its thread pushes",
            a_signal_handler_may_stop_the_relay_while_its_thread_pushes),
#endif
    PROMISE("stop says when a thread does not end in time", stop_says_when_a_thread_does_not_end),
};

UNIT_MAIN(promises)

/* SPDX-License-Identifier: Apache-2.0 */
/* A relay whose peers give links: messages go over them, and whatever becomes of a link, calls arrive and no good peer counts as down. */
#include "relay_fleet.c"

#include "transport/link.h"

#define CHANGED "HTTP/1.1 101 Switching Protocols\r\nUpgrade: " SVL_LINK_PROTOCOL "\r\nConnection: Upgrade\r\n\r\n"

/* What a peer does with links. */
typedef enum { GIVES, REFUSES, ENDS_EACH, SWALLOWS, HANGS_LATER } manner_e;

static _Atomic manner_e manner;
static int links, framed; /* atomics: links that were given, messages that came over them */
static apr_time_t came[16]; /* when the first ones did, monotonic; of one link, and read when nothing is under way */

static int number(const int *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

/* @return nonzero with a line, which ends with its LF and a NUL */
static int read_line(int fd, char *line, size_t size)
{
    size_t have = 0;
    do {
        if (have == size - 1 || !responder_take(fd, line + have, 1)) {
            return 0;
        }
    } while (line[have++] != '\n');
    line[have] = '\0';
    return 1;
}

/* The node answers as to a request, into a pair of sockets, and that goes on as a frame. */
static int answer_framed(node_t *node, request_t *request, const char *line)
{
    char id[128], timestamp[128], key[128], signature[512], said[65536], frame[1200], value[4][256];
    unsigned long length, size;
    int pair[2], status = 0;
    ssize_t got;
    apr_pool_t *p;
    request_t message = {.number = 1};
    request_t answer = {.number = 1};
    assert_int_equal(sscanf(line, "0 %lu %127s %127s %127s %511[^\n]", &length, id, timestamp, key, signature), 5);
    message.body = calloc(1, length + 1);
    message.length = length;
    if (!responder_take(request->fd, message.body, length)) {
        free(message.body);
        return 0;
    }
    snprintf(message.head, sizeof(message.head),
             "POST\r\nwebhook-id: %s\r\nwebhook-timestamp: %s\r\nwebhook-signature: %s\r\n\r\n", id, timestamp, signature);
    if (number(&framed) < (int)UNIT_COUNT(came)) {
        came[number(&framed)] = svl_transport_monotonic();
    }
    __atomic_add_fetch(&framed, 1, __ATOMIC_SEQ_CST);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    message.fd = pair[0];
    apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    node_acknowledge(node, &message, p);
    close(pair[0]);
    got = recv(pair[1], said, sizeof(said) - 1, MSG_WAITALL);
    close(pair[1]);
    assert_true(got > 0);
    said[got] = '\0';
    snprintf(answer.head, sizeof(answer.head), "%.*s", (int)(strstr(said, "\r\n\r\n") + 4 - said), said);
    assert_int_equal(sscanf(said, "HTTP/1.1 %d", &status), 1);
    assert_true(responder_header(&answer, "webhook-id", value[0]) && responder_header(&answer, "webhook-timestamp", value[1])
                && responder_header(&answer, "webhook-signature", value[2])
                && responder_header(&answer, "Content-Length", value[3]));
    size = strtoul(value[3], NULL, 10);
    snprintf(frame, sizeof(frame), "%d %lu %s %s - %s\n", status, size, value[0], value[1], value[2]);
    apr_pool_destroy(p);
    free(message.body);
    return responder_say(request, frame) && responder_write(request, strstr(said, "\r\n\r\n") + 4, size);
}

static int give_link(node_t *node, request_t *request)
{
    char line[1200];
    __atomic_add_fetch(&links, 1, __ATOMIC_SEQ_CST);
    responder_say(request, CHANGED);
    for (int number = 1; read_line(request->fd, line, sizeof(line)); number++) {
        if (manner == SWALLOWS || (manner == HANGS_LATER && number > 2)) { /* 1: the proof that it works */
            return responder_gate(node->responder);
        }
        if (!answer_framed(node, request, line) || (manner == ENDS_EACH && number > 1)) {
            return 0;
        }
    }
    return 0;
}

static int answer_linking(responder_t *responder, request_t *request)
{
    node_t *node = responder->baton;
    char id[256] = "", upgrade[256] = "";
    if (!responder_header(request, "Upgrade", upgrade)) {
        return node_answer(responder, request);
    }
    assert_string_equal(upgrade, SVL_LINK_PROTOCOL);
    assert_true(responder_header(request, "webhook-id", id));
    assert_memory_equal(id, SVL_LINK_PREFIX, sizeof(SVL_LINK_PREFIX) - 1);
    return manner == REFUSES ? node_answer(responder, request) : give_link(node, request);
}

static fleet_t *linking_fleet(apr_pool_t *p, apr_uint32_t count, manner_e how)
{
    fleet_t *fleet = fleet_new(p, count);
    manner = how;
    links = framed = 0;
    for (apr_uint32_t i = 0; i < count; i++) {
        fleet->nodes[i].responder->answer = answer_linking;
    }
    fleet->links = 1;
    return fleet;
}

static void call_and_wait(node_t *a, int i, apr_uint32_t arity)
{
    node_call(a, apr_psprintf(a->fleet->p, "call-%03d", i), arity);
    AWAIT(node_work(a) == 0);
}

static void all_are_up(const node_t *a)
{
    for (apr_uint32_t i = 1; i < a->fleet->count; i++) {
        assert_true(svl_peer_living(&a->states[i]));
        assert_int_equal(node_relays(a, (int)i, SVL_PEER_TIMEOUT) + node_relays(a, (int)i, SVL_PEER_BROKEN), 0);
    }
}

static void messages_go_over_links(void **state)
{
    fleet_t *fleet = linking_fleet(*state, 4, GIVES);
    node_t *a = &fleet->nodes[0];
    node_begin(a);
    call_and_wait(a, 0, SVL_ROUTE_BROADCAST);
    AWAIT(number(&links) == 3);
    for (int i = 1; i <= 100; i++) {
        call_and_wait(a, i, SVL_ROUTE_BROADCAST);
    }
    assert_int_equal(number(&links), 3);
    assert_in_range(number(&framed), 3 * 100, 3 * 101); /* the first ones may have come while a lane was still being linked */
    for (int i = 1; i < 4; i++) {
        assert_int_equal(node_calls(a, i), 101);
        assert_int_equal(a->states[i].links, 1);
    }
    all_are_up(a);
}

static void large_messages_go_as_well(void **state)
{
    fleet_t *fleet = linking_fleet(*state, 2, GIVES);
    node_t *a = &fleet->nodes[0];
    node_begin(a);
    call_and_wait(a, 0, 1);
    AWAIT(number(&links) == 1);
    for (int i = 0; i < 5; i++) {
        svl_relay_push(a->relay, node_accept(a, apr_psprintf(fleet->p, "large-%d", i), 900000, 1), 1, NULL, &a->ring, 1, i % 2);
        AWAIT(node_work(a) == 0);
    }
    assert_in_range(number(&framed), 1 + 4, 1 + 5);
    assert_int_equal(node_calls(a, 1), 6);
    all_are_up(a);
}

#ifdef __linux__ /* elsewhere there is no alarm */
/* Where several calls came together, what comes right behind them waits a millisecond for more; what comes behind one does not. */
static void calls_that_come_fast_share_messages(void **state)
{
    fleet_t *fleet = linking_fleet(*state, 2, GIVES);
    node_t *a = &fleet->nodes[0];
    apr_uint64_t first;
    apr_time_t pushed;
    int before;
    node_begin(a);
    call_and_wait(a, 0, 1);
    AWAIT(number(&links) == 1);
    for (int i = 1; i < 5; i++) {
        call_and_wait(a, i, 1);
    }
    before = number(&framed);
    first = node_accept(a, "one", 10, 1);
    for (int i = 1; i < 4; i++) {
        assert_int_equal(node_accept(a, apr_psprintf(fleet->p, "other-%d", i), 10, 1), first + i);
    }
    pushed = svl_transport_monotonic();
    svl_relay_push(a->relay, first, 2, NULL, &a->ring, 1, 1);
    svl_relay_push(a->relay, first + 2, 1, NULL, &a->ring, 1, 1);
    svl_relay_push(a->relay, first + 3, 1, NULL, &a->ring, 1, 1);
    AWAIT(svl_relay_backlog(a->relay) == 0);
    assert_in_range(number(&framed), before + 2, before + 3); /* 3: the last one took more than a millisecond to be pushed */
    assert_true(came[before + 1] - pushed >= apr_time_from_msec(1));
    assert_int_equal(node_calls(a, 1), 9);
    all_are_up(a);
}
#endif

static void who_refuses_is_not_asked_again_soon(void **state)
{
    fleet_t *fleet = linking_fleet(*state, 2, REFUSES);
    node_t *a = &fleet->nodes[0];
    node_begin(a);
    for (int i = 0; i < 20; i++) {
        call_and_wait(a, i, 1);
    }
    assert_int_equal(node_calls(a, 1), 20);
    assert_int_equal(responder_get(fleet->nodes[1].responder, &fleet->nodes[1].responder->requests), 21);
    assert_int_equal(number(&links), 0);
    all_are_up(a);
}

/* The answer comes, and then the link is gone: the next message goes as a request, and in a second there is another link. */
static void links_that_end_are_replaced(void **state)
{
    fleet_t *fleet = linking_fleet(*state, 2, ENDS_EACH);
    node_t *a = &fleet->nodes[0];
    apr_time_t until = apr_time_now() + PATIENCE;
    int sent = 0;
    node_begin(a);
    while (number(&links) < 3 && apr_time_now() < until) {
        call_and_wait(a, sent++, 1);
    }
    assert_true(number(&links) >= 3);
    assert_int_equal(node_calls(a, 1), sent);
    for (int i = 0; i < sent; i++) {
        assert_true(node_heard(&fleet->nodes[1], apr_psprintf(fleet->p, "\"call-%03d\"", i)) <= 2);
    }
    all_are_up(a);
}

/* A proxy that lets 101 through and nothing behind it: messages stay requests. */
static void a_link_that_brings_nothing_says_nothing_of_the_peer(void **state)
{
    fleet_t *fleet = linking_fleet(*state, 2, SWALLOWS);
    node_t *a = &fleet->nodes[0];
    fleet->http.timeout = apr_time_from_msec(300);
    node_begin(a);
    for (int i = 0; i < 10; i++) {
        call_and_wait(a, i, 1);
    }
    assert_int_equal(number(&links), 1);
    assert_int_equal(node_calls(a, 1), 10);
    all_are_up(a);
}

static void who_hangs_on_a_link_that_worked_is_down(void **state)
{
    fleet_t *fleet = linking_fleet(*state, 3, HANGS_LATER);
    node_t *a = &fleet->nodes[0];
    fleet->http.timeout = apr_time_from_msec(300);
    node_begin(a);
    call_and_wait(a, 0, 1);
    AWAIT(number(&links) == 1);
    for (int i = 1; svl_peer_living(&a->states[1]); i++) {
        assert_true(i < 10);
        call_and_wait(a, i, 1);
    }
    assert_int_equal(node_relays(a, 1, SVL_PEER_TIMEOUT), 1);
    assert_true(node_calls(a, 2) > 0); /* it moved on */
}

static void stop_ends_what_is_under_way_on_links(void **state)
{
    fleet_t *fleet = linking_fleet(*state, 2, HANGS_LATER);
    node_t *a = &fleet->nodes[0];
    apr_time_t began;
    node_begin(a);
    call_and_wait(a, 0, 1);
    AWAIT(__atomic_load_n(&a->states[1].links, __ATOMIC_RELAXED) == 1);
    call_and_wait(a, 1, 1);
    node_call(a, "call-2", 1); /* it hangs */
    for (int i = 0; i < 50; i++) {
        unit_breathe();
    }
    began = apr_time_now();
    assert_int_equal(svl_relay_stop(a->relay, began + PATIENCE), APR_SUCCESS);
    assert_true(apr_time_now() - began < apr_time_from_sec(2));
    assert_true(node_work(a) > 0);
    assert_true(svl_peer_living(&a->states[1]));
}

static const struct CMUnitTest promises[] = {
    PROMISE("messages go over links", messages_go_over_links),
    PROMISE("large messages go as well", large_messages_go_as_well),
#ifdef __linux__
    PROMISE("calls that come fast share messages", calls_that_come_fast_share_messages),
#endif
    PROMISE("who refuses is not asked again soon", who_refuses_is_not_asked_again_soon),
    PROMISE("links that end are replaced", links_that_end_are_replaced),
    PROMISE("a link that brings nothing says nothing of the peer", a_link_that_brings_nothing_says_nothing_of_the_peer),
    PROMISE("who hangs on a link that worked is down", who_hangs_on_a_link_that_worked_is_down),
    PROMISE("stop ends what is under way on links", stop_ends_what_is_under_way_on_links),
};

UNIT_MAIN(promises)

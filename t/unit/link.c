/* SPDX-License-Identifier: Apache-2.0 */
/* What is promised of a link: it is there when the peer says so, carries any message and answer whole, and says how it failed. */
#include "relay_responder.c"

#include "transport/link.h"

#define CHANGED "HTTP/1.1 101 Switching Protocols\r\nUpgrade: serviceless-link\r\nConnection: Upgrade\r\n\r\n"
#define SHORT apr_time_from_msec(300)

/* How the peer treats messages. */
typedef enum {
    ECHO,     /* answers with the message's body, in two parts */
    CLOSING,  /* takes the message, and closes */
    HALF,     /* closes in the middle of an answer */
    CHATTING, /* says more than it was asked for */
    HUGE,     /* promises more than may come */
    ENDLESS,  /* a line without an end */
    NONSENSE, /* what is no frame */
    HANGING
} manner_e;

typedef struct peer_t {
    responder_t *responder;
    const char *greeting; /* the answer to the request for a link; NULL: none */
    _Atomic manner_e manner;
    int proves; /* nonzero: the first message over a link is answered, whatever the manner */
    svl_transport_options_t options;
    svl_link_t *link;
    apr_pool_t *p;
} peer_t;

/* @return the body, or NULL: the link ended */
static char *take(int fd, unsigned long *length)
{
    char line[1100];
    char *body;
    size_t have = 0;

    do {
        if (have == sizeof(line) - 1 || !responder_take(fd, line + have, 1)) {
            return NULL;
        }
    } while (line[have++] != '\n');
    line[have] = '\0';
    if (sscanf(line, "0 %lu the-id 1700000000 0123abcd v1,signature\n", length) != 1) {
        fail_msg("a link brought %s", line);
    }
    body = malloc(*length + 1);
    if (!responder_take(fd, body, *length)) {
        free(body);
        return NULL;
    }
    return body;
}

/* @return nonzero to go on */
static int react(peer_t *peer, request_t *request, const char *body, unsigned long length)
{
    const manner_e manner = peer->proves && length == 8 && memcmp(body, "a proof\n", 8) == 0 ? ECHO : peer->manner;
    char line[200];
    snprintf(line, sizeof(line), "202 %lu the-id:peer 1700000001 - v1,answer v1,second\n", length);
    switch (manner) {
    case ECHO:
        return responder_say(request, line) && responder_write(request, body, length / 2)
               && responder_write(request, body + length / 2, length - length / 2);
    case CHATTING:
        return responder_say(request, line) && responder_write(request, body, length) && responder_say(request, "more");
    case HALF:
        responder_say(request, line);
        return 0;
    case HUGE:
        responder_say(request, "202 999999999 - - - -\n");
        return responder_gate(peer->responder);
    case ENDLESS:
        return responder_repeat(request, "", "and so on");
    case NONSENSE:
        responder_say(request, "HTTP/1.1 400 Bad Request\r\n\r\n");
        return responder_gate(peer->responder);
    case HANGING:
        return responder_gate(peer->responder);
    default:
        return 0;
    }
}

static int greet(responder_t *responder, request_t *request)
{
    peer_t *peer = responder->baton;
    char value[256];
    unsigned long length;
    int going = 1;

    assert_true(responder_header(request, "Upgrade", value));
    assert_string_equal(value, "serviceless-link");
    assert_true(responder_header(request, "webhook-signature", value));
    assert_string_equal(value, "v1,signature");
    assert_true(responder_header(request, "X-Own", value));
    assert_string_equal(request->body, "a probe\n");
    if (!peer->greeting) {
        responder_gate(responder);
        return 0;
    }
    going = responder_say(request, peer->greeting);
    while (going) {
        char *body = take(request->fd, &length);
        going = body && react(peer, request, body, length);
        free(body);
    }
    return 0;
}

static svl_transport_exchange_t message(const peer_t *peer, const char *body, apr_size_t length)
{
    return (svl_transport_exchange_t){.url = peer->responder->url,
                                      .content_type = "application/x-ndjson",
                                      .id = "the-id",
                                      .timestamp = "1700000000",
                                      .signature = "v1,signature",
                                      .key = "0123abcd",
                                      .body = body,
                                      .length = length,
                                      .pool = peer->p};
}

static peer_t *new_peer(apr_pool_t *p, const char *greeting)
{
    peer_t *peer = apr_pcalloc(p, sizeof(*peer));
    apr_table_t *headers = apr_table_make(p, 1);

    peer->p = p;
    peer->greeting = greeting;
    peer->proves = 1;
    peer->responder = responder_start(p, greet, peer);
    apr_table_set(headers, "X-Own", "mine");
    peer->options =
        (svl_transport_options_t){.headers = headers, .connect_timeout = SHORT, .timeout = PATIENCE, .max_response = 8 << 20};
    assert_int_equal(svl_curl_transport.init(p), APR_SUCCESS);
    assert_int_equal(svl_link_create(&peer->link, &peer->options, p), APR_SUCCESS);
    return peer;
}

static int ask_for_link(peer_t *peer)
{
    svl_transport_exchange_t probe = message(peer, "a probe\n", 8), proof = message(peer, "a proof\n", 8);

    return svl_link_open(peer->link, &probe, &proof, "127.0.0.1", peer->responder->port);
}

static peer_t *linked_peer(apr_pool_t *p, manner_e manner)
{
    peer_t *peer = new_peer(p, CHANGED);

    peer->manner = manner;
    assert_true(ask_for_link(peer));
    assert_true(svl_link_is_open(peer->link));
    return peer;
}

static void it_is_there_when_the_peer_says_so(void **state)
{
    static const char *const refusals[] = {
        "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}", /* a node without links */
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 1010 Whatever\r\n\r\n",
        "HTTP/1.0 101 Switching Protocols\r\n\r\n",
        CHANGED "more",
        "HTTP/1.1 101 Switching",
        "",
        NULL,
    };

    linked_peer(*state, ECHO);
    for (size_t i = 0; i < UNIT_COUNT(refusals); i++) {
        peer_t *peer = new_peer(*state, refusals[i]);
        apr_time_t began = apr_time_now();

        assert_false(ask_for_link(peer));
        assert_false(svl_link_is_open(peer->link));
        assert_true(apr_time_now() - began < PATIENCE);
    }
}

/* As behind a proxy that lets the question through, and nothing else. */
static void one_that_brings_no_answer_is_none(void **state)
{
    static const manner_e manners[] = {CLOSING, HALF, HUGE, NONSENSE, HANGING};

    for (size_t i = 0; i < UNIT_COUNT(manners); i++) {
        peer_t *peer = new_peer(*state, CHANGED);
        apr_time_t began = apr_time_now();

        peer->proves = 0;
        peer->manner = manners[i];
        assert_false(ask_for_link(peer));
        assert_false(svl_link_is_open(peer->link));
        assert_true(apr_time_now() - began < PATIENCE);
    }
}

static void whoever_is_not_there_gives_none(void **state)
{
    peer_t *peer = new_peer(*state, CHANGED);
    svl_transport_exchange_t probe = message(peer, "a probe\n", 8), proof = message(peer, "a proof\n", 8);

    probe.url = apr_pstrcat(peer->p, "https", strchr(peer->responder->url, ':'), NULL);
    assert_false(svl_link_open(peer->link, &probe, &proof, "127.0.0.1", peer->responder->port));
    probe.url = "nonsense";
    assert_false(svl_link_open(peer->link, &probe, &proof, "127.0.0.1", peer->responder->port));
    probe.url = peer->responder->url;
    assert_false(svl_link_open(peer->link, &probe, &proof, "", 0));
    assert_false(svl_link_open(peer->link, &probe, &proof, "localhost", peer->responder->port));
    responder_stop(peer->responder);
    apr_pool_cleanup_kill(peer->p, peer->responder, responder_cleanup);
    assert_false(ask_for_link(peer));
    free(peer->responder);
}

static void exchange(peer_t *peer, const char *body, apr_size_t length)
{
    svl_transport_exchange_t sent = message(peer, body, length);

    svl_link_begin(peer->link, &sent);
    assert_int_equal(svl_link_finish(peer->link), 1);
    assert_int_equal(sent.result, SVL_TRANSPORT_ANSWERED);
    assert_int_equal(sent.status, 202);
    assert_string_equal(sent.response_id, "the-id:peer");
    assert_string_equal(sent.response_timestamp, "1700000001");
    assert_string_equal(sent.response_signature, "v1,answer v1,second");
    assert_int_equal(sent.response_length, length);
    assert_memory_equal(sent.response, body, length);
    assert_int_equal(sent.response[length], 0);
    assert_true(sent.took >= 0 && sent.took < PATIENCE);
}

static void any_message_and_answer_goes_whole(void **state)
{
    static const apr_size_t lengths[] = {1, 200, 4000, 4096, 65536, 1 << 20, 5 << 20};
    peer_t *peer = linked_peer(*state, ECHO);

    for (size_t i = 0; i < UNIT_COUNT(lengths); i++) {
        char *body = unit_exact(peer->p, unit_repeat(peer->p, "x", lengths[i]), lengths[i]);

        exchange(peer, body, lengths[i]);
        exchange(peer, "short", 5);
    }
    assert_true(svl_link_is_open(peer->link));
    assert_int_equal(responder_get(peer->responder, &peer->responder->connections), 1);
}

static void small_ones_go_at_once_and_are_looked_at_without_waiting(void **state)
{
    peer_t *peer = linked_peer(*state, HANGING);
    svl_transport_exchange_t sent = message(peer, "short", 5);

    svl_link_begin(peer->link, &sent);
    assert_true(sent.sent);
    assert_false(svl_link_ended(peer->link));
    assert_false(svl_link_ended(peer->link));
    peer = linked_peer(*state, ECHO);
    sent = message(peer, "short", 5);
    svl_link_begin(peer->link, &sent);
    AWAIT(svl_link_ended(peer->link));
    assert_int_equal(svl_link_finish(peer->link), 1);
    assert_int_equal(sent.result, SVL_TRANSPORT_ANSWERED);
}

static void what_ends_before_it_answers_is_to_be_made_again(void **state)
{
    static const manner_e manners[] = {CLOSING, HALF};

    for (size_t i = 0; i < UNIT_COUNT(manners); i++) {
        peer_t *peer = linked_peer(*state, manners[i]);
        svl_transport_exchange_t sent = message(peer, "short", 5);

        svl_link_begin(peer->link, &sent);
        assert_int_equal(svl_link_finish(peer->link), 0);
        assert_int_not_equal(sent.result, SVL_TRANSPORT_ANSWERED);
        assert_false(svl_link_is_open(peer->link));
        assert_true(ask_for_link(peer)); /* and another one may be asked for */
    }
}

static void one_that_ended_is_wanted_again_sooner_than_one_that_was_refused(void **state)
{
    peer_t *refusing = new_peer(*state, ""), *closing = linked_peer(*state, CLOSING), *living = linked_peer(*state, ECHO);
    svl_transport_exchange_t sent = message(closing, "short", 5);
    apr_time_t began = svl_transport_monotonic();

    assert_true(svl_link_is_wanted(refusing->link));
    assert_false(ask_for_link(refusing));
    assert_false(svl_link_is_wanted(refusing->link));
    svl_link_begin(closing->link, &sent);
    assert_int_equal(svl_link_finish(closing->link), 0);
    assert_false(svl_link_is_wanted(closing->link));
    while (!svl_link_is_wanted(closing->link) && svl_transport_monotonic() - began < PATIENCE) {
        unit_breathe();
    }
    assert_true(svl_link_is_wanted(closing->link));
    assert_true(svl_transport_monotonic() - began >= apr_time_from_sec(1));
    assert_false(svl_link_is_wanted(refusing->link));
    assert_false(svl_link_is_wanted(living->link)); /* it is open */
}

static void what_is_no_answer_is_told_and_ends_it(void **state)
{
    static const struct {
        manner_e manner;
        svl_transport_result_e result;
    } faults[] = {{HUGE, SVL_TRANSPORT_TOO_LARGE}, {ENDLESS, SVL_TRANSPORT_BROKEN}, {NONSENSE, SVL_TRANSPORT_BROKEN}};

    for (size_t i = 0; i < UNIT_COUNT(faults); i++) {
        peer_t *peer = linked_peer(*state, faults[i].manner);
        svl_transport_exchange_t sent = message(peer, "short", 5);

        svl_link_begin(peer->link, &sent);
        assert_int_equal(svl_link_finish(peer->link), 1);
        assert_int_equal(sent.result, faults[i].result);
        assert_non_null(sent.error);
        assert_false(svl_link_is_open(peer->link));
    }
}

static void more_than_was_asked_for_ends_it(void **state)
{
    peer_t *peer = linked_peer(*state, CHATTING);
    svl_transport_exchange_t first = message(peer, "first", 5), second = message(peer, "second", 6);

    svl_link_begin(peer->link, &first);
    assert_int_equal(svl_link_finish(peer->link), 1);
    assert_int_equal(first.result, SVL_TRANSPORT_ANSWERED);
    if (svl_link_is_open(peer->link)) { /* it came after the answer had been read: then it is no answer to the next one */
        svl_link_begin(peer->link, &second);
        assert_int_equal(svl_link_finish(peer->link), 1);
        assert_int_equal(second.result, SVL_TRANSPORT_BROKEN);
    }
    assert_false(svl_link_is_open(peer->link));
}

static void the_timeout_of_the_exchange_holds(void **state)
{
    peer_t *peer = linked_peer(*state, HANGING);
    svl_transport_exchange_t sent = message(peer, "short", 5);
    apr_time_t began = svl_transport_monotonic();

    sent.timeout = SHORT;
    svl_link_begin(peer->link, &sent);
    assert_int_equal(svl_link_finish(peer->link), 1);
    assert_int_equal(sent.result, SVL_TRANSPORT_TIMEOUT);
    assert_true(sent.took >= SHORT);
    assert_true(svl_transport_monotonic() - began < PATIENCE);
    assert_false(svl_link_is_open(peer->link));
}

static void *abort_soon(void *baton)
{
    for (int i = 0; i < 50; i++) {
        unit_breathe();
    }
    svl_link_abort(baton);
    return NULL;
}

static void abort_ends_it_from_another_thread(void **state)
{
    peer_t *peer = linked_peer(*state, HANGING);
    svl_transport_exchange_t sent = message(peer, "short", 5);
    pthread_t other;

    assert_int_equal(pthread_create(&other, NULL, abort_soon, peer->link), 0);
    svl_link_begin(peer->link, &sent);
    assert_int_equal(svl_link_finish(peer->link), 1);
    assert_int_equal(sent.result, SVL_TRANSPORT_ABORTED);
    pthread_join(other, NULL);
    assert_false(ask_for_link(peer));
}

static const struct CMUnitTest promises[] = {
    PROMISE("it is there when the peer says so", it_is_there_when_the_peer_says_so),
    PROMISE("one that brings no answer is none", one_that_brings_no_answer_is_none),
    PROMISE("whoever is not there gives none", whoever_is_not_there_gives_none),
    PROMISE("any message and answer goes whole", any_message_and_answer_goes_whole),
    PROMISE("small ones go at once, and are looked at without waiting",
            small_ones_go_at_once_and_are_looked_at_without_waiting),
    PROMISE("what ends before it answers is to be made again", what_ends_before_it_answers_is_to_be_made_again),
    PROMISE("one that ended is wanted again sooner than one that was refused",
            one_that_ended_is_wanted_again_sooner_than_one_that_was_refused),
    PROMISE("what is no answer is told, and ends it", what_is_no_answer_is_told_and_ends_it),
    PROMISE("more than was asked for ends it", more_than_was_asked_for_ends_it),
    PROMISE("the timeout of the exchange holds", the_timeout_of_the_exchange_holds),
    PROMISE("abort ends it from another thread", abort_ends_it_from_another_thread),
};

UNIT_MAIN(promises)

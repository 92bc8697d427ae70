/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <netdb.h>

#include "../../mod_serviceless/transport/transport.h"

#include "relay_responder.c"

#define BRIEF apr_time_from_msec(300)
#define SLACK apr_time_from_msec(2500) /* a busy machine, a sanitizer */
#define EARLY apr_time_from_msec(20)   /* libcurl's timers and its clock do not begin together */

static svl_transport_options_t options = {.connect_timeout = BRIEF, .timeout = apr_time_from_sec(15), .max_response = 65536};
static const svl_transport_t *const transport = &svl_curl_transport;

static svl_transport_client_t *new_client(apr_pool_t *p)
{
    svl_transport_client_t *client = NULL;

    assert_int_equal(transport->create(&client, &options, p), APR_SUCCESS);
    return client;
}

static svl_transport_exchange_t exchange_with(apr_pool_t *p, const char *url)
{
    return (svl_transport_exchange_t){.url = url,
                                      .content_type = "application/x-ndjson",
                                      .id = "id-1",
                                      .timestamp = "1700000000",
                                      .signature = "v1,AAAA",
                                      .body = "hello",
                                      .length = 5,
                                      .pool = p};
}

static svl_transport_exchange_t post(svl_transport_client_t *client, apr_pool_t *p, const char *url,
                                     apr_interval_time_t timeout)
{
    svl_transport_exchange_t exchange = exchange_with(p, url), *only = &exchange;

    exchange.timeout = timeout;
    svl_transport_perform(transport, client, &only, 1);
    assert_true(exchange.result == SVL_TRANSPORT_ANSWERED ? exchange.error == NULL : exchange.error != NULL);
    return exchange;
}

/* Answers with the text that is the baton. */
static int say(responder_t *responder, request_t *request)
{
    return responder_say(request, responder->baton);
}

static int say_and_close(responder_t *responder, request_t *request)
{
    responder_say(request, responder->baton);
    return 0;
}

static char plain[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

static svl_transport_exchange_t answered_with(apr_pool_t *p, const char *answer)
{
    return post(new_client(p), p, responder_start(p, say, (void *)(size_t)answer)->url, 0);
}

static void an_answer_comes_back_whole(void **state)
{
    svl_transport_exchange_t got = answered_with(
        *state, "HTTP/1.1 202 Accepted\r\nWEBHOOK-ID: id-1:b\r\nwebhook-Timestamp:1700000001\r\n"
                "Webhook-Signature: v1,x v1,y\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n");

    assert_int_equal(got.result, SVL_TRANSPORT_ANSWERED);
    assert_int_equal(got.status, 202);
    assert_string_equal(got.response_id, "id-1:b");
    assert_string_equal(got.response_timestamp, "1700000001");
    assert_string_equal(got.response_signature, "v1,x v1,y");
    assert_int_equal(got.response_repeated, 0);
    assert_int_equal(got.response_length, 5);
    assert_string_equal(got.response, "abcde");
    assert_true(got.took > 0 && got.took < SLACK);
}

static void headers_are_told_apart(void **state)
{
    svl_transport_exchange_t got = answered_with(*state, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(got.status, 204);
    assert_null(got.response_id);
    assert_string_equal(got.response, "");
    got = answered_with(*state, "HTTP/1.1 200 OK\r\nwebhook-id: a\r\nWebhook-Id: a\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(got.response_repeated, 1);
    got = answered_with(*state,
                        "HTTP/1.1 103 Early Hints\r\nwebhook-id: early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(got.status, 200);
    assert_null(got.response_id);
    got =
        answered_with(*state, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nwebhook-id: late\r\n\r\n");
    assert_int_equal(got.result, SVL_TRANSPORT_ANSWERED);
    assert_null(got.response_id);
    assert_int_equal(got.response_repeated, 0);
}

static void a_request_carries_its_headers_once(void **state)
{
    static const char *const lines[] = {"Host: fleet.example",
                                        "X-Zone: b",
                                        "X-Empty:",
                                        "webhook-id: id-1",
                                        "webhook-timestamp: 1700000000",
                                        "webhook-signature: v1,AAAA",
                                        "Content-Type: application/x-ndjson",
                                        "Content-Length: 2097152"};
    apr_pool_t *p = *state;
    responder_t *responder = responder_start(p, say, plain);
    apr_table_t *own = apr_table_make(p, 4);
    svl_transport_options_t with_own = options;
    svl_transport_client_t *client = NULL;
    svl_transport_exchange_t exchange = exchange_with(p, responder->url), *only = &exchange;

    apr_table_set(own, "Host", "fleet.example");
    apr_table_set(own, "X-Zone", "b");
    apr_table_set(own, "X-Empty", "");
    with_own.headers = own;
    exchange.body = unit_repeat(p, "0123456789abcdef", 131072);
    exchange.length = 131072 * 16;
    assert_int_equal(transport->create(&client, &with_own, p), APR_SUCCESS);
    for (int i = 0; i < 2; i++) {
        svl_transport_perform(transport, client, &only, 1);
        assert_int_equal(exchange.result, SVL_TRANSPORT_ANSWERED);
        assert_int_equal(strlen(responder->bodies[i]), exchange.length);
        assert_memory_equal(responder->head, "POST /serviceless HTTP/1.1\r\n", 28);
        for (size_t l = 0; l < UNIT_COUNT(lines); l++) {
            const char *found = strstr(responder->head, apr_pstrcat(p, "\r\n", lines[l], "\r\n", NULL));
            const char *name = apr_pstrcat(p, "\r\n", apr_pstrndup(p, lines[l], strcspn(lines[l], ":")), ":", NULL);
            assert_non_null(found);
            assert_ptr_equal(strstr(responder->head, name), found);
            assert_null(strstr(found + 2, name));
        }
        assert_null(strcasestr(responder->head, "\r\nExpect:"));
        assert_null(strcasestr(responder->head, "\r\nAccept-Encoding:"));
    }
}

static void connections_are_kept(void **state)
{
    apr_pool_t *p = *state;
    responder_t *responder = responder_start(p, say, plain);
    svl_transport_client_t *client = new_client(p);
    svl_transport_exchange_t exchange = exchange_with(p, responder->url), *only = &exchange;

    for (int i = 0; i < 20; i++) {
        assert_int_equal(post(client, p, responder->url, 0).result, SVL_TRANSPORT_ANSWERED);
    }
    assert_int_equal(responder_get(responder, &responder->connections), 1);
    exchange.once = 1;
    svl_transport_perform(transport, client, &only, 1);
    AWAIT(responder_get(responder, &responder->sockets[0]) == -1);
    assert_int_equal(post(client, p, responder->url, 0).result, SVL_TRANSPORT_ANSWERED);
    assert_int_equal(responder_get(responder, &responder->connections), 2);
}

/* The first request of a connection is answered; the second one finds it closed, before it is sent or after. */
static int close_silently(responder_t *responder, request_t *request)
{
    return request->number == 1 && responder_say(request, responder->baton);
}

static void a_stale_connection_is_no_failure(void **state)
{
    apr_pool_t *p = *state;
    responder_t *before = responder_start(p, say_and_close, plain), *after = responder_start(p, close_silently, plain);
    svl_transport_client_t *client = new_client(p);

    for (int i = 0; i < 5; i++) {
        assert_int_equal(post(client, p, before->url, 0).result, SVL_TRANSPORT_ANSWERED);
        AWAIT(responder_get(before, &before->sockets[i]) == -1);
    }
    for (int i = 0; i < 5; i++) {
        assert_int_equal(post(client, p, after->url, 0).result, SVL_TRANSPORT_ANSWERED);
        assert_string_equal(after->bodies[responder_get(after, &after->requests) - 1], "hello");
    }
    assert_int_equal(responder_get(after, &after->requests), 9); /* each but the first one came twice */
}

static void not_reached_is_told_from_not_answered(void **state)
{
    apr_pool_t *p = *state;
    svl_transport_client_t *client = new_client(p);

    svl_transport_exchange_t got = post(client, p, refusing_url(p), 0);
    assert_int_equal(got.result, SVL_TRANSPORT_CONNECT);
    assert_true(!strncmp(got.error, "cannot connect to 127.0.0.1:", 28) && strstr(got.error, ": Connection refused"));
    assert_int_equal(post(client, p, "http://nothing.invalid/", 0).result, SVL_TRANSPORT_CONNECT);
    assert_int_equal(post(client, p, "file:///etc/passwd", 0).result, SVL_TRANSPORT_CONNECT);
    assert_int_equal(post(client, p, "ftp://127.0.0.1/", 0).result, SVL_TRANSPORT_CONNECT);
    got = post(client, p, blackholed_url(p), 0);
    assert_int_equal(got.result, SVL_TRANSPORT_CONNECT_TIMEOUT);
    assert_true(got.took >= BRIEF - EARLY && got.took < BRIEF + SLACK);
}

static int hang(responder_t *responder, request_t *request)
{
    (void)request;
    responder_gate(responder);
    return 0;
}

static int drip(responder_t *responder, request_t *request)
{
    return responder_drip(responder, request, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
}

static void no_answer_lasts_longer_than_the_timeout(void **state)
{
    for (int i = 0; i < 2; i++) {
        responder_t *responder = responder_start(*state, i ? hang : drip, NULL);
        svl_transport_exchange_t got = post(new_client(*state), *state, responder->url, BRIEF);
        assert_int_equal(got.result, SVL_TRANSPORT_TIMEOUT);
        assert_true(got.took >= BRIEF - EARLY && got.took < BRIEF + SLACK);
    }
}

/* The baton says what there is no end of. */
static int never_end(responder_t *responder, request_t *request)
{
    return responder_repeat(request, "HTTP/1.1 200 OK\r\n", responder->baton);
}

static void a_response_is_bounded(void **state)
{
    apr_pool_t *p = *state;
    svl_transport_client_t *client = new_client(p);
    static char header[] = "X-More: and more\r\n", body[] = "\r\nmuch text, and more of it, and still more";
    char *exact =
        apr_psprintf(p, "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n%s", unit_repeat(p, "0123456789abcdef", 4096));

    assert_int_equal(post(client, p, responder_start(p, never_end, header)->url, 0).result, SVL_TRANSPORT_TOO_LARGE);
    assert_int_equal(post(client, p, responder_start(p, never_end, body)->url, 0).result, SVL_TRANSPORT_TOO_LARGE);
    svl_transport_exchange_t got = answered_with(p, exact);
    assert_int_equal(got.result, SVL_TRANSPORT_ANSWERED);
    assert_int_equal(got.response_length, 65536);
    assert_string_equal(got.response, strstr(exact, "\r\n\r\n") + 4);
}

static void what_is_no_whole_answer_is_broken(void **state)
{
    apr_pool_t *p = *state;
    svl_transport_client_t *client = new_client(p);
    static char cut[] = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf", garbage[] = "220 smtp ESMTP\r\n", nothing[] = "";
    char *const answers[] = {cut, garbage, nothing};

    for (size_t i = 0; i < UNIT_COUNT(answers); i++) {
        assert_int_equal(post(client, p, responder_start(p, say_and_close, answers[i])->url, 0).result, SVL_TRANSPORT_BROKEN);
    }
}

static void a_redirect_is_an_answer_and_followed_nowhere(void **state)
{
    apr_pool_t *p = *state;
    responder_t *target = responder_start(p, say, plain);
    const char *answer = apr_psprintf(p, "HTTP/1.1 307 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", target->url);
    svl_transport_exchange_t got = answered_with(p, answer);

    assert_int_equal(got.result, SVL_TRANSPORT_ANSWERED);
    assert_int_equal(got.status, 307);
    assert_int_equal(responder_get(target, &target->requests), 0);
}

static void encoded_content_stays_encoded(void **state)
{
    const char *answer = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\nnot zip";
    svl_transport_exchange_t got = answered_with(*state, answer);

    assert_int_equal(got.result, SVL_TRANSPORT_ANSWERED);
    assert_string_equal(got.response, "not zip");
}

static void no_proxy_is_asked(void **state)
{
    const char *const names[] = {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"};

    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        setenv(names[i], refusing_url(*state), 1);
    }
    assert_int_equal(answered_with(*state, plain).result, SVL_TRANSPORT_ANSWERED);
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        unsetenv(names[i]);
    }
}

static void many_exchanges_run_in_parallel(void **state)
{
    enum { MANY = 40 };
    apr_pool_t *p = *state;
    responder_t *good = responder_start(p, say, plain), *hung = responder_start(p, hang, NULL);
    svl_transport_client_t *client = new_client(p);
    svl_transport_exchange_t exchanges[MANY], *pointers[MANY];
    apr_time_t began = apr_time_now();

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++) {
            exchanges[i] = exchange_with(p, i % 2 ? good->url : hung->url);
            exchanges[i].timeout = i % 2 ? exchanges[i].timeout : BRIEF;
            pointers[i] = &exchanges[i];
        }
        svl_transport_perform(transport, client, pointers, MANY);
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(exchanges[i].result, i % 2 ? SVL_TRANSPORT_ANSWERED : SVL_TRANSPORT_TIMEOUT);
        }
    }
    assert_true(apr_time_now() - began < 2 * BRIEF + SLACK);
}

static void *abort_soon(void *client)
{
    unit_breathe();
    transport->abort(client);
    return NULL;
}

static void abort_ends_it_at_once_and_for_good(void **state)
{
    apr_pool_t *p = *state;
    responder_t *hung = responder_start(p, hang, NULL), *good = responder_start(p, say, plain);
    svl_transport_client_t *client = new_client(p);
    pthread_t thread;
    apr_time_t began = apr_time_now();

    pthread_create(&thread, NULL, abort_soon, client);
    assert_int_equal(post(client, p, hung->url, 0).result, SVL_TRANSPORT_ABORTED);
    assert_true(apr_time_now() - began < SLACK);
    pthread_join(thread, NULL);
    assert_int_equal(post(client, p, good->url, 0).result, SVL_TRANSPORT_ABORTED);
}

static int names_hang, names_asked; /* atomic */

/* Stands before libc's: names under hanging.invalid get no answer for 8 s, or as long as names_hang is set. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    typedef int function_t(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    function_t *real = (function_t *)(intptr_t)dlsym(RTLD_NEXT, "getaddrinfo");

    if (name && strstr(name, "hanging.invalid")) {
        for (int i = 0; i < 8000 && __atomic_load_n(&names_hang, __ATOMIC_ACQUIRE); i++) {
            unit_breathe();
        }
        __atomic_add_fetch(&names_asked, 1, __ATOMIC_RELEASE);
        return EAI_AGAIN;
    }
    return real(name, service, hints, found);
}

static void a_hanging_resolver_is_bounded(void **state)
{
    apr_pool_t *p = *state;
    svl_transport_client_t *client = new_client(p);
    pthread_t thread;

    __atomic_store_n(&names_hang, 1, __ATOMIC_RELEASE);
    svl_transport_exchange_t got = post(client, p, "http://hanging.invalid/", 0);
    assert_int_equal(got.result, SVL_TRANSPORT_CONNECT_TIMEOUT);
    apr_time_t began = apr_time_now();
    pthread_create(&thread, NULL, abort_soon, client);
    assert_int_equal(post(client, p, "http://hanging.invalid/", 0).result, SVL_TRANSPORT_ABORTED);
    assert_true(apr_time_now() - began < BRIEF + SLACK);
    pthread_join(thread, NULL);
    assert_int_equal(__atomic_load_n(&names_asked, __ATOMIC_ACQUIRE), 0); /* so nobody waited for getaddrinfo */
    __atomic_store_n(&names_hang, 0, __ATOMIC_RELEASE);
    AWAIT(__atomic_load_n(&names_asked, __ATOMIC_ACQUIRE) == 2);
}

static const struct CMUnitTest promises[] = {
    PROMISE("an answer comes back whole", an_answer_comes_back_whole),
    PROMISE("interim responses, trailers and repetition are told apart", headers_are_told_apart),
    PROMISE("a request carries its headers, each once, and Host is replaced", a_request_carries_its_headers_once),
    PROMISE("connections are kept, unless it is for once", connections_are_kept),
    PROMISE("a stale connection is no failure", a_stale_connection_is_no_failure),
    PROMISE("not reached is told from not answered", not_reached_is_told_from_not_answered),
    PROMISE("no answer lasts longer than the timeout", no_answer_lasts_longer_than_the_timeout),
    PROMISE("header and body of a response are bounded", a_response_is_bounded),
    PROMISE("what is no whole answer is broken", what_is_no_whole_answer_is_broken),
    PROMISE("a redirect is an answer and followed nowhere", a_redirect_is_an_answer_and_followed_nowhere),
    PROMISE("encoded content stays encoded", encoded_content_stays_encoded),
    PROMISE("no proxy is asked", no_proxy_is_asked),
    PROMISE("many exchanges run in parallel", many_exchanges_run_in_parallel),
    PROMISE("abort ends an exchange at once, and every later one", abort_ends_it_at_once_and_for_good),
    PROMISE("a resolver that hangs is bounded by the timeout", a_hanging_resolver_is_bounded),
};

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    atexit(apr_terminate);
    apr_pool_create(&p, NULL);
    transport->init(p);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(promises, NULL, NULL);
}

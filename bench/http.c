/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bench's generator for HTTP: calls, relay messages, and posts to a handler that does nothing, over kept connections.
 *
 *   http what board keys receivers bytes count batch ports path reply mode by
 *
 * what: latency    one call of bench.note at a time to the first port, until all receivers have run it
 *       sustained  messages of `batch` call lines of bench.note each, relayed to the first port with the other nodes (n2, n3, …) as route;
 *                  two messages are under way
 *       endpoint   `count` calls of example.echo over `batch` connections to the first port, a new one as soon as an answer is there
 *       answers    `count` calls of example.echo, one at a time, each timed until its answer
 *       chain      `count` times one post to each port after the first, one after the other (libcurl)
 *       star       likewise, all at once
 *
 * path: where to post, such as /serviceless; reply: local, accepted or all, of calls; mode: bounce, broadcast, tree:3; by: request, or
 * link: calls go over upgraded connections, of which the first call of each asks for one
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <apr_time.h>
#include <curl/curl.h>

#include "../mod_serviceless/core/route.h"
#include "connection.h"
#include "measure.h"

typedef struct http_t {
    int ports[BENCH_PLACES];
    int count;
    const char *path, *reply, *mode;
    apr_uint32_t arity; /* of the mode */
    apr_uint64_t seq;
    char epoch[17];
    connection_t *connections;
    CURL *handles[BENCH_PLACES];
    CURLM *multi;
} http_t;

static void begin_call(bench_t *bench, http_t *http, connection_t *c, const char *function)
{
    int room = bench->bytes > 100 ? bench->bytes - 100 : 0; /* so that the call line has about so many */
    char *filling = apr_palloc(bench->scratch, (apr_size_t)room + 1);
    const char *body;

    memset(filling, 'x', (size_t)room);
    filling[room] = '\0';
    body = apr_pstrcat(bench->scratch, "{\"function\":\"", function, "\",\"args\":[\"", filling, "\"],\"reply\":\"", http->reply,
                       "\",\"mode\":\"", http->mode, "\"}", NULL);
    connection_begin(bench, c, "application/json", body, strlen(body));
}

static void publish_call(void *baton, bench_t *bench, int count)
{
    http_t *http = baton;

    for (int i = 0; i < count; i++) {
        begin_call(bench, http, http->connections, "bench.note");
        connection_finish(http->connections);
    }
}

/* Relays to the first node; waits for the answer of the message before. */
static void publish_relayed(void *baton, bench_t *bench, int count)
{
    http_t *http = baton;
    connection_t *c = &http->connections[http->seq / (apr_uint64_t)bench->batch % 2];
    const char *route = "";
    char *body, *to;
    apr_size_t length;

    if (c->request) {
        connection_finish(c);
    }
    for (int i = 1; i < http->count; i++) {
        route = apr_psprintf(bench->scratch, "%s%s\"n%d\"", route, i > 1 ? "," : "", i + 1);
    }
    route = apr_psprintf(bench->scratch, "{\"relay\":{\"from\":\"n%d\",\"route\":[%s],\"arity\":%u}}\n", http->count, route, http->arity);
    length = strlen(route);
    body = apr_palloc(bench->scratch, length + (apr_size_t)count * ((apr_size_t)bench->bytes + 300));
    memcpy(body, route, length);
    to = body + length;
    for (int i = 0; i < count; i++) {
        const char *line = bench_line(bench, "bench.note", "bench", http->epoch, ++http->seq, &length);

        memcpy(to, line, length);
        to += length;
        *to++ = '\n';
    }
    connection_begin(bench, c, "application/x-ndjson", body, (apr_size_t)(to - body));
    if (http->seq >= (apr_uint64_t)bench->count) {
        for (int i = 0; i < 2; i++) {
            if (http->connections[i].request) {
                connection_finish(&http->connections[i]);
            }
        }
    }
}

static void endpoint(bench_t *bench, http_t *http)
{
    struct pollfd *waits = apr_pcalloc(bench->pool, (apr_size_t)bench->batch * sizeof(*waits));
    int begun = 0, done = 0;
    apr_int64_t start = bench_now();

    for (; begun < bench->batch && begun < bench->count; begun++) {
        begin_call(bench, http, &http->connections[begun], "example.echo");
    }
    while (done < bench->count) {
        for (int i = 0; i < bench->batch; i++) {
            waits[i] = (struct pollfd){http->connections[i].fd, POLLIN, 0};
        }
        if (poll(waits, (nfds_t)bench->batch, PATIENCE) <= 0) {
            bench_fail("%d of %d calls answered, and then none for %d ms", done, bench->count, PATIENCE);
        }
        for (int i = 0; i < bench->batch; i++) {
            if (waits[i].revents && connection_answered(&http->connections[i])) {
                done++;
                http->connections[i].have = 0;
                if (begun < bench->count) {
                    begun++;
                    begin_call(bench, http, &http->connections[i], "example.echo");
                }
                else {
                    connection_close(&http->connections[i]);
                }
            }
        }
        apr_pool_clear(bench->scratch);
    }
    printf("{\"requests\":%d,\"seconds\":%.6f}\n", done, (double)(bench_now() - start) / APR_USEC_PER_SEC);
}

static size_t ignore(char *bytes, size_t size, size_t count, void *baton)
{
    (void)bytes;
    (void)baton;
    return size * count;
}

static void open_handles(bench_t *bench, http_t *http, const char *body)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");

    http->multi = curl_multi_init();
    headers = curl_slist_append(headers, "Content-Type: application/json");
    for (int i = 1; i < http->count; i++) {
        CURL *handle = http->handles[i] = curl_easy_init();

        curl_easy_setopt(handle, CURLOPT_URL, apr_psprintf(bench->pool, "http://127.0.0.1:%d%s", http->ports[i], http->path));
        curl_easy_setopt(handle, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, ignore);
        curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)PATIENCE);
        curl_easy_setopt(handle, CURLOPT_FAILONERROR, 1L);
    }
}

static void all_at_once(http_t *http)
{
    CURLMsg *message;
    int running = 0, left;

    for (int i = 1; i < http->count; i++) {
        curl_multi_add_handle(http->multi, http->handles[i]);
    }
    do {
        if (curl_multi_perform(http->multi, &running) != CURLM_OK
            || (running && curl_multi_poll(http->multi, NULL, 0, PATIENCE, NULL) != CURLM_OK)) {
            bench_fail("libcurl's multi interface fails");
        }
    } while (running);
    while ((message = curl_multi_info_read(http->multi, &left))) {
        if (message->data.result != CURLE_OK) {
            bench_fail("a post fails: %s", curl_easy_strerror(message->data.result));
        }
        curl_multi_remove_handle(http->multi, message->easy_handle);
    }
}

static void floors(bench_t *bench, http_t *http, int star)
{
    char *body = apr_pcalloc(bench->pool, (apr_size_t)bench->bytes + 1);

    memset(body, 'x', (size_t)bench->bytes);
    open_handles(bench, http, body);
    fputs("{\"us\":[", stdout);
    for (int round = -BENCH_WARM; round < bench->count; round++) {
        apr_int64_t start = bench_now();

        if (star) {
            all_at_once(http);
        } else {
            for (int i = 1; i < http->count; i++) {
                CURLcode rv = curl_easy_perform(http->handles[i]);

                if (rv != CURLE_OK) {
                    bench_fail("port %d: %s", http->ports[i], curl_easy_strerror(rv));
                }
            }
        }
        if (round >= 0) {
            printf("%s%" APR_INT64_T_FMT, round ? "," : "", bench_now() - start);
        }
        apr_sleep(BENCH_PAUSE);
    }
    fputs("]}\n", stdout);
}

/* Every node that was asked must have run it. */
static void check_outcomes(const bench_t *bench, const http_t *http, const char *answer)
{
    static const char ok[] = "\"outcome\":\"ok\"";
    int wanted = strcmp(http->reply, "all") == 0 ? bench->receivers + 1 : 1, found = 0;

    for (const char *at = answer; (at = strstr(at, ok)) != NULL; at += sizeof(ok) - 1) {
        found++;
    }
    if (found != wanted) {
        bench_fail("%d of %d outcomes are ok: %s", found, wanted, answer);
    }
}

static void answers(bench_t *bench, http_t *http)
{
    fputs("{\"us\":[", stdout);
    for (int round = -BENCH_WARM; round < bench->count; round++) {
        apr_int64_t start = bench_now();

        begin_call(bench, http, http->connections, "example.echo");
        connection_finish(http->connections);
        check_outcomes(bench, http, http->connections->answer);
        if (round >= 0) {
            printf("%s%" APR_INT64_T_FMT, round ? "," : "", bench_now() - start);
        }
        apr_pool_clear(bench->scratch);
        apr_sleep(BENCH_PAUSE);
    }
    fputs("]}\n", stdout);
}

int main(int argc, const char *const *argv)
{
    static bench_t bench;
    static http_t http;
    char *list, *last;
    int connections;

    bench_begin(&bench, argc, argv, 5, "ports path reply mode by");
    list = apr_pstrdup(bench.pool, bench.more[0]);
    for (char *port = apr_strtok(list, ",", &last); port && http.count < BENCH_PLACES; port = apr_strtok(NULL, ",", &last)) {
        http.ports[http.count++] = atoi(port);
    }
    http.path = bench.more[1];
    http.reply = bench.more[2];
    http.mode = bench.more[3];
    if (!svl_route_parse_mode(http.mode, &http.arity)) {
        bench_fail("mode is '%s': bounce, broadcast or tree:3", http.mode);
    }
    apr_snprintf(http.epoch, sizeof(http.epoch), "%016" APR_UINT64_T_HEX_FMT, (apr_uint64_t)apr_time_now());
    connections = strcmp(bench.what, "endpoint") == 0 ? bench.batch : 2;
    http.connections = apr_pcalloc(bench.pool, (apr_size_t)connections * sizeof(*http.connections));
    for (int i = 0; i < connections; i++) {
        http.connections[i].fd = -1;
        http.connections[i].port = http.ports[0];
        http.connections[i].path = http.path;
        http.connections[i].by_link = strcmp(bench.more[4], "link") == 0;
    }
    if (strcmp(bench.what, "endpoint") == 0) {
        endpoint(&bench, &http);
    } else if (strcmp(bench.what, "answers") == 0) {
        answers(&bench, &http);
    } else if (strcmp(bench.what, "chain") == 0 || strcmp(bench.what, "star") == 0) {
        floors(&bench, &http, *bench.what == 's');
    } else {
        bench_run(&bench, strcmp(bench.what, "sustained") == 0 ? publish_relayed : publish_call, &http);
    }
    return 0;
}

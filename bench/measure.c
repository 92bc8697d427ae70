/* SPDX-License-Identifier: Apache-2.0 */
#include "measure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <apr_time.h>

#include "../mod_serviceless/core/call.h"
#include "../mod_serviceless/httpd/keyfile.h"

#define TOLERANCE 300         /* seconds */
#define LOOK 2000 /* microseconds between two looks at the board, which take processor time from what is measured */
#define PATIENCE 60           /* seconds without any new note */

typedef struct bench_signing_t {
    svl_signer_t *signer;
    char prefix[32]; /* of all ids of this process */
    apr_uint64_t made;
} bench_signing_t;

void bench_fail(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static int number(const char *text, const char *name, int least)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*text == '\0' || *end != '\0' || value < least || value > 100000000) {
        bench_fail("%s is '%s': it must be a number, at least %d", name, text, least);
    }
    return (int)value;
}

bench_place_t *bench_place(const bench_t *bench, const char *text)
{
    int place = number(text, "place", 0);

    if (place >= BENCH_PLACES) {
        bench_fail("place is %d: a board has 0 to %d", place, BENCH_PLACES - 1);
    }
    return &bench->board[place];
}

void bench_begin(bench_t *bench, int argc, const char *const *argv, int mores, const char *usage)
{
    const svl_ring_t *ring;
    const char *warning, *error;
    bench_signing_t *signing;

    if (argc != 8 + mores) {
        bench_fail("usage: %s what board keys receivers bytes count batch %s", argv[0], usage);
    }
    apr_app_initialize(&argc, &argv, NULL);
    atexit(apr_terminate);
    memset(bench, 0, sizeof(*bench));
    apr_pool_create(&bench->pool, NULL);
    apr_pool_create(&bench->scratch, bench->pool);
    bench->what = argv[1];
    bench->board = bench_board(argv[2]);
    bench->receivers = number(argv[4], "receivers", 0);
    bench->bytes = number(argv[5], "bytes", BENCH_BYTES_LEAST);
    bench->count = number(argv[6], "count", 0);
    bench->batch = number(argv[7], "batch", 1);
    bench->more = argv + 8;
    bench->mores = mores;
    if (!bench->board) {
        bench_fail("cannot map the board %s: %s", argv[2], strerror(errno));
    }
    if (bench->receivers > BENCH_PLACES) {
        bench_fail("%d receivers: a board has %d places", bench->receivers, BENCH_PLACES);
    }
    signing = bench->signing = apr_pcalloc(bench->pool, sizeof(*signing));
    if (svl_keyfile_read(&ring, argv[3], &warning, &error, bench->pool) != APR_SUCCESS) {
        bench_fail("%s", error);
    }
    if (svl_sign_create(&signing->signer, ring, bench->pool) != APR_SUCCESS) {
        bench_fail("no memory for a signer");
    }
    apr_snprintf(signing->prefix, sizeof(signing->prefix), "b%" APR_TIME_T_FMT "-%d", apr_time_now(), (int)getpid());
}

const char *bench_line(bench_t *bench, const char *function, const char *origin, const char *epoch, apr_uint64_t seq, apr_size_t *length)
{
    const char *head = apr_psprintf(bench->scratch, "{\"id\":\"%s-%" APR_UINT64_T_FMT "\",\"function\":\"%s\",\"args\":[\"",
                                    bench->signing->prefix, ++bench->signing->made, function);
    const char *tail = epoch ? apr_psprintf(bench->scratch,
                                            "\"],\"kwargs\":{},\"origin\":\"%s\",\"set\":\"all\",\"epoch\":\"%s\",\"seq\":%" APR_UINT64_T_FMT
                                            ",\"issued\":%" APR_TIME_T_FMT ",\"ttl\":86400}",
                                            origin, epoch, seq, apr_time_as_msec(apr_time_now()))
                             : "\"]}";
    apr_size_t before = strlen(head), after = strlen(tail);
    apr_size_t filling = before + after < (apr_size_t)bench->bytes ? (apr_size_t)bench->bytes - before - after : 0;
    char *line = apr_palloc(bench->scratch, before + filling + after + 1);

    memcpy(line, head, before);
    memset(line + before, 'x', filling);
    memcpy(line + before + filling, tail, after + 1);
    *length = before + filling + after;
    return line;
}

void bench_sign(bench_t *bench, const char *prefix, const char *body, apr_size_t length, svl_sign_headers_t *headers)
{
    bench_signing_t *signing = bench->signing;
    apr_int64_t now = apr_time_sec(apr_time_now());
    char *signature = apr_palloc(bench->scratch, SVL_SIGN_HEADER_MAX);

    headers->id = apr_psprintf(bench->scratch, "%s%s-%" APR_UINT64_T_FMT, prefix, signing->prefix, ++signing->made);
    headers->timestamp = apr_psprintf(bench->scratch, "%" APR_INT64_T_FMT, now);
    headers->signature = signature;
    if (svl_sign_make(signing->signer, NULL, headers->id, now, body, length, signature) != APR_SUCCESS) {
        bench_fail("cannot sign");
    }
}

const char *bench_sealed(bench_t *bench, apr_size_t *length)
{
    const char *line = bench_line(bench, "bench.note", "n1", "0123456789abcdef", bench->signing->made + 1, length);
    svl_sign_headers_t headers;
    const char *seal;
    apr_size_t before;
    char *sealed;

    bench_sign(bench, "", line, *length, &headers);
    seal = apr_psprintf(bench->scratch, "%s %s %s\n", headers.id, headers.timestamp, headers.signature);
    before = strlen(seal);
    sealed = apr_palloc(bench->scratch, before + *length);
    memcpy(sealed, seal, before);
    memcpy(sealed + before, line, *length);
    *length += before;
    return sealed;
}

void bench_handle(bench_t *bench, bench_place_t *place, const char *sealed, apr_size_t length)
{
    const char *end = memchr(sealed, '\n', length);
    svl_sign_headers_t headers = {0};
    const svl_key_t *key;
    svl_fault_t fault;
    const char *body;
    svl_call_line_t *call;
    char *values[3];

    if (!end) {
        bench_fail("a message of %" APR_SIZE_T_FMT " bytes has no seal", length);
    }
    values[0] = apr_pstrmemdup(bench->scratch, sealed, (apr_size_t)(end - sealed));
    for (int i = 1; i < 3; i++) {
        values[i] = strchr(values[i - 1], ' ');
        if (!values[i]) {
            bench_fail("a message has the seal '%s'", values[0]);
        }
        *values[i]++ = '\0';
    }
    headers.id = values[0];
    headers.timestamp = values[1];
    headers.signature = values[2];
    body = end + 1;
    length -= (apr_size_t)(body - sealed);
    if (svl_sign_verify(bench->signing->signer, &headers, NULL, body, length, apr_time_sec(apr_time_now()), TOLERANCE, &key, &fault,
                        bench->scratch)
        != APR_SUCCESS) {
        bench_fail("a message has a bad signature");
    }
    if (svl_call_parse_line(&call, body, length, &fault, bench->scratch) != APR_SUCCESS) {
        bench_fail("a message is no call: %s", fault.detail);
    }
    apr_pool_clear(bench->scratch);
    bench_note(place);
}

/* Waits until each receiver has handled @a most messages since @a before.  @return when the last one did */
static apr_int64_t wait_for(const bench_t *bench, const apr_uint64_t *before, apr_uint64_t most)
{
    apr_int64_t last = 0, moved = bench_now();
    apr_uint64_t seen = 0, sum;

    for (;;) {
        int ready = 0;

        sum = 0;
        for (int i = 0; i < bench->receivers; i++) {
            apr_uint64_t handled = __atomic_load_n(&bench->board[i].handled, __ATOMIC_ACQUIRE) - before[i];

            if (handled > most) {
                bench_fail("receiver %d has handled %" APR_UINT64_T_FMT " messages of %" APR_UINT64_T_FMT, i, handled, most);
            }
            ready += handled == most;
            sum += handled;
        }
        if (ready == bench->receivers) {
            break;
        }
        if (sum != seen) {
            seen = sum;
            moved = bench_now();
        } else if (bench_now() - moved > apr_time_from_sec(PATIENCE)) {
            bench_fail("%" APR_UINT64_T_FMT " of %" APR_UINT64_T_FMT " deliveries came, and then none for %d s", sum,
                       most * (apr_uint64_t)bench->receivers, PATIENCE);
        }
        apr_sleep(LOOK);
    }
    for (int i = 0; i < bench->receivers; i++) {
        apr_int64_t at = __atomic_load_n(&bench->board[i].last, __ATOMIC_RELAXED);

        last = at > last ? at : last;
    }
    return last;
}

static void look(const bench_t *bench, apr_uint64_t *handled)
{
    for (int i = 0; i < bench->receivers; i++) {
        handled[i] = __atomic_load_n(&bench->board[i].handled, __ATOMIC_ACQUIRE);
    }
}

void bench_run(bench_t *bench, bench_publish_t *publish, void *baton)
{
    apr_uint64_t before[BENCH_PLACES];
    apr_int64_t start, last;

    if (strcmp(bench->what, "latency") == 0) {
        fputs("{\"us\":[", stdout);
        for (int i = -BENCH_WARM; i < bench->count; i++) {
            look(bench, before);
            start = bench_now();
            publish(baton, bench, 1);
            last = wait_for(bench, before, 1);
            apr_pool_clear(bench->scratch);
            if (i >= 0) {
                printf("%s%" APR_INT64_T_FMT, i ? "," : "", last - start);
            }
            apr_sleep(BENCH_PAUSE);
        }
        fputs("]}\n", stdout);
    } else if (strcmp(bench->what, "sustained") == 0) {
        look(bench, before);
        start = bench_now();
        for (int sent = 0; sent < bench->count; sent += bench->batch) {
            publish(baton, bench, bench->batch < bench->count - sent ? bench->batch : bench->count - sent);
            apr_pool_clear(bench->scratch);
        }
        last = wait_for(bench, before, (apr_uint64_t)bench->count);
        printf("{\"messages\":%d,\"deliveries\":%d,\"seconds\":%.6f}\n", bench->count, bench->count * bench->receivers,
               (double)(last - start) / APR_USEC_PER_SEC);
    } else {
        bench_fail("what is '%s': latency or sustained", bench->what);
    }
}

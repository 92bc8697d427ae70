/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bench's generator and subscriber for NATS (core, without JetStream), over libnats.
 *
 *   nats what board keys receivers bytes count batch port place
 *
 * what: latency, sustained  publishes to the subject `bench`; where `batch` is 1, each is flushed before the next; place is not looked at
 *       receive             subscribes to it, prints `ready`, and handles each message as the receiver of that place of the
 *                           board, until it is killed or the server goes
 *
 * A server closes a subscriber that lags behind; one to be measured gets more write_deadline and max_pending than by default.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <nats/nats.h>

#include "measure.h"

#define SUBJECT "bench"
#define PATIENCE 60000 /* milliseconds for an answer; a subscriber looks so often whether the connection is still there */

static void check(natsStatus status, const char *what)
{
    const char *detail;

    if (status != NATS_OK) {
        detail = nats_GetLastError(NULL);
        bench_fail("NATS: %s: %s%s%s", what, natsStatus_GetText(status), detail ? ": " : "", detail ? detail : "");
    }
}

/* A connection that was lost may have lost messages: no other follows it. */
static natsConnection *connect_to(bench_t *bench, const char *port)
{
    natsConnection *nats;
    natsOptions *options;

    check(natsOptions_Create(&options), "options");
    check(natsOptions_SetURL(options, apr_psprintf(bench->pool, "nats://127.0.0.1:%s", port)), "the port");
    check(natsOptions_SetAllowReconnect(options, false), "no second connection");
    check(natsConnection_Connect(&nats, options), "cannot connect");
    natsOptions_Destroy(options);
    return nats;
}

typedef struct publisher_t {
    natsConnection *nats;
    int published;
} publisher_t;

/* Several at a time: nobody waits for an acknowledgement before the last. */
static void publish(void *baton, bench_t *bench, int count)
{
    publisher_t *publisher = baton;
    natsConnection *nats = publisher->nats;

    for (int i = 0; i < count; i++) {
        apr_size_t length;
        const char *message = bench_sealed(bench, &length);

        check(natsConnection_Publish(nats, SUBJECT, message, (int)length), "publish");
    }
    publisher->published += count;
    if (count == 1 || publisher->published >= bench->count) {
        check(natsConnection_FlushTimeout(nats, PATIENCE), "flush");
    }
}

/* A message that was dropped, or a lost connection, is an error of the call that waits for the next one. */
static void receive(natsConnection *nats, bench_t *bench, bench_place_t *place) __attribute__((noreturn));
static void receive(natsConnection *nats, bench_t *bench, bench_place_t *place)
{
    natsSubscription *subscription;
    natsMsg *message;

    check(natsConnection_SubscribeSync(&subscription, nats, SUBJECT), "subscribe");
    check(natsSubscription_SetPendingLimits(subscription, -1, -1), "no limits");
    check(natsConnection_FlushTimeout(nats, PATIENCE), "the subscription is not confirmed");
    puts("ready");
    fflush(stdout);
    for (;;) {
        natsStatus status = natsSubscription_NextMsg(&message, subscription, PATIENCE);

        if (status == NATS_TIMEOUT) {
            continue;
        }
        check(status, "receive");
        bench_handle(bench, place, natsMsg_GetData(message), (apr_size_t)natsMsg_GetDataLength(message));
        natsMsg_Destroy(message);
    }
}

int main(int argc, const char *const *argv)
{
    static bench_t bench;
    publisher_t publisher = {0};
    natsConnection *nats;

    bench_begin(&bench, argc, argv, 2, "port place");
    nats = connect_to(&bench, bench.more[0]);
    if (strcmp(bench.what, "receive") == 0) {
        receive(nats, &bench, bench_place(&bench, bench.more[1]));
    }
    publisher.nats = nats;
    bench_run(&bench, publish, &publisher);
    natsConnection_Destroy(nats);
    nats_Close();
    return 0;
}

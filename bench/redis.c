/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bench's generator and subscriber for Redis pub/sub, over libhiredis.
 *
 *   redis what board keys receivers bytes count batch port place
 *
 * what: latency, sustained  publishes to the channel `bench`: `batch` messages are one pipeline; place is not looked at
 *       receive             subscribes to it, prints `ready`, and handles each message as the receiver of that place of the
 *                           board, until it is killed or the server goes
 *
 * A server closes a subscriber that lags behind; one to be measured gets `--client-output-buffer-limit "pubsub 0 0 0"`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis.h>

#include "measure.h"

#define CHANNEL "bench"
#define PATIENCE 60 /* seconds for a connection or an answer */

static redisContext *connect_to(const char *port)
{
    const struct timeval patience = {PATIENCE, 0};
    redisContext *redis = redisConnectWithTimeout("127.0.0.1", atoi(port), patience);

    if (!redis || redis->err) {
        bench_fail("cannot connect to port %s: %s", port, redis ? redis->errstr : "no memory");
    }
    return redis;
}

/* @return never NULL; freeReplyObject frees it */
static redisReply *read_reply(redisContext *redis)
{
    void *reply;

    if (redisGetReply(redis, &reply) != REDIS_OK) {
        bench_fail("Redis: %s", redis->errstr);
    }
    return reply;
}

typedef struct publisher_t {
    redisContext *redis;
    int published, acknowledged;
} publisher_t;

/* Several at a time: while those before are acknowledged, the next ones are under way already. */
static void publish(void *baton, bench_t *bench, int count)
{
    publisher_t *publisher = baton;
    redisContext *redis = publisher->redis;
    int before = publisher->published, done = 0;

    for (int i = 0; i < count; i++) {
        apr_size_t length;
        const char *message = bench_sealed(bench, &length);

        if (redisAppendCommand(redis, "PUBLISH " CHANNEL " %b", message, length) != REDIS_OK) {
            bench_fail("Redis: %s", redis->errstr);
        }
    }
    publisher->published += count;
    while (!done) {
        if (redisBufferWrite(redis, &done) != REDIS_OK) {
            bench_fail("Redis: %s", redis->errstr);
        }
    }
    if (count == 1 || publisher->published >= bench->count) {
        before = publisher->published;
    }
    for (; publisher->acknowledged < before; publisher->acknowledged++) {
        redisReply *reply = read_reply(redis);

        if (reply->type == REDIS_REPLY_ERROR) {
            bench_fail("Redis: %s", reply->str);
        }
        if (reply->type != REDIS_REPLY_INTEGER || reply->integer != bench->receivers) {
            bench_fail("%lld subscribers got a message: there should be %d", reply->integer, bench->receivers);
        }
        freeReplyObject(reply);
    }
}

/* What a subscriber is sent: the kind, the channel, and a text or a number. */
static int is_push(const redisReply *reply, const char *kind, int type)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && reply->element[0]->type == REDIS_REPLY_STRING
           && strcmp(reply->element[0]->str, kind) == 0 && reply->element[2]->type == type;
}

static void receive(redisContext *redis, bench_t *bench, bench_place_t *place) __attribute__((noreturn));
static void receive(redisContext *redis, bench_t *bench, bench_place_t *place)
{
    redisReply *reply;

    if (redisAppendCommand(redis, "SUBSCRIBE " CHANNEL) != REDIS_OK) {
        bench_fail("Redis: %s", redis->errstr);
    }
    reply = read_reply(redis);
    if (!is_push(reply, "subscribe", REDIS_REPLY_INTEGER)) {
        bench_fail("Redis does not confirm the subscription: %s",
                   reply->type == REDIS_REPLY_ERROR ? reply->str : "another answer");
    }
    freeReplyObject(reply);
    puts("ready");
    fflush(stdout);
    redisSetTimeout(redis, (struct timeval){0, 0});
    for (;;) {
        reply = read_reply(redis);
        if (!is_push(reply, "message", REDIS_REPLY_STRING)) {
            bench_fail("Redis sent a subscriber what is no message");
        }
        bench_handle(bench, place, reply->element[2]->str, reply->element[2]->len);
        freeReplyObject(reply);
    }
}

int main(int argc, const char *const *argv)
{
    static bench_t bench;
    publisher_t publisher = {0};
    redisContext *redis;

    bench_begin(&bench, argc, argv, 2, "port place");
    redis = connect_to(bench.more[0]);
    redisSetTimeout(redis, (struct timeval){PATIENCE, 0});
    if (strcmp(bench.what, "receive") == 0) {
        receive(redis, &bench, bench_place(&bench, bench.more[1]));
    }
    publisher.redis = redis;
    bench_run(&bench, publish, &publisher);
    redisFree(redis);
    return 0;
}

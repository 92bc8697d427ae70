/* SPDX-License-Identifier: Apache-2.0 */
#include "relay_private.h"

#include <stdlib.h>

#define LOOKS_APART apr_time_from_sec(1) /* svl_relay_watch is called so often */
#define TOGETHER apr_time_from_msec(100) /* acknowledgements no further apart may be watched as one, from the first one on */

static void push(svl_relay_watches_t *list, svl_relay_watch_t *watch)
{
    watch->next = NULL;
    if (list->tail) {
        list->tail->next = watch;
    }
    else {
        list->head = watch;
    }
    list->tail = watch;
}

static svl_relay_watch_t *pop(svl_relay_watches_t *list)
{
    svl_relay_watch_t *watch = list->head;
    if (watch) {
        list->head = watch->next;
        list->tail = list->head ? list->tail : NULL;
    }
    return watch;
}

static void forget(svl_relay_t *relay, svl_relay_watch_t *watch)
{
    __atomic_sub_fetch(&relay->watched, 1, __ATOMIC_RELAXED);
    svl_relay_path_release(watch->path);
    free(watch);
}

/* @return nonzero when the calls that were acknowledged last are the ones before these, with the same way to go */
static int joins(svl_relay_watch_t *last, const svl_relay_slice_t *slice, apr_time_t now)
{
    if (!last || last->route.nodes != slice->route.nodes + 1 || last->route.count != slice->route.count - 1
        || last->first + last->count != slice->first || now - last->acknowledged > TOGETHER || now < last->acknowledged) {
        return 0;
    }
    last->count += slice->count;
    return 1;
}

/* What was handed over last is what the peer has most likely not handed on, so the oldest make room.
 * @return nonzero when there is room */
static int make_room(svl_relay_t *relay, svl_relay_lane_t *lane)
{
    if (relay->watched < SVL_RELAY_WATCHED_MAX) {
        return 1;
    }
    if (!relay->overflowed) {
        relay->overflowed = 1;
        svl_log_write(
            relay->options.log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_SUCCESS,
            SVLNO(0321) "more than %d routes were handed over by this process within a sync interval: should their nodes "
                        "go down, the oldest ones are left to sync; not told again",
            SVL_RELAY_WATCHED_MAX);
    }
    if (!lane->watched.head) {
        return 0;
    }
    forget(relay, pop(&lane->watched));
    return 1;
}

void svl_relay_watch_add(svl_relay_t *relay, svl_relay_lane_t *lane, const svl_relay_slice_t *slice, apr_time_t now)
{
    svl_relay_watch_t *watch;
    if (!relay->options.look || slice->route.count < 2 || joins(lane->watched.tail, slice, now) || !make_room(relay, lane)) {
        return;
    }
    watch = malloc(sizeof(*watch));
    if (!watch) { /* then sync has it */
        return;
    }
    *watch = (svl_relay_watch_t){
        .first = slice->first,
        .count = slice->count,
        .acknowledged = now,
        .path = slice->batch->path,
        .route = {.count = slice->route.count - 1, .nodes = slice->route.nodes + 1},
    };
    if (watch->path) {
        watch->path->refs++;
    }
    __atomic_add_fetch(&relay->watched, 1, __ATOMIC_RELAXED);
    push(&lane->watched, watch);
}

void svl_relay_watch_forget(svl_relay_t *relay)
{
    for (apr_uint32_t i = 0; i < relay->options.count; i++) {
        for (svl_relay_watch_t *watch; (watch = pop(&relay->lanes[i].watched)) != NULL;) {
            forget(relay, watch);
        }
    }
}

/* So early that an interval has not passed by much when the look after that comes. */
static apr_time_t due(const svl_relay_t *relay, const svl_relay_watch_t *watch)
{
    apr_interval_time_t look = relay->options.look;
    return watch->acknowledged + (look > 2 * LOOKS_APART ? look - LOOKS_APART : look / 2);
}

static int is_due(const svl_relay_t *relay, const svl_relay_watch_t *watch, apr_time_t now)
{
    return watch && (now >= due(relay, watch) || now < watch->acknowledged); /* the clock was set back */
}

/* Forgets what the peer has outlived: it has handed that on, or does so; and when it is started again, its log tells it to. */
static void forget_proven(svl_relay_t *relay, svl_relay_lane_t *lane, apr_time_t now)
{
    apr_time_t last_ok = __atomic_load_n(&lane->peer->state->last_ok, __ATOMIC_RELAXED);
    if (!svl_peer_living(lane->peer->state)) {
        return;
    }
    while (is_due(relay, lane->watched.head, now)
           && (lane->answer == SVL_PEER_OK || last_ok >= due(relay, lane->watched.head))) {
        forget(relay, pop(&lane->watched));
    }
}

/* Which peers have to be asked.  One that a sibling asks just now is looked at in a second. */
static int to_ask(svl_relay_t *relay, svl_relay_lane_t **asked, apr_time_t now)
{
    int count = 0;
    for (apr_uint32_t i = 0; i < relay->options.count; i++) {
        svl_relay_lane_t *lane = &relay->lanes[i];
        lane->answer = SVL_PEER_SKIPPED;
        if (!lane->watched.head) {
            continue;
        }
        forget_proven(relay, lane, now);
        if (count < SVL_RELAY_PROBES_MAX && is_due(relay, lane->watched.head, now) && svl_peer_living(lane->peer->state)
            && svl_peer_claim_look(lane->peer->state, now)) {
            asked[count++] = lane;
        }
    }
    return count;
}

/* Not through the log: the batch's own work there may still be open for other slices, and what is lost with this process now is what
 * sync is for. */
static int relay_again(svl_relay_t *relay, const svl_relay_watch_t *watch)
{
    svl_relay_batch_t *batch = NULL;
    if (relay->waiting < SVL_RELAY_QUEUE_MAX) {
        batch = svl_relay_queue_batch(relay, watch->first, watch->count, &watch->route, NULL, SVL_RELAY_AGAIN_ARITY);
    }
    if (!batch) {
        return 0;
    }
    batch->abandoned = 1;
    svl_relay_queue_out(relay, batch);
    return 1;
}

static void stand_in(svl_relay_t *relay, svl_relay_lane_t *lane, apr_time_t now)
{
    apr_uint64_t calls = 0, left = 0;
    while (is_due(relay, lane->watched.head, now)) {
        svl_relay_watch_t *watch = pop(&lane->watched);
        *(relay_again(relay, watch) ? &calls : &left) += watch->count;
        forget(relay, watch);
    }
    svl_log_write(relay->options.log, SVL_LOG_MARK, SVL_LOG_NOTICE, APR_SUCCESS,
                  SVLNO(0320) "node %s has not been heard of since it took %" APR_UINT64_T_FMT
                              " calls over: this node relays them to the nodes behind it (%" APR_UINT64_T_FMT
                              " are left to sync)",
                  lane->peer->name, calls + left, left);
}

static void decide(svl_relay_t *relay, svl_relay_lane_t *lane, apr_time_t now)
{
    forget_proven(relay, lane, now);
    if (is_due(relay, lane->watched.head, now) && (lane->answer != SVL_PEER_SKIPPED || !svl_peer_living(lane->peer->state))) {
        stand_in(relay, lane, now);
    }
}

void svl_relay_watch(svl_relay_t *relay, apr_time_t now)
{
    svl_relay_lane_t *asked[SVL_RELAY_PROBES_MAX];
    int count, more = 0;
    if (!__atomic_load_n(&relay->watched, __ATOMIC_RELAXED)) {
        return;
    }
    svl_relay_lock(relay);
    count = to_ask(relay, asked, now);
    svl_relay_unlock(relay);
    svl_relay_probe_lanes(relay, asked, count);
    svl_relay_lock(relay);
    if (!relay->stopping) {
        for (apr_uint32_t i = 0; i < relay->options.count; i++) {
            if (relay->lanes[i].watched.head) {
                decide(relay, &relay->lanes[i], now);
            }
        }
        more = svl_relay_work_count(relay, 1);
    }
    svl_relay_unlock(relay);
    svl_relay_work_start(relay, more);
}

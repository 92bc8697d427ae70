/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each function has a lane of positions; run threads take from the lanes in turn.  A lane may hold at most half of the threads that other
 * lanes leave it, so one slow function, or several, never holds the last thread.  Suspects (calls that two processes died of, it seems)
 * have a lane of their own, where one runs at a time, and not beside other reruns: the guilty one shall not take the others along a
 * third time.
 */
#include "runs_private.h"

#include <stdlib.h>

#include "../transport/transport.h"
#include "run.h"

#define LANE_KEPT 4096                      /* positions that an empty lane keeps room for */
#define LANE_START 64                       /* positions a lane has room for at first */
#define SUSPECTS_WAIT apr_time_from_sec(10) /* for reruns of which none begins or ends */
#define END_WAIT apr_time_from_msec(500)    /* for the end of a run to be recorded, and for one that takes longer than usual */
#define FEW 2                               /* threads in a lane of short runs */

svl_runs_lane_t *svl_runs_lane_of(svl_runs_t *runs, const svl_function_t *function)
{
    return &runs->lanes[function ? function->index : runs->count - 2];
}

svl_runs_lane_t *svl_runs_suspects(const svl_runs_t *runs)
{
    return &runs->lanes[runs->count - 1];
}

/* svl_runs_room looks at it without the lock. */
static void lane_count(svl_runs_lane_t *lane, apr_uint32_t count)
{
    __atomic_store_n(&lane->count, count, __ATOMIC_RELAXED);
}

int svl_runs_lane_push(svl_runs_lane_t *lane, apr_uint64_t position)
{
    if (lane->count == lane->room) {
        apr_uint32_t room = lane->room ? 2 * lane->room : LANE_START;
        apr_uint64_t *positions = malloc(room * sizeof(*positions));
        if (!positions) {
            return 0;
        }
        for (apr_uint32_t i = 0; i < lane->count; i++) {
            positions[i] = lane->positions[(lane->head + i) % lane->room];
        }
        free(lane->positions);
        lane->positions = positions;
        lane->room = room;
        lane->head = 0;
    }
    lane->positions[(lane->head + lane->count) % lane->room] = position;
    lane_count(lane, lane->count + 1);
    return 1;
}

/* @return microseconds that a run of the lane takes, as far as this child and this node know; -1: nobody knows */
static apr_int64_t usual(const svl_runs_lane_t *lane)
{
    const svl_histogram_t *all = lane->function ? &lane->function->shared->seconds : NULL;
    apr_uint64_t count = 0, mean;
    for (int i = 0; all && i < SVL_HISTOGRAM_BUCKETS; i++) {
        count += __atomic_load_n(&all->buckets[i], __ATOMIC_RELAXED);
    }
    if (!count) {
        return lane->mean ? lane->mean : -1;
    }
    mean = __atomic_load_n(&all->sum, __ATOMIC_RELAXED) / count;
    return lane->mean > (apr_int64_t)mean ? lane->mean : (apr_int64_t)mean;
}

/* A child that leaves begins nothing that it would be likely to cut short: its siblings, or the next start, have it still to do. */
static int has_time(const svl_runs_t *runs, const svl_runs_lane_t *lane)
{
    apr_int64_t micros;
    if (!runs->leave) {
        return 1;
    }
    micros = lane == svl_runs_suspects(runs) ? -1 : usual(lane);
    return micros >= 0 && apr_time_now() + 2 * micros + END_WAIT < runs->leave;
}

/* Of runs that take microseconds a few threads do as many as many do, which would mostly wake up and find nothing.  Those that have been at
 * one for a while do not count: they may hang. */
int svl_runs_lane_crowded(const svl_runs_t *runs, const svl_runs_lane_t *lane)
{
    apr_time_t now;
    int few = 0;
    if (lane->running < FEW || !lane->mean || lane->count * lane->mean >= FEW * (apr_int64_t)SVL_RUNS_TAKE_MICROS) {
        return 0;
    }
    now = svl_transport_monotonic();
    for (int i = 0; i < SVL_RUN_THREADS; i++) {
        few += runs->places[i].lane == lane && now - runs->places[i].since < SVL_RUNS_CROWDED_WAIT;
    }
    return few >= FEW;
}

/* Half, rounded up, of what the other lanes leave.  One rerun that hangs does not hold the suspects for ever. */
int svl_runs_lane_wants(const svl_runs_t *runs, const svl_runs_lane_t *lane)
{
    int others = runs->inside - lane->running;
    if (lane->stalled
        || (lane == svl_runs_suspects(runs) && (lane->running || runs->reruns)
            && svl_transport_monotonic() - runs->moved < SUSPECTS_WAIT)) {
        return 0;
    }
    return lane->count > 0 && lane->running < (SVL_RUN_THREADS - others + 1) / 2 && has_time(runs, lane);
}

static int lane_may_run(const svl_runs_t *runs, const svl_runs_lane_t *lane)
{
    return svl_runs_lane_wants(runs, lane) && !svl_runs_lane_crowded(runs, lane);
}

/* What is not to run twice is marked in the log before it runs, and that may take the time of a write. */
int svl_runs_lane_quick(const svl_runs_lane_t *lane, apr_int64_t count)
{
    return lane->function && lane->function->on_crash == SERVICELESS_RERUN && lane->mean
           && count * lane->mean <= SVL_RUNS_QUICK_MICROS;
}

svl_runs_lane_t *svl_runs_lane_next(svl_runs_t *runs, int quick)
{
    for (apr_uint32_t i = 0; i < runs->count; i++) {
        svl_runs_lane_t *lane = &runs->lanes[(runs->next + i) % runs->count];
        if (lane_may_run(runs, lane) && (!quick || svl_runs_lane_quick(lane, 1))) {
            runs->next = (runs->next + i + 1) % runs->count;
            return lane;
        }
    }
    return NULL;
}

/* Of positions taken from a lane. */
int svl_runs_count_reruns(const svl_runs_t *runs, const svl_runs_lane_t *lane, const apr_uint64_t *positions,
                          apr_uint32_t count)
{
    int reruns = 0;
    for (apr_uint32_t i = 0; lane != svl_runs_suspects(runs) && i < count; i++) {
        reruns += (positions[i] & SVL_RUNS_RERUN) != 0;
    }
    return reruns;
}

apr_uint32_t svl_runs_lane_take(svl_runs_lane_t *lane, apr_int64_t micros, apr_uint64_t *positions)
{
    apr_int64_t most = lane->mean ? micros / lane->mean : 1;
    apr_uint32_t count = most < 1 ? 1 : most > SVL_RUNS_TAKE_MAX ? SVL_RUNS_TAKE_MAX : (apr_uint32_t)most;
    count = count < lane->count ? count : lane->count;
    for (apr_uint32_t i = 0; i < count; i++) {
        positions[i] = lane->positions[lane->head];
        lane->head = (lane->head + 1) % lane->room;
    }
    lane_count(lane, lane->count - count);
    if (!lane->count && lane->room > LANE_KEPT) {
        free(lane->positions);
        lane->positions = NULL;
        lane->room = lane->head = 0;
    }
    return count;
}

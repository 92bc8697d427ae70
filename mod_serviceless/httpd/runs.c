/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each function has a lane of positions; run threads take from the lanes in turn.  A lane may hold at most half of the threads that other
 * lanes leave it, so one slow function, or several, never holds the last thread.  Suspects (calls that two processes died of, it seems)
 * have a lane of their own, where one runs at a time, and not beside other reruns: the guilty one shall not take the others along a
 * third time.
 */
#include "run.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>
#include <http_log.h>

#include "../core/guard.h"
#include "../core/pool.h"
#include "../transport/crew.h"
#include "../transport/transport.h"
#include "runs_private.h"

#define TAKE_MICROS 1000                    /* as many as run in about this time */
#define LANE_KEPT 4096                      /* positions that an empty lane keeps room for */
#define LANE_START 64                       /* positions a lane has room for at first */
#define FEW 2                               /* threads in a lane of short runs */
#define CROWDED_WAIT 2000                   /* microseconds after which they are taken to hang */
#define POOLS_KEPT 4                        /* more would seldom be used, and keep memory */
#define SUSPECTS_WAIT apr_time_from_sec(10) /* for reruns of which none begins or ends */
#define END_WAIT apr_time_from_msec(500)    /* for the end of a run to be recorded, and for one that takes longer than usual */

APLOG_USE_MODULE(serviceless);

typedef struct lane_t {
    const svl_function_t *function; /* NULL: functions are told of missed calls */
    apr_uint64_t *positions;        /* a ring */
    apr_uint32_t room, head, count;
    int running;      /* threads in it */
    int stalled;      /* the log failed for what was taken last: not before the next poke */
    apr_int64_t mean; /* microseconds of a run, moving; 0: not known */
    apr_time_t moved; /* when a thread last took something, monotonic */
} lane_t;

struct svl_runs_t {
    svl_runtime_t *runtime;
    apr_thread_mutex_t *lock;
    apr_thread_cond_t *idle; /* a thread went idle */
    svl_crew_t *crew;
    lane_t *lanes; /* by svl_function_t.index; then one for telling of missed calls, and one for suspects */
    apr_uint32_t count;
    apr_uint32_t next; /* lane to look at first */
    int busy;          /* threads that run, or were asked to */
    int inside;        /* threads in a lane */
    int reruns;        /* first ones, of all lanes: waiting or running */
    apr_time_t moved;  /* when a rerun was last taken or ended, monotonic */
    apr_time_t leave;  /* deadline of a child that leaves; 0: it does not */
    int stopping;
    apr_pool_t *resting[POOLS_KEPT]; /* of threads whose turn has ended */
    int rested;
};

static void work(void *baton);

apr_status_t svl_runs_create(svl_runs_t **out, svl_runtime_t *runtime, apr_pool_t *p)
{
    svl_runs_t *runs = apr_pcalloc(p, sizeof(*runs));
    apr_status_t rv = apr_thread_mutex_create(&runs->lock, APR_THREAD_MUTEX_DEFAULT, p);
    if (rv == APR_SUCCESS) {
        rv = apr_thread_cond_create(&runs->idle, p);
    }
    if (rv == APR_SUCCESS) {
        rv = svl_crew_create(&runs->crew, SVL_RUN_THREADS, work, runs, p);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    runs->runtime = runtime;
    runs->count = apr_hash_count(runtime->node->functions) + 2;
    runs->lanes = apr_pcalloc(p, runs->count * sizeof(*runs->lanes));
    for (apr_hash_index_t *hi = apr_hash_first(p, runtime->node->functions); hi; hi = apr_hash_next(hi)) {
        const svl_function_t *function = apr_hash_this_val(hi);
        runs->lanes[function->index].function = function;
    }
    *out = runs;
    return APR_SUCCESS;
}

static lane_t *lane_of(svl_runs_t *runs, const svl_function_t *function)
{
    return &runs->lanes[function ? function->index : runs->count - 2];
}

static lane_t *suspects_of(const svl_runs_t *runs)
{
    return &runs->lanes[runs->count - 1];
}

/* svl_runs_room looks at it without the lock. */
static void lane_count(lane_t *lane, apr_uint32_t count)
{
    __atomic_store_n(&lane->count, count, __ATOMIC_RELAXED);
}

static int lane_push(lane_t *lane, apr_uint64_t position)
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

static void log_unqueued(const svl_runs_t *runs, apr_uint64_t position)
{
    ap_log_error(APLOG_MARK, APLOG_CRIT, APR_ENOMEM, runs->runtime->node->server,
                 SVLNO(0114) "out of memory: the run of log position %" APR_UINT64_T_FMT " stays pending until this child ends",
                 position & ~SVL_RUNS_RERUN);
}

/* @return microseconds that a run of the lane takes, as far as this child and this node know; -1: nobody knows */
static apr_int64_t usual(const lane_t *lane)
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
static int has_time(const svl_runs_t *runs, const lane_t *lane)
{
    apr_int64_t micros;
    if (!runs->leave) {
        return 1;
    }
    micros = lane == suspects_of(runs) ? -1 : usual(lane);
    return micros >= 0 && apr_time_now() + 2 * micros + END_WAIT < runs->leave;
}

/* Of runs that take microseconds a few threads do as many as many do, which would mostly wake up and find nothing.  Unless none of them has
 * come back for more for a while. */
static int is_crowded(const lane_t *lane)
{
    return lane->running >= FEW && lane->mean && lane->count * lane->mean < lane->running * (apr_int64_t)TAKE_MICROS
           && svl_transport_monotonic() - lane->moved < CROWDED_WAIT;
}

/* Half, rounded up, of what the other lanes leave.  One rerun that hangs does not hold the suspects for ever. */
static int lane_may_run(const svl_runs_t *runs, const lane_t *lane)
{
    int others = runs->inside - lane->running;
    if (lane->stalled
        || (lane == suspects_of(runs) && (lane->running || runs->reruns)
            && svl_transport_monotonic() - runs->moved < SUSPECTS_WAIT)) {
        return 0;
    }
    return lane->count > 0 && lane->running < (SVL_RUN_THREADS - others + 1) / 2 && !is_crowded(lane) && has_time(runs, lane);
}

static lane_t *lane_next(svl_runs_t *runs)
{
    for (apr_uint32_t i = 0; i < runs->count; i++) {
        lane_t *lane = &runs->lanes[(runs->next + i) % runs->count];
        if (lane_may_run(runs, lane)) {
            runs->next = (runs->next + i + 1) % runs->count;
            return lane;
        }
    }
    return NULL;
}

/* Of positions taken from a lane. */
static int count_reruns(const svl_runs_t *runs, const lane_t *lane, const apr_uint64_t *positions, apr_uint32_t count)
{
    int reruns = 0;
    for (apr_uint32_t i = 0; lane != suspects_of(runs) && i < count; i++) {
        reruns += (positions[i] & SVL_RUNS_RERUN) != 0;
    }
    return reruns;
}

static apr_uint32_t lane_take(lane_t *lane, int single, apr_uint64_t *positions)
{
    apr_int64_t most = lane->mean && !single ? TAKE_MICROS / lane->mean : 1;
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

/* With the lock held: asks for one more thread when a lane could use it. */
static void wake(svl_runs_t *runs)
{
    if (runs->stopping || runs->busy >= SVL_RUN_THREADS) {
        return;
    }
    for (apr_uint32_t i = 0; i < runs->count; i++) {
        if (lane_may_run(runs, &runs->lanes[i])) {
            apr_status_t rv = svl_crew_ask(runs->crew);
            if (rv == APR_SUCCESS) {
                runs->busy++;
            }
            else {
                ap_log_error(APLOG_MARK, APLOG_ERR, rv, runs->runtime->node->server,
                             SVLNO(0113) "no thread to run calls: they wait for one");
            }
            return;
        }
    }
}

/* What the log failed for is tried again after the next poke; their order is nobody's promise. */
static void put_back(svl_runs_t *runs, lane_t *lane, const apr_uint64_t *positions, apr_uint32_t count)
{
    for (apr_uint32_t i = 0; i < count; i++) {
        lane->stalled = 1;
        if (!lane_push(lane, positions[i])) {
            log_unqueued(runs, positions[i]);
        }
    }
}

/* With the lock held.  A new pool for each turn would cost pages that are given back and cleared again. */
static apr_pool_t *take_pool(svl_runs_t *runs)
{
    apr_pool_t *pool;
    if (runs->rested) {
        return runs->resting[--runs->rested];
    }
    svl_pool_make(&pool);
    svl_pool_modest(pool);
    return pool;
}

/* One turn of a thread: until no lane may run. */
static void work(void *baton)
{
    svl_runs_t *runs = baton;
    apr_uint64_t positions[SVL_RUNS_TAKE_MAX];
    apr_pool_t *pool;
    lane_t *lane;
    apr_thread_mutex_lock(runs->lock);
    pool = take_pool(runs);
    while (!runs->stopping && (lane = lane_next(runs)) != NULL) {
        apr_uint32_t count = lane_take(lane, lane == suspects_of(runs), positions);
        int reruns = lane == suspects_of(runs) || count_reruns(runs, lane, positions, count);
        svl_runs_batch_t batch = {.runtime = runs->runtime,
                                  .function = lane->function,
                                  .telling = lane == lane_of(runs, NULL),
                                  .positions = positions,
                                  .count = count};
        lane->running++;
        lane->moved = svl_transport_monotonic();
        runs->inside++;
        runs->moved = reruns ? svl_transport_monotonic() : runs->moved;
        wake(runs);
        apr_thread_mutex_unlock(runs->lock);
        svl_runs_batch_run(&batch, pool);
        apr_pool_clear(pool);
        apr_thread_mutex_lock(runs->lock);
        lane->running--;
        runs->inside--;
        runs->moved = reruns ? svl_transport_monotonic() : runs->moved;
        runs->reruns -= count_reruns(runs, lane, positions, batch.done);
        put_back(runs, lane, positions + batch.done, count - batch.done);
        /* Up at once, down slowly, and not by what did not run: after one slow run a lane takes singly for a while. */
        if (batch.longest) {
            lane->mean = batch.longest > lane->mean ? batch.longest : (3 * lane->mean + batch.longest + 3) / 4;
        }
    }
    if (runs->rested < POOLS_KEPT) {
        runs->resting[runs->rested++] = pool;
        pool = NULL;
    }
    runs->busy--;
    apr_thread_cond_signal(runs->idle);
    apr_thread_mutex_unlock(runs->lock);
    if (pool) {
        apr_pool_destroy(pool);
    }
}

int svl_runs_room(svl_runs_t *runs, const svl_function_t *function)
{
    const lane_t *lane = lane_of(runs, function);
    return __atomic_load_n(&lane->count, __ATOMIC_RELAXED) < SVL_RUN_QUEUE_MAX;
}

void svl_runs_push(svl_runs_t *runs, const svl_function_t *function, apr_uint64_t position, unsigned int attempts)
{
    lane_t *lane = function && attempts >= SVL_RUN_SUSPECT ? suspects_of(runs) : lane_of(runs, function);
    sigset_t before;
    int queued;
    svl_guard_enter(&before);
    apr_thread_mutex_lock(runs->lock);
    queued = lane_push(lane, attempts ? position | SVL_RUNS_RERUN : position);
    runs->reruns += queued && attempts && lane != suspects_of(runs);
    wake(runs);
    apr_thread_mutex_unlock(runs->lock);
    svl_guard_leave(&before);
    if (!queued) {
        log_unqueued(runs, position);
    }
}

void svl_runs_push_all(svl_runs_t *runs, const svl_function_t *function, const apr_uint64_t *positions, int count)
{
    lane_t *lane = lane_of(runs, function);
    sigset_t before;
    int queued = 0;
    svl_guard_enter(&before);
    apr_thread_mutex_lock(runs->lock);
    while (queued < count && lane_push(lane, positions[queued])) {
        queued++;
    }
    wake(runs);
    apr_thread_mutex_unlock(runs->lock);
    svl_guard_leave(&before);
    for (; queued < count; queued++) {
        log_unqueued(runs, positions[queued]);
    }
}

void svl_runs_poke(svl_runs_t *runs)
{
    apr_thread_mutex_lock(runs->lock);
    for (apr_uint32_t i = 0; i < runs->count; i++) {
        runs->lanes[i].stalled = 0;
    }
    wake(runs);
    apr_thread_mutex_unlock(runs->lock);
    svl_crew_poke(runs->crew);
}

void svl_runs_leave(svl_runs_t *runs, apr_time_t deadline)
{
    sigset_t before;
    svl_guard_enter(&before);
    apr_thread_mutex_lock(runs->lock);
    runs->leave = runs->leave && runs->leave < deadline ? runs->leave : deadline;
    apr_thread_mutex_unlock(runs->lock);
    svl_guard_leave(&before);
}

apr_status_t svl_runs_stop(svl_runs_t *runs, apr_time_t deadline)
{
    int busy;
    apr_thread_mutex_lock(runs->lock);
    /* While anything waits that may still begin, a thread is busy, if there is one at all. */
    for (apr_time_t now = apr_time_now(); runs->busy && now < deadline; now = apr_time_now()) {
        apr_thread_cond_timedwait(runs->idle, runs->lock, deadline - now);
    }
    runs->stopping = 1;
    busy = runs->busy;
    apr_thread_mutex_unlock(runs->lock);
    return busy ? APR_TIMEUP : APR_SUCCESS;
}

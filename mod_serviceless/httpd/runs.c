/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that run what waits in the lanes (runs_lane.c), in turns.
 */
#include "run.h"

#include <apr_strings.h>
#include <http_log.h>

#include "../core/guard.h"
#include "../core/pool.h"
#include "../transport/transport.h"
#include "runs_private.h"

APLOG_USE_MODULE(serviceless);

static void work(void *baton);

apr_status_t svl_runs_create(svl_runs_t **out, svl_runtime_t *runtime, apr_pool_t *p)
{
    svl_runs_t *runs = apr_pcalloc(p, sizeof(*runs));
    apr_status_t rv = svl_pool_create(&runs->pool);
    if (rv == APR_SUCCESS) {
        apr_allocator_max_free_set(apr_pool_allocator_get(runs->pool), SVL_RUNS_KEPT);
        rv = apr_thread_mutex_create(&runs->lock, APR_THREAD_MUTEX_DEFAULT, p);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_thread_cond_create(&runs->idle, p);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_thread_cond_create(&runs->never, p);
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

static void log_unqueued(const svl_runs_t *runs, apr_uint64_t position)
{
    ap_log_error(APLOG_MARK, APLOG_CRIT, APR_ENOMEM, runs->runtime->node->server,
                 SVLNO(0114) "out of memory: the run of log position %" APR_UINT64_T_FMT " stays pending until this child ends",
                 position & ~SVL_RUNS_RERUN);
}

/* With the lock held: whether a lane could use one more thread, if only to see after a moment whether it is crowded still.  It counts as
 * busy then, and is to be asked for without the lock, which it wants at once. */
static int needs_thread(svl_runs_t *runs)
{
    if (runs->stopping || runs->busy >= SVL_RUN_THREADS) {
        return 0;
    }
    for (apr_uint32_t i = 0; i < runs->count; i++) {
        if (svl_runs_lane_wants(runs, &runs->lanes[i]) && (!runs->watching || !svl_runs_lane_crowded(runs, &runs->lanes[i]))) {
            runs->busy++;
            return 1;
        }
    }
    return 0;
}

static void ask_for(svl_runs_t *runs, int needed)
{
    apr_status_t rv = needed ? svl_crew_ask(runs->crew) : APR_SUCCESS;
    if (rv == APR_SUCCESS) {
        return;
    }
    apr_thread_mutex_lock(runs->lock);
    runs->busy--;
    apr_thread_cond_signal(runs->idle);
    apr_thread_mutex_unlock(runs->lock);
    ap_log_error(APLOG_MARK, APLOG_ERR, rv, runs->runtime->node->server,
                 SVLNO(0113) "no thread to run calls: they wait for one");
}

/* What the log failed for is tried again after the next poke; their order is nobody's promise. */
static void put_back(svl_runs_t *runs, svl_runs_lane_t *lane, const apr_uint64_t *positions, apr_uint32_t count)
{
    for (apr_uint32_t i = 0; i < count; i++) {
        lane->stalled = 1;
        if (!svl_runs_lane_push(lane, positions[i])) {
            log_unqueued(runs, positions[i]);
        }
    }
}

/* With the lock held.  There are as many places as threads. */
static svl_runs_place_t *take_place(svl_runs_t *runs)
{
    svl_runs_place_t *place = runs->places;
    while (place->taken) {
        place++;
    }
    place->taken = 1;
    return place;
}

/* With the lock held, which it gives up meanwhile.  @return a lane that may run; NULL: there is none, or others see to it */
static svl_runs_lane_t *wait_next(svl_runs_t *runs)
{
    svl_runs_lane_t *lane = svl_runs_lane_next(runs, 0);
    for (int wanted = 1; !lane && wanted && !runs->watching && !runs->stopping; lane = svl_runs_lane_next(runs, 0)) {
        wanted = 0;
        for (apr_uint32_t i = 0; i < runs->count; i++) {
            wanted |= svl_runs_lane_wants(runs, &runs->lanes[i]);
        }
        if (wanted) {
            runs->watching = 1;
            apr_thread_cond_timedwait(runs->never, runs->lock, SVL_RUNS_CROWDED_WAIT);
            runs->watching = 0;
        }
    }
    return lane;
}

/* @param once nonzero: what is quick, and taken at one time, without waiting for anything; else until no lane may run */
static void run_lanes(svl_runs_t *runs, int once)
{
    apr_uint64_t positions[SVL_RUNS_TAKE_MAX];
    apr_pool_t *pool = NULL;
    svl_runs_place_t *place;
    svl_runs_lane_t *lane;
    int needed;
    apr_thread_mutex_lock(runs->lock);
    place = take_place(runs);
    do {
        lane = once ? svl_runs_lane_next(runs, 1) : wait_next(runs);
        if (!lane || runs->stopping) {
            break;
        }
        apr_int64_t micros = once ? SVL_RUNS_QUICK_MICROS : lane == svl_runs_suspects(runs) ? 0 : SVL_RUNS_TAKE_MICROS;
        apr_uint32_t count = svl_runs_lane_take(lane, micros, positions);
        int reruns = lane == svl_runs_suspects(runs) || svl_runs_count_reruns(runs, lane, positions, count);
        svl_runs_batch_t batch = {.runtime = runs->runtime,
                                  .function = lane->function,
                                  .telling = lane == svl_runs_lane_of(runs, NULL),
                                  .positions = positions,
                                  .count = count};
        lane->running++;
        place->since = svl_transport_monotonic();
        place->lane = lane;
        runs->inside++;
        runs->moved = reruns ? svl_transport_monotonic() : runs->moved;
        needed = needs_thread(runs);
        apr_thread_mutex_unlock(runs->lock);
        ask_for(runs, needed);
        if (!pool) { /* most threads that wake up find that others see to it */
            apr_pool_create(&pool, runs->pool);
        }
        svl_runs_batch_run(&batch, pool);
        apr_pool_clear(pool);
        apr_thread_mutex_lock(runs->lock);
        place->lane = NULL;
        lane->running--;
        runs->inside--;
        runs->moved = reruns ? svl_transport_monotonic() : runs->moved;
        runs->reruns -= svl_runs_count_reruns(runs, lane, positions, batch.done);
        put_back(runs, lane, positions + batch.done, count - batch.done);
        /* Up at once, down slowly, and not by what did not run: after one slow run a lane takes singly for a while. */
        if (batch.ran) {
            apr_int64_t mean = batch.spent / batch.ran + 1;
            lane->mean = mean > lane->mean ? mean : (3 * lane->mean + mean) / 4;
        }
    } while (!once && !runs->stopping);
    place->taken = 0;
    runs->busy--;
    needed = once && needs_thread(runs);
    apr_thread_cond_signal(runs->idle);
    apr_thread_mutex_unlock(runs->lock);
    ask_for(runs, needed);
    if (pool) {
        apr_pool_destroy(pool);
    }
}

/* One turn of a thread. */
static void work(void *baton)
{
    run_lanes(baton, 0);
}

void svl_runs_turn(svl_runs_t *runs)
{
    run_lanes(runs, 1);
}

void svl_runs_turn_leave(svl_runs_t *runs)
{
    ask_for(runs, 1);
}

int svl_runs_room(svl_runs_t *runs, const svl_function_t *function)
{
    const svl_runs_lane_t *lane = svl_runs_lane_of(runs, function);
    return __atomic_load_n(&lane->count, __ATOMIC_RELAXED) < SVL_RUN_QUEUE_MAX;
}

static void push(svl_runs_t *runs, svl_runs_lane_t *lane, const apr_uint64_t *positions, int count, int reruns, int *turn)
{
    sigset_t before;
    int queued = 0, needed;
    svl_guard_enter(&before);
    apr_thread_mutex_lock(runs->lock);
    while (queued < count && svl_runs_lane_push(lane, positions[queued])) {
        queued++;
    }
    runs->reruns += reruns ? queued : 0;
    needed = needs_thread(runs);
    if (needed && turn && !*turn && !runs->runtime->node->durable && svl_runs_lane_quick(lane, count)) {
        *turn = 1;
        needed = 0;
    }
    apr_thread_mutex_unlock(runs->lock);
    ask_for(runs, needed);
    svl_guard_leave(&before);
    for (; queued < count; queued++) {
        log_unqueued(runs, positions[queued]);
    }
}

void svl_runs_push(svl_runs_t *runs, const svl_function_t *function, apr_uint64_t position, unsigned int attempts)
{
    const int suspect = function && attempts >= SVL_RUN_SUSPECT;
    position |= attempts ? SVL_RUNS_RERUN : 0;
    push(runs, suspect ? svl_runs_suspects(runs) : svl_runs_lane_of(runs, function), &position, 1, attempts && !suspect, NULL);
}

void svl_runs_push_all(svl_runs_t *runs, const svl_function_t *function, const apr_uint64_t *positions, int count, int *turn)
{
    push(runs, svl_runs_lane_of(runs, function), positions, count, 0, turn);
}

void svl_runs_poke(svl_runs_t *runs)
{
    int needed;
    apr_thread_mutex_lock(runs->lock);
    for (apr_uint32_t i = 0; i < runs->count; i++) {
        runs->lanes[i].stalled = 0;
    }
    needed = needs_thread(runs);
    apr_thread_mutex_unlock(runs->lock);
    ask_for(runs, needed);
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

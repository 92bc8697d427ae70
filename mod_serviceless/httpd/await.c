/* SPDX-License-Identifier: Apache-2.0 */
#include "await.h"

#include <ap_mpm.h>
#include <apr_strings.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>

#include "../core/guard.h"
#include "children.h"
#include "place.h"

#define LOOK apr_time_from_msec(20) /* between two looks at what another process may have recorded */
#define SHARE 4                     /* one in so many workers may wait */

typedef struct waiter_t {
    struct waiter_t *next;
    apr_uint64_t position;
    apr_thread_cond_t *cond;
    int woken;
} waiter_t;

struct svl_await_t {
    apr_thread_mutex_t *lock;
    waiter_t *waiters;
    int count;   /* of them; atomic, changed under the lock */
    int limit;   /* of those who entered */
    int aborted; /* atomic, set under the lock */
};

static apr_uint32_t entered; /* in this child, of all nodes together: they share its workers */

static int limit_of(const svl_runtime_t *runtime)
{
    int workers = 0;
    if (ap_mpm_query(runtime->guarded ? AP_MPMQ_MAX_DAEMONS : AP_MPMQ_MAX_THREADS, &workers) != APR_SUCCESS) {
        return 1;
    }
    return workers / SHARE > 1 ? workers / SHARE : 1;
}

apr_status_t svl_await_create(svl_runtime_t *runtime, apr_pool_t *p)
{
    svl_await_t *await = apr_pcalloc(p, sizeof(*await));
    await->limit = limit_of(runtime);
    runtime->await = await;
    return apr_thread_mutex_create(&await->lock, APR_THREAD_MUTEX_DEFAULT, p);
}

/* One worker is one process of prefork's, so there the number is that of all of them. */
int svl_await_enter(svl_runtime_t *runtime)
{
    apr_uint32_t here = __atomic_add_fetch(&entered, 1, __ATOMIC_RELAXED);
    if ((runtime->guarded ? svl_place_wait(1) : here) <= (apr_uint32_t)runtime->await->limit) {
        return 1;
    }
    svl_await_leave(runtime);
    return 0;
}

void svl_await_leave(svl_runtime_t *runtime)
{
    __atomic_sub_fetch(&entered, 1, __ATOMIC_RELAXED);
    if (runtime->guarded) {
        svl_place_wait(-1);
    }
}

const char *svl_await_detail(svl_runtime_t *runtime, const svl_function_t *function, apr_uint64_t position, apr_pool_t *p)
{
    const char *progress = svl_children_progress(runtime->node, function, position, p);
    return progress ? progress : "accepted, and has not ended within the time";
}

static apr_status_t look(svl_runtime_t *runtime, apr_uint64_t position, svl_outcome_t *outcome, apr_pool_t *p)
{
    svl_store_reader_t *reader;
    svl_store_record_t record;
    apr_status_t rv = svl_store_read_range(&reader, runtime->store, position, position + 1);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = svl_store_get(reader, position, 1, &record);
    if (rv == APR_SUCCESS && record.outcome != SVL_OUTCOME_PENDING) {
        const char *text = record.text ? apr_pstrmemdup(p, record.text, record.text_length) : NULL;
        int ok = record.outcome == SVL_OUTCOME_OK;
        outcome->outcome = record.outcome;
        outcome->result = ok ? text : NULL;
        outcome->result_length = outcome->result ? record.text_length : 0;
        outcome->detail = record.dropped ? "the result was not kept: the log was full" : ok ? NULL : text;
        outcome->micros = ok || record.outcome == SVL_OUTCOME_ERROR ? record.micros : -1;
    }
    svl_store_read_end(reader);
    return rv;
}

static void enlist(svl_await_t *await, waiter_t *waiter)
{
    apr_thread_mutex_lock(await->lock);
    waiter->next = await->waiters;
    await->waiters = waiter;
    __atomic_add_fetch(&await->count, 1, __ATOMIC_SEQ_CST);
    apr_thread_mutex_unlock(await->lock);
}

static void delist(svl_await_t *await, waiter_t *waiter)
{
    waiter_t **at = &await->waiters;
    apr_thread_mutex_lock(await->lock);
    while (*at != waiter) {
        at = &(*at)->next;
    }
    *at = waiter->next;
    __atomic_sub_fetch(&await->count, 1, __ATOMIC_SEQ_CST);
    apr_thread_mutex_unlock(await->lock);
}

/* By a clock that nobody sets: apr_thread_cond_timedwait goes by the other one, but only for a moment each. */
static void doze(svl_await_t *await, waiter_t *waiter, apr_interval_time_t left)
{
    apr_thread_mutex_lock(await->lock);
    if (!waiter->woken && !await->aborted) {
        apr_thread_cond_timedwait(waiter->cond, await->lock, left < LOOK ? left : LOOK);
    }
    waiter->woken = 0;
    apr_thread_mutex_unlock(await->lock);
}

static void let_signals_in(void)
{
    sigset_t before;
    svl_guard_open(&before);
    svl_guard_leave(&before);
}

apr_status_t svl_await_outcome(svl_runtime_t *runtime, apr_uint64_t position, apr_time_t until, int open,
                               svl_outcome_t *outcome, apr_pool_t *p)
{
    svl_await_t *await = runtime->await;
    waiter_t waiter = {.position = position};
    sigset_t before;
    apr_status_t rv = apr_thread_cond_create(&waiter.cond, p);
    *outcome = (svl_outcome_t){.outcome = SVL_OUTCOME_PENDING, .micros = -1};
    if (rv != APR_SUCCESS) {
        return rv;
    }
    svl_guard_enter(&before);
    enlist(await, &waiter);
    while ((rv = look(runtime, position, outcome, p)) == APR_SUCCESS && outcome->outcome == SVL_OUTCOME_PENDING) {
        apr_interval_time_t left = until - svl_transport_monotonic();
        if (left <= 0 || __atomic_load_n(&await->aborted, __ATOMIC_ACQUIRE)) {
            break;
        }
        doze(await, &waiter, left);
        if (open) {
            let_signals_in();
        }
    }
    delist(await, &waiter);
    svl_guard_leave(&before);
    apr_thread_cond_destroy(waiter.cond);
    if (rv != APR_SUCCESS) {
        outcome->outcome = SVL_OUTCOME_UNKNOWN;
        outcome->detail = rv == APR_NOTFOUND ? "the log does not hold the call any more" : "the log could not be read";
    }
    return rv;
}

void svl_await_abort(svl_runtime_t *runtime)
{
    svl_await_t *await = runtime->await;
    sigset_t before;
    svl_guard_enter(&before);
    apr_thread_mutex_lock(await->lock);
    __atomic_store_n(&await->aborted, 1, __ATOMIC_RELEASE);
    for (waiter_t *waiter = await->waiters; waiter; waiter = waiter->next) {
        apr_thread_cond_signal(waiter->cond);
    }
    apr_thread_mutex_unlock(await->lock);
    svl_guard_leave(&before);
}

void svl_await_wake(svl_runtime_t *runtime, const svl_store_outcome_t *outcomes, apr_uint32_t count)
{
    svl_await_t *await = runtime->await;
    sigset_t before;
    if (!__atomic_load_n(&await->count, __ATOMIC_SEQ_CST)) {
        return;
    }
    svl_guard_enter(&before);
    apr_thread_mutex_lock(await->lock);
    for (waiter_t *waiter = await->waiters; waiter; waiter = waiter->next) {
        for (apr_uint32_t i = 0; i < count; i++) {
            if (outcomes[i].position == waiter->position) {
                waiter->woken = 1;
                apr_thread_cond_signal(waiter->cond);
            }
        }
    }
    apr_thread_mutex_unlock(await->lock);
    svl_guard_leave(&before);
}

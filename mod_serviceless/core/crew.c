/* SPDX-License-Identifier: Apache-2.0 */
#include "crew.h"

#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>
#include <apr_thread_proc.h>

#include "guard.h"
#include "pool.h"

struct svl_crew_t {
    apr_thread_mutex_t *lock;
    apr_thread_cond_t *wake;
    svl_crew_work_t *work;
    void *baton;
    apr_pool_t *pool;
    apr_thread_t **threads;
    int most;
    int count;    /* threads */
    int starting; /* of them, those that have not come to work yet */
    int resting;  /* of them */
    int asked;    /* turns that no thread has begun */
    int ending;
};

apr_status_t svl_crew_create(svl_crew_t **crew, int most, svl_crew_work_t *work, void *baton, apr_pool_t *p)
{
    svl_crew_t *made = apr_pcalloc(p, sizeof(*made));
    apr_status_t rv = apr_thread_mutex_create(&made->lock, APR_THREAD_MUTEX_DEFAULT, p);

    if (rv == APR_SUCCESS) {
        rv = apr_thread_cond_create(&made->wake, p);
    }
    if (rv == APR_SUCCESS) {
        rv = svl_pool_create(&made->pool);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    made->threads = apr_pcalloc(p, (apr_size_t)most * sizeof(*made->threads));
    made->most = most;
    made->work = work;
    made->baton = baton;
    *crew = made;
    return APR_SUCCESS;
}

static void *APR_THREAD_FUNC turns(apr_thread_t *thread, void *baton)
{
    svl_crew_t *crew = baton;

    (void)thread;
    apr_thread_mutex_lock(crew->lock);
    crew->starting--;
    while (!crew->ending) {
        if (crew->asked) {
            crew->asked--;
            apr_thread_mutex_unlock(crew->lock);
            crew->work(crew->baton);
            apr_thread_mutex_lock(crew->lock);
        }
        else {
            crew->resting++;
            apr_thread_cond_wait(crew->wake, crew->lock);
            crew->resting--;
        }
    }
    apr_thread_mutex_unlock(crew->lock);
    return NULL;
}

/* With the lock held. */
static apr_status_t start(svl_crew_t *crew)
{
    apr_status_t rv = apr_thread_create(&crew->threads[crew->count], NULL, turns, crew, crew->pool);

    if (rv == APR_SUCCESS) {
        crew->count++;
        crew->starting++;
    }
    return rv;
}

apr_status_t svl_crew_ask(svl_crew_t *crew)
{
    sigset_t before;
    apr_status_t rv = APR_SUCCESS;

    svl_guard_enter(&before);
    apr_thread_mutex_lock(crew->lock);
    crew->asked++;
    if (crew->asked > crew->resting + crew->starting && crew->count < crew->most) {
        rv = start(crew);
    }
    if (crew->count) {
        rv = APR_SUCCESS;
        apr_thread_cond_signal(crew->wake);
    }
    else {
        crew->asked--;
    }
    apr_thread_mutex_unlock(crew->lock);
    svl_guard_leave(&before);
    return rv;
}

void svl_crew_end(svl_crew_t *crew)
{
    apr_status_t ignored;

    apr_thread_mutex_lock(crew->lock);
    crew->ending = 1;
    apr_thread_cond_broadcast(crew->wake);
    apr_thread_mutex_unlock(crew->lock);
    for (int i = 0; i < crew->count; i++) {
        apr_thread_join(&ignored, crew->threads[i]);
    }
    apr_pool_destroy(crew->pool);
}

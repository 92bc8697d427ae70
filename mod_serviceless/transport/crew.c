/* SPDX-License-Identifier: Apache-2.0 */
#include "crew.h"

#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>
#include <apr_thread_proc.h>

#include "../core/guard.h"
#include "../core/pool.h"

#define AGAIN apr_time_from_sec(1) /* before another thread is tried where none could be started */

typedef struct member_t {
    apr_thread_t *thread;
    apr_pool_t *pool;
} member_t;

struct svl_crew_t {
    apr_thread_mutex_t *lock;
    apr_thread_cond_t *wake;
    svl_crew_work_t *work;
    void *baton;
    member_t *members;
    apr_time_t failed; /* when a thread could last not be started, and why */
    apr_status_t why;
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
    if (rv != APR_SUCCESS) {
        return rv;
    }
    made->members = apr_pcalloc(p, (apr_size_t)most * sizeof(*made->members));
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

/* A pool of its own: APR leaves things behind in it when it fails. */
static apr_status_t start(svl_crew_t *crew)
{
    member_t *member = &crew->members[crew->count];
    sigset_t before;
    apr_status_t rv = svl_pool_create(&member->pool);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    svl_guard_block(&before);
    rv = apr_thread_create(&member->thread, NULL, turns, crew, member->pool);
    svl_guard_restore(&before);
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(member->pool);
        return rv;
    }
    crew->count++;
    crew->starting++;
    return APR_SUCCESS;
}

/* With the lock held: a thread for each turn that has none.  @return why there is none at all */
static apr_status_t fill(svl_crew_t *crew)
{
    apr_time_t now = 0;

    while (crew->asked > crew->resting + crew->starting && crew->count < crew->most) {
        now = now ? now : apr_time_now();
        if (crew->why != APR_SUCCESS && now >= crew->failed && now - crew->failed < AGAIN) {
            break;
        }
        crew->why = start(crew);
        crew->failed = now;
    }
    return crew->count ? APR_SUCCESS : crew->why;
}

apr_status_t svl_crew_ask(svl_crew_t *crew)
{
    sigset_t before;
    apr_status_t rv;

    svl_guard_enter(&before);
    apr_thread_mutex_lock(crew->lock);
    crew->asked++;
    rv = fill(crew);
    if (rv == APR_SUCCESS) {
        apr_thread_cond_signal(crew->wake);
    }
    else {
        crew->asked--;
    }
    apr_thread_mutex_unlock(crew->lock);
    svl_guard_leave(&before);
    return rv;
}

void svl_crew_poke(svl_crew_t *crew)
{
    sigset_t before;

    svl_guard_enter(&before);
    apr_thread_mutex_lock(crew->lock);
    fill(crew);
    apr_thread_mutex_unlock(crew->lock);
    svl_guard_leave(&before);
}

void svl_crew_end(svl_crew_t *crew)
{
    apr_status_t ignored;

    apr_thread_mutex_lock(crew->lock);
    crew->ending = 1;
    apr_thread_cond_broadcast(crew->wake);
    apr_thread_mutex_unlock(crew->lock);
    for (int i = 0; i < crew->count; i++) {
        apr_thread_join(&ignored, crew->members[i].thread);
        apr_pool_destroy(crew->members[i].pool);
    }
}

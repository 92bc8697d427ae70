/* SPDX-License-Identifier: Apache-2.0 */
#include "crew.h"

#include <errno.h>
#include <sched.h>
#include <semaphore.h>

#include <apr_thread_mutex.h>
#include <apr_thread_proc.h>

#include "../core/guard.h"
#include "../core/pool.h"

#define AGAIN apr_time_from_sec(1) /* before another thread is tried where none could be started */

/* Who asks wakes this one thread, which then needs no lock: with a condition it would mostly run into the lock of who woke it. */
typedef struct member_t {
    struct svl_crew_t *crew;
    struct member_t *below; /* among the resting */
    sem_t wake;             /* for a turn, or for the end */
    apr_thread_t *thread;
    apr_pool_t *pool;
} member_t;

struct svl_crew_t {
    apr_thread_mutex_t *lock;
    svl_crew_work_t *work;
    void *baton;
    member_t *members;
    member_t *resting; /* who came last is on top, and the first to be woken: its stack is the warmest */
    apr_time_t failed; /* when a thread could last not be started, and why */
    apr_status_t why;
    int most;
    int count;    /* threads */
    int starting; /* of them, those that have not come to work yet */
    int rest;     /* of them, those that are resting */
    int asked;    /* turns that no thread has; nobody rests then */
    int ending;   /* atomic */
    int policy;   /* of who made it, as sched_getscheduler has it */
};

apr_status_t svl_crew_create(svl_crew_t **crew, int most, svl_crew_work_t *work, void *baton, apr_pool_t *p)
{
    svl_crew_t *made = apr_pcalloc(p, sizeof(*made));
    apr_status_t rv = apr_thread_mutex_create(&made->lock, APR_THREAD_MUTEX_DEFAULT, p);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    made->members = apr_pcalloc(p, (apr_size_t)most * sizeof(*made->members));
    made->most = most;
    made->work = work;
    made->baton = baton;
    made->policy = sched_getscheduler(0);
    *crew = made;
    return APR_SUCCESS;
}

static int is_ending(const svl_crew_t *crew)
{
    return __atomic_load_n(&crew->ending, __ATOMIC_ACQUIRE);
}

/* With the lock held, which it gives up meanwhile: until there is a turn for this thread, or the end. */
static void rest(svl_crew_t *crew, member_t *member)
{
    member->below = crew->resting;
    crew->resting = member;
    crew->rest++;
    apr_thread_mutex_unlock(crew->lock);
    while (sem_wait(&member->wake) != 0 && errno == EINTR) {
        continue;
    }
}

/* A thread is started by whoever needs it, and would be scheduled as that one is. */
static void take_policy(const svl_crew_t *crew)
{
    const struct sched_param none = {0};

    if (crew->policy == SCHED_OTHER && sched_getscheduler(0) != SCHED_OTHER) {
        sched_setscheduler(0, SCHED_OTHER, &none);
    }
}

static void *APR_THREAD_FUNC turns(apr_thread_t *thread, void *baton)
{
    member_t *member = baton;
    svl_crew_t *crew = member->crew;

    (void)thread;
    take_policy(crew);
    apr_thread_mutex_lock(crew->lock);
    crew->starting--;
    while (!is_ending(crew)) {
        if (crew->asked) {
            crew->asked--;
            apr_thread_mutex_unlock(crew->lock);
        }
        else {
            rest(crew, member);
        }
        if (!is_ending(crew)) {
            crew->work(crew->baton);
        }
        apr_thread_mutex_lock(crew->lock);
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
    member->crew = crew;
    sem_init(&member->wake, 0, 0); /* cannot fail with these */
    svl_guard_block(&before);
    rv = apr_thread_create(&member->thread, NULL, turns, member, member->pool);
    svl_guard_restore(&before);
    if (rv != APR_SUCCESS) {
        sem_destroy(&member->wake);
        apr_pool_destroy(member->pool);
        return rv;
    }
    crew->count++;
    crew->starting++;
    return APR_SUCCESS;
}

/* With the lock held: starts threads until so many of those that start are there for turns that have none.  @return why there is none at
 * all */
static apr_status_t fill(svl_crew_t *crew, int turns)
{
    apr_time_t now = 0;

    while (turns > crew->starting && crew->count < crew->most) {
        now = now ? now : apr_time_now();
        if (crew->why != APR_SUCCESS && now >= crew->failed && now - crew->failed < AGAIN) {
            break;
        }
        crew->why = start(crew);
        crew->failed = now;
    }
    return crew->count ? APR_SUCCESS : crew->why;
}

/* @param at_once nonzero: not behind others' turns */
static apr_status_t ask(svl_crew_t *crew, int at_once)
{
    apr_status_t rv = APR_SUCCESS;
    member_t *member;
    sigset_t before;

    svl_guard_enter(&before);
    apr_thread_mutex_lock(crew->lock);
    member = crew->resting;
    if (member) {
        crew->resting = member->below;
        crew->rest--;
    }
    else {
        crew->asked++;
        rv = fill(crew, crew->asked);
        if (rv == APR_SUCCESS && at_once && crew->asked > crew->starting) {
            rv = crew->why != APR_SUCCESS ? crew->why : APR_EAGAIN;
        }
        crew->asked -= rv != APR_SUCCESS;
    }
    apr_thread_mutex_unlock(crew->lock);
    if (member) {
        sem_post(&member->wake);
    }
    svl_guard_leave(&before);
    return rv;
}

apr_status_t svl_crew_ask(svl_crew_t *crew)
{
    return ask(crew, 0);
}

apr_status_t svl_crew_ask_at_once(svl_crew_t *crew)
{
    return ask(crew, 1);
}

int svl_crew_spare(svl_crew_t *crew, int wanted)
{
    sigset_t before;
    int spare;

    svl_guard_enter(&before);
    apr_thread_mutex_lock(crew->lock);
    fill(crew, crew->asked + wanted - crew->rest);
    spare = crew->rest + crew->starting - crew->asked;
    apr_thread_mutex_unlock(crew->lock);
    svl_guard_leave(&before);
    return spare >= wanted;
}

void svl_crew_poke(svl_crew_t *crew)
{
    sigset_t before;

    svl_guard_enter(&before);
    apr_thread_mutex_lock(crew->lock);
    fill(crew, crew->asked);
    apr_thread_mutex_unlock(crew->lock);
    svl_guard_leave(&before);
}

void svl_crew_end(svl_crew_t *crew)
{
    apr_status_t ignored;

    apr_thread_mutex_lock(crew->lock);
    __atomic_store_n(&crew->ending, 1, __ATOMIC_RELEASE);
    for (; crew->resting; crew->resting = crew->resting->below) {
        sem_post(&crew->resting->wake);
    }
    apr_thread_mutex_unlock(crew->lock);
    for (int i = 0; i < crew->count; i++) {
        apr_thread_join(&ignored, crew->members[i].thread);
        sem_destroy(&crew->members[i].wake);
        apr_pool_destroy(crew->members[i].pool);
    }
}

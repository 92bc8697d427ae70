/* SPDX-License-Identifier: Apache-2.0 */
#include "links_private.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_strings.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>
#include <http_log.h>

#include "../core/guard.h"
#include "../core/pool.h"
#include "../transport/alarm.h"
#include "../transport/crew.h"
#include "run.h"
#include "shared.h"

APLOG_USE_MODULE(serviceless);

#define KEPT (4 << 20)                  /* bytes that are kept for messages to come; giving pages back disturbs all threads */
#define SEEN 256                        /* ids that are remembered, so that who overheard one gets nothing for it */
#define LOAN_WAIT apr_time_from_msec(1) /* that a link waits for its thread, which runs something */
#define THREAD_AGAIN apr_time_from_msec(100) /* before a thread is tried again where none was to be had */
#define LEAVE_WAIT apr_time_from_msec(300) /* for messages that are being answered, when there is less time than for the rest */
#define CLIENT_WAIT apr_time_from_msec(50) /* the last of that time, for clients that do not read */

struct svl_links_t {
    svl_runtime_t *runtime;
    apr_pool_t *pool; /* of the threads' pools: so they share an allocator */
    apr_thread_mutex_t *lock;
    apr_thread_cond_t *left;
    svl_crew_t *crew;
    svl_alarm_t *alarm;
    apr_time_t asked;      /* monotonic; when the last threads were for links of the kind that are in fresh */
    svl_link_end_t *fresh; /* without a thread so far, or whose thread runs something for long */
    svl_link_end_t *open;
    int count;                            /* of both */
    int clients;                          /* of them, those of clients */
    int lent;                             /* of them, those whose thread runs something, and that no other one has taken */
    int most;                             /* of peers, and as many of clients */
    int stopping;                         /* atomic */
    char seen[SEEN][SVL_NAME_ID_MAX + 1]; /* ids that links were given for, the oldest of which is the next to go */
    int next;
};

/* With the lock held. */
static void count_off(svl_links_t *links, int calls)
{
    links->count--;
    links->clients -= calls;
    apr_thread_cond_signal(links->left);
}

static void forget(svl_link_end_t *link)
{
    if (link->fd >= 0) {
        close(link->fd);
    }
    svl_link_buffer_free(&link->in);
    svl_link_buffer_free(&link->first);
    free(link);
}

/* With the lock held. */
static void move(svl_link_end_t **from, svl_link_end_t **to, svl_link_end_t *link)
{
    while (*from != link) {
        from = &(*from)->next;
    }
    *from = link->next;
    link->next = *to;
    *to = link;
}

/* What takes longer is no reason any more to let others go first. */
static void be_as_others(svl_link_loan_t *loan)
{
    const struct sched_param none = {0};
    if (loan->patient) {
        sched_setscheduler(loan->patient, SCHED_OTHER, &none); /* it only takes turns otherwise */
        loan->patient = 0;
    }
}

/* The links whose threads run something for long are left to other threads. */
static void look_at_loans(void *baton)
{
    svl_links_t *links = baton;
    apr_time_t now = svl_transport_monotonic();
    svl_link_end_t *link, *next;
    int left = 0, waiting = 0, young = 0;
    apr_thread_mutex_lock(links->lock);
    for (link = links->fresh; link; link = link->next) {
        waiting += link->loan != NULL; /* for a thread that was asked, or that was not to be had */
    }
    for (link = links->open; link; link = next) {
        next = link->next;
        if (link->loan && now - link->loan->since >= LOAN_WAIT) {
            move(&links->open, &links->fresh, link);
            be_as_others(link->loan);
            left++;
        }
        else {
            young |= link->loan != NULL;
        }
    }
    if (now - links->asked >= THREAD_AGAIN) {
        left += waiting;
    }
    links->asked = left ? now : links->asked;
    if (young || left || waiting) {
        svl_alarm_set(links->alarm, young ? LOAN_WAIT : THREAD_AGAIN);
    }
    apr_thread_mutex_unlock(links->lock);
    if (left) {
        ap_log_error(APLOG_MARK, APLOG_DEBUG, 0, links->runtime->node->server,
                     SVLNO(0386) "%d links get another thread: what theirs run takes longer than usual", left);
    }
    for (; left > 0 && svl_crew_ask_at_once(links->crew) == APR_SUCCESS; left--) {
        continue;
    }
}

int svl_links_run(svl_link_end_t *link, pid_t *patient)
{
    svl_links_t *links = link->runtime->links;
    svl_runs_t *runs = link->runtime->runs;
    svl_link_loan_t loan = {.since = svl_transport_monotonic(), .patient = *patient};
    int may;
    link->turn = 0;
    apr_thread_mutex_lock(links->lock);
    /* Not without a thread that can take the link: whoever waits for an answer shall have it. */
    may = !links->stopping && svl_crew_spare(links->crew, links->lent + 1)
          && svl_alarm_set(links->alarm, LOAN_WAIT) == APR_SUCCESS;
    link->loan = may ? &loan : NULL;
    links->lent += may;
    apr_thread_mutex_unlock(links->lock);
    if (!may) {
        svl_runs_turn_leave(runs);
        return 1;
    }
    svl_runs_turn(runs);
    apr_thread_mutex_lock(links->lock);
    if (!loan.taken) {
        link->loan = NULL;
        links->lent--;
        for (svl_link_end_t *at = links->fresh; at; at = at->next) {
            if (at == link) {
                move(&links->fresh, &links->open, link);
                break;
            }
        }
    }
    *patient = loan.patient;
    apr_thread_mutex_unlock(links->lock);
    return !loan.taken;
}

/* A thread's turn: one link, until it ends, or another thread takes it. */
static void turn(void *baton)
{
    svl_links_t *links = baton;
    svl_link_end_t *link, **at;
    apr_thread_mutex_lock(links->lock);
    for (link = links->fresh; link && link->loan; link = link->next) {
        continue; /* those without any thread first */
    }
    link = link ? link : links->fresh;
    if (link) {
        move(&links->fresh, &links->open, link);
        if (link->loan) {
            link->loan->taken = 1;
            link->loan = NULL;
            links->lent--;
        }
    }
    apr_thread_mutex_unlock(links->lock);
    if (!link || !svl_links_serve(link)) {
        return;
    }
    apr_thread_mutex_lock(links->lock);
    for (at = &links->open; *at != link; at = &(*at)->next) {
        continue;
    }
    *at = link->next;
    count_off(links, link->calls);
    apr_thread_mutex_unlock(links->lock);
    forget(link);
}

apr_status_t svl_links_create(svl_links_t **links, svl_runtime_t *runtime, apr_pool_t *p)
{
    svl_links_t *made = apr_pcalloc(p, sizeof(*made));
    apr_status_t rv = svl_pool_create(&made->pool);
    if (rv == APR_SUCCESS) {
        apr_allocator_max_free_set(apr_pool_allocator_get(made->pool), KEPT);
        rv = apr_thread_mutex_create(&made->lock, APR_THREAD_MUTEX_DEFAULT, p);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_thread_cond_create(&made->left, p);
    }
    if (rv == APR_SUCCESS) { /* each link has one, and each run may hold another */
        rv = svl_crew_create(&made->crew, 2 * SVL_LINKS_MAX + SVL_RUN_THREADS, turn, made, p);
    }
    if (rv == APR_SUCCESS) {
        rv = svl_alarm_create(&made->alarm, look_at_loans, made, p);
    }
    made->runtime = runtime;
    made->most = runtime->guarded ? SVL_LINKS_MAX_ALONE : SVL_LINKS_MAX;
    *links = made;
    return rv;
}

/* @return NULL: there is no memory or descriptor for it, and nothing was answered */
static svl_link_end_t *begin(const svl_exchange_t *exchange, const svl_receive_answer_t *answer)
{
    svl_links_t *links = exchange->runtime->links;
    svl_link_end_t *link = calloc(1, sizeof(*link));
    if (!link) {
        return NULL;
    }
    link->runtime = exchange->runtime;
    link->pool = links->pool;
    link->stopping = &links->stopping;
    link->calls = answer != NULL;
    apr_cpystrn(link->from, exchange->r->useragent_ip, sizeof(link->from));
    link->fd = !answer || svl_links_owe(link, exchange, answer) ? svl_links_upgrade(exchange->r) : -1;
    if (link->fd < 0) {
        forget(link);
        return NULL;
    }
    return link;
}

/* With the lock held. */
static int is_first(svl_links_t *links, const char *id)
{
    for (int i = 0; i < SEEN; i++) {
        if (strcmp(links->seen[i], id) == 0) {
            return 0;
        }
    }
    apr_cpystrn(links->seen[links->next], id, sizeof(links->seen[0]));
    links->next = (links->next + 1) % SEEN;
    return 1;
}

/* One has no thread: whichever, since threads take what they find. */
static void give_up(svl_links_t *links)
{
    svl_link_end_t **at, *link;
    apr_thread_mutex_lock(links->lock);
    for (at = &links->fresh; *at && (*at)->loan; at = &(*at)->next) {
        continue;
    }
    link = *at;
    if (link) {
        *at = link->next;
        count_off(links, link->calls);
    }
    apr_thread_mutex_unlock(links->lock);
    if (link) {
        forget(link);
    }
}

int svl_links_take(const svl_exchange_t *exchange, const svl_receive_answer_t *answer)
{
    svl_links_t *links = exchange->runtime->links;
    const int calls = answer != NULL;
    svl_link_end_t *link;
    int room;
    if (!svl_links_wanted(exchange, calls)) {
        return 0;
    }
    apr_thread_mutex_lock(links->lock);
    room = !links->stopping
           && (calls ? links->clients < links->most
                     : links->count - links->clients < links->most && is_first(links, exchange->id));
    links->count += room;
    links->clients += room && calls;
    apr_thread_mutex_unlock(links->lock);
    link = room ? begin(exchange, answer) : NULL;
    apr_thread_mutex_lock(links->lock);
    if (link) { /* from now on it may end, and be gone */
        link->next = links->fresh;
        links->fresh = link;
        if (links->stopping) {
            shutdown(link->fd, SHUT_RD);
        }
    }
    else if (room) {
        count_off(links, calls);
    }
    apr_thread_mutex_unlock(links->lock);
    if (!link) {
        return 0;
    }
    if (calls) {
        SVL_COUNT(exchange->node->shared->client_links);
    }
    if (svl_crew_ask_at_once(links->crew) != APR_SUCCESS) {
        give_up(links); /* who asked for it finds that it has ended, and sends a request */
    }
    return 1;
}

int svl_links_clients(svl_links_t *links)
{
    int clients;
    apr_thread_mutex_lock(links->lock);
    clients = links->clients;
    apr_thread_mutex_unlock(links->lock);
    return clients;
}

void svl_links_leave(svl_links_t *links)
{
    sigset_t before;
    svl_guard_enter(&before);
    apr_thread_mutex_lock(links->lock);
    __atomic_store_n(&links->stopping, 1, __ATOMIC_RELEASE);
    for (svl_link_end_t *link = links->open; link; link = link->next) {
        shutdown(link->fd, SHUT_RD);
    }
    for (svl_link_end_t *link = links->fresh; link; link = link->next) {
        shutdown(link->fd, SHUT_RD);
    }
    apr_thread_mutex_unlock(links->lock);
    svl_guard_leave(&before);
}

static void wait_until(svl_links_t *links, apr_time_t deadline)
{
    for (apr_time_t now = apr_time_now(); links->count && now < deadline; now = apr_time_now()) {
        apr_thread_cond_timedwait(links->left, links->lock, deadline - now);
    }
}

/* With the lock held. */
static void shut_down(const svl_links_t *links, int calls)
{
    for (const svl_link_end_t *link = links->open; link; link = link->next) {
        if (link->calls == calls) {
            shutdown(link->fd, SHUT_RDWR);
        }
    }
}

apr_status_t svl_links_stop(svl_links_t *links, apr_time_t deadline)
{
    apr_time_t soon = apr_time_now() + LEAVE_WAIT;
    int left;
    svl_links_leave(links);
    apr_thread_mutex_lock(links->lock);
    wait_until(links, soon < deadline ? soon : deadline);
    shut_down(links, 0);
    wait_until(links, deadline - CLIENT_WAIT); /* a client gets its answer, as long as there is time */
    shut_down(links, 1);
    wait_until(links, deadline);
    left = links->count;
    apr_thread_mutex_unlock(links->lock);
    svl_alarm_end(links->alarm);
    return left ? APR_TIMEUP : APR_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "maintain.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_portable.h>
#include <apr_thread_proc.h>
#include <http_log.h>
#include <http_main.h>
#include <scoreboard.h>

#include "../core/guard.h"
#include "children.h"
#include "drain.h"
#include "gather.h"
#include "links.h"
#include "place.h"
#include "recover.h"
#include "retain.h"
#include "run.h"
#include "shared.h"
#include "sync.h"

#define WAKE_INTERVAL apr_time_from_sec(1)   /* an idle child wakes once a second and no oftener */
#define CLIENTS_WAIT apr_time_from_sec(60)   /* longest, for clients' calls that came over links */
#define CLIENTS_LOOK 10                      /* milliseconds between two looks whether they have ended */
#define HANDLER_WAIT apr_time_from_msec(500) /* for the rest of a signal handler that destroys pools */

/* Not by the clock that an administrator sets back by an hour. */
#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 30)
#define WAIT_CLOCK CLOCK_MONOTONIC
#define WAIT_UNTIL(semaphore, end) sem_clockwait(semaphore, CLOCK_MONOTONIC, end)
#endif
#endif
#ifndef WAIT_CLOCK
#define WAIT_CLOCK CLOCK_REALTIME
#define WAIT_UNTIL(semaphore, end) sem_timedwait(semaphore, end)
#endif

APLOG_USE_MODULE(serviceless);

static struct {
    const apr_array_header_t *runtimes; /* svl_runtime_t * */
    apr_thread_t *thread;
    pthread_t id;   /* of the thread; it itself may run before this is set */
    pthread_t main; /* where the MPM has no threads: its only one, which handles requests */
    int threaded;   /* else the MPM may leave inside a signal handler, and does not say whether it does */
    int graceful;   /* the MPM says that it ends so, once its requests have ended */
    int registered; /* for exit */
    int generation; /* of the configuration that this child runs */
    sem_t wake;
    sem_t drained;
    /* Atomics. */
    int leaving;
    apr_time_t give_up;  /* an ungraceful stop ends the process then, whatever still runs; 0: none */
    apr_time_t deadline; /* of leaving */
    int stopped;         /* a stop signal came, and the main thread has not taken it up yet */
    int at_once;         /* exit runs nothing more */
} child;

static apr_time_t time_of(apr_time_t *atomic)
{
    return __atomic_load_n(atomic, __ATOMIC_ACQUIRE);
}

/* @return nonzero when it was posted before the time was over */
static int wait_for(sem_t *semaphore, apr_interval_time_t wait)
{
    struct timespec end;
    apr_time_t until;
    int failed;
    clock_gettime(WAIT_CLOCK, &end);
    until = apr_time_from_sec(end.tv_sec) + end.tv_nsec / 1000 + wait;
    end = (struct timespec){.tv_sec = apr_time_sec(until), .tv_nsec = apr_time_usec(until) * 1000};
    while ((failed = WAIT_UNTIL(semaphore, &end)) != 0 && errno == EINTR) {
        continue;
    }
    return !failed;
}

/* One leads; a leader that died leaves EOWNERDEAD, and the lock to whoever asks next. */
static int take_lead(svl_shared_node_t *shared)
{
    int error = pthread_mutex_trylock(&shared->leader);
    if (error == EOWNERDEAD) {
        error = pthread_mutex_consistent(&shared->leader);
    }
    return error == 0;
}

static void give_up_lead(svl_runtime_t *runtime, int *leads)
{
    if (*leads) {
        pthread_mutex_unlock(&runtime->node->shared->leader);
        *leads = 0;
    }
}

static void maintain(svl_runtime_t *runtime, int *leads)
{
    char text[160];
    apr_status_t rv = svl_store_flush(runtime->store);
    if (rv == SVL_EDAMAGED) { /* logged once; nothing can be done before the next start */
        give_up_lead(runtime, leads);
        return;
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server, SVLNO(0130) "node %s: the log could not be written: %s",
                     runtime->node->name, svl_fault_strerror(rv, text, sizeof(text)));
    }
    svl_runs_poke(runtime->runs);
    svl_relay_poke(runtime->relay);
    svl_relay_watch(runtime->relay, apr_time_now());
    /* A child of an older configuration may live on for hours with one connection, and knows the older fleet only. */
    if (ap_scoreboard_image->global->running_generation != child.generation) {
        give_up_lead(runtime, leads);
        return;
    }
    if (!*leads) {
        *leads = take_lead(runtime->node->shared);
    }
    if (*leads) {
        svl_recover_turn(runtime, apr_time_now());
        svl_recover_expire(runtime, apr_time_now());
        svl_recover_epoch(runtime);
        svl_children_watch(runtime);
        svl_retain_turn(runtime);
        svl_relay_probe(runtime->relay, apr_time_now());
        svl_sync_turn(runtime->sync, apr_time_now());
    }
}

static int inline_runs(void)
{
    int running = 0;
    for (int i = 0; i < svl_runtimes_count(child.runtimes); i++) {
        running += __atomic_load_n(&svl_runtimes_at(child.runtimes, i)->inline_runs, __ATOMIC_RELAXED);
    }
    return running;
}

/* After an ungraceful stop the MPM joins its workers, or prefork's main thread goes on, however long a function takes; the parent's
 * patience ends with a kill.  What runs is in the log. */
static void check_give_up(void)
{
    int running = inline_runs();
    if ((!running && !__atomic_load_n(&child.stopped, __ATOMIC_ACQUIRE)) || apr_time_now() < time_of(&child.give_up)) {
        return;
    }
    ap_log_error(
        APLOG_MARK, APLOG_WARNING, 0, ap_server_conf,
        SVLNO(
            0131) "stopping after %d s, though a request of a call has not ended (calls that still run: %d); the log has what "
                  "is left to do",
        (int)apr_time_sec(SVL_DRAIN_WAIT), running);
    svl_drain_flush(child.runtimes);
    _exit(0);
}

static apr_interval_time_t next_wake(void)
{
    apr_time_t give_up = time_of(&child.give_up);
    apr_interval_time_t left = give_up ? give_up - apr_time_now() : WAKE_INTERVAL;
    return left > 0 && left < WAKE_INTERVAL ? left : WAKE_INTERVAL;
}

/* An ungraceful stop has come; once, whichever thread hears of it first. */
static void stop_soon(void)
{
    apr_time_t none = 0;
    if (!__atomic_compare_exchange_n(&child.give_up, &none, apr_time_now() + SVL_DRAIN_WAIT, 0, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        return;
    }
    svl_place_leave();
    svl_children_leave();
    for (int i = 0; i < svl_runtimes_count(child.runtimes); i++) {
        svl_links_leave(svl_runtimes_at(child.runtimes, i)->links);
        svl_runs_leave(svl_runtimes_at(child.runtimes, i)->runs, time_of(&child.give_up));
        svl_relay_abort_probes(svl_runtimes_at(child.runtimes, i)->relay);
        /* The MPM closes their clients' connections, so nobody waits for the answers. */
        svl_gather_abort(svl_runtimes_at(child.runtimes, i));
        svl_sync_stop(svl_runtimes_at(child.runtimes, i)->sync, 0); /* for the reason that turn() gives */
    }
}

/* Async-signal-safe. */
static void rouse(void)
{
    sem_post(&child.wake);
    if (!child.threaded) {
        /* NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread,cert-pos44-c): this thread waits for it, and takes it as a message */
        pthread_kill(child.id, SIGTERM);
    }
}

/* Under prefork a call's request blocks the signals of a stop, and nobody says that one came: this thread takes it then (or now and then a
 * moment before an idle main thread), and leaves it to the end of that, or to the end of its time. */
static void wait_for_stop(void)
{
    const struct timespec wait = {.tv_sec = apr_time_sec(WAKE_INTERVAL)};
    sigset_t stops;
    int number;
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGHUP);
    number = sigtimedwait(&stops, NULL, &wait);
    if (number > 0 && !__atomic_load_n(&child.leaving, __ATOMIC_ACQUIRE) && !time_of(&child.give_up)) {
        __atomic_store_n(&child.stopped, 1, __ATOMIC_RELEASE);
        stop_soon();
        pthread_kill(child.main, number);
    }
}

static void wait_for_turn(void)
{
    if (child.threaded || time_of(&child.give_up)) {
        wait_for(&child.wake, next_wake());
    }
    else {
        wait_for_stop();
    }
}

/* A child that ends gracefully may have requests to answer for hours; messages are for those that replace it. */
static void leave_links(void)
{
    for (int i = 0; i < svl_runtimes_count(child.runtimes); i++) {
        svl_links_leave(svl_runtimes_at(child.runtimes, i)->links);
    }
}

static int clients_of_links(void)
{
    int clients = 0;
    for (int i = 0; i < svl_runtimes_count(child.runtimes); i++) {
        clients += svl_links_clients(svl_runtimes_at(child.runtimes, i)->links);
    }
    return clients;
}

static void turn(int *leads)
{
    int state;
    if (time_of(&child.give_up)) {
        /* No probe, nor anything else that opens a file: the worker MPM closes connections that its threads still wait for, and a
         * thread that found another file under that number would wait on. */
        check_give_up();
        return;
    }
    if (ap_mpm_query(AP_MPMQ_MPM_STATE, &state) == APR_SUCCESS && state == AP_MPMQ_STOPPING) {
        leave_links();
    }
    svl_runtime_again();
    svl_children_turn();
    for (int i = 0; i < svl_runtimes_count(child.runtimes) && !__atomic_load_n(&child.leaving, __ATOMIC_ACQUIRE); i++) {
        maintain(svl_runtimes_at(child.runtimes, i), &leads[i]);
    }
}

static void *APR_THREAD_FUNC maintenance(apr_thread_t *thread, void *baton)
{
    int *leads = baton;
    (void)thread;
    while (!__atomic_load_n(&child.leaving, __ATOMIC_ACQUIRE)) {
        turn(leads);
        wait_for_turn();
    }
    svl_drain(child.runtimes, time_of(&child.deadline));
    for (int i = 0; i < svl_runtimes_count(child.runtimes); i++) {
        give_up_lead(svl_runtimes_at(child.runtimes, i), &leads[i]);
    }
    sem_post(&child.drained);
    if (!child.threaded) {
        /* A handler goes on to free what it likes, and may wait for ever for a lock of the code that it interrupted. */
        apr_sleep(HANDLER_WAIT);
        _exit(0);
    }
    return NULL;
}

static void exit_at_once(void)
{
    if (__atomic_load_n(&child.at_once, __ATOMIC_ACQUIRE)) {
        _exit(0);
    }
}

/* The two seconds of a stop are over for all at once. */
static apr_time_t leave_until(void)
{
    apr_time_t now = apr_time_now(), give_up = time_of(&child.give_up);
    if (!give_up || give_up > now + SVL_DRAIN_WAIT) {
        return now + SVL_DRAIN_WAIT;
    }
    return give_up > now + SVL_DRAIN_ABORT ? give_up : now + SVL_DRAIN_ABORT;
}

apr_status_t svl_maintain_wait(void *unused)
{
    apr_time_t until = svl_transport_monotonic() + CLIENTS_WAIT;
    int clients;
    (void)unused;
    if (!child.thread || !child.threaded || !child.graceful) {
        return APR_SUCCESS;
    }
    leave_links();
    clients = clients_of_links();
    if (clients) {
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, ap_server_conf,
                     SVLNO(0135) "before it ends this child waits for calls that came over links (%d), at most %d s", clients,
                     (int)apr_time_sec(CLIENTS_WAIT));
    }
    /* The signal of a stop ends the wait. */
    while (clients_of_links() && !time_of(&child.give_up) && svl_transport_monotonic() < until
           && poll(NULL, 0, CLIENTS_LOOK) == 0) {
        continue;
    }
    return APR_SUCCESS;
}

apr_status_t svl_maintain_leave(void *unused)
{
    apr_status_t ignored;
    int drained;
    (void)unused;
    if (!child.thread) {
        return APR_SUCCESS;
    }
    svl_place_leave();
    svl_children_leave();
    __atomic_store_n(&child.deadline, leave_until(), __ATOMIC_RELEASE);
    for (int i = 0; i < svl_runtimes_count(child.runtimes); i++) {
        __atomic_store_n(&svl_runtimes_at(child.runtimes, i)->stopping, 1, __ATOMIC_RELEASE);
        svl_relay_abort_probes(svl_runtimes_at(child.runtimes, i)->relay);
        svl_gather_abort(svl_runtimes_at(child.runtimes, i));
    }
    __atomic_store_n(&child.leaving, 1, __ATOMIC_RELEASE);
    rouse();
    drained = wait_for(&child.drained, SVL_DRAIN_WAIT + SVL_DRAIN_ABORT);
    /* Nothing is freed, and exit ends the process at once: a thread may run on, and its memory and code must stay; and this may be a signal
     * handler, where nothing is to be freed at all. */
    __atomic_store_n(&child.at_once, 1, __ATOMIC_RELEASE);
    if (drained && child.threaded) {
        apr_thread_join(&ignored, child.thread);
        for (int i = 0; i < svl_runtimes_count(child.runtimes); i++) {
            __atomic_store_n(&svl_runtimes_at(child.runtimes, i)->node->runtime, NULL, __ATOMIC_RELEASE);
        }
    }
    return APR_SUCCESS;
}

apr_status_t svl_maintain_start(const apr_array_header_t *runtimes, apr_pool_t *pool, const pthread_t *main)
{
    int *leads = apr_pcalloc(pool, (apr_size_t)(runtimes->nalloc + 1) * sizeof(*leads));
    apr_thread_t *thread;
    apr_os_thread_t *id;
    sigset_t before;
    apr_status_t rv;
    child.runtimes = runtimes;
    child.threaded = !main;
    child.main = main ? *main : pthread_self();
    child.generation = ap_scoreboard_image->global->running_generation;
    sem_init(&child.wake, 0, 0);
    sem_init(&child.drained, 0, 0);
    if (!child.registered && atexit(exit_at_once) != 0) {
        return APR_ENOMEM;
    }
    child.registered = 1;
    /* Threads take no signals, which are for the MPM's own, but those of their own faults: httpd notes where those end a child. */
    svl_guard_block(&before);
    rv = apr_thread_create(&thread, NULL, maintenance, leads, pool);
    svl_guard_restore(&before);
    if (rv == APR_SUCCESS) {
        apr_os_thread_get(&id, thread);
        child.id = *id;
        __atomic_store_n(&child.thread, thread, __ATOMIC_RELEASE);
    }
    return rv;
}

void svl_maintain_told(int graceful)
{
    child.graceful = graceful;
    if (!graceful && child.thread) {
        stop_soon();
        __atomic_store_n(&child.stopped, 0, __ATOMIC_RELEASE);
        rouse();
    }
}

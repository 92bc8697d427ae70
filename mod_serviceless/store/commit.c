/* SPDX-License-Identifier: Apache-2.0 */
#include "commit.h"

#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "../core/fault.h"
#include "../core/pool.h"
#include "damage.h"
#include "ended.h"
#include "fresh.h"
#include "recent.h"
#include "running.h"
#include "work.h"

#define GATHER_MAX 16           /* times that a leader lets others go first */
#define GATHER_BYTES (16 << 10) /* what writes so much gains little from company */
#define COMPANY 64              /* transactions after one of several operations, in which a lone leader expects others */

/* On its caller's stack. */
struct svl_commit_op_t {
    svl_commit_apply_t *apply;
    void *baton;
    apr_size_t weight;
    apr_status_t status;
    int lead; /* woken to lead, not because it is done */
    sem_t wake;
    svl_commit_op_t *next;
};

/* What one transaction takes. */
typedef struct load_t {
    svl_commit_op_t *ops;
    svl_ended_load_t ended;
    int all_ended; /* these are all that are kept */
    int ended_done;
    unsigned int relayed, outcomes; /* so many of the late ones */
    int late_done;
} load_t;

apr_status_t svl_commit_make(svl_store_t *store)
{
    store->late = apr_pcalloc(store->pool, sizeof(*store->late));
    store->end = &store->first;
    pthread_mutex_init(&store->queue, NULL);
    pthread_mutex_init(&store->journal_queue, NULL);
    /* Not below the store's pool, whose sub-pools are gone when its cleanup commits a last time. */
    svl_pool_make(&store->scratch);
    svl_pool_modest(store->scratch);
    return APR_SUCCESS;
}

void svl_commit_destroy(svl_store_t *store)
{
    svl_commit_late_drop(store->late, store->late->relayed_count, store->late->outcome_count);
    pthread_mutex_destroy(&store->queue);
    pthread_mutex_destroy(&store->journal_queue);
    apr_pool_destroy(store->scratch);
}

/* Takes operations off the queue, the leader's first. */
static void take(svl_store_t *store, load_t *load)
{
    svl_commit_op_t **link = &store->first;
    apr_size_t weight = 0;
    unsigned int count = 0;

    pthread_mutex_lock(&store->queue);
    while (*link && (!count || (count < SVL_COMMIT_OPS_MAX && weight + (*link)->weight <= SVL_COMMIT_BYTES_MAX))) {
        weight += (*link)->weight;
        ++count;
        link = &(*link)->next;
    }
    load->ops = store->first;
    store->queued -= weight;
    store->company = count > 1 ? COMPANY : store->company ? store->company - 1 : 0;
    store->first = *link;
    *link = NULL;
    if (!store->first) {
        store->end = &store->first;
    }
    load->relayed = load->outcomes = load->ended.count = 0;
    if (!store->late->failed) {
        load->relayed = store->late->relayed_count;
        load->outcomes = store->late->outcome_count;
    }
    load->all_ended = !store->ended_failed;
    pthread_mutex_unlock(&store->queue);
    if (load->all_ended) {
        svl_ended_take(store, &load->ended);
    }
}

static apr_status_t apply_ended(svl_change_t *change, void *baton)
{
    const load_t *load = baton;

    return svl_ended_apply(change, &load->ended, 0);
}

static apr_status_t apply_ended_bare(svl_change_t *change, void *baton)
{
    const load_t *load = baton;

    return svl_ended_apply(change, &load->ended, 1);
}

static apr_status_t apply_late(svl_change_t *change, void *baton)
{
    const load_t *load = baton;
    const svl_commit_late_t *late = change->store->late;
    apr_status_t status = svl_work_finish(change, late->outcomes, load->outcomes);
    unsigned int i;

    for (i = 0; i < load->relayed && !status; ++i) {
        status = svl_work_relayed(change, late->relayed[i]);
    }
    return status;
}

/* @return the failure that spoiled the transaction; operations that failed without writing keep theirs to themselves */
static apr_status_t apply_all(svl_change_t *change, load_t *load)
{
    svl_commit_op_t *op;
    apr_status_t status = apply_ended(change, load);

    if (!status) {
        status = apply_late(change, load);
    }
    if (!status) {
        status = svl_fresh_write(change);
    }
    if (status) {
        return status;
    }
    change->complete = load->all_ended;
    for (op = load->ops; op; op = op->next) {
        apr_uint64_t writes = change->writes;

        op->status = op->apply(change, op->baton);
        if (op->status && change->writes != writes) {
            return op->status;
        }
    }
    return APR_SUCCESS;
}

/* With all that is kept in the tables.  Where that has no room the map is made larger, as by svl_change_begin. */
static apr_status_t begin_written(svl_change_t *change, svl_store_t *store)
{
    apr_status_t status = SVL_EFULL;
    int tries;

    for (tries = 0; status == SVL_EFULL && tries < 2; ++tries) {
        status = svl_change_begin(change, store);
        if (status) {
            break;
        }
        status = svl_fresh_write(change);
        if (status) {
            svl_change_abort(change);
        }
    }
    return status;
}

static apr_status_t run_alone(svl_store_t *store, svl_commit_apply_t *apply, void *baton)
{
    svl_change_t change;
    apr_status_t status = begin_written(&change, store);

    if (status) {
        return status;
    }
    status = apply(&change, baton);
    if (!status) {
        return svl_change_commit(&change);
    }
    svl_change_abort(&change);
    return status;
}

/* @return the last failure of the log, not of an operation's content */
static apr_status_t run_each(svl_store_t *store, load_t *load)
{
    svl_commit_op_t *op;
    apr_status_t status = APR_SUCCESS;
    int dead;

    mdb_reader_check(store->env, &dead); /* a dead reader may be what keeps pages from being used again */
    if (load->ended.count) {
        status = run_alone(store, apply_ended, load);
        if (status == SVL_EFULL) {
            status = run_alone(store, apply_ended_bare, load);
        }
    }
    load->ended_done = !status;
    for (op = load->ops; op; op = op->next) {
        op->status = run_alone(store, op->apply, op->baton);
        if (op->status && op->status != SVL_EREFUSED) {
            status = op->status;
        }
    }
    load->late_done = !run_alone(store, apply_late, load);
    return status;
}

static apr_status_t run_all(svl_store_t *store, load_t *load)
{
    svl_change_t change;
    svl_commit_op_t *op;
    apr_status_t status = svl_change_begin(&change, store);

    take(store, load);
    if (!status) {
        if (apply_all(&change, load)) {
            svl_change_abort(&change);
            return run_each(store, load);
        }
        status = svl_change_commit(&change);
        if (status == SVL_EFULL) {
            return run_each(store, load);
        }
    }
    load->ended_done = load->late_done = !status;
    for (op = load->ops; op && status; op = op->next) {
        op->status = status;
    }
    return status;
}

/* A log that fails does so at each call: only the change is news. */
static void report(svl_store_t *store, apr_status_t status)
{
    char text[160];

    svl_damage_note(store, status);
    if (status == store->trouble || status == SVL_EDAMAGED) {
        return;
    }
    if (status) {
        svl_log_write(store->options.log, SVL_LOG_MARK, SVL_LOG_ERR, status, SVLNO(0200) "the log %s cannot be written: %s",
                      store->options.directory, svl_fault_strerror(status, text, sizeof(text)));
    }
    else {
        svl_log_write(store->options.log, SVL_LOG_MARK, SVL_LOG_NOTICE, APR_SUCCESS, SVLNO(0201) "the log %s is written again",
                      store->options.directory);
    }
    store->trouble = status;
}

/* @param several receives nonzero when that is more than one operation  @return bytes that what is queued will write, about */
static apr_size_t weigh_queued(svl_store_t *store, int *several)
{
    apr_size_t queued;

    pthread_mutex_lock(&store->queue);
    queued = store->queued;
    *several = store->first && store->first->next;
    pthread_mutex_unlock(&store->queue);
    return queued;
}

/* Where several commit, those who wait for a processor join first, as long as some do: a transaction for many costs little more than one
 * for few.  Where there is a processor for everybody, a look takes a microsecond. */
static void gather(svl_store_t *store)
{
    int i, several;
    apr_size_t before = 0, queued = weigh_queued(store, &several);

    for (i = 0; i < GATHER_MAX && queued > before && queued < GATHER_BYTES && (several || store->company); ++i) {
        before = queued;
        sched_yield();
        queued = weigh_queued(store, &several);
    }
}

static void lead(svl_store_t *store, const svl_commit_op_t *own)
{
    svl_commit_op_t *op, *next;
    load_t load;
    unsigned int i;

    gather(store);
    report(store, run_all(store, &load));
    if (load.ended_done) {
        svl_ended_drop(store, &load.ended);
    }
    pthread_mutex_lock(&store->queue);
    for (i = 0; load.late_done && i < load.outcomes; ++i) {
        svl_running_drop(store, store->late->outcomes[i].position);
    }
    if (load.late_done) {
        svl_commit_late_drop(store->late, load.relayed, load.outcomes);
    }
    store->late->failed |= !load.late_done;
    store->ended_failed |= !load.ended_done;
    next = store->first;
    if (next) {
        next->lead = 1;
    }
    else {
        store->led = 0;
    }
    pthread_mutex_unlock(&store->queue);
    if (next) {
        sem_post(&next->wake);
    }
    for (op = load.ops; op; op = next) {
        next = op->next; /* once woken it is gone */
        if (op != own) {
            sem_post(&op->wake);
        }
    }
}

apr_status_t svl_commit_look(svl_store_t *store, svl_commit_look_t *look, void *baton)
{
    svl_store_reader_t *reader;
    apr_pool_t *p;
    apr_status_t status;

    svl_store_settle(store);
    status = svl_store_read_begin(&reader, store);
    if (status) {
        return status;
    }
    svl_pool_make(&p);
    status = look(store, reader->txn, baton, p);
    apr_pool_destroy(p);
    svl_store_read_end(reader);
    return status;
}

apr_status_t svl_commit_run(svl_store_t *store, svl_commit_apply_t *apply, void *baton, apr_size_t weight)
{
    svl_commit_op_t op = {.apply = apply, .baton = baton, .weight = weight};
    sigset_t saved;
    int leads;

    if (store->readonly) {
        return APR_EACCES;
    }
    sem_init(&op.wake, 0, 0);
    svl_env_guard(store, &saved);
    pthread_mutex_lock(&store->queue);
    *store->end = &op;
    store->end = &op.next;
    store->queued += weight;
    leads = !store->led;
    store->led = 1;
    pthread_mutex_unlock(&store->queue);
    if (!leads) {
        while (sem_wait(&op.wake) && errno == EINTR) {
            continue;
        }
        leads = op.lead;
    }
    if (leads) {
        lead(store, &op);
    }
    svl_env_unguard(store, &saved);
    sem_destroy(&op.wake);
    return op.status;
}

static apr_status_t apply_nothing(svl_change_t *change, void *baton)
{
    (void)change;
    (void)baton;
    return APR_SUCCESS;
}

apr_status_t svl_commit_nothing(svl_store_t *store)
{
    return svl_commit_run(store, apply_nothing, NULL, 0);
}

void svl_store_settle(svl_store_t *store)
{
    if (!store->readonly && svl_ended_mend(store) + svl_recent_any(store)) {
        (void)svl_commit_nothing(store); /* who leads reports failures */
    }
}

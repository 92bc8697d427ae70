/* SPDX-License-Identifier: Apache-2.0 */
#include "journal.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/robust.h"
#include "commit.h"
#include "recent.h"
#include "running.h"

/* Who waits, on its own stack. */
struct svl_journal_wait_t {
    apr_uint64_t ticket;
    apr_status_t status;
    int lead; /* woken to write, not because it is done */
    sem_t wake;
    svl_journal_wait_t *next;
};

/* A batch: what is written, where, and what that makes durable. */
typedef struct batch_t {
    unsigned char *bytes; /* malloc'ed */
    apr_size_t size;
    apr_uint64_t at;
    apr_uint64_t added, last; /* as they were */
} batch_t;

int svl_journal_make(svl_journal_t *journal)
{
    memset(&journal->lock, 0, sizeof(journal->lock));
    return svl_robust_make(&journal->lock);
}

int svl_journal_serves(const svl_store_t *store)
{
    return !store->options.durable || (store->journal_fd >= 0 && !__atomic_load_n(&store->journal_failed, __ATOMIC_RELAXED));
}

/* Copies into the ring, from the place of the byte that would be the @a at-th. */
static void put_bytes(svl_journal_t *journal, apr_uint64_t at, const void *bytes, apr_size_t length)
{
    apr_size_t from = (apr_size_t)(at % SVL_JOURNAL_RING), first = SVL_JOURNAL_RING - from;

    first = length < first ? length : first;
    memcpy(journal->ring + from, bytes, first);
    memcpy(journal->ring, (const char *)bytes + first, length - first);
}

static void get_bytes(const svl_journal_t *journal, apr_uint64_t at, unsigned char *bytes, apr_size_t length)
{
    apr_size_t from = (apr_size_t)(at % SVL_JOURNAL_RING), first = SVL_JOURNAL_RING - from;

    first = length < first ? length : first;
    memcpy(bytes, journal->ring + from, first);
    memcpy(bytes + first, journal->ring, length - first);
}

int svl_journal_add(svl_store_t *store, svl_journal_kind_e kind, apr_uint64_t position, const void *record, apr_size_t length,
                    apr_uint64_t *ticket)
{
    svl_journal_t *journal = store->journal;
    unsigned char head[SVL_JOURNAL_RECORD_HEAD];

    if (journal->added + sizeof(head) + length - svl_running_get(&journal->written) > SVL_JOURNAL_RING) {
        return 0;
    }
    svl_records_put64(head, position);
    svl_records_put32(head + 8, (apr_uint32_t)length);
    svl_records_put32(head + 12, kind);
    put_bytes(journal, journal->added, head, sizeof(head));
    put_bytes(journal, journal->added + sizeof(head), record, length);
    *ticket = journal->added + sizeof(head) + length;
    svl_running_put(&journal->added, *ticket);
    return 1;
}

/* @return where a batch of this size begins: not so late that the file ends before it does */
static apr_uint64_t place_for(apr_uint64_t end, apr_size_t size)
{
    return end % SVL_JOURNAL_SIZE + size > SVL_JOURNAL_SIZE ? (end / SVL_JOURNAL_SIZE + 1) * SVL_JOURNAL_SIZE : end;
}

/* Under the lock of recent.h.  @return APR_ENOSPC: a transaction has to take what is kept; APR_EAGAIN: it has to see first that all is right */
static apr_status_t take_batch(svl_store_t *store, batch_t *batch)
{
    svl_journal_t *journal = store->journal;
    apr_uint64_t from = svl_running_get(&journal->written);
    apr_size_t length = (apr_size_t)(journal->added - from);

    if (!store->recent->ready) {
        return APR_EAGAIN;
    }
    batch->size = (SVL_JOURNAL_BATCH_HEAD + length + SVL_JOURNAL_PAGE - 1) / SVL_JOURNAL_PAGE * SVL_JOURNAL_PAGE;
    batch->at = place_for(journal->end, batch->size);
    if (length > SVL_JOURNAL_RING || batch->at + batch->size - journal->base > SVL_JOURNAL_SIZE) {
        return APR_ENOSPC;
    }
    batch->bytes = calloc(1, batch->size);
    if (!batch->bytes) {
        return APR_ENOMEM;
    }
    svl_records_put64(batch->bytes, batch->at);
    memcpy(batch->bytes + 8, store->running_id, SVL_RUNNING_ID);
    svl_records_put32(batch->bytes + 16, (apr_uint32_t)length);
    get_bytes(journal, from, batch->bytes + SVL_JOURNAL_BATCH_HEAD, length);
    svl_records_put32(batch->bytes + 20, svl_journal_sum(batch->bytes, length));
    batch->added = journal->added;
    batch->last = store->recent->last;
    journal->end = batch->at + batch->size;
    return APR_SUCCESS;
}

/* A failing disk is told of once; it is not known what it has of the journal then. */
static apr_status_t fail(svl_store_t *store, apr_status_t status)
{
    if (!__atomic_exchange_n(&store->journal_failed, 1, __ATOMIC_RELAXED)) {
        svl_log_write(store->options.log, SVL_LOG_MARK, SVL_LOG_ERR, status,
                      SVLNO(0380) "%s/" SVL_JOURNAL_FILE " cannot be written, or was removed or cut: process %" APR_PID_T_FMT
                                  " commits every call and outcome by itself from now on",
                      store->options.directory, store->pid);
    }
    return status;
}

static apr_status_t write_batch(svl_store_t *store, batch_t *batch)
{
    ssize_t put;

    if (!svl_journal_is_whole(store->journal_fd)) {
        return fail(store, APR_ENOENT); /* removed or cut: what is written there is lost */
    }
    put = pwrite(store->journal_fd, batch->bytes, batch->size, (off_t)(batch->at % SVL_JOURNAL_SIZE));
    return put == (ssize_t)batch->size ? APR_SUCCESS : fail(store, put < 0 ? APR_FROM_OS_ERROR(errno) : APR_ENOSPC);
}

static apr_status_t write_locked(svl_store_t *store)
{
    batch_t batch = {NULL, 0, 0, 0, 0};
    apr_status_t status = svl_recent_lock(store);

    if (!status) {
        status = take_batch(store, &batch);
        svl_recent_unlock(store);
    }
    if (!status) {
        status = write_batch(store, &batch);
    }
    if (!status) {
        svl_running_raise(&store->recent->visible, batch.last);
        svl_running_raise(&store->journal->written, batch.added);
    }
    free(batch.bytes);
    return status;
}

/* A holder that was killed has left nothing half done: what it took from the ring is still there. */
int svl_journal_lock(svl_journal_t *journal)
{
    int error = svl_robust_lock(&journal->lock);

    return error == EOWNERDEAD ? pthread_mutex_consistent(&journal->lock) : error;
}

/* The lock is held while the disk works: who gets it next mostly finds that its own is written. */
static apr_status_t write_up_to(svl_store_t *store, apr_uint64_t ticket)
{
    apr_status_t status = APR_FROM_OS_ERROR(svl_journal_lock(store->journal));

    if (status) {
        return status;
    }
    if (svl_running_get(&store->journal->written) < ticket) {
        status = write_locked(store);
    }
    pthread_mutex_unlock(&store->journal->lock);
    return status;
}

/* Takes those off the list who are done, or whose writing failed as this one's.  Under the queue's mutex. */
static svl_journal_wait_t *take_done(svl_store_t *store, apr_status_t status)
{
    apr_uint64_t written = svl_running_get(&store->journal->written);
    svl_journal_wait_t *done = NULL, **link = &store->journal_first, *wait;

    while ((wait = *link)) {
        if (!status && wait->ticket > written) {
            link = &wait->next;
            continue;
        }
        *link = wait->next;
        wait->status = status;
        wait->next = done;
        done = wait;
    }
    return done;
}

static void lead(svl_store_t *store, svl_journal_wait_t *own)
{
    svl_journal_wait_t *done, *next;

    own->status = write_up_to(store, own->ticket);
    pthread_mutex_lock(&store->journal_queue);
    done = take_done(store, own->status);
    next = store->journal_first;
    if (next) {
        store->journal_first = next->next;
        next->lead = 1;
    }
    else {
        store->journal_led = 0;
    }
    pthread_mutex_unlock(&store->journal_queue);
    if (next) {
        sem_post(&next->wake);
    }
    for (; done; done = next) {
        next = done->next; /* once woken it is gone */
        sem_post(&done->wake);
    }
}

static apr_status_t wait_for(svl_store_t *store, apr_uint64_t ticket)
{
    svl_journal_wait_t own = {.ticket = ticket};
    int leads;

    sem_init(&own.wake, 0, 0);
    pthread_mutex_lock(&store->journal_queue);
    leads = !store->journal_led;
    store->journal_led = 1;
    if (!leads) {
        own.next = store->journal_first;
        store->journal_first = &own;
    }
    pthread_mutex_unlock(&store->journal_queue);
    if (!leads) {
        while (sem_wait(&own.wake) && errno == EINTR) {
            continue;
        }
        leads = own.lead;
    }
    if (leads) {
        lead(store, &own);
    }
    sem_destroy(&own.wake);
    return own.status;
}

apr_status_t svl_journal_wait(svl_store_t *store, apr_uint64_t ticket)
{
    if (svl_running_get(&store->journal->written) >= ticket || !wait_for(store, ticket)) {
        return APR_SUCCESS;
    }
    return svl_commit_nothing(store);
}

apr_status_t svl_journal_note(svl_change_t *change)
{
    const svl_journal_t *journal = change->store->journal;
    unsigned char base[SVL_JOURNAL_BASE_SIZE];
    int durable = change->store->options.durable;

    if (!journal || !change->complete || (journal->end == journal->base && (!durable || change->store->recent->ready))) {
        return APR_SUCCESS; /* the log says so already; but the first transaction of a server may find an older copy of it */
    }
    svl_records_put64(base, journal->end);
    return svl_change_put(change, SVL_TABLE_TOP, SVL_JOURNAL_BASE, sizeof(SVL_JOURNAL_BASE) - 1, base, sizeof(base));
}

void svl_journal_settled(const svl_change_t *change)
{
    svl_journal_t *journal = change->store->journal;

    if (change->complete) {
        journal->base = journal->end;
        svl_running_raise(&journal->written, journal->added);
    }
}

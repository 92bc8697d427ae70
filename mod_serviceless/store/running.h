/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/running.h
 * @brief The file `running` beside the log: who runs what at this moment, so that those who take over know what was running, and
 * what only waited; and calls and outcomes that are not in the log yet (recent.h, ended.h).
 *
 * All processes that have the log open map it.  A file, not memory of the server, so that it is there for the server that starts
 * after one that was killed whole: the page cache keeps it.  It is never synced, and believed under the boot that wrote it only; what has to outlast that goes to the journal as well (journal.h).
 */
#ifndef SVL_STORE_RUNNING_H
#define SVL_STORE_RUNNING_H

#include <string.h>

#include "change.h"

#define SVL_RUNNING_FILE "running"

#define SVL_RUNNING_WIDTH                                                                                                      \
    254 /**< runs of a process that are told apart; with more of them all that it has to run counts as running */

/** Atomics.  Two thousand bytes, so that rows share no cache line. */
typedef struct svl_running_row_t {
    apr_uint64_t owner; /**< 0: free */
    apr_uint64_t more;  /**< runs for which there was no place */
    apr_uint64_t positions[SVL_RUNNING_WIDTH];
} svl_running_row_t;

/** The numbers of the file, which other processes and threads change. */
static inline apr_uint64_t svl_running_get(const apr_uint64_t *number)
{
    return __atomic_load_n(number, __ATOMIC_ACQUIRE);
}

static inline void svl_running_put(apr_uint64_t *number, apr_uint64_t value)
{
    __atomic_store_n(number, value, __ATOMIC_RELEASE);
}

static inline int svl_running_swap(apr_uint64_t *number, apr_uint64_t from, apr_uint64_t to)
{
    return __atomic_compare_exchange_n(number, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/** The number only grows. */
static inline void svl_running_raise(apr_uint64_t *number, apr_uint64_t value)
{
    apr_uint64_t now = svl_running_get(number);

    while (now < value && !svl_running_swap(number, now, value)) {
        now = svl_running_get(number);
    }
}

/** Copies bytes into words of the file, and out of it.  @a bytes is read up to the end of its last word. */
static inline void svl_running_write(apr_uint64_t *words, const apr_uint64_t *bytes, apr_size_t length)
{
    for (apr_size_t i = 0; i * sizeof(*words) < length; i++) {
        svl_running_put(&words[i], bytes[i]);
    }
}

static inline void svl_running_read(void *bytes, const apr_uint64_t *words, apr_size_t length)
{
    for (apr_size_t i = 0; i * sizeof(*words) < length; i++) {
        apr_uint64_t word = svl_running_get(&words[i]);
        apr_size_t left = length - i * sizeof(word);
        memcpy((char *)bytes + i * sizeof(word), &word, left < sizeof(word) ? left : sizeof(word));
    }
}

/** For the parent: makes the file and names it in the log, when a server starts, or makes it larger, so that the processes of the options have room
 * three times over (two generations, and the dead that nobody has taken over yet).  A file of another log, boot or format is replaced, this
 * log's of this boot never.  That it cannot be made is only logged: the log can be used all the same, by all without the file.
 * @return a failure: the log could not be written */
apr_status_t svl_running_prepare(svl_store_t *store);

/** Maps the file that the log names, before the first transaction: that settles what processes left which are gone.
 * @return a failure: the log names one, but it cannot be had, and others may keep there what this process would not see */
apr_status_t svl_running_open(svl_store_t *store);

/** Unmaps it.  The row stays: what it does not name was not running. */
void svl_running_close(svl_store_t *store);

/** Within a write transaction.  @return APR_EAGAIN: the log names another file than when this process opened it, which was before anybody could tell
 * that it uses the log */
apr_status_t svl_running_check(const svl_change_t *change);

/** @param id receives that of the file that the log names; zeros: none */
apr_status_t svl_running_named(const svl_store_t *store, MDB_txn *txn, unsigned char id[SVL_RUNNING_ID]);

/** @param count receives how many there are  @return NULL: there is no file */
svl_running_row_t *svl_running_rows(const svl_store_t *store, apr_size_t *count);

/** Takes a row for store->owner.  Without one all its runs count as running once it is dead. */
void svl_running_claim(svl_store_t *store);

/** Takes away the mark of a run whose outcome was recorded later than its mark's holder could wait for. */
void svl_running_drop(svl_store_t *store, apr_uint64_t position);

#endif

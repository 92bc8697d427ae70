/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/commit.h
 * @brief Group commit: operations of this process's threads that wait at the same time share a transaction.
 *
 * Who comes when nobody commits leads: lets others go first for as long as they join, begins the write transaction (here it
 * waits for other processes, and meanwhile the queue grows), takes what is queued, applies and commits it, hands the lead to
 * the next who waits, and wakes those who are done, each by its own semaphore.  Every transaction begins with the calls and outcomes
 * that are kept beside the log (recent.h, ended.h).  The idea is LevelDB's writer queue.  An operation that fails after it wrote spoils the
 * transaction; then each is done again in one of its own, and gets its own status.
 */
#ifndef SVL_STORE_COMMIT_H
#define SVL_STORE_COMMIT_H

#include "change.h"

#define SVL_COMMIT_BYTES_MAX (8 << 20) /**< of one transaction, so that none keeps other processes waiting for long */
#define SVL_COMMIT_OPS_MAX 1024        /**< likewise */
#define SVL_COMMIT_LATE_MAX 1024       /**< of each kind that nobody waits for; 60 kB a process */
#define SVL_COMMIT_TEXT_MAX 512        /**< bytes of a late outcome's text: all together hold half a MiB at most */

/** @return APR_SUCCESS, or a failure; then what it wrote is not committed */
typedef apr_status_t svl_commit_apply_t(svl_change_t *change, void *baton);

/** Applies and commits.  Returns once committed.
 * @param weight bytes that it will write, about */
apr_status_t svl_commit_run(svl_store_t *store, svl_commit_apply_t *apply, void *baton, apr_size_t weight);

/** Looks for work without a write transaction, since mostly there is none; what is kept (recent.h, ended.h) is committed first.  @return APR_NOTFOUND then */
typedef apr_status_t svl_commit_look_t(svl_store_t *store, MDB_txn *txn, void *baton, apr_pool_t *p);
apr_status_t svl_commit_look(svl_store_t *store, svl_commit_look_t *look, void *baton);

/** Commits what is late, and mends the environment if that is what it needs. */
apr_status_t svl_commit_nothing(svl_store_t *store);

/** What nobody waits for: it goes with the next transaction.  Guarded by the queue's mutex; the first ones may be read by the
 * leader while others are added. */
struct svl_commit_late_t {
    apr_uint64_t relayed[SVL_COMMIT_LATE_MAX];
    svl_store_outcome_t outcomes[SVL_COMMIT_LATE_MAX]; /**< texts are malloc'ed */
    unsigned int relayed_count;
    unsigned int outcome_count;
    int failed; /**< left alone until the next flush */
};

/** Drops the first of each kind, once committed.  Under the queue's mutex. */
void svl_commit_late_drop(svl_commit_late_t *late, unsigned int relayed, unsigned int outcomes);

/** Keeps outcomes that could not be committed for the next flush, as far as there is room; long texts are dropped. */
void svl_commit_late_keep(svl_store_t *store, const svl_store_outcome_t *outcomes, apr_uint32_t count);

apr_status_t svl_commit_make(svl_store_t *store);
void svl_commit_destroy(svl_store_t *store);

#endif

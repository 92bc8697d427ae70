/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/journal.h
 * @brief The file `journal` beside a log with fsync: makes calls and outcomes durable that are kept (recent.h, ended.h) and not in the log yet.
 *
 * What is kept is also put into a ring of the file of running.h.  Who waits for it writes all that is in the ring, of all processes, to the
 * journal in one batch, and meanwhile the next ones gather.  So a call costs a part of one small write that changes no metadata of a file
 * system (the file has its size and its blocks from the beginning, and is written, not mapped), where a commit writes the pages of
 * all tables, syncs them, and then syncs the page that makes them count.  Until it is durable, what is kept is not seen by readers.
 *
 * A transaction that takes all that is kept also says in the log up to where the journal is in it; from there on the journal is read
 * when the file of running.h is gone, which is so after every boot.
 *
 * The file goes round.  A batch begins at a multiple of SVL_JOURNAL_PAGE, so that writing it touches no page of another, and does not go
 * beyond the file's end:
 *
 *   at(8) of its first byte, counted up for ever   id(8) of the file of running.h   length(4) of its records   CRC-32(4) of all of it but this
 *   records: position(8) length(4) kind(4) bytes, as in recent.h or ended.h
 *
 * A batch that is torn has another sum; nobody was told of what is in it.
 */
#ifndef SVL_STORE_JOURNAL_H
#define SVL_STORE_JOURNAL_H

#include <pthread.h>

#include "change.h"

#define SVL_JOURNAL_FILE "journal"
#define SVL_JOURNAL_SIZE (4 << 20)        /**< bytes of the file; when they are taken, a transaction takes what is kept */
#define SVL_JOURNAL_PAGE 4096             /**< bytes */
#define SVL_JOURNAL_RING (256 << 10)      /**< bytes of records that are not durable yet: one of each thread that waits */
#define SVL_JOURNAL_BATCH_HEAD 24         /**< bytes */
#define SVL_JOURNAL_RECORD_HEAD 16        /**< bytes */
#define SVL_JOURNAL_BASE_SIZE 8           /**< bytes of the log's number: batches from there on are not in it */
#define SVL_JOURNAL_BASE SVL_JOURNAL_FILE /**< its key in the table "top" */

typedef enum { SVL_JOURNAL_CALL = 1, SVL_JOURNAL_OUTCOME = 2 } svl_journal_kind_e;

/** As it lies in the file of running.h; zeros, but for the lock.  Changed under the lock of recent.h, but for what says so. */
struct svl_journal_t {
    pthread_mutex_t lock; /**< of who writes a batch */
    apr_uint64_t added;   /**< bytes that were ever put into the ring; atomic, read without the lock */
    apr_uint64_t written; /**< so many of them are durable, here or in the log; atomic, raised without the lock */
    apr_uint64_t end;     /**< of the journal: where the next batch begins */
    apr_uint64_t base;    /**< of the journal: what is below is in the log */
    unsigned char ring[SVL_JOURNAL_RING];
};

typedef struct svl_journal_wait_t svl_journal_wait_t;

/** Makes the lock, as svl_recent_make does.  @return an error of the system */
int svl_journal_make(svl_journal_t *journal);

/** For the parent: makes the file, unless there is one of this size.  That it cannot be made is only logged: everything is committed then.
 * @param unused nobody else can have it open */
void svl_journal_prepare(const svl_store_t *store, int unused);

/** For who starts a server and has found the file of running.h of this boot, where the journal ends at @a end.
 * @return nonzero when the journal has a batch beyond: the disk had lost what was written to that file, which is not to be believed */
int svl_journal_outruns(const svl_store_t *store, apr_uint64_t end);

/** Opens the file, for who has mapped the file of running.h.  That it cannot be had is only logged. */
void svl_journal_open(svl_store_t *store);
void svl_journal_close(svl_store_t *store);

/** @return nonzero when the file has a name, and its size */
int svl_journal_is_whole(int fd);

/** @return nonzero when what is kept by this process can be made durable, or need not be */
int svl_journal_serves(const svl_store_t *store);

/** Keeps others from writing the journal; after it the lock of recent.h may be taken.  @return an error of the system: then it is not locked */
int svl_journal_lock(svl_journal_t *journal);

/** Puts a record into the ring, for who holds the lock of recent.h.
 * @param ticket receives what to wait for  @return nonzero, or 0: there is no room now, so it is to be committed */
int svl_journal_add(svl_store_t *store, svl_journal_kind_e kind, apr_uint64_t position, const void *record, apr_size_t length,
                    apr_uint64_t *ticket);

/** Returns once what the ticket stands for is durable: in the journal, or else, when that could not be written, in the log.
 * @return a failure: it is in neither, and what is kept may be in the log later */
apr_status_t svl_journal_wait(svl_store_t *store, apr_uint64_t ticket);

/** @return the CRC-32 of a batch with so many bytes of records */
apr_uint32_t svl_journal_sum(const unsigned char *batch, apr_size_t length);

/** Within a transaction that took all that is kept, before it is committed: says so in the log.  @return a failure of the log */
apr_status_t svl_journal_note(svl_change_t *change);
/** And once it is. */
void svl_journal_settled(const svl_change_t *change);

/** Appends to the log what the journal has and the log has not, and forgets the journal, for who is about to name another file of running.h.
 * @param change of who starts a server; nobody else uses the log  @return a failure of the log, or one to read the journal that may be over
 * with the next try; what is lost of it is logged */
apr_status_t svl_journal_apply(svl_change_t *change);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/recent.h
 * @brief Calls that were accepted a moment ago: kept in the file of running.h, which all processes of the log map, until the next
 * transaction takes them.
 *
 * What is written to the mapping survives the end of every process, as a commit without sync does, and for a log that is not durable that
 * is enough.  For one with fsync it also goes to the journal (journal.h), and is not seen by readers before it is there.  A call that is
 * kept has its position and its number, and whoever reads the log finds it there (recent_read.c); who looks at other tables than calls,
 * ids and outcomes, and must not miss it, settles before (svl_store_settle).
 *
 * One lock of all processes is held from before a transaction begins until it has ended, and while a call is kept: so between two
 * transactions the log grows here only, by one position after the other.  A call is kept when nothing about it has to be looked up but its id:
 * its stream is known here, it is the next one of it, and the log has room.  Everything else is committed.
 *
 * A place is free or full; one word says which, by the position that it holds.  Who commits it frees it; one that is in the log already,
 * since its committer was killed between the two, is known by its position.  Who finds that the lock's holder was killed keeps
 * nothing until a transaction has seen to it that all here is right again.
 */
#ifndef SVL_STORE_RECENT_H
#define SVL_STORE_RECENT_H

#include <pthread.h>

#include "change.h"

#define SVL_RECENT_BYTES 1000 /**< of one, with its names; a longer one is committed */
/** Before the names of a record: owner(8) arity(4) state(1), the lengths of id(1) stream(1) route(2, with its NUL; 0: none); then come
 * these three, and the value of the table calls. */
#define SVL_RECENT_HEAD 17
#define SVL_RECENT_STATE 12     /**< where the state is */
#define SVL_RECENT_RELAYED 0x80 /**< added to the state: the route is not to be relayed any more */
#define SVL_RECENT_STREAMS 32 /**< that are known here */

/** Words, read and written one by one, as in ended.h. */
typedef struct svl_recent_body_t {
    apr_uint64_t length;                             /**< bytes of the record; atomic */
    apr_uint64_t record[(SVL_RECENT_BYTES + 7) / 8]; /**< atomics; recent.c says of what */
} svl_recent_body_t;

/** A stream without gaps. */
typedef struct svl_recent_stream_t {
    apr_uint64_t next; /**< number; all below are covered; 0: there is no stream in this place */
    apr_uint32_t number, length;
    char name[SVL_NAME_STREAM_MAX];
} svl_recent_stream_t;

/** As it lies in the file; zeros, but for the lock.  Only words, bodies and what says so are read without the lock. */
struct svl_recent_t {
    pthread_mutex_t lock;
    apr_uint64_t ready; /**< nonzero: what follows is right, and the log has room for all places */
    apr_uint64_t last;  /**< position of the newest entry */
    apr_uint64_t place; /**< of streams, that the next new one gets */
    apr_uint64_t
        visible; /**< position up to which readers see what is kept: it is as safe as it has to be; atomic, read without the lock */
    apr_uint64_t settled; /**< transactions that took what was here; atomic, read without the lock */
    char epoch[SVL_NAME_EPOCH + 1];
    svl_recent_stream_t streams[SVL_RECENT_STREAMS];
    apr_uint64_t seen[SVL_RECENT_PLACES / 8]; /**< bits: of hashes, modulo their number, of ids kept since the last commit */
    apr_uint32_t ids[SVL_RECENT_PLACES];      /**< hashes, of where words has something */
    apr_uint64_t words[SVL_RECENT_PLACES];    /**< atomics */
    svl_recent_body_t bodies[SVL_RECENT_PLACES];
};

/** A call, copied out. */
typedef struct svl_recent_copy_t {
    apr_uint64_t position;
    apr_size_t length;
    unsigned char record[SVL_RECENT_BYTES];
} svl_recent_copy_t;

/** A record, taken apart.  Borrowed. */
typedef struct svl_recent_call_t {
    apr_uint64_t owner;
    apr_uint32_t arity;
    unsigned char state; /**< of its run, as in records.h */
    const char *id, *stream;
    apr_size_t id_length, stream_length;
    const char *route;          /**< terminated; NULL: none */
    const unsigned char *value; /**< of the table calls */
    apr_size_t value_length;
} svl_recent_call_t;

/** Where a call with this position is kept. */
static inline apr_uint64_t *svl_recent_word(svl_recent_t *recent, apr_uint64_t position)
{
    return &recent->words[position % SVL_RECENT_PLACES];
}

static inline svl_recent_body_t *svl_recent_body(svl_recent_t *recent, apr_uint64_t position)
{
    return &recent->bodies[position % SVL_RECENT_PLACES];
}

/** @return the stream with this name, where it is known; NULL */
svl_recent_stream_t *svl_recent_stream(svl_recent_t *recent, const char *name, apr_size_t length);

/** Makes the lock, for who makes the file, or takes one over that nobody uses; what is kept stays.  @return an error of the system */
int svl_recent_make(svl_recent_t *recent);

/** Accepts, if it can be done here.
 * @param status receives APR_SUCCESS when it is as safe as if it was committed, and all that svl_store_accept tells is told; or why not
 * @return nonzero, or 0: it is to be committed */
int svl_recent_keep(svl_store_t *store, svl_store_batch_t *batches, apr_uint32_t count, apr_time_t now, apr_status_t *status);

/** Notes that the route of the call at @a position is not to be relayed any more, if it is kept and nobody is about to commit it.
 * @return 0: the log is to be told */
int svl_recent_relayed(svl_store_t *store, apr_uint64_t position);

/** Appends a record of a call to the log, unless the log has its position.  @return also APR_EINVAL, with nothing written: it is no call */
apr_status_t svl_recent_append(svl_change_t *change, apr_uint64_t position, const unsigned char *record, apr_size_t length);

/** @return nonzero when any is kept */
int svl_recent_any(const svl_store_t *store);

/** Before a write transaction begins, and once it has ended.  @return APR_SUCCESS, or an error of the system: then it is not locked */
apr_status_t svl_recent_lock(svl_store_t *store);
void svl_recent_unlock(svl_store_t *store);

/** Appends what is kept to the log, first of all that a transaction does. */
apr_status_t svl_recent_apply(svl_change_t *change);

/** Frees what was appended, and learns what the transaction changed, once it is committed.  Nothing where there is no file; so below.  @param room whether the log has room for
 * SVL_RECENT_PAGES pages more */
void svl_recent_settled(const svl_change_t *change, int room);
/** Keeps nothing until a transaction is committed. */
void svl_recent_suspend(svl_store_t *store);

/** Copies what is kept from position @a first on and below @a end, for a reader who is about to begin: what is not there is in the log by
 * then, or was never told to anybody.
 * @param list malloc'ed, in order of position; NULL when there is none  @return APR_ENOMEM */
apr_status_t svl_recent_copy(const svl_store_t *store, apr_uint64_t first, apr_uint64_t end, svl_recent_copy_t **list,
                             apr_uint32_t *count);

/** @return the smallest position above @a after that is kept, with which all others are within SVL_RECENT_PLACES; 0: none */
apr_uint64_t svl_recent_oldest(const svl_recent_t *recent, apr_uint64_t after);

/** @return SVL_EDAMAGED: this program did not write it */
apr_status_t svl_recent_parse(svl_recent_call_t *call, const unsigned char *record, apr_size_t length);

/* For read.c, of a reader's copies. */

/** Forgets what the snapshot has, and what does not follow it without a gap. */
apr_status_t svl_recent_trim(svl_store_reader_t *reader);
/** @return APR_NOTFOUND */
apr_status_t svl_recent_find(const svl_store_reader_t *reader, const char *id, apr_size_t length, apr_uint64_t *position);
/** The entry at @a position, or the nearest one that is above (@a step 1) or below it (-1; 0: the last).
 * @param position in and out  @param value as in the table calls  @return APR_NOTFOUND */
apr_status_t svl_recent_get(const svl_store_reader_t *reader, int step, apr_uint64_t *position, MDB_val *value);
/** Adds them to what is counted: entries, work, runs that are to be done, the last position. */
void svl_recent_count(const svl_store_reader_t *reader, svl_store_counts_t *counts, apr_uint64_t *pending);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/ended.h
 * @brief Outcomes that nobody has to wait for: kept in the file of running.h, which all processes of the log map, until the next
 * transaction takes them.
 *
 * Where the log is not durable a commit survives the end of every process, and nothing else; so does what is written to the mapping.  Where
 * it is, an outcome also goes to the journal (journal.h), and is hidden from readers before it is there.  Every transaction of every process begins with what is kept here, after the calls that it is of (recent.h), and readers see it as if it were in the log: no
 * operation can tell an outcome that is kept from one that is committed.
 *
 * The outcome of a position has one place.  A place is free, being filled by an owner, or full; one word says which, and for whom or for
 * what position.  Who commits the outcome of a full place frees it, if it is still the same one.  Committing one twice does no harm,
 * since the first outcome of an entry stands.
 */
#ifndef SVL_STORE_ENDED_H
#define SVL_STORE_ENDED_H

#include "change.h"

#define SVL_ENDED_PLACES                                                                                                       \
    2048 /**< at a time, of all processes, each for some positions; where it is taken, an outcome is committed */
#define SVL_ENDED_TEXT_MAX 512   /**< bytes; a longer outcome is committed */
#define SVL_ENDED_TOGETHER_MAX 8 /**< outcomes that are kept together; more are worth a transaction */

#define SVL_ENDED_RECORD_MAX (SVL_RECORDS_OUTCOME_SIZE + SVL_ENDED_TEXT_MAX)

/** An outcome as records.h draws it, in words, which are read and written one by one: a place may be freed and filled again while somebody
 * reads it, and who does looks afterwards whether it was. */
typedef struct svl_ended_body_t {
    apr_uint64_t length;                                 /**< bytes of the record; atomic */
    apr_uint64_t record[(SVL_ENDED_RECORD_MAX + 7) / 8]; /**< atomics */
} svl_ended_body_t;

/** As it lies in the file; zeros are free places. */
struct svl_ended_t {
    apr_uint64_t words[SVL_ENDED_PLACES]; /**< atomics */
    svl_ended_body_t bodies[SVL_ENDED_PLACES];
};

/** A record, copied out. */
typedef struct svl_ended_copy_t {
    apr_uint64_t position;
    svl_ended_body_t body;
} svl_ended_copy_t;

/** What a transaction takes: full places, and what their words said. */
typedef struct svl_ended_load_t {
    apr_uint32_t count;
    apr_uint32_t places[SVL_ENDED_PLACES];
    apr_uint64_t words[SVL_ENDED_PLACES];
} svl_ended_load_t;

/** Keeps outcomes of runs, all or none; one whose position has one that is kept is dropped, as by a commit.
 * @return nonzero when they are as safe as if they were committed */
int svl_ended_keep(svl_store_t *store, const svl_store_outcome_t *outcomes, apr_uint32_t count);

/** @return nonzero when the outcome of @a position is kept */
int svl_ended_holds(const svl_store_t *store, apr_uint64_t position);

/** Collects the full places, within a write transaction.  @return how many there are */
apr_uint32_t svl_ended_take(const svl_store_t *store, svl_ended_load_t *load);

/** Records what was taken.  @param bare without texts, for which a full log has no room */
apr_status_t svl_ended_apply(svl_change_t *change, const svl_ended_load_t *load, int bare);

/** Frees what was taken, once committed. */
void svl_ended_drop(svl_store_t *store, const svl_ended_load_t *load);

/** Frees places whose owner ended while it filled them, or that hold nothing that this program wrote.  @return nonzero when any is full */
int svl_ended_mend(svl_store_t *store);

/** Copies what is kept of positions from @a first on and below @a end (of more, where that are many), for a reader who is about to
 * begin: what is not there is in the log by then, or was never told to anybody.
 * @param list malloc'ed; NULL when there is none  @return APR_ENOMEM */
apr_status_t svl_ended_copy(const svl_store_t *store, apr_uint64_t first, apr_uint64_t end, svl_ended_copy_t **list,
                            apr_uint32_t *count);

#endif

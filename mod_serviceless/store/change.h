/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/change.h
 * @brief A write transaction: tables, the state record, and the streams it touched, which are written back once at its end.
 */
#ifndef SVL_STORE_CHANGE_H
#define SVL_STORE_CHANGE_H

#include <apr_hash.h>

#include "../core/vector.h"
#include "tables.h"

/** A stream in hand. */
typedef struct svl_change_stream_t svl_change_stream_t;
struct svl_change_stream_t {
    apr_uint32_t number;
    apr_uint64_t pruned;
    apr_int64_t latest;            /* as in svl_records_stream_t */
    svl_vector_numbers_t *numbers; /* when empty at the end, the stream is forgotten */
    int fresh;                     /* not in the log yet */
    int changed;
    char name[SVL_NAME_STREAM_MAX + 1];
    apr_size_t length;
    svl_change_stream_t *next; /* of this transaction */
};

typedef struct svl_change_t {
    svl_store_t *store;
    apr_pool_t *pool; /* cleared after the transaction */
    MDB_txn *txn;
    svl_records_state_t state;
    int state_changed;
    int complete;           /* it took all that is kept */
    const char *superseded; /* why the present epoch was begun in this transaction, if it was */
    apr_uint64_t writes;    /* how much was written: an operation that wrote nothing failed cleanly */
    apr_uint64_t planned;   /* bytes that the operations applied so far asked for */
    apr_array_header_t *fresh; /* svl_fresh_t (fresh.h): of this position and those that follow it; NULL: none */
    apr_uint64_t fresh_first;
    svl_change_stream_t *streams;
    svl_change_stream_t *last; /* used last */
    apr_hash_t *by_name;       /* of streams, once there are many */
    unsigned int stream_count;
} svl_change_t;

/** Begins, with the calls that are kept beside the log (recent.h), whose work is in memory until svl_fresh_write; waits for other processes'
 * transactions.  For the leader.
 * @return APR_SUCCESS, or why the log cannot be written */
apr_status_t svl_change_begin(svl_change_t *change, svl_store_t *store);

/** Writes back and commits.  Ends the transaction in any case. */
apr_status_t svl_change_commit(svl_change_t *change);
void svl_change_abort(svl_change_t *change);

/** @return nonzero when there is room below the reserve for @a bytes more, which are then taken */
int svl_change_room(svl_change_t *change, apr_uint64_t bytes);

/** @return APR_SUCCESS, APR_NOTFOUND, or a failure; @a value is valid until the next write */
apr_status_t svl_change_get(svl_change_t *change, svl_table_e table, const void *key, apr_size_t length, MDB_val *value);
apr_status_t svl_change_put(svl_change_t *change, svl_table_e table, const void *key, apr_size_t length, const void *value,
                            apr_size_t size);
apr_status_t svl_change_delete(svl_change_t *change, svl_table_e table, const void *key, apr_size_t length);

/** Makes room for a value, to be filled before the next write.
 * @param flags MDB_APPEND, MDB_NOOVERWRITE (APR_EEXIST: @a room is the value that is there, not to be written) */
apr_status_t svl_change_reserve(svl_change_t *change, svl_table_e table, const void *key, apr_size_t length, unsigned int flags,
                                apr_size_t size, unsigned char **room);

/** The same for a value that is a position.  @return also SVL_EDAMAGED */
apr_status_t svl_change_position(svl_change_t *change, svl_table_e table, const void *key, apr_size_t length,
                                 apr_uint64_t *position);

#define SVL_CHANGE_NAME_SIZE (SVL_NAME_STREAM_MAX + 1)
/** Writes origin/set/epoch, terminated.  @return its length */
apr_size_t svl_change_name(char name[SVL_CHANGE_NAME_SIZE], const char *origin, const char *set, const char *epoch);

/** Finds or makes a stream. */
apr_status_t svl_change_stream(svl_change_t *change, const char *origin, const char *set, const char *epoch,
                               svl_change_stream_t **stream);
/** @param name origin/set/epoch, at most SVL_NAME_STREAM_MAX bytes */
apr_status_t svl_change_stream_named(svl_change_t *change, const char *name, apr_size_t length, svl_change_stream_t **stream);
/** Finds the stream with this number in the records.  @return SVL_EDAMAGED when there is none */
apr_status_t svl_change_stream_numbered(svl_change_t *change, apr_uint32_t number, svl_change_stream_t **stream);

#endif

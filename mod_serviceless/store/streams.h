/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/streams.h
 * @brief All streams of a log: which of them are superseded by a later epoch, and up to where they are pruned.
 */
#ifndef SVL_STORE_STREAMS_H
#define SVL_STORE_STREAMS_H

#include <apr_tables.h>

#include "change.h"

/** A stream as it is in the table.  Text and record point into the map. */
typedef struct svl_streams_item_t {
    const char *name; /* not terminated */
    apr_size_t length;
    svl_records_stream_t record;
    int superseded; /* another one of its origin and set has the newer call, or (own streams) the current epoch */
    int whole;      /* it is pruned as a whole */
} svl_streams_item_t;

/** Lists the streams, sorted by name.  What a write transaction has in hand it does not see.
 * @param list svl_streams_item_t, valid until the transaction ends or writes */
apr_status_t svl_streams_list(MDB_txn *txn, const svl_store_t *store, apr_array_header_t **list, apr_pool_t *p);

/** @return nonzero for origin/set/epoch  @param set, set_length receive where the set is; may be NULL */
int svl_streams_is_name(const char *name, apr_size_t length, const char **set, apr_size_t *set_length);

/** Sets the stream's `pruned`: below the lowest number still held, or to the highest one covered when none is. */
apr_status_t svl_streams_prune(svl_change_t *change, svl_change_stream_t *stream);

#endif

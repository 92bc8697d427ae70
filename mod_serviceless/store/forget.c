/* SPDX-License-Identifier: Apache-2.0 */
#include "../core/fault.h"
#include "commit.h"
#include "streams.h"

#define STREAM_WEIGHT 256 /* bytes: record, name, and their pages' part */

typedef struct forget_t {
    apr_int64_t before; /* milliseconds */
    unsigned int limit;
    unsigned int forgotten;
} forget_t;

/* Of one that is known through giving up only, since then. */
static apr_int64_t age_since(const svl_records_stream_t *record)
{
    return record->latest < 0 ? -record->latest : record->latest;
}

static apr_status_t list_old(MDB_txn *txn, const svl_store_t *store, const forget_t *forget, apr_array_header_t **old,
                             apr_pool_t *p)
{
    apr_array_header_t *list;
    apr_status_t status = svl_streams_list(txn, store, &list, p);
    int i;

    *old = apr_array_make(p, 1, sizeof(svl_streams_item_t));
    for (i = 0; !status && i < list->nelts && (unsigned int)(*old)->nelts < forget->limit; ++i) {
        const svl_streams_item_t *item = &APR_ARRAY_IDX(list, i, svl_streams_item_t);

        if (item->superseded && item->whole && age_since(&item->record) < forget->before) {
            APR_ARRAY_PUSH(*old, svl_streams_item_t) = *item;
        }
    }
    return status;
}

static apr_status_t apply_forget(svl_change_t *change, void *baton)
{
    forget_t *forget = baton;
    apr_array_header_t *old;
    svl_change_stream_t *stream;
    apr_status_t status = list_old(change->txn, change->store, forget, &old, change->pool);
    int i;

    forget->forgotten = 0;
    for (i = 0; !status && i < old->nelts; ++i) { /* nothing is written here: the items stay as they are */
        const svl_streams_item_t *item = &APR_ARRAY_IDX(old, i, svl_streams_item_t);

        status = svl_change_stream_named(change, item->name, item->length, &stream);
        if (!status && stream->pruned >= svl_vector_highest(stream->numbers)) { /* not used in this transaction */
            stream->numbers->watermark = 0;
            apr_array_clear(stream->numbers->ranges); /* an empty one is deleted at the end */
            stream->pruned = 0;
            stream->changed = 1;
            ++forget->forgotten;
            ++change->writes;
        }
    }
    return status;
}

static apr_status_t look(svl_store_t *store, MDB_txn *txn, void *baton, apr_pool_t *p)
{
    apr_array_header_t *old;
    apr_status_t status = list_old(txn, store, baton, &old, p);

    return status || old->nelts ? status : APR_NOTFOUND;
}

apr_status_t svl_store_forget_streams(svl_store_t *store, apr_time_t before, unsigned int limit, unsigned int *forgotten)
{
    forget_t forget = {.before = before / 1000, .limit = limit};
    apr_status_t status;

    *forgotten = 0;
    if (store->readonly) {
        return APR_EACCES;
    }
    status = svl_commit_look(store, look, &forget);
    if (status) {
        return status == APR_NOTFOUND ? APR_SUCCESS : status;
    }
    status = svl_commit_run(store, apply_forget, &forget, (apr_size_t)limit * STREAM_WEIGHT);
    *forgotten = status ? 0 : forget.forgotten;
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "streams.h"

#include <string.h>

#include "../core/fault.h"

#define WORD 8 /* bytes of a number in the form that svl_vector_encode writes */

/* The same without decoding: the watermark comes first, the end of the last range last. */
static apr_uint64_t highest_of(const svl_records_stream_t *record)
{
    return svl_records_get64(record->length > 2 * WORD ? record->numbers + record->length - WORD : record->numbers);
}

int svl_streams_is_name(const char *name, apr_size_t length, const char **set, apr_size_t *set_length)
{
    const char *first = memchr(name, '/', length), *epoch;

    if (!first || length <= SVL_NAME_EPOCH || length > SVL_NAME_STREAM_MAX) {
        return 0;
    }
    epoch = name + length - SVL_NAME_EPOCH;
    if (epoch - first < 3 || epoch[-1] != '/' || !svl_name_is_epoch(epoch, SVL_NAME_EPOCH)
        || !svl_name_is_node(name, (apr_size_t)(first - name))
        || !svl_name_is_node(first + 1, (apr_size_t)(epoch - first - 2))) {
        return 0;
    }
    if (set) {
        *set = first + 1;
        *set_length = (apr_size_t)(epoch - first - 2);
    }
    return 1;
}

static apr_status_t read_state(MDB_txn *txn, const svl_store_t *store, svl_records_state_t *state)
{
    MDB_val key = {5, (void *)"state"}, value;
    apr_status_t status = svl_env_status(mdb_get(txn, store->tables[SVL_TABLE_TOP], &key, &value));

    return status ? status : svl_records_get_state(state, value.mv_data, value.mv_size);
}

static apr_status_t parse(const MDB_val *key, const MDB_val *value, svl_streams_item_t *item)
{
    apr_status_t status = svl_records_get_stream(&item->record, value->mv_data, value->mv_size);

    item->name = key->mv_data;
    item->length = key->mv_size;
    if (status || item->record.length < 2 * WORD || !svl_streams_is_name(item->name, item->length, NULL, NULL)) {
        return SVL_EDAMAGED;
    }
    item->superseded = 0;
    item->whole = item->record.pruned >= highest_of(&item->record);
    return APR_SUCCESS;
}

static int is_current(const svl_streams_item_t *item, const svl_store_t *store, const svl_records_state_t *state)
{
    apr_size_t length = store->node.name_length;

    return item->length > length && item->name[length] == '/' && !memcmp(item->name, store->node.name, length)
           && !memcmp(item->name + item->length - SVL_NAME_EPOCH, state->epoch, SVL_NAME_EPOCH);
}

static int is_same_origin_and_set(const svl_streams_item_t *one, const svl_streams_item_t *other)
{
    return one->length == other->length && !memcmp(one->name, other->name, one->length - SVL_NAME_EPOCH);
}

/* A restart logs the calls of the old epoch anew, so that the newest call of both is the same one: the stream that came to this log
 * later is that of the later epoch. */
static int is_newer(const svl_streams_item_t *item, const svl_streams_item_t *than)
{
    return item->record.latest > than->record.latest
           || (item->record.latest == than->record.latest && item->record.number > than->record.number);
}

/* All streams of one origin and set.  Of those of which no call was ever seen here (all were given up) it is not known which one is
 * the newest: they supersede nothing. */
static void supersede(svl_streams_item_t *items, int count, const svl_store_t *store, const svl_records_state_t *state)
{
    svl_streams_item_t *leader = items;
    int i, leads = is_current(items, store, state);

    for (i = 1; i < count && !leads; ++i) {
        leads = is_current(&items[i], store, state);
        if (leads || is_newer(&items[i], leader)) {
            leader = &items[i];
        }
    }
    for (i = 0; i < count; ++i) {
        items[i].superseded = &items[i] != leader && (leads || leader->record.latest > 0);
    }
}

/* They are sorted by name, so those of one origin and set stand together. */
static void supersede_all(const apr_array_header_t *list, const svl_store_t *store, const svl_records_state_t *state)
{
    svl_streams_item_t *items = (svl_streams_item_t *)list->elts;
    int first, end;

    for (first = 0; first < list->nelts; first = end) {
        for (end = first + 1; end < list->nelts && is_same_origin_and_set(&items[first], &items[end]); ++end) {
            continue;
        }
        supersede(items + first, end - first, store, state);
    }
}

apr_status_t svl_streams_list(MDB_txn *txn, const svl_store_t *store, apr_array_header_t **list, apr_pool_t *p)
{
    svl_records_state_t state;
    MDB_cursor *cursor;
    MDB_val key, value;
    MDB_stat stat = {0};
    apr_status_t status = read_state(txn, store, &state);
    int rc;

    *list = NULL;
    if (!status) {
        status = svl_env_status(mdb_stat(txn, store->tables[SVL_TABLE_STREAMS], &stat));
    }
    if (!status) {
        status = svl_env_status(mdb_cursor_open(txn, store->tables[SVL_TABLE_STREAMS], &cursor));
    }
    if (status) {
        return status;
    }
    *list = apr_array_make(p, (int)stat.ms_entries, sizeof(svl_streams_item_t));
    while (!status && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) != MDB_NOTFOUND) {
        status = rc ? svl_env_status(rc) : parse(&key, &value, apr_array_push(*list));
    }
    mdb_cursor_close(cursor);
    if (!status) {
        supersede_all(*list, store, &state);
    }
    return status;
}

apr_status_t svl_streams_prune(svl_change_t *change, svl_change_stream_t *stream)
{
    unsigned char bytes[SVL_RECORDS_NUMBER_SIZE];
    MDB_val key = {sizeof(bytes), bytes}, value;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(change->txn, change->store->tables[SVL_TABLE_NUMBERS], &cursor);

    if (rc) {
        return svl_env_status(rc);
    }
    svl_records_put_number(bytes, stream->number, 1);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    stream->pruned = svl_vector_highest(stream->numbers);
    if (!rc && key.mv_size == sizeof(bytes) && svl_records_get32(key.mv_data) == stream->number) {
        stream->pruned = svl_records_get64((unsigned char *)key.mv_data + 4) - 1;
    }
    mdb_cursor_close(cursor);
    stream->changed = 1;
    ++change->writes; /* the stream is written at the end */
    return rc == MDB_NOTFOUND ? APR_SUCCESS : svl_env_status(rc);
}

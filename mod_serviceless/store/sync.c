/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

#include "../core/fault.h"
#include "../core/pool.h"
#include "commit.h"
#include "streams.h"

static int is_one_of(const char *set, apr_size_t length, const char *const *sets, int count)
{
    int i;

    for (i = 0; i < count; ++i) {
        if (!strncmp(sets[i], set, length) && !sets[i][length]) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t add_stream(const svl_streams_item_t *item, apr_hash_t *vector, apr_hash_t *pruned, apr_pool_t *p)
{
    const char *name = apr_pstrmemdup(p, item->name, item->length);
    svl_vector_numbers_t *numbers;

    if (svl_vector_decode(&numbers, item->record.numbers, item->record.length, p)) {
        return SVL_EDAMAGED;
    }
    apr_hash_set(vector, name, (apr_ssize_t)item->length, numbers);
    if (item->record.pruned) {
        apr_hash_set(pruned, name, (apr_ssize_t)item->length,
                     apr_pmemdup(p, &item->record.pruned, sizeof(item->record.pruned)));
    }
    return APR_SUCCESS;
}

apr_status_t svl_store_vector(svl_store_reader_t *reader, const char *const *sets, int count, apr_hash_t **vector,
                              apr_hash_t **pruned, apr_pool_t *p)
{
    apr_array_header_t *list;
    apr_pool_t *scratch;
    apr_status_t status;
    int i;

    *vector = apr_hash_make(p);
    *pruned = apr_hash_make(p);
    apr_pool_create(&scratch, p);
    status = svl_streams_list(reader->txn, reader->store, &list, scratch);
    for (i = 0; !status && i < list->nelts; ++i) {
        const svl_streams_item_t *item = &APR_ARRAY_IDX(list, i, svl_streams_item_t);
        const char *set;
        apr_size_t length;

        svl_streams_is_name(item->name, item->length, &set, &length);
        if (!(item->superseded && item->whole) && is_one_of(set, length, sets, count)) {
            status = add_stream(item, *vector, *pruned, p);
        }
    }
    apr_pool_destroy(scratch);
    return status;
}

/* @return APR_SUCCESS or APR_NOTFOUND */
static apr_status_t find_stream(svl_store_reader_t *reader, const char *name, svl_records_stream_t *record)
{
    MDB_val key = {strlen(name), (void *)name}, value;
    apr_status_t status;

    if (!svl_streams_is_name(name, key.mv_size, NULL, NULL)) {
        return APR_NOTFOUND;
    }
    status = svl_env_status(mdb_get(reader->txn, reader->store->tables[SVL_TABLE_STREAMS], &key, &value));
    return status ? status : svl_records_get_stream(record, value.mv_data, value.mv_size);
}

/* Reads the entry at `position`.  @return nonzero when the line is to be shown */
static int is_shown(svl_store_reader_t *reader, apr_uint64_t position, const svl_store_young_t *young,
                    svl_store_record_t *record, apr_status_t *status)
{
    record->position = position - 1;
    *status = svl_store_next(reader, 0, 0, record);
    if (!*status && record->position != position) {
        *status = SVL_EDAMAGED;
    }
    return !*status && record->line && !(record->arrived > young->from && record->arrived <= young->to);
}

static apr_status_t show_lines(svl_store_reader_t *reader, MDB_cursor *cursor, apr_uint32_t number, apr_uint64_t first,
                               apr_uint64_t last, const svl_store_young_t *young, svl_store_line_t *line, void *baton)
{
    unsigned char bytes[SVL_RECORDS_NUMBER_SIZE];
    MDB_val key = {sizeof(bytes), bytes}, value;
    svl_store_record_t record;
    apr_uint64_t seq;
    apr_status_t status = APR_SUCCESS;
    int rc;

    svl_records_put_number(bytes, number, first ? first : 1);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (!rc) {
        if (key.mv_size != sizeof(bytes)) {
            return SVL_EDAMAGED;
        }
        seq = svl_records_get64((unsigned char *)key.mv_data + 4);
        if (svl_records_get32(key.mv_data) != number || seq > last) {
            return APR_SUCCESS;
        }
        if (value.mv_size != SVL_RECORDS_POSITION_SIZE) {
            return SVL_EDAMAGED;
        }
        if (is_shown(reader, svl_records_get64(value.mv_data), young, &record, &status) && line(baton, seq, &record)) {
            return APR_SUCCESS;
        }
        if (status) {
            return status;
        }
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    return rc == MDB_NOTFOUND ? APR_SUCCESS : svl_env_status(rc);
}

apr_status_t svl_store_lines(svl_store_reader_t *reader, const char *stream, apr_uint64_t first, apr_uint64_t last,
                             const svl_store_young_t *young, svl_store_line_t *line, void *baton)
{
    svl_records_stream_t record;
    MDB_cursor *cursor;
    apr_status_t status = find_stream(reader, stream, &record);

    if (!status) {
        status = svl_env_status(mdb_cursor_open(reader->txn, reader->store->tables[SVL_TABLE_NUMBERS], &cursor));
    }
    if (status) {
        return status == APR_NOTFOUND ? APR_SUCCESS : status;
    }
    status = show_lines(reader, cursor, record.number, first, last, young, line, baton);
    mdb_cursor_close(cursor);
    return status == APR_NOTFOUND ? SVL_EDAMAGED : status;
}

apr_status_t svl_store_last_number(svl_store_reader_t *reader, const char *set, apr_uint64_t *number)
{
    const svl_store_t *store = reader->store;
    char name[SVL_NAME_STREAM_MAX + 1];
    svl_records_state_t state;
    svl_records_stream_t record;
    svl_vector_numbers_t *numbers;
    apr_pool_t *p;
    MDB_val key = {5, (void *)"state"}, value;
    apr_status_t status = svl_env_status(mdb_get(reader->txn, store->tables[SVL_TABLE_TOP], &key, &value));

    *number = 0;
    if (!status) {
        status = svl_records_get_state(&state, value.mv_data, value.mv_size);
    }
    if (!status) {
        apr_snprintf(name, sizeof(name), "%s/%s/%s", store->node.name, set, state.epoch);
        status = find_stream(reader, name, &record);
    }
    if (status) {
        return status == APR_NOTFOUND ? APR_SUCCESS : status;
    }
    svl_pool_make(&p);
    if (svl_vector_decode(&numbers, record.numbers, record.length, p)) {
        status = SVL_EDAMAGED;
    }
    else {
        *number = svl_vector_highest(numbers);
    }
    apr_pool_destroy(p);
    return status;
}

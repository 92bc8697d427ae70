/* SPDX-License-Identifier: Apache-2.0 */
#include "../core/fault.h"
#include "commit.h"

#define LOOKS_MAX 2048 /* work records of one call */
#define RUNS_MAX 4096  /* entries looked up in one call; a record's are looked at together */

/* Adds the runs of a record that are overdue.  @return how many entries were looked up in @a looks */
static apr_status_t look(const svl_store_reader_t *reader, apr_uint64_t first, const svl_records_work_t *work, apr_int64_t now,
                         apr_array_header_t *positions, unsigned int *looks)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    apr_uint32_t i;

    for (i = 0; work->left && i < work->count; ++i) {
        MDB_val key = {sizeof(bytes), bytes}, value;
        svl_records_call_t call;
        apr_status_t status;

        unsigned int kind = work->states[i] & SVL_RECORDS_RUN_MASK;

        if (kind != SVL_RECORDS_RUN_TODO && kind != SVL_RECORDS_RUN_STARTED) {
            continue;
        }
        ++*looks;
        svl_records_put64(bytes, first + i);
        status = svl_env_status(mdb_get(reader->txn, reader->store->tables[SVL_TABLE_CALLS], &key, &value));
        if (!status) {
            status = svl_records_get_call(&call, value.mv_data, value.mv_size);
        }
        if (status) {
            return status == APR_NOTFOUND ? SVL_EDAMAGED : status;
        }
        if (call.expires < now) {
            APR_ARRAY_PUSH(positions, apr_uint64_t) = first + i;
        }
    }
    return APR_SUCCESS;
}

/* @param at in: look beyond this position; out: the last one looked at, 0 at the end */
static apr_status_t look_along(const svl_store_reader_t *reader, MDB_cursor *cursor, apr_int64_t now, apr_uint64_t *at,
                               apr_array_header_t *positions)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    MDB_val key = {sizeof(bytes), bytes}, value;
    svl_records_work_t work;
    unsigned int records, runs = 0;
    apr_status_t status = APR_SUCCESS;
    int rc;

    svl_records_put64(bytes, *at + 1);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    for (records = 0; !rc && !status && records < LOOKS_MAX && runs < RUNS_MAX; ++records) {
        if (key.mv_size != sizeof(bytes)) {
            return SVL_EDAMAGED;
        }
        *at = svl_records_get64(key.mv_data);
        status = svl_records_get_work(&work, value.mv_data, value.mv_size);
        if (!status) {
            status = look(reader, *at, &work, now, positions, &runs);
        }
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (rc == MDB_NOTFOUND) {
        *at = 0;
        rc = MDB_SUCCESS;
    }
    return status ? status : svl_env_status(rc);
}

apr_status_t svl_store_overdue(svl_store_t *store, apr_int64_t now, apr_array_header_t **positions, apr_pool_t *p)
{
    apr_uint64_t at = __atomic_load_n(&store->due, __ATOMIC_RELAXED);
    svl_store_reader_t *reader;
    MDB_cursor *cursor;
    apr_status_t status;

    *positions = apr_array_make(p, 0, sizeof(apr_uint64_t));
    svl_store_settle(store);
    status = svl_store_read_begin(&reader, store);
    if (status) {
        return status;
    }
    status = svl_env_status(mdb_cursor_open(reader->txn, store->tables[SVL_TABLE_WORK], &cursor));
    if (!status) {
        status = look_along(reader, cursor, now, &at, *positions);
        mdb_cursor_close(cursor);
    }
    svl_store_read_end(reader);
    __atomic_store_n(&store->due, status ? 0 : at, __ATOMIC_RELAXED);
    return status;
}

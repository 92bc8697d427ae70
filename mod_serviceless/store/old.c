/* SPDX-License-Identifier: Apache-2.0 */
#include "old.h"

#include <string.h>

#include "../core/fault.h"

#define YOUNG_MAX 1000 /* entries that are too young to be removed, passed over: they stand in order of arrival, about */
#define ROVED_MAX 256  /* likewise beyond those; a second's, so that a log of millions is looked through in hours */

/* Two cursors that go along together: entries, and the work that covers them. */
typedef struct walk_t {
    MDB_cursor *calls, *work;
    apr_uint64_t covered, end; /* positions under the work record at hand: covered … end - 1 */
} walk_t;

static apr_status_t read_work(walk_t *walk, int rc, const MDB_val *key, const MDB_val *value)
{
    svl_records_work_t work;

    if (rc == MDB_NOTFOUND) {
        walk->covered = walk->end = APR_UINT64_MAX; /* beyond all positions */
        return APR_SUCCESS;
    }
    if (rc) {
        return svl_env_status(rc);
    }
    if (key->mv_size != SVL_RECORDS_POSITION_SIZE) {
        return SVL_EDAMAGED;
    }
    walk->covered = svl_records_get64(key->mv_data);
    rc = svl_records_get_work(&work, value->mv_data, value->mv_size);
    walk->end = walk->covered + work.count;
    return rc;
}

static apr_status_t next_work(walk_t *walk)
{
    MDB_val key, value;
    int rc = mdb_cursor_get(walk->work, &key, &value, MDB_NEXT);

    return read_work(walk, rc, &key, &value);
}

/* The last record that does not begin beyond `position`, or else the first one. */
static apr_status_t seek_work(walk_t *walk, apr_uint64_t position)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    MDB_val key = {sizeof(bytes), bytes}, value;
    int rc;

    svl_records_put64(bytes, position);
    rc = mdb_cursor_get(walk->work, &key, &value, MDB_SET_RANGE);
    if (rc == MDB_NOTFOUND) {
        rc = mdb_cursor_get(walk->work, &key, &value, MDB_LAST);
    }
    else if (!rc && memcmp(key.mv_data, bytes, sizeof(bytes))) {
        rc = mdb_cursor_get(walk->work, &key, &value, MDB_PREV);
        if (rc == MDB_NOTFOUND) {
            rc = mdb_cursor_get(walk->work, &key, &value, MDB_FIRST);
        }
    }
    return read_work(walk, rc, &key, &value);
}

/* Refused lines may have no time of issue that makes sense. */
static int is_old(const svl_records_call_t *call, apr_time_t before)
{
    return call->arrived < before || (call->issued > 0 && call->issued < (before + 999) / 1000);
}

/* Where to look, and how far. */
typedef struct stretch_t {
    apr_uint64_t from;         /* first position */
    unsigned int young, works; /* so many in vain at most */
    apr_uint64_t end;          /* out: the last position looked at; 0: there are no more */
} stretch_t;

static apr_status_t collect_along(walk_t *walk, stretch_t *stretch, apr_time_t before, unsigned int limit,
                                  apr_array_header_t *positions)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    MDB_val key = {sizeof(bytes), bytes}, value;
    svl_records_call_t call;
    apr_status_t status = seek_work(walk, stretch->from);
    unsigned int young = 0, works = 0;
    apr_uint64_t position;
    int rc;

    svl_records_put64(bytes, stretch->from);
    rc = status ? MDB_SUCCESS : mdb_cursor_get(walk->calls, &key, &value, MDB_SET_RANGE);
    while (!rc && !status && (unsigned int)positions->nelts < limit && young < stretch->young && works < stretch->works) {
        if (key.mv_size != sizeof(bytes)) {
            return SVL_EDAMAGED;
        }
        position = stretch->end = svl_records_get64(key.mv_data);
        while (!status && walk->end <= position) {
            status = next_work(walk);
        }
        if (!status && walk->covered <= position && position < walk->end) {
            ++works;
            stretch->end = walk->end - 1;
            svl_records_put64(bytes, walk->end);
            key.mv_data = bytes;
            rc = mdb_cursor_get(walk->calls, &key, &value, MDB_SET_RANGE);
            continue;
        }
        if (!status) {
            status = svl_records_get_call(&call, value.mv_data, value.mv_size);
        }
        if (!status && is_old(&call, before)) {
            APR_ARRAY_PUSH(positions, apr_uint64_t) = position;
        }
        else {
            ++young;
        }
        rc = mdb_cursor_get(walk->calls, &key, &value, MDB_NEXT);
    }
    if (rc == MDB_NOTFOUND) {
        stretch->end = 0;
        return status;
    }
    return status ? status : svl_env_status(rc);
}

static apr_status_t collect_twice(walk_t *walk, const svl_store_t *store, apr_time_t before, unsigned int limit,
                                  apr_array_header_t *positions, apr_uint64_t *roved)
{
    stretch_t first = {1, YOUNG_MAX, SVL_STORE_LOOKS_MAX, 0}, rest = {0, ROVED_MAX, ROVED_MAX, 0};
    apr_status_t status = collect_along(walk, &first, before, limit, positions);

    *roved = __atomic_load_n(&store->roved, __ATOMIC_RELAXED);
    if (status || (unsigned int)positions->nelts >= limit) {
        return status;
    }
    if (first.end) {
        rest.from = 1 + (*roved > first.end ? *roved : first.end);
        status = collect_along(walk, &rest, before, limit, positions);
    }
    *roved = rest.end;
    return status;
}

apr_status_t svl_old_collect(MDB_txn *txn, const svl_store_t *store, apr_time_t before, unsigned int limit,
                             apr_array_header_t *positions, apr_uint64_t *roved)
{
    walk_t walk;
    apr_status_t status = svl_env_status(mdb_cursor_open(txn, store->tables[SVL_TABLE_CALLS], &walk.calls));

    if (status) {
        return status;
    }
    status = svl_env_status(mdb_cursor_open(txn, store->tables[SVL_TABLE_WORK], &walk.work));
    if (!status) {
        status = collect_twice(&walk, store, before, limit, positions, roved);
        mdb_cursor_close(walk.work);
    }
    mdb_cursor_close(walk.calls);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "ended.h"
#include "read.h"
#include "recent.h"

/* Of the runs that the log says are to be done, those that are known to have ended. */
static apr_uint64_t count_ended(svl_store_reader_t *reader)
{
    unsigned char key[SVL_RECORDS_POSITION_SIZE];
    apr_uint64_t count = 0;
    MDB_val value;
    apr_uint32_t i;

    for (i = 0; i < reader->ended_count; ++i) {
        svl_records_put64(key, reader->ended[i].position);
        count += svl_read_get(reader, SVL_TABLE_OUTCOMES, key, sizeof(key), &value) == APR_NOTFOUND;
    }
    return count;
}

static apr_status_t count_records(svl_store_reader_t *reader, svl_table_e table, apr_uint64_t *count)
{
    MDB_stat stat;
    int rc = mdb_stat(reader->txn, reader->store->tables[table], &stat);

    *count = rc ? 0 : stat.ms_entries;
    return svl_env_status(rc);
}

int svl_store_is_full(svl_store_reader_t *reader)
{
    const svl_store_t *store = reader->store;
    apr_uint64_t unused = 0;
    MDB_envinfo info;

    mdb_env_info(store->env, &info);
    if (info.me_last_pgno + 1 + svl_env_reserve(store) <= store->bound) {
        return 0;
    }
    return svl_env_free(reader->txn, 0, &unused) || info.me_last_pgno + 1 - unused + svl_env_reserve(store) > store->bound;
}

apr_status_t svl_store_count(svl_store_reader_t *reader, svl_store_counts_t *counts)
{
    svl_records_state_t state;
    svl_store_record_t oldest = {0};
    apr_uint64_t unused, pending, ended;
    MDB_envinfo info;
    apr_status_t status = svl_read_state(reader, &state);

    memset(counts, 0, sizeof(*counts));
    if (!status) {
        status = count_records(reader, SVL_TABLE_CALLS, &counts->calls);
    }
    if (!status) {
        status = count_records(reader, SVL_TABLE_WORK, &counts->work);
    }
    if (!status) {
        status = svl_env_status(svl_env_free(reader->txn, 0, &unused));
    }
    if (status) {
        return status;
    }
    mdb_env_info(reader->store->env, &info);
    counts->commits = mdb_txn_id(reader->txn);
    counts->last = state.last;
    pending = state.pending;
    svl_recent_count(reader, counts, &pending);
    ended = count_ended(reader);
    counts->pending = pending > ended ? pending - ended : 0;
    counts->bytes = (info.me_last_pgno + 1 - unused) * reader->store->page;
    counts->size = reader->store->bound * reader->store->page;
    status = svl_store_next(reader, 0, 0, &oldest);
    counts->oldest = oldest.arrived;
    return status == APR_NOTFOUND ? APR_SUCCESS : status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../core/fault.h"
#include "commit.h"
#include "damage.h"
#include "ended.h"
#include "read.h"
#include "recent.h"

/* Ended readers keep their transaction, reset, with its slot of the reader table: beginning again then takes no lock of
 * LMDB.
 * @param result one that has ended, or NULL; receives the reader, or NULL on failure */
static int begin(svl_store_t *store, svl_store_reader_t **result)
{
    svl_store_reader_t *reader = *result;
    int rc;

    if (reader) {
        rc = mdb_txn_renew(reader->txn);
        if (!rc) {
            rc = mdb_cursor_renew(reader->txn, reader->cursor);
        }
        if (rc) {
            mdb_cursor_close(reader->cursor);
            mdb_txn_abort(reader->txn);
            free(reader);
            *result = NULL;
        }
        return rc;
    }
    reader = calloc(1, sizeof(*reader));
    if (!reader) {
        return ENOMEM;
    }
    reader->store = store;
    rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &reader->txn);
    if (!rc) {
        rc = mdb_cursor_open(reader->txn, store->tables[SVL_TABLE_CALLS], &reader->cursor);
        if (rc) {
            mdb_txn_abort(reader->txn);
        }
    }
    if (rc) {
        free(reader);
        return rc;
    }
    *result = reader;
    return MDB_SUCCESS;
}

static void end(svl_store_reader_t *reader)
{
    free(reader->ended);
    free(reader->recent);
    reader->ended = NULL;
    reader->recent = NULL;
    reader->ended_count = reader->recent_count = reader->recent_first = 0;
    mdb_txn_reset(reader->txn);
}

/* What is kept beside the log is copied before the transaction begins, outcomes before the calls that they are of: meanwhile some may be
 * committed, and so be there twice, never not at all.
 * @param result as for begin, but on failure it may still be one that has ended */
static int begin_with_kept(svl_store_t *store, apr_uint64_t first, apr_uint64_t until, svl_store_reader_t **result)
{
    svl_store_reader_t kept = {.ended = NULL}, *reader;
    int rc = svl_ended_copy(store, first, until, &kept.ended, &kept.ended_count);

    if (!rc) {
        rc = svl_recent_copy(store, first, until, &kept.recent, &kept.recent_count);
    }
    if (!rc) {
        rc = begin(store, result);
    }
    if (rc) {
        free(kept.ended);
        free(kept.recent);
        return rc;
    }
    reader = *result;
    reader->ended = kept.ended;
    reader->ended_count = kept.ended_count;
    reader->recent = kept.recent;
    reader->recent_count = kept.recent_count;
    if (!first && svl_recent_trim(reader)) {
        end(reader);
        return MDB_CORRUPTED;
    }
    return MDB_SUCCESS;
}

/* What may help before a second try. */
static apr_status_t help(svl_store_t *store, int rc)
{
    int dead;

    if (rc == MDB_READERS_FULL) {
        if (svl_env_enter(store, NULL)) {
            return APR_EGENERAL;
        }
        mdb_reader_check(store->env, &dead);
        svl_env_leave(store, NULL);
        return APR_SUCCESS;
    }
    if (rc != MDB_MAP_RESIZED && rc != MDB_PANIC) {
        return svl_env_status(rc);
    }
    return store->readonly ? svl_env_mend(store, rc) : svl_commit_nothing(store);
}

apr_status_t svl_store_read_range(svl_store_reader_t **reader, svl_store_t *store, apr_uint64_t first, apr_uint64_t end)
{
    apr_status_t status = APR_SUCCESS;
    sigset_t saved;
    int tries, rc = MDB_PANIC;

    if (svl_damage_known(store)) {
        return SVL_EDAMAGED;
    }
    svl_env_guard(store, &saved);
    for (tries = 0; tries < 2 && !status; ++tries) {
        rc = MDB_PANIC;
        if (!svl_env_enter(store, reader)) {
            rc = svl_env_readable(store);
            if (!rc) {
                rc = begin_with_kept(store, first, end, reader);
            }
            if (!rc) {
                break;
            }
            svl_env_leave(store, *reader);
            *reader = NULL;
        }
        status = tries ? svl_env_status(rc) : help(store, rc);
    }
    svl_env_unguard(store, &saved);
    return rc ? svl_damage_note(store, status) : APR_SUCCESS;
}

apr_status_t svl_store_read_begin(svl_store_reader_t **reader, svl_store_t *store)
{
    return svl_store_read_range(reader, store, 0, APR_UINT64_MAX);
}

/* Its own transaction, without what is kept: for who keeps, and may hold the lock of that. */
int svl_read_lacks_id(svl_store_t *store, const char *id)
{
    svl_store_reader_t *reader;
    MDB_val value;
    int lacks = 0;

    if (svl_env_enter_now(store, &reader)) {
        return 0;
    }
    if (!svl_env_seen(store) && !begin(store, &reader)) {
        lacks = svl_read_get(reader, SVL_TABLE_IDS, id, strlen(id), &value) == APR_NOTFOUND;
        end(reader);
    }
    svl_env_leave(store, reader);
    return lacks;
}

void svl_store_read_end(svl_store_reader_t *reader)
{
    svl_store_t *store = reader->store;
    sigset_t saved;

    svl_env_guard(store, &saved);
    end(reader);
    svl_env_leave(store, reader);
    svl_env_unguard(store, &saved);
}

apr_status_t svl_read_get(svl_store_reader_t *reader, svl_table_e table, const void *key, apr_size_t length, MDB_val *value)
{
    MDB_val k = {length, (void *)key};

    return svl_damage_note(reader->store, svl_env_status(mdb_get(reader->txn, reader->store->tables[table], &k, value)));
}

apr_status_t svl_store_find(svl_store_reader_t *reader, const char *id, apr_uint64_t *position)
{
    apr_size_t length = strlen(id);
    MDB_val value;
    apr_status_t status;

    if (!svl_name_is_id(id, length)) {
        return APR_NOTFOUND;
    }
    status = svl_read_get(reader, SVL_TABLE_IDS, id, length, &value);
    if (status) {
        return status == APR_NOTFOUND ? svl_recent_find(reader, id, length, position) : status;
    }
    if (value.mv_size != SVL_RECORDS_POSITION_SIZE) {
        return SVL_EDAMAGED;
    }
    *position = svl_records_get64(value.mv_data);
    return APR_SUCCESS;
}

static int find_ended(const svl_store_reader_t *reader, apr_uint64_t position, MDB_val *value)
{
    apr_uint32_t i;

    for (i = 0; i < reader->ended_count && reader->ended[i].position != position; ++i) {
        continue;
    }
    if (i == reader->ended_count) {
        return 0;
    }
    value->mv_data = reader->ended[i].body.record;
    value->mv_size = reader->ended[i].body.length;
    return 1;
}

static apr_status_t get_outcome(svl_store_reader_t *reader, const void *key, svl_store_record_t *record)
{
    svl_records_outcome_t outcome;
    MDB_val value;
    apr_status_t status = svl_read_get(reader, SVL_TABLE_OUTCOMES, key, SVL_RECORDS_POSITION_SIZE, &value);

    if (status == APR_NOTFOUND && !find_ended(reader, record->position, &value)) {
        return APR_SUCCESS;
    }
    if (status && status != APR_NOTFOUND) {
        return status;
    }
    status = svl_records_get_outcome(&outcome, value.mv_data, value.mv_size);
    if (status) {
        return status;
    }
    record->outcome = (svl_outcome_e)outcome.outcome;
    record->micros = outcome.micros;
    record->ended = outcome.ended;
    record->text = outcome.text;
    record->text_length = outcome.length;
    record->dropped = outcome.dropped;
    return APR_SUCCESS;
}

static apr_status_t fill(svl_store_reader_t *reader, const MDB_val *key, const MDB_val *value, int with_outcome,
                         svl_store_record_t *record)
{
    svl_records_call_t call;
    apr_status_t status;

    if (key->mv_size != SVL_RECORDS_POSITION_SIZE) {
        return SVL_EDAMAGED;
    }
    memset(record, 0, sizeof(*record));
    record->position = svl_records_get64(key->mv_data);
    status = svl_records_get_call(&call, value->mv_data, value->mv_size);
    if (status) {
        return status;
    }
    record->arrived = call.arrived;
    record->expires = call.expires;
    record->alias = (call.flags & SVL_RECORDS_CALL_ALIAS) != 0;
    if (call.flags & SVL_RECORDS_CALL_REFUSED) {
        record->refused = call.text;
        record->refused_length = call.length;
    }
    else if (call.flags & SVL_RECORDS_CALL_MISSED) {
        record->text = call.text;
        record->text_length = call.length;
        record->outcome = SVL_OUTCOME_MISSED;
        return APR_SUCCESS;
    }
    else {
        record->line = call.text;
        record->length = call.length;
    }
    record->outcome = call.flags & SVL_RECORDS_CALL_IDLE ? SVL_OUTCOME_ACCEPTED : SVL_OUTCOME_PENDING;
    return with_outcome ? get_outcome(reader, key->mv_data, record) : APR_SUCCESS;
}

static apr_status_t fill_kept(svl_store_reader_t *reader, apr_uint64_t position, const MDB_val *value, int with_outcome,
                              svl_store_record_t *record)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    const MDB_val key = {sizeof(bytes), bytes};

    svl_records_put64(bytes, position);
    return fill(reader, &key, value, with_outcome, record);
}

apr_status_t svl_store_get(svl_store_reader_t *reader, apr_uint64_t position, int with_outcome, svl_store_record_t *record)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    MDB_val key = {sizeof(bytes), bytes}, value;
    apr_status_t status;

    svl_records_put64(bytes, position);
    status = svl_read_get(reader, SVL_TABLE_CALLS, bytes, sizeof(bytes), &value);
    if (status == APR_NOTFOUND) {
        status = svl_recent_get(reader, 0, &position, &value);
    }
    return status ? status : svl_damage_note(reader->store, fill(reader, &key, &value, with_outcome, record));
}

apr_status_t svl_store_next(svl_store_reader_t *reader, int backwards, int with_outcome, svl_store_record_t *record)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    MDB_val key = {sizeof(bytes), bytes}, value;
    apr_uint64_t position = backwards ? record->position : record->position + 1;
    int rc;

    if (backwards && !svl_recent_get(reader, -1, &position, &value)) {
        return fill_kept(reader, position, &value, with_outcome, record);
    }
    svl_records_put64(bytes, position);
    if (backwards && !record->position) {
        rc = mdb_cursor_get(reader->cursor, &key, &value, MDB_LAST);
    }
    else {
        rc = mdb_cursor_get(reader->cursor, &key, &value, MDB_SET_RANGE);
        if (backwards) {
            rc = mdb_cursor_get(reader->cursor, &key, &value, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
        }
        else if (rc == MDB_NOTFOUND && !svl_recent_get(reader, 1, &position, &value)) {
            return fill_kept(reader, position, &value, with_outcome, record);
        }
    }
    return svl_damage_note(reader->store, rc ? svl_env_status(rc) : fill(reader, &key, &value, with_outcome, record));
}

apr_status_t svl_store_every(svl_store_reader_t *reader, svl_store_listing_t *listing)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    MDB_val key = {sizeof(bytes), bytes}, value;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(reader->txn, reader->store->tables[SVL_TABLE_EVERY], &cursor);

    if (!rc) {
        svl_records_put64(bytes, listing->position + 1);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (!rc && key.mv_size == sizeof(bytes)) {
            int again = value.mv_size == SVL_RECORDS_AGAIN_SIZE;
            listing->position = svl_records_get64(key.mv_data);
            listing->entry = again ? svl_records_get64(value.mv_data) : listing->position;
            listing->previous = again ? svl_records_get64((unsigned char *)value.mv_data + SVL_RECORDS_POSITION_SIZE) : 0;
        }
        mdb_cursor_close(cursor);
    }
    return svl_damage_note(reader->store, svl_env_status(rc));
}

apr_status_t svl_store_listed(svl_store_reader_t *reader, apr_uint64_t entry, apr_uint64_t *position)
{
    unsigned char key[SVL_RECORDS_POSITION_SIZE];
    MDB_val value;
    apr_status_t status;

    svl_records_put64(key, entry);
    status = svl_read_get(reader, SVL_TABLE_EVERY, key, sizeof(key), &value);
    *position = status ? 0 : value.mv_size == SVL_RECORDS_EVERY_SIZE ? svl_records_get64(value.mv_data) : entry;
    return status == APR_NOTFOUND ? APR_SUCCESS : status;
}

apr_status_t svl_read_state(svl_store_reader_t *reader, svl_records_state_t *state)
{
    MDB_val value;
    apr_status_t status = svl_read_get(reader, SVL_TABLE_TOP, "state", 5, &value);

    return status ? status : svl_records_get_state(state, value.mv_data, value.mv_size);
}

apr_status_t svl_store_last(svl_store_reader_t *reader, apr_uint64_t *position)
{
    svl_records_state_t state = {.last = 0};
    apr_status_t status = svl_read_state(reader, &state);

    *position = reader->recent_count > reader->recent_first ? reader->recent[reader->recent_count - 1].position : state.last;
    return status;
}

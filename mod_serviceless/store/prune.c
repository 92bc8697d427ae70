/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "../core/fault.h"
#include "../core/pool.h"
#include "announce.h"
#include "commit.h"
#include "old.h"
#include "streams.h"

#define ENTRY_WEIGHT 256 /* bytes: what is deleted is copied first, a page at a time, but pages are shared */
#define ENTRY_PAGES 3    /* new ones that removing an entry may take: its id, its number, their parents' part */
#define FIXED_PAGES 24   /* new ones that any transaction may take */
#define RETRY_PART 4     /* when the log is too full: again with this part of the limit */

typedef struct prune_t {
    apr_time_t before;
    unsigned int limit;
    unsigned int pruned;
    apr_uint64_t roved;
} prune_t;

/* Lines of this program begin with their id; for others the whole line is parsed.  @return nonzero when it has one */
static int get_id(const svl_records_call_t *call, char id[SVL_NAME_ID_MAX + 1], apr_pool_t *pool)
{
    static const char head[] = "{\"id\":\"";
    const apr_size_t skip = sizeof(head) - 1;
    const char *start = call->text, *end = NULL;
    apr_size_t length = call->length;
    svl_call_line_t *line = NULL;
    apr_pool_t *p = NULL;

    if (!(call->flags & SVL_RECORDS_CALL_REFUSED)) {
        if (length > skip && !memcmp(start, head, skip)) {
            end = memchr(start + skip, '"', length - skip);
        }
        if (end && svl_name_is_id(start + skip, (apr_size_t)(end - start) - skip)) {
            start += skip;
            length = (apr_size_t)(end - start);
        }
        else {
            apr_pool_create(&p, pool);
            svl_call_parse_line(&line, start, length, NULL, p);
            start = line ? line->id : "";
            length = strlen(start);
        }
    }
    end = svl_name_is_id(start, length) ? start : NULL;
    if (end) {
        memcpy(id, start, length);
        id[length] = '\0';
    }
    if (p) {
        apr_pool_destroy(p);
    }
    return end != NULL;
}

/* @return APR_SUCCESS with the next entry that has the id, or APR_NOTFOUND */
static apr_status_t find_alias(svl_change_t *change, const char *id, apr_uint64_t *position)
{
    unsigned char bytes[SVL_RECORDS_ALIAS_SIZE];
    apr_size_t length = svl_records_put_alias(bytes, id, 0);
    MDB_val key = {length, bytes}, value;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(change->txn, change->store->tables[SVL_TABLE_ALIASES], &cursor);

    if (rc) {
        return svl_env_status(rc);
    }
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (!rc && (key.mv_size != length || memcmp(key.mv_data, id, length - SVL_RECORDS_POSITION_SIZE))) {
        rc = MDB_NOTFOUND;
    }
    if (!rc) {
        *position = svl_records_get64((unsigned char *)key.mv_data + length - SVL_RECORDS_POSITION_SIZE);
    }
    mdb_cursor_close(cursor);
    return svl_env_status(rc);
}

static apr_status_t delete_if_there(svl_change_t *change, svl_table_e table, const void *key, apr_size_t length)
{
    apr_status_t status = svl_change_delete(change, table, key, length);

    return status == APR_NOTFOUND ? APR_SUCCESS : status;
}

/* Takes the id from the entry at `position`: it moves to the next one that has it, and is forgotten with the last. */
static apr_status_t drop_id(svl_change_t *change, const char *id, apr_uint64_t position)
{
    unsigned char key[SVL_RECORDS_ALIAS_SIZE], bytes[SVL_RECORDS_POSITION_SIZE];
    apr_uint64_t first, next = position;
    apr_status_t status = svl_change_position(change, SVL_TABLE_IDS, id, strlen(id), &first);

    if (status) {
        return status == APR_NOTFOUND ? APR_SUCCESS : status;
    }
    if (first == position) {
        status = find_alias(change, id, &next);
        if (status == APR_NOTFOUND) {
            return svl_change_delete(change, SVL_TABLE_IDS, id, strlen(id));
        }
        svl_records_put64(bytes, next);
        if (!status) {
            status = svl_change_put(change, SVL_TABLE_IDS, id, strlen(id), bytes, sizeof(bytes));
        }
    }
    return status ? status : delete_if_there(change, SVL_TABLE_ALIASES, key, svl_records_put_alias(key, id, next));
}

static apr_status_t drop_number(svl_change_t *change, const svl_records_call_t *call, apr_hash_t *streams)
{
    unsigned char key[SVL_RECORDS_NUMBER_SIZE];
    svl_change_stream_t *stream = apr_hash_get(streams, &call->stream, sizeof(call->stream));
    apr_status_t status = APR_SUCCESS;

    if (!stream) {
        status = svl_change_stream_numbered(change, call->stream, &stream);
        if (status) {
            return status;
        }
        apr_hash_set(streams, &stream->number, sizeof(stream->number), stream);
    }
    svl_records_put_number(key, call->stream, call->seq);
    return svl_change_delete(change, SVL_TABLE_NUMBERS, key, sizeof(key));
}

static apr_status_t drop_entry(svl_change_t *change, apr_uint64_t position, apr_hash_t *streams)
{
    unsigned char key[SVL_RECORDS_POSITION_SIZE];
    char id[SVL_NAME_ID_MAX + 1];
    svl_records_call_t call;
    MDB_val value;
    int has_id;
    apr_status_t status;

    svl_records_put64(key, position);
    status = svl_change_get(change, SVL_TABLE_CALLS, key, sizeof(key), &value);
    if (!status) {
        status = svl_records_get_call(&call, value.mv_data, value.mv_size);
    }
    if (status) {
        return status;
    }
    if (!(call.flags & SVL_RECORDS_CALL_MISSED)) {
        has_id = get_id(&call, id, change->pool); /* before anything is written, which may move the text */
        status = drop_number(change, &call, streams);
        if (!status && has_id) {
            status = drop_id(change, id, position);
        }
    }
    if (!status) {
        status = delete_if_there(change, SVL_TABLE_OUTCOMES, key, sizeof(key));
    }
    if (!status) {
        status = svl_announce_drop(change, position);
    }
    return status ? status : svl_change_delete(change, SVL_TABLE_CALLS, key, sizeof(key));
}

/* Deleting copies pages first.  @return how many entries the log has room to remove, at least one */
static unsigned int limit_of(const svl_change_t *change, unsigned int limit)
{
    svl_store_t *store = change->store;
    apr_uint64_t room, used, unused = 0;
    MDB_envinfo info;

    mdb_env_info(store->env, &info);
    used = info.me_last_pgno + 1 + FIXED_PAGES;
    room = info.me_mapsize / store->page;
    if (used + svl_env_reserve(store) > room && svl_env_free_now(store, 0, &unused)) {
        return 1;
    }
    room += unused;
    room = room > used + ENTRY_PAGES ? (room - used) / ENTRY_PAGES : 1;
    return room < limit ? (unsigned int)room : limit;
}

static apr_status_t apply_prune(svl_change_t *change, void *baton)
{
    prune_t *prune = baton;
    apr_array_header_t *positions = apr_array_make(change->pool, 256, sizeof(apr_uint64_t));
    apr_hash_t *streams = apr_hash_make(change->pool);
    apr_hash_index_t *at;
    apr_status_t status =
        svl_old_collect(change->txn, change->store, prune->before, limit_of(change, prune->limit), positions, &prune->roved);
    int i;

    prune->pruned = 0;
    for (i = 0; i < positions->nelts && !status; ++i) {
        status = drop_entry(change, APR_ARRAY_IDX(positions, i, apr_uint64_t), streams);
    }
    for (at = apr_hash_first(change->pool, streams); at && !status; at = apr_hash_next(at)) {
        status = svl_streams_prune(change, apr_hash_this_val(at));
    }
    if (status == APR_NOTFOUND) {
        status = SVL_EDAMAGED;
    }
    prune->pruned = status ? 0 : (unsigned int)positions->nelts;
    return status;
}

static apr_status_t look(svl_store_t *store, MDB_txn *txn, void *baton, apr_pool_t *p)
{
    prune_t *prune = baton;
    apr_array_header_t *positions = apr_array_make(p, 1, sizeof(apr_uint64_t));
    apr_status_t status = svl_old_collect(txn, store, prune->before, 1, positions, &prune->roved);

    return status || positions->nelts ? status : APR_NOTFOUND;
}

apr_status_t svl_store_prune(svl_store_t *store, apr_time_t before, unsigned int limit, unsigned int *pruned)
{
    prune_t prune = {.before = before, .limit = limit};
    apr_status_t status;

    *pruned = 0;
    if (store->readonly) {
        return APR_EACCES;
    }
    if (!limit) {
        return APR_SUCCESS;
    }
    status = svl_commit_look(store, look, &prune);
    if (status == APR_NOTFOUND) {
        __atomic_store_n(&store->roved, prune.roved, __ATOMIC_RELAXED);
        return APR_SUCCESS;
    }
    if (status) {
        return status;
    }
    do {
        status = svl_commit_run(store, apply_prune, &prune, (apr_size_t)prune.limit * ENTRY_WEIGHT);
        prune.limit /= RETRY_PART;
    } while (status == SVL_EFULL && prune.limit);
    if (!status) {
        __atomic_store_n(&store->roved, prune.roved, __ATOMIC_RELAXED);
        *pruned = prune.pruned;
    }
    return status;
}

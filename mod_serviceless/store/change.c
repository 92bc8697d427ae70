/* SPDX-License-Identifier: Apache-2.0 */
#include "change.h"

#include <string.h>

#include <apr_strings.h>

#include "../core/fault.h"
#include "damage.h"
#include "epoch.h"
#include "journal.h"
#include "recent.h"
#include "running.h"

#define STREAMS_LISTED 8 /* so many are found faster in a list than by hashing; a child accepts own calls of few sets */

static apr_status_t load_state(svl_change_t *change)
{
    MDB_val value;
    apr_status_t status = svl_change_get(change, SVL_TABLE_TOP, "state", 5, &value);

    if (status == APR_NOTFOUND) {
        return SVL_EDAMAGED;
    }
    return status ? status : svl_records_get_state(&change->state, value.mv_data, value.mv_size);
}

/* Another process may have begun one.  Texts that were given out stay as they are. */
static void publish_epoch(const svl_change_t *change)
{
    svl_store_t *store = change->store;
    unsigned int next = (store->epoch + 1) % SVL_ENV_EPOCHS;

    if (memcmp(store->epochs[store->epoch], change->state.epoch, sizeof(change->state.epoch))) {
        memcpy(store->epochs[next], change->state.epoch, sizeof(change->state.epoch));
        __atomic_store_n(&store->epoch, next, __ATOMIC_RELEASE);
    }
}

/* Mending may wait for readers, which is nothing to other processes: not under the lock.  @return with success it is locked */
static apr_status_t begin(svl_change_t *change)
{
    svl_store_t *store = change->store;
    apr_status_t status;
    int tries, rc = MDB_PANIC;

    for (tries = 0; tries < 2; ++tries) {
        status = svl_recent_lock(store);
        if (status) {
            return status;
        }
        if (store->env) {
            rc = mdb_txn_begin(store->env, NULL, 0, &change->txn);
        }
        if (!rc) {
            return APR_SUCCESS;
        }
        svl_recent_unlock(store);
        status = rc == MDB_MAP_RESIZED || rc == MDB_PANIC ? svl_env_mend(store, rc) : svl_env_status(rc);
        if (status) {
            return status;
        }
    }
    return svl_env_status(rc);
}

static apr_status_t begin_with_kept(svl_change_t *change, svl_store_t *store)
{
    apr_status_t status;
    int rc;

    memset(change, 0, sizeof(*change));
    change->store = store;
    change->pool = store->scratch;
    if (svl_damage_known(store)) {
        return SVL_EDAMAGED;
    }
    status = begin(change);
    if (status) {
        return status;
    }
    rc = svl_env_whole(store);
    status = rc ? svl_env_status(rc) : load_state(change);
    if (!status) {
        status = svl_running_check(change);
    }
    if (!status) {
        publish_epoch(change);
        status = svl_recent_apply(change);
        store->tight |= status == SVL_EFULL;
    }
    if (status) {
        svl_change_abort(change);
    }
    return status;
}

/* That there was room for what is kept was found by who committed last, and that may have been a process with a larger bound. */
apr_status_t svl_change_begin(svl_change_t *change, svl_store_t *store)
{
    apr_status_t status;
    int again = 0;

    do {
        status = store->tight && svl_recent_any(store) ? svl_env_mend(store, MDB_MAP_FULL) : APR_SUCCESS;
        store->tight = 0;
        if (!status) {
            status = begin_with_kept(change, store);
        }
    } while (store->tight && !again++);
    return status;
}

static apr_status_t forget_stream(svl_change_t *change, const svl_change_stream_t *stream)
{
    unsigned char key[SVL_RECORDS_NUMBER_SIZE];
    apr_status_t status;

    if (stream->fresh) {
        return APR_SUCCESS;
    }
    svl_records_put_number(key, stream->number, 0);
    status = svl_change_delete(change, SVL_TABLE_NUMBERS, key, sizeof(key));
    return status ? status : svl_change_delete(change, SVL_TABLE_STREAMS, stream->name, stream->length);
}

static apr_status_t save_stream(svl_change_t *change, svl_change_stream_t *stream)
{
    svl_records_stream_t record = {stream->number, stream->pruned, stream->latest, NULL, 0};
    unsigned char key[SVL_RECORDS_NUMBER_SIZE], *room;
    apr_status_t status = APR_SUCCESS;

    if (!stream->numbers->watermark && !stream->numbers->ranges->nelts) {
        return forget_stream(change, stream);
    }
    if (stream->fresh) {
        svl_records_put_number(key, stream->number, 0);
        status = svl_change_put(change, SVL_TABLE_NUMBERS, key, sizeof(key), stream->name, stream->length);
    }
    if (status) {
        return status;
    }
    status = svl_change_reserve(change, SVL_TABLE_STREAMS, stream->name, stream->length, 0,
                                SVL_RECORDS_STREAM_SIZE + svl_vector_encoded_size(stream->numbers), &room);

    if (status) {
        return status;
    }
    svl_records_put_stream(room, &record);
    svl_vector_encode(stream->numbers, room + SVL_RECORDS_STREAM_SIZE);
    return APR_SUCCESS;
}

apr_status_t svl_change_commit(svl_change_t *change)
{
    unsigned char state[SVL_RECORDS_STATE_SIZE];
    svl_change_stream_t *stream;
    apr_status_t status = APR_SUCCESS;
    int rc, room;

    for (stream = change->streams; stream && !status; stream = stream->next) {
        if (stream->changed) {
            status = save_stream(change, stream);
        }
    }
    if (change->state_changed && !status) {
        svl_records_put_state(state, &change->state);
        status = svl_change_put(change, SVL_TABLE_TOP, "state", 5, state, sizeof(state));
    }
    if (!status) {
        status = svl_journal_note(change);
    }
    if (status) {
        change->store->tight |= status == SVL_EFULL;
        svl_change_abort(change);
        return status;
    }
    room = change->store->recent && svl_change_room(change, SVL_RECENT_PAGES * change->store->page);
    rc = mdb_txn_commit(change->txn);
    change->store->tight |= rc == MDB_MAP_FULL;
    if (!rc) {
        publish_epoch(change);
        svl_epoch_tell(change);
        svl_recent_settled(change, room);
    }
    else {
        svl_recent_suspend(change->store);
    }
    svl_recent_unlock(change->store);
    apr_pool_clear(change->pool);
    return svl_env_committed(change->store, rc);
}

void svl_change_abort(svl_change_t *change)
{
    mdb_txn_abort(change->txn);
    svl_recent_unlock(change->store);
    apr_pool_clear(change->pool);
}

int svl_change_room(svl_change_t *change, apr_uint64_t bytes)
{
    const svl_store_t *store = change->store;
    apr_uint64_t reserve = svl_env_reserve(store), used, unused = 0, planned;
    MDB_envinfo info;

    mdb_env_info(store->env, &info);
    planned = (change->planned + bytes) / store->page;
    used = info.me_last_pgno + 1;
    /* Free pages are counted only when the file has reached the reserve: that walks their list. */
    if (used + planned + reserve > store->bound) {
        if (svl_env_free_now(change->store, 0, &unused)) {
            return 0;
        }
        if (used - unused + planned + reserve > store->bound) {
            return 0;
        }
    }
    change->planned += bytes;
    return 1;
}

apr_status_t svl_change_get(svl_change_t *change, svl_table_e table, const void *key, apr_size_t length, MDB_val *value)
{
    MDB_val k = {length, (void *)key};

    return svl_env_status(mdb_get(change->txn, change->store->tables[table], &k, value));
}

apr_status_t svl_change_position(svl_change_t *change, svl_table_e table, const void *key, apr_size_t length,
                                 apr_uint64_t *position)
{
    MDB_val value;
    apr_status_t status = svl_change_get(change, table, key, length, &value);

    if (status) {
        return status;
    }
    if (value.mv_size != SVL_RECORDS_POSITION_SIZE) {
        return SVL_EDAMAGED;
    }
    *position = svl_records_get64(value.mv_data);
    return APR_SUCCESS;
}

apr_status_t svl_change_put(svl_change_t *change, svl_table_e table, const void *key, apr_size_t length, const void *value,
                            apr_size_t size)
{
    MDB_val k = {length, (void *)key}, v = {size, (void *)value};

    ++change->writes;
    return svl_env_status(mdb_put(change->txn, change->store->tables[table], &k, &v, 0));
}

apr_status_t svl_change_delete(svl_change_t *change, svl_table_e table, const void *key, apr_size_t length)
{
    MDB_val k = {length, (void *)key};

    ++change->writes;
    return svl_env_status(mdb_del(change->txn, change->store->tables[table], &k, NULL));
}

apr_status_t svl_change_reserve(svl_change_t *change, svl_table_e table, const void *key, apr_size_t length, unsigned int flags,
                                apr_size_t size, unsigned char **room)
{
    MDB_val k = {length, (void *)key}, v = {size, NULL};
    int rc = mdb_put(change->txn, change->store->tables[table], &k, &v, flags | MDB_RESERVE);

    *room = v.mv_data;
    if (rc == MDB_KEYEXIST) {
        return flags & MDB_NOOVERWRITE ? APR_EEXIST
                                       : SVL_EDAMAGED; /* an append below the last key: the state is not this log's */
    }
    ++change->writes;
    return svl_env_status(rc);
}

static svl_change_stream_t *find_in_hand(svl_change_t *change, const char *name, apr_size_t length)
{
    svl_change_stream_t *stream;

    if (change->by_name) {
        return apr_hash_get(change->by_name, name, (apr_ssize_t)length);
    }
    for (stream = change->streams; stream; stream = stream->next) {
        if (stream->length == length && !memcmp(stream->name, name, length)) {
            break;
        }
    }
    return stream;
}

static void take_in_hand(svl_change_t *change, svl_change_stream_t *stream)
{
    stream->next = change->streams;
    change->streams = stream;
    if (++change->stream_count == STREAMS_LISTED) {
        change->by_name = apr_hash_make(change->pool);
        for (; stream; stream = stream->next) {
            apr_hash_set(change->by_name, stream->name, (apr_ssize_t)stream->length, stream);
        }
    }
    else if (change->by_name) {
        apr_hash_set(change->by_name, stream->name, (apr_ssize_t)stream->length, stream);
    }
}

static apr_status_t load_stream(svl_change_t *change, svl_change_stream_t *stream)
{
    svl_records_stream_t record;
    MDB_val value;
    apr_status_t status = svl_change_get(change, SVL_TABLE_STREAMS, stream->name, stream->length, &value);

    if (status == APR_NOTFOUND) {
        stream->fresh = 1;
        stream->number = ++change->state.streams;
        change->state_changed = 1;
        stream->numbers = svl_vector_numbers_make(change->pool);
        return APR_SUCCESS;
    }
    if (!status) {
        status = svl_records_get_stream(&record, value.mv_data, value.mv_size);
    }
    if (status) {
        return status;
    }
    stream->number = record.number;
    stream->pruned = record.pruned;
    stream->latest = record.latest;
    status = svl_vector_decode(&stream->numbers, record.numbers, record.length, change->pool);
    return status ? SVL_EDAMAGED : APR_SUCCESS;
}

apr_size_t svl_change_name(char name[SVL_CHANGE_NAME_SIZE], const char *origin, const char *set, const char *epoch)
{
    char *end = apr_cpystrn(name, origin, SVL_NAME_NODE_MAX + 1);

    *end++ = '/';
    end = apr_cpystrn(end, set, SVL_NAME_NODE_MAX + 1);
    *end++ = '/';
    return (apr_size_t)(apr_cpystrn(end, epoch, SVL_NAME_EPOCH + 1) - name);
}

apr_status_t svl_change_stream(svl_change_t *change, const char *origin, const char *set, const char *epoch,
                               svl_change_stream_t **stream)
{
    char name[SVL_CHANGE_NAME_SIZE];
    apr_size_t length = svl_change_name(name, origin, set, epoch);

    return svl_change_stream_named(change, name, length, stream);
}

apr_status_t svl_change_stream_named(svl_change_t *change, const char *name, apr_size_t length, svl_change_stream_t **stream)
{
    apr_status_t status;

    if (change->last && change->last->length == length && !memcmp(change->last->name, name, length)) {
        *stream = change->last;
        return APR_SUCCESS;
    }
    *stream = find_in_hand(change, name, length);
    if (!*stream) {
        *stream = apr_pcalloc(change->pool, sizeof(**stream));
        memcpy((*stream)->name, name, length);
        (*stream)->length = length;
        status = load_stream(change, *stream);
        if (status) {
            return status;
        }
        take_in_hand(change, *stream);
    }
    change->last = *stream;
    return APR_SUCCESS;
}

apr_status_t svl_change_stream_numbered(svl_change_t *change, apr_uint32_t number, svl_change_stream_t **stream)
{
    unsigned char key[SVL_RECORDS_NUMBER_SIZE];
    char name[SVL_NAME_STREAM_MAX];
    MDB_val value;
    apr_status_t status;

    for (*stream = change->streams; *stream; *stream = (*stream)->next) {
        if ((*stream)->number == number) {
            return APR_SUCCESS;
        }
    }
    svl_records_put_number(key, number, 0);
    status = svl_change_get(change, SVL_TABLE_NUMBERS, key, sizeof(key), &value);
    if (status) {
        return status == APR_NOTFOUND ? SVL_EDAMAGED : status;
    }
    if (value.mv_size > sizeof(name)) {
        return SVL_EDAMAGED;
    }
    memcpy(name, value.mv_data, value.mv_size);
    status = svl_change_stream_named(change, name, value.mv_size, stream);
    return !status && (*stream)->number != number ? SVL_EDAMAGED : status;
}

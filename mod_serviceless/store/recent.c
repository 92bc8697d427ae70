/* SPDX-License-Identifier: Apache-2.0 */
#include "recent.h"

#include <errno.h>
#include <string.h>

#include <apr_strings.h>

#include "../core/fault.h"
#include "../core/robust.h"
#include "accept.h"
#include "damage.h"
#include "epoch.h"
#include "read.h"
#include "running.h"
#include "streams.h"
#include "work.h"

int svl_recent_make(svl_recent_t *recent)
{
    recent->ready = 0;
    memset(&recent->lock, 0, sizeof(recent->lock));
    return svl_robust_make(&recent->lock);
}

/* What its dead holder left half done is done anew by the next transaction. */
static int lock(svl_recent_t *recent)
{
    int error = pthread_mutex_lock(&recent->lock);

    if (error == EOWNERDEAD) {
        error = pthread_mutex_consistent(&recent->lock);
        recent->ready = 0;
    }
    return error;
}

apr_status_t svl_recent_lock(svl_store_t *store)
{
    return store->recent ? APR_FROM_OS_ERROR(lock(store->recent)) : APR_SUCCESS;
}

void svl_recent_unlock(svl_store_t *store)
{
    if (store->recent) {
        pthread_mutex_unlock(&store->recent->lock);
    }
}

static apr_uint64_t *word_of(svl_recent_t *recent, apr_uint64_t position)
{
    return &recent->words[position % SVL_RECENT_PLACES];
}

static svl_recent_body_t *body_of(svl_recent_t *recent, apr_uint64_t position)
{
    return &recent->bodies[position % SVL_RECENT_PLACES];
}

int svl_recent_any(const svl_store_t *store)
{
    apr_uint32_t i;

    for (i = 0; store->recent && i < SVL_RECENT_PLACES; ++i) {
        if (svl_running_get(&store->recent->words[i])) {
            return 1;
        }
    }
    return 0;
}

static svl_recent_stream_t *find_stream(svl_recent_t *recent, const char *name, apr_size_t length)
{
    apr_uint32_t i;

    for (i = 0; i < SVL_RECENT_STREAMS; ++i) {
        svl_recent_stream_t *stream = &recent->streams[i];

        if (stream->next && stream->length == length && !memcmp(stream->name, name, length)) {
            return stream;
        }
    }
    return NULL;
}

static apr_uint32_t hash_of(const char *id, apr_ssize_t length)
{
    return apr_hashfunc_default(id, &length);
}

/* @return the word of recent->seen that has the bit of this hash */
static apr_uint64_t *seen_of(svl_recent_t *recent, apr_uint32_t hash, apr_uint64_t *bit)
{
    *bit = (apr_uint64_t)1 << hash % 64;
    return &recent->seen[hash / 64 % (sizeof(recent->seen) / sizeof(*recent->seen))];
}

/* @return nonzero when a call with this id is kept */
static int holds_id(svl_recent_t *recent, const char *id, apr_size_t length)
{
    apr_uint32_t hash = hash_of(id, (apr_ssize_t)length), i;
    apr_uint64_t bit;

    if (!(*seen_of(recent, hash, &bit) & bit)) {
        return 0;
    }
    for (i = 0; i < SVL_RECENT_PLACES; ++i) {
        const unsigned char *record = (const unsigned char *)recent->bodies[i].record;

        if (recent->ids[i] == hash && recent->words[i] && record[13] == length
            && !memcmp(record + SVL_RECENT_HEAD, id, length)) {
            return 1;
        }
    }
    return 0;
}

/* What does not depend on other calls. */
static int is_simple(const svl_store_t *store, const svl_store_batch_t *batch)
{
    const svl_store_entry_t *entry = batch->entries;
    apr_size_t length = SVL_RECENT_HEAD + strlen(entry->id) + SVL_NAME_STREAM_MAX + SVL_RECORDS_CALL_SIZE
                        + entry->draft.head_length + entry->draft.tail_length + SVL_CALL_STAMP_MAX
                        + (batch->route ? strlen(batch->route) + 1 : 0);

    return batch->count == 1 && !entry->refused && !entry->every && length <= SVL_RECENT_BYTES
           && (!entry->epoch || strcmp(entry->origin, store->node.name) != 0);
}

static void note_id(svl_recent_t *recent, const svl_store_entry_t *entry)
{
    apr_uint32_t hash = hash_of(entry->id, APR_HASH_KEY_STRING);
    apr_uint64_t bit, *seen = seen_of(recent, hash, &bit);

    *seen |= bit;
    recent->ids[entry->position % SVL_RECENT_PLACES] = hash;
}

static apr_size_t write_record(unsigned char *record, const svl_store_t *store, const svl_store_batch_t *batch,
                               const svl_recent_stream_t *stream, apr_time_t now)
{
    const svl_store_entry_t *entry = batch->entries;
    apr_size_t id = strlen(entry->id), route = batch->route ? strlen(batch->route) + 1 : 0;
    unsigned char *at = record + SVL_RECENT_HEAD;

    svl_records_put64(record, store->owner);
    svl_records_put32(record + 8, batch->arity);
    record[12] = entry->run ? SVL_RECORDS_RUN_TODO : SVL_RECORDS_RUN_NONE;
    record[13] = (unsigned char)id;
    record[14] = (unsigned char)stream->length;
    record[15] = (unsigned char)(route >> 8);
    record[16] = (unsigned char)route;
    memcpy(at, entry->id, id);
    at += id;
    memcpy(at, stream->name, stream->length);
    at += stream->length;
    if (route) {
        memcpy(at, batch->route, route);
        at += route;
    }
    at += svl_accept_record(at, entry, stream->number,
                            (unsigned char)((entry->run ? 0 : SVL_RECORDS_CALL_IDLE)
                                            | (entry->epoch && !batch->route ? SVL_RECORDS_CALL_UNROUTED : 0)),
                            now);
    return (apr_size_t)(at - record);
}

/* @return its stream, when it is the next one there */
static svl_recent_stream_t *stream_of(svl_recent_t *recent, const svl_store_entry_t *entry)
{
    char name[SVL_CHANGE_NAME_SIZE];
    apr_size_t length = svl_change_name(name, entry->origin, entry->set, entry->epoch ? entry->epoch : recent->epoch);
    svl_recent_stream_t *stream = find_stream(recent, name, length);

    return stream && (!entry->epoch || entry->seq == stream->next) && stream->next < (apr_uint64_t)SVL_VECTOR_NUMBER_MAX
               ? stream
               : NULL;
}

/* @param settled as it was before the log was looked at: what was taken since may have the id */
static int keep(svl_store_t *store, svl_store_batch_t *batch, apr_uint64_t settled, apr_time_t now)
{
    svl_recent_t *recent = store->recent;
    svl_store_entry_t *entry = batch->entries;
    svl_recent_stream_t *stream;
    union {
        unsigned char bytes[SVL_RECENT_BYTES];
        apr_uint64_t words[(SVL_RECENT_BYTES + 7) / 8];
    } record;
    apr_size_t length;

    if (!recent->ready || svl_running_get(word_of(recent, recent->last + 1))
        || strcmp(recent->epoch, svl_store_epoch(store))
               != 0) { /* this process has not heard of it yet: it does by a transaction */
        return 0;
    }
    stream = stream_of(recent, entry);
    if (!stream || holds_id(recent, entry->id, strlen(entry->id))
        || (settled != svl_running_get(&recent->settled) && !svl_read_lacks_id(store, entry->id))) {
        return 0;
    }
    entry->verdict = SVL_STORE_NEW;
    entry->unrouted = 0;
    entry->seq = stream->next;
    entry->position = batch->first = recent->last + 1;
    batch->appended = 1;
    memcpy(entry->stamped, entry->epoch ? entry->epoch : recent->epoch, sizeof(entry->stamped));
    length = write_record(record.bytes, store, batch, stream, now);
    memset(record.bytes + length, 0, sizeof(record) - length); /* no bytes of the stack into a file */
    svl_running_write(body_of(recent, entry->position)->record, record.words, length);
    svl_running_put(&body_of(recent, entry->position)->length, length);
    note_id(recent, entry);
    svl_running_put(word_of(recent, entry->position), entry->position);
    ++recent->last;
    ++stream->next;
    return 1;
}

int svl_recent_keep(svl_store_t *store, svl_store_batch_t *batches, apr_uint32_t count, apr_time_t now)
{
    apr_uint64_t settled;
    sigset_t saved;
    int kept = 0;

    if (!store->recent || store->readonly || store->options.durable || count != 1 || !is_simple(store, batches)
        || svl_damage_known(store)) {
        return 0;
    }
    svl_env_guard(store, &saved);
    settled = svl_running_get(&store->recent->settled);
    if (svl_read_lacks_id(store, batches->entries->id)) {
        kept = !lock(store->recent);
        if (kept) {
            kept = keep(store, batches, settled, now);
            pthread_mutex_unlock(&store->recent->lock);
        }
    }
    svl_env_unguard(store, &saved);
    return kept;
}

/* @return APR_EINVAL, with nothing written: its number is not one that it can have */
static apr_status_t append(svl_change_t *change, apr_uint64_t position, const svl_recent_call_t *kept)
{
    svl_store_batch_t batch = {.first = position, .appended = 1, .count = 1, .route = kept->route, .arity = kept->arity};
    unsigned char key[SVL_RECORDS_POSITION_SIZE], number[SVL_RECORDS_NUMBER_SIZE], *room;
    svl_change_stream_t *stream;
    svl_records_call_t call;
    apr_status_t status = svl_records_get_call(&call, kept->value, kept->value_length);

    svl_records_put64(key, position);
    if (!status) {
        status = svl_change_stream_named(change, kept->stream, kept->stream_length, &stream);
    }
    if (!status && (svl_vector_covers(stream->numbers, call.seq) || !svl_vector_has_room(stream->numbers, call.seq))) {
        return APR_EINVAL;
    }
    if (!status) {
        change->planned += 2 * change->store->page; /* as SVL_RECENT_PAGES reckons */
        change->state.last = position;
        change->state_changed = 1;
        call.stream = stream->number;
        status = svl_change_reserve(change, SVL_TABLE_CALLS, key, sizeof(key), MDB_APPEND, kept->value_length, &room);
    }
    if (!status) {
        svl_records_put_call(room, &call);
        memcpy(room + SVL_RECORDS_CALL_SIZE, call.text, call.length);
        svl_records_put_number(number, stream->number, call.seq);
        status = svl_change_put(change, SVL_TABLE_NUMBERS, number, sizeof(number), key, sizeof(key));
    }
    if (!status) {
        status = svl_change_put(change, SVL_TABLE_IDS, kept->id, kept->id_length, key, sizeof(key));
    }
    if (!status) {
        status = svl_accept_cover(change, stream, call.seq, call.issued, call.arrived);
    }
    return status ? status : svl_work_add(change, &batch, &kept->state, kept->owner, call.arrived);
}

/* What was there may have been a call that others know of: neither its position nor its number is given again. */
static apr_status_t skip(svl_change_t *change, apr_uint64_t position)
{
    const svl_store_t *store = change->store;

    svl_log_write(store->options.log, SVL_LOG_MARK, SVL_LOG_ERR, APR_SUCCESS,
                  SVLNO(0378) "%s/" SVL_RUNNING_FILE " holds something that is no call, for log position %" APR_UINT64_T_FMT
                              ": something else wrote there; the log goes on without it",
                  store->options.directory, position);
    if (position > store->recent->last) {
        return APR_SUCCESS; /* none was ever kept there */
    }
    change->state.last = position;
    change->state_changed = 1;
    return svl_epoch_supersede(change, "the file " SVL_RUNNING_FILE " has lost a call");
}

static apr_status_t apply_one(svl_change_t *change, apr_uint64_t position)
{
    const svl_recent_body_t *body = body_of(change->store->recent, position);
    svl_recent_call_t call;
    apr_status_t status;

    if (svl_recent_parse(&call, (const unsigned char *)body->record, body->length <= SVL_RECENT_BYTES ? body->length : 0)) {
        return skip(change, position);
    }
    status = append(change, position, &call);
    return status == APR_EINVAL ? skip(change, position) : status;
}

/* Where an older copy of the log was put back they begin somewhere beyond its end. */
apr_status_t svl_recent_apply(svl_change_t *change)
{
    svl_recent_t *recent = change->store->recent;
    apr_uint64_t first = recent ? svl_recent_oldest(recent, change->state.last) : 0, position;
    apr_status_t status = APR_SUCCESS;

    for (position = first; first && !status && position < first + SVL_RECENT_PLACES; ++position) {
        if (svl_running_get(word_of(recent, position)) == position) {
            status = apply_one(change, position);
        }
    }
    return status;
}

/* @param stream of the transaction, written to the log */
static void learn(svl_recent_t *recent, const svl_change_stream_t *stream)
{
    svl_recent_stream_t *known = find_stream(recent, stream->name, stream->length);
    int dense = stream->numbers->watermark && !stream->numbers->ranges->nelts;

    if (!known && dense) {
        known = &recent->streams[recent->place++ % SVL_RECENT_STREAMS];
        known->length = (apr_uint32_t)stream->length;
        memcpy(known->name, stream->name, stream->length);
    }
    if (known) {
        known->number = stream->number;
        known->next = dense ? stream->numbers->watermark + 1 : 0;
    }
}

void svl_recent_suspend(svl_store_t *store)
{
    store->recent->ready = 0;
}

void svl_recent_settled(const svl_change_t *change, int room)
{
    svl_recent_t *recent = change->store->recent;
    const svl_change_stream_t *stream;
    apr_uint32_t i;

    for (i = 0; i < SVL_RECENT_PLACES; ++i) {
        if (svl_running_get(&recent->words[i])) {
            svl_running_put(&recent->words[i], 0);
        }
    }
    memset(recent->seen, 0, sizeof(recent->seen));
    if (!recent->ready) { /* who was killed may have been writing them */
        memset(recent->streams, 0, sizeof(recent->streams));
    }
    for (stream = change->streams; stream; stream = stream->next) {
        learn(recent, stream);
    }
    svl_running_put(&recent->settled, recent->settled + 1);
    recent->last = change->state.last;
    memcpy(recent->epoch, change->state.epoch, sizeof(recent->epoch));
    recent->ready = room;
}

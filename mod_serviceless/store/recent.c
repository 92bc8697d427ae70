/* SPDX-License-Identifier: Apache-2.0 */
#include "recent.h"

#include <errno.h>
#include <string.h>

#include "../core/robust.h"
#include "accept.h"
#include "damage.h"
#include "journal.h"
#include "read.h"
#include "running.h"

int svl_recent_make(svl_recent_t *recent)
{
    recent->ready = 0;
    memset(&recent->lock, 0, sizeof(recent->lock));
    return svl_robust_make(&recent->lock);
}

/* What its dead holder left half done is done anew by the next transaction.  @param error of taking the lock */
static int locked(svl_recent_t *recent, int error)
{
    if (error == EOWNERDEAD) {
        error = pthread_mutex_consistent(&recent->lock);
        recent->ready = 0;
    }
    return error;
}

static int lock(svl_recent_t *recent)
{
    return locked(recent, svl_robust_lock(&recent->lock));
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

svl_recent_stream_t *svl_recent_stream(svl_recent_t *recent, const char *name, apr_size_t length)
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
    record[SVL_RECENT_STATE] = entry->run ? SVL_RECORDS_RUN_TODO : SVL_RECORDS_RUN_NONE;
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
    svl_recent_stream_t *stream = svl_recent_stream(recent, name, length);

    return stream && (!entry->epoch || entry->seq == stream->next) && stream->next < (apr_uint64_t)SVL_VECTOR_NUMBER_MAX
               ? stream
               : NULL;
}

/* Where it has to be durable it is not seen before it is.  What need not be durable cannot come after it: it would not be seen either. */
static int make_safe(svl_store_t *store, apr_uint64_t position, const void *record, apr_size_t length, apr_uint64_t *ticket)
{
    if (store->options.durable) {
        return svl_journal_add(store, SVL_JOURNAL_CALL, position, record, length, ticket);
    }
    if (store->journal->added != svl_running_get(&store->journal->written)) {
        return 0;
    }
    svl_running_put(&store->recent->visible, position);
    return 1;
}

/* @param settled as it was before the log was looked at: what was taken since may have the id
 * @param ticket receives what to wait for; stays where there is nothing */
static int keep(svl_store_t *store, svl_store_batch_t *batch, apr_uint64_t settled, apr_time_t now, apr_uint64_t *ticket)
{
    svl_recent_t *recent = store->recent;
    svl_store_entry_t *entry = batch->entries;
    svl_recent_stream_t *stream;
    union {
        unsigned char bytes[SVL_RECENT_BYTES];
        apr_uint64_t words[(SVL_RECENT_BYTES + 7) / 8];
    } record;
    apr_size_t length;

    if (!recent->ready || svl_running_get(svl_recent_word(recent, recent->last + 1))
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
    if (!make_safe(store, entry->position, record.bytes, length, ticket)) {
        return 0;
    }
    svl_running_write(svl_recent_body(recent, entry->position)->record, record.words, length);
    svl_running_put(&svl_recent_body(recent, entry->position)->length, length);
    note_id(recent, entry);
    svl_running_put(svl_recent_word(recent, entry->position), entry->position);
    ++recent->last;
    ++stream->next;
    return 1;
}

/* It could be made durable neither way, and is not to be in the log later, when nobody would run it.  Nothing is kept and no journal
 * written until a transaction has taken what is kept: where that finds nothing later, its position and number are given again; else they
 * are never given, and its stream, which has a gap then, is committed for as long as the epoch lasts.
 * @param why that is  @return APR_SUCCESS: somebody else made it durable meanwhile */
static apr_status_t withdraw(svl_store_t *store, apr_uint64_t position, apr_uint64_t ticket, apr_status_t why)
{
    svl_recent_t *recent = store->recent;
    apr_uint64_t *word = svl_recent_word(recent, position);

    if (svl_journal_lock(store->journal)) {
        return why;
    }
    if (!lock(recent)) {
        if (svl_running_get(&store->journal->written) >= ticket || svl_running_get(word) != position) {
            why = APR_SUCCESS;
        }
        else {
            svl_running_put(word, 0);
            recent->ready = 0;
        }
        pthread_mutex_unlock(&recent->lock);
    }
    pthread_mutex_unlock(&store->journal->lock);
    return why;
}

int svl_recent_keep(svl_store_t *store, svl_store_batch_t *batches, apr_uint32_t count, apr_time_t now, apr_status_t *status)
{
    apr_uint64_t settled, ticket = 0;
    sigset_t saved;
    int kept = 0;

    *status = APR_SUCCESS;
    if (!store->recent || store->readonly || !svl_journal_serves(store) || count != 1 || !is_simple(store, batches)
        || svl_damage_known(store)) {
        return 0;
    }
    svl_env_guard(store, &saved);
    settled = svl_running_get(&store->recent->settled);
    if (svl_read_lacks_id(store, batches->entries->id)) {
        kept = !lock(store->recent);
        if (kept) {
            kept = keep(store, batches, settled, now, &ticket);
            pthread_mutex_unlock(&store->recent->lock);
        }
    }
    if (kept && ticket) {
        *status = svl_journal_wait(store, ticket);
        if (*status) {
            *status = withdraw(store, batches->entries->position, ticket, *status);
        }
    }
    svl_env_unguard(store, &saved);
    return kept;
}

/* Who commits holds the lock for milliseconds, which is longer than to leave it to the next transaction. */
int svl_recent_relayed(svl_store_t *store, apr_uint64_t position)
{
    svl_recent_t *recent = store->recent;
    svl_recent_body_t *body;
    union {
        unsigned char bytes[sizeof(apr_uint64_t)];
        apr_uint64_t word;
    } part;
    int kept;

    if (!recent || locked(recent, pthread_mutex_trylock(&recent->lock))) {
        return 0;
    }
    /* A word that is left from a commit whose process was killed says nothing: then it is not ready. */
    kept = recent->ready && svl_running_get(svl_recent_word(recent, position)) == position;
    if (kept) {
        body = svl_recent_body(recent, position);
        part.word = body->record[SVL_RECENT_STATE / sizeof(part)];
        part.bytes[SVL_RECENT_STATE % sizeof(part)] |= SVL_RECENT_RELAYED;
        svl_running_put(&body->record[SVL_RECENT_STATE / sizeof(part)], part.word);
    }
    pthread_mutex_unlock(&recent->lock);
    return kept;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <string.h>

#include <apr_strings.h>

#include "../core/fault.h"
#include "accept.h"
#include "commit.h"
#include "epoch.h"
#include "recent.h"
#include "same.h"
#include "work.h"

#define ENTRY_WEIGHT                                                                                                           \
    256 /* bytes an entry costs besides its line: header, id, number, state and their keys in half-filled pages */
#define CONFLICT_TEXT "another call with this id is held"

typedef struct accept_t {
    svl_store_batch_t *batches;
    apr_uint32_t count;
    apr_time_t now;
    apr_size_t weight;
} accept_t;

static int is_own(const svl_store_entry_t *entry)
{
    return entry->epoch == NULL;
}

static apr_int64_t expiry(const svl_store_entry_t *entry)
{
    return entry->ttl > (APR_INT64_MAX - entry->issued) / 1000 ? APR_INT64_MAX : entry->issued + entry->ttl * 1000;
}

/* A stamp in the future makes it no newer than now: until then its stream would supersede the ones that come after it. */
apr_status_t svl_accept_cover(svl_change_t *change, svl_change_stream_t *stream, apr_uint64_t seq, apr_int64_t issued,
                              apr_time_t now)
{
    apr_status_t status = svl_vector_add(stream->numbers, seq);

    if (stream->pruned >= seq) {
        stream->pruned = seq - 1;
    }
    issued = issued < now / 1000 ? issued : now / 1000;
    if (stream->latest < issued) {
        stream->latest = issued;
    }
    stream->changed = 1;
    ++change->writes; /* the stream is written at the end */
    return status;
}

static apr_status_t cover(svl_change_t *change, svl_change_stream_t *stream, const svl_store_entry_t *entry, apr_time_t now)
{
    return svl_accept_cover(change, stream, entry->seq, entry->issued, now);
}

apr_size_t svl_accept_record(unsigned char *room, const svl_store_entry_t *entry, apr_uint32_t stream, unsigned char flags,
                             apr_time_t now)
{
    svl_records_call_t call = {now, entry->issued, expiry(entry), entry->seq, stream, flags, NULL, 0};
    char stamp[SVL_CALL_STAMP_MAX];
    apr_size_t stamp_length = is_own(entry) ? svl_call_stamp(stamp, entry->stamped, entry->seq) : 0;
    apr_size_t tail_length = is_own(entry) ? entry->draft.tail_length : 0;
    const char *head = flags & SVL_RECORDS_CALL_REFUSED ? entry->id : entry->draft.head;
    apr_size_t head_length = flags & SVL_RECORDS_CALL_REFUSED ? strlen(entry->id) : entry->draft.head_length;

    if (room) {
        svl_records_put_call(room, &call);
        room += SVL_RECORDS_CALL_SIZE;
        memcpy(room, head, head_length);
        memcpy(room + head_length, stamp, stamp_length);
    }
    if (room && tail_length) {
        memcpy(room + head_length + stamp_length, entry->draft.tail, tail_length);
    }
    return SVL_RECORDS_CALL_SIZE + head_length + stamp_length + tail_length;
}

/* Appends the record of an entry at the next position. */
static apr_status_t append(svl_change_t *change, const svl_change_stream_t *stream, svl_store_entry_t *entry,
                           unsigned char flags, apr_time_t now)
{
    unsigned char key[SVL_RECORDS_POSITION_SIZE], number[SVL_RECORDS_NUMBER_SIZE], *room;
    apr_status_t status;

    entry->position = ++change->state.last;
    change->state_changed = 1;
    svl_records_put64(key, entry->position);
    status = svl_change_reserve(change, SVL_TABLE_CALLS, key, sizeof(key), MDB_APPEND,
                                svl_accept_record(NULL, entry, stream->number, flags, now), &room);
    if (status) {
        return status;
    }
    svl_accept_record(room, entry, stream->number, flags, now);
    svl_records_put_number(number, stream->number, entry->seq);
    status = svl_change_put(change, SVL_TABLE_NUMBERS, number, sizeof(number), key, sizeof(key));
    return status || !entry->every || flags & ~SVL_RECORDS_CALL_UNROUTED
               ? status
               : svl_change_put(change, SVL_TABLE_EVERY, key, sizeof(key), "", 0);
}

/* Takes the id for the next position.  @return APR_EEXIST with the position of its first entry */
static apr_status_t take_id(svl_change_t *change, const svl_store_entry_t *entry, apr_uint64_t *first)
{
    unsigned char *room;
    apr_status_t status = svl_change_reserve(change, SVL_TABLE_IDS, entry->id, strlen(entry->id), MDB_NOOVERWRITE,
                                             SVL_RECORDS_POSITION_SIZE, &room);

    if (!status) {
        svl_records_put64(room, change->state.last + 1);
    }
    else if (status == APR_EEXIST) {
        *first = svl_records_get64(room);
    }
    return status;
}

/* So that the id can move to this entry when the first one is pruned. */
static apr_status_t add_alias(svl_change_t *change, const svl_store_entry_t *entry)
{
    unsigned char key[SVL_RECORDS_ALIAS_SIZE];
    apr_size_t length = svl_records_put_alias(key, entry->id, entry->position);

    return svl_change_put(change, SVL_TABLE_ALIASES, key, length, "", 0);
}

static apr_status_t accept_own(svl_change_t *change, svl_store_entry_t *entry, apr_time_t now)
{
    svl_change_stream_t *stream;
    apr_status_t status = take_id(change, entry, &entry->position);

    if (status == APR_EEXIST) {
        entry->verdict = SVL_STORE_DUPLICATE;
        return APR_SUCCESS;
    }
    memcpy(entry->stamped, change->state.epoch, sizeof(entry->stamped));
    if (!status) {
        status = svl_change_stream(change, entry->origin, entry->set, change->state.epoch, &stream);
    }
    if (status) {
        return status;
    }
    entry->seq = svl_epoch_next_number(stream->numbers);
    entry->verdict = SVL_STORE_NEW;
    status = cover(change, stream, entry, now);
    return status ? status : append(change, stream, entry, entry->run ? 0 : SVL_RECORDS_CALL_IDLE, now);
}

/* An own number that this log does not know of, in the current epoch, or knows as another call's: it was given twice. */
static apr_status_t begin_for(svl_change_t *change, const svl_store_entry_t *entry)
{
    if (!svl_epoch_is_current(change, entry->epoch)) {
        return APR_SUCCESS;
    }
    return svl_epoch_supersede(change,
                               apr_psprintf(change->pool,
                                            "its number %" APR_UINT64_T_FMT " of set %s came back from a peer as the call "
                                            "%s, which this log does not hold there",
                                            entry->seq, entry->set, entry->id));
}

/* Of two calls with one own number neither may be lost: both get one of the current epoch, under which every node takes them. */
static apr_status_t take_back(svl_change_t *change, const svl_change_stream_t *old, svl_store_entry_t *entry, apr_time_t now)
{
    svl_store_entry_t again = *entry; /* not the caller's: the transaction may be done again */
    apr_uint64_t held = entry->position;
    svl_change_stream_t *stream;
    apr_status_t status = svl_change_position(change, SVL_TABLE_IDS, entry->id, strlen(entry->id), &entry->position);

    if (status != APR_NOTFOUND) {
        entry->verdict = SVL_STORE_DUPLICATE;
        return status;
    }
    status = begin_for(change, entry);
    if (!status) {
        status = svl_epoch_restamp(change, held);
    }
    if (!status) {
        status = svl_change_stream(change, entry->origin, entry->set, change->state.epoch, &stream);
    }
    if (status) {
        return status;
    }
    again.seq = svl_epoch_next_number(stream->numbers);
    again.draft.head =
        svl_epoch_restamped(change, entry->draft.head, entry->draft.head_length, old->name + old->length - SVL_NAME_EPOCH,
                            entry->seq, again.seq, &again.draft.head_length);
    if (!again.draft.head) {
        return APR_SUCCESS; /* no line of this program: it stays refused */
    }
    status = take_id(change, &again, &held);
    if (!status) {
        status = cover(change, stream, &again, now);
    }
    if (!status) {
        status = append(change, stream, &again, entry->run ? 0 : SVL_RECORDS_CALL_IDLE, now);
    }
    entry->position = again.position;
    entry->verdict = SVL_STORE_NEW;
    return status;
}

/* Refused ones and conflicts are only covered here: their records come after those of the batch that are relayed. */
static apr_status_t accept_foreign(svl_change_t *change, svl_store_entry_t *entry, int routed, apr_time_t now)
{
    int own = !strcmp(entry->origin, change->store->node.name);
    svl_change_stream_t *stream;
    apr_uint64_t first;
    int equal;
    unsigned char flags = entry->run ? 0 : SVL_RECORDS_CALL_IDLE;
    apr_status_t status = svl_change_stream(change, entry->origin, entry->set, entry->epoch, &stream);

    if (status) {
        return status;
    }
    memcpy(entry->stamped, entry->epoch, sizeof(entry->stamped));
    if (svl_vector_covers(stream->numbers, entry->seq)) {
        status = svl_same_number(change, stream, entry);
        if (!status && routed && !entry->refused && entry->verdict == SVL_STORE_DUPLICATE) {
            status = svl_same_unrouted(change, stream, entry);
        }
        return own && !status && !entry->refused && entry->verdict == SVL_STORE_STREAM_CONFLICT
                   ? take_back(change, stream, entry, now)
                   : status;
    }
    if (!svl_vector_has_room(stream->numbers, entry->seq)) {
        entry->verdict = SVL_STORE_SCATTERED;
        entry->position = 0;
        return APR_SUCCESS;
    }
    if (own) {
        status = begin_for(change, entry);
    }
    if (status) {
        return status;
    }
    entry->verdict = SVL_STORE_NEW;
    if (entry->refused) {
        return cover(change, stream, entry, now);
    }
    status = take_id(change, entry, &first);
    if (status == APR_EEXIST) {
        status = svl_same_content(change, first, entry, &equal);
        if (status) {
            return status;
        }
        entry->verdict = equal ? SVL_STORE_ALIAS : SVL_STORE_CONFLICT;
        flags = SVL_RECORDS_CALL_ALIAS | SVL_RECORDS_CALL_IDLE;
    }
    if (!status) {
        status = cover(change, stream, entry, now);
    }
    if (status || entry->verdict == SVL_STORE_CONFLICT) {
        return status;
    }
    status = append(change, stream, entry, routed ? flags : flags | SVL_RECORDS_CALL_UNROUTED, now);
    return status || entry->verdict != SVL_STORE_ALIAS ? status : add_alias(change, entry);
}

static apr_status_t record_refusal(svl_change_t *change, svl_store_entry_t *entry, apr_time_t now)
{
    svl_store_outcome_t outcome = {.outcome = SVL_OUTCOME_REFUSED, .ended = now};
    svl_change_stream_t *stream;
    apr_status_t status = svl_change_stream(change, entry->origin, entry->set, entry->epoch, &stream);

    if (!status) {
        status = append(change, stream, entry, SVL_RECORDS_CALL_REFUSED, now);
    }
    if (status) {
        return status;
    }
    outcome.position = entry->position;
    outcome.text = entry->verdict == SVL_STORE_CONFLICT ? CONFLICT_TEXT : entry->reason;
    outcome.length = outcome.text ? strlen(outcome.text) : 0;
    return svl_work_finish(change, &outcome, 1);
}

/* Covered, but not recorded yet. */
static int is_refusal(const svl_store_entry_t *entry)
{
    return entry->verdict == SVL_STORE_CONFLICT || (entry->verdict == SVL_STORE_NEW && entry->refused);
}

static apr_status_t accept_batch(svl_change_t *change, svl_store_batch_t *batch, apr_time_t now)
{
    unsigned char *states = apr_palloc(change->pool, batch->count);
    apr_status_t status;
    int refusals = 0;
    apr_uint32_t i;

    batch->first = change->state.last + 1;
    batch->appended = 0;
    for (i = 0; i < batch->count; ++i) {
        svl_store_entry_t *entry = &batch->entries[i];

        entry->position = 0;
        entry->unrouted = 0;
        status = is_own(entry) ? accept_own(change, entry, now) : accept_foreign(change, entry, batch->route != NULL, now);
        if (status) {
            return status;
        }
        if (is_refusal(entry)) {
            ++refusals;
        }
        else if (entry->verdict == SVL_STORE_NEW) {
            states[batch->appended++] = entry->run ? SVL_RECORDS_RUN_TODO : SVL_RECORDS_RUN_NONE;
        }
        else if (entry->verdict == SVL_STORE_ALIAS) {
            states[batch->appended++] = SVL_RECORDS_RUN_NONE;
        }
    }
    status = svl_work_add(change, batch, states, change->store->owner, now);
    for (i = 0; refusals && i < batch->count && !status; ++i) {
        if (is_refusal(&batch->entries[i])) {
            status = record_refusal(change, &batch->entries[i], now);
        }
    }
    return status;
}

/* Whether nothing of it is new: a full log still answers for what it holds. */
static int all_known(svl_change_t *change, const accept_t *accept)
{
    svl_change_stream_t *stream;
    apr_uint64_t position;
    apr_uint32_t b, i;

    for (b = 0; b < accept->count; ++b) {
        for (i = 0; i < accept->batches[b].count; ++i) {
            const svl_store_entry_t *entry = &accept->batches[b].entries[i];

            if (is_own(entry)) {
                if (svl_change_position(change, SVL_TABLE_IDS, entry->id, strlen(entry->id), &position)) {
                    return 0;
                }
            }
            else if (svl_change_stream(change, entry->origin, entry->set, entry->epoch, &stream)
                     || !svl_vector_covers(stream->numbers, entry->seq)) {
                return 0;
            }
        }
    }
    return 1;
}

static apr_status_t apply_accept(svl_change_t *change, void *baton)
{
    accept_t *accept = baton;
    apr_status_t status = APR_SUCCESS;
    apr_uint32_t b;

    if (!svl_change_room(change, accept->weight) && !all_known(change, accept)) {
        return SVL_EFULL;
    }
    for (b = 0; b < accept->count && !status; ++b) {
        status = accept_batch(change, &accept->batches[b], accept->now);
    }
    return status;
}

/* What the tables could not hold is a fault of the caller, found before it can spoil a transaction. */
static int is_valid(const svl_store_entry_t *entry)
{
    if (!svl_name_is_id(entry->id, strlen(entry->id)) || strlen(entry->origin) > SVL_NAME_NODE_MAX
        || strlen(entry->set) > SVL_NAME_NODE_MAX || entry->ttl < 0 || entry->issued < 0) {
        return 0;
    }
    if (is_own(entry)) {
        return !entry->refused;
    }
    return strlen(entry->epoch) == SVL_NAME_EPOCH && entry->seq > 0 && entry->seq <= (apr_uint64_t)SVL_VECTOR_NUMBER_MAX;
}

apr_status_t svl_store_accept(svl_store_t *store, svl_store_batch_t *batches, apr_uint32_t count, apr_time_t now)
{
    accept_t accept = {batches, count, now, 0};
    apr_status_t status;

    for (apr_uint32_t b = 0; b < count; ++b) {
        apr_size_t route = batches[b].route ? strlen(batches[b].route) : 0;

        accept.weight += route * (batches[b].count / SVL_STORE_BATCH_MAX + 1);
        for (apr_uint32_t i = 0; i < batches[b].count; ++i) {
            const svl_store_entry_t *entry = &batches[b].entries[i];

            if (!is_valid(entry)) {
                return APR_EINVAL;
            }
            accept.weight += ENTRY_WEIGHT + entry->draft.head_length;
            if (is_own(entry)) {
                accept.weight += entry->draft.tail_length;
            }
        }
    }
    return svl_recent_keep(store, batches, count, now, &status) ? status
                                                                : svl_commit_run(store, apply_accept, &accept, accept.weight);
}

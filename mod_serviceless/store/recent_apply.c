/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "../core/fault.h"
#include "accept.h"
#include "epoch.h"
#include "fresh.h"
#include "journal.h"
#include "recent.h"
#include "running.h"
#include "work.h"

/* @param fresh nonzero: the transaction may hear that it is done already */
static apr_status_t add_work(svl_change_t *change, apr_uint64_t position, const svl_recent_call_t *kept, apr_time_t arrived,
                             int fresh)
{
    svl_records_work_t work = {
        .owner = kept->owner, .accepted = arrived, .arity = kept->arity, .count = 1, .states = &kept->state};
    svl_store_batch_t batch = {.first = position, .appended = 1, .count = 1, .route = kept->route, .arity = kept->arity};

    if (!fresh) {
        return svl_work_add(change, &batch, &kept->state, kept->owner, arrived);
    }
    if (kept->route) {
        work.flags = SVL_RECORDS_WORK_ROUTE;
        work.route = kept->route;
        work.route_length = strlen(kept->route);
    }
    work.left = kept->state == SVL_RECORDS_RUN_TODO;
    if (work.left || kept->route) {
        svl_fresh_add(change, position, &work);
        change->state.pending += work.left;
        change->state_changed = 1;
    }
    return APR_SUCCESS;
}

/* @return APR_EINVAL, with nothing written: its number is not one that it can have */
static apr_status_t append(svl_change_t *change, apr_uint64_t position, const svl_recent_call_t *kept, int fresh)
{
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
    return status ? status : add_work(change, position, kept, call.arrived, fresh);
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
    const svl_recent_body_t *body = svl_recent_body(change->store->recent, position);
    svl_recent_call_t call;
    apr_status_t status;

    if (svl_recent_parse(&call, (const unsigned char *)body->record, body->length <= SVL_RECENT_BYTES ? body->length : 0)) {
        return skip(change, position);
    }
    status = append(change, position, &call, 1);
    return status == APR_EINVAL ? skip(change, position) : status;
}

apr_status_t svl_recent_append(svl_change_t *change, apr_uint64_t position, const unsigned char *record, apr_size_t length)
{
    svl_recent_call_t call;

    if (position <= change->state.last) {
        return APR_SUCCESS;
    }
    return svl_recent_parse(&call, record, length) ? APR_EINVAL : append(change, position, &call, 0);
}

/* Where an older copy of the log was put back they begin somewhere beyond its end. */
apr_status_t svl_recent_apply(svl_change_t *change)
{
    svl_recent_t *recent = change->store->recent;
    apr_uint64_t first = recent ? svl_recent_oldest(recent, change->state.last) : 0, position;
    apr_status_t status = APR_SUCCESS;

    for (position = first; first && !status && position < first + SVL_RECENT_PLACES; ++position) {
        if (svl_running_get(svl_recent_word(recent, position)) == position) {
            status = apply_one(change, position);
        }
    }
    return status;
}

/* @param stream of the transaction, written to the log */
static void learn(svl_recent_t *recent, const svl_change_stream_t *stream)
{
    svl_recent_stream_t *known = svl_recent_stream(recent, stream->name, stream->length);
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
    if (store->recent) {
        store->recent->ready = 0;
    }
}

void svl_recent_settled(const svl_change_t *change, int room)
{
    svl_recent_t *recent = change->store->recent;
    const svl_change_stream_t *stream;
    apr_uint32_t i;

    if (!recent) {
        return;
    }
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
    svl_running_put(&recent->visible, recent->last);
    memcpy(recent->epoch, change->state.epoch, sizeof(recent->epoch));
    svl_journal_settled(change);
    recent->ready = room && change->store->journal->added == svl_running_get(&change->store->journal->written);
}

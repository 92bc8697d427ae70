/* SPDX-License-Identifier: Apache-2.0 */
#include "epoch.h"

#include <string.h>

#include <apr_strings.h>

#include "../core/call.h"
#include "../core/fault.h"
#include "../core/pool.h"
#include "commit.h"
#include "streams.h"

#define ANEW_PREFIX "anew" /* in the table meta, followed by the epoch; the value: next(8) last(8) position to look at */
#define ANEW_KEY (sizeof(ANEW_PREFIX) - 1 + SVL_NAME_EPOCH)
#define ANEW_SIZE 16
#define ENTRY_WEIGHT 1024 /* bytes: a line of the usual length, its numbers, and their pages' part */

int svl_epoch_is_current(const svl_change_t *change, const char *epoch)
{
    return !memcmp(epoch, change->state.epoch, SVL_NAME_EPOCH);
}

apr_uint64_t svl_epoch_next_number(const svl_vector_numbers_t *numbers)
{
    return 1 + svl_vector_highest(numbers);
}

static apr_status_t put_anew(svl_change_t *change, const char *epoch, apr_uint64_t next, apr_uint64_t last)
{
    unsigned char key[ANEW_KEY], value[ANEW_SIZE];

    memcpy(key, ANEW_PREFIX, sizeof(ANEW_PREFIX) - 1);
    memcpy(key + sizeof(ANEW_PREFIX) - 1, epoch, SVL_NAME_EPOCH);
    if (next > last) {
        return svl_change_delete(change, SVL_TABLE_TOP, key, sizeof(key));
    }
    svl_records_put64(value, next);
    svl_records_put64(value + 8, last);
    return svl_change_put(change, SVL_TABLE_TOP, key, sizeof(key), value, sizeof(value));
}

apr_status_t svl_epoch_supersede(svl_change_t *change, const char *why)
{
    apr_status_t status = change->state.last ? put_anew(change, change->state.epoch, 1, change->state.last) : APR_SUCCESS;

    if (!status) {
        status = svl_name_make_epoch(change->state.epoch);
    }
    change->state_changed = 1;
    change->superseded = why;
    ++change->writes; /* the state is written at the end */
    return status;
}

void svl_epoch_tell(const svl_change_t *change)
{
    const svl_store_options_t *options = &change->store->options;

    if (change->superseded) {
        svl_log_write(options->log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_SUCCESS,
                      SVLNO(0331) "the log %s was rolled back, or is used by two servers: %s; it begins the epoch %s, and its "
                                  "calls of the one before are logged there anew",
                      options->directory, change->superseded, change->state.epoch);
    }
}

const char *svl_epoch_restamped(const svl_change_t *change, const char *line, apr_size_t length, const char *epoch,
                                apr_uint64_t seq, apr_uint64_t fresh, apr_size_t *fresh_length)
{
    char old[SVL_CALL_STAMP_MAX], stamp[SVL_CALL_STAMP_MAX], *text;
    apr_size_t old_length = svl_call_stamp(old, epoch, seq), stamp_length = svl_call_stamp(stamp, change->state.epoch, fresh);
    apr_size_t at = length >= old_length ? length - old_length + 1 : 0;

    while (at && memcmp(line + at - 1, old, old_length) != 0) { /* from the end: arguments may look like it */
        --at;
    }
    if (!at) {
        return NULL;
    }
    --at;
    *fresh_length = length - old_length + stamp_length;
    text = apr_palloc(change->pool, *fresh_length);
    memcpy(text, line, at);
    memcpy(text + at, stamp, stamp_length);
    memcpy(text + at + stamp_length, line + at + old_length, length - at - old_length);
    return text;
}

/* @return nonzero for a stream of this node */
static int is_own(const svl_change_t *change, const char *stream)
{
    apr_size_t length = change->store->node.name_length;

    return !strncmp(stream, change->store->node.name, length) && stream[length] == '/';
}

static const char *epoch_of(const svl_change_stream_t *stream)
{
    return stream->name + stream->length - SVL_NAME_EPOCH;
}

/* The stream of the same set in the current epoch. */
static apr_status_t current_stream(svl_change_t *change, const svl_change_stream_t *old, svl_change_stream_t **fresh)
{
    char name[SVL_NAME_STREAM_MAX];

    memcpy(name, old->name, old->length);
    memcpy(name + old->length - SVL_NAME_EPOCH, change->state.epoch, SVL_NAME_EPOCH);
    return svl_change_stream_named(change, name, old->length, fresh);
}

/* One number leaves one stream, another joins the other.  A number that cannot be told from its neighbours, because there are too many
 * ranges, stays covered. */
static apr_status_t move_number(svl_change_t *change, svl_change_stream_t *old, svl_change_stream_t *fresh,
                                apr_uint64_t position, const svl_records_call_t *from, const svl_records_call_t *to)
{
    unsigned char key[SVL_RECORDS_NUMBER_SIZE], value[SVL_RECORDS_POSITION_SIZE];
    apr_status_t status;

    svl_records_put_number(key, old->number, from->seq);
    status = svl_change_delete(change, SVL_TABLE_NUMBERS, key, sizeof(key));
    if (!status) {
        svl_records_put_number(key, fresh->number, to->seq);
        svl_records_put64(value, position);
        status = svl_change_put(change, SVL_TABLE_NUMBERS, key, sizeof(key), value, sizeof(value));
    }
    if (!status) {
        status = svl_vector_add(fresh->numbers, to->seq);
    }
    svl_vector_drop(old->numbers, from->seq);
    fresh->latest = fresh->latest > to->issued ? fresh->latest : to->issued;
    old->changed = fresh->changed = 1;
    return status;
}

static apr_status_t get_copy(svl_change_t *change, const unsigned char *key, svl_records_call_t *call)
{
    MDB_val value;
    apr_status_t status = svl_change_get(change, SVL_TABLE_CALLS, key, SVL_RECORDS_POSITION_SIZE, &value);

    return status ? status : svl_records_get_call(call, apr_pmemdup(change->pool, value.mv_data, value.mv_size), value.mv_size);
}

apr_status_t svl_epoch_restamp(svl_change_t *change, apr_uint64_t position)
{
    unsigned char key[SVL_RECORDS_POSITION_SIZE], *room;
    svl_change_stream_t *old, *fresh;
    svl_records_call_t call, anew;
    apr_status_t status;

    svl_records_put64(key, position);
    status = get_copy(change, key, &call);
    if (status || call.flags & (SVL_RECORDS_CALL_REFUSED | SVL_RECORDS_CALL_MISSED)) {
        return status;
    }
    status = svl_change_stream_numbered(change, call.stream, &old);
    if (status || !is_own(change, old->name) || svl_epoch_is_current(change, epoch_of(old))) {
        return status;
    }
    status = current_stream(change, old, &fresh);
    if (status) {
        return status;
    }
    anew = call;
    anew.stream = fresh->number;
    anew.seq = svl_epoch_next_number(fresh->numbers);
    anew.text = svl_epoch_restamped(change, call.text, call.length, epoch_of(old), call.seq, anew.seq, &anew.length);
    if (!anew.text) {
        return APR_SUCCESS;
    }
    status = move_number(change, old, fresh, position, &call, &anew);
    if (!status) {
        status = svl_change_reserve(change, SVL_TABLE_CALLS, key, sizeof(key), 0, SVL_RECORDS_CALL_SIZE + anew.length, &room);
    }
    if (!status) {
        svl_records_put_call(room, &anew);
        memcpy(room + SVL_RECORDS_CALL_SIZE, anew.text, anew.length);
    }
    return status;
}

/* What is to be logged anew of one epoch, and what a step did of it. */
typedef struct anew_t {
    char epoch[SVL_NAME_EPOCH];
    apr_uint64_t next, last;
    unsigned int limit;
    unsigned int looked;
} anew_t;

/* @return APR_NOTFOUND when there is nothing to do */
static apr_status_t find_anew(MDB_txn *txn, const svl_store_t *store, anew_t *anew)
{
    MDB_val key = {sizeof(ANEW_PREFIX) - 1, (void *)ANEW_PREFIX}, value;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->tables[SVL_TABLE_TOP], &cursor);

    if (rc) {
        return svl_env_status(rc);
    }
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (!rc && (key.mv_size != ANEW_KEY || memcmp(key.mv_data, ANEW_PREFIX, sizeof(ANEW_PREFIX) - 1) != 0)) {
        rc = MDB_NOTFOUND;
    }
    else if (!rc && value.mv_size != ANEW_SIZE) {
        rc = MDB_CORRUPTED;
    }
    else if (!rc) {
        memcpy(anew->epoch, (char *)key.mv_data + sizeof(ANEW_PREFIX) - 1, SVL_NAME_EPOCH);
        anew->next = svl_records_get64(value.mv_data);
        anew->last = svl_records_get64((unsigned char *)value.mv_data + 8);
    }
    mdb_cursor_close(cursor);
    return svl_env_status(rc);
}

/* Positions of the epoch's calls, as far as one step goes. */
static apr_status_t collect(svl_change_t *change, anew_t *anew, apr_array_header_t *positions)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    MDB_val key = {sizeof(bytes), bytes}, value;
    svl_change_stream_t *stream = NULL;
    svl_records_call_t call;
    MDB_cursor *cursor;
    apr_status_t status = APR_SUCCESS;
    int rc = mdb_cursor_open(change->txn, change->store->tables[SVL_TABLE_CALLS], &cursor);

    if (rc) {
        return svl_env_status(rc);
    }
    svl_records_put64(bytes, anew->next);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (!rc && !status && anew->next <= anew->last && anew->looked++ < anew->limit) {
        apr_uint64_t position = key.mv_size == sizeof(bytes) ? svl_records_get64(key.mv_data) : 0;

        status = position ? svl_records_get_call(&call, value.mv_data, value.mv_size) : SVL_EDAMAGED;
        if (!status && position <= anew->last && !(call.flags & SVL_RECORDS_CALL_MISSED)
            && (!stream || stream->number != call.stream)) {
            status = svl_change_stream_numbered(change, call.stream, &stream);
        }
        if (!status && position <= anew->last && !(call.flags & SVL_RECORDS_CALL_MISSED) && is_own(change, stream->name)
            && !memcmp(epoch_of(stream), anew->epoch, SVL_NAME_EPOCH)) {
            APR_ARRAY_PUSH(positions, apr_uint64_t) = position;
        }
        anew->next = position + 1;
        rc = status ? 0 : mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (rc == MDB_NOTFOUND) {
        anew->next = anew->last + 1;
    }
    mdb_cursor_close(cursor);
    return status ? status : rc == MDB_NOTFOUND ? APR_SUCCESS : svl_env_status(rc);
}

static apr_status_t apply_anew(svl_change_t *change, void *baton)
{
    anew_t *anew = baton;
    apr_array_header_t *positions = apr_array_make(change->pool, 64, sizeof(apr_uint64_t));
    apr_status_t status = find_anew(change->txn, change->store, anew);
    int i;

    anew->looked = 0;
    if (!status) {
        status = collect(change, anew, positions);
    }
    for (i = 0; i < positions->nelts && !status; ++i) {
        status = svl_epoch_restamp(change, APR_ARRAY_IDX(positions, i, apr_uint64_t));
    }
    return status ? status : put_anew(change, anew->epoch, anew->next, anew->last);
}

apr_status_t svl_store_log_anew(svl_store_t *store, unsigned int limit, int *more)
{
    anew_t anew = {.limit = limit};
    svl_store_reader_t *reader;
    apr_status_t status = store->readonly ? APR_EACCES : svl_store_read_begin(&reader, store);

    *more = 0;
    if (status) {
        return status;
    }
    status = find_anew(reader->txn, store, &anew);
    svl_store_read_end(reader);
    if (!status) {
        status = svl_commit_run(store, apply_anew, &anew, (apr_size_t)limit * ENTRY_WEIGHT);
        *more = !status;
    }
    return status == APR_NOTFOUND ? APR_SUCCESS : status;
}

typedef struct beyond_t {
    const char *stream;
    apr_uint64_t number;
    int begun;
} beyond_t;

static apr_status_t apply_beyond(svl_change_t *change, void *baton)
{
    beyond_t *beyond = baton;
    svl_change_stream_t *stream;
    apr_status_t status = svl_change_stream_named(change, beyond->stream, strlen(beyond->stream), &stream);

    beyond->begun = !status && is_own(change, stream->name) && svl_epoch_is_current(change, epoch_of(stream))
                    && svl_vector_highest(stream->numbers) < beyond->number;
    return !beyond->begun
               ? status
               : svl_epoch_supersede(change, apr_psprintf(change->pool,
                                                          "a peer knows %s up to number %" APR_UINT64_T_FMT
                                                          ", and this log gave out %" APR_UINT64_T_FMT " of them",
                                                          beyond->stream, beyond->number, svl_vector_highest(stream->numbers)));
}

apr_status_t svl_store_heard_of_own(svl_store_t *store, const char *stream, apr_uint64_t number, int *begun)
{
    beyond_t beyond = {.stream = stream, .number = number};
    const char *set;
    apr_size_t length = strlen(stream), set_length;
    apr_uint64_t last = 0;
    svl_store_reader_t *reader;
    apr_pool_t *p;
    apr_status_t status;

    *begun = 0;
    if (!svl_streams_is_name(stream, length, &set, &set_length)) {
        return APR_EINVAL;
    }
    status = svl_store_read_begin(&reader, store);
    if (status) {
        return status;
    }
    svl_pool_make(&p);
    status = svl_store_last_number(reader, apr_pstrmemdup(p, set, set_length), &last);
    apr_pool_destroy(p);
    svl_store_read_end(reader);
    if (!status && last < number) {
        status = svl_commit_run(store, apply_beyond, &beyond, 0);
        *begun = !status && beyond.begun;
    }
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "../core/fault.h"
#include "read.h"
#include "recent.h"
#include "running.h"
#include "streams.h"

/* All that appending it could stumble over, since it comes from where any module of the process may write. */
static int is_call(const svl_recent_call_t *call)
{
    const char *set;
    apr_size_t length;
    svl_records_call_t record;

    return svl_name_is_id(call->id, call->id_length) && svl_streams_is_name(call->stream, call->stream_length, &set, &length)
           && (call->state == SVL_RECORDS_RUN_NONE || call->state == SVL_RECORDS_RUN_TODO)
           && !svl_records_get_call(&record, call->value, call->value_length) && record.seq > 0
           && record.seq <= (apr_uint64_t)SVL_VECTOR_NUMBER_MAX;
}

apr_status_t svl_recent_parse(svl_recent_call_t *call, const unsigned char *record, apr_size_t length)
{
    apr_size_t route, names;

    if (length < SVL_RECENT_HEAD) {
        return SVL_EDAMAGED;
    }
    call->owner = svl_records_get64(record);
    call->arity = svl_records_get32(record + 8);
    call->state = record[SVL_RECENT_STATE] & ~SVL_RECENT_RELAYED;
    call->id_length = record[13];
    call->stream_length = record[14];
    route = (apr_size_t)record[15] << 8 | record[16];
    names = SVL_RECENT_HEAD + call->id_length + call->stream_length + route;
    if (length < names + SVL_RECORDS_CALL_SIZE || (route && record[names - 1])) {
        return SVL_EDAMAGED;
    }
    call->id = (const char *)record + SVL_RECENT_HEAD;
    call->stream = call->id + call->id_length;
    call->route = route && !(record[SVL_RECENT_STATE] & SVL_RECENT_RELAYED) ? call->stream + call->stream_length : NULL;
    call->value = record + names;
    call->value_length = length - names;
    return is_call(call) ? APR_SUCCESS : SVL_EDAMAGED;
}

apr_uint64_t svl_recent_oldest(const svl_recent_t *recent, apr_uint64_t after)
{
    apr_uint64_t oldest = 0;
    apr_uint32_t i;

    for (i = 0; i < SVL_RECENT_PLACES; ++i) {
        apr_uint64_t position = svl_running_get(&recent->words[i]);

        if (position > after && position % SVL_RECENT_PLACES == i && (!oldest || position < oldest)) {
            oldest = position;
        }
    }
    return oldest;
}

/* @return nonzero when it was there all the while; else it is committed */
static int copy_out(const svl_recent_t *recent, apr_uint64_t position, svl_recent_copy_t *copy)
{
    const apr_uint64_t *word = &recent->words[position % SVL_RECENT_PLACES];
    const svl_recent_body_t *body = &recent->bodies[position % SVL_RECENT_PLACES];
    apr_uint64_t length;

    if (svl_running_get(word) != position) {
        return 0;
    }
    length = svl_running_get(&body->length);
    copy->position = position;
    copy->length = length <= SVL_RECENT_BYTES ? length : 0;
    svl_running_read(copy->record, body->record, copy->length);
    return svl_running_get(word) == position;
}

apr_status_t svl_recent_copy(const svl_store_t *store, apr_uint64_t first, apr_uint64_t end, svl_recent_copy_t **list,
                             apr_uint32_t *count)
{
    const svl_recent_t *recent = store->recent;
    apr_uint64_t position, seen = recent ? svl_running_get(&recent->visible) : 0;
    apr_uint32_t most = 0;

    *list = NULL;
    *count = 0;
    if (recent && end > first + SVL_RECENT_PLACES) {
        first = svl_recent_oldest(recent, first > 0 ? first - 1 : 0);
        end = first && end > first + SVL_RECENT_PLACES ? first + SVL_RECENT_PLACES : end;
    }
    if (end > seen) {
        end = seen + 1;
    }
    for (position = first; recent && position && position < end; ++position) {
        most += svl_running_get(&recent->words[position % SVL_RECENT_PLACES]) == position;
    }
    if (!most) {
        return APR_SUCCESS;
    }
    *list = malloc(most * sizeof(**list));
    if (!*list) {
        return APR_ENOMEM;
    }
    for (position = first; position < end && *count < most; ++position) {
        *count += copy_out(recent, position, &(*list)[*count]) != 0;
    }
    return APR_SUCCESS;
}

/* What came while the copies were made may have been seen without what came just before it: up to there it is not seen. */
apr_status_t svl_recent_trim(svl_store_reader_t *reader)
{
    svl_records_state_t state = {.last = 0};
    apr_status_t status = reader->recent_count ? svl_read_state(reader, &state) : APR_SUCCESS;
    apr_uint32_t i = 0, end;

    while (i < reader->recent_count && reader->recent[i].position <= state.last) {
        ++i;
    }
    for (end = i; end < reader->recent_count && reader->recent[end].position == state.last + 1 + (end - i); ++end) {
        continue;
    }
    reader->recent_first = i;
    reader->recent_count = end;
    return status;
}

static apr_status_t parse(const svl_recent_copy_t *copy, svl_recent_call_t *call)
{
    return svl_recent_parse(call, copy->record, copy->length) ? APR_NOTFOUND : APR_SUCCESS;
}

apr_status_t svl_recent_find(const svl_store_reader_t *reader, const char *id, apr_size_t length, apr_uint64_t *position)
{
    svl_recent_call_t call;
    apr_uint32_t i;

    for (i = reader->recent_first; i < reader->recent_count; ++i) {
        if (!parse(&reader->recent[i], &call) && call.id_length == length && !memcmp(call.id, id, length)) {
            *position = reader->recent[i].position;
            return APR_SUCCESS;
        }
    }
    return APR_NOTFOUND;
}

/* @return whether an entry at @a position is what is asked for */
static int fits(apr_uint64_t position, int step, apr_uint64_t asked)
{
    return step > 0 ? position >= asked : step < 0 ? position < asked || !asked : position == asked;
}

apr_status_t svl_recent_get(const svl_store_reader_t *reader, int step, apr_uint64_t *position, MDB_val *value)
{
    apr_uint32_t left = reader->recent_count - reader->recent_first, i;
    svl_recent_call_t call;

    for (i = 0; i < left; ++i) {
        const svl_recent_copy_t *copy = &reader->recent[step < 0 ? reader->recent_count - 1 - i : reader->recent_first + i];

        if (fits(copy->position, step, *position) && !parse(copy, &call)) {
            *position = copy->position;
            value->mv_data = (void *)call.value;
            value->mv_size = call.value_length;
            return APR_SUCCESS;
        }
    }
    return APR_NOTFOUND;
}

void svl_recent_count(const svl_store_reader_t *reader, svl_store_counts_t *counts, apr_uint64_t *pending)
{
    svl_recent_call_t call;
    apr_uint32_t i;

    for (i = reader->recent_first; i < reader->recent_count; ++i) {
        if (!parse(&reader->recent[i], &call)) {
            ++counts->calls;
            counts->last = reader->recent[i].position;
            counts->work += call.state == SVL_RECORDS_RUN_TODO || call.route;
            *pending += call.state == SVL_RECORDS_RUN_TODO;
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "same.h"

#include <string.h>

#include "../core/fault.h"

static apr_status_t get_call(svl_change_t *change, apr_uint64_t position, svl_records_call_t *call)
{
    unsigned char key[SVL_RECORDS_POSITION_SIZE];
    MDB_val value;
    apr_status_t status;

    svl_records_put64(key, position);
    status = svl_change_get(change, SVL_TABLE_CALLS, key, sizeof(key), &value);
    return status ? status : svl_records_get_call(call, value.mv_data, value.mv_size);
}

/* Only for ids that came twice, so the parsing may cost. */
apr_status_t svl_same_content(svl_change_t *change, apr_uint64_t position, const svl_store_entry_t *entry, int *equal)
{
    svl_records_call_t known;
    svl_call_line_t *one, *other;
    apr_pool_t *p;
    apr_status_t status = get_call(change, position, &known);

    *equal = 0;
    if (status) {
        return status == APR_NOTFOUND ? SVL_EDAMAGED : status;
    }
    apr_pool_create(&p, change->pool);
    if (!svl_call_parse_line(&one, known.text, known.length, NULL, p)
        && !svl_call_parse_line(&other, entry->draft.head, entry->draft.head_length, NULL, p)) {
        *equal = svl_call_equal(one, other->function, other->args, other->kwargs, other->set);
    }
    apr_pool_destroy(p);
    return APR_SUCCESS;
}

/* Whether the record at `position` has the entry's id. */
static apr_status_t has_id(svl_change_t *change, apr_uint64_t position, const svl_store_entry_t *entry, int *same)
{
    svl_records_call_t held;
    svl_call_line_t *line;
    apr_pool_t *p;
    apr_status_t status = get_call(change, position, &held);

    *same = 0;
    if (status) {
        return status == APR_NOTFOUND ? SVL_EDAMAGED : status;
    }
    if (held.flags & SVL_RECORDS_CALL_REFUSED) {
        *same = held.length == strlen(entry->id) && !memcmp(held.text, entry->id, held.length);
        return APR_SUCCESS;
    }
    apr_pool_create(&p, change->pool);
    if (!svl_call_parse_line(&line, held.text, held.length, NULL, p)) {
        *same = !strcmp(line->id, entry->id);
    }
    apr_pool_destroy(p);
    return APR_SUCCESS;
}

apr_status_t svl_same_unrouted(svl_change_t *change, const svl_change_stream_t *stream, svl_store_entry_t *entry)
{
    static const unsigned char kinds = SVL_RECORDS_CALL_UNROUTED | SVL_RECORDS_CALL_ALIAS | SVL_RECORDS_CALL_REFUSED;
    unsigned char key[SVL_RECORDS_POSITION_SIZE], *bytes;
    svl_records_call_t held;
    apr_status_t status = get_call(change, entry->position, &held);

    if (status) {
        return status == APR_NOTFOUND ? SVL_EDAMAGED : status;
    }
    if (held.seq != entry->seq || held.stream != stream->number || (held.flags & kinds) != SVL_RECORDS_CALL_UNROUTED
        || !svl_change_room(change, SVL_RECORDS_CALL_SIZE + held.length)) {
        return APR_SUCCESS;
    }
    entry->unrouted = 1;
    held.flags &= (unsigned char)~SVL_RECORDS_CALL_UNROUTED;
    bytes = apr_palloc(change->pool, SVL_RECORDS_CALL_SIZE + held.length);
    svl_records_put_call(bytes, &held);
    memcpy(bytes + SVL_RECORDS_CALL_SIZE, held.text, held.length);
    svl_records_put64(key, entry->position);
    return svl_change_put(change, SVL_TABLE_CALLS, key, sizeof(key), bytes, SVL_RECORDS_CALL_SIZE + held.length);
}

apr_status_t svl_same_number(svl_change_t *change, const svl_change_stream_t *stream, svl_store_entry_t *entry)
{
    unsigned char number[SVL_RECORDS_NUMBER_SIZE];
    apr_uint64_t here, first = 0;
    int same;
    apr_status_t status;

    svl_records_put_number(number, stream->number, entry->seq);
    status = svl_change_position(change, SVL_TABLE_NUMBERS, number, sizeof(number), &here);
    if (status == APR_NOTFOUND) {
        entry->verdict = SVL_STORE_COVERED;
        return APR_SUCCESS;
    }
    if (!status) {
        status = svl_change_position(change, SVL_TABLE_IDS, entry->id, strlen(entry->id), &first);
        if (status == APR_NOTFOUND) {
            status = APR_SUCCESS;
        }
    }
    same = first == here;
    if (!status && !same) {
        status = has_id(change, here, entry, &same);
    }
    entry->verdict = same ? SVL_STORE_DUPLICATE : SVL_STORE_STREAM_CONFLICT;
    entry->position = same && first ? first : here;
    return status;
}

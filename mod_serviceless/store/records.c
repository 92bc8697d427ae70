/* SPDX-License-Identifier: Apache-2.0 */
#include "records.h"

#include <string.h>

#include "../core/fault.h"

#define OUTCOME_DROPPED 0x80

void svl_records_put_number(unsigned char key[SVL_RECORDS_NUMBER_SIZE], apr_uint32_t stream, apr_uint64_t seq)
{
    svl_records_put32(key, stream);
    svl_records_put64(key + 4, seq);
}

apr_size_t svl_records_put_alias(unsigned char key[SVL_RECORDS_ALIAS_SIZE], const char *id, apr_uint64_t position)
{
    apr_size_t length = strlen(id) + 1;

    memcpy(key, id, length);
    svl_records_put64(key + length, position);
    return length + SVL_RECORDS_POSITION_SIZE;
}

void svl_records_put_state(unsigned char *bytes, const svl_records_state_t *state)
{
    memcpy(bytes, state->epoch, SVL_NAME_EPOCH);
    svl_records_put64(bytes + 16, state->last);
    svl_records_put64(bytes + 24, state->owners);
    svl_records_put64(bytes + 32, state->pending);
    svl_records_put32(bytes + 40, state->streams);
}

apr_status_t svl_records_get_state(svl_records_state_t *state, const void *bytes, apr_size_t length)
{
    const unsigned char *b = bytes;

    if (length != SVL_RECORDS_STATE_SIZE) {
        return SVL_EDAMAGED;
    }
    memcpy(state->epoch, b, SVL_NAME_EPOCH);
    state->epoch[SVL_NAME_EPOCH] = '\0';
    state->last = svl_records_get64(b + 16);
    state->owners = svl_records_get64(b + 24);
    state->pending = svl_records_get64(b + 32);
    state->streams = svl_records_get32(b + 40);
    return APR_SUCCESS;
}

void svl_records_put_node(unsigned char *bytes, const svl_records_node_t *node)
{
    svl_records_put64(bytes, (apr_uint64_t)node->created);
    memcpy(bytes + 8, node->boot, SVL_RECORDS_BOOT);
    bytes[44] = node->flags;
}

apr_status_t svl_records_get_node(svl_records_node_t *node, const void *bytes, apr_size_t length)
{
    const unsigned char *b = bytes;

    if (length <= SVL_RECORDS_NODE_SIZE || length > SVL_RECORDS_NODE_SIZE + SVL_NAME_NODE_MAX) {
        return SVL_EDAMAGED;
    }
    node->created = (apr_time_t)svl_records_get64(b);
    memcpy(node->boot, b + 8, SVL_RECORDS_BOOT);
    node->flags = b[44];
    node->name = (const char *)b + SVL_RECORDS_NODE_SIZE;
    node->name_length = length - SVL_RECORDS_NODE_SIZE;
    return APR_SUCCESS;
}

void svl_records_put_call(unsigned char *bytes, const svl_records_call_t *call)
{
    svl_records_put64(bytes, (apr_uint64_t)call->arrived);
    svl_records_put64(bytes + 8, (apr_uint64_t)call->issued);
    svl_records_put64(bytes + 16, (apr_uint64_t)call->expires);
    svl_records_put64(bytes + 24, call->seq);
    svl_records_put32(bytes + 32, call->stream);
    bytes[36] = call->flags;
}

apr_status_t svl_records_get_call(svl_records_call_t *call, const void *bytes, apr_size_t length)
{
    const unsigned char *b = bytes;

    if (length < SVL_RECORDS_CALL_SIZE) {
        return SVL_EDAMAGED;
    }
    call->arrived = (apr_time_t)svl_records_get64(b);
    call->issued = (apr_int64_t)svl_records_get64(b + 8);
    call->expires = (apr_int64_t)svl_records_get64(b + 16);
    call->seq = svl_records_get64(b + 24);
    call->stream = svl_records_get32(b + 32);
    call->flags = b[36];
    call->text = (const char *)b + SVL_RECORDS_CALL_SIZE;
    call->length = length - SVL_RECORDS_CALL_SIZE;
    return APR_SUCCESS;
}

void svl_records_put_stream(unsigned char *bytes, const svl_records_stream_t *stream)
{
    svl_records_put32(bytes, stream->number);
    svl_records_put64(bytes + 4, stream->pruned);
    svl_records_put64(bytes + 12, (apr_uint64_t)stream->latest);
}

apr_status_t svl_records_get_stream(svl_records_stream_t *stream, const void *bytes, apr_size_t length)
{
    const unsigned char *b = bytes;

    if (length < SVL_RECORDS_STREAM_SIZE) {
        return SVL_EDAMAGED;
    }
    stream->number = svl_records_get32(b);
    stream->pruned = svl_records_get64(b + 4);
    stream->latest = (apr_int64_t)svl_records_get64(b + 12);
    stream->numbers = b + SVL_RECORDS_STREAM_SIZE;
    stream->length = length - SVL_RECORDS_STREAM_SIZE;
    return APR_SUCCESS;
}

void svl_records_put_work(unsigned char *bytes, const svl_records_work_t *work)
{
    svl_records_put64(bytes, work->owner);
    svl_records_put64(bytes + 8, (apr_uint64_t)work->accepted);
    svl_records_put32(bytes + 16, work->arity);
    svl_records_put32(bytes + 20, work->count);
    svl_records_put32(bytes + 24, work->left);
    bytes[28] = work->flags;
    memcpy(bytes + SVL_RECORDS_WORK_SIZE, work->states, work->count);
    if (work->route_length) {
        memcpy(bytes + SVL_RECORDS_WORK_SIZE + work->count, work->route, work->route_length);
    }
}

apr_status_t svl_records_get_work(svl_records_work_t *work, const void *bytes, apr_size_t length)
{
    const unsigned char *b = bytes;

    if (length < SVL_RECORDS_WORK_SIZE) {
        return SVL_EDAMAGED;
    }
    work->owner = svl_records_get64(b);
    work->accepted = (apr_time_t)svl_records_get64(b + 8);
    work->arity = svl_records_get32(b + 16);
    work->count = svl_records_get32(b + 20);
    work->left = svl_records_get32(b + 24);
    work->flags = b[28];
    if (work->count > length - SVL_RECORDS_WORK_SIZE || work->left > work->count) {
        return SVL_EDAMAGED;
    }
    work->states = b + SVL_RECORDS_WORK_SIZE;
    work->route = (const char *)work->states + work->count;
    work->route_length = length - SVL_RECORDS_WORK_SIZE - work->count;
    return APR_SUCCESS;
}

void svl_records_put_outcome(unsigned char *bytes, const svl_records_outcome_t *outcome)
{
    bytes[0] = outcome->outcome | (outcome->dropped ? OUTCOME_DROPPED : 0);
    svl_records_put64(bytes + 1, (apr_uint64_t)outcome->micros);
    svl_records_put64(bytes + 9, (apr_uint64_t)outcome->ended);
}

apr_status_t svl_records_get_outcome(svl_records_outcome_t *outcome, const void *bytes, apr_size_t length)
{
    const unsigned char *b = bytes;

    if (length < SVL_RECORDS_OUTCOME_SIZE || (b[0] & ~OUTCOME_DROPPED) >= SVL_OUTCOME_COUNT) {
        return SVL_EDAMAGED;
    }
    outcome->outcome = b[0] & ~OUTCOME_DROPPED;
    outcome->dropped = (b[0] & OUTCOME_DROPPED) != 0;
    outcome->micros = (apr_int64_t)svl_records_get64(b + 1);
    outcome->ended = (apr_time_t)svl_records_get64(b + 9);
    outcome->length = length - SVL_RECORDS_OUTCOME_SIZE;
    outcome->text = outcome->length ? (const char *)b + SVL_RECORDS_OUTCOME_SIZE : NULL;
    return APR_SUCCESS;
}

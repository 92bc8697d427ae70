/* SPDX-License-Identifier: Apache-2.0 */
#include "receive.h"

#include <string.h>

#include <apr_strings.h>
#include <httpd.h>

#include "await.h"
#include "run.h"

/* What the log has of the call with this id: the first one, should it have come under several numbers. */
static apr_status_t find(svl_runtime_t *runtime, const char *id, apr_uint64_t *position)
{
    svl_store_reader_t *reader;
    apr_status_t rv = svl_store_read_begin(&reader, runtime->store);
    if (rv == APR_SUCCESS) {
        rv = svl_store_find(reader, id, position);
        svl_store_read_end(reader);
    }
    return rv;
}

/* @param until monotonic; 0: not to be waited for, because too many wait already */
static void tell(const svl_exchange_t *exchange, const svl_owed_t *owed, apr_time_t until, svl_outcome_t *outcome)
{
    svl_runtime_t *runtime = exchange->runtime;
    const int open = runtime->guarded && exchange->r; /* the MPM's signals are not for the thread of a link */
    apr_pool_t *p = exchange->pool;
    svl_await_outcome(runtime, owed->position, owed->function ? until : 0, open, outcome, p);
    if (outcome->outcome != SVL_OUTCOME_PENDING) {
        return;
    }
    outcome->detail = until ? svl_await_detail(runtime, owed->function, owed->position, p)
                            : "accepted and queued; too many calls wait here for their outcomes to wait for this one";
    if (!owed->function) {
        outcome->outcome = SVL_OUTCOME_UNKNOWN_FUNCTION;
        outcome->detail = "no module registers it here; the call waits until one does, or its ttl is over";
    }
}

static void write_outcome(const svl_exchange_t *exchange, svl_outcome_t *outcome, svl_receive_answer_t *answer)
{
    outcome->node = exchange->node->name;
    *answer = (svl_receive_answer_t){.status = HTTP_OK, .type = "application/json"};
    answer->body = svl_outcome_write(outcome, exchange->pool, &answer->length);
}

/* A call that is not new. */
static apr_status_t look_up(const svl_exchange_t *exchange, const svl_message_line_t *line, svl_owed_t *owed)
{
    svl_call_line_t *call;
    apr_status_t rv = svl_call_parse_line(&call, line->text, line->length, NULL, exchange->pool);
    if (rv == APR_SUCCESS) {
        owed->function = svl_registry_find(exchange->node, call->function);
        rv = find(exchange->runtime, call->id, &owed->position);
    }
    return rv;
}

/* @return APR_SUCCESS with @a owed; APR_NOTFOUND: nothing is to be waited for, and @a outcome says why */
static apr_status_t judge(const svl_exchange_t *exchange, const svl_message_line_t *line, const svl_received_t *received,
                          svl_owed_t *owed, svl_outcome_t *outcome)
{
    const apr_array_header_t *refused = received->ack.calls;
    apr_status_t rv = APR_SUCCESS;
    *outcome = (svl_outcome_t){.outcome = SVL_OUTCOME_UNKNOWN, .micros = -1};
    if (refused && refused->nelts) {
        outcome->outcome = SVL_OUTCOME_REFUSED;
        outcome->detail = APR_ARRAY_IDX(refused, 0, svl_message_refusal_t).detail;
        return APR_NOTFOUND;
    }
    owed->position = received->position;
    owed->function = received->function;
    if (!owed->position) {
        rv = look_up(exchange, line, owed);
    }
    if (rv != APR_SUCCESS) {
        outcome->detail = rv == APR_NOTFOUND   ? "the log does not hold the call any more"
                          : rv == SVL_EREFUSED ? "its line is not that of a call"
                                               : "the log could not be read";
        rv = APR_NOTFOUND;
    }
    return rv;
}

apr_status_t svl_receive_outcome(const svl_exchange_t *exchange, const svl_message_t *message, svl_receive_answer_t *answer,
                                 svl_fault_t *fault)
{
    const svl_message_group_t *group = &APR_ARRAY_IDX(message->groups, 0, svl_message_group_t);
    svl_owed_t owed = {.until = svl_transport_monotonic() + apr_time_from_msec(group->timeout_ms)};
    svl_received_t received;
    svl_outcome_t outcome;
    apr_status_t rv = svl_receive_calls(exchange->runtime, exchange->r, exchange->id, message, &received, exchange->turn, fault,
                                        exchange->pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (judge(exchange, &APR_ARRAY_IDX(group->calls, 0, svl_message_line_t), &received, &owed, &outcome) != APR_SUCCESS) {
        write_outcome(exchange, &outcome, answer);
        return APR_SUCCESS;
    }
    if (exchange->turn && *exchange->turn) {
        answer->owed = owed;
        return APR_INCOMPLETE;
    }
    svl_receive_owed(exchange, &owed, answer);
    return APR_SUCCESS;
}

void svl_receive_owed(const svl_exchange_t *exchange, const svl_owed_t *owed, svl_receive_answer_t *answer)
{
    svl_outcome_t outcome;
    int waits = svl_await_enter(exchange->runtime);
    tell(exchange, owed, waits ? owed->until : 0, &outcome);
    if (waits) {
        svl_await_leave(exchange->runtime);
    }
    write_outcome(exchange, &outcome, answer);
}

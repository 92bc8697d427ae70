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

/* @param until 0: not to be waited for, because too many wait already */
static void tell_accepted(const svl_exchange_t *exchange, const svl_call_line_t *call, apr_time_t until, svl_outcome_t *outcome,
                          apr_pool_t *p)
{
    svl_runtime_t *runtime = exchange->runtime;
    const int open = runtime->guarded && exchange->r; /* the MPM's signals are not for the thread of a link */
    const svl_function_t *function = svl_registry_find(runtime->node, call->function);
    apr_uint64_t position;
    apr_status_t rv = find(runtime, call->id, &position);
    *outcome = (svl_outcome_t){.outcome = SVL_OUTCOME_UNKNOWN, .micros = -1};
    if (rv != APR_SUCCESS) {
        outcome->detail = rv == APR_NOTFOUND ? "the log does not hold the call any more" : "the log could not be read";
        return;
    }
    svl_await_outcome(runtime, position, function ? until : 0, open, outcome, p);
    if (outcome->outcome != SVL_OUTCOME_PENDING) {
        return;
    }
    outcome->detail = until ? svl_await_detail(runtime, function, position, p)
                            : "accepted and queued; too many calls wait here for their outcomes to wait for this one";
    if (!function) {
        outcome->outcome = SVL_OUTCOME_UNKNOWN_FUNCTION;
        outcome->detail = "no module registers it here; the call waits until one does, or its ttl is over";
    }
}

static void tell(const svl_exchange_t *exchange, const svl_message_line_t *line, const svl_message_ack_t *ack, apr_time_t until,
                 svl_outcome_t *outcome)
{
    apr_pool_t *p = exchange->pool;
    svl_call_line_t *call = NULL;
    if (ack->calls && ack->calls->nelts) {
        const svl_message_refusal_t *refusal = &APR_ARRAY_IDX(ack->calls, 0, svl_message_refusal_t);
        *outcome = (svl_outcome_t){.outcome = SVL_OUTCOME_REFUSED, .detail = refusal->detail, .micros = -1};
    }
    else if (svl_call_parse_line(&call, line->text, line->length, NULL, p) == APR_SUCCESS) {
        tell_accepted(exchange, call, until, outcome, p);
    }
    outcome->node = exchange->node->name;
}

apr_status_t svl_receive_outcome(const svl_exchange_t *exchange, const svl_message_t *message, svl_receive_answer_t *answer,
                                 svl_fault_t *fault)
{
    const svl_message_group_t *group = &APR_ARRAY_IDX(message->groups, 0, svl_message_group_t);
    apr_time_t until = svl_transport_monotonic() + apr_time_from_msec(group->timeout_ms);
    svl_outcome_t outcome = {.outcome = SVL_OUTCOME_UNKNOWN, .micros = -1};
    svl_message_ack_t ack;
    apr_uint32_t fresh;
    int waits = svl_await_enter(exchange->runtime);
    apr_status_t rv =
        svl_receive_calls(exchange->runtime, exchange->r, exchange->id, message, &ack, &fresh, NULL, fault, exchange->pool);
    if (rv == APR_SUCCESS) {
        tell(exchange, &APR_ARRAY_IDX(group->calls, 0, svl_message_line_t), &ack, waits ? until : 0, &outcome);
        *answer = (svl_receive_answer_t){.status = HTTP_OK, .type = "application/json"};
        answer->body = svl_outcome_write(&outcome, exchange->pool, &answer->length);
    }
    if (waits) {
        svl_await_leave(exchange->runtime);
    }
    return rv;
}

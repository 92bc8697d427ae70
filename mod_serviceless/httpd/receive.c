/* SPDX-License-Identifier: Apache-2.0 */
#include "receive_private.h"

#include <string.h>

#include <apr_strings.h>
#include <http_log.h>

#include "children.h"
#include "invoke.h"
#include "recover.h"
#include "retain.h"
#include "run.h"
#include "sync.h"

#define WAITING_LOG_EVERY 60 /* seconds */

APLOG_USE_MODULE(serviceless);

/* A call of a function that is not loaded waits in the log until it is, or expires. */
static void note_waiting(const svl_receipt_t *receipt, const svl_store_entry_t *entry)
{
    svl_node_t *node = receipt->node;
    apr_int64_t now = apr_time_sec(receipt->now);
    apr_int64_t before = SVL_READ(node->shared->waiting_logged);
    if ((now - before >= WAITING_LOG_EVERY || now < before)
        && __atomic_compare_exchange_n(&node->shared->waiting_logged, &before, now, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, node->server,
                     SVLNO(0340) "call %s from %s, and perhaps others, waits for a module that registers its function",
                     entry->id, entry->origin);
    }
}

static void refuse_number(svl_receipt_t *receipt, const svl_store_entry_t *entry, svl_reason_e reason, const char *words)
{
    svl_fault_t fault;
    if (!entry->refused) { /* else for another reason already */
        svl_fault_set(&fault, reason, receipt->pool, "number %" APR_UINT64_T_FMT " of %s/%s/%s %s", entry->seq, entry->origin,
                      entry->set, entry->epoch, words);
        svl_receipt_refuse(receipt, entry->id, &fault);
    }
}

/* Those of one function that follow one another are queued together. */
static void flush_runs(svl_receipt_t *receipt)
{
    if (receipt->runs->nelts) {
        svl_runs_push_all(receipt->runtime->runs, receipt->function, (const apr_uint64_t *)receipt->runs->elts,
                          receipt->runs->nelts, receipt->turn);
        apr_array_clear(receipt->runs);
    }
}

static void queue_run(svl_receipt_t *receipt, const svl_function_t *function, apr_uint64_t position)
{
    if (receipt->function != function) {
        flush_runs(receipt);
        receipt->function = function;
    }
    APR_ARRAY_PUSH(receipt->runs, apr_uint64_t) = position;
}

/* What the log said of an entry, for the answer; new ones are queued to run. */
static void settle_entry(svl_receipt_t *receipt, svl_store_entry_t *entry, const svl_function_t *function)
{
    svl_fault_t fault;
    switch (entry->verdict) {
    case SVL_STORE_NEW:
        receipt->out.fresh++;
        if (!entry->refused) {
            receipt->out.ack.accepted++;
            receipt->out.position = entry->position;
            receipt->out.function = function;
        }
        if (entry->run && !function) {
            note_waiting(receipt, entry);
        }
        else if (entry->run && svl_store_may_have_run(receipt->runtime->store, entry->issued)) {
            receipt->quarantined += (apr_uint32_t)svl_recover_refilled(receipt->runtime, function, entry->position);
        }
        else if (entry->every) {
            svl_children_took(receipt->runtime, function, entry->position, 0);
        }
        else if (entry->run) {
            queue_run(receipt, function, entry->position);
        }
        return;
    case SVL_STORE_CONFLICT:
        receipt->out.fresh++;
        svl_fault_set(&fault, SVL_REASON_CONFLICT, receipt->pool, "id %s was used for another call", entry->id);
        svl_receipt_refuse(receipt, entry->id, &fault);
        return;
    case SVL_STORE_STREAM_CONFLICT:
        svl_sync_show_origin(receipt->runtime, entry->origin, entry->position);
        refuse_number(receipt, entry, SVL_REASON_STREAM_CONFLICT, "belongs to another id");
        return;
    case SVL_STORE_SCATTERED:
        refuse_number(receipt, entry, SVL_REASON_BUSY, "would leave too many gaps: those below it have to come first");
        return;
    case SVL_STORE_ALIAS:
        receipt->out.fresh++;
        receipt->out.ack.duplicates++;
        return;
    case SVL_STORE_DUPLICATE:
    case SVL_STORE_COVERED:
        receipt->out.ack.duplicates += !entry->refused;
        return;
    }
}

/* Runs of consecutive positions together. */
static void pass_unrouted(const svl_receipt_t *receipt, const svl_store_batch_t *batch, const svl_route_t *route)
{
    apr_uint64_t first = 0;
    apr_uint32_t count = 0;
    for (apr_uint32_t i = 0; i <= batch->count; i++) {
        const svl_store_entry_t *entry = i < batch->count && batch->entries[i].unrouted ? &batch->entries[i] : NULL;
        if (count && (!entry || entry->position != first + count)) {
            svl_relay_pass(receipt->runtime->relay, first, count, route, batch->arity);
            count = 0;
        }
        if (entry) {
            first = count++ ? first : entry->position;
        }
    }
}

static void settle(svl_receipt_t *receipt, int groups)
{
    svl_runtime_t *runtime = receipt->runtime;
    const svl_function_t **function = receipt->functions;
    receipt->runs = apr_array_make(receipt->pool, (int)receipt->entries, sizeof(apr_uint64_t));
    for (int g = 0; g < groups; g++) {
        svl_store_batch_t *batch = &receipt->batches[g];
        /* A call is handed on once: duplicates are not, but with the first route that comes. */
        if (batch->route && batch->appended) {
            svl_relay_push(runtime->relay, batch->first, batch->appended, &receipt->routes[g], NULL, batch->arity, 1);
        }
        pass_unrouted(receipt, batch, &receipt->routes[g]);
        for (apr_uint32_t i = 0; i < batch->count; i++) {
            settle_entry(receipt, &batch->entries[i], *function++);
        }
        flush_runs(receipt);
    }
    svl_recover_tell(runtime, receipt->quarantined);
}

/* Who sent it, and what is learnt of that peer by the way. */
static apr_status_t check_message(const svl_exchange_t *exchange, const svl_message_t *message, apr_uint32_t *from,
                                  svl_fault_t *fault)
{
    const svl_node_t *node = exchange->node;
    apr_pool_t *p = exchange->pool;
    apr_time_t now = apr_time_now();
    *from = svl_receipt_member(node, message->from);
    if (*from == node->count || *from == node->self) {
        return svl_fault_set(fault, SVL_REASON_MESSAGE, p, "from %s, which is not another node of this fleet", message->from);
    }
    svl_peer_heard(node->peers[*from], now);
    svl_peer_signed(node->peers[*from], apr_atoi64(exchange->headers.timestamp), now);
    return APR_SUCCESS;
}

static int has_room(const svl_receipt_t *receipt)
{
    for (apr_uint32_t i = 0; i < receipt->entries; i++) {
        if (receipt->functions[i] && !svl_runs_room(receipt->runtime->runs, receipt->functions[i])) {
            return 0;
        }
    }
    return 1;
}

/* @return APR_SUCCESS, or why the log takes no call */
static apr_status_t check_log(svl_store_t *store)
{
    svl_store_reader_t *reader;
    apr_status_t rv = svl_store_read_range(&reader, store, 1, 1);
    if (rv == APR_SUCCESS) {
        rv = svl_store_is_full(reader) ? SVL_EFULL : APR_SUCCESS;
        svl_store_read_end(reader);
    }
    return rv;
}

apr_status_t svl_receive_calls(svl_runtime_t *runtime, const request_rec *r, const char *id, const svl_message_t *message,
                               svl_received_t *received, int *turn, svl_fault_t *fault, apr_pool_t *p)
{
    apr_time_t now = apr_time_now();
    svl_receipt_t receipt = {
        .runtime = runtime,
        .node = runtime->node,
        .r = r,
        .id = id,
        .pool = p,
        .turn = turn,
        .now = svl_retain_stamp(runtime->node, now),
        .since = svl_retain_since(runtime->node, now),
        .out = {.ack = {.from = runtime->node->name}},
    };
    apr_status_t rv;
    svl_receipt_take(&receipt, message);
    if (!has_room(&receipt)) {
        return svl_fault_set(fault, SVL_REASON_BUSY, p, "too many calls wait to run");
    }
    rv = svl_receipt_losses(&receipt);
    if (rv != APR_SUCCESS) {
        return svl_invoke_store_fault(rv, receipt.node, fault, p);
    }
    if (receipt.entries) {
        if (receipt.every) {
            svl_children_expect(runtime);
        }
        rv = svl_store_accept(runtime->store, receipt.batches, message->groups->nelts, receipt.now);
        if (rv == APR_SUCCESS) {
            settle(&receipt, message->groups->nelts);
        }
        if (receipt.every) {
            svl_children_expected(runtime);
        }
        if (rv != APR_SUCCESS) {
            return svl_invoke_store_fault(rv, receipt.node, fault, p);
        }
    }
    else { /* A probe: this node lives, but perhaps takes no call. */
        apr_status_t rv = check_log(runtime->store);
        if (rv != APR_SUCCESS) {
            return svl_invoke_store_fault(rv, receipt.node, fault, p);
        }
    }
    *received = receipt.out;
    return APR_SUCCESS;
}

apr_status_t svl_receive(const svl_exchange_t *exchange, svl_receive_answer_t *answer, svl_fault_t *fault)
{
    apr_pool_t *p = exchange->pool;
    svl_message_t *message;
    svl_received_t received;
    apr_uint32_t from;
    apr_status_t rv;
    if (!exchange->key->relay) {
        return svl_fault_set(fault, SVL_REASON_PERMISSION, p, "key %s may not relay", exchange->key->id);
    }
    rv = svl_message_parse(&message, exchange->body, exchange->length, fault, p);
    if (rv == APR_SUCCESS) {
        rv = check_message(exchange, message, &from, fault);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (message->kind == SVL_MESSAGE_SYNC) {
        return svl_sync_answer(exchange->runtime, message, from, answer, fault, p);
    }
    if (APR_ARRAY_IDX(message->groups, 0, svl_message_group_t).outcome) {
        return svl_receive_outcome(exchange, message, answer, fault);
    }
    rv = svl_receive_calls(exchange->runtime, exchange->r, exchange->id, message, &received, exchange->turn, fault, p);
    if (rv == APR_SUCCESS) {
        *answer = (svl_receive_answer_t){.status = HTTP_ACCEPTED, .type = "application/json"};
        answer->body = svl_message_write_ack(&received.ack, p, &answer->length);
    }
    return rv;
}

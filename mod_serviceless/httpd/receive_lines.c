/* SPDX-License-Identifier: Apache-2.0 */
#include "receive_private.h"

#include <string.h>

#include <apr_strings.h>

#include "loss.h"

apr_uint32_t svl_receipt_member(const svl_node_t *node, const char *name)
{
    const svl_member_t *member = apr_hash_get(node->names, name, APR_HASH_KEY_STRING);
    return member ? (apr_uint32_t)(member - node->members) : node->count;
}

void svl_receipt_refuse(svl_receipt_t *receipt, const char *id, svl_fault_t *fault)
{
    if (!receipt->out.ack.calls) {
        receipt->out.ack.calls = apr_array_make(receipt->pool, 4, sizeof(svl_message_refusal_t));
    }
    APR_ARRAY_PUSH(receipt->out.ack.calls, svl_message_refusal_t) = (svl_message_refusal_t){
        id, svl_fault_http(fault->reason), fault->detail ? fault->detail : svl_fault_title(fault->reason)};
    svl_reply_note(receipt->node, receipt->r, id, fault);
}

/* A line of a set that lacks this node is not for it, unless it is its own that comes back: its number stays uncovered, whatever else is
 * wrong with the line.  @param run receives whether the node is in the set */
static apr_status_t check_set(const svl_receipt_t *receipt, const svl_call_line_t *call, int *run, svl_fault_t *fault)
{
    const svl_node_t *node = receipt->node;
    const svl_set_t *set = apr_hash_get(node->sets, call->set, APR_HASH_KEY_STRING);
    *run = set && set->has_self;
    if (!set || (!set->has_self && strcmp(call->origin, node->name) != 0)) {
        return svl_fault_set(fault, SVL_REASON_NOT_IN_SET, receipt->pool, "node %s is not in set %s", node->name, call->set);
    }
    return APR_SUCCESS;
}

/* A line that is past the retention: whether it ran here is not known any more, unless its number is covered still. */
static void lose_line(svl_receipt_t *receipt, const svl_call_line_t *call)
{
    const char *stream = apr_pstrcat(receipt->pool, call->origin, "/", call->set, "/", call->epoch, NULL);
    if (!receipt->losses) {
        receipt->losses = apr_array_make(receipt->pool, 4, sizeof(svl_store_loss_t));
        receipt->lost = apr_array_make(receipt->pool, 4, sizeof(const char *));
    }
    APR_ARRAY_PUSH(receipt->losses, svl_store_loss_t) = (svl_store_loss_t){stream, call->seq, call->seq, 0};
    APR_ARRAY_PUSH(receipt->lost, const char *) = call->id;
}

apr_status_t svl_receipt_losses(svl_receipt_t *receipt)
{
    svl_store_loss_t *losses = receipt->losses ? (svl_store_loss_t *)receipt->losses->elts : NULL;
    apr_uint64_t missed;
    apr_status_t rv =
        losses ? svl_loss_give_up(receipt->runtime, losses, receipt->losses->nelts, 0, &missed, receipt->pool) : 0;
    if (!losses || (rv != APR_SUCCESS && rv != SVL_EREFUSED)) {
        return rv;
    }
    for (int i = 0; i < receipt->losses->nelts; i++) {
        svl_fault_t fault;
        if (rv == APR_SUCCESS && !losses[i].missed) {
            receipt->out.ack.duplicates++;
            continue;
        }
        receipt->out.fresh += rv == APR_SUCCESS;
        svl_fault_set(&fault, SVL_REASON_TOO_OLD, receipt->pool, NULL);
        svl_receipt_refuse(receipt, APR_ARRAY_IDX(receipt->lost, i, const char *), &fault);
    }
    return APR_SUCCESS;
}

/* Makes an entry of a line.  A line without an id is named by its place, in the grammar of ids: a sender takes no acknowledgement
 * that holds anything else.  @return 0: the line is refused and its number stays uncovered, or it is too old */
static int take_line(svl_receipt_t *receipt, const svl_message_line_t *line, int number, svl_store_entry_t *entry,
                     const svl_function_t **function)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_call_line_t *call;
    int run;
    apr_status_t rv = svl_call_check_line(&call, line->text, line->length, &fault, receipt->pool);
    if (!call) {
        svl_receipt_refuse(receipt, apr_psprintf(receipt->pool, "line-%d", number), &fault);
        return 0;
    }
    if (check_set(receipt, call, &run, &fault) != APR_SUCCESS) {
        svl_receipt_refuse(receipt, call->id, &fault);
        return 0;
    }
    if (rv == APR_SUCCESS && call->issued < apr_time_as_msec(receipt->since)) {
        lose_line(receipt, call);
        return 0;
    }
    if (rv != APR_SUCCESS) {
        svl_receipt_refuse(receipt, call->id, &fault);
    }
    *entry = (svl_store_entry_t){
        .id = call->id,
        .origin = call->origin,
        .set = call->set,
        .epoch = call->epoch,
        .seq = call->seq,
        .issued = call->issued,
        .ttl = call->ttl,
        .draft = {.head = line->text, .head_length = line->length},
        .run = rv == APR_SUCCESS && run,
        .refused = rv != APR_SUCCESS,
    };
    *function = rv == APR_SUCCESS ? svl_registry_find(receipt->node, call->function) : NULL;
    entry->every = entry->run && *function && (*function)->scope == SERVICELESS_SCOPE_CHILD;
    receipt->every |= entry->every;
    return 1;
}

static void refuse_node(svl_receipt_t *receipt, const char *name)
{
    svl_fault_t fault;
    if (!receipt->out.ack.nodes) {
        receipt->out.ack.nodes = apr_array_make(receipt->pool, 4, sizeof(const char *));
    }
    APR_ARRAY_PUSH(receipt->out.ack.nodes, const char *) = name;
    svl_fault_set(&fault, SVL_REASON_MESSAGE, receipt->pool, "a route names %s, which is not another node of this fleet", name);
    svl_reply_note(receipt->node, receipt->r, receipt->id, &fault);
}

/* Names to indexes, each looked up in the own configuration: a message never says where to connect. */
static void take_route(svl_receipt_t *receipt, const svl_message_group_t *group, svl_route_t *route, svl_store_batch_t *batch)
{
    apr_array_header_t *names = apr_array_make(receipt->pool, group->route->nelts, sizeof(const char *));
    apr_uint32_t *nodes = apr_palloc(receipt->pool, (group->route->nelts + 1) * sizeof(*nodes));
    for (int i = 0; i < group->route->nelts; i++) {
        const char *name = APR_ARRAY_IDX(group->route, i, const char *);
        apr_uint32_t index = svl_receipt_member(receipt->node, name);
        if (index == receipt->node->count || index == receipt->node->self) {
            refuse_node(receipt, name);
            continue;
        }
        APR_ARRAY_PUSH(names, const char *) = name;
        nodes[route->count++] = index;
    }
    for (int i = 0; group->bad && i < group->bad->nelts; i++) {
        refuse_node(receipt, APR_ARRAY_IDX(group->bad, i, const char *));
    }
    route->nodes = nodes;
    batch->route = route->count ? apr_array_pstrcat(receipt->pool, names, ' ') : NULL;
    batch->arity = group->arity;
}

void svl_receipt_take(svl_receipt_t *receipt, const svl_message_t *message)
{
    apr_uint32_t lines = 0;
    svl_store_entry_t *entries;
    for (int g = 0; g < message->groups->nelts; g++) {
        lines += APR_ARRAY_IDX(message->groups, g, svl_message_group_t).calls->nelts;
    }
    entries = apr_palloc(receipt->pool, (lines + 1) * sizeof(*entries));
    receipt->functions = apr_palloc(receipt->pool, (lines + 1) * sizeof(*receipt->functions));
    receipt->batches = apr_pcalloc(receipt->pool, message->groups->nelts * sizeof(*receipt->batches));
    receipt->routes = apr_pcalloc(receipt->pool, message->groups->nelts * sizeof(*receipt->routes));
    lines = 0;
    for (int g = 0; g < message->groups->nelts; g++) {
        const svl_message_group_t *group = &APR_ARRAY_IDX(message->groups, g, svl_message_group_t);
        svl_store_batch_t *batch = &receipt->batches[g];
        take_route(receipt, group, &receipt->routes[g], batch);
        batch->entries = entries + receipt->entries;
        for (int i = 0; i < group->calls->nelts; i++) {
            const svl_message_line_t *line = &APR_ARRAY_IDX(group->calls, i, svl_message_line_t);
            if (take_line(receipt, line, (int)++lines, &batch->entries[batch->count], &receipt->functions[receipt->entries])) {
                batch->count++;
                receipt->entries++;
            }
        }
    }
}

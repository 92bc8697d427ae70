/* SPDX-License-Identifier: Apache-2.0 */
#include "invoke.h"

#include <string.h>

#include <apr_strings.h>
#include <http_log.h>

#include "../core/guard.h"
#include "await.h"
#include "children.h"
#include "retain.h"

APLOG_USE_MODULE(serviceless);

apr_status_t svl_invoke_store_fault(apr_status_t rv, const svl_node_t *node, svl_fault_t *fault, apr_pool_t *p)
{
    char text[160];
    if (rv == SVL_EFULL) {
        return svl_fault_set(fault, SVL_REASON_STORE_FULL, p,
                             "the log has no room left (ServicelessStoreSize %" APR_UINT64_T_FMT " bytes)", node->store_size);
    }
    if (rv == SVL_EDAMAGED) { /* which is logged once */
        return svl_fault_set(fault, SVL_REASON_STORE_FAILED, p,
                             "the log is damaged: the next start of the server sets it aside");
    }
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, node->server, SVLNO(0140) "node %s: the log failed: %s", node->name,
                 svl_fault_strerror(rv, text, sizeof(text)));
    return svl_fault_set(fault, SVL_REASON_STORE_FAILED, p, NULL);
}

static int key_allowed(const svl_function_t *function, const svl_key_t *key)
{
    if (!key) {
        return 1;
    }
    if (!svl_ring_may_call(key, function->name)) {
        return 0;
    }
    for (int i = 0; function->allow && i < function->allow->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(function->allow, i, const char *), key->id) == 0) {
            return 1;
        }
    }
    return !function->allow;
}

static apr_status_t plan_call(svl_invoke_plan_t *plan, const svl_node_t *node, const svl_call_request_t *request,
                              const svl_key_t *key, svl_fault_t *fault, apr_pool_t *p)
{
    plan->function = svl_registry_find(node, request->function);
    /* A key that may not call it is not told whether it exists. */
    if (key && !(plan->function ? key_allowed(plan->function, key) : svl_ring_may_call(key, request->function))) {
        return svl_fault_set(fault, SVL_REASON_PERMISSION, p, "key %s may not call %s", key->id, request->function);
    }
    if (!plan->function) {
        return svl_fault_set(fault, SVL_REASON_UNKNOWN_FUNCTION, p, "node %s has no function %s", node->name,
                             request->function);
    }
    plan->set = request->nodes ? apr_hash_get(node->sets, request->nodes, APR_HASH_KEY_STRING) : plan->function->set;
    if (!plan->set) {
        return svl_fault_set(fault, SVL_REASON_UNKNOWN_SET, p, "node %s has no node set %s", node->name, request->nodes);
    }
    plan->ttl = request->ttl ? request->ttl : apr_time_sec(node->retention);
    if (plan->ttl > apr_time_sec(node->retention)) {
        return svl_fault_set(fault, SVL_REASON_CALL, p,
                             "ttl %" APR_INT64_T_FMT " is longer than the retention, %" APR_TIME_T_FMT " seconds", plan->ttl,
                             apr_time_sec(node->retention));
    }
    plan->arity = request->reply == SVL_REPLY_ALL ? SVL_ROUTE_BROADCAST
                  : request->has_mode             ? request->arity
                                                  : plan->function->arity;
    plan->now = svl_retain_stamp(node, apr_time_now());
    return APR_SUCCESS;
}

/* The id is known: its first content decides whether this is the same call again. */
static apr_status_t answer_duplicate(svl_runtime_t *runtime, const svl_call_request_t *request, svl_invoke_plan_t *plan,
                                     svl_answer_t *answer, svl_fault_t *fault, apr_pool_t *p)
{
    const svl_set_t *set;
    svl_store_reader_t *reader;
    svl_store_record_t record;
    svl_call_line_t *line = NULL;
    apr_status_t rv = svl_store_read_range(&reader, runtime->store, plan->entry.position, plan->entry.position + 1);
    if (rv != APR_SUCCESS) {
        return svl_invoke_store_fault(rv, runtime->node, fault, p);
    }
    rv = svl_store_get(reader, plan->entry.position, 1, &record);
    if (rv == APR_SUCCESS && record.line) {
        /* The parsed line must outlive the reader. */
        svl_call_parse_line(&line, apr_pstrmemdup(p, record.line, record.length), record.length, NULL, p);
        answer->outcome = record.outcome;
        answer->note = record.dropped ? "the result was not kept: the log was full" : NULL;
        answer->text = record.text ? apr_pstrmemdup(p, record.text, record.text_length) : NULL;
        if (record.outcome == SVL_OUTCOME_PENDING) {
            if (plan->function->scope == SERVICELESS_SCOPE_CHILD) {
                svl_children_announce(runtime, plan->entry.position);
            }
            answer->text = svl_children_progress(runtime->node, plan->function, plan->entry.position, p);
        }
    }
    svl_store_read_end(reader);
    if (rv != APR_SUCCESS && rv != APR_NOTFOUND) {
        return svl_invoke_store_fault(rv, runtime->node, fault, p);
    }
    if (!line || !svl_call_equal(line, request->function, request->args, request->kwargs, request->nodes)) {
        return svl_fault_set(fault, SVL_REASON_CONFLICT, p, "id %s was used for another call", request->id);
    }
    set = apr_hash_get(runtime->node->sets, line->set, APR_HASH_KEY_STRING);
    plan->set = set ? set : plan->set;
    answer->duplicate = 1;
    return APR_SUCCESS;
}

/* Before the answer leaves: who has seen a result must never see the call run again. */
static void record(svl_runtime_t *runtime, const svl_store_entry_t *entry, const svl_run_t *run, apr_uint64_t *mark)
{
    const svl_store_outcome_t outcome = {entry->position, run->outcome, run->micros, run->ended, run->text, run->length};
    char text[160];
    apr_status_t rv = svl_store_finish(runtime->store, &outcome, 1);
    if (rv == APR_SUCCESS) {
        svl_store_running_end(runtime->store, mark);
        svl_await_wake(runtime, &outcome, 1);
        return;
    }
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server,
                 SVLNO(0141) "call %s has run, but the log could not record how it ended: %s", entry->id,
                 svl_fault_strerror(rv, text, sizeof(text)));
}

static void run_inline(svl_runtime_t *runtime, const svl_invoke_plan_t *plan, const svl_call_request_t *request,
                       const svl_store_entry_t *entry, svl_answer_t *answer, apr_pool_t *p)
{
    const svl_call_line_t line = {
        .id = entry->id,
        .function = plan->function->name,
        .origin = entry->origin,
        .set = entry->set,
        .epoch = entry->stamped,
        .seq = entry->seq,
        .issued = entry->issued,
        .ttl = entry->ttl,
        .args = request->args,
        .kwargs = request->kwargs,
    };
    svl_run_t run;
    apr_pool_t *run_pool;
    apr_uint64_t *mark;
    const int interruptible = svl_runtime_interruptible(runtime);
    sigset_t before, during;
    apr_status_t rv;
    apr_pool_create(&run_pool, p);
    __atomic_add_fetch(&runtime->inline_runs, 1, __ATOMIC_RELAXED);
    if (interruptible) {
        svl_guard_enter(&before);
    }
    mark = svl_store_running_begin(runtime->store, entry->position);
    if (interruptible) {
        svl_guard_open(&during);
    }
    rv = svl_run_call(runtime, plan->function, &line, entry->position, 0, &run, p, run_pool);
    if (interruptible) {
        svl_guard_leave(&during);
    }
    apr_pool_destroy(run_pool); /* it may have what another run waits for */
    if (rv == APR_SUCCESS) {
        record(runtime, entry, &run, mark);
    }
    else {
        svl_store_running_end(runtime->store, mark);
        svl_runs_push(runtime->runs, plan->function, entry->position,
                      0); /* its start could not be recorded: it is tried again */
    }
    __atomic_sub_fetch(&runtime->inline_runs, 1, __ATOMIC_RELAXED);
    if (interruptible) {
        svl_guard_leave(&before);
    }
    answer->outcome = run.outcome;
    answer->text = run.text;
    answer->result = run.result;
}

/* Here at once, so that this child's answer has its result; the other children run it before their next request. */
static void run_as_child(svl_runtime_t *runtime, const svl_function_t *function, const svl_store_entry_t *entry,
                         svl_answer_t *answer, apr_pool_t *p)
{
    svl_run_t run;
    svl_children_catch_up(runtime);
    if (!svl_children_result(runtime, entry->position, &run, p)) {
        answer->outcome = SVL_OUTCOME_PENDING;
        return;
    }
    answer->outcome = run.outcome;
    answer->text = run.text;
    answer->note = run.outcome == SVL_OUTCOME_OK ? svl_children_progress(runtime->node, function, entry->position, p) : NULL;
}

/* A new call that every child is to run is announced before anybody can ask for its result. */
static apr_status_t accept_call(svl_runtime_t *runtime, svl_invoke_plan_t *plan, svl_reply_e reply)
{
    const svl_store_entry_t *entry = &plan->entry;
    apr_status_t rv;
    if (!entry->every) {
        return svl_store_accept(runtime->store, &plan->batch, 1, plan->now);
    }
    svl_children_expect(runtime);
    rv = svl_store_accept(runtime->store, &plan->batch, 1, plan->now);
    if (rv == APR_SUCCESS && entry->verdict == SVL_STORE_NEW) {
        svl_children_took(runtime, plan->function, entry->position, reply == SVL_REPLY_LOCAL);
    }
    svl_children_expected(runtime);
    return rv;
}

/* @return APR_SUCCESS and the call's line, that waits for its number */
static apr_status_t draft_call(svl_invoke_plan_t *plan, const svl_node_t *node, const svl_call_request_t *request,
                               svl_fault_t *fault, apr_pool_t *p)
{
    svl_store_entry_t *entry = &plan->entry;
    *entry = (svl_store_entry_t){
        .id = request->id,
        .origin = node->name,
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): plan_call found it */
        .set = plan->set->name,
        .issued = apr_time_as_msec(plan->now),
        .ttl = plan->ttl,
        .run = plan->set->has_self,
        .every = plan->set->has_self && plan->function->scope == SERVICELESS_SCOPE_CHILD,
    };
    plan->batch = (svl_store_batch_t){
        .entries = entry,
        .count = 1,
        .route = plan->set->ring.count ? SVL_STORE_ROUTE_RING : NULL,
        .arity = plan->arity,
    };
    if (svl_call_draft(&entry->draft, request->id, request->function, request->args, request->kwargs, node->name, entry->set,
                       entry->issued, entry->ttl, p)
        != APR_SUCCESS) {
        return svl_fault_set(fault, SVL_REASON_CALL, p, "args or kwargs cannot be written as strict JSON");
    }
    if (entry->draft.head_length + entry->draft.tail_length + SVL_CALL_STAMP_MAX > node->max_body) {
        return svl_fault_set(fault, SVL_REASON_BODY_TOO_LARGE, p,
                             "the call is larger than ServicelessMaxBody, %" APR_SIZE_T_FMT, node->max_body);
    }
    return APR_SUCCESS;
}

apr_status_t svl_invoke_accept(svl_runtime_t *runtime, const svl_call_request_t *request, const svl_key_t *key,
                               svl_invoke_plan_t *plan, svl_answer_t *answer, svl_fault_t *fault, apr_pool_t *p)
{
    const svl_node_t *node = runtime->node;
    apr_status_t rv;
    memset(answer, 0, sizeof(*answer));
    memset(plan, 0, sizeof(*plan));
    if (__atomic_load_n(&runtime->stopping, __ATOMIC_ACQUIRE)) {
        return svl_fault_set(fault, SVL_REASON_STOPPING, p, NULL);
    }
    rv = plan_call(plan, node, request, key, fault, p);
    if (rv == APR_SUCCESS) {
        rv = draft_call(plan, node, request, fault, p);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (request->reply != SVL_REPLY_LOCAL && plan->entry.run && !svl_runs_room(runtime->runs, plan->function)) {
        return svl_fault_set(fault, SVL_REASON_BUSY, p, "too many calls of %s wait to run", request->function);
    }
    rv = accept_call(runtime, plan, request->reply);
    if (rv != APR_SUCCESS) {
        return svl_invoke_store_fault(rv, node, fault, p);
    }
    return plan->entry.verdict == SVL_STORE_NEW ? APR_SUCCESS : answer_duplicate(runtime, request, plan, answer, fault, p);
}

apr_status_t svl_invoke(svl_runtime_t *runtime, const svl_call_request_t *request, const svl_key_t *key, svl_answer_t *answer,
                        svl_fault_t *fault, apr_pool_t *p)
{
    svl_invoke_plan_t plan;
    apr_status_t rv = svl_invoke_accept(runtime, request, key, &plan, answer, fault, p);
    if (rv != APR_SUCCESS || answer->duplicate) {
        return rv;
    }
    if (plan.batch.route) {
        svl_relay_push(runtime->relay, plan.batch.first, plan.batch.appended, NULL, &plan.set->ring, plan.arity, key != NULL);
    }
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): plan_call found it */
    if (!plan.set->has_self) {
        answer->outcome = SVL_OUTCOME_ACCEPTED;
    }
    else if (request->reply == SVL_REPLY_ACCEPTED) {
        if (!plan.entry.every) {
            svl_runs_push(runtime->runs, plan.function, plan.entry.position, 0);
        }
        answer->outcome = SVL_OUTCOME_PENDING;
    }
    else if (plan.entry.every) {
        run_as_child(runtime, plan.function, &plan.entry, answer, p);
    }
    else {
        run_inline(runtime, &plan, request, &plan.entry, answer, p);
    }
    return APR_SUCCESS;
}

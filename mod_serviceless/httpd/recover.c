/* SPDX-License-Identifier: Apache-2.0 */
#include "recover.h"

#include <string.h>

#include <apr_strings.h>
#include <http_log.h>

#include "../core/pool.h"
#include "children.h"
#include "retain.h"
#include "run.h"
#include "shared.h"

#define NAMED_MAX 20    /* interrupted runs that a turn names one by one in the error log */
#define BATCHES_MAX 256 /* work records taken over in one turn: a transaction of some milliseconds */
#define ANEW_MAX 500    /* entries looked at in one transaction … */
#define ANEW_STEPS 40   /* … of one turn */

APLOG_USE_MODULE(serviceless);

/* One entry that a dead owner was to run. */
typedef struct orphan_t {
    const svl_store_orphan_t *run;
    svl_call_line_t *call;
    const svl_function_t *function;
} orphan_t;

/* @param missed receives the text of an entry that tells what was missed, which holds no call; may be NULL */
static svl_call_line_t *read_call(svl_runtime_t *runtime, apr_uint64_t position, const char **missed, apr_pool_t *p)
{
    svl_store_reader_t *reader;
    svl_store_record_t record;
    svl_call_line_t *call = NULL;
    const char *line = NULL;
    if (svl_store_read_begin(&reader, runtime->store) != APR_SUCCESS) {
        return NULL;
    }
    if (svl_store_get(reader, position, 0, &record) == APR_SUCCESS) {
        line = record.line ? apr_pstrmemdup(p, record.line, record.length) : NULL;
        if (missed && record.outcome == SVL_OUTCOME_MISSED) {
            *missed = apr_pstrmemdup(p, record.text, record.text_length);
        }
    }
    svl_store_read_end(reader);
    if (line) {
        svl_call_parse_line(&call, line, strlen(line), NULL, p);
    }
    return call;
}

static apr_status_t finish(svl_runtime_t *runtime, apr_uint64_t position, svl_outcome_e how, const char *why)
{
    svl_store_outcome_t outcome = {
        .position = position,
        .outcome = how,
        .ended = apr_time_now(),
        .text = why,
        .length = why ? strlen(why) : 0,
    };
    return svl_store_finish(runtime->store, &outcome, 1);
}

static void quarantine(svl_runtime_t *runtime, const orphan_t *orphan, const char *why)
{
    apr_status_t rv;
    char text[160];
    /* First, because this process may be ended by another call meanwhile: told twice is better than never. */
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server, SVLNO(0190) "call %s of %s is quarantined: %s",
                 orphan->call->id, orphan->call->function, why);
    rv = finish(runtime, orphan->run->position, SVL_OUTCOME_QUARANTINED, why);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server,
                     SVLNO(0350) "the log could not record that call %s is quarantined; it stays pending: %s", orphan->call->id,
                     svl_fault_strerror(rv, text, sizeof(text)));
        return;
    }
    SVL_COUNT(orphan->function->shared->outcomes[SVL_OUTCOME_QUARANTINED]);
}

static int is_expired(const svl_runtime_t *runtime, const svl_call_line_t *call, apr_time_t now)
{
    return apr_time_from_msec(call->issued) + apr_time_from_sec(call->ttl) < svl_retain_due(runtime->node, now);
}

static void expire(svl_runtime_t *runtime, apr_uint64_t position)
{
    if (finish(runtime, position, SVL_OUTCOME_EXPIRED, NULL) == APR_SUCCESS) {
        SVL_COUNT(runtime->node->unknown_function->outcomes[SVL_OUTCOME_EXPIRED]);
    }
}

/* A function that was to hear of missed calls. */
static void recover_telling(svl_runtime_t *runtime, const svl_store_orphan_t *run, const char *text)
{
    if (run->attempts > SVL_RECOVER_ATTEMPTS) {
        apr_status_t rv = finish(runtime, run->position, SVL_OUTCOME_QUARANTINED, NULL);
        ap_log_error(
            APLOG_MARK, APLOG_ERR, rv, runtime->node->server,
            SVLNO(0343) "the processes that told a function of missed calls ended three times: it is not told again: %s", text);
    }
    else {
        svl_runs_push(runtime->runs, NULL, run->position, run->attempts > 0);
    }
}

/* @param interrupted how many of this turn were so far */
static void recover_run(svl_runtime_t *runtime, const svl_store_orphan_t *run, apr_time_t now, int *interrupted, apr_pool_t *p)
{
    const char *missed = NULL;
    orphan_t orphan = {.run = run, .call = read_call(runtime, run->position, &missed, p)};
    if (missed) {
        recover_telling(runtime, run, missed);
    }
    if (!orphan.call) {
        return;
    }
    orphan.function = svl_registry_find(runtime->node, orphan.call->function);
    if (orphan.function && orphan.function->scope == SERVICELESS_SCOPE_CHILD) {
        svl_children_took(runtime, orphan.function, run->position, 0);
        return;
    }
    if (run->interrupted && ++*interrupted <= NAMED_MAX) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, runtime->node->server,
                     SVLNO(0191) "call %s of %s may have been running when its process ended (%u of %d)", orphan.call->id,
                     orphan.call->function, run->attempts, SVL_RECOVER_ATTEMPTS + 1);
    }
    if (!orphan.function) {
        if (is_expired(runtime, orphan.call, now)) {
            expire(runtime, run->position);
        }
    }
    else if (run->attempts > SVL_RECOVER_ATTEMPTS) {
        quarantine(runtime, &orphan, "the processes that ran it ended three times");
    }
    else if (run->started && orphan.function->on_crash == SERVICELESS_QUARANTINE) {
        quarantine(runtime, &orphan, "the process that ran it ended, and the function asks not to be run again");
    }
    else {
        SVL_COUNT_BY(runtime->node->shared->reruns, run->attempts > 0);
        svl_runs_push(runtime->runs, orphan.function, run->position, run->attempts);
    }
}

int svl_recover_refilled(svl_runtime_t *runtime, const svl_function_t *function, apr_uint64_t position)
{
    static const char why[] = "it may have run here before this node's log was lost, and the function asks not to be run again";
    svl_store_outcome_t outcome = {
        .position = position,
        .outcome = SVL_OUTCOME_QUARANTINED,
        .ended = apr_time_now(),
        .text = why,
        .length = sizeof(why) - 1,
    };
    if (function && function->scope == SERVICELESS_SCOPE_CHILD) {
        svl_children_took(runtime, function, position, 0);
        return 0;
    }
    if (!function || function->on_crash != SERVICELESS_QUARANTINE) {
        svl_runs_push(runtime->runs, function, position, 1);
        return 0;
    }
    if (svl_store_finish_later(runtime->store, &outcome, 1)
        == APR_SUCCESS) { /* else it stays pending, to be run by nobody but a restart */
        SVL_COUNT(function->shared->outcomes[SVL_OUTCOME_QUARANTINED]);
    }
    return 1;
}

void svl_recover_tell(const svl_runtime_t *runtime, apr_uint32_t quarantined)
{
    if (quarantined) {
        ap_log_error(
            APLOG_MARK, APLOG_WARNING, 0, runtime->node->server,
            SVLNO(0336) "%u calls that came back from a peer are quarantined: they may have run here before the log was lost",
            quarantined);
    }
}

static const svl_route_t *named_route(const svl_node_t *node, const char *names, apr_pool_t *p)
{
    svl_route_t *route = apr_pcalloc(p, sizeof(*route));
    apr_uint32_t *nodes = apr_palloc(p, (node->count + 1) * sizeof(*nodes));
    char *last;
    for (char *name = apr_strtok(apr_pstrdup(p, names), " ", &last); name; name = apr_strtok(NULL, " ", &last)) {
        const svl_member_t *member = apr_hash_get(node->names, name, APR_HASH_KEY_STRING);
        if (member && route->count < node->count) {
            nodes[route->count++] = (apr_uint32_t)(member - node->members);
        }
    }
    route->nodes = nodes;
    return route;
}

/* An origin's route is the ring of the set that the calls of the batch are for. */
static void recover_route(svl_runtime_t *runtime, const svl_store_orphans_t *batch, apr_pool_t *p)
{
    const svl_call_line_t *call;
    const svl_set_t *set;
    if (strcmp(batch->route, SVL_STORE_ROUTE_RING) != 0) {
        svl_relay_push(runtime->relay, batch->first, batch->count, named_route(runtime->node, batch->route, p), NULL,
                       batch->arity, 0);
        return;
    }
    call = read_call(runtime, batch->first, NULL, p);
    set = call ? apr_hash_get(runtime->node->sets, call->set, APR_HASH_KEY_STRING) : NULL;
    if (set) {
        svl_relay_push(runtime->relay, batch->first, batch->count, NULL, &set->ring, batch->arity, 0);
    }
    else if (call) {
        svl_store_relayed(runtime->store, batch->first); /* the set is not configured any more: there is nobody to hand it to */
    }
}

void svl_recover_epoch(svl_runtime_t *runtime)
{
    char text[160];
    int more = 1;
    for (int i = 0; i < ANEW_STEPS && more; i++) {
        apr_status_t rv = svl_store_log_anew(runtime->store, ANEW_MAX, &more);
        if (rv == SVL_EFULL) { /* pruning makes room */
            return;
        }
        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server,
                         SVLNO(0334) "node %s: calls of the epoch before this one cannot be logged anew yet: %s",
                         runtime->node->name, svl_fault_strerror(rv, text, sizeof(text)));
            return;
        }
    }
}

static int is_readable(const svl_runtime_t *runtime)
{
    svl_store_reader_t *reader;
    if (svl_store_read_begin(&reader, runtime->store) != APR_SUCCESS) {
        return 0;
    }
    svl_store_read_end(reader);
    return 1;
}

void svl_recover_turn(svl_runtime_t *runtime, apr_time_t now)
{
    apr_array_header_t *batches = NULL;
    int interrupted = 0;
    apr_pool_t *p, *scratch;
    apr_status_t rv;
    svl_pool_make(&p);
    apr_pool_create(&scratch, p);
    if (!is_readable(runtime)) { /* what is taken over must be read: in a second, then */
        apr_pool_destroy(p);
        return;
    }
    rv = svl_store_take_over(runtime->store, svl_store_was_running, runtime->store, BATCHES_MAX, &batches, p);
    if (rv != APR_SUCCESS) {
        char text[160];
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server,
                     SVLNO(0192) "cannot take over what other children left: %s", svl_fault_strerror(rv, text, sizeof(text)));
    }
    if (batches && batches->nelts) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, runtime->node->server,
                     SVLNO(0193) "taking over %d %s of calls that a child left", batches->nelts,
                     batches->nelts == 1 ? "batch" : "batches");
    }
    for (int i = 0; batches && i < batches->nelts; i++) {
        const svl_store_orphans_t *batch = &APR_ARRAY_IDX(batches, i, svl_store_orphans_t);
        if (batch->route) {
            recover_route(runtime, batch, scratch);
        }
        for (int j = 0; batch->runs && j < batch->runs->nelts; j++) {
            recover_run(runtime, &APR_ARRAY_IDX(batch->runs, j, svl_store_orphan_t), now, &interrupted, scratch);
            apr_pool_clear(scratch);
        }
    }
    if (interrupted > NAMED_MAX) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, runtime->node->server,
                     SVLNO(0195) "and %d more calls may have been running when their process ended", interrupted - NAMED_MAX);
    }
    apr_pool_destroy(p);
}

void svl_recover_expire(svl_runtime_t *runtime, apr_time_t now)
{
    apr_array_header_t *positions;
    svl_store_outcome_t *outcomes;
    apr_uint32_t count = 0;
    apr_pool_t *p;
    apr_status_t rv;
    svl_pool_make(&p);
    rv = svl_store_overdue(runtime->store, apr_time_as_msec(svl_retain_due(runtime->node, now)), &positions, p);
    if (rv != APR_SUCCESS) {
        char text[160];
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server, SVLNO(0344) "cannot look for calls that expired: %s",
                     svl_fault_strerror(rv, text, sizeof(text)));
    }
    outcomes = apr_palloc(p, (apr_size_t)(positions->nelts + 1) * sizeof(*outcomes));
    for (int i = 0; i < positions->nelts; i++) {
        apr_uint64_t position = APR_ARRAY_IDX(positions, i, apr_uint64_t);
        const svl_call_line_t *call = read_call(runtime, position, NULL, p);
        /* Those of functions that are here wait in a queue, and expire there. */
        if (call && !svl_registry_find(runtime->node, call->function)) {
            outcomes[count++] = (svl_store_outcome_t){.position = position, .outcome = SVL_OUTCOME_EXPIRED, .ended = now};
        }
    }
    if (count && svl_store_finish(runtime->store, outcomes, count) == APR_SUCCESS) {
        SVL_COUNT_BY(runtime->node->unknown_function->outcomes[SVL_OUTCOME_EXPIRED], count);
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, runtime->node->server,
                     SVLNO(0342) "%u calls expired waiting for functions that no module has registered here", count);
    }
    apr_pool_destroy(p);
}

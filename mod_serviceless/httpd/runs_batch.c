/* SPDX-License-Identifier: Apache-2.0 */
#include "runs_private.h"

#include <apr_strings.h>
#include <http_log.h>

#include "await.h"
#include "children.h"
#include "loss.h"
#include "registry.h"

#define HOLD_MICROS apr_time_from_msec(2) /* longest that an outcome waits for others before a further run starts */

APLOG_USE_MODULE(serviceless);

/* Runs that have ended, and whose outcomes wait for a commit. */
typedef struct ended_t {
    apr_uint32_t count;
    svl_store_outcome_t outcomes[SVL_RUNS_TAKE_MAX];
    apr_uint64_t *marks[SVL_RUNS_TAKE_MAX];
    apr_time_t oldest;
} ended_t;

/* Lines are copied out: a function may run long, and a reader must not. */
static apr_status_t read_lines(const svl_runs_batch_t *batch, svl_store_record_t *records, apr_pool_t *p)
{
    svl_store_reader_t *reader;
    apr_uint64_t first = APR_UINT64_MAX, last = 0;
    for (apr_uint32_t i = 0; i < batch->count; i++) {
        const apr_uint64_t position = batch->positions[i] & ~SVL_RUNS_RERUN;
        first = position < first ? position : first;
        last = position > last ? position : last;
    }
    apr_status_t rv = svl_store_read_range(&reader, batch->runtime->store, first, last + 1);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    for (apr_uint32_t i = 0; i < batch->count; i++) {
        rv = svl_store_get(reader, batch->positions[i] & ~SVL_RUNS_RERUN, 0, &records[i]);
        if (rv == APR_SUCCESS && records[i].outcome == SVL_OUTCOME_MISSED) {
            records[i].line = records[i].text;
            records[i].length = records[i].text_length;
        }
        records[i].line = rv == APR_SUCCESS && records[i].line ? apr_pstrmemdup(p, records[i].line, records[i].length) : NULL;
    }
    svl_store_read_end(reader);
    return APR_SUCCESS;
}

/* Where the log fails the marks stay: should this child die, these calls are reruns. */
static void finish(svl_runtime_t *runtime, ended_t *ended)
{
    apr_status_t rv = ended->count ? svl_store_finish(runtime->store, ended->outcomes, ended->count) : APR_SUCCESS;
    char text[160];
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server,
                     SVLNO(0111) "the log could not record how %u calls ended; they count as pending: %s", ended->count,
                     svl_fault_strerror(rv, text, sizeof(text)));
    }
    for (apr_uint32_t i = 0; rv == APR_SUCCESS && i < ended->count; i++) {
        svl_store_running_end(runtime->store, ended->marks[i]);
    }
    if (rv == APR_SUCCESS && ended->count) {
        svl_await_wake(runtime, ended->outcomes, ended->count);
    }
    ended->count = 0;
}

static void tell(svl_runtime_t *runtime, const svl_store_record_t *record, svl_run_t *run, apr_pool_t *p)
{
    apr_time_t began = apr_time_now();
    svl_loss_tell(runtime, record->line, record->length, p);
    *run = (svl_run_t){.outcome = SVL_OUTCOME_OK, .ended = apr_time_now()};
    run->micros = run->ended > began ? run->ended - began : 0;
}

/* Something to run. */
typedef struct item_t {
    const svl_store_record_t *record;
    const svl_function_t *function; /* NULL: there is none to run (any more), or nobody to tell */
    svl_call_line_t *call;          /* NULL: what was missed is to be told */
    int every;                      /* every child runs it: here it is settled only */
} item_t;

static void resolve(const svl_runs_batch_t *batch, const svl_store_record_t *record, item_t *item, apr_pool_t *p)
{
    const svl_node_t *node = batch->runtime->node;
    *item = (item_t){.record = record};
    if (record->line && batch->telling) {
        item->function = svl_loss_function(node, record->line, record->length, p);
    }
    else if (record->line && svl_call_parse_line(&item->call, record->line, record->length, NULL, p) == APR_SUCCESS) {
        item->function = batch->function ? batch->function : svl_registry_find(node, item->call->function);
    }
    item->every = item->function && item->function->scope == SERVICELESS_SCOPE_CHILD;
}

/* @return APR_SUCCESS with @a run; APR_NOTFOUND: it is nothing that can be run (any more); APR_EAGAIN: not yet; else the log failed */
static apr_status_t run_one(const svl_runs_batch_t *batch, const item_t *item, apr_uint64_t position, int rerun, svl_run_t *run,
                            apr_pool_t *p, apr_pool_t *run_pool)
{
    if (item->every) {
        return svl_children_settle(batch->runtime, batch->telling ? NULL : item->function, position, run, p);
    }
    if (batch->telling && item->record->line) {
        tell(batch->runtime, item->record, run, run_pool);
        return APR_SUCCESS;
    }
    return item->function ? svl_run_call(batch->runtime, item->function, item->call, position, rerun, run, p, run_pool)
                          : APR_NOTFOUND;
}

void svl_runs_batch_run(svl_runs_batch_t *batch, apr_pool_t *p)
{
    svl_runtime_t *runtime = batch->runtime;
    svl_store_record_t records[SVL_RUNS_TAKE_MAX];
    ended_t ended = {.count = 0};
    apr_pool_t *run_pool;
    apr_time_t now = 0; /* as far as it is known without looking */
    char text[160];
    apr_status_t rv = read_lines(batch, records, p);
    apr_pool_create(&run_pool, p);
    while (rv == APR_SUCCESS && batch->done < batch->count) {
        const apr_uint64_t position = batch->positions[batch->done] & ~SVL_RUNS_RERUN;
        const int rerun = batch->positions[batch->done] != position;
        apr_uint64_t *mark;
        svl_run_t run;
        item_t item;
        /* A rerun may be what ends processes: nothing that has ended shall run again with it. */
        if (ended.count && (rerun || now - ended.oldest > HOLD_MICROS)) {
            finish(runtime, &ended);
        }
        resolve(batch, &records[batch->done], &item, run_pool);
        mark = item.every ? NULL : svl_store_running_begin(runtime->store, position);
        rv = run_one(batch, &item, position, rerun, &run, p, run_pool);
        if (rv == APR_SUCCESS) {
            now = item.every ? apr_time_now() : run.ended; /* of the former others are waited for, after it has ended here */
            ended.oldest = ended.count ? ended.oldest : now;
            batch->spent += run.micros;
            batch->ran++;
            ended.marks[ended.count] = mark;
            ended.outcomes[ended.count++] =
                (svl_store_outcome_t){position, run.outcome, run.micros, run.ended, run.text, run.length};
        }
        else {
            svl_store_running_end(runtime->store, mark);
        }
        rv = rv == APR_NOTFOUND ? APR_SUCCESS : rv;
        batch->done += rv == APR_SUCCESS;
        apr_pool_clear(run_pool);
    }
    finish(runtime, &ended);
    if (rv != APR_SUCCESS && rv != APR_EAGAIN) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server,
                     SVLNO(0112) "the log failed: %u calls that were to run wait, and are tried again in a second: %s",
                     batch->count - batch->done, svl_fault_strerror(rv, text, sizeof(text)));
    }
}

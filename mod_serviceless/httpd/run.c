/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <string.h>

#include <apr_strings.h>
#include <http_log.h>

#include "../core/json.h"
#include "../core/outcome.h"
#include "retain.h"

APLOG_USE_MODULE(serviceless);

static __thread int inside; /* runs of this thread: one may call another */

void svl_run_enter(void)
{
    inside++;
}

void svl_run_leave(void)
{
    inside--;
}

int svl_run_inside(void)
{
    return inside > 0;
}

static const char *result_text(svl_run_t *run, apr_size_t limit, apr_pool_t *p)
{
    const char *text = svl_json_fits(run->result, SVL_JSON_RESULT_DEPTH) ? svl_json_write(run->result, p, &run->length) : NULL;
    if (text && run->length <= limit) {
        return text;
    }
    run->outcome = SVL_OUTCOME_ERROR;
    run->result = NULL;
    text = text ? apr_psprintf(p, "the function's result has %" APR_SIZE_T_FMT " bytes, over ServicelessMaxBody", run->length)
                : apr_psprintf(p, "the function's result is no strict JSON, or nested deeper than %d", SVL_JSON_RESULT_DEPTH);
    run->length = strlen(text);
    return text;
}

static const char *error_text(svl_run_t *run, apr_status_t status, apr_pool_t *p)
{
    char buffer[160];
    const char *text = run->result ? json_string_value(run->result) : NULL;
    text = text ? text : apr_strerror(status, buffer, sizeof(buffer));
    text = svl_outcome_words(text, strlen(text), p);
    run->length = strlen(text);
    run->result = NULL;
    return text;
}

static void run_function(svl_runtime_t *runtime, const svl_function_t *function, const svl_call_line_t *line, int rerun,
                         svl_run_t *run, apr_pool_t *p, apr_pool_t *run_pool)
{
    const svl_node_t *node = runtime->node;
    json_t *result = NULL;
    apr_time_t began = apr_time_now();
    const serviceless_call_t call = {
        .id = line->id,
        .function = function->name,
        .origin = line->origin,
        .node = node->name,
        .epoch = line->epoch,
        .seq = line->seq,
        .issued = apr_time_from_msec(line->issued),
        .deadline = began + function->timeout,
        .rerun = rerun,
        .child = function->scope == SERVICELESS_SCOPE_CHILD,
        .args = line->args,
        .kwargs = line->kwargs,
        .pool = run_pool,
        .server = node->server,
    };
    apr_status_t rv;
    svl_run_enter();
    rv = function->function(&call, &result, function->baton);
    svl_run_leave();
    run->ended = apr_time_now();
    run->micros = run->ended > began ? run->ended - began : 0;
    run->result = svl_json_own(result, p);
    run->outcome = rv == APR_SUCCESS ? SVL_OUTCOME_OK : SVL_OUTCOME_ERROR;
    if (rv != APR_SUCCESS) {
        run->text = error_text(run, rv, p);
    }
    else if (result && !json_is_null(result)) {
        run->text = result_text(run, node->max_body, p);
    }
    svl_histogram_add(&function->shared->seconds, run->micros);
}

apr_status_t svl_run_call(svl_runtime_t *runtime, const svl_function_t *function, const svl_call_line_t *line,
                          apr_uint64_t position, int rerun, svl_run_t *run, apr_pool_t *p, apr_pool_t *run_pool)
{
    /* A child of which every run is one of many: no crash of one concerns the others, and none is run again. */
    const int child = function->scope == SERVICELESS_SCOPE_CHILD;
    const int starts = function->on_crash == SERVICELESS_QUARANTINE && !child;
    memset(run, 0, sizeof(*run));
    run->ended = apr_time_now();
    if (apr_time_from_msec(line->issued) + apr_time_from_sec(line->ttl) < svl_retain_due(runtime->node, run->ended)) {
        run->outcome = SVL_OUTCOME_EXPIRED;
    }
    else {
        /* Without the mark a crash would look like a run that never began. */
        apr_status_t rv = starts ? svl_store_start(runtime->store, position) : APR_SUCCESS;
        if (rv != APR_SUCCESS) {
            return rv;
        }
        run_function(runtime, function, line, rerun, run, p, run_pool);
    }
    if (run->outcome != SVL_OUTCOME_OK) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, runtime->node->server, SVLNO(0110) "call %s of %s from %s: %s%s%s", line->id,
                     line->function, line->origin, svl_call_outcome_name(run->outcome), run->text ? ": " : "",
                     run->text ? svl_log_escape(run_pool, run->text, 256) : "");
    }
    if (!child) { /* else once for all, by svl_children_settle */
        SVL_COUNT(function->shared->outcomes[run->outcome]);
    }
    return APR_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "call.h"

#include <string.h>

#include <apr_strings.h>
#include <http_log.h>
#include <http_main.h>

#include "../core/json.h"
#include "gather.h"
#include "run.h"

APLOG_USE_MODULE(serviceless);

/* The status that a companion sees for a refusal; the words go into the outcome. */
static apr_status_t status_of(svl_reason_e reason)
{
    switch (reason) {
    case SVL_REASON_UNKNOWN_FUNCTION:
    case SVL_REASON_UNKNOWN_SET:
        return APR_NOTFOUND;
    case SVL_REASON_CONFLICT:
        return APR_EEXIST;
    case SVL_REASON_STORE_FULL:
        return APR_ENOSPC;
    case SVL_REASON_BUSY:
    case SVL_REASON_STOPPING:
        return APR_EAGAIN;
    case SVL_REASON_STORE_FAILED:
        return APR_EGENERAL;
    default:
        return APR_EINVAL;
    }
}

static apr_status_t bad(svl_fault_t *fault, apr_pool_t *p, const char *what)
{
    return svl_fault_set(fault, SVL_REASON_CALL, p, "%s", what);
}

/* Borrowed JSON of the caller becomes the request's: a reference more, which the pool gives back. */
static json_t *borrow(json_t *json, json_t *(*make)(void), apr_pool_t *p)
{
    return svl_json_own(json ? json_incref(json) : make(), p);
}

static apr_status_t make_request(svl_call_request_t *request, const char *name, json_t *args, json_t *kwargs,
                                 const serviceless_call_options_t *options, svl_fault_t *fault, apr_pool_t *p)
{
    static const serviceless_call_options_t defaults;
    options = options ? options : &defaults;
    if (!name || !svl_name_is_function(name, strlen(name))) {
        return bad(fault, p, "the function's name is missing or malformed");
    }
    if ((args && !json_is_array(args)) || (kwargs && !json_is_object(kwargs))) {
        return bad(fault, p, "args must be an array and kwargs an object");
    }
    if (options->id && !svl_name_is_id(options->id, strlen(options->id))) {
        return bad(fault, p, "options->id must be 1 to 64 of A-Z a-z 0-9 _ -");
    }
    if (options->ttl < 0 || options->timeout < 0 || options->timeout > apr_time_from_sec(SVL_CALL_TIMEOUT_MAX)) {
        return bad(fault, p, "options->ttl and options->timeout must not be negative, nor the timeout longer than a day");
    }
    memset(request, 0, sizeof(*request));
    request->id = options->id;
    if (!request->id) {
        char *id = apr_palloc(p, SVL_NAME_ID_MAX + 1);
        if (svl_name_make_id(id, apr_time_now()) != APR_SUCCESS) {
            return svl_fault_set(fault, SVL_REASON_STORE_FAILED, p, "no randomness for an id");
        }
        request->id = id;
    }
    request->function = name;
    request->args = borrow(args, json_array, p);
    request->kwargs = borrow(kwargs, json_object, p);
    request->reply = SVL_REPLY_LOCAL;
    request->nodes = options->nodes;
    request->timeout_ms = (options->timeout + 999) / 1000;
    request->ttl = apr_time_sec(options->ttl + APR_USEC_PER_SEC - 1);
    if (options->mode) {
        request->has_mode = svl_route_parse_mode(options->mode, &request->arity);
        if (!request->has_mode) {
            return bad(fault, p, "options->mode is none of bounce, broadcast, tree, tree:K");
        }
    }
    return APR_SUCCESS;
}

static void fill_outcome(serviceless_outcome_t *outcome, const svl_call_request_t *request, const svl_answer_t *answer,
                         apr_pool_t *p)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): svl_invoke filled it */
    outcome->id = request->id;
    outcome->outcome = svl_call_outcome_name(answer->outcome);
    outcome->detail = answer->outcome == SVL_OUTCOME_OK ? answer->note : answer->text;
    outcome->result = answer->result;
    if (!answer->result && answer->outcome == SVL_OUTCOME_OK && answer->text) {
        svl_json_parse(&outcome->result, answer->text, strlen(answer->text), NULL, p);
    }
}

/* @return APR_SUCCESS and the runtime, or why there is none */
static apr_status_t find_runtime(svl_runtime_t **runtime, const server_rec *s)
{
    const svl_node_t *node = svl_config_node(s);
    if (!node && ap_server_conf) {
        node = svl_config_node(ap_server_conf);
    }
    if (!node) {
        return APR_ENOTIMPL;
    }
    *runtime = svl_runtime_of(node);
    if (!*runtime) {
        svl_runtime_rouse();
        *runtime = svl_runtime_of(node);
    }
    return *runtime ? APR_SUCCESS : APR_EINIT;
}

apr_status_t serviceless_call(server_rec *s, apr_pool_t *p, const char *name, json_t *args, json_t *kwargs,
                              const serviceless_call_options_t *options, serviceless_outcome_t *outcome)
{
    serviceless_outcome_t unused;
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_call_request_t request;
    svl_runtime_t *runtime;
    svl_answer_t answer;
    apr_status_t rv;
    outcome = outcome ? outcome : &unused;
    memset(outcome, 0, sizeof(*outcome));
    rv = find_runtime(&runtime, s);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = make_request(&request, name, args, kwargs, options, &fault, p);
    if (rv == APR_SUCCESS) {
        rv = svl_invoke(runtime, &request, NULL, &answer, &fault, p);
    }
    if (rv != APR_SUCCESS) {
        outcome->outcome = svl_call_outcome_name(SVL_OUTCOME_REFUSED);
        outcome->detail = fault.detail ? fault.detail : svl_fault_title(fault.reason);
        return status_of(fault.reason);
    }
    fill_outcome(outcome, &request, &answer, p);
    return APR_SUCCESS;
}

/* The caller's own: of no pool. */
static apr_status_t fill_outcomes(json_t **outcomes, const svl_gathered_t *all, apr_pool_t *p)
{
    apr_size_t length;
    const char *text = svl_gather_text(all, p, &length);
    apr_status_t rv = svl_json_parse(outcomes, text, length, NULL, p);
    *outcomes = rv == APR_SUCCESS ? json_incref(*outcomes) : NULL;
    return rv == APR_SUCCESS ? rv : APR_EGENERAL;
}

apr_status_t serviceless_call_all(server_rec *s, apr_pool_t *p, const char *name, json_t *args, json_t *kwargs,
                                  const serviceless_call_options_t *options, json_t **outcomes)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_call_request_t request;
    svl_runtime_t *runtime;
    svl_gathered_t all;
    apr_pool_t *pool;
    apr_status_t rv;
    *outcomes = NULL;
    if (svl_run_inside()) {
        return APR_EDEADLK;
    }
    rv = find_runtime(&runtime, s);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_create(&pool, p);
    rv = make_request(&request, name, args, kwargs, options, &fault, pool);
    if (rv == APR_SUCCESS) {
        request.reply = SVL_REPLY_ALL;
        rv = svl_gather(runtime, &request, NULL, &all, &fault, pool);
    }
    if (rv == APR_SUCCESS) {
        rv = fill_outcomes(outcomes, &all, pool);
    }
    else {
        const char *detail = fault.detail ? fault.detail : svl_fault_title(fault.reason);
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, runtime->node->server,
                     SVLNO(0600) "serviceless_call_all of %s was refused: %s",
                     name ? svl_log_escape(pool, name, SVL_NAME_FUNCTION_MAX) : "nothing", detail);
        rv = status_of(fault.reason);
    }
    apr_pool_destroy(pool);
    return rv;
}

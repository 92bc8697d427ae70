/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A companion of the tests that calls: the handler `caller` makes n calls through the C interface and tells, as JSON, how the last one
 * ended, how many microseconds all took, and how many of processor time the calling thread spent on them.
 *
 *   GET /caller?function=example.sum&args=[1,2]&n=100
 *   GET /caller?all=1&function=example.sum&timeout=1.5        likewise by serviceless_call_all: status, micros, outcomes
 *   GET /caller?registrations     what came of registering badly, and of calling too early
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>

#include "mod_serviceless.h"

module AP_MODULE_DECLARE_DATA caller_module;

static APR_OPTIONAL_FN_TYPE(serviceless_call) * call_function;
static APR_OPTIONAL_FN_TYPE(serviceless_call_all) * call_all;
static json_t *registrations; /* name of a case to the status it got; of the configuration's process */

/* Asks all nodes from inside a run. */
static apr_status_t nested(const serviceless_call_t *call, json_t **result, void *baton)
{
    json_t *outcomes = NULL;
    apr_status_t status = call_all(call->server, call->pool, "caller.nothing", NULL, NULL, NULL, &outcomes);
    (void)baton;
    *result = json_pack("[b,b]", status == APR_EDEADLK, outcomes != NULL);
    json_decref(outcomes);
    return APR_SUCCESS;
}

static apr_status_t nothing(const serviceless_call_t *call, json_t **result, void *baton)
{
    (void)call;
    (void)result;
    (void)baton;
    return APR_SUCCESS;
}

static void note(const char *what, apr_status_t status)
{
    const char *word = status == APR_SUCCESS    ? "APR_SUCCESS"
                       : status == APR_EEXIST   ? "APR_EEXIST"
                       : status == APR_EINVAL   ? "APR_EINVAL"
                       : status == APR_EINIT    ? "APR_EINIT"
                       : status == APR_ENOTIMPL ? "APR_ENOTIMPL"
                       : status == APR_NOTFOUND ? "APR_NOTFOUND"
                                                : "another";
    json_object_set_new(registrations, what, json_string(word));
}

/* A restart unloads this module, and its variables. */
static apr_status_t forget_registrations(void *baton)
{
    (void)baton;
    json_decref(registrations);
    registrations = NULL;
    return APR_SUCCESS;
}

static int register_functions(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    static const serviceless_options_t child = {.scope = SERVICELESS_SCOPE_CHILD};
    static const serviceless_options_t scope = {.scope = (serviceless_scope_e)7};
    static const serviceless_options_t mode = {.mode = "tree:0"};
    static const serviceless_options_t nodes = {.nodes = "a b"};
    APR_OPTIONAL_FN_TYPE(serviceless_register_function) *add = APR_RETRIEVE_OPTIONAL_FN(serviceless_register_function);
    (void)plog;
    (void)ptemp;
    (void)s;
    call_function = APR_RETRIEVE_OPTIONAL_FN(serviceless_call);
    call_all = APR_RETRIEVE_OPTIONAL_FN(serviceless_call_all);
    if (!add) {
        return OK;
    }
    registrations = json_object();
    apr_pool_cleanup_register(pconf, NULL, forget_registrations, apr_pool_cleanup_null);
    note("good", add(NULL, "caller.nothing", nothing, NULL, NULL));
    note("nested", add(NULL, "caller.nested", nested, NULL, NULL));
    note("again", add(NULL, "caller.nothing", nothing, NULL, NULL));
    note("bad name", add(NULL, "caller nothing", nothing, NULL, NULL));
    note("no name", add(NULL, NULL, nothing, NULL, NULL));
    note("reserved name", add(NULL, "serviceless.mine", nothing, NULL, NULL));
    note("no function", add(NULL, "caller.none", NULL, NULL, NULL));
    note("bad mode", add(NULL, "caller.mode", nothing, NULL, &mode));
    note("bad set", add(NULL, "caller.nodes", nothing, NULL, &nodes));
    note("bad scope", add(NULL, "caller.scope", nothing, NULL, &scope));
    note("scope child", add(NULL, "caller.child", nothing, NULL, &child));
    return OK;
}

static void call_early(apr_pool_t *p, server_rec *s)
{
    if (call_function) {
        note("before child_init", call_function(s, p, "caller.nothing", NULL, NULL, NULL, NULL));
    }
}

static const char *parameter(request_rec *r, const char *name)
{
    char *last;
    char *copy = apr_pstrdup(r->pool, r->args ? r->args : "");
    apr_size_t length = strlen(name);
    for (char *pair = apr_strtok(copy, "&", &last); pair; pair = apr_strtok(NULL, "&", &last)) {
        if (strncmp(pair, name, length) == 0 && (pair[length] == '=' || pair[length] == '\0')) {
            char *value = pair + length + (pair[length] == '=');
            return ap_unescape_url(value) == OK ? value : NULL;
        }
    }
    return NULL;
}

static json_t *json_parameter(request_rec *r, const char *name)
{
    const char *text = parameter(r, name);
    return text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
}

static int print(request_rec *r, json_t *answer)
{
    char *text = json_dumps(answer, JSON_COMPACT | JSON_ENCODE_ANY);
    ap_set_content_type(r, "application/json");
    ap_rputs(text, r);
    free(text);
    return OK;
}

static json_int_t thread_micros(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (json_int_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static serviceless_call_options_t options_of(request_rec *r)
{
    const char *ttl = parameter(r, "ttl");
    const char *timeout = parameter(r, "timeout");
    return (serviceless_call_options_t){
        .id = parameter(r, "id"),
        .nodes = parameter(r, "nodes"),
        .mode = parameter(r, "mode"),
        .ttl = apr_time_from_sec(apr_atoi64(ttl ? ttl : "0")),
        .timeout = (apr_interval_time_t)(atof(timeout ? timeout : "0") * APR_USEC_PER_SEC),
    };
}

static json_t *ask_all(request_rec *r)
{
    const serviceless_call_options_t options = options_of(r);
    json_t *args = json_parameter(r, "args");
    json_t *kwargs = json_parameter(r, "kwargs");
    json_t *outcomes = NULL;
    apr_time_t began = apr_time_now();
    apr_status_t status = call_all(r->server, r->pool, parameter(r, "function"), args, kwargs, &options, &outcomes);
    json_decref(args);
    json_decref(kwargs);
    return json_pack("{s:i,s:I,s:o?}", "status", status, "micros", (json_int_t)(apr_time_now() - began), "outcomes", outcomes);
}

static json_t *call(request_rec *r)
{
    const char *times = parameter(r, "n");
    const serviceless_call_options_t options = options_of(r);
    json_t *args = json_parameter(r, "args");
    json_t *kwargs = json_parameter(r, "kwargs");
    serviceless_outcome_t outcome = {0};
    apr_status_t status = APR_EGENERAL;
    apr_pool_t *pool;
    apr_time_t began = apr_time_now();
    json_int_t spent = thread_micros();
    json_t *answer = NULL;
    int n = times ? atoi(times) : 1;
    apr_pool_create(&pool, r->pool);
    for (int i = 0; i < n; i++) {
        apr_pool_clear(pool);
        status = call_function(r->server, pool, parameter(r, "function"), args, kwargs, &options, &outcome);
    }
    answer = json_pack("{s:i,s:I,s:I,s:s?,s:s?,s:s?,s:O?}", "status", status, "micros", (json_int_t)(apr_time_now() - began),
                       "cpu", thread_micros() - spent, "id", outcome.id, "outcome", outcome.outcome, "detail", outcome.detail,
                       "result", outcome.result);
    apr_pool_destroy(pool);
    json_decref(args);
    json_decref(kwargs);
    return answer;
}

static int handler(request_rec *r)
{
    json_t *answer;
    if (!r->handler || strcmp(r->handler, "caller") != 0) {
        return DECLINED;
    }
    if (!call_function) {
        return HTTP_SERVICE_UNAVAILABLE;
    }
    if (parameter(r, "registrations")) {
        return print(r, registrations);
    }
    answer = parameter(r, "all") ? ask_all(r) : call(r);
    print(r, answer);
    json_decref(answer);
    return OK;
}

static void register_hooks(apr_pool_t *p)
{
    (void)p;
    ap_hook_post_config(register_functions, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(call_early, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(caller) = {STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, register_hooks, AP_MODULE_FLAG_NONE};

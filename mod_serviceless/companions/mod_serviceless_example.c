/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file companions/mod_serviceless_example.c
 * @brief Four functions to try a fleet with, and a pattern for companions of your own (see docs/companions.md).
 *
 * example.sum    the sum of all positional and keyword arguments
 * example.echo   what it was called with
 * example.sleep  waits, then returns how many seconds
 * example.fail   fails, with the words given
 */
#include <httpd.h>
#include <http_config.h>
#include <http_log.h>
#include <apr_strings.h>

#include "mod_serviceless.h"

module AP_MODULE_DECLARE_DATA serviceless_example_module;
APLOG_USE_MODULE(serviceless_example);

#define EXAMPLE_SLEEP_MAX 60 /* seconds: a run holds a thread as long as it lasts */

/* Says why a run fails.  Words are made in the run's pool; json_string copies them, so the reference outlives it. */
static apr_status_t example_failed(json_t **result, const char *words)
{
    *result = json_string(words);
    return APR_EGENERAL;
}

/* A sum under way.  Integers are kept apart as long as they fit, because a double loses every other one beyond 2^53. */
typedef struct example_sum_t {
    json_int_t integer;
    double real;
    int has_real;
} example_sum_t;

/* Adds a number.  Returns zero when the value is none. */
static int example_add(example_sum_t *sum, const json_t *value)
{
    json_int_t total;

    if (json_is_real(value)) {
        sum->real += json_real_value(value);
        sum->has_real = 1;
        return 1;
    }
    if (!json_is_integer(value)) {
        return 0;
    }
    if (__builtin_add_overflow(sum->integer, json_integer_value(value), &total)) {
        sum->real += (double)sum->integer;
        sum->has_real = 1;
        total = json_integer_value(value);
    }
    sum->integer = total;
    return 1;
}

static apr_status_t example_sum(const serviceless_call_t *call, json_t **result, void *baton)
{
    example_sum_t sum = {0};
    const char *key;
    json_t *value;
    size_t i;

    (void)baton;
    json_array_foreach(call->args, i, value) {
        if (!example_add(&sum, value)) {
            return example_failed(result, apr_psprintf(call->pool, "argument %" APR_SIZE_T_FMT " is not a number", i + 1));
        }
    }
    json_object_foreach(call->kwargs, key, value) {
        if (!example_add(&sum, value)) {
            return example_failed(result, apr_psprintf(call->pool, "argument %s is not a number", key));
        }
    }
    *result = sum.has_real ? json_real(sum.real + (double)sum.integer) : json_integer(sum.integer);
    /* jansson makes no real that is not finite: JSON has no word for it. */
    return *result ? APR_SUCCESS : example_failed(result, "the sum is larger than any double");
}

static apr_status_t example_echo(const serviceless_call_t *call, json_t **result, void *baton)
{
    (void)baton;
    /* The arguments are borrowed, and other threads may read them at this moment: the result is a copy. */
    *result = json_pack("{s:o, s:o}", "args", json_deep_copy(call->args), "kwargs", json_deep_copy(call->kwargs));
    return *result ? APR_SUCCESS : APR_ENOMEM;
}

static apr_status_t example_sleep(const serviceless_call_t *call, json_t **result, void *baton)
{
    const json_t *value = json_array_get(call->args, 0);
    double seconds = 1;

    (void)baton;
    if (!value) {
        value = json_object_get(call->kwargs, "seconds");
    }
    if (value) {
        seconds = json_is_number(value) ? json_number_value(value) : -1;
    }
    if (seconds < 0 || seconds > EXAMPLE_SLEEP_MAX) {
        return example_failed(result, apr_psprintf(call->pool, "seconds must be a number from 0 to %d", EXAMPLE_SLEEP_MAX));
    }
    apr_sleep((apr_interval_time_t)(seconds * APR_USEC_PER_SEC));
    *result = value ? json_deep_copy(value) : json_integer(1);
    return APR_SUCCESS;
}

static apr_status_t example_fail(const serviceless_call_t *call, json_t **result, void *baton)
{
    const char *words = "";
    json_t *value;
    size_t i;

    (void)baton;
    json_array_foreach(call->args, i, value) {
        if (json_is_string(value)) {
            words = apr_pstrcat(call->pool, words, *words ? " " : "", json_string_value(value), NULL);
        }
    }
    return example_failed(result, *words ? words : "example.fail always fails");
}

static const struct {
    const char *name;
    serviceless_function_t *function;
    const char *summary;
} example_functions[] = {
    {"example.sum", example_sum, "The sum of all arguments, positional and keyword"},
    {"example.echo", example_echo, "Returns its arguments"},
    {"example.sleep", example_sleep, "Waits (seconds, default 1, at most 60) and returns the seconds"},
    {"example.fail", example_fail, "Fails with the words given"},
};

static int example_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    /* Retrieved here and not in register_hooks, so that the order of the LoadModule lines does not matter. */
    APR_OPTIONAL_FN_TYPE(serviceless_register_function) *register_function =
        APR_RETRIEVE_OPTIONAL_FN(serviceless_register_function);
    size_t i;

    (void)pconf;
    (void)plog;
    (void)ptemp;
    if (!register_function) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, "mod_serviceless is not loaded: the example functions cannot be called");
        return OK;
    }
    for (i = 0; i < sizeof(example_functions) / sizeof(example_functions[0]); i++) {
        const serviceless_options_t options = {.summary = example_functions[i].summary};
        apr_status_t rv = register_function(NULL, example_functions[i].name, example_functions[i].function, NULL, &options);

        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, "cannot register the function %s", example_functions[i].name);
            return HTTP_INTERNAL_SERVER_ERROR;
        }
    }
    return OK;
}

static void example_register_hooks(apr_pool_t *p)
{
    (void)p;
    ap_hook_post_config(example_post_config, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA serviceless_example_module = {
    STANDARD20_MODULE_STUFF,
    NULL, /* per-directory configuration */
    NULL, /* its merger */
    NULL, /* per-server configuration */
    NULL, /* its merger */
    NULL, /* directives */
    example_register_hooks,
    AP_MODULE_FLAG_NONE,
};

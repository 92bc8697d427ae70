/* SPDX-License-Identifier: Apache-2.0 */
#include "builtin.h"

#include <stdlib.h>
#include <string.h>

#include <ap_mpm.h>
#include <apr_strings.h>
#include <http_core.h>
#include <scoreboard.h>

#include "../core/json.h"
#include "children.h"
#include "settings.h"
#include "status_formats.h"

#define TOLD_AROUND 4096 /* bytes of an answer about a call beside its result: ids and names are at most 128 each */

/* What a built-in function does for one call: its result of the call's pool, or what is wrong. */
typedef apr_status_t body_t(const serviceless_call_t *call, const svl_node_t *node, json_t **result);

static void set(json_t *object, const char *name, json_t *value)
{
    json_object_set_new(object, name, value);
}

static void set_text(json_t *object, const char *name, const char *text)
{
    set(object, name, text ? json_string(text) : json_null());
}

static apr_status_t wrong(json_t **result, apr_status_t status, const char *words)
{
    *result = json_string(words);
    return status;
}

static apr_status_t no_arguments(const serviceless_call_t *call, json_t **result)
{
    if (json_array_size(call->args) == 0 && json_object_size(call->kwargs) == 0) {
        return APR_SUCCESS;
    }
    return wrong(result, APR_EINVAL, apr_pstrcat(call->pool, call->function, " takes no arguments", NULL));
}

/* Without what ServerTokens may hide or other modules add. */
static const char *httpd_version(apr_pool_t *p)
{
    ap_version_t version;
    ap_get_server_revision(&version);
    return apr_psprintf(p, "Apache/%d.%d.%d%s", version.major, version.minor, version.patch,
                        version.add_string ? version.add_string : "");
}

static apr_status_t ping(const serviceless_call_t *call, const svl_node_t *node, json_t **result)
{
    const apr_time_t now = apr_time_now();
    const apr_time_t started = ap_exists_scoreboard_image() ? ap_get_scoreboard_global()->restart_time : 0;
    apr_status_t rv = no_arguments(call, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *result = json_object();
    set_text(*result, "node", node->name);
    set_text(*result, "version", SVL_VERSION);
    set_text(*result, "httpd", httpd_version(call->pool));
    set_text(*result, "mpm", ap_show_mpm());
    set(*result, "clock", json_integer(apr_time_as_msec(now)));
    set(*result, "uptime", started && started <= now ? json_integer(apr_time_sec(now - started)) : json_null());
    set(*result, "functions", json_integer(apr_hash_count(node->functions)));
    return APR_SUCCESS;
}

static int by_name(const void *one, const void *other)
{
    return strcmp((*(const svl_function_t *const *)one)->name, (*(const svl_function_t *const *)other)->name);
}

static json_t *seconds_of(apr_interval_time_t timeout)
{
    return timeout % APR_USEC_PER_SEC ? json_real((double)timeout / APR_USEC_PER_SEC) : json_integer(apr_time_sec(timeout));
}

static json_t *describe(const svl_function_t *function, apr_pool_t *p)
{
    json_t *object = json_object();
    set_text(object, "name", function->name);
    /* A companion's summary that is no UTF-8 is left out, not the function. */
    set_text(object, "summary", function->summary);
    if (!json_object_get(object, "summary")) {
        set(object, "summary", json_null());
    }
    set_text(object, "scope", svl_status_scope_name(function->scope));
    set_text(object, "nodes", function->set->name);
    set_text(object, "mode", svl_route_mode_name(function->arity, p));
    set(object, "timeout", seconds_of(function->timeout));
    /* What was cut short in one child is not run again: the memory that it was to change is gone. */
    set_text(object, "on_crash",
             function->scope == SERVICELESS_SCOPE_CHILD ? NULL : svl_settings_on_crash_name(function->on_crash));
    return object;
}

static apr_status_t functions(const serviceless_call_t *call, const svl_node_t *node, json_t **result)
{
    const unsigned int count = apr_hash_count(node->functions);
    const svl_function_t **sorted = apr_palloc(call->pool, count * sizeof(*sorted));
    unsigned int filled = 0;
    apr_status_t rv = no_arguments(call, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    for (apr_hash_index_t *hi = apr_hash_first(call->pool, node->functions); hi; hi = apr_hash_next(hi)) {
        sorted[filled++] = apr_hash_this_val(hi);
    }
    qsort(sorted, filled, sizeof(*sorted), by_name);
    *result = json_array();
    for (unsigned int i = 0; i < filled; i++) {
        json_array_append_new(*result, describe(sorted[i], call->pool));
    }
    return APR_SUCCESS;
}

/* An entry of the log, copied out of it. */
typedef struct held_t {
    svl_store_record_t record;
    const char *text; /* NUL-terminated, or NULL */
    const svl_call_line_t *line;
} held_t;

/* @return APR_SUCCESS; APR_NOTFOUND: not held, or held without its content; else the log failed */
static apr_status_t look_up(held_t *held, svl_store_t *store, const char *id, apr_pool_t *p)
{
    svl_store_reader_t *reader;
    apr_uint64_t position;
    const char *text = NULL;
    svl_call_line_t *line = NULL;
    apr_status_t rv = svl_store_read_begin(&reader, store);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = svl_store_find(reader, id, &position);
    if (rv == APR_SUCCESS) {
        rv = svl_store_get(reader, position, 1, &held->record);
    }
    if (rv == APR_SUCCESS && held->record.line) {
        text = apr_pstrmemdup(p, held->record.line, held->record.length);
        held->text = held->record.text ? apr_pstrmemdup(p, held->record.text, held->record.text_length) : NULL;
    }
    svl_store_read_end(reader);
    if (text) {
        svl_call_parse_line(&line, text, held->record.length, NULL, p);
    }
    held->line = line;
    return rv == APR_SUCCESS && !line ? APR_NOTFOUND : rv;
}

/* The result, as far as an answer has room for it, or the words of another outcome. */
static void set_ending(json_t *object, const held_t *held, const svl_node_t *node, apr_pool_t *p)
{
    const svl_store_record_t *record = &held->record;
    json_t *value = NULL;
    const char *detail = NULL;
    if (record->dropped) {
        detail = "what it returned or said was not kept: the log was full";
    }
    else if (record->outcome != SVL_OUTCOME_OK) {
        detail = held->text;
    }
    else if (!held->text) {
        value = json_null();
    }
    else if (record->text_length + TOLD_AROUND > node->max_body
             || svl_json_parse(&value, held->text, record->text_length, NULL, p) != APR_SUCCESS
             || !svl_json_fits(value, SVL_JSON_RESULT_DEPTH - 1)) {
        value = NULL;
        detail = apr_psprintf(p,
                              "the result, %" APR_SIZE_T_FMT " bytes, is too large or nested too deeply to be told here; "
                              "the command `serviceless log --json` on node %s shows it",
                              record->text_length, node->name);
    }
    if (value) {
        set(object, "result", json_incref(value));
    }
    if (detail) {
        set_text(object, "detail", detail);
    }
}

static json_t *tell(const held_t *held, const svl_node_t *node, apr_pool_t *p)
{
    const svl_call_line_t *line = held->line;
    const svl_store_record_t *record = &held->record;
    const svl_function_t *function = svl_registry_find(node, line->function);
    json_t *object = json_object();
    set_text(object, "id", line->id);
    set_text(object, "function", line->function);
    set_text(object, "origin", line->origin);
    set_text(object, "set", line->set);
    set_text(object, "epoch", line->epoch);
    set(object, "seq", json_integer((json_int_t)line->seq));
    set(object, "issued", json_integer(line->issued));
    set(object, "arrived", json_integer(apr_time_as_msec(record->arrived)));
    set_text(object, "outcome", svl_call_outcome_name(record->outcome));
    if (record->ended && function && function->allow) {
        set_text(object, "detail", "not told here: ServicelessFunction … allow= says who may call this function");
    }
    else if (record->ended) {
        set_ending(object, held, node, p);
    }
    if (record->ended) {
        set(object, "ms", json_real((double)record->micros / 1000));
        set(object, "ended", json_integer(apr_time_as_msec(record->ended)));
    }
    else if (record->outcome == SVL_OUTCOME_PENDING) {
        const char *progress = svl_children_progress(node, function, record->position, p);
        if (progress) {
            set_text(object, "detail", progress);
        }
    }
    return object;
}

/* @return the id that is asked for; NULL: the arguments are not that */
static const char *asked_id(const serviceless_call_t *call)
{
    json_t *named = json_object_get(call->kwargs, "id");
    const json_t *value = json_array_size(call->args) ? json_array_get(call->args, 0) : named;
    const char *id = json_string_value(value);
    if (json_array_size(call->args) + json_object_size(call->kwargs) != 1 || !id || !svl_name_is_id(id, strlen(id))) {
        return NULL;
    }
    return id;
}

/* In the largest unit that it is a whole number of. */
static const char *duration(apr_interval_time_t time, apr_pool_t *p)
{
    const apr_int64_t seconds = apr_time_sec(time);
    return seconds % 3600 == 0 ? apr_psprintf(p, "%" APR_INT64_T_FMT " h", seconds / 3600)
           : seconds % 60 == 0 ? apr_psprintf(p, "%" APR_INT64_T_FMT " min", seconds / 60)
                               : apr_psprintf(p, "%" APR_INT64_T_FMT " s", seconds);
}

static apr_status_t outcome(const serviceless_call_t *call, const svl_node_t *node, json_t **result)
{
    const svl_runtime_t *runtime = svl_runtime_of(node);
    const char *id = asked_id(call);
    held_t held = {0};
    char text[160];
    apr_status_t rv;
    if (!id) {
        return wrong(result, APR_EINVAL,
                     apr_psprintf(call->pool, "%s takes one argument, the id of a call: a string of 1 to %d of A-Z a-z 0-9 _ -",
                                  call->function, SVL_NAME_ID_MAX));
    }
    rv = runtime ? look_up(&held, runtime->store, id, call->pool) : APR_EINIT;
    if (rv == APR_NOTFOUND) {
        return wrong(result, rv,
                     apr_pstrcat(call->pool, "not held here: it never came, or is older than the retention, ",
                                 duration(node->retention, call->pool), NULL));
    }
    if (rv != APR_SUCCESS) {
        return wrong(result, rv,
                     apr_psprintf(call->pool, "the log of node %s cannot be read: %s", node->name,
                                  svl_fault_strerror(rv, text, sizeof(text))));
    }
    *result = tell(&held, node, call->pool);
    return APR_SUCCESS;
}

static const struct {
    const char *name;
    body_t *body;
    const char *summary;
} builtins[] = {
    {"serviceless.ping", ping, "Tells the node's name, versions, clock and uptime"},
    {"serviceless.functions", functions, "Lists the functions that the node has"},
    {"serviceless.outcome", outcome, "Tells what became of a call here; its argument is the call's id"},
};

static apr_status_t run(const serviceless_call_t *call, json_t **result, void *baton)
{
    return builtins[(apr_uintptr_t)baton].body(call, svl_config_node(call->server), result);
}

void svl_builtin_register(void)
{
    for (apr_uintptr_t i = 0; i < sizeof(builtins) / sizeof(*builtins); i++) {
        const serviceless_options_t options = {.summary = builtins[i].summary};
        svl_registry_add_own(builtins[i].name, run, (void *)i, &options);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file mod_table.c
 * @brief A companion for tests of scope child: a "table", which is one number in a file, that each child process keeps in its memory.
 *
 * `TableFile path`: the number.  A child reads it when it starts, and when table.reload runs; the handler `table` answers with the pid and
 * the number that the child has.  `TableLog path`: each child appends, in one write each, `began PID - NUMBER` when it starts,
 * `FUNCTION PID ID NUMBER` for each run, and `missed PID - CALLS`.  Functions, all of scope child:
 *   table.reload            returns the number
 *   table.fail PID…         fails in these children, in all when none is named
 *   table.sleep SECONDS PID…  sleeps in these children
 *   table.crash PID…        ends these children by SIGSEGV
 *   table.nested            calls table.reload from inside, and returns the outcome of that
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_optional.h>
#include <apr_strings.h>
#include <httpd.h>
#include <http_config.h>
#include <http_log.h>
#include <http_protocol.h>

#include "mod_serviceless.h"

module AP_MODULE_DECLARE_DATA table_module;

static const char *table_path, *log_path;
static int log_file = -1;  /* opened by the parent, inherited by its children */
static apr_uint64_t table; /* atomic */

static void read_table(void)
{
    char text[32] = "";
    int file = table_path ? open(table_path, O_RDONLY | O_CLOEXEC) : -1;

    if (file >= 0) {
        ssize_t length = read(file, text, sizeof(text) - 1);
        if (length > 0) {
            __atomic_store_n(&table, strtoull(text, NULL, 10), __ATOMIC_RELEASE);
        }
        close(file);
    }
}

static apr_status_t note(const char *what, const char *id, apr_uint64_t number)
{
    char line[256];
    int length = snprintf(line, sizeof(line), "%s %d %s %llu\n", what, (int)getpid(), id, (unsigned long long)number);

    return log_file >= 0 && write(log_file, line, (size_t)length) == length ? APR_SUCCESS : APR_EGENERAL;
}

/* @return nonzero when the arguments from `first` on name this process, or none */
static int concerns(const serviceless_call_t *call, size_t first)
{
    size_t count = json_array_size(call->args);

    for (size_t i = first; i < count; i++) {
        if (json_integer_value(json_array_get(call->args, i)) == getpid()) {
            return 1;
        }
    }
    return count <= first;
}

static apr_status_t run_reload(const serviceless_call_t *call, json_t **result, void *baton)
{
    (void)baton;
    read_table();
    *result = json_integer((json_int_t)table);
    return call->child ? note(call->function, call->id, table) : APR_EINVAL;
}

static apr_status_t run_fail(const serviceless_call_t *call, json_t **result, void *baton)
{
    (void)baton;
    note(call->function, call->id, 0);
    if (!concerns(call, 0)) {
        return APR_SUCCESS;
    }
    *result = json_string("no such table");
    return APR_EGENERAL;
}

static apr_status_t run_sleep(const serviceless_call_t *call, json_t **result, void *baton)
{
    apr_time_t end = apr_time_now() + (apr_time_t)(json_number_value(json_array_get(call->args, 0)) * APR_USEC_PER_SEC);

    (void)result;
    (void)baton;
    while (concerns(call, 1) && apr_time_now() < end) {
        apr_sleep(end - apr_time_now() + 1);
    }
    return note(call->function, call->id, 0);
}

static apr_status_t run_crash(const serviceless_call_t *call, json_t **result, void *baton)
{
    (void)result;
    (void)baton;
    note(call->function, call->id, 0);
    if (concerns(call, 0)) {
        raise(SIGSEGV);
    }
    return APR_SUCCESS;
}

static apr_status_t run_nested(const serviceless_call_t *call, json_t **result, void *baton)
{
    APR_OPTIONAL_FN_TYPE(serviceless_call) *invoke = APR_RETRIEVE_OPTIONAL_FN(serviceless_call);
    const serviceless_call_options_t options = {.id = json_string_value(json_array_get(call->args, 0))};
    serviceless_outcome_t outcome;
    apr_status_t rv;

    (void)baton;
    note(call->function, call->id, 0);
    rv = invoke(call->server, call->pool, "table.reload", NULL, NULL, &options, &outcome);
    *result = json_string(rv == APR_SUCCESS ? outcome.outcome : "refused");
    return rv;
}

static void missed(server_rec *s, apr_pool_t *p, const char *function, apr_uint64_t calls, void *baton)
{
    (void)s;
    (void)p;
    (void)function;
    (void)baton;
    note("missed", "-", calls);
}

static int handler(request_rec *r)
{
    if (!r->handler || strcmp(r->handler, "table") != 0) {
        return DECLINED;
    }
    ap_set_content_type(r, "text/plain");
    ap_rprintf(r, "%d %" APR_UINT64_T_FMT "\n", (int)getpid(), __atomic_load_n(&table, __ATOMIC_ACQUIRE));
    return OK;
}

static void child_init(apr_pool_t *p, server_rec *s)
{
    (void)p;
    (void)s;
    read_table();
    note("began", "-", table);
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    static const struct {
        const char *name;
        serviceless_function_t *function;
    } functions[] = {{"table.reload", run_reload},
                     {"table.fail", run_fail},
                     {"table.sleep", run_sleep},
                     {"table.crash", run_crash},
                     {"table.nested", run_nested}};
    APR_OPTIONAL_FN_TYPE(serviceless_register_function) *enrol = APR_RETRIEVE_OPTIONAL_FN(serviceless_register_function);

    (void)pconf;
    (void)plog;
    (void)ptemp;
    (void)s;
    if (log_path && log_file < 0) {
        log_file = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    }
    for (size_t i = 0; enrol && i < sizeof(functions) / sizeof(*functions); i++) {
        const serviceless_options_t options = {.scope = SERVICELESS_SCOPE_CHILD, .missed = i ? NULL : missed};
        if (enrol(NULL, functions[i].name, functions[i].function, NULL, &options) != APR_SUCCESS) {
            return HTTP_INTERNAL_SERVER_ERROR;
        }
    }
    return enrol ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

static const char *set_path(cmd_parms *cmd, void *dir, const char *path)
{
    (void)dir;
    *(const char **)cmd->info = ap_server_root_relative(cmd->pool, path);
    return NULL;
}

static const command_rec commands[] = {
    AP_INIT_TAKE1("TableFile", set_path, &table_path, RSRC_CONF, "the file with the number"),
    AP_INIT_TAKE1("TableLog", set_path, &log_path, RSRC_CONF, "the file that notes each run"),
    {NULL}};

static void register_hooks(apr_pool_t *p)
{
    (void)p;
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(table) = {STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, commands, register_hooks, AP_MODULE_FLAG_NONE};

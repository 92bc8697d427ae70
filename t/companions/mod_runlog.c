/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file mod_runlog.c
 * @brief A companion for tests: functions that note each of their runs in a file, so that a test can count them from outside.
 *
 * `RunlogFile path`, once a server.  Functions: runlog.note returns its arguments; runlog.fail fails with its first argument as
 * the words; runlog.fail_on fails on the nodes that its arguments name; runlog.sleep sleeps as many seconds as its first argument says; runlog.crash ends its process; runlog.allocate takes
 * memory of the run's pool.  Each run appends, before anything else, one line in
 * one write to a file opened for appending, so that lines of several processes never mix:
 *     id node pid time function origin seq rerun args
 * time is in microseconds since 1970; rerun is 1 for a run that is one, else 0; args is compact JSON without spaces of its own, and
 * ends the line.  A function that is told of missed calls notes `missed - pid time function - 0 0 calls`; while there is a file of the
 * same name with .hold after it, it first writes its pid to that one and waits until it is gone.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <apr_file_io.h>
#include <apr_optional.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

#include "mod_serviceless.h"

#define RUNLOG_SECONDS_MAX 60.0
#define RUNLOG_BYTES_MAX (64 << 20)

module AP_MODULE_DECLARE_DATA runlog_module;

typedef struct runlog_server_t {
    const char *path;
    apr_file_t *file; /* opened by the parent, inherited by its children */
} runlog_server_t;

static apr_status_t write_line(const runlog_server_t *conf, const char *line)
{
    apr_size_t length = strlen(line), written = length;
    apr_status_t rv = conf->file ? apr_file_write(conf->file, line, &written) : APR_EINIT;

    if (rv == APR_SUCCESS && written != length) {
        rv = APR_ENOSPC;
    }
    return rv;
}

static apr_status_t note(const serviceless_call_t *call)
{
    runlog_server_t *conf = ap_get_module_config(call->server->module_config, &runlog_module);
    char *args, *line;

    args = json_dumps(call->args, JSON_COMPACT);
    line = apr_psprintf(call->pool, "%s %s %" APR_PID_T_FMT " %" APR_TIME_T_FMT " %s %s %" APR_UINT64_T_FMT " %d %s\n",
                        call->id, call->node, getpid(), apr_time_now(), call->function, call->origin, call->seq,
                        call->rerun != 0, args ? args : "[]"); /* a run is noted also when memory is short */
    free(args);
    return write_line(conf, line);
}

static apr_status_t run_note(const serviceless_call_t *call, json_t **result, void *baton)
{
    apr_status_t rv = note(call);

    (void)baton;
    if (rv == APR_SUCCESS) {
        *result = json_incref(call->args);
    }
    return rv;
}

static apr_status_t run_fail(const serviceless_call_t *call, json_t **result, void *baton)
{
    apr_status_t rv = note(call);
    json_t *words = json_array_get(call->args, 0);

    (void)baton;
    if (rv == APR_SUCCESS && json_is_string(words)) {
        *result = json_incref(words);
    }
    return rv == APR_SUCCESS ? APR_EGENERAL : rv;
}

static apr_status_t run_fail_on(const serviceless_call_t *call, json_t **result, void *baton)
{
    apr_status_t rv = note(call);
    size_t i;
    json_t *name;

    (void)baton;
    json_array_foreach(call->args, i, name)
    {
        if (rv == APR_SUCCESS && json_is_string(name) && strcmp(json_string_value(name), call->node) == 0) {
            *result = json_string("this is one of them");
            return APR_EGENERAL;
        }
    }
    return rv;
}

/* apr_sleep ends early when a signal comes, and the worker MPM signals its threads when it stops. */
static void sleep_whole(apr_interval_time_t interval)
{
    apr_time_t end = apr_time_now() + interval;

    for (apr_time_t now = apr_time_now(); now < end; now = apr_time_now()) {
        apr_sleep(end - now);
    }
}

static apr_status_t run_sleep(const serviceless_call_t *call, json_t **result, void *baton)
{
    apr_status_t rv = note(call);
    double seconds = json_number_value(json_array_get(call->args, 0));

    (void)baton;
    if (rv == APR_SUCCESS) {
        if (!(seconds >= 0 && seconds <= RUNLOG_SECONDS_MAX)) {
            return APR_EINVAL;
        }
        sleep_whole((apr_interval_time_t)(seconds * APR_USEC_PER_SEC));
        *result = json_real(seconds);
    }
    return rv;
}

/* Ends the process, as a bug in a function would: at once, or with the argument "segv" by SIGSEGV.  With "once" a rerun does not. */
static apr_status_t run_crash(const serviceless_call_t *call, json_t **result, void *baton)
{
    apr_status_t rv = note(call);
    const char *word = json_string_value(json_array_get(call->args, 0));

    (void)result;
    (void)baton;
    word = word ? word : "";
    if (rv == APR_SUCCESS && !(strcmp(word, "once") == 0 && call->rerun)) {
        raise(strcmp(word, "segv") == 0 ? SIGSEGV : SIGKILL);
    }
    return rv;
}

/* Takes as many bytes of the run's pool as its first argument says, and uses them; returns a string of the length of its second. */
static apr_status_t run_allocate(const serviceless_call_t *call, json_t **result, void *baton)
{
    apr_status_t rv = note(call);
    json_int_t size = json_integer_value(json_array_get(call->args, 0));
    json_int_t length = json_integer_value(json_array_get(call->args, 1));
    char *bytes;

    (void)baton;
    if (rv == APR_SUCCESS) {
        if (size < 1 || size > RUNLOG_BYTES_MAX || length < 0 || length > size) {
            return APR_EINVAL;
        }
        bytes = apr_palloc(call->pool, (apr_size_t)size);
        memset(bytes, 'x', (apr_size_t)size);
        *result = json_stringn(bytes, (size_t)length);
    }
    return rv;
}

static void run_missed(server_rec *s, apr_pool_t *p, const char *function, apr_uint64_t calls, void *baton)
{
    runlog_server_t *conf = ap_get_module_config(s->module_config, &runlog_module);
    const char *hold = apr_pstrcat(p, conf->path, ".hold", NULL);
    apr_file_t *file;

    (void)baton;
    if (apr_file_open(&file, hold, APR_FOPEN_WRITE | APR_FOPEN_APPEND, APR_FPROT_OS_DEFAULT, p) == APR_SUCCESS) {
        apr_file_printf(file, "%" APR_PID_T_FMT "\n", getpid());
        apr_file_close(file);
        while (access(hold, F_OK) == 0) {
            sleep_whole(apr_time_from_msec(10));
        }
    }
    write_line(conf, apr_psprintf(p, "missed - %" APR_PID_T_FMT " %" APR_TIME_T_FMT " %s - 0 0 %" APR_UINT64_T_FMT "\n",
                                  getpid(), apr_time_now(), function, calls));
    ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s, "mod_runlog: %s missed %" APR_UINT64_T_FMT " calls", function, calls);
}

static const struct {
    const char *name;
    serviceless_function_t *function;
} functions[] = {
    {"runlog.note", run_note},   {"runlog.fail", run_fail},   {"runlog.fail_on", run_fail_on},
    {"runlog.sleep", run_sleep}, {"runlog.crash", run_crash}, {"runlog.allocate", run_allocate},
};

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    APR_OPTIONAL_FN_TYPE(serviceless_register_function) *enrol = APR_RETRIEVE_OPTIONAL_FN(serviceless_register_function);
    const serviceless_options_t options = {.missed = run_missed};
    apr_size_t i;

    (void)plog;
    (void)ptemp;
    if (!enrol) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, "mod_runlog: mod_serviceless is not loaded");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        apr_status_t rv = enrol(NULL, functions[i].name, functions[i].function, NULL, &options);

        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, "mod_runlog: cannot register %s", functions[i].name);
            return HTTP_INTERNAL_SERVER_ERROR;
        }
    }
    for (; s; s = s->next) {
        runlog_server_t *conf = ap_get_module_config(s->module_config, &runlog_module);
        apr_status_t rv;

        if (!conf->path || conf->file) {
            continue;
        }
        rv = apr_file_open(&conf->file, conf->path, APR_FOPEN_WRITE | APR_FOPEN_CREATE | APR_FOPEN_APPEND, APR_FPROT_OS_DEFAULT,
                           pconf);
        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, "mod_runlog: cannot open %s", conf->path);
            return HTTP_INTERNAL_SERVER_ERROR;
        }
    }
    return OK;
}

static void *create_server(apr_pool_t *p, server_rec *s)
{
    (void)s;
    return apr_pcalloc(p, sizeof(runlog_server_t));
}

static void *merge_server(apr_pool_t *p, void *base, void *add)
{
    runlog_server_t *merged = apr_pmemdup(p, add, sizeof(*merged));

    if (!merged->path) {
        merged->path = ((runlog_server_t *)base)->path;
    }
    return merged;
}

static const char *set_file(cmd_parms *cmd, void *dir, const char *path)
{
    runlog_server_t *conf = ap_get_module_config(cmd->server->module_config, &runlog_module);

    (void)dir;
    conf->path = ap_server_root_relative(cmd->pool, path);
    return conf->path ? NULL : apr_pstrcat(cmd->pool, "RunlogFile: invalid path ", path, NULL);
}

static const command_rec commands[] = {AP_INIT_TAKE1("RunlogFile", set_file, NULL, RSRC_CONF, "the file that notes each run"),
                                       {NULL}};

static void register_hooks(apr_pool_t *p)
{
    (void)p;
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(runlog) = {STANDARD20_MODULE_STUFF, NULL, NULL, create_server, merge_server, commands, register_hooks,
                             AP_MODULE_FLAG_NONE};

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file mod_backtrace.c
 * @brief A module for tests: a child that faults first writes where, so that a crash says whose it is.
 *
 * `BacktraceDirectory path`, which the children may write to: the frames of the thread that faulted, one a line, go to path/backtrace.PID.
 * Then the fault takes its way as without this module.
 */
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <httpd.h>
#include <http_config.h>

#define FRAMES_MAX 64

static const int faults[] = {SIGSEGV, SIGABRT, SIGFPE, SIGILL};
#define FAULTS (sizeof(faults) / sizeof(*faults))

static const char *directory;
static char path[APR_PATH_MAX];
static struct sigaction before[FAULTS];

module AP_MODULE_DECLARE_DATA backtrace_module;

static void on_fault(int fault)
{
    void *frames[FRAMES_MAX];
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

    if (file >= 0) {
        backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), file);
        close(file);
    }
    for (size_t i = 0; i < FAULTS; i++) {
        sigaction(faults[i], &before[i], NULL);
    }
    raise(fault); /* blocked until this returns */
}

/* First of all in a child: it may be told to stop before its modules are. */
static void in_child(void)
{
    struct sigaction action = {.sa_handler = on_fault}, old;

    snprintf(path, sizeof(path), "%s/backtrace.%d", directory, (int)getpid());
    for (size_t i = 0; i < FAULTS; i++) {
        if (sigaction(faults[i], &action, &old) == 0 && old.sa_handler != on_fault) { /* else a child of a child */
            before[i] = old;
        }
    }
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    void *frame;

    (void)pconf;
    (void)plog;
    (void)ptemp;
    (void)s;
    (void)backtrace(&frame, 1); /* loads what it needs, which a handler must not do */
    return !directory || pthread_atfork(NULL, NULL, in_child) == 0 ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

static const char *set_directory(cmd_parms *cmd, void *dir, const char *argument)
{
    (void)dir;
    directory = ap_server_root_relative(cmd->pool, argument);
    return directory ? NULL : "BacktraceDirectory: invalid path";
}

static const command_rec commands[] = {
    AP_INIT_TAKE1("BacktraceDirectory", set_directory, NULL, RSRC_CONF, "where children that fault write their frames"),
    {NULL}};

static void register_hooks(apr_pool_t *p)
{
    (void)p;
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_REALLY_FIRST);
}

AP_DECLARE_MODULE(backtrace) = {STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, commands, register_hooks, AP_MODULE_FLAG_NONE};

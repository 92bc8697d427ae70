/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mod_serviceless: runs a function on every node of a fleet of httpd servers, with no other service.
 *
 *   configuration   config.c, check.c       directives into svl_node_t
 *   post_config     registry.c, prepare.c   companions' functions, shared numbers, the logs
 *   child_init      runtime.c               log, relay and runs of a child
 *   each second     maintain.c              the child's maintenance thread, which also leaves
 *   before one      children.c              what every child process is to run, and this one has not yet
 *   a request       endpoint.c              verify, parse, then invoke.c (clients) or receive.c (other nodes)
 *   reply all       gather.c, await.c       asks every node of a set at once; waits for runs
 *   a companion     call.c                  into invoke.c as well
 *   about itself    builtin.c               functions of the module's own
 *   status          status.c
 */
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>
#include <mpm_common.h>

#include "call.h"
#include "children.h"
#include "config.h"
#include "endpoint.h"
#include "maintain.h"
#include "place.h"
#include "prepare.h"
#include "registry.h"
#include "runtime.h"
#include "status.h"

static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    (void)plog;
    (void)ptemp;
    svl_registry_open(pconf);
    return OK;
}

static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    (void)plog;
    return svl_config_check(pconf, ptemp, s);
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    (void)plog;
    return svl_prepare(pconf, ptemp, s);
}

static void child_status(server_rec *s, pid_t pid, ap_generation_t generation, int slot, mpm_child_status status)
{
    (void)generation;
    (void)slot;
    if (status == MPM_CHILD_EXITED) {
        svl_place_ended(s, pid);
    }
}

static int before_request(request_rec *r)
{
    svl_children_before_request(r);
    return DECLINED;
}

/* Registered after those of all companions, it runs before them: what their functions use is there until the last call has ended. */
static void child_ready(apr_pool_t *pchild, server_rec *s)
{
    (void)s;
    apr_pool_pre_cleanup_register(pchild, NULL, svl_maintain_wait);
}

static void child_stopping(apr_pool_t *pchild, int graceful)
{
    (void)pchild;
    svl_place_leave();
    svl_maintain_told(graceful);
}

static void register_hooks(apr_pool_t *p)
{
    (void)p;
    APR_REGISTER_OPTIONAL_FN(serviceless_register_function);
    APR_REGISTER_OPTIONAL_FN(serviceless_call);
    APR_REGISTER_OPTIONAL_FN(serviceless_call_all);
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_MIDDLE);
    /* Last, after every companion has registered. */
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_REALLY_LAST);
    /* First, so that companions may call in their own child_init. */
    ap_hook_child_init(svl_runtime_start, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_child_init(child_ready, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_child_stopping(child_stopping, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_status(child_status, NULL, NULL, APR_HOOK_MIDDLE);
    /* First, so that companions find their state up to date in their own. */
    ap_hook_post_read_request(before_request, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(svl_endpoint_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(svl_status_handler, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(serviceless) = {
    STANDARD20_MODULE_STUFF, NULL, NULL, svl_config_create, svl_config_merge, svl_config_commands, register_hooks,
    AP_MODULE_FLAG_NONE};

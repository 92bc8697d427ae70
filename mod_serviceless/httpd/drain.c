/* SPDX-License-Identifier: Apache-2.0 */
#include "drain.h"

#include <http_log.h>

#include "links.h"
#include "run.h"
#include "sync.h"

#define LOOK apr_time_from_msec(2) /* between two looks at what is still to be relayed */

APLOG_USE_MODULE(serviceless);

void svl_drain_flush(const apr_array_header_t *runtimes)
{
    for (int i = 0; i < svl_runtimes_count(runtimes); i++) {
        svl_store_flush(svl_runtimes_at(runtimes, i)->store);
    }
}

/* What was accepted a moment ago is still handed on: nobody else looks for it as soon. */
static void drain_relays(const apr_array_header_t *runtimes, apr_time_t deadline)
{
    apr_uint32_t backlog = 1;
    while (backlog && apr_time_now() < deadline) {
        backlog = 0;
        for (int i = 0; i < svl_runtimes_count(runtimes); i++) {
            backlog += svl_relay_backlog(svl_runtimes_at(runtimes, i)->relay);
        }
        if (backlog) {
            apr_sleep(LOOK);
        }
    }
}

static void tell_left(const svl_runtime_t *runtime, apr_status_t rv, const char *what)
{
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, runtime->node->server,
                     SVLNO(0132) "node %s: leaving though a %s has not ended after %d s; the log has what is left to do",
                     runtime->node->name, what, (int)apr_time_sec(SVL_DRAIN_WAIT));
    }
}

void svl_drain(const apr_array_header_t *runtimes, apr_time_t deadline)
{
    for (int i = 0; i < svl_runtimes_count(runtimes); i++) {
        svl_runs_leave(svl_runtimes_at(runtimes, i)->runs, deadline - SVL_DRAIN_ABORT);
    }
    for (int i = 0; i < svl_runtimes_count(runtimes); i++) {
        svl_runtime_t *runtime = svl_runtimes_at(runtimes, i);
        tell_left(runtime, svl_links_stop(runtime->links, deadline - SVL_DRAIN_ABORT), "link");
        tell_left(runtime, svl_sync_stop(runtime->sync, deadline - SVL_DRAIN_ABORT), "sync");
        tell_left(runtime, svl_runs_stop(runtime->runs, deadline - SVL_DRAIN_ABORT), "run");
    }
    drain_relays(runtimes, deadline - SVL_DRAIN_ABORT);
    for (int i = 0; i < svl_runtimes_count(runtimes); i++) {
        svl_relay_abort(svl_runtimes_at(runtimes, i)->relay);
    }
    for (int i = 0; i < svl_runtimes_count(runtimes); i++) {
        tell_left(svl_runtimes_at(runtimes, i), svl_relay_stop(svl_runtimes_at(runtimes, i)->relay, deadline), "transfer");
    }
    svl_drain_flush(runtimes);
}

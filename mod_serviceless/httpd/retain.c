/* SPDX-License-Identifier: Apache-2.0 */
#include "retain.h"

#include <http_log.h>

#include "shared.h"

#define PRUNE_MAX 500  /* entries of one transaction, for which callers wait */
#define PRUNE_STEPS 40 /* of one turn: 20,000 calls a second, more than are accepted for long */

#define FORGET_MAX 1000 /* streams of one turn, for which all of them are read … */
#define FORGET_EVERY apr_time_from_sec(60) /* … and that is not to be done each second */
#define FORGET_LATER apr_time_from_sec(86400)

APLOG_USE_MODULE(serviceless);

static apr_time_t newest_arrival(svl_store_t *store)
{
    svl_store_reader_t *reader;
    svl_store_record_t record = {.position = 0};
    apr_time_t arrived = 0;
    if (svl_store_read_begin(&reader, store) != APR_SUCCESS) {
        return 0;
    }
    if (svl_store_next(reader, 1, 0, &record) == APR_SUCCESS) {
        arrived = record.arrived;
    }
    svl_store_read_end(reader);
    return arrived;
}

/* The state is the leader's alone; only what comes of it is read by others. */
static void look_at_clocks(svl_runtime_t *runtime)
{
    svl_node_t *node = runtime->node;
    svl_clock_t *clock = &node->shared->clock;
    svl_clock_look_t look = {
        .now = apr_time_now(),
        .monotonic = svl_transport_monotonic(),
        .retention = node->retention,
        .tolerance = node->tolerance,
    };
    look.newest = clock->since ? 0 : newest_arrival(runtime->store);
    look.peers = svl_peer_clock(node->peers, node->count, look.monotonic - node->retention);
    __atomic_store_n(&node->shared->reference, svl_clock_turn(clock, &look), __ATOMIC_RELAXED);
    __atomic_store_n(&node->shared->due, clock->due, __ATOMIC_RELAXED);
}

static void prune(svl_runtime_t *runtime, apr_time_t before)
{
    unsigned int pruned = PRUNE_MAX;
    char text[160];
    for (int i = 0; i < PRUNE_STEPS && pruned == PRUNE_MAX; i++) {
        apr_status_t rv = svl_store_prune(runtime->store, before, PRUNE_MAX, &pruned);
        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server, SVLNO(0194) "node %s: old calls cannot be pruned: %s",
                         runtime->node->name, svl_fault_strerror(rv, text, sizeof(text)));
            return;
        }
    }
}

/* Two retentions after their newest call, and a day: when a retention is shortened on one node after the other, those that come first
 * must not forget what others still hold, or they would count it as missed. */
static void forget_streams(svl_runtime_t *runtime, apr_time_t now)
{
    apr_interval_time_t retention = runtime->node->retention;
    apr_interval_time_t every = retention / 4 < FORGET_EVERY ? retention / 4 : FORGET_EVERY;
    unsigned int forgotten = 0;
    char text[160];
    apr_status_t rv;
    if (now - runtime->forgot < every && now >= runtime->forgot) {
        return;
    }
    runtime->forgot = now;
    rv = svl_store_forget_streams(runtime->store, svl_retain_since(runtime->node, now) - retention - FORGET_LATER, FORGET_MAX,
                                  &forgotten);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server,
                     SVLNO(0333) "node %s: old streams cannot be forgotten: %s", runtime->node->name,
                     svl_fault_strerror(rv, text, sizeof(text)));
    }
    else if (forgotten) {
        ap_log_error(APLOG_MARK, APLOG_DEBUG, 0, runtime->node->server, "node %s: %u streams of old epochs are forgotten",
                     runtime->node->name, forgotten);
    }
}

void svl_retain_turn(svl_runtime_t *runtime)
{
    apr_time_t now = apr_time_now();
    look_at_clocks(runtime);
    prune(runtime, svl_retain_since(runtime->node, now));
    forget_streams(runtime, now);
}

apr_time_t svl_retain_since(const svl_node_t *node, apr_time_t now)
{
    return svl_clock_retained(SVL_READ(node->shared->reference), now, svl_transport_monotonic()) - node->retention;
}

apr_time_t svl_retain_due(const svl_node_t *node, apr_time_t now)
{
    return svl_clock_retained(SVL_READ(node->shared->due), now, svl_transport_monotonic());
}

apr_time_t svl_retain_stamp(const svl_node_t *node, apr_time_t now)
{
    return svl_clock_stamp(SVL_READ(node->shared->reference), now, svl_transport_monotonic(), node->tolerance);
}

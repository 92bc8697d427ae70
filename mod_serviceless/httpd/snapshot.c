/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot.h"

#include <stdlib.h>
#include <string.h>

#include <http_log.h>
#include <scoreboard.h>

#include "missing.h"
#include "place.h"
#include "runtime.h"

APLOG_USE_MODULE(serviceless);

static void read_histogram(svl_snapshot_histogram_t *to, const svl_histogram_t *from)
{
    apr_uint64_t count = 0;

    for (int i = 0; i < SVL_HISTOGRAM_BUCKETS; i++) {
        count += SVL_READ(from->buckets[i]);
        to->counts[i] = count;
    }
    to->sum = SVL_READ(from->sum);
}

static void read_function(svl_snapshot_function_t *to, const char *name, const svl_function_t *function,
                          const svl_shared_function_t *from)
{
    to->name = name;
    to->function = function;
    for (int i = 0; i < SVL_OUTCOME_COUNT; i++) {
        to->outcomes[i] = SVL_READ(from->outcomes[i]);
    }
    read_histogram(&to->seconds, &from->seconds);
}

static int by_name(const void *one, const void *other)
{
    return strcmp(((const svl_snapshot_function_t *)one)->name, ((const svl_snapshot_function_t *)other)->name);
}

static void read_functions(svl_snapshot_t *snapshot, const svl_node_t *node, apr_pool_t *p)
{
    int count = 0;

    snapshot->functions = apr_pcalloc(p, (apr_hash_count(node->functions) + 1) * sizeof(*snapshot->functions));
    for (apr_hash_index_t *hi = apr_hash_first(p, node->functions); hi; hi = apr_hash_next(hi)) {
        const svl_function_t *function = apr_hash_this_val(hi);

        read_function(&snapshot->functions[count++], function->name, function, function->shared);
    }
    qsort(snapshot->functions, (size_t)count, sizeof(*snapshot->functions), by_name);
    /* Parentheses, which the grammar of names does not have: no function can be mistaken for it. */
    read_function(&snapshot->functions[count++], "(not loaded)", NULL, node->unknown_function);
    snapshot->function_count = count;
}

static void read_peers(svl_snapshot_t *snapshot, const svl_node_t *node, apr_pool_t *p)
{
    snapshot->peers = apr_pcalloc(p, node->count * sizeof(*snapshot->peers));
    for (apr_uint32_t i = 0; i < node->count; i++) {
        const svl_peer_state_t *from = node->peers[i];
        svl_snapshot_peer_t *to = &snapshot->peers[i];

        to->member = &node->members[i];
        to->self = i == node->self;
        to->up = to->self || !SVL_READ(from->down);
        if (to->self) {
            continue;
        }
        to->failures = SVL_READ(from->failures);
        to->down_since = to->up ? 0 : SVL_READ(from->since);
        to->last_ok = SVL_READ(from->last_ok);
        to->clock_offset = SVL_READ(from->clock_offset);
        to->calls = SVL_READ(from->calls);
        to->links = SVL_READ(from->links);
        for (int j = 0; j < SVL_PEER_RESULTS; j++) {
            to->relays[j] = SVL_READ(from->relays[j]);
        }
        for (int j = 0; j < SVL_PEER_SYNCS; j++) {
            to->syncs[j] = SVL_READ(from->syncs[j]);
        }
        to->lag = SVL_READ(from->lag);
        read_histogram(&to->seconds, &from->seconds);
    }
}

static void read_log(svl_snapshot_t *snapshot, const svl_runtime_t *runtime)
{
    svl_store_reader_t *reader;
    apr_status_t rv;

    if (!runtime || !runtime->store) {
        return;
    }
    rv = svl_store_read_begin(&reader, runtime->store);
    if (rv == APR_SUCCESS) {
        rv = svl_store_count(reader, &snapshot->log);
        svl_store_read_end(reader);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, snapshot->node->server,
                     SVLNO(0500) "node %s: the status page cannot read the log", snapshot->node->name);
        return;
    }
    snapshot->epoch = svl_store_epoch(runtime->store);
}

svl_snapshot_t *svl_snapshot_take(const svl_node_t *node, apr_pool_t *p)
{
    svl_snapshot_t *snapshot = apr_pcalloc(p, sizeof(*snapshot));

    snapshot->node = node;
    snapshot->now = apr_time_now();
    snapshot->started = ap_exists_scoreboard_image() ? ap_get_scoreboard_global()->restart_time : 0;
    read_functions(snapshot, node, p);
    read_peers(snapshot, node, p);
    for (int i = 0; i < SVL_REASON_COUNT; i++) {
        snapshot->rejected[i] = SVL_READ(node->shared->rejected[i]);
    }
    snapshot->missed = SVL_READ(node->shared->missed);
    snapshot->client_links = SVL_READ(node->shared->client_links);
    snapshot->old_children = svl_place_count_old();
    snapshot->missing = svl_missing_read(node, snapshot->missing_key);
    snapshot->reruns = SVL_READ(node->shared->reruns);
    read_log(snapshot, svl_runtime_of(node));
    return snapshot;
}

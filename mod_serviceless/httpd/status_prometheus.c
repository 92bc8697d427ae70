/* SPDX-License-Identifier: Apache-2.0 */
/*
 * https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.  Label values are names, whose grammars have
 * no quotes, backslashes or newlines: nothing needs escaping.
 */
#include <http_protocol.h>

#include "status_formats.h"

static void family(request_rec *r, const char *name, const char *type, const char *help)
{
    ap_rprintf(r, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void calls(const svl_snapshot_t *snapshot, request_rec *r)
{
    family(r, "serviceless_calls_total", "counter", "Calls that ended on this node, by outcome.");
    for (int i = 0; i < snapshot->function_count; i++) {
        const svl_snapshot_function_t *function = &snapshot->functions[i];

        for (int j = 0; j < SVL_OUTCOME_COUNT; j++) {
            /* Zeros of the two that every function has: a rate needs a value before the first event. */
            if (function->outcomes[j] || (function->function && (j == SVL_OUTCOME_OK || j == SVL_OUTCOME_ERROR))) {
                ap_rprintf(r, "serviceless_calls_total{function=\"%s\",outcome=\"%s\"} %" APR_UINT64_T_FMT "\n", function->name,
                           svl_call_outcome_name((svl_outcome_e)j), function->outcomes[j]);
            }
        }
    }
}

static void relays(const svl_snapshot_t *snapshot, request_rec *r)
{
    family(r, "serviceless_relays_total", "counter", "Requests to peers, by result.");
    for (apr_uint32_t i = 0; i < snapshot->node->count; i++) {
        const svl_snapshot_peer_t *peer = &snapshot->peers[i];

        for (int j = 0; !peer->self && j < SVL_PEER_RESULTS; j++) {
            if (peer->relays[j] || j == SVL_PEER_OK) {
                ap_rprintf(r, "serviceless_relays_total{peer=\"%s\",result=\"%s\"} %" APR_UINT64_T_FMT "\n", peer->member->name,
                           svl_peer_result_name((svl_peer_result_e)j), peer->relays[j]);
            }
        }
    }
    family(r, "serviceless_links_total", "counter", "Connections to peers that were upgraded.");
    for (apr_uint32_t i = 0; i < snapshot->node->count; i++) {
        if (!snapshot->peers[i].self) {
            ap_rprintf(r, "serviceless_links_total{peer=\"%s\"} %" APR_UINT64_T_FMT "\n", snapshot->peers[i].member->name,
                       snapshot->peers[i].links);
        }
    }
    family(r, "serviceless_peer_up", "gauge", "1: calls are relayed to the peer; 0: it is skipped.");
    for (apr_uint32_t i = 0; i < snapshot->node->count; i++) {
        if (!snapshot->peers[i].self) {
            ap_rprintf(r, "serviceless_peer_up{peer=\"%s\"} %d\n", snapshot->peers[i].member->name, snapshot->peers[i].up);
        }
    }
}

static void syncs(const svl_snapshot_t *snapshot, request_rec *r)
{
    family(r, "serviceless_syncs_total", "counter", "Comparisons of logs with peers, by result.");
    for (apr_uint32_t i = 0; i < snapshot->node->count; i++) {
        const svl_snapshot_peer_t *peer = &snapshot->peers[i];

        for (int j = 0; !peer->self && j < SVL_PEER_SYNCS; j++) {
            if (peer->syncs[j] || j == SVL_PEER_SYNC_EQUAL) {
                ap_rprintf(r, "serviceless_syncs_total{peer=\"%s\",result=\"%s\"} %" APR_UINT64_T_FMT "\n", peer->member->name,
                           svl_peer_sync_name((svl_peer_sync_e)j), peer->syncs[j]);
            }
        }
    }
    family(r, "serviceless_peer_lag_calls", "gauge",
           "Calls by which this node and the peer were apart when they last compared logs.");
    for (apr_uint32_t i = 0; i < snapshot->node->count; i++) {
        if (!snapshot->peers[i].self) {
            ap_rprintf(r, "serviceless_peer_lag_calls{peer=\"%s\"} %" APR_UINT64_T_FMT "\n", snapshot->peers[i].member->name,
                       snapshot->peers[i].lag);
        }
    }
}

static void rejected(const svl_snapshot_t *snapshot, request_rec *r)
{
    family(r, "serviceless_rejected_total", "counter", "Requests and lines that were refused, by reason.");
    for (int i = SVL_REASON_NONE + 1; i < SVL_REASON_COUNT; i++) {
        ap_rprintf(r, "serviceless_rejected_total{reason=\"%s\"} %" APR_UINT64_T_FMT "\n", svl_fault_name((svl_reason_e)i),
                   snapshot->rejected[i]);
    }
}

static void single(request_rec *r, const char *name, const char *type, apr_uint64_t value, const char *help)
{
    family(r, name, type, help);
    ap_rprintf(r, "%s %" APR_UINT64_T_FMT "\n", name, value);
}

static void histogram(request_rec *r, const char *name, const char *label, const char *value,
                      const svl_snapshot_histogram_t *histogram)
{
    const int last = SVL_HISTOGRAM_BUCKETS - 1;

    for (int i = 0; i < last; i++) {
        ap_rprintf(r, "%s_bucket{%s=\"%s\",le=\"%s\"} %" APR_UINT64_T_FMT "\n", name, label, value,
                   svl_status_seconds(svl_histogram_bounds[i], r->pool), histogram->counts[i]);
    }
    ap_rprintf(r, "%s_bucket{%s=\"%s\",le=\"+Inf\"} %" APR_UINT64_T_FMT "\n", name, label, value, histogram->counts[last]);
    ap_rprintf(r, "%s_sum{%s=\"%s\"} %.6f\n%s_count{%s=\"%s\"} %" APR_UINT64_T_FMT "\n", name, label, value,
               (double)histogram->sum / APR_USEC_PER_SEC, name, label, value, histogram->counts[last]);
}

void svl_status_prometheus(const svl_snapshot_t *snapshot, request_rec *r)
{
    calls(snapshot, r);
    relays(snapshot, r);
    syncs(snapshot, r);
    rejected(snapshot, r);
    if (snapshot->epoch) { /* a child that has no log knows nothing of it: no value is better than a wrong one */
        single(r, "serviceless_log_calls", "gauge", snapshot->log.calls, "Calls that the log holds.");
        single(r, "serviceless_pending_calls", "gauge", snapshot->log.pending,
               "Calls that were accepted and have not ended here.");
    }
    single(r, "serviceless_client_links_total", "counter", snapshot->client_links, "Connections of clients that were upgraded.");
    single(r, "serviceless_missed_calls_total", "counter", snapshot->missed, "Calls that were gone before this node got them.");
    single(r, "serviceless_old_children", "gauge", snapshot->old_children,
           "Child processes that work on with the configuration of before a graceful restart.");
    single(r, "serviceless_missing_key", "gauge", snapshot->missing != 0,
           "1: a refused request named a key that this node lacks.");
    family(r, "serviceless_function_seconds", "histogram", "How long functions ran.");
    for (int i = 0; i < snapshot->function_count; i++) {
        if (snapshot->functions[i].function) {
            histogram(r, "serviceless_function_seconds", "function", snapshot->functions[i].name,
                      &snapshot->functions[i].seconds);
        }
    }
    family(r, "serviceless_relay_seconds", "histogram", "How long acknowledged requests to peers took.");
    for (apr_uint32_t i = 0; i < snapshot->node->count; i++) {
        if (!snapshot->peers[i].self) {
            histogram(r, "serviceless_relay_seconds", "peer", snapshot->peers[i].member->name, &snapshot->peers[i].seconds);
        }
    }
}

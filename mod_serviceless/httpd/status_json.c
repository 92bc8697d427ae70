/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_strings.h>
#include <http_log.h>
#include <http_protocol.h>

#include "../core/json.h"
#include "settings.h"
#include "status_formats.h"

APLOG_USE_MODULE(serviceless);

/* json_object_set_new takes the reference, also when it fails, which is for want of memory: then the page lacks that member. */
static void set(json_t *object, const char *name, json_t *value)
{
    json_object_set_new(object, name, value);
}

static void set_text(json_t *object, const char *name, const char *text)
{
    set(object, name, text ? json_string(text) : json_null());
}

static void set_number(json_t *object, const char *name, apr_uint64_t number)
{
    set(object, name, json_integer((json_int_t)number));
}

static void set_time(json_t *object, const char *name, apr_time_t time, apr_pool_t *p)
{
    set_text(object, name, svl_status_time(time, p));
}

/* The buckets as Prometheus has them: upper bound in seconds to how many took no longer. */
static json_t *histogram_of(const svl_snapshot_histogram_t *histogram, apr_pool_t *p)
{
    json_t *object = json_object();
    json_t *buckets = json_object();

    set_number(object, "count", histogram->counts[SVL_HISTOGRAM_BUCKETS - 1]);
    set(object, "sum", json_real((double)histogram->sum / APR_USEC_PER_SEC));
    for (int i = 0; i < SVL_HISTOGRAM_BUCKETS - 1; i++) {
        set_number(buckets, svl_status_seconds(svl_histogram_bounds[i], p), histogram->counts[i]);
    }
    set(object, "buckets", buckets);
    return object;
}

static json_t *texts_of(const apr_array_header_t *texts)
{
    json_t *array = json_array();

    for (int i = 0; i < texts->nelts; i++) {
        json_array_append_new(array, json_string(APR_ARRAY_IDX(texts, i, const char *)));
    }
    return array;
}

static json_t *outcomes_of(const svl_snapshot_function_t *function)
{
    json_t *object = json_object();

    for (int i = 0; i < SVL_OUTCOME_COUNT; i++) {
        if (function->outcomes[i]) {
            set_number(object, svl_call_outcome_name((svl_outcome_e)i), function->outcomes[i]);
        }
    }
    return object;
}

static json_t *functions_of(const svl_snapshot_t *snapshot, apr_pool_t *p)
{
    json_t *object = json_object();

    for (int i = 0; i < snapshot->function_count; i++) {
        const svl_snapshot_function_t *from = &snapshot->functions[i];
        const svl_function_t *function = from->function;
        json_t *to = json_object();

        if (!function) {
            json_decref(to);
            continue;
        }
        set_text(to, "summary", function->summary);
        set_text(to, "set", function->set->name);
        set_text(to, "mode", svl_route_mode_name(function->arity, p));
        set_text(to, "scope", svl_status_scope_name(function->scope));
        set_text(to, "on_crash", svl_settings_on_crash_name(function->on_crash));
        set_number(to, "timeout_ms", (apr_uint64_t)apr_time_as_msec(function->timeout));
        set(to, "allow", function->allow ? texts_of(function->allow) : json_null());
        set(to, "calls", outcomes_of(from));
        set(to, "seconds", histogram_of(&from->seconds, p));
        set(object, from->name, to);
    }
    return object;
}

/* Of one peer, or of several. */
static json_t *syncs_of(const svl_snapshot_peer_t *peers, apr_uint32_t count)
{
    json_t *object = json_object();

    for (int i = 0; i < SVL_PEER_SYNCS; i++) {
        apr_uint64_t sum = 0;

        for (apr_uint32_t j = 0; j < count; j++) {
            sum += peers[j].syncs[i];
        }
        set_number(object, svl_peer_sync_name((svl_peer_sync_e)i), sum);
    }
    return object;
}

static int was_compared(const svl_snapshot_peer_t *peer)
{
    return peer->syncs[SVL_PEER_SYNC_EQUAL] + peer->syncs[SVL_PEER_SYNC_EXCHANGED] + peer->syncs[SVL_PEER_SYNC_PARTIAL] > 0;
}

static json_t *member_of(const svl_snapshot_peer_t *peer, apr_pool_t *p)
{
    json_t *object = json_object();
    json_t *relays = json_object();

    set_text(object, "name", peer->member->name);
    set_text(object, "url", peer->member->endpoint);
    set(object, "self", json_boolean(peer->self));
    set(object, "up", json_boolean(peer->up));
    if (peer->self) {
        json_decref(relays);
        return object;
    }
    for (int i = 0; i < SVL_PEER_RESULTS; i++) {
        set_number(relays, svl_peer_result_name((svl_peer_result_e)i), peer->relays[i]);
    }
    set_time(object, "down_since", peer->down_since, p);
    set_number(object, "failures", peer->failures);
    set_time(object, "last_ok", peer->last_ok, p);
    set(object, "clock_offset_ms", peer->last_ok ? json_real((double)peer->clock_offset / 1000) : json_null());
    set(object, "lag_calls", was_compared(peer) ? json_integer((json_int_t)peer->lag) : json_null());
    set_number(object, "calls", peer->calls);
    set_number(object, "links", peer->links);
    set(object, "relays", relays);
    set(object, "syncs", syncs_of(peer, 1));
    set(object, "seconds", histogram_of(&peer->seconds, p));
    return object;
}

static json_t *members_of(const svl_snapshot_t *snapshot, apr_pool_t *p)
{
    json_t *array = json_array();

    for (apr_uint32_t i = 0; i < snapshot->node->count; i++) {
        json_array_append_new(array, member_of(&snapshot->peers[i], p));
    }
    return array;
}

static json_t *sets_of(const svl_node_t *node, apr_pool_t *p)
{
    json_t *object = json_object();

    for (apr_hash_index_t *hi = apr_hash_first(p, node->sets); hi; hi = apr_hash_next(hi)) {
        const svl_set_t *from = apr_hash_this_val(hi);
        json_t *names = json_array();

        for (apr_uint32_t i = 0; i < from->count; i++) {
            json_array_append_new(names, json_string(node->members[from->members[i]].name));
        }
        set(object, from->name, names);
    }
    return object;
}

static json_t *missing_of(const svl_snapshot_t *snapshot, apr_pool_t *p)
{
    json_t *object = json_object();

    set_text(object, "fingerprint", snapshot->missing_key);
    set_time(object, "time", snapshot->missing, p);
    return object;
}

/* Of a secret, its fingerprint and nothing else. */
static json_t *keys_of(const svl_ring_t *ring)
{
    json_t *array = json_array();

    for (int i = 0; i < ring->keys->nelts; i++) {
        const svl_key_t *key = APR_ARRAY_IDX(ring->keys, i, const svl_key_t *);
        json_t *object = json_object();

        set_text(object, "id", key->id);
        set_text(object, "fingerprint", key->fingerprint);
        set(object, "relay", json_boolean(key->relay));
        set(object, "signs", json_boolean(key == ring->signer));
        set(object, "call", texts_of(key->calls));
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *log_of(const svl_snapshot_t *snapshot, apr_pool_t *p)
{
    json_t *object = json_object();

    set_number(object, "calls", snapshot->log.calls);
    set_number(object, "last", snapshot->log.last);
    set_number(object, "pending", snapshot->log.pending);
    set_number(object, "work", snapshot->log.work);
    set_number(object, "bytes", snapshot->log.bytes);
    set_number(object, "size", snapshot->log.size);
    set_time(object, "oldest", snapshot->log.oldest, p);
    set_text(object, "durability", snapshot->node->durable ? "fsync" : "async");
    set_number(object, "retention_s", (apr_uint64_t)apr_time_sec(snapshot->node->retention));
    return object;
}

static json_t *rejected_of(const svl_snapshot_t *snapshot)
{
    json_t *object = json_object();

    for (int i = SVL_REASON_NONE + 1; i < SVL_REASON_COUNT; i++) {
        set_number(object, svl_fault_name((svl_reason_e)i), snapshot->rejected[i]);
    }
    return object;
}

static json_t *document_of(const svl_snapshot_t *snapshot, apr_pool_t *p)
{
    const svl_snapshot_function_t *unknown = &snapshot->functions[snapshot->function_count - 1];
    json_t *object = json_object();

    set_text(object, "node", snapshot->node->name);
    set_text(object, "epoch", snapshot->epoch);
    set_text(object, "version", SVL_VERSION);
    set_text(object, "httpd", ap_get_server_description());
    set_text(object, "mpm", ap_show_mpm());
    set_number(object, "pid", (apr_uint64_t)getpid());
    set_number(object, "old_children", snapshot->old_children);
    set_time(object, "time", snapshot->now, p);
    set(object, "uptime_s", snapshot->started ? json_integer(apr_time_sec(snapshot->now - snapshot->started)) : json_null());
    set_text(object, "mode", svl_route_mode_name(snapshot->node->arity, p));
    set(object, "members", members_of(snapshot, p));
    set(object, "sets", sets_of(snapshot->node, p));
    set(object, "functions", functions_of(snapshot, p));
    set(object, "not_loaded", outcomes_of(unknown));
    set(object, "log", snapshot->epoch ? log_of(snapshot, p) : json_null());
    set_number(object, "missed", snapshot->missed);
    set_number(object, "client_links", snapshot->client_links);
    set_number(object, "reruns", snapshot->reruns);
    set(object, "rejected", rejected_of(snapshot));
    set(object, "syncs", syncs_of(snapshot->peers, snapshot->node->count));
    set(object, "keys", keys_of(snapshot->node->ring));
    set(object, "missing_key", snapshot->missing ? missing_of(snapshot, p) : json_null());
    return object;
}

void svl_status_json(const svl_snapshot_t *snapshot, request_rec *r)
{
    apr_size_t length;
    const char *text = svl_json_write(svl_json_own(document_of(snapshot, r->pool), r->pool), r->pool, &length);

    if (!text) { /* a companion's summary that is no UTF-8 was left out; so this is memory */
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, SVLNO(0501) "the status cannot be written as JSON");
        return;
    }
    ap_rwrite(text, (int)length, r);
    ap_rputs("\n", r);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <ap_mpm.h>
#include <apr_strings.h>
#include <http_protocol.h>

#include "settings.h"
#include "status_formats.h"

#define STYLE                                                                                                                  \
    "body{font:15px/1.5 sans-serif;margin:2em}table{border-collapse:collapse;margin:0 0 2em}"                                  \
    "th,td{border:1px solid #999;padding:.2em .6em;text-align:left;vertical-align:top}"

static const char *escaped(request_rec *r, const char *text)
{
    return text ? ap_escape_html(r->pool, text) : "";
}

/* A table, or a row of one: as many texts as columns, escaped here. */
static void row(request_rec *r, const char *cell, const char *const *texts, int columns)
{
    ap_rputs("<tr>", r);
    for (int i = 0; i < columns; i++) {
        ap_rprintf(r, "<%s>%s</%s>", cell, escaped(r, texts[i]), cell);
    }
    ap_rputs("</tr>\n", r);
}

static void begin_table(request_rec *r, const char *heading, const char *const *titles, int columns)
{
    ap_rprintf(r, "<h2>%s</h2>\n<table>\n", escaped(r, heading));
    row(r, "th", titles, columns);
}

static void end_table(request_rec *r)
{
    ap_rputs("</table>\n", r);
}

static const char *number(request_rec *r, apr_uint64_t value)
{
    return apr_psprintf(r->pool, "%" APR_UINT64_T_FMT, value);
}

static void facts(const svl_snapshot_t *snapshot, request_rec *r)
{
    const svl_store_counts_t *log = &snapshot->log;
    const char *const texts[][2] = {
        {"Version", SVL_VERSION},
        {"Server", apr_psprintf(r->pool, "%s, %s", ap_get_server_description(), ap_show_mpm())},
        {"Up since", svl_status_time(snapshot->started, r->pool)},
        {"Mode", svl_route_mode_name(snapshot->node->arity, r->pool)},
        {"Epoch", snapshot->epoch ? snapshot->epoch : "the log is not open"},
        {"Calls held", number(r, log->calls)},
        {"Calls pending", number(r, log->pending)},
        {"Log", apr_psprintf(r->pool, "%" APR_UINT64_T_FMT " of %" APR_UINT64_T_FMT " bytes", log->bytes, log->size)},
        {"Oldest call", svl_status_time(log->oldest, r->pool)},
        {"Calls missed", number(r, snapshot->missed)},
        {"Links given to clients", number(r, snapshot->client_links)},
        {"Old child processes", number(r, snapshot->old_children)},
        {"Key that is missing", snapshot->missing ? apr_psprintf(r->pool, "%s, as a message of %s says", snapshot->missing_key,
                                                                 svl_status_time(snapshot->missing, r->pool))
                                                  : "none"},
    };

    ap_rputs("<table>\n", r);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ap_rprintf(r, "<tr><th>%s</th><td>%s</td></tr>\n", texts[i][0], escaped(r, texts[i][1]));
    }
    end_table(r);
}

static void members(const svl_snapshot_t *snapshot, request_rec *r)
{
    static const char *const titles[] = {"Name", "URL", "State", "Failures", "Last answer", "Clock", "Calls acknowledged"};

    begin_table(r, "Nodes", titles, 7);
    for (apr_uint32_t i = 0; i < snapshot->node->count; i++) {
        const svl_snapshot_peer_t *peer = &snapshot->peers[i];
        const char *since = svl_status_time(peer->down_since, r->pool);
        const char *const texts[] = {
            peer->member->name,
            peer->member->endpoint,
            peer->self ? "this node"
            : peer->up ? "up"
                       : apr_psprintf(r->pool, "down since %s", since ? since : "just now"),
            peer->self ? NULL : number(r, peer->failures),
            svl_status_time(peer->last_ok, r->pool),
            peer->last_ok ? apr_psprintf(r->pool, "%+.3f s", (double)peer->clock_offset / APR_USEC_PER_SEC) : NULL,
            peer->self ? NULL : number(r, peer->calls),
        };

        row(r, "td", texts, 7);
    }
    end_table(r);
}

static void functions(const svl_snapshot_t *snapshot, request_rec *r)
{
    static const char *const titles[] = {"Function", "Summary", "Set",   "Mode",        "Scope",
                                         "On crash", "OK",      "Error", "Quarantined", "Other"};

    begin_table(r, "Functions", titles, 10);
    for (int i = 0; i < snapshot->function_count; i++) {
        const svl_snapshot_function_t *from = &snapshot->functions[i];
        const svl_function_t *function = from->function;
        apr_uint64_t quarantined = from->outcomes[SVL_OUTCOME_QUARANTINED];
        apr_uint64_t other = 0;

        for (int j = 0; j < SVL_OUTCOME_COUNT; j++) {
            other += j == SVL_OUTCOME_OK || j == SVL_OUTCOME_ERROR ? 0 : from->outcomes[j];
        }
        const char *const texts[] = {
            from->name,
            function ? function->summary : "calls of functions that this node does not have",
            function ? function->set->name : NULL,
            function ? svl_route_mode_name(function->arity, r->pool) : NULL,
            function ? svl_status_scope_name(function->scope) : NULL,
            function ? svl_settings_on_crash_name(function->on_crash) : NULL,
            number(r, from->outcomes[SVL_OUTCOME_OK]),
            number(r, from->outcomes[SVL_OUTCOME_ERROR]),
            number(r, quarantined),
            number(r, other - quarantined),
        };

        row(r, "td", texts, 10);
    }
    end_table(r);
}

static void keys(const svl_snapshot_t *snapshot, request_rec *r)
{
    static const char *const titles[] = {"Key", "Fingerprint", "Relays", "Calls"};
    const svl_ring_t *ring = snapshot->node->ring;

    begin_table(r, "Keys", titles, 4);
    for (int i = 0; i < ring->keys->nelts; i++) {
        const svl_key_t *key = APR_ARRAY_IDX(ring->keys, i, const svl_key_t *);
        const char *const texts[] = {
            key->id,
            key->fingerprint,
            key->relay ? key == ring->signer ? "yes, and signs" : "yes" : "no",
            apr_array_pstrcat(r->pool, key->calls, ' '),
        };

        row(r, "td", texts, 4);
    }
    end_table(r);
}

static void refusals(const svl_snapshot_t *snapshot, request_rec *r)
{
    static const char *const titles[] = {"Reason", "Requests and lines"};

    begin_table(r, "Refused", titles, 2);
    for (int i = SVL_REASON_NONE + 1; i < SVL_REASON_COUNT; i++) {
        const char *const texts[] = {svl_fault_name((svl_reason_e)i), number(r, snapshot->rejected[i])};

        if (snapshot->rejected[i]) {
            row(r, "td", texts, 2);
        }
    }
    end_table(r);
}

void svl_status_html(const svl_snapshot_t *snapshot, request_rec *r)
{
    const char *name = escaped(r, snapshot->node->name);

    apr_table_setn(r->headers_out, "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
    ap_rprintf(r,
               "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Node %s</title><style>" STYLE
               "</style></head>\n<body>\n<h1>Node %s</h1>\n",
               name, name);
    facts(snapshot, r);
    members(snapshot, r);
    functions(snapshot, r);
    keys(snapshot, r);
    refusals(snapshot, r);
    ap_rprintf(r,
               "<p>%s. The same as <a href=\"?format=json\">JSON</a> and <a href=\"?format=prometheus\">metrics</a>.</p>\n"
               "</body>\n</html>\n",
               svl_status_time(snapshot->now, r->pool));
}

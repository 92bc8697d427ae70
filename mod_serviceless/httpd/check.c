/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <string.h>

#include <apr_strings.h>

#include "../core/message.h"
#include "fleet.h"
#include "keyfile.h"
#include "self.h"
#include "settings.h"
#include "statedir.h"
#include "tls.h"

#define TOLERANCES 3 /* a call may be issued one ahead, arrive one late, and be asked about one later */

static const char *check_stray_directives(const svl_setting_t *settings, apr_pool_t *p)
{
    for (int i = 0; i < SVL_DIRECTIVE_COUNT; i++) {
        const char *value = settings[i].text;

        if (svl_directives[i].place != SVL_PLACE_NODE || !settings[i].is_set || !settings[i].own) {
            continue;
        }
        if (svl_directives[i].takes_lines) {
            value = APR_ARRAY_IDX(settings[i].lines, settings[i].lines->nelts - 1, svl_directive_line_t).words[0];
        }
        return svl_directive_fault(i, value, settings[i].where,
                                   "it needs ServicelessNodes on the same server; a virtual host without it uses the main "
                                   "server's node as it is",
                                   p);
    }
    return NULL;
}

static const char *read_ring(svl_node_t *node, const svl_setting_t *settings, const char **warning, apr_pool_t *p)
{
    const svl_setting_t *key_file = &settings[SVL_DIRECTIVE_KEY_FILE];
    const char *wrong = NULL;

    if (!key_file->is_set) {
        return svl_directive_fault(
            SVL_DIRECTIVE_NODES, NULL, settings[SVL_DIRECTIVE_NODES].where,
            "it needs ServicelessKeyFile on the same server; a virtual host inherits none, and without a "
            "key nobody could call",
            p);
    }
    if (svl_keyfile_read(&node->ring, key_file->text, warning, &wrong, p) == APR_SUCCESS && !node->ring->signer->relay) {
        wrong = "none of its keys may relay; nodes sign with the first that may, so give one the permission relay";
    }
    if (*warning) {
        *warning = svl_directive_fault(SVL_DIRECTIVE_KEY_FILE, NULL, key_file->where, *warning, p);
    }
    return wrong ? svl_directive_fault(SVL_DIRECTIVE_KEY_FILE, key_file->text, key_file->where, wrong, p) : NULL;
}

static const char *check_retention(const svl_setting_t *settings, apr_pool_t *p)
{
    const svl_setting_t *retention = &settings[SVL_DIRECTIVE_RETENTION];
    const svl_setting_t *tolerance = &settings[SVL_DIRECTIVE_TOLERANCE];

    if (retention->number / TOLERANCES >= tolerance->number) {
        return NULL;
    }
    return svl_directive_fault(SVL_DIRECTIVE_RETENTION, retention->text, retention->where ? retention->where : tolerance->where,
                               apr_psprintf(p, "it must be at least three times ServicelessTolerance, which is %s: %s or more",
                                            tolerance->text, svl_directive_duration_text(TOLERANCES * tolerance->number, p)),
                               p);
}

static const char *build_sets(svl_node_t *node, const svl_setting_t *setting, const svl_node_t *inherited, apr_pool_t *p)
{
    static const svl_setting_t none;

    /* a set is of its fleet: another fleet does not inherit it */
    if (!setting->own && !(inherited && svl_fleet_equals(node, inherited))) {
        setting = &none;
    }
    return svl_fleet_build_sets(node, setting, p);
}

static void copy_numbers(svl_node_t *node, const svl_setting_t *settings)
{
    node->arity = (apr_uint32_t)settings[SVL_DIRECTIVE_MODE].number;
    node->simultaneous = (int)settings[SVL_DIRECTIVE_SIMULTANEOUS].number;
    node->tolerance = settings[SVL_DIRECTIVE_TOLERANCE].number;
    node->max_body = (apr_size_t)settings[SVL_DIRECTIVE_MAX_BODY].number;
    node->store_size = (apr_uint64_t)settings[SVL_DIRECTIVE_STORE_SIZE].number;
    node->durable = settings[SVL_DIRECTIVE_DURABILITY].number == SVL_DURABILITY_FSYNC;
    node->retention = settings[SVL_DIRECTIVE_RETENTION].number;
    node->sync_interval = settings[SVL_DIRECTIVE_SYNC_INTERVAL].number;
    node->links = settings[SVL_DIRECTIVE_LINKS].number != SVL_LINKS_OFF;
    node->call_links = settings[SVL_DIRECTIVE_LINKS].number == SVL_LINKS_ON;
    node->accept_django = settings[SVL_DIRECTIVE_ACCEPT].number == SVL_ACCEPT_DJANGO;
    node->http.connect_timeout = settings[SVL_DIRECTIVE_CONNECT_TIMEOUT].number;
    node->http.timeout = settings[SVL_DIRECTIVE_TIMEOUT].number;
    /* an answer to sync is a message, which has room for relay lines */
    node->http.max_response = node->max_body + SVL_MESSAGE_SLACK;
}

const char *svl_check_server(svl_node_t **node, const svl_setting_t *settings, const svl_node_t *inherited, server_rec *s,
                             const char **warning, apr_pool_t *p)
{
    svl_node_t *fresh = apr_pcalloc(p, sizeof(*fresh));
    const char *fault;

    *node = NULL;
    *warning = NULL;
    if (!settings[SVL_DIRECTIVE_NODES].is_set) {
        return check_stray_directives(settings, p);
    }
    fresh->server = s;
    fresh->path = settings[SVL_DIRECTIVE_PATH].text;
    copy_numbers(fresh, settings);
    fresh->http.headers = svl_settings_build_headers(&settings[SVL_DIRECTIVE_HEADER], p);
    (void)((fault = svl_fleet_build(fresh, &settings[SVL_DIRECTIVE_NODES], p))
           || (fault = svl_self_find(fresh, &settings[SVL_DIRECTIVE_SELF], s, p))
           || (fault = build_sets(fresh, &settings[SVL_DIRECTIVE_NODE_SET], inherited, p))
           || (fault = check_retention(settings, p))
           || (fault = svl_statedir_choose(fresh, &settings[SVL_DIRECTIVE_STATE_DIR], p))
           || (fault = read_ring(fresh, settings, warning, p))
           || (fault = svl_settings_build_functions(fresh, &settings[SVL_DIRECTIVE_FUNCTION], p))
           || (fault = svl_tls_load(&fresh->http, settings, p)));
    *node = fault ? NULL : fresh;
    return fault;
}

static const char *compare(const svl_node_t *one, const svl_node_t *other, apr_pool_t *p)
{
    const svl_key_t *key;

    if (strcmp(one->name, other->name) == 0) {
        return svl_directive_fault(SVL_DIRECTIVE_NODES, one->name, NULL,
                                   "two servers here are this node; each needs a name of its own, and ServicelessSelf may say "
                                   "which",
                                   p);
    }
    key = svl_fleet_equals(one, other) ? NULL : svl_ring_shared(one->ring, other->ring);
    if (key) {
        return svl_directive_fault(SVL_DIRECTIVE_KEY_FILE, NULL, NULL,
                                   apr_psprintf(p,
                                                "the key %s serves the fleets of the nodes %s and %s; each fleet needs keys of "
                                                "its own",
                                                svl_directive_shown(key->id, p), one->name, other->name),
                                   p);
    }
    return NULL;
}

const char *svl_check_fleets(const apr_array_header_t *nodes, apr_pool_t *p)
{
    for (int i = 0; i < nodes->nelts; i++) {
        for (int j = 0; j < i; j++) {
            const char *fault = compare(APR_ARRAY_IDX(nodes, j, svl_node_t *), APR_ARRAY_IDX(nodes, i, svl_node_t *), p);

            if (fault) {
                return fault;
            }
        }
    }
    return NULL;
}

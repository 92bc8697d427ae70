/* SPDX-License-Identifier: Apache-2.0 */
#include "registry.h"

#include <string.h>

#include <apr_strings.h>
#include <http_log.h>
#include <http_main.h>

#include "../core/name.h"

#define RESERVED "serviceless."

APLOG_USE_MODULE(serviceless);

/* What a companion said, before the configuration's word. */
typedef struct registration_t {
    server_rec *server; /* NULL: every node */
    const char *name;
    serviceless_function_t *function;
    void *baton;
    serviceless_options_t options;
    apr_uint32_t arity; /* of options.mode */
} registration_t;

/* Between pre_config and the end of post_config; single-threaded then. */
static apr_pool_t *registry_pool;
static apr_array_header_t *registrations; /* registration_t */

static apr_status_t registry_close(void *unused)
{
    (void)unused;
    registry_pool = NULL;
    registrations = NULL;
    return APR_SUCCESS;
}

void svl_registry_open(apr_pool_t *pconf)
{
    registry_pool = pconf;
    registrations = apr_array_make(pconf, 16, sizeof(registration_t));
    apr_pool_cleanup_register(pconf, NULL, registry_close, apr_pool_cleanup_null);
}

static const char *copy_or_null(const char *text)
{
    return text ? apr_pstrdup(registry_pool, text) : NULL;
}

static int name_taken(const server_rec *s, const char *name)
{
    for (int i = 0; i < registrations->nelts; i++) {
        const registration_t *other = &APR_ARRAY_IDX(registrations, i, registration_t);
        if (strcmp(other->name, name) == 0 && (!s || !other->server || svl_config_node(other->server) == svl_config_node(s))) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t refuse(const char *name, const char *why)
{
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, ap_server_conf, SVLNO(0400) "function %s is not registered: %s",
                 svl_log_escape(registry_pool, name, SVL_NAME_FUNCTION_MAX), why);
    return APR_EINVAL;
}

static void add(server_rec *s, const char *name, serviceless_function_t *function, void *baton,
                const serviceless_options_t *options, apr_uint32_t arity)
{
    registration_t *registration = apr_array_push(registrations);
    registration->server = s;
    registration->name = apr_pstrdup(registry_pool, name);
    registration->function = function;
    registration->baton = baton;
    registration->options = *options;
    registration->options.nodes = copy_or_null(options->nodes);
    registration->options.mode = copy_or_null(options->mode);
    registration->options.summary = copy_or_null(options->summary);
    registration->arity = arity;
}

apr_status_t serviceless_register_function(server_rec *s, const char *name, serviceless_function_t *function, void *baton,
                                           const serviceless_options_t *options)
{
    static const serviceless_options_t defaults;
    apr_uint32_t arity = 1;
    if (!registrations) {
        return APR_EINIT;
    }
    options = options ? options : &defaults;
    if (!name || !svl_name_is_function(name, strlen(name))) {
        return refuse(name,
                      "a name begins with a letter or _, goes on with letters, digits, _ . - and has at most 128 characters");
    }
    if (strncmp(name, RESERVED, sizeof(RESERVED) - 1) == 0) {
        return refuse(name, "names that begin with \"" RESERVED "\" are the module's own");
    }
    if (!function) {
        return refuse(name, "the function pointer is NULL");
    }
    if (options->mode && !svl_route_parse_mode(options->mode, &arity)) {
        return refuse(name, "options->mode is none of bounce, broadcast, tree, tree:K");
    }
    if (options->nodes && !svl_name_is_node(options->nodes, strlen(options->nodes))) {
        return refuse(name, "options->nodes is not the name of a node set");
    }
    if (options->on_crash != SERVICELESS_RERUN && options->on_crash != SERVICELESS_QUARANTINE) {
        return refuse(name, "options->on_crash is neither SERVICELESS_RERUN nor SERVICELESS_QUARANTINE");
    }
    if (options->scope != SERVICELESS_SCOPE_NODE && options->scope != SERVICELESS_SCOPE_CHILD) {
        return refuse(name, "options->scope is neither SERVICELESS_SCOPE_NODE nor SERVICELESS_SCOPE_CHILD");
    }
    if (name_taken(s, name)) {
        return APR_EEXIST;
    }
    add(s, name, function, baton, options, arity);
    return APR_SUCCESS;
}

void svl_registry_add_own(const char *name, serviceless_function_t *function, void *baton, const serviceless_options_t *options)
{
    add(NULL, name, function, baton, options, 0);
}

/* The administrator's word over the companion's, over the server's. */
static svl_function_t *resolve(const svl_node_t *node, const registration_t *said, apr_pool_t *p)
{
    const svl_function_settings_t *settings = apr_hash_get(node->settings, said->name, APR_HASH_KEY_STRING);
    svl_function_t *function = apr_pcalloc(p, sizeof(*function));
    const char *set = said->options.nodes ? said->options.nodes : "all";
    function->name = said->name;
    function->function = said->function;
    function->baton = said->baton;
    function->summary = said->options.summary;
    function->missed = said->options.missed;
    function->scope = said->options.scope;
    function->on_crash = said->options.on_crash;
    function->set = settings && settings->set ? settings->set : apr_hash_get(node->sets, set, APR_HASH_KEY_STRING);
    function->arity = said->options.mode ? said->arity : node->arity;
    function->timeout = settings && settings->timeout ? settings->timeout : node->http.timeout;
    if (settings) {
        function->arity = settings->has_mode ? settings->arity : function->arity;
        function->on_crash = settings->has_on_crash ? settings->on_crash : function->on_crash;
        function->allow = settings->allow;
    }
    if (!function->set) {
        ap_log_error(
            APLOG_MARK, APLOG_CRIT, 0, node->server,
            SVLNO(0401) "function %s wants the node set %s, which node %s does not have: add ServicelessNodeSet %s …, or "
                        "ServicelessFunction %s nodes=…",
            said->name, set, node->name, set, said->name);
        return NULL;
    }
    return function;
}

static apr_status_t freeze_node(svl_node_t *node, apr_pool_t *p)
{
    node->functions = apr_hash_make(p);
    for (int i = 0; i < registrations->nelts; i++) {
        const registration_t *said = &APR_ARRAY_IDX(registrations, i, registration_t);
        svl_function_t *function;
        if (said->server && svl_config_node(said->server) != node) {
            continue;
        }
        function = resolve(node, said, p);
        if (!function) {
            return APR_EINVAL;
        }
        function->index = apr_hash_count(node->functions);
        apr_hash_set(node->functions, function->name, APR_HASH_KEY_STRING, function);
    }
    for (apr_hash_index_t *hi = apr_hash_first(p, node->settings); hi; hi = apr_hash_next(hi)) {
        const svl_function_settings_t *settings = apr_hash_this_val(hi);
        if (!svl_registry_find(node, settings->name)) {
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, node->server,
                         SVLNO(0402) "ServicelessFunction %s: node %s has no such function; is its module loaded?",
                         settings->name, node->name);
        }
    }
    return APR_SUCCESS;
}

apr_status_t svl_registry_freeze(apr_pool_t *pconf)
{
    const apr_array_header_t *nodes = svl_config_nodes();
    apr_status_t rv = APR_SUCCESS;
    for (int i = 0; rv == APR_SUCCESS && i < nodes->nelts; i++) {
        rv = freeze_node(APR_ARRAY_IDX(nodes, i, svl_node_t *), pconf);
    }
    registrations = NULL;
    return rv;
}

const svl_function_t *svl_registry_find(const svl_node_t *node, const char *name)
{
    return apr_hash_get(node->functions, name, APR_HASH_KEY_STRING);
}

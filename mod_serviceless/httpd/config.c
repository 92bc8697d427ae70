/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <http_log.h>

#include <apr_strings.h>

#include "check.h"
#include "directives.h"

APLOG_USE_MODULE(serviceless);

/* The module's configuration of a server. */
typedef struct config_t {
    svl_setting_t settings[SVL_DIRECTIVE_COUNT];
    svl_node_t *node; /* from svl_config_check on: its own, or the main server's */
} config_t;

/* Of the generation whose pconf is alive: httpd reads its configuration twice at start. */
static apr_array_header_t *all_nodes;

static apr_status_t forget_nodes(void *data)
{
    (void)data;
    all_nodes = NULL;
    return APR_SUCCESS;
}

static config_t *config_of(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &serviceless_module);
}

/* Parses one line into the setting.  @return NULL, or httpd's message for it */
static const char *take(cmd_parms *cmd, const char *const *words, int count)
{
    const svl_directive_t *directive = cmd->info;
    svl_directive_e symbol = (svl_directive_e)(directive - svl_directives);
    svl_setting_t *setting = &config_of(cmd->server)->settings[symbol];
    svl_directive_line_t line = {words, count, NULL, 1};
    const char *culprit = count ? words[0] : NULL;
    const char *right = ap_check_cmd_context(cmd, directive->place == SVL_PLACE_MAIN ? GLOBAL_ONLY : NOT_IN_DIR_CONTEXT);

    if (right) {
        return right;
    }
    line.where = apr_psprintf(cmd->pool, "line %d of %s", cmd->directive->line_num, cmd->directive->filename);
    setting->text = directive->takes_lines ? NULL : words[0];
    right = directive->set(directive, setting, &line, &culprit, cmd->pool);
    if (right) {
        return svl_directive_fault(symbol, culprit, NULL, right, cmd->pool);
    }
    setting->is_set = 1;
    setting->own = 1;
    setting->where = line.where;
    if (directive->takes_lines) {
        if (!setting->lines) {
            setting->lines = apr_array_make(cmd->pool, 4, sizeof(svl_directive_line_t));
        }
        APR_ARRAY_PUSH(setting->lines, svl_directive_line_t) = line;
    }
    return NULL;
}

static const char *take_value(cmd_parms *cmd, void *dummy, const char *value)
{
    const char **words = apr_pmemdup(cmd->pool, &value, sizeof(value));

    (void)dummy;
    return take(cmd, words, 1);
}

/* Splits the words itself: httpd's TAKE_ARGV drops what comes after 64 of them, and a fleet may be larger. */
static const char *take_lines(cmd_parms *cmd, void *dummy, const char *rest)
{
    apr_array_header_t *words = apr_array_make(cmd->pool, 8, sizeof(const char *));

    (void)dummy;
    while (*rest) {
        APR_ARRAY_PUSH(words, const char *) = ap_getword_conf(cmd->pool, &rest);
    }
    return take(cmd, (const char *const *)words->elts, words->nelts);
}

#define COMMAND_VALUE(name, info, help) AP_INIT_TAKE1(name, take_value, info, RSRC_CONF, help)
#define COMMAND_LINES(name, info, help) AP_INIT_RAW_ARGS(name, take_lines, info, RSRC_CONF, help)
#define ROW(symbol, name, arguments, setter, merging, place, least, most, standard, syntax, summary)                           \
    COMMAND_##arguments(name, (void *)&svl_directives[SVL_DIRECTIVE_##symbol], syntax ": " summary),
const command_rec svl_config_commands[] = {SVL_DIRECTIVES(ROW){.name = NULL}};
#undef ROW

void *svl_config_create(apr_pool_t *p, server_rec *s)
{
    (void)s;
    return apr_pcalloc(p, sizeof(config_t));
}

static void inherit(svl_setting_t *setting, const svl_setting_t *base)
{
    *setting = *base;
    setting->own = 0;
}

/* The main server's lines, then the virtual host's. */
static void add_lines(svl_setting_t *setting, const svl_setting_t *base, const svl_setting_t *add, apr_pool_t *p)
{
    inherit(setting, base);
    setting->lines = apr_array_copy(p, base->lines);
    for (int i = 0; i < setting->lines->nelts; i++) {
        APR_ARRAY_IDX(setting->lines, i, svl_directive_line_t).own = 0;
    }
    if (add->is_set) {
        apr_array_cat(setting->lines, add->lines);
        setting->own = 1;
        setting->where = add->where;
    }
}

void *svl_config_merge(apr_pool_t *p, void *base, void *add)
{
    config_t *merged = apr_pmemdup(p, add, sizeof(*merged));
    const svl_setting_t *from = ((config_t *)base)->settings;

    for (int i = 0; i < SVL_DIRECTIVE_COUNT; i++) {
        if (!from[i].is_set || svl_directives[i].merge == SVL_MERGE_OWN) {
            continue;
        }
        if (svl_directives[i].merge == SVL_MERGE_ADD) {
            add_lines(&merged->settings[i], &from[i], &((config_t *)add)->settings[i], p);
        }
        else if (!merged->settings[i].is_set) {
            inherit(&merged->settings[i], &from[i]);
        }
    }
    return merged;
}

/* What is unset still is the default from now on. */
static void set_defaults(svl_setting_t *settings, apr_pool_t *p)
{
    for (int i = 0; i < SVL_DIRECTIVE_COUNT; i++) {
        const svl_directive_t *directive = &svl_directives[i];
        const char *const *words = &directive->fallback;
        const svl_directive_line_t line = {words, 1, NULL, 0};
        const char *culprit = directive->fallback;

        if (!settings[i].is_set && directive->fallback) {
            settings[i].text = directive->fallback;
            ap_assert(directive->set(directive, &settings[i], &line, &culprit, p) == NULL);
        }
    }
}

static int report(const server_rec *s, const char *fault)
{
    if (fault) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, SVLNO(0001) "%s", fault);
    }
    return fault != NULL;
}

/* @return how many faults there were */
static int check_server(server_rec *s, const svl_node_t *inherited, apr_pool_t *pconf)
{
    config_t *config = config_of(s);
    const char *warning;
    int faults;

    set_defaults(config->settings, pconf);
    faults = report(s, svl_check_server(&config->node, config->settings, inherited, s, &warning, pconf));
    if (warning) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, SVLNO(0002) "%s", warning);
    }
    if (config->node) {
        APR_ARRAY_PUSH(all_nodes, svl_node_t *) = config->node;
    }
    return faults;
}

static const char *check_server_wide(const config_t *main_config, apr_pool_t *p)
{
    const svl_setting_t *state_dir = &main_config->settings[SVL_DIRECTIVE_STATE_DIR];

    if (all_nodes->nelts == 0 && state_dir->is_set) {
        return svl_directive_fault(SVL_DIRECTIVE_STATE_DIR, state_dir->text, state_dir->where,
                                   "it needs ServicelessNodes, on this server or on a virtual host", p);
    }
    return svl_check_fleets(all_nodes, p);
}

int svl_config_check(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *main_server)
{
    const config_t *main_config = config_of(main_server);
    int faults = 0;

    all_nodes = apr_array_make(pconf, 2, sizeof(svl_node_t *));
    apr_pool_cleanup_register(pconf, NULL, forget_nodes, apr_pool_cleanup_null);
    for (server_rec *s = main_server; s; s = s->next) {
        /* a virtual host without any directive has the very configuration of the main server */
        if (s == main_server || config_of(s) != main_config) {
            faults += check_server(s, s == main_server ? NULL : main_config->node, pconf);
        }
    }
    if (!faults) {
        faults = report(main_server, check_server_wide(main_config, ptemp));
    }
    if (faults) {
        apr_array_clear(all_nodes);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    for (server_rec *s = main_server->next; s; s = s->next) {
        config_of(s)->node = config_of(s)->node ? config_of(s)->node : main_config->node;
    }
    return OK;
}

svl_node_t *svl_config_node(const server_rec *s)
{
    const config_t *config = config_of(s);

    return config ? config->node : NULL;
}

const apr_array_header_t *svl_config_nodes(void)
{
    static const apr_array_header_t none = {.elt_size = sizeof(svl_node_t *)};

    return all_nodes ? all_nodes : &none;
}

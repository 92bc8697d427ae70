/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"

#include <string.h>

#include <apr_strings.h>

#include "../core/name.h"

typedef struct reader_t {
    const svl_directive_t *directive;
    const svl_node_t *node;
    apr_pool_t *pool;
} reader_t;

typedef const char *option_reader_t(svl_function_settings_t *settings, const char *value, const reader_t *reader);

static const struct {
    const char *word;
    serviceless_on_crash_e on_crash;
} crash_words[] = {{"rerun", SERVICELESS_RERUN}, {"quarantine", SERVICELESS_QUARANTINE}};

int svl_settings_is_reserved_header(const char *name)
{
    /* clang-format off */
    static const char *const reserved[] = {
        "webhook-id",        "webhook-timestamp", "webhook-signature", "content-type", "content-length", "content-encoding",
        "transfer-encoding", "accept-encoding",   "connection",        "keep-alive",   "proxy-connection", "expect",
        "te",                "trailer",           "upgrade",           "webhook-key",  NULL,
    };
    /* clang-format on */

    for (int i = 0; reserved[i]; i++) {
        if (strcasecmp(name, reserved[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

static const char *read_nodes(svl_function_settings_t *settings, const char *value, const reader_t *reader)
{
    if (!svl_name_is_node(value, strlen(value))) {
        return "nodes= must be followed by the name of a set";
    }
    if (reader->node) {
        settings->set = apr_hash_get(reader->node->sets, value, APR_HASH_KEY_STRING);
        return settings->set ? NULL : "there is no such set here; make it with ServicelessNodeSet, or name all";
    }
    return NULL;
}

static const char *read_mode(svl_function_settings_t *settings, const char *value, const reader_t *reader)
{
    (void)reader;
    settings->has_mode = 1;
    return svl_route_parse_mode(value, &settings->arity)
               ? NULL
               : "mode= must be bounce, broadcast, tree or tree:K with K from 2 to " APR_STRINGIFY(SVL_ROUTE_ARITY_MAX);
}

static const char *read_timeout(svl_function_settings_t *settings, const char *value, const reader_t *reader)
{
    const char *right =
        svl_directive_duration(&settings->timeout, value, reader->directive->least, reader->directive->most, reader->pool);

    return right ? apr_pstrcat(reader->pool, "after timeout= ", right, NULL) : NULL;
}

static const char *read_on_crash(svl_function_settings_t *settings, const char *value, const reader_t *reader)
{
    (void)reader;
    for (apr_size_t i = 0; i < sizeof(crash_words) / sizeof(*crash_words); i++) {
        if (strcasecmp(value, crash_words[i].word) == 0) {
            settings->has_on_crash = 1;
            settings->on_crash = crash_words[i].on_crash;
            return NULL;
        }
    }
    return "on_crash= must be rerun or quarantine";
}

const char *svl_settings_on_crash_name(serviceless_on_crash_e on_crash)
{
    apr_size_t i = sizeof(crash_words) / sizeof(*crash_words) - 1;

    while (i > 0 && crash_words[i].on_crash != on_crash) {
        i--;
    }
    return crash_words[i].word;
}

static const char *read_allow(svl_function_settings_t *settings, const char *value, const reader_t *reader)
{
    apr_array_header_t *allow = apr_array_make(reader->pool, 2, sizeof(const char *));
    const char *key;

    for (const char *id = value;; id++) {
        apr_size_t length = strcspn(id, ",");

        if (!svl_name_is_id(id, length)) {
            return "allow= must be followed by ids of keys, with commas between them";
        }
        key = apr_pstrmemdup(reader->pool, id, length);
        if (reader->node && !svl_ring_find(reader->node->ring, key)) {
            return apr_pstrcat(reader->pool, "ServicelessKeyFile has no key with the id ",
                               svl_directive_shown(key, reader->pool), NULL);
        }
        APR_ARRAY_PUSH(allow, const char *) = key;
        id += length;
        if (*id == '\0') {
            settings->allow = allow;
            return NULL;
        }
    }
}

static const struct {
    const char *name;
    option_reader_t *read;
} options[] = {
    {"nodes", read_nodes}, {"mode", read_mode}, {"timeout", read_timeout}, {"on_crash", read_on_crash}, {"allow", read_allow},
};
#define OPTIONS (sizeof(options) / sizeof(*options))

static const char *read_option(svl_function_settings_t *settings, const char *word, unsigned int *seen, const reader_t *reader)
{
    apr_size_t length = strcspn(word, "=");

    for (apr_size_t i = 0; i < OPTIONS && word[length] == '='; i++) {
        if (strlen(options[i].name) == length && strncmp(word, options[i].name, length) == 0) {
            if (*seen & 1u << i) {
                return "this option stands in the line already";
            }
            *seen |= 1u << i;
            return options[i].read(settings, word + length + 1, reader);
        }
    }
    return "an option is nodes=, mode=, timeout=, on_crash= or allow=";
}

const char *svl_settings_parse_function(svl_function_settings_t *settings, const svl_directive_line_t *line,
                                        const svl_directive_t *directive, const svl_node_t *node, const char **culprit,
                                        apr_pool_t *p)
{
    const reader_t reader = {directive, node, p};
    unsigned int seen = 0;

    memset(settings, 0, sizeof(*settings));
    if (line->count == 0 || !svl_name_is_function(line->words[0], strlen(line->words[0]))) {
        return "the name of a function must follow: up to 128 of A-Z a-z 0-9 _ . - with a letter or _ first";
    }
    settings->name = line->words[0];
    for (int i = 1; i < line->count; i++) {
        const char *right = read_option(settings, line->words[i], &seen, &reader);

        if (right) {
            *culprit = apr_pstrcat(p, settings->name, " ", line->words[i], NULL);
            return right;
        }
    }
    return line->count > 1 ? NULL : "at least one option must follow: nodes=, mode=, timeout=, on_crash= or allow=";
}

const char *svl_settings_build_functions(svl_node_t *node, const svl_setting_t *functions, apr_pool_t *p)
{
    node->settings = apr_hash_make(p);
    /* backwards: the virtual host's lines come after those it inherits, which are not even read then */
    for (int i = functions->lines ? functions->lines->nelts - 1 : -1; i >= 0; i--) {
        const svl_directive_line_t *line = &APR_ARRAY_IDX(functions->lines, i, svl_directive_line_t);
        svl_function_settings_t *settings = apr_palloc(p, sizeof(*settings));
        const char *culprit = line->words[0];
        const char *right;

        if (apr_hash_get(node->settings, line->words[0], APR_HASH_KEY_STRING)) {
            if (!line->own) {
                continue;
            }
            return svl_directive_fault(SVL_DIRECTIVE_FUNCTION, culprit, line->where,
                                       "a later line is about this function too; join them", p);
        }
        right = svl_settings_parse_function(settings, line, &svl_directives[SVL_DIRECTIVE_FUNCTION], node, &culprit, p);
        if (right) {
            return svl_directive_fault(SVL_DIRECTIVE_FUNCTION, culprit, line->where, right, p);
        }
        apr_hash_set(node->settings, settings->name, APR_HASH_KEY_STRING, settings);
    }
    return NULL;
}

const apr_table_t *svl_settings_build_headers(const svl_setting_t *headers, apr_pool_t *p)
{
    apr_table_t *table;

    if (!headers->lines) {
        return NULL;
    }
    table = apr_table_make(p, headers->lines->nelts);
    for (int i = 0; i < headers->lines->nelts; i++) {
        const svl_directive_line_t *line = &APR_ARRAY_IDX(headers->lines, i, svl_directive_line_t);

        apr_table_setn(table, line->words[0], line->words[1]);
    }
    return table;
}

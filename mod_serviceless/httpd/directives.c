/* SPDX-License-Identifier: Apache-2.0 */
#include "directives.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "../core/log.h"
#include "../core/name.h"
#include "../core/route.h"
#include "fleet.h"
#include "settings.h"

#define SHOWN_MAX 128    /* bytes of a value that a message shows */
#define URL_PATH_MAX 256 /* bytes of ServicelessPath */
#define HEADER_MAX 8000  /* bytes of a header: httpd's own LimitRequestFieldSize is 8190 */
#define SECRET_MARK "whsec_"

/* Setters have one signature, and few of them need all of it. */
#define UNUSED __attribute__((unused))
#define SETTER(name)                                                                                                           \
    static const char *set_##name(UNUSED const svl_directive_t *directive, UNUSED svl_setting_t *setting,                      \
                                  const svl_directive_line_t *line, UNUSED const char **culprit, UNUSED apr_pool_t *p)

static const char *const durability_words[] = {[SVL_DURABILITY_FSYNC] = "fsync", [SVL_DURABILITY_ASYNC] = "async", NULL};
static const char *const links_words[] = {[SVL_LINKS_OFF] = "off", [SVL_LINKS_PEERS] = "peers", [SVL_LINKS_ON] = "on", NULL};
static const char *const accept_words[] = {[SVL_ACCEPT_OFF] = "off", [SVL_ACCEPT_DJANGO] = "django", NULL};

static const struct {
    const char *suffix;
    apr_int64_t micros;
} duration_units[] = {{"h", SVL_HOUR}, {"min", SVL_MINUTE}, {"s", SVL_SECOND}, {"ms", SVL_MSEC}};

static const struct {
    char suffix;
    apr_int64_t bytes;
} size_units[] = {{'g', SVL_GIGA}, {'m', SVL_MEGA}, {'k', SVL_KILO}};

const char *svl_directive_duration_text(apr_int64_t micros, apr_pool_t *p)
{
    for (apr_size_t i = 0; i < sizeof(duration_units) / sizeof(*duration_units); i++) {
        if (micros && micros % duration_units[i].micros == 0) {
            return apr_psprintf(p, "%" APR_INT64_T_FMT "%s", micros / duration_units[i].micros, duration_units[i].suffix);
        }
    }
    return "0";
}

static const char *size_text(apr_int64_t bytes, apr_pool_t *p)
{
    for (apr_size_t i = 0; i < sizeof(size_units) / sizeof(*size_units); i++) {
        if (bytes % size_units[i].bytes == 0) {
            return apr_psprintf(p, "%" APR_INT64_T_FMT "%c", bytes / size_units[i].bytes, size_units[i].suffix);
        }
    }
    return apr_psprintf(p, "%" APR_INT64_T_FMT, bytes);
}

/* httpd's parser takes signs, blanks and anything after the unit; a misspelt duration should be noticed. */
static int looks_like_duration(const char *text)
{
    apr_size_t digits = strspn(text, "0123456789");

    if (digits == 0) {
        return 0;
    }
    text += digits;
    for (apr_size_t i = 0; i < sizeof(duration_units) / sizeof(*duration_units); i++) {
        if (*text == '\0' || strcasecmp(text, duration_units[i].suffix) == 0) {
            return 1;
        }
    }
    return 0;
}

const char *svl_directive_duration(apr_int64_t *micros, const char *text, apr_int64_t least, apr_int64_t most, apr_pool_t *p)
{
    apr_interval_time_t parsed;

    if (!looks_like_duration(text) || ap_timeout_parameter_parse(text, &parsed, "s") != APR_SUCCESS || parsed < least
        || parsed > most) {
        return apr_psprintf(p, "it must be a duration from %s to %s, such as 10s (units: ms, s, min, h; without one: s)",
                            svl_directive_duration_text(least, p), svl_directive_duration_text(most, p));
    }
    *micros = parsed;
    return NULL;
}

SETTER(duration)
{
    return svl_directive_duration(&setting->number, line->words[0], directive->least, directive->most, p);
}

SETTER(interval)
{
    const char *right;

    if (svl_directive_duration(&setting->number, line->words[0], 0, 0, p) == NULL) {
        return NULL;
    }
    right = svl_directive_duration(&setting->number, line->words[0], directive->least, directive->most, p);
    return right ? apr_pstrcat(p, right, ", or 0 for never", NULL) : NULL;
}

SETTER(size)
{
    const char *text = line->words[0];
    apr_int64_t unit = 1;
    apr_off_t parsed = 0;
    char *end = NULL;

    if (!apr_isdigit(*text) || apr_strtoff(&parsed, text, &end, 10) != APR_SUCCESS) {
        end = NULL;
    }
    else {
        for (apr_size_t i = 0; i < sizeof(size_units) / sizeof(*size_units); i++) {
            if (apr_tolower(*end) == size_units[i].suffix) {
                unit = size_units[i].bytes;
                end++;
                break;
            }
        }
    }
    if (!end || *end || parsed > directive->most / unit || parsed * unit < directive->least) {
        return apr_psprintf(p, "it must be a size from %s to %s, such as %s (units: k, m, g; without one: bytes)",
                            size_text(directive->least, p), size_text(directive->most, p), directive->fallback);
    }
    setting->number = parsed * unit;
    return NULL;
}

SETTER(number)
{
    const char *text = line->words[0];

    if (*text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 10) {
        setting->number = apr_atoi64(text);
        if (setting->number >= directive->least && setting->number <= directive->most) {
            return NULL;
        }
    }
    return apr_psprintf(p, "it must be a number from %" APR_INT64_T_FMT " to %" APR_INT64_T_FMT, directive->least,
                        directive->most);
}

static const char *choose(svl_setting_t *setting, const char *text, const char *const *words, apr_pool_t *p)
{
    const char *all = words[0];

    for (int i = 0; words[i]; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            setting->number = i;
            return NULL;
        }
        all = i ? apr_pstrcat(p, all, " or ", words[i], NULL) : all;
    }
    return apr_pstrcat(p, "it must be ", all, NULL);
}

SETTER(durability)
{
    return choose(setting, line->words[0], durability_words, p);
}

SETTER(accept)
{
    return choose(setting, line->words[0], accept_words, p);
}

SETTER(links)
{
    return choose(setting, line->words[0], links_words, p);
}

SETTER(mode)
{
    apr_uint32_t arity;

    if (!svl_route_parse_mode(line->words[0], &arity)) {
        return "it must be bounce, broadcast, tree or tree:K with K from 2 to " APR_STRINGIFY(SVL_ROUTE_ARITY_MAX);
    }
    setting->number = arity;
    return NULL;
}

SETTER(file)
{
    if (ap_strstr_c(line->words[0], SECRET_MARK)) {
        return "it must be the path of a file, not a secret itself; whoever could read this configuration should now count as "
               "knowing that secret";
    }
    setting->text = line->words[0][0] ? ap_server_root_relative(p, line->words[0]) : NULL;
    return setting->text ? NULL : "it must be a path, absolute or under ServerRoot";
}

SETTER(node)
{
    return svl_name_is_node(line->words[0], strlen(line->words[0]))
               ? NULL
               : "it must be auto, or the name of a node of ServicelessNodes";
}

SETTER(url_path)
{
    const char *text = line->words[0];

    if (*text != '/' || strlen(text) > URL_PATH_MAX || !svl_fleet_is_path(text) || (text[1] && text[strlen(text) - 1] == '/')) {
        return "it must begin with / and not end with it, and hold letters, digits and -._~!$&'()*+,;=:@ only, such as "
               "/serviceless";
    }
    return NULL;
}

SETTER(nodes)
{
    for (int i = 0; i < line->count; i++) {
        svl_member_t member;
        const char *right = svl_fleet_parse_member(&member, line->words[i], p);

        if (right) {
            *culprit = line->words[i];
            return right;
        }
    }
    return line->count ? NULL : "the nodes of the fleet must follow, such as a=https://a.example.com b=https://b.example.com";
}

SETTER(node_set)
{
    if (line->count < 2) {
        return "the name of the set and the names of its nodes must follow";
    }
    for (int i = 0; i < line->count; i++) {
        if (!svl_name_is_node(line->words[i], strlen(line->words[i]))) {
            *culprit = line->words[i];
            return "a name is 1 to 64 of A-Z a-z 0-9 _ . : [ ] -";
        }
    }
    return strcmp(line->words[0], SVL_FLEET_ALL) ? NULL
                                                 : "the set all is always there and holds every node; choose another name";
}

SETTER(header)
{
    const char *name = line->count ? line->words[0] : "";

    if (line->count != 2) {
        return "the name of a header and its value must follow, in quotes when it holds blanks";
    }
    if (!*name || *ap_scan_http_token(name) || strlen(name) + strlen(line->words[1]) > HEADER_MAX) {
        return "the name of a header holds letters, digits and !#$%&'*+-.^_`|~ only";
    }
    if (svl_settings_is_reserved_header(name)) {
        return "the module or libcurl sets this header itself";
    }
    /* The value may be a password: no message shows it. */
    return line->words[1][0] && !*ap_scan_http_field_content(line->words[1])
               ? NULL
               : "the value of a header is not empty and holds no control characters, no CR and no LF";
}

SETTER(function)
{
    svl_function_settings_t settings;

    return svl_settings_parse_function(&settings, line, directive, NULL, culprit, p);
}

enum { TAKES_VALUE, TAKES_LINES };

#define ROW(symbol, directive, arguments, setter, merging, standing, minimum, maximum, standard, words, text)                  \
    [SVL_DIRECTIVE_##symbol] = {                                                                                               \
        .name = directive,                                                                                                     \
        .set = set_##setter,                                                                                                   \
        .takes_lines = TAKES_##arguments,                                                                                      \
        .merge = SVL_MERGE_##merging,                                                                                          \
        .place = SVL_PLACE_##standing,                                                                                         \
        .least = minimum,                                                                                                      \
        .most = maximum,                                                                                                       \
        .fallback = standard,                                                                                                  \
        .syntax = words,                                                                                                       \
        .summary = text,                                                                                                       \
    },
const svl_directive_t svl_directives[SVL_DIRECTIVE_COUNT] = {SVL_DIRECTIVES(ROW)};
#undef ROW

const char *svl_directive_shown(const char *value, apr_pool_t *p)
{
    if (ap_strstr_c(value, SECRET_MARK)) {
        return "(a secret)";
    }
    if (ap_strstr_c(value, "://") && ap_strchr_c(value, '@')) {
        return "(a URL with a user name)"; /* and perhaps a password */
    }
    return value[0] ? svl_log_escape(p, value, SHOWN_MAX) : "\"\"";
}

const char *svl_directive_fault(svl_directive_e directive, const char *value, const char *where, const char *right,
                                apr_pool_t *p)
{
    return apr_pstrcat(p, svl_directives[directive].name, value ? " " : "", value ? svl_directive_shown(value, p) : "", ": ",
                       right, where ? " (" : "", where ? where : "", where ? ")" : "", NULL);
}

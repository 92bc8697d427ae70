/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_time.h>

#include "../core/json.h"
#include "../core/route.h"

#define DEFAULT_PATH "/serviceless"
#define TIMEOUT_MAX 86400 /* seconds: what a call document may ask for */

static const char *shown(const svl_cli_t *cli, const char *text)
{
    return svl_cli_escape(cli->pool, text, strlen(text));
}

/* @return the length of the identifier that @a text begins with: how functions name their keyword arguments */
static size_t identifier_length(const char *text)
{
    size_t length = 0;

    while (apr_isalpha(text[length]) || text[length] == '_' || (length > 0 && apr_isdigit(text[length]))) {
        length++;
    }
    return length;
}

/* NAME=TEXT and NAME:=JSON.  @return SVL_CLI_OK or SVL_CLI_USAGE (said) */
static int add_keyword(json_t *kwargs, const char *argument, size_t length, const svl_cli_t *cli)
{
    const char *name = apr_pstrmemdup(cli->pool, argument, length);
    const char *text = argument + length + 1;
    const char *detail = NULL;
    json_t *value = NULL;

    if (json_object_get(kwargs, name)) {
        return svl_cli_fail(SVL_CLI_USAGE, "the argument %s is given twice", name);
    }
    if (argument[length] == ':') {
        text++;
        if (svl_json_parse(&value, text, strlen(text), &detail, cli->pool) != APR_SUCCESS) {
            return svl_cli_fail(SVL_CLI_USAGE, "what follows %s:= is not JSON (%s): %s; %s=TEXT passes text", name, detail,
                                shown(cli, text), name);
        }
        json_incref(value); /* the pool holds a reference as well */
    }
    else {
        value = json_string(text);
    }
    if (!value || json_object_set_new(kwargs, name, value) != 0) {
        return svl_cli_fail(SVL_CLI_USAGE, "the argument %s is not valid UTF-8: %s", name, shown(cli, text));
    }
    return SVL_CLI_OK;
}

static int add_argument(json_t *args, json_t *kwargs, const char *argument, const svl_cli_t *cli)
{
    size_t length = identifier_length(argument);
    json_t *value = NULL;

    if (length > 0 && (argument[length] == '=' || (argument[length] == ':' && argument[length + 1] == '='))) {
        return add_keyword(kwargs, argument, length, cli);
    }
    if (svl_json_parse(&value, argument, strlen(argument), NULL, cli->pool) == APR_SUCCESS) {
        json_incref(value);
    }
    else {
        value = json_string(argument);
    }
    if (!value || json_array_append_new(args, value) != 0) {
        return svl_cli_fail(SVL_CLI_USAGE, "an argument is not valid UTF-8: %s", shown(cli, argument));
    }
    return SVL_CLI_OK;
}

int svl_cli_timeout(apr_interval_time_t *timeout, const svl_cli_t *cli)
{
    const char *text = cli->options.timeout;
    double seconds;
    char *end;

    *timeout = 0;
    if (!text) {
        return SVL_CLI_OK;
    }
    seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !(seconds >= 0.001 && seconds <= TIMEOUT_MAX)) {
        return svl_cli_fail(SVL_CLI_USAGE, "the timeout \"%s\" is not a number of seconds from 0.001 to %d", shown(cli, text),
                            TIMEOUT_MAX);
    }
    *timeout = (apr_interval_time_t)(seconds * APR_USEC_PER_SEC);
    return SVL_CLI_OK;
}

/* Checked here as well, because a misspelt name is better told before anything is sent. */
static int check_options(const svl_cli_t *cli)
{
    const svl_cli_options_t *given = &cli->options;
    apr_uint32_t arity;

    if (given->all && given->accepted) {
        return svl_cli_fail(SVL_CLI_USAGE, "--all waits for every node and --accepted for none: give one of them");
    }
    if (given->mode && !svl_route_parse_mode(given->mode, &arity)) {
        return svl_cli_fail(SVL_CLI_USAGE, "the mode \"%s\" is not bounce, broadcast, tree or tree:K", shown(cli, given->mode));
    }
    if (given->nodes && !svl_name_is_node(given->nodes, strlen(given->nodes))) {
        return svl_cli_fail(SVL_CLI_USAGE, "\"%s\" is no name of a node set", shown(cli, given->nodes));
    }
    if (given->id && !svl_name_is_id(given->id, strlen(given->id))) {
        return svl_cli_fail(SVL_CLI_USAGE, "the id \"%s\" is not 1 to %d of A-Z a-z 0-9 _ -", shown(cli, given->id),
                            SVL_NAME_ID_MAX);
    }
    return SVL_CLI_OK;
}

static int add_options(json_t *document, const svl_cli_t *cli)
{
    const svl_cli_options_t *given = &cli->options;
    apr_interval_time_t timeout;
    int status = check_options(cli);

    status = status == SVL_CLI_OK ? svl_cli_timeout(&timeout, cli) : status;
    if (status != SVL_CLI_OK) {
        return status;
    }
    if (given->all || given->accepted) {
        json_object_set_new(document, "reply", json_string(given->all ? "all" : "accepted"));
    }
    if (given->nodes) {
        json_object_set_new(document, "nodes", json_string(given->nodes));
    }
    if (given->mode) {
        json_object_set_new(document, "mode", json_string(given->mode));
    }
    if (cli->ttl) {
        json_object_set_new(document, "ttl", json_integer(cli->ttl));
    }
    if (given->all && timeout) {
        json_object_set_new(document, "timeout",
                            timeout % APR_USEC_PER_SEC ? json_real((double)timeout / APR_USEC_PER_SEC)
                                                       : json_integer(timeout / APR_USEC_PER_SEC));
    }
    return SVL_CLI_OK;
}

int svl_cli_document(const char **body, apr_size_t *length, const svl_cli_t *cli)
{
    json_t *document = svl_json_own(json_object(), cli->pool);
    json_t *args = json_array();
    json_t *kwargs = json_object();
    const char *function = cli->args->nelts > 0 ? APR_ARRAY_IDX(cli->args, 0, const char *) : NULL;
    int status = SVL_CLI_OK;

    if (!function) {
        status = svl_cli_fail(SVL_CLI_USAGE, "call needs the name of a function; see serviceless call --help");
    }
    else if (!svl_name_is_function(function, strlen(function))) {
        status = svl_cli_fail(SVL_CLI_USAGE, "\"%s\" is no name of a function", shown(cli, function));
    }
    json_object_set_new(document, "function", json_string(function ? function : ""));
    json_object_set_new(document, "args", args);
    json_object_set_new(document, "kwargs", kwargs);
    for (int i = 1; status == SVL_CLI_OK && i < cli->args->nelts; i++) {
        status = add_argument(args, kwargs, APR_ARRAY_IDX(cli->args, i, const char *), cli);
    }
    status = status == SVL_CLI_OK ? add_options(document, cli) : status;
    if (status != SVL_CLI_OK) {
        return status;
    }
    *body = svl_json_write(document, cli->pool, length);
    if (!*body) {
        return svl_cli_fail(SVL_CLI_USAGE, "the arguments are nested too deeply: a call holds at most %d levels",
                            SVL_JSON_DEPTH);
    }
    return SVL_CLI_OK;
}

int svl_cli_endpoint(const char **endpoint, const svl_cli_t *cli)
{
    const char *url = cli->options.url;
    const char *authority;
    size_t length;

    if (!url) {
        return svl_cli_fail(SVL_CLI_USAGE, "no node is given: use --url URL or set SERVICELESS_URL");
    }
    authority = strncmp(url, "http://", 7) == 0 ? url + 7 : strncmp(url, "https://", 8) == 0 ? url + 8 : NULL;
    length = authority ? strcspn(authority, "/?#") : 0;
    if (length == 0 || strpbrk(authority, "?#@ ")) {
        return svl_cli_fail(SVL_CLI_USAGE, "\"%s\" is no URL of a node: http://HOST:PORT or https://HOST:PORT/PATH is one",
                            shown(cli, url));
    }
    *endpoint = url;
    if (authority[length] == '\0' || authority[length + 1] == '\0') {
        *endpoint =
            apr_pstrcat(cli->pool, apr_pstrmemdup(cli->pool, url, (apr_size_t)(authority - url) + length), DEFAULT_PATH, NULL);
    }
    return SVL_CLI_OK;
}

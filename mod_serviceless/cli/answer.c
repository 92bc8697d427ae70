/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <string.h>

#include <apr_strings.h>
#include <apr_time.h>

#include "../core/json.h"
#include "../transport/transport.h"

#define TOLERANCE 300 /* seconds between this clock and the node's: the default of ServicelessTolerance */

static const char *shown(const svl_cli_t *cli, const char *text)
{
    return svl_cli_escape(cli->pool, text, strlen(text));
}

static int unreachable(const svl_cli_t *cli, const svl_transport_exchange_t *exchange)
{
    const char *url = shown(cli, exchange->url);
    const char *error = shown(cli, exchange->error ? exchange->error : svl_transport_result_name(exchange->result));

    switch (exchange->result) {
    case SVL_TRANSPORT_CONNECT:
    case SVL_TRANSPORT_CONNECT_TIMEOUT:
    case SVL_TRANSPORT_TLS:
        return svl_cli_fail(SVL_CLI_REFUSED, "cannot reach %s: %s; nothing was called", url, error);
    default:
        if (cli->ttl) { /* a question: it may simply be asked again */
            return svl_cli_fail(SVL_CLI_REFUSED, "no whole answer from %s: %s", url, error);
        }
        return svl_cli_fail(SVL_CLI_REFUSED,
                            "no whole answer from %s: %s; the call may have been accepted: `serviceless outcome %s` "
                            "tells, or the same call again with --id %s, which runs nothing twice",
                            url, error, exchange->id, exchange->id);
    }
}

/* Tells what a refusal says.  It is not verified, as some are not signed: it is shown and changes nothing. */
static int refused(const svl_cli_t *cli, const svl_transport_exchange_t *exchange)
{
    json_t *problem = NULL;
    const char *title = NULL;
    const char *detail = NULL;

    if (svl_json_parse(&problem, exchange->response, exchange->response_length, NULL, cli->pool) == APR_SUCCESS) {
        title = json_string_value(json_object_get(problem, "title"));
        detail = json_string_value(json_object_get(problem, "detail"));
    }
    return svl_cli_fail(SVL_CLI_REFUSED, "%s answered %d%s%s%s%s%s", shown(cli, exchange->url), exchange->status,
                        title ? " " : "", title ? shown(cli, title) : "", detail ? ": " : "", detail ? shown(cli, detail) : "",
                        exchange->status == 401 ? " (the node's error log says why: key, clock or headers)"
                        : detail                ? ""
                        : exchange->status == 403
                            ? " and no reason: does the node's `Require` let this address in, and is this the path of its endpoint?"
                            : " and no reason: is this the path of a node's endpoint?");
}

/* Checks the signature.  @return SVL_CLI_OK and the node that signed, or SVL_CLI_REFUSED (said) */
static int verify(const char **node, const svl_cli_t *cli, const svl_cli_keys_t *keys, const svl_transport_exchange_t *exchange)
{
    svl_sign_headers_t headers = {exchange->response_id, exchange->response_timestamp, exchange->response_signature,
                                  exchange->response_repeated};
    const char *colon = exchange->response_id ? strchr(exchange->response_id, ':') : NULL;
    const char *url = shown(cli, exchange->url);
    const svl_key_t *key;
    svl_fault_t fault = {0};

    if (!exchange->response_id && !exchange->response_signature) {
        return svl_cli_fail(SVL_CLI_REFUSED,
                            "the answer of %s is not signed: it is not a node's, or something on the way changed it; "
                            "what it says is not believed",
                            url);
    }
    if (!colon || !svl_name_is_node(colon + 1, strlen(colon + 1))) {
        return svl_cli_fail(SVL_CLI_REFUSED,
                            "the answer of %s does not name the node that signed it; what it says is not believed", url);
    }
    *node = colon + 1;
    if (svl_sign_verify(keys->signer, &headers, apr_pstrcat(cli->pool, exchange->id, ":", *node, NULL), exchange->response,
                        exchange->response_length, apr_time_sec(apr_time_now()), TOLERANCE, &key, &fault, cli->pool)
        != APR_SUCCESS) {
        return svl_cli_fail(SVL_CLI_REFUSED, "the answer of %s is not signed by a key of %s (%s); what it says is not believed",
                            url, shown(cli, cli->options.key_file), fault.detail ? fault.detail : svl_fault_name(fault.reason));
    }
    /* A key that may only call is in other hands as well: it proves a node's word to its own holder alone. */
    if (!key->relay && key != keys->key) {
        return svl_cli_fail(SVL_CLI_REFUSED, "the answer of %s is signed by key %s, which may not speak for a node", url,
                            key->id);
    }
    return SVL_CLI_OK;
}

static int not_believed(const svl_cli_t *cli, const svl_transport_exchange_t *exchange, const char *why)
{
    return svl_cli_fail(SVL_CLI_REFUSED, "the answer of %s %s", shown(cli, exchange->url), why);
}

/* What the rest of the command relies on. */
static int check_form(const svl_cli_t *cli, const svl_cli_answer_t *answer, const svl_transport_exchange_t *exchange)
{
    json_t *outcomes = json_object_get(answer->json, "outcomes");
    const char *name;
    json_t *outcome;

    if (strcmp(svl_cli_text_of(answer->json, "node"), answer->node) != 0
        || strcmp(svl_cli_text_of(answer->json, "id"), exchange->id) != 0) {
        return not_believed(cli, exchange, "is of another call or node than its signature");
    }
    if (cli->options.all && !json_is_object(outcomes)) {
        return not_believed(cli, exchange, "does not tell the outcomes of all nodes, which it was asked for");
    }
    json_object_foreach(outcomes, name, outcome)
    {
        if (!*svl_cli_text_of(outcome, "outcome")) {
            return not_believed(cli, exchange, apr_pstrcat(cli->pool, "lacks the outcome of node ", shown(cli, name), NULL));
        }
    }
    return SVL_CLI_OK;
}

int svl_cli_answer_read(svl_cli_answer_t *answer, const svl_cli_t *cli, const svl_cli_keys_t *keys,
                        const svl_transport_exchange_t *exchange)
{
    const char *detail = NULL;
    int status;

    if (exchange->result != SVL_TRANSPORT_ANSWERED) {
        return unreachable(cli, exchange);
    }
    if (exchange->status < 200 || exchange->status > 299) {
        return refused(cli, exchange);
    }
    status = verify(&answer->node, cli, keys, exchange);
    if (status != SVL_CLI_OK) {
        return status;
    }
    answer->text = exchange->response;
    answer->length = exchange->response_length;
    if (svl_json_parse(&answer->json, answer->text, answer->length, &detail, cli->pool) != APR_SUCCESS) {
        return not_believed(cli, exchange, apr_pstrcat(cli->pool, "is not JSON: ", detail, NULL));
    }
    return check_form(cli, answer, exchange);
}

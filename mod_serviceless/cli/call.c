/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <signal.h>
#include <string.h>

#include <apr_signal.h>
#include <apr_strings.h>
#include <apr_time.h>

#include "../transport/transport.h"

#define CONNECT_TIMEOUT apr_time_from_sec(5)
#define ANSWER_TIMEOUT apr_time_from_sec(60) /* the longest that a function is usually given */
#define ANSWER_SLACK apr_time_from_sec(5)    /* for the way there and back, beyond what the node was asked to wait */
#define ANSWER_MAX (64 * 1024 * 1024)        /* bytes of an answer: the results of a large fleet */

/* Sends the body and waits for what comes back; tells when, and for how long.  @return SVL_CLI_OK or SVL_CLI_REFUSED (said) */
static int post(svl_transport_exchange_t *exchange, apr_time_t *sent, apr_interval_time_t *took, const svl_cli_t *cli)
{
    svl_transport_options_t *options = apr_pcalloc(cli->pool, sizeof(*options));
    svl_transport_client_t *client;

    options->connect_timeout = CONNECT_TIMEOUT;
    options->timeout = exchange->timeout;
    options->max_response = ANSWER_MAX;
    /* A connection that the node closed must be an error to tell, not the end of this process. */
    apr_signal(SIGPIPE, SIG_IGN);
    if (svl_curl_transport.init(cli->pool) != APR_SUCCESS
        || svl_curl_transport.create(&client, options, cli->pool) != APR_SUCCESS) {
        return svl_cli_fail(SVL_CLI_REFUSED, "libcurl does not start: out of memory?");
    }
    *sent = apr_time_now();
    svl_transport_perform(&svl_curl_transport, client, &exchange, 1);
    *took = apr_time_now() - *sent;
    return SVL_CLI_OK;
}

/* Gives the request its three headers.  @return SVL_CLI_OK or SVL_CLI_REFUSED (said) */
static int sign(svl_transport_exchange_t *exchange, const svl_cli_keys_t *keys, const svl_cli_t *cli)
{
    char *fresh = apr_palloc(cli->pool, SVL_NAME_ID_MAX + 1);
    char *signature = apr_palloc(cli->pool, SVL_SIGN_HEADER_MAX);
    apr_int64_t seconds = apr_time_sec(apr_time_now());

    exchange->id = cli->options.id;
    if (!exchange->id) {
        if (svl_name_make_id(fresh, apr_time_now()) != APR_SUCCESS) {
            return svl_cli_fail(SVL_CLI_REFUSED, "cannot make an id: there is no randomness");
        }
        exchange->id = fresh;
    }
    if (svl_sign_make(keys->signer, keys->key, exchange->id, seconds, exchange->body, exchange->length, signature)
        != APR_SUCCESS) {
        return svl_cli_fail(SVL_CLI_REFUSED, "libcrypto cannot sign");
    }
    exchange->timestamp = apr_ltoa(cli->pool, (long)seconds);
    exchange->signature = signature;
    exchange->key = keys->key->fingerprint;
    return SVL_CLI_OK;
}

/* @return how long the whole exchange may take */
static apr_interval_time_t patience(const svl_cli_t *cli, apr_interval_time_t timeout)
{
    return !timeout ? ANSWER_TIMEOUT : cli->options.all ? timeout + ANSWER_SLACK : timeout;
}

int svl_cli_ask(svl_cli_answer_t *answer, const char *body, apr_size_t length, const svl_cli_t *cli)
{
    svl_transport_exchange_t exchange = {.content_type = "application/json", .body = body, .length = length, .pool = cli->pool};
    svl_cli_progress_t *progress;
    svl_cli_keys_t keys;
    apr_interval_time_t timeout = 0;
    int status = svl_cli_endpoint(&exchange.url, cli);

    status = status == SVL_CLI_OK ? svl_cli_timeout(&timeout, cli) : status;
    status = status == SVL_CLI_OK ? svl_cli_keys_open(&keys, cli) : status;
    status = status == SVL_CLI_OK ? sign(&exchange, &keys, cli) : status;
    if (status != SVL_CLI_OK) {
        return status;
    }
    exchange.timeout = patience(cli, timeout);
    progress = cli->options.all ? svl_cli_progress_begin(timeout, cli->pool) : NULL;
    status = post(&exchange, &answer->sent, &answer->took, cli);
    svl_cli_progress_end(progress);
    return status == SVL_CLI_OK ? svl_cli_answer_read(answer, cli, &keys, &exchange) : status;
}

int svl_cli_call(svl_cli_t *cli)
{
    svl_cli_answer_t answer = {0};
    const char *body;
    apr_size_t length;
    int status = svl_cli_document(&body, &length, cli);

    status = status == SVL_CLI_OK ? svl_cli_ask(&answer, body, length, cli) : status;
    return status == SVL_CLI_OK ? svl_cli_answer_print(cli, &answer) : status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "signed.h"

#include <apr_strings.h>

#include "../core/log.h"
#include "../core/message.h"
#include "../core/name.h"

#define WORDS_MAX 200 /* bytes of libcurl's words that go to the log */

apr_status_t svl_signed_make(svl_transport_exchange_t *exchange, svl_signer_t *signer, const char *url, const char *prefix,
                             const char *body, apr_size_t length, apr_pool_t *p)
{
    apr_time_t now = apr_time_now();
    char made[SVL_NAME_ID_MAX + 1];
    char *signature = apr_palloc(p, SVL_SIGN_HEADER_MAX);
    apr_status_t status = svl_name_make_id(made, now);
    const char *id = apr_pstrcat(p, prefix, status == APR_SUCCESS ? made : "", NULL);
    if (status == APR_SUCCESS) {
        status = svl_sign_make(signer, NULL, id, apr_time_sec(now), body, length, signature);
    }
    *exchange = (svl_transport_exchange_t){
        .url = url,
        .content_type = "application/x-ndjson",
        .id = id,
        .timestamp = apr_psprintf(p, "%" APR_TIME_T_FMT, apr_time_sec(now)),
        .signature = signature,
        .key = svl_sign_fingerprint(signer),
        .body = body,
        .length = length,
        .pool = p,
    };
    return status;
}

int svl_signed_link(svl_link_t *link, svl_signer_t *signer, const char *self, const char *url, const char *address, int port,
                    apr_pool_t *p)
{
    svl_transport_exchange_t question, proof;
    apr_size_t length;
    const char *line = svl_message_relay_line(self, NULL, 0, 0, -1, p, &length);
    if (svl_signed_make(&question, signer, url, SVL_LINK_PREFIX, line, length, p) != APR_SUCCESS
        || svl_signed_make(&proof, signer, url, "", line, length, p) != APR_SUCCESS) {
        svl_link_put_off(link);
        return 0;
    }
    return svl_link_open(link, &question, &proof, address, port);
}

int svl_signed_holds(const svl_transport_exchange_t *exchange, svl_signer_t *signer, const char *peer, svl_peer_state_t *state,
                     apr_int64_t tolerance, apr_pool_t *p)
{
    svl_sign_headers_t headers = {.id = exchange->response_id,
                                  .timestamp = exchange->response_timestamp,
                                  .signature = exchange->response_signature,
                                  .repeated = exchange->response_repeated};
    apr_int64_t now = apr_time_sec(apr_time_now());
    const svl_key_t *key = NULL;
    if (svl_sign_verify(signer, &headers, apr_pstrcat(p, exchange->id, ":", peer, NULL), exchange->response,
                        exchange->response_length, now, tolerance, &key, NULL, p)
            != APR_SUCCESS
        || !key->relay) {
        return 0;
    }
    svl_peer_signed(state, apr_atoi64(headers.timestamp), apr_time_from_sec(now));
    return 1;
}

const char *svl_signed_advice(int status, int held)
{
    switch (status) {
    case 401:
        return "; compare keys and clocks";
    case 403:
        return held ? "; may the key there that this node signs with relay?" : "; does its `Require` let this node in?";
    case 404:
        return "; is the handler set at that path there?";
    default:
        return "";
    }
}

svl_peer_result_e svl_signed_judge(const svl_transport_exchange_t *exchange, svl_signer_t *signer, const char *peer,
                                   svl_peer_state_t *state, apr_int64_t tolerance, const char **words, apr_pool_t *p)
{
    *words = exchange->error ? svl_log_escape(p, exchange->error, WORDS_MAX) : "";
    switch (exchange->result) {
    case SVL_TRANSPORT_ANSWERED:
        break;
    case SVL_TRANSPORT_CONNECT:
    case SVL_TRANSPORT_CONNECT_TIMEOUT:
        return SVL_PEER_CONNECT;
    case SVL_TRANSPORT_TLS:
        return SVL_PEER_TLS;
    case SVL_TRANSPORT_TIMEOUT:
        return SVL_PEER_TIMEOUT;
    default:
        return SVL_PEER_BROKEN;
    }
    if (exchange->status >= 500) {
        *words = apr_psprintf(p, "it answered %d", exchange->status);
        return SVL_PEER_UNAVAILABLE;
    }
    if (exchange->status >= 400) {
        int held = exchange->status == 403 && svl_signed_holds(exchange, signer, peer, state, tolerance, p);
        *words = apr_psprintf(p, "it answered %d%s", exchange->status, svl_signed_advice(exchange->status, held));
        return SVL_PEER_REFUSED;
    }
    if (!svl_signed_holds(exchange, signer, peer, state, tolerance, p)) {
        *words = "its answer is not signed as it should be";
        return SVL_PEER_UNSIGNED;
    }
    return SVL_PEER_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "reply.h"

#include <apr_strings.h>
#include <http_connection.h>
#include <http_log.h>
#include <http_protocol.h>

#include "shared.h"

#define RETRY_AFTER "1" /* seconds; a full log heals by pruning, a stopping child is replaced at once */

APLOG_USE_MODULE(serviceless);

/* Whatever else is configured for this URL (compression, substitution, ErrorDocument) stays away from bytes that are signed. */
static int send_bytes(const svl_exchange_t *exchange, int status, const char *type, const char *body, apr_size_t length)
{
    request_rec *r = exchange->r;
    r->output_filters = r->proto_output_filters;
    r->status = status;
    r->status_line = NULL;
    r->no_local_copy = 1;
    /* A part of a signed answer is no answer. */
    apr_table_unset(r->headers_in, "Range");
    apr_table_unset(r->headers_in, "Request-Range");
    if (type) {
        ap_set_content_type(r, type);
        ap_set_content_length(r, (apr_off_t)length);
    }
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    if (exchange->runtime && !exchange->runtime->asynchronous && exchange->key && exchange->key->relay) {
        /* A peer's idle connection would hold a worker. */
        r->connection->keepalive = AP_CONN_CLOSE;
    }
    if (!r->header_only && type) {
        ap_rwrite(body, (int)length, r);
    }
    return OK;
}

/* Signed by the key that peers take acknowledgements from and, so that a client with another key can check its answer, by the request's. */
apr_status_t svl_reply_sign(const svl_exchange_t *exchange, const char *body, apr_size_t length, svl_reply_signature_t *made)
{
    const svl_key_t *signing = exchange->node->ring->signer;
    const char *id = apr_pstrcat(exchange->pool, exchange->id, ":", exchange->node->name, NULL);
    apr_int64_t now = apr_time_sec(apr_time_now());
    char first[SVL_SIGN_HEADER_MAX], second[SVL_SIGN_HEADER_MAX] = "";
    svl_signer_t *signer = svl_runtime_take_signer(exchange->runtime);
    apr_status_t rv = signer ? svl_sign_make(signer, signing, id, now, body, length, first) : APR_ENOMEM;
    if (rv == APR_SUCCESS && exchange->key != signing) {
        rv = svl_sign_make(signer, exchange->key, id, now, body, length, second);
    }
    if (signer) {
        svl_runtime_give_signer(exchange->runtime, signer);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, exchange->node->server, SVLNO(0150) "the answer to %s could not be signed",
                     exchange->id);
        return rv;
    }
    made->id = id;
    made->timestamp = apr_psprintf(exchange->pool, "%" APR_INT64_T_FMT, now);
    made->signature = apr_pstrcat(exchange->pool, first, *second ? " " : "", second, NULL);
    return APR_SUCCESS;
}

static void sign(const svl_exchange_t *exchange, const char *body, apr_size_t length)
{
    apr_table_t *out = exchange->r->headers_out;
    svl_reply_signature_t made;
    if (svl_reply_sign(exchange, body, length, &made) == APR_SUCCESS) {
        apr_table_setn(out, "webhook-id", made.id);
        apr_table_setn(out, "webhook-timestamp", made.timestamp);
        apr_table_setn(out, "webhook-signature", made.signature);
    }
}

int svl_reply_send(const svl_exchange_t *exchange, int status, const char *type, const char *body, apr_size_t length)
{
    /* Unsigned it would not count as an answer, so it may as well leave: the caller sends the same id again. */
    sign(exchange, body, length);
    return send_bytes(exchange, status, type, body, length);
}

void svl_reply_note(const svl_node_t *node, const request_rec *r, const char *id, const svl_fault_t *fault)
{
    svl_shared_node_t *shared = node->shared;
    apr_int64_t now = apr_time_sec(apr_time_now());
    apr_int64_t last = SVL_READ(shared->logged[fault->reason]);
    apr_uint64_t suppressed;
    char text[1024], more[64] = "";
    SVL_COUNT(shared->rejected[fault->reason]);
    if (last == now
        || !__atomic_compare_exchange_n(&shared->logged[fault->reason], &last, now, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        SVL_COUNT(shared->suppressed[fault->reason]);
        return;
    }
    suppressed = __atomic_exchange_n(&shared->suppressed[fault->reason], 0, __ATOMIC_RELAXED);
    if (suppressed) {
        apr_snprintf(more, sizeof(more), "; %" APR_UINT64_T_FMT " more since the last line", suppressed);
    }
    apr_snprintf(text, sizeof(text), SVLNO(0151) "refused: %s (%d)%s%s%s%s%s", svl_fault_name(fault->reason),
                 svl_fault_http(fault->reason), id ? ", id " : "", id ? id : "", fault->detail ? ": " : "",
                 fault->detail ? fault->detail : "", more);
    if (r) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "%s", text);
    }
    else {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, node->server, "%s", text);
    }
}

static void set_headers(request_rec *r, svl_reason_e reason, int status)
{
    if (status == HTTP_UNAUTHORIZED) {
        apr_table_setn(r->err_headers_out, "WWW-Authenticate", "Webhook realm=\"serviceless\"");
    }
    if (status == HTTP_METHOD_NOT_ALLOWED) {
        apr_table_setn(r->err_headers_out, "Allow", "POST");
    }
    if (status == HTTP_SERVICE_UNAVAILABLE) {
        apr_table_setn(r->err_headers_out, "Retry-After", RETRY_AFTER);
    }
    if (status == HTTP_BAD_REQUEST || status == HTTP_REQUEST_TIME_OUT || status == HTTP_REQUEST_ENTITY_TOO_LARGE
        || reason <= SVL_REASON_CONTENT_ENCODING) {
        /* The body may not have been read to its end. */
        r->connection->keepalive = AP_CONN_CLOSE;
    }
}

int svl_reply_refuse(const svl_exchange_t *exchange, const svl_fault_t *fault)
{
    request_rec *r = exchange->r;
    int status = svl_fault_http(fault->reason);
    apr_size_t length;
    const char *body = svl_fault_document(fault, r->pool, &length);
    svl_reply_note(exchange->node, r, exchange->id, fault);
    set_headers(r, fault->reason, status);
    if (exchange->key && exchange->id && exchange->runtime) {
        sign(exchange, body, length);
    }
    return send_bytes(exchange, status, "application/problem+json", body, length);
}

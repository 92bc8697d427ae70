/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/reply.h
 * @brief Answers and refusals of the endpoint: always ours, never httpd's error pages, so that what is signed is what is sent.
 */
#ifndef SVL_HTTPD_REPLY_H
#define SVL_HTTPD_REPLY_H

#include "runtime.h"

/** What the endpoint knows of a request so far. */
typedef struct svl_exchange_t {
    request_rec *r;          /**< NULL: it came over a link */
    apr_pool_t *pool;        /**< of the request, or of the message */
    svl_node_t *node;
    svl_runtime_t *runtime;  /**< NULL: this child could not open the log */
    svl_sign_headers_t headers; /**< as they came, before trailers could be merged in */
    const char *named;       /**< webhook-key, as it came: the fingerprint that the sender says its key has; never believed */
    const char *id;          /**< webhook-id, NULL until it fits the grammar; of a token: that of its call, once parsed */
    const svl_key_t *key;    /**< who signed; NULL until the signature held: only then are answers signed */
    const char *body;        /**< of a token, once it is verified: the JSON in it */
    apr_size_t length;
    int *turn;               /**< as for svl_runs_push_all; NULL: whoever answers has other things to do */
} svl_exchange_t;

/** What an answer is signed with, as headers have it. */
typedef struct svl_reply_signature_t {
    const char *id, *timestamp, *signature;
} svl_reply_signature_t;

/** @return APR_SUCCESS, or why it could not be signed, which is logged */
apr_status_t svl_reply_sign(const svl_exchange_t *exchange, const char *body, apr_size_t length, svl_reply_signature_t *made);

/** Sends a signed answer.  @param type NULL: an answer without a body  @return OK */
int svl_reply_send(const svl_exchange_t *exchange, int status, const char *type, const char *body, apr_size_t length);

/** Counts, logs (one line a second and reason) and sends a refusal as a problem document.  @return OK */
int svl_reply_refuse(const svl_exchange_t *exchange, const svl_fault_t *fault);

/** Counts and logs the refusal of one line of a message.  @param r NULL: it came as an answer to an own request */
void svl_reply_note(const svl_node_t *node, const request_rec *r, const char *id, const svl_fault_t *fault);

#endif

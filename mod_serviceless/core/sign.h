/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/sign.h
 * @brief Standard Webhooks v1 signatures, strict (https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`.
 */
#ifndef SVL_CORE_SIGN_H
#define SVL_CORE_SIGN_H

#include "fault.h"
#include "name.h"
#include "ring.h"

#define SVL_SIGN_ENTRIES_MAX 8 /**< signatures in one header */
#define SVL_SIGN_HEADER_MAX 48 /**< bytes of one `v1,…` entry with its NUL */
/** A response's id is `<request id>:<node>`. */
#define SVL_SIGN_RESPONSE_ID_MAX (SVL_NAME_ID_MAX + 1 + SVL_NAME_NODE_MAX)

/** The three headers as they came, each NULL when absent; the caller passes `repeated` when any came twice. */
typedef struct svl_sign_headers_t {
    const char *id;
    const char *timestamp;
    const char *signature;
    int repeated;
} svl_sign_headers_t;

/** Keyed HMAC contexts of one ring.  Not for two threads at once: a thread keeps its own. */
typedef struct svl_signer_t svl_signer_t;

/** @return APR_SUCCESS or APR_ENOMEM; @a ring must outlive @a p, whose cleanup frees the contexts */
apr_status_t svl_sign_create(svl_signer_t **signer, const svl_ring_t *ring, apr_pool_t *p);

/** Signs with the ring's signer, or with @a key when not NULL.
 * @param id taken as it is (request ids and response ids alike)  @param seconds since 1970
 * @param signature receives `v1,<44 characters>` and a NUL */
apr_status_t svl_sign_make(svl_signer_t *signer, const svl_key_t *key, const char *id, apr_int64_t seconds, const char *body,
                           apr_size_t length, char signature[SVL_SIGN_HEADER_MAX]);

/** @return the fingerprint of the key that svl_sign_make takes when none is named: what a message says in `webhook-key`.  That header is not
 * signed: it tells an operator which key a node lacks, and is used for nothing else. */
const char *svl_sign_fingerprint(const svl_signer_t *signer);

/**
 * Verifies a request or, with @a response_id, a response.  The order is headers, timestamp, signature; all keys are tried
 * against all entries in constant time, without leaving early.
 * @param response_id NULL for a request; else the id that the response must carry exactly
 * @param now, tolerance seconds
 * @param key the key that matched (the first one of the ring when several do)
 * @return APR_SUCCESS, or SVL_EREFUSED with SVL_REASON_HEADER, SVL_REASON_TIMESTAMP or SVL_REASON_SIGNATURE; the detail quotes
 *         nothing of the headers but an id that fits the grammar
 */
apr_status_t svl_sign_verify(svl_signer_t *signer, const svl_sign_headers_t *headers, const char *response_id, const char *body,
                             apr_size_t length, apr_int64_t now, apr_int64_t tolerance, const svl_key_t **key,
                             svl_fault_t *fault, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/django.h
 * @brief Calls as signed tokens of Django, `django.core.signing.dumps(call, key="whsec_…", salt="serviceless")`, in a form.
 *
 * A token is `payload:timestamp:mac`.  The payload is JSON in base64 for URLs, or a dot and the same of its zlib stream; the timestamp
 * is seconds in base 62; the mac is HMAC-SHA256 over what stands before it, keyed with SHA-256 of salt, "signer" and key.  The key is
 * the secret's text as it stands in the key file.
 */
#ifndef SVL_CORE_DJANGO_H
#define SVL_CORE_DJANGO_H

#include "fault.h"
#include "ring.h"

/**
 * Opens the form `data=<token>`: shape, then timestamp, then mac, and only then what is inside.  All keys are tried in constant time,
 * without leaving early.
 * @param now, tolerance seconds; a token may be as much ahead as behind
 * @param limit bytes that the JSON may have, 1 GiB at most; no more are ever inflated
 * @param key the key that matched (the first one of the ring when several do); set as well when what is inside is refused, else NULL
 * @param text the JSON, in ASCII, of @a p; not parsed yet
 * @return APR_SUCCESS, or SVL_EREFUSED with SVL_REASON_HEADER (no such form or token), SVL_REASON_TIMESTAMP or SVL_REASON_SIGNATURE;
 *         and of a token that is genuine SVL_REASON_JSON or SVL_REASON_BODY_TOO_LARGE.  The detail quotes nothing of the form
 */
apr_status_t svl_django_open(const svl_ring_t *ring, const char *form, apr_size_t length, apr_int64_t now,
                             apr_int64_t tolerance, apr_size_t limit, const svl_key_t **key, const char **text,
                             apr_size_t *text_length, svl_fault_t *fault, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file t/unit/django_seal.h
 * @brief Tokens as django.core.signing makes them, written a second time, so that what Django never makes can be signed as well.
 */
#ifndef SVL_DJANGO_SEAL_H
#define SVL_DJANGO_SEAL_H

#include <stdlib.h>
#include <string.h>

#include <apr_encode.h>
#include <apr_pools.h>
#include <apr_strings.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

/* @return bytes in base64 for URLs, without padding */
static inline const char *seal_encode(apr_pool_t *p, const void *bytes, apr_size_t length)
{
    return length > 0 ? apr_pencode_base64_binary(p, bytes, (apr_ssize_t)length, APR_ENCODE_BASE64URL, NULL) : "";
}

/* @return the value with the signature of the key, whose text is given */
static inline const char *seal_sign(apr_pool_t *p, const char *key, const char *salt, const char *value)
{
    const char *secret = apr_pstrcat(p, salt, "signer", key, NULL);
    unsigned char derived[SHA256_DIGEST_LENGTH];
    unsigned char mac[SHA256_DIGEST_LENGTH];

    SHA256((const unsigned char *)secret, strlen(secret), derived);
    if (!HMAC(EVP_sha256(), derived, sizeof(derived), (const unsigned char *)value, strlen(value), mac, NULL)) {
        abort();
    }
    return apr_pstrcat(p, value, ":", seal_encode(p, mac, sizeof(mac)), NULL);
}

/* @return the form with the token; the payload is already encoded, and the timestamp is in base 62 */
static inline const char *seal_form(apr_pool_t *p, const char *key, const char *payload, const char *timestamp)
{
    return apr_pstrcat(p, "data=", seal_sign(p, key, "serviceless", apr_pstrcat(p, payload, ":", timestamp, NULL)), NULL);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "sign.h"

#include <string.h>

#include <apr_crypto.h>
#include <apr_encode.h>
#include <apr_strings.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "base64.h"

#define MAC 32            /* bytes of HMAC-SHA256 */
#define TIMESTAMP 10      /* digits: from 2001 to 2286 */
#define TIMESTAMP_TEXT 24 /* room for any 64-bit number */

struct svl_signer_t {
    const svl_ring_t *ring;
    EVP_MAC_CTX **contexts; /* one a key, keyed once: EVP_MAC_init without a key takes it again, ten times faster */
};

/* What a signature header holds: the entries of version v1. */
typedef struct entries_t {
    unsigned char macs[SVL_SIGN_ENTRIES_MAX][MAC];
    int count;
} entries_t;

static apr_status_t free_contexts(void *data)
{
    svl_signer_t *signer = data;

    for (int i = 0; i < signer->ring->keys->nelts; i++) {
        EVP_MAC_CTX_free(signer->contexts[i]);
    }
    return APR_SUCCESS;
}

apr_status_t svl_sign_create(svl_signer_t **signer, const svl_ring_t *ring, apr_pool_t *p)
{
    svl_signer_t *fresh = apr_pcalloc(p, sizeof(*fresh));
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    apr_status_t status = APR_ENOMEM;

    fresh->ring = ring;
    fresh->contexts = apr_pcalloc(p, (apr_size_t)ring->keys->nelts * sizeof(*fresh->contexts));
    apr_pool_cleanup_register(p, fresh, free_contexts, apr_pool_cleanup_null);
    for (int i = 0; i < ring->keys->nelts; i++) {
        const svl_key_t *key = APR_ARRAY_IDX(ring->keys, i, const svl_key_t *);

        fresh->contexts[i] = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
        if (!fresh->contexts[i] || EVP_MAC_init(fresh->contexts[i], key->secret, key->length, parameters) != 1) {
            goto cleanup;
        }
    }
    *signer = fresh;
    status = APR_SUCCESS;
cleanup:
    EVP_MAC_free(hmac);
    return status;
}

/* @return nonzero and the mac, or 0 when the library failed */
static int compute(EVP_MAC_CTX *context, const char *id, const char *timestamp, const char *body, apr_size_t length,
                   unsigned char mac[MAC])
{
    size_t written = 0;

    return EVP_MAC_init(context, NULL, 0, NULL) == 1 && EVP_MAC_update(context, (const unsigned char *)id, strlen(id)) == 1
           && EVP_MAC_update(context, (const unsigned char *)".", 1) == 1
           && EVP_MAC_update(context, (const unsigned char *)timestamp, strlen(timestamp)) == 1
           && EVP_MAC_update(context, (const unsigned char *)".", 1) == 1
           && (length == 0 || EVP_MAC_update(context, (const unsigned char *)body, length) == 1)
           && EVP_MAC_final(context, mac, &written, MAC) == 1 && written == MAC;
}

apr_status_t svl_sign_make(svl_signer_t *signer, const svl_key_t *key, const char *id, apr_int64_t seconds, const char *body,
                           apr_size_t length, char signature[SVL_SIGN_HEADER_MAX])
{
    const apr_array_header_t *keys = signer->ring->keys;
    const svl_key_t *wanted = key ? key : signer->ring->signer;
    char timestamp[TIMESTAMP_TEXT];
    unsigned char mac[MAC];
    int i = 0;

    while (i < keys->nelts && APR_ARRAY_IDX(keys, i, const svl_key_t *) != wanted) {
        i++;
    }
    apr_snprintf(timestamp, sizeof(timestamp), "%" APR_INT64_T_FMT, seconds);
    if (i == keys->nelts || !compute(signer->contexts[i], id, timestamp, body, length, mac)) {
        return i == keys->nelts ? APR_EINVAL : APR_EGENERAL;
    }
    memcpy(signature, "v1,", 3);
    return apr_encode_base64_binary(signature + 3, mac, MAC, APR_ENCODE_NONE, NULL);
}

const char *svl_sign_fingerprint(const svl_signer_t *signer)
{
    return signer->ring->signer->fingerprint;
}

/* Takes one entry, `version,base64`.  @return NULL or what is wrong */
static const char *read_entry(entries_t *entries, const char *text, apr_size_t length)
{
    const char *comma = memchr(text, ',', length);
    apr_size_t version = comma ? (apr_size_t)(comma - text) : 0;
    apr_size_t rest = comma ? length - version - 1 : 0;
    apr_size_t used = 0;

    if (!svl_name_is_id(text, version) || rest == 0) {
        return "an entry of webhook-signature is no version,base64";
    }
    if (version != 2 || memcmp(text, "v1", 2) != 0) {
        return memchr(comma + 1, ',', rest) ? "an entry of webhook-signature holds a second comma" : NULL;
    }
    if (svl_base64_decode(entries->macs[entries->count], MAC, &used, comma + 1, rest) != APR_SUCCESS || used != MAC) {
        return "a v1 entry of webhook-signature is not 44 characters of canonical base64";
    }
    entries->count++;
    return NULL;
}

static const char *read_entries(entries_t *entries, const char *header)
{
    const char *wrong = NULL;
    const char *at = header;
    int count = 0;

    while (!wrong) {
        apr_size_t length = strcspn(at, " ");

        if (++count > SVL_SIGN_ENTRIES_MAX) {
            return "webhook-signature has more than 8 entries";
        }
        wrong = read_entry(entries, at, length);
        if (at[length] == '\0') {
            break;
        }
        at += length + 1;
    }
    return wrong || entries->count > 0 ? wrong : "webhook-signature has no entry of version v1";
}

static int is_timestamp(const char *text)
{
    return strlen(text) == TIMESTAMP && strspn(text, "0123456789") == TIMESTAMP && text[0] != '0';
}

static const char *check_headers(const svl_sign_headers_t *headers, const char *response_id, entries_t *entries)
{
    if (headers->repeated) {
        return "a signature header came twice";
    }
    if (!headers->id || !headers->timestamp || !headers->signature) {
        return !headers->id          ? "webhook-id is missing"
               : !headers->timestamp ? "webhook-timestamp is missing"
                                     : "webhook-signature is missing";
    }
    if (response_id && strcmp(headers->id, response_id) != 0) {
        return "webhook-id is not that of the answer";
    }
    if (!response_id && !svl_name_is_id(headers->id, strlen(headers->id))) {
        return "webhook-id does not fit the grammar";
    }
    if (!is_timestamp(headers->timestamp)) {
        return "webhook-timestamp is not 10 digits";
    }
    return read_entries(entries, headers->signature);
}

/* @return the first key that made one of the entries, or NULL.  Which byte, entry or key differs changes nothing of the work:
 * every key signs the body, and every result is compared with every entry. */
static const svl_key_t *match(svl_signer_t *signer, const svl_sign_headers_t *headers, const entries_t *entries,
                              const char *body, apr_size_t length)
{
    const svl_key_t *matched = NULL;
    unsigned char mac[MAC] = {0};

    for (int i = signer->ring->keys->nelts; i-- > 0;) {
        int sound = compute(signer->contexts[i], headers->id, headers->timestamp, body, length, mac);
        int equal = 0;

        for (int j = 0; j < entries->count; j++) {
            equal |= apr_crypto_equals(mac, entries->macs[j], MAC);
        }
        if (sound & equal) {
            matched = APR_ARRAY_IDX(signer->ring->keys, i, const svl_key_t *);
        }
    }
    /* a valid signature of a stranger's text is nothing to leave on the stack */
    apr_crypto_memzero(mac, sizeof(mac));
    return matched;
}

apr_status_t svl_sign_verify(svl_signer_t *signer, const svl_sign_headers_t *headers, const char *response_id, const char *body,
                             apr_size_t length, apr_int64_t now, apr_int64_t tolerance, const svl_key_t **key,
                             svl_fault_t *fault, apr_pool_t *p)
{
    entries_t entries = {.count = 0};
    const char *wrong = check_headers(headers, response_id, &entries);
    apr_int64_t ahead;

    *key = NULL;
    if (wrong) {
        return svl_fault_set(fault, SVL_REASON_HEADER, p, "%s", wrong);
    }
    ahead = apr_atoi64(headers->timestamp) - now;
    if (ahead > tolerance || ahead < -tolerance) {
        return svl_fault_set(fault, SVL_REASON_TIMESTAMP, p, "%s was signed %" APR_INT64_T_FMT " s %s this clock", headers->id,
                             ahead < 0 ? -ahead : ahead, ahead < 0 ? "behind" : "ahead of");
    }
    *key = match(signer, headers, &entries, body, length);
    if (!*key) {
        return svl_fault_set(fault, SVL_REASON_SIGNATURE, p, "no key made the signature of %s", headers->id);
    }
    return APR_SUCCESS;
}

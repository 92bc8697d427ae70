/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: a key file is read as it is written, whoever writes it, and a sentence about a wrong one shows nothing of it. */
#include "fuzz.h"

#include <apr_encode.h>

#include "../../mod_serviceless/core/ring.h"
#include "../../mod_serviceless/core/sign.h"

#define LONGEST_WORD 12 /* of the sentences; half of the shortest secret is more */

static const svl_key_t *key_at(const svl_ring_t *ring, int i)
{
    return APR_ARRAY_IDX(ring->keys, i, const svl_key_t *);
}

static void check_error(const char *error)
{
    fuzz_printable(error);
    for (; *error; error += strcspn(error, " ") + (error[strcspn(error, " ")] != '\0')) {
        FUZZ_REQUIRE(strcspn(error, " ") <= LONGEST_WORD);
    }
}

static void check_keys(const svl_ring_t *ring)
{
    int first = 0;

    FUZZ_REQUIRE(ring->keys->nelts >= 1 && ring->keys->nelts <= SVL_RING_KEYS_MAX);
    for (int i = 0; i < ring->keys->nelts; i++) {
        const svl_key_t *key = key_at(ring, i);

        FUZZ_REQUIRE(svl_name_is_id(key->id, strlen(key->id)) && svl_ring_find(ring, key->id) == key);
        FUZZ_REQUIRE(key->length >= SVL_RING_SECRET_MIN && key->length <= SVL_RING_SECRET_MAX);
        FUZZ_REQUIRE(strspn(key->fingerprint, "0123456789abcdef") == SVL_RING_FINGERPRINT);
        FUZZ_REQUIRE(key->relay || key->calls->nelts > 0);
        for (int j = 0; j < i; j++) {
            FUZZ_REQUIRE(key_at(ring, j)->length != key->length || memcmp(key_at(ring, j)->secret, key->secret, key->length));
        }
        svl_ring_may_call(key, "cache.purge");
    }
    while (first < ring->keys->nelts && !key_at(ring, first)->relay) {
        first++;
    }
    FUZZ_REQUIRE(ring->signer == key_at(ring, first < ring->keys->nelts ? first : 0));
}

static const char *write_ring(const svl_ring_t *ring, apr_pool_t *p)
{
    apr_array_header_t *lines = apr_array_make(p, 4, sizeof(const char *));

    for (int i = 0; i < ring->keys->nelts; i++) {
        const svl_key_t *key = key_at(ring, i);
        const char *secret = apr_pencode_base64_binary(p, key->secret, (apr_ssize_t)key->length, APR_ENCODE_NONE, NULL);
        apr_array_header_t *words = apr_array_make(p, 4, sizeof(const char *));

        APR_ARRAY_PUSH(words, const char *) = apr_pstrcat(p, key->id, "\twhsec_", secret, key->relay ? " relay" : "", NULL);
        for (int j = 0; j < key->calls->nelts; j++) {
            APR_ARRAY_PUSH(words, const char *) = apr_pstrcat(p, "call=", APR_ARRAY_IDX(key->calls, j, const char *), NULL);
        }
        APR_ARRAY_PUSH(lines, const char *) = apr_array_pstrcat(p, words, ' ');
    }
    return apr_array_pstrcat(p, lines, '\n');
}

static void check_equal(const svl_ring_t *one, const svl_ring_t *other)
{
    FUZZ_REQUIRE(one->keys->nelts == other->keys->nelts && strcmp(one->signer->id, other->signer->id) == 0);
    for (int i = 0; i < one->keys->nelts; i++) {
        const svl_key_t *key = key_at(one, i);
        const svl_key_t *again = key_at(other, i);

        FUZZ_REQUIRE(strcmp(key->id, again->id) == 0 && strcmp(key->fingerprint, again->fingerprint) == 0);
        FUZZ_REQUIRE(key->length == again->length && memcmp(key->secret, again->secret, key->length) == 0);
        FUZZ_REQUIRE(!key->relay == !again->relay && key->calls->nelts == again->calls->nelts);
        for (int j = 0; j < key->calls->nelts; j++) {
            FUZZ_REQUIRE(strcmp(APR_ARRAY_IDX(key->calls, j, const char *), APR_ARRAY_IDX(again->calls, j, const char *)) == 0);
        }
    }
}

/* What one reading of the file signs the other one takes. */
static void check_signature(const svl_ring_t *one, const svl_ring_t *other, apr_pool_t *p)
{
    char signature[SVL_SIGN_HEADER_MAX];
    svl_sign_headers_t headers = {.id = "c1", .timestamp = "1700000000", .signature = signature};
    svl_signer_t *signs;
    svl_signer_t *verifies;
    const svl_key_t *key;

    FUZZ_REQUIRE(svl_sign_create(&signs, one, p) == APR_SUCCESS && svl_sign_create(&verifies, other, p) == APR_SUCCESS);
    FUZZ_REQUIRE(svl_sign_make(signs, NULL, "c1", 1700000000, "{}", 2, signature) == APR_SUCCESS);
    FUZZ_REQUIRE(svl_sign_verify(verifies, &headers, NULL, "{}", 2, 1700000000, 0, &key, NULL, p) == APR_SUCCESS);
    FUZZ_REQUIRE(key == other->signer);
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    const char *error = NULL;
    const svl_ring_t *ring;
    const svl_ring_t *again;
    const char *text;

    if (svl_ring_parse(&ring, bytes, length, &error, p) != APR_SUCCESS) {
        FUZZ_REQUIRE(!ring);
        check_error(error);
        return;
    }
    check_keys(ring);
    text = write_ring(ring, p);
    FUZZ_REQUIRE(svl_ring_parse(&again, text, strlen(text), &error, p) == APR_SUCCESS);
    check_equal(ring, again);
    FUZZ_REQUIRE(svl_ring_shared(ring, again) == key_at(ring, 0));
    check_signature(ring, again, p);
}

FUZZ_TARGET(feed)

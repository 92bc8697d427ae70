/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: a request is taken exactly when the three headers fit the grammar, the time is near and an independent HMAC matches.
 *
 * Input: a line of options, webhook-id, webhook-timestamp, webhook-signature, and the body.  Options: r an answer to c1 of node-a, 2 a
 * header came twice, i t s a header is missing, w the clock of the published vector.  @0, @1 and @2 in the signature stand for
 * the base64 that the key of this number makes: no fuzzer finds one. */
#include "fuzz.h"

#include <apr_encode.h>
#include <openssl/hmac.h>

#include "../../mod_serviceless/core/sign.h"

#define KEYS 3
#define TOLERANCE 300
#define MAC 32
#define TEXT 44 /* characters of a MAC in base64 */
#define ANSWER "c1:node-a"

static const char *const secrets[KEYS] = {
    "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==",
};

typedef struct input_t {
    svl_sign_headers_t headers;
    const char *response_id;
    const char *body;
    apr_size_t length;
    apr_int64_t now;
    char texts[KEYS][TEXT + 1]; /* what each key makes of it */
} input_t;

static void sign_with_all(input_t *input, apr_pool_t *p)
{
    const char *head = apr_pstrcat(p, input->headers.id ? input->headers.id : "", ".",
                                   input->headers.timestamp ? input->headers.timestamp : "", ".", NULL);
    apr_size_t size = strlen(head);
    unsigned char *text = apr_palloc(p, size + input->length);

    memcpy(text, head, size);
    if (input->length > 0) {
        memcpy(text + size, input->body, input->length);
    }
    for (int i = 0; i < KEYS; i++) {
        unsigned char mac[MAC];
        apr_size_t length;
        const unsigned char *secret = apr_pdecode_base64_binary(p, secrets[i], APR_ENCODE_STRING, APR_ENCODE_NONE, &length);

        FUZZ_REQUIRE(HMAC(EVP_sha256(), secret, (int)length, text, size + input->length, mac, NULL));
        apr_encode_base64_binary(input->texts[i], mac, MAC, APR_ENCODE_NONE, NULL);
    }
}

static const char *fill_in(const input_t *input, const char *signature, apr_pool_t *p)
{
    const char *at = strchr(signature, '@');

    if (!at || at[1] < '0' || at[1] >= '0' + KEYS) {
        return signature;
    }
    return apr_pstrcat(p, apr_pstrndup(p, signature, (apr_size_t)(at - signature)), input->texts[at[1] - '0'],
                       fill_in(input, at + 2, p), NULL);
}

static void read_input(input_t *input, const char *bytes, apr_size_t length, apr_pool_t *p)
{
    const char *options = fuzz_line(&bytes, &length, p);
    const char *id = fuzz_line(&bytes, &length, p);
    const char *timestamp = fuzz_line(&bytes, &length, p);
    const char *signature = fuzz_line(&bytes, &length, p);

    memset(input, 0, sizeof(*input));
    input->headers.id = strchr(options, 'i') ? NULL : id;
    input->headers.timestamp = strchr(options, 't') ? NULL : timestamp;
    input->headers.repeated = strchr(options, '2') != NULL;
    input->response_id = strchr(options, 'r') ? ANSWER : NULL;
    input->now = strchr(options, 'w') ? 1614265330 : 1700000000;
    input->body = bytes;
    input->length = length;
    sign_with_all(input, p);
    input->headers.signature = strchr(options, 's') ? NULL : fill_in(input, signature, p);
}

static int consists_of(const char *text, apr_size_t length, const char *alphabet)
{
    for (apr_size_t i = 0; i < length; i++) {
        if (!text[i] || !strchr(alphabet, text[i])) {
            return 0;
        }
    }
    return 1;
}

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/* PROTOCOL, Signature, read once more.  @return nonzero when the header fits; matched: the first key of an entry, or -1 */
static int signature_fits(const input_t *input, const char *header, int *matched, apr_pool_t *p)
{
    static const char last[] = "AEIMQUYcgkosw048"; /* 256 bits leave 2 of the last digit's */
    int entries = 0;
    int ours = 0;

    *matched = KEYS;
    for (const char *at = header;; at += strcspn(at, " ") + 1) {
        char *entry = apr_pstrndup(p, at, strcspn(at, " "));
        char *mac = strchr(entry, ',');

        if (++entries > 8 || !mac || mac == entry || mac - entry > 64
            || !consists_of(entry, (apr_size_t)(mac - entry), LETTERS "_-") || !mac[1] || strchr(mac + 1, ',')) {
            return 0;
        }
        if (strncmp(entry, "v1,", 3) == 0) {
            ours++;
            mac++;
            if (strlen(mac) != TEXT || mac[TEXT - 1] != '=' || !consists_of(mac, TEXT - 1, LETTERS "+/")
                || !strchr(last, mac[TEXT - 2])) {
                return 0;
            }
            for (int i = KEYS; i-- > 0;) {
                *matched = strcmp(mac, input->texts[i]) == 0 && i < *matched ? i : *matched;
            }
        }
        if (!at[strcspn(at, " ")]) {
            return ours > 0;
        }
    }
}

/* @return what has to come of it */
static svl_reason_e judge(const input_t *input, int *matched, apr_pool_t *p)
{
    const svl_sign_headers_t *headers = &input->headers;
    apr_int64_t ahead;

    if (headers->repeated || !headers->id || !headers->timestamp || !headers->signature) {
        return SVL_REASON_HEADER;
    }
    if (input->response_id ? strcmp(headers->id, ANSWER) != 0
                           : strlen(headers->id) < 1 || strlen(headers->id) > 64
                                 || !consists_of(headers->id, strlen(headers->id), LETTERS "_-")) {
        return SVL_REASON_HEADER;
    }
    if (strlen(headers->timestamp) != 10 || !consists_of(headers->timestamp, 10, "0123456789") || headers->timestamp[0] == '0'
        || !signature_fits(input, headers->signature, matched, p)) {
        return SVL_REASON_HEADER;
    }
    ahead = apr_atoi64(headers->timestamp) - input->now;
    return ahead > TOLERANCE || ahead < -TOLERANCE ? SVL_REASON_TIMESTAMP
           : *matched == KEYS                      ? SVL_REASON_SIGNATURE
                                                   : SVL_REASON_NONE;
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    const char *text = apr_pstrcat(p, "a whsec_", secrets[0], "\nb whsec_", secrets[1], "\nc whsec_", secrets[2], "\n", NULL);
    const svl_ring_t *ring;
    svl_signer_t *signer;
    const svl_key_t *key;
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    const char *error;
    input_t input;
    int matched = KEYS;
    svl_reason_e expected;
    apr_status_t status;

    FUZZ_REQUIRE(svl_ring_parse(&ring, text, strlen(text), &error, p) == APR_SUCCESS);
    FUZZ_REQUIRE(svl_sign_create(&signer, ring, p) == APR_SUCCESS);
    read_input(&input, bytes, length, p);
    expected = judge(&input, &matched, p);
    status = svl_sign_verify(signer, &input.headers, input.response_id, input.body, input.length, input.now, TOLERANCE, &key,
                             &fault, p);
    if (expected == SVL_REASON_NONE) {
        FUZZ_REQUIRE(status == APR_SUCCESS && fault.reason == SVL_REASON_NONE);
        FUZZ_REQUIRE(key == APR_ARRAY_IDX(ring->keys, matched, const svl_key_t *));
    }
    else {
        FUZZ_REQUIRE(!key);
        fuzz_refused(status, &fault, expected, expected, p);
    }
}

FUZZ_TARGET(feed)

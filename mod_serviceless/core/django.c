/* SPDX-License-Identifier: Apache-2.0 */
#include "django.h"

#include <string.h>

#include <apr_crypto.h>
#include <apr_strings.h>
#include <openssl/evp.h>
#include <zlib.h>

#include "base64.h"

#define FIELD "data="
/* Ours, and the word that Django appends to every salt. */
#define SALT "servicelesssigner"
#define SEPARATOR ':'
#define MAC 32       /* bytes of HMAC-SHA256; the SHA-1 that Django 3 takes as well is shorter */
#define MAC_TEXT 43  /* characters of it */
#define TIMESTAMP 6  /* digits: from 1999 to 3769 */
#define INFLATE 1032 /* deflate makes at most so many bytes of one */

typedef struct token_t {
    const char *text;
    apr_size_t payload; /* characters before the first separator */
    apr_size_t value;   /* and before the second: what is signed */
    apr_int64_t timestamp;
    unsigned char mac[MAC];
} token_t;

/* @return the value of the hexadecimal digit, or -1 */
static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* @return the value of the digit of base 62, or -1 */
static int digit_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'Z' ? c - 'A' + 10 : c >= 'a' && c <= 'z' ? c - 'a' + 36 : -1;
}

/* @return the value of the form's one field, *used bytes of it, or NULL: another form, or a character that no token has */
static const char *read_form(const char *form, apr_size_t length, apr_size_t *used, apr_pool_t *p)
{
    apr_size_t skip = strlen(FIELD);
    char *token;

    *used = 0;
    if (length < skip || memcmp(form, FIELD, skip) != 0) {
        return NULL;
    }
    token = apr_palloc(p, length);
    for (apr_size_t at = skip; at < length; at++) {
        char c = form[at];

        if (c == '%') {
            int high = length - at > 2 ? hex_value(form[at + 1]) : -1;
            int low = length - at > 2 ? hex_value(form[at + 2]) : -1;

            if (high < 0 || low < 0) {
                return NULL;
            }
            c = (char)(high << 4 | low);
            at += 2;
        }
        if (digit_value(c) < 0 && c != '-' && c != '_' && c != '.' && c != SEPARATOR) {
            return NULL;
        }
        token[(*used)++] = c;
    }
    return token;
}

/* @return NULL or what is wrong */
static const char *read_token(token_t *token, const char *text, apr_size_t length, apr_pool_t *p)
{
    apr_size_t tail = 1 + TIMESTAMP + 1 + MAC_TEXT;
    apr_size_t used = 0;

    if (length <= tail || text[length - tail] != SEPARATOR || text[length - MAC_TEXT - 1] != SEPARATOR) {
        return "the token is not payload:timestamp:signature, with a signature by SHA-256";
    }
    token->text = text;
    token->payload = length - tail;
    token->value = length - MAC_TEXT - 1;
    if (memchr(text, SEPARATOR, token->payload)) {
        return "the token has too many parts";
    }
    token->timestamp = 0;
    for (apr_size_t i = token->payload + 1; i < token->value; i++) {
        int digit = digit_value(text[i]);

        if (digit < 0 || (digit == 0 && token->timestamp == 0)) {
            return "the token's timestamp is not 6 digits of base 62";
        }
        token->timestamp = token->timestamp * 62 + digit;
    }
    if (svl_base64_decode_url(token->mac, MAC, &used, text + token->value + 1, MAC_TEXT, p) != APR_SUCCESS || used != MAC) {
        return "the token's signature is not 43 characters of canonical base64";
    }
    return NULL;
}

/* @return nonzero and the mac, or 0 when the library failed */
static int compute(const svl_key_t *key, const token_t *token, unsigned char mac[MAC])
{
    char secret[sizeof(SALT) + SVL_RING_TEXT] = SALT;
    unsigned char derived[MAC];
    apr_size_t length = strlen(SALT);
    size_t written = 0;
    int sound;

    length += svl_ring_write_secret(key, secret + length);
    sound = EVP_Digest(secret, length, derived, NULL, EVP_sha256(), NULL) == 1
            && EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, derived, MAC, (const unsigned char *)token->text, token->value,
                         mac, MAC, &written)
            && written == MAC;
    apr_crypto_memzero(secret, sizeof(secret));
    apr_crypto_memzero(derived, sizeof(derived));
    return sound;
}

/* Which byte or key differs changes nothing of the work.
 * @param failed set when the library failed for a key  @return the first key that made the token, or NULL */
static const svl_key_t *match(const svl_ring_t *ring, const token_t *token, int *failed)
{
    const svl_key_t *matched = NULL;
    unsigned char mac[MAC] = {0};

    *failed = 0;
    for (int i = ring->keys->nelts; i-- > 0;) {
        const svl_key_t *key = APR_ARRAY_IDX(ring->keys, i, const svl_key_t *);
        int sound = compute(key, token, mac);
        int equal = apr_crypto_equals(mac, token->mac, MAC);

        *failed |= !sound;
        if (sound & equal) {
            matched = key;
        }
    }
    apr_crypto_memzero(mac, sizeof(mac));
    return matched;
}

static void *take_memory(void *pool, uInt items, uInt size)
{
    return apr_palloc(pool, (apr_size_t)items * size);
}

static void leave_memory(void *pool, void *memory)
{
    (void)pool;
    (void)memory;
}

/* Inflates into a block with room for one byte over the limit: whether that one is used tells what is too large. */
static apr_status_t inflate_payload(const unsigned char *bytes, apr_size_t size, apr_size_t limit, const char **text,
                                    apr_size_t *length, svl_fault_t *fault, apr_pool_t *p)
{
    apr_size_t room = size < limit / INFLATE ? size * INFLATE : limit;
    char *inflated = apr_palloc(p, room + 1);
    z_stream stream = {.zalloc = take_memory, .zfree = leave_memory, .opaque = p};
    int result;

    stream.next_in = (Bytef *)bytes;
    stream.avail_in = (uInt)size;
    stream.next_out = (Bytef *)inflated;
    stream.avail_out = (uInt)(room + 1);
    result = inflateInit(&stream);
    if (result == Z_OK) {
        result = inflate(&stream, Z_FINISH);
        inflateEnd(&stream);
    }
    if (stream.total_out > limit) {
        return svl_fault_set(fault, SVL_REASON_BODY_TOO_LARGE, p, "the token inflates to more than %" APR_SIZE_T_FMT " bytes",
                             limit);
    }
    if (result != Z_STREAM_END || stream.avail_in > 0) {
        return svl_fault_set(fault, SVL_REASON_JSON, p, "what the token holds does not inflate");
    }
    *text = inflated;
    *length = stream.total_out;
    return APR_SUCCESS;
}

static apr_status_t open_payload(const token_t *token, apr_size_t limit, const char **text, apr_size_t *length,
                                 svl_fault_t *fault, apr_pool_t *p)
{
    apr_size_t deflated = token->text[0] == '.';
    apr_size_t size = token->payload - deflated;
    unsigned char *bytes = apr_palloc(p, size + 1);
    apr_size_t used = 0;

    if (svl_base64_decode_url(bytes, size, &used, token->text + deflated, size, p) != APR_SUCCESS) {
        return svl_fault_set(fault, SVL_REASON_JSON, p, "what the token holds is not canonical base64");
    }
    if (deflated) {
        apr_status_t status = inflate_payload(bytes, used, limit, text, length, fault, p);

        if (status != APR_SUCCESS) {
            return status;
        }
    }
    else {
        *text = (const char *)bytes;
        *length = used;
    }
    if (*length > limit) {
        return svl_fault_set(fault, SVL_REASON_BODY_TOO_LARGE, p, "the token holds more than %" APR_SIZE_T_FMT " bytes", limit);
    }
    /* Django would read such bytes as Latin-1, and a call is UTF-8: what it says must not depend on the reader. */
    for (apr_size_t i = 0; i < *length; i++) {
        if ((unsigned char)(*text)[i] > 0x7f) {
            return svl_fault_set(fault, SVL_REASON_JSON, p,
                                 "what the token holds is not ASCII, as Django's serializer writes it");
        }
    }
    return APR_SUCCESS;
}

apr_status_t svl_django_open(const svl_ring_t *ring, const char *form, apr_size_t length, apr_int64_t now,
                             apr_int64_t tolerance, apr_size_t limit, const svl_key_t **key, const char **text,
                             apr_size_t *text_length, svl_fault_t *fault, apr_pool_t *p)
{
    token_t token;
    apr_size_t used;
    const char *value = read_form(form, length, &used, p);
    const char *wrong = value ? read_token(&token, value, used, p) : "the body is not the form data=<token>";
    apr_int64_t ahead;
    int failed;

    *key = NULL;
    *text = NULL;
    *text_length = 0;
    if (wrong) {
        return svl_fault_set(fault, SVL_REASON_HEADER, p, "%s", wrong);
    }
    ahead = token.timestamp - now;
    if (ahead > tolerance || ahead < -tolerance) {
        return svl_fault_set(fault, SVL_REASON_TIMESTAMP, p, "the token was made %" APR_INT64_T_FMT " s %s this clock",
                             ahead < 0 ? -ahead : ahead, ahead < 0 ? "behind" : "ahead of");
    }
    *key = match(ring, &token, &failed);
    if (!*key && failed) {
        return svl_fault_set(fault, SVL_REASON_STORE_FAILED, p, "libcrypto could not check the token");
    }
    if (!*key) {
        return svl_fault_set(fault, SVL_REASON_SIGNATURE, p, "no key made the token");
    }
    return open_payload(&token, limit, text, text_length, fault, p);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "ring.h"

#include <string.h>

#include <apr_crypto.h>
#include <apr_encode.h>
#include <apr_fnmatch.h>
#include <apr_strings.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base64.h"
#include "name.h"

#define GENERATED 32 /* bytes: what HMAC-SHA256 can use */

/* Every sentence about a key file is one of these: none quotes the file, because a secret may stand where a name should. */
#define SAY_ID "the id must be 1 to 64 of A-Z a-z 0-9 _ -"
#define SAY_SECRET "after the id stands whsec_ and the canonical base64 of 24 to 64 bytes"
#define SAY_PERMISSION "a permission is relay, call or call=glob"

typedef struct piece_t {
    const char *text;
    apr_size_t length;
} piece_t;

static int is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* @return nonzero and the next word of the line, which *rest gives up */
static int next_word(piece_t *rest, piece_t *word)
{
    while (rest->length > 0 && is_blank(*rest->text)) {
        rest->text++;
        rest->length--;
    }
    word->text = rest->text;
    word->length = 0;
    while (word->length < rest->length && !is_blank(word->text[word->length])) {
        word->length++;
    }
    rest->text += word->length;
    rest->length -= word->length;
    return word->length > 0;
}

/* @return nonzero and the next line without its newline and its comment */
static int next_line(piece_t *rest, piece_t *line)
{
    const char *newline;
    const char *comment;

    if (rest->length == 0) {
        return 0;
    }
    newline = memchr(rest->text, '\n', rest->length);
    line->text = rest->text;
    line->length = newline ? (apr_size_t)(newline - rest->text) : rest->length;
    rest->text += line->length + (newline != NULL);
    rest->length -= line->length + (newline != NULL);
    comment = memchr(line->text, '#', line->length);
    if (comment) {
        line->length = (apr_size_t)(comment - line->text);
    }
    return 1;
}

static int equals(piece_t piece, const char *text)
{
    return piece.length == strlen(text) && memcmp(piece.text, text, piece.length) == 0;
}

static int is_glob(const char *text, apr_size_t length)
{
    if (length == 0 || length > SVL_NAME_FUNCTION_MAX) {
        return 0;
    }
    for (apr_size_t i = 0; i < length; i++) {
        /* a character of a function's name, or one that apr_fnmatch knows; others could never match */
        if (!svl_name_is_function(text + i, 1) && (text[i] == '\0' || !strchr("0123456789.-*?[]!^", text[i]))) {
            return 0;
        }
    }
    return 1;
}

static const char *read_permission(svl_key_t *key, piece_t word, apr_pool_t *p)
{
    static const char prefix[] = "call=";
    apr_size_t skip = sizeof(prefix) - 1;

    if (equals(word, "relay")) {
        key->relay = 1;
        return NULL;
    }
    if (equals(word, "call")) {
        APR_ARRAY_PUSH(key->calls, const char *) = "*";
        return NULL;
    }
    if (word.length <= skip || memcmp(word.text, prefix, skip) != 0 || !is_glob(word.text + skip, word.length - skip)) {
        return SAY_PERMISSION;
    }
    APR_ARRAY_PUSH(key->calls, const char *) = apr_pstrmemdup(p, word.text + skip, word.length - skip);
    return NULL;
}

static const char *read_secret(svl_key_t *key, piece_t word, apr_pool_t *p)
{
    apr_size_t skip = strlen(SVL_RING_PREFIX);
    unsigned char *secret = apr_palloc(p, SVL_RING_SECRET_MAX);
    unsigned char digest[EVP_MAX_MD_SIZE];

    apr_crypto_clear(p, secret, SVL_RING_SECRET_MAX);
    if (word.length <= skip || memcmp(word.text, SVL_RING_PREFIX, skip) != 0
        || svl_base64_decode(secret, SVL_RING_SECRET_MAX, &key->length, word.text + skip, word.length - skip) != APR_SUCCESS
        || key->length < SVL_RING_SECRET_MIN) {
        return SAY_SECRET;
    }
    key->secret = secret;
    if (EVP_Digest(secret, key->length, digest, NULL, EVP_sha256(), NULL) != 1) {
        return "SHA-256 of the secret cannot be computed";
    }
    apr_encode_base16_binary(key->fingerprint, digest, SVL_RING_FINGERPRINT / 2, APR_ENCODE_LOWER, NULL);
    return NULL;
}

static int same_secret(const svl_key_t *one, const svl_key_t *other)
{
    return one->length == other->length && apr_crypto_equals(one->secret, other->secret, one->length);
}

static const char *add_key(svl_ring_t *ring, const svl_key_t *key)
{
    if (ring->keys->nelts >= SVL_RING_KEYS_MAX) {
        return "there are more than 64 keys";
    }
    for (int i = 0; i < ring->keys->nelts; i++) {
        const svl_key_t *other = APR_ARRAY_IDX(ring->keys, i, const svl_key_t *);

        if (strcmp(key->id, other->id) == 0) {
            return "the id is that of an earlier line";
        }
        if (same_secret(key, other)) {
            return "the secret is that of an earlier line";
        }
    }
    APR_ARRAY_PUSH(ring->keys, const svl_key_t *) = key;
    return NULL;
}

/* @return NULL or what is wrong with the line */
static const char *read_key(svl_ring_t *ring, piece_t id, piece_t rest, apr_pool_t *p)
{
    svl_key_t *key = apr_pcalloc(p, sizeof(*key));
    piece_t word;
    const char *wrong;

    if (!svl_name_is_id(id.text, id.length)) {
        return SAY_ID;
    }
    key->id = apr_pstrmemdup(p, id.text, id.length);
    key->calls = apr_array_make(p, 1, sizeof(const char *));
    next_word(&rest, &word);
    wrong = read_secret(key, word, p);
    while (!wrong && next_word(&rest, &word)) {
        wrong = read_permission(key, word, p);
    }
    if (!wrong && !key->relay && key->calls->nelts == 0) {
        key->relay = 1;
        APR_ARRAY_PUSH(key->calls, const char *) = "*";
    }
    return wrong ? wrong : add_key(ring, key);
}

static const svl_key_t *choose_signer(const svl_ring_t *ring)
{
    for (int i = 0; i < ring->keys->nelts; i++) {
        const svl_key_t *key = APR_ARRAY_IDX(ring->keys, i, const svl_key_t *);

        if (key->relay) {
            return key;
        }
    }
    return APR_ARRAY_IDX(ring->keys, 0, const svl_key_t *);
}

apr_status_t svl_ring_parse(const svl_ring_t **ring, const char *text, apr_size_t length, const char **error, apr_pool_t *p)
{
    svl_ring_t *fresh = apr_pcalloc(p, sizeof(*fresh));
    piece_t rest = {text, length};
    piece_t line;
    piece_t word;
    const char *wrong = NULL;

    *ring = NULL;
    fresh->keys = apr_array_make(p, 4, sizeof(const svl_key_t *));
    for (int number = 1; next_line(&rest, &line); number++) {
        if (next_word(&line, &word)) {
            wrong = read_key(fresh, word, line, p);
        }
        if (wrong) {
            *error = apr_psprintf(p, "line %d: %s", number, wrong);
            return APR_EINVAL;
        }
    }
    if (fresh->keys->nelts == 0) {
        *error = "it holds no key; `serviceless keygen` writes a line for it";
        return APR_EINVAL;
    }
    fresh->signer = choose_signer(fresh);
    *ring = fresh;
    return APR_SUCCESS;
}

const char *svl_ring_check_file(const apr_finfo_t *info, const char **warning, apr_pool_t *p)
{
    const char *fault = NULL;

    *warning = NULL;
    if (!(info->valid & APR_FINFO_TYPE) || !(info->valid & APR_FINFO_PROT)) {
        return "its permissions cannot be read";
    }
    if (info->filetype != APR_REG) {
        return "it is not a plain file";
    }
    if (info->protection & APR_FPROT_WWRITE) {
        fault = "writable by all";
    }
    else if (info->protection & APR_FPROT_WREAD) {
        fault = "readable by all";
    }
    else if (info->protection & APR_FPROT_GWRITE) {
        fault = "writable by its group";
    }
    if (fault) {
        /* the digits of apr's permissions are those of chmod, in hexadecimal */
        return apr_psprintf(p, "it is %s (mode %04x); chmod 600 makes it right", fault,
                            (unsigned int)info->protection & 0x7777);
    }
    if (info->protection & APR_FPROT_GREAD) {
        *warning = "it is readable by its group: every member can sign calls";
    }
    return NULL;
}

int svl_ring_may_call(const svl_key_t *key, const char *function)
{
    for (int i = 0; i < key->calls->nelts; i++) {
        if (apr_fnmatch(APR_ARRAY_IDX(key->calls, i, const char *), function, 0) == APR_SUCCESS) {
            return 1;
        }
    }
    return 0;
}

apr_size_t svl_ring_write_secret(const svl_key_t *key, char text[SVL_RING_TEXT])
{
    apr_size_t skip = strlen(SVL_RING_PREFIX);

    memcpy(text, SVL_RING_PREFIX, skip);
    apr_encode_base64_binary(text + skip, key->secret, (apr_ssize_t)key->length, APR_ENCODE_NONE, NULL);
    return strlen(text);
}

const svl_key_t *svl_ring_find(const svl_ring_t *ring, const char *id)
{
    for (int i = 0; i < ring->keys->nelts; i++) {
        const svl_key_t *key = APR_ARRAY_IDX(ring->keys, i, const svl_key_t *);

        if (strcmp(key->id, id) == 0) {
            return key;
        }
    }
    return NULL;
}

int svl_ring_lacks(const svl_ring_t *ring, const char *fingerprint)
{
    int found = 0;

    if (!fingerprint || strlen(fingerprint) != SVL_RING_FINGERPRINT
        || strspn(fingerprint, "0123456789abcdef") != SVL_RING_FINGERPRINT) {
        return 0;
    }
    for (int i = 0; i < ring->keys->nelts; i++) {
        const svl_key_t *key = APR_ARRAY_IDX(ring->keys, i, const svl_key_t *);

        found |= apr_crypto_equals(key->fingerprint, fingerprint, SVL_RING_FINGERPRINT);
    }
    return !found;
}

const svl_key_t *svl_ring_shared(const svl_ring_t *one, const svl_ring_t *other)
{
    for (int i = 0; i < one->keys->nelts; i++) {
        for (int j = 0; j < other->keys->nelts; j++) {
            const svl_key_t *key = APR_ARRAY_IDX(one->keys, i, const svl_key_t *);

            if (same_secret(key, APR_ARRAY_IDX(other->keys, j, const svl_key_t *))) {
                return key;
            }
        }
    }
    return NULL;
}

apr_status_t svl_ring_generate(const char **line, const char *id, const apr_array_header_t *permissions, const char **error,
                               apr_pool_t *p)
{
    svl_key_t scratch = {.calls = apr_array_make(p, 1, sizeof(const char *))};
    unsigned char secret[GENERATED];
    char encoded[(GENERATED + 2) / 3 * 4 + 1];
    char *text;

    if (!svl_name_is_id(id, strlen(id))) {
        *error = SAY_ID;
        return APR_EINVAL;
    }
    for (int i = 0; permissions && i < permissions->nelts; i++) {
        const char *word = APR_ARRAY_IDX(permissions, i, const char *);

        *error = read_permission(&scratch, (piece_t){word, strlen(word)}, p);
        if (*error) {
            return APR_EINVAL;
        }
    }
    if (RAND_bytes(secret, sizeof(secret)) != 1) {
        *error = "there is no randomness";
        return APR_EGENERAL;
    }
    apr_encode_base64_binary(encoded, secret, sizeof(secret), APR_ENCODE_NONE, NULL);
    text = apr_pstrcat(p, id, " " SVL_RING_PREFIX, encoded, permissions && permissions->nelts ? " " : "",
                       permissions ? apr_array_pstrcat(p, permissions, ' ') : "", NULL);
    apr_crypto_clear(p, text, strlen(text));
    apr_crypto_memzero(secret, sizeof(secret));
    apr_crypto_memzero(encoded, sizeof(encoded));
    *line = text;
    return APR_SUCCESS;
}

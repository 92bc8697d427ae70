/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: a form is opened exactly when it holds a token that a key of the ring made within the tolerance, and nothing but what was
 * signed comes out of it, in bounds.
 *
 * Input: a letter and the rest.  f: the rest is the form as it comes, @ in it the signature that the key makes of what stands between
 * `data=` and it; p: a payload, already in base64; j: JSON; z: a zlib stream.  The last three are put into a token and signed: no fuzzer
 * finds a signature. */
#include "fuzz.h"

#include <zlib.h>

#include "../../mod_serviceless/core/django.h"
#include "../unit/django_seal.h"

#define KEY "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define NOW APR_INT64_C(1700000000)
#define STAMP "1r31eq"
#define TOLERANCE 300
#define LIMIT 8192

static const char ring_text[] = "other whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nfleet " KEY "\n";

typedef struct opened_t {
    const svl_key_t *key;
    const char *text;
    apr_size_t length;
    svl_fault_t fault;
    apr_status_t status;
} opened_t;

static opened_t open_form(const char *form, apr_size_t length, apr_pool_t *p)
{
    opened_t opened = {.fault = {SVL_REASON_NONE, NULL}};
    const svl_ring_t *ring;
    const char *error;

    FUZZ_REQUIRE(svl_ring_parse(&ring, ring_text, strlen(ring_text), &error, p) == APR_SUCCESS);
    opened.status =
        svl_django_open(ring, form, length, NOW, TOLERANCE, LIMIT, &opened.key, &opened.text, &opened.length, &opened.fault, p);
    if (opened.status != APR_SUCCESS) {
        int genuine = opened.fault.reason == SVL_REASON_JSON || opened.fault.reason == SVL_REASON_BODY_TOO_LARGE;

        FUZZ_REQUIRE(genuine == (opened.key != NULL));
        FUZZ_REQUIRE(genuine || svl_fault_http(opened.fault.reason) == 401);
        fuzz_refused(opened.status, &opened.fault, opened.fault.reason, opened.fault.reason, p);
        return opened;
    }
    FUZZ_REQUIRE(opened.key && strcmp(opened.key->id, "fleet") == 0 && opened.length <= LIMIT);
    for (apr_size_t i = 0; i < opened.length; i++) {
        FUZZ_REQUIRE((unsigned char)opened.text[i] < 0x80);
    }
    return opened;
}

static int is_ascii(const char *text, apr_size_t length)
{
    for (apr_size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] > 0x7f) {
            return 0;
        }
    }
    return 1;
}

/* What was signed comes out when it may, and nothing else does. */
static void expect(const opened_t *opened, const char *text, apr_size_t length)
{
    if (text && length > 0 && length <= LIMIT && is_ascii(text, length)) {
        FUZZ_REQUIRE(opened->status == APR_SUCCESS && opened->length == length && memcmp(opened->text, text, length) == 0);
    }
    else if (text && length > LIMIT) {
        FUZZ_REQUIRE(opened->fault.reason == SVL_REASON_BODY_TOO_LARGE);
    }
}

static void feed_form(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    const char *at = memchr(bytes, '@', length);
    apr_size_t head = at ? (apr_size_t)(at - bytes) : 0;

    if (head > 6 && memcmp(bytes, "data=", 5) == 0 && bytes[head - 1] == ':' && !memchr(bytes, '\0', head)) {
        const char *value = apr_pstrmemdup(p, bytes + 5, head - 6);
        const char *token = apr_pstrcat(p, "data=", seal_sign(p, KEY, "serviceless", value), NULL);
        apr_size_t size = strlen(token);
        char *form = apr_palloc(p, size + length);

        memcpy(form, token, size);
        memcpy(form + size, at + 1, length - head - 1);
        open_form(form, size + length - head - 1, p);
    }
    else {
        FUZZ_REQUIRE(open_form(bytes, length, p).status != APR_SUCCESS);
    }
}

static void feed_stream(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    const char *form = seal_form(p, KEY, apr_pstrcat(p, ".", seal_encode(p, bytes, length), NULL), STAMP);
    opened_t opened = open_form(form, strlen(form), p);
    uLongf size = LIMIT + 1;
    uLong used = length;
    char *text = apr_palloc(p, size);

    if (uncompress2((unsigned char *)text, &size, (const unsigned char *)bytes, &used) == Z_OK && used == length) {
        expect(&opened, text, size);
    }
    else {
        FUZZ_REQUIRE(opened.status != APR_SUCCESS);
    }
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    char kind = length > 0 ? *bytes : '\0';
    const char *form;
    opened_t opened;

    if (kind == 'f') {
        feed_form(bytes + 1, length - 1, p);
    }
    else if (kind == 'z') {
        feed_stream(bytes + 1, length - 1, p);
    }
    else if (kind == 'j') {
        form = seal_form(p, KEY, seal_encode(p, bytes + 1, length - 1), STAMP);
        opened = open_form(form, strlen(form), p);
        expect(&opened, bytes + 1, length - 1);
    }
    else if (kind == 'p') {
        form = seal_form(p, KEY, apr_pstrmemdup(p, bytes + 1, length - 1), STAMP);
        open_form(form, strlen(form), p);
    }
}

FUZZ_TARGET(feed)

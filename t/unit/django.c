/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/core/django.h"

#include <zlib.h>

#include "../../mod_serviceless/core/base64.h"
#include "django_seal.h"
#include "unit.h"

#define NOW INT64_C(1700000000)
#define STAMP "1r31eq" /* NOW */
#define TOLERANCE 300
#define LIMIT 4096
#define FLEET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define NEXT "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define OPS "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3"

/* What Django 3.2.25 made at NOW of {"id": "c1", "function": "ping", "args": [1, "é"], "kwargs": {"k": None}}. */
#define CALL "{\"id\":\"c1\",\"function\":\"ping\",\"args\":[1,\"\\u00e9\"],\"kwargs\":{\"k\":null}}"
#define PAYLOAD "eyJpZCI6ImMxIiwiZnVuY3Rpb24iOiJwaW5nIiwiYXJncyI6WzEsIlx1MDBlOSJdLCJrd2FyZ3MiOnsiayI6bnVsbH19"
#define TOKEN PAYLOAD ":" STAMP ":v-mHQrjoO_JpkyGDVi6iXkMwwlDtoN_wl_jmSLpeZjQ"
#define TOKEN_OPS PAYLOAD ":" STAMP ":pnzzYRR_XXaKy5QhcB6i1AeBBoHYAXUGzfNn8VGNB8I"

static const char ring_text[] = "fleet " FLEET "\nnext " NEXT "\nops " OPS " call\n";

typedef struct opened_t {
    const svl_key_t *key;
    const char *text;
    apr_size_t length;
    svl_reason_e reason;
} opened_t;

static const svl_ring_t *ring_of(apr_pool_t *p, const char *text)
{
    const svl_ring_t *ring;
    const char *error;

    assert_int_equal(svl_ring_parse(&ring, text, strlen(text), &error, p), APR_SUCCESS);
    return ring;
}

static opened_t open_at(apr_pool_t *p, const char *form, apr_size_t length, apr_int64_t now, apr_int64_t tolerance)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    opened_t opened;
    apr_status_t status = svl_django_open(ring_of(p, ring_text), unit_exact(p, form, length), length, now, tolerance, LIMIT,
                                          &opened.key, &opened.text, &opened.length, &fault, p);

    opened.reason = fault.reason;
    assert_int_equal(status, fault.reason == SVL_REASON_NONE ? APR_SUCCESS : SVL_EREFUSED);
    if (fault.reason != SVL_REASON_NONE) {
        assert_true(fault.detail && unit_is_printable(fault.detail));
        /* whoever signed is told once the signature held, and not before */
        assert_int_equal(opened.key != NULL, svl_fault_http(fault.reason) != 401);
    }
    return opened;
}

static opened_t open_form(apr_pool_t *p, const char *form)
{
    return open_at(p, form, strlen(form), NOW, TOLERANCE);
}

static svl_reason_e verdict(apr_pool_t *p, const char *form)
{
    return open_form(p, form).reason;
}

static void assert_holds(opened_t opened, const char *text)
{
    assert_int_equal(opened.reason, SVL_REASON_NONE);
    assert_int_equal(opened.length, strlen(text));
    assert_memory_equal(opened.text, text, opened.length);
}

static void what_django_made_is_opened_whichever_key_signed(void **state)
{
    static const struct {
        const char *token;
        const char *key;
        const char *text;
    } vectors[] = {
        {TOKEN, "fleet", CALL},
        {PAYLOAD ":" STAMP ":VJmxB4dRVPv51SCYQVXoIhcqSPIhPlWaAiizAzSvfiA", "next", CALL},
        {TOKEN_OPS, "ops", CALL},
        {"eyJmb28iOiJiYXIifQ:" STAMP ":f5dV_KCYic0zN-wbDUO9_2XtZuK5PoWx6E7ZUQINq7c", "fleet", "{\"foo\":\"bar\"}"},
        /* compress=True */
        {".eJyrVspMUbJSSjZU0lFKK81LLsnMzwPyCzLz0oEiiUXpxUpW0UqJSckDgpRiawHHQjph:" STAMP
         ":ws1tnGEn-9EFQLJmFFjeKqh6rrG9B4qq5oyhn8nb5vk",
         "fleet",
         "{\"id\":\"c1\",\"function\":\"ping\",\"args\":[\"abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabc"
         "abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabc\"]}"},
    };

    for (size_t i = 0; i < UNIT_COUNT(vectors); i++) {
        opened_t opened = open_form(*state, apr_pstrcat(*state, "data=", vectors[i].token, NULL));

        assert_holds(opened, vectors[i].text);
        assert_string_equal(opened.key->id, vectors[i].key);
    }
    assert_string_equal(seal_form(*state, FLEET, PAYLOAD, STAMP), "data=" TOKEN);
}

static void a_removed_key_is_refused(void **state)
{
    const svl_ring_t *ring = ring_of(*state, strchr(ring_text, '\n') + 1);
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    opened_t opened;

    assert_int_equal(svl_django_open(ring, "data=" TOKEN, strlen("data=" TOKEN), NOW, TOLERANCE, LIMIT, &opened.key,
                                     &opened.text, &opened.length, &fault, *state),
                     SVL_EREFUSED);
    assert_int_equal(fault.reason, SVL_REASON_SIGNATURE);
    assert_null(opened.key);
    assert_null(opened.text);
}

static void other_forms_of_django_are_refused(void **state)
{
    static const struct {
        const char *token;
        svl_reason_e reason;
    } tokens[] = {
        /* SHA-1, which Django 3 itself still takes; the two of its documentation */
        {PAYLOAD ":" STAMP ":-esj3l5w-IN9KQqWdFk9yxDKuMg", SVL_REASON_HEADER},
        {"ImhlbGxvIg:1QaUZC:YIye-ze3TTx7gtSv422nZA4sgmk", SVL_REASON_HEADER},
        {".eJwFwcERACAIwLCF-rCiILN47r-GyZVJsNgkxaFxoDgxcOHGxMKD_T7vhAml:1QaUaL:BA0thEZrp4FQVXIXuOvYJtLJSrQ", SVL_REASON_HEADER},
        /* SHA-512 */
        {PAYLOAD ":" STAMP ":cZ0TxoJGth7b5KTrjeGbWSO194OW0yzPWeDv_MCQmpH0OsAtNNGUs7ILHNkexv63GJsFPKI968NItioyTQgFuw",
         SVL_REASON_HEADER},
        /* Signer, which has no timestamp */
        {PAYLOAD ":fderF4zjYOVrmuHjE8qifC3Gmakv-lGdYHfj24OefW8", SVL_REASON_HEADER},
        /* the default salt */
        {PAYLOAD ":" STAMP ":xUIVB90r4_bqo8p4KXSy6WhJhDhycYIViZtJ1zbZvJE", SVL_REASON_SIGNATURE},
    };

    for (size_t i = 0; i < UNIT_COUNT(tokens); i++) {
        assert_int_equal(verdict(*state, apr_pstrcat(*state, "data=", tokens[i].token, NULL)), tokens[i].reason);
    }
}

static void every_bit_of_the_form_counts_and_every_byte(void **state)
{
    const char *form = "data=" TOKEN;
    apr_size_t length = strlen(form);

    for (apr_size_t bit = 0; bit < 8 * length; bit++) {
        char *changed = apr_pstrdup(*state, form);

        changed[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_equal(svl_fault_http(open_at(*state, changed, length, NOW, 1 << 30).reason), 401);
    }
    for (apr_size_t shorter = 0; shorter < length; shorter++) {
        assert_int_equal(verdict(*state, apr_pstrndup(*state, form, shorter)), SVL_REASON_HEADER);
    }
    assert_int_equal(open_at(*state, form, length, NOW, 1 << 30).reason, SVL_REASON_NONE);
}

static void the_form_has_the_one_field_and_nothing_else(void **state)
{
    static const char *const forms[] = {
        "",
        "data",
        "data=",
        "data=&data=" TOKEN,
        "data=" TOKEN "&",
        "&data=" TOKEN,
        "data=" TOKEN "&data=" TOKEN,
        "data=" TOKEN "&x=",
        "x=&data=" TOKEN,
        "Data=" TOKEN,
        "%64ata=" TOKEN,
        "data =" TOKEN,
        "data=+" TOKEN,
        "data=" TOKEN "+",
        "data=" TOKEN "\r\n",
        "data=" TOKEN "%00",
        "data=" TOKEN "%",
        "data=" TOKEN "%5",
        "data=" TOKEN "%5g",
        "data=" TOKEN "%%41",
        "data=%" TOKEN,
        "data=" TOKEN "%3D",
        "data=" TOKEN "=",
        "data=" TOKEN "%26x=1",
        "data=" TOKEN "%253A",
        "data=" TOKEN ";x",
        "data==" TOKEN,
        "data=" TOKEN "%C3%A9",
        "data[]=" TOKEN,
        TOKEN,
        "data=:" TOKEN,
        "data=" TOKEN ":",
        "data=::",
        "data=:" STAMP ":v-mHQrjoO_JpkyGDVi6iXkMwwlDtoN_wl_jmSLpeZjQ",
    };

    for (size_t i = 0; i < UNIT_COUNT(forms); i++) {
        assert_int_equal(verdict(*state, forms[i]), SVL_REASON_HEADER);
    }
    assert_int_equal(open_at(*state, "data=" TOKEN "\0", strlen("data=" TOKEN) + 1, NOW, 300).reason, SVL_REASON_HEADER);
}

static void what_a_form_escapes_is_the_same_token(void **state)
{
    char *escaped = apr_pstrdup(*state, "data=");

    assert_holds(open_form(*state, "data=" PAYLOAD "%3A" STAMP "%3av-mHQrjoO%5FJpkyGDVi6iXkMwwlDtoN_wl_jmSLpeZjQ"), CALL);
    for (const char *c = TOKEN; *c; c++) {
        escaped = apr_psprintf(*state, "%s%%%02x", escaped, (unsigned int)*c);
    }
    assert_holds(open_form(*state, escaped), CALL);
}

static void the_tolerance_holds_either_way_to_the_second(void **state)
{
    const char *form = "data=" TOKEN;
    apr_size_t length = strlen(form);

    for (int sign = -1; sign <= 1; sign += 2) {
        assert_int_equal(open_at(*state, form, length, NOW + sign * 300, 300).reason, SVL_REASON_NONE);
        assert_int_equal(open_at(*state, form, length, NOW + sign * 301, 300).reason, SVL_REASON_TIMESTAMP);
    }
    assert_int_equal(open_at(*state, form, length, NOW, 0).reason, SVL_REASON_NONE);
}

static void a_timestamp_is_six_digits_of_base_62(void **state)
{
    static const char *const malformed[] = {"",       "1r31e",   "01r31eq", "01r31e", "000000",    "1r31e-",
                                            "-r31eq", "1r31eq0", "1.31eq",  "1r31e_", "1700000000"};

    for (size_t i = 0; i < UNIT_COUNT(malformed); i++) {
        assert_int_equal(verdict(*state, seal_form(*state, FLEET, PAYLOAD, malformed[i])), SVL_REASON_HEADER);
    }
    assert_int_equal(verdict(*state, seal_form(*state, FLEET, PAYLOAD, "100000")), SVL_REASON_TIMESTAMP);
    assert_int_equal(verdict(*state, seal_form(*state, FLEET, PAYLOAD, "zzzzzz")), SVL_REASON_TIMESTAMP);
}

static void time_is_judged_before_the_signature_and_that_before_what_is_inside(void **state)
{
    assert_int_equal(verdict(*state, seal_form(*state, "whsec_of_nobody", "A", "zzzzzz")), SVL_REASON_TIMESTAMP);
    assert_int_equal(verdict(*state, seal_form(*state, "whsec_of_nobody", "A", STAMP)), SVL_REASON_SIGNATURE);
    assert_int_equal(verdict(*state, seal_form(*state, FLEET, "A", STAMP)), SVL_REASON_JSON);
}

static void a_payload_has_one_spelling(void **state)
{
    static const char *const payloads[] = {"A", "e31", "e3", "e30.", "e-.0", "..e30", ".", ".e30", "_____w"};

    assert_holds(open_form(*state, seal_form(*state, FLEET, "e30", STAMP)), "{}");
    for (size_t i = 0; i < UNIT_COUNT(payloads); i++) {
        assert_int_equal(verdict(*state, seal_form(*state, FLEET, payloads[i], STAMP)), SVL_REASON_JSON);
    }
}

static void what_is_not_ascii_is_refused(void **state)
{
    const char *latin = seal_encode(*state, "{\"id\":\"\xe9\"}", 10);
    const char *utf8 = seal_encode(*state, "{\"id\":\"\xc3\xa9\"}", 11);

    assert_int_equal(verdict(*state, seal_form(*state, FLEET, latin, STAMP)), SVL_REASON_JSON);
    assert_int_equal(verdict(*state, seal_form(*state, FLEET, utf8, STAMP)), SVL_REASON_JSON);
}

/* @return the payload of a zlib stream, with some bytes cut off (below 0) or added */
static const char *deflated(apr_pool_t *p, const char *text, apr_size_t length, int more)
{
    uLongf size = compressBound(length) + 8;
    unsigned char *bytes = apr_pcalloc(p, size);

    assert_int_equal(compress2(bytes, &size, (const unsigned char *)text, length, 9), Z_OK);
    return apr_pstrcat(p, ".", seal_encode(p, bytes, size + more), NULL);
}

static void inflation_ends_at_the_limit_exactly(void **state)
{
    const char *text = unit_repeat(*state, "a", LIMIT + 1);
    opened_t opened = open_form(*state, seal_form(*state, FLEET, deflated(*state, text, LIMIT, 0), STAMP));

    assert_holds(opened, text + 1);
    assert_int_equal(verdict(*state, seal_form(*state, FLEET, deflated(*state, text, LIMIT + 1, 0), STAMP)),
                     SVL_REASON_BODY_TOO_LARGE);
    assert_int_equal(verdict(*state, seal_form(*state, FLEET, seal_encode(*state, text, LIMIT), STAMP)), SVL_REASON_NONE);
    assert_int_equal(verdict(*state, seal_form(*state, FLEET, seal_encode(*state, text, LIMIT + 1), STAMP)),
                     SVL_REASON_BODY_TOO_LARGE);
}

static void a_thousandfold_bomb_is_refused_before_it_grows(void **state)
{
    apr_size_t size = 16 << 20;
    char *zeros = apr_pcalloc(*state, size);
    const char *payload = deflated(*state, zeros, size, 0);

    assert_true(strlen(payload) < size / 700); /* in base64; 1,000 and more by bytes */
    assert_int_equal(verdict(*state, seal_form(*state, FLEET, payload, STAMP)), SVL_REASON_BODY_TOO_LARGE);
    /* the densest stream that fits is opened */
    assert_int_equal(open_form(*state, seal_form(*state, FLEET, deflated(*state, zeros, LIMIT, 0), STAMP)).length, LIMIT);
}

static void a_zlib_stream_is_whole_and_nothing_follows(void **state)
{
    const char *text = "{\"id\":\"c1\",\"function\":\"ping\"}";
    apr_size_t length = strlen(text);
    char *corrupt = apr_pstrdup(*state, deflated(*state, text, length, 0));

    assert_holds(open_form(*state, seal_form(*state, FLEET, corrupt, STAMP)), text);
    for (int less = -(int)length; less < 0; less++) {
        assert_int_equal(verdict(*state, seal_form(*state, FLEET, deflated(*state, text, length, less), STAMP)),
                         SVL_REASON_JSON);
    }
    assert_int_equal(verdict(*state, seal_form(*state, FLEET, deflated(*state, text, length, 1), STAMP)), SVL_REASON_JSON);
    for (char *c = corrupt + 1; *c; c++) {
        char kept = *c;

        *c = kept == 'A' ? 'B' : 'A';
        assert_int_equal(verdict(*state, seal_form(*state, FLEET, corrupt, STAMP)), SVL_REASON_JSON);
        *c = kept;
    }
}

static void mutated_forms_are_refused(void **state)
{
    for (int i = 0; i < 5000; i++) {
        char *form = apr_pstrdup(*state, "data=" TOKEN);

        unit_mutate(form, strlen("data=" TOKEN));
        if (memcmp(form, "data=" TOKEN, strlen("data=" TOKEN)) != 0) {
            assert_int_equal(svl_fault_http(open_at(*state, form, strlen("data=" TOKEN), NOW, TOLERANCE).reason), 401);
        }
    }
}

static void base64_for_urls_is_canonical_and_has_no_padding(void **state)
{
    static const char *const malformed[] = {"",     "Q",    "QQ==", "QUI=", "QR",    "QUJ",
                                            "+_++", "/___", "Q Q",  "QQ\n", "QUJDR", "===="};
    unsigned char bytes[8];
    apr_size_t used;

    for (size_t i = 0; i < UNIT_COUNT(malformed); i++) {
        assert_int_equal(svl_base64_decode_url(bytes, sizeof(bytes), &used, malformed[i], strlen(malformed[i]), *state),
                         APR_EINVAL);
    }
    assert_int_equal(svl_base64_decode_url(bytes, sizeof(bytes), &used, "-_-_QQ", 6, *state), APR_SUCCESS);
    assert_int_equal(used, 4);
    assert_memory_equal(bytes, "\xfb\xff\xbf\x41", 4);
    assert_int_equal(svl_base64_decode_url(bytes, 3, &used, "-_-_QQ", 6, *state), APR_EINVAL);
}

static const struct CMUnitTest promises[] = {
    PROMISE("what Django made is opened, whichever key signed", what_django_made_is_opened_whichever_key_signed),
    PROMISE("a removed key is refused", a_removed_key_is_refused),
    PROMISE("other forms of Django are refused, SHA-1 among them", other_forms_of_django_are_refused),
    PROMISE("every bit of the form counts, and every byte", every_bit_of_the_form_counts_and_every_byte),
    PROMISE("the form has the one field and nothing else", the_form_has_the_one_field_and_nothing_else),
    PROMISE("what a form escapes is the same token", what_a_form_escapes_is_the_same_token),
    PROMISE("the tolerance holds either way to the second", the_tolerance_holds_either_way_to_the_second),
    PROMISE("a timestamp is six digits of base 62", a_timestamp_is_six_digits_of_base_62),
    PROMISE("time is judged before the signature, and that before what is inside",
            time_is_judged_before_the_signature_and_that_before_what_is_inside),
    PROMISE("a payload has one spelling", a_payload_has_one_spelling),
    PROMISE("what is not ASCII is refused", what_is_not_ascii_is_refused),
    PROMISE("inflation ends at the limit exactly", inflation_ends_at_the_limit_exactly),
    PROMISE("a thousandfold bomb is refused before it grows", a_thousandfold_bomb_is_refused_before_it_grows),
    PROMISE("a zlib stream is whole, and nothing follows", a_zlib_stream_is_whole_and_nothing_follows),
    PROMISE("mutated forms are refused", mutated_forms_are_refused),
    PROMISE("base64 for URLs is canonical and has no padding", base64_for_urls_is_canonical_and_has_no_padding),
};

UNIT_MAIN(promises)

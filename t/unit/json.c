/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/core/json.h"

#include <math.h>

#include "unit.h"

static json_t *parse(apr_pool_t *p, const char *text)
{
    json_t *json;

    assert_int_equal(svl_json_parse(&json, unit_exact(p, text, strlen(text)), strlen(text), NULL, p), APR_SUCCESS);
    return json;
}

static const char *refused(apr_pool_t *p, const char *text, size_t length)
{
    json_t *json = (json_t *)p;
    const char *detail = NULL;

    assert_int_equal(svl_json_parse(&json, unit_exact(p, text, length), length, &detail, p), APR_EINVAL);
    assert_null(json);
    assert_non_null(detail);
    assert_true(unit_is_printable(detail));
    return detail;
}

static const char *write_json(apr_pool_t *p, const json_t *json)
{
    apr_size_t length;
    const char *text = svl_json_write(json, p, &length);

    assert_true(!text || strlen(text) == length);
    return text;
}

static void every_type_is_taken_and_written_back_as_it_was(void **state)
{
    /* clang-format off */
    static const char *const texts[] = {
        "null", "true", "false", "0", "-1", "9223372036854775807", "-9223372036854775808", "\"\"", "\"a\\\"b\\\\c\\n\"", "[]",
        "{}", "{\"b\":{},\"a\":[[],-7,true,[false,\"x\"]],\"c\":{\"d\":null,\"e\":\"\"}}", "{\"z\":1,\"a\":[2,{\"m\":null}],\"b\":\"\xc3\xa9\xf0\x9f\x98\x80\"}", "1.5", "[[],{},\"\",0.25,-3]",
    };
    /* clang-format on */

    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        assert_string_equal(write_json(*state, parse(*state, texts[i])), texts[i]);
    }
    assert_string_equal(write_json(*state, parse(*state, " [ 1 , 2 ]\n")), "[1,2]");
    assert_string_equal(write_json(*state, parse(*state, "{ \"a\" : [ ] ,\t\"b\":\r\n[ 1 ,-2 ] }")), "{\"a\":[],\"b\":[1,-2]}");
    assert_string_equal(write_json(*state, parse(*state, "\"\\ud83d\\ude00\"")), "\"\xf0\x9f\x98\x80\"");
}

/* THREATS 14 */
static void what_is_not_strict_json_is_refused(void **state)
{
    /* clang-format off */
    static const char *const texts[] = {
        "", " ", "{", "[1", "[1,]", "{\"a\":1,}", "{\"a\"}", "{a:1}", "{'a':1}", "nul", "True", "NaN", "[NaN]", "Infinity",
        "-Infinity", "01", "+1", ".5", "1.", "1e", "0x10", "--1", "1e400", "-1e400", "[1e999999999]", "9223372036854775808",
        "-9223372036854775809", "99999999999999999999999999", "{} x", "{}{}", "[1]]", "1 2", "[1],", "// c\n1", "/* c */1",
        "{\"a\":1,\"a\":1}", "[{\"k\":{\"a\":1,\"b\":2,\"a\":3}}]", "{\"a\":1,\"\\u0061\":2}", "\"a", "\"\\x\"", "\"\\u12\"",
        "\"\\", "\"a\nb\"", "\"a\tb\"", "\"\x01\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800x\"", "\"\\ude00\\ud83d\"",
        "\"\\ud800\\u0041\"", "{\"\\udfff\":1}", "\"\xed\xa0\x80\"", "\"\xc0\xaf\"", "\"\xe0\x80\x80\"", "\"\xf5\x80\x80\x80\"",
        "\"\xf4\x90\x80\x80\"", "\"\xc3\"", "\"\xff\"", "\"\x80\"", "\xef\xbb\xbf{}", "\xef\xbb\xbf", "\"\\u0000\"",
        "{\"a\\u0000b\":1}", "\xfe\xff\x00{",
    };
    /* clang-format on */

    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        refused(*state, texts[i], strlen(texts[i]));
    }
}

/* The first is read by the library, the second without it. */
static const char *const documents[] = {
    "{\"a\":[1,2.5,\"x\\u00e9\\n\\\\\",null],\"b\":{\"c\":[true,false,{}]},\"d\":-17e3,\"e\":\"\xf0\x9f\x98\x80\"}",
    "{\"a\" : [1, \"text\", -2 , [ ]],\"b\":{ \"c\":[true,false,null,{}]},\"d\":-17}",
};

static void nul_is_refused_wherever_it_stands(void **state)
{
    for (size_t i = 0; i < UNIT_COUNT(documents); i++) {
        const char *document = documents[i];
        size_t length = strlen(document);

        for (size_t at = 0; at <= length; at++) {
            char *text = apr_palloc(*state, length + 1);

            memcpy(text, document, at);
            text[at] = '\0';
            memcpy(text + at + 1, document + at, length - at);
            refused(*state, text, length + 1);
        }
    }
}

static const char *nested(apr_pool_t *p, size_t depth, const char *open, const char *inner, const char *close)
{
    return apr_pstrcat(p, unit_repeat(p, open, depth), inner, unit_repeat(p, close, depth), NULL);
}

static void nesting_is_taken_to_32_levels_and_no_further(void **state)
{
    apr_pool_t *p = *state;
    const char *brackets = "\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{{{{{{\\\"[[[[[\\\\\"";

    parse(p, nested(p, 32, "[", "", "]"));
    parse(p, nested(p, 32, "{\"a\":", "1", "}"));
    parse(p, nested(p, 31, "[", brackets, "]"));
    parse(p, apr_pstrcat(p, "[", unit_repeat(p, "[[]],", 1000), "0]", NULL)); /* wide is not deep */
    assert_non_null(strstr(refused(p, nested(p, 33, "[", "", "]"), 66), "nested too deeply at byte 32"));
    refused(p, nested(p, 33, "{\"a\":", "1", "}"), 33 * 6 + 1);
    refused(p, nested(p, 17, "[{\"a\":", "1", "}]"), 17 * 8 + 1);
    refused(p, unit_repeat(p, "[", 1000000), 1000000);
    refused(p, unit_repeat(p, "{\"a\":", 200000), 1000000);
}

static void no_prefix_of_a_document_passes_for_one(void **state)
{
    for (size_t i = 0; i < UNIT_COUNT(documents); i++) {
        parse(*state, documents[i]);
        for (size_t length = 0; length < strlen(documents[i]); length++) {
            refused(*state, documents[i], length);
        }
    }
}

static void details_tell_the_byte_and_quote_nothing(void **state)
{
    const char *detail = refused(*state, "{\"secret\":sesame}", 17);

    assert_null(strstr(detail, "secret"));
    assert_null(strstr(detail, "sesame"));
    assert_non_null(strstr(detail, "at byte 1"));
    assert_non_null(strstr(refused(*state, "[1, 9223372036854775808]", 24), "number out of range"));
    assert_non_null(strstr(refused(*state, "{\"a\":1,\"a\":2}", 13), "duplicate key"));
    assert_non_null(strstr(refused(*state, "{}{}", 4), "bytes after the end"));
}

static int mutate(const char *document, apr_pool_t *p)
{
    apr_size_t length = strlen(document);
    char *text = unit_exact(p, document, length);
    const char *written;
    json_t *json;

    unit_mutate(text, length);
    if (svl_json_parse(&json, text, length, NULL, p) != APR_SUCCESS) {
        return 0;
    }
    written = write_json(p, json);
    assert_non_null(written);
    assert_true(json_equal(json, parse(p, written)));
    return 1;
}

static void mutated_documents_never_crash_and_come_back_equal(void **state)
{
    for (size_t document = 0; document < UNIT_COUNT(documents); document++) {
        int taken = 0;

        for (int i = 0; i < 20000; i++) {
            apr_pool_t *p;

            apr_pool_create(&p, *state);
            taken += mutate(documents[document], p);
            apr_pool_destroy(p);
        }
        assert_true(taken > 0);
    }
}

static void numbers_survive_any_number_of_hops(void **state)
{
    for (int i = 0; i < 5000; i++) {
        apr_pool_t *p;
        union {
            uint64_t bits;
            double number;
        } was = {.bits = unit_random(UINT64_MAX)}, is;

        if (!isfinite(was.number)) {
            continue;
        }
        apr_pool_create(&p, *state);
        is.number = json_real_value(parse(p, write_json(p, svl_json_own(json_real(was.number), p))));
        assert_true(is.bits == was.bits);
        apr_pool_destroy(p);
    }
    assert_string_equal(write_json(*state, svl_json_own(json_real(0.1), *state)), "0.10000000000000001");
    assert_string_equal(write_json(*state, svl_json_own(json_real(1), *state)), "1.0");
}

static json_t *deep(size_t depth)
{
    json_t *json = json_array();

    while (--depth > 0) {
        json_t *outer = json_array();

        json_array_append_new(outer, json);
        json = outer;
    }
    return json;
}

static void what_a_peer_would_refuse_is_not_written(void **state)
{
    apr_pool_t *p = *state;
    json_t *object = svl_json_own(json_object(), p);
    json_t *one = json_array();
    json_t *other = json_array();

    assert_null(write_json(p, NULL));
    assert_non_null(write_json(p, svl_json_own(deep(32), p)));
    assert_null(write_json(p, svl_json_own(deep(33), p)));
    assert_null(write_json(p, svl_json_own(deep(5000), p)));
    assert_null(write_json(p, svl_json_own(json_stringn("a\0b", 3), p)));
    assert_null(write_json(p, svl_json_own(json_string_nocheck("\xff"), p)));
    assert_null(write_json(p, svl_json_own(json_pack("[o]", json_string_nocheck("\xed\xa0\x80")), p)));
    json_object_setn_new(object, "a\0b", 3, json_true());
    assert_null(write_json(p, object));
    json_array_append(one, other);
    json_array_append(other, one);
    assert_null(write_json(p, one)); /* it contains itself */
    json_array_clear(one);
    json_decref(one);
    json_decref(other);
}

static void depth_counts_containers(void **state)
{
    apr_pool_t *p = *state;

    assert_true(svl_json_fits(parse(p, "1"), 0));
    assert_false(svl_json_fits(parse(p, "[]"), 0));
    assert_true(svl_json_fits(parse(p, "[]"), 1));
    assert_false(svl_json_fits(parse(p, "{\"a\":[]}"), 1));
    assert_true(svl_json_fits(parse(p, "{\"a\":[]}"), 2));
    assert_false(svl_json_fits(NULL, 2));
}

static void long_values_are_written_whole(void **state)
{
    apr_pool_t *p = *state;

    for (size_t length = 2040; length < 2060; length++) {
        const char *text = apr_pstrcat(p, "[\"", unit_repeat(p, "x", length), "\"]", NULL);

        assert_string_equal(write_json(p, parse(p, text)), text);
    }
    assert_int_equal(strlen(write_json(p, parse(p, apr_pstrcat(p, "\"", unit_repeat(p, "y", 1000000), "\"", NULL)))), 1000002);
}

static void quoted_text_is_a_json_string_without_control_characters(void **state)
{
    assert_string_equal(svl_json_quote("a\"b\\c", *state), "\"a\\\"b\\\\c\"");
    assert_string_equal(svl_json_quote("\r\n\t\x1b\x7f", *state), "\"\\u000d\\u000a\\u0009\\u001b\\u007f\"");
    assert_string_equal(svl_json_quote("\xc2\x9b"
                                       "31m",
                                       *state),
                        "\"\\u009b31m\"");
    assert_string_equal(svl_json_quote("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", *state),
                        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
    assert_string_equal(svl_json_quote("\xff\xc0\xaf\xed\xa0\x80\xe2\x82", *state),
                        "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"");
    for (int i = 0; i < 20000; i++) {
        char text[24] = {0};
        const char *quoted;
        json_t *json;
        apr_pool_t *p;

        apr_pool_create(&p, *state);
        for (size_t at = unit_random(sizeof(text)); at > 0; at--) {
            text[at - 1] = (char)(1 + unit_random(255));
        }
        quoted = svl_json_quote(text, p);
        for (const char *c = quoted; *c; c++) {
            assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
        }
        json = parse(p, quoted);
        assert_true(json_is_string(json));
        if (!strstr(json_string_value(json), "\xef\xbf\xbd")) {
            assert_string_equal(json_string_value(json), text);
        }
        apr_pool_destroy(p);
    }
}

static void a_value_is_released_with_its_pool(void **state)
{
    apr_pool_t *p;
    json_t *json = json_array();

    apr_pool_create(&p, *state);
    assert_ptr_equal(svl_json_own(json_incref(json), p), json);
    assert_int_equal(json->refcount, 2);
    apr_pool_destroy(p);
    assert_int_equal(json->refcount, 1);
    json_decref(json);
    assert_null(svl_json_own(NULL, *state));
}

static const struct CMUnitTest promises[] = {
    PROMISE("every type is taken and written back as it was", every_type_is_taken_and_written_back_as_it_was),
    PROMISE("what is not strict JSON is refused", what_is_not_strict_json_is_refused),
    PROMISE("NUL is refused wherever it stands", nul_is_refused_wherever_it_stands),
    PROMISE("nesting is taken to 32 levels and no further", nesting_is_taken_to_32_levels_and_no_further),
    PROMISE("no prefix of a document passes for one", no_prefix_of_a_document_passes_for_one),
    PROMISE("details tell the byte and quote nothing", details_tell_the_byte_and_quote_nothing),
    PROMISE("mutated documents never crash and come back equal", mutated_documents_never_crash_and_come_back_equal),
    PROMISE("numbers survive any number of hops", numbers_survive_any_number_of_hops),
    PROMISE("what a peer would refuse is not written", what_a_peer_would_refuse_is_not_written),
    PROMISE("depth counts containers", depth_counts_containers),
    PROMISE("long values are written whole", long_values_are_written_whole),
    PROMISE("quoted text is a JSON string without control characters", quoted_text_is_a_json_string_without_control_characters),
    PROMISE("a value is released with its pool", a_value_is_released_with_its_pool),
};

UNIT_MAIN(promises)

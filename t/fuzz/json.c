/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: what is taken is JSON as RFC 8259 has it, in UTF-8 as RFC 3629 has it, read here once more; it is written as it was read; and
 * what is called a fault of syntax is one. */
#include "fuzz.h"

#include "../../mod_serviceless/core/json.h"

typedef struct cursor_t {
    const unsigned char *at;
    const unsigned char *end;
} cursor_t;

static int next_is(cursor_t *c, char wanted)
{
    if (c->at < c->end && *c->at == (unsigned char)wanted) {
        c->at++;
        return 1;
    }
    return 0;
}

static void skip_blanks(cursor_t *c)
{
    while (c->at < c->end && *c->at && strchr(" \t\r\n", *c->at)) {
        c->at++;
    }
}

static int skip_digits(cursor_t *c)
{
    const unsigned char *from = c->at;

    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        c->at++;
    }
    return c->at > from;
}

static int is_number(cursor_t *c)
{
    next_is(c, '-');
    if (!next_is(c, '0') && !skip_digits(c)) {
        return 0;
    }
    if (next_is(c, '.') && !skip_digits(c)) {
        return 0;
    }
    if (next_is(c, 'e') || next_is(c, 'E')) {
        if (!next_is(c, '+')) {
            next_is(c, '-');
        }
        return skip_digits(c);
    }
    return 1;
}

static int is_word(cursor_t *c, const char *word)
{
    size_t length = strlen(word);
    int is = (size_t)(c->end - c->at) >= length && memcmp(c->at, word, length) == 0;

    c->at += is ? length : 0;
    return is;
}

/* @return the number of \uXXXX's four digits, or -1 */
static int read_unit(cursor_t *c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    int unit = 0;

    for (int i = 0; i < 4; i++, c->at++) {
        const char *digit = c->at < c->end && *c->at ? strchr(digits, *c->at) : NULL;

        if (!digit) {
            return -1;
        }
        unit = unit << 4 | (int)((digit - digits) & 15);
    }
    return unit;
}

static int is_escape(cursor_t *c)
{
    int unit;

    if (!next_is(c, 'u')) {
        return c->at < c->end && *c->at && strchr("\"\\/bfnrt", *c->at++) != NULL;
    }
    unit = read_unit(c);
    if (unit >= 0xd800 && unit < 0xdc00) {
        unit = next_is(c, '\\') && next_is(c, 'u') ? read_unit(c) : -1;
        return unit >= 0xdc00 && unit < 0xe000;
    }
    return unit > 0 && (unit < 0xdc00 || unit >= 0xe000);
}

/* One character beyond ASCII: the value must need its length. */
static int is_character(cursor_t *c)
{
    unsigned int first = *c->at++;
    int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
    unsigned int value = first & (0x3fU >> more);

    if (more == 0 || first >= 0xf8) {
        return 0;
    }
    for (int i = 0; i < more; i++, c->at++) {
        if (c->at == c->end || (*c->at & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (*c->at & 0x3fU);
    }
    return value >= (more == 1   ? 0x80U
                     : more == 2 ? 0x800U
                                 : 0x10000U)
           && value < 0x110000 && (value < 0xd800 || value > 0xdfff);
}

static int is_string(cursor_t *c)
{
    if (!next_is(c, '"')) {
        return 0;
    }
    while (c->at < c->end && *c->at != '"') {
        if (*c->at < 0x20) {
            return 0;
        }
        if (*c->at >= 0x80) {
            if (!is_character(c)) {
                return 0;
            }
        }
        else if (*c->at++ == '\\' && !is_escape(c)) {
            return 0;
        }
    }
    return next_is(c, '"');
}

static int is_value(cursor_t *c, int depth);

static int is_members(cursor_t *c, int object, int depth)
{
    char close = object ? '}' : ']';

    skip_blanks(c);
    if (next_is(c, close)) {
        return 1;
    }
    do {
        skip_blanks(c);
        if (object && !is_string(c)) {
            return 0;
        }
        skip_blanks(c);
        if (object && !next_is(c, ':')) {
            return 0;
        }
        if (!is_value(c, depth)) {
            return 0;
        }
    } while (next_is(c, ','));
    return next_is(c, close);
}

static int is_value(cursor_t *c, int depth)
{
    int is;

    skip_blanks(c);
    if (c->at == c->end || (depth == SVL_JSON_DEPTH && strchr("[{", *c->at) && *c->at)) {
        return 0;
    }
    if (next_is(c, '{')) {
        is = is_members(c, 1, depth + 1);
    }
    else if (next_is(c, '[')) {
        is = is_members(c, 0, depth + 1);
    }
    else {
        is = *c->at == '"' ? is_string(c) : is_word(c, "true") || is_word(c, "false") || is_word(c, "null") || is_number(c);
    }
    skip_blanks(c);
    return is;
}

static void check_again(json_t *json, apr_pool_t *p)
{
    apr_size_t length;
    apr_size_t again_length;
    const char *text = svl_json_write(json, p, &length);
    json_t *again;

    FUZZ_REQUIRE(svl_json_fits(json, SVL_JSON_DEPTH));
    FUZZ_REQUIRE(text && strlen(text) == length);
    again = fuzz_json(text, length, p);
    FUZZ_REQUIRE(json_equal(json, again));
    FUZZ_REQUIRE(strcmp(svl_json_write(again, p, &again_length), text) == 0 && again_length == length);
}

/* Whoever read and wrote it: values, order and text are those of the library. */
static void check_library(const json_t *json, const char *bytes, apr_size_t length, apr_pool_t *p)
{
    json_t *read = svl_json_own(json_loadb(bytes, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL), p);
    char *written = json_dumps(read, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));

    FUZZ_REQUIRE(written && strcmp(written, svl_json_write(json, p, &length)) == 0);
    free(written);
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    cursor_t c = {(const unsigned char *)bytes, (const unsigned char *)bytes + length};
    int is = is_value(&c, 0) && c.at == c.end;
    const char *detail = NULL;
    json_t *json;

    if (svl_json_parse(&json, bytes, length, &detail, p) == APR_SUCCESS) {
        FUZZ_REQUIRE(is);
        check_library(json, bytes, length, p);
        check_again(json, p);
        return;
    }
    FUZZ_REQUIRE(!json);
    fuzz_printable(detail);
    FUZZ_REQUIRE(!is || strncmp(detail, "duplicate key", 13) == 0 || strncmp(detail, "number out of range", 19) == 0);
}

FUZZ_TARGET(feed)

/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <errno.h>
#include <string.h>

#include <apr_strings.h>

#include "json_scan.h"

#define LOAD_FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY)
/* 17 digits bring every double back; fewer would change numbers from hop to hop. */
#define DUMP_FLAGS (JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17))

#define WRITE_AT_ONCE 2048 /* most values fit; a larger one is measured first, then written */

/* jansson's own texts quote the input. */
static const char *words(enum json_error_code code)
{
    switch (code) {
    case json_error_out_of_memory:
        return "out of memory";
    case json_error_stack_overflow:
        return "nested too deeply";
    case json_error_invalid_utf8:
        return "invalid UTF-8";
    case json_error_premature_end_of_input:
        return "unexpected end";
    case json_error_end_of_input_expected:
        return "bytes after the end";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "NUL";
    case json_error_duplicate_key:
        return "duplicate key";
    case json_error_numeric_overflow:
        return "number out of range";
    default:
        return "invalid syntax";
    }
}

/* Finds what jansson would take: it allows 2,048 levels, and each costs it stack.  @return NULL or what is wrong at *at */
static const char *prescan(const char *text, apr_size_t length, apr_size_t *at)
{
    int depth = 0;
    int quoted = 0;

    for (*at = 0; *at < length; (*at)++) {
        char c = text[*at];

        if (c == '\0') {
            return "NUL";
        }
        if (quoted) {
            if (c == '\\' && *at + 1 < length && text[*at + 1] != '\0') {
                (*at)++;
            }
            quoted = c != '"';
        }
        else if (c == '"') {
            quoted = 1;
        }
        else if ((c == '[' || c == '{') && ++depth > SVL_JSON_DEPTH) {
            return "nested too deeply";
        }
        else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return NULL;
}

void svl_json_lack(apr_pool_t *p)
{
    if (apr_pool_abort_get(p)) {
        apr_pool_abort_get(p)(APR_ENOMEM);
    }
}

/* A text on its way to jansson. */
typedef struct source_t {
    const char *next;
    const char *end;
    int lacking;
} source_t;

/* One byte at a time: jansson goes on, without the byte, when its buffer for a token cannot grow, and forgets errno at the next number. */
static size_t supply(void *buffer, size_t size, void *baton)
{
    source_t *source = baton;

    if (errno == ENOMEM) {
        source->lacking = 1;
        return (size_t)-1;
    }
    if (source->next == source->end || size == 0) {
        return 0;
    }
    *(char *)buffer = *source->next++;
    return 1;
}

/* @param lacking set when memory seems to have lacked: jansson calls some of this "invalid syntax", and some nothing at all */
static json_t *load_once(const char *text, apr_size_t length, json_error_t *error, int *lacking)
{
    source_t source = {text, text + length, 0};
    json_t *json;

    errno = 0;
    json = json_load_callback(supply, &source, LOAD_FLAGS, error);
    *lacking = source.lacking || errno == ENOMEM;
    if (*lacking) {
        json_decref(json);
        json = NULL;
    }
    return json;
}

/* An allocation that found memory at the second place it looked leaves errno as one that failed does; it does not happen twice. */
static json_t *load(const char *text, apr_size_t length, json_error_t *error, int *lacking)
{
    json_t *json = load_once(text, length, error, lacking);

    return *lacking ? load_once(text, length, error, lacking) : json;
}

/* Documents are objects.  @return NULL: it is for the library, perhaps because memory lacks */
static json_t *read_quickly(const char *text, apr_size_t length)
{
    svl_json_scan_part_t part = {text, length};
    svl_json_scan_t scan = {text, text + length, 0};

    return svl_json_scan_object(&scan) && scan.at == scan.end ? svl_json_scan_build(&part) : NULL;
}

apr_status_t svl_json_parse(json_t **json, const char *text, apr_size_t length, const char **detail, apr_pool_t *p)
{
    json_error_t error;
    apr_size_t at;
    int lacking;
    const char *wrong;

    *json = svl_json_own(read_quickly(text, length), p);
    if (*json) {
        return APR_SUCCESS;
    }
    wrong = prescan(text, length, &at);
    if (!wrong) {
        *json = svl_json_own(load(text, length, &error, &lacking), p);
        if (*json) {
            return APR_SUCCESS;
        }
        if (lacking) {
            svl_json_lack(p);
        }
        wrong = words(lacking ? json_error_out_of_memory : json_error_code(&error));
        at = !lacking && error.position > 0 ? (apr_size_t)error.position : 0;
    }
    if (detail) {
        *detail = apr_psprintf(p, "%s at byte %" APR_SIZE_T_FMT, wrong, at);
    }
    return APR_EINVAL;
}

static apr_status_t release(void *json)
{
    json_decref(json);
    return APR_SUCCESS;
}

json_t *svl_json_own(json_t *json, apr_pool_t *p)
{
    if (json) {
        apr_pool_cleanup_register(p, json, release, apr_pool_cleanup_null);
    }
    return json;
}

static int has_nul(const char *text, apr_size_t length)
{
    return memchr(text, '\0', length) != NULL;
}

static int array_fits(const json_t *json, int depth)
{
    for (apr_size_t i = 0; i < json_array_size(json); i++) {
        if (!svl_json_fits(json_array_get(json, i), depth)) {
            return 0;
        }
    }
    return 1;
}

static int object_fits(json_t *json, int depth)
{
    for (void *at = json_object_iter(json); at; at = json_object_iter_next(json, at)) {
        if (has_nul(json_object_iter_key(at), json_object_iter_key_len(at))
            || !svl_json_fits(json_object_iter_value(at), depth)) {
            return 0;
        }
    }
    return 1;
}

int svl_json_fits(const json_t *json, int depth)
{
    switch (json ? json_typeof(json) : JSON_NULL) {
    case JSON_STRING:
        return !has_nul(json_string_value(json), json_string_length(json));
    case JSON_ARRAY:
        return depth > 0 && array_fits(json, depth - 1);
    case JSON_OBJECT:
        return depth > 0 && object_fits((json_t *)json, depth - 1);
    default:
        return json != NULL;
    }
}

/* @return how many bytes it takes, of which the first ones are written; 0: it cannot be */
static apr_size_t dump(const json_t *json, char *text, apr_size_t size, apr_pool_t *p)
{
    apr_size_t takes;

    errno = 0;
    takes = json_dumpb(json, text, size, DUMP_FLAGS);
    if (takes == 0 && errno == ENOMEM) {
        svl_json_lack(p);
    }
    return takes;
}

/* A text that is written, where it has room. */
typedef struct sink_t {
    char *at, *end;
} sink_t;

static int put(sink_t *sink, const char *text, apr_size_t length)
{
    if ((apr_size_t)(sink->end - sink->at) < length) {
        return 0;
    }
    memcpy(sink->at, text, length);
    sink->at += length;
    return 1;
}

static int put_string(sink_t *sink, const char *text, apr_size_t length)
{
    for (apr_size_t i = 0; i < length; i++) {
        if (!svl_json_scan_is_plain(text[i])) {
            return 0;
        }
    }
    return put(sink, "\"", 1) && put(sink, text, length) && put(sink, "\"", 1);
}

static int put_value(sink_t *sink, const json_t *json);

static int put_array(sink_t *sink, const json_t *json)
{
    int fits = put(sink, "[", 1);

    for (apr_size_t i = 0; fits && i < json_array_size(json); i++) {
        fits = (i == 0 || put(sink, ",", 1)) && put_value(sink, json_array_get(json, i));
    }
    return fits && put(sink, "]", 1);
}

static int put_object(sink_t *sink, json_t *json)
{
    int fits = put(sink, "{", 1), first = 1;

    for (void *at = json_object_iter(json); fits && at; at = json_object_iter_next(json, at)) {
        fits = (first || put(sink, ",", 1)) && put_string(sink, json_object_iter_key(at), json_object_iter_key_len(at))
               && put(sink, ":", 1) && put_value(sink, json_object_iter_value(at));
        first = 0;
    }
    return fits && put(sink, "}", 1);
}

/* What is met most, in a small part of the library's time.  @return 0: it has another kind of value in it, or is too long */
static int put_value(sink_t *sink, const json_t *json)
{
    char digits[24];

    switch (json_typeof(json)) {
    case JSON_STRING:
        return put_string(sink, json_string_value(json), json_string_length(json));
    case JSON_ARRAY:
        return put_array(sink, json);
    case JSON_OBJECT:
        return put_object(sink, (json_t *)json);
    case JSON_INTEGER:
        return put(
            sink, digits,
            (apr_size_t)apr_snprintf(digits, sizeof(digits), "%" APR_INT64_T_FMT, (apr_int64_t)json_integer_value(json)));
    case JSON_TRUE:
        return put(sink, "true", 4);
    case JSON_FALSE:
        return put(sink, "false", 5);
    case JSON_NULL:
        return put(sink, "null", 4);
    default:
        return 0;
    }
}

const char *svl_json_write(const json_t *json, apr_pool_t *p, apr_size_t *length)
{
    char small[WRITE_AT_ONCE];
    sink_t sink = {small, small + sizeof(small)};
    char *text;
    apr_size_t size;

    *length = 0;
    /* The depth first: a companion may hand over a value that contains itself. */
    if (!svl_json_fits(json, SVL_JSON_DEPTH)) {
        return NULL;
    }
    size = put_value(&sink, json) ? (apr_size_t)(sink.at - small) : dump(json, small, sizeof(small), p);
    if (size == 0) {
        return NULL;
    }
    text = apr_palloc(p, size + 1);
    if (size <= sizeof(small)) {
        memcpy(text, small, size);
    }
    else if (dump(json, text, size, p) != size) {
        return NULL;
    }
    text[size] = '\0';
    *length = size;
    return text;
}

/* @return how many bytes the character at s has, 0 when they are no UTF-8 (RFC 3629, table 3-7 of Unicode).  Stops at a NUL. */
static int character_length(const unsigned char *s)
{
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    int length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

    if (length < 2) {
        return length;
    }
    low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : low;
    high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : high;
    if (s[1] < low || s[1] > high) {
        return 0;
    }
    for (int i = 2; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}

const char *svl_json_quote(const char *text, apr_pool_t *p)
{
    enum { ESCAPE = 6 }; /* \u0000: the longest that a byte becomes */
    char *quoted = apr_palloc(p, strlen(text) * ESCAPE + 3);
    char *end = quoted;
    int length;

    *end++ = '"';
    for (const unsigned char *s = (const unsigned char *)text; *s; s += length ? length : 1) {
        length = character_length(s);
        if (length == 0) {
            memcpy(end, "\\ufffd", ESCAPE);
            end += ESCAPE;
        }
        else if (*s < 0x20 || *s == 0x7f || (*s == 0xc2 && s[1] < 0xa0)) {
            /* the second row of control characters as well: some terminals obey them */
            end += apr_snprintf(end, ESCAPE + 1, "\\u%04x", length == 2 ? s[1] : s[0]);
        }
        else {
            if (*s == '"' || *s == '\\') {
                *end++ = '\\';
            }
            memcpy(end, s, (apr_size_t)length);
            end += length;
        }
    }
    *end++ = '"';
    *end = '\0';
    return quoted;
}

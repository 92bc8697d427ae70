/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads call lines as nodes write them (svl_call_draft) in a small part of the time that the JSON library takes: the members in that
 * order, without blanks; in args and kwargs strings without escapes, integers, literals, and arrays and objects of these.  What it takes is
 * strict JSON; it leaves everything else, all that is wrong included, to the library.
 */
#include <string.h>

#include <apr_strings.h>

#include "call.h"
#include "json.h"

#define DIGITS_MAX 18 /* of an integer: less than APR_INT64_MAX, whatever they are */
#define KEYS_MAX 16   /* of an object: each is compared with those before it */

typedef struct scan_t {
    const char *at, *end;
    int depth; /* of what is open */
} scan_t;

static int take_text(scan_t *scan, const char *text)
{
    apr_size_t length = strlen(text);

    if ((apr_size_t)(scan->end - scan->at) < length || memcmp(scan->at, text, length) != 0) {
        return 0;
    }
    scan->at += length;
    return 1;
}

static int next_is(const scan_t *scan, char c)
{
    return scan->at < scan->end && *scan->at == c;
}

static int take_char(scan_t *scan, char c)
{
    int is = next_is(scan, c);

    scan->at += is;
    return is;
}

/* @param part receives the text between the quotes */
static int take_string(scan_t *scan, svl_call_part_t *part)
{
    if (!take_char(scan, '"')) {
        return 0;
    }
    part->text = scan->at;
    while (scan->at < scan->end && *scan->at >= ' ' && *scan->at < '\x7f' && *scan->at != '"' && *scan->at != '\\') {
        scan->at++;
    }
    part->length = (apr_size_t)(scan->at - part->text);
    return take_char(scan, '"');
}

static int take_integer(scan_t *scan, apr_int64_t *number)
{
    int negative = take_char(scan, '-'), zero = next_is(scan, '0'), digits = 0;

    for (*number = 0; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9' && digits < DIGITS_MAX; digits++) {
        *number = 10 * *number + (*scan->at++ - '0');
    }
    *number = negative ? -*number : *number;
    /* a further digit, a point or an exponent makes it another number */
    return digits && (!zero || digits == 1) && (next_is(scan, ',') || next_is(scan, ']') || next_is(scan, '}'));
}

static int take_value(scan_t *scan);

static int take_array(scan_t *scan)
{
    if (!take_char(scan, '[') || ++scan->depth > SVL_JSON_DEPTH) {
        return 0;
    }
    if (!next_is(scan, ']')) {
        do {
            if (!take_value(scan)) {
                return 0;
            }
        } while (take_char(scan, ','));
    }
    scan->depth--;
    return take_char(scan, ']');
}

static int is_new(const svl_call_part_t *keys, int count)
{
    for (int i = 0; i < count; i++) {
        if (keys[i].length == keys[count].length && memcmp(keys[i].text, keys[count].text, keys[count].length) == 0) {
            return 0;
        }
    }
    return 1;
}

static int take_object(scan_t *scan)
{
    svl_call_part_t keys[KEYS_MAX];
    int count = 0;

    if (!take_char(scan, '{') || ++scan->depth > SVL_JSON_DEPTH) {
        return 0;
    }
    if (!next_is(scan, '}')) {
        do {
            if (count == KEYS_MAX || !take_string(scan, &keys[count]) || !is_new(keys, count) || !take_char(scan, ':')
                || !take_value(scan)) {
                return 0;
            }
            count++;
        } while (take_char(scan, ','));
    }
    scan->depth--;
    return take_char(scan, '}');
}

static int take_value(scan_t *scan)
{
    svl_call_part_t part;
    apr_int64_t number;

    switch (scan->at < scan->end ? *scan->at : '\0') {
    case '"':
        return take_string(scan, &part);
    case '[':
        return take_array(scan);
    case '{':
        return take_object(scan);
    case 't':
        return take_text(scan, "true");
    case 'f':
        return take_text(scan, "false");
    case 'n':
        return take_text(scan, "null");
    default:
        return take_integer(scan, &number);
    }
}

static json_t *build(scan_t *scan);

/* Of what was scanned before: each step finds what it expects.  @return NULL when memory lacks, as all that follow */
static json_t *build_array(scan_t *scan)
{
    json_t *array = json_array();

    scan->at++;
    while (array && !next_is(scan, ']')) {
        if (json_array_append_new(array, build(scan)) != 0) {
            json_decref(array);
            return NULL;
        }
        take_char(scan, ',');
    }
    scan->at++;
    return array;
}

static json_t *build_object(scan_t *scan)
{
    json_t *object = json_object();
    svl_call_part_t key;

    scan->at++;
    while (object && !next_is(scan, '}')) {
        take_string(scan, &key);
        scan->at++;
        if (json_object_setn_new_nocheck(object, key.text, key.length, build(scan)) != 0) {
            json_decref(object);
            return NULL;
        }
        take_char(scan, ',');
    }
    scan->at++;
    return object;
}

static json_t *build(scan_t *scan)
{
    svl_call_part_t part;
    apr_int64_t number;

    switch (*scan->at) {
    case '"':
        take_string(scan, &part);
        return json_stringn_nocheck(part.text, part.length);
    case '[':
        return build_array(scan);
    case '{':
        return build_object(scan);
    case 't':
        take_text(scan, "true");
        return json_true();
    case 'f':
        take_text(scan, "false");
        return json_false();
    case 'n':
        take_text(scan, "null");
        return json_null();
    default:
        take_integer(scan, &number);
        return json_integer(number);
    }
}

json_t *svl_call_build(const svl_call_part_t *part, apr_pool_t *p)
{
    scan_t scan = {part->text, part->text + part->length, 0};
    json_t *json = build(&scan);

    if (!json) {
        svl_json_lack(p);
    }
    return svl_json_own(json, p);
}

static int take_part(scan_t *scan, const char *before, int (*take)(scan_t *scan), svl_call_part_t *part)
{
    if (!take_text(scan, before)) {
        return 0;
    }
    part->text = scan->at;
    if (!take(scan)) {
        return 0;
    }
    part->length = (apr_size_t)(scan->at - part->text);
    return 1;
}

static int take_name(scan_t *scan, const char *before, int (*fits)(const char *text, apr_size_t length), const char **name,
                     apr_pool_t *p)
{
    svl_call_part_t part;

    if (!take_text(scan, before) || !take_string(scan, &part) || !fits(part.text, part.length)) {
        return 0;
    }
    *name = apr_pstrmemdup(p, part.text, part.length);
    return 1;
}

static int take_number(scan_t *scan, const char *before, apr_int64_t most, apr_int64_t *number)
{
    return take_text(scan, before) && take_integer(scan, number) && *number >= 1 && *number <= most;
}

int svl_call_scan(svl_call_line_t *call, svl_call_part_t *args, svl_call_part_t *kwargs, const char *line, apr_size_t length,
                  apr_pool_t *p)
{
    scan_t scan = {line, line + length, 1};
    apr_int64_t seq;

    if (!take_name(&scan, "{\"id\":", svl_name_is_id, &call->id, p)
        || !take_name(&scan, ",\"function\":", svl_name_is_function, &call->function, p)
        || !take_part(&scan, ",\"args\":", take_array, args) || !take_part(&scan, ",\"kwargs\":", take_object, kwargs)
        || !take_name(&scan, ",\"origin\":", svl_name_is_node, &call->origin, p)
        || !take_name(&scan, ",\"set\":", svl_name_is_node, &call->set, p)
        || !take_name(&scan, ",\"epoch\":", svl_name_is_epoch, &call->epoch, p)
        || !take_number(&scan, ",\"seq\":", APR_INT64_MAX, &seq)
        || !take_number(&scan, ",\"issued\":", SVL_CALL_ISSUED_MAX, &call->issued)
        || !take_number(&scan, ",\"ttl\":", SVL_CALL_TTL_MAX, &call->ttl) || !take_char(&scan, '}') || scan.at != scan.end) {
        return 0;
    }
    call->seq = (apr_uint64_t)seq;
    return 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "json_scan.h"

#include <string.h>

#include "json.h"

#define DIGITS_MAX 18 /* of an integer: less than APR_INT64_MAX, whatever they are */
#define KEYS_MAX 16   /* of an object: each is compared with those before it */

int svl_json_scan_text(svl_json_scan_t *scan, const char *text)
{
    apr_size_t length = strlen(text);

    if ((apr_size_t)(scan->end - scan->at) < length || memcmp(scan->at, text, length) != 0) {
        return 0;
    }
    scan->at += length;
    return 1;
}

static int next_is(const svl_json_scan_t *scan, char c)
{
    return scan->at < scan->end && *scan->at == c;
}

int svl_json_scan_char(svl_json_scan_t *scan, char c)
{
    int is = next_is(scan, c);

    scan->at += is;
    return is;
}

static void skip_blanks(svl_json_scan_t *scan)
{
    while (scan->at < scan->end && *scan->at <= ' '
           && (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r')) {
        scan->at++;
    }
}

/* A bracket, comma or colon, and the blanks before and after it. */
static int take_sign(svl_json_scan_t *scan, char c)
{
    int is;

    skip_blanks(scan);
    is = svl_json_scan_char(scan, c);
    skip_blanks(scan);
    return is;
}

/* What closes an array or object may be the end of the text that is scanned. */
static int take_end(svl_json_scan_t *scan, char c)
{
    skip_blanks(scan);
    scan->depth--;
    return svl_json_scan_char(scan, c);
}

static int take_begin(svl_json_scan_t *scan, char c)
{
    if (!svl_json_scan_char(scan, c) || ++scan->depth > SVL_JSON_DEPTH) {
        return 0;
    }
    skip_blanks(scan);
    return 1;
}

int svl_json_scan_string(svl_json_scan_t *scan, svl_json_scan_part_t *part)
{
    if (!svl_json_scan_char(scan, '"')) {
        return 0;
    }
    part->text = scan->at;
    while (scan->at < scan->end && svl_json_scan_is_plain(*scan->at)) {
        scan->at++;
    }
    part->length = (apr_size_t)(scan->at - part->text);
    return svl_json_scan_char(scan, '"');
}

int svl_json_scan_integer(svl_json_scan_t *scan, apr_int64_t *number)
{
    int negative = svl_json_scan_char(scan, '-'), zero = next_is(scan, '0'), digits = 0;

    for (*number = 0; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9' && digits < DIGITS_MAX; digits++) {
        *number = 10 * *number + (*scan->at++ - '0');
    }
    *number = negative ? -*number : *number;
    /* a further digit, a point or an exponent makes it another number */
    return digits && (!zero || digits == 1) && scan->at < scan->end && *scan->at && strchr(",]} \n\t\r", *scan->at);
}

static int scan_value(svl_json_scan_t *scan);

int svl_json_scan_array(svl_json_scan_t *scan)
{
    if (!take_begin(scan, '[')) {
        return 0;
    }
    if (!next_is(scan, ']')) {
        do {
            if (!scan_value(scan)) {
                return 0;
            }
        } while (take_sign(scan, ','));
    }
    return take_end(scan, ']');
}

static int is_new(const svl_json_scan_part_t *keys, int count)
{
    for (int i = 0; i < count; i++) {
        if (keys[i].length == keys[count].length && memcmp(keys[i].text, keys[count].text, keys[count].length) == 0) {
            return 0;
        }
    }
    return 1;
}

int svl_json_scan_object(svl_json_scan_t *scan)
{
    svl_json_scan_part_t keys[KEYS_MAX];
    int count = 0;

    if (!take_begin(scan, '{')) {
        return 0;
    }
    if (!next_is(scan, '}')) {
        do {
            if (count == KEYS_MAX || !svl_json_scan_string(scan, &keys[count]) || !is_new(keys, count) || !take_sign(scan, ':')
                || !scan_value(scan)) {
                return 0;
            }
            count++;
        } while (take_sign(scan, ','));
    }
    return take_end(scan, '}');
}

static int scan_value(svl_json_scan_t *scan)
{
    svl_json_scan_part_t part;
    apr_int64_t number;

    switch (scan->at < scan->end ? *scan->at : '\0') {
    case '"':
        return svl_json_scan_string(scan, &part);
    case '[':
        return svl_json_scan_array(scan);
    case '{':
        return svl_json_scan_object(scan);
    case 't':
        return svl_json_scan_text(scan, "true");
    case 'f':
        return svl_json_scan_text(scan, "false");
    case 'n':
        return svl_json_scan_text(scan, "null");
    default:
        return svl_json_scan_integer(scan, &number);
    }
}

static json_t *build(svl_json_scan_t *scan);

/* Of what was scanned before: each step finds what it expects.  @return NULL when memory lacks, as all that follow */
static json_t *build_array(svl_json_scan_t *scan)
{
    json_t *array = json_array();

    take_sign(scan, '[');
    while (array && !next_is(scan, ']')) {
        if (json_array_append_new(array, build(scan)) != 0) {
            json_decref(array);
            return NULL;
        }
        take_sign(scan, ',');
    }
    scan->at++;
    return array;
}

static json_t *build_object(svl_json_scan_t *scan)
{
    json_t *object = json_object();
    svl_json_scan_part_t key;

    take_sign(scan, '{');
    while (object && !next_is(scan, '}')) {
        svl_json_scan_string(scan, &key);
        take_sign(scan, ':');
        if (json_object_setn_new_nocheck(object, key.text, key.length, build(scan)) != 0) {
            json_decref(object);
            return NULL;
        }
        take_sign(scan, ',');
    }
    scan->at++;
    return object;
}

static json_t *build(svl_json_scan_t *scan)
{
    svl_json_scan_part_t part;
    apr_int64_t number;

    switch (*scan->at) {
    case '"':
        svl_json_scan_string(scan, &part);
        return json_stringn_nocheck(part.text, part.length);
    case '[':
        return build_array(scan);
    case '{':
        return build_object(scan);
    case 't':
        svl_json_scan_text(scan, "true");
        return json_true();
    case 'f':
        svl_json_scan_text(scan, "false");
        return json_false();
    case 'n':
        svl_json_scan_text(scan, "null");
        return json_null();
    default:
        svl_json_scan_integer(scan, &number);
        return json_integer(number);
    }
}

json_t *svl_json_scan_build(const svl_json_scan_part_t *part)
{
    svl_json_scan_t scan = {part->text, part->text + part->length, 0};

    return build(&scan);
}

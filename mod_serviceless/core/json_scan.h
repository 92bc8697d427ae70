/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/json_scan.h
 * @brief Reads the JSON that is met most, without the JSON library and in a small part of its time: ASCII strings without escapes,
 * integers below 10^18, literals, arrays and objects of these.  What it takes is strict JSON (json.h); all else, all that is wrong
 * included, is left to the library.
 */
#ifndef SVL_CORE_JSON_SCAN_H
#define SVL_CORE_JSON_SCAN_H

#include <apr.h>
#include <jansson.h>

/** A piece of a text. */
typedef struct svl_json_scan_part_t {
    const char *text;
    apr_size_t length;
} svl_json_scan_part_t;

/** Where the reading is. */
typedef struct svl_json_scan_t {
    const char *at, *end;
    int depth; /**< of what is open around it; at most SVL_JSON_DEPTH */
} svl_json_scan_t;

/** @return nonzero for what stands in a string without an escape, and needs no look at its neighbours */
static inline int svl_json_scan_is_plain(char c)
{
    return c >= ' ' && c < '\x7f' && c != '"' && c != '\\';
}

/** Each of these goes on behind what it is named after, and returns 0, being anywhere, where that is not next or not of the kinds above.
 * No blanks before or after are taken; within arrays and objects they are. */
int svl_json_scan_text(svl_json_scan_t *scan, const char *text);
int svl_json_scan_char(svl_json_scan_t *scan, char c);
int svl_json_scan_string(svl_json_scan_t *scan, svl_json_scan_part_t *part); /**< @param part receives what is between the quotes */
int svl_json_scan_integer(svl_json_scan_t *scan, apr_int64_t *number);  /**< one within an array or object */
int svl_json_scan_array(svl_json_scan_t *scan);
int svl_json_scan_object(svl_json_scan_t *scan);

/** @return a new reference to the array or object that was scanned before and is the whole of @a part; NULL where memory lacks */
json_t *svl_json_scan_build(const svl_json_scan_part_t *part);

#endif

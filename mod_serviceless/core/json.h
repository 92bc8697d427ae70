/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/json.h
 * @brief Strict JSON: the one place that knows jansson's options.
 */
#ifndef SVL_CORE_JSON_H
#define SVL_CORE_JSON_H

#include <apr_pools.h>
#include <jansson.h>

/** Deepest nesting of arrays and objects taken: the innermost of a call's values, found nowhere near it in practice. */
#define SVL_JSON_DEPTH 32
/** Deepest nesting of a function's result: an answer to reply `all` wraps it in up to four levels and must still parse. */
#define SVL_JSON_RESULT_DEPTH (SVL_JSON_DEPTH - 4)

/**
 * Parses one JSON value that is the whole of @a text: no duplicate keys, NUL, BOM, NaN, number beyond a double or 63 bits, lone
 * surrogate, invalid UTF-8, bytes after the end, nor nesting over SVL_JSON_DEPTH.
 * @param json a new reference, released with @a p (svl_json_own)
 * @param detail on failure what is wrong and at which byte, without the input's own bytes; may be NULL
 * @return APR_SUCCESS or APR_EINVAL; a lack of memory is one of the pool's: it ends a process of httpd
 */
apr_status_t svl_json_parse(json_t **json, const char *text, apr_size_t length, const char **detail, apr_pool_t *p);

/** For what jansson had no memory for: as where @a p itself has none, the pool's abort function is called, which ends the process. */
void svl_json_lack(apr_pool_t *p);

/** Hands a reference over to @a p: json_decref when @a p is cleared.  @return @a json (NULL stays NULL) */
json_t *svl_json_own(json_t *json, apr_pool_t *p);

/** @return nonzero when @a json (NULL: zero) is nested no deeper than @a depth (a scalar is 0, an empty array 1) and no string
 * or key of it holds a NUL; a value that contains itself does not fit */
int svl_json_fits(const json_t *json, int depth);

/** @return @a json written compactly (any type at the top, keys in their order, reals with 17 digits), NUL-terminated; NULL
 * when it cannot be written (deeper than SVL_JSON_DEPTH, a NUL or invalid UTF-8 made by a companion).  A lack of memory is one of the
 * pool's. */
const char *svl_json_write(const json_t *json, apr_pool_t *p, apr_size_t *length);

/** @return @a text as a JSON string literal, quotes included; control characters and DEL escaped; invalid UTF-8 as \ufffd. */
const char *svl_json_quote(const char *text, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/vector.h
 * @brief Version vectors: for each stream the watermark and the ranges beyond it (as in Bayou and Cassandra's gossip).
 */
#ifndef SVL_CORE_VECTOR_H
#define SVL_CORE_VECTOR_H

#include <apr_hash.h>
#include <apr_pools.h>
#include <apr_tables.h>
#include <jansson.h>

#include "fault.h"

#define SVL_VECTOR_RANGES_MAX 4096  /**< of one stream: gaps close within a sync; more means an attack or a bug */
#define SVL_VECTOR_STREAMS_MAX 100000 /**< of one message; larger vectors are paged */
#define SVL_VECTOR_NUMBER_MAX APR_INT64_C(0x7fffffffffffffff) /**< numbers are JSON integers of 63 bits */

/** Numbers first … last, both included. */
typedef struct svl_vector_range_t {
    apr_uint64_t first;
    apr_uint64_t last;
} svl_vector_range_t;

/** The numbers of one stream that a node has: 1 … watermark, and the ranges, ascending, disjoint, never adjacent, beyond it. */
typedef struct svl_vector_numbers_t {
    apr_uint64_t watermark;
    apr_array_header_t *ranges; /**< svl_vector_range_t; its pool is that of svl_vector_numbers_make */
} svl_vector_numbers_t;

svl_vector_numbers_t *svl_vector_numbers_make(apr_pool_t *p);

/** @return the highest number that is covered; 0: none */
apr_uint64_t svl_vector_highest(const svl_vector_numbers_t *numbers);

/** @return nonzero when @a number is covered */
int svl_vector_covers(const svl_vector_numbers_t *numbers, apr_uint64_t number);

/** @return nonzero when @a number can be added without more than SVL_VECTOR_RANGES_MAX ranges */
int svl_vector_has_room(const svl_vector_numbers_t *numbers, apr_uint64_t number);

/** Adds @a number (1 …), joining what becomes adjacent.  @return APR_SUCCESS; APR_ENOSPC when it would need more than
 * SVL_VECTOR_RANGES_MAX ranges; APR_EINVAL for 0 or beyond SVL_VECTOR_NUMBER_MAX */
apr_status_t svl_vector_add(svl_vector_numbers_t *numbers, apr_uint64_t number);

/** Takes @a number out again; the watermark falls below it.
 * @return APR_SUCCESS; APR_ENOSPC when that would need more than SVL_VECTOR_RANGES_MAX ranges: then it stays covered */
apr_status_t svl_vector_drop(svl_vector_numbers_t *numbers, apr_uint64_t number);

/** Moves the watermark to at least @a watermark, swallowing ranges.  @return how many numbers became covered by it */
apr_uint64_t svl_vector_raise(svl_vector_numbers_t *numbers, apr_uint64_t watermark);

/** What @a mine covers and @a other (NULL: nothing) does not, ascending, at most @a limit ranges (svl_vector_range_t). */
apr_array_header_t *svl_vector_difference(const svl_vector_numbers_t *mine, const svl_vector_numbers_t *other, int limit,
                                          apr_pool_t *p);

/** The binary form kept in the log: watermark, count, then first and last of each range, each a big-endian 64-bit number. */
apr_size_t svl_vector_encoded_size(const svl_vector_numbers_t *numbers);
void svl_vector_encode(const svl_vector_numbers_t *numbers, unsigned char *bytes);
/** @return APR_SUCCESS, or APR_EINVAL for bytes that are no such form */
apr_status_t svl_vector_decode(svl_vector_numbers_t **numbers, const unsigned char *bytes, apr_size_t length, apr_pool_t *p);

/** A whole vector: stream name (`origin/set/epoch`) to svl_vector_numbers_t *, as an apr_hash_t. */

/** {"a/all/0f3c…":[17,[[19,22]]],…}, streams sorted by name; a new reference.  A lack of memory is one of the pool's. */
json_t *svl_vector_to_json(apr_hash_t *vector, apr_pool_t *p);

/** Takes a vector from a message: every name, number, order and bound is checked; the hash and all in it are of @a p.
 * @return APR_SUCCESS, or SVL_EREFUSED with SVL_REASON_MESSAGE */
apr_status_t svl_vector_from_json(apr_hash_t **vector, const json_t *json, svl_fault_t *fault, apr_pool_t *p);

/** SHA-256 of the compact JSON of the sorted vector, as 64 lower case hex digits and a NUL. */
apr_status_t svl_vector_digest(apr_hash_t *vector, char digest[65], apr_pool_t *p);

#endif

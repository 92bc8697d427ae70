/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/sync.h
 * @brief Sync lines: what two nodes tell each other of their logs, page by page, and what follows for either (PROTOCOL, Sync).
 *
 * A page is an interval of stream names, in byte order: those beyond `after` up to `upto`, each without bound when absent.  A
 * line with a vector speaks of the streams of its page only: one that lies there and is not named is one its sender has nothing
 * of.
 */
#ifndef SVL_CORE_SYNC_H
#define SVL_CORE_SYNC_H

#include <apr_hash.h>
#include <apr_pools.h>
#include <apr_tables.h>

#include "fault.h"
#include "message.h"
#include "vector.h"

#define SVL_SYNC_PAGE_MAX (SVL_MESSAGE_SLACK - 2048) /**< bytes of a sync line: leaves a message room for any one call */
#define SVL_SYNC_RANGES_MAX 1000 /**< ranges told of one stream, so that any one fits a page; what lies beyond looks lacking */
#define SVL_SYNC_LACKS_MAX 4096  /**< streams looked at for one message; the next one starts with what then lacks */
#define SVL_SYNC_SPANS_MAX 256   /**< ranges of one of them */
#define SVL_SYNC_DIGEST 64       /**< hex digits */

/** A sync line.  Hashes are by stream name. */
typedef struct svl_sync_line_t {
    const char *from;
    const char *digest;         /**< of the whole vector; NULL: not given */
    apr_hash_t *vector;         /**< svl_vector_numbers_t *; NULL: only the digest is told */
    apr_hash_t *pruned;         /**< apr_uint64_t *: numbers up to it are held no more; never NULL when parsed */
    const char *after, *upto;   /**< the page; NULL: no bound */
    int done;                   /**< nonzero: its sender has finished and transfers nothing further */
} svl_sync_line_t;

/** Reads the sync line of a message; every name, number and bound is checked, members that are not known are ignored.
 * @return APR_SUCCESS, or SVL_EREFUSED with SVL_REASON_MESSAGE */
apr_status_t svl_sync_parse(svl_sync_line_t **line, const svl_message_t *message, svl_fault_t *fault, apr_pool_t *p);

/** Writes a sync line with its newline, at most SVL_SYNC_PAGE_MAX bytes.  Of vector and pruned what lies in the page is written
 * as far as it fits; when not all does, @a line->upto becomes the last stream that did. */
const char *svl_sync_write(svl_sync_line_t *line, apr_pool_t *p, apr_size_t *length);

/** @return nonzero when @a stream lies in the page */
int svl_sync_speaks_of(const svl_sync_line_t *line, const char *stream);

/** A stream of which the other side lacks something, and what is left of that to send. */
typedef struct svl_sync_lack_t {
    const char *stream;
    apr_array_header_t *spans; /**< svl_vector_range_t, ascending */
    int at;                    /**< the span in hand */
    apr_uint64_t next;         /**< where to go on in it */
} svl_sync_lack_t;

/** What @a theirs lacks of @a mine in the page of @a page, by stream name; at most SVL_SYNC_LACKS_MAX streams.
 * @param gone of what @a mine covers, numbers up to it are not held (stream to apr_uint64_t *), so nobody gets them; or NULL
 * @param total how many numbers that are; may be NULL  @return svl_sync_lack_t */
apr_array_header_t *svl_sync_lacks(apr_hash_t *mine, apr_hash_t *gone, apr_hash_t *theirs, const svl_sync_line_t *page,
                                   apr_uint64_t *total, apr_pool_t *p);

/** @return a copy of the name's part: the origin, or the set, of a stream */
const char *svl_sync_origin(const char *stream, apr_pool_t *p);
const char *svl_sync_set(const char *stream, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/snapshot.h
 * @brief What the status page tells: read once from the live numbers, then written in one of several formats.
 */
#ifndef SVL_HTTPD_SNAPSHOT_H
#define SVL_HTTPD_SNAPSHOT_H

#include "../store/store.h"
#include "registry.h"
#include "shared.h"

/** A histogram, read.  Counts are cumulative, so that they agree with each other whatever was counted meanwhile. */
typedef struct svl_snapshot_histogram_t {
    apr_uint64_t counts[SVL_HISTOGRAM_BUCKETS]; /**< at most svl_histogram_bounds[i] microseconds; the last one: all */
    apr_uint64_t sum;                           /**< microseconds */
} svl_snapshot_histogram_t;

typedef struct svl_snapshot_function_t {
    const char *name;
    const svl_function_t *function; /**< NULL: collects the calls of functions that are not loaded */
    apr_uint64_t outcomes[SVL_OUTCOME_COUNT];
    svl_snapshot_histogram_t seconds;
} svl_snapshot_function_t;

typedef struct svl_snapshot_peer_t {
    const svl_member_t *member;
    int self; /**< nonzero: the node itself; it is up, and the rest is zero */
    int up;
    apr_uint32_t failures;    /**< in a row */
    apr_time_t down_since;    /**< 0: up */
    apr_time_t last_ok;       /**< 0: never */
    apr_int64_t clock_offset; /**< microseconds */
    apr_uint64_t relays[SVL_PEER_RESULTS];
    apr_uint64_t calls; /**< acknowledged */
    apr_uint64_t links; /**< that it gave */
    apr_uint64_t syncs[SVL_PEER_SYNCS];
    apr_uint64_t lag;
    svl_snapshot_histogram_t seconds;
} svl_snapshot_peer_t;

typedef struct svl_snapshot_t {
    const svl_node_t *node;
    apr_time_t now;
    apr_time_t started;                 /**< start, or last restart, of the server; 0: not known */
    svl_snapshot_function_t *functions; /**< by name; the one without a function last */
    int function_count;
    svl_snapshot_peer_t *peers; /**< node->count of them, in the order of ServicelessNodes */
    apr_uint64_t rejected[SVL_REASON_COUNT];
    apr_uint64_t missed;
    apr_uint64_t client_links; /**< that clients got */
    apr_uint32_t old_children; /**< that work on with the configuration of before a graceful restart */
    apr_time_t missing;        /**< when a message named a key that is not there; 0: none did */
    char missing_key[SVL_RING_FINGERPRINT + 1];
    apr_uint64_t reruns;
    const char *epoch; /**< NULL: this child could not open the log, and @a log is empty */
    svl_store_counts_t log;
} svl_snapshot_t;

/** Reads all of it, without a walk over the log.  Lives as long as @a p. */
svl_snapshot_t *svl_snapshot_take(const svl_node_t *node, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/peer.h
 * @brief What all children of a server know of a peer: a fixed layout of atomics that the caller places in shared memory.
 */
#ifndef SVL_TRANSPORT_PEER_H
#define SVL_TRANSPORT_PEER_H

#include <apr.h>
#include <apr_time.h>

#include "transport.h"

/** Upper bounds, in microseconds, of the buckets of a histogram; the last bucket is +Inf. */
#define SVL_HISTOGRAM_BUCKETS 12
extern const apr_int64_t svl_histogram_bounds[SVL_HISTOGRAM_BUCKETS - 1];

/** All members are atomics (__atomic builtins, relaxed: they are counters). */
typedef struct svl_histogram_t {
    apr_uint64_t buckets[SVL_HISTOGRAM_BUCKETS]; /**< not cumulative */
    apr_uint64_t sum;                            /**< microseconds */
} svl_histogram_t;
void svl_histogram_add(svl_histogram_t *histogram, apr_int64_t micros);

/** Labels of serviceless_relays_total{result}. */
typedef enum {
    SVL_PEER_OK,            /**< acknowledged */
    SVL_PEER_CONNECT,       /**< not reached: refused, unreachable, connect timeout */
    SVL_PEER_TLS,           /**< not reached: certificate or handshake */
    SVL_PEER_TIMEOUT,       /**< no answer in time */
    SVL_PEER_BROKEN,        /**< connection lost or answer too large */
    SVL_PEER_REFUSED,       /**< answered 4xx */
    SVL_PEER_UNAVAILABLE,   /**< answered 5xx */
    SVL_PEER_UNSIGNED,      /**< an answer that no key of the ring signed: no acknowledgement */
    SVL_PEER_SKIPPED,       /**< known to be down, not asked */
    SVL_PEER_RESULTS
} svl_peer_result_e;
const char *svl_peer_result_name(svl_peer_result_e result);

/** Labels of serviceless_syncs_total{result}. */
typedef enum {
    SVL_PEER_SYNC_EQUAL,     /**< nothing to exchange */
    SVL_PEER_SYNC_EXCHANGED, /**< vectors differed and were compared to their end */
    SVL_PEER_SYNC_PARTIAL,   /**< likewise, but there is more to exchange: goes on in a moment */
    SVL_PEER_SYNC_BUSY,      /**< the peer answered 503 */
    SVL_PEER_SYNC_FAILED,
    SVL_PEER_SYNCS
} svl_peer_sync_e;
const char *svl_peer_sync_name(svl_peer_sync_e result);

#define SVL_PEER_BACKOFF_MIN apr_time_from_msec(500) /**< first probe of a peer that failed */
#define SVL_PEER_BACKOFF_MAX apr_time_from_sec(30)   /**< and the rarest: a peer is back within this, or by its own calls */

/** All zero: up, never asked. */
typedef struct svl_peer_state_t {
    apr_uint32_t down;        /**< atomic; nonzero: skip it */
    apr_uint32_t failures;    /**< in a row */
    apr_uint32_t returns;     /**< how often it came up */
    apr_int64_t since;        /**< when it last went down or came up, microseconds since 1970; 0: never */
    apr_int64_t next_probe;   /**< when the prober tries again */
    apr_int64_t last_ok;      /**< last acknowledgement */
    apr_uint64_t relays[SVL_PEER_RESULTS]; /**< requests by result */
    apr_uint64_t calls;       /**< calls acknowledged */
    apr_uint64_t links;       /**< links that it gave (link.h) */
    apr_int64_t clock_offset; /**< microseconds that its signed timestamps are ahead of ours, last seen */
    apr_int64_t steady_offset; /**< and ahead of svl_transport_monotonic, … */
    apr_int64_t steady_heard;  /**< … whose time it was then; 0: never */
    svl_histogram_t seconds;  /**< of acknowledged requests */
    apr_uint64_t syncs[SVL_PEER_SYNCS]; /**< by result */
    apr_int64_t looked;       /**< when it was last asked whether it lives still, after something was handed over to it */
    apr_uint64_t lag;         /**< calls held here that it lacked when it was last asked */
} svl_peer_state_t;

int svl_peer_living(const svl_peer_state_t *peer);

/** @return how often it came up so far: who finds another number than before has missed that it was down */
apr_uint32_t svl_peer_returns(const svl_peer_state_t *peer);

/** Notes how a request ended.  OK: up.  CONNECT, TLS, TIMEOUT, BROKEN, UNAVAILABLE, UNSIGNED: down, next probe after a backoff
 * that doubles, with jitter of a quarter either way, between the two bounds (computed so that it cannot overflow).  Requests
 * that were under way already when it went down do not double it.  REFUSED and SKIPPED change nothing but the counter.
 * @param took  how long the request took; @a now less this is when it began
 * @return nonzero when the peer went down or came up by it (the caller logs that) */
int svl_peer_note(svl_peer_state_t *peer, svl_peer_result_e result, apr_interval_time_t took, apr_time_t now);

/** Counts a result, and concludes nothing from it. */
void svl_peer_count(svl_peer_state_t *peer, svl_peer_result_e result);

/** Notes the time that a message or answer of this peer was signed with, which was verified.
 * @param seconds since 1970 */
void svl_peer_signed(svl_peer_state_t *peer, apr_int64_t seconds, apr_time_t now);

/** @param since times of svl_transport_monotonic
 * @return the latest steady_offset of those of @a peers that were heard after @a since; 0: none was */
apr_int64_t svl_peer_clock(svl_peer_state_t *const *peers, apr_uint32_t count, apr_time_t since);

/** A signed message of this peer came in: it lives, so the prober should look at once. */
void svl_peer_heard(svl_peer_state_t *peer, apr_time_t now);

/** @return nonzero, once, when a probe is due at @a now: the caller shall probe (compare and swap on next_probe, so that of
 * several children one does) */
int svl_peer_claim_probe(svl_peer_state_t *peer, apr_time_t now);

#define SVL_PEER_LOOK_MIN apr_time_from_sec(1) /**< between two questions whether a peer lives still, of all children together */

/** @return nonzero, at most once in SVL_PEER_LOOK_MIN of all children: the caller shall ask the peer whether it lives still */
int svl_peer_claim_look(svl_peer_state_t *peer, apr_time_t now);

#endif

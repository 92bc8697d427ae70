/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/sync_private.h
 * @brief What the files of sync share; nobody else includes it.
 *
 *   svl_sync_turn ──> thread ──> exchange with a peer, page by page ──> missed
 *                                  asks ──────────────> svl_sync_answer (there)
 *                                  accepts what comes; relays what the peer lacks
 *
 * What the thread owns is touched by nobody else while it is busy; svl_sync_t.lock guards the change of hands.
 */
#ifndef SVL_HTTPD_SYNC_PRIVATE_H
#define SVL_HTTPD_SYNC_PRIVATE_H

#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>

#include "../core/sync.h"
#include "shared.h"
#include "sync.h"

typedef struct svl_missed_t svl_missed_t;

/** What the leading child remembers of a peer. */
typedef struct svl_sync_peer_t {
    apr_uint32_t returns;  /**< svl_peer_returns, at the last completed exchange; … */
    apr_uint32_t returned; /**< … and at the last look */
    int came_up;  /**< chosen because it was down meanwhile: relay has passed it over */
    int wanted;   /**< to be asked at the next turn, whether or not that is due */
    int chosen;   /**< to be asked in this turn */
    int by_chance; /**< likewise, because it is its set's turn: one that is wanted does not keep the others of a set from theirs */
    char after[SVL_NAME_STREAM_MAX + 1]; /**< the page at which an exchange that was not completed goes on; "": none was */
    apr_uint64_t lag; /**< of the pages before that one */
    apr_time_t logged; /**< when a failure with it was last written */
} svl_sync_peer_t;

struct svl_sync_t {
    svl_runtime_t *runtime;
    apr_pool_t *pool; /**< of no parent: a thread that outlives svl_sync_stop still finds everything */
    apr_pool_t *scratch; /**< of the thread, for a turn; of no parent either */
    apr_thread_mutex_t *lock;
    apr_thread_cond_t *changed;
    apr_thread_t *thread;           /**< NULL: none yet */
    int busy, ended;                /**< with the lock: a turn is under way; the thread has left */
    int stopping;                   /**< atomic */
    svl_transport_client_t *client; /**< of the thread; set once, with the lock */
    svl_signer_t *signer;           /**< likewise */
    svl_sync_peer_t *peers;         /**< by index */
    apr_time_t next;                /**< when a turn is due */
    int soon;                       /**< a turn found nobody to talk to: try another peer in a second */
    apr_uint64_t seed;
    svl_missed_t *missed;
};

/** What this node has of the streams that it shares with a peer. */
typedef struct svl_sync_own_t {
    apr_hash_t *vector, *pruned; /**< as in svl_sync_line_t */
} svl_sync_own_t;

/* sync_lines.c */
/** Streams of sets that both are in, and those of either as origin of calls for a set that only the other is in. */
apr_status_t svl_sync_own(svl_sync_own_t *own, svl_runtime_t *runtime, apr_uint32_t peer, apr_pool_t *p);

/** Call lines, one after the other. */
typedef struct svl_sync_lines_t {
    char *text;
    apr_size_t length, capacity;
    apr_size_t limit; /**< of length; set by the caller */
    apr_uint32_t calls;
    int full;         /**< nonzero: there was more */
} svl_sync_lines_t;

/** Appends held lines of what lacks, streams in turn, by number within a stream, and moves @a lacks (svl_sync_lack_t) on.
 * @param settled what was logged later is left to relay */
apr_status_t svl_sync_collect(svl_sync_lines_t *lines, svl_store_t *store, apr_array_header_t *lacks, apr_time_t settled,
                              apr_pool_t *p);

/* sync_transfer.c: one peer at a time transfers calls to or from this node, over all of its children */
/** @return nonzero when @a owner (an index; the own one: this node is pulling) may transfer now, for one more lease */
int svl_sync_transfer_take(svl_shared_node_t *shared, apr_uint32_t owner, apr_time_t now);
void svl_sync_transfer_release(svl_shared_node_t *shared, apr_uint32_t owner);

/* sync_exchange.c */
/** Exchanges what either lacks, within SVL_SYNC_BUDGET.  Counts the result. */
svl_peer_sync_e svl_sync_exchange(svl_sync_t *sync, apr_uint32_t peer);

/* sync_epoch.c */
/** Looks at a peer's vector for own numbers that the own log did not give: it was rolled back then, and begins a new epoch. */
void svl_sync_hear_own(svl_runtime_t *runtime, apr_hash_t *vector, const char *peer, apr_pool_t *p);

/* sync_missed.c; all by the thread */
apr_status_t svl_missed_create(svl_missed_t **missed, svl_runtime_t *runtime, apr_pool_t *p);
/** An exchange with a peer begins. */
void svl_missed_begin(svl_missed_t *missed, apr_uint32_t peer);
/** A page was exchanged to its end.  @param wanted svl_sync_lack_t: what the peer holds and this node still lacks */
void svl_missed_page(svl_missed_t *missed, apr_uint32_t peer, const svl_sync_line_t *page, const svl_sync_own_t *own,
                     const apr_array_header_t *wanted);
/** All pages were, or the vectors are equal. */
void svl_missed_heard(svl_missed_t *missed, apr_uint32_t peer, apr_time_t now);
/** Gives up what no living peer holds any more, once all of them were heard; tells the functions.  Marks as wanted those that
 * have to be heard first.  @param completed nonzero: an exchange of this turn was completed */
void svl_missed_decide(svl_missed_t *missed, svl_sync_peer_t *peers, int completed, apr_time_t now, apr_pool_t *p);

#endif

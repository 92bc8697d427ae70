/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/shared.h
 * @brief The live numbers: one anonymous shared segment of fixed layout, on the process pool, retained over graceful restarts.
 *
 * Only the parent gives out slots; children change numbers, all of them by relaxed __atomic builtins.
 */
#ifndef SVL_HTTPD_SHARED_H
#define SVL_HTTPD_SHARED_H

#include <pthread.h>
#include <semaphore.h>

#include "../core/call.h"
#include "../core/clock.h"
#include "../core/fault.h"
#include "../core/name.h"
#include "../transport/peer.h"
#include "config.h"

#define SVL_COUNT(counter) ((void)__atomic_add_fetch(&(counter), 1, __ATOMIC_RELAXED))
#define SVL_COUNT_BY(counter, n) ((void)__atomic_add_fetch(&(counter), (n), __ATOMIC_RELAXED))
#define SVL_READ(counter) __atomic_load_n(&(counter), __ATOMIC_RELAXED)

/** Numbers of a function on a node. */
typedef struct svl_shared_function_t {
    apr_uint32_t node;                          /**< slot of its node, plus 1; 0: free */
    char name[SVL_NAME_FUNCTION_MAX + 1];       /**< "" collects the calls of functions that are not loaded here */
    apr_uint64_t outcomes[SVL_OUTCOME_COUNT];
    svl_histogram_t seconds;                    /**< of runs */
} svl_shared_function_t;

/** What is known of a peer, and whose peer it is. */
typedef struct svl_shared_peer_t {
    apr_uint32_t node;                          /**< as above */
    char name[SVL_NAME_NODE_MAX + 1];
    struct svl_peer_state_t state;
} svl_shared_peer_t;

/** Numbers of a node. */
typedef struct svl_shared_node_t {
    char name[SVL_NAME_NODE_MAX + 1];           /**< "": free */
    apr_uint32_t slot;                          /**< its place in the table */
    pthread_mutex_t leader;                     /**< robust, process-shared: the maintenance thread that holds it leads */
    apr_uint64_t rejected[SVL_REASON_COUNT];
    apr_int64_t logged[SVL_REASON_COUNT];       /**< second of the last log line of a reason */
    apr_uint64_t suppressed[SVL_REASON_COUNT];  /**< refusals since then without a line */
    apr_uint64_t missed;
    apr_uint64_t client_links;                  /**< links that clients got */
    apr_uint64_t missing;                       /**< a key that is not there (missing.c); 0: none */
    svl_clock_t clock;                          /**< of the child that leads */
    apr_int64_t reference;                      /**< the offset that it goes by; 0: not known yet (retain.h) */
    apr_int64_t due;                            /**< and the one that calls expire by */
    apr_int64_t waiting_logged;                 /**< second of the last log line about calls of functions that are not loaded */
    apr_uint64_t reruns;
    apr_uint64_t transfer;                      /**< who may transfer calls by sync, and until when (sync_transfer.c) */
    apr_time_t log_created;                     /**< of the log that the next two are of */
    apr_uint64_t every;                         /**< what every child is to run is at positions below this (place.h); 0: nobody has looked
                                                     into the log yet; SVL_SHARED_LOOK: look */
    apr_uint64_t first;                         /**< likewise: what was in the log when the first child looked */
} svl_shared_node_t;

#define SVL_SHARED_LOOK APR_UINT64_MAX

/** A child process of the server (place.h). */
typedef struct svl_shared_place_t {
    apr_int64_t pid;                            /**< 0: free */
    apr_int32_t generation;                     /**< of the server's, as httpd counts graceful restarts */
    apr_uint32_t leaving;                       /**< nonzero: it is not waited for */
    apr_uint32_t waiting;                       /**< requests that wait for outcomes of other nodes */
    apr_uint32_t woken;                         /**< nonzero: `wake` was posted, and its thread has not heard it yet */
    sem_t wake;                                 /**< process-shared: what its thread of children.c waits for */
} svl_shared_place_t;

/** How far a child is, on one node, with the entries that every child is to run.  Positions plus 1; 0: it takes no part (yet). */
typedef struct svl_shared_cursor_t {
    apr_uint64_t began;                         /**< entries below this are older than the child */
    apr_uint64_t done;                          /**< entries below this have run in it */
    char function[SVL_NAME_FUNCTION_MAX + 1];   /**< what it runs at the moment because every child does; "": nothing */
    char id[SVL_NAME_ID_MAX + 1];
} svl_shared_cursor_t;

/** All of them, in the present segment. */
typedef struct svl_shared_places_t {
    svl_shared_place_t *places;
    apr_uint32_t count;
    svl_shared_cursor_t *cursors;               /**< of place i and the node in slot j: [i * nodes + j] */
    apr_uint32_t nodes;
    apr_uint64_t *news;                         /**< grows whenever the `every` of a node does; SVL_SHARED_LOOK: look at each of them */
} svl_shared_places_t;

/** For post_config: finds or makes the segment, gives every node, peer and registered function its slot, and sets node->shared,
 * node->peers, node->unknown_function and each svl_function_t.shared.  A segment that has become too small is replaced by a larger one with the same numbers.
 * @return APR_SUCCESS or a system error */
apr_status_t svl_shared_attach(apr_pool_t *process_pool, apr_pool_t *pconf);

/** @return the children's places; NULL before svl_shared_attach */
const svl_shared_places_t *svl_shared_places(void);

/** For post_config, also of a server without a node: one shared flag for svl_shared_first_time. */
apr_status_t svl_shared_tell_once(apr_pool_t *process_pool);

/** @return nonzero for the first caller of all children since the server started */
int svl_shared_first_time(void);

#endif

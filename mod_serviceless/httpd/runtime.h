/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/runtime.h
 * @brief A node in one child process: the open log, the relay, the runs, and the thread that maintains them.
 */
#ifndef SVL_HTTPD_RUNTIME_H
#define SVL_HTTPD_RUNTIME_H

#include "../core/sign.h"
#include "../store/store.h"
#include "../transport/relay.h"
#include "config.h"
#include "registry.h"

struct svl_children_t;
struct svl_kept_t;
struct svl_links_t;
struct svl_runs_t;
struct svl_sync_t;
typedef struct svl_await_t svl_await_t;
typedef struct svl_gather_t svl_gather_t;

typedef struct svl_runtime_t {
    svl_node_t *node;
    svl_store_t *store;
    svl_relay_t *relay;
    struct svl_runs_t *runs;
    struct svl_children_t *children;
    struct svl_kept_t *kept;
    struct svl_sync_t *sync;
    struct svl_links_t *links;
    svl_await_t *await;           /**< who waits for outcomes (await.h) */
    svl_gather_t *gather;         /**< what other nodes are asked for them with (gather.h) */
    int asynchronous;             /**< the MPM keeps idle connections without a worker */
    int guarded;                  /**< requests run in the thread whose signal handler destroys pools (prefork) */
    int stopping;                 /**< atomic: the child is leaving */
    int inline_runs;              /**< atomic: calls that requests of this child run themselves */
    apr_time_t forgot;            /**< when the leading child last looked for streams to forget */
    apr_pool_t *pool;             /**< outlives pchild when a thread cannot be stopped */
    apr_thread_mutex_t *signers_lock;
    apr_array_header_t *signers;  /**< svl_signer_t *: free ones */
} svl_runtime_t;

/** Those of a child: svl_runtime_t *, an array that grows while nodes are opened that could not be at first. */
static inline int svl_runtimes_count(const apr_array_header_t *runtimes)
{
    return __atomic_load_n(&runtimes->nelts, __ATOMIC_ACQUIRE);
}

static inline svl_runtime_t *svl_runtimes_at(const apr_array_header_t *runtimes, int i)
{
    return APR_ARRAY_IDX(runtimes, i, svl_runtime_t *);
}

/** child_init: opens every node.  A failure is logged and leaves that node answering 503 until it can be opened: it must not end the
 * child, or the server forks for ever. */
void svl_runtime_start(apr_pool_t *pchild, server_rec *main_server);

/** The maintenance thread, each second: tries again, less and less often, to open the nodes that could not be opened. */
void svl_runtime_again(void);

/** A request that finds no runtime: starts the maintenance thread, if that could not be had so far; at most once a second. */
void svl_runtime_rouse(void);

/** @return nonzero in the thread that prefork's stop signals interrupt, and would end with what it runs */
int svl_runtime_interruptible(const svl_runtime_t *runtime);

/** @return NULL: not open in this child */
static inline svl_runtime_t *svl_runtime_of(const svl_node_t *node)
{
    return __atomic_load_n(&node->runtime, __ATOMIC_ACQUIRE);
}

/** A keyed HMAC context for the calling thread's use, and back.  @return NULL: out of memory */
svl_signer_t *svl_runtime_take_signer(svl_runtime_t *runtime);
void svl_runtime_give_signer(svl_runtime_t *runtime, svl_signer_t *signer);

#endif

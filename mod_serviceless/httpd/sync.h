/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/sync.h
 * @brief The repair path: a node compares its log with those of living peers, and each sends the other the calls it lacks
 * (PROTOCOL, Sync).
 */
#ifndef SVL_HTTPD_SYNC_H
#define SVL_HTTPD_SYNC_H

#include "../core/message.h"
#include "receive.h"
#include "runtime.h"

#define SVL_SYNC_YOUNG apr_time_from_sec(2)    /**< calls that were logged less long ago are left to relay */
#define SVL_SYNC_CALLS_MAX 2048                /**< calls of one message: one transaction, for which callers here wait */
#define SVL_SYNC_BUDGET apr_time_from_msec(900) /**< longest that one turn is spent on a peer; it goes on in the next second */
#define SVL_SYNC_LEASE apr_time_from_sec(2)    /**< a peer that transfers and falls silent loses its place after this */

typedef struct svl_sync_t svl_sync_t;

/** In a child, after fork.  Starts no thread: the leading child's first turn does. */
apr_status_t svl_sync_create(svl_sync_t **sync, svl_runtime_t *runtime, apr_pool_t *p);

/** Called each second by the maintenance thread of the leading child, and of no other.  Finds out whether a turn is due (at
 * start, each ServicelessSyncInterval, when a peer came up again, when more is left to exchange) and has it done by a thread of
 * its own, so that it returns at once. */
void svl_sync_turn(svl_sync_t *sync, apr_time_t now);

/** Aborts what runs, and waits for it at most until @a deadline.  Call it before svl_runs_stop: an exchange queues runs.
 * @return APR_SUCCESS, or APR_TIMEUP: the thread still runs */
apr_status_t svl_sync_stop(svl_sync_t *sync, apr_time_t deadline);

/** An origin gave one number to two calls, and does not know: sends it the one that is held here, so that it mends both. */
void svl_sync_show_origin(svl_runtime_t *runtime, const char *origin, apr_uint64_t position);

/** Answers a peer's sync message, whose signature and sender were checked.
 * @param from the sender's index
 * @return APR_SUCCESS, or SVL_EREFUSED (SVL_REASON_BUSY: another peer transfers) */
apr_status_t svl_sync_answer(svl_runtime_t *runtime, const svl_message_t *message, apr_uint32_t from,
                             svl_receive_answer_t *answer, svl_fault_t *fault, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/receive_private.h
 * @brief One message on its way through: what the files of receiving share; nobody else includes it.
 */
#ifndef SVL_HTTPD_RECEIVE_PRIVATE_H
#define SVL_HTTPD_RECEIVE_PRIVATE_H

#include "receive.h"

typedef struct svl_receipt_t {
    svl_runtime_t *runtime;
    svl_node_t *node;
    const request_rec *r; /* NULL: the answer to an own request */
    const char *id;       /* of the message, for the log */
    apr_pool_t *pool;
    apr_time_t now;   /* what they are stamped with */
    apr_time_t since; /* the start of the retention */
    svl_received_t out;
    apr_uint32_t quarantined;         /* calls that may have run before the log was lost, and are not to run again */
    int every;                        /* nonzero: there are calls that every child is to run */
    svl_store_batch_t *batches;       /* one a group */
    svl_route_t *routes;              /* one a group: the nodes of its route that are configured here */
    const svl_function_t **functions; /* one an entry, over all groups; NULL: not loaded */
    apr_uint32_t entries;
    const svl_function_t *function;   /* of what is to be queued to run */
    apr_array_header_t *runs;         /* apr_uint64_t: these positions */
    int *turn;                        /* as for svl_runs_push_all */
    apr_array_header_t *losses; /* svl_store_loss_t: numbers of lines that are too old */
    apr_array_header_t *lost;   /* const char *: their ids */
} svl_receipt_t;

/** @return the member's index, or the number of members when there is none of this name */
apr_uint32_t svl_receipt_member(const svl_node_t *node, const char *name);

/** Makes entries of the lines, and routes of the names; refuses what is wrong with either. */
void svl_receipt_take(svl_receipt_t *receipt, const svl_message_t *message);

/** Those lines that are too old are missed: this node will not get them from anybody else either.  @return as svl_loss_give_up */
apr_status_t svl_receipt_losses(svl_receipt_t *receipt);

/** Tells the sender that this call is refused, counts and logs it. */
void svl_receipt_refuse(svl_receipt_t *receipt, const char *id, svl_fault_t *fault);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/receive.h
 * @brief Messages of other nodes: their calls are accepted, relayed on and queued to run, and the answer says what became of each.
 */
#ifndef SVL_HTTPD_RECEIVE_H
#define SVL_HTTPD_RECEIVE_H

#include "../core/message.h"
#include "reply.h"

/** A call whose outcome a message is to be answered with. */
typedef struct svl_owed_t {
    apr_uint64_t position;          /**< 0: none */
    const svl_function_t *function; /**< NULL: it is not loaded */
    apr_time_t until;               /**< it is waited for, monotonic */
} svl_owed_t;

/** What a message, or a client's call, is answered with. */
typedef struct svl_receive_answer_t {
    int status;
    const char *type;
    const char *body;
    apr_size_t length;
    svl_owed_t owed; /**< with APR_INCOMPLETE */
    int duplicate;   /**< of a client's call: it was known already */
} svl_receive_answer_t;

/** What became of the calls of a message. */
typedef struct svl_received_t {
    svl_message_ack_t ack;
    apr_uint32_t fresh;             /**< how many numbers are covered here since it came, refused ones included */
    apr_uint64_t position;          /**< of the call that is new and was not refused, where there is one; 0: none is */
    const svl_function_t *function; /**< of that one; NULL: it is not loaded */
} svl_received_t;

/** Takes a verified message.
 * @param answer an acknowledgement, once the message's calls are durable here; or what sync has to say
 * @return APR_SUCCESS; SVL_EREFUSED: the whole message is refused; or, only where the exchange has a place for a turn, APR_INCOMPLETE: once that
 *         turn is done, svl_receive_owed has the answer */
apr_status_t svl_receive(const svl_exchange_t *exchange, svl_receive_answer_t *answer, svl_fault_t *fault);

/** Accepts the calls of a message, whose sender is verified; each line that is refused is counted and logged.
 * @param r for the log; NULL: the calls came as an answer  @param id of the message, for the log
 * @param turn as for svl_runs_push_all
 * @return APR_SUCCESS, or SVL_EREFUSED: nothing was accepted */
apr_status_t svl_receive_calls(svl_runtime_t *runtime, const request_rec *r, const char *id, const svl_message_t *message,
                               svl_received_t *received, int *turn, svl_fault_t *fault, apr_pool_t *p);

/** Takes a message whose one call is asked for its outcome: accepts it, and waits, as long as the message says, until it has run.
 * @param answer how it ended, or that it is pending; beyond a quarter of the workers (await.h) that is told at once, where a worker would have to
 * wait
 * @return as svl_receive */
apr_status_t svl_receive_outcome(const svl_exchange_t *exchange, const svl_message_t *message, svl_receive_answer_t *answer,
                                 svl_fault_t *fault);

/** Waits for what is owed, in whichever thread, as one of those of await.h.  @param exchange with id and key as for svl_receive */
void svl_receive_owed(const svl_exchange_t *exchange, const svl_owed_t *owed, svl_receive_answer_t *answer);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/invoke.h
 * @brief A call that enters here, from a client or from a companion: accepted, relayed, run, and its outcome recorded.
 */
#ifndef SVL_HTTPD_INVOKE_H
#define SVL_HTTPD_INVOKE_H

#include "run.h"

/** What this node has to say of a call. */
typedef struct svl_answer_t {
    svl_outcome_e outcome;
    const char *text;     /**< ok: the result's JSON, or NULL for null; else words, or NULL; NUL-terminated */
    json_t *result;       /**< the result as the function returned it; NULL: null, or a duplicate's (then only text) */
    const char *note;     /**< what else is to be said of an ok, or NULL */
    int duplicate;        /**< nonzero: this id was accepted before; nothing ran now */
} svl_answer_t;

/** What a call is to be, out of what was asked and what the function says; and what the log made of it.  Stays where it is. */
typedef struct svl_invoke_plan_t {
    const svl_function_t *function;
    const svl_set_t *set;
    apr_uint32_t arity;
    apr_int64_t ttl;          /**< seconds */
    apr_time_t now;
    svl_store_entry_t entry;  /**< with its position; of a duplicate: that of the first one */
    svl_store_batch_t batch;  /**< of this entry alone */
} svl_invoke_plan_t;

/** The first part: checks the request and accepts the call.  It is then still to be relayed and to be run.
 * @param plan filled
 * @param answer with `duplicate` when the call was accepted before: then it has the recorded outcome, and the plan that call's set
 * @return as svl_invoke */
apr_status_t svl_invoke_accept(svl_runtime_t *runtime, const svl_call_request_t *request, const svl_key_t *key,
                               svl_invoke_plan_t *plan, svl_answer_t *answer, svl_fault_t *fault, apr_pool_t *p);

/** Does all of it.  Returns once the call is durable and, unless @a request says SVL_REPLY_ACCEPTED, has run here.
 * @param key who asks, for allow=; NULL: a companion
 * @return APR_SUCCESS; SVL_EREFUSED: nothing was accepted and @a fault says why */
apr_status_t svl_invoke(svl_runtime_t *runtime, const svl_call_request_t *request, const svl_key_t *key, svl_answer_t *answer,
                        svl_fault_t *fault, apr_pool_t *p);

/** Turns a failure of the log into the refusal that a caller sees. */
apr_status_t svl_invoke_store_fault(apr_status_t rv, const svl_node_t *node, svl_fault_t *fault, apr_pool_t *p);

#endif

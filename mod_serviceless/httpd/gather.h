/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/gather.h
 * @brief A call with reply `all`: it goes from here straight to each node of its set, in parallel, and each tells how it ended there.
 *
 * The own run is on a run thread meanwhile, so that no function, here or elsewhere, holds the answer past the deadline.  What was not
 * delivered is left to sync; should this process end before all were asked, the others relay the call.
 */
#ifndef SVL_HTTPD_GATHER_H
#define SVL_HTTPD_GATHER_H

#include "../core/outcome.h"
#include "invoke.h"

/** What all nodes have to say. */
typedef struct svl_gathered_t {
    svl_answer_t answer;     /**< this node's; accepted when it is not in the set */
    svl_outcome_t *outcomes; /**< one a node of the set, in the fleet's order */
    apr_size_t count;
} svl_gathered_t;

/** Accepts a call, runs it here, asks every other node of its set, and returns when all have answered or the request's timeout (0: the
 * function's) is over.  A call that was accepted before is asked about again: nothing runs twice.
 * @param key as for svl_invoke
 * @return as svl_invoke; also SVL_EREFUSED with SVL_REASON_BUSY when too many wait so (await.h) */
apr_status_t svl_gather(svl_runtime_t *runtime, const svl_call_request_t *request, const svl_key_t *key, svl_gathered_t *all,
                        svl_fault_t *fault, apr_pool_t *p);

/** @return the object of all outcomes, as JSON text, at most about SVL_OUTCOME_ALL_MAX bytes together with the own result */
const char *svl_gather_text(const svl_gathered_t *all, apr_pool_t *p, apr_size_t *length);

/** The child is leaving: those who wait get what there is, at once, and later ones nothing. */
void svl_gather_abort(svl_runtime_t *runtime);

#endif

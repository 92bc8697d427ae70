/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/loss.h
 * @brief Calls that this node will never get: they are counted and logged, and each function that asked for it is told how many.
 *
 *   svl_loss_give_up ──> one transaction: numbers covered, an entry for each function ──> svl_runs_push(NULL) ──> svl_loss_tell
 *                                                                        a crash: svl_recover_turn ──^
 *
 * The entry for a function of scope child is for every child to read (children.h), and is settled when all are through.
 */
#ifndef SVL_HTTPD_LOSS_H
#define SVL_HTTPD_LOSS_H

#include "runtime.h"

/** Gives numbers up and has the functions told, by the run threads.
 * @param always nonzero: they are told even when nothing was missed
 * @param missed how many calls in all
 * @return as svl_store_give_up */
apr_status_t svl_loss_give_up(svl_runtime_t *runtime, svl_store_loss_t *losses, apr_uint32_t count, int always,
                              apr_uint64_t *missed, apr_pool_t *p);

/** @return the function that an entry of svl_store_give_up is to tell; NULL: nobody, or it is not here (any more) */
const svl_function_t *svl_loss_function(const svl_node_t *node, const char *text, apr_size_t length, apr_pool_t *p);

/** Tells that function how many calls were missed.  Without the function there is nobody to tell. */
void svl_loss_tell(svl_runtime_t *runtime, const char *text, apr_size_t length, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/runs_private.h
 * @brief What the files of the run threads share; nobody else includes it.
 */
#ifndef SVL_HTTPD_RUNS_PRIVATE_H
#define SVL_HTTPD_RUNS_PRIVATE_H

#include "run.h"

#define SVL_RUNS_TAKE_MAX 64                  /**< runs taken at once; their outcomes share a commit */
#define SVL_RUNS_RERUN (APR_UINT64_C(1) << 63) /**< of a position: an earlier run was cut short */

/** What a thread took from one lane. */
typedef struct svl_runs_batch_t {
    svl_runtime_t *runtime;
    const svl_function_t *function; /**< NULL: that of each call */
    int telling;                    /**< nonzero: no calls, but functions to be told of missed ones */
    const apr_uint64_t *positions;
    apr_uint32_t count;             /**< at most SVL_RUNS_TAKE_MAX */
    /* out */
    apr_uint32_t done;              /**< so many, from the first, are dealt with; for the others the log failed: they are to be tried again */
    apr_int64_t longest;            /**< microseconds of a run, at least 1; 0: none ran */
} svl_runs_batch_t;

/** Runs them one after the other, and records how they ended. */
void svl_runs_batch_run(svl_runs_batch_t *batch, apr_pool_t *p);

#endif

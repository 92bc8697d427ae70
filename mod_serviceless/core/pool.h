/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/pool.h
 * @brief Pools for threads.
 */
#ifndef SVL_CORE_POOL_H
#define SVL_CORE_POOL_H

#include <apr_pools.h>

/** A pool of no parent, for one thread.  As with httpd's own pools a lack of memory ends the process with a line on standard error: what it
 * had accepted is in the log. */
void svl_pool_make(apr_pool_t **pool);

/** For a process that only tries something out: @a handler is called for a lack of memory instead, for all pools of this file.  It must end
 * the process. */
void svl_pool_on_lack(apr_abortfunc_t handler);

/** A pool of no parent, whose allocator has a mutex, so that threads may make sub-pools of it.  Neither the caller's pool nor apr_terminate
 * frees it: a thread that cannot be stopped keeps its memory to the end of the process.
 * @return APR_SUCCESS or APR_ENOMEM; later a lack of memory ends the process, as above */
apr_status_t svl_pool_create(apr_pool_t **pool);

/** Keeps for reuse at most what a pool of svl_pool_create keeps, when a pool of svl_pool_make is to live long. */
void svl_pool_modest(apr_pool_t *pool);

#endif

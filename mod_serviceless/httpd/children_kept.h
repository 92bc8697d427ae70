/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/children_kept.h
 * @brief How runs of scope child ended in this process, for the thread that answers for them: any thread of the child may have run them.
 *
 * Kept are results of entries that this process accepted, until they are settled; and, since an entry may run before the thread that
 * accepts it knows its position, all results while any thread expects one.
 */
#ifndef SVL_HTTPD_CHILDREN_KEPT_H
#define SVL_HTTPD_CHILDREN_KEPT_H

#include "run.h"

typedef struct svl_kept_t svl_kept_t;

apr_status_t svl_kept_create(svl_kept_t **kept, apr_pool_t *p);

/** Around accepting. */
void svl_kept_expect(svl_kept_t *kept);
void svl_kept_expected(svl_kept_t *kept);

/** Within that: this process accepted it.  @param users who will call svl_kept_forget */
void svl_kept_own(svl_kept_t *kept, apr_uint64_t position, int users);

/** It ran in this process. */
void svl_kept_ran(svl_kept_t *kept, apr_uint64_t position, const svl_run_t *run);

/**
 * @param run receives it, without `result`, allocated from @a p; NULL: not asked for, nor is @a p then
 * @return 0: it did not run in this process, or it is nobody's here to answer for
 */
int svl_kept_find(svl_kept_t *kept, apr_uint64_t position, svl_run_t *run, apr_pool_t *p);

/** One of its users is through with it. */
void svl_kept_forget(svl_kept_t *kept, apr_uint64_t position);

#endif

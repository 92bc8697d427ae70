/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/children_private.h
 * @brief What the files of scope child share; nobody else includes it.
 */
#ifndef SVL_HTTPD_CHILDREN_PRIVATE_H
#define SVL_HTTPD_CHILDREN_PRIVATE_H

#include "children.h"
#include "shared.h"

typedef struct svl_children_t {
    apr_thread_mutex_t *lock; /* whoever has it catches up */
    svl_shared_cursor_t *cursor;
    int failed;       /* the log could not be read, and that was logged */
    apr_time_t until; /* atomic; monotonic: longest that requests wait for what runs; 0: nothing does */
    apr_time_t told;  /* atomic; the one of these for which it was logged that they do not wait any more */
} svl_children_t;

/** With the lock: runs what is new, unless the child is leaving.
 * @param open nonzero: in a request's thread of prefork
 * @return APR_SUCCESS when nothing is left; APR_EAGAIN: the child is leaving; or the log failed (logged once) */
apr_status_t svl_children_run(svl_runtime_t *runtime, int open);

/** @return nonzero when this thread is inside of that */
int svl_children_inside(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/maintain.h
 * @brief The maintenance thread of a child: each second it flushes, and, where this child leads, probes; and it is the one that leaves.
 */
#ifndef SVL_HTTPD_MAINTAIN_H
#define SVL_HTTPD_MAINTAIN_H

#include "runtime.h"

/** child_init, once the nodes are open: starts the thread.
 * @param runtimes svl_runtime_t *, of @a pool; may grow up to what it has room for  @param pool outlives pchild: nothing in it is freed before the process ends
 * @param main the thread of prefork's child, which its stop signals are for; NULL: the MPM has threads
 * @return APR_SUCCESS, or why there is no thread */
apr_status_t svl_maintain_start(const apr_array_header_t *runtimes, apr_pool_t *pool, const pthread_t *main);

/** child_stopping: the MPM told this child to leave. */
void svl_maintain_told(int graceful);

/** The pre-cleanup of pchild that is to run before all others, of other modules as well: a child that ends gracefully has waited for its
 * requests, of which the MPM knows; this waits likewise, a minute at most, for clients' calls that came over links. */
apr_status_t svl_maintain_wait(void *unused);

/** The pre-cleanup of pchild: within two seconds everything has ended, or the process ends without it.  Prefork calls it inside a signal
 * handler, whose interrupted code may hold malloc's lock or httpd's: so the work is done by the maintenance thread, and this only waits. */
apr_status_t svl_maintain_leave(void *unused);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/await.h
 * @brief Waiting for the outcome of a call, at most until a deadline; and how many may wait at the same time.
 *
 *   svl_await_enter ──> svl_await_outcome <── svl_await_wake (by who recorded outcomes) ──> svl_await_leave
 *
 * Waiters look at the log after they have entered the list, and who records an outcome looks at the list after it is committed: so none is
 * missed.  An outcome that another process records wakes nobody here: that is found by looking again.
 */
#ifndef SVL_HTTPD_AWAIT_H
#define SVL_HTTPD_AWAIT_H

#include "../core/outcome.h"
#include "runtime.h"

/** In a child, after fork: fills runtime->await. */
apr_status_t svl_await_create(svl_runtime_t *runtime, apr_pool_t *p);

/** Asks to keep a worker of this server waiting: at most a quarter of them may, so that the others relay, sync and answer whatever the
 * functions do.  Of a child with threads it is a quarter of its own; of prefork's children a quarter of all.
 * @return 0: too many wait already; else svl_await_leave has to follow */
int svl_await_enter(svl_runtime_t *runtime);
void svl_await_leave(svl_runtime_t *runtime);

/** Waits for the outcome of an accepted call, until there is one, or @a until, or svl_await_abort.
 * @param until of svl_transport_monotonic
 * @param open nonzero: the caller has blocked prefork's stop signals, and they are let in between two looks
 * @param outcome of @a p; all but `node`: pending when there is none yet; unknown, with a detail, when the log does not say
 * @return APR_SUCCESS; APR_NOTFOUND when the log does not hold the call any more; or the log failed */
apr_status_t svl_await_outcome(svl_runtime_t *runtime, apr_uint64_t position, apr_time_t until, int open,
                               svl_outcome_t *outcome, apr_pool_t *p);

/** @return why it is pending still, in words; of a function that every child runs, how many have */
const char *svl_await_detail(svl_runtime_t *runtime, const svl_function_t *function, apr_uint64_t position, apr_pool_t *p);

/** The child is leaving: nobody waits any longer. */
void svl_await_abort(svl_runtime_t *runtime);

/** Outcomes were recorded by this process.  Costs one atomic load when nobody waits. */
void svl_await_wake(svl_runtime_t *runtime, const svl_store_outcome_t *outcomes, apr_uint32_t count);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/drain.h
 * @brief What a child that leaves does with its runs and transfers: it lets them end, for a bounded time.
 */
#ifndef SVL_HTTPD_DRAIN_H
#define SVL_HTTPD_DRAIN_H

#include "runtime.h"

#define SVL_DRAIN_WAIT apr_time_from_sec(2)     /**< longest that a leaving child waits for its runs and transfers */
#define SVL_DRAIN_ABORT apr_time_from_msec(250) /**< the end of that time, for transfers that were aborted */

/** Returns when nothing runs or is transferred any more, or when the time is over; then it is logged what was left.
 * @param runtimes svl_runtime_t *  @param deadline as apr_time_now() counts */
void svl_drain(const apr_array_header_t *runtimes, apr_time_t deadline);

/** Commits what waits for it: the ends of runs. */
void svl_drain_flush(const apr_array_header_t *runtimes);

#endif

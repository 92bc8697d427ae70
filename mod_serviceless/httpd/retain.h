/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/retain.h
 * @brief How long calls are kept, and may wait: by this node's clock, checked against those of its peers (core/clock.h).
 */
#ifndef SVL_HTTPD_RETAIN_H
#define SVL_HTTPD_RETAIN_H

#include "runtime.h"

/** One turn of the maintenance thread of the leading child: looks at the clocks, and forgets the oldest calls that the retention is over
 * for, some of them a turn, and now and then streams of superseded epochs. */
void svl_retain_turn(svl_runtime_t *runtime);

/** @return calls that were issued before this, microseconds since 1970, are past the retention */
apr_time_t svl_retain_since(const svl_node_t *node, apr_time_t now);

/** @return calls that were to run before this, microseconds since 1970, have expired: a clock that jumps ahead is not believed */
apr_time_t svl_retain_due(const svl_node_t *node, apr_time_t now);

/** @return what a call that arrives @a now by the own clock is stamped with: later, when the clock was set back */
apr_time_t svl_retain_stamp(const svl_node_t *node, apr_time_t now);

#endif

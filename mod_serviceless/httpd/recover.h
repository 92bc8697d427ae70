/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/recover.h
 * @brief What children that are gone left undone is taken over, and what waited too long is ended, by the child that leads.
 */
#ifndef SVL_HTTPD_RECOVER_H
#define SVL_HTTPD_RECOVER_H

#include "runtime.h"

#define SVL_RECOVER_ATTEMPTS 2 /**< times that a run is begun again after a crash; then the call is quarantined */

/** One turn of the maintenance thread of the leading child: takes over what dead owners left, some of it a turn.  Calls of functions that
 * are not loaded stay in the log until they are, or expire. */
void svl_recover_turn(svl_runtime_t *runtime, apr_time_t now);

/** One turn of the same thread: ends calls as expired that wait for a function that is not loaded, some of them a turn. */
void svl_recover_expire(svl_runtime_t *runtime, apr_time_t now);

/** Runs a call that is new to the log, but may have run before that was lost: as a rerun, or not at all where the function asks for that.
 * @return nonzero when it is quarantined */
int svl_recover_refilled(svl_runtime_t *runtime, const svl_function_t *function, apr_uint64_t position);

/** Writes how many of one message were, unless none was. */
void svl_recover_tell(const svl_runtime_t *runtime, apr_uint32_t quarantined);

/** One turn of the same thread: goes on with logging calls of a superseded epoch anew (store/epoch.h). */
void svl_recover_epoch(svl_runtime_t *runtime);

#endif

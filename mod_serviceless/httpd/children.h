/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/children.h
 * @brief Scope child: what every child process runs.  The log is the queue: each child has a cursor into it (place.h).
 *
 *   accepted ──> svl_children_took ──> every child catches up: before its next request, or in a thread that is woken
 *                        └──> svl_runs_push ──> svl_children_settle, until all are through ──> outcome
 *
 * The entry's outcome is that of the child which accepted it, once all children are through; a child in which it fails records that at
 * once, and the first outcome stands.
 */
#ifndef SVL_HTTPD_CHILDREN_H
#define SVL_HTTPD_CHILDREN_H

#include "run.h"

/** child_init, before any log is opened: what is accepted from now on is news to this child. */
void svl_children_start(apr_pool_t *pchild);

/** When a log has been opened. */
apr_status_t svl_children_create(struct svl_children_t **children, svl_runtime_t *runtime, apr_pool_t *p);

/** When the node takes calls in this child: from now on it is waited for. */
void svl_children_begin(svl_runtime_t *runtime);

/** Runs in this child, in order of position, what every child is to run and this one has not yet.  One thread does; others wait for it.
 * Inside of such a run it does nothing. */
void svl_children_catch_up(svl_runtime_t *runtime);

/** The post_read_request hook's work: the same for all nodes.  One atomic load when there is nothing new.  A function that takes longer than its
 * timeout is not waited for any more, and the endpoint's requests wait for none. */
void svl_children_before_request(const request_rec *r);

/** The same for a client's call, once it is verified. */
void svl_children_before_call(void);

/** The maintenance thread, each second: starts the thread that catches up while no request comes, if there are functions for it and it
 * could not be had so far; and wakes it where nobody else did. */
void svl_children_turn(void);

/** Nothing is begun any more: no request comes that would see it; and at an ungraceful stop the MPM closes files under the thread. */
void svl_children_leave(void);

/** @return nonzero when svl_children_leave was called */
int svl_children_left(void);

/** The maintenance thread of the leading child: publishes what is listed in the log and was not published, as by a process that ended in
 * between, or one of the last generation that knows another segment. */
void svl_children_watch(svl_runtime_t *runtime);

/** Around accepting calls that every child is to run: results of this child's runs meanwhile are kept for svl_children_took. */
void svl_children_expect(svl_runtime_t *runtime);
void svl_children_expected(svl_runtime_t *runtime);

/** Tells all children of an entry that is in the log, if nobody has. */
void svl_children_announce(svl_runtime_t *runtime, apr_uint64_t position);

/** An entry was accepted by this process: tells all children of it, and has its outcome settled.
 * @param ask nonzero: svl_children_result will be called for it, once */
void svl_children_took(svl_runtime_t *runtime, const svl_function_t *function, apr_uint64_t position, int ask);

/** How the run of such an entry ended in this child.  @return 0: it has not run here (yet) */
int svl_children_result(svl_runtime_t *runtime, apr_uint64_t position, svl_run_t *run, apr_pool_t *p);

/** For the run threads: the outcome of an entry, once all children are through.  Waits for that, but not for long.
 * @param function NULL: an entry that tells of missed calls
 * @return APR_EAGAIN: not yet; a failure of the log */
apr_status_t svl_children_settle(svl_runtime_t *runtime, const svl_function_t *function, apr_uint64_t position, svl_run_t *run,
                                 apr_pool_t *p);

/** @return "7 of 8 children have run it so far"; NULL: it is no function (NULL: unknown) that every child runs */
const char *svl_children_progress(const svl_node_t *node, const svl_function_t *function, apr_uint64_t position, apr_pool_t *p);

#endif

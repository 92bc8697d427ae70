/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/run.h
 * @brief Running calls: inline at the origin, else by a child's run threads, or in their place by the thread that has accepted them, as long as
 * another one can do what else that has to do: so that a slow function delays nobody else's.
 */
#ifndef SVL_HTTPD_RUN_H
#define SVL_HTTPD_RUN_H

#include "runtime.h"

#define SVL_RUN_THREADS 32         /**< that run at the same time in a child, but for those that run inline; started when needed */
#define SVL_RUN_QUEUE_MAX 1000000  /**< runs waiting for one function in a child; beyond it messages are answered busy */

/** Attempts from which on a call is suspected to be what ends processes: it waits until no other rerun is left. */
#define SVL_RUN_SUSPECT 2

/** How one run ended. */
typedef struct svl_run_t {
    svl_outcome_e outcome;
    json_t *result;       /**< a reference of the run's pool; NULL: null */
    const char *text;     /**< ok: the result's JSON (NULL: null); else words, or NULL */
    apr_size_t length;
    apr_int64_t micros;
    apr_time_t ended;
} svl_run_t;

/** Runs a call in the calling thread; counts it.
 * @param rerun nonzero: an earlier run here was cut short
 * @param p what the outcome is allocated from  @param run_pool the call's pool
 * @return APR_SUCCESS, however the function ended; else nothing ran, and there is no outcome: APR_NOTFOUND when nothing is to be run there
 *         (any more), or the log failed, so that it is to be tried again */
apr_status_t svl_run_call(svl_runtime_t *runtime, const svl_function_t *function, const svl_call_line_t *call,
                          apr_uint64_t position, int rerun, svl_run_t *run, apr_pool_t *p, apr_pool_t *run_pool);

/** Around code of a companion that the calling thread runs for a call. */
void svl_run_enter(void);
void svl_run_leave(void);

/** @return nonzero in such code: a run that waited for the runs of other nodes could wait for itself, by way of them */
int svl_run_inside(void);

typedef struct svl_runs_t svl_runs_t;

/** In a child, after fork.  Starts no thread until there is something to run. */
apr_status_t svl_runs_create(svl_runs_t **runs, svl_runtime_t *runtime, apr_pool_t *p);

/** @return nonzero when @a function may be given more runs */
int svl_runs_room(svl_runs_t *runs, const svl_function_t *function);

/** Queues the run of an accepted entry, or, without @a function, of one that tells a function of missed calls (loss.h).  Never waits for a
 * run.
 * @param attempts how many earlier runs here were cut short, or may have been */
void svl_runs_push(svl_runs_t *runs, const svl_function_t *function, apr_uint64_t position, unsigned int attempts);

/** The same for calls that came together, and were not begun before.
 * @param turn NULL; or set to nonzero where they take microseconds, as far as is known, nothing waits for the disk, and a thread would have
 * to be woken for them: then it is not, and the caller is to do its turn soon, or to leave it after all */
void svl_runs_push_all(svl_runs_t *runs, const svl_function_t *function, const apr_uint64_t *positions, int count, int *turn);

/** A turn of a run thread, which is not woken, since the caller has nothing else to do.  Runs some calls of one function, not always those that
 * were pushed: a few hundred microseconds, as far as is known.  But any of them may hang. */
void svl_runs_turn(svl_runs_t *runs);

/** Leaves the turn to a run thread. */
void svl_runs_turn_leave(svl_runs_t *runs);

/** Starts a thread where one is wanted and could not be had before.  The maintenance thread calls it each second. */
void svl_runs_poke(svl_runs_t *runs);

/** From now on only what is likely to end by @a deadline, or by an earlier one of an earlier call, begins; the rest stays pending in the log.
 */
void svl_runs_leave(svl_runs_t *runs, apr_time_t deadline);

/** After svl_runs_leave.  Waits at most until @a deadline for what runs and for what may still begin.  Threads and memory stay: the process
 * ends.
 * @return APR_SUCCESS, or APR_TIMEUP: threads still run */
apr_status_t svl_runs_stop(svl_runs_t *runs, apr_time_t deadline);

#endif

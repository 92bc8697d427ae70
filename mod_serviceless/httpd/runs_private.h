/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/runs_private.h
 * @brief What the files of the run threads share; nobody else includes it.
 */
#ifndef SVL_HTTPD_RUNS_PRIVATE_H
#define SVL_HTTPD_RUNS_PRIVATE_H

#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>

#include "../transport/crew.h"
#include "run.h"

#define SVL_RUNS_TAKE_MAX 128                  /**< runs taken at once; their outcomes share a commit */
#define SVL_RUNS_RERUN (APR_UINT64_C(1) << 63) /**< of a position: an earlier run was cut short */

#define SVL_RUNS_TAKE_MICROS 1000 /**< of runs that a thread takes at once */
#define SVL_RUNS_QUICK_MICROS 200 /**< likewise, where it has something else to do */

#define SVL_RUNS_CROWDED_WAIT 2000 /**< microseconds after which a run that is usually short is taken to hang */
#define SVL_RUNS_KEPT (1 << 20)    /**< bytes that a child keeps for runs to come; giving pages back disturbs all its threads */

/** The runs of one function that wait. */
typedef struct svl_runs_lane_t {
    const svl_function_t *function; /* NULL: functions are told of missed calls */
    apr_uint64_t *positions;        /* a ring */
    apr_uint32_t room, head, count;
    int running;      /* threads in it */
    int stalled;      /* the log failed for what was taken last: not before the next poke */
    apr_int64_t mean; /* microseconds of a run, moving; 0: not known */
} svl_runs_lane_t;

/** A thread in its turn. */
typedef struct svl_runs_place_t {
    int taken;
    const svl_runs_lane_t *lane; /* where it runs something; NULL: nowhere */
    apr_time_t since;            /* it does, monotonic */
} svl_runs_place_t;

struct svl_runs_t {
    svl_runtime_t *runtime;
    apr_thread_mutex_t *lock;
    apr_thread_cond_t *idle; /* a thread went idle */
    svl_crew_t *crew;
    svl_runs_lane_t *lanes; /* by svl_function_t.index; then one for telling of missed calls, and one for suspects */
    apr_uint32_t count;
    apr_uint32_t next; /* lane to look at first */
    int busy;          /* threads that run, or were asked to, or have a turn to do */
    int inside;        /* threads in a lane */
    int reruns;        /* first ones, of all lanes: waiting or running */
    apr_time_t moved;  /* when a rerun was last taken or ended, monotonic */
    apr_time_t leave;  /* deadline of a child that leaves; 0: it does not */
    int stopping;
    apr_pool_t *pool; /* of the threads' pools */
    svl_runs_place_t places[SVL_RUN_THREADS];
    apr_thread_cond_t *never; /* nobody signals it */
    int watching;             /* a thread waits for what is crowded to hang, or to come back */
};

/** What a thread took from one lane. */
typedef struct svl_runs_batch_t {
    svl_runtime_t *runtime;
    const svl_function_t *function; /**< NULL: that of each call */
    int telling;                    /**< nonzero: no calls, but functions to be told of missed ones */
    const apr_uint64_t *positions;
    apr_uint32_t count; /**< at most SVL_RUNS_TAKE_MAX */
    /* out */
    apr_uint32_t done; /**< so many, from the first, are dealt with; the others are to be tried again, since the log failed */
    apr_int64_t spent; /**< microseconds, of those that ran */
    apr_uint32_t ran;
} svl_runs_batch_t;

/** Runs them one after the other, and records how they ended. */
void svl_runs_batch_run(svl_runs_batch_t *batch, apr_pool_t *p);

/* runs_lane.c; with the lock */
svl_runs_lane_t *svl_runs_lane_of(svl_runs_t *runs, const svl_function_t *function);
/** @return the lane of calls that two processes died of */
svl_runs_lane_t *svl_runs_suspects(const svl_runs_t *runs);
/** @return 0: there is no memory */
int svl_runs_lane_push(svl_runs_lane_t *lane, apr_uint64_t position);
/** @return nonzero when one more thread may run something of it */
int svl_runs_lane_wants(const svl_runs_t *runs, const svl_runs_lane_t *lane);
/** @return nonzero when one more thread would be of no use now */
int svl_runs_lane_crowded(const svl_runs_t *runs, const svl_runs_lane_t *lane);
/** @return nonzero when so many runs of it take less time than to wake a thread for them, as far as is known */
int svl_runs_lane_quick(const svl_runs_lane_t *lane, apr_int64_t count);
/** @param quick nonzero: only of those in which a run is quick  @return the next one that may run and is not crowded, or NULL */
svl_runs_lane_t *svl_runs_lane_next(svl_runs_t *runs, int quick);
/** @return how many of these positions, taken from the lane, are first reruns */
int svl_runs_count_reruns(const svl_runs_t *runs, const svl_runs_lane_t *lane, const apr_uint64_t *positions,
                          apr_uint32_t count);
/** @param micros as many as run in about this time; 0: one  @return how many were taken */
apr_uint32_t svl_runs_lane_take(svl_runs_lane_t *lane, apr_int64_t micros, apr_uint64_t *positions);

#endif

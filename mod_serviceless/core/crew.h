/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/crew.h
 * @brief Threads that do one work, each time they are asked to.
 *
 * apr_thread_pool counts a thread as idle until it has woken, so tasks that come meanwhile wait behind the one that it was woken for: a peer
 * that hangs, or a function that takes long, would delay what could run beside it.  Here each turn that is asked for has a thread of its own,
 * until all are at work.
 */
#ifndef SVL_CORE_CREW_H
#define SVL_CORE_CREW_H

#include <apr_pools.h>

typedef struct svl_crew_t svl_crew_t;

/** One turn. */
typedef void svl_crew_work_t(void *baton);

/**
 * @brief Makes a crew, without a thread yet: they are started when needed, and stay.
 * @param most threads
 * @param p must live until svl_crew_end, or until the process ends
 */
apr_status_t svl_crew_create(svl_crew_t **crew, int most, svl_crew_work_t *work, void *baton, apr_pool_t *p);

/**
 * @brief Asks for one turn; never waits for it.  When all threads are at work, or no further one can be started, it is the next of who comes
 * back first.
 * @return why there is no thread at all; then there is no turn
 */
apr_status_t svl_crew_ask(svl_crew_t *crew);

/** @brief Ends the threads, of which none may be at work; turns that have not begun are given up. */
void svl_crew_end(svl_crew_t *crew);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/crew.h
 * @brief Threads that do one work, each time they are asked to.
 *
 * apr_thread_pool counts a thread as idle until it has woken, so tasks that come meanwhile wait behind the one that it was woken for: a peer
 * that hangs, or a function that takes long, would delay what could run beside it.  Here each turn that is asked for has a thread of its own,
 * until all are at work, or no further one can be started.
 */
#ifndef SVL_TRANSPORT_CREW_H
#define SVL_TRANSPORT_CREW_H

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
 * @brief Asks for one turn; never waits for it.  When all threads are at work, it is the next of who comes back first, and so where no further
 * one can be started, which is tried again with a later turn or poke, once a second.
 * @return why there is no thread at all; then there is no turn
 */
apr_status_t svl_crew_ask(svl_crew_t *crew);

/** @brief Likewise, but there is no turn that would have to wait for another one's end.  @return APR_SUCCESS, or why there is none */
apr_status_t svl_crew_ask_at_once(svl_crew_t *crew);

/**
 * @brief Sees to it that so many threads have no turn, and are sure to be there for the next ones; starts what is missing.
 * @return 0: there are fewer, and more cannot be started
 */
int svl_crew_spare(svl_crew_t *crew, int wanted);

/** @brief Tries to start the threads that turns were asked for and could not be started.  The maintenance thread calls it each second. */
void svl_crew_poke(svl_crew_t *crew);

/** @brief Ends the threads, and waits for those that are at work; turns that have not begun are given up. */
void svl_crew_end(svl_crew_t *crew);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/alarm.h
 * @brief A thread that does one work a little after it was asked to.
 *
 * Whoever asks wakes nobody: the kernel does, when it is time.  So it costs the caller and the processors less than a thread that is woken to
 * wait, and what was asked for meanwhile is done at one time.
 */
#ifndef SVL_TRANSPORT_ALARM_H
#define SVL_TRANSPORT_ALARM_H

#include <apr_pools.h>
#include <apr_time.h>

typedef struct svl_alarm_t svl_alarm_t;

/** In the alarm's own thread; may set the alarm again.  While it works the next time waits. */
typedef void svl_alarm_work_t(void *baton);

/**
 * @brief Makes an alarm, without a thread yet: it is started when needed, and stays.
 * @param p must live until svl_alarm_end, or until the process ends
 */
apr_status_t svl_alarm_create(svl_alarm_t **alarm, svl_alarm_work_t *work, void *baton, apr_pool_t *p);

/**
 * @brief Has the work done in @a delay (microseconds, above 0), or earlier if it was set to that and has not begun.  Never waits.
 * Callers take turns.
 * @return APR_SUCCESS, or why it cannot be; then it is not
 */
apr_status_t svl_alarm_set(svl_alarm_t *alarm, apr_interval_time_t delay);

/** @brief Ends the thread, and waits for it if it is at work; what it was set to is given up. */
void svl_alarm_end(svl_alarm_t *alarm);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "alarm.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/timerfd.h>
#endif

#include "crew.h"
#include "transport.h"

struct svl_alarm_t {
    svl_crew_t *crew; /* of one, whose only turn lasts until the end */
    svl_alarm_work_t *work;
    void *baton;
    int timer;      /* descriptor; -1: not needed yet, or there was none to be had */
    int asked;      /* of the crew */
    int set;        /* atomic */
    apr_time_t due; /* monotonic; when it rings, if it is set */
    int ending;     /* atomic */
    int gone;       /* atomic; nonzero: the thread is */
};

#ifdef __linux__
static apr_status_t prepare(svl_alarm_t *alarm)
{
    apr_status_t rv = APR_SUCCESS;

    if (alarm->timer < 0) {
        alarm->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    }
    if (alarm->timer < 0) {
        return errno;
    }
    if (!alarm->asked) {
        rv = svl_crew_ask(alarm->crew);
        alarm->asked = rv == APR_SUCCESS;
    }
    return rv;
}

static apr_status_t ring_in(const svl_alarm_t *alarm, apr_interval_time_t delay)
{
    const struct itimerspec once = {.it_value = {.tv_sec = apr_time_sec(delay), .tv_nsec = 1000 * apr_time_usec(delay)}};

    return timerfd_settime(alarm->timer, 0, &once, NULL) == 0 ? APR_SUCCESS : errno;
}
#else
static apr_status_t prepare(svl_alarm_t *alarm)
{
    (void)alarm;
    return APR_ENOTIMPL;
}

static apr_status_t ring_in(const svl_alarm_t *alarm, apr_interval_time_t delay)
{
    (void)alarm;
    (void)delay;
    return APR_ENOTIMPL;
}
#endif

static void turn(void *baton)
{
    svl_alarm_t *alarm = baton;
    apr_uint64_t times;

    for (;;) {
        if (read(alarm->timer, &times, sizeof(times)) < 0 && errno != EINTR) {
            __atomic_store_n(&alarm->gone, 1, __ATOMIC_RELEASE);
            return; /* only if another module closed it: what is set is lost */
        }
        if (__atomic_load_n(&alarm->ending, __ATOMIC_ACQUIRE)) {
            return;
        }
        if (__atomic_exchange_n(&alarm->set, 0, __ATOMIC_ACQ_REL)) {
            alarm->work(alarm->baton);
        }
    }
}

apr_status_t svl_alarm_create(svl_alarm_t **alarm, svl_alarm_work_t *work, void *baton, apr_pool_t *p)
{
    svl_alarm_t *made = apr_pcalloc(p, sizeof(*made));

    made->work = work;
    made->baton = baton;
    made->timer = -1;
    *alarm = made;
    return svl_crew_create(&made->crew, 1, turn, made, p);
}

apr_status_t svl_alarm_set(svl_alarm_t *alarm, apr_interval_time_t delay)
{
    apr_time_t due = svl_transport_monotonic() + delay;
    apr_status_t rv;

    if (__atomic_load_n(&alarm->gone, __ATOMIC_ACQUIRE) || __atomic_load_n(&alarm->ending, __ATOMIC_ACQUIRE)) {
        return APR_EOF;
    }
    if (__atomic_load_n(&alarm->set, __ATOMIC_ACQUIRE) && alarm->due <= due) {
        return APR_SUCCESS;
    }
    rv = prepare(alarm);
    if (rv == APR_SUCCESS) {
        alarm->due = due;
        __atomic_store_n(&alarm->set, 1, __ATOMIC_RELEASE);
        rv = ring_in(alarm, delay);
        if (rv != APR_SUCCESS) {
            __atomic_store_n(&alarm->set, 0, __ATOMIC_RELEASE);
        }
    }
    return rv;
}

void svl_alarm_end(svl_alarm_t *alarm)
{
    __atomic_store_n(&alarm->ending, 1, __ATOMIC_RELEASE);
    if (alarm->timer >= 0) {
        ring_in(alarm, 1);
    }
    svl_crew_end(alarm->crew);
    if (alarm->timer >= 0) {
        close(alarm->timer);
    }
}

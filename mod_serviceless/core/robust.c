/* SPDX-License-Identifier: Apache-2.0 */
#include "robust.h"

#include <errno.h>
#include <time.h>

#define AGAIN_NS 100000000 /* before somebody who waits looks whether the lock is free */

int svl_robust_make(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);
    if (error) {
        return error;
    }
    error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (!error) {
        error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    }
    if (!error) {
        error = pthread_mutex_init(lock, &attributes);
    }
    pthread_mutexattr_destroy(&attributes);
    return error;
}

#if defined(__SANITIZE_THREAD__) /* which knows this one only */
#define CLOCK CLOCK_REALTIME
static int lock_by(pthread_mutex_t *lock, const struct timespec *until)
{
    return pthread_mutex_timedlock(lock, until);
}
#elif defined(__GLIBC__) && __GLIBC_PREREQ(2, 30)
#define CLOCK CLOCK_MONOTONIC
static int lock_by(pthread_mutex_t *lock, const struct timespec *until)
{
    return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, until);
}
#else
#define CLOCK CLOCK_MONOTONIC
static int lock_by(pthread_mutex_t *lock, const struct timespec *until)
{
    (void)until;
    return pthread_mutex_lock(lock);
}
#endif

/* An unlock wakes one that waits.  If that one is killed before it has the lock, the kernel wakes the next one; but not where a third one took
 * the lock in between, who does not know that anybody waits. */
int svl_robust_lock(pthread_mutex_t *lock)
{
    struct timespec until;
    int error = pthread_mutex_trylock(lock);
    while (error == EBUSY || error == ETIMEDOUT) {
        clock_gettime(CLOCK, &until);
        until.tv_nsec += AGAIN_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        error = lock_by(lock, &until);
    }
    return error;
}

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/robust.h
 * @brief Locks of several processes, which one that was killed leaves to the others.
 */
#ifndef SVL_CORE_ROBUST_H
#define SVL_CORE_ROBUST_H

#include <pthread.h>

/** Makes a lock in memory that processes share.  Who takes it after its holder died gets EOWNERDEAD, and must say pthread_mutex_consistent.
 * @return 0 or an error of the system */
int svl_robust_make(pthread_mutex_t *lock);

/** Takes it.  A process that is killed may take along the wake-up that was meant for another one, so nobody relies on being woken.
 * @return 0, EOWNERDEAD, or an error of the system */
int svl_robust_lock(pthread_mutex_t *lock);

#endif

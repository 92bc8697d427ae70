/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/guard.h
 * @brief Sections that a stop signal must not interrupt.
 *
 * Prefork's children destroy their pools inside the handler of SIGTERM and SIGHUP, which does not return; and our cleanups, run from there,
 * take the locks that the interrupted code may hold.  So what handles a call in a request's thread, locks, waits and functions, blocks
 * signals meanwhile, all but those of its own faults; maintain.c sees to what does not end then.
 *
 * In threaded MPMs no signal's handler destroys pools or does anything that these sections would have to be kept from: there
 * svl_guard_needless spares the system calls.
 */
#ifndef SVL_CORE_GUARD_H
#define SVL_CORE_GUARD_H

#include <signal.h>

/** Nonzero once it is known that the MPM is a threaded one.  Set by the child's first thread before there are others. */
extern int svl_guard_needless;

/** Blocks signals, whatever the MPM.  A thread that is started inside inherits that, so that the MPM's signals go to the MPM's threads.
 * @param before what svl_guard_restore restores */
static inline void svl_guard_block(sigset_t *before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t asked;
    sigfillset(&asked);
    for (unsigned int i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
        sigdelset(&asked, faults[i]);
    }
    pthread_sigmask(SIG_BLOCK, &asked, before);
}

static inline void svl_guard_restore(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

/** Blocks signals.  @param before what svl_guard_leave restores */
static inline void svl_guard_enter(sigset_t *before)
{
    if (!svl_guard_needless) {
        svl_guard_block(before);
    }
}

/** For what may take seconds: lets in the signal of a graceful stop, whose handler closes the listening sockets, and returns.
 * @param before what svl_guard_leave restores */
static inline void svl_guard_open(sigset_t *before)
{
    sigset_t asked;
    if (!svl_guard_needless) {
        sigemptyset(&asked);
        sigaddset(&asked, SIGUSR1);
        pthread_sigmask(SIG_UNBLOCK, &asked, before);
    }
}

static inline void svl_guard_leave(const sigset_t *before)
{
    if (!svl_guard_needless) {
        svl_guard_restore(before);
    }
}

#endif

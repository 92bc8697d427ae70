/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file t/unit/alloc.h
 * @brief A sweep: a scenario runs again and again, each time in a process of its own, while allocation number 1, 2, 3 … of that process
 * fails, until it passes without one.  Included once by a test program, whose malloc, calloc and realloc are those of all libraries.
 */
#ifndef SVL_UNIT_ALLOC_H
#define SVL_UNIT_ALLOC_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

/* How a process of a sweep ends. */
enum {
    ALLOC_PASSED = 40, /* nothing failed: the sweep is over */
    ALLOC_TOLD,        /* an allocation failed, and nobody was told anything wrong */
    ALLOC_LACK,        /* it was one of a pool's, which ends a process */
    ALLOC_WRONG        /* said on standard error */
};

/* What becomes of an allocation whose turn it is. */
typedef enum {
    ALLOC_FAILS,    /* it fails, and no other one */
    ALLOC_FAILS_ON, /* it fails, and all after it */
    ALLOC_MISLEADS  /* it succeeds, but leaves errno as if it had failed: as where one heap is full and another one is begun */
} alloc_how_e;

/* The allocator: the C library's, or a sanitizer's. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__interceptor_malloc(size_t size) __attribute__((weak));
void *__interceptor_calloc(size_t count, size_t size) __attribute__((weak));
void *__interceptor_realloc(void *block, size_t size) __attribute__((weak));

static unsigned long alloc_count;   /* since alloc_arm */
static unsigned long alloc_failing; /* the number that fails; 0: none */
static alloc_how_e alloc_how;

/* ThreadSanitizer's interceptors are weak, and give way to these before it is ready for them. */
#ifndef __SANITIZE_THREAD__
static int alloc_fails(void)
{
    unsigned long count;

    if (__atomic_load_n(&alloc_failing, __ATOMIC_RELAXED) == 0) {
        return 0;
    }
    count = __atomic_add_fetch(&alloc_count, 1, __ATOMIC_RELAXED);
    if (count < alloc_failing || (count > alloc_failing && alloc_how != ALLOC_FAILS_ON)) {
        return 0;
    }
    errno = ENOMEM;
    return alloc_how != ALLOC_MISLEADS;
}

void *malloc(size_t size)
{
    return alloc_fails() ? NULL : __interceptor_malloc ? __interceptor_malloc(size) : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return alloc_fails() ? NULL : __interceptor_calloc ? __interceptor_calloc(count, size) : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return alloc_fails() ? NULL : __interceptor_realloc ? __interceptor_realloc(block, size) : __libc_realloc(block, size);
}
#endif

/** @return nonzero after saying so: nothing can be made to fail in this build */
static inline int alloc_left_out(void)
{
#ifdef __SANITIZE_THREAD__
    puts("1..0 # SKIP SKIPPED: ThreadSanitizer's allocator cannot be replaced");
    return 1;
#else
    return 0;
#endif
}

static inline void alloc_arm(unsigned long number)
{
    alloc_count = 0;
    __atomic_store_n(&alloc_failing, number, __ATOMIC_RELAXED);
}

/* @return nonzero when it has failed */
static inline int alloc_disarm(void)
{
    int failed = alloc_failing > 0 && alloc_count >= alloc_failing;

    __atomic_store_n(&alloc_failing, 0, __ATOMIC_RELAXED);
    return failed;
}

static inline int alloc_lack(int status)
{
    (void)status;
    _exit(alloc_how == ALLOC_MISLEADS ? ALLOC_WRONG : ALLOC_LACK); /* then nothing lacked */
}

/* For use in a process of a sweep, where cmocka's own assertions would go on as a second test program. */
#define ALLOC_REQUIRE(condition)                                                                                               \
    do {                                                                                                                       \
        if (!(condition)) {                                                                                                    \
            fprintf(stderr, "# %s:%d: does not hold when allocation %lu fails: %s\n", __FILE__, __LINE__, alloc_number,        \
                    #condition);                                                                                               \
            _exit(ALLOC_WRONG);                                                                                                \
        }                                                                                                                      \
    } while (0)

static unsigned long alloc_number; /* of this process of the sweep */

/* Runs `scenario`, which arms and disarms and ends with one of the above, for allocation 1, 2, 3 …; `after` in the parent, each time.
 * @return how many allocations failed, one at a time */
static inline unsigned long alloc_sweep(const char *name, int (*scenario)(void *baton), void (*after)(void *baton), void *baton)
{
    unsigned long told = 0;

    for (alloc_number = 1;; alloc_number++) {
        int status = 0;
        pid_t pid;

        fflush(stdout);
        pid = fork();
        if (pid == 0) {
            signal(SIGSEGV, SIG_DFL); /* cmocka catches it */
            signal(SIGABRT, SIG_DFL);
            _exit(scenario(baton));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFSIGNALED(status) || WEXITSTATUS(status) < ALLOC_PASSED || WEXITSTATUS(status) >= ALLOC_WRONG) {
            fail_msg("%s: the process with allocation %lu ended with %s %d", name, alloc_number,
                     WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        }
        if (after) {
            after(baton);
        }
        if (WEXITSTATUS(status) == ALLOC_PASSED) {
            printf("# %s: %lu allocations failed, one at a time; %lu were told, the others were a pool's\n", name,
                   alloc_number - 1, told);
            return alloc_number - 1;
        }
        told += WEXITSTATUS(status) == ALLOC_TOLD;
    }
}

#endif

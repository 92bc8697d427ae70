/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <apr_time.h>

bench_place_t *bench_board(const char *path)
{
    const size_t size = BENCH_PLACES * sizeof(bench_place_t);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    void *board = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, (off_t)size) == 0) {
        board = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    return board == MAP_FAILED ? NULL : board;
}

apr_int64_t bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (apr_int64_t)now.tv_sec * APR_USEC_PER_SEC + now.tv_nsec / 1000;
}

/* Several threads may be at it: the latest stays. */
void bench_note(bench_place_t *place)
{
    apr_int64_t now = bench_now(), last = __atomic_load_n(&place->last, __ATOMIC_RELAXED);

    while (last < now && !__atomic_compare_exchange_n(&place->last, &last, now, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    __atomic_add_fetch(&place->handled, 1, __ATOMIC_RELEASE);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <apr_time.h>

#define ERASE "\r\033[K"

/* A thread of its own, because the one that waits is in libcurl.  It uses no pool. */
struct svl_cli_progress_t {
    apr_interval_time_t total; /* 0: not known */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int over; /* under the lock */
    pthread_t thread;
};

/* @return nonzero when what follows the escape character does something there */
static int obeys(int descriptor)
{
    const char *kind = getenv("TERM");

    return isatty(descriptor) && kind && *kind && strcmp(kind, "dumb") != 0;
}

int svl_cli_terminal_columns(void)
{
    struct winsize size;

    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

int svl_cli_terminal_has_colours(void)
{
    const char *unwanted = getenv("NO_COLOR"); /* https://no-color.org */

    return obeys(STDOUT_FILENO) && !(unwanted && *unwanted);
}

static void show(const svl_cli_progress_t *progress, int seconds)
{
    fprintf(stderr, ERASE "waiting for all nodes … %d s", seconds);
    if (progress->total) {
        fprintf(stderr, " of %g s", (double)progress->total / APR_USEC_PER_SEC);
    }
    fflush(stderr);
}

/* Nothing is shown in the first second: most answers are there by then. */
static void *tick(void *baton)
{
    svl_cli_progress_t *progress = baton;
    int seconds = 0;
    struct timespec next;

    clock_gettime(CLOCK_MONOTONIC, &next);
    next.tv_sec++;
    pthread_mutex_lock(&progress->lock);
    while (!progress->over) {
        if (pthread_cond_timedwait(&progress->ended, &progress->lock, &next) == ETIMEDOUT) {
            show(progress, ++seconds);
            next.tv_sec++;
        }
    }
    pthread_mutex_unlock(&progress->lock);
    if (seconds > 0) {
        fputs(ERASE, stderr);
        fflush(stderr);
    }
    return NULL;
}

svl_cli_progress_t *svl_cli_progress_begin(apr_interval_time_t total, apr_pool_t *p)
{
    svl_cli_progress_t *progress;
    pthread_condattr_t clock;

    if (!obeys(STDERR_FILENO)) {
        return NULL;
    }
    progress = apr_pcalloc(p, sizeof(*progress));
    progress->total = total;
    pthread_mutex_init(&progress->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&progress->ended, &clock);
    pthread_condattr_destroy(&clock);
    /* Without a thread there is no progress to see; the answer matters more. */
    return pthread_create(&progress->thread, NULL, tick, progress) == 0 ? progress : NULL;
}

void svl_cli_progress_end(svl_cli_progress_t *progress)
{
    if (!progress) {
        return;
    }
    pthread_mutex_lock(&progress->lock);
    progress->over = 1;
    pthread_cond_signal(&progress->ended);
    pthread_mutex_unlock(&progress->lock);
    pthread_join(progress->thread, NULL);
}

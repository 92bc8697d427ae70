/* SPDX-License-Identifier: Apache-2.0 */
#include "aside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

#include "journal.h"
#include "opening.h"
#include "running.h"

apr_status_t svl_aside_sync(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    apr_status_t status = APR_SUCCESS;

    if (fd < 0 || (fsync(fd) && errno != EINVAL)) {
        status = APR_FROM_OS_ERROR(errno);
    }
    if (fd >= 0) {
        close(fd);
    }
    return status;
}

static const char *path_aside(const char *path, apr_time_t seconds, apr_pool_t *p)
{
    return apr_psprintf(p, "%s.%" APR_TIME_T_FMT, path, seconds);
}

/* Owners too: those of the old log may still live, and their numbers are given again in the new one.  The data goes last:
 * whoever finds it there still begins again. */
apr_status_t svl_store_set_aside(const char *directory, const char **aside, apr_pool_t *p)
{
    static const char *const names[] = {"lock.mdb", SVL_OPENING_OWNERS, SVL_RUNNING_FILE, SVL_JOURNAL_FILE, "data.mdb"};
    const char *data = apr_pstrcat(p, directory, "/data.mdb", NULL), *path;
    apr_time_t seconds = apr_time_sec(apr_time_now());
    struct stat file;
    unsigned int i;

    *aside = NULL;
    if (lstat(data, &file)) {
        return errno == ENOENT ? APR_SUCCESS : APR_FROM_OS_ERROR(errno);
    }
    while (!lstat(path_aside(data, seconds, p), &file)) {
        ++seconds;
    }
    for (i = 0; i < sizeof(names) / sizeof(*names); ++i) {
        path = apr_pstrcat(p, directory, "/", names[i], NULL);
        if (rename(path, path_aside(path, seconds, p)) && errno != ENOENT) {
            return APR_FROM_OS_ERROR(errno);
        }
    }
    *aside = path_aside(data, seconds, p);
    return svl_aside_sync(directory);
}

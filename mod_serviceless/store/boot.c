/* SPDX-License-Identifier: Apache-2.0 */
#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

#include "aside.h"

#define BOOT_FILE "/proc/sys/kernel/random/boot_id"
#define UNKNOWN '0' /* stands in the mark where the kernel has no boot id */

/* @return nonzero when the whole of it was read; else errno says why, 0 for a file that is shorter */
static int read_file(const char *path, char *bytes, size_t size)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, bytes, size);
    int error = got < 0 ? errno : 0;

    if (fd >= 0) {
        close(fd);
    }
    errno = error;
    return got == (ssize_t)size;
}

apr_status_t svl_boot_read(char boot[SVL_RECORDS_BOOT])
{
    if (read_file(BOOT_FILE, boot, SVL_RECORDS_BOOT)) {
        return APR_SUCCESS;
    }
    memset(boot, 0, SVL_RECORDS_BOOT);
    return errno == ENOENT ? APR_SUCCESS : APR_FROM_OS_ERROR(errno);
}

static void make_mark(char mark[SVL_RECORDS_BOOT + 1])
{
    (void)svl_boot_read(mark); /* what could not be read counts as unknown */
    if (!mark[0]) {
        memset(mark, UNKNOWN, SVL_RECORDS_BOOT);
    }
    mark[SVL_RECORDS_BOOT] = '\n';
}

static void make_path(char path[APR_PATH_MAX], const char *directory, const char *name)
{
    apr_snprintf(path, APR_PATH_MAX, "%s/%s", directory, name);
}

int svl_boot_is_marked(const char *directory)
{
    char path[APR_PATH_MAX];
    struct stat file;

    make_path(path, directory, SVL_BOOT_MARKER);
    return !lstat(path, &file) || errno != ENOENT;
}

int svl_boot_passed(const char *directory)
{
    char path[APR_PATH_MAX], mark[SVL_RECORDS_BOOT + 1], now[SVL_RECORDS_BOOT + 1];

    if (!svl_boot_is_marked(directory)) {
        return 0;
    }
    make_path(path, directory, SVL_BOOT_MARKER);
    make_mark(now);
    return !read_file(path, mark, sizeof(mark)) || memcmp(mark, now, sizeof(mark));
}

static apr_status_t write_file(const char *path, const char *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    apr_status_t status = APR_SUCCESS;
    ssize_t put;

    if (fd < 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    put = write(fd, bytes, size);
    if (put != (ssize_t)size) {
        status = put < 0 ? APR_FROM_OS_ERROR(errno) : APR_ENOSPC;
    }
    else if (fsync(fd)) {
        status = APR_FROM_OS_ERROR(errno);
    }
    close(fd);
    return status;
}

apr_status_t svl_boot_mark(const char *directory)
{
    char path[APR_PATH_MAX], fresh[APR_PATH_MAX], mark[SVL_RECORDS_BOOT + 1];
    apr_status_t status;

    if (svl_boot_is_marked(directory) && !svl_boot_passed(directory)) {
        return APR_SUCCESS;
    }
    make_path(path, directory, SVL_BOOT_MARKER);
    make_path(fresh, directory, SVL_BOOT_MARKER ".new");
    make_mark(mark);
    status = write_file(fresh, mark, sizeof(mark));
    if (!status && rename(fresh, path)) {
        status = APR_FROM_OS_ERROR(errno);
    }
    return status ? status : svl_aside_sync(directory);
}

apr_status_t svl_boot_unmark(const char *directory)
{
    char path[APR_PATH_MAX];

    make_path(path, directory, SVL_BOOT_MARKER);
    if (unlink(path) && errno != ENOENT) {
        return APR_FROM_OS_ERROR(errno);
    }
    return svl_aside_sync(directory);
}

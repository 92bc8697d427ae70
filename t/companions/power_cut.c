/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file power_cut.c
 * @brief Keeps what a power cut would leave of a log: preloaded into httpd by t/fault/03_power_cut.t.
 *
 * Beside each data.mdb there is data.mdb.synced, and beside each journal there is journal.synced, which get what the kernel was made to
 * put on the disk and nothing else: the whole file at each fdatasync and fsync of it, and what is written through a descriptor opened
 * with O_DSYNC, where it is written.  It is put there before the call that makes it durable returns.  msync is no matter: the log is
 * mapped for reading only, and the journal not at all.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SYNCED ".synced"

int fdatasync(int fd);
int fsync(int fd);
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at);
ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at);

static int ends_with(const char *path, size_t length, const char *end)
{
    return length >= strlen(end) && !strncmp(path + length - strlen(end), end, strlen(end));
}

/* @return a descriptor of the file beside the one behind @a fd, or -1 where that is neither data.mdb nor journal */
static int open_synced(int fd)
{
    char link[64], path[4096];
    ssize_t length;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path) - sizeof(SYNCED));
    if (length < 0 || !(ends_with(path, (size_t)length, "/data.mdb") || ends_with(path, (size_t)length, "/journal"))) {
        return -1;
    }
    memcpy(path + length, SYNCED, sizeof(SYNCED));
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
}

/* A test that cannot keep what is synced would prove nothing. */
static void must(int true, const char *what)
{
    if (!true) {
        perror(what);
        abort();
    }
}

static void copy_all(int from, int to)
{
    static const size_t part = 1 << 20;
    char *bytes = malloc(part);
    off_t at = 0;
    ssize_t got;

    must(bytes != NULL, "power_cut: malloc");
    while ((got = pread(from, bytes, part, at)) > 0) {
        must(write(to, bytes, (size_t)got) == got, "power_cut: write");
        at += got;
    }
    must(got == 0 && ftruncate(to, at) == 0, "power_cut: read");
    free(bytes);
}

static int synced(int fd, int result)
{
    int saved = errno, to = result ? -1 : open_synced(fd);

    if (to >= 0) {
        copy_all(fd, to);
        close(to);
    }
    errno = saved;
    return result;
}

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

    return synced(fd, real(fd));
}

int fsync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");

    return synced(fd, real(fd));
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at)
{
    ssize_t (*real)(int, const void *, size_t, off64_t) =
        (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    ssize_t put = real(fd, bytes, size, at);
    int saved = errno, to = put > 0 && fcntl(fd, F_GETFL) & O_DSYNC ? open_synced(fd) : -1;

    if (to >= 0) {
        must(real(to, bytes, (size_t)put, at) == put, "power_cut: pwrite");
        close(to);
    }
    errno = saved;
    return put;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    return pwrite64(fd, bytes, size, at);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "damage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

#include "../core/fault.h"
#include "aside.h"

#define WATCHED_MAX 64 /* logs of one process; more are not watched */

static void make_path(char path[APR_PATH_MAX], const char *directory)
{
    apr_snprintf(path, APR_PATH_MAX, "%s/" SVL_DAMAGE_MARKER, directory);
}

int svl_damage_is_marked(const char *directory)
{
    char path[APR_PATH_MAX];
    struct stat file;

    make_path(path, directory);
    return !lstat(path, &file);
}

/* Also for a signal handler. */
static int make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);

    return fd < 0 ? errno : close(fd) ? errno : 0;
}

apr_status_t svl_damage_mark(const char *directory)
{
    char path[APR_PATH_MAX];
    int error;

    make_path(path, directory);
    error = make_file(path);
    return error ? APR_FROM_OS_ERROR(error) : svl_aside_sync(directory);
}

apr_status_t svl_damage_unmark(const char *directory)
{
    char path[APR_PATH_MAX];

    make_path(path, directory);
    return unlink(path) && errno != ENOENT ? APR_FROM_OS_ERROR(errno) : APR_SUCCESS;
}

apr_status_t svl_damage_note(svl_store_t *store, apr_status_t status)
{
    const char *directory = store->options.directory;
    apr_status_t marked;

    if (status != SVL_EDAMAGED || !store->in_use || __atomic_exchange_n(&store->damaged, 1, __ATOMIC_RELAXED)) {
        return status;
    }
    marked = svl_damage_mark(directory);
    svl_log_write(store->options.log, SVL_LOG_MARK, SVL_LOG_ERR, marked,
                  SVLNO(0330) "the log %s is damaged, or its file was cut or removed: the node takes no calls until the next "
                              "start of the server, which sets the file aside and begins a new log that peers refill%s",
                  directory, marked ? "; the mark beside it that tells the next start cannot be written" : "");
    return status;
}

void svl_damage_look(svl_store_t *store)
{
    if (!svl_damage_known(store) && svl_damage_is_marked(store->options.directory)) {
        __atomic_store_n(&store->damaged, 1, __ATOMIC_RELAXED);
    }
}

/* What the signal handler reads: where the file is mapped.  An entry is complete before `end` is set, and only the handler's own
 * process changes it. */
static struct watched_t {
    int taken;
    apr_size_t first, end; /* addresses; end 0: none; atomic */
    char path[APR_PATH_MAX];
} * watched;
static struct sigaction before;

static void mark_at(apr_size_t address)
{
    int i;

    for (i = 0; i < WATCHED_MAX; ++i) {
        if (address < __atomic_load_n(&watched[i].end, __ATOMIC_ACQUIRE)
            && address >= __atomic_load_n(&watched[i].first, __ATOMIC_ACQUIRE)) {
            make_file(watched[i].path);
        }
    }
}

/* A handler that others set before goes on as if it had been called.  For anything else the instruction is done again, or the signal
 * raised again, and meets what was set up before. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    int error = errno, faulted = info->si_code > 0; /* else sent by a process, and then there is no address */

    if (faulted) {
        mark_at((apr_size_t)info->si_addr);
    }
    if (before.sa_flags & SA_SIGINFO && !(before.sa_flags & (int)SA_RESETHAND)) {
        before.sa_sigaction(number, info, context);
    }
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN
             && !(before.sa_flags & (int)(SA_RESETHAND | SA_SIGINFO))) {
        before.sa_handler(number);
    }
    else {
        sigaction(SIGBUS, &before, NULL);
        if (!faulted) {
            raise(SIGBUS);
        }
    }
    errno = error;
}

static void set_handler(void)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction present;

    if (!sigaction(SIGBUS, NULL, &present) && present.sa_sigaction != on_bus_error) {
        before = present;
        sigaction(SIGBUS, &action, NULL);
    }
}

/* LMDB does not tell where its map is, so the system is asked: lines are "first-end rights offset device inode   path". */
static int find_map(const char *directory, apr_size_t *first, apr_size_t *end)
{
    char above[PATH_MAX], path[PATH_MAX + sizeof("/data.mdb")], *line = NULL;
    FILE *maps = realpath(directory, above) ? fopen("/proc/self/maps", "re") : NULL;
    size_t room = 0;
    ssize_t length;
    int at, found = 0;

    apr_snprintf(path, sizeof(path), "%s/data.mdb", maps ? above : "");
    while (maps && !found && (length = getline(&line, &room, maps)) > 0) {
        line[length - 1] = '\0';
        at = 0;
        found = sscanf(line, "%zx-%zx %*s %*s %*s %*s %n", first, end, &at) == 2 && at && !strcmp(line + at, path);
    }
    free(line);
    if (maps) {
        fclose(maps);
    }
    return found;
}

/* @return the store's entry, a new one if need be; NULL: there is none left */
static struct watched_t *entry_of(svl_store_t *store)
{
    int i = 0;

    if (!watched) {
        watched = calloc(WATCHED_MAX, sizeof(*watched));
    }
    if (!store->watched) {
        while (watched && i < WATCHED_MAX && watched[i].taken) {
            ++i;
        }
        if (!watched || i == WATCHED_MAX) {
            return NULL;
        }
        watched[i].taken = 1;
        make_path(watched[i].path, store->options.directory);
        store->watched = i + 1;
    }
    return &watched[store->watched - 1];
}

void svl_damage_watch(svl_store_t *store)
{
    struct watched_t *entry = store->in_use ? entry_of(store) : NULL;
    apr_size_t first, end;

    if (!entry) {
        return;
    }
    __atomic_store_n(&entry->end, 0, __ATOMIC_RELEASE);
    if (find_map(store->options.directory, &first, &end)) {
        __atomic_store_n(&entry->first, first, __ATOMIC_RELEASE);
        __atomic_store_n(&entry->end, end, __ATOMIC_RELEASE);
        set_handler();
    }
}

void svl_damage_unwatch(svl_store_t *store)
{
    if (store->watched) {
        __atomic_store_n(&watched[store->watched - 1].end, 0, __ATOMIC_RELEASE);
        watched[store->watched - 1].taken = 0;
    }
    store->watched = 0;
}

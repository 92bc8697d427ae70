/* SPDX-License-Identifier: Apache-2.0 */
#include "tables.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "../core/fault.h"
#include "damage.h"
#include "recent.h"

#define TAIL_PAGES 8 /* pages that a commit took and freed again; more than one was never seen */
#define FREE_TABLE 0 /* LMDB's own table of free pages; mdb_stat reads it the same way */

apr_status_t svl_env_status(int rc)
{
    switch (rc) {
    case MDB_SUCCESS:
        return APR_SUCCESS;
    case MDB_NOTFOUND:
        return APR_NOTFOUND;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
        return SVL_EFULL;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE:
        return SVL_EDAMAGED;
    case MDB_VERSION_MISMATCH: /* of another LMDB: never to be set aside unasked */
        return APR_ENOTIMPL;
    case MDB_READERS_FULL:
    case MDB_MAP_RESIZED:
        return APR_EAGAIN;
    default:
        return rc > 0 ? rc : APR_EGENERAL;
    }
}

apr_status_t svl_env_committed(const svl_store_t *store, int rc)
{
    struct statvfs disk;

    if (rc == EIO && !statvfs(store->options.directory, &disk) && !disk.f_bavail) {
        rc = ENOSPC;
    }
    return svl_env_status(rc);
}

apr_uint64_t svl_env_reserve(const svl_store_t *store)
{
    apr_uint64_t pages = store->bound / SVL_ENV_RESERVE_PARTS;

    return pages > SVL_ENV_RESERVE_PAGES ? pages : SVL_ENV_RESERVE_PAGES;
}

static int set_map(svl_store_t *store, apr_uint64_t size)
{
    int rc = mdb_env_set_mapsize(store->env, size);

    if (!rc) {
        svl_damage_watch(store);
    }
    return rc;
}

/* A log that is larger than its bound (which was lowered) still gets room for outcomes and pruning. */
int svl_env_fit(svl_store_t *store)
{
    MDB_envinfo info;
    MDB_stat stat;
    apr_uint64_t pages;

    mdb_env_info(store->env, &info);
    mdb_env_stat(store->env, &stat);
    store->page = stat.ms_psize;
    if (store->readonly) {
        store->bound = info.me_mapsize / store->page;
        return MDB_SUCCESS;
    }
    store->bound = store->options.size / store->page;
    pages = info.me_last_pgno + 1 + svl_env_reserve(store) + (svl_recent_any(store) || store->restores ? SVL_RECENT_PAGES : 0);
    return pages <= info.me_mapsize / store->page ? MDB_SUCCESS : set_map(store, pages * store->page);
}

/* A page is not what LMDB takes it for.  It ends the process next, and others are not to follow it. */
static void on_assertion(MDB_env *env, const char *words)
{
    (void)words;
    svl_damage_note(mdb_env_get_userctx(env), SVL_EDAMAGED);
}

int svl_env_open(svl_store_t *store)
{
    const svl_store_options_t *options = &store->options;
    unsigned int flags = MDB_NOTLS;
    apr_uint64_t page = (apr_uint64_t)sysconf(_SC_PAGESIZE);
    mdb_filehandle_t fd;
    int rc;

    if (store->readonly) {
        flags |= MDB_RDONLY;
    }
    else if (!options->durable) {
        flags |= MDB_NOSYNC;
    }
    rc = mdb_env_create(&store->env);
    if (rc) {
        return rc;
    }
    mdb_env_set_userctx(store->env, store);
    mdb_env_set_assert(store->env, store->assertion ? store->assertion : on_assertion);
    rc = mdb_env_set_maxdbs(store->env, SVL_TABLE_COUNT); /* the unnamed one is none of them, "meta" is */
    if (!rc && options->readers) {
        rc = mdb_env_set_maxreaders(store->env, options->readers);
    }
    if (!rc && !store->readonly) {
        rc = options->size > SIZE_MAX ? EINVAL : mdb_env_set_mapsize(store->env, options->size / page * page);
    }
    if (!rc) {
        rc = mdb_env_open(store->env, options->directory, flags, S_IRUSR | S_IWUSR);
    }
    if (!rc && !mdb_env_get_fd(store->env, &fd)) {
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* not for programs that this process starts */
    }
    if (!rc) {
        svl_damage_watch(store);
        rc = svl_env_fit(store);
    }
    if (rc) {
        svl_env_close(store);
    }
    return rc;
}

void svl_env_close(svl_store_t *store)
{
    svl_env_forget_readers(store);
    svl_damage_unwatch(store);
    if (store->env) {
        mdb_env_close(store->env);
    }
    store->env = NULL;
    __atomic_store_n(&store->seen, 0, __ATOMIC_RELAXED);
}

int svl_env_tables(svl_store_t *store, MDB_txn *txn, int create)
{
    /* the first is LMDB's own, with the names of the others: a page that each commit writes anyway */
    static const char *const names[SVL_TABLE_COUNT] = {
        [SVL_TABLE_TOP] = NULL,
        [SVL_TABLE_CALLS] = "calls",
        [SVL_TABLE_IDS] = "ids",
        [SVL_TABLE_STREAMS] = "streams",
        [SVL_TABLE_NUMBERS] = "numbers",
        [SVL_TABLE_WORK] = "work",
        [SVL_TABLE_OUTCOMES] = "outcomes",
        [SVL_TABLE_ALIASES] = "aliases",
        [SVL_TABLE_EVERY] = "every",
    };
    int i, rc = MDB_SUCCESS;

    for (i = 0; i < SVL_TABLE_COUNT && !rc; ++i) {
        rc = mdb_dbi_open(txn, names[i], create ? MDB_CREATE : 0, &store->tables[i]);
    }
    return rc;
}

/* A record is a count, then as many page numbers, descending; it need not be aligned. */
static size_t list_item(const MDB_val *list, size_t i)
{
    size_t item = 0;

    if ((i + 1) * sizeof(item) <= list->mv_size) {
        memcpy(&item, (const char *)list->mv_data + i * sizeof(item), sizeof(item));
    }
    return item;
}

int svl_env_free(MDB_txn *txn, apr_uint64_t from, apr_uint64_t *pages)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, FREE_TABLE, &cursor);

    *pages = 0;
    if (rc) {
        return rc;
    }
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        size_t i, count = list_item(&value, 0);

        if (from == 0) {
            *pages += count;
            continue;
        }
        for (i = 1; i <= count && list_item(&value, i) >= from; ++i) {
            ++*pages;
        }
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

int svl_env_free_now(svl_store_t *store, apr_uint64_t from, apr_uint64_t *pages)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);

    if (rc) {
        return rc;
    }
    rc = svl_env_free(txn, from, pages);
    mdb_txn_abort(txn);
    return rc;
}

/* Zeros are no page that LMDB takes for one of its own, so once the file is long enough the list of free pages can be read
 * without danger. */
static int lengthen(svl_store_t *store, int fd, off_t size, off_t need)
{
    apr_uint64_t from = (apr_uint64_t)size / store->page, unused;
    int rc;

    if (ftruncate(fd, need)) {
        return errno;
    }
    rc = svl_env_free_now(store, from, &unused);
    if (!rc && from + unused == (apr_uint64_t)need / store->page) {
        return MDB_SUCCESS;
    }
    if (ftruncate(fd, size)) {
        return errno;
    }
    return rc ? rc : MDB_CORRUPTED;
}

/* Who only reads can neither lengthen the file nor look safely whether its last pages are free ones, which LMDB never wrote: a few
 * missing ones are taken for those. */
static int check_tail(const svl_store_t *store, off_t size, off_t need)
{
    return need - size <= (off_t)(TAIL_PAGES * store->page) ? MDB_SUCCESS : MDB_CORRUPTED;
}

/* @param fd receives the file's descriptor, size what it has, need what the log uses, last its last page */
static int measure(const svl_store_t *store, mdb_filehandle_t *fd, off_t *size, off_t *need, apr_uint64_t *last)
{
    MDB_envinfo info;
    struct stat file;
    int rc;

    mdb_env_info(store->env, &info);
    *last = info.me_last_pgno;
    *need = (off_t)((info.me_last_pgno + 1) * store->page);
    rc = mdb_env_get_fd(store->env, fd);
    if (!rc && fstat(*fd, &file)) {
        rc = errno;
    }
    *size = rc ? 0 : file.st_size;
    return !rc && !file.st_nlink ? MDB_CORRUPTED : rc;
}

int svl_env_whole(svl_store_t *store)
{
    mdb_filehandle_t fd;
    apr_uint64_t last;
    off_t size, need;
    int rc = measure(store, &fd, &size, &need, &last);

    if (!rc && size < need) {
        rc = store->readonly ? check_tail(store, size, need) : lengthen(store, fd, size, need);
    }
    if (!rc) {
        __atomic_store_n(&store->whole, last, __ATOMIC_RELAXED);
    }
    return rc;
}

int svl_env_readable(const svl_store_t *store)
{
    mdb_filehandle_t fd;
    apr_uint64_t last;
    off_t size, need;
    int rc = measure(store, &fd, &size, &need, &last);

    return !rc && size < need ? check_tail(store, size, need) : rc;
}

int svl_env_seen(svl_store_t *store)
{
    struct timespec tick;
    apr_uint64_t now;
    int rc;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &tick);
    now = (apr_uint64_t)tick.tv_sec * 1000000000 + (apr_uint64_t)tick.tv_nsec;
    if (__atomic_load_n(&store->seen, __ATOMIC_RELAXED) == now) {
        return MDB_SUCCESS;
    }
    rc = svl_env_readable(store);
    if (!rc) {
        __atomic_store_n(&store->seen, now, __ATOMIC_RELAXED);
    }
    return rc;
}

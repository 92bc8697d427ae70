/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

#include "../core/fault.h"
#include "commit.h"
#include "damage.h"
#include "identity.h"
#include "opening.h"
#include "running.h"

#define LOCK_HEAD 4096 /* bytes of lock.mdb before its readers, at most */
#define LOCK_READER 64 /* a cache line */

/* The logs that this process has open.  LMDB's locks are the process's, so closing a second handle would drop the first
 * one's. */
static pthread_mutex_t opened_mutex = PTHREAD_MUTEX_INITIALIZER;
static svl_store_t *opened;

static apr_status_t claim(svl_store_t *store)
{
    svl_store_t *other;
    struct stat directory;
    apr_status_t status = APR_SUCCESS;

    if (stat(store->options.directory, &directory)) {
        return APR_FROM_OS_ERROR(errno);
    }
    store->device = directory.st_dev;
    store->inode = directory.st_ino;
    pthread_mutex_lock(&opened_mutex);
    for (other = opened; other && !status; other = other->other) {
        if (other->pid == store->pid && other->device == store->device && other->inode == store->inode) {
            status = APR_EBUSY;
        }
    }
    if (!status) {
        store->other = opened;
        opened = store;
    }
    pthread_mutex_unlock(&opened_mutex);
    return status;
}

static void unclaim(svl_store_t *store)
{
    svl_store_t **link = &opened;

    pthread_mutex_lock(&opened_mutex);
    while (*link && *link != store) {
        link = &(*link)->other;
    }
    if (*link) {
        *link = store->other;
    }
    pthread_mutex_unlock(&opened_mutex);
}

static apr_status_t close_store(void *data)
{
    svl_store_t *store = data;

    if (store->pid != getpid()) {
        unclaim(store);
        return APR_SUCCESS;
    }
    /* Not in prefork, where this may run in a signal handler: what waits is on the log, as work, or kept beside it. */
    if (store->loaded && !store->readonly && !store->options.guard_signals) {
        svl_store_flush(store);
    }
    svl_env_close(store);
    svl_running_close(store);
    if (store->owners >= 0) {
        close(store->owners);
    }
    svl_commit_destroy(store);
    svl_env_gate_destroy(store);
    unclaim(store);
    return APR_SUCCESS;
}

apr_status_t svl_opening_make(svl_store_t **result, const svl_store_options_t *options, int readonly, apr_pool_t *p)
{
    svl_store_t *store = apr_pcalloc(p, sizeof(*store));
    apr_status_t status;

    *result = NULL;
    store->options = *options;
    store->options.directory = apr_pstrdup(p, options->directory);
    store->options.node = apr_pstrdup(p, options->node);
    store->pool = p;
    store->pid = getpid();
    store->readonly = readonly;
    store->owners = store->journal_fd = -1;
    status = claim(store);
    if (status) {
        return status;
    }
    *result = store;
    status = svl_commit_make(store);
    svl_env_gate_make(store);
    apr_pool_cleanup_register(p, store, close_store, apr_pool_cleanup_null);
    return status;
}

void svl_opening_undo(svl_store_t *store)
{
    apr_pool_cleanup_run(store->pool, store, close_store);
}

/* LMDB makes its lock file without blocks of the disk: who writes the slot of a reader to such a place when the disk is full gets a
 * SIGBUS.  A file that is longer than LMDB needs has room for more readers.  Not posix_fallocate, which writes into the file where the
 * system cannot. */
apr_status_t svl_opening_give_blocks(const svl_store_options_t *options, apr_pool_t *p)
{
    const char *path = apr_pstrcat(p, options->directory, "/lock.mdb", NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    off_t size = LOCK_HEAD + (off_t)options->readers * LOCK_READER;
    struct stat file;
    int error = fd < 0 || fstat(fd, &file) ? errno : 0;

    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): without an error fstat filled it */
    if (!error && fallocate(fd, 0, 0, file.st_size > size ? file.st_size : size) && errno != EOPNOTSUPP && errno != ENOSYS) {
        error = errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (error && fd >= 0 && file.st_size) {
        svl_log_write(options->log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_FROM_OS_ERROR(error),
                      SVLNO(0357) "%s cannot be given all its space: children may crash while the disk is full", path);
        error = 0; /* as it was; a restart is not to end the server */
    }
    return APR_FROM_OS_ERROR(error);
}

apr_status_t svl_opening_environment(svl_store_t *store, svl_opening_load_t *load, const char **error, apr_pool_t *p)
{
    MDB_txn *txn;
    apr_status_t status;
    int rc = svl_env_open(store);

    if (!rc) {
        rc = mdb_txn_begin(store->env, NULL, store->readonly ? MDB_RDONLY : 0, &txn);
    }
    if (!rc) {
        rc = svl_env_whole(store);
        if (rc) {
            mdb_txn_abort(txn);
        }
    }
    if (rc) {
        status = svl_env_status(rc);
        *error = svl_identity_explain(store->options.directory, status, p);
        return status;
    }
    status = load(store, txn, error, p);
    if (status) {
        mdb_txn_abort(txn);
        return status;
    }
    status = svl_env_committed(store, mdb_txn_commit(txn));
    store->loaded = !status;
    if (status) {
        *error = svl_identity_explain(store->options.directory, status, p);
    }
    return status;
}

static apr_status_t load(svl_store_t *store, MDB_txn *txn, const char **error, apr_pool_t *p)
{
    return svl_identity_load(store, txn, store->options.node, error, p);
}

static apr_status_t apply_owner(svl_change_t *change, void *baton)
{
    *(apr_uint64_t *)baton = ++change->state.owners;
    change->state_changed = 1;
    return APR_SUCCESS;
}

/* Takes a number, and locks its byte until the file is closed: any close of it by this process would release it, so nothing
 * else of the process opens it. */
static apr_status_t take_owner(svl_store_t *store)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    char path[APR_PATH_MAX];
    apr_status_t status = svl_commit_run(store, apply_owner, &store->owner, 0);

    if (status) {
        return status;
    }
    apr_snprintf(path, sizeof(path), "%s/" SVL_OPENING_OWNERS, store->options.directory);
    store->owners = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    lock.l_start = (off_t)store->owner;
    if (store->owners < 0 || fcntl(store->owners, F_SETLK, &lock)) {
        return APR_FROM_OS_ERROR(errno);
    }
    return APR_SUCCESS;
}

apr_status_t svl_store_open(svl_store_t **result, const svl_store_options_t *options, apr_pool_t *p)
{
    svl_store_t *store = NULL;
    const char *error = NULL;
    sigset_t saved;
    apr_status_t status = svl_identity_look(options->directory);

    if (!status && svl_damage_is_marked(options->directory)) {
        status = SVL_EDAMAGED;
    }
    if (!status) {
        status = svl_opening_make(&store, options, 0, p);
    }
    if (!status) {
        store->in_use = 1;
        svl_env_guard(store, &saved);
        status = svl_damage_note(store, svl_opening_environment(store, load, &error, p));
        if (!status) {
            status = svl_running_open(store);
        }
        if (!status) {
            status = take_owner(store);
        }
        if (!status) {
            svl_running_claim(store);
        }
        svl_env_unguard(store, &saved);
    }
    if (!status) {
        *result = store;
        return APR_SUCCESS;
    }
    if (!error) {
        error = svl_identity_explain(options->directory, status, p);
    }
    svl_log_write(options->log, SVL_LOG_MARK, SVL_LOG_ERR, status, SVLNO(0203) "%s", error);
    if (store) {
        svl_opening_undo(store);
    }
    return status;
}

static apr_status_t load_any(svl_store_t *store, MDB_txn *txn, const char **error, apr_pool_t *p)
{
    return svl_identity_load(store, txn, NULL, error, p);
}

/* LMDB would create the lock file even for a reader. */
static apr_status_t look_for_lock(const char *directory, apr_pool_t *p)
{
    struct stat file;

    return stat(apr_pstrcat(p, directory, "/lock.mdb", NULL), &file) ? APR_FROM_OS_ERROR(errno) : APR_SUCCESS;
}

apr_status_t svl_store_open_reader(svl_store_t **result, const char *directory, const char **node, const char **error,
                                   apr_pool_t *p)
{
    svl_store_options_t options = {.directory = directory, .node = ""};
    svl_store_t *store = NULL;
    apr_status_t status = svl_identity_look(directory);

    if (!status) {
        status = look_for_lock(directory, p);
    }
    if (APR_STATUS_IS_ENOENT(status)) {
        *error = apr_psprintf(p, "%s holds no log, or one that no server has opened since it was copied here", directory);
        return status;
    }
    *error = NULL;
    if (!status) {
        status = svl_opening_make(&store, &options, 1, p);
    }
    if (!status) {
        status = svl_opening_environment(store, load_any, error, p);
    }
    if (!status) {
        status = svl_running_open(store);
    }
    if (!status) {
        *result = store;
        *node = store->node.name;
        return APR_SUCCESS;
    }
    if (!*error) {
        *error = svl_identity_explain(directory, status, p);
    }
    if (store) {
        svl_opening_undo(store);
    }
    return status;
}

apr_uint64_t svl_store_owner(const svl_store_t *store)
{
    return store->owner;
}

const char *svl_store_epoch(const svl_store_t *store)
{
    return store->epochs[__atomic_load_n(&store->epoch, __ATOMIC_ACQUIRE)];
}

int svl_store_may_have_run(const svl_store_t *store, apr_int64_t issued)
{
    return issued < apr_time_as_msec(store->lost);
}

int svl_store_owner_lives(const svl_store_t *store, apr_uint64_t owner)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)owner, .l_len = 1};

    if (owner == store->owner) { /* a process does not see its own locks */
        return 1;
    }
    if (fcntl(store->owners, F_GETLK, &lock)) {
        return 1; /* not known: taking over what lives would run it twice */
    }
    return lock.l_type != F_UNLCK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_strings.h>

#include "../core/fault.h"
#include "aside.h"
#include "boot.h"
#include "damage.h"
#include "identity.h"
#include "journal.h"
#include "opening.h"
#include "running.h"
#include "verify.h"

#define LOSS_MARGIN apr_time_from_sec(60) /* clocks differ, and a crash may leave a file's time behind */

/* The parent prepares as root what belongs to the run-time user, who must not be able to lead it astray with a link: files are
 * opened without following links and given by descriptor, and LMDB works under the user's own rights. */

typedef struct user_t {
    uid_t uid, old_uid;
    gid_t gid, old_gid;
    int change; /* nonzero: root prepares for another */
} user_t;

static const char *sentence(const char *path, const char *what, apr_status_t status, apr_pool_t *p)
{
    char text[160];

    return apr_psprintf(p, "%s: %s: %s", path, what, svl_fault_strerror(status, text, sizeof(text)));
}

static void find_user(user_t *user, apr_int64_t uid, apr_int64_t gid)
{
    user->old_uid = geteuid();
    user->old_gid = getegid();
    user->uid = uid < 0 ? user->old_uid : (uid_t)uid;
    user->gid = gid < 0 ? user->old_gid : (gid_t)gid;
    user->change = user->old_uid == 0 && (user->uid != user->old_uid || user->gid != user->old_gid);
}

static apr_status_t become(const user_t *user)
{
    if (user->change && (setegid(user->gid) || seteuid(user->uid))) {
        return APR_FROM_OS_ERROR(errno);
    }
    return APR_SUCCESS;
}

static apr_status_t become_again(const user_t *user)
{
    if (user->change && (seteuid(user->old_uid) || setegid(user->old_gid))) {
        return APR_FROM_OS_ERROR(errno);
    }
    return APR_SUCCESS;
}

/* Gives what `fd` is to the user with these permissions. */
static apr_status_t give_descriptor(int fd, const user_t *user, mode_t type, mode_t mode)
{
    struct stat file;

    if (fstat(fd, &file)) {
        return APR_FROM_OS_ERROR(errno);
    }
    if ((file.st_mode & S_IFMT) != type || (type == S_IFREG && file.st_nlink != 1)) {
        return APR_EACCES;
    }
    if (user->change && (file.st_uid != user->uid || file.st_gid != user->gid) && fchown(fd, user->uid, user->gid)) {
        return APR_FROM_OS_ERROR(errno);
    }
    if ((file.st_mode & 07777) != mode && fchmod(fd, mode)) {
        return APR_FROM_OS_ERROR(errno);
    }
    return APR_SUCCESS;
}

static apr_status_t give(const char *path, const user_t *user, mode_t type, mode_t mode, const char **error, apr_pool_t *p)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    apr_status_t status;

    if (fd < 0 && errno == ENOENT) {
        return APR_SUCCESS;
    }
    status = fd < 0 ? APR_FROM_OS_ERROR(errno) : give_descriptor(fd, user, type, mode);
    if (fd >= 0) {
        close(fd);
    }
    if (status) {
        *error = sentence(path, "it must be a plain file or directory without other links, and the server's own", status, p);
    }
    return status;
}

static apr_status_t give_all(const char *directory, const user_t *user, const char **error, apr_pool_t *p)
{
    static const char *const names[] = {"data.mdb",       "lock.mdb",       SVL_OPENING_OWNERS, SVL_BOOT_MARKER,
                                        SVL_RUNNING_FILE, SVL_JOURNAL_FILE, SVL_DAMAGE_MARKER};
    apr_status_t status = give(directory, user, S_IFDIR, S_IRWXU, error, p);
    unsigned int i;

    for (i = 0; i < sizeof(names) / sizeof(*names) && !status; ++i) {
        status = give(apr_pstrcat(p, directory, "/", names[i], NULL), user, S_IFREG, S_IRUSR | S_IWUSR, error, p);
    }
    return status;
}

static apr_status_t make_directory(const char *directory, const char **error, apr_pool_t *p)
{
    const char *above = dirname(apr_pstrdup(p, directory));
    apr_status_t status = APR_SUCCESS;
    struct stat there;

    if (!stat(directory, &there)) {
        return APR_SUCCESS;
    }
    if (stat(above, &there)) {
        status = apr_dir_make_recursive(above,
                                        APR_FPROT_UREAD | APR_FPROT_UWRITE | APR_FPROT_UEXECUTE | APR_FPROT_GREAD
                                            | APR_FPROT_GEXECUTE | APR_FPROT_WREAD | APR_FPROT_WEXECUTE,
                                        p);
    }
    if (!status && mkdir(directory, S_IRWXU) && errno != EEXIST) {
        status = APR_FROM_OS_ERROR(errno);
    }
    if (!status) {
        status = svl_aside_sync(above);
    }
    if (status) {
        *error = sentence(directory, "the directory of the log cannot be made", status, p);
    }
    return status;
}

static apr_status_t make_owners(const char *directory, apr_pool_t *p)
{
    int fd = open(apr_pstrcat(p, directory, "/" SVL_OPENING_OWNERS, NULL), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                  S_IRUSR | S_IWUSR);

    if (fd < 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    close(fd);
    return APR_SUCCESS;
}

/* When the log was last used, about: calls that came to other nodes later did not run here.
 * @param file what is left of it; NULL: nothing */
static apr_time_t time_of_loss(const char *file)
{
    apr_time_t now = apr_time_now(), used;
    struct stat info;

    if (!file || lstat(file, &info)) {
        return now;
    }
    used = apr_time_from_sec(info.st_mtime) + LOSS_MARGIN;
    return used < now ? used : now;
}

/* The file of a log without fsync may be torn after the operating system went down, so that LMDB must not even read it. */
static apr_status_t check_boot(svl_store_t *store, const char **error, apr_pool_t *p)
{
    const char *directory = store->options.directory, *aside = NULL;
    apr_status_t status = APR_SUCCESS;

    if (svl_boot_passed(directory)) {
        status = svl_store_set_aside(directory, &aside, p);
        if (!status) {
            status = svl_boot_unmark(directory);
        }
    }
    if (aside) {
        store->lost = time_of_loss(aside);
        svl_log_write(store->options.log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_SUCCESS,
                      SVLNO(0210) "the operating system was started since the log %s was used without fsync: it may be torn, "
                                  "so it was set aside unread as %s, and a new one begins, which peers refill",
                      directory, aside);
    }
    if (!status && !store->options.durable) {
        status = svl_boot_mark(directory);
    }
    if (status) {
        *error = sentence(directory, "the log cannot be set aside, or not marked as one without fsync", status, p);
    }
    return status;
}

/* Whether another process has the log open. */
static int is_used(const char *directory, apr_pool_t *p)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(apr_pstrcat(p, directory, "/" SVL_OPENING_OWNERS, NULL), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int used = fd < 0 ? errno != ENOENT : fcntl(fd, F_GETLK, &lock) || lock.l_type != F_UNLCK;

    if (fd >= 0) {
        close(fd);
    }
    return used;
}

/* A log that is durable now is whole once all of it is synced and nobody writes without any more. */
static apr_status_t settle(svl_store_t *store, apr_pool_t *p)
{
    const char *directory = store->options.directory;

    if (!store->options.durable || !svl_boot_is_marked(directory) || is_used(directory, p)) {
        return APR_SUCCESS;
    }
    if (mdb_env_sync(store->env, 1)) {
        return APR_SUCCESS; /* the mark stays, and with it the caution */
    }
    return svl_boot_unmark(directory);
}

/* There is no data.mdb.  Where the file of owners is, there was one, and nobody set it aside. */
static void look_for_loss(svl_store_t *store, apr_pool_t *p)
{
    const char *directory = store->options.directory;
    struct stat file;

    if (store->lost || lstat(apr_pstrcat(p, directory, "/" SVL_OPENING_OWNERS, NULL), &file)) {
        return;
    }
    store->lost = time_of_loss(NULL);
    svl_log_write(store->options.log, SVL_LOG_MARK, SVL_LOG_ERR, APR_SUCCESS,
                  SVLNO(0335) "the log %s has lost its data.mdb: a new log begins, which peers refill", directory);
}

static apr_status_t prepare_log(svl_store_t *store, const char **error, apr_pool_t *p)
{
    const char *directory = store->options.directory;
    apr_status_t status = svl_identity_look(directory);

    if (APR_STATUS_IS_ENOENT(status)) {
        look_for_loss(store, p);
        status = APR_SUCCESS;
    }
    if (!status) {
        status = make_owners(directory, p);
    }
    if (!status) {
        status = svl_opening_give_blocks(&store->options, p);
    }
    if (!status) {
        store->starts = !is_used(directory, p);
        status = svl_opening_environment(store, svl_identity_prepare, error, p);
    }
    if (!status) {
        status = svl_running_prepare(store);
    }
    if (!status) {
        status = settle(store, p);
    }
    if (!status) {
        status = svl_aside_sync(directory);
    }
    if (status && !*error) {
        *error = svl_identity_explain(directory, status, p);
    }
    return status;
}

/* Begins a new log in place of a damaged one.  @param why what was found */
static apr_status_t begin_anew(svl_store_t *store, const char *why, const char **error, apr_pool_t *p)
{
    const char *directory = store->options.directory, *aside;
    apr_status_t status = svl_store_set_aside(directory, &aside, p);

    *error = NULL;
    store->lost = time_of_loss(aside);
    if (!status) {
        status = svl_damage_unmark(directory);
    }
    if (status) {
        *error = sentence(directory, "data.mdb is damaged, and cannot be set aside", status, p);
        return status;
    }
    svl_log_write(store->options.log, SVL_LOG_MARK, SVL_LOG_ERR, APR_SUCCESS,
                  SVLNO(0211) "the log %s %s: the file was set aside as %s, and a new log begins, which peers refill",
                  directory, why, aside ? aside : "nothing");
    return prepare_log(store, error, p);
}

/* Leaves a damaged log to the processes that have it open, and tells them. */
static apr_status_t leave_damaged(const svl_store_t *store, const char **error, apr_pool_t *p)
{
    const char *directory = store->options.directory;
    apr_status_t status = svl_damage_mark(directory);

    *error = apr_psprintf(p,
                          "%s: data.mdb is damaged, and cannot be set aside while processes still use it%s: the node takes no "
                          "calls until the server is stopped and started",
                          directory, status ? ", nor marked for them" : "");
    return SVL_EDAMAGED;
}

static apr_status_t prepare_anyway(svl_store_t *store, const char **error, apr_pool_t *p)
{
    const char *directory = store->options.directory, *why = "is damaged, cut, or no log of mod_serviceless";
    apr_status_t status = check_boot(store, error, p);
    int used;

    if (status || !store->options.set_aside_damaged) {
        return status ? status : prepare_log(store, error, p);
    }
    used = is_used(directory, p);
    if (svl_damage_is_marked(directory)) {
        status = SVL_EDAMAGED;
        why = "was found to be damaged when it was last used, or its file was cut or removed then";
    }
    if (!status) {
        status = svl_opening_give_blocks(&store->options, p);
    }
    if (!status) {
        status = svl_verify(&store->options, used ? 0 : SVL_VERIFY_BUDGET);
    }
    if (!status) {
        status = prepare_log(store, error, p);
    }
    if (status != SVL_EDAMAGED) {
        return status;
    }
    svl_env_close(store);
    store->whole = 0;
    return used ? leave_damaged(store, error, p) : begin_anew(store, why, error, p);
}

static apr_status_t prepare_as(const user_t *user, svl_store_t *store, const char **error, apr_pool_t *p)
{
    const char *directory = store->options.directory;
    apr_status_t status = give_all(directory, user, error, p), back;

    if (!status) {
        status = become(user);
        if (status) {
            *error = sentence(directory, "the user of the server cannot be taken on", status, p);
        }
        else {
            status = prepare_anyway(store, error, p);
        }
    }
    svl_opening_undo(store);
    back = become_again(user);
    if (!status && back) {
        status = back;
        *error = sentence(directory, "the rights of root did not come back", status, p);
    }
    return status;
}

apr_status_t svl_store_prepare(const svl_store_options_t *options, apr_int64_t uid, apr_int64_t gid, const char **error,
                               apr_pool_t *p)
{
    svl_store_t *store;
    user_t user;
    apr_status_t status;

    *error = NULL;
    if (options->size < SVL_STORE_SIZE_MIN) {
        *error = apr_psprintf(p, "%s: a log needs at least %d bytes", options->directory, SVL_STORE_SIZE_MIN);
        return APR_EINVAL;
    }
    if (!svl_name_is_node(options->node, strlen(options->node))) {
        *error = apr_psprintf(p, "%s: no name of a node", svl_log_escape(p, options->node, SVL_NAME_NODE_MAX));
        return APR_EINVAL;
    }
    find_user(&user, uid, gid);
    status = make_directory(options->directory, error, p);
    if (status) {
        return status;
    }
    status =
        svl_opening_make(&store, options, 0, p); /* first, since even closing a file drops the locks of a log that is open */
    if (!status) {
        return prepare_as(&user, store, error, p);
    }
    *error = svl_identity_explain(options->directory, status, p);
    return status;
}

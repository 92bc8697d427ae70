/* SPDX-License-Identifier: Apache-2.0 */
#include "running.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "boot.h"
#include "commit.h"
#include "ended.h"
#include "journal.h"
#include "recent.h"

#define FORMAT "running-6"
#define ROWS_MAX 4096 /* 8 MiB */

/* The first bytes of the file; then what ended.h, recent.h and journal.h keep; then rows. */
typedef struct header_t {
    char format[12];
    unsigned char id[SVL_RUNNING_ID];            /* by which the log tells it from another file that was put here */
    unsigned char created[sizeof(apr_uint64_t)]; /* the log's: positions of another one mean nothing here */
    char boot[SVL_RECORDS_BOOT];
} header_t;

#define RECENT_AT (sizeof(header_t) + sizeof(svl_ended_t))
#define JOURNAL_AT (RECENT_AT + sizeof(svl_recent_t))
#define ROWS_AT ((JOURNAL_AT + sizeof(svl_journal_t) + sizeof(header_t) - 1) / sizeof(header_t) * sizeof(header_t))

static apr_status_t make_header(const svl_store_t *store, header_t *header)
{
    memset(header, 0, sizeof(*header));
    memcpy(header->format, FORMAT, sizeof(FORMAT));
    svl_records_put64(header->created, (apr_uint64_t)store->node.created);
    return svl_boot_read(header->boot);
}

/* @param id receives the file's  @return APR_NOTFOUND when it is of another log, boot or format; another failure: that is not known */
static apr_status_t check_header(const svl_store_t *store, int fd, unsigned char id[SVL_RUNNING_ID])
{
    header_t found, expected;
    apr_status_t status = make_header(store, &expected);
    ssize_t got = status ? 0 : pread(fd, &found, sizeof(found), 0);

    if (status || got < 0) {
        return status ? status : APR_FROM_OS_ERROR(errno);
    }
    if (got != (ssize_t)sizeof(found)) {
        return APR_NOTFOUND;
    }
    memcpy(id, found.id, sizeof(found.id));
    memcpy(expected.id, found.id, sizeof(found.id));
    return memcmp(&found, &expected, sizeof(found)) ? APR_NOTFOUND : APR_SUCCESS;
}

static int open_file(const char *directory, int flags)
{
    char path[APR_PATH_MAX];

    apr_snprintf(path, sizeof(path), "%s/" SVL_RUNNING_FILE, directory);
    return open(path, O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags, S_IRUSR | S_IWUSR);
}

static void remove_file(const char *directory)
{
    char path[APR_PATH_MAX];

    apr_snprintf(path, sizeof(path), "%s/" SVL_RUNNING_FILE, directory);
    unlink(path);
}

/* @param end receives where the journal ends, as the file has it */
static int make_locks(int fd, apr_uint64_t *end)
{
    void *mapped = mmap(NULL, ROWS_AT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int error = mapped == MAP_FAILED ? errno : svl_recent_make((svl_recent_t *)(void *)((char *)mapped + RECENT_AT));

    if (!error) {
        svl_journal_t *journal = (svl_journal_t *)(void *)((char *)mapped + JOURNAL_AT);

        *end = journal->end;
        error = svl_journal_make(journal);
    }
    if (mapped != MAP_FAILED) {
        munmap(mapped, ROWS_AT);
    }
    return error;
}

/* Its blocks are there from the beginning, since writing to a mapped hole of a full disk would be a SIGBUS. */
static apr_status_t make_file(const svl_store_t *store, off_t size, unsigned char id[SVL_RUNNING_ID])
{
    const char *directory = store->options.directory;
    header_t header;
    apr_status_t status = make_header(store, &header);
    apr_uint64_t end;
    int fd, error;

    if (!status) {
        status = apr_generate_random_bytes(id, SVL_RUNNING_ID);
    }
    if (status) {
        return status;
    }
    memcpy(header.id, id, SVL_RUNNING_ID);
    remove_file(directory);
    fd = open_file(directory, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    error = posix_fallocate(fd, 0, size);
    if (!error) {
        error = make_locks(fd, &end);
    }
    if (!error && pwrite(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header)) {
        error = errno ? errno : EIO;
    }
    close(fd);
    if (error) {
        remove_file(directory); /* nobody has it: it has no header */
    }
    return APR_FROM_OS_ERROR(error);
}

static int is_unused(const svl_store_t *store)
{
    return store->starts || store->begun;
}

/* Of a file that is there.  Its lock may be one that was held when the file was copied, or when the kernel could not tell.
 * @param named whether the log names it */
static apr_status_t take_file(const svl_store_t *store, int fd, off_t size, int named)
{
    apr_uint64_t end;
    struct stat file;
    int error = 0;

    if (fstat(fd, &file)) {
        return APR_FROM_OS_ERROR(errno);
    }
    if (file.st_size < (off_t)ROWS_AT) {
        return APR_NOTFOUND; /* it was cut */
    }
    if (is_unused(store)) {
        error = make_locks(fd, &end);
        if (!error && named && svl_journal_outruns(store, end)) {
            return APR_NOTFOUND; /* the disk went and came back */
        }
    }
    if (!error && file.st_size < size) { /* else it has its blocks; others may write to it */
        error = posix_fallocate(fd, file.st_size, size - file.st_size);
    }
    return APR_FROM_OS_ERROR(error);
}

/* @param id receives the file's, zeros when there is none, and stays when that is not known */
static apr_status_t give_space(const svl_store_t *store, unsigned char id[SVL_RUNNING_ID])
{
    off_t rows = 3 * (off_t)(store->options.processes ? store->options.processes : 1), size = (off_t)ROWS_AT;
    int fd = open_file(store->options.directory, O_RDWR);
    apr_status_t status = fd >= 0                             ? check_header(store, fd, id)
                          : errno == ENOENT || errno == ELOOP ? APR_NOTFOUND
                                                              : APR_FROM_OS_ERROR(errno);

    size += (rows < ROWS_MAX ? rows : ROWS_MAX) * (off_t)sizeof(svl_running_row_t);
    if (!status) {
        status = take_file(store, fd, size, !memcmp(id, store->running_id, SVL_RUNNING_ID));
    }
    if (status == APR_NOTFOUND && is_unused(store)) {
        status = make_file(store, size, id);
        if (status) {
            memset(id, 0, SVL_RUNNING_ID);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return status;
}

static apr_status_t apply_id(svl_change_t *change, void *baton)
{
    apr_status_t status = svl_journal_apply(change); /* it is the old file's */

    return status
               ? status
               : svl_change_put(change, SVL_TABLE_TOP, SVL_RUNNING_FILE, sizeof(SVL_RUNNING_FILE) - 1, baton, SVL_RUNNING_ID);
}

static apr_status_t name_file(svl_store_t *store, unsigned char id[SVL_RUNNING_ID])
{
    apr_status_t status;

    store->restores = 1;
    status = svl_env_status(svl_env_fit(store));
    if (!status) {
        status = svl_commit_run(store, apply_id, id, 0);
    }
    if (!status) {
        memcpy(store->running_id, id, SVL_RUNNING_ID);
    }
    store->restores = 0;
    return status;
}

/* Who uses the log uses the file that the log names, or none does: all that accept a call must see what is kept there.  So while somebody
 * uses the log, neither is changed. */
apr_status_t svl_running_prepare(svl_store_t *store)
{
    unsigned char id[SVL_RUNNING_ID];
    apr_status_t status, named = APR_SUCCESS;

    memcpy(id, store->running_id, sizeof(id));
    status = give_space(store, id);
    if (is_unused(store) && memcmp(id, store->running_id, sizeof(id)) != 0) {
        named = name_file(store, id);
    }
    if (!named && store->options.durable) {
        svl_journal_prepare(store, is_unused(store));
    }
    if (status) {
        svl_log_write(
            store->options.log, SVL_LOG_MARK, SVL_LOG_WARNING, status,
            SVLNO(0376) "%s/" SVL_RUNNING_FILE
                        " cannot be made or be given all its space, or was removed, and is made at the next start: should "
                        "a process end, more may count as running than was",
            store->options.directory);
    }
    return named;
}

static apr_status_t map_file(svl_store_t *store, int fd)
{
    unsigned char id[SVL_RUNNING_ID];
    struct stat file;
    void *mapped;
    apr_status_t status = check_header(store, fd, id);

    if (!status && memcmp(id, store->running_id, sizeof(id)) != 0) {
        status = APR_NOTFOUND;
    }
    if (status || fstat(fd, &file) || file.st_size < (off_t)ROWS_AT) {
        return status ? status : APR_NOTFOUND;
    }
    mapped = mmap(NULL, (size_t)file.st_size, store->readonly ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) {
        return APR_FROM_OS_ERROR(errno);
    }
    store->running = mapped;
    store->running_size = (apr_size_t)file.st_size;
    store->ended = (svl_ended_t *)(void *)((char *)mapped + sizeof(header_t));
    store->recent = (svl_recent_t *)(void *)((char *)mapped + RECENT_AT);
    store->journal = (svl_journal_t *)(void *)((char *)mapped + JOURNAL_AT);
    return APR_SUCCESS;
}

apr_status_t svl_running_open(svl_store_t *store)
{
    static const unsigned char none[SVL_RUNNING_ID];
    apr_status_t status;
    int fd;

    if (!memcmp(store->running_id, none, sizeof(none))) {
        return APR_SUCCESS;
    }
    fd = open_file(store->options.directory, store->readonly ? O_RDONLY : O_RDWR);
    status = fd < 0 ? APR_FROM_OS_ERROR(errno) : map_file(store, fd);
    if (!status && !store->readonly) {
        status = svl_env_status(svl_env_fit(store)); /* it was not known yet whether anything is kept */
    }
    if (!status) {
        svl_journal_open(store);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (store->readonly && (APR_STATUS_IS_ENOENT(status) || status == APR_NOTFOUND)) {
        return APR_SUCCESS; /* a copy of the log alone */
    }
    if (status) {
        svl_log_write(
            store->options.log, SVL_LOG_MARK, SVL_LOG_ERR, status,
            SVLNO(0379) "%s/" SVL_RUNNING_FILE
                        ", which has calls and outcomes that are not in data.mdb yet, cannot be opened, or is not the "
                        "one that belongs to it",
            store->options.directory);
    }
    return APR_STATUS_IS_ENOENT(status) || status == APR_NOTFOUND ? APR_EGENERAL : status;
}

apr_status_t svl_running_named(const svl_store_t *store, MDB_txn *txn, unsigned char id[SVL_RUNNING_ID])
{
    MDB_val key = {sizeof(SVL_RUNNING_FILE) - 1, SVL_RUNNING_FILE}, value;
    apr_status_t status = svl_env_status(mdb_get(txn, store->tables[SVL_TABLE_TOP], &key, &value));

    memset(id, 0, SVL_RUNNING_ID);
    if (!status && value.mv_size == SVL_RUNNING_ID) {
        memcpy(id, value.mv_data, SVL_RUNNING_ID);
    }
    return status == APR_NOTFOUND ? APR_SUCCESS : status;
}

apr_status_t svl_running_check(const svl_change_t *change)
{
    unsigned char id[SVL_RUNNING_ID];
    apr_status_t status = svl_running_named(change->store, change->txn, id);

    return status || !memcmp(id, change->store->running_id, sizeof(id)) ? status : APR_EAGAIN;
}

void svl_running_close(svl_store_t *store)
{
    if (store->running) {
        munmap(store->running, store->running_size);
    }
    store->running = store->row = NULL;
    store->ended = NULL;
    store->recent = NULL;
    store->journal = NULL;
    svl_journal_close(store);
}

svl_running_row_t *svl_running_rows(const svl_store_t *store, apr_size_t *count)
{
    *count = store->running ? (store->running_size - ROWS_AT) / sizeof(svl_running_row_t) : 0;
    return store->running ? (svl_running_row_t *)(void *)((char *)store->running + ROWS_AT) : NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>
#include <zlib.h>

#include "../core/fault.h"
#include "boot.h"
#include "ended.h"
#include "recent.h"
#include "work.h"

static int open_file(const char *directory, int flags)
{
    char path[APR_PATH_MAX];

    apr_snprintf(path, sizeof(path), "%s/" SVL_JOURNAL_FILE, directory);
    return open(path, O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags, S_IRUSR | S_IWUSR);
}

int svl_journal_is_whole(int fd)
{
    struct stat file;

    return !fstat(fd, &file) && S_ISREG(file.st_mode) && file.st_nlink > 0 && file.st_size == SVL_JOURNAL_SIZE;
}

/* Written, not only allocated: else each first write to a block would change metadata of the file system. */
static int fill(int fd)
{
    static const unsigned char zeros[16 * SVL_JOURNAL_PAGE];
    off_t at;

    errno = 0;
    for (at = 0; at < SVL_JOURNAL_SIZE; at += (off_t)sizeof(zeros)) {
        if (pwrite(fd, zeros, sizeof(zeros), at) != (ssize_t)sizeof(zeros)) {
            return errno ? errno : ENOSPC;
        }
    }
    return ftruncate(fd, SVL_JOURNAL_SIZE) || fsync(fd) ? errno : 0;
}

void svl_journal_prepare(const svl_store_t *store, int unused)
{
    int fd = open_file(store->options.directory, O_RDWR | O_CREAT | (unused ? 0 : O_EXCL)), error = fd < 0 ? errno : 0;

    if (!unused && error == EEXIST) {
        return; /* others may be writing to it */
    }
    if (!error && !svl_journal_is_whole(fd)) {
        error = fill(fd);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (error) {
        svl_log_write(
            store->options.log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_FROM_OS_ERROR(error),
            SVLNO(0383) "%s/" SVL_JOURNAL_FILE
                        " cannot be made: until the next start every call and outcome is committed by itself, which is slower",
            store->options.directory);
    }
}

void svl_journal_open(svl_store_t *store)
{
    char boot[SVL_RECORDS_BOOT];

    if (store->readonly || !store->options.durable || !store->journal) {
        return;
    }
    errno = ENOTSUP;
    if (!svl_boot_read(boot) && boot[0]) { /* else `running` may be of another boot, and would hide the journal */
        store->journal_fd = open_file(store->options.directory, O_RDWR | O_DSYNC);
    }
    if (store->journal_fd >= 0 && !svl_journal_is_whole(store->journal_fd)) {
        svl_journal_close(store);
        errno = EINVAL;
    }
    if (store->journal_fd < 0) {
        svl_log_write(
            store->options.log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_FROM_OS_ERROR(errno),
            SVLNO(0381) "%s/" SVL_JOURNAL_FILE
                        " cannot be opened, or was cut; it is made at the next start: until then every call and outcome "
                        "is committed by itself, which is slower",
            store->options.directory);
    }
}

void svl_journal_close(svl_store_t *store)
{
    if (store->journal_fd >= 0) {
        close(store->journal_fd);
    }
    store->journal_fd = -1;
}

apr_uint32_t svl_journal_sum(const unsigned char *batch, apr_size_t length)
{
    uLong sum = crc32(0, batch, SVL_JOURNAL_BATCH_HEAD - 4);

    return (apr_uint32_t)crc32(sum, batch + SVL_JOURNAL_BATCH_HEAD, (uInt)length);
}

/* @param lost receives why some pages of it are zeros instead; APR_SUCCESS: it was read whole
 * @return APR_ENOENT, or another failure, which may be over with the next try */
static apr_status_t read_pages(int fd, unsigned char *bytes, apr_status_t *lost)
{
    ssize_t got = SVL_JOURNAL_PAGE;
    off_t at;

    *lost = APR_SUCCESS;
    for (at = 0; at < SVL_JOURNAL_SIZE && (got == SVL_JOURNAL_PAGE || (got < 0 && errno == EIO)); at += SVL_JOURNAL_PAGE) {
        got = pread(fd, bytes + at, SVL_JOURNAL_PAGE, at);
        if (got != SVL_JOURNAL_PAGE) {
            *lost = got < 0 ? APR_FROM_OS_ERROR(errno) : APR_EOF;
        }
    }
    return got < 0 && errno != EIO ? *lost : APR_SUCCESS;
}

/* @param bytes receives SVL_JOURNAL_SIZE bytes, malloc'ed; NULL with a failure */
static apr_status_t read_file(const char *directory, unsigned char **bytes, apr_status_t *lost)
{
    int fd = open_file(directory, O_RDONLY);
    apr_status_t status = fd < 0 ? APR_FROM_OS_ERROR(errno) : APR_SUCCESS;

    *bytes = status ? NULL : calloc(1, SVL_JOURNAL_SIZE);
    if (!status) {
        status = *bytes ? read_pages(fd, *bytes, lost) : APR_ENOMEM;
        close(fd);
    }
    if (status) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

/* @return bytes of the records of the batch at this place of the file; 0: there is none that counts */
static apr_size_t batch_at(const svl_store_t *store, const unsigned char *bytes, apr_size_t place, apr_uint64_t base)
{
    const unsigned char *batch = bytes + place;
    apr_uint64_t at = svl_records_get64(batch);
    apr_size_t length = svl_records_get32(batch + 16);

    return at >= base && at - base < SVL_JOURNAL_SIZE && at % SVL_JOURNAL_SIZE == place
                   && !memcmp(batch + 8, store->running_id, SVL_RUNNING_ID) && length <= SVL_JOURNAL_RING
                   && length <= SVL_JOURNAL_SIZE - SVL_JOURNAL_BATCH_HEAD - place
                   && svl_journal_sum(batch, length) == svl_records_get32(batch + 20)
               ? length
               : 0;
}

static void tell(const svl_store_t *store, apr_uint64_t position, const char *what)
{
    svl_log_write(store->options.log, SVL_LOG_MARK, SVL_LOG_ERR, APR_SUCCESS,
                  SVLNO(0384) "%s/" SVL_JOURNAL_FILE " %s log position %" APR_UINT64_T_FMT, store->options.directory, what,
                  position);
}

static apr_status_t apply_outcome(svl_change_t *change, apr_uint64_t position, const unsigned char *record, apr_size_t length)
{
    svl_records_outcome_t found;
    svl_store_outcome_t outcome;

    if (svl_records_get_outcome(&found, record, length)) {
        tell(change->store, position, "holds something that is no outcome, for");
        return APR_SUCCESS;
    }
    outcome = (svl_store_outcome_t){.position = position,
                                    .outcome = (svl_outcome_e)found.outcome,
                                    .micros = found.micros,
                                    .ended = found.ended,
                                    .text = found.text,
                                    .length = found.dropped ? 1 : found.length};
    return svl_work_finish(change, &outcome, 1);
}

static apr_status_t apply_call(svl_change_t *change, apr_uint64_t position, const unsigned char *record, apr_size_t length)
{
    apr_status_t status;

    if (position > change->state.last + 1) {
        tell(change->store, position, "is damaged, or lacks calls that were refused in the end: nothing precedes");
    }
    status = svl_recent_append(change, position, record, length);
    if (status == APR_EINVAL) {
        tell(change->store, position, "holds something that is no call, for");
        return APR_SUCCESS;
    }
    return status;
}

static apr_status_t apply_batch(svl_change_t *change, const unsigned char *records, apr_size_t left)
{
    apr_status_t status = APR_SUCCESS;

    while (!status && left >= SVL_JOURNAL_RECORD_HEAD) {
        apr_uint64_t position = svl_records_get64(records);
        apr_size_t length = svl_records_get32(records + 8);
        apr_uint32_t kind = svl_records_get32(records + 12);

        records += SVL_JOURNAL_RECORD_HEAD;
        left -= SVL_JOURNAL_RECORD_HEAD;
        if (length > left || (kind != SVL_JOURNAL_CALL && kind != SVL_JOURNAL_OUTCOME)) {
            tell(change->store, position, "holds what this version does not know, for");
            break;
        }
        if (kind == SVL_JOURNAL_CALL) {
            status = apply_call(change, position, records, length);
        }
        else {
            status = apply_outcome(change, position, records, length);
        }
        records += length;
        left -= length;
    }
    return status;
}

/* In the order in which they were written: from the place of the base on, round the file. */
static apr_status_t apply_all(svl_change_t *change, const unsigned char *bytes, apr_uint64_t base)
{
    apr_size_t step, from = (apr_size_t)(base % SVL_JOURNAL_SIZE);
    apr_status_t status = APR_SUCCESS;

    for (step = 0; step < SVL_JOURNAL_SIZE && !status; step += SVL_JOURNAL_PAGE) {
        apr_size_t place = (from + step) % SVL_JOURNAL_SIZE, length = batch_at(change->store, bytes, place, base);

        if (length) {
            status = apply_batch(change, bytes + place + SVL_JOURNAL_BATCH_HEAD, length);
        }
    }
    return status;
}

static void tell_lost(const svl_store_t *store, apr_status_t why)
{
    svl_log_write(
        store->options.log, SVL_LOG_MARK, SVL_LOG_ERR, why,
        SVLNO(0382) "%s/" SVL_JOURNAL_FILE
                    " cannot be read, or not all of it: calls and outcomes that were there and not yet in data.mdb, if any "
                    "were, are lost here; peers have the calls that reached them",
        store->options.directory);
}

apr_status_t svl_journal_apply(svl_change_t *change)
{
    static const unsigned char none[SVL_JOURNAL_BASE_SIZE];
    const svl_store_t *store = change->store;
    unsigned char *bytes = NULL;
    MDB_val value;
    apr_status_t lost = APR_SUCCESS, had, status;
    apr_uint64_t base = 0;

    had = svl_change_get(change, SVL_TABLE_TOP, SVL_JOURNAL_BASE, sizeof(SVL_JOURNAL_BASE) - 1, &value);
    if (had && had != APR_NOTFOUND) {
        return had;
    }
    if (!had && value.mv_size == SVL_JOURNAL_BASE_SIZE) {
        base = svl_records_get64(value.mv_data) / SVL_JOURNAL_PAGE * SVL_JOURNAL_PAGE;
    }
    status = read_file(store->options.directory, &bytes, &lost);
    if (APR_STATUS_IS_ENOENT(status)) {
        lost = had ? APR_SUCCESS : status; /* there was none before the first start with fsync */
        status = APR_SUCCESS;
    }
    if (!status && lost) {
        tell_lost(store, lost);
    }
    if (!status && bytes) {
        status = apply_all(change, bytes, base);
    }
    free(bytes);
    if (!status && (!had || store->options.durable)) {
        status = svl_change_put(change, SVL_TABLE_TOP, SVL_JOURNAL_BASE, sizeof(SVL_JOURNAL_BASE) - 1, none, sizeof(none));
    }
    return status;
}

int svl_journal_outruns(const svl_store_t *store, apr_uint64_t end)
{
    unsigned char *bytes;
    apr_status_t lost;
    apr_size_t place;
    int found = 0;

    if (read_file(store->options.directory, &bytes, &lost)) {
        return 0;
    }
    for (place = 0; place < SVL_JOURNAL_SIZE && !found; place += SVL_JOURNAL_PAGE) {
        found = batch_at(store, bytes, place, end) != 0;
    }
    free(bytes);
    return found;
}

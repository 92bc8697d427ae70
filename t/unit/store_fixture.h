/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the store have in common: a directory of their own, and short ways to make calls. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <cmocka.h>

#include "core/fault.h"
#include "store/store.h"

#define EPOCH "0123456789abcdef"
#define NOW APR_INT64_C(1700000000000000)

typedef struct fixture_t {
    apr_pool_t *p;      /* of the test */
    apr_pool_t *opened; /* of the open log */
    char directory[APR_PATH_MAX];
    svl_store_options_t options;
    svl_store_t *store;
} fixture_t;

static inline void prepare_log(fixture_t *f)
{
    const char *error = NULL;
    apr_status_t status = svl_store_prepare(&f->options, -1, -1, &error, f->p);

    if (status) {
        fail_msg("prepare: %s", error);
    }
}

static inline void open_log(fixture_t *f)
{
    apr_pool_create(&f->opened, f->p);
    assert_int_equal(svl_store_open(&f->store, &f->options, f->opened), APR_SUCCESS);
}

static inline void close_log(fixture_t *f)
{
    if (f->opened) {
        apr_pool_destroy(f->opened);
    }
    f->opened = NULL;
    f->store = NULL;
}

/* In a process that leaves without closing, as a killed one does: its owner is dead then. */
static inline void leave_work(fixture_t *f, void (*work)(fixture_t *f))
{
    int status = -1;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        apr_pool_create_unmanaged(&f->opened);
        if (svl_store_open(&f->store, &f->options, f->opened)) {
            _exit(1);
        }
        work(f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* In a new process, with the log open there; the parent must have it closed, or not use it in the child.  @return its id */
static inline pid_t in_child(fixture_t *f, void (*work)(fixture_t *f, int in, int out), int pipes[2])
{
    int down[2], up[2];
    pid_t pid;

    assert_int_equal(pipe(down), 0);
    assert_int_equal(pipe(up), 0);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        close(down[1]);
        close(up[0]);
        apr_pool_create_unmanaged(&f->opened);
        if (svl_store_open(&f->store, &f->options, f->opened)) {
            _exit(1);
        }
        work(f, down[0], up[1]);
        close_log(f);
        _exit(0);
    }
    close(down[0]);
    close(up[1]);
    pipes[0] = up[0];
    pipes[1] = down[1];
    return pid;
}

static inline int end_of(pid_t pid, const int pipes[2])
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(pipes[0]);
    close(pipes[1]);
    return status;
}

static inline int set_up(void **state)
{
    fixture_t *f = calloc(1, sizeof(*f));
    const char *above = getenv("TMPDIR");

    apr_pool_create(&f->p, NULL);
    snprintf(f->directory, sizeof(f->directory), "%s/svl-store-XXXXXX", above ? above : "/tmp");
    if (!mkdtemp(f->directory)) {
        return -1;
    }
    f->options = (svl_store_options_t){.directory = f->directory, .node = "a", .size = 64 << 20, .readers = 64};
    prepare_log(f);
    open_log(f);
    *state = f;
    return 0;
}

/* Where it survives a power cut. */
static inline int set_up_durable(void **state)
{
    fixture_t *f;

    if (set_up(state)) {
        return -1;
    }
    f = *state;
    close_log(f);
    f->options.durable = 1;
    prepare_log(f);
    open_log(f);
    return 0;
}

#define EITHER_WAY(promise)                                                                                                    \
    cmocka_unit_test_setup_teardown(promise, set_up, tear_down),                                                               \
        cmocka_unit_test_setup_teardown(promise, set_up_durable, tear_down)

static inline const char *path_of(const fixture_t *f, const char *name)
{
    return apr_pstrcat(f->p, f->directory, "/", name, NULL);
}

static inline int tear_down(void **state)
{
    fixture_t *f = *state;
    struct dirent *entry;
    DIR *directory;

    close_log(f);
    directory = opendir(f->directory);
    while (directory && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] != '.') {
            unlink(path_of(f, entry->d_name));
        }
    }
    if (directory) {
        closedir(directory);
    }
    rmdir(f->directory);
    apr_pool_destroy(f->p);
    free(f);
    return 0;
}

/* Of the operating system: it is not known what is in the pages of a mapped file then. */
static inline void boot(fixture_t *f)
{
    close_log(f);
    assert_int_equal(unlink(path_of(f, "running")), 0);
    prepare_log(f);
    open_log(f);
}

/* An own call of set `set` with the one argument `text`. */
static inline svl_store_entry_t own_call(apr_pool_t *p, const char *id, const char *set, const char *text)
{
    svl_store_entry_t entry = {.id = id, .origin = "a", .set = set, .issued = NOW / 1000, .ttl = 60, .run = 1};

    entry.draft.head = apr_psprintf(
        p, "{\"id\":\"%s\",\"function\":\"f\",\"args\":[\"%s\"],\"kwargs\":{},\"origin\":\"a\",\"set\":\"%s\",", id, text, set);
    entry.draft.head_length = strlen(entry.draft.head);
    entry.draft.tail = ",\"issued\":1700000000000,\"ttl\":60}";
    entry.draft.tail_length = strlen(entry.draft.tail);
    return entry;
}

/* A call of the node `origin`. */
static inline svl_store_entry_t foreign_call(apr_pool_t *p, const char *id, const char *origin, apr_uint64_t seq,
                                             const char *text)
{
    svl_store_entry_t entry = {.id = id, .origin = origin, .set = "all", .epoch = EPOCH, .seq = seq, .run = 1};

    entry.issued = NOW / 1000;
    entry.ttl = 60;
    entry.draft.head =
        apr_psprintf(p,
                     "{\"id\":\"%s\",\"function\":\"f\",\"args\":[\"%s\"],\"kwargs\":{},\"origin\":\"%s\",\"set\":\"all\","
                     "\"epoch\":\"" EPOCH "\",\"seq\":%" APR_UINT64_T_FMT ",\"issued\":1700000000000,\"ttl\":60}",
                     id, text, origin, seq);
    entry.draft.head_length = strlen(entry.draft.head);
    return entry;
}

static inline apr_status_t accept_all(svl_store_t *store, svl_store_entry_t *entries, apr_uint32_t count, const char *route,
                                      svl_store_batch_t *batch)
{
    svl_store_batch_t own;

    if (!batch) {
        batch = &own;
    }
    *batch = (svl_store_batch_t){.entries = entries, .count = count, .route = route, .arity = 1};
    return svl_store_accept(store, batch, 1, NOW);
}

static inline apr_status_t accept_one(svl_store_t *store, svl_store_entry_t *entry)
{
    return accept_all(store, entry, 1, NULL, NULL);
}

static inline apr_status_t finish_one(svl_store_t *store, apr_uint64_t position, svl_outcome_e outcome, const char *text)
{
    svl_store_outcome_t ended = {.position = position, .outcome = outcome, .micros = 5, .ended = NOW + 1, .text = text};

    ended.length = text ? strlen(text) : 0;
    return svl_store_finish(store, &ended, 1);
}

static inline svl_store_counts_t count_log(svl_store_t *store)
{
    svl_store_reader_t *reader;
    svl_store_counts_t counts;

    assert_int_equal(svl_store_read_begin(&reader, store), APR_SUCCESS);
    assert_int_equal(svl_store_count(reader, &counts), APR_SUCCESS);
    svl_store_read_end(reader);
    return counts;
}

static inline int holds_id(svl_store_t *store, const char *id)
{
    svl_store_reader_t *reader;
    apr_uint64_t position;
    apr_status_t status;

    assert_int_equal(svl_store_read_begin(&reader, store), APR_SUCCESS);
    status = svl_store_find(reader, id, &position);
    svl_store_read_end(reader);
    return status == APR_SUCCESS;
}

/* Reads an entry; its texts are copied. */
static inline svl_store_record_t read_entry(fixture_t *f, apr_uint64_t position)
{
    svl_store_reader_t *reader;
    svl_store_record_t record;

    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    assert_int_equal(svl_store_get(reader, position, 1, &record), APR_SUCCESS);
    if (record.line) {
        record.line = apr_pstrmemdup(f->p, record.line, record.length);
    }
    if (record.refused) {
        record.refused = apr_pstrmemdup(f->p, record.refused, record.refused_length);
    }
    if (record.text) {
        record.text = apr_pstrmemdup(f->p, record.text, record.text_length);
    }
    svl_store_read_end(reader);
    return record;
}

static inline int run_promises(const char *name, const struct CMUnitTest *tests, size_t count)
{
    int failed;

    signal(SIGPIPE, SIG_IGN);
    apr_initialize();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
    apr_terminate();
    return failed;
}

#endif

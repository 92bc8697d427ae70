/* SPDX-License-Identifier: Apache-2.0 */
/* What the store promises about logs that cannot be trusted: they are set aside, never read, never deleted, and a new one begins. */
#include <lmdb.h>

#include "store_fixture.h"

#define OLD_BOOT "00000000-1111-2222-3333-444444444444\n"

static char logged[2048];

static void write_log(void *baton, const char *file, int line, svl_log_level_e level, apr_status_t status, const char *text)
{
    (void)baton;
    (void)file;
    (void)line;
    (void)level;
    (void)status;
    apr_cpystrn(logged + strlen(logged), text, sizeof(logged) - strlen(logged));
}

static void log_lines(fixture_t *f)
{
    static const svl_log_t log = {.write = write_log};

    logged[0] = '\0';
    f->options.log = &log;
}

/* @return how many files of the directory begin with `head`; with `path` one of them */
static int count_files(const fixture_t *f, const char *head, const char **path)
{
    DIR *directory = opendir(f->directory);
    struct dirent *entry;
    int count = 0;

    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL) {
        if (!strncmp(entry->d_name, head, strlen(head))) {
            ++count;
            if (path) {
                *path = path_of(f, entry->d_name);
            }
        }
    }
    closedir(directory);
    return count;
}

static void write_mark(const fixture_t *f, const char *text)
{
    FILE *mark = fopen(path_of(f, "boot"), "w");

    assert_non_null(mark);
    fputs(text, mark);
    fclose(mark);
}

/* Leaves a call in the log, closed.  @return its epoch */
static const char *accept_a_call(fixture_t *f)
{
    const char *epoch = apr_pstrdup(f->p, svl_store_epoch(f->store));
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x");

    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    close_log(f);
    return epoch;
}

/* Prepares again, and expects a new log beside the old one. */
static void expect_new_log(fixture_t *f, const char *epoch)
{
    const char *aside = NULL;

    log_lines(f);
    prepare_log(f);
    open_log(f);
    assert_int_equal(count_files(f, "data.mdb.", &aside), 1);
    assert_int_equal(count_files(f, "lock.mdb.", NULL), 1);
    assert_non_null(strstr(logged, aside));
    assert_non_null(strstr(logged, "set aside"));
    assert_int_equal(count_log(f->store).calls, 0);
    assert_string_not_equal(svl_store_epoch(f->store), epoch);
}

static void a_log_without_fsync_is_not_read_after_the_system_went_down(void **state)
{
    fixture_t *f = *state;
    const char *epoch;
    FILE *data;
    int i;

    epoch = accept_a_call(f);
    assert_int_equal(access(path_of(f, "boot"), F_OK), 0);
    write_mark(f, OLD_BOOT);
    data = fopen(path_of(f, "data.mdb"), "r+");
    assert_non_null(data);
    for (i = 0; i < 2000; ++i) {
        fputs("torn\n", data);
    }
    fclose(data);
    expect_new_log(f, epoch);
    close_log(f);
    prepare_log(f); /* once is enough */
    assert_int_equal(count_files(f, "data.mdb.", NULL), 1);
}

static void a_mark_that_cannot_be_read_is_of_another_boot(void **state)
{
    fixture_t *f = *state;
    const char *epoch = accept_a_call(f);

    write_mark(f, "");
    f->options.durable = 1;
    expect_new_log(f, epoch);
    assert_int_equal(access(path_of(f, "boot"), F_OK), -1);
}

static void a_log_with_fsync_is_kept_when_the_system_went_down(void **state)
{
    fixture_t *f = *state;

    f->options.durable = 1;
    close_log(f);
    prepare_log(f); /* it is synced, and the mark goes */
    assert_int_equal(access(path_of(f, "boot"), F_OK), -1);
    open_log(f);
    accept_a_call(f);
    prepare_log(f);
    open_log(f);
    assert_int_equal(count_log(f->store).calls, 1);
    assert_int_equal(count_files(f, "data.mdb.", NULL), 0);
}

static void the_mark_stays_while_a_process_still_writes_without_fsync(void **state)
{
    fixture_t *f = *state;
    int ends[2], status;
    char byte = 0;
    pid_t pid;

    close_log(f);
    assert_int_equal(pipe(ends), 0);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        apr_pool_create_unmanaged(&f->opened);
        if (svl_store_open(&f->store, &f->options, f->opened) || write(ends[1], &byte, 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    f->options.durable = 1;
    prepare_log(f);
    assert_int_equal(access(path_of(f, "boot"), F_OK), 0);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    prepare_log(f);
    assert_int_equal(access(path_of(f, "boot"), F_OK), -1);
    close(ends[0]);
    close(ends[1]);
}

static void a_damaged_log_is_set_aside_where_that_is_wanted(void **state)
{
    fixture_t *f = *state;
    const char *error = NULL, *epoch = accept_a_call(f);

    assert_int_equal(truncate(path_of(f, "data.mdb"), 5000), 0);
    log_lines(f);
    f->options.set_aside_damaged = 1;
    expect_new_log(f, epoch);
    assert_int_equal(count_files(f, "owners.", NULL), 1);
    close_log(f);
    assert_int_equal(truncate(path_of(f, "data.mdb"), 0), 0);
    f->options.set_aside_damaged = 0;
    assert_int_equal(svl_store_prepare(&f->options, -1, -1, &error, f->p), SVL_EDAMAGED);
    assert_int_equal(count_files(f, "data.mdb.", NULL), 1);
    f->options.set_aside_damaged = 1;
    prepare_log(f);
    assert_int_equal(count_files(f, "data.mdb.", NULL), 2); /* also within the same second */
}

static void another_nodes_log_is_never_set_aside(void **state)
{
    fixture_t *f = *state;
    const char *error = NULL;

    close_log(f);
    f->options.node = "b";
    f->options.set_aside_damaged = 1;
    assert_int_equal(svl_store_prepare(&f->options, -1, -1, &error, f->p), SVL_EOWNER);
    assert_int_equal(count_files(f, "data.mdb.", NULL), 0);
}

static void write_format(const fixture_t *f, unsigned char version)
{
    unsigned char format[] = {0, 0, 0, version};
    MDB_val key = {6, "format"}, value = {sizeof(format), format};
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;

    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 1), 0);
    assert_int_equal(mdb_env_open(env, f->directory, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "meta", MDB_CREATE, &dbi), 0);
    assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void a_log_of_another_format_is_never_set_aside(void **state)
{
    fixture_t *f = *state;
    const char *error;

    close_log(f);
    f->options.set_aside_damaged = 1;
    for (unsigned char version = 2; version <= 4; version += 2) { /* before and after ours */
        assert_int_equal(unlink(path_of(f, "data.mdb")), 0);
        write_format(f, version);
        error = NULL;
        assert_int_equal(svl_store_prepare(&f->options, -1, -1, &error, f->p), APR_ENOTIMPL);
        assert_non_null(strstr(error, "has another format than version"));
        assert_int_equal(count_files(f, "data.mdb.", NULL), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_log_without_fsync_is_not_read_after_the_system_went_down, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_mark_that_cannot_be_read_is_of_another_boot, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_with_fsync_is_kept_when_the_system_went_down, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_mark_stays_while_a_process_still_writes_without_fsync, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_log_is_set_aside_where_that_is_wanted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_nodes_log_is_never_set_aside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_of_another_format_is_never_set_aside, set_up, tear_down),
    };

    return run_promises("store_aside", tests, sizeof(tests) / sizeof(*tests));
}

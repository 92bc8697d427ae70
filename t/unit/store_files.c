/* SPDX-License-Identifier: Apache-2.0 */
/* What the store promises about its files: damage is found, other nodes' logs are refused, readers create nothing. */
#include "store_fixture.h"

#include <sys/resource.h>

/* Cuts or overwrites data.mdb, and expects that nobody opens it. */
static void expect_damaged(fixture_t *f)
{
    const char *error = NULL, *node;
    svl_store_t *store;

    assert_int_equal(svl_store_prepare(&f->options, -1, -1, &error, f->p), SVL_EDAMAGED);
    assert_non_null(strstr(error, f->directory));
    assert_int_equal(svl_store_open(&store, &f->options, f->p), SVL_EDAMAGED);
    error = NULL;
    assert_int_equal(svl_store_open_reader(&store, f->directory, &node, &error, f->p), SVL_EDAMAGED);
    assert_non_null(error);
}

static void a_cut_file_is_refused(void **state)
{
    fixture_t *f = *state;
    const char *data = path_of(f, "data.mdb");
    svl_store_entry_t entry;
    struct stat file;
    off_t sizes[5];
    int i;

    for (i = 0; i < 500; ++i) {
        entry = own_call(f->p, apr_psprintf(f->p, "id-%d", i), "all", "x");
        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    }
    close_log(f);
    assert_int_equal(stat(data, &file), 0);
    sizes[0] = file.st_size / 2;
    sizes[1] = file.st_size / 4 + 17;
    sizes[2] = 5000;
    sizes[3] = 100;
    sizes[4] = 0;
    for (i = 0; i < 5; ++i) {
        assert_int_equal(truncate(data, sizes[i]), 0);
        expect_damaged(f);
        assert_int_equal(stat(data, &file), 0);
        assert_int_equal(file.st_size, sizes[i]);
    }
}

static void what_is_no_log_is_refused(void **state)
{
    fixture_t *f = *state;
    FILE *data;
    int i;

    close_log(f);
    data = fopen(path_of(f, "data.mdb"), "r+");
    assert_non_null(data);
    for (i = 0; i < 2000; ++i) {
        fputs("not LMDB\n", data);
    }
    fclose(data);
    expect_damaged(f);
}

static void another_nodes_log_is_refused(void **state)
{
    fixture_t *f = *state;
    const char *error = NULL;
    svl_store_t *store;

    close_log(f);
    f->options.node = "b";
    assert_int_equal(svl_store_prepare(&f->options, -1, -1, &error, f->p), SVL_EOWNER);
    assert_non_null(strstr(error, "the node a, not of b"));
    assert_int_equal(svl_store_open(&store, &f->options, f->p), SVL_EOWNER);
}

static void preparing_again_changes_no_entry(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x");
    struct stat file;

    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    close_log(f);
    prepare_log(f);
    prepare_log(f);
    assert_int_equal(stat(f->directory, &file), 0);
    assert_int_equal(file.st_mode & 07777, 0700);
    assert_int_equal(stat(path_of(f, "data.mdb"), &file), 0);
    assert_int_equal(file.st_mode & 07777, 0600);
    open_log(f);
    assert_int_equal(count_log(f->store).calls, 1);
}

static void files_are_given_to_the_user_but_never_through_a_link(void **state)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "owners", "running"};
    fixture_t *f = *state;
    const char *error = NULL;
    struct stat file;
    int i;

    close_log(f);
    assert_int_equal(svl_store_prepare(&f->options, 65534, 65534, &error, f->p), APR_SUCCESS);
    assert_int_equal(geteuid(), 0);
    for (i = 0; i < 3; ++i) {
        assert_int_equal(stat(path_of(f, names[i]), &file), 0);
        assert_int_equal(file.st_uid, 65534);
        assert_int_equal(file.st_mode & 07777, 0600);
        assert_int_equal(rename(path_of(f, names[i]), path_of(f, "else")), 0);
        assert_int_equal(symlink("else", path_of(f, names[i])), 0);
        assert_int_not_equal(svl_store_prepare(&f->options, 65534, 65534, &error, f->p), APR_SUCCESS);
        assert_non_null(strstr(error, names[i]));
        assert_int_equal(rename(path_of(f, "else"), path_of(f, names[i])), 0);
    }
    assert_int_equal(chown(f->directory, 0, 0), 0);
}

static void a_reader_creates_no_file(void **state)
{
    fixture_t *f = *state;
    const char *error = NULL, *node = NULL;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x");
    svl_store_t *reader;

    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    close_log(f);
    apr_pool_create(&f->opened, f->p);
    assert_int_equal(svl_store_open_reader(&reader, f->directory, &node, &error, f->opened), APR_SUCCESS);
    assert_string_equal(node, "a");
    assert_int_equal(count_log(reader).calls, 1);
    assert_int_equal(accept_one(reader, &entry), APR_EACCES);
    close_log(f);
    unlink(path_of(f, "lock.mdb"));
    assert_int_equal(svl_store_open_reader(&reader, f->directory, &node, &error, f->p), APR_ENOENT);
    assert_int_equal(access(path_of(f, "lock.mdb"), F_OK), -1);
    unlink(path_of(f, "data.mdb"));
    assert_int_equal(svl_store_open_reader(&reader, f->directory, &node, &error, f->p), APR_ENOENT);
    assert_int_equal(access(path_of(f, "data.mdb"), F_OK), -1);
    assert_int_equal(svl_store_open(&reader, &f->options, f->p), APR_ENOENT);
}

static void directories_above_are_made(void **state)
{
    fixture_t *f = *state;
    const char *error = NULL, *above = path_of(f, "above");

    f->options.directory = apr_pstrcat(f->p, above, "/log", NULL);
    assert_int_equal(svl_store_prepare(&f->options, -1, -1, &error, f->p), APR_SUCCESS);
    assert_int_equal(unlink(apr_pstrcat(f->p, f->options.directory, "/data.mdb", NULL)), 0);
    assert_int_equal(unlink(apr_pstrcat(f->p, f->options.directory, "/lock.mdb", NULL)), 0);
    assert_int_equal(unlink(apr_pstrcat(f->p, f->options.directory, "/owners", NULL)), 0);
    assert_int_equal(unlink(apr_pstrcat(f->p, f->options.directory, "/boot", NULL)), 0);
    assert_int_equal(unlink(apr_pstrcat(f->p, f->options.directory, "/running", NULL)), 0);
    assert_int_equal(rmdir(f->options.directory), 0);
    assert_int_equal(rmdir(above), 0);
}

static void what_cannot_work_is_refused_with_a_sentence(void **state)
{
    fixture_t *f = *state;
    const char *error = NULL;

    close_log(f);
    f->options.size = SVL_STORE_SIZE_MIN - 1;
    assert_int_equal(svl_store_prepare(&f->options, -1, -1, &error, f->p), APR_EINVAL);
    assert_non_null(strstr(error, "needs at least"));
    f->options.size = SVL_STORE_SIZE_MIN;
    f->options.node = "two words";
    assert_int_equal(svl_store_prepare(&f->options, -1, -1, &error, f->p), APR_EINVAL);
    f->options.node = "a";
    f->options.directory = path_of(f, "data.mdb/below");
    assert_int_not_equal(svl_store_prepare(&f->options, -1, -1, &error, f->p), APR_SUCCESS);
    assert_non_null(strstr(error, "cannot be made"));
}

/* Else a reader's slot that is written while the disk is full is a SIGBUS. */
static void the_lock_file_has_its_blocks(void **state)
{
    fixture_t *f = *state;
    const char *error = NULL;
    struct stat file;

    close_log(f);
    assert_int_equal(unlink(path_of(f, "lock.mdb")), 0);
    f->options.readers = 5000;
    assert_int_equal(svl_store_prepare(&f->options, -1, -1, &error, f->p), APR_SUCCESS);
    assert_int_equal(stat(path_of(f, "lock.mdb"), &file), 0);
    assert_true(file.st_size > 5000 * 64);
    assert_true((off_t)file.st_blocks * 512 >= file.st_size);
}

/* Files cannot grow beyond 1 MiB, and that of what runs is to have 6. */
static void prepare_without_space(fixture_t *f)
{
    const struct rlimit full = {1 << 20, 1 << 20};
    const char *error = NULL;
    int ended;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &full);
        f->options.processes = 1000;
        _exit(svl_store_prepare(&f->options, -1, -1, &error, f->p) != APR_SUCCESS);
    }
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_int_equal(ended, 0);
}

static void a_lack_of_space_for_what_runs_ends_no_server_and_takes_nothing_from_it(void **state)
{
    fixture_t *f = *state;
    struct stat before, after;

    assert_int_equal(stat(path_of(f, "running"), &before), 0);
    prepare_without_space(f);
    assert_int_equal(stat(path_of(f, "running"), &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    close_log(f);
    unlink(path_of(f, "running"));
    prepare_without_space(f);
    assert_int_equal(access(path_of(f, "running"), F_OK), -1);
    open_log(f);
    assert_true(svl_store_was_running(f->store, svl_store_owner(f->store), 7)); /* not known */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_cut_file_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_log_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_nodes_log_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(preparing_again_changes_no_entry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reader_creates_no_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_lock_file_has_its_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lack_of_space_for_what_runs_ends_no_server_and_takes_nothing_from_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(directories_above_are_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_work_is_refused_with_a_sentence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_are_given_to_the_user_but_never_through_a_link, set_up, tear_down),
    };
    size_t count = sizeof(tests) / sizeof(*tests);

    /* A skip() of cmocka's counts as a failure where TAP is read. */
    if (geteuid() != 0) {
        fprintf(stderr, "SKIPPED: files_are_given_to_the_user_but_never_through_a_link: only root can give files away\n");
        --count;
    }
    return run_promises("store_files", tests, count);
}

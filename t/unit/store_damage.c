/* SPDX-License-Identifier: Apache-2.0 */
/* What the store promises about logs that are damaged: it is found out before they are used, or else ends no process after the one
 * that met it; and whoever uses them is left alone. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <utime.h>

#include "store_spoil.h"

#include "store/tables.h"

static int is_marked(const fixture_t *f)
{
    return !access(path_of(f, "damaged"), F_OK);
}

static int is_set_aside(const fixture_t *f)
{
    DIR *directory = opendir(f->directory);
    struct dirent *entry;
    int count = 0;

    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL) {
        count += !strncmp(entry->d_name, "data.mdb.", 9);
    }
    closedir(directory);
    return count;
}

static void begin_anew(fixture_t *f)
{
    f->options.set_aside_damaged = 1;
    prepare_log(f);
    assert_int_equal(is_set_aside(f), 1);
    assert_false(is_marked(f));
    open_log(f);
    assert_int_equal(count_log(f->store).calls, 0);
}

static void damage_met_in_use_ends_at_most_one_process(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x");
    svl_store_t *other;
    int ended;
    pid_t pid;

    fill(f);
    close_log(f);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        signal(SIGBUS, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        apr_pool_create_unmanaged(&f->opened);
        if (svl_store_open(&f->store, &f->options, f->opened)) {
            _exit(1);
        }
        spoil(f);
        _exit(accept_one(f->store, &entry) == SVL_EDAMAGED ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_true(WIFEXITED(ended) ? WEXITSTATUS(ended) == 0 : WTERMSIG(ended) == SIGABRT || WTERMSIG(ended) == SIGBUS);
    assert_true(is_marked(f));
    assert_int_equal(svl_store_open(&other, &f->options, f->p), SVL_EDAMAGED);
    begin_anew(f);
}

static void a_file_that_is_cut_in_use_is_noticed(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x");
    svl_store_reader_t *reader;
    const char *error = NULL;

    fill(f);
    assert_int_equal(truncate(path_of(f, "data.mdb"), 2 * PAGE), 0);
    assert_int_equal(svl_store_read_begin(&reader, f->store), SVL_EDAMAGED);
    assert_true(is_marked(f));
    assert_int_equal(accept_one(f->store, &entry), SVL_EDAMAGED);
    assert_int_equal(svl_store_flush(f->store), SVL_EDAMAGED);
    close_log(f);
    f->options.set_aside_damaged = 0;
    assert_int_equal(svl_store_prepare(&f->options, -1, -1, &error, f->p), SVL_EDAMAGED);
    begin_anew(f);
}

static void a_file_that_is_removed_in_use_takes_no_calls(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x");

    assert_int_equal(unlink(path_of(f, "data.mdb")), 0);
    assert_int_equal(accept_one(f->store, &entry), SVL_EDAMAGED);
    assert_true(is_marked(f));
    close_log(f);
    f->options.set_aside_damaged = 1;
    prepare_log(f);
    assert_false(is_marked(f));
    open_log(f);
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    assert_true(svl_store_may_have_run(f->store, NOW / 1000));
}

/* Reads what is gone.  Does not return. */
static void meet_bus_error(fixture_t *f, int *ends)
{
    svl_store_reader_t *reader;
    svl_store_record_t record;
    char byte = 0;

    signal(SIGBUS, SIG_DFL);
    apr_pool_create_unmanaged(&f->opened);
    if (svl_store_open(&f->store, &f->options, f->opened) || svl_store_read_begin(&reader, f->store)
        || write(ends[1], &byte, 1) != 1 || read(ends[2], &byte, 1) != 1) {
        _exit(1);
    }
    svl_store_get(reader, CALLS / 2, 1, &record);
    _exit(2);
}

static void a_bus_error_marks_the_log_for_the_next_process(void **state)
{
    fixture_t *f = *state;
    svl_store_t *other;
    int ends[4], ended;
    char byte = 0;
    pid_t pid;

    fill(f);
    close_log(f);
    assert_int_equal(pipe(ends) | pipe(ends + 2), 0);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        meet_bus_error(f, ends);
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(truncate(path_of(f, "data.mdb"), 2 * PAGE), 0);
    assert_int_equal(write(ends[3], &byte, 1), 1);
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGBUS);
    assert_true(is_marked(f));
    assert_int_equal(svl_store_open(&other, &f->options, f->p), SVL_EDAMAGED);
    close(ends[0]);
    close(ends[1]);
    close(ends[2]);
    close(ends[3]);
}

/* A map whose file was cut, as that of anybody else in the process. */
static volatile char *map_nothing(const fixture_t *f)
{
    int fd = open(path_of(f, "other"), O_RDWR | O_CREAT, S_IRUSR | S_IWUSR);
    volatile char *bytes;

    if (fd < 0 || ftruncate(fd, PAGE)) {
        _exit(1);
    }
    bytes = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED || ftruncate(fd, 0)) {
        _exit(1);
    }
    return bytes;
}

static void touch_nothing(fixture_t *f)
{
    (void)*map_nothing(f);
}

static void send_bus_error(fixture_t *f)
{
    (void)f;
    raise(SIGBUS);
}

static volatile sig_atomic_t met;

static void survive(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    met += 1;
    if (info->si_code > 0) {
        mmap(info->si_addr, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
}

/* @return the status of a process with the log open that meets what `meet` does */
static int meet(fixture_t *f, void (*meeting)(fixture_t *f), int survives)
{
    const struct sigaction survivor = {.sa_sigaction = survive, .sa_flags = SA_SIGINFO};
    int ended;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGBUS, SIG_DFL);
        if (survives) {
            sigaction(SIGBUS, &survivor, NULL);
        }
        apr_pool_create_unmanaged(&f->opened);
        if (svl_store_open(&f->store, &f->options, f->opened)) {
            _exit(1);
        }
        meeting(f);
        meeting(f);
        _exit(met == 2 ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    return ended;
}

static void a_bus_error_of_others_marks_nothing(void **state)
{
    fixture_t *f = *state;
    int ended;

    close_log(f);
    ended = meet(f, touch_nothing, 0);
    assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGBUS);
    ended = meet(f, send_bus_error, 0);
    assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGBUS);
    assert_int_equal(meet(f, touch_nothing, 1), 0); /* who knows what to do about it still gets it */
    assert_int_equal(meet(f, send_bus_error, 1), 0);
    assert_false(is_marked(f));
}

static void open_anew(fixture_t *f)
{
    svl_store_reader_t *reader;
    svl_store_record_t record;

    /* Begun before the file is cut, which beginning would notice. */
    if (svl_env_mend(f->store, MDB_PANIC) || svl_store_read_begin(&reader, f->store)
        || truncate(path_of(f, "data.mdb"), (off_t)2 * PAGE)) {
        _exit(1);
    }
    svl_store_get(reader, CALLS / 2, 1, &record);
}

static void a_bus_error_marks_a_log_that_was_opened_anew(void **state)
{
    fixture_t *f = *state;
    int ended;

    fill(f);
    close_log(f);
    ended = meet(f, open_anew, 0);
    assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGBUS);
    assert_true(is_marked(f));
}

static void a_damaged_log_is_not_taken_from_those_who_use_it(void **state)
{
    fixture_t *f = *state;
    const char *error = NULL;
    int ended;
    pid_t pid;

    fill(f);
    spoil(f);
    f->options.set_aside_damaged = 1;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        _exit(svl_store_prepare(&f->options, -1, -1, &error, f->p) != SVL_EDAMAGED || !strstr(error, "still use it"));
    }
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_int_equal(ended, 0);
    assert_int_equal(is_set_aside(f), 0);
    assert_int_equal(svl_store_flush(f->store), SVL_EDAMAGED); /* the user learns of it */
    close_log(f);
    begin_anew(f);
}

static void calls_from_before_a_loss_may_have_run(void **state)
{
    fixture_t *f = *state;
    struct utimbuf times = {NOW / 1000000, NOW / 1000000};

    assert_false(svl_store_may_have_run(f->store, 1)); /* a first log took the place of none */
    close_log(f);
    assert_int_equal(truncate(path_of(f, "data.mdb"), 100), 0);
    assert_int_equal(utime(path_of(f, "data.mdb"), &times), 0);
    begin_anew(f);
    assert_true(svl_store_may_have_run(f->store, NOW / 1000));
    assert_false(svl_store_may_have_run(f->store, NOW / 1000 + 3600000)); /* nobody used it any more then */
    close_log(f);
    prepare_log(f);
    open_log(f);
    assert_true(svl_store_may_have_run(f->store, NOW / 1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(damage_met_in_use_ends_at_most_one_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_cut_in_use_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_removed_in_use_takes_no_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bus_error_marks_the_log_for_the_next_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bus_error_of_others_marks_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bus_error_marks_a_log_that_was_opened_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_log_is_not_taken_from_those_who_use_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_from_before_a_loss_may_have_run, set_up, tear_down),
    };

    return run_promises("store_damage", tests, sizeof(tests) / sizeof(*tests));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the store promises to those who repair: work of dead processes is taken over once, peers are told what is here, logs that
 * cannot be trusted are set aside. */
#include "store_fixture.h"

#include <sys/socket.h>

static void leave_three_runs_and_a_route(fixture_t *f)
{
    svl_store_entry_t entries[4] = {own_call(f->p, "one", "all", "x"), own_call(f->p, "two", "all", "x"),
                                    own_call(f->p, "three", "all", "x"), own_call(f->p, "four", "all", "x")};

    if (accept_all(f->store, entries, 4, "b c", NULL) || finish_one(f->store, 2, SVL_OUTCOME_OK, NULL)
        || svl_store_start(f->store, 3)) {
        _exit(1);
    }
}

static int only_4_was_running(void *baton, apr_uint64_t owner, apr_uint64_t position)
{
    *(apr_uint64_t *)baton = owner;
    return position == 4;
}

static int nothing_was_running(void *baton, apr_uint64_t owner, apr_uint64_t position)
{
    (void)baton;
    (void)owner;
    (void)position;
    return 0;
}

static void leave_in_the_middle_of_4(fixture_t *f)
{
    leave_three_runs_and_a_route(f);
    svl_store_running_end(f->store, svl_store_running_begin(f->store, 1));
    if (!svl_store_running_begin(f->store, 4)) {
        _exit(1);
    }
}

static const svl_store_orphans_t *batch_at(const apr_array_header_t *batches, int i)
{
    return &APR_ARRAY_IDX(batches, i, svl_store_orphans_t);
}

static void expect_run(const svl_store_orphans_t *batch, int i, apr_uint64_t position, int interrupted, unsigned int attempts)
{
    svl_store_orphan_t run = APR_ARRAY_IDX(batch->runs, i, svl_store_orphan_t);

    assert_int_equal(run.position, position);
    assert_int_equal(run.interrupted, interrupted);
    assert_int_equal(run.attempts, attempts);
}

static void work_of_the_dead_is_taken_over_once(void **state)
{
    fixture_t *f = *state;
    apr_array_header_t *batches;
    apr_uint64_t owner = 0, commits;

    close_log(f);
    leave_work(f, leave_three_runs_and_a_route);
    open_log(f);
    assert_int_equal(svl_store_take_over(f->store, only_4_was_running, &owner, 10, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 1);
    assert_int_equal(batch_at(batches, 0)->first, 1);
    assert_int_equal(batch_at(batches, 0)->count, 4);
    assert_string_equal(batch_at(batches, 0)->route, "b c");
    assert_int_equal(batch_at(batches, 0)->arity, 1);
    assert_int_equal(batch_at(batches, 0)->runs->nelts, 3);
    expect_run(batch_at(batches, 0), 0, 1, 0, 0);
    expect_run(batch_at(batches, 0), 1, 3, 1, 1);
    expect_run(batch_at(batches, 0), 2, 4, 1, 1);
    assert_int_not_equal(owner, svl_store_owner(f->store));
    assert_false(svl_store_owner_lives(f->store, owner));
    commits = count_log(f->store).commits;
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 10, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 0);
    assert_int_equal(count_log(f->store).commits, commits); /* looking writes nothing */
    assert_int_equal(count_log(f->store).pending, 3);
    svl_store_relayed(f->store, 1);
    assert_int_equal(finish_one(f->store, 1, SVL_OUTCOME_OK, NULL), APR_SUCCESS);
    assert_int_equal(finish_one(f->store, 3, SVL_OUTCOME_OK, NULL), APR_SUCCESS);
    assert_int_equal(finish_one(f->store, 4, SVL_OUTCOME_OK, NULL), APR_SUCCESS);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_int_equal(count_log(f->store).work, 0);
}

static void only_what_ran_counts_as_interrupted_also_when_nobody_survived(void **state)
{
    fixture_t *f = *state;
    apr_array_header_t *batches;

    close_log(f);
    leave_work(f, leave_in_the_middle_of_4);
    prepare_log(f); /* as a server does that starts after the other one was killed whole */
    open_log(f);
    assert_int_equal(svl_store_take_over(f->store, svl_store_was_running, f->store, 10, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 1);
    expect_run(batch_at(batches, 0), 0, 1, 0, 0);
    expect_run(batch_at(batches, 0), 1, 3, 1, 1); /* svl_store_start was committed */
    expect_run(batch_at(batches, 0), 2, 4, 1, 1);
}

static void more_runs_than_the_file_tells_apart_all_count(void **state)
{
    fixture_t *f = *state;
    apr_uint64_t *last = NULL;
    int i;

    for (i = 0; i < 1000; ++i) {
        last = svl_store_running_begin(f->store, 1000 + (apr_uint64_t)i);
    }
    assert_true(svl_store_was_running(f->store, svl_store_owner(f->store), 7));
    for (i = 254; i < 1000; ++i) {
        svl_store_running_end(f->store, last);
    }
    assert_false(svl_store_was_running(f->store, svl_store_owner(f->store), 7));
    assert_true(svl_store_was_running(f->store, svl_store_owner(f->store), 1000));
    assert_true(svl_store_was_running(f->store, svl_store_owner(f->store) + 1, 7)); /* nothing is known of it */
}

/* So that what merely waits does not count as running for as long as the process lives. */
static void a_run_beyond_those_ends_too_when_its_outcome_is_recorded_late(void **state)
{
    fixture_t *f = *state;
    const svl_store_outcome_t never_began = {.position = 7}, late = {.position = 8};
    apr_uint64_t *marks[300], owner = svl_store_owner(f->store);
    int i;

    for (i = 0; i < 300; ++i) {
        marks[i] = svl_store_running_begin(f->store, 1000 + (apr_uint64_t)i);
    }
    svl_store_running_begin(f->store, late.position);
    assert_int_equal(svl_store_finish_later(f->store, &never_began, 1), APR_SUCCESS);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    for (i = 0; i < 300; ++i) {
        svl_store_running_end(f->store, marks[i]);
    }
    assert_true(svl_store_was_running(f->store, owner, late.position));
    assert_int_equal(svl_store_finish_later(f->store, &late, 1), APR_SUCCESS);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_false(svl_store_was_running(f->store, owner, late.position));
    assert_false(svl_store_was_running(f->store, owner, 1));
}

static void what_another_boot_ran_is_not_believed(void **state)
{
    fixture_t *f = *state;
    apr_array_header_t *batches;
    FILE *file;

    close_log(f);
    leave_work(f, leave_in_the_middle_of_4);
    file = fopen(path_of(f, "running"), "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 32, SEEK_SET), 0);
    assert_int_equal(fputs("another boot", file) >= 0, 1);
    fclose(file);
    prepare_log(f);
    open_log(f);
    assert_int_equal(svl_store_take_over(f->store, svl_store_was_running, f->store, 10, &batches, f->p), APR_SUCCESS);
    expect_run(batch_at(batches, 0), 0, 1, 1, 1);
}

static void start_3_again(fixture_t *f)
{
    apr_array_header_t *batches;

    if (svl_store_take_over(f->store, nothing_was_running, NULL, 10, &batches, f->p) || batches->nelts != 1
        || svl_store_start(f->store, 3)) {
        _exit(1);
    }
}

static void take_only(fixture_t *f)
{
    apr_array_header_t *batches;

    if (svl_store_take_over(f->store, nothing_was_running, NULL, 10, &batches, f->p) || batches->nelts != 1) {
        _exit(1);
    }
}

static void attempts_grow_with_each_process_that_dies_of_a_run(void **state)
{
    fixture_t *f = *state;
    apr_array_header_t *batches;

    close_log(f);
    leave_work(f, leave_three_runs_and_a_route);
    leave_work(f, start_3_again);
    leave_work(f, take_only);
    open_log(f);
    assert_int_equal(svl_store_take_over(f->store, nothing_was_running, NULL, 10, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 1);
    expect_run(batch_at(batches, 0), 0, 1, 0, 0);
    expect_run(batch_at(batches, 0), 1, 3, 1, 3); /* once started it counts with each owner that dies */
    close_log(f);
    open_log(f);
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 10, &batches, f->p), APR_SUCCESS);
    expect_run(batch_at(batches, 0), 0, 1, 1, 1); /* after a restart of everything each counts */
    expect_run(batch_at(batches, 0), 1, 3, 1, 4);
    expect_run(batch_at(batches, 0), 2, 4, 1, 1);
}

enum { LARGE = 3 * SVL_STORE_BATCH_MAX + 7 };

static void leave_large_batches(fixture_t *f)
{
    svl_store_entry_t *entries = apr_palloc(f->p, LARGE * sizeof(*entries));
    int round, i;

    for (round = 0; round < 2; ++round) {
        for (i = 0; i < LARGE; ++i) {
            entries[i] = own_call(f->p, apr_psprintf(f->p, "%d-%d", round, i), "all", "x");
        }
        if (accept_all(f->store, entries, LARGE, round ? NULL : "b", NULL)) {
            _exit(1);
        }
    }
}

static void a_batch_with_a_route_is_never_torn(void **state)
{
    fixture_t *f = *state;
    apr_array_header_t *batches;

    close_log(f);
    leave_work(f, leave_large_batches);
    open_log(f);
    assert_int_equal(count_log(f->store).work, 8);
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 1, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 1);
    assert_int_equal(batch_at(batches, 0)->count, LARGE);
    assert_int_equal(batch_at(batches, 0)->runs->nelts, LARGE);
    assert_string_equal(batch_at(batches, 0)->route, "b");
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 3, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 3); /* without a route each record stands alone, and the limit holds */
    assert_null(batch_at(batches, 0)->route);
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 3, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 1);
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 3, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 0);
}

static void leave_500_runs(fixture_t *f)
{
    int i;

    for (i = 0; i < 500; ++i) {
        svl_store_entry_t entry = own_call(f->p, apr_psprintf(f->p, "%d-%d", (int)getpid(), i), "all", "x");

        if (accept_one(f->store, &entry)) {
            _exit(1);
        }
    }
}

/* Takes over until nothing is found, tells how many and the sum of their positions, and lives until it is told to go. */
static void take_all(fixture_t *f, int end)
{
    apr_array_header_t *batches;
    apr_uint64_t taken[2] = {0, 0};
    int i;

    apr_pool_create_unmanaged(&f->opened);
    if (svl_store_open(&f->store, &f->options, f->opened)) {
        _exit(1);
    }
    do {
        if (svl_store_take_over(f->store, NULL, NULL, 3, &batches, f->opened)) {
            _exit(1);
        }
        for (i = 0; i < batches->nelts; ++i) {
            taken[0] += 1;
            taken[1] += batch_at(batches, i)->first;
        }
    } while (batches->nelts);
    if (write(end, taken, sizeof(taken)) != sizeof(taken) || read(end, taken, 1) != 0) {
        _exit(1);
    }
    _exit(0);
}

static void no_two_that_take_over_at_once_get_the_same(void **state)
{
    enum { TAKERS = 4, ALL = 500 };
    fixture_t *f = *state;
    apr_uint64_t taken[2], count = 0, sum = 0;
    int ends[TAKERS][2], i, status;
    pid_t pids[TAKERS];

    close_log(f);
    leave_work(f, leave_500_runs);
    for (i = 0; i < TAKERS; ++i) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends[i]), 0);
        fflush(stdout);
        pids[i] = fork();
        if (pids[i] == 0) {
            for (int before = 0; before <= i; ++before) {
                close(ends[before][0]); /* so that only the test holds it */
            }
            take_all(f, ends[i][1]);
        }
        close(ends[i][1]);
    }
    for (i = 0; i < TAKERS; ++i) {
        assert_int_equal(read(ends[i][0], taken, sizeof(taken)), sizeof(taken));
        count += taken[0];
        sum += taken[1];
    }
    assert_int_equal(count, ALL);
    assert_int_equal(sum, ALL * (ALL + 1) / 2);
    for (i = 0; i < TAKERS; ++i) {
        close(ends[i][0]);
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
}

static void looking_goes_on_where_it_ended(void **state)
{
    enum { LIVING = SVL_STORE_LOOKS_MAX + 50 };
    fixture_t *f = *state;
    svl_store_entry_t *entries = apr_palloc(f->p, LIVING * sizeof(*entries));
    svl_store_batch_t *living = apr_pcalloc(f->p, LIVING * sizeof(*living));
    apr_array_header_t *batches;
    int i;

    for (i = 0; i < LIVING; ++i) {
        entries[i] = own_call(f->p, apr_psprintf(f->p, "id-%d", i), "all", "x");
        living[i].entries = &entries[i];
        living[i].count = 1;
    }
    assert_int_equal(svl_store_accept(f->store, living, LIVING, NOW), APR_SUCCESS);
    leave_work(f, leave_500_runs);
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 300, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 0);
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 300, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 300);
    assert_int_equal(batch_at(batches, 0)->first, LIVING + 1);
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 300, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 200);
    for (i = 0; i < 2; ++i) {
        assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 300, &batches, f->p), APR_SUCCESS);
        assert_int_equal(batches->nelts, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(work_of_the_dead_is_taken_over_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(attempts_grow_with_each_process_that_dies_of_a_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_batch_with_a_route_is_never_torn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(looking_goes_on_where_it_ended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_what_ran_counts_as_interrupted_also_when_nobody_survived, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_runs_than_the_file_tells_apart_all_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_run_beyond_those_ends_too_when_its_outcome_is_recorded_late, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_another_boot_ran_is_not_believed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_two_that_take_over_at_once_get_the_same, set_up, tear_down),
    };

    return run_promises("store_repair", tests, sizeof(tests) / sizeof(*tests));
}

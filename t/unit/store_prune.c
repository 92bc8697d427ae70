/* SPDX-License-Identifier: Apache-2.0 */
/* What the store promises about forgetting: old entries go, their numbers stay covered, and a full log heals. */
#include "store_fixture.h"

#include <sys/prctl.h>

#define LATER (NOW + apr_time_from_sec(3600)) /* everything the fixture makes is older */
#define LONG_AGO (NOW - apr_time_from_sec(3600))

static unsigned int prune(fixture_t *f, apr_time_t before, unsigned int limit)
{
    unsigned int pruned = 0;

    assert_int_equal(svl_store_prune(f->store, before, limit, &pruned), APR_SUCCESS);
    return pruned;
}

/* @return the pruned number of a stream of the set `all`, 0 when it tells none */
static apr_uint64_t pruned_of(fixture_t *f, const char *origin, const char *epoch)
{
    static const char *const sets[] = {"all"};
    svl_store_reader_t *reader;
    apr_hash_t *vector, *pruned;
    const apr_uint64_t *number;

    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    assert_int_equal(svl_store_vector(reader, sets, 1, &vector, &pruned, f->p), APR_SUCCESS);
    svl_store_read_end(reader);
    number = apr_hash_get(pruned, apr_pstrcat(f->p, origin, "/all/", epoch, NULL), APR_HASH_KEY_STRING);
    return number ? *number : 0;
}

static svl_store_verdict_e verdict_of(fixture_t *f, svl_store_entry_t entry)
{
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    return entry.verdict;
}

static void accept_idle(fixture_t *f, const char *id, const char *origin, apr_uint64_t seq)
{
    svl_store_entry_t entry = foreign_call(f->p, id, origin, seq, "x");

    entry.run = 0;
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
}

static void what_is_old_goes_and_stays_a_duplicate(void **state)
{
    fixture_t *f = *state;
    int i;

    for (i = 1; i <= 10; ++i) {
        accept_idle(f, apr_psprintf(f->p, "id-%d", i), "b", (apr_uint64_t)i);
    }
    assert_int_equal(prune(f, LONG_AGO, 100), 0);
    assert_int_equal(prune(f, NOW, 100), 0);
    assert_int_equal(prune(f, LATER, 4), 4);
    assert_int_equal(count_log(f->store).calls, 6);
    assert_int_equal(pruned_of(f, "b", EPOCH), 4);
    assert_false(holds_id(f->store, "id-4"));
    assert_true(holds_id(f->store, "id-5"));
    assert_int_equal(verdict_of(f, foreign_call(f->p, "id-2", "b", 2, "x")), SVL_STORE_COVERED);
    assert_int_equal(verdict_of(f, foreign_call(f->p, "id-5", "b", 5, "x")), SVL_STORE_DUPLICATE);
    assert_int_equal(prune(f, LATER, 100), 6);
    assert_int_equal(prune(f, LATER, 100), 0);
    assert_int_equal(pruned_of(f, "b", EPOCH), 10);
    assert_int_equal(count_log(f->store).calls, 0);
    assert_int_equal(count_log(f->store).oldest, 0);
    assert_int_equal(verdict_of(f, foreign_call(f->p, "id-9", "b", 9, "x")), SVL_STORE_COVERED);
    assert_int_equal(verdict_of(f, foreign_call(f->p, "id-11", "b", 11, "x")), SVL_STORE_NEW);
    assert_int_equal(read_entry(f, 11).position, 11);
    assert_int_equal(pruned_of(f, "b", EPOCH), 10);
}

static void age_is_that_of_issue_or_arrival(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = foreign_call(f->p, "late", "b", 1, "x");

    accept_idle(f, "young", "b", 2);
    entry.run = 0;
    entry.issued = LONG_AGO / 1000 - 1;
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    entry = foreign_call(f->p, "refused", "b", 3, "x");
    entry.refused = 1;
    entry.issued = 0; /* its content made no sense */
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    assert_int_equal(prune(f, LONG_AGO, 100), 1);
    assert_false(holds_id(f->store, "late"));
    assert_true(holds_id(f->store, "young"));
    assert_int_equal(pruned_of(f, "b", EPOCH), 1);
    assert_int_equal(prune(f, LATER, 100), 2);
    assert_int_equal(pruned_of(f, "b", EPOCH), 3);
    assert_int_equal(count_log(f->store).calls, 0);
}

static void unfinished_work_stays_and_blocks_nothing_behind_it(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entries[3] = {foreign_call(f->p, "one", "b", 1, "x"), foreign_call(f->p, "two", "b", 2, "x"),
                                    foreign_call(f->p, "three", "b", 3, "x")};
    int i;

    entries[0].run = entries[2].run = 0;
    assert_int_equal(accept_all(f->store, entries, 3, NULL, NULL), APR_SUCCESS);
    for (i = 4; i <= 6; ++i) {
        accept_idle(f, apr_psprintf(f->p, "id-%d", i), "b", (apr_uint64_t)i);
    }
    assert_int_equal(prune(f, LATER, 100), 3);
    assert_int_equal(count_log(f->store).calls, 3);
    assert_int_equal(pruned_of(f, "b", EPOCH), 0); /* number 1 is held */
    assert_int_equal(finish_one(f->store, 2, SVL_OUTCOME_OK, "6"), APR_SUCCESS);
    assert_int_equal(prune(f, LATER, 100), 3);
    assert_int_equal(pruned_of(f, "b", EPOCH), 6);
    assert_int_equal(count_log(f->store).calls, 0);
}

static void an_id_is_forgotten_with_its_last_line(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t other = foreign_call(f->p, "one", "e", 1, "y");

    accept_idle(f, "one", "b", 1);
    accept_idle(f, "one", "c", 1);
    accept_idle(f, "one", "d", 1);
    assert_int_equal(verdict_of(f, other), SVL_STORE_CONFLICT);
    assert_int_equal(prune(f, LATER, 1), 1);
    assert_true(holds_id(f->store, "one"));
    assert_int_equal(verdict_of(f, foreign_call(f->p, "one", "d", 1, "x")), SVL_STORE_DUPLICATE);
    assert_int_equal(verdict_of(f, foreign_call(f->p, "one", "g", 1, "x")), SVL_STORE_ALIAS);
    assert_int_equal(verdict_of(f, foreign_call(f->p, "one", "h", 1, "y")), SVL_STORE_CONFLICT);
    assert_int_equal(verdict_of(f, own_call(f->p, "one", "all", "x")), SVL_STORE_DUPLICATE);
    assert_int_equal(prune(f, LATER, 2), 2);
    assert_true(holds_id(f->store, "one")); /* by its alias of g */
    assert_int_equal(prune(f, LATER, 100), 3);
    assert_false(holds_id(f->store, "one"));
    assert_int_equal(verdict_of(f, own_call(f->p, "one", "all", "z")), SVL_STORE_NEW);
}

static void an_id_that_does_not_come_first_is_forgotten_too(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = foreign_call(f->p, "one", "b", 1, "x");

    entry.run = 0;
    entry.draft.head =
        "{\"function\":\"f\",\"id\":\"one\",\"args\":[],\"kwargs\":{},\"origin\":\"b\",\"set\":\"all\",\"epoch\":\"" EPOCH
        "\",\"seq\":1,\"issued\":1700000000000,\"ttl\":60}";
    entry.draft.head_length = strlen(entry.draft.head);
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    assert_true(holds_id(f->store, "one"));
    assert_int_equal(prune(f, LATER, 10), 1);
    assert_false(holds_id(f->store, "one"));
}

static void a_gap_that_comes_late_is_held_again(void **state)
{
    fixture_t *f = *state;

    accept_idle(f, "two", "b", 2);
    assert_int_equal(prune(f, LATER, 10), 1);
    assert_int_equal(pruned_of(f, "b", EPOCH), 2);
    accept_idle(f, "one", "b", 1);
    assert_int_equal(pruned_of(f, "b", EPOCH), 0);
    assert_int_equal(prune(f, LATER, 10), 1);
    assert_int_equal(pruned_of(f, "b", EPOCH), 2);
}

static apr_uint64_t fill_log(fixture_t *f, int round)
{
    apr_status_t status = APR_SUCCESS;
    apr_uint64_t count = 0;

    while (!status) {
        svl_store_entry_t entry =
            foreign_call(f->p, apr_psprintf(f->p, "%d-%d-%d", rand(), round, (int)count), round % 2 ? "b" : "c",
                         count + 1 + (apr_uint64_t)round * 100000, "some text that takes some room");

        entry.run = count % 2 == 0;
        status = accept_one(f->store, &entry);
        if (!status) {
            ++count;
            status = finish_one(f->store, entry.position, SVL_OUTCOME_OK, "\"result\"");
        }
    }
    assert_int_equal(status, SVL_EFULL);
    return count;
}

static void a_full_log_heals(void **state)
{
    fixture_t *f = *state;
    apr_uint64_t held = 0, added;
    unsigned int pruned;
    int round, durable;

    for (durable = 0; durable < 2; ++durable) {
        close_log(f);
        f->options.size = SVL_STORE_SIZE_MIN;
        f->options.durable = durable;
        open_log(f);
        for (round = 0; round < 5; ++round) {
            added = fill_log(f, durable * 5 + round);
            assert_true(added > 300);
            held += added;
            while ((pruned = prune(f, LATER, 1000)) > 0) {
                held -= pruned;
            }
            assert_int_equal(held, 0);
            assert_int_equal(count_log(f->store).calls, 0);
        }
    }
}

static void a_full_log_heals_whatever_the_limit(void **state)
{
    fixture_t *f = *state;

    close_log(f);
    f->options.size = SVL_STORE_SIZE_MIN;
    open_log(f);
    fill_log(f, 0);
    while (prune(f, LATER, 1000000)) {
        continue;
    }
    assert_int_equal(count_log(f->store).calls, 0);
    assert_true(fill_log(f, 1) > 300);
    while (prune(f, LATER, 1)) {
        continue;
    }
    assert_true(fill_log(f, 2) > 300);
}

static pid_t read_without_end(fixture_t *f)
{
    svl_store_reader_t *reader;
    int ends[2];
    char byte = 0;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* not to outlive a test that fails */
        apr_pool_create_unmanaged(&f->opened);
        if (svl_store_open(&f->store, &f->options, f->opened) || svl_store_read_begin(&reader, f->store)
            || write(ends[1], &byte, 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    close(ends[1]);
    return pid;
}

static void a_full_log_heals_once_a_reader_that_hangs_is_dead(void **state)
{
    fixture_t *f = *state;
    apr_status_t status;
    unsigned int pruned, sum = 0;
    pid_t pid;

    close_log(f);
    f->options.size = SVL_STORE_SIZE_MIN;
    open_log(f);
    fill_log(f, 0);
    pid = read_without_end(f);
    do {
        status = svl_store_prune(f->store, LATER, 1000, &pruned);
        sum += pruned;
    } while (!status && pruned);
    assert_int_equal(status, SVL_EFULL); /* what is freed cannot be used while it is read */
    print_message("# %u removed meanwhile\n", sum);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    while (prune(f, LATER, 1000)) {
        continue;
    }
    assert_int_equal(count_log(f->store).calls, 0);
    assert_true(fill_log(f, 1) > 300);
}

static apr_uint64_t fill_epoch(fixture_t *f, const char *epoch, const char *origin, apr_int64_t issued)
{
    svl_store_entry_t entry =
        foreign_call(f->p, apr_psprintf(f->p, "%s-%s-%d", origin, epoch, (int)(issued % 1000)), origin, 1, epoch);

    entry.epoch = epoch;
    entry.issued = issued;
    entry.run = 0;
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    return entry.position;
}

static int has_stream(fixture_t *f, const char *name)
{
    static const char *const sets[] = {"other", "all"};
    svl_store_reader_t *reader;
    apr_hash_t *vector, *pruned;

    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    assert_int_equal(svl_store_vector(reader, sets, 2, &vector, &pruned, f->p), APR_SUCCESS);
    svl_store_read_end(reader);
    return apr_hash_get(vector, name, APR_HASH_KEY_STRING) != NULL;
}

static void superseded_streams_leave_and_are_forgotten(void **state)
{
    fixture_t *f = *state;
    const char *own = apr_pstrdup(f->p, svl_store_epoch(f->store));
    svl_store_entry_t mine = own_call(f->p, "mine", "all", "x");
    unsigned int forgotten;

    fill_epoch(f, "ffffffffffffffff", "b", LONG_AGO / 1000);
    fill_epoch(f, "0000000000000001", "b", LONG_AGO / 1000 + 1);
    fill_epoch(f, "0000000000000002", "c", LONG_AGO / 1000);
    mine.issued = LONG_AGO / 1000;
    mine.run = 0;
    assert_int_equal(accept_one(f->store, &mine), APR_SUCCESS);
    fill_epoch(f, "0000000000000003", "a", LONG_AGO / 1000 + 9);
    assert_true(has_stream(f, "b/all/ffffffffffffffff")); /* holds something */
    assert_int_equal(svl_store_forget_streams(f->store, LATER, 10, &forgotten), APR_SUCCESS);
    assert_int_equal(forgotten, 0);
    assert_int_equal(prune(f, LATER, 100), 5);
    assert_false(has_stream(f, "b/all/ffffffffffffffff"));
    assert_true(has_stream(f, "b/all/0000000000000001"));
    assert_true(has_stream(f, "c/all/0000000000000002"));
    assert_true(has_stream(f, apr_pstrcat(f->p, "a/all/", own, NULL)));
    assert_false(has_stream(f, "a/all/0000000000000003")); /* an own one, and not of this epoch */
    assert_int_equal(svl_store_forget_streams(f->store, LONG_AGO, 10, &forgotten), APR_SUCCESS);
    assert_int_equal(forgotten, 0);
    assert_int_equal(svl_store_forget_streams(f->store, LATER, 1, &forgotten), APR_SUCCESS);
    assert_int_equal(forgotten, 1);
    assert_int_equal(svl_store_forget_streams(f->store, LATER, 10, &forgotten), APR_SUCCESS);
    assert_int_equal(forgotten, 1);
    assert_int_equal(svl_store_forget_streams(f->store, LATER, 10, &forgotten), APR_SUCCESS);
    assert_int_equal(forgotten, 0);
    fill_epoch(f, "ffffffffffffffff", "b", LONG_AGO / 1000 + 2); /* it begins anew */
    assert_int_equal(prune(f, LATER, 100), 1);
    assert_true(has_stream(f, "b/all/ffffffffffffffff"));
}

/* As after a restart, which logs anew what it holds. */
static void of_streams_with_the_same_newest_call_the_later_one_stays(void **state)
{
    static const char *const epochs[] = {"5555555555555555", "ffffffffffffffff", "0000000000000001"};
    fixture_t *f = *state;
    int i;

    for (i = 0; i < 3; ++i) {
        fill_epoch(f, epochs[i], "b", LONG_AGO / 1000);
        assert_int_equal(prune(f, LATER, 100), 1);
        assert_true(has_stream(f, apr_pstrcat(f->p, "b/all/", epochs[i], NULL)));
        assert_false(i && has_stream(f, apr_pstrcat(f->p, "b/all/", epochs[i - 1], NULL)));
    }
}

static void a_stamp_in_the_future_does_not_supersede_what_comes_later(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = foreign_call(f->p, "now", "b", 1, "x");
    svl_store_batch_t batch = {.entries = &entry, .count = 1};
    unsigned int forgotten;

    fill_epoch(f, "ffffffffffffffff", "b", (NOW + apr_time_from_sec(365 * 86400)) / 1000);
    entry.run = 0;
    entry.issued = NOW / 1000 + 1;
    assert_int_equal(svl_store_accept(f->store, &batch, 1, NOW + 2000), APR_SUCCESS);
    assert_int_equal(prune(f, LATER, 100), 2);
    assert_true(has_stream(f, "b/all/" EPOCH));
    assert_false(has_stream(f, "b/all/ffffffffffffffff"));
    assert_int_equal(svl_store_forget_streams(f->store, LATER, 10, &forgotten), APR_SUCCESS);
    assert_int_equal(forgotten, 1);
    assert_true(has_stream(f, "b/all/" EPOCH));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_old_goes_and_stays_a_duplicate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(age_is_that_of_issue_or_arrival, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unfinished_work_stays_and_blocks_nothing_behind_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_id_is_forgotten_with_its_last_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_id_that_does_not_come_first_is_forgotten_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_gap_that_comes_late_is_held_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_log_heals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_log_heals_whatever_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_log_heals_once_a_reader_that_hangs_is_dead, set_up, tear_down),
        cmocka_unit_test_setup_teardown(superseded_streams_leave_and_are_forgotten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_streams_with_the_same_newest_call_the_later_one_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stamp_in_the_future_does_not_supersede_what_comes_later, set_up, tear_down),
    };

    return run_promises("store_prune", tests, sizeof(tests) / sizeof(*tests));
}

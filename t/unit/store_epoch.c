/* SPDX-License-Identifier: Apache-2.0 */
/* What the store promises about numbers that were given twice: no call is lost, and none runs twice. */
#include "store_fixture.h"

static apr_uint64_t last_number(fixture_t *f)
{
    svl_store_reader_t *reader;
    apr_uint64_t number = 0;

    svl_store_settle(f->store);
    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    assert_int_equal(svl_store_last_number(reader, "all", &number), APR_SUCCESS);
    svl_store_read_end(reader);
    return number;
}

static const char *epoch_of(fixture_t *f)
{
    return apr_pstrdup(f->p, svl_store_epoch(f->store));
}

static void accept_own(fixture_t *f, int first, int last)
{
    int i;

    for (i = first; i <= last; ++i) {
        svl_store_entry_t entry = own_call(f->p, apr_psprintf(f->p, "own-%d", i), "all", "x");

        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
        assert_int_equal(entry.verdict, SVL_STORE_NEW);
    }
}

/* An own line as a peer has it. */
static svl_store_entry_t came_back(fixture_t *f, const char *id, const char *epoch, apr_uint64_t seq)
{
    svl_store_entry_t entry = {.id = id, .origin = "a", .set = "all", .epoch = epoch, .seq = seq, .run = 1};

    entry.issued = NOW / 1000;
    entry.ttl = 60;
    entry.draft.head =
        apr_psprintf(f->p,
                     "{\"id\":\"%s\",\"function\":\"f\",\"args\":[\"x\"],\"kwargs\":{},\"origin\":\"a\",\"set\":\"all\","
                     "\"epoch\":\"%s\",\"seq\":%" APR_UINT64_T_FMT ",\"issued\":1700000000000,\"ttl\":60}",
                     id, epoch, seq);
    entry.draft.head_length = strlen(entry.draft.head);
    return entry;
}

static void log_all_anew(fixture_t *f, unsigned int limit)
{
    int more = 1;

    while (more) {
        assert_int_equal(svl_store_log_anew(f->store, limit, &more), APR_SUCCESS);
    }
}

/* @return what is covered of a stream of this node, in words */
static const char *covered(fixture_t *f, const char *epoch)
{
    static const char *const sets[] = {"all"};
    svl_store_reader_t *reader;
    apr_hash_t *vector, *pruned;
    const svl_vector_numbers_t *numbers;

    svl_store_settle(f->store);
    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    assert_int_equal(svl_store_vector(reader, sets, 1, &vector, &pruned, f->p), APR_SUCCESS);
    svl_store_read_end(reader);
    numbers = apr_hash_get(vector, apr_pstrcat(f->p, "a/all/", epoch, NULL), APR_HASH_KEY_STRING);
    return !numbers ? "nothing" : apr_psprintf(f->p, "%d and %d", (int)numbers->watermark, numbers->ranges->nelts);
}

static void expect_stamp(fixture_t *f, apr_uint64_t position, const char *epoch, int seq)
{
    const char *line = read_entry(f, position).line;

    assert_non_null(line);
    assert_non_null(
        strstr(line, apr_psprintf(f->p, "\"epoch\":\"%s\",\"seq\":%d,\"issued\":1700000000000,\"ttl\":60}", epoch, seq)));
}

static void each_start_begins_an_epoch_and_no_restart_of_what_is_in_use(void **state)
{
    fixture_t *f = *state;
    const char *first = epoch_of(f), *second;
    const char *error = NULL;
    int status;
    pid_t pid;

    close_log(f);
    prepare_log(f);
    open_log(f);
    assert_string_not_equal(epoch_of(f), first); /* used or not: this may be a copy of what was used since */
    first = epoch_of(f);
    accept_own(f, 1, 2);
    fflush(stdout);
    pid = fork();
    if (pid == 0) { /* as a graceful restart does */
        _exit(svl_store_prepare(&f->options, -1, -1, &error, f->p) != APR_SUCCESS);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    accept_own(f, 3, 3);
    assert_string_equal(epoch_of(f), first); /* the log was in use */
    assert_int_equal(last_number(f), 3);
    close_log(f);
    prepare_log(f);
    open_log(f);
    second = epoch_of(f);
    assert_string_not_equal(second, first);
    accept_own(f, 4, 4);
    assert_int_equal(last_number(f), 1);
    assert_string_equal(covered(f, first), "3 and 0");
}

static void a_number_beyond_the_last_one_begins_an_epoch(void **state)
{
    fixture_t *f = *state;
    const char *old = epoch_of(f);
    const char *stream = apr_pstrcat(f->p, "a/all/", old, NULL);
    int begun, i;

    accept_own(f, 1, 5);
    assert_int_equal(svl_store_heard_of_own(f->store, stream, 5, &begun), APR_SUCCESS);
    assert_false(begun);
    assert_int_equal(svl_store_heard_of_own(f->store, "b/all/" EPOCH, 9, &begun), APR_SUCCESS);
    assert_false(begun);
    assert_int_equal(svl_store_heard_of_own(f->store, stream, 9, &begun), APR_SUCCESS);
    assert_true(begun);
    assert_int_equal(svl_store_heard_of_own(f->store, stream, 9, &begun), APR_SUCCESS);
    assert_false(begun);
    assert_string_not_equal(epoch_of(f), old);
    accept_own(f, 6, 6);
    assert_int_equal(finish_one(f->store, 2, SVL_OUTCOME_OK, "7"), APR_SUCCESS);
    log_all_anew(f, 2);
    assert_string_equal(covered(f, old), "nothing"); /* so that peers send what they have */
    assert_string_equal(covered(f, epoch_of(f)), "6 and 0");
    for (i = 1; i <= 5; ++i) {
        expect_stamp(f, (apr_uint64_t)i, epoch_of(f), i + 1);
    }
    expect_stamp(f, 6, epoch_of(f), 1);
    assert_string_equal(read_entry(f, 2).text, "7"); /* what it came to is not forgotten */
    assert_int_equal(count_log(f->store).pending, 5);
    assert_int_equal(count_log(f->store).calls, 6);
}

static void what_peers_have_of_the_old_epoch_comes_back_once(void **state)
{
    fixture_t *f = *state;
    const char *old = epoch_of(f);
    svl_store_entry_t entry;
    int begun, i;

    accept_own(f, 1, 5);
    assert_int_equal(svl_store_heard_of_own(f->store, apr_pstrcat(f->p, "a/all/", old, NULL), 7, &begun), APR_SUCCESS);
    log_all_anew(f, 100);
    for (i = 1; i <= 7; ++i) { /* 4 and 5 were given twice */
        entry = came_back(f, apr_psprintf(f->p, "%s-%d", i < 4 ? "own" : "lost", i), old, (apr_uint64_t)i);
        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
        assert_int_equal(entry.verdict, i < 4 ? SVL_STORE_ALIAS : SVL_STORE_NEW);
    }
    assert_string_equal(covered(f, old), "7 and 0");
    assert_string_equal(covered(f, epoch_of(f)), "5 and 0");
    assert_int_equal(count_log(f->store).pending, 9);
}

static void two_calls_of_one_own_number_both_get_another(void **state)
{
    fixture_t *f = *state;
    const char *old = epoch_of(f);
    svl_store_entry_t entry = came_back(f, "lost", old, 2), again = entry, third = came_back(f, "third", old, 3);

    accept_own(f, 1, 3);
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    assert_int_equal(entry.verdict, SVL_STORE_NEW);
    assert_string_not_equal(epoch_of(f), old);
    expect_stamp(f, 2, epoch_of(f), 1);
    expect_stamp(f, entry.position, epoch_of(f), 2);
    assert_string_equal(covered(f, old), "1 and 1"); /* 2 may come from peers again, as an alias */
    assert_int_equal(accept_one(f->store, &again), APR_SUCCESS);
    assert_int_equal(again.verdict, SVL_STORE_ALIAS);
    old = epoch_of(f);
    assert_int_equal(accept_one(f->store, &third),
                     APR_SUCCESS); /* of an epoch that is superseded already: none is begun for it */
    assert_int_equal(third.verdict, SVL_STORE_NEW);
    assert_string_equal(epoch_of(f), old);
    log_all_anew(f, 100);
    assert_string_equal(covered(f, old), "5 and 0");
    assert_int_equal(count_log(f->store).pending, 5);
}

static void another_nodes_number_keeps_its_first_call(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t one = foreign_call(f->p, "one", "b", 1, "x"), two = foreign_call(f->p, "two", "b", 1, "x");
    const char *epoch = epoch_of(f);

    assert_int_equal(accept_one(f->store, &one), APR_SUCCESS);
    assert_int_equal(accept_one(f->store, &two), APR_SUCCESS);
    assert_int_equal(two.verdict, SVL_STORE_STREAM_CONFLICT);
    assert_int_equal(two.position, one.position); /* to be shown to b */
    assert_string_equal(epoch_of(f), epoch);
    assert_int_equal(count_log(f->store).calls, 1);
}

static void arguments_that_look_like_a_stamp_stay(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x");
    const char *old = epoch_of(f), *stamp = apr_psprintf(f->p, "\"epoch\":\"%s\",\"seq\":1", old);
    int begun;

    entry.draft.head = apr_psprintf(
        f->p, "{\"id\":\"one\",\"function\":\"f\",\"args\":[{%s}],\"kwargs\":{},\"origin\":\"a\",\"set\":\"all\",", stamp);
    entry.draft.head_length = strlen(entry.draft.head);
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    assert_int_equal(svl_store_heard_of_own(f->store, apr_pstrcat(f->p, "a/all/", old, NULL), 7, &begun), APR_SUCCESS);
    log_all_anew(f, 100);
    assert_non_null(strstr(read_entry(f, 1).line, apr_pstrcat(f->p, "[{", stamp, "}]", NULL)));
    expect_stamp(f, 1, epoch_of(f), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_start_begins_an_epoch_and_no_restart_of_what_is_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_number_beyond_the_last_one_begins_an_epoch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_peers_have_of_the_old_epoch_comes_back_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_calls_of_one_own_number_both_get_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_nodes_number_keeps_its_first_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(arguments_that_look_like_a_stamp_stay, set_up, tear_down),
    };

    return run_promises("store_epoch", tests, sizeof(tests) / sizeof(*tests));
}

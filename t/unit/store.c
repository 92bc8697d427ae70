/* SPDX-License-Identifier: Apache-2.0 */
/* The promises of the store on one healthy machine; store_faults.c has those about crashes, full disks and damage. */
#include "store_fixture.h"

#include <pthread.h>

static void same_id_twice_is_a_duplicate_and_writes_nothing(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x"), again = own_call(f->p, "one", "all", "x");
    svl_store_counts_t before, after;

    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    assert_int_equal(entry.verdict, SVL_STORE_NEW);
    before = count_log(f->store);
    assert_int_equal(accept_one(f->store, &again), APR_SUCCESS);
    assert_int_equal(again.verdict, SVL_STORE_DUPLICATE);
    assert_int_equal(again.position, entry.position);
    entry = foreign_call(f->p, "two", "b", 7, "x");
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    again = foreign_call(f->p, "two", "b", 7, "x");
    assert_int_equal(accept_one(f->store, &again), APR_SUCCESS);
    assert_int_equal(again.verdict, SVL_STORE_DUPLICATE);
    assert_int_equal(again.position, entry.position);
    after = count_log(f->store);
    assert_int_equal(after.calls, before.calls + 1);
    assert_int_equal(after.commits, before.commits + 1);
}

static void same_id_twice_in_one_batch_is_a_duplicate(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entries[5] = {own_call(f->p, "one", "all", "x"), own_call(f->p, "one", "all", "x"),
                                    foreign_call(f->p, "two", "b", 1, "x"), foreign_call(f->p, "two", "b", 1, "x"),
                                    foreign_call(f->p, "three", "b", 2, "x")};
    svl_store_batch_t batch;

    assert_int_equal(accept_all(f->store, entries, 5, NULL, &batch), APR_SUCCESS);
    assert_int_equal(batch.first, 1);
    assert_int_equal(batch.appended, 3);
    assert_int_equal(entries[1].verdict, SVL_STORE_DUPLICATE);
    assert_int_equal(entries[3].verdict, SVL_STORE_DUPLICATE);
    assert_int_equal(entries[3].position, 2);
    assert_int_equal(entries[4].position, 3);
    assert_int_equal(count_log(f->store).pending, 3);
}

static void of_duplicates_those_are_told_that_came_without_a_route(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t synced = foreign_call(f->p, "synced", "b", 1, "x"), relayed = foreign_call(f->p, "relayed", "b", 2, "x");
    svl_store_entry_t again[2] = {synced, relayed};
    svl_store_batch_t batch;

    assert_int_equal(accept_all(f->store, &synced, 1, NULL, &batch), APR_SUCCESS);
    assert_int_equal(accept_all(f->store, &relayed, 1, "c d", &batch), APR_SUCCESS);
    assert_int_equal(synced.unrouted + relayed.unrouted, 0);
    assert_int_equal(accept_all(f->store, again, 2, "c d", &batch), APR_SUCCESS);
    assert_int_equal(batch.appended, 0);
    assert_int_equal(again[0].unrouted, 1);
    assert_int_equal(again[0].position, synced.position);
    assert_int_equal(again[1].unrouted, 0);
    assert_int_equal(accept_all(f->store, again, 2, "c d", &batch), APR_SUCCESS); /* then it has come with one */
    assert_int_equal(again[0].unrouted, 0);
    svl_store_relayed(f->store, synced.position); /* as after handing it on: there is no route to end */
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_int_equal(count_log(f->store).pending, 2);
}

static void own_numbers_are_consecutive_in_each_stream(void **state)
{
    fixture_t *f = *state;
    svl_store_record_t record;
    int i;

    for (i = 0; i < 20; ++i) {
        svl_store_entry_t entry = own_call(f->p, apr_psprintf(f->p, "id-%d", i), i % 2 ? "odd" : "even", "x");

        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
        assert_int_equal(entry.seq, i / 2 + 1);
        assert_int_equal(entry.position, i + 1);
        assert_string_equal(entry.stamped, svl_store_epoch(f->store));
    }
    record = read_entry(f, 20);
    assert_string_equal(record.line, apr_psprintf(f->p,
                                                  "{\"id\":\"id-19\",\"function\":\"f\",\"args\":[\"x\"],\"kwargs\":{},"
                                                  "\"origin\":\"a\",\"set\":\"odd\",\"epoch\":\"%s\",\"seq\":10,"
                                                  "\"issued\":1700000000000,\"ttl\":60}",
                                                  svl_store_epoch(f->store)));
    assert_int_equal(record.arrived, NOW);
    assert_int_equal(record.expires, NOW / 1000 + 60000);
}

static void one_id_under_two_numbers_is_an_alias_or_a_conflict(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t first = foreign_call(f->p, "one", "b", 1, "x"), alias = foreign_call(f->p, "one", "c", 1, "x");
    svl_store_entry_t other = foreign_call(f->p, "one", "d", 1, "y"), again = foreign_call(f->p, "one", "d", 1, "y");
    svl_store_record_t record;

    assert_int_equal(accept_one(f->store, &first), APR_SUCCESS);
    assert_int_equal(accept_one(f->store, &alias), APR_SUCCESS);
    assert_int_equal(alias.verdict, SVL_STORE_ALIAS);
    assert_int_equal(accept_one(f->store, &other), APR_SUCCESS);
    assert_int_equal(other.verdict, SVL_STORE_CONFLICT);
    assert_int_equal(count_log(f->store).pending, 1);
    record = read_entry(f, alias.position);
    assert_true(record.alias);
    assert_string_equal(record.line, alias.draft.head);
    assert_int_equal(record.outcome, SVL_OUTCOME_ACCEPTED);
    record = read_entry(f, other.position);
    assert_null(record.line);
    assert_string_equal(record.refused, "one");
    assert_int_equal(record.outcome, SVL_OUTCOME_REFUSED);
    assert_non_null(record.text);
    assert_int_equal(accept_one(f->store, &again), APR_SUCCESS); /* its number is covered */
    assert_int_equal(again.verdict, SVL_STORE_DUPLICATE);
    alias = foreign_call(f->p, "one", "c", 1, "x");
    assert_int_equal(accept_one(f->store, &alias), APR_SUCCESS);
    assert_int_equal(alias.verdict, SVL_STORE_DUPLICATE);
    assert_int_equal(alias.position, first.position);
}

static void one_number_under_two_ids_is_refused(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t first = foreign_call(f->p, "one", "b", 1, "x"), other = foreign_call(f->p, "two", "b", 1, "x");
    apr_uint64_t calls;

    assert_int_equal(accept_one(f->store, &first), APR_SUCCESS);
    calls = count_log(f->store).calls;
    assert_int_equal(accept_one(f->store, &other), APR_SUCCESS);
    assert_int_equal(other.verdict, SVL_STORE_STREAM_CONFLICT);
    assert_int_equal(count_log(f->store).calls, calls);
    assert_false(holds_id(f->store, "two"));
}

static void refused_entries_are_covered_and_come_after_the_others(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entries[3] = {foreign_call(f->p, "bad", "b", 1, "x"), foreign_call(f->p, "one", "b", 2, "x"),
                                    foreign_call(f->p, "two", "b", 3, "x")};
    svl_store_entry_t again = foreign_call(f->p, "bad", "b", 1, "x");
    svl_store_batch_t batch;
    svl_store_record_t record;

    entries[0].refused = 1;
    entries[0].reason = "args are no array";
    assert_int_equal(accept_all(f->store, entries, 3, "c d", &batch), APR_SUCCESS);
    assert_int_equal(batch.first, 1);
    assert_int_equal(batch.appended, 2);
    assert_int_equal(entries[0].verdict, SVL_STORE_NEW);
    assert_int_equal(entries[0].position, 3);
    assert_int_equal(entries[1].position, 1);
    assert_int_equal(entries[2].position, 2);
    record = read_entry(f, 3);
    assert_null(record.line);
    assert_string_equal(record.refused, "bad");
    assert_string_equal(record.text, "args are no array");
    assert_int_equal(accept_one(f->store, &again), APR_SUCCESS);
    assert_int_equal(again.verdict, SVL_STORE_DUPLICATE);
    assert_int_equal(again.position, 3);
}

static void what_is_accepted_survives_closing(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x"), again = own_call(f->p, "one", "all", "x");
    apr_uint64_t owner = svl_store_owner(f->store);

    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    assert_int_equal(finish_one(f->store, entry.position, SVL_OUTCOME_OK, "6"), APR_SUCCESS);
    close_log(f);
    prepare_log(f);
    open_log(f);
    assert_int_not_equal(svl_store_owner(f->store), owner);
    assert_int_equal(accept_one(f->store, &again), APR_SUCCESS);
    assert_int_equal(again.verdict, SVL_STORE_DUPLICATE);
    assert_string_equal(read_entry(f, entry.position).text, "6");
}

static void work_is_gone_when_runs_and_route_are_done(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entries[3] = {own_call(f->p, "one", "all", "x"), own_call(f->p, "two", "all", "x"),
                                    own_call(f->p, "three", "all", "x")};
    svl_store_batch_t batch;

    entries[1].run = 0;
    assert_int_equal(accept_all(f->store, entries, 3, SVL_STORE_ROUTE_RING, &batch), APR_SUCCESS);
    assert_int_equal(count_log(f->store).pending, 2);
    assert_int_equal(read_entry(f, 1).outcome, SVL_OUTCOME_PENDING);
    assert_int_equal(read_entry(f, 2).outcome, SVL_OUTCOME_ACCEPTED);
    assert_int_equal(finish_one(f->store, 3, SVL_OUTCOME_OK, "6"), APR_SUCCESS);
    assert_int_equal(finish_one(f->store, 3, SVL_OUTCOME_ERROR, "late"), APR_SUCCESS);
    assert_int_equal(read_entry(f, 3).outcome, SVL_OUTCOME_OK);
    assert_int_equal(read_entry(f, 3).micros, 5);
    svl_store_relayed(f->store, batch.first);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_int_equal(count_log(f->store).work, 1);
    assert_int_equal(svl_store_start(f->store, 1), APR_SUCCESS);
    assert_int_equal(finish_one(f->store, 1, SVL_OUTCOME_ERROR, NULL), APR_SUCCESS);
    assert_int_equal(svl_store_start(f->store, 1), APR_NOTFOUND);
    assert_int_equal(count_log(f->store).work, 0);
    assert_int_equal(count_log(f->store).pending, 0);
    assert_int_equal(finish_one(f->store, 99, SVL_OUTCOME_OK, NULL), APR_SUCCESS); /* not held: dropped */
}

static void one_relayed_closes_the_route_of_a_batch_of_any_size(void **state)
{
    enum { COUNT = 2 * SVL_STORE_BATCH_MAX + 10 };
    fixture_t *f = *state;
    svl_store_entry_t *entries = apr_palloc(f->p, COUNT * sizeof(*entries)), next = own_call(f->p, "next", "all", "x");
    svl_store_outcome_t *outcomes = apr_pcalloc(f->p, COUNT * sizeof(*outcomes));
    svl_store_batch_t batch;
    int i;

    for (i = 0; i < COUNT; ++i) {
        entries[i] = own_call(f->p, apr_psprintf(f->p, "id-%d", i), "all", "x");
    }
    assert_int_equal(accept_all(f->store, entries, COUNT, "b", &batch), APR_SUCCESS);
    assert_int_equal(accept_all(f->store, &next, 1, "b", NULL), APR_SUCCESS);
    assert_int_equal(count_log(f->store).work, 4);
    for (i = 0; i < COUNT; ++i) {
        outcomes[i].position = batch.first + (apr_uint64_t)((i * 11) % COUNT); /* 11 and COUNT have no common divisor */
        outcomes[i].outcome = SVL_OUTCOME_OK;
    }
    assert_int_equal(svl_store_finish(f->store, outcomes, COUNT), APR_SUCCESS);
    assert_int_equal(count_log(f->store).pending, 1);
    assert_int_equal(count_log(f->store).work, 4);
    svl_store_relayed(f->store, batch.first);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_int_equal(count_log(f->store).work, 1);
    assert_int_equal(finish_one(f->store, next.position, SVL_OUTCOME_OK, NULL), APR_SUCCESS);
    assert_int_equal(count_log(f->store).work, 1);
}

static void late_outcomes_go_with_the_next_commit(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entries[2] = {own_call(f->p, "one", "all", "x"), own_call(f->p, "two", "all", apr_psprintf(f->p, "%01000d", 1))};
    svl_store_outcome_t ended = {.position = 1, .outcome = SVL_OUTCOME_OK, .ended = NOW, .text = "[1]", .length = 3};
    apr_uint64_t commits;

    assert_int_equal(accept_one(f->store, &entries[0]), APR_SUCCESS);
    commits = count_log(f->store).commits;
    assert_int_equal(svl_store_finish_later(f->store, &ended, 1), APR_SUCCESS);
    assert_int_equal(count_log(f->store).commits, commits);
    assert_int_equal(accept_one(f->store, &entries[1]), APR_SUCCESS);
    assert_int_equal(count_log(f->store).commits, commits + 1);
    assert_string_equal(read_entry(f, 1).text, "[1]");
    ended.position = 2;
    assert_int_equal(svl_store_finish_later(f->store, &ended, 1), APR_SUCCESS);
    close_log(f);
    open_log(f);
    assert_int_equal(read_entry(f, 2).outcome, SVL_OUTCOME_OK);
}

static void entries_are_read_in_both_directions(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry;
    svl_store_reader_t *reader;
    svl_store_record_t record = {0};
    apr_uint64_t i;

    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    assert_int_equal(svl_store_next(reader, 0, 1, &record), APR_NOTFOUND);
    assert_int_equal(svl_store_next(reader, 1, 1, &record), APR_NOTFOUND);
    svl_store_read_end(reader);
    for (i = 1; i <= 300; ++i) {
        entry = own_call(f->p, apr_psprintf(f->p, "id-%d", (int)i), "all", "x");
        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    }
    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    for (i = 1; i <= 300; ++i) {
        assert_int_equal(svl_store_next(reader, 0, 1, &record), APR_SUCCESS);
        assert_int_equal(record.position, i);
    }
    assert_int_equal(svl_store_next(reader, 0, 1, &record), APR_NOTFOUND);
    for (record.position = 0, i = 300; i > 0; --i) {
        assert_int_equal(svl_store_next(reader, 1, 0, &record), APR_SUCCESS);
        assert_int_equal(record.position, i);
    }
    assert_int_equal(svl_store_next(reader, 1, 0, &record), APR_NOTFOUND);
    svl_store_read_end(reader);
}

static void streams_of_many_nodes_are_told_apart(void **state)
{
    enum { NODES = 30, EACH_NODE = 4 };
    fixture_t *f = *state;
    svl_store_entry_t *entries = apr_palloc(f->p, NODES * EACH_NODE * sizeof(*entries)), again;
    svl_store_batch_t batch;
    int i;

    for (i = 0; i < NODES * EACH_NODE; ++i) {
        entries[i] = foreign_call(f->p, apr_psprintf(f->p, "id-%d", i), apr_psprintf(f->p, "node-%d", i % NODES),
                                  (apr_uint64_t)(EACH_NODE - i / NODES), "x");
    }
    assert_int_equal(accept_all(f->store, entries, NODES * EACH_NODE, NULL, &batch), APR_SUCCESS);
    assert_int_equal(batch.appended, NODES * EACH_NODE);
    for (i = 0; i < NODES * EACH_NODE; ++i) {
        again = entries[i];
        assert_int_equal(accept_one(f->store, &again), APR_SUCCESS);
        assert_int_equal(again.verdict, SVL_STORE_DUPLICATE);
        assert_int_equal(again.position, entries[i].position);
    }
}

enum { THREADS = 16, EACH = 50 };

static void *accept_many(void *data)
{
    fixture_t *f = data;
    apr_pool_t *p;
    long failed = 0;

    apr_pool_create_unmanaged(&p);
    for (int i = 0; i < EACH; ++i) {
        const char *id = apr_psprintf(p, "%lx-%d-%d", (unsigned long)pthread_self(), f->options.durable, i);
        svl_store_entry_t entry = own_call(p, id, "all", "x");

        failed += accept_one(f->store, &entry) != APR_SUCCESS || entry.verdict != SVL_STORE_NEW;
        svl_store_relayed(f->store, entry.position);
        failed += !holds_id(f->store, entry.id);
        failed += finish_one(f->store, entry.position, SVL_OUTCOME_OK, "1") != APR_SUCCESS;
    }
    apr_pool_destroy(p);
    return (void *)failed;
}

/* Who waits for a processor joins as well as who waits for a disk: here, without a disk, all wait for one processor. */
static void threads_share_commits(void **state)
{
    fixture_t *f = *state;
    pthread_t threads[THREADS];
    cpu_set_t all, one = {{0}};
    apr_uint64_t commits;
    void *failed;
    int durable, i;

    CPU_SET(sched_getcpu(), &one);
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    f->options.guard_signals = 1;
    for (durable = 0; durable <= 1; ++durable) {
        close_log(f);
        f->options.durable = durable;
        open_log(f);
        commits = count_log(f->store).commits;
        assert_int_equal(sched_setaffinity(0, sizeof(all), durable ? &all : &one), 0);
        for (i = 0; i < THREADS; ++i) {
            assert_int_equal(pthread_create(&threads[i], NULL, accept_many, f), 0);
        }
        for (i = 0; i < THREADS; ++i) {
            pthread_join(threads[i], &failed);
            assert_null(failed);
        }
        commits = count_log(f->store).commits - commits;
        print_message("# %d operations in %d commits\n", 2 * THREADS * EACH, (int)commits);
        assert_true(commits < THREADS * EACH * (durable ? 2 : 3) / 2); /* on one processor, without joining: 1,550 */
        assert_int_equal(count_log(f->store).calls, THREADS * EACH * (durable + 1));
        assert_int_equal(count_log(f->store).pending, 0);
    }
}

static void a_process_opens_a_log_once(void **state)
{
    fixture_t *f = *state;
    const char *error = NULL, *node;
    svl_store_t *second;

    assert_int_equal(svl_store_open(&second, &f->options, f->p), APR_EBUSY);
    assert_int_equal(svl_store_prepare(&f->options, -1, -1, &error, f->p), APR_EBUSY);
    assert_non_null(error);
    assert_int_equal(svl_store_open_reader(&second, f->directory, &node, &error, f->p), APR_EBUSY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(same_id_twice_is_a_duplicate_and_writes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(same_id_twice_in_one_batch_is_a_duplicate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_duplicates_those_are_told_that_came_without_a_route, set_up, tear_down),
        cmocka_unit_test_setup_teardown(own_numbers_are_consecutive_in_each_stream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_id_under_two_numbers_is_an_alias_or_a_conflict, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_number_under_two_ids_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused_entries_are_covered_and_come_after_the_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_accepted_survives_closing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(work_is_gone_when_runs_and_route_are_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_relayed_closes_the_route_of_a_batch_of_any_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(late_outcomes_go_with_the_next_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(entries_are_read_in_both_directions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(streams_of_many_nodes_are_told_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(threads_share_commits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_process_opens_a_log_once, set_up, tear_down),
    };

    return run_promises("store", tests, sizeof(tests) / sizeof(*tests));
}

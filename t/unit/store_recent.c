/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that are kept beside the log until the next transaction: nobody can tell them from those that are in it. */
#include "recent_fixture.h"

#define LONG 1000 /* bytes of an argument that make a call one that is committed */

static void expect_kept(fixture_t *f, const svl_store_entry_t *entry)
{
    svl_store_record_t record = read_entry(f, entry->position);
    const char *stamp = apr_psprintf(f->p, ",\"epoch\":\"%s\",\"seq\":%d,", entry->stamped, (int)entry->seq);

    assert_int_equal(position_of(f, entry->id), entry->position);
    assert_int_equal(record.arrived, NOW);
    assert_int_equal(record.expires, NOW / 1000 + 60000);
    assert_int_equal(record.outcome, SVL_OUTCOME_PENDING);
    assert_ptr_equal(strstr(record.line, entry->draft.head), record.line);
    assert_non_null(strstr(record.line, stamp));
}

/* As the command does. */
static int another_process_reads(fixture_t *f, const svl_store_entry_t *entry)
{
    const char *error, *node;
    apr_pool_t *p;
    pid_t pid;
    int status = -1;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        apr_pool_create_unmanaged(&p);
        if (svl_store_open_reader(&f->store, f->directory, &node, &error, p)) {
            _exit(1);
        }
        expect_kept(f, entry);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status == 0;
}

static void a_call_costs_no_transaction_and_is_read_at_once(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t one, two;
    svl_store_counts_t before, after;
    svl_store_reader_t *reader;
    apr_uint64_t last;

    begin_stream(f);
    one = keep_call(f, "one");
    two = keep_call(f, "two");
    assert_int_equal(one.position, 2);
    assert_int_equal(two.position, 3);
    assert_int_equal(one.seq, 2);
    assert_int_equal(two.seq, 3);
    assert_string_equal(one.stamped, svl_store_epoch(f->store));
    expect_kept(f, &one);
    expect_kept(f, &two);
    assert_true(another_process_reads(f, &two));
    assert_string_equal(positions(f, 0), "1 2 3");
    assert_string_equal(positions(f, 1), "3 2 1");
    before = count_log(f->store);
    assert_int_equal(before.calls, 3);
    assert_int_equal(before.pending, 3);
    assert_int_equal(before.work, 3);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    after = count_log(f->store);
    assert_int_equal(after.commits, before.commits + 1);
    assert_int_equal(after.calls, 3);
    assert_int_equal(after.pending, 3);
    assert_int_equal(after.work, 3);
    assert_false(svl_recent_any(f->store));
    expect_kept(f, &one);
    expect_kept(f, &two);
    assert_string_equal(positions(f, 1), "3 2 1");
    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    assert_int_equal(svl_store_last(reader, &last), APR_SUCCESS);
    svl_store_read_end(reader);
    assert_int_equal(last, 3);
}

static void an_outcome_of_a_kept_call_is_kept_with_it(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t one;

    begin_stream(f);
    one = keep_call(f, "one");
    assert_int_equal(finish_one(f->store, one.position, SVL_OUTCOME_OK, "1"), APR_SUCCESS);
    assert_string_equal(read_entry(f, one.position).text, "1");
    assert_int_equal(count_log(f->store).pending, 1);
    svl_store_relayed(f->store, one.position);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_string_equal(read_entry(f, one.position).text, "1");
    assert_int_equal(count_log(f->store).pending, 1);
    assert_int_equal(count_log(f->store).work, 1);
}

static void an_id_is_taken_whether_its_call_is_kept_or_committed(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t one, again = own_call(f->p, "one", "all", "x");

    begin_stream(f);
    one = keep_call(f, "one");
    assert_int_equal(accept_one(f->store, &again), APR_SUCCESS); /* commits both */
    assert_int_equal(again.verdict, SVL_STORE_DUPLICATE);
    assert_int_equal(again.position, one.position);
    assert_false(svl_recent_any(f->store));
    again = own_call(f->p, "one", "all", "x");
    assert_int_equal(accept_one(f->store, &again), APR_SUCCESS);
    assert_int_equal(again.verdict, SVL_STORE_DUPLICATE);
    assert_int_equal(count_log(f->store).calls, 2);
}

static void another_nodes_calls_are_kept_in_the_order_of_their_numbers(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = foreign_call(f->p, "b1", "b", 1, "x");

    assert_false(accept_without_commit(f, &entry)); /* a new stream */
    entry = foreign_call(f->p, "b2", "b", 2, "x");
    assert_true(accept_without_commit(f, &entry));
    assert_int_equal(entry.verdict, SVL_STORE_NEW);
    entry = foreign_call(f->p, "b2", "b", 2, "x");
    assert_false(accept_without_commit(f, &entry));
    assert_int_equal(entry.verdict, SVL_STORE_DUPLICATE);
    entry = foreign_call(f->p, "b5", "b", 5, "x"); /* leaves a gap */
    assert_false(accept_without_commit(f, &entry));
    entry = foreign_call(f->p, "b3", "b", 3, "x");
    assert_false(accept_without_commit(f, &entry));
    entry = foreign_call(f->p, "b4", "b", 4, "x");
    assert_false(accept_without_commit(f, &entry)); /* closes it */
    entry = foreign_call(f->p, "b6", "b", 6, "x");
    assert_true(accept_without_commit(f, &entry));
    entry = foreign_call(f->p, "b6", "b", 7, "x");
    assert_false(accept_without_commit(f, &entry));
    assert_int_equal(entry.verdict, SVL_STORE_ALIAS);
    entry = foreign_call(f->p, "b6", "b", 8, "y");
    assert_false(accept_without_commit(f, &entry));
    assert_int_equal(entry.verdict, SVL_STORE_CONFLICT);
    entry = foreign_call(f->p, "own", "a", 1, "x"); /* this node's own comes back */
    assert_false(accept_without_commit(f, &entry));
}

static void what_does_not_fit_is_committed(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry;
    int i;

    begin_stream(f);
    entry = own_call(f->p, "long", "all", apr_psprintf(f->p, "%0*d", LONG, 1));
    assert_false(accept_without_commit(f, &entry));
    entry = own_call(f->p, "every", "all", "x");
    entry.every = 1;
    assert_false(accept_without_commit(f, &entry));
    for (i = 0; i < SVL_RECENT_PLACES; ++i) {
        keep_call(f, apr_psprintf(f->p, "kept-%d", i));
    }
    entry = own_call(f->p, "more", "all", "x");
    assert_false(accept_without_commit(f, &entry));
    assert_int_equal(count_log(f->store).calls, 4 + SVL_RECENT_PLACES);
    assert_int_equal(entry.position, 4 + SVL_RECENT_PLACES);
    close_log(f);
    f->options.durable = 1;
    open_log(f);
    entry = own_call(f->p, "durable", "all", "x");
    assert_false(accept_without_commit(f, &entry));
}

/* What is kept found room when it was kept; there must be some also where the log is opened with a lower bound since. */
static void what_is_kept_has_room_when_the_bound_is_lowered(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry;
    int i;

    begin_stream(f);
    for (i = 0; i < SVL_RECENT_PLACES; ++i) {
        entry = own_call(f->p, apr_psprintf(f->p, "kept-%d", i), "all", apr_psprintf(f->p, "%0*d", 600, 1));
        assert_true(accept_without_commit(f, &entry));
    }
    close_log(f);
    f->options.size = SVL_STORE_SIZE_MIN;
    open_log(f);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_false(svl_recent_any(f->store));
    assert_int_equal(count_log(f->store).calls, 1 + SVL_RECENT_PLACES);
    entry = own_call(f->p, "more", "all", "x");
    assert_int_equal(accept_one(f->store, &entry), SVL_EFULL);
}

/* Within a tick of the kernel's clock the file is not looked at again. */
static void a_log_that_was_removed_keeps_no_calls(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "before", "all", "x");
    struct timespec then, tick;

    begin_stream(f);
    assert_true(accept_without_commit(f, &entry));
    assert_int_equal(unlink(path_of(f, "data.mdb")), 0);
    clock_gettime(CLOCK_MONOTONIC_COARSE, &then);
    do {
        clock_gettime(CLOCK_MONOTONIC_COARSE, &tick);
    } while (tick.tv_sec == then.tv_sec && tick.tv_nsec == then.tv_nsec);
    entry = own_call(f->p, "after", "all", "x");
    assert_int_equal(accept_one(f->store, &entry), SVL_EDAMAGED);
    assert_int_equal(access(path_of(f, "damaged"), F_OK), 0);
}

/* As when the process was killed between its commit and what follows. */
static void what_is_committed_already_is_not_committed_again(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t kept;

    begin_stream(f);
    kept = keep_call(f, "kept");
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    f->store->recent->words[kept.position % SVL_RECENT_PLACES] = kept.position;
    assert_string_equal(positions(f, 0), "1 2");
    assert_string_equal(positions(f, 1), "2 1");
    assert_int_equal(count_log(f->store).calls, 2);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_false(svl_recent_any(f->store));
    assert_string_equal(positions(f, 0), "1 2");
    assert_int_equal(count_log(f->store).pending, 2);
}

static void what_does_not_belong_there_harms_no_other(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t one, two, three;
    svl_recent_t *recent = f->store->recent;

    begin_stream(f);
    one = keep_call(f, "one");
    two = keep_call(f, "two");
    three = keep_call(f, "three");
    recent->bodies[two.position % SVL_RECENT_PLACES].length = 999999;
    recent->words[40] = 40; /* none was ever kept there */
    assert_int_equal(position_of(f, "two"), 0);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_false(svl_recent_any(f->store));
    expect_kept(f, &one);
    expect_kept(f, &three);
    assert_string_equal(positions(f, 0), "1 2 4");
    assert_string_not_equal(svl_store_epoch(f->store), one.stamped); /* the number of the lost one is not given again */
}

/* A record of the right form, as a stray write of another module may leave it. */
static void a_call_that_cannot_be_is_left_out(void **state)
{
    static const unsigned char bytes[] = {0, 13, 17 + 3}; /* of the owner, which may be any; the id's length; the stream */
    fixture_t *f = *state;
    svl_store_entry_t entry;
    unsigned int i;

    begin_stream(f);
    for (i = 0; i < sizeof(bytes); ++i) {
        svl_recent_t *recent = f->store->recent;
        const char *id = apr_psprintf(f->p, "id%d", i);

        entry = own_call(f->p, apr_pstrcat(f->p, "begin-", id, NULL), "all", "x");
        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS); /* an epoch may have begun */
        entry = keep_call(f, id);
        ((unsigned char *)recent->bodies[entry.position % SVL_RECENT_PLACES].record)[bytes[i]] ^= 0xa5;
        assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
        assert_int_equal(position_of(f, id), i ? 0 : entry.position);
        entry = own_call(f->p, apr_pstrcat(f->p, "after-", id, NULL), "all", "x");
        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
        assert_int_equal(entry.position, 4 * (i + 1) - i);
    }
}

static void copy_file(const char *from, const char *to)
{
    char bytes[4096];
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    size_t count;

    assert_non_null(in);
    assert_non_null(out);
    while ((count = fread(bytes, 1, sizeof(bytes), in)) > 0) {
        assert_int_equal(fwrite(bytes, 1, count, out), count);
    }
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static void keep_one(fixture_t *f)
{
    svl_store_entry_t entry = own_call(f->opened, "late", "all", "x");

    _exit(accept_one(f->store, &entry) || entry.position != 12 || !svl_recent_any(f->store));
}

/* A backup of data.mdb is put back after the server was killed. */
static void what_is_kept_is_not_lost_with_a_log_that_is_older(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t next = own_call(f->p, "next", "all", "x");
    int i;

    begin_stream(f);
    close_log(f);
    copy_file(path_of(f, "data.mdb"), path_of(f, "backup"));
    open_log(f);
    for (i = 0; i < 10; ++i) {
        keep_call(f, apr_psprintf(f->p, "lost-%d", i));
    }
    close_log(f);
    leave_work(f, keep_one);
    copy_file(path_of(f, "backup"), path_of(f, "data.mdb"));
    prepare_log(f);
    open_log(f);
    assert_string_equal(positions(f, 0), "1 12");
    assert_int_equal(position_of(f, "late"), 12);
    assert_int_equal(accept_one(f->store, &next), APR_SUCCESS);
    assert_int_equal(next.position, 13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EITHER_WAY(a_call_costs_no_transaction_and_is_read_at_once),
        EITHER_WAY(an_outcome_of_a_kept_call_is_kept_with_it),
        EITHER_WAY(an_id_is_taken_whether_its_call_is_kept_or_committed),
        EITHER_WAY(another_nodes_calls_are_kept_in_the_order_of_their_numbers),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_committed, set_up, tear_down),
        EITHER_WAY(what_is_kept_has_room_when_the_bound_is_lowered),
        EITHER_WAY(a_log_that_was_removed_keeps_no_calls),
        EITHER_WAY(what_is_committed_already_is_not_committed_again),
        EITHER_WAY(what_does_not_belong_there_harms_no_other),
        EITHER_WAY(a_call_that_cannot_be_is_left_out),
        EITHER_WAY(what_is_kept_is_not_lost_with_a_log_that_is_older),
    };

    return run_promises("store_recent", tests, sizeof(tests) / sizeof(*tests));
}

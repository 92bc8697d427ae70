/* SPDX-License-Identifier: Apache-2.0 */
/* Calls and outcomes that are kept beside a log with fsync: a boot leaves nothing of `running`, and all that was told. */
#include "recent_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#include "store/ended.h"
#include "store/journal.h"
#include "store/running.h"

static void finish(fixture_t *f, apr_uint64_t position, const char *text)
{
    apr_uint64_t commits = count_log(f->store).commits;

    assert_int_equal(finish_one(f->store, position, SVL_OUTCOME_OK, text), APR_SUCCESS);
    assert_int_equal(count_log(f->store).commits, commits);
}

/* The process ends as a killed one does, so that nothing is committed. */
static void keep_two_and_die(fixture_t *f)
{
    svl_store_entry_t one, two;

    keep_call(f, "again"); /* the stream is known */
    one = keep_call(f, "one");
    two = keep_call(f, "two");
    finish(f, one.position, "\"result\"");
    _exit(one.position != 3 || two.position != 4 || f->store->journal->end != 4 * (apr_uint64_t)SVL_JOURNAL_PAGE);
}

static void what_was_told_outlasts_a_boot_without_a_commit(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t same = own_call(f->p, "two", "all", "two");
    const char *line;

    begin_stream(f);
    close_log(f);
    leave_work(f, keep_two_and_die);
    boot(f);
    assert_string_equal(positions(f, 0), "1 2 3 4");
    line = read_entry(f, 4).line;
    assert_non_null(strstr(line, "\"id\":\"two\""));
    assert_non_null(strstr(line, "\"seq\":4,"));
    assert_int_equal(read_entry(f, 3).outcome, SVL_OUTCOME_OK);
    assert_string_equal(read_entry(f, 3).text, "\"result\"");
    assert_int_equal(read_entry(f, 4).outcome, SVL_OUTCOME_PENDING);
    assert_int_equal(count_log(f->store).pending, 3);
    assert_int_equal(accept_one(f->store, &same), APR_SUCCESS);
    assert_int_equal(same.verdict, SVL_STORE_DUPLICATE);
    assert_int_equal(same.position, 4);
    boot(f); /* what was taken is not taken again */
    assert_string_equal(positions(f, 0), "1 2 3 4");
    assert_int_equal(count_log(f->store).pending, 3);
}

static void a_start_without_fsync_takes_it_too(void **state)
{
    fixture_t *f = *state;

    begin_stream(f);
    close_log(f);
    leave_work(f, keep_two_and_die);
    f->options.durable = 0;
    boot(f);
    assert_string_equal(positions(f, 0), "1 2 3 4");
    assert_string_equal(read_entry(f, 3).text, "\"result\"");
}

/* @param batch counted from 0, of batches of a page each; turns its byte at @a at */
static void spoil(const fixture_t *f, int batch, int at)
{
    int fd = open(path_of(f, SVL_JOURNAL_FILE), O_RDWR);
    off_t place = (off_t)batch * SVL_JOURNAL_PAGE + at;
    unsigned char byte;

    assert_int_equal(pread(fd, &byte, 1, place), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, place), 1);
    close(fd);
}

/* The last one, which the power cut met: nobody was told. */
static void a_torn_batch_does_not_count(void **state)
{
    static const int bytes[] = {0, 9, 18, 21, SVL_JOURNAL_BATCH_HEAD + 3, SVL_JOURNAL_BATCH_HEAD + 40};
    fixture_t *f = *state;
    unsigned int i;

    for (i = 0; i < sizeof(bytes) / sizeof(*bytes); ++i) {
        begin_stream(f);
        close_log(f);
        leave_work(f, keep_two_and_die);
        spoil(f, 3, bytes[i]); /* the outcome */
        spoil(f, 2, bytes[i]);
        boot(f);
        assert_string_equal(positions(f, 0), "1 2 3");
        assert_int_equal(read_entry(f, 3).outcome, SVL_OUTCOME_PENDING);
        tear_down(state);
        assert_int_equal(set_up_durable(state), 0);
        f = *state;
    }
}

enum { MANY = 1700 };

static void keep_many_and_die(fixture_t *f)
{
    int i;

    for (i = 0; i < MANY; ++i) {
        svl_store_entry_t entry = own_call(f->opened, apr_psprintf(f->opened, "id-%d", i), "all", "x");

        if (accept_one(f->store, &entry) || finish_one(f->store, entry.position, SVL_OUTCOME_OK, entry.id)) {
            _exit(1);
        }
    }
    /* two batches of a page a call, in a file of 1,024 pages: it went round more than twice, by a commit each time */
    _exit(f->store->journal->end < (2 * MANY - 20) * (apr_uint64_t)SVL_JOURNAL_PAGE);
}

static void a_journal_that_goes_round_loses_nothing(void **state)
{
    fixture_t *f = *state;
    apr_uint64_t commits = count_log(f->store).commits;
    int i;

    close_log(f);
    leave_work(f, keep_many_and_die);
    boot(f);
    assert_true(count_log(f->store).commits - commits < 20);
    assert_int_equal(count_log(f->store).calls, MANY);
    assert_int_equal(count_log(f->store).pending, 0);
    for (i = 0; i < MANY; ++i) {
        const char *id = apr_psprintf(f->p, "id-%d", i);

        assert_int_equal(position_of(f, id), (apr_uint64_t)i + 1);
        assert_string_equal(read_entry(f, (apr_uint64_t)i + 1).text, id);
    }
}

enum { HIDDEN_2 = 2 * 4 + 3 }; /* the word of ended.c: the outcome of position 2, not seen yet */

typedef struct keeper_t {
    fixture_t *f;
    const char *id;
    apr_uint64_t position; /* of an outcome; 0: a call */
    volatile int done;
} keeper_t;

static void *keep_in_thread(void *baton)
{
    keeper_t *keeper = baton;
    svl_store_entry_t entry;

    if (keeper->position) {
        keeper->done = finish_one(keeper->f->store, keeper->position, SVL_OUTCOME_OK, "\"x\"") ? -1 : 1;
        return NULL;
    }
    entry = own_call(keeper->f->p, keeper->id, "all", "x");
    keeper->done = accept_one(keeper->f->store, &entry) ? -1 : 1;
    return NULL;
}

static void wait_for(const apr_uint64_t *number, apr_uint64_t value)
{
    apr_time_t end = apr_time_now() + apr_time_from_sec(10);

    while (svl_running_get(number) != value && apr_time_now() < end) {
        sched_yield();
    }
    assert_int_equal(svl_running_get(number), value);
}

/* The journal's lock is held, as by a process whose disk takes long. */
static void nobody_sees_what_is_not_on_the_disk_yet(void **state)
{
    fixture_t *f = *state;
    keeper_t keeper = {f, "slow", 0, 0}, other = {f, NULL, 2, 0};
    svl_journal_t *journal;
    pthread_t threads[2];

    begin_stream(f);
    keep_call(f, "one");
    journal = f->store->journal;
    pthread_mutex_lock(&journal->lock);
    assert_int_equal(pthread_create(&threads[0], NULL, keep_in_thread, &keeper), 0);
    wait_for(svl_recent_word(f->store->recent, 3), 3);
    assert_int_equal(pthread_create(&threads[1], NULL, keep_in_thread, &other), 0);
    wait_for(&f->store->ended->words[2], HIDDEN_2);
    assert_string_equal(positions(f, 0), "1 2");
    assert_false(holds_id(f->store, "slow"));
    assert_int_equal(read_entry(f, 2).outcome, SVL_OUTCOME_PENDING);
    assert_int_equal(keeper.done | other.done, 0);
    pthread_mutex_unlock(&journal->lock);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    assert_int_equal(keeper.done, 1);
    assert_int_equal(other.done, 1);
    assert_string_equal(positions(f, 0), "1 2 3");
    assert_string_equal(read_entry(f, 2).text, "\"x\"");
}

/* A transaction makes it as safe, and then it is seen. */
static void a_commit_tells_those_who_wait(void **state)
{
    fixture_t *f = *state;
    keeper_t keeper = {f, "slow", 0, 0}, other = {f, NULL, 2, 0};
    pthread_t threads[2];

    begin_stream(f);
    keep_call(f, "one");
    pthread_mutex_lock(&f->store->journal->lock);
    assert_int_equal(pthread_create(&threads[0], NULL, keep_in_thread, &keeper), 0);
    wait_for(svl_recent_word(f->store->recent, 3), 3);
    assert_int_equal(pthread_create(&threads[1], NULL, keep_in_thread, &other), 0);
    wait_for(&f->store->ended->words[2], HIDDEN_2);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_string_equal(positions(f, 0), "1 2 3");
    assert_string_equal(read_entry(f, 2).text, "\"x\"");
    pthread_mutex_unlock(&f->store->journal->lock);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    assert_int_equal(keeper.done + other.done, 2);
    assert_int_equal(f->store->journal->end, SVL_JOURNAL_PAGE); /* of "one" only */
}

static void hold_the_journal_and_die(fixture_t *f)
{
    pthread_mutex_lock(&f->store->journal->lock);
    _exit(0);
}

static void who_dies_while_writing_the_journal_stops_nobody(void **state)
{
    fixture_t *f = *state;

    begin_stream(f);
    leave_work(f, hold_the_journal_and_die);
    keep_call(f, "two");
    assert_string_equal(positions(f, 0), "1 2");
}

/* Between that a transaction has seen an outcome that is not safe yet, and that it writes it, the outcome becomes safe and is told.  As the
 * transaction ends the journal, it must be in it. */
static void an_outcome_that_is_told_meanwhile_is_taken_too(void **state)
{
    fixture_t *f = *state;
    keeper_t keeper = {f, NULL, 2, 0};
    svl_ended_load_t load;
    svl_change_t change;
    pthread_t thread;

    begin_stream(f);
    keep_call(f, "one");
    pthread_mutex_lock(&f->store->journal->lock);
    assert_int_equal(pthread_create(&thread, NULL, keep_in_thread, &keeper), 0);
    wait_for(&f->store->ended->words[2], HIDDEN_2);
    assert_int_equal(svl_ended_take(f->store, &load), 1);
    pthread_mutex_unlock(&f->store->journal->lock);
    pthread_join(thread, NULL);
    assert_int_equal(keeper.done, 1);
    assert_int_equal(svl_change_begin(&change, f->store), APR_SUCCESS);
    assert_int_equal(svl_ended_apply(&change, &load, 0), APR_SUCCESS);
    change.complete = 1;
    assert_int_equal(svl_change_commit(&change), APR_SUCCESS);
    svl_running_put(&f->store->ended->words[2], 0); /* as after a boot */
    assert_string_equal(read_entry(f, 2).text, "\"x\"");
}

static void copy_file(fixture_t *f, const char *from, const char *to)
{
    FILE *in = fopen(path_of(f, from), "r"), *out = fopen(path_of(f, to), "w");
    char bytes[4096];
    size_t got;

    while ((got = fread(bytes, 1, sizeof(bytes), in)) > 0) {
        assert_int_equal(fwrite(bytes, 1, got, out), got);
    }
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static void keep_others_and_die(fixture_t *f)
{
    svl_store_entry_t entry = own_call(f->p, "other", "all", "x"), more;

    _exit(accept_one(f->store, &entry) || entry.position != 2 || (more = keep_call(f, "more")).position != 3);
}

/* Of the same boot: the journal has calls of a history that the log forgot. */
static void an_older_copy_of_the_log_loses_no_new_call(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry;

    begin_stream(f);
    close_log(f);
    copy_file(f, "data.mdb", "copy");
    open_log(f);
    entry = own_call(f->p, "old", "all", "x");
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    keep_call(f, "older");
    close_log(f);
    copy_file(f, "copy", "data.mdb");
    prepare_log(f);
    leave_work(f, keep_others_and_die);
    boot(f);
    assert_string_equal(positions(f, 0), "1 2 3");
    assert_true(holds_id(f->store, "other"));
    assert_true(holds_id(f->store, "more"));
}

/* The disk went, with what was not written yet, and came back. */
static void an_older_running_does_not_hide_the_journal(void **state)
{
    fixture_t *f = *state;

    begin_stream(f);
    close_log(f);
    copy_file(f, "running", "copy");
    leave_work(f, keep_two_and_die);
    copy_file(f, "copy", "running");
    prepare_log(f);
    open_log(f);
    assert_string_equal(positions(f, 0), "1 2 3 4");
    assert_string_equal(read_entry(f, 3).text, "\"result\"");
}

/* By another process, as after a graceful restart that changed ServicelessDurability. */
static void a_call_without_fsync_is_seen_at_once(void **state)
{
    fixture_t *f = *state;
    keeper_t keeper = {f, "slow", 0, 0};
    svl_store_entry_t entry = own_call(f->p, "other", "all", "x");
    pthread_t thread;

    begin_stream(f);
    keep_call(f, "one");
    pthread_mutex_lock(&f->store->journal->lock);
    assert_int_equal(pthread_create(&thread, NULL, keep_in_thread, &keeper), 0);
    wait_for(svl_recent_word(f->store->recent, 3), 3);
    f->store->options.durable = 0;
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    assert_true(holds_id(f->store, "other"));
    f->store->options.durable = 1;
    pthread_mutex_unlock(&f->store->journal->lock);
    pthread_join(thread, NULL);
    assert_int_equal(keeper.done, 1);
}

/* That was begun in place of one that was set aside: its positions mean other calls. */
static void the_journal_of_another_log_does_not_count(void **state)
{
    fixture_t *f = *state;
    const char *aside;

    begin_stream(f);
    close_log(f);
    leave_work(f, keep_two_and_die);
    assert_int_equal(rename(path_of(f, SVL_JOURNAL_FILE), path_of(f, "away")), 0);
    assert_int_equal(svl_store_set_aside(f->directory, &aside, f->p), APR_SUCCESS);
    prepare_log(f);
    assert_int_equal(rename(path_of(f, "away"), path_of(f, SVL_JOURNAL_FILE)), 0);
    boot(f);
    assert_string_equal(positions(f, 0), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_told_outlasts_a_boot_without_a_commit, set_up_durable, tear_down),
        cmocka_unit_test_setup_teardown(a_start_without_fsync_takes_it_too, set_up_durable, tear_down),
        cmocka_unit_test_setup_teardown(a_torn_batch_does_not_count, set_up_durable, tear_down),
        cmocka_unit_test_setup_teardown(a_journal_that_goes_round_loses_nothing, set_up_durable, tear_down),
        cmocka_unit_test_setup_teardown(nobody_sees_what_is_not_on_the_disk_yet, set_up_durable, tear_down),
        cmocka_unit_test_setup_teardown(a_commit_tells_those_who_wait, set_up_durable, tear_down),
        cmocka_unit_test_setup_teardown(who_dies_while_writing_the_journal_stops_nobody, set_up_durable, tear_down),
        cmocka_unit_test_setup_teardown(an_outcome_that_is_told_meanwhile_is_taken_too, set_up_durable, tear_down),
        cmocka_unit_test_setup_teardown(an_older_copy_of_the_log_loses_no_new_call, set_up_durable, tear_down),
        cmocka_unit_test_setup_teardown(an_older_running_does_not_hide_the_journal, set_up_durable, tear_down),
        cmocka_unit_test_setup_teardown(a_call_without_fsync_is_seen_at_once, set_up_durable, tear_down),
        cmocka_unit_test_setup_teardown(the_journal_of_another_log_does_not_count, set_up_durable, tear_down),
    };

    return run_promises("store_journal", tests, sizeof(tests) / sizeof(*tests));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Outcomes that are kept beside the log until the next transaction: nobody can tell them from those that are in it. */
#include "store_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include "store/ended.h"

#define HEADER 64 /* bytes of the file `running` before what is kept */

static apr_uint64_t accept_id(fixture_t *f, const char *id)
{
    svl_store_entry_t entry = own_call(f->opened, id, "all", "x");

    if (accept_one(f->store, &entry) || entry.verdict != SVL_STORE_NEW) {
        _exit(1);
    }
    return entry.position;
}

/* Such a call is committed. */
static void accept_long(fixture_t *f, const char *id)
{
    svl_store_entry_t entry = own_call(f->opened, id, "all", apr_psprintf(f->opened, "%01000d", 1));

    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
}

static void expect_ended(fixture_t *f, apr_uint64_t position, const char *text)
{
    svl_store_record_t record = read_entry(f, position);

    assert_int_equal(record.outcome, SVL_OUTCOME_OK);
    assert_int_equal(record.micros, 5);
    assert_int_equal(record.ended, NOW + 1);
    assert_string_equal(record.text ? record.text : "", text);
}

static svl_ended_t *map_kept(const fixture_t *f)
{
    int fd = open(path_of(f, "running"), O_RDWR);
    char *mapped = mmap(NULL, HEADER + sizeof(svl_ended_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(mapped, MAP_FAILED);
    close(fd);
    return (svl_ended_t *)(void *)(mapped + HEADER);
}

static int count_places(const fixture_t *f)
{
    svl_ended_t *kept = map_kept(f);
    int i, count = 0;

    for (i = 0; i < SVL_ENDED_PLACES; ++i) {
        count += kept->words[i] != 0;
    }
    munmap((char *)kept - HEADER, HEADER + sizeof(*kept));
    return count;
}

static void an_outcome_costs_no_transaction_and_is_read_at_once(void **state)
{
    fixture_t *f = *state;
    apr_uint64_t position = accept_id(f, "one"), next = accept_id(f, "two"), commits = count_log(f->store).commits;
    const char *error, *node;
    apr_pool_t *p;
    pid_t pid;
    int status;

    assert_int_equal(count_log(f->store).pending, 2);
    assert_int_equal(finish_one(f->store, position, SVL_OUTCOME_OK, "\"result\""), APR_SUCCESS);
    assert_int_equal(count_log(f->store).commits, commits);
    assert_int_equal(count_log(f->store).pending, 1);
    expect_ended(f, position, "\"result\"");
    assert_int_equal(read_entry(f, next).outcome, SVL_OUTCOME_PENDING);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_int_equal(count_log(f->store).commits, commits + 1);
    assert_int_equal(count_log(f->store).pending, 1);
    assert_int_equal(count_places(f), 0);
    expect_ended(f, position, "\"result\"");
    assert_int_equal(finish_one(f->store, next, SVL_OUTCOME_OK, "2"), APR_SUCCESS);
    accept_long(f, "three"); /* takes it along */
    assert_int_equal(count_places(f), 0);
    assert_int_equal(finish_one(f->store, next + 1, SVL_OUTCOME_OK, "3"), APR_SUCCESS);
    fflush(stdout);
    pid = fork();
    if (pid == 0) { /* as the command does */
        apr_pool_create_unmanaged(&p);
        _exit(svl_store_open_reader(&f->store, f->directory, &node, &error, p)
              || read_entry(f, next + 1).outcome != SVL_OUTCOME_OK);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* As by who looked for calls that have expired before the run ended. */
static void an_outcome_of_a_run_stands_against_what_is_decided_later(void **state)
{
    fixture_t *f = *state;
    apr_uint64_t position = accept_id(f, "one");

    assert_int_equal(finish_one(f->store, position, SVL_OUTCOME_OK, "1"), APR_SUCCESS);
    assert_int_equal(finish_one(f->store, position, SVL_OUTCOME_EXPIRED, NULL), APR_SUCCESS);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    expect_ended(f, position, "1");
}

static void the_first_outcome_stands(void **state)
{
    fixture_t *f = *state;
    apr_uint64_t position = accept_id(f, "one");

    assert_int_equal(finish_one(f->store, position, SVL_OUTCOME_OK, "1"), APR_SUCCESS);
    assert_int_equal(finish_one(f->store, position, SVL_OUTCOME_ERROR, "words"), APR_SUCCESS);
    expect_ended(f, position, "1");
    assert_int_equal(count_log(f->store).pending, 0);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    expect_ended(f, position, "1");
}

static void end_one(fixture_t *f)
{
    if (finish_one(f->store, accept_id(f, "one"), SVL_OUTCOME_OK, "\"of the dead\"")) {
        _exit(1);
    }
}

static void an_outcome_outlives_its_process_and_is_not_run_again(void **state)
{
    fixture_t *f = *state;
    apr_array_header_t *batches;

    leave_work(f, end_one); /* killed, beside a process that lives: this one */
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 10, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 0);
    expect_ended(f, 1, "\"of the dead\"");
    assert_int_equal(count_places(f), 0);
    close_log(f);
    unlink(path_of(f, "data.mdb"));
    prepare_log(f);
    leave_work(f, end_one); /* the last one of the server, which is started again */
    prepare_log(f);
    open_log(f);
    assert_int_equal(count_places(f), 0);
    expect_ended(f, 1, "\"of the dead\"");
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 10, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 0);
}

static void accept_two(fixture_t *f)
{
    accept_id(f, "one");
    accept_id(f, "two");
}

/* Of the calls of a dead process one is kept as ended, which could not be committed, and one place holds nothing. */
static void who_takes_over_believes_what_is_kept(void **state)
{
    fixture_t *f = *state;
    svl_ended_t *kept = map_kept(f);
    const svl_store_orphans_t *batch;
    apr_array_header_t *batches;

    leave_work(f, accept_two);
    f->store->ended_failed = 1;
    assert_int_equal(finish_one(f->store, 1, SVL_OUTCOME_OK, "1"), APR_SUCCESS);
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 1, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 1);
    assert_int_equal(APR_ARRAY_IDX(batches, 0, svl_store_orphans_t).runs->nelts, 0);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    expect_ended(f, 1, "1");
    kept->words[9] = 2 * 4 + 2;
    kept->bodies[9].length = 1;
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 10, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 1);
    batch = &APR_ARRAY_IDX(batches, 0, svl_store_orphans_t);
    assert_int_equal(batch->runs->nelts, 1);
    assert_int_equal(APR_ARRAY_IDX(batch->runs, 0, svl_store_orphan_t).position, 2);
    munmap((char *)kept - HEADER, HEADER + sizeof(*kept));
}

static void what_another_log_kept_means_nothing(void **state)
{
    fixture_t *f = *state;
    apr_uint64_t position = accept_id(f, "one");
    pid_t pid;
    int status;

    assert_int_equal(unlink(path_of(f, "data.mdb")), 0); /* while it is used; its processes still have the old file */
    fflush(stdout);
    pid = fork();
    if (pid == 0) { /* as the server does that is started again, gracefully */
        prepare_log(f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(finish_one(f->store, position, SVL_OUTCOME_OK, "\"of the other\""), APR_SUCCESS);
    assert_int_equal(count_places(f), 0); /* of the file that is there now, for the new log */
}

static void what_has_no_place_is_committed(void **state)
{
    fixture_t *f = *state;
    char *words = apr_psprintf(f->p, "\"%0*d\"", SVL_ENDED_TEXT_MAX - 2, 1);
    apr_uint64_t commits, i;

    for (i = 1; i <= SVL_ENDED_PLACES + 2; ++i) {
        accept_id(f, apr_psprintf(f->p, "id-%d", (int)i));
    }
    commits = count_log(f->store).commits;
    for (i = 1; i <= SVL_ENDED_PLACES; ++i) {
        assert_int_equal(finish_one(f->store, i, SVL_OUTCOME_OK, words), APR_SUCCESS);
    }
    assert_int_equal(count_places(f), SVL_ENDED_PLACES);
    assert_int_equal(count_log(f->store).commits, commits);
    assert_int_equal(count_log(f->store).pending, 2);
    assert_int_equal(finish_one(f->store, i, SVL_OUTCOME_OK, words), APR_SUCCESS);
    assert_int_equal(count_log(f->store).commits, commits + 1);
    assert_int_equal(count_places(f), 0);
    assert_int_equal(finish_one(f->store, i + 1, SVL_OUTCOME_OK, apr_pstrcat(f->p, words, " ", NULL)), APR_SUCCESS);
    assert_int_equal(count_log(f->store).commits, commits + 2); /* it was too long */
    assert_int_equal(count_log(f->store).pending, 0);
    expect_ended(f, 1, words);
    close_log(f);
    f->options.durable = 1;
    open_log(f);
    i = accept_id(f, "durable");
    commits = count_log(f->store).commits;
    assert_int_equal(finish_one(f->store, i, SVL_OUTCOME_OK, "1"), APR_SUCCESS);
    assert_int_equal(count_log(f->store).commits, commits + 1);
}

/* As by a process that was killed in the middle, and by one that writes where it must not. */
static void places_that_hold_nothing_come_back(void **state)
{
    fixture_t *f = *state;
    svl_ended_t *kept = map_kept(f);
    apr_uint64_t position = accept_id(f, "one");

    kept->words[7] = 12345 * 4 + 1; /* being filled by an owner that is dead */
    kept->words[8] = svl_store_owner(f->store) * 4 + 1;
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_int_equal(kept->words[7], 0);
    assert_int_not_equal(kept->words[8], 0);
    kept->words[8] = position * 4 + 2; /* full, of nothing */
    kept->words[9] = position * 4 + 2;
    kept->bodies[9].length = sizeof(kept->bodies[9]) + 1;
    assert_int_equal(read_entry(f, position).outcome, SVL_OUTCOME_PENDING);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_int_equal(count_places(f), 0);
    assert_int_equal(count_log(f->store).pending, 1);
    kept->words[9] = 999 * 4 + 2; /* of an entry that is not held: another log's */
    kept->bodies[9].length = SVL_RECORDS_OUTCOME_SIZE;
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_int_equal(count_places(f), 0);
    assert_int_equal(accept_id(f, "two"), position + 1);
    munmap((char *)kept - HEADER, HEADER + sizeof(*kept));
}

enum { PROCESSES = 3, THREADS = 4 };

static void *end_without_end(void *data)
{
    fixture_t *f = data;
    int i;

    for (i = 0;; ++i) {
        apr_uint64_t position;
        svl_store_entry_t entry;
        apr_pool_t *p;
        char text[32];

        apr_pool_create_unmanaged(&p);
        entry = own_call(p, apr_psprintf(p, "%d-%lx-%d", (int)getpid(), (unsigned long)pthread_self(), i), "all", "x");
        if (accept_one(f->store, &entry)) {
            _exit(1);
        }
        position = entry.position;
        apr_snprintf(text, sizeof(text), "%" APR_UINT64_T_FMT, position);
        if (finish_one(f->store, position, SVL_OUTCOME_OK, text)
            || write(STDIN_FILENO, &position, sizeof(position)) != sizeof(position)) {
            _exit(1);
        }
        apr_pool_destroy(p);
    }
    return NULL;
}

static pid_t begin_ending(fixture_t *f, int out)
{
    pid_t pid = fork();

    if (pid == 0) {
        pthread_t threads[THREADS];
        int i;

        dup2(out, STDIN_FILENO);
        apr_pool_create_unmanaged(&f->opened);
        if (svl_store_open(&f->store, &f->options, f->opened)) {
            _exit(1);
        }
        for (i = 0; i < THREADS; ++i) {
            pthread_create(&threads[i], NULL, end_without_end, f);
        }
        pthread_join(threads[0], NULL);
        _exit(1);
    }
    return pid;
}

/* Processes and threads commit for each other, and are killed at any moment: what was told is there, with the right text. */
static void kill_9_leaves_every_outcome_that_was_told(void **state)
{
    fixture_t *f = *state;
    apr_array_header_t *told = apr_array_make(f->p, 10000, sizeof(apr_uint64_t));
    apr_uint64_t position;
    pid_t pids[PROCESSES];
    apr_array_header_t *batches;
    int ends[2], i, status, runs = 0;

    close_log(f);
    assert_int_equal(pipe(ends), 0);
    fflush(stdout);
    for (i = 0; i < PROCESSES; ++i) {
        pids[i] = begin_ending(f, ends[1]);
    }
    close(ends[1]);
    for (i = 0; i < PROCESSES; ++i) {
        while (told->nelts < 2000 * (i + 1)) {
            assert_int_equal(read(ends[0], &position, sizeof(position)), sizeof(position));
            APR_ARRAY_PUSH(told, apr_uint64_t) = position;
        }
        kill(pids[i], SIGKILL);
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFSIGNALED(status));
    }
    while (read(ends[0], &position, sizeof(position)) == sizeof(position)) {
        APR_ARRAY_PUSH(told, apr_uint64_t) = position;
    }
    close(ends[0]);
    open_log(f);
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 100000, &batches, f->p), APR_SUCCESS);
    for (i = 0; i < batches->nelts; ++i) {
        runs += APR_ARRAY_IDX(batches, i, svl_store_orphans_t).runs->nelts;
    }
    assert_true(runs <= PROCESSES * THREADS);
    for (i = 0; i < told->nelts; ++i) {
        position = APR_ARRAY_IDX(told, i, apr_uint64_t);
        expect_ended(f, position, apr_psprintf(f->p, "%" APR_UINT64_T_FMT, position));
    }
    assert_int_equal(count_log(f->store).pending, runs);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_int_equal(count_places(f), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EITHER_WAY(an_outcome_costs_no_transaction_and_is_read_at_once),
        EITHER_WAY(an_outcome_of_a_run_stands_against_what_is_decided_later),
        EITHER_WAY(the_first_outcome_stands),
        EITHER_WAY(who_takes_over_believes_what_is_kept),
        EITHER_WAY(what_another_log_kept_means_nothing),
        EITHER_WAY(an_outcome_outlives_its_process_and_is_not_run_again),
        cmocka_unit_test_setup_teardown(what_has_no_place_is_committed, set_up, tear_down),
        EITHER_WAY(places_that_hold_nothing_come_back),
        EITHER_WAY(kill_9_leaves_every_outcome_that_was_told),
    };

    return run_promises("store_ended", tests, sizeof(tests) / sizeof(*tests));
}

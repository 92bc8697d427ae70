/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that are kept beside the log, where several processes and threads use it, and some are killed. */
#include "recent_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/ended.h"

static void keep_and_die(fixture_t *f)
{
    svl_store_entry_t entry = own_call(f->opened, "left", "all", "x");
    svl_store_batch_t batch;

    _exit(accept_all(f->store, &entry, 1, SVL_STORE_ROUTE_RING, &batch) || entry.verdict != SVL_STORE_NEW || entry.position != 2
          || !svl_recent_any(f->store));
}

static int never(void *baton, apr_uint64_t owner, apr_uint64_t position)
{
    (void)baton;
    (void)owner;
    (void)position;
    return 0;
}

static void a_kept_call_outlives_its_process_and_is_taken_over(void **state)
{
    fixture_t *f = *state;
    apr_array_header_t *batches;

    begin_stream(f);
    close_log(f);
    leave_work(f, keep_and_die);
    open_log(f);
    assert_int_equal(position_of(f, "left"), 2);
    assert_int_equal(svl_store_take_over(f->store, never, NULL, 10, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 2); /* that of begin_stream, too */
    assert_int_equal(count_log(f->store).pending, 2);
}

static void a_kept_call_keeps_its_epoch_when_a_server_starts(void **state)
{
    fixture_t *f = *state;
    const char *epoch;
    svl_store_entry_t next;

    begin_stream(f);
    epoch = apr_pstrdup(f->p, svl_store_epoch(f->store));
    close_log(f);
    leave_work(f, keep_and_die);
    prepare_log(f);
    open_log(f);
    assert_string_not_equal(svl_store_epoch(f->store), epoch);
    assert_non_null(strstr(read_entry(f, 2).line, apr_psprintf(f->p, "\"epoch\":\"%s\",\"seq\":2", epoch)));
    next = own_call(f->p, "next", "all", "x");
    assert_int_equal(accept_one(f->store, &next), APR_SUCCESS);
    assert_int_equal(next.seq, 1);
    assert_string_equal(next.stamped, svl_store_epoch(f->store));
    next = keep_call(f, "more");
    assert_int_equal(next.seq, 2);
}

static void keep_one_more(fixture_t *f)
{
    svl_store_entry_t entry = own_call(f->opened, "left", "all", "x");

    _exit(accept_one(f->store, &entry) || entry.position != 3 || !svl_recent_any(f->store));
}

static void write_lock(fixture_t *f, const void *lock)
{
    size_t size = sizeof(svl_ended_t) + sizeof(svl_recent_t) + 64;
    int fd = open(path_of(f, "running"), O_RDWR);
    char *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(mapped, MAP_FAILED);
    memcpy(mapped + 64 + sizeof(svl_ended_t), lock, sizeof(pthread_mutex_t));
    munmap(mapped, size);
    close(fd);
}

/* In the epoch that begins with a server's start. */
static void keep_next(fixture_t *f)
{
    svl_store_entry_t entry = own_call(f->p, "next", "all", "x");

    assert_false(accept_without_commit(f, &entry));
    keep_call(f, "more");
}

static void hold_the_lock_and_die(fixture_t *f)
{
    svl_recent_t *recent = f->store->recent;

    if (svl_recent_lock(f->store)) {
        _exit(1);
    }
    recent->last += 7; /* half of what it did */
    recent->streams[0].next += 7;
    _exit(0);
}

static void who_dies_with_the_lock_stops_nobody(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry, kept;

    begin_stream(f);
    kept = keep_call(f, "kept");
    leave_work(f, hold_the_lock_and_die); /* while this process has the log open */
    entry = own_call(f->p, "next", "all", "x");
    assert_false(accept_without_commit(f, &entry));
    assert_int_equal(entry.position, kept.position + 1);
    assert_int_equal(entry.seq, kept.seq + 1);
    keep_call(f, "more");
    assert_string_equal(positions(f, 0), "1 2 3 4");
}

/* As in a copy of the directory that was made while it was used. */
static void a_lock_that_nobody_will_release_ends_with_the_server(void **state)
{
    fixture_t *f = *state;
    char held[sizeof(pthread_mutex_t)];

    begin_stream(f);
    svl_recent_lock(f->store);
    memcpy(held, &f->store->recent->lock, sizeof(held));
    svl_recent_unlock(f->store);
    keep_call(f, "kept");
    close_log(f);
    leave_work(f, keep_one_more);
    write_lock(f, held);
    prepare_log(f);
    open_log(f);
    assert_string_equal(positions(f, 0), "1 2 3");
    keep_next(f);
}

static void open_and_fail(fixture_t *f)
{
    _exit(svl_store_open(&f->store, &f->options, f->p) == APR_SUCCESS);
}

static void open_and_succeed(fixture_t *f)
{
    _exit(svl_store_open(&f->store, &f->options, f->p) != APR_SUCCESS);
}

static int another_process(fixture_t *f, void (*work)(fixture_t *f))
{
    int status = -1;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        work(f);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void prepare_again(fixture_t *f)
{
    const char *error = NULL;

    _exit(svl_store_prepare(&f->options, -1, -1, &error, f->p) != APR_SUCCESS);
}

static void nobody_uses_the_log_without_the_file_that_others_have(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t kept;

    begin_stream(f);
    kept = keep_call(f, "kept");
    assert_int_equal(another_process(f, open_and_succeed), 0);
    assert_int_equal(rename(path_of(f, "running"), path_of(f, "away")), 0);
    assert_int_equal(another_process(f, open_and_fail), 0);
    assert_int_equal(another_process(f, prepare_again), 0); /* as a graceful restart does: it makes none */
    assert_int_not_equal(access(path_of(f, "running"), F_OK), 0);
    assert_int_equal(another_process(f, open_and_fail), 0);
    assert_int_equal(position_of(f, "kept"), kept.position);
    assert_int_equal(rename(path_of(f, "away"), path_of(f, "running")), 0);
    close_log(f);
    assert_int_equal(unlink(path_of(f, "running")), 0);
    prepare_log(f); /* a start does */
    open_log(f);
    kept.id = "next";
    assert_int_equal(accept_one(f->store, &kept), APR_SUCCESS);
    keep_call(f, "more");
}

enum { PROCESSES = 4, CALLS = 400 };

/* All of them accept calls with the same ids, and tell where those are that were new to them, and after half of them wait for a byte. */
static void accept_the_same(fixture_t *f, int in, int out)
{
    int i;

    for (i = 0; i < CALLS; ++i) {
        svl_store_entry_t entry = own_call(f->opened, apr_psprintf(f->opened, "id-%d", i), "all", "x");
        int told[3] = {i, 0, 0};

        if (accept_one(f->store, &entry)) {
            _exit(1);
        }
        told[1] = (int)entry.position;
        told[2] = entry.verdict == SVL_STORE_NEW;
        if (write(out, told, sizeof(told)) != sizeof(told) || (i == CALLS / 2 && read(in, told, 1) != 1)) {
            _exit(1);
        }
    }
}

static void processes_take_each_id_and_each_position_once_though_some_are_killed(void **state)
{
    fixture_t *f = *state;
    int pipes[PROCESSES][2], told[3], i, heard, news[CALLS] = {0}, places[CALLS] = {0};
    pid_t pids[PROCESSES];

    begin_stream(f);
    close_log(f);
    for (i = 0; i < PROCESSES; ++i) {
        pids[i] = in_child(f, accept_the_same, pipes[i]);
    }
    assert_int_equal(write(pipes[PROCESSES - 1][1], "x", 1), 1); /* the others do not live to their second half */
    for (i = 0; i < PROCESSES; ++i) {
        for (heard = 1; read(pipes[i][0], told, sizeof(told)) == sizeof(told); ++heard) {
            assert_in_range(told[0], 0, CALLS - 1);
            assert_true(!places[told[0]] || places[told[0]] == told[1]);
            places[told[0]] = told[1];
            news[told[0]] += told[2];
            if (heard == CALLS / 4 && i < PROCESSES - 1) {
                kill(pids[i], SIGKILL);
            }
        }
        assert_int_equal(WIFSIGNALED(end_of(pids[i], pipes[i])), i < PROCESSES - 1);
    }
    open_log(f);
    for (i = 0; i < CALLS; ++i) {
        assert_in_range(news[i], 0, 1); /* none: who took it was killed before it could tell */
        assert_int_equal(position_of(f, apr_psprintf(f->p, "id-%d", i)), places[i]);
    }
    assert_int_equal(count_log(f->store).calls, 1 + CALLS);
    assert_int_equal(count_log(f->store).last, 1 + CALLS);
    for (i = 1; i <= 1 + CALLS; ++i) {
        assert_non_null(strstr(read_entry(f, (apr_uint64_t)i).line, apr_psprintf(f->p, "\"seq\":%d,", i)));
    }
}

typedef struct pair_t {
    fixture_t *f;
    int told;  /* atomic: so many calls are accepted */
    int ended; /* atomic */
} pair_t;

static void *accept_many(void *baton)
{
    pair_t *pair = baton;
    apr_pool_t *p;
    int i;

    apr_pool_create_unmanaged(&p);
    for (i = 1; i <= 4000; ++i) {
        svl_store_entry_t entry = own_call(p, apr_psprintf(p, "id-%d", i), "all", "x");

        if (accept_one(pair->f->store, &entry) || entry.position != (apr_uint64_t)i + 1) {
            break;
        }
        __atomic_store_n(&pair->told, i, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&pair->ended, 1, __ATOMIC_RELEASE);
    apr_pool_destroy(p);
    return NULL;
}

static void readers_see_all_that_was_told_while_it_is_committed(void **state)
{
    pair_t pair = {.f = *state};
    fixture_t *f = *state;
    pthread_t thread;
    int looks = 0;

    begin_stream(f);
    assert_int_equal(pthread_create(&thread, NULL, accept_many, &pair), 0);
    while (!__atomic_load_n(&pair.ended, __ATOMIC_ACQUIRE)) {
        int told = __atomic_load_n(&pair.told, __ATOMIC_ACQUIRE), at;
        svl_store_record_t record = {.position = 0};
        svl_store_reader_t *reader;
        apr_uint64_t position, last;
        char id[32];

        assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
        for (at = told; at > 0 && at > told - 70; --at) {
            snprintf(id, sizeof(id), "id-%d", at);
            assert_int_equal(svl_store_find(reader, id, &position), APR_SUCCESS);
            assert_int_equal(position, at + 1);
        }
        assert_int_equal(svl_store_last(reader, &last), APR_SUCCESS);
        assert_true(last > (apr_uint64_t)told);
        for (at = 0; at < 70 && !svl_store_next(reader, 1, 0, &record); ++at) {
            assert_int_equal(record.position, last - (apr_uint64_t)at);
        }
        svl_store_read_end(reader);
        ++looks;
    }
    pthread_join(thread, NULL);
    assert_int_equal(pair.told, 4000);
    assert_true(looks > 0);
}

/* Once it is told to.  Its own call of a kilobyte makes it a commit. */
static void commit_with_a_larger_bound(fixture_t *f, int told)
{
    svl_store_entry_t entry;
    char byte;

    apr_pool_create_unmanaged(&f->opened);
    f->options.size = (apr_uint64_t)64 << 20;
    if (read(told, &byte, 1) != 1 || svl_store_open(&f->store, &f->options, f->opened)) {
        _exit(1);
    }
    entry = own_call(f->opened, "large", "all", apr_psprintf(f->opened, "%0*d", 1000, 1));
    _exit(accept_one(f->store, &entry) || !f->store->recent->ready);
}

/* As when a graceful restart lowers the bound, and a child of the old generation commits last. */
static void what_is_kept_has_room_though_a_larger_bound_said_so(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry;
    int i, status, ends[2];
    pid_t pid;

    close_log(f);
    assert_int_equal(pipe(ends), 0);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        commit_with_a_larger_bound(f, ends[0]);
    }
    f->options.size = SVL_STORE_SIZE_MIN;
    open_log(f);
    begin_stream(f);
    assert_false(f->store->recent->ready);
    assert_int_equal(write(ends[1], "", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(ends[0]);
    close(ends[1]);
    for (i = 0; i < SVL_RECENT_PLACES; ++i) {
        entry = own_call(f->p, apr_psprintf(f->p, "kept-%d", i), "all", apr_psprintf(f->p, "%0*d", 600, 1));
        assert_true(accept_without_commit(f, &entry));
    }
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_false(svl_recent_any(f->store));
    assert_int_equal(count_log(f->store).calls, 2 + SVL_RECENT_PLACES);
    entry = own_call(f->p, "more", "all", "x");
    assert_int_equal(accept_one(f->store, &entry), SVL_EFULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EITHER_WAY(a_kept_call_outlives_its_process_and_is_taken_over),
        EITHER_WAY(a_kept_call_keeps_its_epoch_when_a_server_starts),
        EITHER_WAY(who_dies_with_the_lock_stops_nobody),
        EITHER_WAY(a_lock_that_nobody_will_release_ends_with_the_server),
        EITHER_WAY(nobody_uses_the_log_without_the_file_that_others_have),
        cmocka_unit_test_setup_teardown(processes_take_each_id_and_each_position_once_though_some_are_killed, set_up,
                                        tear_down),
        EITHER_WAY(readers_see_all_that_was_told_while_it_is_committed),
        EITHER_WAY(what_is_kept_has_room_though_a_larger_bound_said_so),
    };

    return run_promises("store_recent_shared", tests, sizeof(tests) / sizeof(*tests));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the store promises when processes are killed, disks are full or fail, and files are damaged. */
#include "store_fixture.h"

#include <sys/syscall.h>
#include <sys/uio.h>

/* A disk that fails: LMDB writes pages by writev and pwrite, the meta page by a pwrite of less than a page. */
static volatile enum { WORKS, FAILS, FAILS_FOR_META } disk;

static int disk_fails(int fd, size_t bytes)
{
    struct stat file;

    return disk != WORKS && !fstat(fd, &file) && S_ISREG(file.st_mode) && (disk == FAILS || bytes < 4096);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (disk_fails(fd, size)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, bytes, size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (disk_fails(fd, 4096)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_writev, fd, parts, count);
}

static void accept_without_end(fixture_t *f, int in, int out)
{
    int i;

    (void)in;
    for (i = 0;; ++i) {
        apr_pool_t *p;
        svl_store_entry_t entry;

        apr_pool_create(&p, f->opened);
        entry = own_call(p, apr_psprintf(p, "%d-%d", (int)getpid(), i), "all", "x");
        if (accept_one(f->store, &entry) || write(out, &i, sizeof(i)) != sizeof(i)) {
            _exit(1);
        }
        apr_pool_destroy(p);
    }
}

static void kill_9_leaves_every_acknowledged_call(void **state)
{
    fixture_t *f = *state;
    int round, pipes[2], last, next;

    for (round = 0; round < 5; ++round) {
        svl_store_entry_t entry = own_call(f->p, apr_psprintf(f->p, "after-%d", round), "all", "x");
        pid_t pid;

        close_log(f);
        pid = in_child(f, accept_without_end, pipes);
        do {
            assert_int_equal(read(pipes[0], &last, sizeof(last)), sizeof(last));
        } while (last < 100 * (round + 1));
        kill(pid, SIGKILL);
        while (read(pipes[0], &next, sizeof(next)) == sizeof(next)) {
            last = next;
        }
        assert_true(WIFSIGNALED(end_of(pid, pipes)));
        open_log(f);
        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS); /* nothing blocks */
        for (; last >= 0; --last) {
            assert_true(holds_id(f->store, apr_psprintf(f->p, "%d-%d", (int)pid, last)));
        }
    }
}

enum { SAME = 200 };

static void accept_same(fixture_t *f, int in, int out)
{
    int i, fresh = 0, step = 1 + (int)(getpid() % 7) * 2;

    for (i = 0; i < SAME; ++i) {
        int n = step % 5 ? (i * step) % SAME : i; /* 5 and 2 divide SAME: each id comes once all the same */
        svl_store_entry_t entry = own_call(f->opened, apr_psprintf(f->opened, "id-%d", n), "all", "x");

        if (accept_one(f->store, &entry)) {
            _exit(1);
        }
        fresh += entry.verdict == SVL_STORE_NEW;
    }
    if (write(out, &fresh, sizeof(fresh)) != sizeof(fresh)) {
        _exit(1);
    }
    (void)in;
}

static void one_id_is_new_once_in_all_processes(void **state)
{
    fixture_t *f = *state;
    int pipes[4][2], i, fresh, all = 0;
    svl_store_record_t record;
    pid_t pids[4];

    close_log(f);
    for (i = 0; i < 4; ++i) {
        pids[i] = in_child(f, accept_same, pipes[i]);
    }
    for (i = 0; i < 4; ++i) {
        assert_int_equal(read(pipes[i][0], &fresh, sizeof(fresh)), sizeof(fresh));
        assert_int_equal(end_of(pids[i], pipes[i]), 0);
        all += fresh;
    }
    assert_int_equal(all, SAME);
    open_log(f);
    assert_int_equal(count_log(f->store).calls, SAME);
    record = read_entry(f, SAME);
    assert_non_null(strstr(record.line, apr_psprintf(f->p, "\"seq\":%d,", SAME)));
}

static void tell_owner(fixture_t *f, int in, int out)
{
    apr_uint64_t owner = svl_store_owner(f->store);
    char end;

    if (write(out, &owner, sizeof(owner)) != sizeof(owner) || read(in, &end, 1)) {
        _exit(1);
    }
}

static void an_owner_lives_as_long_as_its_process(void **state)
{
    fixture_t *f = *state;
    apr_uint64_t owner;
    int pipes[2];
    pid_t pid = in_child(f, tell_owner, pipes);

    assert_int_equal(read(pipes[0], &owner, sizeof(owner)), sizeof(owner));
    assert_int_not_equal(owner, svl_store_owner(f->store));
    assert_true(svl_store_owner_lives(f->store, owner));
    assert_true(svl_store_owner_lives(f->store, svl_store_owner(f->store)));
    kill(pid, SIGKILL);
    end_of(pid, pipes);
    assert_false(svl_store_owner_lives(f->store, owner));
    assert_false(svl_store_owner_lives(f->store, owner + 1000));
}

static void a_full_log_refuses_and_still_takes_outcomes(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry, again;
    apr_status_t status;
    apr_uint64_t last = 0, i;
    svl_store_counts_t counts;

    close_log(f);
    f->options.size = SVL_STORE_SIZE_MIN;
    open_log(f);
    for (i = 1;; ++i) {
        entry = own_call(f->p, apr_psprintf(f->p, "id-%d", (int)i), "all", "some text that takes some room on the disk");
        status = accept_all(f->store, &entry, 1, SVL_STORE_ROUTE_RING, NULL);
        if (status) {
            break;
        }
        last = entry.position;
    }
    assert_int_equal(status, SVL_EFULL);
    assert_true(last > 500);
    again = own_call(f->p, "id-1", "all", "some text that takes some room on the disk");
    assert_int_equal(accept_one(f->store, &again), APR_SUCCESS);
    assert_int_equal(again.verdict, SVL_STORE_DUPLICATE);
    for (i = 1; i <= last; ++i) {
        svl_store_relayed(f->store, i);
        assert_int_equal(finish_one(f->store, i, SVL_OUTCOME_OK, i % 2 ? "\"result\"" : NULL), APR_SUCCESS);
    }
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    counts = count_log(f->store);
    assert_int_equal(counts.pending, 0);
    assert_int_equal(counts.work, 0);
    assert_true(counts.bytes <= counts.size);
}

static void an_entry_that_scatters_its_stream_fails_no_other(void **state)
{
    enum { GAPS = 4200 }; /* more than a stream may have */
    fixture_t *f = *state;
    svl_store_entry_t *entries = apr_palloc(f->p, GAPS * sizeof(*entries)), entry = foreign_call(f->p, "good", "b", 1, "x");
    int i;

    for (i = 0; i < GAPS; ++i) {
        entries[i] = foreign_call(f->p, apr_psprintf(f->p, "id-%d", i), "b", (apr_uint64_t)i * 2 + 2, "x");
    }
    assert_int_equal(accept_all(f->store, entries, GAPS, NULL, NULL), APR_SUCCESS);
    assert_int_equal(count_log(f->store).calls, SVL_VECTOR_RANGES_MAX);
    for (i = 0; i < GAPS; ++i) {
        assert_int_equal(entries[i].verdict, i < SVL_VECTOR_RANGES_MAX ? SVL_STORE_NEW : SVL_STORE_SCATTERED);
    }
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS); /* closes a gap */
    assert_int_equal(entry.verdict, SVL_STORE_NEW);
    assert_int_equal(accept_one(f->store, &entries[GAPS - 1]), APR_SUCCESS);
    assert_int_equal(entries[GAPS - 1].verdict, SVL_STORE_NEW);
    entry.id = "has.dot";
    assert_int_equal(accept_one(f->store, &entry), APR_EINVAL);
}

static void a_failing_disk_refuses_and_recovers(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x");
    int mode, durable;

    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    for (durable = 0; durable < 2; ++durable) {
        close_log(f);
        f->options.durable = durable;
        open_log(f);
        for (mode = FAILS; mode <= FAILS_FOR_META; ++mode) {
            const char *id = apr_psprintf(f->p, "id-%d-%d", durable, mode);

            entry = own_call(f->p, id, "all", apr_psprintf(f->p, "%01000d", 1)); /* so long that it is committed */
            disk = mode;
            assert_int_equal(accept_one(f->store, &entry), EIO);
            svl_store_relayed(f->store, 1);
            assert_int_not_equal(accept_one(f->store, &entry), APR_SUCCESS);
            disk = WORKS;
            assert_false(holds_id(f->store, id));
            assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
            assert_int_equal(entry.verdict, SVL_STORE_NEW);
            assert_true(holds_id(f->store, id));
            assert_true(holds_id(f->store, "one"));
        }
    }
}

/* The call must not count as pending, and run again when the process ends, because the disk failed for a moment. */
static void an_outcome_that_could_not_be_recorded_is_kept(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t one = own_call(f->p, "one", "all", "x"), two = own_call(f->p, "two", "all", "x");

    close_log(f);
    f->options.durable = 1;
    open_log(f);
    assert_int_equal(accept_one(f->store, &one), APR_SUCCESS);
    assert_int_equal(accept_one(f->store, &two), APR_SUCCESS);
    svl_store_running_begin(f->store, one.position);
    disk = FAILS;
    assert_int_equal(finish_one(f->store, one.position, SVL_OUTCOME_OK, "1"), EIO);
    assert_int_equal(finish_one(f->store, two.position, SVL_OUTCOME_OK, apr_psprintf(f->p, "%02000d", 1)), EIO);
    assert_int_not_equal(svl_store_flush(f->store), APR_SUCCESS);
    disk = WORKS;
    assert_int_equal(count_log(f->store).pending, 2);
    assert_true(svl_store_was_running(f->store, svl_store_owner(f->store), one.position));
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_int_equal(count_log(f->store).pending, 0);
    assert_false(svl_store_was_running(f->store, svl_store_owner(f->store), one.position));
    assert_true(read_entry(f, two.position).dropped); /* its text was too long to be kept */
}

static void what_is_kept_outlasts_a_failing_disk(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t one = own_call(f->p, "one", "all", "x"), two = own_call(f->p, "two", "all", "x"), three = two;

    assert_int_equal(accept_one(f->store, &one), APR_SUCCESS);
    disk = FAILS;
    assert_int_equal(accept_one(f->store, &two), APR_SUCCESS);
    assert_int_equal(finish_one(f->store, two.position, SVL_OUTCOME_OK, "\"kept\""), APR_SUCCESS);
    assert_int_not_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_string_equal(read_entry(f, two.position).text, "\"kept\"");
    three.id = "three";
    assert_int_not_equal(accept_one(f->store, &three), APR_SUCCESS); /* it is known now that the log fails */
    disk = WORKS;
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_string_equal(read_entry(f, two.position).text, "\"kept\"");
    assert_false(holds_id(f->store, "three"));
}

static void accept_much(fixture_t *f, int in, int out)
{
    svl_store_entry_t entry;
    int i;

    (void)in;
    (void)out;
    for (i = 0; i < 2000; ++i) {
        entry = own_call(f->opened, apr_psprintf(f->opened, "%d-%d", (int)getpid(), i), "all",
                         apr_psprintf(f->opened, "%02000d", i));
        if (accept_one(f->store, &entry)) {
            _exit(1);
        }
    }
}

static void a_log_that_another_process_enlarged_is_used_on(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x");
    int reading, pipes[2];

    for (reading = 0; reading < 2; ++reading) {
        close_log(f);
        f->options.size = SVL_STORE_SIZE_MIN;
        open_log(f);
        assert_false(holds_id(f->store, "none"));
        f->options.size = 64 << 20;
        assert_int_equal(end_of(in_child(f, accept_much, pipes), pipes), 0);
        if (reading) {
            assert_int_equal(count_log(f->store).calls, 4001);
        }
        entry.id = reading ? "two" : "one";
        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
        assert_true(holds_id(f->store, entry.id));
    }
}

static void hold_readers(fixture_t *f, int in, int out)
{
    svl_store_reader_t *readers[2];
    char end = 0;

    if (svl_store_read_begin(&readers[0], f->store) || svl_store_read_begin(&readers[1], f->store) || write(out, &end, 1) != 1
        || read(in, &end, 1)) {
        _exit(1);
    }
}

static void killed_readers_give_their_places_back(void **state)
{
    fixture_t *f = *state;
    int pipes[2];
    char end;
    pid_t pid;

    close_log(f);
    unlink(path_of(f, "lock.mdb")); /* its size is that of the first opening */
    f->options.readers = 2;
    pid = in_child(f, hold_readers, pipes);
    assert_int_equal(read(pipes[0], &end, 1), 1);
    open_log(f);
    kill(pid, SIGKILL);
    end_of(pid, pipes);
    assert_false(holds_id(f->store, "none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(kill_9_leaves_every_acknowledged_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_id_is_new_once_in_all_processes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_owner_lives_as_long_as_its_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_log_refuses_and_still_takes_outcomes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_that_scatters_its_stream_fails_no_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failing_disk_refuses_and_recovers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_outcome_that_could_not_be_recorded_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_kept_outlasts_a_failing_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_that_another_process_enlarged_is_used_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(killed_readers_give_their_places_back, set_up, tear_down),
    };

    return run_promises("store_faults", tests, sizeof(tests) / sizeof(*tests));
}

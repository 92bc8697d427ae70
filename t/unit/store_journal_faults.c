/* SPDX-License-Identifier: Apache-2.0 */
/* Where the journal cannot be written everything is committed, and what cannot be committed either is not accepted. */
#include "recent_fixture.h"

#include <sys/syscall.h>
#include <sys/uio.h>

/* A disk that cannot be written any more, all of it, or where the journal is. */
static volatile enum { WORKS, FAILS, FAILS_FOR_JOURNAL } disk;
static volatile int journal_writes;

static int is_journal(int fd)
{
    char link[64], path[4096];
    ssize_t length;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path));
    return length > 8 && !memcmp(path + length - 8, "/journal", 8);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    journal_writes += is_journal(fd);
    if (disk == FAILS || (disk == FAILS_FOR_JOURNAL && is_journal(fd))) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, bytes, size, offset);
}

static volatile int unreadable; /* page of the journal, from 1; 0: none */

ssize_t pread(int fd, void *bytes, size_t size, off_t offset)
{
    if (unreadable && is_journal(fd) && offset / 4096 + 1 == unreadable) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, bytes, size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    struct stat file;

    if (disk == FAILS && !fstat(fd, &file) && S_ISREG(file.st_mode)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_writev, fd, parts, count);
}

static int set_up_journal(void **state)
{
    int failed;

    disk = WORKS;
    failed = set_up_durable(state);
    journal_writes = 0;
    return failed;
}

static void where_the_journal_fails_all_is_committed(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t one = own_call(f->p, "one", "all", "x"), two = own_call(f->p, "two", "all", "x");

    begin_stream(f);
    disk = FAILS_FOR_JOURNAL;
    assert_false(accept_without_commit(f, &one));
    assert_int_equal(journal_writes, 1);
    assert_false(accept_without_commit(f, &two));
    assert_int_equal(finish_one(f->store, two.position, SVL_OUTCOME_OK, "\"x\""), APR_SUCCESS);
    assert_int_equal(journal_writes, 1);
    boot(f);
    assert_string_equal(positions(f, 0), "1 2 3");
    assert_string_equal(read_entry(f, 3).text, "\"x\"");
    disk = WORKS;
    two.id = "three";
    assert_false(accept_without_commit(f, &two));
    keep_call(f, "four"); /* a new process tries again */
}

static void an_outcome_is_committed_where_the_journal_fails(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t one;
    apr_uint64_t commits;

    begin_stream(f);
    one = keep_call(f, "one");
    commits = count_log(f->store).commits;
    disk = FAILS_FOR_JOURNAL;
    assert_int_equal(finish_one(f->store, one.position, SVL_OUTCOME_OK, "\"x\""), APR_SUCCESS);
    assert_true(count_log(f->store).commits > commits);
    boot(f);
    assert_string_equal(read_entry(f, one.position).text, "\"x\"");
}

/* Who was told that it is not accepted is not to find it in the log later, where nobody would run it. */
static void what_can_be_made_safe_neither_way_is_withdrawn(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t one = own_call(f->p, "one", "all", "x"), two = own_call(f->p, "two", "all", "x");
    int round;

    begin_stream(f);
    keep_call(f, "kept");
    for (round = 0; round < 2; ++round) {
        disk = FAILS;
        assert_int_equal(accept_one(f->store, &one), EIO);
        assert_false(holds_id(f->store, "one"));
        assert_int_not_equal(accept_one(f->store, &two), APR_SUCCESS);
        disk = WORKS;
        if (!round) { /* the same process; then a start after a power cut */
            assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
            assert_string_equal(positions(f, 0), "1 2");
            one.id = "three";
            assert_int_equal(accept_one(f->store, &one), APR_SUCCESS);
            assert_int_equal(one.position, 3);
            assert_int_equal(one.seq, 3);
            close_log(f);
            open_log(f); /* with a journal again; the stream is known with the next call */
            one.id = "four";
            assert_int_equal(accept_one(f->store, &one), APR_SUCCESS);
            keep_call(f, "five");
            one.id = "one";
        }
    }
    boot(f);
    assert_string_equal(positions(f, 0), "1 2 3 4 5");
    assert_false(holds_id(f->store, "one"));
    assert_int_equal(count_log(f->store).pending, 5);
}

static void keep_two_and_die(fixture_t *f)
{
    svl_store_entry_t entry = own_call(f->p, "known", "all", "x");

    _exit(accept_one(f->store, &entry) || keep_call(f, "one").position != 3 || keep_call(f, "two").position != 4);
}

static void what_can_be_read_of_the_journal_is_taken(void **state)
{
    fixture_t *f = *state;

    begin_stream(f);
    close_log(f);
    leave_work(f, keep_two_and_die);
    unreadable = 2; /* "one" */
    boot(f);
    unreadable = 0;
    assert_string_equal(positions(f, 0), "1 2 4");
}

static void a_journal_that_was_removed_or_cut_is_not_written_any_more(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x");
    int cut;

    begin_stream(f);
    keep_call(f, "kept");
    for (cut = 0; cut < 2; ++cut) {
        assert_int_equal(cut ? truncate(path_of(f, "journal"), 4096) : unlink(path_of(f, "journal")), 0);
        entry.id = cut ? "two" : "one";
        assert_false(accept_without_commit(f, &entry));
        boot(f);
        assert_true(holds_id(f->store, entry.id));
        assert_int_equal(read_entry(f, 2).outcome, SVL_OUTCOME_PENDING);
        entry.id = cut ? "four" : "three";
        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
        keep_call(f, cut ? "six" : "five");
    }
}

/* Removed, cut, or of a version without it. */
static void without_a_journal_all_is_committed(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t one = own_call(f->p, "one", "all", "x");
    int cut;

    begin_stream(f);
    for (cut = 0; cut < 2; ++cut) {
        close_log(f);
        assert_int_equal(cut ? truncate(path_of(f, "journal"), 1000) : unlink(path_of(f, "journal")), 0);
        open_log(f);
        one.id = cut ? "two" : "one";
        assert_false(accept_without_commit(f, &one));
        boot(f); /* makes it anew */
        one.id = cut ? "four" : "three";
        assert_false(accept_without_commit(f, &one));
        keep_call(f, cut ? "six" : "five");
    }
    assert_string_equal(positions(f, 0), "1 2 3 4 5 6 7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(where_the_journal_fails_all_is_committed, set_up_journal, tear_down),
        cmocka_unit_test_setup_teardown(an_outcome_is_committed_where_the_journal_fails, set_up_journal, tear_down),
        cmocka_unit_test_setup_teardown(what_can_be_made_safe_neither_way_is_withdrawn, set_up_journal, tear_down),
        cmocka_unit_test_setup_teardown(what_can_be_read_of_the_journal_is_taken, set_up_journal, tear_down),
        cmocka_unit_test_setup_teardown(a_journal_that_was_removed_or_cut_is_not_written_any_more, set_up_journal, tear_down),
        cmocka_unit_test_setup_teardown(without_a_journal_all_is_committed, set_up_journal, tear_down),
    };

    return run_promises("store_journal_faults", tests, sizeof(tests) / sizeof(*tests));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the store promises about reading a log before it is used: damage is found, and nothing else is taken for damage. */
#include <sys/resource.h>
#include <sys/socket.h>

#include "store_spoil.h"

#include "store/tables.h"
#include "store/verify.h"

static void each_torn_page_is_found_before_the_log_is_used(void **state)
{
    static const unsigned char zeros[PAGE];
    fixture_t *f = *state;
    unsigned char page[PAGE];
    struct stat file;
    int fd, used, found = 0;
    off_t at;

    fill(f);
    used = (int)(count_log(f->store).bytes / PAGE);
    close_log(f);
    fd = open_data(f);
    assert_int_equal(fstat(fd, &file), 0);
    assert_int_equal(svl_verify(&f->options, SVL_VERIFY_BUDGET), APR_SUCCESS);
    for (at = (off_t)2 * PAGE; at < file.st_size; at += PAGE) {
        assert_int_equal(pread(fd, page, PAGE, at), PAGE);
        assert_int_equal(pwrite(fd, zeros, PAGE, at), PAGE);
        found += svl_verify(&f->options, SVL_VERIFY_BUDGET) == SVL_EDAMAGED;
        assert_int_equal(pwrite(fd, page, PAGE, at), PAGE);
    }
    close(fd);
    assert_int_equal(svl_verify(&f->options, SVL_VERIFY_BUDGET), APR_SUCCESS);
    assert_true(found >= used - 6); /* the meta pages, and those of the list of free pages, which is not read */
    assert_true(access(path_of(f, "damaged"), F_OK));
}

static void damage_is_found_where_nobody_hears_of_children(void **state)
{
    apr_status_t sound, spoiled;
    fixture_t *f = *state;

    fill(f);
    close_log(f);
    signal(SIGCHLD, SIG_IGN);
    sound = svl_verify(&f->options, SVL_VERIFY_BUDGET);
    spoil(f);
    spoiled = svl_verify(&f->options, SVL_VERIFY_BUDGET);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(sound, APR_SUCCESS);
    assert_int_equal(spoiled, SVL_EDAMAGED);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static void a_lack_of_memory_is_no_damage(void **state)
{
    const struct rlimit no_more = {PAGE, PAGE};
    fixture_t *f = *state;
    size_t size;
    int ended;
    pid_t pid;

    fill(f);
    close_log(f);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        setrlimit(RLIMIT_AS, &no_more);
        for (size = 1 << 20; size >= 16; size /= 2) {
            while (malloc(size)) {
            }
        }
        _exit(svl_verify(&f->options, SVL_VERIFY_BUDGET) == APR_SUCCESS ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_int_equal(ended, 0);
}
#endif

/* Makes others who open the log wait.  Does not return. */
static void hold_lock(const fixture_t *f, int end)
{
    MDB_env *env;
    MDB_txn *txn;
    char byte = 0;

    if (mdb_env_create(&env) || mdb_env_open(env, f->directory, 0, 0600) || mdb_txn_begin(env, NULL, 0, &txn)
        || write(end, &byte, 1) != 1 || read(end, &byte, 1) != 0) {
        _exit(1);
    }
    _exit(0);
}

/* @return nonzero when the process has set a handler for SIGPROF, the last one that the one who verifies sets */
static int is_ready(const char *pid)
{
    char path[64], line[256];
    unsigned long long caught = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%s/status", pid);
    file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file)) {
        if (!strncmp(line, "SigCgt:", 7)) {
            caught = strtoull(line + 7, NULL, 16);
        }
    }
    if (file) {
        fclose(file);
    }
    return caught >> (SIGPROF - 1) & 1;
}

/* @return what svl_verify says when its process meets a signal while it waits for the lock */
static int verify_with(fixture_t *f, int signal)
{
    char path[64], child[32] = "";
    apr_time_t deadline = apr_time_now() + apr_time_from_sec(20);
    int ended;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(svl_verify(&f->options, 0) == SVL_EDAMAGED);
    }
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    while (!is_ready(child) && apr_time_now() < deadline) {
        FILE *file = fopen(path, "r");

        if (!file || fscanf(file, "%31s", child) != 1) {
            child[0] = '\0';
        }
        if (file) {
            fclose(file);
        }
    }
    assert_true(atoi(child) > 0);
    assert_int_equal(kill(atoi(child), signal), 0);
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_true(WIFEXITED(ended));
    return WEXITSTATUS(ended);
}

static void how_the_one_who_verifies_ends_says_whether_it_is_damage(void **state)
{
    static const int telling[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGPROF};
    static const int silent[] = {SIGABRT, SIGALRM, SIGTERM, SIGKILL};
    fixture_t *f = *state;
    unsigned int i;
    int ends[2], ended;
    char byte;
    pid_t pid;

    close_log(f);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        close(ends[0]);
        hold_lock(f, ends[1]);
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    for (i = 0; i < sizeof(telling) / sizeof(*telling); ++i) {
        assert_int_equal(verify_with(f, telling[i]), 1);
    }
    for (i = 0; i < sizeof(silent) / sizeof(*silent); ++i) {
        assert_int_equal(verify_with(f, silent[i]), 0);
    }
    close(ends[1]);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_int_equal(ended, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_torn_page_is_found_before_the_log_is_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_found_where_nobody_hears_of_children, set_up, tear_down),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* their own allocators give up first */
        cmocka_unit_test_setup_teardown(a_lack_of_memory_is_no_damage, set_up, tear_down),
#endif
        cmocka_unit_test_setup_teardown(how_the_one_who_verifies_ends_says_whether_it_is_damage, set_up, tear_down),
    };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    fprintf(stderr, "SKIPPED: a_lack_of_memory_is_no_damage: a sanitizer's allocator gives up first\n");
#endif
    return run_promises("store_verify", tests, sizeof(tests) / sizeof(*tests));
}

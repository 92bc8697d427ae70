/* SPDX-License-Identifier: Apache-2.0 */
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../core/fault.h"
#include "../core/pool.h"
#include "identity.h"
#include "opening.h"
#include "streams.h"

#define PATIENCE 30      /* seconds until a process that waits for the disk or a lock is given up */
#define PATIENCE_LOOP 10 /* seconds of processor time: on a damaged file LMDB might go round in a circle */
#define LOOK_EVERY 64    /* records between two looks at the clock */
#define DAMAGED 'd'
#define NOT_DAMAGED 'n'

typedef apr_status_t check_record_t(const MDB_val *key, const MDB_val *value);

static apr_status_t check_any(const MDB_val *key, const MDB_val *value)
{
    return key->mv_size && (value->mv_size || value->mv_data) ? APR_SUCCESS : SVL_EDAMAGED;
}

static apr_status_t check_stream(const MDB_val *key, const MDB_val *value)
{
    svl_records_stream_t stream;
    apr_status_t status = svl_records_get_stream(&stream, value->mv_data, value->mv_size);

    return status || svl_streams_is_name(key->mv_data, key->mv_size, NULL, NULL) ? status : SVL_EDAMAGED;
}

static apr_status_t check_work(const MDB_val *key, const MDB_val *value)
{
    svl_records_work_t work;

    return key->mv_size == SVL_RECORDS_POSITION_SIZE ? svl_records_get_work(&work, value->mv_data, value->mv_size)
                                                     : SVL_EDAMAGED;
}

static apr_status_t check_call(const MDB_val *key, const MDB_val *value)
{
    svl_records_call_t call;

    return key->mv_size == SVL_RECORDS_POSITION_SIZE ? svl_records_get_call(&call, value->mv_data, value->mv_size)
                                                     : SVL_EDAMAGED;
}

static apr_status_t check_number(const MDB_val *key, const MDB_val *value)
{
    if (key->mv_size != SVL_RECORDS_NUMBER_SIZE) {
        return SVL_EDAMAGED;
    }
    return !svl_records_get64((unsigned char *)key->mv_data + 4) || value->mv_size == SVL_RECORDS_POSITION_SIZE ? APR_SUCCESS
                                                                                                                : SVL_EDAMAGED;
}

static apr_status_t check_id(const MDB_val *key, const MDB_val *value)
{
    return svl_name_is_id(key->mv_data, key->mv_size) && value->mv_size == SVL_RECORDS_POSITION_SIZE ? APR_SUCCESS
                                                                                                     : SVL_EDAMAGED;
}

static apr_status_t check_outcome(const MDB_val *key, const MDB_val *value)
{
    svl_records_outcome_t outcome;

    return key->mv_size == SVL_RECORDS_POSITION_SIZE ? svl_records_get_outcome(&outcome, value->mv_data, value->mv_size)
                                                     : SVL_EDAMAGED;
}

/* In the order in which they are read: what is needed for anything comes first. */
static const struct {
    svl_table_e table;
    check_record_t *check;
    MDB_cursor_op first, next;
} plan[] = {
    {SVL_TABLE_TOP, check_any, MDB_FIRST, MDB_NEXT},        {SVL_TABLE_STREAMS, check_stream, MDB_FIRST, MDB_NEXT},
    {SVL_TABLE_WORK, check_work, MDB_FIRST, MDB_NEXT},      {SVL_TABLE_CALLS, check_call, MDB_LAST, MDB_PREV},
    {SVL_TABLE_NUMBERS, check_number, MDB_FIRST, MDB_NEXT}, {SVL_TABLE_IDS, check_id, MDB_FIRST, MDB_NEXT},
    {SVL_TABLE_ALIASES, check_any, MDB_FIRST, MDB_NEXT},    {SVL_TABLE_OUTCOMES, check_outcome, MDB_FIRST, MDB_NEXT},
    {SVL_TABLE_EVERY, check_any, MDB_FIRST, MDB_NEXT},
};

/* Large values have pages of their own, which nobody has looked at yet. */
static void touch(const MDB_val *value)
{
    if (value->mv_size) {
        (void)*((const volatile unsigned char *)value->mv_data + value->mv_size - 1);
    }
}

/* @return APR_SUCCESS at its end, APR_TIMEUP, SVL_EDAMAGED, or another failure */
static apr_status_t read_table(const svl_store_t *store, MDB_txn *txn, unsigned int i, apr_time_t end)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    MDB_stat stat;
    size_t count = 0;
    apr_status_t status = svl_env_status(mdb_stat(txn, store->tables[plan[i].table], &stat));
    int rc;

    if (!status) {
        status = svl_env_status(mdb_cursor_open(txn, store->tables[plan[i].table], &cursor));
    }
    if (status) {
        return status;
    }
    rc = mdb_cursor_get(cursor, &key, &value, plan[i].first);
    while (!rc && !status) {
        touch(&value);
        status = plan[i].check(&key, &value);
        if (!status && ++count % LOOK_EVERY == 0 && apr_time_now() > end) {
            status = APR_TIMEUP;
        }
        if (!status) {
            rc = mdb_cursor_get(cursor, &key, &value, plan[i].next);
        }
    }
    mdb_cursor_close(cursor);
    if (status || rc != MDB_NOTFOUND) {
        return status ? status : svl_env_status(rc);
    }
    return count == stat.ms_entries ? APR_SUCCESS : SVL_EDAMAGED;
}

static apr_status_t load_any(svl_store_t *store, MDB_txn *txn, const char **error, apr_pool_t *p)
{
    return svl_identity_load(store, txn, NULL, error, p);
}

/* The finding goes through a pipe: an exit status is lost where SIGCHLD is ignored, or another module waits for all children. */
static int finding = -1;

/* Also for a signal handler. */
static void end(char found)
{
    ssize_t written = write(finding, &found, 1);

    (void)written;
    _exit(0);
}

static void on_assertion(MDB_env *env, const char *words)
{
    (void)env;
    (void)words;
    end(DAMAGED);
}

static void on_signal(int signal)
{
    (void)signal;
    end(DAMAGED);
}

/* Says nothing about the log. */
static int on_lack(int status)
{
    (void)status;
    _exit(0);
}

static apr_status_t read_log(svl_store_t *store, apr_interval_time_t budget, apr_pool_t *p)
{
    const char *error = NULL;
    apr_time_t until = apr_time_now() + budget;
    MDB_txn *txn;
    unsigned int i;
    apr_status_t status = svl_opening_environment(store, load_any, &error, p);

    if (!status) {
        status = svl_env_status(mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn));
    }
    for (i = 0; i < sizeof(plan) / sizeof(*plan) && !status && budget; ++i) {
        status = read_table(store, txn, i, until);
    }
    return status;
}

/* SIGALRM and SIGABRT end the process without a finding: it waited for a lock or the disk, or something else than LMDB gave up. */
static void expect_signals(void)
{
    static const int telling[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGPROF};
    static const int silent[] = {SIGABRT, SIGALRM, SIGTERM};
    const struct itimerval loop = {.it_value = {.tv_sec = PATIENCE_LOOP}};
    const struct rlimit no_core = {0, 0};
    sigset_t none;
    unsigned int i;

    for (i = 0; i < sizeof(silent) / sizeof(*silent); ++i) {
        signal(silent[i], SIG_DFL);
    }
    for (i = 0; i < sizeof(telling) / sizeof(*telling); ++i) {
        signal(telling[i], on_signal);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setrlimit(RLIMIT_CORE, &no_core);
    setitimer(ITIMER_PROF, &loop, NULL);
    alarm(PATIENCE);
}

/* Ends the process. */
static void verify_here(const svl_store_options_t *options, apr_interval_time_t budget)
{
    svl_store_t *store;
    apr_pool_t *p;
    apr_status_t status;

    expect_signals();
    svl_pool_on_lack(on_lack);
    svl_pool_make(&p);
    status = svl_opening_make(&store, options, 0, p);
    if (!status) {
        store->assertion = on_assertion;
        status = read_log(store, budget, p);
    }
    if (APR_STATUS_IS_ENOMEM(status)) {
        on_lack(status);
    }
    end(status == SVL_EDAMAGED ? DAMAGED : NOT_DAMAGED); /* other failures are met again by who opens it */
}

/* @return what the process found; 0 when it could not, and then errno may say why */
static char find_out(const svl_store_options_t *options, apr_interval_time_t budget)
{
    svl_store_options_t quiet = *options;
    char found = 0;
    int ends[2], error = 0;
    ssize_t got;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC)) {
        return 0;
    }
    quiet.log = NULL;
    pid = fork();
    if (pid == 0) {
        finding = ends[1];
        verify_here(&quiet, budget);
    }
    error = pid < 0 ? errno : 0;
    close(ends[1]);
    do {
        got = read(ends[0], &found, 1);
    } while (got < 0 && errno == EINTR);
    close(ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    errno = error;
    return (char)(got == 1 ? found : 0);
}

apr_status_t svl_verify(const svl_store_options_t *options, apr_interval_time_t budget)
{
    apr_status_t status = svl_identity_look(options->directory);
    char found;

    if (status) {
        return status == SVL_EDAMAGED ? status : APR_SUCCESS;
    }
    found = find_out(options, budget);
    if (!found) {
        svl_log_write(
            options->log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_FROM_OS_ERROR(errno),
            SVLNO(0375) "the log %s is used without having been read before: the process that was to do it could not, for "
                        "lack of memory or of processes, was ended, or waited %d s for the disk or for another process",
            options->directory, PATIENCE);
    }
    return found == DAMAGED ? SVL_EDAMAGED : APR_SUCCESS;
}

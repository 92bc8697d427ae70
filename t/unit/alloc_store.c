/* SPDX-License-Identifier: Apache-2.0 */
/* What the log promises when memory lacks: what it said it has, it has; what failed can be done again, in the same process too. */
#include "alloc.h"

#include <sys/mman.h>

#include "core/pool.h"
#include "store_fixture.h"

#define OWN 3
#define STREAM "b/all/" EPOCH

/* What the process was told, for the parent to hold the log to. */
typedef struct told_t {
    int own[OWN], foreign, alias, ended, later, pruned, given_up;
} told_t;

typedef struct bench_t {
    fixture_t f;
    told_t *told; /* shared */
} bench_t;

static apr_pool_t *make_pool(void)
{
    apr_pool_t *p;

    apr_pool_create_unmanaged_ex(&p, alloc_lack, NULL);
    return p;
}

static apr_status_t accept_calls(fixture_t *f, told_t *told, apr_pool_t *p)
{
    apr_status_t status = APR_SUCCESS;

    for (int i = 0; i < OWN && !status; i++) {
        svl_store_entry_t entry = own_call(p, apr_psprintf(p, "own-%d", i), "all", "x");

        entry.every = i == 0;
        status = accept_all(f->store, &entry, 1, i == 1 ? "b c" : NULL, NULL);
        told->own[i] = !status;
        ALLOC_REQUIRE(status || entry.verdict == SVL_STORE_NEW);
    }
    if (!status) {
        svl_store_entry_t entries[] = {foreign_call(p, "foreign-5", "b", 5, "x"), foreign_call(p, "foreign-7", "b", 7, "x")};

        status = accept_all(f->store, entries, 2, NULL, NULL);
        told->foreign = !status;
    }
    if (!status) {
        svl_store_entry_t entry = foreign_call(p, "foreign-5", "c", 1, "x");

        status = accept_one(f->store, &entry);
        told->alias = !status && entry.verdict == SVL_STORE_ALIAS;
        ALLOC_REQUIRE(status || told->alias);
    }
    return status;
}

static apr_status_t end_calls(fixture_t *f, told_t *told)
{
    svl_store_outcome_t later = {.position = 2, .outcome = SVL_OUTCOME_ERROR, .ended = NOW + 1, .text = "words", .length = 5};
    apr_status_t status = svl_store_start(f->store, 1);
    apr_uint64_t *mark;

    if (status) {
        return status;
    }
    mark = svl_store_running_begin(f->store, 1);
    status = finish_one(f->store, 1, SVL_OUTCOME_OK, "{\"n\":1}");
    svl_store_running_end(f->store, mark);
    told->ended = !status;
    if (!status) {
        svl_store_relayed(f->store, 2);
        status = svl_store_finish_later(f->store, &later, 1);
    }
    if (!status) {
        status = svl_store_flush(f->store);
        told->later = !status;
    }
    return status;
}

static int count_lines(void *baton, apr_uint64_t number, const svl_store_record_t *record)
{
    (void)number;
    *(int *)baton += record->line != NULL;
    return 0;
}

/* What a reader is shown is all there is, or it is told that it is not. */
static apr_status_t read_log(fixture_t *f, apr_pool_t *p)
{
    static const char *const sets[] = {"all"};
    const svl_store_young_t young = {NOW * 2, NOW * 2};
    svl_store_record_t record = {.position = 0};
    svl_store_listing_t listing = {.position = 0};
    svl_store_reader_t *reader;
    svl_store_counts_t counts;
    apr_hash_t *vector;
    apr_hash_t *pruned;
    int lines = 0;
    apr_status_t status = svl_store_read_begin(&reader, f->store);

    if (status) {
        return status;
    }
    status = svl_store_vector(reader, sets, 1, &vector, &pruned, p);
    ALLOC_REQUIRE(status
                  || (apr_hash_count(vector) == 3 && svl_vector_covers(apr_hash_get(vector, STREAM, APR_HASH_KEY_STRING), 7)));
    if (!status) {
        status = svl_store_lines(reader, STREAM, 1, 9, &young, count_lines, &lines);
        ALLOC_REQUIRE(status || lines == 2);
    }
    if (!status) {
        status = svl_store_count(reader, &counts);
        ALLOC_REQUIRE(status || counts.calls == OWN + 3);
    }
    if (!status) {
        status = svl_store_every(reader, &listing);
        ALLOC_REQUIRE(status || listing.entry == 1);
    }
    if (!status) {
        status = svl_store_next(reader, 1, 1, &record);
        ALLOC_REQUIRE(status || record.alias);
    }
    svl_store_read_end(reader);
    return status;
}

static apr_status_t keep_house(fixture_t *f, told_t *told, apr_pool_t *p)
{
    svl_store_loss_t loss = {.stream = STREAM, .first = 1, .last = 4};
    static const char *const functions[] = {"f"};
    svl_store_losses_t losses = {.losses = &loss, .count = 1, .functions = functions, .function_count = 1};
    apr_array_header_t *found;
    apr_uint64_t position;
    unsigned int gone;
    int more;
    apr_status_t status = svl_store_take_over(f->store, NULL, NULL, 10, &found, p);

    status = status ? status : svl_store_announce(f->store, 1, &position);
    status = status ? status : svl_store_overdue(f->store, NOW, &found, p);
    status = status ? status : svl_store_give_up(f->store, &losses, NOW);
    told->given_up = !status;
    ALLOC_REQUIRE(status || losses.missed == 4);
    status = status ? status
                    : svl_store_heard_of_own(f->store, apr_pstrcat(p, "a/all/", svl_store_epoch(f->store), NULL), 1000, &more);
    ALLOC_REQUIRE(status || more);
    for (more = 1; more && !status;) {
        status = svl_store_log_anew(f->store, 100, &more);
    }
    if (!status) {
        status = svl_store_prune(f->store, NOW + 1, 1, &gone);
        told->pruned = !status && gone == 1;
        ALLOC_REQUIRE(status || gone == 1);
    }
    return status ? status : svl_store_forget_streams(f->store, NOW + 1, 10, &gone);
}

/* Nothing is left locked, and what was refused is taken now. */
static void go_on(fixture_t *f)
{
    apr_pool_t *p = make_pool();
    svl_store_entry_t entry = own_call(p, "afterwards", "all", "x");

    if (!f->store) {
        ALLOC_REQUIRE(svl_store_open(&f->store, &f->options, f->opened) == APR_SUCCESS);
    }
    ALLOC_REQUIRE(accept_one(f->store, &entry) == APR_SUCCESS && entry.verdict == SVL_STORE_NEW);
    ALLOC_REQUIRE(svl_store_flush(f->store) == APR_SUCCESS);
    ALLOC_REQUIRE(holds_id(f->store, "afterwards"));
    apr_pool_destroy(p);
}

static int use_log(void *baton)
{
    bench_t *bench = baton;
    fixture_t *f = &bench->f;
    apr_pool_t *p;
    apr_status_t status;
    int failed;

    alloc_arm(alloc_number);
    p = make_pool();
    f->opened = make_pool();
    status = svl_store_open(&f->store, &f->options, f->opened);
    if (status) {
        f->store = NULL;
    }
    status = status ? status : accept_calls(f, bench->told, p);
    status = status ? status : end_calls(f, bench->told);
    status = status ? status : read_log(f, p);
    status = status ? status : keep_house(f, bench->told, p);
    failed = alloc_disarm();
    ALLOC_REQUIRE(failed || !status);
    go_on(f);
    alloc_arm(failed ? 0 : alloc_number - alloc_count); /* closing is a part of it */
    apr_pool_destroy(f->opened);
    failed |= alloc_disarm();
    f->store = NULL;
    f->opened = make_pool();
    ALLOC_REQUIRE(svl_store_open(&f->store, &f->options, f->opened) == APR_SUCCESS);
    apr_pool_destroy(f->opened);
    return failed ? ALLOC_TOLD : ALLOC_PASSED;
}

static void empty_directory(fixture_t *f)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "owners", "running", "boot", "damaged"};

    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        unlink(path_of(f, names[i]));
    }
}

/* Holds the log to what was told; then there is a new one. */
static void check_log(void *baton)
{
    bench_t *bench = baton;
    fixture_t *f = &bench->f;
    const told_t *told = bench->told;

    open_log(f);
    assert_true(!told->own[0] || told->pruned || holds_id(f->store, "own-0"));
    assert_true(!told->own[1] || holds_id(f->store, "own-1"));
    assert_true(!told->own[2] || holds_id(f->store, "own-2"));
    assert_true(!told->foreign || (holds_id(f->store, "foreign-5") && holds_id(f->store, "foreign-7")));
    if (told->ended && !told->pruned) {
        assert_int_equal(read_entry(f, 1).outcome, SVL_OUTCOME_OK);
    }
    if (told->later) {
        assert_int_equal(read_entry(f, 2).outcome, SVL_OUTCOME_ERROR);
    }
    close_log(f);
    empty_directory(f);
    memset(bench->told, 0, sizeof(*bench->told));
    prepare_log(f);
    apr_pool_clear(f->p);
}

static void a_log_keeps_what_it_told(void **state)
{
    bench_t bench = {.f = *(fixture_t *)*state};

    bench.told = mmap(NULL, sizeof(*bench.told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(bench.told != MAP_FAILED);
    close_log(*state);
    bench.f.opened = NULL;
    bench.f.options.directory = bench.f.directory;
    check_log(&bench);
    assert_in_range(alloc_sweep("the log", use_log, check_log, &bench), 20, 20000);
    munmap(bench.told, sizeof(*bench.told));
}

static int prepare_anew(void *baton)
{
    bench_t *bench = baton;
    const char *error = NULL;
    apr_status_t status;
    apr_pool_t *p;
    int failed;

    alloc_arm(alloc_number);
    p = make_pool();
    status = svl_store_prepare(&bench->f.options, -1, -1, &error, p);
    failed = alloc_disarm();
    ALLOC_REQUIRE(!status || (failed && error && strstr(error, bench->f.directory)));
    ALLOC_REQUIRE(status != SVL_EDAMAGED);
    return failed ? ALLOC_TOLD : ALLOC_PASSED;
}

static void check_prepared(void *baton)
{
    bench_t *bench = baton;

    prepare_log(&bench->f);
    open_log(&bench->f);
    assert_true(holds_id(bench->f.store, "kept"));
    close_log(&bench->f);
    apr_pool_clear(bench->f.p);
}

/* Whoever sets damaged logs aside does not take a lack of memory for damage. */
static void a_sound_log_is_not_set_aside(void **state)
{
    bench_t bench = {.f = *(fixture_t *)*state};
    svl_store_entry_t entry = own_call(bench.f.p, "kept", "all", "x");

    assert_int_equal(accept_one(bench.f.store, &entry), APR_SUCCESS);
    close_log(*state);
    bench.f.opened = NULL;
    bench.f.options.directory = bench.f.directory;
    bench.f.options.set_aside_damaged = 1;
    assert_in_range(alloc_sweep("preparing", prepare_anew, check_prepared, &bench), 5, 20000);
}

static int read_only(void *baton)
{
    bench_t *bench = baton;
    svl_store_reader_t *reader;
    svl_store_t *store;
    const char *node;
    const char *error = NULL;
    apr_status_t status;
    apr_uint64_t position;
    apr_pool_t *p;
    int failed;

    alloc_arm(alloc_number);
    p = make_pool();
    status = svl_store_open_reader(&store, bench->f.directory, &node, &error, p);
    ALLOC_REQUIRE(!status || error);
    status = status ? status : svl_store_read_begin(&reader, store);
    if (!status) {
        status = svl_store_find(reader, "kept", &position);
        ALLOC_REQUIRE(status != APR_NOTFOUND);
        svl_store_read_end(reader);
    }
    failed = alloc_disarm();
    ALLOC_REQUIRE(failed || !status);
    apr_pool_destroy(p);
    return failed ? ALLOC_TOLD : ALLOC_PASSED;
}

static void a_reader_of_the_command_is_told(void **state)
{
    bench_t bench = {.f = *(fixture_t *)*state};
    svl_store_entry_t entry = own_call(bench.f.p, "kept", "all", "x");

    assert_int_equal(accept_one(bench.f.store, &entry), APR_SUCCESS);
    close_log(*state);
    assert_in_range(alloc_sweep("reading only", read_only, NULL, &bench), 5, 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_log_keeps_what_it_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sound_log_is_not_set_aside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reader_of_the_command_is_told, set_up, tear_down),
    };

    if (alloc_left_out()) {
        return 0;
    }
    svl_pool_on_lack(alloc_lack);
    return run_promises("alloc_store", tests, UNIT_COUNT(tests));
}

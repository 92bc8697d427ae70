/* SPDX-License-Identifier: Apache-2.0 */
/* What the store promises of forgetting much: it finds what is old wherever it stands, and holds nobody up meanwhile. */
#include <pthread.h>

#include "store_fixture.h"

#define LATER (NOW + apr_time_from_sec(3600)) /* everything the fixture makes is older */
#define MANY 100000
#define STEP 500 /* entries of one transaction, as the module prunes */
#define ACCEPTS_MAX 20000

static unsigned int prune(fixture_t *f, apr_time_t before, unsigned int limit)
{
    unsigned int pruned = 0;

    assert_int_equal(svl_store_prune(f->store, before, limit, &pruned), APR_SUCCESS);
    return pruned;
}

static void fill_idle(fixture_t *f, const char *origin, apr_uint64_t count, apr_time_t now)
{
    apr_pool_t *p;
    apr_uint64_t at, i;

    apr_pool_create(&p, f->p);
    for (at = 0; at < count; at += 1000) {
        svl_store_entry_t *entries = apr_palloc(p, 1000 * sizeof(*entries));
        svl_store_batch_t batch = {.entries = entries, .count = 1000};

        for (i = 0; i < 1000; ++i) {
            entries[i] = foreign_call(p, apr_psprintf(p, "%s-%d", origin, (int)(at + i)), origin, at + i + 1, "x");
            entries[i].issued = now / 1000;
            entries[i].run = 0;
        }
        assert_int_equal(svl_store_accept(f->store, &batch, 1, now), APR_SUCCESS);
        apr_pool_clear(p);
    }
    apr_pool_destroy(p);
}

static void what_is_old_behind_many_young_ones_goes_in_time(void **state)
{
    fixture_t *f = *state;
    unsigned int pruned = 0;
    int turns;

    fill_idle(f, "b", 5000, LATER + 1); /* the clock was ahead */
    fill_idle(f, "c", 5000, NOW);
    for (turns = 0; turns < 100 && pruned < 5000; ++turns) {
        pruned += prune(f, LATER, 500);
    }
    assert_int_equal(pruned, 5000);
    assert_true(turns <= 30);
    for (turns = 0; turns < 100; ++turns) {
        assert_int_equal(prune(f, LATER, 500), 0);
    }
    assert_int_equal(count_log(f->store).calls, 5000);
    while (prune(f, LATER + 2, 500)) {
        continue;
    }
    assert_int_equal(count_log(f->store).calls, 0);
}

/* One caller after the other, as fast as it is answered. */
typedef struct caller_t {
    svl_store_t *store;
    int stop; /* atomic */
    int failed;
    unsigned int count;
    apr_time_t took[ACCEPTS_MAX];
} caller_t;

static void *call_on(void *baton)
{
    static unsigned int calls;
    caller_t *caller = baton;
    apr_pool_t *p;

    apr_pool_create_unmanaged(&p);
    while (!__atomic_load_n(&caller->stop, __ATOMIC_RELAXED) && caller->count < ACCEPTS_MAX) {
        svl_store_entry_t entry = own_call(p, apr_psprintf(p, "call-%u", calls++), "all", "x");
        svl_store_batch_t batch = {.entries = &entry, .count = 1};
        apr_time_t began = apr_time_now();

        entry.run = 0;
        entry.issued = LATER / 1000 + 1;
        caller->failed |= svl_store_accept(caller->store, &batch, 1, LATER + 1) != APR_SUCCESS;
        caller->took[caller->count++] = apr_time_now() - began;
        apr_pool_clear(p);
    }
    apr_pool_destroy(p);
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    apr_time_t one = *(const apr_time_t *)a, other = *(const apr_time_t *)b;

    return one < other ? -1 : one > other;
}

/* Calls while `work` is done.  @return the 99th percentile, microseconds */
static apr_time_t call_while(fixture_t *f, void (*work)(fixture_t *f), const char *when)
{
    caller_t *caller = calloc(1, sizeof(*caller));
    pthread_t thread;
    apr_time_t most;

    caller->store = f->store;
    assert_int_equal(pthread_create(&thread, NULL, call_on, caller), 0);
    work(f);
    __atomic_store_n(&caller->stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    assert_false(caller->failed);
    assert_true(caller->count > 0);
    qsort(caller->took, caller->count, sizeof(*caller->took), by_size);
    most = caller->took[caller->count * 99 / 100];
    print_message("# accepting %s: %u calls, %.1f ms in the middle, %.1f ms the 99th percentile, %.1f ms the longest\n", when,
                  caller->count, (double)caller->took[caller->count / 2] / 1000, (double)most / 1000,
                  (double)caller->took[caller->count - 1] / 1000);
    free(caller);
    return most;
}

static void rest(fixture_t *f)
{
    (void)f;
    apr_sleep(apr_time_from_msec(300));
}

static unsigned int all_pruned;

static void prune_all(fixture_t *f)
{
    apr_time_t began, longest = 0, all = 0;
    unsigned int pruned, sum = 0, steps = 0;

    do {
        began = apr_time_now();
        pruned = 0;
        svl_store_prune(f->store, LATER, STEP, &pruned);
        began = apr_time_now() - began;
        longest = began > longest ? began : longest;
        all += began;
        sum += pruned;
        ++steps;
    } while (pruned);
    all_pruned = sum; /* no assertion while the other thread runs */
    print_message("# %u pruned in %u steps of %.1f ms, %.1f ms the longest\n", sum, steps, (double)all / steps / 1000,
                  (double)longest / 1000);
}

static void a_hundred_thousand_go_while_calls_are_accepted(void **state)
{
    fixture_t *f = *state;

    close_log(f);
    f->options.durable = 1;
    f->options.size = 256 << 20;
    open_log(f);
    fill_idle(f, "b", MANY, NOW);
    call_while(f, rest, "alone");
    /* Some milliseconds, on a machine with nothing else to do. */
    assert_true(call_while(f, prune_all, "meanwhile") < apr_time_from_msec(500));
    assert_int_equal(all_pruned, MANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_old_behind_many_young_ones_goes_in_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_hundred_thousand_go_while_calls_are_accepted, set_up, tear_down),
    };

    return run_promises("store_old", tests, sizeof(tests) / sizeof(*tests));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What is promised of threads that are asked for: none waits behind another's work, and no turn is lost. */
#include "unit.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <apr_time.h>

#include "transport/crew.h"

#define MOST 8
#define DEADLINE apr_time_from_sec(10)
#define PAUSE 200 /* microseconds between two looks */

typedef struct shop_t {
    svl_crew_t *crew;
    int inside, done; /* atomics */
    int open;         /* atomic; while it is 0 who is inside stays */
} shop_t;

static void serve(void *baton)
{
    shop_t *shop = baton;

    __atomic_add_fetch(&shop->inside, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&shop->open, __ATOMIC_SEQ_CST)) {
        usleep(PAUSE);
    }
    __atomic_sub_fetch(&shop->inside, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&shop->done, 1, __ATOMIC_SEQ_CST);
}

static void wait_for(const int *number, int value)
{
    apr_time_t end = apr_time_now() + DEADLINE;

    while (__atomic_load_n(number, __ATOMIC_SEQ_CST) != value && apr_time_now() < end) {
        usleep(PAUSE);
    }
    assert_int_equal(__atomic_load_n(number, __ATOMIC_SEQ_CST), value);
}

static void ask(shop_t *shop, int turns)
{
    for (int i = 0; i < turns; i++) {
        assert_int_equal(svl_crew_ask(shop->crew), APR_SUCCESS);
    }
}

static shop_t *new_shop(apr_pool_t *p, int open)
{
    shop_t *shop = apr_pcalloc(p, sizeof(*shop));

    shop->open = open;
    assert_int_equal(svl_crew_create(&shop->crew, MOST, serve, shop, p), APR_SUCCESS);
    return shop;
}

/* One thread rests, and several turns come before it can have woken. */
static void each_turn_has_a_thread(void **state)
{
    for (int round = 0; round < 50; round++) {
        shop_t *shop = new_shop(*state, 1);

        ask(shop, 1);
        wait_for(&shop->done, 1);
        __atomic_store_n(&shop->open, 0, __ATOMIC_SEQ_CST);
        ask(shop, MOST);
        wait_for(&shop->inside, MOST);
        __atomic_store_n(&shop->open, 1, __ATOMIC_SEQ_CST);
        wait_for(&shop->done, 1 + MOST);
        svl_crew_end(shop->crew);
    }
}

static void turns_wait_when_all_are_at_work(void **state)
{
    shop_t *shop = new_shop(*state, 0);

    ask(shop, 5 * MOST);
    wait_for(&shop->inside, MOST);
    __atomic_store_n(&shop->open, 1, __ATOMIC_SEQ_CST);
    wait_for(&shop->done, 5 * MOST);
    wait_for(&shop->inside, 0);
    svl_crew_end(shop->crew);
}

static void what_is_asked_for_at_once_waits_for_nobody(void **state)
{
    shop_t *shop = new_shop(*state, 0);

    ask(shop, MOST - 1);
    wait_for(&shop->inside, MOST - 1);
    assert_int_equal(svl_crew_ask_at_once(shop->crew), APR_SUCCESS);
    wait_for(&shop->inside, MOST);
    assert_int_not_equal(svl_crew_ask_at_once(shop->crew), APR_SUCCESS);
    __atomic_store_n(&shop->open, 1, __ATOMIC_SEQ_CST);
    wait_for(&shop->done, MOST);
    ask(shop, 1); /* what was refused is not done later */
    wait_for(&shop->done, MOST + 1);
    svl_crew_end(shop->crew);
    assert_int_equal(shop->done, MOST + 1);
}

static void no_turn_is_lost(void **state)
{
    shop_t *shop = new_shop(*state, 1);
    int asked = 0;

    for (int i = 0; i < 2000; i++) {
        int turns = (int)unit_random(4);

        ask(shop, turns);
        asked += turns;
        if (unit_random(8) == 0) {
            wait_for(&shop->done, asked);
        }
    }
    wait_for(&shop->done, asked);
    svl_crew_end(shop->crew);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they need the address space themselves */
/* From now on this process has room for what it allocates, but for no further stack. */
static void allow_no_thread(struct rlimit *before)
{
    unsigned long pages = 0;
    struct rlimit tight;
    FILE *file = fopen("/proc/self/statm", "r");

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &pages), 1);
    fclose(file);
    assert_int_equal(getrlimit(RLIMIT_AS, before), 0);
    tight = *before;
    tight.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (1 << 20);
    assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
}

static void a_thread_that_could_not_be_started_is_tried_again(void **state)
{
    shop_t *shop = new_shop(*state, 0);
    apr_time_t end = apr_time_now() + DEADLINE;
    struct rlimit before;
    int turns = 0;

    allow_no_thread(&before);
    assert_int_not_equal(svl_crew_ask(shop->crew), APR_SUCCESS);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    while (svl_crew_ask(shop->crew) != APR_SUCCESS && apr_time_now() < end) {
        usleep(PAUSE);
    }
    turns++;
    wait_for(&shop->inside, 1);
    allow_no_thread(&before);
    ask(shop, MOST - 1);
    turns += MOST - 1;
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    while (__atomic_load_n(&shop->inside, __ATOMIC_SEQ_CST) < MOST && apr_time_now() < end) {
        svl_crew_poke(shop->crew);
        usleep(PAUSE);
    }
    assert_int_equal(shop->inside, MOST);
    __atomic_store_n(&shop->open, 1, __ATOMIC_SEQ_CST);
    wait_for(&shop->done, turns);
    svl_crew_end(shop->crew);
}
#endif

static void threads_that_are_spare_are_there_for_the_next_turns(void **state)
{
    shop_t *shop = new_shop(*state, 0);

    assert_true(svl_crew_spare(shop->crew, MOST));
    assert_false(svl_crew_spare(shop->crew, MOST + 1));
    for (int turns = 1; turns <= MOST; turns++) {
        assert_int_equal(svl_crew_ask_at_once(shop->crew), APR_SUCCESS);
        assert_true(svl_crew_spare(shop->crew, MOST - turns));
        assert_false(svl_crew_spare(shop->crew, MOST - turns + 1));
    }
    wait_for(&shop->inside, MOST);
    __atomic_store_n(&shop->open, 1, __ATOMIC_SEQ_CST);
    wait_for(&shop->done, MOST);
    svl_crew_end(shop->crew);
}

static void one_that_was_never_asked_ends(void **state)
{
    shop_t *shop = new_shop(*state, 1);

    svl_crew_end(shop->crew);
    assert_int_equal(shop->done, 0);
}

static const struct CMUnitTest promises[] = {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* first: libc keeps the stacks of threads that ended */
    PROMISE("a thread that could not be started is tried again", a_thread_that_could_not_be_started_is_tried_again),
#endif
    PROMISE("each turn has a thread, also when one rests", each_turn_has_a_thread),
    PROMISE("turns wait when all threads are at work, and are done", turns_wait_when_all_are_at_work),
    PROMISE("what is asked for at once waits for nobody", what_is_asked_for_at_once_waits_for_nobody),
    PROMISE("no turn is lost", no_turn_is_lost),
    PROMISE("threads that are spare are there for the next turns", threads_that_are_spare_are_there_for_the_next_turns),
    PROMISE("one that was never asked ends", one_that_was_never_asked_ends),
};

static int say_what_is_left_out(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    fprintf(stderr, "SKIPPED: a thread that could not be started is tried again: a sanitizer needs the address space itself\n");
#endif
    return 0;
}

int main(void)
{
    apr_initialize();
    atexit(apr_terminate);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(promises, say_what_is_left_out, NULL);
}

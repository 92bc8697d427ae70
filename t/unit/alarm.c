/* SPDX-License-Identifier: Apache-2.0 */
/* What is promised of an alarm: it rings once for what was asked before it rang, and not too early; and where it cannot, it says so. */
#include "unit.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <apr_time.h>

#include "transport/alarm.h"
#include "transport/transport.h"

#define DEADLINE apr_time_from_sec(10)
#define PAUSE 200 /* microseconds between two looks */
#define DELAY apr_time_from_msec(2)

typedef struct tower_t {
    svl_alarm_t *alarm;
    int rings;  /* atomic */
    int again;  /* atomic; so many times it sets itself again */
    int inside; /* atomic */
    int shut;   /* atomic; while it is nonzero who is inside stays */
    apr_time_t rang;
} tower_t;

static void ring(void *baton)
{
    tower_t *tower = baton;

    __atomic_add_fetch(&tower->inside, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&tower->shut, __ATOMIC_SEQ_CST)) {
        usleep(PAUSE);
    }
    if (tower->again) {
        tower->again--;
        assert_int_equal(svl_alarm_set(tower->alarm, DELAY), APR_SUCCESS);
    }
    tower->rang = svl_transport_monotonic();
    __atomic_sub_fetch(&tower->inside, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&tower->rings, 1, __ATOMIC_SEQ_CST);
}

static void wait_for(const int *number, int value)
{
    apr_time_t end = apr_time_now() + DEADLINE;

    while (__atomic_load_n(number, __ATOMIC_SEQ_CST) != value && apr_time_now() < end) {
        usleep(PAUSE);
    }
    assert_int_equal(__atomic_load_n(number, __ATOMIC_SEQ_CST), value);
}

static tower_t *new_tower(apr_pool_t *p)
{
    tower_t *tower = apr_pcalloc(p, sizeof(*tower));

    assert_int_equal(svl_alarm_create(&tower->alarm, ring, tower, p), APR_SUCCESS);
    return tower;
}

static void it_rings_once_and_not_too_early(void **state)
{
    tower_t *tower = new_tower(*state);

    for (int round = 1; round <= 100; round++) {
        apr_time_t began = svl_transport_monotonic();

        assert_int_equal(svl_alarm_set(tower->alarm, DELAY), APR_SUCCESS);
        wait_for(&tower->rings, round);
        assert_true(tower->rang - began >= DELAY);
    }
    svl_alarm_end(tower->alarm);
    assert_int_equal(tower->rings, 100);
}

/* An hour is not waited for, since it rings for all that came before; it was set to ring soon first. */
static void what_is_asked_meanwhile_is_done_with_it(void **state)
{
    tower_t *tower = new_tower(*state);

    assert_int_equal(svl_alarm_set(tower->alarm, apr_time_from_msec(100)), APR_SUCCESS);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(svl_alarm_set(tower->alarm, apr_time_from_sec(3600)), APR_SUCCESS);
    }
    wait_for(&tower->rings, 1);
    svl_alarm_end(tower->alarm);
    assert_int_equal(tower->rings, 1);
}

static void it_may_be_set_while_it_works(void **state)
{
    tower_t *tower = new_tower(*state);

    tower->again = 20;
    assert_int_equal(svl_alarm_set(tower->alarm, DELAY), APR_SUCCESS);
    wait_for(&tower->rings, 21);
    __atomic_store_n(&tower->shut, 1, __ATOMIC_SEQ_CST);
    assert_int_equal(svl_alarm_set(tower->alarm, DELAY), APR_SUCCESS);
    wait_for(&tower->inside, 1);
    assert_int_equal(svl_alarm_set(tower->alarm, DELAY), APR_SUCCESS);
    __atomic_store_n(&tower->shut, 0, __ATOMIC_SEQ_CST);
    wait_for(&tower->rings, 23);
    svl_alarm_end(tower->alarm);
}

static void the_end_gives_up_what_it_was_set_to(void **state)
{
    for (int round = 0; round < 20; round++) {
        tower_t *tower = new_tower(*state);
        apr_time_t began = svl_transport_monotonic();

        if (round % 4) {
            assert_int_equal(svl_alarm_set(tower->alarm, apr_time_from_sec(3600)), APR_SUCCESS);
        }
        svl_alarm_end(tower->alarm);
        assert_int_equal(tower->rings, 0);
        assert_true(svl_transport_monotonic() - began < DEADLINE);
    }
}

static void no_descriptor(struct rlimit *before)
{
    int next = dup(0);
    struct rlimit tight;

    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, before), 0);
    tight = *before;
    tight.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
}

static void it_says_when_it_cannot_and_can_later(void **state)
{
    tower_t *tower = new_tower(*state);
    struct rlimit before;

    no_descriptor(&before);
    assert_int_equal(svl_alarm_set(tower->alarm, DELAY), EMFILE);
    assert_int_equal(svl_alarm_set(tower->alarm, DELAY), EMFILE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(svl_alarm_set(tower->alarm, DELAY), APR_SUCCESS);
    wait_for(&tower->rings, 1);
    svl_alarm_end(tower->alarm);
}

static const struct CMUnitTest promises[] = {
    PROMISE("it rings once, and not too early", it_rings_once_and_not_too_early),
    PROMISE("what is asked meanwhile is done with it", what_is_asked_meanwhile_is_done_with_it),
    PROMISE("it may be set while it works", it_may_be_set_while_it_works),
    PROMISE("the end gives up what it was set to", the_end_gives_up_what_it_was_set_to),
    PROMISE("it says when it cannot, and can later", it_says_when_it_cannot_and_can_later),
};

UNIT_MAIN(promises)

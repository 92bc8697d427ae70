/* SPDX-License-Identifier: Apache-2.0 */
/* What retention is promised of clocks: neither a jump nor its end shortens it, and every jump heals. */
#include "unit.h"

#include "core/clock.h"

#define HOUR apr_time_from_sec(3600)
#define DAY (24 * HOUR)
#define NOON APR_INT64_C(1700000000000000)
#define BOOT APR_INT64_C(1000000) /* the monotonic clock at noon */
#define STEP apr_time_from_sec(60)

typedef struct fleet_t {
    svl_clock_t clock;
    apr_time_t elapsed;      /* since noon, in truth */
    apr_interval_time_t off; /* of the own clock */
    apr_int64_t peers;
    apr_time_t newest;
    apr_int64_t offset;
} fleet_t;

static void look(fleet_t *f)
{
    svl_clock_look_t look = {.now = NOON + f->elapsed + f->off,
                             .monotonic = BOOT + f->elapsed,
                             .peers = f->peers,
                             .newest = f->newest,
                             .retention = DAY,
                             .tolerance = apr_time_from_sec(300)};

    f->offset = svl_clock_turn(&f->clock, &look);
}

static void pass(fleet_t *f, apr_interval_time_t time)
{
    apr_time_t end = f->elapsed + time;

    for (; f->elapsed < end; f->elapsed += STEP) {
        look(f);
    }
    look(f);
}

/* What retention goes by, as the difference to the truth. */
static apr_interval_time_t error_of(const fleet_t *f)
{
    apr_time_t truth = NOON + f->elapsed;

    return svl_clock_retained(f->offset, truth + f->off, BOOT + f->elapsed) - truth;
}

static apr_interval_time_t stamp_error(const fleet_t *f)
{
    apr_time_t truth = NOON + f->elapsed;

    return svl_clock_stamp(f->offset, truth + f->off, BOOT + f->elapsed, apr_time_from_sec(300)) - truth;
}

static void a_clock_that_is_right_is_believed(void **state)
{
    fleet_t f = {.peers = NOON - BOOT};

    (void)state;
    pass(&f, 3 * HOUR);
    assert_int_equal(error_of(&f), 0);
    f.peers = 0;
    pass(&f, 3 * DAY);
    assert_int_equal(error_of(&f), 0);
    assert_int_equal(stamp_error(&f), 0);
}

static void a_clock_that_goes_ahead_prunes_nothing_early(void **state)
{
    fleet_t f = {.peers = NOON - BOOT};

    (void)state;
    pass(&f, HOUR);
    f.off = 2 * DAY;
    pass(&f, HOUR);
    assert_int_equal(error_of(&f), 0);
    f.peers = 0; /* their messages are refused, with this clock */
    pass(&f, DAY - HOUR - STEP);
    assert_int_equal(error_of(&f), 0);
    pass(&f, DAY); /* what came before the jump has been kept for a retention now */
    assert_int_equal(error_of(&f), 2 * DAY);
    f.off = 0;
    look(&f);
    assert_true(error_of(&f) <= 0);
}

static void a_clock_that_goes_back_shortens_nothing(void **state)
{
    fleet_t f = {.peers = NOON - BOOT};

    (void)state;
    pass(&f, HOUR);
    f.off = -2 * DAY;
    look(&f);
    assert_int_equal(error_of(&f), -2 * DAY);
    assert_int_equal(stamp_error(&f), 0); /* so they are not old when the clock is right again */
    f.off = 0;
    look(&f);
    assert_int_equal(error_of(&f), 0);
    assert_int_equal(stamp_error(&f), 0);
}

/* What calls expire by, as the difference to the truth. */
static apr_interval_time_t due_error(const fleet_t *f)
{
    apr_time_t truth = NOON + f->elapsed;

    return svl_clock_retained(f->clock.due, truth + f->off, BOOT + f->elapsed) - truth;
}

static void a_clock_that_goes_ahead_lets_nothing_expire(void **state)
{
    fleet_t fleets[] = {{.peers = NOON - BOOT}, {.peers = 0}, {.newest = NOON - 10 * DAY}}, *f;

    (void)state;
    for (f = fleets; f < fleets + UNIT_COUNT(fleets); ++f) {
        look(f);
        assert_int_equal(due_error(f), 0); /* the server may have been down for ten days: its calls are overdue */
        f->off = HOUR;
        look(f);
        assert_int_equal(due_error(f), 0);
        f->peers = 0;
        pass(f, HOUR);
        assert_int_equal(due_error(f), 0);
        pass(f, DAY);
        assert_int_equal(due_error(f), HOUR);
        f->off = 0;
        look(f);
        assert_int_equal(due_error(f), 0);
    }
}

static void alone_a_clock_is_believed_after_a_retention(void **state)
{
    fleet_t f = {.newest = NOON - 10 * DAY};

    (void)state;
    pass(&f, DAY - STEP);
    assert_int_equal(error_of(&f), -10 * DAY); /* was it off for ten days, or is the clock wrong by ten? */
    assert_int_equal(stamp_error(&f), 0);
    pass(&f, STEP);
    assert_int_equal(error_of(&f), 0);
    f.off = 2 * DAY;
    pass(&f, DAY - STEP);
    assert_int_equal(error_of(&f), 0);
    pass(&f, 2 * STEP);
    assert_int_equal(error_of(&f), 2 * DAY);
}

static void calls_are_stamped_with_the_future_no_longer_than_the_clock_says_it(void **state)
{
    fleet_t f = {.newest = NOON + 365 * DAY}; /* a call's, when the clock was a year ahead */
    int start;

    (void)state;
    for (start = 0; start < 4; ++start) { /* each before a retention is over */
        pass(&f, 20 * HOUR);
        assert_int_equal(stamp_error(&f), 0);
        assert_int_equal(error_of(&f), 0);
        f = (fleet_t){.newest = f.newest, .elapsed = f.elapsed};
    }
    pass(&f, HOUR);
    f.off = -HOUR;
    look(&f);
    assert_int_equal(stamp_error(&f), 0); /* what the log says does not matter */
}

static void an_empty_log_has_nothing_to_lose(void **state)
{
    fleet_t f = {.peers = 0};

    (void)state;
    look(&f);
    assert_int_equal(error_of(&f), 0);
}

static void a_slow_drift_is_followed(void **state)
{
    fleet_t f = {.peers = 0};
    int day;

    (void)state;
    for (day = 0; day < 30; ++day) {
        f.off += apr_time_from_sec(60);
        pass(&f, DAY);
    }
    assert_int_equal(error_of(&f), f.off);
}

static void without_a_look_the_own_clock_counts(void **state)
{
    (void)state;
    assert_int_equal(svl_clock_retained(0, NOON, BOOT), NOON);
    assert_int_equal(svl_clock_stamp(0, NOON, BOOT, 1), NOON);
}

static const struct CMUnitTest promises[] = {
    PROMISE("a clock that is right is believed", a_clock_that_is_right_is_believed),
    PROMISE("a clock that goes ahead prunes nothing early", a_clock_that_goes_ahead_prunes_nothing_early),
    PROMISE("a clock that goes back shortens nothing", a_clock_that_goes_back_shortens_nothing),
    PROMISE("a clock that goes ahead lets nothing expire", a_clock_that_goes_ahead_lets_nothing_expire),
    PROMISE("alone, a clock is believed after a retention", alone_a_clock_is_believed_after_a_retention),
    PROMISE("calls are stamped with the future no longer than the clock says it",
            calls_are_stamped_with_the_future_no_longer_than_the_clock_says_it),
    PROMISE("an empty log has nothing to lose", an_empty_log_has_nothing_to_lose),
    PROMISE("a slow drift is followed", a_slow_drift_is_followed),
    PROMISE("without a look the own clock counts", without_a_look_the_own_clock_counts),
};

UNIT_MAIN(promises)

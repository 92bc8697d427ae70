/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/clock.h
 * @brief What time it is for retention, though this node's clock may jump: what is logged is forgotten neither early when the clock
 * goes ahead, nor when it comes back.  Has no clock of its own.
 *
 * All times are microseconds.  `monotonic` is a clock that nobody sets; an offset is what has to be added to it to have the time since
 * 1970, 0: not known.
 */
#ifndef SVL_CORE_CLOCK_H
#define SVL_CORE_CLOCK_H

#include <apr_time.h>

/** What is remembered from one look to the next; all zero at first. */
typedef struct svl_clock_t {
    apr_int64_t base;  /**< offset to go by while no peer is heard */
    apr_int64_t own;   /**< offset of the own clock, which has been steady … */
    apr_time_t since;  /**< … since this monotonic time; 0: never looked */
    apr_int64_t due;   /**< offset that calls expire by */
} svl_clock_t;

/** What the clocks say, for one look. */
typedef struct svl_clock_look_t {
    apr_time_t now;        /**< own clock */
    apr_time_t monotonic;
    apr_int64_t peers;     /**< latest offset of the signed timestamps of peers that were heard within @a retention; 0: of none */
    apr_time_t newest;     /**< for the first look: when the log's newest entry arrived; 0: it has none */
    apr_interval_time_t retention, tolerance;
} svl_clock_look_t;

/** Looks at the clocks, each second or so.  Peers are believed before the own clock.  Without them the own clock is believed once it
 * has been steady, within the tolerance, for a whole retention; until then it is the time at which the log ended, or what was
 * believed before, and goes on by the monotonic clock; but a log that ends in the future, by more than the tolerance, is not believed.
 *
 * Calls expire by @a due: it is of the peers too, and without them follows the own clock from the first look on, as calls shall
 * expire while a server is down; but not over a jump, before the clock has been steady for a retention.
 * @return the offset that retention goes by */
apr_int64_t svl_clock_turn(svl_clock_t *clock, const svl_clock_look_t *look);

/** @return the earlier of the own clock and @a offset (0: the own clock): what is older than the retention, or overdue, by this is
 * really that old */
apr_time_t svl_clock_retained(apr_int64_t offset, apr_time_t now, apr_time_t monotonic);

/** @return what to stamp calls with: the own clock, unless it is behind @a offset by more than @a tolerance, as when it was set back */
apr_time_t svl_clock_stamp(apr_int64_t offset, apr_time_t now, apr_time_t monotonic, apr_interval_time_t tolerance);

#endif

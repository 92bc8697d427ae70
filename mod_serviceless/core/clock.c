/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"

static int jumped(apr_int64_t from, apr_int64_t to, apr_interval_time_t tolerance)
{
    return to - from > tolerance || from - to > tolerance;
}

static apr_int64_t due(const svl_clock_t *clock, const svl_clock_look_t *look, apr_int64_t own)
{
    if (look->peers) {
        return look->peers;
    }
    return jumped(clock->due, own, look->tolerance) ? clock->due : own;
}

apr_int64_t svl_clock_turn(svl_clock_t *clock, const svl_clock_look_t *look)
{
    apr_int64_t own = look->now - look->monotonic;
    if (!clock->since) {
        /* A log that ends in the future tells of a clock that was ahead, once: to go on by that would keep it ahead for ever. */
        clock->base = look->newest && look->newest - look->now <= look->tolerance ? look->newest - look->monotonic : own;
        clock->own = clock->due = own;
        clock->since = look->monotonic;
    }
    else if (jumped(clock->own, own, look->tolerance)) {
        clock->own = own;
        clock->since = look->monotonic;
    }
    else if (look->monotonic - clock->since >= look->retention) {
        clock->base = clock->own = clock->due = own; /* it may drift, slowly */
    }
    clock->due = due(clock, look, own);
    return look->peers ? look->peers : clock->base;
}

apr_time_t svl_clock_retained(apr_int64_t offset, apr_time_t now, apr_time_t monotonic)
{
    return offset && monotonic + offset < now ? monotonic + offset : now;
}

apr_time_t svl_clock_stamp(apr_int64_t offset, apr_time_t now, apr_time_t monotonic, apr_interval_time_t tolerance)
{
    return offset && monotonic + offset - now > tolerance ? monotonic + offset : now;
}

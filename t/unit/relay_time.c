/* SPDX-License-Identifier: Apache-2.0 */
/* Whole fleets in one process: how long the last living node waits for a call while four of ten are dead and not known to be. */
#include <stdio.h>

#include "relay_fleet.c"

#define CONNECT apr_time_from_msec(300)
#define NOISE apr_time_from_msec(250) /* of ten nodes on one busy machine */

typedef enum { REFUSING, BLACKHOLED, HUNG } death_e;

/* Which nodes are dead: bit 1 is b.  The first four; scattered, the last one among them; the heads of the three slices of a tree. */
static const unsigned int deaths[] = {0x01e, 0x2a2, 0x092 | 0x100};

static fleet_t *fleet_with_dead(apr_pool_t *p, unsigned int dead, death_e death, int simultaneous)
{
    fleet_t *fleet = fleet_new(p, 10);
    fleet->connect_timeout = CONNECT;
    fleet->simultaneous = simultaneous;
    fleet->http.connect_timeout = CONNECT;
    fleet->http.timeout = death == HUNG ? CONNECT : PATIENCE; /* so the bound is the same */
    for (apr_uint32_t i = 0; i < fleet->count; i++) {
        node_t *node = &fleet->nodes[i];
        if (!(dead >> i & 1)) {
            node->passes_on = 1;
        }
        else if (death == HUNG) {
            node->behaviour = HANGING;
        }
        else {
            node->url = death == REFUSING ? refusing_url(fleet->outside) : blackholed_url(fleet->outside);
        }
    }
    for (apr_uint32_t i = 0; i < fleet->count; i++) {
        if (fleet->nodes[i].passes_on) {
            node_begin(&fleet->nodes[i]);
        }
    }
    return fleet;
}

static int all_hold(fleet_t *fleet, const char *id)
{
    for (apr_uint32_t i = 0; i < fleet->count; i++) {
        if (fleet->nodes[i].passes_on && !node_holds(&fleet->nodes[i], id)) {
            return 0;
        }
    }
    return 1;
}

static int nothing_left(fleet_t *fleet)
{
    for (apr_uint32_t i = 0; i < fleet->count; i++) {
        if (fleet->nodes[i].passes_on && svl_relay_backlog(fleet->nodes[i].relay)) {
            return 0;
        }
    }
    return 1;
}

/* @return how long the last living node waited */
static apr_interval_time_t spread(apr_pool_t *p, unsigned int dead, death_e death, apr_uint32_t arity, int simultaneous)
{
    apr_pool_t *own;
    apr_pool_create(&own, p);
    fleet_t *fleet = fleet_with_dead(own, dead, death, simultaneous);
    apr_time_t began = apr_time_now();
    node_call(&fleet->nodes[0], "call", arity);
    AWAIT(all_hold(fleet, "call"));
    apr_interval_time_t took = apr_time_now() - began;
    AWAIT(nothing_left(fleet));
    for (apr_uint32_t i = 1; i < fleet->count; i++) { /* once each: nobody relays twice */
        if (fleet->nodes[i].passes_on) {
            assert_int_equal(node_heard(&fleet->nodes[i], "\"call\""), 1);
        }
    }
    apr_pool_destroy(own);
    return took;
}

static void within(apr_pool_t *p, death_e death, apr_uint32_t arity, int simultaneous, apr_interval_time_t bound)
{
    apr_interval_time_t worst = 0;
    for (size_t i = 0; i < UNIT_COUNT(deaths); i++) {
        apr_interval_time_t took = spread(p, deaths[i], death, arity, simultaneous);
        worst = took > worst ? took : worst;
    }
    print_message("arity %u: %d ms of %d\n", arity, (int)apr_time_as_msec(worst), (int)apr_time_as_msec(bound));
    assert_true(worst < bound);
}

static const apr_uint32_t arities[] = {1, 3, SVL_ROUTE_BROADCAST};

static void refused(void **state)
{
    for (size_t i = 0; i < UNIT_COUNT(arities); i++) {
        within(*state, REFUSING, arities[i], 10, apr_time_from_msec(200) + NOISE);
    }
}

static void blackholed(void **state)
{
    for (size_t i = 0; i < UNIT_COUNT(arities); i++) {
        within(*state, BLACKHOLED, arities[i], 10, 2 * CONNECT + NOISE);
    }
}

static void hung(void **state)
{
    for (size_t i = 0; i < UNIT_COUNT(arities); i++) {
        within(*state, HUNG, arities[i], 10, 2 * CONNECT + NOISE);
    }
}

static void one_worker(void **state)
{
    for (size_t i = 0; i < UNIT_COUNT(arities); i++) {
        within(*state, BLACKHOLED, arities[i], 1, 2 * CONNECT + NOISE);
    }
}

/* Calls that come while the first one waits for its timeout wait no longer than it. */
static void calls_that_follow_wait_no_longer(void **state)
{
    fleet_t *fleet = fleet_with_dead(*state, 0x01e, BLACKHOLED, 10);
    apr_time_t began = apr_time_now(), last = 0;
    int sent = 0;

    while (apr_time_now() - began < CONNECT * 3) {
        node_call(&fleet->nodes[0], apr_psprintf(fleet->p, "call-%03d", sent++), 1);
        last = apr_time_now();
        for (int i = 0; i < 10; i++) {
            unit_breathe();
        }
        if (last - began > 2 * CONNECT + NOISE) { /* by now the dead are known */
            assert_true(all_hold(fleet, "call-000"));
        }
    }
    AWAIT(all_hold(fleet, apr_psprintf(fleet->p, "call-%03d", sent - 1)));
    assert_true(apr_time_now() - last < NOISE * 2);
    for (int i = 0; i < sent; i++) {
        assert_true(all_hold(fleet, apr_psprintf(fleet->p, "call-%03d", i)));
    }
}

static const struct CMUnitTest promises[] = {
    PROMISE("four of ten refuse: 200 ms", refused),
    PROMISE("four of ten are blackholed: two connect timeouts", blackholed),
    PROMISE("four of ten hang: the timeout and one connect timeout", hung),
    PROMISE("four of ten are blackholed and one request at a time: two connect timeouts", one_worker),
    PROMISE("calls that follow wait no longer than the first one", calls_that_follow_wait_no_longer),
};

UNIT_MAIN(promises)

/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/core/route.h"

#include "unit.h"

#define FLEET_MAX 64

static const apr_uint32_t arities[] = {SVL_ROUTE_BROADCAST, 1, 2, 3, 5, 10, SVL_ROUTE_ARITY_MAX};

static void slices_cover_every_node_exactly_once_in_order(void **state)
{
    (void)state;
    for (apr_uint32_t length = 0; length <= FLEET_MAX; length++) {
        for (apr_uint32_t arity = 0; arity <= 10; arity++) {
            apr_uint32_t slices = svl_route_slices(length, arity);
            apr_uint32_t next = 0;

            for (apr_uint32_t i = 0; i < slices; i++) {
                svl_route_slice_t slice = svl_route_slice(length, arity, i);

                assert_int_equal(slice.first, next);
                assert_true(slice.count > 0);
                next += slice.count;
            }
            assert_int_equal(next, length);
        }
    }
}

static void there_are_as_many_slices_as_the_arity_says_or_as_nodes(void **state)
{
    (void)state;
    assert_int_equal(svl_route_slices(0, 0), 0);
    assert_int_equal(svl_route_slices(0, 5), 0);
    assert_int_equal(svl_route_slices(9, SVL_ROUTE_BROADCAST), 9);
    assert_int_equal(svl_route_slices(9, 1), 1);
    assert_int_equal(svl_route_slices(9, 3), 3);
    assert_int_equal(svl_route_slices(2, 3), 2);
    assert_int_equal(svl_route_slices(UINT32_MAX, UINT32_MAX), UINT32_MAX);
}

static void slices_differ_by_one_at_most_and_longer_ones_come_first(void **state)
{
    (void)state;
    for (apr_uint32_t length = 1; length <= FLEET_MAX; length++) {
        for (apr_uint32_t arity = 0; arity <= 10; arity++) {
            apr_uint32_t slices = svl_route_slices(length, arity);
            apr_uint32_t first = svl_route_slice(length, arity, 0).count;
            apr_uint32_t last = svl_route_slice(length, arity, slices - 1).count;

            assert_true(first - last <= 1);
            for (apr_uint32_t i = 1; i < slices; i++) {
                assert_true(svl_route_slice(length, arity, i).count <= svl_route_slice(length, arity, i - 1).count);
            }
        }
    }
}

static void beyond_the_last_slice_there_is_an_empty_one(void **state)
{
    (void)state;
    assert_int_equal(svl_route_slice(0, 3, 0).count, 0);
    assert_int_equal(svl_route_slice(7, 3, 3).count, 0);
    assert_int_equal(svl_route_slice(7, 3, 3).first, 7);
    assert_int_equal(svl_route_slice(7, 0, UINT32_MAX).count, 0);
}

static void a_ring_starts_after_the_node_and_leaves_it_out(void **state)
{
    static const apr_uint32_t members[] = {1, 3, 4, 8};
    static const struct {
        apr_uint32_t self;
        apr_uint32_t count;
        apr_uint32_t nodes[4];
    } rings[] = {
        {0, 4, {1, 3, 4, 8}}, {1, 3, {3, 4, 8}},    {2, 4, {3, 4, 8, 1}}, {3, 3, {4, 8, 1}},
        {4, 3, {8, 1, 3}},    {5, 4, {8, 1, 3, 4}}, {8, 3, {1, 3, 4}},    {9, 4, {1, 3, 4, 8}},
    };
    apr_uint32_t nodes[4];

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(rings); i++) {
        assert_int_equal(svl_route_ring(nodes, members, 4, rings[i].self), rings[i].count);
        assert_memory_equal(nodes, rings[i].nodes, rings[i].count * sizeof(nodes[0]));
    }
    assert_int_equal(svl_route_ring(nodes, members, 0, 1), 0);
    assert_int_equal(svl_route_ring(nodes, members, 1, 1), 0);
}

typedef struct fleet_t {
    apr_uint32_t count;
    unsigned char alive[FLEET_MAX];
    apr_uint32_t reached[FLEET_MAX];
    apr_uint32_t hops;
} fleet_t;

static int is_living(void *baton, apr_uint32_t node)
{
    return ((fleet_t *)baton)->alive[node];
}

/* What a node does with a route: first living node of each slice, the rest of the slice with it. */
static void relay(fleet_t *fleet, const apr_uint32_t *route, apr_uint32_t length, apr_uint32_t arity, apr_uint32_t hop)
{
    for (apr_uint32_t i = 0; i < svl_route_slices(length, arity); i++) {
        svl_route_slice_t slice = svl_route_slice(length, arity, i);
        const apr_uint32_t *nodes = route + slice.first;
        apr_uint32_t at = svl_route_first_living(nodes, slice.count, is_living, fleet);

        if (at < slice.count) {
            fleet->reached[nodes[at]]++;
            fleet->hops = hop > fleet->hops ? hop : fleet->hops;
            relay(fleet, nodes + at + 1, slice.count - at - 1, arity, hop + 1);
        }
    }
}

static void deliver(fleet_t *fleet, apr_uint32_t origin, apr_uint32_t arity)
{
    apr_uint32_t all[FLEET_MAX];
    apr_uint32_t route[FLEET_MAX];

    for (apr_uint32_t i = 0; i < fleet->count; i++) {
        all[i] = i;
    }
    memset(fleet->reached, 0, sizeof(fleet->reached));
    fleet->hops = 0;
    relay(fleet, route, svl_route_ring(route, all, fleet->count, origin), arity, 1);
}

static void every_living_node_is_reached_exactly_once_from_every_origin(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        fleet_t fleet = {.count = 1 + (apr_uint32_t)unit_random(FLEET_MAX)};
        uint64_t dead = unit_random(100);

        for (apr_uint32_t i = 0; i < fleet.count; i++) {
            fleet.alive[i] = unit_random(100) >= dead;
        }
        for (apr_uint32_t origin = 0; origin < fleet.count; origin++) {
            for (size_t a = 0; a < UNIT_COUNT(arities); a++) {
                deliver(&fleet, origin, arities[a]);
                for (apr_uint32_t i = 0; i < fleet.count; i++) {
                    assert_int_equal(fleet.reached[i], i != origin && fleet.alive[i]);
                }
            }
        }
    }
}

static void a_broadcast_takes_one_hop_a_chain_one_a_node_a_tree_few(void **state)
{
    fleet_t fleet = {.count = FLEET_MAX};

    (void)state;
    memset(fleet.alive, 1, sizeof(fleet.alive));
    deliver(&fleet, 5, SVL_ROUTE_BROADCAST);
    assert_int_equal(fleet.hops, 1);
    deliver(&fleet, 5, 1);
    assert_int_equal(fleet.hops, FLEET_MAX - 1);
    deliver(&fleet, 5, 2);
    assert_int_equal(fleet.hops, 6); /* 2 + 4 + 8 + 16 + 32 is one short of 63 */
    deliver(&fleet, 5, 3);
    assert_true(fleet.hops <= 4);
}

static int count_asked(void *baton, apr_uint32_t node)
{
    ++*(int *)baton;
    return node == 7;
}

static void the_first_living_node_is_found_without_asking_further(void **state)
{
    static const apr_uint32_t nodes[] = {9, 8, 7, 6};
    int asked = 0;

    (void)state;
    assert_int_equal(svl_route_first_living(nodes, 4, count_asked, &asked), 2);
    assert_int_equal(asked, 3);
    assert_int_equal(svl_route_first_living(nodes, 2, count_asked, &asked), 2);
    assert_int_equal(svl_route_first_living(NULL, 0, count_asked, &asked), 0);
}

static void modes_are_read_by_their_names_and_no_others(void **state)
{
    /* clang-format off */
    static const char *const wrong[] = {
        "", "Bounce", "bounce ", " bounce", "chain", "tree:", "tree:0", "tree:1", "tree:-2", "tree:+2", "tree: 2", "tree:2 ",
        "tree:02", "tree:2x", "tree:x", "tree:10001", "tree:99999999999999999999", "tree3", "broadcast:2", "bounce:1", "TREE:2",
        "tree:0x2", "tree:2.0", "tree:1e1", "tree:4294967298",
    };
    /* clang-format on */
    apr_uint32_t arity = 77;

    (void)state;
    assert_true(svl_route_parse_mode("bounce", &arity) && arity == 1);
    assert_true(svl_route_parse_mode("broadcast", &arity) && arity == SVL_ROUTE_BROADCAST);
    assert_true(svl_route_parse_mode("tree", &arity) && arity == 3);
    assert_true(svl_route_parse_mode("tree:2", &arity) && arity == 2);
    assert_true(svl_route_parse_mode("tree:10000", &arity) && arity == SVL_ROUTE_ARITY_MAX);
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        assert_false(svl_route_parse_mode(wrong[i], &arity));
    }
    assert_false(svl_route_parse_mode(NULL, &arity));
    assert_int_equal(arity, SVL_ROUTE_ARITY_MAX); /* a refusal changes nothing */
}

static void the_name_of_a_mode_is_read_as_that_mode(void **state)
{
    apr_uint32_t again;

    for (apr_uint32_t arity = 0; arity <= SVL_ROUTE_ARITY_MAX; arity += 1 + arity / 7) {
        assert_true(svl_route_parse_mode(svl_route_mode_name(arity, *state), &again));
        assert_int_equal(again, arity);
    }
    assert_string_equal(svl_route_mode_name(0, *state), "broadcast");
    assert_string_equal(svl_route_mode_name(1, *state), "bounce");
    assert_string_equal(svl_route_mode_name(3, *state), "tree:3");
    assert_string_equal(svl_route_mode_name(5, *state), "tree:5");
}

static const struct CMUnitTest promises[] = {
    PROMISE("slices cover every node exactly once, in order", slices_cover_every_node_exactly_once_in_order),
    PROMISE("there are as many slices as the arity says, or as nodes", there_are_as_many_slices_as_the_arity_says_or_as_nodes),
    PROMISE("slices differ by one at most, and longer ones come first",
            slices_differ_by_one_at_most_and_longer_ones_come_first),
    PROMISE("beyond the last slice there is an empty one", beyond_the_last_slice_there_is_an_empty_one),
    PROMISE("a ring starts after the node and leaves it out", a_ring_starts_after_the_node_and_leaves_it_out),
    PROMISE("every living node is reached exactly once, from every origin, in every mode, whoever is dead",
            every_living_node_is_reached_exactly_once_from_every_origin),
    PROMISE("a broadcast takes one hop, a chain one a node, a tree few",
            a_broadcast_takes_one_hop_a_chain_one_a_node_a_tree_few),
    PROMISE("the first living node is found without asking further", the_first_living_node_is_found_without_asking_further),
    PROMISE("modes are read by their names and no others", modes_are_read_by_their_names_and_no_others),
    PROMISE("the name of a mode is read as that mode", the_name_of_a_mode_is_read_as_that_mode),
};

UNIT_MAIN(promises)

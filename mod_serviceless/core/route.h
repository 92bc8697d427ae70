/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/route.h
 * @brief Which nodes a call still has to reach, and through whom: ring order, splitting by arity, modes.
 *
 * A route is an array of node indexes into the fleet's list.  Chain, star and tree are one mechanism: a node splits its route
 * into `arity` slices and hands the first living node of each slice the rest of that slice.
 */
#ifndef SVL_CORE_ROUTE_H
#define SVL_CORE_ROUTE_H

#include <apr_pools.h>

#define SVL_ROUTE_BROADCAST 0    /**< arity of broadcast: as many slices as nodes */
#define SVL_ROUTE_ARITY_MAX 10000
#define SVL_ROUTE_NODES_MAX 10000 /**< nodes of a fleet; THREATS 16: a longer route is refused unread */

/** An immutable list of nodes.  Compared by pointer when calls are grouped into messages. */
typedef struct svl_route_t {
    apr_uint32_t count;
    const apr_uint32_t *nodes; /**< indexes into the fleet's list */
} svl_route_t;

/** A part of a route: nodes[first] … nodes[first + count - 1]. */
typedef struct svl_route_slice_t {
    apr_uint32_t first;
    apr_uint32_t count;
} svl_route_slice_t;

/** The nodes of a set in ring order, starting after @a self and without it.
 * @param members indexes, ascending (the fleet's order); @a self need not be among them
 * @param nodes room for @a count indexes  @return how many were written */
apr_uint32_t svl_route_ring(apr_uint32_t *nodes, const apr_uint32_t *members, apr_uint32_t count, apr_uint32_t self);

/** @return into how many slices a route of @a length is split: 0 for an empty one, else 1 … length */
apr_uint32_t svl_route_slices(apr_uint32_t length, apr_uint32_t arity);

/** @return slice @a i of svl_route_slices(length, arity): contiguous, in order, sizes within one, longer ones first */
svl_route_slice_t svl_route_slice(apr_uint32_t length, apr_uint32_t arity, apr_uint32_t i);

/** @return the position in @a nodes of the first node that @a living answers nonzero for, or @a count */
apr_uint32_t svl_route_first_living(const apr_uint32_t *nodes, apr_uint32_t count,
                                    int (*living)(void *baton, apr_uint32_t node), void *baton);

/** Parses `bounce`, `broadcast`, `tree` (tree:3) and `tree:K`, K = 2 … SVL_ROUTE_ARITY_MAX.
 * @return nonzero and the arity, or 0 */
int svl_route_parse_mode(const char *mode, apr_uint32_t *arity);

/** @return the mode's name from the table that parses it: "bounce", "broadcast", "tree:5" */
const char *svl_route_mode_name(apr_uint32_t arity, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "route.h"

#include <string.h>

#include <apr_strings.h>

#define ARITY_DIGITS 5 /* of SVL_ROUTE_ARITY_MAX */

static const char tree_prefix[] = "tree:";

static const struct {
    const char *name;
    apr_uint32_t arity;
} modes[] = {
    {"bounce", 1},
    {"broadcast", SVL_ROUTE_BROADCAST},
    {"tree", 3},
};

apr_uint32_t svl_route_ring(apr_uint32_t *nodes, const apr_uint32_t *members, apr_uint32_t count, apr_uint32_t self)
{
    apr_uint32_t written = 0;
    apr_uint32_t after = 0;

    while (after < count && members[after] <= self) {
        after++;
    }
    for (apr_uint32_t i = 0; i < count; i++) {
        apr_uint32_t node = members[i < count - after ? after + i : i - (count - after)];

        if (node != self) {
            nodes[written++] = node;
        }
    }
    return written;
}

apr_uint32_t svl_route_slices(apr_uint32_t length, apr_uint32_t arity)
{
    return arity == SVL_ROUTE_BROADCAST || arity > length ? length : arity;
}

svl_route_slice_t svl_route_slice(apr_uint32_t length, apr_uint32_t arity, apr_uint32_t i)
{
    apr_uint32_t slices = svl_route_slices(length, arity);
    svl_route_slice_t slice = {length, 0};
    apr_uint32_t longer;

    if (i < slices) {
        longer = length % slices;
        slice.count = length / slices + (i < longer);
        slice.first = i * (length / slices) + (i < longer ? i : longer);
    }
    return slice;
}

apr_uint32_t svl_route_first_living(const apr_uint32_t *nodes, apr_uint32_t count,
                                    int (*living)(void *baton, apr_uint32_t node), void *baton)
{
    apr_uint32_t i = 0;

    while (i < count && !living(baton, nodes[i])) {
        i++;
    }
    return i;
}

/* @return nonzero and the number, or 0 for anything but 2 … SVL_ROUTE_ARITY_MAX in plain digits */
static int parse_arity(const char *digits, apr_uint32_t *arity)
{
    apr_size_t length = strlen(digits);
    apr_int64_t number;

    if (length == 0 || length > ARITY_DIGITS || strspn(digits, "0123456789") != length || digits[0] == '0') {
        return 0;
    }
    number = apr_atoi64(digits);
    if (number < 2 || number > SVL_ROUTE_ARITY_MAX) {
        return 0;
    }
    *arity = (apr_uint32_t)number;
    return 1;
}

int svl_route_parse_mode(const char *mode, apr_uint32_t *arity)
{
    for (apr_size_t i = 0; mode && i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(mode, modes[i].name) == 0) {
            *arity = modes[i].arity;
            return 1;
        }
    }
    if (!mode || strncmp(mode, tree_prefix, strlen(tree_prefix)) != 0) {
        return 0;
    }
    return parse_arity(mode + strlen(tree_prefix), arity);
}

const char *svl_route_mode_name(apr_uint32_t arity, apr_pool_t *p)
{
    for (apr_size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        /* "tree" has a number of its own, which says more */
        if (modes[i].arity == arity && arity < 2) {
            return modes[i].name;
        }
    }
    return apr_psprintf(p, "%s%u", tree_prefix, arity);
}

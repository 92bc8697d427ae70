/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The place is one word, so that a child that dies cannot leave half of it: milliseconds since 1970 until which it is taken,
 * and in the low 16 bits the owner's index plus one.  0: free.
 */
#include "sync_private.h"

#define OWNER_BITS 16 /* SVL_ROUTE_NODES_MAX is 10000 */
#define OWNER_MASK ((1 << OWNER_BITS) - 1)

/* What lies further ahead than a lease was written before the clock was set back. */
static int is_taken(apr_uint64_t word, apr_uint32_t owner, apr_time_t now)
{
    apr_int64_t left = (apr_int64_t)(word >> OWNER_BITS) - apr_time_as_msec(now);
    return word && (word & OWNER_MASK) != owner + 1 && left > 0 && left <= apr_time_as_msec(SVL_SYNC_LEASE);
}

int svl_sync_transfer_take(svl_shared_node_t *shared, apr_uint32_t owner, apr_time_t now)
{
    apr_uint64_t word = SVL_READ(shared->transfer);
    apr_uint64_t mine = (apr_uint64_t)apr_time_as_msec(now + SVL_SYNC_LEASE) << OWNER_BITS | (owner + 1);
    while (!is_taken(word, owner, now)) {
        if (__atomic_compare_exchange_n(&shared->transfer, &word, mine, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            return 1;
        }
    }
    return 0;
}

void svl_sync_transfer_release(svl_shared_node_t *shared, apr_uint32_t owner)
{
    apr_uint64_t word = SVL_READ(shared->transfer);
    if ((word & OWNER_MASK) == owner + 1) {
        __atomic_compare_exchange_n(&shared->transfer, &word, 0, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
}

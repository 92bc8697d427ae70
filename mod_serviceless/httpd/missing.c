/* SPDX-License-Identifier: Apache-2.0 */
#include "missing.h"

#include <stdlib.h>

#include <apr_strings.h>

/* Both in one word, so that nobody reads the one with the time of another: 32 bits of fingerprint, 32 bits of seconds, until 2106. */
void svl_missing_note(const svl_node_t *node, const char *fingerprint, apr_time_t now)
{
    apr_uint64_t word = (apr_uint64_t)strtoul(fingerprint, NULL, 16) << 32 | (apr_uint32_t)apr_time_sec(now);
    __atomic_store_n(&node->shared->missing, word, __ATOMIC_RELAXED);
}

apr_time_t svl_missing_read(const svl_node_t *node, char fingerprint[SVL_RING_FINGERPRINT + 1])
{
    apr_uint64_t word = SVL_READ(node->shared->missing);
    apr_snprintf(fingerprint, SVL_RING_FINGERPRINT + 1, "%08x", (unsigned int)(word >> 32));
    return word && svl_ring_lacks(node->ring, fingerprint) ? apr_time_from_sec((apr_uint32_t)word) : 0;
}

void svl_missing_forget(const svl_node_t *node)
{
    char fingerprint[SVL_RING_FINGERPRINT + 1];
    if (!svl_missing_read(node, fingerprint)) {
        __atomic_store_n(&node->shared->missing, 0, __ATOMIC_RELAXED);
    }
}

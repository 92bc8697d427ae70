/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/missing.h
 * @brief The key that a node lacks: what the sender of a refused message says that its key's fingerprint is.
 *
 * Anybody can say so.  All that it changes is one slot a node, in shared memory: 8 hex digits and a time, shown on the status page.
 */
#ifndef SVL_HTTPD_MISSING_H
#define SVL_HTTPD_MISSING_H

#include "shared.h"

/** @param fingerprint one that the node's ring lacks (svl_ring_lacks) */
void svl_missing_note(const svl_node_t *node, const char *fingerprint, apr_time_t now);

/** @param fingerprint receives the last one that was noted
 * @return when, in whole seconds; 0: none was, or the ring has the key by now */
apr_time_t svl_missing_read(const svl_node_t *node, char fingerprint[SVL_RING_FINGERPRINT + 1]);

/** post_config: forgets a key that is there now, so that it is not told of when it is removed one day. */
void svl_missing_forget(const svl_node_t *node);

#endif

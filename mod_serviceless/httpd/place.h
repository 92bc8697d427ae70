/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/place.h
 * @brief The child processes of the server, and how far each is with what every child is to run: in shared memory (shared.h).
 *
 *   an entry is committed ──> svl_place_publish: `every` of its node grows, then `news`; idle children are woken
 *   a child, before its next request and at least every second: `news` has grown ──> it runs what is new (children.c)
 *
 * A child claims a place before it opens a log, and is known by its pid there.  The parent clears the place when the child has ended.
 */
#ifndef SVL_HTTPD_PLACE_H
#define SVL_HTTPD_PLACE_H

#include "shared.h"

/** child_init: claims a place.  Without a free one the child takes part all the same, but nobody waits for it (logged). */
void svl_place_claim(void);

/** @return this child's; NULL: there was none */
svl_shared_place_t *svl_place_own(void);

/** @return this child's cursor of a node; of no use to others where there is no place */
svl_shared_cursor_t *svl_place_cursor(const svl_node_t *node);

/** @return how many children are from before a graceful restart: they work on with the configuration of then, its keys included */
apr_uint32_t svl_place_count_old(void);

/** From now on nobody waits for this child. */
void svl_place_leave(void);

/** The child_status hook's work, in the parent: the place of a child that has ended is free.  Where it ended while it ran a function,
 * the error log names that and the call. */
void svl_place_ended(const server_rec *s, pid_t pid);

/** Counts a request of this child that waits for outcomes of other nodes in, or (-1) out.  @return how many of all children wait */
apr_uint32_t svl_place_wait(int change);

/** Tells all children that the entry at @a position, which is committed and listed by svl_store_every, is to be run. */
void svl_place_publish(const svl_node_t *node, apr_uint64_t position);

/** A child opened the log, and found entries up to @a last: where it is the first one, they are older than every child. */
void svl_place_looked(const svl_node_t *node, apr_uint64_t last);

/** @param all receives how many children live that are older than the entry and do not leave
 * @return in how many of them it has run */
apr_uint32_t svl_place_count(const svl_node_t *node, apr_uint64_t position, apr_uint32_t *all);

#endif

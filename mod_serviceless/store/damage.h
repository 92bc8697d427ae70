/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/damage.h
 * @brief What happens when a log turns out to be damaged while processes use it: all of them leave it alone, it answers
 * SVL_EDAMAGED, and the next svl_store_prepare sets it aside.
 *
 * A mark beside the log tells the other processes, those to come included: a page that ended one process would end the next.
 */
#ifndef SVL_STORE_DAMAGE_H
#define SVL_STORE_DAMAGE_H

#include "tables.h"

#define SVL_DAMAGE_MARKER "damaged" /**< empty file */

/** @return nonzero when the log of @a directory was found damaged in use, and not set aside since */
int svl_damage_is_marked(const char *directory);
apr_status_t svl_damage_mark(const char *directory);
apr_status_t svl_damage_unmark(const char *directory);

/** Looks at the status of what was done with an open log: SVL_EDAMAGED closes it to this process, marks it, and is logged, once.
 * @return @a status */
apr_status_t svl_damage_note(svl_store_t *store, apr_status_t status);

/** @return nonzero when the log is not to be touched any more */
static inline int svl_damage_known(const svl_store_t *store)
{
    return __atomic_load_n(&store->damaged, __ATOMIC_RELAXED);
}

/** Learns what another process found.  To be called each second. */
void svl_damage_look(svl_store_t *store);

/** Marks the log instead of its process's end, as far as a signal can say that its file is the cause: a part of the map that has no
 * file behind it, or that the disk cannot read (SIGBUS).  The process ends all the same, but the next one leaves the log alone.
 * For a log that is in use; to be called each time its map was made or moved, and ended before the map is gone. */
void svl_damage_watch(svl_store_t *store);
void svl_damage_unwatch(svl_store_t *store);

#endif

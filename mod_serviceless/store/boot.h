/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/boot.h
 * @brief The mark beside a log without fsync: under which boot of the operating system it is used.
 *
 * When the operating system goes down, such a log may be torn.  The mark is a file of its own, synced before the log is first
 * written without fsync, because nothing in a torn file can be believed.
 */
#ifndef SVL_STORE_BOOT_H
#define SVL_STORE_BOOT_H

#include "records.h"

#define SVL_BOOT_MARKER "boot" /**< file that holds the boot id and a newline */

/** Reads the kernel's boot id: all zeros where it has none, so that no change is ever seen.  @return a failure: zeros, though it may have one */
apr_status_t svl_boot_read(char boot[SVL_RECORDS_BOOT]);

/** @return nonzero when there is a mark; when there is one of another boot (or one that cannot be read) */
int svl_boot_is_marked(const char *directory);
int svl_boot_passed(const char *directory);

/** Writes the mark of this boot, unless it is there, and removes it.  Durable when they return. */
apr_status_t svl_boot_mark(const char *directory);
apr_status_t svl_boot_unmark(const char *directory);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/announce.h
 * @brief The list of what every child process is to run, beyond what accepting puts there.
 */
#ifndef SVL_STORE_ANNOUNCE_H
#define SVL_STORE_ANNOUNCE_H

#include "change.h"

/** Takes an entry off the list, and its announcement, if there are any. */
apr_status_t svl_announce_drop(svl_change_t *change, apr_uint64_t entry);

#endif

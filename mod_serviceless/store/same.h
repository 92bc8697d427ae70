/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/same.h
 * @brief Whether what comes is what is here already.
 */
#ifndef SVL_STORE_SAME_H
#define SVL_STORE_SAME_H

#include "change.h"

/** @param equal nonzero: the line at @a position is the same call as @a entry, which has its id */
apr_status_t svl_same_content(svl_change_t *change, apr_uint64_t position, const svl_store_entry_t *entry, int *equal);

/** A duplicate comes with a route: says whether it is the first one, and notes that there was one (unless there is no room to). */
apr_status_t svl_same_unrouted(svl_change_t *change, const svl_change_stream_t *stream, svl_store_entry_t *entry);

/** The entry's number is covered: says by verdict and position whose it is (DUPLICATE, STREAM_CONFLICT, COVERED). */
apr_status_t svl_same_number(svl_change_t *change, const svl_change_stream_t *stream, svl_store_entry_t *entry);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/accept.h
 * @brief What accepting writes, whether it is committed or kept for the moment (recent.h).
 */
#ifndef SVL_STORE_ACCEPT_H
#define SVL_STORE_ACCEPT_H

#include "change.h"

/** Writes what the table calls has of an entry: its line, or for a refused one its id.
 * @param room NULL: only counts  @return its size */
apr_size_t svl_accept_record(unsigned char *room, const svl_store_entry_t *entry, apr_uint32_t stream, unsigned char flags,
                             apr_time_t now);

/** The number will be held, so the stream is not pruned up to it any more. */
apr_status_t svl_accept_cover(svl_change_t *change, svl_change_stream_t *stream, apr_uint64_t seq, apr_int64_t issued,
                              apr_time_t now);

#endif

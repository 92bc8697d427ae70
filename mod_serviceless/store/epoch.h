/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/epoch.h
 * @brief A number is given once.  When it turns out that it was given twice (the log was rolled back, or the machine cloned, under a
 * running server), the node begins a new epoch, and logs its held calls of the old one there anew.
 *
 * A call that is logged anew keeps its position, and with it id, outcome and work; its line gets another epoch and number.  Its
 * old number is not covered any more, so that whatever peers hold there comes from them.
 */
#ifndef SVL_STORE_EPOCH_H
#define SVL_STORE_EPOCH_H

#include "change.h"

/** @return nonzero for the current epoch's text */
int svl_epoch_is_current(const svl_change_t *change, const char *epoch);

/** The next own number lies above all that are known, also above those that came back from peers. */
apr_uint64_t svl_epoch_next_number(const svl_vector_numbers_t *numbers);

/** Begins a new epoch, and notes that the calls of the old one are to be logged anew (svl_store_log_anew).
 * @param why words for the log line that is written once it is committed; of change->pool */
apr_status_t svl_epoch_supersede(svl_change_t *change, const char *why);
/** Logs that it was, once the transaction is committed. */
void svl_epoch_tell(const svl_change_t *change);

/** Gives the call at @a position a number of the current epoch.  What is no line of this node's own is left as it is. */
apr_status_t svl_epoch_restamp(svl_change_t *change, apr_uint64_t position);

/** The same line with another stamp.
 * @param line of @a epoch and @a seq  @param fresh the new number, of the current epoch
 * @return NULL when that is not where it is expected */
const char *svl_epoch_restamped(const svl_change_t *change, const char *line, apr_size_t length, const char *epoch,
                                apr_uint64_t seq, apr_uint64_t fresh, apr_size_t *fresh_length);

#endif

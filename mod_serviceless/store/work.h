/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/work.h
 * @brief Work records: which runs of a batch have not ended, and whether its route is still to be relayed.
 *
 * A record is deleted when both are done.  One batch makes several records when it is larger than SVL_STORE_BATCH_MAX; all
 * but the first are marked SVL_RECORDS_WORK_CONTINUES, so that the route is closed in all of them at once.  While it is open
 * none of them is deleted, so they are always found together.
 */
#ifndef SVL_STORE_WORK_H
#define SVL_STORE_WORK_H

#include "change.h"

/** Makes the records of a batch, from @a states: one svl_records_run_e for each of the appended entries.  @param owner whose they are */
apr_status_t svl_work_add(svl_change_t *change, const svl_store_batch_t *batch, const unsigned char *states, apr_uint64_t owner,
                          apr_time_t now);

/** Records outcomes, the first one of each position, and takes the runs off. */
apr_status_t svl_work_finish(svl_change_t *change, const svl_store_outcome_t *outcomes, apr_uint32_t count);

/** Writes a record.  @param flags MDB_APPEND or 0 */
apr_status_t svl_work_put(svl_change_t *change, apr_uint64_t first, const svl_records_work_t *work, unsigned int flags);

/** Closes the route of the batch that holds @a position; that it is closed already is no failure. */
apr_status_t svl_work_relayed(svl_change_t *change, apr_uint64_t position);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/fresh.h
 * @brief Work of the calls that a transaction appends from what was kept (recent.h), in memory: most of it is done by then, and the same
 * transaction hears of it, so that no record has to be made and deleted again.
 */
#ifndef SVL_STORE_FRESH_H
#define SVL_STORE_FRESH_H

#include "change.h"

/** Of one call. */
typedef struct svl_fresh_t {
    svl_records_work_t work; /**< without states; count is 0 where there is none, else 1 */
    unsigned char state;
} svl_fresh_t;

/** Notes the work of one call.  Positions come in order.  @param work as for svl_work_put; its route stays until svl_fresh_write */
void svl_fresh_add(svl_change_t *change, apr_uint64_t position, const svl_records_work_t *work);

/** @return NULL: its work is in the table, if it has any */
svl_fresh_t *svl_fresh_find(const svl_change_t *change, apr_uint64_t position);

/** Makes records of what is not done, before anything else looks at the table. */
apr_status_t svl_fresh_write(svl_change_t *change);

#endif

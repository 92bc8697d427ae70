/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/verify.h
 * @brief Reads a log before it is used, in a process of its own: what LMDB does with damaged pages may end that process.
 */
#ifndef SVL_STORE_VERIFY_H
#define SVL_STORE_VERIFY_H

#include "tables.h"

#define SVL_VERIFY_BUDGET APR_INT64_C(1000000) /**< microseconds; a log that is larger than what is read in them is read in part */

/** Opens the log of @a options and reads its records: all of the small tables, then of the large ones as much as there is time for,
 * the newest calls first.  To be called in a process that has not opened it.
 * @param budget microseconds; 0: it is only opened
 * @return SVL_EDAMAGED when it is damaged for certain, else APR_SUCCESS; it warns when that could not be found out */
apr_status_t svl_verify(const svl_store_options_t *options, apr_interval_time_t budget);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/old.h
 * @brief Finds the entries that have been kept long enough and have no work to do.
 */
#ifndef SVL_STORE_OLD_H
#define SVL_STORE_OLD_H

#include <apr_tables.h>

#include "tables.h"

/** Looks at the first entries, and at some from where the last pruning ended: a clock that was ahead, or sync, leaves old entries behind
 * young ones.  How many it passes over is bounded.
 * @param before microseconds since 1970; older is what was issued or arrived before it
 * @param limit of them at most  @param positions apr_uint64_t, ascending; they are added
 * @param roved receives what store->roved shall be afterwards */
apr_status_t svl_old_collect(MDB_txn *txn, const svl_store_t *store, apr_time_t before, unsigned int limit,
                             apr_array_header_t *positions, apr_uint64_t *roved);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/opening.h
 * @brief What preparing and opening have in common.
 */
#ifndef SVL_STORE_OPENING_H
#define SVL_STORE_OPENING_H

#include "tables.h"

#define SVL_OPENING_OWNERS "owners" /**< file whose locked bytes are living owners; it stays empty */

/** Makes a store of @a p, whose cleanup closes it.  @return APR_EBUSY when this process has the directory open; @a store is
 * NULL when there is nothing to undo */
apr_status_t svl_opening_make(svl_store_t **store, const svl_store_options_t *options, int readonly, apr_pool_t *p);

/** Reads or makes what must be there, within the first transaction. */
typedef apr_status_t svl_opening_load_t(svl_store_t *store, MDB_txn *txn, const char **error, apr_pool_t *p);

/** Opens the environment, sees that its file is whole, and loads.  @param error on failure a sentence */
apr_status_t svl_opening_environment(svl_store_t *store, svl_opening_load_t *load, const char **error, apr_pool_t *p);

/** For the parent, before the log is opened: gives lock.mdb its blocks of the disk.  @return a system error; it warns where the file
 * was there before */
apr_status_t svl_opening_give_blocks(const svl_store_options_t *options, apr_pool_t *p);

/** Closes and forgets a store that svl_opening_make made. */
void svl_opening_undo(svl_store_t *store);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/identity.h
 * @brief Whose log a directory holds: format, node, epoch; and the sentences that say what is wrong with it.
 */
#ifndef SVL_STORE_IDENTITY_H
#define SVL_STORE_IDENTITY_H

#include "tables.h"

/** Looks at the directory before LMDB does, which takes an empty file for a new one.
 * @return APR_SUCCESS, APR_ENOENT when there is no data.mdb, SVL_EDAMAGED when it is empty */
apr_status_t svl_identity_look(const char *directory);

/** Reads format, node and epoch into @a store, and opens the tables, which holds once @a txn is committed.
 * @param name the node that it must be, or NULL  @param error receives a sentence  */
apr_status_t svl_identity_load(svl_store_t *store, MDB_txn *txn, const char *name, const char **error, apr_pool_t *p);

/** Makes the tables when there are none, loads, and sees to the epoch: a first one, and another one whenever a server
 * starts, because numbers may have been given that the file does not know of: it may be a backup, or a copy, or what was left of one
 * without fsync. */
apr_status_t svl_identity_prepare(svl_store_t *store, MDB_txn *txn, const char **error, apr_pool_t *p);

/** @return a sentence for @a status of what concerns the whole log */
const char *svl_identity_explain(const char *directory, apr_status_t status, apr_pool_t *p);

#endif

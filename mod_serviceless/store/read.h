/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/read.h
 * @brief What readers have in common, inside of the store.
 */
#ifndef SVL_STORE_READ_H
#define SVL_STORE_READ_H

#include "tables.h"

/** @return APR_NOTFOUND; a failure */
apr_status_t svl_read_get(svl_store_reader_t *reader, svl_table_e table, const void *key, apr_size_t length, MDB_val *value);

/** What changes with most transactions, as of the snapshot. */
apr_status_t svl_read_state(svl_store_reader_t *reader, svl_records_state_t *state);

/** @return nonzero when the log has no call with this id, as of now; 0 also when that cannot be known */
int svl_read_lacks_id(svl_store_t *store, const char *id);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "announce.h"

#include <string.h>

#include "../core/fault.h"
#include "commit.h"

#define ANNOUNCE_WEIGHT 256 /* bytes: two keys and values, in half-filled pages */

typedef struct announce_t {
    apr_uint64_t entry, position;
} announce_t;

static apr_status_t ignore_missing(apr_status_t status)
{
    return status == APR_NOTFOUND ? APR_SUCCESS : status;
}

/* @param times how often it was announced again  @param previous where it was listed last; 0: nowhere
 * @return APR_NOTFOUND when it is not listed */
static apr_status_t drop(svl_change_t *change, apr_uint64_t entry, unsigned char *times, apr_uint64_t *previous)
{
    unsigned char key[SVL_RECORDS_POSITION_SIZE], other[SVL_RECORDS_POSITION_SIZE];
    MDB_val value;
    apr_status_t status;

    *times = 0;
    *previous = 0;
    svl_records_put64(key, entry);
    status = svl_change_get(change, SVL_TABLE_EVERY, key, sizeof(key), &value);
    if (status) {
        return status;
    }
    *previous = entry;
    if (value.mv_size == SVL_RECORDS_EVERY_SIZE) {
        *times = ((const unsigned char *)value.mv_data)[SVL_RECORDS_POSITION_SIZE];
        memcpy(other, value.mv_data, sizeof(other));
        *previous = svl_records_get64(other);
        status = ignore_missing(svl_change_delete(change, SVL_TABLE_EVERY, other, sizeof(other)));
    }
    return status ? status : svl_change_delete(change, SVL_TABLE_EVERY, key, sizeof(key));
}

apr_status_t svl_announce_drop(svl_change_t *change, apr_uint64_t entry)
{
    apr_uint64_t previous;
    unsigned char times;

    return ignore_missing(drop(change, entry, &times, &previous));
}

/* @return APR_EEXIST when it was announced often enough */
static apr_status_t check(svl_change_t *change, apr_uint64_t entry)
{
    unsigned char key[SVL_RECORDS_POSITION_SIZE];
    MDB_val value;
    apr_status_t status;

    svl_records_put64(key, entry);
    status = svl_change_get(change, SVL_TABLE_EVERY, key, sizeof(key), &value);
    if (!status && value.mv_size == SVL_RECORDS_EVERY_SIZE
        && ((const unsigned char *)value.mv_data)[SVL_RECORDS_POSITION_SIZE] >= SVL_STORE_ANNOUNCED_MAX) {
        return APR_EEXIST;
    }
    return svl_change_get(change, SVL_TABLE_CALLS, key, sizeof(key), &value);
}

static apr_status_t apply_announce(svl_change_t *change, void *baton)
{
    announce_t *announce = baton;
    unsigned char key[SVL_RECORDS_POSITION_SIZE], again[SVL_RECORDS_AGAIN_SIZE], at[SVL_RECORDS_EVERY_SIZE];
    apr_uint64_t previous;
    unsigned char times;
    apr_status_t status = check(change, announce->entry);

    if (!status) {
        status = ignore_missing(drop(change, announce->entry, &times, &previous));
    }
    if (status) {
        return status;
    }
    announce->position = ++change->state.last;
    change->state_changed = 1;
    svl_records_put64(key, announce->position);
    memcpy(at, key, sizeof(key));
    at[SVL_RECORDS_POSITION_SIZE] = (unsigned char)(times + 1);
    svl_records_put64(again, announce->entry);
    svl_records_put64(again + SVL_RECORDS_POSITION_SIZE, previous);
    status = svl_change_put(change, SVL_TABLE_EVERY, again, SVL_RECORDS_POSITION_SIZE, at, sizeof(at));
    return status ? status : svl_change_put(change, SVL_TABLE_EVERY, key, sizeof(key), again, sizeof(again));
}

apr_status_t svl_store_announce(svl_store_t *store, apr_uint64_t entry, apr_uint64_t *position)
{
    announce_t announce = {.entry = entry};
    apr_status_t status = svl_commit_run(store, apply_announce, &announce, ANNOUNCE_WEIGHT);

    *position = announce.position;
    return status;
}

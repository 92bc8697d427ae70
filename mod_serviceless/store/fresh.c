/* SPDX-License-Identifier: Apache-2.0 */
#include "fresh.h"

#include "../core/fault.h"
#include "work.h"

void svl_fresh_add(svl_change_t *change, apr_uint64_t position, const svl_records_work_t *work)
{
    static const svl_fresh_t none;
    apr_array_header_t *fresh = change->fresh;
    svl_fresh_t *one;

    if (!fresh) {
        change->fresh = fresh = apr_array_make(change->pool, 16, sizeof(svl_fresh_t));
        change->fresh_first = position;
    }
    while (position > change->fresh_first + (apr_uint64_t)fresh->nelts) {
        APR_ARRAY_PUSH(fresh, svl_fresh_t) = none;
    }
    one = apr_array_push(fresh);
    one->work = *work;
    one->state = *work->states;
    one->work.states = NULL;
}

svl_fresh_t *svl_fresh_find(const svl_change_t *change, apr_uint64_t position)
{
    const apr_array_header_t *fresh = change->fresh;

    if (!fresh || position < change->fresh_first || position - change->fresh_first >= (apr_uint64_t)fresh->nelts) {
        return NULL;
    }
    return &APR_ARRAY_IDX(fresh, position - change->fresh_first, svl_fresh_t);
}

apr_status_t svl_fresh_write(svl_change_t *change)
{
    apr_array_header_t *fresh = change->fresh;
    apr_status_t status = APR_SUCCESS;
    int i;

    change->fresh = NULL;
    for (i = 0; fresh && i < fresh->nelts && !status; ++i) {
        svl_fresh_t *one = &APR_ARRAY_IDX(fresh, i, svl_fresh_t);

        one->work.states = &one->state;
        if (one->work.count && (one->work.left || one->work.flags & SVL_RECORDS_WORK_ROUTE)) {
            status = svl_work_put(change, change->fresh_first + (apr_uint64_t)i, &one->work, MDB_APPEND);
        }
    }
    change->store->tight |= status == SVL_EFULL; /* there is to be room for what was told that it is kept */
    return status;
}

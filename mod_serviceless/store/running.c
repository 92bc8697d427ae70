/* SPDX-License-Identifier: Apache-2.0 */
#include "running.h"

/* A log that began anew counts its owners anew: what an older one of this number left says nothing. */
static void forget(svl_running_row_t *rows, apr_size_t count, apr_uint64_t owner)
{
    for (apr_size_t i = 0; i < count; i++) {
        svl_running_swap(&rows[i].owner, owner, 0);
    }
}

/* Owners count up, so going round the rows by their numbers meets the longest dead first: others may not have been taken over yet. */
static svl_running_row_t *row_at(svl_running_row_t *rows, apr_size_t count, apr_uint64_t owner, apr_size_t step)
{
    return &rows[(owner + step) % count];
}

static svl_running_row_t *claim(const svl_store_t *store, svl_running_row_t *rows, apr_size_t count)
{
    for (apr_size_t i = 0; i < count; i++) {
        svl_running_row_t *row = row_at(rows, count, store->owner, i);
        apr_uint64_t held = svl_running_get(&row->owner);
        if ((!held || !svl_store_owner_lives(store, held)) && svl_running_swap(&row->owner, held, store->owner)) {
            svl_running_put(&row->more, 0); /* released one by one: who sees one of them cleared sees the new owner too */
            for (apr_size_t j = 0; j < SVL_RUNNING_WIDTH; j++) {
                svl_running_put(&row->positions[j], 0);
            }
            return row;
        }
    }
    return NULL;
}

void svl_running_claim(svl_store_t *store)
{
    apr_size_t count;
    svl_running_row_t *rows = svl_running_rows(store, &count);

    forget(rows, count, store->owner);
    store->row = rows ? claim(store, rows, count) : NULL;
    if (!store->row) {
        svl_log_write(store->options.log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_SUCCESS,
                      SVLNO(0213) "%s/" SVL_RUNNING_FILE
                                  " cannot be used: should this process end, all that it has to run counts as "
                                  "running",
                      store->options.directory);
    }
}

/* @return where it was noted; NULL: there is no place */
static apr_uint64_t *note(apr_uint64_t *places, apr_uint32_t count, apr_uint32_t from, apr_uint64_t position)
{
    for (apr_uint32_t i = 0; i < count; i++) {
        apr_uint64_t *place = &places[(from + i) % count];
        if (svl_running_get(place) == 0 && svl_running_swap(place, 0, position)) {
            return place;
        }
    }
    return NULL;
}

static int drop(apr_uint64_t *places, apr_uint32_t count, apr_uint64_t position)
{
    for (apr_uint32_t i = 0; i < count; i++) {
        if (svl_running_swap(&places[i], position, 0)) {
            return 1;
        }
    }
    return 0;
}

apr_uint64_t *svl_store_running_begin(svl_store_t *store, apr_uint64_t position)
{
    svl_running_row_t *row = store->row;
    apr_uint32_t from = __atomic_add_fetch(&store->row_next, 1, __ATOMIC_RELAXED);
    apr_uint64_t *mark;

    if (!row) {
        return NULL;
    }
    mark = note(row->positions, SVL_RUNNING_WIDTH, from, position);
    if (!mark) {
        __atomic_add_fetch(&row->more, 1, __ATOMIC_ACQ_REL);
        mark = note(store->row_more, SVL_RUNNING_MORE, from, position);
    }
    return mark ? mark : &row->more;
}

void svl_store_running_end(svl_store_t *store, apr_uint64_t *mark)
{
    svl_running_row_t *row = store->row;

    if (!mark || !row) {
        return;
    }
    if (mark != &row->more) {
        svl_running_put(mark, 0);
    }
    if (mark < row->positions || mark >= row->positions + SVL_RUNNING_WIDTH) {
        __atomic_sub_fetch(&row->more, 1, __ATOMIC_ACQ_REL);
    }
}

void svl_running_drop(svl_store_t *store, apr_uint64_t position)
{
    svl_running_row_t *row = store->row;

    if (!row || drop(row->positions, SVL_RUNNING_WIDTH, position)) {
        return;
    }
    if (svl_running_get(&row->more) && drop(store->row_more, SVL_RUNNING_MORE, position)) {
        __atomic_sub_fetch(&row->more, 1, __ATOMIC_ACQ_REL);
    }
}

static int is_in(const svl_running_row_t *row, apr_uint64_t position)
{
    for (apr_uint32_t i = 0; i < SVL_RUNNING_WIDTH; i++) {
        if (svl_running_get(&row->positions[i]) == position) {
            return 1;
        }
    }
    return svl_running_get(&row->more) != 0;
}

int svl_store_was_running(void *baton, apr_uint64_t owner, apr_uint64_t position)
{
    const svl_store_t *store = baton;
    apr_size_t count;
    svl_running_row_t *rows = svl_running_rows(store, &count);

    for (apr_size_t i = 0; i < count; i++) {
        const svl_running_row_t *row = row_at(rows, count, owner, i);
        if (svl_running_get(&row->owner) == owner) {
            int in = is_in(row, position);
            return in
                   || svl_running_get(&row->owner)
                          != owner; /* a new process may have taken the row meanwhile, and cleared it */
        }
    }
    return 1;
}

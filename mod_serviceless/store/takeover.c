/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <apr_strings.h>

#include "../core/fault.h"
#include "commit.h"
#include "ended.h"
#include "work.h"

#define RECORD_WEIGHT 256 /* bytes: a work record of a few entries, and its page's part */

/* Whether owners live, asked once each: that is a system call. */
typedef struct owners_t {
    const svl_store_t *store;
    apr_hash_t *known; /* number to `alive` or `dead` */
    apr_uint64_t last; /* asked last */
    int last_lives;
} owners_t;

typedef struct sweep_t {
    owners_t owners;
    svl_store_was_running_t *was_running;
    void *baton;
    int limit;
    apr_uint64_t from; /* first position to look at */
    apr_uint64_t end;  /* out: the last one looked at; 0: there are no more */
    apr_array_header_t *batches;
    apr_pool_t *p;
} sweep_t;

/* A dead owner's record, copied out of the map. */
typedef struct found_t {
    apr_uint64_t first;
    svl_records_work_t work;
    unsigned char *states;
} found_t;

static int lives(owners_t *owners, apr_uint64_t owner)
{
    static const char alive, dead;
    const char *known;

    if (owner == owners->last) {
        return owners->last_lives;
    }
    known = apr_hash_get(owners->known, &owner, sizeof(owner));
    if (!known) {
        known = svl_store_owner_lives(owners->store, owner) ? &alive : &dead;
        apr_hash_set(owners->known, apr_pmemdup(apr_hash_pool_get(owners->known), &owner, sizeof(owner)), sizeof(owner), known);
    }
    owners->last = owner;
    owners->last_lives = known == &alive;
    return owners->last_lives;
}

static apr_status_t parse(const MDB_val *key, const MDB_val *value, apr_uint64_t *first, svl_records_work_t *work)
{
    if (key->mv_size != SVL_RECORDS_POSITION_SIZE) {
        return SVL_EDAMAGED;
    }
    *first = svl_records_get64(key->mv_data);
    return svl_records_get_work(work, value->mv_data, value->mv_size);
}

/* Looks for the first record of a dead owner.  @return APR_SUCCESS with its position in sweep->from, or APR_NOTFOUND */
static apr_status_t look(sweep_t *sweep, MDB_cursor *cursor)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    MDB_val key = {sizeof(bytes), bytes}, value;
    svl_records_work_t work;
    apr_uint64_t first = 0;
    apr_status_t status;
    int rc, looks;

    svl_records_put64(bytes, sweep->from);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    for (looks = 0; !rc && looks < SVL_STORE_LOOKS_MAX; ++looks) {
        status = parse(&key, &value, &first, &work);
        if (status) {
            return status;
        }
        if (!lives(&sweep->owners, work.owner)) {
            sweep->from = first;
            return APR_SUCCESS;
        }
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    sweep->end = rc ? 0 : first;
    return rc ? svl_env_status(rc) : APR_NOTFOUND;
}

/* Without a write transaction, so that it costs next to nothing when there is nothing. */
static apr_status_t look_first(svl_store_t *store, sweep_t *sweep)
{
    svl_store_reader_t *reader;
    MDB_cursor *cursor;
    apr_status_t status;

    svl_store_settle(store);
    status = svl_store_read_begin(&reader, store);
    if (status) {
        return status;
    }
    status = svl_env_status(mdb_cursor_open(reader->txn, store->tables[SVL_TABLE_WORK], &cursor));
    if (!status) {
        status = look(sweep, cursor);
        mdb_cursor_close(cursor);
    }
    svl_store_read_end(reader);
    return status;
}

/* Whether a record belongs to a batch that is relayed as a whole, together with the record before it. */
static int is_bound(const svl_records_work_t *work)
{
    return work->flags & SVL_RECORDS_WORK_CONTINUES && work->flags & SVL_RECORDS_WORK_ROUTE;
}

static void keep(svl_change_t *change, apr_array_header_t *found, apr_uint64_t first, const svl_records_work_t *work)
{
    found_t *item = apr_array_push(found);

    item->first = first;
    item->work = *work;
    item->states = apr_pmemdup(change->pool, work->states, work->count);
    item->work.states = item->states;
    item->work.route = apr_pmemdup(change->pool, work->route, work->route_length);
}

/* Collects the records to be taken; none is written while the cursor stands on them. */
static apr_status_t collect(svl_change_t *change, sweep_t *sweep, MDB_cursor *cursor, apr_array_header_t *found)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    MDB_val key = {sizeof(bytes), bytes}, value;
    svl_records_work_t work;
    apr_uint64_t first;
    apr_status_t status = APR_SUCCESS;
    int rc, looks;

    svl_records_put64(bytes, sweep->from);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (!rc && !(status = parse(&key, &value, &first, &work)) && is_bound(&work)) {
        rc = mdb_cursor_get(cursor, &key, &value, MDB_PREV); /* the last look ended within a batch */
    }
    for (looks = 0; !rc && !status && looks < SVL_STORE_LOOKS_MAX; ++looks) {
        status = parse(&key, &value, &first, &work);
        if (status || (found->nelts >= sweep->limit && !is_bound(&work))) {
            break;
        }
        if (!lives(&sweep->owners, work.owner)) {
            keep(change, found, first, &work);
        }
        sweep->end = first;
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (rc == MDB_NOTFOUND) {
        sweep->end = 0;
        rc = MDB_SUCCESS;
    }
    return status ? status : svl_env_status(rc);
}

/* @return what a record belongs to: the batch before it, or one of its own */
static svl_store_orphans_t *batch_of(sweep_t *sweep, const found_t *item)
{
    svl_store_orphans_t *batch;

    if (is_bound(&item->work) && sweep->batches->nelts) {
        batch = &APR_ARRAY_IDX(sweep->batches, sweep->batches->nelts - 1, svl_store_orphans_t);
        if (batch->route && batch->first + batch->count == item->first) {
            batch->count += item->work.count;
            return batch;
        }
    }
    batch = apr_array_push(sweep->batches);
    batch->first = item->first;
    batch->count = item->work.count;
    batch->arity = item->work.arity;
    batch->route = NULL;
    if (item->work.flags & SVL_RECORDS_WORK_ROUTE) {
        batch->route = apr_pstrmemdup(sweep->p, item->work.route, item->work.route_length);
    }
    batch->runs = apr_array_make(sweep->p, (int)item->work.left, sizeof(svl_store_orphan_t));
    return batch;
}

static void take_run(const svl_store_t *store, sweep_t *sweep, const found_t *item, apr_uint32_t offset,
                     apr_array_header_t *runs)
{
    unsigned char *state = &item->states[offset];
    unsigned int kind = *state & SVL_RECORDS_RUN_MASK, attempts = *state / SVL_RECORDS_RUN_ATTEMPT;
    svl_store_orphan_t run = {.position = item->first + offset};

    if (kind != SVL_RECORDS_RUN_TODO && kind != SVL_RECORDS_RUN_STARTED) {
        return;
    }
    if (svl_ended_holds(store, run.position)) {
        return; /* it did end, only that could not be recorded yet */
    }
    run.started = kind == SVL_RECORDS_RUN_STARTED;
    run.interrupted = run.started || !sweep->was_running || sweep->was_running(sweep->baton, item->work.owner, run.position);
    if (run.interrupted && attempts < SVL_RECORDS_RUN_ATTEMPTS_MAX) {
        ++attempts;
    }
    run.attempts = attempts;
    *state = (unsigned char)(attempts * SVL_RECORDS_RUN_ATTEMPT + kind);
    APR_ARRAY_PUSH(runs, svl_store_orphan_t) = run;
}

static apr_status_t take(svl_change_t *change, sweep_t *sweep, found_t *item)
{
    apr_array_header_t *runs = batch_of(sweep, item)->runs;
    apr_uint32_t i;

    for (i = 0; i < item->work.count; ++i) {
        take_run(change->store, sweep, item, i, runs);
    }
    item->work.owner = change->store->owner;
    return svl_work_put(change, item->first, &item->work, 0);
}

static apr_status_t apply_take_over(svl_change_t *change, void *baton)
{
    sweep_t *sweep = baton;
    apr_array_header_t *found = apr_array_make(change->pool, 16, sizeof(found_t));
    MDB_cursor *cursor;
    apr_status_t status = svl_env_status(mdb_cursor_open(change->txn, change->store->tables[SVL_TABLE_WORK], &cursor));
    int i;

    apr_array_clear(sweep->batches); /* when it is done again */
    if (status) {
        return status;
    }
    status = collect(change, sweep, cursor, found);
    mdb_cursor_close(cursor);
    for (i = 0; i < found->nelts && !status; ++i) {
        status = take(change, sweep, &APR_ARRAY_IDX(found, i, found_t));
    }
    return status;
}

apr_status_t svl_store_take_over(svl_store_t *store, svl_store_was_running_t *was_running, void *baton, int limit,
                                 apr_array_header_t **batches, apr_pool_t *p)
{
    sweep_t sweep = {.was_running = was_running, .baton = baton, .limit = limit, .p = p};
    apr_pool_t *scratch;
    apr_status_t status;

    *batches = sweep.batches = apr_array_make(p, 0, sizeof(svl_store_orphans_t));
    if (store->readonly) {
        return APR_EACCES;
    }
    if (limit <= 0) {
        return APR_SUCCESS;
    }
    apr_pool_create(&scratch, p);
    sweep.owners = (owners_t){.store = store, .known = apr_hash_make(scratch), .last = store->owner, .last_lives = 1};
    sweep.from = __atomic_load_n(&store->swept, __ATOMIC_RELAXED) + 1;
    status = look_first(store, &sweep);
    if (!status) {
        status = svl_commit_run(store, apply_take_over, &sweep, (apr_size_t)limit * RECORD_WEIGHT);
    }
    if (!status || status == APR_NOTFOUND) {
        __atomic_store_n(&store->swept, sweep.end, __ATOMIC_RELAXED);
        status = APR_SUCCESS;
    }
    else {
        apr_array_clear(sweep.batches);
    }
    apr_pool_destroy(scratch);
    return status;
}

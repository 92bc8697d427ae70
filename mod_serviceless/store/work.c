/* SPDX-License-Identifier: Apache-2.0 */
#include "work.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "../core/fault.h"
#include "commit.h"
#include "damage.h"
#include "ended.h"
#include "fresh.h"

#define OUTCOME_WEIGHT 256 /* bytes: record, key, and its part of the work record */

/* A work record in hand, copied out of the map, since any write may move what the map holds. */
typedef struct hand_t {
    apr_uint64_t first;
    svl_records_work_t work;
    unsigned char *states;
    int changed;
    svl_fresh_t *fresh; /* that it is of; NULL: of the table */
} hand_t;

apr_status_t svl_work_put(svl_change_t *change, apr_uint64_t first, const svl_records_work_t *work, unsigned int flags)
{
    unsigned char key[SVL_RECORDS_POSITION_SIZE], *room;
    apr_status_t status;

    svl_records_put64(key, first);
    status = svl_change_reserve(change, SVL_TABLE_WORK, key, sizeof(key), flags,
                                SVL_RECORDS_WORK_SIZE + work->count + work->route_length, &room);
    if (!status) {
        svl_records_put_work(room, work);
    }
    return status;
}

apr_status_t svl_work_add(svl_change_t *change, const svl_store_batch_t *batch, const unsigned char *states, apr_uint64_t owner,
                          apr_time_t now)
{
    svl_records_work_t work = {.owner = owner, .accepted = now, .arity = batch->arity, .route = batch->route};
    apr_uint32_t offset, i;
    apr_status_t status = APR_SUCCESS;

    work.route_length = batch->route ? strlen(batch->route) : 0;
    if (batch->route) {
        work.flags = SVL_RECORDS_WORK_ROUTE;
    }
    for (offset = 0; offset < batch->appended && !status; offset += work.count) {
        work.count = batch->appended - offset;
        if (work.count > SVL_STORE_BATCH_MAX) {
            work.count = SVL_STORE_BATCH_MAX;
        }
        work.states = states + offset;
        for (work.left = 0, i = 0; i < work.count; ++i) {
            work.left += work.states[i] == SVL_RECORDS_RUN_TODO;
        }
        if (offset) {
            work.flags |= SVL_RECORDS_WORK_CONTINUES;
        }
        if (work.left || batch->route) {
            status = svl_work_put(change, batch->first + offset, &work, MDB_APPEND);
        }
        if (work.left) {
            change->state.pending += work.left;
            change->state_changed = 1;
        }
    }
    return status;
}

static apr_status_t take(svl_change_t *change, apr_uint64_t first, const MDB_val *value, hand_t *hand)
{
    unsigned char *copy = apr_pmemdup(change->pool, value->mv_data, value->mv_size);

    hand->first = first;
    hand->changed = 0;
    hand->fresh = NULL;
    hand->states = copy + SVL_RECORDS_WORK_SIZE;
    return svl_records_get_work(&hand->work, copy, value->mv_size);
}

static int holds(const hand_t *hand, apr_uint64_t position)
{
    return position >= hand->first && position - hand->first < hand->work.count;
}

/* Finds the record with the largest first position up to `position`.  @return a code of LMDB */
static int seek(svl_change_t *change, apr_uint64_t position, MDB_val *key, MDB_val *value)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(change->txn, change->store->tables[SVL_TABLE_WORK], &cursor);

    if (rc) {
        return rc;
    }
    svl_records_put64(bytes, position);
    key->mv_data = bytes;
    key->mv_size = sizeof(bytes);
    rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    if (rc == MDB_NOTFOUND) {
        rc = mdb_cursor_get(cursor, key, value, MDB_LAST);
    }
    else if (!rc && (key->mv_size != sizeof(bytes) || svl_records_get64(key->mv_data) != position)) {
        rc = mdb_cursor_get(cursor, key, value, MDB_PREV);
    }
    mdb_cursor_close(cursor);
    return rc;
}

static apr_status_t find(svl_change_t *change, apr_uint64_t position, hand_t *hand)
{
    unsigned char bytes[SVL_RECORDS_POSITION_SIZE];
    MDB_val key = {0, NULL}, value;
    apr_status_t status;
    svl_fresh_t *fresh = svl_fresh_find(change, position);

    if (fresh) {
        *hand = (hand_t){.first = position, .work = fresh->work, .states = &fresh->state, .fresh = fresh};
        return fresh->work.count ? APR_SUCCESS : APR_NOTFOUND;
    }
    hand->work.count = 0;
    hand->fresh = NULL;
    svl_records_put64(bytes, position);
    status = svl_change_get(change, SVL_TABLE_WORK, bytes, sizeof(bytes), &value); /* batches of one call: no cursor needed */
    if (!status) {
        return take(change, position, &value, hand);
    }
    if (status != APR_NOTFOUND) {
        return status;
    }
    status = svl_env_status(seek(change, position, &key, &value));
    if (status) {
        return status;
    }
    if (key.mv_size != sizeof(bytes)) {
        return SVL_EDAMAGED;
    }
    status = take(change, svl_records_get64(key.mv_data), &value, hand);
    if (!status && !holds(hand, position)) {
        hand->work.count = 0;
        status = APR_NOTFOUND;
    }
    return status;
}

static apr_status_t put_back(svl_change_t *change, hand_t *hand)
{
    unsigned char key[SVL_RECORDS_POSITION_SIZE];

    if (!hand->changed) {
        return APR_SUCCESS;
    }
    hand->changed = 0;
    if (hand->fresh) {
        hand->fresh->work = hand->work;
        return APR_SUCCESS;
    }
    if (hand->work.left || hand->work.flags & SVL_RECORDS_WORK_ROUTE) {
        return svl_work_put(change, hand->first, &hand->work, 0);
    }
    svl_records_put64(key, hand->first);
    hand->work.count = 0;
    return svl_change_delete(change, SVL_TABLE_WORK, key, sizeof(key));
}

static apr_status_t put_outcome(svl_change_t *change, const svl_store_outcome_t *outcome)
{
    svl_records_outcome_t record = {.outcome = (unsigned char)outcome->outcome,
                                    .dropped = !outcome->text && outcome->length,
                                    .micros = outcome->micros,
                                    .ended = outcome->ended};
    unsigned char key[SVL_RECORDS_POSITION_SIZE], *room;
    apr_size_t length = outcome->text ? outcome->length : 0;
    apr_status_t status;

    svl_records_put64(key, outcome->position);
    status = svl_change_reserve(change, SVL_TABLE_OUTCOMES, key, sizeof(key), MDB_NOOVERWRITE,
                                SVL_RECORDS_OUTCOME_SIZE + length, &room);
    if (status) {
        return status == APR_EEXIST ? APR_SUCCESS : status;
    }
    svl_records_put_outcome(room, &record);
    if (length) {
        memcpy(room + SVL_RECORDS_OUTCOME_SIZE, outcome->text, length);
    }
    return APR_SUCCESS;
}

/* Whether an outcome may be recorded for a position that has no work: only for an entry that is held. */
static apr_status_t check_entry(svl_change_t *change, apr_uint64_t position)
{
    unsigned char key[SVL_RECORDS_POSITION_SIZE];
    MDB_val value;

    svl_records_put64(key, position);
    return svl_change_get(change, SVL_TABLE_CALLS, key, sizeof(key), &value);
}

static apr_status_t finish_one(svl_change_t *change, const svl_store_outcome_t *outcome, hand_t *hand)
{
    unsigned char *state;
    apr_status_t status;

    if (!holds(hand, outcome->position)) {
        status = put_back(change, hand);
        if (!status) {
            status = find(change, outcome->position, hand);
        }
        if (status == APR_NOTFOUND) {
            status = check_entry(change, outcome->position);
        }
        if (status) {
            return status == APR_NOTFOUND ? APR_SUCCESS : status;
        }
    }
    if (holds(hand, outcome->position)) {
        state = &hand->states[outcome->position - hand->first];
        switch (*state & SVL_RECORDS_RUN_MASK) {
        case SVL_RECORDS_RUN_TODO:
        case SVL_RECORDS_RUN_STARTED:
            *state |= SVL_RECORDS_RUN_DONE;
            --hand->work.left;
            --change->state.pending;
            ++change->writes; /* both are written later */
            hand->changed = change->state_changed = 1;
            break;
        default:
            break;
        }
    }
    return put_outcome(change, outcome);
}

apr_status_t svl_work_finish(svl_change_t *change, const svl_store_outcome_t *outcomes, apr_uint32_t count)
{
    hand_t hand;
    apr_uint32_t i;
    apr_status_t status = APR_SUCCESS;

    memset(&hand, 0, sizeof(hand));
    for (i = 0; i < count && !status; ++i) {
        status = finish_one(change, &outcomes[i], &hand);
    }
    return status ? status : put_back(change, &hand);
}

static apr_status_t close_route(svl_change_t *change, hand_t *hand)
{
    hand->changed = hand->work.flags & SVL_RECORDS_WORK_ROUTE;
    hand->work.flags &= (unsigned char)~SVL_RECORDS_WORK_ROUTE;
    return put_back(change, hand);
}

apr_status_t svl_work_relayed(svl_change_t *change, apr_uint64_t position)
{
    hand_t hand;
    apr_uint64_t next;
    apr_status_t status = find(change, position, &hand);

    while (!status && hand.work.flags & SVL_RECORDS_WORK_CONTINUES) {
        status = find(change, hand.first - 1, &hand);
    }
    while (!status && hand.work.flags & SVL_RECORDS_WORK_ROUTE) {
        next = hand.first + hand.work.count;
        status = close_route(change, &hand);
        if (hand.fresh) { /* of one call */
            break;
        }
        if (!status) {
            status = find(change, next, &hand);
        }
        if (!status && !(hand.work.flags & SVL_RECORDS_WORK_CONTINUES)) {
            break;
        }
    }
    return status == APR_NOTFOUND ? APR_SUCCESS : status;
}

static apr_status_t apply_start(svl_change_t *change, void *baton)
{
    apr_uint64_t position = *(const apr_uint64_t *)baton;
    unsigned char *state;
    hand_t hand;
    apr_status_t status = find(change, position, &hand);

    if (status) {
        return status;
    }
    state = &hand.states[position - hand.first];
    if ((*state & SVL_RECORDS_RUN_MASK) != SVL_RECORDS_RUN_TODO && (*state & SVL_RECORDS_RUN_MASK) != SVL_RECORDS_RUN_STARTED) {
        return APR_NOTFOUND;
    }
    *state = (unsigned char)((*state & ~SVL_RECORDS_RUN_MASK) | SVL_RECORDS_RUN_STARTED);
    hand.changed = 1;
    return put_back(change, &hand);
}

apr_status_t svl_store_start(svl_store_t *store, apr_uint64_t position)
{
    return svl_commit_run(store, apply_start, &position, OUTCOME_WEIGHT);
}

typedef struct finish_t {
    const svl_store_outcome_t *outcomes;
    apr_uint32_t count;
} finish_t;

static apr_status_t apply_finish(svl_change_t *change, void *baton)
{
    const finish_t *finish = baton;

    return svl_work_finish(change, finish->outcomes, finish->count);
}

/* A length without a text says that there was one. */
static apr_status_t finish_without_texts(svl_store_t *store, const svl_store_outcome_t *outcomes, apr_uint32_t count)
{
    svl_store_outcome_t *bare = malloc(count * sizeof(*bare));
    finish_t finish = {bare, count};
    apr_status_t status;

    if (!bare) {
        return APR_ENOMEM;
    }
    memcpy(bare, outcomes, count * sizeof(*bare));
    for (apr_uint32_t i = 0; i < count; ++i) {
        bare[i].length = bare[i].text ? bare[i].length : 0;
        bare[i].text = NULL;
    }
    status = svl_commit_run(store, apply_finish, &finish, count * OUTCOME_WEIGHT);
    free(bare);
    return status;
}

apr_status_t svl_store_finish(svl_store_t *store, const svl_store_outcome_t *outcomes, apr_uint32_t count)
{
    finish_t finish = {outcomes, count};
    apr_size_t weight = 0;
    apr_status_t status;
    apr_uint32_t i;

    if (!count) {
        return APR_SUCCESS;
    }
    if (!store->readonly && !svl_damage_known(store) && svl_ended_keep(store, outcomes, count)) {
        return APR_SUCCESS;
    }
    for (i = 0; i < count; ++i) {
        weight += OUTCOME_WEIGHT + (outcomes[i].text ? outcomes[i].length : 0);
    }
    status = svl_commit_run(store, apply_finish, &finish, weight);
    if (status == SVL_EFULL) {
        status = finish_without_texts(store, outcomes, count);
    }
    if (status && !store->readonly) {
        svl_commit_late_keep(store, outcomes, count);
    }
    return status;
}

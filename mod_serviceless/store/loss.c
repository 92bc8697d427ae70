/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <apr_strings.h>

#include "../core/fault.h"
#include "commit.h"
#include "streams.h"
#include "work.h"

#define TEXT_MAX (SVL_NAME_STREAM_MAX + SVL_NAME_FUNCTION_MAX + 96)
#define LOSS_WEIGHT 256 /* bytes: a stream's record, and its page's part */

typedef struct give_up_t {
    svl_store_losses_t *losses;
    apr_time_t now;
    const char *stream; /* in which something was missed; the last one */
    int mixed;          /* there are several */
} give_up_t;

static apr_status_t cover(svl_change_t *change, svl_change_stream_t *stream, svl_store_loss_t *loss)
{
    apr_uint64_t number;

    if (loss->first <= stream->numbers->watermark + 1) {
        loss->missed = svl_vector_raise(stream->numbers, loss->last);
        return APR_SUCCESS;
    }
    for (number = loss->first; number <= loss->last; ++number) {
        if (svl_vector_covers(stream->numbers, number)) {
            continue;
        }
        if (svl_vector_add(stream->numbers, number)) {
            return SVL_EREFUSED;
        }
        ++loss->missed;
        ++change->writes; /* the stream is written at the end */
    }
    return APR_SUCCESS;
}

static apr_status_t give_up_one(svl_change_t *change, give_up_t *give_up, svl_store_loss_t *loss)
{
    svl_change_stream_t *stream;
    apr_status_t status = svl_change_stream_named(change, loss->stream, strlen(loss->stream), &stream);

    loss->missed = 0;
    if (!status) {
        status = cover(change, stream, loss);
    }
    if (status || !loss->missed) {
        return status;
    }
    if (stream->latest <= 0) {
        stream->latest = -(give_up->now / 1000);
    }
    give_up->losses->missed += loss->missed;
    give_up->mixed |= give_up->stream && strcmp(give_up->stream, loss->stream);
    give_up->stream = loss->stream;
    return svl_streams_prune(change, stream);
}

/* @param function NULL: the entry that says what happened and is nobody's to run  @param every nonzero: every child is to tell it */
static apr_status_t log_missed(svl_change_t *change, const give_up_t *give_up, const char *function, int every)
{
    svl_records_call_t call = {.arrived = give_up->now, .issued = give_up->now / 1000, .flags = SVL_RECORDS_CALL_MISSED};
    unsigned char key[SVL_RECORDS_POSITION_SIZE], *room;
    char text[TEXT_MAX], *at = text, *end = text + sizeof(text);
    apr_size_t length;
    apr_status_t status;

    at += apr_snprintf(at, (apr_size_t)(end - at), "{\"calls\":%" APR_UINT64_T_FMT, give_up->losses->missed);
    if (give_up->stream && !give_up->mixed) {
        at += apr_snprintf(at, (apr_size_t)(end - at), ",\"stream\":\"%s\"", give_up->stream);
    }
    if (function) {
        at += apr_snprintf(at, (apr_size_t)(end - at), ",\"function\":\"%s\"", function);
    }
    *at++ = '}';
    length = (apr_size_t)(at - text);
    call.expires = APR_INT64_MAX;
    svl_records_put64(key, ++change->state.last);
    change->state_changed = 1;
    status = svl_change_reserve(change, SVL_TABLE_CALLS, key, sizeof(key), MDB_APPEND, SVL_RECORDS_CALL_SIZE + length, &room);
    if (!status) {
        svl_records_put_call(room, &call);
        memcpy(room + SVL_RECORDS_CALL_SIZE, text, length);
    }
    return status || !every ? status : svl_change_put(change, SVL_TABLE_EVERY, key, sizeof(key), "", 0);
}

static apr_status_t log_all(svl_change_t *change, const give_up_t *give_up)
{
    svl_store_losses_t *losses = give_up->losses;
    svl_store_batch_t batch = {.appended = losses->function_count};
    unsigned char *states = apr_palloc(change->pool, losses->function_count + 1);
    apr_status_t status = log_missed(change, give_up, NULL, 0);
    apr_uint32_t i;

    batch.first = change->state.last + 1;
    memset(states, SVL_RECORDS_RUN_TODO, losses->function_count + 1);
    for (i = 0; i < losses->function_count && !status; ++i) {
        status = log_missed(change, give_up, losses->functions[i], losses->every && losses->every[i]);
    }
    if (!status) {
        status = svl_work_add(change, &batch, states, change->store->owner, give_up->now);
    }
    losses->position = losses->function_count ? batch.first : 0;
    return status;
}

static apr_status_t apply_give_up(svl_change_t *change, void *baton)
{
    give_up_t *give_up = baton;
    svl_store_losses_t *losses = give_up->losses;
    apr_status_t status = APR_SUCCESS;
    apr_uint32_t i;

    losses->missed = losses->position = 0;
    give_up->stream = NULL;
    give_up->mixed = 0;
    for (i = 0; i < losses->count && !status; ++i) {
        status = give_up_one(change, give_up, &losses->losses[i]);
    }
    return status || !(losses->missed || losses->always) ? status : log_all(change, give_up);
}

apr_status_t svl_store_give_up(svl_store_t *store, svl_store_losses_t *losses, apr_time_t now)
{
    give_up_t give_up = {.losses = losses, .now = now};
    apr_status_t status;
    apr_uint32_t i;

    losses->missed = losses->position = 0;
    for (i = 0; i < losses->count; ++i) {
        const svl_store_loss_t *loss = &losses->losses[i];

        if (!svl_streams_is_name(loss->stream, strlen(loss->stream), NULL, NULL)
            || loss->last > (apr_uint64_t)SVL_VECTOR_NUMBER_MAX) {
            return APR_EINVAL;
        }
    }
    status = svl_commit_run(store, apply_give_up, &give_up,
                            (apr_size_t)losses->count * LOSS_WEIGHT + (losses->function_count + 1) * (apr_size_t)TEXT_MAX);
    if (status) {
        losses->missed = losses->position = 0;
    }
    return status;
}

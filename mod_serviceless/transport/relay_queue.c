/* SPDX-License-Identifier: Apache-2.0 */
#include "relay_private.h"

#include <stdlib.h>
#include <string.h>

static void list_append(svl_relay_list_t *list, svl_relay_slice_t *slice)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): nothing is appended that was not taken or made */
    slice->next = NULL;
    if (list->tail) {
        list->tail->next = slice;
    }
    else {
        list->head = slice;
    }
    list->tail = slice;
    list->length++;
    list->calls += slice->count;
}

svl_relay_slice_t *svl_relay_list_pop(svl_relay_list_t *list)
{
    svl_relay_slice_t *slice = list->head;
    if (slice) {
        list->head = slice->next;
        list->tail = list->head ? list->tail : NULL;
        list->length--;
        list->calls -= slice->count;
    }
    return slice;
}

void svl_relay_path_release(svl_relay_path_t *path)
{
    if (path && !--path->refs) {
        free(path);
    }
}

/* Under load most batches come from the same peer with the same route. */
static svl_relay_path_t *path_copy(svl_relay_t *relay, const svl_route_t *route)
{
    svl_relay_path_t *path = relay->path;
    apr_size_t bytes = route->count * sizeof(*route->nodes);
    if (!path || path->count != route->count || memcmp(path->nodes, route->nodes, bytes) != 0) {
        path = malloc(sizeof(*path) + bytes);
        if (!path) {
            return NULL;
        }
        path->refs = 1;
        path->count = route->count;
        memcpy(path->nodes, route->nodes, bytes);
        svl_relay_path_release(relay->path);
        relay->path = path;
    }
    path->refs++;
    return path;
}

svl_relay_batch_t *svl_relay_queue_batch(svl_relay_t *relay, apr_uint64_t first, apr_uint32_t count, const svl_route_t *route,
                                         const svl_route_t *ring, apr_uint32_t arity)
{
    svl_relay_batch_t *batch = malloc(sizeof(*batch));
    if (!batch) {
        return NULL;
    }
    *batch = (svl_relay_batch_t){.first = first, .count = count, .open = 1, .arity = arity};
    if (route) {
        batch->path = path_copy(relay, route);
        if (!batch->path) {
            free(batch);
            return NULL;
        }
        batch->route = (svl_route_t){.count = route->count, .nodes = batch->path->nodes};
    }
    else {
        batch->route = *ring;
    }
    __atomic_add_fetch(&relay->backlog, 1, __ATOMIC_RELAXED);
    return batch;
}

void svl_relay_queue_out(svl_relay_t *relay, svl_relay_batch_t *batch)
{
    if (relay->outbox_tail) {
        relay->outbox_tail->next = batch;
    }
    else {
        relay->outbox = batch;
    }
    relay->outbox_tail = batch;
    relay->waiting++;
}

static void batch_free(svl_relay_t *relay, svl_relay_batch_t *batch)
{
    __atomic_sub_fetch(&relay->backlog, 1, __ATOMIC_RELAXED);
    free(batch);
}

static void batch_close(svl_relay_batch_t *batch, svl_relay_batch_t **finished)
{
    if (--batch->open == 0) {
        svl_relay_path_release(batch->path);
        batch->next = *finished;
        *finished = batch;
    }
}

void svl_relay_queue_finish(svl_relay_t *relay, svl_relay_batch_t *finished)
{
    while (finished) {
        svl_relay_batch_t *batch = finished;
        finished = batch->next;
        if (!batch->abandoned) {
            svl_store_relayed(relay->options.store, batch->first);
        }
        batch_free(relay, batch);
    }
}

/* Without memory the batch keeps its route in the log, where others find it. */
static void slice_make(svl_relay_t *relay, svl_relay_batch_t *batch, apr_uint64_t first, apr_uint32_t count,
                       const apr_uint32_t *nodes, apr_uint32_t length, svl_relay_batch_t **finished)
{
    svl_relay_slice_t *slice = malloc(sizeof(*slice));
    if (!slice) {
        batch->abandoned = 1;
        return;
    }
    batch->open++;
    *slice = (svl_relay_slice_t){.batch = batch, .first = first, .count = count, .route = {.count = length, .nodes = nodes}};
    svl_relay_queue_place(relay, slice, finished);
}

void svl_relay_queue_split(svl_relay_t *relay, svl_relay_batch_t *batch, svl_relay_batch_t **finished)
{
    apr_uint32_t slices = svl_route_slices(batch->route.count, batch->arity);
    for (apr_uint32_t i = 0; i < slices; i++) {
        svl_route_slice_t slice = svl_route_slice(batch->route.count, batch->arity, i);
        while (slice.count) {
            apr_uint32_t length = slice.count <= SVL_RELAY_REST_MAX ? slice.count : SVL_RELAY_REST_MAX + 1;
            slice_make(relay, batch, batch->first, batch->count, batch->route.nodes + slice.first, length, finished);
            slice.first += length;
            slice.count -= length;
        }
    }
    batch_close(batch, finished);
}

void svl_relay_queue_alone(svl_relay_t *relay, const svl_relay_slice_t *slice, apr_uint32_t node, svl_relay_batch_t **finished)
{
    slice_make(relay, slice->batch, slice->first, slice->count, slice->route.nodes + node, 1, finished);
}

void svl_relay_queue_ready(svl_relay_t *relay, svl_relay_lane_t *lane)
{
    if (!lane->queue.head || lane->busy || lane->ready) {
        return;
    }
    lane->ready = 1;
    lane->next = NULL;
    if (relay->ready_tail) {
        relay->ready_tail->next = lane;
    }
    else {
        relay->ready = lane;
    }
    relay->ready_tail = lane;
    relay->readies++;
}

static void overflow(svl_relay_t *relay, const svl_relay_peer_t *peer)
{
    svl_peer_note(peer->state, SVL_PEER_SKIPPED, 0, 0);
    if (svl_relay_once_a_second(&relay->logged)) {
        svl_log_write(relay->options.log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_SUCCESS,
                      SVLNO(0300) "%d routes wait for node %s: more are left to sync", SVL_RELAY_QUEUE_MAX, peer->name);
    }
}

void svl_relay_queue_place(svl_relay_t *relay, svl_relay_slice_t *slice, svl_relay_batch_t **finished)
{
    for (; slice->route.count; slice->route.count--, slice->route.nodes++) {
        apr_uint32_t node = *slice->route.nodes;
        svl_peer_state_t *state = svl_relay_state(relay, node);
        if (!state) {
            continue;
        }
        if (!svl_peer_living(state)) {
            svl_peer_note(state, SVL_PEER_SKIPPED, 0, 0);
            continue;
        }
        svl_relay_lane_t *lane = &relay->lanes[node];
        if (lane->queue.length >= SVL_RELAY_QUEUE_MAX) {
            overflow(relay, lane->peer);
            break;
        }
        list_append(&lane->queue, slice);
        if (lane->busy && svl_relay_flight_hurries(lane)) {
            svl_relay_flight_hurry(relay);
        }
        svl_relay_queue_ready(relay, lane);
        return;
    }
    svl_relay_queue_done(slice, finished);
}

void svl_relay_queue_done(svl_relay_slice_t *slice, svl_relay_batch_t **finished)
{
    batch_close(slice->batch, finished);
    free(slice);
}

void svl_relay_queue_take(svl_relay_lane_t *lane, int all, svl_relay_list_t *taken)
{
    apr_uint32_t calls = 0;
    while (lane->queue.head && (all || calls < SVL_RELAY_CALLS_MAX)) {
        calls += lane->queue.head->count;
        list_append(taken, svl_relay_list_pop(&lane->queue));
    }
}

void svl_relay_queue_return(svl_relay_lane_t *lane, svl_relay_list_t *taken, svl_relay_slice_t *last, apr_uint32_t used)
{
    svl_relay_list_t kept = {0};
    svl_relay_slice_t *slice;
    while (taken->head != last) {
        list_append(&kept, svl_relay_list_pop(taken));
    }
    slice = used ? malloc(sizeof(*slice)) : NULL;
    if (used) {
        svl_relay_list_pop(taken);
        list_append(&kept, last);
        if (slice) {
            *slice = *last;
            slice->first += used;
            slice->count -= used;
            slice->next = taken->head;
            slice->batch->open++;
            taken->head = slice;
            taken->tail = taken->tail ? taken->tail : slice;
            taken->length++;
            taken->calls += slice->count;
            kept.calls -= slice->count;
        }
        else {
            last->batch->abandoned = 1;
            kept.calls -= last->count - used;
        }
        last->count = used;
    }
    if (taken->head) {
        taken->tail->next = lane->queue.head;
        lane->queue.tail = lane->queue.tail ? lane->queue.tail : taken->tail;
        lane->queue.head = taken->head;
        lane->queue.length += taken->length;
        lane->queue.calls += taken->calls;
    }
    *taken = kept;
}

void svl_relay_queue_abandon(svl_relay_list_t *list, svl_relay_batch_t **finished)
{
    for (svl_relay_slice_t *slice; (slice = svl_relay_list_pop(list)) != NULL;) {
        slice->batch->abandoned = 1;
        batch_close(slice->batch, finished);
        free(slice);
    }
}

void svl_relay_queue_forget(svl_relay_t *relay)
{
    svl_relay_batch_t *finished = NULL;
    for (apr_uint32_t i = 0; i < relay->options.count; i++) {
        svl_relay_queue_abandon(&relay->lanes[i].queue, &finished);
    }
    while (relay->outbox) {
        svl_relay_batch_t *batch = relay->outbox;
        relay->outbox = batch->next;
        batch->abandoned = 1;
        batch_close(batch, &finished);
    }
    relay->outbox_tail = NULL;
    svl_relay_flight_hurry(relay);
    for (svl_relay_sender_t *sender; (sender = svl_relay_flight_take(&relay->flights)) != NULL;) {
        if (sender->calls && !sender->linked) {
            relay->options.transport->finish(sender->lane->client); /* it is aborted, so this does not wait */
        }
        svl_relay_queue_abandon(&sender->taken, &finished);
    }
    svl_relay_queue_finish(relay, finished);
    svl_relay_path_release(relay->path);
    relay->path = NULL;
}

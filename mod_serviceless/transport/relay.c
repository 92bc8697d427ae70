/* SPDX-License-Identifier: Apache-2.0 */
#include "relay_private.h"

#include <stdlib.h>

#include "../core/guard.h"
#include "../core/pool.h"

#define LOG_EVERY apr_time_from_sec(1)
#define RELEASE_WAIT apr_time_from_sec(2) /* for a caller that forgot svl_relay_stop */

void svl_relay_lock(svl_relay_t *relay)
{
    apr_thread_mutex_lock(relay->mutex);
}

void svl_relay_unlock(svl_relay_t *relay)
{
    apr_thread_mutex_unlock(relay->mutex);
}

int svl_relay_once_a_second(apr_time_t *last)
{
    apr_time_t now = apr_time_now(), seen = __atomic_load_n(last, __ATOMIC_RELAXED);
    return (now - seen >= LOG_EVERY || now < seen)
           && __atomic_compare_exchange_n(last, &seen, now, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

svl_peer_state_t *svl_relay_state(const svl_relay_t *relay, apr_uint32_t node)
{
    return node < relay->options.count && node != relay->options.self ? relay->options.peers[node].state : NULL;
}

svl_transport_client_t *svl_relay_client(svl_relay_t *relay, apr_pool_t *p)
{
    svl_transport_client_t *client = NULL;
    if (!relay->stopping && relay->options.transport->create(&client, relay->options.http, p) != APR_SUCCESS) {
        client = NULL;
    }
    return client;
}

svl_relay_sender_t *svl_relay_sender_take(svl_relay_t *relay)
{
    svl_relay_sender_t *sender = relay->resting;
    apr_pool_t *pool;
    if (sender) {
        relay->resting = sender->next;
        return sender;
    }
    if (apr_pool_create(&pool, relay->pool) != APR_SUCCESS) {
        return NULL;
    }
    sender = apr_pcalloc(pool, sizeof(*sender));
    sender->pool = pool;
    if (apr_pool_create(&sender->scratch, pool) != APR_SUCCESS
        || svl_sign_create(&sender->signer, relay->options.ring, pool) != APR_SUCCESS) {
        apr_pool_destroy(pool);
        return NULL;
    }
    sender->also = relay->senders;
    relay->senders = sender;
    return sender;
}

void svl_relay_sender_rest(svl_relay_t *relay, svl_relay_sender_t *sender)
{
    apr_pool_clear(sender->scratch);
    if (sender->capacity > SVL_RELAY_BODY_KEPT) {
        free(sender->body);
        sender->body = NULL;
        sender->capacity = 0;
    }
    sender->next = relay->resting;
    relay->resting = sender;
}

/* Few slices are made at once, which spares waking a worker while their peers are busy anyway. */
static void enqueue(svl_relay_t *relay, apr_uint64_t first, apr_uint32_t count, const svl_route_t *route,
                    const svl_route_t *ring, apr_uint32_t arity, int owned, svl_relay_batch_t **finished)
{
    svl_relay_batch_t *batch = NULL;
    if (relay->waiting < SVL_RELAY_QUEUE_MAX) {
        batch = svl_relay_queue_batch(relay, first, count, route, ring, arity);
    }
    if (!batch) { /* its route, if that is from the log, stays there */
        if (svl_relay_once_a_second(&relay->logged)) {
            svl_log_write(relay->options.log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_SUCCESS,
                          SVLNO(0311) "more than %d routes wait, or there is no memory: they are left to sync",
                          SVL_RELAY_QUEUE_MAX);
        }
        return;
    }
    batch->abandoned = !owned;
    if (svl_route_slices(batch->route.count, arity) <= SVL_RELAY_INLINE) {
        svl_relay_queue_split(relay, batch, finished);
        return;
    }
    svl_relay_queue_out(relay, batch);
}

/* One worker is started at most, which starts the others: the caller is not to pay for them.
 * @param owned nonzero: the batch's route in the log is this one, and is taken off there at the end */
static void push(svl_relay_t *relay, apr_uint64_t first, apr_uint32_t count, const svl_route_t *route, const svl_route_t *ring,
                 apr_uint32_t arity, int owned, int begin)
{
    svl_relay_batch_t *finished = NULL;
    sigset_t saved;
    int more = 0;
    svl_guard_enter(&saved);
    svl_relay_lock(relay);
    if (!relay->stopping) {
        enqueue(relay, first, count, route, ring, arity, owned, &finished);
        /* not while others lie that no worker has taken yet: there may be none */
        svl_relay_work_begin(relay, begin && !relay->flights.count ? SVL_RELAY_INLINE : 0);
        more = relay->stopping ? 0 : svl_relay_work_count(relay, 1);
    }
    svl_relay_unlock(relay);
    svl_relay_work_start(relay, more);
    svl_relay_queue_finish(relay, finished);
    svl_guard_leave(&saved);
}

void svl_relay_push(svl_relay_t *relay, apr_uint64_t first, apr_uint32_t count, const svl_route_t *route,
                    const svl_route_t *ring, apr_uint32_t arity, int begin)
{
    push(relay, first, count, route, ring, arity, 1, begin);
}

void svl_relay_pass(svl_relay_t *relay, apr_uint64_t first, apr_uint32_t count, const svl_route_t *route, apr_uint32_t arity)
{
    push(relay, first, count, route, NULL, arity, 0, 0);
}

void svl_relay_show(svl_relay_t *relay, apr_uint64_t position, apr_uint32_t node)
{
    const svl_route_t route = {.nodes = &node, .count = 1};
    push(relay, position, 1, &route, NULL, 1, 0, 0);
}

apr_uint32_t svl_relay_backlog(const svl_relay_t *relay)
{
    return __atomic_load_n(&relay->backlog, __ATOMIC_RELAXED);
}

static void abort_clients(svl_relay_t *relay)
{
    for (apr_uint32_t i = 0; i < relay->options.count; i++) {
        if (relay->lanes[i].client) {
            relay->options.transport->abort(relay->lanes[i].client);
            svl_link_abort(relay->lanes[i].link);
        }
    }
    for (svl_relay_sender_t *sender = relay->senders; sender; sender = sender->also) {
        if (sender->prober) {
            relay->options.transport->abort(sender->prober);
        }
    }
}

void svl_relay_abort_probes(svl_relay_t *relay)
{
    sigset_t saved;
    svl_guard_enter(&saved);
    svl_relay_lock(relay);
    relay->probed = 1;
    for (svl_relay_sender_t *sender = relay->senders; sender; sender = sender->also) {
        if (sender->guest && sender->prober) {
            relay->options.transport->abort(sender->prober);
        }
    }
    svl_relay_unlock(relay);
    svl_guard_leave(&saved);
}

void svl_relay_poke(svl_relay_t *relay)
{
    int more;
    svl_relay_lock(relay);
    svl_relay_flight_hurry(relay); /* should the alarm have failed */
    more = relay->stopping ? 0 : svl_relay_work_count(relay, relay->options.simultaneous);
    svl_relay_unlock(relay);
    svl_relay_work_start(relay, more);
    svl_crew_poke(relay->crew);
}

void svl_relay_abort(svl_relay_t *relay)
{
    sigset_t saved;
    svl_guard_enter(&saved);
    svl_relay_lock(relay);
    relay->stopping = 1;
    abort_clients(relay);
    svl_relay_unlock(relay);
    svl_guard_leave(&saved);
}

apr_status_t svl_relay_stop(svl_relay_t *relay, apr_time_t deadline)
{
    apr_time_t now;
    sigset_t saved;
    int left;
    svl_guard_enter(&saved);
    svl_relay_lock(relay);
    relay->stopping = 1;
    abort_clients(relay);
    while (relay->workers + relay->guests > 0 && (now = apr_time_now()) < deadline) {
        apr_thread_cond_timedwait(relay->left, relay->mutex, deadline - now);
    }
    left = relay->workers + relay->guests;
    svl_relay_unlock(relay);
    if (!left && !relay->stopped) {
        svl_relay_queue_forget(relay);
        svl_relay_watch_forget(relay);
        relay->stopped = 1;
    }
    svl_guard_leave(&saved);
    return left ? APR_TIMEUP : APR_SUCCESS;
}

static apr_status_t release(void *baton)
{
    svl_relay_t *relay = baton;
    if (!relay->stopped && svl_relay_stop(relay, apr_time_now() + RELEASE_WAIT) != APR_SUCCESS) {
        return APR_TIMEUP;
    }
    svl_alarm_end(relay->alarm);
    svl_crew_end(relay->crew);
    for (svl_relay_sender_t *sender = relay->senders; sender; sender = sender->also) {
        free(sender->body);
    }
    apr_pool_destroy(relay->pool);
    return APR_SUCCESS;
}

apr_status_t svl_relay_create(svl_relay_t **relay, const svl_relay_options_t *options, apr_pool_t *p)
{
    apr_pool_t *pool = NULL;
    svl_relay_t *made;
    apr_status_t status = svl_pool_create(&pool);
    if (status != APR_SUCCESS) {
        goto cleanup;
    }
    made = apr_pcalloc(pool, sizeof(*made));
    made->options = *options;
    made->pool = pool;
    made->lanes = apr_pcalloc(pool, options->count * sizeof(*made->lanes));
    made->names = apr_hash_make(pool);
    for (apr_uint32_t i = 0; i < options->count; i++) {
        made->lanes[i].peer = &options->peers[i];
        apr_hash_set(made->names, options->peers[i].name, APR_HASH_KEY_STRING, &made->lanes[i]);
    }
    if ((status = apr_thread_mutex_create(&made->mutex, APR_THREAD_MUTEX_DEFAULT, pool)) != APR_SUCCESS
        || (status = apr_thread_cond_create(&made->left, pool)) != APR_SUCCESS
        || (status = svl_crew_create(&made->crew, options->simultaneous, svl_relay_work, made, pool)) != APR_SUCCESS
        || (status = svl_alarm_create(&made->alarm, svl_relay_work_alarm, made, pool)) != APR_SUCCESS) {
        goto cleanup;
    }
    apr_pool_cleanup_register(p, made, release, apr_pool_cleanup_null);
    *relay = made;
cleanup:
    if (status != APR_SUCCESS && pool) {
        apr_pool_destroy(pool);
    }
    return status;
}

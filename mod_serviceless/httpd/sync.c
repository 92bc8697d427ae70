/* SPDX-License-Identifier: Apache-2.0 */
#include "sync.h"

#include <unistd.h>

#include <apr_thread_proc.h>
#include <httpd.h>
#include <http_log.h>

#include "../core/pool.h"
#include "sync_private.h"

APLOG_USE_MODULE(serviceless);

static apr_uint64_t by_chance(svl_sync_t *sync, apr_uint64_t below)
{
    apr_uint64_t z = sync->seed += APR_UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ (z >> 30)) * APR_UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * APR_UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

/* A quarter either way: nodes that were started together do not stay in step. */
static apr_interval_time_t next_interval(svl_sync_t *sync)
{
    apr_interval_time_t interval = sync->runtime->node->sync_interval;
    return interval - interval / 4 + (apr_interval_time_t)by_chance(sync, (apr_uint64_t)(interval / 2 + 1));
}

static int is_candidate(const svl_node_t *node, apr_uint32_t peer)
{
    return peer != node->self && svl_peer_living(node->peers[peer]);
}

/* One random living peer of the set, unless one of its members is chosen for another set already. */
static void choose_of_set(svl_sync_t *sync, const svl_set_t *set)
{
    const svl_node_t *node = sync->runtime->node;
    apr_uint32_t living = 0;
    apr_uint64_t which;
    for (apr_uint32_t i = 0; i < set->count; i++) {
        if (sync->peers[set->members[i]].by_chance) {
            return;
        }
        living += is_candidate(node, set->members[i]);
    }
    if (!living) {
        return;
    }
    which = by_chance(sync, living);
    for (apr_uint32_t i = 0; i < set->count; i++) {
        if (is_candidate(node, set->members[i]) && which-- == 0) {
            sync->peers[set->members[i]].chosen = sync->peers[set->members[i]].by_chance = 1;
            return;
        }
    }
}

/* Small sets first, which are often served by the same peer as the larger ones: "all" has every node. */
static void choose_of_sets(svl_sync_t *sync, apr_pool_t *p)
{
    const svl_node_t *node = sync->runtime->node;
    for (apr_uint32_t size = 1, next; size; size = next) {
        next = 0;
        for (apr_hash_index_t *hi = apr_hash_first(p, node->sets); hi; hi = apr_hash_next(hi)) {
            const svl_set_t *set = apr_hash_this_val(hi);
            if (set->count == size) {
                choose_of_set(sync, set);
            }
            else if (set->count > size && (!next || set->count < next)) {
                next = set->count;
            }
        }
    }
}

/* @return how many peers this turn is to ask */
static int choose(svl_sync_t *sync, apr_time_t now)
{
    const svl_node_t *node = sync->runtime->node;
    int count = 0;
    int due = now >= sync->next || sync->next - now > 2 * node->sync_interval || sync->soon;
    for (apr_uint32_t i = 0; i < node->count; i++) {
        svl_sync_peer_t *peer = &sync->peers[i];
        int living = is_candidate(node, i);
        peer->returned = svl_peer_returns(node->peers[i]);
        peer->came_up = living && peer->returned != peer->returns;
        peer->chosen = living && (peer->wanted || peer->came_up);
        peer->by_chance = 0;
    }
    if (due) {
        apr_pool_t *p;
        svl_pool_make(&p);
        choose_of_sets(sync, p);
        apr_pool_destroy(p);
        sync->next = now + next_interval(sync);
        sync->soon = 0;
    }
    for (apr_uint32_t i = 0; i < node->count; i++) {
        count += sync->peers[i].chosen;
        sync->peers[i].wanted &= !sync->peers[i].chosen;
    }
    return count;
}

static int stops(const svl_sync_t *sync)
{
    return __atomic_load_n(&sync->stopping, __ATOMIC_ACQUIRE);
}

/* A peer that is busy or gone is no reason to wait for an interval: another one, or it, is asked in a second.  One that answers
 * something wrong will do so again. */
static void turn(svl_sync_t *sync, apr_pool_t *p)
{
    const svl_node_t *node = sync->runtime->node;
    int completed = 0;
    for (apr_uint32_t i = 0; i < node->count && !stops(sync); i++) {
        if (!sync->peers[i].chosen) {
            continue;
        }
        sync->peers[i].chosen = 0;
        switch (svl_sync_exchange(sync, i)) {
        case SVL_PEER_SYNC_PARTIAL:
            sync->peers[i].wanted = 1;
            break;
        case SVL_PEER_SYNC_BUSY:
            sync->soon = 1;
            break;
        case SVL_PEER_SYNC_FAILED:
            sync->soon |= !svl_peer_living(node->peers[i]);
            sync->peers[i].returns = sync->peers[i].returned; /* else it comes up again, and is asked then */
            break;
        default:
            sync->peers[i].returns = sync->peers[i].returned;
            completed = 1;
        }
    }
    if (!stops(sync)) {
        svl_missed_decide(sync->missed, sync->peers, completed, apr_time_now(), p);
    }
}

static void *APR_THREAD_FUNC sync_thread(apr_thread_t *thread, void *baton)
{
    svl_sync_t *sync = baton;
    (void)thread;
    apr_thread_mutex_lock(sync->lock);
    while (!stops(sync)) {
        if (!sync->busy) {
            apr_thread_cond_wait(sync->changed, sync->lock);
            continue;
        }
        apr_thread_mutex_unlock(sync->lock);
        turn(sync, sync->scratch);
        apr_pool_clear(sync->scratch);
        apr_thread_mutex_lock(sync->lock);
        sync->busy = 0;
    }
    sync->ended = 1;
    apr_thread_cond_broadcast(sync->changed);
    apr_thread_mutex_unlock(sync->lock);
    return NULL;
}

/* With the lock.  The caller's thread takes no signals, so neither does the new one. */
static apr_status_t start(svl_sync_t *sync)
{
    const svl_node_t *node = sync->runtime->node;
    apr_status_t rv = APR_SUCCESS;
    apr_pool_t *p = NULL;
    if (!sync->scratch) {
        svl_pool_make(&sync->scratch);
    }
    if (!sync->client) {
        rv = svl_curl_transport.create(&sync->client, &node->http, sync->pool);
    }
    if (rv == APR_SUCCESS && !sync->signer) {
        rv = svl_sign_create(&sync->signer, node->ring, sync->pool);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_pool_create(&p, sync->pool); /* of this try alone */
    }
    if (rv == APR_SUCCESS) {
        rv = apr_thread_create(&sync->thread, NULL, sync_thread, sync, p);
    }
    if (rv != APR_SUCCESS) {
        if (p) {
            apr_pool_destroy(p);
        }
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, node->server, SVLNO(0174) "no thread for sync: it is tried again in a second");
        sync->thread = NULL;
    }
    return rv;
}

void svl_sync_turn(svl_sync_t *sync, apr_time_t now)
{
    if (sync->runtime->node->sync_interval <= 0 || sync->runtime->node->count < 2) {
        return;
    }
    apr_thread_mutex_lock(sync->lock);
    if (!sync->busy && !stops(sync) && (sync->thread || start(sync) == APR_SUCCESS) && choose(sync, now) > 0) {
        sync->busy = 1;
        apr_thread_cond_broadcast(sync->changed);
    }
    apr_thread_mutex_unlock(sync->lock);
}

apr_status_t svl_sync_stop(svl_sync_t *sync, apr_time_t deadline)
{
    apr_status_t ignored;
    int left;
    apr_thread_mutex_lock(sync->lock);
    __atomic_store_n(&sync->stopping, 1, __ATOMIC_RELEASE);
    if (sync->client) {
        svl_curl_transport.abort(sync->client);
    }
    apr_thread_cond_broadcast(sync->changed);
    for (apr_time_t now = apr_time_now(); sync->thread && !sync->ended && now < deadline; now = apr_time_now()) {
        apr_thread_cond_timedwait(sync->changed, sync->lock, deadline - now);
    }
    left = sync->thread && !sync->ended;
    apr_thread_mutex_unlock(sync->lock);
    if (left) {
        return APR_TIMEUP;
    }
    if (sync->thread) {
        apr_thread_join(&ignored, sync->thread);
        sync->thread = NULL;
    }
    return APR_SUCCESS;
}

/* Runs when the pool of the runtime is destroyed, which child_leave does only when no thread is left. */
static apr_status_t release(void *baton)
{
    svl_sync_t *sync = baton;
    apr_pool_destroy(sync->pool);
    if (sync->scratch) {
        apr_pool_destroy(sync->scratch);
    }
    return APR_SUCCESS;
}

apr_status_t svl_sync_create(svl_sync_t **out, svl_runtime_t *runtime, apr_pool_t *p)
{
    svl_sync_t *sync = apr_pcalloc(p, sizeof(*sync));
    apr_status_t rv;
    svl_pool_make(&sync->pool);
    sync->runtime = runtime;
    sync->seed = (apr_uint64_t)apr_time_now() ^ (apr_uint64_t)getpid() << 32;
    sync->peers = apr_pcalloc(p, runtime->node->count * sizeof(*sync->peers));
    for (apr_uint32_t i = 0; i < runtime->node->count; i++) {
        sync->peers[i].returns = svl_peer_returns(runtime->node->peers[i]);
    }
    apr_pool_cleanup_register(p, sync, release, apr_pool_cleanup_null);
    rv = apr_thread_mutex_create(&sync->lock, APR_THREAD_MUTEX_DEFAULT, sync->pool);
    if (rv == APR_SUCCESS) {
        rv = apr_thread_cond_create(&sync->changed, sync->pool);
    }
    if (rv == APR_SUCCESS) {
        rv = svl_missed_create(&sync->missed, runtime, sync->pool);
    }
    *out = sync;
    return rv;
}

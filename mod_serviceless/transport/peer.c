/* SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"

#define LOAD(member) __atomic_load_n(&(member), __ATOMIC_RELAXED)
#define STORE(member, value) __atomic_store_n(&(member), (value), __ATOMIC_RELAXED)
#define ADD(member, value) __atomic_add_fetch(&(member), (value), __ATOMIC_RELAXED)

const apr_int64_t svl_histogram_bounds[SVL_HISTOGRAM_BUCKETS - 1] = {100,   250,   500,    1000,    2500,   5000,
                                                                     10000, 50000, 250000, 1000000, 5000000};

void svl_histogram_add(svl_histogram_t *histogram, apr_int64_t micros)
{
    int bucket = 0;
    if (micros < 0) { /* the clock was set back meanwhile */
        micros = 0;
    }
    while (bucket < SVL_HISTOGRAM_BUCKETS - 1 && micros > svl_histogram_bounds[bucket]) {
        bucket++;
    }
    ADD(histogram->buckets[bucket], 1);
    ADD(histogram->sum, (apr_uint64_t)micros);
}

const char *svl_peer_result_name(svl_peer_result_e result)
{
    static const char *const names[SVL_PEER_RESULTS] = {
        [SVL_PEER_OK] = "ok",
        [SVL_PEER_CONNECT] = "connect",
        [SVL_PEER_TLS] = "tls",
        [SVL_PEER_TIMEOUT] = "timeout",
        [SVL_PEER_BROKEN] = "broken",
        [SVL_PEER_REFUSED] = "refused",
        [SVL_PEER_UNAVAILABLE] = "unavailable",
        [SVL_PEER_UNSIGNED] = "unsigned",
        [SVL_PEER_SKIPPED] = "skipped",
    };
    return (unsigned int)result < SVL_PEER_RESULTS ? names[result] : "unknown";
}

const char *svl_peer_sync_name(svl_peer_sync_e result)
{
    static const char *const names[SVL_PEER_SYNCS] = {
        [SVL_PEER_SYNC_EQUAL] = "equal",
        [SVL_PEER_SYNC_EXCHANGED] = "exchanged",
        [SVL_PEER_SYNC_PARTIAL] = "partial",
        [SVL_PEER_SYNC_BUSY] = "busy",
        [SVL_PEER_SYNC_FAILED] = "failed",
    };
    return (unsigned int)result < SVL_PEER_SYNCS ? names[result] : "unknown";
}

int svl_peer_living(const svl_peer_state_t *peer)
{
    return !LOAD(peer->down);
}

/* Jitter without a lock: one step of splitmix64 over a counter, the clock and the peer's address. */
static apr_uint64_t scatter(const svl_peer_state_t *peer, apr_time_t now)
{
    static apr_uint64_t counter;
    apr_uint64_t z = ADD(counter, APR_UINT64_C(0x9e3779b97f4a7c15)) ^ (apr_uint64_t)now ^ (apr_uint64_t)(apr_uintptr_t)peer;
    z = (z ^ (z >> 30)) * APR_UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * APR_UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static apr_interval_time_t backoff(const svl_peer_state_t *peer, apr_uint32_t failures, apr_time_t now)
{
    apr_interval_time_t wait = SVL_PEER_BACKOFF_MIN;
    while (failures-- > 1 && wait < SVL_PEER_BACKOFF_MAX) {
        wait *= 2;
    }
    if (wait > SVL_PEER_BACKOFF_MAX) {
        wait = SVL_PEER_BACKOFF_MAX;
    }
    wait += (apr_interval_time_t)(scatter(peer, now) % (apr_uint64_t)(wait / 2 + 1)) - wait / 4;
    if (wait < SVL_PEER_BACKOFF_MIN) {
        return SVL_PEER_BACKOFF_MIN;
    }
    return wait < SVL_PEER_BACKOFF_MAX ? wait : SVL_PEER_BACKOFF_MAX;
}

apr_uint32_t svl_peer_returns(const svl_peer_state_t *peer)
{
    return LOAD(peer->returns);
}

static int came_up(svl_peer_state_t *peer, apr_interval_time_t took, apr_time_t now)
{
    svl_histogram_add(&peer->seconds, took);
    STORE(peer->last_ok, now);
    if (svl_peer_living(peer)) { /* spares the shared line a write in the common case */
        return 0;
    }
    STORE(peer->failures, 0);
    if (!__atomic_exchange_n(&peer->down, 0, __ATOMIC_RELAXED)) {
        return 0;
    }
    STORE(peer->since, now);
    ADD(peer->returns, 1);
    return 1;
}

/* Many requests, of many children, were under way when a peer went down: their failures say nothing new, so only one that began
 * after it doubles the backoff. */
static int went_down(svl_peer_state_t *peer, apr_interval_time_t took, apr_time_t now)
{
    if (svl_peer_living(peer)) {
        STORE(peer->failures, 1);
        STORE(peer->since, now);
        STORE(peer->next_probe, now + backoff(peer, 1, now));
        return !__atomic_exchange_n(&peer->down, 1, __ATOMIC_RELAXED);
    }
    if (now - took >= LOAD(peer->since)) {
        apr_uint32_t failures = LOAD(peer->failures);
        failures = failures < APR_UINT32_MAX ? failures + 1 : failures;
        STORE(peer->failures, failures);
        STORE(peer->next_probe, now + backoff(peer, failures, now));
    }
    return 0;
}

void svl_peer_count(svl_peer_state_t *peer, svl_peer_result_e result)
{
    ADD(peer->relays[result], 1);
}

int svl_peer_note(svl_peer_state_t *peer, svl_peer_result_e result, apr_interval_time_t took, apr_time_t now)
{
    svl_peer_count(peer, result);
    switch (result) {
    case SVL_PEER_OK:
        return came_up(peer, took, now);
    case SVL_PEER_REFUSED:
    case SVL_PEER_SKIPPED:
        return 0;
    default:
        return went_down(peer, took, now);
    }
}

void svl_peer_heard(svl_peer_state_t *peer, apr_time_t now)
{
    if (!svl_peer_living(peer)) {
        STORE(peer->next_probe, now);
    }
}

/* The claim lasts as long as the backoff would: should the prober die, another one takes over then.  What lies further ahead
 * than any backoff was written before the clock was set back. */
int svl_peer_claim_probe(svl_peer_state_t *peer, apr_time_t now)
{
    apr_int64_t due = LOAD(peer->next_probe);
    if (svl_peer_living(peer) || (due > now && due - now <= SVL_PEER_BACKOFF_MAX)) {
        return 0;
    }
    return __atomic_compare_exchange_n(&peer->next_probe, &due, now + backoff(peer, LOAD(peer->failures) + 1, now), 0,
                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

int svl_peer_claim_look(svl_peer_state_t *peer, apr_time_t now)
{
    apr_int64_t looked = LOAD(peer->looked);
    if (now - looked < SVL_PEER_LOOK_MIN && now >= looked) {
        return 0;
    }
    return __atomic_compare_exchange_n(&peer->looked, &looked, now, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void svl_peer_signed(svl_peer_state_t *peer, apr_int64_t seconds, apr_time_t now)
{
    apr_time_t steady = svl_transport_monotonic();
    STORE(peer->clock_offset, apr_time_from_sec(seconds) - now);
    STORE(peer->steady_offset, apr_time_from_sec(seconds) - steady);
    STORE(peer->steady_heard, steady);
}

apr_int64_t svl_peer_clock(svl_peer_state_t *const *peers, apr_uint32_t count, apr_time_t since)
{
    apr_int64_t latest = 0;
    for (apr_uint32_t i = 0; i < count; i++) {
        apr_time_t heard = LOAD(peers[i]->steady_heard);
        apr_int64_t offset = LOAD(peers[i]->steady_offset);
        if (heard && heard > since && (!latest || offset > latest)) {
            latest = offset;
        }
    }
    return latest;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/transport/peer.h"

#include "unit.h"

#define NOW (APR_INT64_C(1700000000) * APR_USEC_PER_SEC)

static const svl_peer_result_e failures[] = {SVL_PEER_CONNECT, SVL_PEER_TLS,         SVL_PEER_TIMEOUT,
                                             SVL_PEER_BROKEN,  SVL_PEER_UNAVAILABLE, SVL_PEER_UNSIGNED};

static void all_zero_is_up(void **state)
{
    svl_peer_state_t peer = {0};

    (void)state;
    assert_true(svl_peer_living(&peer));
    assert_false(svl_peer_claim_probe(&peer, NOW));
}

static void every_failure_takes_it_down_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(failures); i++) {
        svl_peer_state_t peer = {0};

        assert_true(svl_peer_note(&peer, failures[i], 10, NOW));
        assert_false(svl_peer_living(&peer));
        assert_int_equal(peer.since, NOW);
        assert_false(svl_peer_note(&peer, failures[i], 10, NOW + 20));
        assert_int_equal(peer.relays[failures[i]], 2);
    }
}

static void an_acknowledgement_brings_it_up_once(void **state)
{
    svl_peer_state_t peer = {0};

    (void)state;
    svl_peer_note(&peer, SVL_PEER_CONNECT, 10, NOW);
    assert_true(svl_peer_note(&peer, SVL_PEER_OK, 700, NOW + 100));
    assert_true(svl_peer_living(&peer));
    assert_int_equal(peer.since, NOW + 100);
    assert_false(svl_peer_note(&peer, SVL_PEER_OK, 800, NOW + 200));
    assert_int_equal(peer.failures, 0);
    assert_int_equal(peer.last_ok, NOW + 200);
    assert_int_equal(peer.seconds.sum, 1500);
    assert_int_equal(peer.seconds.buckets[3], 2);
}

static void a_refusal_and_a_skip_change_nothing_but_the_counter(void **state)
{
    svl_peer_state_t peer = {0}, before;

    (void)state;
    for (int down = 0; down < 2; down++) {
        before = peer;
        assert_false(svl_peer_note(&peer, SVL_PEER_REFUSED, 10, NOW + 10));
        assert_false(svl_peer_note(&peer, SVL_PEER_SKIPPED, 10, NOW + 10));
        before.relays[SVL_PEER_REFUSED]++;
        before.relays[SVL_PEER_SKIPPED]++;
        assert_memory_equal(&before, &peer, sizeof(peer));
        svl_peer_note(&peer, SVL_PEER_TIMEOUT, 10, NOW);
    }
}

/* Doubled, a quarter either way, and always between the two bounds, however often it fails. */
static void the_backoff_doubles_between_its_bounds(void **state)
{
    svl_peer_state_t peer = {0};
    apr_time_t now = NOW;
    apr_interval_time_t doubled = SVL_PEER_BACKOFF_MIN;

    (void)state;
    for (int i = 0; i < 200; i++) {
        svl_peer_note(&peer, SVL_PEER_CONNECT, 10, now);
        apr_interval_time_t wait = peer.next_probe - now;

        assert_true(wait >= SVL_PEER_BACKOFF_MIN && wait <= SVL_PEER_BACKOFF_MAX);
        assert_true(wait >= doubled * 3 / 4 - 1 && wait <= doubled * 5 / 4 + 1);
        doubled = doubled * 2 > SVL_PEER_BACKOFF_MAX ? SVL_PEER_BACKOFF_MAX : doubled * 2;
        now = peer.next_probe + 100;
    }
    peer.failures = APR_UINT32_MAX;
    svl_peer_note(&peer, SVL_PEER_CONNECT, 10, now);
    assert_int_equal(peer.failures, APR_UINT32_MAX);
    assert_true(peer.next_probe - now >= SVL_PEER_BACKOFF_MAX * 3 / 4);
}

static void jitter_scatters(void **state)
{
    int different = 0;
    apr_time_t last = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        svl_peer_state_t peer = {.down = 1, .failures = 3, .since = NOW - 100};

        svl_peer_note(&peer, SVL_PEER_CONNECT, 10, NOW);
        different += peer.next_probe != last;
        last = peer.next_probe;
    }
    assert_true(different > 90);
}

/* 50 requests were under way when it went down: that is one failure, not 50. */
static void requests_that_began_before_do_not_double_the_backoff(void **state)
{
    svl_peer_state_t peer = {0};

    (void)state;
    svl_peer_note(&peer, SVL_PEER_TIMEOUT, 1000, NOW);
    for (int i = 1; i <= 50; i++) {
        svl_peer_note(&peer, SVL_PEER_TIMEOUT, 1000, NOW + i);
    }
    assert_int_equal(peer.failures, 1);
    svl_peer_note(&peer, SVL_PEER_TIMEOUT, 1000, NOW + 2000);
    assert_int_equal(peer.failures, 2);
}

static void one_of_several_children_claims_a_probe(void **state)
{
    svl_peer_state_t peer = {0};

    (void)state;
    svl_peer_note(&peer, SVL_PEER_CONNECT, 10, NOW);
    assert_false(svl_peer_claim_probe(&peer, NOW + SVL_PEER_BACKOFF_MIN - 1));
    assert_true(svl_peer_claim_probe(&peer, NOW + SVL_PEER_BACKOFF_MAX));
    assert_false(svl_peer_claim_probe(&peer, NOW + SVL_PEER_BACKOFF_MAX));
    assert_true(svl_peer_claim_probe(&peer, NOW + 2 * SVL_PEER_BACKOFF_MAX)); /* the first one died meanwhile */
}

static void a_peer_that_is_heard_is_probed_at_once(void **state)
{
    svl_peer_state_t peer = {0};

    (void)state;
    svl_peer_heard(&peer, NOW);
    assert_int_equal(peer.next_probe, 0);
    svl_peer_note(&peer, SVL_PEER_CONNECT, 10, NOW);
    svl_peer_heard(&peer, NOW + 1);
    assert_true(svl_peer_claim_probe(&peer, NOW + 1));
    assert_false(svl_peer_living(&peer)); /* hearing it is no acknowledgement */
}

static void a_clock_that_is_set_back_stops_no_probe(void **state)
{
    svl_peer_state_t peer = {0};

    (void)state;
    svl_peer_note(&peer, SVL_PEER_CONNECT, 10, NOW);
    assert_true(svl_peer_claim_probe(&peer, NOW - apr_time_from_sec(86400)));
}

static void histogram_bounds_belong_to_their_buckets(void **state)
{
    svl_histogram_t histogram = {{0}, 0};

    (void)state;
    svl_histogram_add(&histogram, -5);
    for (int i = 0; i < SVL_HISTOGRAM_BUCKETS - 1; i++) {
        assert_true(i == 0 || svl_histogram_bounds[i] > svl_histogram_bounds[i - 1]);
        svl_histogram_add(&histogram, svl_histogram_bounds[i]);
        svl_histogram_add(&histogram, svl_histogram_bounds[i] + 1);
    }
    assert_int_equal(histogram.buckets[0], 2);
    assert_int_equal(histogram.buckets[1], 2);
    assert_int_equal(histogram.buckets[SVL_HISTOGRAM_BUCKETS - 1], 1);
}

static void results_have_names(void **state)
{
    (void)state;
    for (int i = 0; i < SVL_PEER_RESULTS; i++) {
        assert_string_not_equal(svl_peer_result_name((svl_peer_result_e)i), "unknown");
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(svl_peer_result_name((svl_peer_result_e)i), svl_peer_result_name((svl_peer_result_e)j));
        }
    }
    assert_string_equal(svl_peer_result_name(SVL_PEER_RESULTS), "unknown");
}

static void the_latest_of_the_peers_clocks_counts(void **state)
{
    svl_peer_state_t a = {0}, b = {0}, never = {0};
    svl_peer_state_t *const peers[] = {&never, &a, &b};
    apr_time_t steady = svl_transport_monotonic();

    (void)state;
    assert_true(steady > 0);
    assert_int_equal(svl_peer_clock(peers, 3, 0), 0);
    svl_peer_signed(&a, 1700000000, apr_time_from_sec(1700000003));
    assert_int_equal(a.clock_offset, -apr_time_from_sec(3));
    assert_true(apr_time_from_sec(1700000000) - svl_peer_clock(peers, 3, 0) >= steady);
    svl_peer_signed(&b, 1700000100, apr_time_from_sec(1700000003));
    assert_int_equal(svl_peer_clock(peers, 3, 0), b.steady_offset);
    assert_int_equal(svl_peer_clock(peers, 2, 0), a.steady_offset);
    assert_int_equal(svl_peer_clock(peers, 3, svl_transport_monotonic() + 1), 0);
}

static void what_is_only_counted_says_nothing_of_the_peer(void **state)
{
    svl_peer_state_t peer = {0};

    (void)state;
    svl_peer_count(&peer, SVL_PEER_TIMEOUT);
    assert_int_equal(peer.relays[SVL_PEER_TIMEOUT], 1);
    assert_true(svl_peer_living(&peer));
    assert_int_equal(peer.failures, 0);
}

static const struct CMUnitTest promises[] = {
    PROMISE("the latest of the peers' clocks counts", the_latest_of_the_peers_clocks_counts),
    PROMISE("all zero is up", all_zero_is_up),
    PROMISE("every failure takes a peer down, once", every_failure_takes_it_down_once),
    PROMISE("an acknowledgement brings it up, once", an_acknowledgement_brings_it_up_once),
    PROMISE("a refusal and a skip change nothing but the counter", a_refusal_and_a_skip_change_nothing_but_the_counter),
    PROMISE("what is only counted says nothing of the peer", what_is_only_counted_says_nothing_of_the_peer),
    PROMISE("the backoff doubles between its bounds", the_backoff_doubles_between_its_bounds),
    PROMISE("jitter scatters probes", jitter_scatters),
    PROMISE("requests that began before do not double the backoff", requests_that_began_before_do_not_double_the_backoff),
    PROMISE("one of several children claims a probe", one_of_several_children_claims_a_probe),
    PROMISE("a peer that is heard is probed at once", a_peer_that_is_heard_is_probed_at_once),
    PROMISE("a clock that is set back stops no probe", a_clock_that_is_set_back_stops_no_probe),
    PROMISE("the bounds of a histogram belong to their buckets", histogram_bounds_belong_to_their_buckets),
    PROMISE("results have names", results_have_names),
};

UNIT_MAIN(promises)

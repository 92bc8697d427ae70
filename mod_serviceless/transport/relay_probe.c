/* SPDX-License-Identifier: Apache-2.0 */
#include "relay_private.h"

#include <string.h>

/* A probe is a relay message without a call: a peer that answers it signed would have answered one with calls.  Probes are not counted
 * against ServicelessSimultaneousRequests: one after the other they would take a timeout each.  Where there is no result, `answers` stays
 * as it is. */
static void probe(svl_relay_t *relay, svl_relay_sender_t *sender, svl_relay_lane_t **lanes, int count,
                  apr_interval_time_t timeout, svl_peer_result_e *answers)
{
    apr_size_t length;
    const char *line =
        svl_message_relay_line(relay->options.peers[relay->options.self].name, NULL, 0, 0, -1, sender->scratch, &length);
    svl_transport_exchange_t *exchanges = apr_palloc(sender->scratch, (apr_size_t)count * sizeof(*exchanges));
    svl_transport_exchange_t **pointers = apr_palloc(sender->scratch, (apr_size_t)count * sizeof(*pointers));
    if (!sender->prober) {
        svl_relay_lock(relay);
        sender->prober = sender->guest && relay->probed ? NULL : svl_relay_client(relay, sender->pool);
        svl_relay_unlock(relay);
    }
    if (!count || !sender->prober) {
        return;
    }
    for (int i = 0; i < count; i++) {
        pointers[i] = &exchanges[i];
        if (svl_relay_send_sign(sender, lanes[i]->peer, line, length, &exchanges[i]) != APR_SUCCESS) {
            return;
        }
        exchanges[i].timeout = timeout;
        exchanges[i].once = 1;
    }
    svl_transport_perform(relay->options.transport, sender->prober, pointers, count);
    for (int i = 0; i < count; i++) {
        const svl_message_ack_t *ack;
        if (exchanges[i].result != SVL_TRANSPORT_ABORTED && exchanges[i].result != SVL_TRANSPORT_LOCAL) {
            answers[i] = svl_relay_send_judge(relay, sender, lanes[i]->peer, &exchanges[i], &ack);
        }
    }
}

/* Windows of the same route follow one another, so most are looked at once. */
static void mark_routes(svl_relay_t *relay, const svl_relay_list_t *list, unsigned char *marks)
{
    const svl_relay_slice_t *last = NULL;
    for (const svl_relay_slice_t *slice = list->head; slice; slice = slice->next) {
        if (last && last->route.nodes == slice->route.nodes && last->route.count == slice->route.count) {
            continue;
        }
        last = slice;
        for (apr_uint32_t i = 0; i < slice->route.count; i++) {
            if (slice->route.nodes[i] < relay->options.count) {
                marks[slice->route.nodes[i]] = 1;
            }
        }
    }
}

/* A quarter below the connect timeout, so that two connect timeouts hold the first failure, this, and the hops that follow.
 * Routes that wait for a worker are asked for as well: with few workers their nodes would otherwise fail one after the other. */
void svl_relay_probe_ahead(svl_relay_t *relay, svl_relay_sender_t *sender, const svl_relay_list_t *taken)
{
    unsigned char *marks = apr_pcalloc(sender->scratch, relay->options.count);
    svl_relay_lane_t *lanes[SVL_RELAY_PROBES_MAX];
    svl_peer_result_e answers[SVL_RELAY_PROBES_MAX];
    int count = 0;
    mark_routes(relay, taken, marks);
    svl_relay_lock(relay);
    for (svl_relay_lane_t *lane = relay->ready; lane; lane = lane->next) {
        mark_routes(relay, &lane->queue, marks);
    }
    svl_relay_unlock(relay);
    for (apr_uint32_t i = 0; i < relay->options.count && count < SVL_RELAY_PROBES_MAX; i++) {
        const svl_peer_state_t *state = svl_relay_state(relay, i);
        if (marks[i] && state && svl_peer_living(state)) {
            lanes[count++] = &relay->lanes[i];
        }
    }
    probe(relay, sender, lanes, count, relay->options.probe_timeout * 3 / 4, answers);
}

void svl_relay_probe_lanes(svl_relay_t *relay, svl_relay_lane_t **lanes, int count)
{
    svl_peer_result_e answers[SVL_RELAY_PROBES_MAX];
    svl_relay_sender_t *sender = NULL;
    for (int i = 0; i < count; i++) {
        lanes[i]->answer = answers[i] = SVL_PEER_SKIPPED;
    }
    svl_relay_lock(relay);
    if (count && !relay->stopping && !relay->probed) {
        sender = svl_relay_sender_take(relay);
        relay->guests += sender != NULL;
    }
    if (sender) {
        sender->guest = 1;
    }
    svl_relay_unlock(relay);
    if (!sender) {
        return;
    }
    probe(relay, sender, lanes, count, relay->options.probe_timeout, answers);
    for (int i = 0; i < count; i++) {
        lanes[i]->answer = answers[i];
    }
    svl_relay_lock(relay);
    sender->guest = 0;
    svl_relay_sender_rest(relay, sender);
    relay->guests--;
    apr_thread_cond_signal(relay->left);
    svl_relay_unlock(relay);
}

void svl_relay_probe(svl_relay_t *relay, apr_time_t now)
{
    svl_relay_lane_t *lanes[SVL_RELAY_PROBES_MAX];
    int count = 0;
    for (apr_uint32_t i = 0; i < relay->options.count && count < SVL_RELAY_PROBES_MAX; i++) {
        svl_peer_state_t *state = svl_relay_state(relay, i);
        if (state && svl_peer_claim_probe(state, now)) {
            lanes[count++] = &relay->lanes[i];
        }
    }
    svl_relay_probe_lanes(relay, lanes, count);
}

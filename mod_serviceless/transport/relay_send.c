/* SPDX-License-Identifier: Apache-2.0 */
#include "relay_private.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "../core/name.h"
#include "signed.h"

#define WORDS_MAX 200 /* bytes of a peer's words that go to the log */

/* A message that grows in the sender's buffer. */
typedef struct message_t {
    apr_size_t length;
    apr_uint32_t calls;
    const svl_relay_slice_t *group; /* whose relay line came last; NULL: none */
} message_t;

/* Whoever is handed a route need not find out again who is down. */
static const char *relay_line(svl_relay_t *relay, svl_relay_sender_t *sender, const svl_relay_slice_t *slice,
                              apr_size_t *length)
{
    const char **names = apr_palloc(sender->scratch, slice->route.count * sizeof(*names));
    apr_uint32_t count = 0;
    for (apr_uint32_t i = 1; i < slice->route.count; i++) {
        apr_uint32_t node = slice->route.nodes[i];
        const svl_peer_state_t *state = svl_relay_state(relay, node);
        if (state && svl_peer_living(state)) {
            names[count++] = relay->options.peers[node].name;
        }
    }
    return svl_message_relay_line(relay->options.peers[relay->options.self].name, names, count, slice->batch->arity, -1,
                                  sender->scratch, length);
}

static int same_group(const svl_relay_slice_t *one, const svl_relay_slice_t *other)
{
    return one && one->route.nodes == other->route.nodes && one->route.count == other->route.count
           && one->batch->arity == other->batch->arity;
}

/* @return 0 when there is no memory */
static int reserve(svl_relay_sender_t *sender, apr_size_t bytes)
{
    apr_size_t capacity = sender->capacity ? sender->capacity : 4096;
    char *body;
    if (bytes <= sender->capacity) {
        return 1;
    }
    while (capacity < bytes) {
        capacity *= 2;
    }
    body = realloc(sender->body, capacity);
    if (!body) {
        return 0;
    }
    sender->body = body;
    sender->capacity = capacity;
    return 1;
}

/* @return 0 when the message is full */
static int add_call(svl_relay_t *relay, svl_relay_sender_t *sender, message_t *message, const svl_relay_slice_t *slice,
                    const svl_store_record_t *record)
{
    const char *line = NULL;
    apr_size_t before = 0;
    if (message->calls == SVL_RELAY_CALLS_MAX) {
        return 0;
    }
    if (!same_group(message->group, slice)) {
        line = relay_line(relay, sender, slice, &before);
    }
    apr_size_t length = message->length + before + record->length + 1;
    if ((message->calls && length > relay->options.max_body + SVL_MESSAGE_SLACK) || !reserve(sender, length)) {
        return 0;
    }
    if (line) {
        memcpy(sender->body + message->length, line, before);
    }
    memcpy(sender->body + message->length + before, record->line, record->length);
    sender->body[length - 1] = '\n';
    message->length = length;
    message->calls++;
    message->group = slice;
    return 1;
}

static int worth_sending(svl_store_reader_t *reader, apr_uint64_t position, svl_store_record_t *record)
{
    return svl_store_get(reader, position, 0, record) == APR_SUCCESS && record->line && !record->alias;
}

/* @return what reading the log said */
static apr_status_t build(svl_relay_t *relay, svl_relay_sender_t *sender, message_t *message)
{
    svl_relay_attempt_t *attempt = &sender->attempt;
    svl_store_reader_t *reader = NULL;
    apr_uint64_t first = APR_UINT64_MAX, end = 0;
    for (const svl_relay_slice_t *slice = sender->taken.head; slice; slice = slice->next) {
        first = slice->first < first ? slice->first : first;
        end = slice->first + slice->count > end ? slice->first + slice->count : end;
    }
    apr_status_t status = svl_store_read_range(&reader, relay->options.store, first, end);
    if (status != APR_SUCCESS) {
        return status;
    }
    for (svl_relay_slice_t *slice = sender->taken.head; slice && !attempt->last; slice = slice->next) {
        for (apr_uint32_t i = 0; i < slice->count; i++) {
            svl_store_record_t record;
            if (worth_sending(reader, slice->first + i, &record) && !add_call(relay, sender, message, slice, &record)) {
                attempt->last = slice;
                attempt->used = i;
                break;
            }
        }
    }
    svl_store_read_end(reader);
    return message->calls || !attempt->last ? APR_SUCCESS : APR_ENOMEM;
}

apr_status_t svl_relay_send_sign(svl_relay_sender_t *sender, const svl_relay_peer_t *peer, const char *body, apr_size_t length,
                                 svl_transport_exchange_t *exchange)
{
    return svl_signed_make(exchange, sender->signer, peer->url, "", body, length, sender->scratch);
}

/* @return OK with the acknowledgement; BROKEN also for signed nonsense; @a words say why */
static svl_peer_result_e judge(svl_relay_t *relay, svl_relay_sender_t *sender, const svl_relay_peer_t *peer,
                               const svl_transport_exchange_t *exchange, const svl_message_ack_t **ack, const char **words)
{
    svl_message_ack_t *parsed = NULL;
    svl_peer_result_e result =
        svl_signed_judge(exchange, sender->signer, peer->name, peer->state, relay->options.tolerance, words, sender->scratch);
    if (result != SVL_PEER_OK) {
        return result;
    }
    if ((exchange->status != 202 && exchange->status != 200)
        || svl_message_parse_ack(&parsed, exchange->response, exchange->response_length, NULL, sender->scratch) != APR_SUCCESS
        || strcmp(parsed->from, peer->name) != 0) {
        *words = "its answer is signed, but no acknowledgement";
        return SVL_PEER_BROKEN;
    }
    *ack = parsed;
    return SVL_PEER_OK;
}

void svl_relay_note(svl_relay_t *relay, apr_uint32_t node, const svl_transport_exchange_t *exchange, svl_peer_result_e result,
                    const char *words)
{
    const svl_log_t *log = relay->options.log;
    svl_relay_lane_t *lane = &relay->lanes[node];
    const svl_relay_peer_t *peer = lane->peer;
    int changed = svl_peer_note(peer->state, result, exchange->took, apr_time_now());
    if (changed && result == SVL_PEER_OK) {
        svl_log_write(log, SVL_LOG_MARK, SVL_LOG_NOTICE, APR_SUCCESS, SVLNO(0301) "node %s is up again", peer->name);
    }
    else if (changed) {
        svl_log_write(log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_SUCCESS, SVLNO(0302) "node %s is down (%s): %s", peer->name,
                      svl_peer_result_name(result), words);
    }
    else if (result == SVL_PEER_REFUSED && svl_relay_once_a_second(&lane->logged)) {
        svl_log_write(log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_SUCCESS, SVLNO(0303) "node %s refused a message: %s", peer->name,
                      words);
    }
}

svl_peer_result_e svl_relay_send_judge(svl_relay_t *relay, svl_relay_sender_t *sender, const svl_relay_peer_t *peer,
                                       const svl_transport_exchange_t *exchange, const svl_message_ack_t **ack)
{
    const char *words = "";
    *ack = NULL;
    svl_peer_result_e result = judge(relay, sender, peer, exchange, ack, &words);
    svl_relay_note(relay, (apr_uint32_t)(peer - relay->options.peers), exchange, result, words);
    return result;
}

static void log_refused_calls(svl_relay_t *relay, svl_relay_sender_t *sender, svl_relay_lane_t *lane,
                              const apr_array_header_t *calls)
{
    if (!calls || !calls->nelts || !svl_relay_once_a_second(&lane->logged)) {
        return;
    }
    for (int i = 0; i < calls->nelts && i < SVL_RELAY_LOGGED_MAX; i++) {
        const svl_message_refusal_t *refusal = &APR_ARRAY_IDX(calls, i, svl_message_refusal_t);
        svl_log_write(relay->options.log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_SUCCESS,
                      SVLNO(0304) "node %s refused call %s (%d): %s", lane->peer->name,
                      svl_log_escape(sender->scratch, refusal->id, SVL_NAME_ID_MAX), refusal->status,
                      svl_log_escape(sender->scratch, refusal->detail, WORDS_MAX));
    }
    if (calls->nelts > SVL_RELAY_LOGGED_MAX) {
        svl_log_write(relay->options.log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_SUCCESS,
                      SVLNO(0305) "node %s refused %d calls of one message", lane->peer->name, calls->nelts);
    }
}

static const unsigned char *mark_refused_nodes(svl_relay_t *relay, svl_relay_sender_t *sender, svl_relay_lane_t *lane,
                                               const apr_array_header_t *nodes)
{
    unsigned char *marks = nodes && nodes->nelts ? apr_pcalloc(sender->scratch, relay->options.count) : NULL;
    int logged = marks && svl_relay_once_a_second(&lane->logged) ? 0 : SVL_RELAY_LOGGED_MAX;
    for (int i = 0; marks && i < nodes->nelts; i++) {
        const char *name = APR_ARRAY_IDX(nodes, i, const char *);
        const svl_relay_lane_t *named = apr_hash_get(relay->names, name, APR_HASH_KEY_STRING);
        if (named) {
            marks[named - relay->lanes] = 1;
        }
        if (logged++ < SVL_RELAY_LOGGED_MAX) {
            svl_log_write(relay->options.log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_SUCCESS,
                          SVLNO(0306) "node %s does not know node %s: are the lists of nodes the same?", lane->peer->name,
                          svl_log_escape(sender->scratch, name, SVL_NAME_NODE_MAX));
        }
    }
    return marks;
}

void svl_relay_send_begin(svl_relay_t *relay, svl_relay_sender_t *sender)
{
    message_t message = {0, 0, NULL};
    svl_relay_attempt_t *attempt = &sender->attempt;
    svl_transport_exchange_t *only = &sender->exchange;
    apr_status_t status;
    sender->calls = 0;
    memset(attempt, 0, sizeof(*attempt));
    if (!sender->lane->client) {
        attempt->abandoned = 1;
        return;
    }
    status = build(relay, sender, &message);
    if (status != APR_SUCCESS) {
        if (svl_relay_once_a_second(&relay->logged)) {
            svl_log_write(relay->options.log, SVL_LOG_MARK, SVL_LOG_ERR, status,
                          SVLNO(0308) "cannot read calls from the log to relay them: they are left to sync");
        }
        attempt->last = NULL;
        attempt->abandoned = 1;
        return;
    }
    if (!message.calls) {
        return;
    }
    status = svl_relay_send_sign(sender, sender->lane->peer, sender->body, message.length, only);
    if (status != APR_SUCCESS) {
        svl_log_write(relay->options.log, SVL_LOG_MARK, SVL_LOG_ERR, status, SVLNO(0307) "cannot sign a message");
        attempt->abandoned = 1;
        return;
    }
    sender->calls = message.calls;
    sender->begun = svl_transport_monotonic();
    sender->linked = svl_link_is_open(sender->lane->link);
    if (sender->linked) {
        svl_link_begin(sender->lane->link, only);
    }
    else {
        relay->options.transport->begin(sender->lane->client, &only, 1);
    }
}

int svl_relay_send_ended(svl_relay_t *relay, svl_relay_sender_t *sender)
{
    svl_relay_lane_t *lane = sender->lane;
    return sender->linked ? svl_link_ended(lane->link) : relay->options.transport->ended(lane->client);
}

/* A link ends with the process at its other end, which says nothing of the peer: a request finds out.
 * @return 0: it was begun again, as one */
static int finish(svl_relay_t *relay, svl_relay_sender_t *sender)
{
    svl_relay_lane_t *lane = sender->lane;
    svl_transport_exchange_t *only = &sender->exchange;
    int again = sender->linked;
    if (sender->linked && svl_link_finish(lane->link)) {
        return 1;
    }
    if (sender->linked) {
        sender->linked = 0;
        relay->options.transport->begin(lane->client, &only, 1);
    }
    relay->options.transport->finish(lane->client);
    return !again;
}

int svl_relay_send_wants_link(const svl_relay_t *relay, const svl_relay_lane_t *lane)
{
    return relay->options.links && lane->link && relay->clients <= SVL_RELAY_CLIENTS_MAX /* else it would not be kept */
           && svl_link_is_wanted(lane->link);
}

void svl_relay_send_link(svl_relay_t *relay, svl_relay_sender_t *sender)
{
    svl_relay_lane_t *lane = sender->lane;
    const char *self = relay->options.peers[relay->options.self].name;
    if (svl_signed_link(lane->link, sender->signer, self, lane->peer->url, sender->exchange.address, sender->exchange.port,
                        sender->scratch)) {
        __atomic_add_fetch(&lane->peer->state->links, 1, __ATOMIC_RELAXED);
    }
}

/* Its time was over before a thread could see to it: that says nothing of the peer. */
static int lay_too_long(const svl_relay_t *relay, const svl_transport_exchange_t *exchange, apr_interval_time_t lay)
{
    return (exchange->result == SVL_TRANSPORT_TIMEOUT || exchange->result == SVL_TRANSPORT_CONNECT_TIMEOUT)
           && lay > relay->options.probe_timeout / 4;
}

void svl_relay_send_end(svl_relay_t *relay, svl_relay_sender_t *sender)
{
    svl_relay_lane_t *lane = sender->lane;
    svl_relay_attempt_t *attempt = &sender->attempt;
    const svl_transport_exchange_t *exchange = &sender->exchange;
    const svl_message_ack_t *ack = NULL;
    apr_interval_time_t lay;
    if (!sender->calls) {
        return;
    }
    lay = svl_transport_monotonic() - sender->begun;
    if (!finish(relay, sender)) {
        lay = 0; /* it was begun again now */
    }
    if (exchange->result == SVL_TRANSPORT_ABORTED || exchange->result == SVL_TRANSPORT_LOCAL) {
        attempt->abandoned = 1;
        if (exchange->result == SVL_TRANSPORT_LOCAL && svl_relay_once_a_second(&relay->logged)) {
            svl_log_write(relay->options.log, SVL_LOG_MARK, SVL_LOG_ERR, APR_SUCCESS,
                          SVLNO(0312) "this process lacks what a request to node %s needs (%s): calls stay in the log",
                          lane->peer->name, exchange->error ? exchange->error : "memory");
        }
        return;
    }
    attempt->sent = 1;
    attempt->slow = exchange->took >= relay->options.probe_timeout / 4;
    if (lay_too_long(relay, exchange, lay)) {
        attempt->result = SVL_PEER_TIMEOUT;
        if (svl_relay_once_a_second(&relay->logged)) {
            svl_log_write(relay->options.log, SVL_LOG_MARK, SVL_LOG_WARNING, APR_SUCCESS,
                          SVLNO(0313) "a request to node %s waited %" APR_TIME_T_FMT
                                      " ms for a thread, and was not answered in time: its calls go to the next node",
                          lane->peer->name, apr_time_as_msec(lay));
        }
        return;
    }
    attempt->result = svl_relay_send_judge(relay, sender, lane->peer, exchange, &ack);
    if (ack) {
        __atomic_add_fetch(&lane->peer->state->calls, sender->calls, __ATOMIC_RELAXED);
        log_refused_calls(relay, sender, lane, ack->calls);
        attempt->refused = mark_refused_nodes(relay, sender, lane, ack->nodes);
    }
}

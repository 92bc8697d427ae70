/* SPDX-License-Identifier: Apache-2.0 */
#include "relay_private.h"

static svl_relay_lane_t *take_ready(svl_relay_t *relay)
{
    svl_relay_lane_t *lane = relay->ready;
    if (lane) {
        relay->ready = lane->next;
        relay->ready_tail = relay->ready ? relay->ready_tail : NULL;
        relay->readies--;
        lane->ready = 0;
    }
    return lane;
}

/* Only as many workers as there are peers to send to.  When all of them are busy, the outbox waits for who comes back first. */
int svl_relay_work_count(svl_relay_t *relay, int most)
{
    int room = relay->options.simultaneous - relay->busy;
    int begin = relay->readies < room ? relay->readies : room > 0 ? room : relay->readies && relay->cruising.head;
    int wanted = relay->flights.count + begin + (relay->outbox && relay->busy + 1 < (int)relay->options.count);
    int more = (wanted < most ? wanted : most) - relay->looking;
    if (more > relay->options.simultaneous - relay->workers) {
        more = relay->options.simultaneous - relay->workers;
    }
    more = more > 0 ? more : 0;
    relay->workers += more;
    relay->looking += more;
    return more;
}

/* Without the mutex, which a thread that starts wants at once.  Where there is no thread at all, what is ready waits for the next push
 * or poke. */
void svl_relay_work_start(svl_relay_t *relay, int count)
{
    apr_status_t status = APR_SUCCESS;
    for (; count > 0 && (status = svl_crew_ask(relay->crew)) == APR_SUCCESS; count--) {
        continue;
    }
    if (status == APR_SUCCESS) {
        return;
    }
    svl_relay_lock(relay);
    relay->workers -= count;
    relay->looking -= count;
    apr_thread_cond_signal(relay->left);
    if (svl_relay_once_a_second(&relay->logged)) {
        svl_log_write(relay->options.log, SVL_LOG_MARK, SVL_LOG_ERR, status,
                      SVLNO(0309) "cannot start a thread to relay: calls wait");
    }
    svl_relay_unlock(relay);
}

static void distribute(svl_relay_t *relay, svl_relay_batch_t **finished)
{
    while (relay->outbox) {
        svl_relay_batch_t *batch = relay->outbox;
        relay->outbox = batch->next;
        relay->waiting--;
        svl_relay_queue_split(relay, batch, finished);
    }
    relay->outbox_tail = NULL;
}

static void settle_acknowledged(svl_relay_t *relay, svl_relay_sender_t *sender, svl_relay_batch_t **finished)
{
    const unsigned char *refused = sender->attempt.refused;
    apr_time_t now = apr_time_now();
    for (svl_relay_slice_t *slice; (slice = svl_relay_list_pop(&sender->taken)) != NULL;) {
        for (apr_uint32_t i = 1; refused && i < slice->route.count; i++) {
            apr_uint32_t node = slice->route.nodes[i];
            if (node < relay->options.count && refused[node]) {
                svl_relay_queue_alone(relay, slice, i, finished);
            }
        }
        if (sender->attempt.sent) {
            svl_relay_watch_add(relay, sender->lane, slice, now);
        }
        svl_relay_queue_done(slice, finished);
    }
}

/* With the mutex, which it gives up to ask first who of the next nodes lives. */
static void move_on(svl_relay_t *relay, svl_relay_sender_t *sender, int ask, svl_relay_batch_t **finished)
{
    if (ask && !relay->stopping) {
        svl_relay_unlock(relay);
        svl_relay_probe_ahead(relay, sender, &sender->taken);
        svl_relay_lock(relay);
    }
    for (svl_relay_slice_t *slice; (slice = svl_relay_list_pop(&sender->taken)) != NULL;) {
        svl_relay_queue_place(relay, slice, finished);
    }
}

/* What waits behind the failed message goes along, so that it gains by the probe as well. */
static void settle_failed(svl_relay_t *relay, svl_relay_sender_t *sender, svl_relay_batch_t **finished)
{
    if (!svl_peer_living(sender->lane->peer->state)) {
        svl_relay_queue_take(sender->lane, 1, &sender->taken);
    }
    for (svl_relay_slice_t *slice = sender->taken.head; slice; slice = slice->next) {
        slice->route.nodes++;
        slice->route.count--;
    }
    move_on(relay, sender, sender->attempt.slow, finished);
}

static void settle(svl_relay_t *relay, svl_relay_sender_t *sender, svl_relay_batch_t **finished)
{
    const svl_relay_attempt_t *attempt = &sender->attempt;
    if (attempt->abandoned) {
        svl_relay_queue_abandon(&sender->taken, finished);
    }
    else if (!attempt->sent || attempt->result == SVL_PEER_OK) {
        settle_acknowledged(relay, sender, finished);
    }
    else {
        settle_failed(relay, sender, finished);
    }
}

static void lane_open(svl_relay_t *relay, svl_relay_lane_t *lane)
{
    lane->busy = 1;
    relay->busy++;
    if (lane->client || apr_pool_create(&lane->pool, relay->pool) != APR_SUCCESS) {
        return;
    }
    if (!lane->link && svl_link_create(&lane->link, relay->options.http, relay->pool) != APR_SUCCESS) {
        lane->link = NULL;
    }
    lane->client = lane->link ? svl_relay_client(relay, lane->pool) : NULL;
    if (lane->client) {
        relay->clients++;
        return;
    }
    apr_pool_destroy(lane->pool);
    if (!relay->stopping && svl_relay_once_a_second(&relay->logged)) {
        svl_log_write(relay->options.log, SVL_LOG_MARK, SVL_LOG_ERR, APR_ENOMEM,
                      SVLNO(0310) "cannot make a client to relay calls: they are left to sync");
    }
}

static void lane_release(svl_relay_t *relay, svl_relay_lane_t *lane)
{
    lane->busy = 0;
    relay->busy--;
    if (relay->clients > SVL_RELAY_CLIENTS_MAX && !lane->queue.head && lane->client) {
        apr_pool_destroy(lane->pool);
        lane->client = NULL;
        svl_link_close(lane->link);
        relay->clients--;
    }
    svl_relay_queue_ready(relay, lane);
}

static int next_lives(const svl_relay_t *relay)
{
    return !relay->stopping && relay->ready && svl_peer_living(relay->ready->peer->state);
}

/* Whose peer is down is left to a worker: the next node may have to be asked first. */
void svl_relay_work_begin(svl_relay_t *relay, int most)
{
    for (;
         most > 0 && relay->flights.count < SVL_RELAY_INLINE && next_lives(relay) && relay->busy < relay->options.simultaneous;
         most--) {
        svl_relay_sender_t *sender = svl_relay_sender_take(relay);
        if (!sender) {
            return;
        }
        sender->lane = take_ready(relay);
        svl_relay_queue_take(sender->lane, 0, &sender->taken);
        if (!sender->taken.head) { /* taken along by a failure before it */
            svl_relay_sender_rest(relay, sender);
            continue;
        }
        lane_open(relay, sender->lane);
        relay->guests++;
        svl_relay_unlock(relay);
        svl_relay_send_begin(relay, sender);
        svl_relay_lock(relay);
        relay->guests--;
        apr_thread_cond_signal(relay->left);
        svl_relay_flight_begin(relay, sender);
    }
}

/* With the mutex, which it gives up meanwhile: what was acknowledged does not wait for it. */
static void upgrade(svl_relay_t *relay, svl_relay_sender_t *sender, svl_relay_batch_t **finished)
{
    svl_relay_batch_t *done = *finished;
    *finished = NULL;
    svl_relay_unlock(relay);
    svl_relay_queue_finish(relay, done);
    svl_relay_send_link(relay, sender);
    svl_relay_lock(relay);
}

/* With the mutex, which it gives up while it waits. */
static void end(svl_relay_t *relay, svl_relay_sender_t *sender, int may_wait, svl_relay_batch_t **finished)
{
    svl_relay_unlock(relay);
    svl_relay_send_end(relay, sender);
    svl_relay_lock(relay);
    if (sender->attempt.last) {
        svl_relay_queue_return(sender->lane, &sender->taken, sender->attempt.last, sender->attempt.used);
    }
    if (may_wait && sender->attempt.sent && sender->attempt.result == SVL_PEER_OK && !relay->stopping
        && !sender->lane->queue.head && svl_relay_send_wants_link(relay, sender->lane)) {
        settle(relay, sender, finished);
        upgrade(relay, sender, finished);
        lane_release(relay, sender->lane);
    }
    else {
        lane_release(relay, sender->lane);
        settle(relay, sender, finished);
    }
    svl_relay_sender_rest(relay, sender);
}

/* With the mutex, which it gives up meanwhile: before a worker waits, others have to see to the rest. */
static void help(svl_relay_t *relay)
{
    int more = svl_relay_work_count(relay, relay->options.simultaneous);
    svl_relay_unlock(relay);
    svl_relay_work_start(relay, more);
    svl_relay_lock(relay);
}

/* A peer that was found down meanwhile, by another child or by asking ahead: perhaps after a while, so the next ones are asked now. */
static void pass_by(svl_relay_t *relay, svl_relay_lane_t *lane, svl_relay_sender_t *sender, svl_relay_batch_t **finished)
{
    sender->lane = lane;
    svl_relay_queue_take(lane, 1, &sender->taken);
    help(relay);
    move_on(relay, sender, sender->taken.head != NULL, finished);
    svl_relay_sender_rest(relay, sender);
}

/* @return nonzero when there was something to do; else nothing is finished either */
static int work_once(svl_relay_t *relay, svl_relay_batch_t **finished)
{
    svl_relay_sender_t *sender;
    distribute(relay, finished);
    svl_relay_work_begin(relay, relay->options.simultaneous);
    sender = svl_relay_flight_take(&relay->flights);
    relay->looking--;
    if (sender) {
        help(relay);
    }
    else if (next_lives(relay)) { /* it can be begun when another has ended, which most likely was answered */
        sender = svl_relay_flight_take(&relay->cruising);
    }
    if (sender) {
        end(relay, sender, 1, finished);
        relay->looking++;
        return 1;
    }
    relay->looking++;
    /* It was not begun, so its peer is down, even if another child found it up since. */
    if (!relay->stopping && relay->ready && relay->busy < relay->options.simultaneous) {
        sender = svl_relay_sender_take(relay);
    }
    if (sender) {
        relay->looking--;
        pass_by(relay, take_ready(relay), sender, finished);
        relay->looking++;
        return 1;
    }
    return *finished != NULL;
}

/* What failed, or took long, may take asking others, which is a worker's. */
static int is_quick(const svl_relay_t *relay, const svl_relay_sender_t *sender)
{
    const svl_transport_exchange_t *exchange = &sender->exchange;
    return exchange->result == SVL_TRANSPORT_ANSWERED && exchange->took < relay->options.probe_timeout / 4;
}

void svl_relay_work_alarm(void *baton)
{
    svl_relay_t *relay = baton;
    svl_relay_batch_t *finished = NULL;
    int more;
    svl_relay_lock(relay);
    relay->guests++;
    for (int left = relay->cruising.count; left > 0 && relay->cruising.head && !relay->stopping; left--) {
        svl_relay_sender_t *sender = svl_relay_flight_take(&relay->cruising);
        int ended;
        if (!svl_relay_flight_is_due(sender)) { /* the alarm was another one's */
            svl_relay_flight_begin(relay, sender);
            continue;
        }
        svl_relay_unlock(relay);
        ended = svl_relay_send_ended(relay, sender);
        svl_relay_lock(relay);
        if (!ended) {
            svl_relay_flight_begin(relay, sender);
        }
        else if (is_quick(relay, sender)) {
            end(relay, sender, 0, &finished);
        }
        else {
            svl_relay_flight_add(&relay->flights, sender);
        }
    }
    svl_relay_work_begin(relay, relay->options.simultaneous);
    more = relay->stopping ? 0 : svl_relay_work_count(relay, relay->options.simultaneous);
    relay->guests--;
    apr_thread_cond_signal(relay->left);
    svl_relay_unlock(relay);
    svl_relay_work_start(relay, more);
    svl_relay_queue_finish(relay, finished);
}

/* One worker's turn: until nothing is ready. */
void svl_relay_work(void *baton)
{
    svl_relay_t *relay = baton;
    svl_relay_lock(relay);
    while (!relay->stopping) {
        svl_relay_batch_t *finished = NULL;
        if (!work_once(relay, &finished)) {
            break; /* without letting go of the mutex: who finds a worker looking starts none */
        }
        svl_relay_unlock(relay);
        svl_relay_queue_finish(relay, finished);
        svl_relay_lock(relay);
    }
    relay->looking--;
    relay->workers--;
    apr_thread_cond_signal(relay->left);
    svl_relay_unlock(relay);
}

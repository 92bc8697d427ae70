/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flights: messages that were begun and not ended.  Most are answered soon, and no thread has to wait for them meanwhile.
 */
#include "relay_private.h"

#define LOOK_AFTER                                                                                                             \
    apr_time_from_msec(1) /* whether a flight that cruises was answered; a peer on the same site has done so by then */
#define LOOK_LATE apr_time_from_msec(3) /* likewise, where what waits behind it gathers */
#define CRUISE apr_time_from_msec(10)   /* longest, from when it was begun; then a worker waits for it */

void svl_relay_flight_add(svl_relay_flights_t *flights, svl_relay_sender_t *sender)
{
    sender->next = NULL;
    if (flights->tail) {
        flights->tail->next = sender;
    }
    else {
        flights->head = sender;
    }
    flights->tail = sender;
    flights->count++;
}

svl_relay_sender_t *svl_relay_flight_take(svl_relay_flights_t *flights)
{
    svl_relay_sender_t *sender = flights->head;
    if (sender) {
        flights->head = sender->next;
        flights->tail = flights->head ? flights->tail : NULL;
        flights->count--;
    }
    return sender;
}

/* Calls that come faster than answers would go out in messages of one or two, each of which costs as much as one of many. */
int svl_relay_flight_hurries(const svl_relay_lane_t *lane)
{
    return lane->queue.head && (lane->queue.calls >= SVL_RELAY_GATHER_MAX || lane->gathers < svl_transport_monotonic());
}

/* Not where the message was full.  @return how long its answer is not looked at, and what waits behind it gathers; 0: that does not */
static apr_interval_time_t gathers_for(const svl_relay_sender_t *sender)
{
    return !sender->linked || sender->attempt.last || sender->calls < SVL_RELAY_GATHER_MIN
                   || sender->calls >= SVL_RELAY_GATHER_MAX
               ? 0
           : sender->calls < SVL_RELAY_GATHER_MANY ? LOOK_AFTER
                                                   : LOOK_LATE;
}

/* What waits behind it goes out when it has ended. */
void svl_relay_flight_begin(svl_relay_t *relay, svl_relay_sender_t *sender)
{
    apr_time_t now = svl_transport_monotonic();
    apr_interval_time_t gathers = gathers_for(sender);
    int cruises;
    sender->look = sender->begun + (gathers ? gathers : LOOK_AFTER);
    sender->look = sender->look > now ? sender->look : now + LOOK_AFTER;
    sender->lane->gathers = gathers ? sender->look + LOOK_AFTER : 0;
    cruises = sender->calls && sender->exchange.sent && !sender->attempt.last && !svl_relay_flight_hurries(sender->lane)
              && now - sender->begun < CRUISE && (sender->linked || !svl_relay_send_wants_link(relay, sender->lane))
              && svl_alarm_set(relay->alarm, sender->look - now) == APR_SUCCESS;
    svl_relay_flight_add(cruises ? &relay->cruising : &relay->flights, sender);
}

void svl_relay_flight_hurry(svl_relay_t *relay)
{
    for (svl_relay_sender_t *sender; (sender = svl_relay_flight_take(&relay->cruising)) != NULL;) {
        svl_relay_flight_add(&relay->flights, sender);
    }
}

int svl_relay_flight_is_due(const svl_relay_sender_t *sender)
{
    return sender->look <= svl_transport_monotonic() + LOOK_AFTER / 2;
}

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/relay_private.h
 * @brief What the files of the relay share; nobody else includes it.
 *
 *   push ──> outbox ──split by arity──> lane of a peer ──take──> message ──begun──> flight ──ended──> done, or placed on another lane
 *
 * A flight of which only the answer is missing, and behind which nothing waits, or nothing that would be in a hurry (it gathers), is left
 * alone for a moment (it cruises): its answer has come by then, and no thread had to wait for it.
 *
 * All of it is guarded by svl_relay_t.mutex, except what a lane's or a sender's present user owns.
 */
#ifndef SVL_TRANSPORT_RELAY_PRIVATE_H
#define SVL_TRANSPORT_RELAY_PRIVATE_H

#include <apr_hash.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>

#include "../core/message.h"
#include "alarm.h"
#include "crew.h"
#include "link.h"
#include "relay.h"

#define SVL_RELAY_REST_MAX 900     /**< names in one relay line: at full length just below SVL_MESSAGE_SLACK */
#define SVL_RELAY_INLINE 4         /**< slices that svl_relay_push makes itself, and messages that a thread begins at once;
                                        more are left to workers */
#define SVL_RELAY_PROBES_MAX 256   /**< peers probed at the same time */
#define SVL_RELAY_CLIENTS_MAX 64   /**< clients kept with their connection; beyond, an idle one is closed */
#define SVL_RELAY_BODY_KEPT 131072 /**< bytes of a message buffer that a resting sender keeps */
#define SVL_RELAY_GATHER_MIN 2     /**< calls of a message over a link after which more seem to come than messages are worth: what waits behind it … */
#define SVL_RELAY_GATHER_MANY 8    /**< … does so until its answer is looked at, which with so many calls is later … */
#define SVL_RELAY_GATHER_MAX 128   /**< … unless it is as much as this, or the message was */
#define SVL_RELAY_AGAIN_ARITY 32   /**< of what is relayed in another's place: some nodes of the route may have had a call already, and
                                        those would not hand it on, so nearly all of them get it from here */
#define SVL_RELAY_LOGGED_MAX 8     /**< refusals of one acknowledgement that are logged one by one */

/** A copied route.  Consecutive batches with equal routes share it, so that slices can be compared by pointer. */
typedef struct svl_relay_path_t {
    apr_uint32_t refs;
    apr_uint32_t count;
    apr_uint32_t nodes[];
} svl_relay_path_t;

/** Calls that were accepted together. */
typedef struct svl_relay_batch_t {
    struct svl_relay_batch_t *next; /**< in the outbox, or among the finished */
    apr_uint64_t first;             /**< position */
    apr_uint32_t count;
    apr_uint32_t open;              /**< slices, and one while it is being split */
    apr_uint32_t arity;
    int abandoned;                  /**< nonzero: its route stays in the log, or is not there */
    svl_relay_path_t *path;         /**< NULL: nodes are the caller's */
    svl_route_t route;
} svl_relay_batch_t;

/** Some calls of a batch and some nodes of its route, to be reached through the first living one of them. */
typedef struct svl_relay_slice_t {
    struct svl_relay_slice_t *next;
    svl_relay_batch_t *batch;
    apr_uint64_t first;
    apr_uint32_t count;
    svl_route_t route; /**< a window of the batch's; never empty on a lane, whose peer is the first */
} svl_relay_slice_t;

typedef struct svl_relay_list_t {
    svl_relay_slice_t *head, *tail;
    apr_uint32_t length;
    apr_uint64_t calls; /**< of all slices */
} svl_relay_list_t;

/** Calls that a peer acknowledged and is to hand on. */
typedef struct svl_relay_watch_t {
    struct svl_relay_watch_t *next;
    apr_uint64_t first;
    apr_time_t acknowledged;
    svl_relay_path_t *path; /**< of which the route is a window; NULL: of a ring */
    svl_route_t route;      /**< the nodes behind the peer */
    apr_uint32_t count;
} svl_relay_watch_t;

typedef struct svl_relay_watches_t {
    svl_relay_watch_t *head, *tail; /**< oldest first */
} svl_relay_watches_t;

/** All about one peer. */
typedef struct svl_relay_lane_t {
    struct svl_relay_lane_t *next;  /**< among the ready */
    const svl_relay_peer_t *peer;
    svl_relay_list_t queue;
    int busy;                       /**< a request is in flight, by a sender that also owns client */
    apr_time_t gathers;             /**< monotonic; until then what waits behind that is in no hurry; 0: it is */
    int ready;                      /**< waits for a worker */
    apr_pool_t *pool;               /**< of client */
    svl_transport_client_t *client; /**< NULL until needed */
    svl_link_t *link;               /**< likewise; stays, since it knows when the peer may be asked again */
    apr_time_t logged;              /**< atomic; when a line about its refusals was last written */
    svl_relay_watches_t watched;
    svl_peer_result_e answer;       /**< the maintenance thread's: how it answered a probe; SVL_PEER_SKIPPED: it was not asked */
} svl_relay_lane_t;

/** How a message to a peer ended. */
typedef struct svl_relay_attempt_t {
    svl_peer_result_e result;
    int sent;                     /**< 0: there was nothing to send, or no way to; result is of no meaning */
    int abandoned;                /**< nonzero: aborted, or the log could not be read: the routes stay in the log */
    int slow;                     /**< nonzero: failures that take as long, one after the other, would take too long */
    svl_relay_slice_t *last;      /**< the slice that did not fit whole, or NULL */
    apr_uint32_t used;            /**< calls of it that did */
    const unsigned char *refused; /**< of the sender's scratch: nonzero for each node that the peer does not know; or NULL */
} svl_relay_attempt_t;

/** What it takes to send, and, between begin and end, what is under way; kept for the next message. */
typedef struct svl_relay_sender_t {
    struct svl_relay_sender_t *next; /**< among the resting, or of svl_relay_flights_t */
    struct svl_relay_sender_t *also; /**< among all */
    apr_pool_t *pool;                /**< of signer and prober */
    apr_pool_t *scratch;             /**< cleared after each message */
    svl_signer_t *signer;
    svl_transport_client_t *prober;  /**< NULL until needed */
    int guest;                       /**< of a thread in svl_relay_probe */
    char *body;                      /**< malloc */
    apr_size_t capacity;
    svl_relay_lane_t *lane;          /**< where to */
    svl_relay_list_t taken;          /**< what */
    apr_uint32_t calls;              /**< of the message; 0: nothing was sent */
    int linked;                      /**< nonzero: over the lane's link */
    apr_time_t begun;                /**< monotonic */
    apr_time_t look;                 /**< likewise; while it cruises: not before */
    svl_transport_exchange_t exchange;
    svl_relay_attempt_t attempt;
} svl_relay_sender_t;

/** What was begun and not ended, oldest first. */
typedef struct svl_relay_flights_t {
    svl_relay_sender_t *head, *tail;
    int count;
} svl_relay_flights_t;

struct svl_relay_t {
    svl_relay_options_t options;
    apr_pool_t *pool;           /**< of no parent: threads that outlive svl_relay_stop still find everything */
    apr_thread_mutex_t *mutex;
    apr_thread_cond_t *left;    /**< a worker left, while stopping */
    svl_crew_t *crew;
    svl_relay_lane_t *lanes;    /**< index = node */
    apr_hash_t *names;          /**< name to lane; read only */
    svl_relay_batch_t *outbox, *outbox_tail;
    svl_relay_lane_t *ready, *ready_tail;
    svl_relay_flights_t flights;  /**< waiting for a worker that ends them */
    svl_relay_flights_t cruising; /**< waiting for the alarm, or for something that waits behind them */
    svl_alarm_t *alarm;
    svl_relay_sender_t *resting, *senders;
    svl_relay_path_t *path;     /**< the last one copied */
    int readies, busy;          /**< lanes */
    int workers, looking;       /**< of them: not sending, so sure to see what is ready */
    int guests;                 /**< threads of others in svl_relay_probe, or that send */
    int probed;                 /**< nonzero: there are no more probes for their own sake */
    apr_uint32_t waiting;       /**< batches in the outbox */
    apr_uint32_t watched;       /**< atomic; of all lanes */
    int overflowed;             /**< nonzero: more would have been watched */
    int clients;
    int stopping, stopped;
    apr_uint32_t backlog;       /**< atomic; batches */
    apr_time_t logged;          /**< atomic; when the last line about lost work was written */
};

/* relay_queue.c; all but the last two with the mutex held.  Batches that become finished are put before *finished. */
svl_relay_batch_t *svl_relay_queue_batch(svl_relay_t *relay, apr_uint64_t first, apr_uint32_t count, const svl_route_t *route,
                                         const svl_route_t *ring, apr_uint32_t arity);
void svl_relay_path_release(svl_relay_path_t *path);
/** Leaves a batch to a worker. */
void svl_relay_queue_out(svl_relay_t *relay, svl_relay_batch_t *batch);
void svl_relay_queue_split(svl_relay_t *relay, svl_relay_batch_t *batch, svl_relay_batch_t **finished);
/** Puts a slice on the lane of its first living node; without one it is done. */
void svl_relay_queue_place(svl_relay_t *relay, svl_relay_slice_t *slice, svl_relay_batch_t **finished);
/** A slice of the same calls for one node of @a slice's route alone. */
void svl_relay_queue_alone(svl_relay_t *relay, const svl_relay_slice_t *slice, apr_uint32_t node, svl_relay_batch_t **finished);
void svl_relay_queue_done(svl_relay_slice_t *slice, svl_relay_batch_t **finished);
/** Lets go of slices whose routes are to stay in the log. */
void svl_relay_queue_abandon(svl_relay_list_t *list, svl_relay_batch_t **finished);
/** Takes what one message may hold off the lane (@a all: everything). */
void svl_relay_queue_take(svl_relay_lane_t *lane, int all, svl_relay_list_t *taken);
/** Puts what follows the first @a used calls of @a last, in @a taken, back to the lane's head. */
void svl_relay_queue_return(svl_relay_lane_t *lane, svl_relay_list_t *taken, svl_relay_slice_t *last, apr_uint32_t used);
/** The lane waits for a worker, if it has anything. */
void svl_relay_queue_ready(svl_relay_t *relay, svl_relay_lane_t *lane);
svl_relay_slice_t *svl_relay_list_pop(svl_relay_list_t *list);
/** Without the mutex: takes the routes of finished batches off the log and frees them. */
void svl_relay_queue_finish(svl_relay_t *relay, svl_relay_batch_t *finished);
/** At the end, when no thread is left: frees everything; routes stay in the log. */
void svl_relay_queue_forget(svl_relay_t *relay);

/* relay_send.c; without the mutex */
/** Makes a message of what was taken, signs it, and sends what can be sent without waiting. */
void svl_relay_send_begin(svl_relay_t *relay, svl_relay_sender_t *sender);
/** Goes on without waiting.  @return nonzero when it has ended, somehow */
int svl_relay_send_ended(svl_relay_t *relay, svl_relay_sender_t *sender);
/** Waits for the answer.  The sender's attempt says how it ended. */
void svl_relay_send_end(svl_relay_t *relay, svl_relay_sender_t *sender);
/** With the mutex.  @return nonzero when svl_relay_send_link is to be called after the next message */
int svl_relay_send_wants_link(const svl_relay_t *relay, const svl_relay_lane_t *lane);
/** Asks the peer for a link, which waits for it. */
void svl_relay_send_link(svl_relay_t *relay, svl_relay_sender_t *sender);
/** Signs @a body afresh.  @return APR_SUCCESS, or why not */
apr_status_t svl_relay_send_sign(svl_relay_sender_t *sender, const svl_relay_peer_t *peer, const char *body,
                                 apr_size_t length, svl_transport_exchange_t *exchange);
/** Judges an answer, notes the result, and logs when the peer went down or came up.  @param ack NULL unless acknowledged */
svl_peer_result_e svl_relay_send_judge(svl_relay_t *relay, svl_relay_sender_t *sender, const svl_relay_peer_t *peer,
                                       const svl_transport_exchange_t *exchange, const svl_message_ack_t **ack);

/* relay_probe.c; without the mutex */
/** Before calls are handed on: asks every node of the routes in @a taken, and of those that wait for a worker, unless it is down. */
void svl_relay_probe_ahead(svl_relay_t *relay, svl_relay_sender_t *sender, const svl_relay_list_t *taken);

/** For the maintenance thread: asks these peers in parallel.  Results go to `answer`, SVL_PEER_SKIPPED where there is none. */
void svl_relay_probe_lanes(svl_relay_t *relay, svl_relay_lane_t **lanes, int count);

/* relay_watch.c; with the mutex */
void svl_relay_watch_add(svl_relay_t *relay, svl_relay_lane_t *lane, const svl_relay_slice_t *slice, apr_time_t now);
void svl_relay_watch_forget(svl_relay_t *relay);

/* relay_flight.c; with the mutex */
void svl_relay_flight_add(svl_relay_flights_t *flights, svl_relay_sender_t *sender);
/** @return the oldest of @a flights, for who ends it; NULL: there is none */
svl_relay_sender_t *svl_relay_flight_take(svl_relay_flights_t *flights);
/** What was begun cruises, or waits for a worker. */
void svl_relay_flight_begin(svl_relay_t *relay, svl_relay_sender_t *sender);
/** @return 0: it cruises, and it is too early to look whether it was answered */
int svl_relay_flight_is_due(const svl_relay_sender_t *sender);
/** Workers have to end the flights that cruise. */
void svl_relay_flight_hurry(svl_relay_t *relay);
/** @return nonzero when what waits on a busy lane shall go out as soon as it can; nothing does, or it gathers: 0 */
int svl_relay_flight_hurries(const svl_relay_lane_t *lane);

/* relay_work.c */
/** With the mutex.  @return how many workers to start now, so that as many look for something as there is ready, or @a most; they
 * are counted as started */
int svl_relay_work_count(svl_relay_t *relay, int most);
/** With the mutex, which it gives up meanwhile: sends to lanes that are ready, at most so many, as far as that needs no waiting.
 * Workers do the rest. */
void svl_relay_work_begin(svl_relay_t *relay, int most);
/** Starts so many workers. */
void svl_relay_work_start(svl_relay_t *relay, int count);
/** One worker's turn.  @param baton the relay */
svl_crew_work_t svl_relay_work;
/** Ends the flights that cruise and were answered, and leaves to workers those that have done so for long.  @param baton the relay */
svl_alarm_work_t svl_relay_work_alarm;

/* relay.c */
void svl_relay_lock(svl_relay_t *relay);
void svl_relay_unlock(svl_relay_t *relay);
/** @return NULL for the own node and for an index beyond the list */
svl_peer_state_t *svl_relay_state(const svl_relay_t *relay, apr_uint32_t node);
/** A client in a pool of its own, under the mutex.  @return NULL when stopping or when there is none to be had */
svl_transport_client_t *svl_relay_client(svl_relay_t *relay, apr_pool_t *p);
svl_relay_sender_t *svl_relay_sender_take(svl_relay_t *relay);
void svl_relay_sender_rest(svl_relay_t *relay, svl_relay_sender_t *sender);
/** @return nonzero at most once a second for each @a last */
int svl_relay_once_a_second(apr_time_t *last);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/relay.h
 * @brief The fast path: hands accepted calls to the next nodes, one request in flight a peer and child, what queued meanwhile
 * in the next one (natural batching).
 *
 * The way of a batch: it is split by arity into slices, by svl_relay_push itself when they are few, else by a worker that takes
 * it out of the outbox.  Each slice goes on the queue of its first living node.  Whoever begins sends to the peers that are ready, one
 * after the other, as far as that needs no waiting.  Each of these flights is then ended by a worker, which waits for the answer, or, when
 * only the answer is missing and nothing waits behind it, by a timer's thread a moment later.  A queue holds positions of the log, not
 * lines: a message is copied from the log's map into one buffer.
 * When a peer fails, all that was for it goes on to the next living node of each slice; when it failed slowly, all nodes of
 * those slices are probed first, so that a route costs one timeout and one probe, however many of its nodes are dead.  A slice
 * that is acknowledged or has no living node left is done; with its last slice the batch's route is taken off the log
 * (svl_store_relayed).
 *
 * A slice that had nodes behind the one that acknowledged it is watched: one sync interval later that peer must have answered
 * something, or it is asked; if it does not answer, the nodes behind it get the calls from here.
 */
#ifndef SVL_TRANSPORT_RELAY_H
#define SVL_TRANSPORT_RELAY_H

#include <apr_pools.h>

#include "../core/log.h"
#include "../core/route.h"
#include "../core/sign.h"
#include "../store/store.h"
#include "peer.h"
#include "transport.h"

#define SVL_RELAY_CALLS_MAX 1024    /**< calls of one message */
#define SVL_RELAY_QUEUE_MAX 65536   /**< slices waiting for one peer; beyond it they are left to sync, and counted */
#define SVL_RELAY_WATCHED_MAX 8192  /**< slices watched by one process: half a MiB; beyond it the oldest are left to sync */

typedef struct svl_relay_peer_t {
    const char *name;
    const char *url;          /**< with ServicelessPath */
    svl_peer_state_t *state;  /**< shared; not used for the own node */
} svl_relay_peer_t;

typedef struct svl_relay_options_t {
    const svl_relay_peer_t *peers; /**< the fleet's list, index = node; borrowed */
    apr_uint32_t count;
    apr_uint32_t self;
    int simultaneous;              /**< ServicelessSimultaneousRequests */
    apr_size_t max_body;           /**< ServicelessMaxBody; a message is at most SVL_MESSAGE_SLACK larger */
    apr_int64_t tolerance;         /**< seconds */
    apr_interval_time_t probe_timeout; /**< ServicelessConnectTimeout: for a whole probe */
    apr_interval_time_t look;      /**< how long after an acknowledgement its peer must live still; 0: nothing is watched */
    const svl_transport_t *transport;
    const svl_transport_options_t *http;
    int links;                     /**< nonzero: peers are asked for links (link.h) */
    const svl_ring_t *ring;
    svl_store_t *store;
    const svl_log_t *log;
} svl_relay_options_t;

typedef struct svl_relay_t svl_relay_t;

/** In a child, after fork.  Starts no thread until there is something to send.  Call svl_relay_stop in a pre-cleanup of @a p; a
 * cleanup of @a p frees the relay, unless threads of it still run. */
apr_status_t svl_relay_create(svl_relay_t **relay, const svl_relay_options_t *options, apr_pool_t *p);

/** Hands over a batch as svl_store_accept made it.  Costs the same in any fleet; never waits for a peer.
 * @param begin nonzero: the caller's thread sends to the first few peers that nothing is under way to, which spares the time until a
 *        worker has woken up; it costs the caller what making, signing and sending a message costs
 * @param route indexes without the own node, copied; NULL with @a ring: the caller's set is @a ring, an own route in ring order
 *        that outlives the relay (not copied)
 * @param first, count positions  @param arity of the split */
void svl_relay_push(svl_relay_t *relay, apr_uint64_t first, apr_uint32_t count, const svl_route_t *route,
                    const svl_route_t *ring, apr_uint32_t arity, int begin);

/** Hands calls on that came before, by sync, without a route.  None is in the log: it is lost with this process, and sync has it then. */
void svl_relay_pass(svl_relay_t *relay, apr_uint64_t first, apr_uint32_t count, const svl_route_t *route, apr_uint32_t arity);

/** Sends a call that is in the log to one more node, once.  The work that the log has for its batch stays as it is, whatever comes of
 * this. */
void svl_relay_show(svl_relay_t *relay, apr_uint64_t position, apr_uint32_t node);

/** Probes the peers whose probe is due, in parallel, by an empty relay message, and notes the results.  Called by one
 * maintenance thread at a time. */
void svl_relay_probe(svl_relay_t *relay, apr_time_t now);

/** Looks after what was handed over one options.look ago: asks peers that answered nothing since, in parallel, at most one child
 * a second each; what those who are gone were to hand on is relayed.  A second early at most half of options.look, because it is
 * called each second, by the maintenance thread.  Costs one atomic load when nothing is watched. */
void svl_relay_watch(svl_relay_t *relay, apr_time_t now);

/** Notes how a request of another part of this node to a peer ended, as for the relay's own ones, and logs when the peer went down or
 * came up by it.
 * @param words why, for people, when it is not SVL_PEER_OK */
void svl_relay_note(svl_relay_t *relay, apr_uint32_t node, const svl_transport_exchange_t *exchange, svl_peer_result_e result,
                    const char *words);

/** Ends running transfers, probes too, and refuses further ones: the first step of stopping, for whoever then joins the thread
 * that probes. */
void svl_relay_abort(svl_relay_t *relay);

/** Ends probes that svl_relay_probe and svl_relay_watch make, and refuses further ones: for the thread that makes them is needed for something else. */
void svl_relay_abort_probes(svl_relay_t *relay);

/** Starts a thread where one is wanted and could not be had before.  The maintenance thread calls it each second. */
void svl_relay_poke(svl_relay_t *relay);

/** Refuses new work, aborts transfers, waits for the workers at most until @a deadline.
 * @return APR_SUCCESS, or APR_TIMEUP: threads still run, and nothing of the relay may be freed */
apr_status_t svl_relay_stop(svl_relay_t *relay, apr_time_t deadline);

/** Routes waiting or under way in this process (a gauge). */
apr_uint32_t svl_relay_backlog(const svl_relay_t *relay);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/link.h
 * @brief A connection to a peer that was upgraded: messages go out and answers come back in frames (core/frame.h), without a request each.
 *
 * One exchange at a time.  A link may end at any time, because the peer's process does; an exchange that it takes along is to be made
 * again as a request, which finds out whether the peer lives.
 */
#ifndef SVL_TRANSPORT_LINK_H
#define SVL_TRANSPORT_LINK_H

#include <poll.h>

#include "transport.h"

#define SVL_LINK_PROTOCOL "serviceless-link" /**< in Upgrade */
#define SVL_LINK_PREFIX "link-" /**< of the id of a message that asks for one: it is signed, so no other message can be made to ask */

#define SVL_LINK_AGE_MAX 60 /**< seconds; an older one is not used again: the peer's processes shall take turns, its address may be another one
                                 now, and whatever lies between may have forgotten it */

/** Of one peer; used by one thread at a time, but for svl_link_abort. */
typedef struct svl_link_t svl_link_t;

/** Closed at first.  @a options must outlive it.  Freed, and closed, by a cleanup of @a p. */
apr_status_t svl_link_create(svl_link_t **link, const svl_transport_options_t *options, apr_pool_t *p);

/** Connects to this address, asks the peer for a link, by a request that a node without links answers as any other.  Waits for half a second,
 * or for the connect timeout if that is less.  Not with https.  It counts as open when a message over it was answered: what lies between may let the question
 * pass, and nothing else.
 * @param exchange a signed message without a call, its id with SVL_LINK_PREFIX  @param proof another one, with an ordinary id
 * @param address, port where a request to the same peer was answered from: numbers, so that no name is looked up
 * @return nonzero when it is open */
int svl_link_open(svl_link_t *link, const svl_transport_exchange_t *exchange, svl_transport_exchange_t *proof,
                  const char *address, int port);

/** @return nonzero when a message can go over it; one that is too old is closed */
int svl_link_is_open(svl_link_t *link);

/** @return nonzero when it is closed, and it is time for svl_link_open: at once when it was too old, a second after it ended otherwise; a
 * minute after the peer gave none that works, then two, up to half an hour */
int svl_link_is_wanted(svl_link_t *link);

/** It is not wanted for a while, as after an svl_link_open in vain. */
void svl_link_put_off(svl_link_t *link);

/** Nothing is under way.  It can be opened again. */
void svl_link_close(svl_link_t *link);

/** Sends as much as can be sent without waiting; the link is open, and the exchange lives until it has ended. */
void svl_link_begin(svl_link_t *link, svl_transport_exchange_t *exchange);

/** Goes on without waiting.  @return nonzero when svl_link_finish will not wait */
int svl_link_ended(svl_link_t *link);

/** What to poll for while it has not ended.  @return until when that is worth it: then svl_link_finish gives it up, monotonic */
apr_time_t svl_link_wait(const svl_link_t *link, struct pollfd *wait);

/** Waits for the answer, at most until the exchange's timeout.
 * @return 0: the link ended before the answer was there, and the exchange is to be made again */
int svl_link_finish(svl_link_t *link);

/** From any thread: ends a running finish at once, and refuses further links. */
void svl_link_abort(svl_link_t *link);

#endif

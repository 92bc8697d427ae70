/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/links.h
 * @brief Connections that were upgraded: a thread each reads what comes in frames (core/frame.h), and answers it as the endpoint would,
 * without a request for each.
 *
 * A link of a peer (transport/link.h has its other end) brings messages.  Its thread runs what takes microseconds, too; where that takes
 * longer, another thread takes over.  A link of a client brings calls, one at a time: their functions run in its thread.
 *
 * A link is taken away from httpd, so it holds no worker, whatever the MPM, and httpd does not wait for it to end.
 */
#ifndef SVL_HTTPD_LINKS_H
#define SVL_HTTPD_LINKS_H

#include "receive.h"

typedef struct svl_links_t svl_links_t;

#define SVL_LINKS_MAX 64      /**< to peers, and as many to clients, of one node in one child; who gets none sends requests */
#define SVL_LINKS_MAX_ALONE 4 /**< likewise, in a child that answers one request at a time: there are many of them */

apr_status_t svl_links_create(svl_links_t **links, svl_runtime_t *runtime, apr_pool_t *p);

/** Upgrades the connection of a verified request, if that asks for it and can have it.
 * @param answer of a client's call, which goes over the link first; NULL: it was a peer's message, which needs none then
 * @return nonzero when it was: the request is answered */
int svl_links_take(const svl_exchange_t *exchange, const svl_receive_answer_t *answer);

/** @return how many links of clients have not ended: after svl_links_leave, those that are being answered */
int svl_links_clients(svl_links_t *links);

/** Lets no further message in; those that are being answered will be. */
void svl_links_leave(svl_links_t *links);

/** Likewise, and waits until they are.  @return APR_SUCCESS, or APR_TIMEUP */
apr_status_t svl_links_stop(svl_links_t *links, apr_time_t deadline);

#endif

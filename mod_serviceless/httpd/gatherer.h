/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/gatherer.h
 * @brief What other nodes are asked for outcomes with: clients with kept connections and links (transport/link.h), one set for each call
 * that waits at the same time.
 */
#ifndef SVL_HTTPD_GATHERER_H
#define SVL_HTTPD_GATHERER_H

#include "runtime.h"

/** Used by one thread at a time. */
typedef struct svl_gatherer_t svl_gatherer_t;

/** In a child, after fork: fills runtime->gather. */
apr_status_t svl_gatherers_create(svl_runtime_t *runtime, apr_pool_t *p);

/** @return NULL when the child is leaving, or there is no memory */
svl_gatherer_t *svl_gatherer_take(svl_runtime_t *runtime);

/** Whom it may concern meanwhile. */
typedef struct svl_gatherer_watch_t {
    void *baton;
    void (*sent)(void *baton);          /**< what goes over links is out, and nothing was waited for so far */
    void (*ended)(void *baton, int at); /**< the exchange at this place has; others may be under way still */
} svl_gatherer_watch_t;

/** Sends each exchange to the node of the same place, over a link where there is one, and returns when each has ended. */
void svl_gatherer_perform(svl_gatherer_t *gatherer, const apr_uint32_t *nodes, svl_transport_exchange_t *exchanges, int count,
                          const svl_gatherer_watch_t *watch);

/** Gives it back.  Peers that answered a request are asked for links first, by a thread of its own. */
void svl_gatherer_give(svl_gatherer_t *gatherer);

/** Ends what is under way, and gives none any more. */
void svl_gatherers_abort(svl_runtime_t *runtime);

#endif

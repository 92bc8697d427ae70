/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/transport.h
 * @brief HTTP to peers, behind a small table of functions (the idea is mod_md's md_http.h).  transport/curl.c fills it with
 * libcurl.
 */
#ifndef SVL_TRANSPORT_TRANSPORT_H
#define SVL_TRANSPORT_TRANSPORT_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

/** How an exchange ended, as far as the transport can tell. */
typedef enum {
    SVL_TRANSPORT_ANSWERED = 0, /**< an HTTP response came whole */
    SVL_TRANSPORT_CONNECT,      /**< no connection (refused, no route, name not found): certainly not delivered */
    SVL_TRANSPORT_CONNECT_TIMEOUT, /**< likewise, by time */
    SVL_TRANSPORT_TLS,          /**< certificate or handshake: not delivered */
    SVL_TRANSPORT_TIMEOUT,      /**< sent, perhaps delivered; no whole answer in time */
    SVL_TRANSPORT_BROKEN,       /**< connection lost, or the response is no HTTP: perhaps delivered */
    SVL_TRANSPORT_TOO_LARGE,    /**< the response is larger than allowed: perhaps delivered */
    SVL_TRANSPORT_LOCAL,        /**< this process had no descriptor, memory or port for it: not sent, and no fault of the peer */
    SVL_TRANSPORT_ABORTED,      /**< svl_transport_t.abort: perhaps delivered */
    SVL_TRANSPORT_COUNT
} svl_transport_result_e;

/** @return the label of serviceless_relays_total{result}: "answered", "connect", … */
const char *svl_transport_result_name(svl_transport_result_e result);

/** What every exchange of a node with its peers has in common; immutable. */
typedef struct svl_transport_options_t {
    const apr_table_t *headers;         /**< ServicelessHeader; sent with every request; NULL: none */
    apr_interval_time_t connect_timeout;
    apr_interval_time_t timeout;        /**< whole request */
    apr_size_t max_response;            /**< bytes of a response's body */
    /* PEM text, read by the parent: blobs for libcurl; NULL: the system's CAs, no client certificate */
    const char *ca_certificates;
    const char *certificate;
    const char *certificate_key;
} svl_transport_options_t;

/** One POST.  The caller fills the upper part; the strings of the lower one live in @a pool. */
typedef struct svl_transport_exchange_t {
    const char *url;
    const char *content_type;
    const char *id, *timestamp, *signature; /**< the request's webhook headers */
    const char *key;                        /**< webhook-key: the fingerprint of the signing key; NULL: not said */
    const char *body;
    apr_size_t length;
    apr_interval_time_t timeout;            /**< 0: the options' */
    int once;                               /**< nonzero: the connection is not kept for the next exchange */
    apr_pool_t *pool;                       /**< for what comes back */

    svl_transport_result_e result;
    int sent;                               /**< of begin: nonzero when all of it went out, so that only the answer is missing */
    const char *error;                      /**< words, when not answered */
    int status;                             /**< of HTTP, when answered */
    const char *response_id, *response_timestamp, *response_signature; /**< NULL when absent */
    int response_repeated;                  /**< nonzero: one of the three came twice */
    const char *response;
    apr_size_t response_length;
    apr_interval_time_t took;
    char address[46];                       /**< of whom answered, and its port; "": not known */
    int port;
} svl_transport_exchange_t;

/** Makes the lower part say that nothing has come of it so far. */
void svl_transport_exchange_reset(svl_transport_exchange_t *exchange);

/** @return that the host and port of an exchange's URL were not reached, and why: @a error is an errno; of the exchange's pool */
const char *svl_transport_unconnected(const svl_transport_exchange_t *exchange, int error);

/** A client holds kept-alive connections; used by one thread at a time. */
typedef struct svl_transport_client_t svl_transport_client_t;

typedef struct svl_transport_t {
    /** Once a process, after fork; undone by a cleanup of @a p. */
    apr_status_t (*init)(apr_pool_t *p);
    /** @a options must outlive the client.  Freed by a cleanup of @a p. */
    apr_status_t (*create)(svl_transport_client_t **client, const svl_transport_options_t *options, apr_pool_t *p);
    /** Begins all exchanges, and goes on with them as far as that needs no waiting.  No redirects, no proxy, no Expect header,
     * http and https only, certificates and host names always verified, decompression off. */
    void (*begin)(svl_transport_client_t *client, svl_transport_exchange_t **exchanges, int count);
    /** Goes on as far as that needs no waiting, in any thread.  @return nonzero when finish will not wait */
    int (*ended)(svl_transport_client_t *client);
    /** Returns when each exchange that was begun has ended or timed out.  Another thread may do this than began them. */
    void (*finish)(svl_transport_client_t *client);
    /** From any thread: ends a running finish at once, and every later one, with SVL_TRANSPORT_ABORTED. */
    void (*abort)(svl_transport_client_t *client);
} svl_transport_t;

/** Begins and finishes. */
static inline void svl_transport_perform(const svl_transport_t *transport, svl_transport_client_t *client,
                                         svl_transport_exchange_t **exchanges, int count)
{
    transport->begin(client, exchanges, count);
    transport->finish(client);
}

/** @return microseconds of a clock that nobody sets, and that runs on while the machine sleeps */
apr_time_t svl_transport_monotonic(void);

/** libcurl. */
extern const svl_transport_t svl_curl_transport;

#endif

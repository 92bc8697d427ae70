/* SPDX-License-Identifier: Apache-2.0 */
#include "links_private.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include <apr_portable.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_ssl.h>

#include "../transport/link.h"

#define IDLE_WAIT (2 * SVL_LINK_AGE_MAX) /* seconds */

/* What httpd closes it closes without a word, because it thinks that the client is gone. */
int svl_links_upgrade(request_rec *r)
{
    conn_rec *c = r->connection;
    const struct timeval idle = {.tv_sec = IDLE_WAIT};
    apr_os_sock_t theirs;
    int own = -1;
    if (apr_os_sock_get(&theirs, ap_get_conn_socket(c)) == APR_SUCCESS) {
        own = fcntl(theirs, F_DUPFD_CLOEXEC, 0);
    }
    if (own < 0) {
        return -1;
    }
    r->status = HTTP_SWITCHING_PROTOCOLS;
    apr_table_setn(r->headers_out, "Upgrade", SVL_LINK_PROTOCOL);
    apr_table_setn(r->headers_out, "Connection", "Upgrade");
    ap_send_interim_response(r, 1);
    fcntl(own, F_SETFL, fcntl(own, F_GETFL) & ~O_NONBLOCK);
    setsockopt(own, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof(idle));
    c->aborted = 1;
    c->keepalive = AP_CONN_CLOSE;
    return own;
}

/* Bytes that httpd has read already would be lost. */
static int more_came(request_rec *r)
{
    apr_bucket_brigade *brigade = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    apr_status_t rv = ap_get_brigade(r->connection->input_filters, brigade, AP_MODE_SPECULATIVE, APR_NONBLOCK_READ, 1);
    int more = rv == APR_SUCCESS && !APR_BRIGADE_EMPTY(brigade);
    apr_brigade_destroy(brigade);
    return more;
}

int svl_links_wanted(const svl_exchange_t *exchange, int calls)
{
    request_rec *r = exchange->r;
    const char *upgrade = apr_table_get(r->headers_in, "Upgrade");
    const int given = calls ? exchange->node->call_links : exchange->node->links;
    return given && upgrade && strcmp(upgrade, SVL_LINK_PROTOCOL) == 0 && r->proto_num == HTTP_VERSION(1, 1)
           && ap_find_token(r->pool, apr_table_get(r->headers_in, "Connection"), "upgrade")
           && strncmp(exchange->id, SVL_LINK_PREFIX, sizeof(SVL_LINK_PREFIX) - 1) == 0 && !r->connection->master
           && !ap_ssl_conn_is_ssl(r->connection) && !more_came(r);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "link_private.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_strings.h>

#define HEAD_MAX 8192                     /* bytes of the answer's header */
#define OPEN_WAIT apr_time_from_msec(500) /* longest: calls to the peer wait meanwhile */
#define SLICE_MS 50                       /* between two looks whether the link is aborted */

/* @return 0: time is over, or the link is aborted */
static int wait_for(const svl_link_t *link, int fd, short events, apr_time_t until)
{
    struct pollfd wait = {.fd = fd, .events = events};
    while (svl_transport_monotonic() < until && !svl_link_is_aborted(link)) {
        if (poll(&wait, 1, SLICE_MS) > 0) {
            return 1;
        }
    }
    return 0;
}

/* A number, which needs no resolver.  @return -1: not connected */
static int connect_to(const svl_link_t *link, const char *address, const char *port, apr_time_t until)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int fd = -1, error = 0, one = 1;
    socklen_t size = sizeof(error);
    if (getaddrinfo(address, port, &hints, &found) != 0) {
        return -1;
    }
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0
        && (errno != EINPROGRESS || !wait_for(link, fd, POLLOUT, until)
            || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error)) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    return fd;
}

static int add_own(void *baton, const char *name, const char *value)
{
    apr_array_header_t *text = baton;
    APR_ARRAY_PUSH(text, const char *) = name;
    APR_ARRAY_PUSH(text, const char *) = ": ";
    APR_ARRAY_PUSH(text, const char *) = value;
    APR_ARRAY_PUSH(text, const char *) = "\r\n";
    return 1;
}

static const char *request_of(const svl_link_t *link, const svl_transport_exchange_t *exchange, const char *host,
                              const char *path)
{
    apr_array_header_t *text = apr_array_make(exchange->pool, 64, sizeof(const char *));
    APR_ARRAY_PUSH(text, const char *) = apr_pstrcat(exchange->pool, "POST ", path, " HTTP/1.1\r\n", NULL);
    if (!link->options->headers || !apr_table_get(link->options->headers, "Host")) {
        add_own(text, "Host", host);
    }
    if (link->options->headers) {
        apr_table_do(add_own, text, link->options->headers, NULL);
    }
    add_own(text, "Connection", "Upgrade");
    add_own(text, "Upgrade", SVL_LINK_PROTOCOL);
    add_own(text, "Content-Type", exchange->content_type);
    add_own(text, "webhook-id", exchange->id);
    add_own(text, "webhook-timestamp", exchange->timestamp);
    add_own(text, "webhook-signature", exchange->signature);
    if (exchange->key) {
        add_own(text, "webhook-key", exchange->key);
    }
    add_own(text, "Content-Length", apr_psprintf(exchange->pool, "%" APR_SIZE_T_FMT, exchange->length));
    APR_ARRAY_PUSH(text, const char *) = "\r\n";
    APR_ARRAY_PUSH(text, const char *) = apr_pstrmemdup(exchange->pool, exchange->body, exchange->length);
    return apr_array_pstrcat(exchange->pool, text, '\0');
}

static int send_all(const svl_link_t *link, int fd, const char *text, apr_time_t until)
{
    apr_size_t left = strlen(text);
    while (left && wait_for(link, fd, POLLOUT, until)) {
        ssize_t sent = send(fd, text, left, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EINTR && errno != EAGAIN) {
            return 0;
        }
        text += sent > 0 ? sent : 0;
        left -= sent > 0 ? (apr_size_t)sent : 0;
    }
    return !left;
}

/* Nothing may follow the header: the peer speaks when it is spoken to.  @return nonzero when the peer has changed to the protocol */
static int is_upgraded(const svl_link_t *link, int fd, apr_time_t until)
{
    static const char wanted[] = "HTTP/1.1 101 ";
    char head[HEAD_MAX + 1];
    apr_size_t used = 0;
    while (used < HEAD_MAX && wait_for(link, fd, POLLIN, until)) {
        ssize_t came = recv(fd, head + used, HEAD_MAX - used, MSG_DONTWAIT);
        const char *end;
        if (came == 0 || (came < 0 && errno != EINTR && errno != EAGAIN)) {
            return 0;
        }
        used += came > 0 ? (apr_size_t)came : 0;
        head[used] = '\0';
        end = strstr(head, "\r\n\r\n");
        if (end) {
            return end + 4 == head + used && strncmp(head, wanted, sizeof(wanted) - 1) == 0;
        }
    }
    return 0;
}

/* @return nonzero when the link brings an answer in time */
static int is_proven(svl_link_t *link, svl_transport_exchange_t *proof, apr_time_t until)
{
    apr_time_t left = until - svl_transport_monotonic();
    proof->timeout = left > 0 ? left : 1;
    svl_link_begin(link, proof);
    return svl_link_finish(link) && proof->result == SVL_TRANSPORT_ANSWERED && proof->status < 300;
}

static int open_it(svl_link_t *link, const svl_transport_exchange_t *exchange, svl_transport_exchange_t *proof,
                   const char *address, int port)
{
    static const char scheme[] = "http://";
    apr_interval_time_t longest = link->options->connect_timeout < OPEN_WAIT ? link->options->connect_timeout : OPEN_WAIT;
    apr_time_t until = svl_transport_monotonic() + longest;
    const char *host = exchange->url + sizeof(scheme) - 1, *path, *request;
    int fd;
    if (strncmp(exchange->url, scheme, sizeof(scheme) - 1) != 0 || !*address) {
        return 0;
    }
    path = host + strcspn(host, "/");
    request = request_of(link, exchange, apr_pstrmemdup(exchange->pool, host, (apr_size_t)(path - host)), *path ? path : "/");
    fd = connect_to(link, address, apr_itoa(exchange->pool, port), until);
    if (fd >= 0 && !(send_all(link, fd, request, until) && is_upgraded(link, fd, until))) {
        close(fd);
        return 0;
    }
    link->opened = svl_transport_monotonic();
    svl_link_set(link, fd);
    if (fd >= 0 && link->fd >= 0 && !is_proven(link, proof, until)) {
        svl_link_set(link, -1);
    }
    return link->fd >= 0;
}

int svl_link_open(svl_link_t *link, const svl_transport_exchange_t *exchange, svl_transport_exchange_t *proof,
                  const char *address, int port)
{
    if (open_it(link, exchange, proof, address, port)) {
        link->wait = 0;
        return 1;
    }
    svl_link_put_off(link);
    return 0;
}

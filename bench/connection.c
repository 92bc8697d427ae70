/* SPDX-License-Identifier: Apache-2.0 */
#include "connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_strings.h>

#include "../mod_serviceless/core/frame.h"
#include "../mod_serviceless/transport/link.h"

static void connect_to(connection_t *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((apr_uint16_t)c->port)};
    int on = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        bench_fail("cannot connect to port %d: %s", c->port, strerror(errno));
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Requests are small enough for a socket's buffer, or the peer reads: sends block. */
static void send_request(connection_t *c)
{
    c->have = 0;
    if (c->fd < 0) {
        connect_to(c);
    }
    for (c->sent = 0; c->sent < c->length;) {
        ssize_t n = send(c->fd, c->request + c->sent, c->length - c->sent, MSG_NOSIGNAL);

        if (n < 0) {
            break; /* closed meanwhile: reading finds that too */
        }
        c->sent += (size_t)n;
    }
}

static const char *head_of_request(bench_t *bench, const connection_t *c, const char *type, const char *body,
                                   apr_size_t length)
{
    svl_sign_headers_t signature;

    bench_sign(bench, c->asks ? SVL_LINK_PREFIX : "", body, length, &signature);
    return apr_psprintf(bench->scratch,
                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: %s\r\n%swebhook-id: %s\r\nwebhook-timestamp: %s\r\n"
                        "webhook-signature: %s\r\nContent-Length: %" APR_SIZE_T_FMT "\r\n\r\n",
                        c->path, c->port, type, c->asks ? "Connection: Upgrade\r\nUpgrade: " SVL_LINK_PROTOCOL "\r\n" : "",
                        signature.id, signature.timestamp, signature.signature, length);
}

static const char *head_of_frame(bench_t *bench, const char *body, apr_size_t length)
{
    svl_sign_headers_t signature;
    svl_frame_t frame = {.length = length};
    char *line = apr_palloc(bench->scratch, SVL_FRAME_LINE_MAX);

    bench_sign(bench, "", body, length, &signature);
    frame.id = signature.id;
    frame.timestamp = signature.timestamp;
    frame.signature = signature.signature;
    line[svl_frame_write(line, &frame)] = '\0';
    return line;
}

void connection_begin(bench_t *bench, connection_t *c, const char *type, const char *body, apr_size_t length)
{
    const char *head;
    size_t before;

    c->asks = c->by_link && !c->linked;
    head = c->linked ? head_of_frame(bench, body, length) : head_of_request(bench, c, type, body, length);
    before = strlen(head);
    free(c->request);
    c->length = before + length;
    c->request = malloc(c->length);
    if (!c->request) {
        bench_fail("no memory for a request of %zu bytes", c->length);
    }
    memcpy(c->request, head, before);
    memcpy(c->request + before, body, length);
    c->again = c->linked; /* a link that ends is not made again here */
    send_request(c);
}

/* @return nonzero when all of the frame is there that answers a call over a link */
static int framed(const connection_t *c, const char *from)
{
    const char *end = memchr(from, '\n', (size_t)(c->answer + c->have - from));
    char line[SVL_FRAME_LINE_MAX];
    svl_frame_t frame;
    size_t length;

    if (!end) {
        return 0;
    }
    length = (size_t)(end - from);
    if (length >= sizeof(line) || !svl_frame_parse(&frame, apr_cpystrn(line, from, length + 1) - length, length) || frame.status / 100 != 2) {
        bench_fail("port %d: over a link: %s", c->port, from);
    }
    return c->have >= (size_t)(end + 1 - c->answer) + frame.length;
}

int connection_answered(connection_t *c)
{
    ssize_t n = recv(c->fd, c->answer + c->have, ANSWER_MAX - 1 - c->have, 0);
    char *end, *length;

    if (n <= 0) {
        if (c->have > 0 || c->again) {
            bench_fail("port %d: an answer of %zu bytes ends early: %s", c->port, c->have, n ? strerror(errno) : "closed");
        }
        close(c->fd); /* a kept connection that the server closed: a lost request is normal, ids make another harmless */
        c->fd = -1;
        c->again = 1;
        send_request(c);
        return 0;
    }
    c->have += (size_t)n;
    c->answer[c->have] = '\0';
    if (c->linked) {
        return framed(c, c->answer);
    }
    end = strstr(c->answer, "\r\n\r\n");
    if (!end) {
        return 0;
    }
    if (c->asks) {
        if (strncmp(c->answer, "HTTP/1.1 101 ", 13) != 0) {
            bench_fail("port %d: no link: %s", c->port, c->answer);
        }
        c->linked = framed(c, end + 4);
        return c->linked;
    }
    length = strcasestr(c->answer, "\r\nContent-Length:");
    if (strncmp(c->answer, "HTTP/1.1 2", 10) != 0 || !length || length > end) {
        bench_fail("port %d: %s", c->port, c->answer);
    }
    return c->have >= (size_t)(end + 4 - c->answer) + strtoul(length + 17, NULL, 10);
}

void connection_finish(connection_t *c)
{
    struct pollfd wait = {c->fd, POLLIN, 0};

    do {
        wait.fd = c->fd;
        if (poll(&wait, 1, PATIENCE) <= 0) {
            bench_fail("port %d: no answer in %d ms", c->port, PATIENCE);
        }
    } while (!connection_answered(c));
}

void connection_close(connection_t *c)
{
    close(c->fd);
    c->fd = -1;
    c->linked = 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A small HTTP server on loopback, for the tests that include it: each connection has a thread, each request goes to a function. */
#ifndef SVL_UNIT_RESPONDER
#define SVL_UNIT_RESPONDER

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <apr_time.h>

#include "unit.h"

#define PATIENCE apr_time_from_sec(20) /* of a test that waits for what must come; sanitizers are slow */
#define CONNECTIONS_MAX 512
#define KEPT 256

/* Waits until the condition holds. */
#define AWAIT(condition)                                                                                                       \
    do {                                                                                                                       \
        apr_time_t await_until = apr_time_now() + PATIENCE;                                                                    \
        while (!(condition)) {                                                                                                 \
            if (apr_time_now() > await_until) {                                                                                \
                fail_msg("waited in vain for %s", #condition);                                                                 \
            }                                                                                                                  \
            unit_breathe();                                                                                                    \
        }                                                                                                                      \
    } while (0)

typedef struct request_t {
    char head[16384];
    char *body; /* with a NUL */
    size_t length;
    int number; /* of its connection, from 1 */
    int fd;
} request_t;

typedef struct responder_t responder_t;

/* @return nonzero to keep the connection */
typedef int answer_t(responder_t *responder, request_t *request);

struct responder_t {
    answer_t *answer;
    void *baton;
    int listener, port;
    char url[64];
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
    pthread_t threads[CONNECTIONS_MAX];
    int sockets[CONNECTIONS_MAX]; /* -1: closed */
    int connections, requests, in_flight, most_in_flight;
    int open; /* of a gate that an answer may wait at */
    int stopping;
    char *bodies[KEPT]; /* of the first requests */
    char head[16384];   /* of the last one */
};

static inline int responder_get(responder_t *responder, const int *member)
{
    pthread_mutex_lock(&responder->mutex);
    int value = *member;
    pthread_mutex_unlock(&responder->mutex);
    return value;
}

/* @return the body of request @a i, which stays */
static inline const char *responder_body(responder_t *responder, int i)
{
    pthread_mutex_lock(&responder->mutex);
    const char *body = responder->bodies[i];
    pthread_mutex_unlock(&responder->mutex);
    return body;
}

static inline int responder_write(request_t *request, const char *text, size_t length)
{
    while (length) {
        ssize_t sent = send(request->fd, text, length, MSG_NOSIGNAL);
        if (sent <= 0) {
            return 0;
        }
        text += sent;
        length -= (size_t)sent;
    }
    return 1;
}

static inline int responder_say(request_t *request, const char *text)
{
    return responder_write(request, text, strlen(text));
}

/* One byte after the other, slowly.  @return 0 */
static inline int responder_drip(responder_t *responder, request_t *request, const char *header)
{
    int going = responder_say(request, header);
    while (going && !responder_get(responder, &responder->stopping)) {
        going = responder_say(request, "x");
        for (int i = 0; i < 20; i++) {
            unit_breathe();
        }
    }
    return 0;
}

/* The same for ever.  @return 0 */
static inline int responder_repeat(request_t *request, const char *header, const char *text)
{
    int going = responder_say(request, header);
    while (going) {
        going = responder_say(request, text);
    }
    return 0;
}

/* Waits until the gate is opened or the responder stops. @return nonzero when opened */
static inline int responder_gate(responder_t *responder)
{
    pthread_mutex_lock(&responder->mutex);
    while (!responder->open && !responder->stopping) {
        pthread_cond_wait(&responder->changed, &responder->mutex);
    }
    int open = responder->open;
    pthread_mutex_unlock(&responder->mutex);
    return open;
}

static inline void responder_open(responder_t *responder)
{
    pthread_mutex_lock(&responder->mutex);
    responder->open = 1;
    pthread_cond_broadcast(&responder->changed);
    pthread_mutex_unlock(&responder->mutex);
}

/* @return nonzero and the value of a header line */
static inline int responder_header(const request_t *request, const char *name, char value[256])
{
    size_t length = strlen(name);
    for (const char *line = strstr(request->head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
            const char *from = line + length + 1 + strspn(line + length + 1, " ");
            snprintf(value, 256, "%.*s", (int)strcspn(from, "\r"), from);
            return 1;
        }
    }
    return 0;
}

/* Looks before it takes, so that it takes no more than the header. */
static inline int responder_read_head(request_t *request)
{
    for (size_t seen = 0;;) {
        ssize_t got = recv(request->fd, request->head, sizeof(request->head) - 1, MSG_PEEK);
        if (got <= 0) {
            return 0;
        }
        request->head[got] = '\0';
        char *end = strstr(request->head, "\r\n\r\n");
        if (end) {
            end[4] = '\0';
            return recv(request->fd, request->head, strlen(request->head), 0) > 0;
        }
        if ((size_t)got == sizeof(request->head) - 1) {
            return 0;
        }
        if ((size_t)got == seen) { /* half a header: the rest is on its way */
            unit_breathe();
        }
        seen = (size_t)got;
    }
}

/* @return 0: the connection ended before so many bytes came */
static inline int responder_take(int fd, char *bytes, size_t length)
{
    for (size_t have = 0; have < length;) {
        ssize_t got = recv(fd, bytes + have, length - have, 0);
        if (got <= 0) {
            return 0;
        }
        have += (size_t)got;
    }
    return 1;
}

static inline int responder_read(request_t *request)
{
    char value[256];
    if (!responder_read_head(request)) {
        return 0;
    }
    request->length = responder_header(request, "Content-Length", value) ? strtoul(value, NULL, 10) : 0;
    request->body = malloc(request->length + 1);
    request->body[request->length] = '\0';
    return responder_take(request->fd, request->body, request->length);
}

static inline void responder_note(responder_t *responder, const request_t *request)
{
    pthread_mutex_lock(&responder->mutex);
    if (responder->requests < KEPT) {
        responder->bodies[responder->requests] = strdup(request->body);
    }
    memcpy(responder->head, request->head, sizeof(request->head));
    responder->requests++;
    if (++responder->in_flight > responder->most_in_flight) {
        responder->most_in_flight = responder->in_flight;
    }
    pthread_mutex_unlock(&responder->mutex);
}

typedef struct connection_t {
    responder_t *responder;
    int index, fd;
} connection_t;

static inline void *responder_serve(void *baton)
{
    connection_t *connection = baton;
    responder_t *responder = connection->responder;
    int keep = 1;
    for (int number = 1; keep; number++) {
        request_t *request = calloc(1, sizeof(*request));
        request->fd = connection->fd;
        request->number = number;
        keep = responder_read(request);
        if (keep) {
            responder_note(responder, request);
            keep = responder->answer(responder, request);
            pthread_mutex_lock(&responder->mutex);
            responder->in_flight--;
            pthread_mutex_unlock(&responder->mutex);
        }
        free(request->body);
        free(request);
    }
    pthread_mutex_lock(&responder->mutex);
    responder->sockets[connection->index] = -1;
    close(connection->fd);
    pthread_mutex_unlock(&responder->mutex);
    free(connection);
    return NULL;
}

static inline void *responder_accept(void *baton)
{
    responder_t *responder = baton;
    for (;;) {
        int fd = accept(responder->listener, NULL, NULL), one = 1;
        pthread_mutex_lock(&responder->mutex);
        if (fd < 0 || responder->stopping || responder->connections == CONNECTIONS_MAX) {
            pthread_mutex_unlock(&responder->mutex);
            if (fd >= 0) {
                close(fd);
            }
            return NULL;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        connection_t *connection = malloc(sizeof(*connection));
        *connection = (connection_t){responder, responder->connections++, fd};
        responder->sockets[connection->index] = fd;
        pthread_create(&responder->threads[connection->index], NULL, responder_serve, connection);
        pthread_mutex_unlock(&responder->mutex);
    }
}

/* @return a socket bound to a free port of 127.0.0.1; until it listens, connections are refused */
static inline int responder_bind(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static inline void responder_stop(responder_t *responder)
{
    pthread_mutex_lock(&responder->mutex);
    responder->stopping = 1;
    pthread_cond_broadcast(&responder->changed);
    pthread_mutex_unlock(&responder->mutex);
    shutdown(responder->listener, SHUT_RDWR);
    pthread_join(responder->thread, NULL);
    pthread_mutex_lock(&responder->mutex);
    for (int i = 0; i < responder->connections; i++) {
        if (responder->sockets[i] >= 0) {
            shutdown(responder->sockets[i], SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&responder->mutex);
    for (int i = 0; i < responder->connections; i++) {
        pthread_join(responder->threads[i], NULL);
    }
    close(responder->listener);
    for (int i = 0; i < KEPT; i++) {
        free(responder->bodies[i]);
    }
}

static inline apr_status_t responder_cleanup(void *baton)
{
    responder_stop(baton);
    free(baton);
    return APR_SUCCESS;
}

/* Stops with the pool. */
static inline responder_t *responder_start(apr_pool_t *p, answer_t *answer, void *baton)
{
    responder_t *responder = calloc(1, sizeof(*responder));
    responder->answer = answer;
    responder->baton = baton;
    pthread_mutex_init(&responder->mutex, NULL);
    pthread_cond_init(&responder->changed, NULL);
    responder->listener = responder_bind(&responder->port);
    assert_int_equal(listen(responder->listener, 128), 0);
    snprintf(responder->url, sizeof(responder->url), "http://127.0.0.1:%d/serviceless", responder->port);
    assert_int_equal(pthread_create(&responder->thread, NULL, responder_accept, responder), 0);
    apr_pool_cleanup_register(p, responder, responder_cleanup, apr_pool_cleanup_null);
    return responder;
}

static inline apr_status_t close_socket(void *baton)
{
    close((int)(intptr_t)baton);
    return APR_SUCCESS;
}

static inline int owned_socket(apr_pool_t *p, int fd)
{
    apr_pool_cleanup_register(p, (void *)(intptr_t)fd, close_socket, apr_pool_cleanup_null);
    return fd;
}

/* @return a URL where connections are refused */
static inline const char *refusing_url(apr_pool_t *p)
{
    int port;
    owned_socket(p, responder_bind(&port));
    return apr_psprintf(p, "http://127.0.0.1:%d/serviceless", port);
}

/* @return a URL where connections are neither made nor refused: Linux drops what comes when the accept queue is full */
static inline const char *blackholed_url(apr_pool_t *p)
{
    int port;
    int fd = owned_socket(p, responder_bind(&port));
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    assert_int_equal(listen(fd, 0), 0);
    for (int i = 0; i < 4; i++) {
        int filler = owned_socket(p, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        assert_true(connect(filler, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EINPROGRESS);
    }
    return apr_psprintf(p, "http://127.0.0.1:%d/serviceless", port);
}

#endif

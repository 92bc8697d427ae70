/* SPDX-License-Identifier: Apache-2.0 */
#include "link_private.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_strings.h>

#define TICK_MS 1000                      /* longest sleep */
#define BUFFER_MIN 4096                   /* holds an acknowledgement */
#define REST apr_time_from_sec(1)         /* before one is wanted in the place of one that ended */
#define AGAIN_MIN apr_time_from_sec(60)   /* until the next question, when there was no link that works; it doubles … */
#define AGAIN_MAX apr_time_from_sec(1920) /* … up to this */

int svl_link_is_aborted(const svl_link_t *link)
{
    return __atomic_load_n(&link->aborted, __ATOMIC_ACQUIRE);
}

/* Whoever aborts must not find another's descriptor under this number. */
void svl_link_set(svl_link_t *link, int fd)
{
    apr_thread_mutex_lock(link->lock);
    if (link->fd >= 0) {
        close(link->fd);
    }
    if (fd >= 0 && svl_link_is_aborted(link)) {
        close(fd);
        fd = -1;
    }
    link->fd = fd;
    apr_thread_mutex_unlock(link->lock);
}

int svl_link_is_open(svl_link_t *link)
{
    if (link->fd >= 0 && svl_transport_monotonic() - link->opened > apr_time_from_sec(SVL_LINK_AGE_MAX)) {
        svl_link_set(link, -1);
    }
    return link->fd >= 0;
}

int svl_link_is_wanted(svl_link_t *link)
{
    return !svl_link_is_open(link) && svl_transport_monotonic() >= link->next;
}

void svl_link_put_off(svl_link_t *link)
{
    link->wait = !link->wait ? AGAIN_MIN : link->wait < AGAIN_MAX ? 2 * link->wait : link->wait;
    link->next = svl_transport_monotonic() + link->wait;
}

void svl_link_close(svl_link_t *link)
{
    svl_link_set(link, -1);
}

void svl_link_abort(svl_link_t *link)
{
    apr_thread_mutex_lock(link->lock);
    __atomic_store_n(&link->aborted, 1, __ATOMIC_RELEASE);
    if (link->fd >= 0) {
        shutdown(link->fd, SHUT_RDWR);
    }
    apr_thread_mutex_unlock(link->lock);
}

static apr_status_t link_cleanup(void *baton)
{
    svl_link_t *link = baton;
    svl_link_set(link, -1);
    svl_link_buffer_free(&link->in);
    return APR_SUCCESS;
}

apr_status_t svl_link_create(svl_link_t **link, const svl_transport_options_t *options, apr_pool_t *p)
{
    svl_link_t *made = apr_pcalloc(p, sizeof(*made));
    made->options = options;
    made->fd = -1;
    apr_status_t rv = apr_thread_mutex_create(&made->lock, APR_THREAD_MUTEX_DEFAULT, p);
    if (rv == APR_SUCCESS) {
        apr_pool_cleanup_register(p, made, link_cleanup, apr_pool_cleanup_null);
    }
    *link = made;
    return rv;
}

static apr_size_t all_of(const svl_link_t *link)
{
    return link->head + link->exchange->length;
}

/* @return 0: the connection is lost */
static int send_more(svl_link_t *link)
{
    return svl_link_send(link->fd, link->line, link->head, link->exchange->body, link->exchange->length, &link->out);
}

/* It may be wanted again soon: most likely the process at its other end has ended. */
static void end_it(svl_link_t *link)
{
    svl_link_set(link, -1);
    link->next = svl_transport_monotonic() + REST;
}

static svl_link_state_e broken(svl_link_t *link, svl_transport_result_e result, const char *error)
{
    link->exchange->result = result;
    link->exchange->error = error;
    end_it(link);
    return SVL_LINK_ENDED;
}

static svl_link_state_e answered(svl_link_t *link)
{
    svl_transport_exchange_t *exchange = link->exchange;
    exchange->result = SVL_TRANSPORT_ANSWERED;
    exchange->error = NULL;
    exchange->response = apr_pstrmemdup(exchange->pool, link->in.bytes + link->began, link->length);
    exchange->response_length = link->length;
    exchange->took = svl_transport_monotonic() - link->begun;
    if (link->in.used > link->began + link->length || link->out < all_of(link)) {
        end_it(link); /* more than was asked for, or before it was */
    }
    svl_link_buffer_rest(&link->in);
    return SVL_LINK_ENDED;
}

/* Takes the line off what came, if it is there: the buffer may move, so what it says is copied. */
static svl_link_state_e take_line(svl_link_t *link)
{
    svl_transport_exchange_t *exchange = link->exchange;
    char *end = memchr(link->in.bytes, '\n', link->in.used);
    svl_frame_t frame;
    if (!end) {
        return link->in.used < SVL_FRAME_LINE_MAX ? SVL_LINK_WAITS
                                                  : broken(link, SVL_TRANSPORT_BROKEN, "its answer on a link is no frame");
    }
    if (!svl_frame_parse(&frame, link->in.bytes, (apr_size_t)(end - link->in.bytes))) {
        return broken(link, SVL_TRANSPORT_BROKEN, "its answer on a link is no frame");
    }
    if (frame.length > link->options->max_response) {
        return broken(link, SVL_TRANSPORT_TOO_LARGE, "the response is too large");
    }
    exchange->status = frame.status;
    exchange->response_id = apr_pstrdup(exchange->pool, frame.id);
    exchange->response_timestamp = apr_pstrdup(exchange->pool, frame.timestamp);
    exchange->response_signature = apr_pstrdup(exchange->pool, frame.signature);
    link->length = frame.length;
    link->began = (apr_size_t)(end - link->in.bytes) + 1;
    return SVL_LINK_WAITS;
}

static svl_link_state_e receive_more(svl_link_t *link)
{
    for (;;) {
        apr_size_t wanted = link->began ? link->began + link->length : BUFFER_MIN;
        ssize_t came;
        if (link->began && link->in.used >= wanted) {
            return answered(link);
        }
        if (!svl_link_buffer_reserve(&link->in, wanted + 1)) {
            return broken(link, SVL_TRANSPORT_LOCAL, "memory");
        }
        came = recv(link->fd, link->in.bytes + link->in.used, link->in.capacity - link->in.used, MSG_DONTWAIT);
        if (came < 0 && errno == EINTR) {
            continue;
        }
        if (came < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return SVL_LINK_WAITS;
        }
        if (came <= 0) {
            return SVL_LINK_LOST;
        }
        link->in.used += (apr_size_t)came;
        if (!link->began && take_line(link) != SVL_LINK_WAITS) {
            return SVL_LINK_ENDED;
        }
    }
}

/* A peer may answer before it has read all. */
static svl_link_state_e go_on(svl_link_t *link)
{
    int sent;
    if (link->state != SVL_LINK_WAITS) {
        return link->state;
    }
    sent = send_more(link);
    link->state = receive_more(link);
    if (link->state == SVL_LINK_WAITS && !sent) {
        link->state = SVL_LINK_LOST;
    }
    if (link->state == SVL_LINK_LOST) {
        end_it(link);
    }
    return link->state;
}

void svl_link_begin(svl_link_t *link, svl_transport_exchange_t *exchange)
{
    const svl_frame_t frame = {.length = exchange->length,
                               .id = exchange->id,
                               .timestamp = exchange->timestamp,
                               .key = exchange->key,
                               .signature = exchange->signature};
    svl_transport_exchange_reset(exchange);
    link->exchange = exchange;
    link->begun = svl_transport_monotonic();
    link->head = svl_frame_write(link->line, &frame);
    link->out = link->in.used = link->began = 0;
    link->state = link->head && send_more(link) ? SVL_LINK_WAITS : SVL_LINK_LOST;
    if (link->state == SVL_LINK_LOST) {
        end_it(link);
    }
    exchange->sent = link->state == SVL_LINK_WAITS && link->out == all_of(link);
}

int svl_link_ended(svl_link_t *link)
{
    return go_on(link) != SVL_LINK_WAITS;
}

apr_time_t svl_link_wait(const svl_link_t *link, struct pollfd *wait)
{
    const apr_interval_time_t timeout = link->exchange->timeout;
    *wait = (struct pollfd){.fd = link->fd, .events = POLLIN};
    wait->events |= link->out < all_of(link) ? POLLOUT : 0;
    return link->begun + (timeout ? timeout : link->options->timeout);
}

int svl_link_finish(svl_link_t *link)
{
    svl_transport_exchange_t *exchange = link->exchange;
    while (go_on(link) == SVL_LINK_WAITS) {
        struct pollfd wait;
        apr_time_t left = svl_link_wait(link, &wait) - svl_transport_monotonic();
        if (left <= 0) {
            exchange->took = svl_transport_monotonic() - link->begun;
            link->state = broken(link, SVL_TRANSPORT_TIMEOUT, "no answer in time on a link");
            break;
        }
        poll(&wait, 1, left < apr_time_from_msec(TICK_MS) ? (int)apr_time_as_msec(left) + 1 : TICK_MS);
    }
    if (link->state == SVL_LINK_LOST && svl_link_is_aborted(link)) {
        exchange->result = SVL_TRANSPORT_ABORTED;
        link->state = SVL_LINK_ENDED;
    }
    return link->state == SVL_LINK_ENDED;
}

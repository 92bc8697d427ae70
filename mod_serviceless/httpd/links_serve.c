/* SPDX-License-Identifier: Apache-2.0 */
#include "links_private.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <apr_strings.h>

#include "../core/frame.h"
#include "../core/message.h"
#include "endpoint.h"
#include "receive.h"
#include "run.h"

#define BUFFER_MIN 8192                  /* bytes: most messages */
#define WHOLE_WAIT apr_time_from_sec(10) /* for the rest of a message, or for a peer that does not read its answer */

typedef enum {
    END,   /* the link, that is */
    GO_ON, /* there may be another message */
    LEAVE  /* another thread has the link, which may be gone */
} next_e;

/* @return 0: it did not come so far in time */
static int wait_for(const svl_link_end_t *link, short events, apr_time_t until)
{
    struct pollfd wait = {.fd = link->fd, .events = events};
    apr_time_t left = until - svl_transport_monotonic();
    return left > 0 && poll(&wait, 1, (int)apr_time_as_msec(left) + 1) != 0;
}

/* @param until 0: no message has begun  @return 0: the connection ended, or time is over */
static int receive_more(svl_link_end_t *link, apr_time_t until)
{
    for (;;) {
        ssize_t came;
        if (until && !wait_for(link, POLLIN, until)) {
            return 0;
        }
        came = recv(link->fd, link->in.bytes + link->in.used, link->in.capacity - link->in.used, until ? MSG_DONTWAIT : 0);
        if (came > 0) {
            link->in.used += (apr_size_t)came;
            return 1;
        }
        if (came == 0 || (errno != EINTR && (errno != EAGAIN || !until))) { /* else nothing came for long */
            return 0;
        }
    }
}

static void leave_turn(svl_link_end_t *link)
{
    if (link->turn) {
        svl_runs_turn_leave(link->runtime->runs);
        link->turn = 0;
    }
}

/* No run waits for a peer that does not read. */
static int send_all(svl_link_end_t *link, const char *line, apr_size_t head, const char *body, apr_size_t length)
{
    apr_time_t until = svl_transport_monotonic() + WHOLE_WAIT;
    apr_size_t out = 0;
    while (svl_link_send(link->fd, line, head, body, length, &out)) {
        if (out == head + length) {
            return 1;
        }
        leave_turn(link);
        if (!wait_for(link, POLLOUT, until)) {
            return 0;
        }
    }
    return 0;
}

/* @return bytes of the line; 0: it would be too long */
static apr_size_t head_of(char line[SVL_FRAME_LINE_MAX], const svl_exchange_t *exchange, int status, const char *body,
                          apr_size_t length)
{
    svl_frame_t frame = {.status = status, .length = length};
    svl_reply_signature_t made;
    if (exchange->key && exchange->id && svl_reply_sign(exchange, body, length, &made) == APR_SUCCESS) {
        frame.id = made.id;
        frame.timestamp = made.timestamp;
        frame.signature = made.signature;
    }
    return svl_frame_write(line, &frame);
}

static int answer_with(svl_link_end_t *link, const svl_exchange_t *exchange, int status, const char *body, apr_size_t length)
{
    char line[SVL_FRAME_LINE_MAX];
    apr_size_t head = head_of(line, exchange, status, body, length);
    return head && send_all(link, line, head, body, length);
}

static void note(const svl_link_end_t *link, const char *id, const svl_fault_t *fault, apr_pool_t *p)
{
    svl_fault_t noted = *fault;
    noted.detail =
        apr_psprintf(p, "%s%sover a link from %s", fault->detail ? fault->detail : "", fault->detail ? "; " : "", link->from);
    svl_reply_note(link->runtime->node, NULL, id, &noted);
}

static int refuse(svl_link_end_t *link, const svl_exchange_t *exchange, const svl_fault_t *fault)
{
    apr_size_t length;
    const char *body = svl_fault_document(fault, exchange->pool, &length);
    note(link, exchange->id, fault, exchange->pool);
    return answer_with(link, exchange, svl_fault_http(fault->reason), body, length);
}

/* It is not answered, since nobody knows where the next one would begin: who repeats it as a request hears why.  @return 0 */
static int cannot_read(const svl_link_end_t *link, svl_reason_e reason, const char *detail, apr_pool_t *p)
{
    svl_fault_t fault;
    svl_fault_set(&fault, reason, p, "%s", detail);
    note(link, NULL, &fault, p);
    return 0;
}

/* The line is copied, since the buffer may move.  @param until 0: it may begin whenever it likes  @return 0: no message came, or none that can be told from what follows it */
static int read_message(svl_link_end_t *link, apr_time_t until, svl_frame_t *frame, const char **body, apr_pool_t *p)
{
    const apr_size_t limit = link->runtime->node->max_body + (link->calls ? 0 : SVL_MESSAGE_SLACK);
    const char *end;
    apr_size_t began, length;
    if (!svl_link_buffer_reserve(&link->in, BUFFER_MIN)) {
        return 0;
    }
    while (!(end = memchr(link->in.bytes, '\n', link->in.used))) {
        if (link->in.used >= SVL_FRAME_LINE_MAX) {
            return cannot_read(link, SVL_REASON_HEADER, "a frame's line without an end", p);
        }
        if (!receive_more(link, until)) {
            return 0;
        }
        until = until ? until : svl_transport_monotonic() + WHOLE_WAIT;
    }
    length = (apr_size_t)(end - link->in.bytes);
    began = length + 1;
    if (length >= SVL_FRAME_LINE_MAX || !svl_frame_parse(frame, apr_pstrmemdup(p, link->in.bytes, length), length)
        || frame->status) {
        return cannot_read(link, SVL_REASON_HEADER, "no frame", p);
    }
    if (frame->length > limit) {
        return cannot_read(link, SVL_REASON_BODY_TOO_LARGE,
                           apr_psprintf(p, "%" APR_SIZE_T_FMT " bytes; at most %" APR_SIZE_T_FMT, frame->length, limit), p);
    }
    until = until ? until : svl_transport_monotonic() + WHOLE_WAIT;
    while (link->in.used < began + frame->length) { /* room is made for what comes, not for what is promised */
        if ((link->in.used == link->in.capacity && !svl_link_buffer_reserve(&link->in, 2 * link->in.capacity))
            || !receive_more(link, until)) {
            return 0;
        }
    }
    *body = link->in.bytes + began;
    return 1;
}

static void forget_message(svl_link_end_t *link, const svl_frame_t *frame, const char *body)
{
    const char *next = body + frame->length;
    link->in.used -= (apr_size_t)(next - link->in.bytes);
    memmove(link->in.bytes, next, link->in.used);
    if (!link->in.used) {
        svl_link_buffer_rest(&link->in);
    }
}

static void be(int policy)
{
    const struct sched_param none = {0};
    sched_setscheduler(0, policy, &none); /* of this thread; where it cannot be, it takes turns as before */
}

/* The thread of a peer's link is patient: most peers that send it a message send the next one to somebody else first, and are not interrupted.  So
 * is what a short function starts there, unless it says otherwise.
 * @return this thread; 0: the administrator has chosen how it takes turns */
static pid_t be_patient(void)
{
#ifdef SCHED_BATCH
    if (sched_getscheduler(0) == SCHED_OTHER) {
        be(SCHED_BATCH);
        return (pid_t)syscall(SYS_gettid);
    }
#endif
    return 0;
}

/* @return APR_SUCCESS, SVL_EREFUSED, or APR_INCOMPLETE: as svl_receive */
static apr_status_t take(const svl_link_end_t *link, svl_exchange_t *exchange, svl_receive_answer_t *said, svl_fault_t *fault)
{
    apr_status_t rv = svl_endpoint_verify(exchange, fault);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    return link->calls ? svl_endpoint_call(exchange, said, fault) : svl_receive(exchange, said, fault);
}

/* The message in the buffer, if it was not taken yet; else with what is owed for it. */
static next_e answer(svl_link_end_t *link, const svl_frame_t *frame, const char *body, pid_t *patient, apr_pool_t *p)
{
    svl_runtime_t *runtime = link->runtime;
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_receive_answer_t said = {0};
    svl_exchange_t exchange = {.pool = p,
                               .node = runtime->node,
                               .runtime = runtime,
                               .headers = {.id = frame->id, .timestamp = frame->timestamp, .signature = frame->signature},
                               .named = frame->key,
                               .body = body,
                               .length = frame->length,
                               .turn = &link->turn};
    apr_status_t rv = APR_INCOMPLETE;
    int answered;
    svl_endpoint_identify(&exchange);
    if (!link->owed.position) {
        rv = take(link, &exchange, &said, &fault);
        link->key = exchange.key;
        if (rv == APR_INCOMPLETE) {
            link->owed = said.owed;
            if (!svl_links_run(link, patient)) {
                return LEAVE;
            }
        }
    }
    exchange.key = link->key;
    if (rv == APR_INCOMPLETE) {
        svl_receive_owed(&exchange, &link->owed, &said);
        link->owed.position = 0;
        rv = APR_SUCCESS;
    }
    answered =
        rv == APR_SUCCESS ? answer_with(link, &exchange, said.status, said.body, said.length) : refuse(link, &exchange, &fault);
    return answered && exchange.key ? GO_ON : END; /* a link is for who has a key */
}

/* One message. */
static next_e serve_one(svl_link_end_t *link, pid_t *patient, apr_pool_t *p)
{
    /* Who asked for a link proves at once that it works. */
    apr_time_t until = link->proven ? 0 : svl_transport_monotonic() + WHOLE_WAIT;
    svl_frame_t frame;
    const char *body;
    next_e next;
    if (!read_message(link, until, &frame, &body, p)
        || (!link->owed.position && __atomic_load_n(link->stopping, __ATOMIC_ACQUIRE))) {
        return END;
    }
    next = answer(link, &frame, body, patient, p);
    if (next != LEAVE) {
        forget_message(link, &frame, body);
        link->proven = 1;
    }
    return next;
}

int svl_links_owe(svl_link_end_t *link, const svl_exchange_t *exchange, const svl_receive_answer_t *answer)
{
    char line[SVL_FRAME_LINE_MAX];
    apr_size_t head = head_of(line, exchange, answer->status, answer->body, answer->length);
    if (!head || !svl_link_buffer_reserve(&link->first, head + answer->length)) {
        return 0;
    }
    memcpy(link->first.bytes, line, head);
    memcpy(link->first.bytes + head, answer->body, answer->length);
    link->first.used = head + answer->length;
    return 1;
}

static int answer_first(svl_link_end_t *link)
{
    int sent = !link->first.used || send_all(link, link->first.bytes, link->first.used, "", 0);
    svl_link_buffer_free(&link->first);
    return sent;
}

int svl_links_serve(svl_link_end_t *link)
{
    apr_pool_t *pool;
    pid_t patient;
    int may;
    next_e next = GO_ON;
    if (!answer_first(link) || apr_pool_create(&pool, link->pool) != APR_SUCCESS) {
        return 1;
    }
    patient = link->calls ? 0 : be_patient(); /* what a call starts takes turns as it would in a request */
    may = patient != 0;
    while (next == GO_ON) {
        if (may && !patient) {
            patient = be_patient(); /* again, after a run that took long */
        }
        next = serve_one(link, &patient, pool);
        apr_pool_clear(pool);
        if (next == END) {
            leave_turn(link);
        }
        if (next == GO_ON && link->turn && !svl_links_run(link, &patient)) {
            next = LEAVE;
        }
    }
    if (patient) {
        be(SCHED_OTHER);
    }
    apr_pool_destroy(pool);
    return next == END;
}

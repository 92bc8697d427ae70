/* SPDX-License-Identifier: Apache-2.0 */
#include "link_io.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define BUFFER_KEPT 131072 /* bytes that a link keeps for what comes next */

int svl_link_buffer_reserve(svl_link_buffer_t *buffer, apr_size_t bytes)
{
    char *larger;
    if (bytes <= buffer->capacity) {
        return 1;
    }
    larger = realloc(buffer->bytes, bytes);
    if (larger) {
        buffer->bytes = larger;
        buffer->capacity = bytes;
    }
    return larger != NULL;
}

void svl_link_buffer_free(svl_link_buffer_t *buffer)
{
    free(buffer->bytes);
    *buffer = (svl_link_buffer_t){NULL, 0, 0};
}

void svl_link_buffer_rest(svl_link_buffer_t *buffer)
{
    buffer->used = 0;
    if (buffer->capacity > BUFFER_KEPT) {
        svl_link_buffer_free(buffer);
    }
}

int svl_link_send(int fd, const char *line, apr_size_t head, const char *body, apr_size_t length, apr_size_t *out)
{
    while (*out < head + length) {
        struct iovec parts[2];
        struct msghdr message = {.msg_iov = parts};
        apr_size_t of_body = *out > head ? *out - head : 0;
        ssize_t sent;
        if (*out < head) {
            parts[message.msg_iovlen++] = (struct iovec){(char *)(size_t)line + *out, head - *out};
        }
        parts[message.msg_iovlen++] = (struct iovec){(char *)(size_t)body + of_body, length - of_body};
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EINTR) {
            return errno == EAGAIN || errno == EWOULDBLOCK;
        }
        *out += sent > 0 ? (apr_size_t)sent : 0;
    }
    return 1;
}

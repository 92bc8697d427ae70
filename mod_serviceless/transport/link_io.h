/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/link_io.h
 * @brief What both ends of a link do with its socket: frames (core/frame.h) go out, and what comes waits in a buffer.
 */
#ifndef SVL_TRANSPORT_LINK_IO_H
#define SVL_TRANSPORT_LINK_IO_H

#include <apr.h>

/** What came and was not taken yet; all zeros at first.  Freed by svl_link_buffer_free. */
typedef struct svl_link_buffer_t {
    char *bytes; /**< malloc */
    apr_size_t capacity, used;
} svl_link_buffer_t;

/** Makes it hold so many bytes, and keeps what is there.  @return 0: there is no memory */
int svl_link_buffer_reserve(svl_link_buffer_t *buffer, apr_size_t bytes);

/** What is there was taken: a large one is freed. */
void svl_link_buffer_rest(svl_link_buffer_t *buffer);

void svl_link_buffer_free(svl_link_buffer_t *buffer);

/** Sends as much of a line and its body as can be sent without waiting.
 * @param head bytes of @a line, @a length of @a body  @param out bytes of both that went out; raised  @return 0: the connection is lost */
int svl_link_send(int fd, const char *line, apr_size_t head, const char *body, apr_size_t length, apr_size_t *out);

#endif

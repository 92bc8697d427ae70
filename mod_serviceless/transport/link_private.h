/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/link_private.h
 * @brief What the files of links share; nobody else includes it.
 */
#ifndef SVL_TRANSPORT_LINK_PRIVATE_H
#define SVL_TRANSPORT_LINK_PRIVATE_H

#include <apr_thread_mutex.h>

#include "../core/frame.h"
#include "link.h"
#include "link_io.h"

typedef enum { SVL_LINK_WAITS, SVL_LINK_ENDED, SVL_LINK_LOST } svl_link_state_e;

struct svl_link_t {
    const svl_transport_options_t *options;
    apr_thread_mutex_t *lock; /* of the number in fd: its user need not lock to read it */
    int fd;                   /* -1: closed */
    int aborted;              /* atomic */
    apr_time_t opened;        /* monotonic */
    apr_time_t next;          /* monotonic; not before that time one is wanted */
    apr_interval_time_t wait; /* from the last question without a link to the next one; 0: it had one */
    /* The exchange */
    svl_transport_exchange_t *exchange;
    svl_link_state_e state;
    apr_time_t begun; /* monotonic */
    char line[SVL_FRAME_LINE_MAX];
    apr_size_t head; /* bytes of the line */
    apr_size_t out;  /* bytes of line and body that went out */
    /* The answer */
    svl_link_buffer_t in;
    apr_size_t began;  /* where its body begins; 0: the line is not there yet */
    apr_size_t length; /* of its body, when the line is there */
};

/** Closes what is open; @a fd is the link's from now on, -1: nothing is. */
void svl_link_set(svl_link_t *link, int fd);
int svl_link_is_aborted(const svl_link_t *link);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/links_private.h
 * @brief One link: what the files of links share; nobody else includes it.
 */
#ifndef SVL_HTTPD_LINKS_PRIVATE_H
#define SVL_HTTPD_LINKS_PRIVATE_H

#include "../transport/link_io.h"
#include "links.h"
#include "receive.h"

/** While the thread of a link runs what came over it. */
typedef struct svl_link_loan_t {
    apr_time_t since; /* monotonic */
    pid_t patient;    /* the thread, which is to take turns as others do if this takes long; 0: it does, or is not ours to change */
    int taken;        /* nonzero: another thread has the link now */
} svl_link_loan_t;

typedef struct svl_link_end_t {
    struct svl_link_end_t *next; /**< among those without a thread, or the open */
    svl_runtime_t *runtime;
    apr_pool_t *pool;      /**< of the pools of all links' threads */
    const int *stopping;   /**< atomic; nonzero: no further message is to be taken */
    svl_link_loan_t *loan; /**< of its thread's stack; NULL: its thread reads or answers, or it has none */
    int calls;             /**< nonzero: it is a client's, and brings calls; else a peer's, with messages */
    int proven;            /**< nonzero: a message was answered */
    svl_owed_t owed;       /**< for the message that is in the buffer, which was taken */
    const svl_key_t *key;  /**< that one's */
    int turn;              /**< nonzero: its thread has a turn of a run thread to do */
    char from[64];         /**< the address at its other end */
    int fd;
    svl_link_buffer_t in;    /**< what came and was not answered yet */
    svl_link_buffer_t first; /**< an answer that is to go out before anything is read */
} svl_link_end_t;

/** links_upgrade.c: @return nonzero when the request asks for a link of this kind (calls: a client's), and its connection can be one */
int svl_links_wanted(const svl_exchange_t *exchange, int calls);

/** links_upgrade.c: answers 101, and takes the connection away from httpd.  @return its descriptor, whose operations wait; -1: there is none, and
 * nothing was answered */
int svl_links_upgrade(request_rec *r);

/** links_serve.c: what came with the request for the link is to be answered over it.  @return 0: that cannot be signed, or kept */
int svl_links_owe(svl_link_end_t *link, const svl_exchange_t *exchange, const svl_receive_answer_t *answer);

/** links_serve.c: reads messages and answers them, until the link ends.
 * @return 0: another thread does now, and @a link is not the caller's any more */
int svl_links_serve(svl_link_end_t *link);

/** links.c: does a turn of a run thread.  Should it take longer than what should be run so, another thread takes the link.
 * @param patient as in svl_link_loan_t; 0 when it has returned: it takes turns as others do now
 * @return 0: one has, and the link may be gone */
int svl_links_run(svl_link_end_t *link, pid_t *patient);

#endif

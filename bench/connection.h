/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file bench/connection.h
 * @brief A kept connection to a node, for one exchange at a time: a request and its response, or, over a link, a frame and its answer.
 */
#ifndef SVL_BENCH_CONNECTION_H
#define SVL_BENCH_CONNECTION_H

#include "measure.h"

#define ANSWER_MAX 65536
#define PATIENCE 30000 /**< milliseconds for an answer */

typedef struct connection_t {
    int fd; /**< -1: closed */
    int port;
    const char *path;
    int by_link;   /**< nonzero: what is sent first asks for a link, which must be given */
    char *request; /**< malloc: it may be sent again */
    size_t length, sent, have;
    int again; /**< it was */
    int asks;  /**< for a link: what comes behind the header of the answer is a frame */
    int linked;
    char answer[ANSWER_MAX];
} connection_t;

/** Connects, if it is closed, and sends this, signed.  @param type of the body, where it is a request */
void connection_begin(bench_t *bench, connection_t *c, const char *type, const char *body, apr_size_t length);

/** Reads what is there.  @return nonzero when the answer is whole; its status must be 2xx, else the process ends */
int connection_answered(connection_t *c);

/** Waits for the answer. */
void connection_finish(connection_t *c);

void connection_close(connection_t *c);

#endif

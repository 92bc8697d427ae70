/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/links_private.h
 * @brief One link: what the files of links share; nobody else includes it.
 */
#ifndef SVL_HTTPD_LINKS_PRIVATE_H
#define SVL_HTTPD_LINKS_PRIVATE_H

#include "../transport/link_io.h"
#include "links.h"

typedef struct svl_link_end_t {
    struct svl_link_end_t *next; /**< among the new, or the open */
    svl_runtime_t *runtime;
    const int *stopping; /**< atomic; nonzero: no further message is to be taken */
    char from[64];       /**< the peer's address */
    int fd;
    svl_link_buffer_t in; /**< what came and was not answered yet */
} svl_link_end_t;

/** links_serve.c: reads messages and answers them, until the link ends. */
void svl_links_serve(svl_link_end_t *link);

#endif

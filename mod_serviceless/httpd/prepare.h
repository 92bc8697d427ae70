/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/prepare.h
 * @brief What the parent does at the end of post_config, so that nothing is left to fail in child_init.
 */
#ifndef SVL_HTTPD_PREPARE_H
#define SVL_HTTPD_PREPARE_H

#include "../store/store.h"
#include "config.h"

/** Freezes the registry, gives out the shared slots, and creates, verifies and hands over the log of each node.
 * @return OK or HTTP_INTERNAL_SERVER_ERROR (logged) */
int svl_prepare(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *main_server);

/** How this server opens a node's log: with reader slots for every thread of every child of two generations. */
void svl_prepare_store_options(svl_store_options_t *options, const svl_node_t *node);

#endif

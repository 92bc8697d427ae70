/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/self.h
 * @brief Which node of the fleet this server is.
 */
#ifndef SVL_HTTPD_SELF_H
#define SVL_HTTPD_SELF_H

#include "config.h"
#include "directives.h"

#define SVL_SELF_AUTO "auto"

/** Sets self and name.  By name when ServicelessSelf has one.  `auto`: the node whose URL has ServerName and port as its
 * authority, else the one whose literal address and port this server listens on (loopback only if all nodes are loopback).
 * No DNS.
 * @return NULL, or a sentence that names the candidates */
const char *svl_self_find(svl_node_t *node, const svl_setting_t *self, const server_rec *s, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/statedir.h
 * @brief ServicelessStateDir: where a node's log will be.
 */
#ifndef SVL_HTTPD_STATEDIR_H
#define SVL_HTTPD_STATEDIR_H

#include "config.h"
#include "directives.h"

/** Sets directory; needs name and durable.  Creates nothing.  @return NULL, or a sentence */
const char *svl_statedir_choose(svl_node_t *node, const svl_setting_t *state_dir, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/fleet.h
 * @brief ServicelessNodes and ServicelessNodeSet: the fleet as one node's configuration has it.
 */
#ifndef SVL_HTTPD_FLEET_H
#define SVL_HTTPD_FLEET_H

#include "config.h"
#include "directives.h"

#define SVL_FLEET_ALL "all"    /**< the set that is always there */
#define SVL_FLEET_URL_MAX 1024 /**< bytes of a node's URL */

/** @return nonzero when @a path has only characters that stand for themselves in a URL's path, and no segment . or .. */
int svl_fleet_is_path(const char *path);

/** Parses `[name=]url`; leaves endpoint NULL.  @return NULL, or what would be right */
const char *svl_fleet_parse_member(svl_member_t *member, const char *word, apr_pool_t *p);

/** Fills members, count and names from the lines of ServicelessNodes; needs path.  @return NULL, or a sentence */
const char *svl_fleet_build(svl_node_t *node, const svl_setting_t *nodes, apr_pool_t *p);

/** Fills sets from the lines of ServicelessNodeSet; needs members and self.  @return NULL, or a sentence */
const char *svl_fleet_build_sets(svl_node_t *node, const svl_setting_t *sets, apr_pool_t *p);

/** @return nonzero when both nodes are of one fleet: their lists have the same names and URLs in the same order */
int svl_fleet_equals(const svl_node_t *one, const svl_node_t *other);

#endif

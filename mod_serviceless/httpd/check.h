/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/check.h
 * @brief Makes a node of the merged settings of a server, and judges what takes more than one directive to judge.
 */
#ifndef SVL_HTTPD_CHECK_H
#define SVL_HTTPD_CHECK_H

#include "config.h"
#include "directives.h"

/** @param node NULL when the server has no ServicelessNodes of its own
 * @param settings SVL_DIRECTIVE_COUNT of them, merged, with their defaults
 * @param inherited the main server's node for a virtual host, else NULL
 * @param warning a sentence, or NULL
 * @return NULL, or a sentence that says what is wrong */
const char *svl_check_server(svl_node_t **node, const svl_setting_t *settings, const svl_node_t *inherited, server_rec *s,
                             const char **warning, apr_pool_t *p);

/** Judges nodes, svl_node_t *, beside each other: names are unique, and no key serves two fleets.
 * @return NULL, or a sentence */
const char *svl_check_fleets(const apr_array_header_t *nodes, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/settings.h
 * @brief ServicelessFunction and ServicelessHeader: the lines of theirs that a node has.
 */
#ifndef SVL_HTTPD_SETTINGS_H
#define SVL_HTTPD_SETTINGS_H

#include "config.h"
#include "directives.h"

/** @return nonzero for a header that a request to a peer has already, or must not have */
int svl_settings_is_reserved_header(const char *name);

/** Parses a line of ServicelessFunction.
 * @param node with its sets and ring, which names must be of; NULL: not known yet, and set stays NULL
 * @param culprit the word that is wrong  @return NULL, or what would be right */
const char *svl_settings_parse_function(svl_function_settings_t *settings, const svl_directive_line_t *line,
                                        const svl_directive_t *directive, const svl_node_t *node, const char **culprit,
                                        apr_pool_t *p);

/** @return "rerun" or "quarantine", from the table that parses them */
const char *svl_settings_on_crash_name(serviceless_on_crash_e on_crash);

/** Fills settings of the node; a virtual host's line about a function goes before the main server's.
 * @return NULL, or a sentence */
const char *svl_settings_build_functions(svl_node_t *node, const svl_setting_t *functions, apr_pool_t *p);

/** @return the headers for peers, or NULL when there are none; the last line about a header counts */
const apr_table_t *svl_settings_build_headers(const svl_setting_t *headers, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/tls.h
 * @brief Certificates and the key for https peers, read by the parent and handed to libcurl as text.
 */
#ifndef SVL_HTTPD_TLS_H
#define SVL_HTTPD_TLS_H

#include "config.h"
#include "directives.h"

#define SVL_TLS_FILE_MAX (8 * SVL_MEGA) /**< bytes: the bundle of a system's CAs has a quarter of one */

/** Reads the three files, those that are set, and checks that they are what they should be and belong together.
 * @param settings of all directives  @param p the key is wiped when it is cleared  @return NULL, or a sentence */
const char *svl_tls_load(svl_transport_options_t *http, const svl_setting_t *settings, apr_pool_t *p);

#endif

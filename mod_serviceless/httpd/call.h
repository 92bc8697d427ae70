/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/call.h
 * @brief The optional functions by which companions call (mod_serviceless.h has their contract).
 */
#ifndef SVL_HTTPD_CALL_H
#define SVL_HTTPD_CALL_H

#include "config.h"

apr_status_t serviceless_call(server_rec *s, apr_pool_t *p, const char *name, json_t *args, json_t *kwargs,
                            const serviceless_call_options_t *options, serviceless_outcome_t *outcome);

apr_status_t serviceless_call_all(server_rec *s, apr_pool_t *p, const char *name, json_t *args, json_t *kwargs,
                            const serviceless_call_options_t *options, json_t **outcomes);

#endif

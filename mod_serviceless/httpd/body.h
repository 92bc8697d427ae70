/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/body.h
 * @brief Reading a request's body whole, within a bound.
 */
#ifndef SVL_HTTPD_BODY_H
#define SVL_HTTPD_BODY_H

#include <httpd.h>

#include "../core/fault.h"

/** @param limit bytes; more, declared or counted, is refused
 * @param body NUL-terminated, of r->pool
 * @return APR_SUCCESS, or SVL_EREFUSED with SVL_REASON_BODY_TOO_LARGE, SVL_REASON_BODY_SLOW or SVL_REASON_BODY_TRUNCATED */
apr_status_t svl_body_read(request_rec *r, apr_size_t limit, const char **body, apr_size_t *length, svl_fault_t *fault);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/status.h
 * @brief The handler `serviceless-status`: one snapshot, one table of output formats.
 */
#ifndef SVL_HTTPD_STATUS_H
#define SVL_HTTPD_STATUS_H

#include <httpd.h>

/** The content handler; declines every handler name but "serviceless-status". */
int svl_status_handler(request_rec *r);

#endif

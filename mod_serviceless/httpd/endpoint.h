/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/endpoint.h
 * @brief The handler `serviceless`: one endpoint, one method.  Verify, then parse, then hand on.
 */
#ifndef SVL_HTTPD_ENDPOINT_H
#define SVL_HTTPD_ENDPOINT_H

#include <httpd.h>

/** The content handler; declines every handler name but "serviceless", and whatever is not a client's own request. */
int svl_endpoint_handler(request_rec *r);

#endif

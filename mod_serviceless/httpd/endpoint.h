/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/endpoint.h
 * @brief The handler `serviceless`: one endpoint, one method.  Verify, then parse, then hand on.
 */
#ifndef SVL_HTTPD_ENDPOINT_H
#define SVL_HTTPD_ENDPOINT_H

#include <httpd.h>

#include "receive.h"

/** The content handler; declines every handler name but "serviceless", and whatever is not a client's own request. */
int svl_endpoint_handler(request_rec *r);

/** Takes the id from the headers, if it fits the grammar. */
void svl_endpoint_identify(svl_exchange_t *exchange);

/** Verifies headers and body.  @return APR_SUCCESS with the exchange's key, or SVL_EREFUSED */
apr_status_t svl_endpoint_verify(svl_exchange_t *exchange, svl_fault_t *fault);

/** Takes a client's verified call.  @return APR_SUCCESS with its answer, or SVL_EREFUSED */
apr_status_t svl_endpoint_call(svl_exchange_t *exchange, svl_receive_answer_t *answer, svl_fault_t *fault);

#endif

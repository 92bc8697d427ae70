/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/base64.h
 * @brief Canonical base64 (RFC 4648): every value has one spelling.
 */
#ifndef SVL_CORE_BASE64_H
#define SVL_CORE_BASE64_H

#include <apr.h>
#include <apr_errno.h>
#include <apr_pools.h>

/** Decodes @a text, of the usual alphabet and with padding (RFC 4648, section 4).
 * @param bytes room for @a size bytes  @param used how many were written; not 0
 * @return APR_SUCCESS; APR_EINVAL for another alphabet, missing padding, unused bits that are not zero, blanks, an empty text,
 *         or more than @a size bytes */
apr_status_t svl_base64_decode(unsigned char *bytes, apr_size_t size, apr_size_t *used, const char *text, apr_size_t length);

/** As svl_base64_decode, of the alphabet for URLs and without padding (RFC 4648, section 5).  @param p temporary: a copy of @a text */
apr_status_t svl_base64_decode_url(unsigned char *bytes, apr_size_t size, apr_size_t *used, const char *text, apr_size_t length,
                                   apr_pool_t *p);

#endif

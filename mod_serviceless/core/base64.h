/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/base64.h
 * @brief Canonical base64 (RFC 4648, section 4, with padding): every value has one spelling.
 */
#ifndef SVL_CORE_BASE64_H
#define SVL_CORE_BASE64_H

#include <apr.h>
#include <apr_errno.h>

/** Decodes @a text.
 * @param bytes room for @a size bytes  @param used how many were written; not 0
 * @return APR_SUCCESS; APR_EINVAL for another alphabet, missing padding, unused bits that are not zero, blanks, an empty text,
 *         or more than @a size bytes */
apr_status_t svl_base64_decode(unsigned char *bytes, apr_size_t size, apr_size_t *used, const char *text, apr_size_t length);

#endif

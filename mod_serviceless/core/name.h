/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/name.h
 * @brief The grammars of names.  All functions take bytes and a length, never read further, and return nonzero for a match.
 */
#ifndef SVL_CORE_NAME_H
#define SVL_CORE_NAME_H

#include <apr.h>
#include <apr_errno.h>

#define SVL_NAME_ID_MAX 64        /**< Standard Webhooks leaves it open; 64 holds a UUID and a prefix */
#define SVL_NAME_FUNCTION_MAX 128
#define SVL_NAME_NODE_MAX 64      /**< nodes and sets; a host name of 63 and a port still fit most fleets */
#define SVL_NAME_EPOCH 16         /**< lower case hex digits */
#define SVL_NAME_STREAM_MAX (2 * SVL_NAME_NODE_MAX + SVL_NAME_EPOCH + 2) /**< origin/set/epoch */

int svl_name_is_id(const char *name, apr_size_t length);       /* ^[A-Za-z0-9_-]{1,64}$ */
int svl_name_is_function(const char *name, apr_size_t length); /* ^[A-Za-z_][A-Za-z0-9_.-]{0,127}$ */
int svl_name_is_node(const char *name, apr_size_t length);     /* ^[A-Za-z0-9_.:\[\]-]{1,64}$; also sets */
int svl_name_is_epoch(const char *name, apr_size_t length);    /* ^[0-9a-f]{16}$ */

/** Writes a fresh id into @a id (SVL_NAME_ID_MAX + 1 bytes): 12 characters of time, most significant first, so that ids made
 * together sort together in the log's index, then 16 characters of randomness (96 bits, from libcrypto).
 * @param now microseconds since 1970
 * @return APR_SUCCESS or APR_EGENERAL when there is no randomness */
apr_status_t svl_name_make_id(char *id, apr_int64_t now);

/** Writes a fresh epoch, 16 hex digits of randomness and a NUL.  Errors as svl_name_make_id. */
apr_status_t svl_name_make_epoch(char epoch[SVL_NAME_EPOCH + 1]);

#endif

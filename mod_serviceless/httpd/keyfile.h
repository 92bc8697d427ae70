/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/keyfile.h
 * @brief Reading a key file.  Includes no httpd.h: the command compiles it as well.
 */
#ifndef SVL_HTTPD_KEYFILE_H
#define SVL_HTTPD_KEYFILE_H

#include <apr_pools.h>

#include "../core/ring.h"

#define SVL_KEYFILE_MAX 65536 /**< bytes: SVL_RING_KEYS_MAX lines of a kilobyte */

/** Judges, reads and parses a key file; its text is wiped from memory before the return, the ring's secrets with @a p.
 * @param warning a sentence when the group may read it, else NULL
 * @param error on failure a sentence that names the file, never key material
 * @return APR_SUCCESS, APR_EINVAL (contents), APR_EACCES (permissions), or a system error */
apr_status_t svl_keyfile_read(const svl_ring_t **ring, const char *path, const char **warning, const char **error,
                              apr_pool_t *p);

#endif

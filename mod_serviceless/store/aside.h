/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/aside.h
 * @brief Files of a log that is not to be used any more are renamed, never deleted (svl_store_set_aside).
 */
#ifndef SVL_STORE_ASIDE_H
#define SVL_STORE_ASIDE_H

#include <apr_errno.h>

/** Makes the names of a directory durable: a file is not safe before its name is. */
apr_status_t svl_aside_sync(const char *directory);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/log.h
 * @brief Log lines of the layers that know no server: one callback, given from above (the idea is mod_md's md_log.h).
 */
#ifndef SVL_CORE_LOG_H
#define SVL_CORE_LOG_H

#include <apr_errno.h>
#include <apr_pools.h>

/** Levels, with the numbers of syslog and of httpd's APLOG_ constants. */
typedef enum { SVL_LOG_ERR = 3, SVL_LOG_WARNING = 4, SVL_LOG_NOTICE = 5, SVL_LOG_INFO = 6, SVL_LOG_DEBUG = 7 } svl_log_level_e;

/** Where lines go.  Immutable after creation; used by any thread. */
typedef struct svl_log_t {
    void (*write)(void *baton, const char *file, int line, svl_log_level_e level, apr_status_t status, const char *text);
    int (*enabled)(void *baton, svl_log_level_e level); /**< NULL: every level */
    void *baton;
} svl_log_t;

/** The stable tag of a log line; each number stands once in the source (a guard test checks it). */
#define SVLNO(number) "SVL" #number ": "
#define SVL_LOG_MARK __FILE__, __LINE__

/** Formats (apr_snprintf, at most 1,024 bytes) and writes one line.  @a log may be NULL: nothing is written.
 * Text that came from outside goes through svl_log_escape first. */
void svl_log_write(const svl_log_t *log, const char *file, int line, svl_log_level_e level, apr_status_t status,
                   const char *format, ...) __attribute__((format(printf, 6, 7)));

/** @return @a text, at most @a limit bytes of it, with everything but printable ASCII written as \xHH; "" for NULL. */
const char *svl_log_escape(apr_pool_t *p, const char *text, apr_size_t limit);

#endif

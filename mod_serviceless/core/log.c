/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <stdarg.h>
#include <string.h>

#include <apr_strings.h>

#define LINE_MAX_BYTES 1024 /* a line of syslog */

void svl_log_write(const svl_log_t *log, const char *file, int line, svl_log_level_e level, apr_status_t status,
                   const char *format, ...)
{
    char text[LINE_MAX_BYTES];
    va_list arguments;

    if (!log || (log->enabled && !log->enabled(log->baton, level))) {
        return;
    }
    va_start(arguments, format);
    apr_vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    log->write(log->baton, file, line, level, status, text);
}

const char *svl_log_escape(apr_pool_t *p, const char *text, apr_size_t limit)
{
    static const char digits[] = "0123456789abcdef";
    apr_size_t length = text ? strnlen(text, limit) : 0;
    char *escaped = apr_palloc(p, length * 4 + 1);
    char *end = escaped;

    for (apr_size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0x20 && c < 0x7f) {
            *end++ = (char)c;
        }
        else {
            *end++ = '\\';
            *end++ = 'x';
            *end++ = digits[c >> 4];
            *end++ = digits[c & 15];
        }
    }
    *end = '\0';
    return escaped;
}

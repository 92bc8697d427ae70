/* SPDX-License-Identifier: Apache-2.0 */
#include "transport.h"

#include <stddef.h>
#include <string.h>
#include <time.h>

#include <apr_errno.h>
#include <apr_strings.h>

#ifdef CLOCK_BOOTTIME
#define STEADY_CLOCK CLOCK_BOOTTIME
#else
#define STEADY_CLOCK CLOCK_MONOTONIC
#endif

apr_time_t svl_transport_monotonic(void)
{
    struct timespec time;
    clock_gettime(STEADY_CLOCK, &time);
    return apr_time_from_sec(time.tv_sec) + time.tv_nsec / 1000;
}

const char *svl_transport_result_name(svl_transport_result_e result)
{
    static const char *const names[SVL_TRANSPORT_COUNT] = {
        [SVL_TRANSPORT_ANSWERED] = "answered",
        [SVL_TRANSPORT_CONNECT] = "connect",
        [SVL_TRANSPORT_CONNECT_TIMEOUT] = "connect-timeout",
        [SVL_TRANSPORT_TLS] = "tls",
        [SVL_TRANSPORT_TIMEOUT] = "timeout",
        [SVL_TRANSPORT_BROKEN] = "broken",
        [SVL_TRANSPORT_TOO_LARGE] = "too-large",
        [SVL_TRANSPORT_LOCAL] = "local",
        [SVL_TRANSPORT_ABORTED] = "aborted",
    };
    return (unsigned int)result < SVL_TRANSPORT_COUNT ? names[result] : "unknown";
}

void svl_transport_exchange_reset(svl_transport_exchange_t *exchange)
{
    memset(&exchange->result, 0, sizeof(*exchange) - offsetof(svl_transport_exchange_t, result));
    exchange->result = SVL_TRANSPORT_LOCAL;
    exchange->error = "aborted, or libcurl failed";
}

const char *svl_transport_unconnected(const svl_transport_exchange_t *exchange, int error)
{
    const char *scheme = strstr(exchange->url, "://");
    const char *host = scheme ? scheme + strlen("://") : exchange->url;
    char words[120];
    return apr_psprintf(exchange->pool, "cannot connect to %.*s: %s", (int)strcspn(host, "/?#"), host,
                        apr_strerror(APR_FROM_OS_ERROR(error), words, sizeof(words)));
}

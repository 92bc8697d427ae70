/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#include <stdarg.h>
#include <string.h>

#include <apr_strings.h>

#include "json.h"
#include "log.h"

#define DETAIL_MAX 512 /* bytes; a sentence that quotes one name of the longest grammar, escaped */

/* The words say nothing of the keys; of a 401 only the log tells them (PROTOCOL, Status codes). */
static const struct {
    int http;
    const char *name;
    const char *words;
} reasons[SVL_REASON_COUNT] = {
    /* a refusal without a reason is a bug of ours, never a success */
    [SVL_REASON_NONE] = {500, "none", "no reason was given"},
    [SVL_REASON_NO_NODE] = {404, "no-node", "this server is not a node"},
    [SVL_REASON_PATH] = {404, "path", "there is nothing below the endpoint"},
    [SVL_REASON_METHOD] = {405, "method", "only POST is taken"},
    [SVL_REASON_CONTENT_TYPE] = {415, "content-type", "application/json from clients, or a form where tokens of Django are taken; application/x-ndjson from nodes"},
    [SVL_REASON_CONTENT_ENCODING] = {415, "content-encoding", "no content encoding is taken"},
    [SVL_REASON_BODY_SLOW] = {408, "body-slow", "the body came too slowly"},
    [SVL_REASON_BODY_TRUNCATED] = {400, "body-truncated", "the body is not whole"},
    [SVL_REASON_BODY_TOO_LARGE] = {413, "body-too-large", "the body is larger than this node takes"},
    [SVL_REASON_HEADER] = {401, "header", "a signature header, or a token, is missing, repeated or malformed"},
    [SVL_REASON_TIMESTAMP] = {401, "timestamp", "the timestamp is beyond the tolerance"},
    [SVL_REASON_SIGNATURE] = {401, "signature", "no key matches the signature"},
    [SVL_REASON_JSON] = {400, "json", "the body is not strict JSON"},
    [SVL_REASON_CALL] = {400, "call", "the body is not a call"},
    [SVL_REASON_MESSAGE] = {400, "message", "the body is not a message of a node"},
    [SVL_REASON_PERMISSION] = {403, "permission", "the key may not do this"},
    [SVL_REASON_UNKNOWN_FUNCTION] = {404, "unknown-function", "this node does not have the function"},
    [SVL_REASON_UNKNOWN_SET] = {400, "unknown-set", "this node does not have the node set"},
    [SVL_REASON_CONFLICT] = {409, "conflict", "this id came before with other content"},
    [SVL_REASON_STREAM_CONFLICT] = {409, "stream-conflict", "this number came before with another id"},
    [SVL_REASON_NOT_IN_SET] = {409, "not-in-set", "this node is not in the set of the call"},
    [SVL_REASON_TOO_OLD] = {422, "too-old", "issued longer ago than this node remembers calls"},
    [SVL_REASON_STORE_FULL] = {503, "store-full", "the log is full"},
    [SVL_REASON_STORE_FAILED] = {503, "store-failed", "the log failed"},
    [SVL_REASON_BUSY] = {503, "busy", "this node is busy"},
    [SVL_REASON_STOPPING] = {503, "stopping", "this node is stopping"},
};

/* As in RFC 9110. */
static const struct {
    int http;
    const char *title;
} titles[] = {
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {422, "Unprocessable Content"},
    {500, "Internal Server Error"},
    {503, "Service Unavailable"},
};

static const struct {
    apr_status_t status;
    const char *text;
} statuses[] = {
    {SVL_EREFUSED, "The request was refused"},
    {SVL_EFULL, "The log has no room"},
    {SVL_EDAMAGED, "The log is damaged, or not a log of mod_serviceless"},
    {SVL_EOWNER, "The log belongs to another node"},
    {SVL_ESTOPPING, "The process is stopping"},
};

static svl_reason_e known(svl_reason_e reason)
{
    return (unsigned int)reason < SVL_REASON_COUNT ? reason : SVL_REASON_NONE;
}

apr_status_t svl_fault_set(svl_fault_t *fault, svl_reason_e reason, apr_pool_t *p, const char *format, ...)
{
    va_list arguments;

    if (fault) {
        va_start(arguments, format);
        /* Details reach logs and pages: this holds whatever a caller forgot to escape; what is escaped stays as it is. */
        fault->detail = format ? svl_log_escape(p, apr_pvsprintf(p, format, arguments), DETAIL_MAX) : NULL;
        va_end(arguments);
        fault->reason = reason;
    }
    return SVL_EREFUSED;
}

int svl_fault_http(svl_reason_e reason)
{
    return reasons[known(reason)].http;
}

const char *svl_fault_name(svl_reason_e reason)
{
    return reasons[known(reason)].name;
}

const char *svl_fault_title(svl_reason_e reason)
{
    int http = svl_fault_http(reason);
    apr_size_t i = 0;

    while (i < sizeof(titles) / sizeof(titles[0]) - 1 && titles[i].http != http) {
        i++;
    }
    return titles[i].title;
}

const char *svl_fault_document(const svl_fault_t *fault, apr_pool_t *p, apr_size_t *length)
{
    int http = svl_fault_http(fault->reason);
    const char *detail = fault->detail ? fault->detail : reasons[known(fault->reason)].words;
    const char *document;

    if (http == 401) {
        detail = "The signature headers do not authenticate the request.";
    }
    document = apr_psprintf(p, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":%s}",
                            svl_fault_title(fault->reason), http, svl_json_quote(detail, p));
    *length = strlen(document);
    return document;
}

const char *svl_fault_strerror(apr_status_t status, char *buffer, apr_size_t size)
{
    for (apr_size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (statuses[i].status == status) {
            apr_cpystrn(buffer, statuses[i].text, size);
            return buffer;
        }
    }
    return apr_strerror(status, buffer, size);
}

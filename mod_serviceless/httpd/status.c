/* SPDX-License-Identifier: Apache-2.0 */
#include "status.h"

#include <string.h>

#include <apr_strings.h>
#include <http_protocol.h>
#include <http_request.h>
#include <util_script.h>

#include "status_formats.h"

#define HANDLER "serviceless-status"

/* The first one is what a browser gets. */
static const struct {
    const char *name;
    const char *type;
    void (*write)(const svl_snapshot_t *snapshot, request_rec *r);
} formats[] = {
    {"html", "text/html; charset=utf-8", svl_status_html},
    {"json", "application/json", svl_status_json},
    {"prometheus", "text/plain; version=0.0.4; charset=utf-8", svl_status_prometheus},
};
enum { FORMATS = sizeof(formats) / sizeof(formats[0]) };

const char *svl_status_time(apr_time_t time, apr_pool_t *p)
{
    apr_time_exp_t parts;

    if (time == 0) {
        return NULL;
    }
    apr_time_exp_gmt(&parts, time);
    return apr_psprintf(p, "%04d-%02d-%02dT%02d:%02d:%02dZ", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                        parts.tm_hour, parts.tm_min, parts.tm_sec);
}

const char *svl_status_seconds(apr_int64_t micros, apr_pool_t *p)
{
    char *text = apr_psprintf(p, "%" APR_INT64_T_FMT ".%06d", micros / APR_USEC_PER_SEC, (int)(micros % APR_USEC_PER_SEC));
    char *end = text + strlen(text);

    while (end[-1] == '0') {
        *--end = '\0';
    }
    if (end[-1] == '.') {
        *--end = '\0';
    }
    return text;
}

const char *svl_status_scope_name(serviceless_scope_e scope)
{
    return scope == SERVICELESS_SCOPE_CHILD ? "child" : "node";
}

/* @return the format that ?format= names, FORMATS when there is none of that name */
static int choose_format(request_rec *r)
{
    apr_table_t *args;
    const char *name;
    int i = 0;

    ap_args_to_table(r, &args);
    name = apr_table_get(args, "format");
    while (name && i < FORMATS && strcmp(name, formats[i].name) != 0) {
        i++;
    }
    return i;
}

/* What was asked for is not repeated: it is anybody's text. */
static int unknown_format(request_rec *r)
{
    r->status = HTTP_BAD_REQUEST;
    ap_set_content_type(r, "text/plain; charset=utf-8");
    ap_rputs("There is no such format; the formats are", r);
    for (int i = 0; i < FORMATS; i++) {
        ap_rprintf(r, "%s %s", i == 0 ? "" : i == FORMATS - 1 ? " and" : ",", formats[i].name);
    }
    ap_rputs(".\n", r);
    return OK;
}

int svl_status_handler(request_rec *r)
{
    const svl_node_t *node;
    int i;

    if (!r->handler || strcmp(r->handler, HANDLER) != 0) {
        return DECLINED;
    }
    if (r->method_number != M_GET) { /* HEAD is a GET to httpd */
        ap_allow_standard_methods(r, REPLACE_ALLOW, M_GET, -1);
        return HTTP_METHOD_NOT_ALLOWED;
    }
    node = svl_config_node(r->server);
    if (!node) {
        return HTTP_NOT_FOUND;
    }
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    i = choose_format(r);
    if (i == FORMATS) {
        return unknown_format(r);
    }
    ap_set_content_type(r, formats[i].type);
    if (!r->header_only) {
        formats[i].write(svl_snapshot_take(node, r->pool), r);
    }
    return OK;
}

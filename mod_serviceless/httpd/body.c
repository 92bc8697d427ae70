/* SPDX-License-Identifier: Apache-2.0 */
#include "body.h"

#include <string.h>

#include <apr_buckets.h>
#include <apr_strings.h>
#include <http_protocol.h>
#include <util_filter.h>

#define READ_SIZE 65536 /* bytes asked of the input filters at once */
#define ROOM_START 8192 /* first buffer when no length was declared */

/* A growing buffer; what it outgrew stays in the request's pool, in all less than its final size. */
typedef struct buffer_t {
    char *bytes;
    apr_size_t length, room, limit;
    int status; /* of the page that httpd made of a fault; 0: none */
    apr_pool_t *pool;
} buffer_t;

static apr_status_t too_large(const buffer_t *buffer, svl_fault_t *fault)
{
    return svl_fault_set(fault, SVL_REASON_BODY_TOO_LARGE, buffer->pool, "the body is over %" APR_SIZE_T_FMT " bytes",
                         buffer->limit);
}

static apr_status_t append(buffer_t *buffer, const char *bytes, apr_size_t length, svl_fault_t *fault)
{
    if (length > buffer->limit - buffer->length) {
        return too_large(buffer, fault);
    }
    if (length > buffer->room - buffer->length) {
        apr_size_t room = 2 * buffer->room > buffer->length + length ? 2 * buffer->room : buffer->length + length;
        char *grown = apr_palloc(buffer->pool, room + 1);
        memcpy(grown, buffer->bytes, buffer->length);
        buffer->bytes = grown;
        buffer->room = room;
    }
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
    return APR_SUCCESS;
}

/* httpd answers some faults of framing by itself, from inside its input filter, with a page of its own.  This filter keeps that
 * page back; the status in it tells which fault it was. */
static apr_status_t keep_back(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    int *status = filter->ctx;
    for (apr_bucket *bucket = APR_BRIGADE_FIRST(brigade); bucket != APR_BRIGADE_SENTINEL(brigade);
         bucket = APR_BUCKET_NEXT(bucket)) {
        if (AP_BUCKET_IS_ERROR(bucket)) {
            *status = ((const ap_bucket_error *)bucket->data)->status;
        }
    }
    apr_brigade_cleanup(brigade);
    return AP_FILTER_ERROR;
}

static apr_status_t read_error(apr_status_t rv, const buffer_t *buffer, svl_fault_t *fault)
{
    if (APR_STATUS_IS_TIMEUP(rv)) {
        return svl_fault_set(fault, SVL_REASON_BODY_SLOW, buffer->pool, NULL);
    }
    if (APR_STATUS_IS_ENOSPC(rv) || buffer->status == HTTP_REQUEST_ENTITY_TOO_LARGE) {
        return svl_fault_set(fault, SVL_REASON_BODY_TOO_LARGE, buffer->pool,
                             "the body is over what httpd takes (LimitRequestBody)");
    }
    return svl_fault_set(fault, SVL_REASON_BODY_TRUNCATED, buffer->pool, NULL);
}

/* @param end set at the end of the body */
static apr_status_t take_brigade(apr_bucket_brigade *brigade, buffer_t *buffer, int *end, svl_fault_t *fault)
{
    for (apr_bucket *bucket = APR_BRIGADE_FIRST(brigade); bucket != APR_BRIGADE_SENTINEL(brigade);
         bucket = APR_BUCKET_NEXT(bucket)) {
        const char *bytes;
        apr_size_t length;
        apr_status_t rv;
        if (APR_BUCKET_IS_EOS(bucket)) {
            *end = 1;
            return APR_SUCCESS;
        }
        if (APR_BUCKET_IS_METADATA(bucket)) {
            continue;
        }
        rv = apr_bucket_read(bucket, &bytes, &length, APR_BLOCK_READ);
        if (rv != APR_SUCCESS) {
            return read_error(rv, buffer, fault);
        }
        rv = append(buffer, bytes, length, fault);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return APR_SUCCESS;
}

/* @return as svl_body_read */
static apr_status_t read_whole(request_rec *r, buffer_t *buffer, svl_fault_t *fault)
{
    ap_filter_rec_t record = {.name = "serviceless-keep-back", .filter_func.out_func = keep_back, .ftype = AP_FTYPE_RESOURCE};
    ap_filter_t keeper = {.frec = &record, .ctx = &buffer->status, .c = r->connection};
    ap_filter_t *output = r->output_filters;
    apr_bucket_brigade *brigade = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    apr_status_t rv = APR_SUCCESS;
    int end = 0;
    r->output_filters = &keeper;
    while (rv == APR_SUCCESS && !end) {
        rv = ap_get_brigade(r->input_filters, brigade, AP_MODE_READBYTES, APR_BLOCK_READ, READ_SIZE);
        rv = rv == APR_SUCCESS ? take_brigade(brigade, buffer, &end, fault) : read_error(rv, buffer, fault);
        apr_brigade_cleanup(brigade);
    }
    r->output_filters = output;
    return rv;
}

apr_status_t svl_body_read(request_rec *r, apr_size_t limit, const char **body, apr_size_t *length, svl_fault_t *fault)
{
    buffer_t buffer = {.limit = limit, .room = ROOM_START, .pool = r->pool};
    const char *declared = apr_table_get(r->headers_in, "Content-Length");
    apr_status_t rv;
    if (declared && !apr_table_get(r->headers_in, "Transfer-Encoding")) {
        apr_off_t size = 0;
        char *rest;
        if (apr_strtoff(&size, declared, &rest, 10) != APR_SUCCESS || *rest || size < 0) {
            return svl_fault_set(fault, SVL_REASON_BODY_TRUNCATED, r->pool, "Content-Length is no number");
        }
        if ((apr_uint64_t)size > limit) {
            return too_large(&buffer, fault);
        }
        buffer.room = (apr_size_t)size;
    }
    buffer.bytes = apr_palloc(r->pool, buffer.room + 1);
    rv = read_whole(r, &buffer, fault);
    buffer.bytes[buffer.length] = '\0';
    *body = buffer.bytes;
    *length = buffer.length;
    return rv;
}

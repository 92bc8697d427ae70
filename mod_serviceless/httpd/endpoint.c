/* SPDX-License-Identifier: Apache-2.0 */
#include "endpoint.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_log.h>
#include <http_protocol.h>

#include "../core/django.h"
#include "../core/guard.h"
#include "body.h"
#include "children.h"
#include "gather.h"
#include "invoke.h"
#include "links.h"
#include "missing.h"
#include "receive.h"
#include "reply.h"
#include "shared.h"

#define HANDLER "serviceless"
#define TYPE_CALL "application/json"
#define TYPE_MESSAGE "application/x-ndjson"
#define TYPE_FORM "application/x-www-form-urlencoded"

APLOG_USE_MODULE(serviceless);

typedef enum { KIND_NONE, KIND_CALL, KIND_MESSAGE, KIND_DJANGO } kind_e;

/* A media type, whatever its parameters. */
static int type_is(const char *type, const char *wanted)
{
    apr_size_t length = strlen(wanted);
    return ap_cstr_casecmpn(type, wanted, length) == 0
           && (type[length] == '\0' || type[length] == ';' || apr_isspace(type[length]));
}

static kind_e kind_of(const char *type, const svl_node_t *node)
{
    if (type && type_is(type, TYPE_CALL)) {
        return KIND_CALL;
    }
    if (type && type_is(type, TYPE_MESSAGE)) {
        return KIND_MESSAGE;
    }
    return type && node->accept_django && type_is(type, TYPE_FORM) ? KIND_DJANGO : KIND_NONE;
}

/* Tells what is below the endpoint from the endpoint itself.  path_info alone does not: it begins where the disk ends, so it is
 * the whole path under a DocumentRoot that does not exist. */
static int is_below(const request_rec *r, const svl_node_t *node)
{
    apr_size_t length = strlen(r->uri);
    apr_size_t path = strlen(node->path);
    if (ap_strstr_c(r->uri, apr_pstrcat(r->pool, node->path, "/", NULL))) {
        return 1;
    }
    return r->path_info && *r->path_info && (length < path || strcmp(r->uri + length - path, node->path) != 0);
}

/* What can be refused before a byte of the body is read. */
static apr_status_t check_request(const svl_exchange_t *exchange, kind_e *kind, svl_fault_t *fault)
{
    request_rec *r = exchange->r;
    if (is_below(r, exchange->node)) {
        return svl_fault_set(fault, SVL_REASON_PATH, r->pool, NULL);
    }
    if (r->method_number != M_POST) {
        return svl_fault_set(fault, SVL_REASON_METHOD, r->pool, NULL);
    }
    /* Of a request with both lengths httpd keeps the chunks and marks the connection; one of its readers may have read otherwise. */
    if (apr_table_get(r->headers_in, "Transfer-Encoding") && r->connection->keepalive == AP_CONN_CLOSE) {
        return svl_fault_set(fault, SVL_REASON_BODY_TRUNCATED, r->pool, "Content-Length and Transfer-Encoding both");
    }
    if (apr_table_get(r->headers_in, "Content-Encoding")) {
        return svl_fault_set(fault, SVL_REASON_CONTENT_ENCODING, r->pool, NULL);
    }
    *kind = kind_of(apr_table_get(r->headers_in, "Content-Type"), exchange->node);
    return *kind == KIND_NONE ? svl_fault_set(fault, SVL_REASON_CONTENT_TYPE, r->pool, NULL) : APR_SUCCESS;
}

/* Before the body is read: MergeTrailers lets its trailers pass for headers.  httpd joins a header that came twice with a comma, which no
 * grammar of the three allows. */
static void take_headers(svl_exchange_t *exchange)
{
    const apr_table_t *in = exchange->r->headers_in;
    exchange->headers.id = apr_table_get(in, "webhook-id");
    exchange->headers.timestamp = apr_table_get(in, "webhook-timestamp");
    exchange->headers.signature = apr_table_get(in, "webhook-signature");
    exchange->named = apr_table_get(in, "webhook-key");
    svl_endpoint_identify(exchange);
}

void svl_endpoint_identify(svl_exchange_t *exchange)
{
    if (exchange->headers.id && svl_name_is_id(exchange->headers.id, strlen(exchange->headers.id))) {
        exchange->id = exchange->headers.id;
    }
}

/* A hint, and unsigned: it is looked at when every key has failed, so that an operator hears what a node that is behind lacks. */
static void tell_missing(const svl_exchange_t *exchange, svl_fault_t *fault)
{
    if (fault->reason == SVL_REASON_SIGNATURE && svl_ring_lacks(exchange->node->ring, exchange->named)) {
        svl_missing_note(exchange->node, exchange->named, apr_time_now());
        fault->detail =
            apr_psprintf(exchange->pool,
                         "%s; its sender says the key with fingerprint %s did, which this node's key file lacks: see "
                         "docs/keys.md",
                         fault->detail, exchange->named);
    }
}

apr_status_t svl_endpoint_verify(svl_exchange_t *exchange, svl_fault_t *fault)
{
    const svl_node_t *node = exchange->node;
    svl_signer_t *signer = svl_runtime_take_signer(exchange->runtime);
    apr_status_t rv;
    if (!signer) {
        return svl_fault_set(fault, SVL_REASON_STORE_FAILED, exchange->pool, NULL);
    }
    rv = svl_sign_verify(signer, &exchange->headers, NULL, exchange->body, exchange->length, apr_time_sec(apr_time_now()),
                         apr_time_sec(node->tolerance), &exchange->key, fault, exchange->pool);
    svl_runtime_give_signer(exchange->runtime, signer);
    if (rv != APR_SUCCESS) {
        exchange->key = NULL;
        tell_missing(exchange, fault);
    }
    return rv;
}

/* The token is the signature; from here on the JSON in it is the body.  Headers that claim another one are not passed over. */
static apr_status_t verify_django(svl_exchange_t *exchange, svl_fault_t *fault)
{
    const svl_node_t *node = exchange->node;
    if (exchange->headers.id || exchange->headers.timestamp || exchange->headers.signature) {
        return svl_fault_set(fault, SVL_REASON_HEADER, exchange->pool, "a token came with the headers of a signature");
    }
    return svl_django_open(node->ring, exchange->body, exchange->length, apr_time_sec(apr_time_now()),
                           apr_time_sec(node->tolerance), node->max_body, &exchange->key, &exchange->body, &exchange->length,
                           fault, exchange->pool);
}

apr_status_t svl_endpoint_call(svl_exchange_t *exchange, svl_receive_answer_t *answer, svl_fault_t *fault)
{
    apr_pool_t *p = exchange->pool;
    svl_call_request_t *request;
    svl_gathered_t all;
    svl_answer_t own;
    int ok;
    apr_status_t rv = svl_call_parse_request(&request, exchange->body, exchange->length, exchange->id, fault, p);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    exchange->id = request->id;
    if (request->reply == SVL_REPLY_ALL) {
        rv = svl_gather(exchange->runtime, request, exchange->key, &all, fault, p);
        own = all.answer;
    }
    else {
        svl_children_before_call();
        rv = svl_invoke(exchange->runtime, request, exchange->key, &own, fault, p);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    ok = own.outcome == SVL_OUTCOME_OK;
    *answer = (svl_receive_answer_t){.status = HTTP_OK, .type = TYPE_CALL, .duplicate = own.duplicate};
    answer->body = svl_call_answer(exchange->id, exchange->node->name, own.outcome, ok ? own.text : NULL,
                                   ok ? own.note : own.text, own.duplicate, p, &answer->length);
    if (request->reply == SVL_REPLY_ALL) {
        apr_size_t size;
        const char *text = svl_gather_text(&all, p, &size);
        answer->body = svl_outcome_answer(answer->body, answer->length, text, size, p, &answer->length);
    }
    else if (request->reply == SVL_REPLY_ACCEPTED && !own.duplicate) {
        answer->status = HTTP_ACCEPTED;
    }
    return APR_SUCCESS;
}

static int client_call(svl_exchange_t *exchange)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_receive_answer_t answer;
    if (svl_endpoint_call(exchange, &answer, &fault) != APR_SUCCESS) {
        return svl_reply_refuse(exchange, &fault);
    }
    if (!answer.duplicate && svl_links_take(exchange, &answer)) { /* who overheard a call gets no link for it */
        return OK;
    }
    return svl_reply_send(exchange, answer.status, answer.type, answer.body, answer.length);
}

static int node_message(const svl_exchange_t *exchange)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_receive_answer_t answer;
    if (svl_receive(exchange, &answer, &fault) != APR_SUCCESS) {
        return svl_reply_refuse(exchange, &fault);
    }
    if (answer.status == HTTP_ACCEPTED && svl_links_take(exchange, NULL)) {
        return OK;
    }
    return svl_reply_send(exchange, answer.status, answer.type, answer.body, answer.length);
}

/* There is no open mode: without keys nothing answers, and the administrator hears of it once. */
static int no_node(const request_rec *r)
{
    if (svl_shared_first_time()) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      SVLNO(0100) "the handler serviceless is set, but server %s has no node: add ServicelessNodes and "
                                  "ServicelessKeyFile",
                      r->server->server_hostname);
    }
    return HTTP_NOT_FOUND;
}

/* All of it is kept from prefork's stop signals: what they interrupt may hold malloc's lock, which the handler of those signals then
 * wants, or be a run, which would be cut short. */
static int answer(svl_exchange_t *exchange, kind_e kind)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    sigset_t before;
    int status;
    if (exchange->runtime->guarded) {
        svl_guard_enter(&before);
    }
    if ((kind == KIND_DJANGO ? verify_django(exchange, &fault) : svl_endpoint_verify(exchange, &fault)) != APR_SUCCESS) {
        status = svl_reply_refuse(exchange, &fault);
    }
    else {
        status = kind == KIND_MESSAGE ? node_message(exchange) : client_call(exchange);
    }
    if (exchange->runtime->guarded) {
        svl_guard_leave(&before);
    }
    return status;
}

int svl_endpoint_handler(request_rec *r)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_exchange_t exchange = {.r = r, .pool = r->pool};
    apr_size_t limit;
    kind_e kind = KIND_NONE;
    if (!r->handler || strcmp(r->handler, HANDLER) != 0 || r->main || r->prev) {
        return DECLINED;
    }
    exchange.node = svl_config_node(r->server);
    if (!exchange.node) {
        return no_node(r);
    }
    exchange.runtime = svl_runtime_of(exchange.node);
    take_headers(&exchange);
    if (check_request(&exchange, &kind, &fault) != APR_SUCCESS) {
        return svl_reply_refuse(&exchange, &fault);
    }
    if (!exchange.runtime) {
        svl_runtime_rouse();
        exchange.runtime = svl_runtime_of(exchange.node);
    }
    if (!exchange.runtime || __atomic_load_n(&exchange.runtime->stopping, __ATOMIC_ACQUIRE)) {
        svl_fault_set(&fault, exchange.runtime ? SVL_REASON_STOPPING : SVL_REASON_STORE_FAILED, r->pool, NULL);
        return svl_reply_refuse(&exchange, &fault);
    }
    limit = exchange.node->max_body + (kind == KIND_MESSAGE ? SVL_MESSAGE_SLACK : 0);
    if (svl_body_read(r, limit, &exchange.body, &exchange.length, &fault) != APR_SUCCESS) {
        return svl_reply_refuse(&exchange, &fault);
    }
    return answer(&exchange, kind);
}

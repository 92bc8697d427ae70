/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: what is taken of a client's document keeps to the grammar and the bounds, and the line that is made of it says the same. */
#include "fuzz.h"

#include "../../mod_serviceless/core/call.h"
#include "../../mod_serviceless/core/json.h"
#include "../../mod_serviceless/core/route.h"

#define ID "c1"

static void check_request(const svl_call_request_t *request)
{
    FUZZ_REQUIRE(strcmp(request->id, ID) == 0);
    FUZZ_REQUIRE(svl_name_is_function(request->function, strlen(request->function)));
    FUZZ_REQUIRE(json_is_array(request->args) && json_is_object(request->kwargs));
    FUZZ_REQUIRE(request->reply == SVL_REPLY_LOCAL || request->reply == SVL_REPLY_ALL || request->reply == SVL_REPLY_ACCEPTED);
    FUZZ_REQUIRE(!request->nodes || svl_name_is_node(request->nodes, strlen(request->nodes)));
    FUZZ_REQUIRE(!request->has_mode || request->arity <= SVL_ROUTE_ARITY_MAX);
    FUZZ_REQUIRE(request->timeout_ms >= 0 && request->timeout_ms <= SVL_CALL_TIMEOUT_MAX * 1000);
    FUZZ_REQUIRE(request->ttl >= 0 && request->ttl <= SVL_CALL_TTL_MAX);
}

/* An origin can make a line of every call that it took, and every node reads the same of it. */
static void check_line(const svl_call_request_t *request, apr_pool_t *p)
{
    const char *set = request->nodes ? request->nodes : "all";
    char stamp[SVL_CALL_STAMP_MAX + 1];
    svl_call_draft_t draft;
    svl_call_line_t *call;
    const char *line;

    FUZZ_REQUIRE(svl_call_draft(&draft, ID, request->function, request->args, request->kwargs, "a", set, 1700000000123,
                                request->ttl ? request->ttl : 1, p)
                 == APR_SUCCESS);
    stamp[svl_call_stamp(stamp, "0123456789abcdef", APR_INT64_MAX)] = '\0';
    line = apr_pstrcat(p, draft.head, stamp, draft.tail, NULL);
    FUZZ_REQUIRE(svl_call_parse_line(&call, line, strlen(line), NULL, p) == APR_SUCCESS);
    FUZZ_REQUIRE(svl_call_equal(call, request->function, request->args, request->kwargs, set));
    FUZZ_REQUIRE(strcmp(call->id, ID) == 0 && call->seq == APR_INT64_MAX && call->ttl == (request->ttl ? request->ttl : 1));
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_call_request_t *request;
    apr_status_t status = svl_call_parse_request(&request, bytes, length, ID, &fault, p);

    if (status != APR_SUCCESS) {
        FUZZ_REQUIRE(!request);
        fuzz_refused(status, &fault, SVL_REASON_JSON, SVL_REASON_CALL, p);
        return;
    }
    check_request(request);
    check_line(request, p);
}

FUZZ_TARGET(feed)

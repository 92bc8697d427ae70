/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: a call line that is read and written again is the same call; of one that is refused for its content the number is known. */
#include "fuzz.h"

#include "../../mod_serviceless/core/call.h"
#include "../../mod_serviceless/core/json.h"

static void check_identity(const svl_call_line_t *call)
{
    FUZZ_REQUIRE(svl_name_is_id(call->id, strlen(call->id)));
    FUZZ_REQUIRE(svl_name_is_node(call->origin, strlen(call->origin)) && svl_name_is_node(call->set, strlen(call->set)));
    FUZZ_REQUIRE(svl_name_is_epoch(call->epoch, strlen(call->epoch)));
    FUZZ_REQUIRE(call->seq >= 1 && call->seq <= APR_INT64_MAX);
}

static void check_content(const svl_call_line_t *call)
{
    FUZZ_REQUIRE(svl_name_is_function(call->function, strlen(call->function)));
    FUZZ_REQUIRE(json_is_array(call->args) && json_is_object(call->kwargs));
    FUZZ_REQUIRE(call->issued >= 1 && call->issued <= SVL_CALL_ISSUED_MAX);
    FUZZ_REQUIRE(call->ttl >= 1 && call->ttl <= SVL_CALL_TTL_MAX);
}

static void check_again(const svl_call_line_t *call, apr_pool_t *p)
{
    char stamp[SVL_CALL_STAMP_MAX + 1];
    svl_call_draft_t draft;
    svl_call_line_t *again;
    const char *line;

    FUZZ_REQUIRE(svl_call_draft(&draft, call->id, call->function, call->args, call->kwargs, call->origin, call->set,
                                call->issued, call->ttl, p)
                 == APR_SUCCESS);
    stamp[svl_call_stamp(stamp, call->epoch, call->seq)] = '\0';
    FUZZ_REQUIRE(draft.head_length == strlen(draft.head) && draft.tail_length == strlen(draft.tail));
    line = apr_pstrcat(p, draft.head, stamp, draft.tail, NULL);
    FUZZ_REQUIRE(!strpbrk(line, "\r\n"));
    FUZZ_REQUIRE(svl_call_parse_line(&again, line, strlen(line), NULL, p) == APR_SUCCESS);
    FUZZ_REQUIRE(svl_call_equal(again, call->function, call->args, call->kwargs, call->set));
    FUZZ_REQUIRE(strcmp(again->id, call->id) == 0 && strcmp(again->origin, call->origin) == 0);
    FUZZ_REQUIRE(strcmp(again->epoch, call->epoch) == 0 && again->seq == call->seq);
    FUZZ_REQUIRE(again->issued == call->issued && again->ttl == call->ttl);
}

/* What is read without the JSON library is what that reads: the same members, the same values. */
static void check_scan(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    svl_call_line_t scanned = {0};
    svl_json_scan_part_t args, kwargs;
    json_t *json, *part;

    if (!svl_call_scan(&scanned, &args, &kwargs, bytes, length, p)) {
        return;
    }
    json = svl_json_own(json_loadb(bytes, length, JSON_REJECT_DUPLICATES, NULL), p);
    FUZZ_REQUIRE(json_object_size(json) == 10 && svl_json_fits(json, SVL_JSON_DEPTH));
    FUZZ_REQUIRE(strcmp(json_string_value(json_object_get(json, "id")), scanned.id) == 0);
    FUZZ_REQUIRE(strcmp(json_string_value(json_object_get(json, "function")), scanned.function) == 0);
    FUZZ_REQUIRE(strcmp(json_string_value(json_object_get(json, "origin")), scanned.origin) == 0);
    FUZZ_REQUIRE(strcmp(json_string_value(json_object_get(json, "set")), scanned.set) == 0);
    FUZZ_REQUIRE(strcmp(json_string_value(json_object_get(json, "epoch")), scanned.epoch) == 0);
    FUZZ_REQUIRE((apr_uint64_t)json_integer_value(json_object_get(json, "seq")) == scanned.seq);
    FUZZ_REQUIRE(json_integer_value(json_object_get(json, "issued")) == scanned.issued);
    FUZZ_REQUIRE(json_integer_value(json_object_get(json, "ttl")) == scanned.ttl);
    part = svl_json_own(svl_json_scan_build(&args), p);
    FUZZ_REQUIRE(json_is_array(part) && json_equal(part, json_object_get(json, "args")));
    part = svl_json_own(svl_json_scan_build(&kwargs), p);
    FUZZ_REQUIRE(json_is_object(part) && json_equal(part, json_object_get(json, "kwargs")));
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_call_line_t *call;
    apr_status_t status = svl_call_parse_line(&call, bytes, length, &fault, p);

    if (status != APR_SUCCESS) {
        fuzz_refused(status, &fault, SVL_REASON_JSON, SVL_REASON_CALL, p);
        FUZZ_REQUIRE(!call || fault.reason == SVL_REASON_CALL);
    }
    if (call) {
        check_identity(call);
    }
    check_scan(bytes, length, p);
    if (status == APR_SUCCESS) {
        FUZZ_REQUIRE(call);
        check_content(call);
        check_again(call, p);
    }
}

FUZZ_TARGET(feed)

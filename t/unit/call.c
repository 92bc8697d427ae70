/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/core/call.h"

#include "../../mod_serviceless/core/json.h"
#include "unit.h"

static svl_call_request_t *request_of(apr_pool_t *p, const char *body)
{
    svl_call_request_t *request;
    svl_fault_t fault = {SVL_REASON_NONE, NULL};

    assert_int_equal(svl_call_parse_request(&request, unit_exact(p, body, strlen(body)), strlen(body), "c1", &fault, p),
                     APR_SUCCESS);
    return request;
}

static svl_fault_t refused_request(apr_pool_t *p, const char *body)
{
    svl_call_request_t *request;
    svl_fault_t fault = {SVL_REASON_NONE, NULL};

    assert_int_equal(svl_call_parse_request(&request, unit_exact(p, body, strlen(body)), strlen(body), "c1", &fault, p),
                     SVL_EREFUSED);
    assert_null(request);
    assert_true(unit_is_printable(fault.detail));
    return fault;
}

static json_t *json_of(apr_pool_t *p, const char *text)
{
    json_t *json;

    assert_int_equal(svl_json_parse(&json, text, strlen(text), NULL, p), APR_SUCCESS);
    return json;
}

static void the_smallest_call_has_the_defaults(void **state)
{
    svl_call_request_t *request = request_of(*state, "{\"function\":\"ping\"}");

    assert_string_equal(request->id, "c1");
    assert_string_equal(request->function, "ping");
    assert_true(json_is_array(request->args) && json_array_size(request->args) == 0);
    assert_true(json_is_object(request->kwargs) && json_object_size(request->kwargs) == 0);
    assert_int_equal(request->reply, SVL_REPLY_LOCAL);
    assert_null(request->nodes);
    assert_false(request->has_mode);
    assert_int_equal(request->timeout_ms, 0);
    assert_int_equal(request->ttl, 0);
}

static void every_member_is_taken(void **state)
{
    svl_call_request_t *request =
        request_of(*state, "{\"id\":\"c1\",\"function\":\"f\",\"args\":[1],\"kwargs\":{\"k\":2},\"reply\":\"all\","
                           "\"nodes\":\"edge\",\"mode\":\"tree:4\",\"timeout\":2.5,\"ttl\":60}");

    assert_int_equal(json_integer_value(json_array_get(request->args, 0)), 1);
    assert_int_equal(json_integer_value(json_object_get(request->kwargs, "k")), 2);
    assert_int_equal(request->reply, SVL_REPLY_ALL);
    assert_string_equal(request->nodes, "edge");
    assert_true(request->has_mode && request->arity == 4);
    assert_int_equal(request->timeout_ms, 2500);
    assert_int_equal(request->ttl, 60);
    request =
        request_of(*state, "{\"function\":\"f\",\"reply\":\"accepted\",\"mode\":\"broadcast\",\"timeout\":86400,\"ttl\":1}");
    assert_int_equal(request->reply, SVL_REPLY_ACCEPTED);
    assert_true(request->has_mode && request->arity == 0);
    assert_int_equal(request->timeout_ms, 86400000);
}

static void without_a_header_the_id_is_the_documents_own(void **state)
{
    static const char *const bodies[] = {"{'function':'f'}",         "{'id':null,'function':'f'}",
                                         "{'id':'','function':'f'}", "{'id':'a.b','function':'f'}",
                                         "{'id':5,'function':'f'}",  "{'function':'f','id':['a']}"};
    const char *body = "{\"function\":\"f\",\"id\":\"c7\"}";
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_call_request_t *request;

    assert_int_equal(svl_call_parse_request(&request, body, strlen(body), NULL, &fault, *state), APR_SUCCESS);
    assert_string_equal(request->id, "c7");
    for (size_t i = 0; i < UNIT_COUNT(bodies); i++) {
        body = unit_json(*state, bodies[i]);
        assert_int_equal(svl_call_parse_request(&request, body, strlen(body), NULL, &fault, *state), SVL_EREFUSED);
        assert_null(request);
        assert_int_equal(fault.reason, SVL_REASON_CALL);
        assert_non_null(strstr(fault.detail, "id"));
    }
}

static void a_given_timeout_is_never_read_as_none(void **state)
{
    assert_int_equal(request_of(*state, "{\"function\":\"f\",\"timeout\":0.0000001}")->timeout_ms, 1);
}

static void a_huge_ttl_is_read_as_the_bound(void **state)
{
    assert_int_equal(request_of(*state, "{\"function\":\"f\",\"ttl\":9223372036854775807}")->ttl, SVL_CALL_TTL_MAX);
    assert_int_equal(request_of(*state, "{\"function\":\"f\",\"ttl\":1000000000}")->ttl, SVL_CALL_TTL_MAX);
}

static void what_is_no_call_is_refused_and_the_member_named(void **state)
{
    /* clang-format off */
    static const struct {
        const char *body;
        const char *names;
    } bodies[] = {
        {"[]", "object"}, {"null", "object"}, {"'ping'", "object"}, {"{}", "function"}, {"{'function':5}", "function"},
        {"{'function':null}", "function"}, {"{'args':[]}", "function"}, {"{'function':'f','id':'c2'}", "id"},
        {"{'function':'f','id':1}", "id"}, {"{'function':'f','id':null}", "id"}, {"{'function':'f','args':{}}", "args"},
        {"{'function':'f','args':null}", "args"}, {"{'function':'f','args':1}", "args"},
        {"{'function':'f','kwargs':[]}", "kwargs"}, {"{'function':'f','kwargs':''}", "kwargs"},
        {"{'function':'f','reply':'ALL'}", "reply"}, {"{'function':'f','reply':''}", "reply"},
        {"{'function':'f','reply':true}", "reply"}, {"{'function':'f','nodes':['a']}", "nodes"},
        {"{'function':'f','mode':1}", "mode"}, {"{'function':'f','mode':'tree:1'}", "mode"},
        {"{'function':'f','mode':null}", "mode"}, {"{'function':'f','timeout':0}", "timeout"},
        {"{'function':'f','timeout':-1}", "timeout"}, {"{'function':'f','timeout':86400.5}", "timeout"},
        {"{'function':'f','timeout':'5'}", "timeout"}, {"{'function':'f','timeout':1e300}", "timeout"},
        {"{'function':'f','timeout':true}", "timeout"}, {"{'function':'f','ttl':0}", "ttl"},
        {"{'function':'f','ttl':-1}", "ttl"}, {"{'function':'f','ttl':1.0}", "ttl"}, {"{'function':'f','ttl':'60'}", "ttl"},
        {"{'function':'f','arg':[]}", "'arg'"}, {"{'function':'f','Function':'g'}", "'Function'"},
        {"{'function':'f','':1}", "''"}, {"{'function':'f','seq':1}", "'seq'"},
        {"{'function':'f','a\\u001b\\r\\nb':1}", "'a\\x1b\\x0d\\x0ab'"},
    };
    /* clang-format on */

    for (size_t i = 0; i < UNIT_COUNT(bodies); i++) {
        svl_fault_t fault = refused_request(*state, unit_json(*state, bodies[i].body));

        assert_int_equal(fault.reason, SVL_REASON_CALL);
        assert_non_null(strstr(fault.detail, unit_json(*state, bodies[i].names)));
    }
}

static void what_is_not_strict_json_has_a_reason_of_its_own(void **state)
{
    static const char *const bodies[] = {"", "{", "{\"function\":\"f\"}x", "{\"function\":\"f\",\"function\":\"g\"}",
                                         "{\"function\":\"f\",\"args\":[1e400]}"};

    for (size_t i = 0; i < UNIT_COUNT(bodies); i++) {
        assert_int_equal(refused_request(*state, bodies[i]).reason, SVL_REASON_JSON);
    }
}

/* THREATS 15 */
static void hostile_names_are_refused(void **state)
{
    static const char *const documents[] = {
        "{\"function\":%s}",
        "{\"function\":\"f\",\"nodes\":%s}",
        "{\"function\":\"f\",\"mode\":%s}",
        "{\"function\":\"f\",\"reply\":%s}",
        "{\"function\":\"f\",%s:1}",
    };

    for (size_t i = 0; i < UNIT_COUNT(unit_hostile_names); i++) {
        const char *name = svl_json_quote(unit_hostile_names[i], *state);

        for (size_t j = 0; j < UNIT_COUNT(documents); j++) {
            const char *at = strstr(documents[j], "%s");
            const char *body =
                apr_pstrcat(*state, apr_pstrmemdup(*state, documents[j], (apr_size_t)(at - documents[j])), name, at + 2, NULL);

            assert_int_equal(refused_request(*state, body).reason, SVL_REASON_CALL);
        }
    }
}

static int equal(apr_pool_t *p, const char *args, const char *kwargs, const char *other_args, const char *other_kwargs)
{
    svl_call_line_t line = {.function = "f", .set = "all", .args = json_of(p, args), .kwargs = json_of(p, kwargs)};

    return svl_call_equal(&line, "f", other_args ? json_of(p, other_args) : NULL,
                          other_kwargs ? json_of(p, other_kwargs) : NULL, NULL);
}

static void content_is_compared_as_values(void **state)
{
    apr_pool_t *p = *state;
    svl_call_line_t line = {.function = "f", .set = "all", .args = json_of(p, "[1]"), .kwargs = json_of(p, "{}")};

    assert_true(equal(p, "[1,{\"a\":1,\"b\":[]}]", "{\"x\":1,\"y\":2}", "[1,{\"b\":[],\"a\":1}]", "{\"y\":2,\"x\":1}"));
    assert_true(equal(p, "[]", "{}", NULL, NULL));
    assert_false(equal(p, "[1]", "{}", NULL, NULL));
    assert_false(equal(p, "[1]", "{}", "[1.0]", "{}")); /* an integer is not a real */
    assert_false(equal(p, "[1,2]", "{}", "[2,1]", "{}"));
    assert_false(equal(p, "[null]", "{}", "[]", "{}"));
    assert_false(equal(p, "[]", "{\"a\":1}", "[]", "{\"a\":2}"));
    assert_false(equal(p, "[]", "{\"a\":1}", "[]", "{\"a\":1,\"b\":1}"));
    assert_true(svl_call_equal(&line, "f", line.args, line.kwargs, "all"));
    assert_false(svl_call_equal(&line, "f", line.args, line.kwargs, "edge"));
    assert_false(svl_call_equal(&line, "g", line.args, line.kwargs, NULL));
}

static void an_answer_is_json_whatever_is_in_it(void **state)
{
    apr_pool_t *p = *state;
    apr_size_t length;
    const char *text = svl_call_answer("c1", "a", SVL_OUTCOME_OK, "6", NULL, 0, p, &length);
    json_t *json;

    assert_string_equal(text, "{\"id\":\"c1\",\"node\":\"a\",\"outcome\":\"ok\",\"result\":6}");
    assert_int_equal(length, strlen(text));
    assert_string_equal(svl_call_answer("c1", "a", SVL_OUTCOME_OK, NULL, "no room", 1, p, &length),
                        "{\"id\":\"c1\",\"node\":\"a\",\"outcome\":\"ok\",\"result\":null,\"detail\":\"no room\","
                        "\"duplicate\":true}");
    assert_string_equal(svl_call_answer("c1", "a", SVL_OUTCOME_PENDING, NULL, NULL, 1, p, &length),
                        "{\"id\":\"c1\",\"node\":\"a\",\"outcome\":\"pending\",\"duplicate\":true}");
    text = svl_call_answer("c1", "a", SVL_OUTCOME_ERROR, "6", "no \"such\" file\n\x1b\xff", 0, p, &length);
    json = json_of(p, text);
    assert_null(json_object_get(json, "result"));
    assert_string_equal(json_string_value(json_object_get(json, "detail")), "no \"such\" file\n\x1b\xef\xbf\xbd");
    assert_int_equal(length, strlen(text));
}

static void outcomes_have_the_names_of_the_protocol(void **state)
{
    static const char *const names[SVL_OUTCOME_COUNT] = {
        "pending", "ok",      "error",  "unknown-function", "refused",     "unreachable",
        "unknown", "expired", "missed", "accepted",         "quarantined",
    };

    (void)state;
    for (int i = 0; i < SVL_OUTCOME_COUNT; i++) {
        assert_string_equal(svl_call_outcome_name((svl_outcome_e)i), names[i]);
    }
    assert_string_equal(svl_call_outcome_name((svl_outcome_e)99), "unknown");
}

static const struct CMUnitTest promises[] = {
    PROMISE("the smallest call has the defaults", the_smallest_call_has_the_defaults),
    PROMISE("every member of a call is taken", every_member_is_taken),
    PROMISE("without a header the id is the document's own", without_a_header_the_id_is_the_documents_own),
    PROMISE("a given timeout is never read as none", a_given_timeout_is_never_read_as_none),
    PROMISE("a huge ttl is read as the bound", a_huge_ttl_is_read_as_the_bound),
    PROMISE("what is no call is refused, and the member named", what_is_no_call_is_refused_and_the_member_named),
    PROMISE("what is not strict JSON has a reason of its own", what_is_not_strict_json_has_a_reason_of_its_own),
    PROMISE("hostile names are refused", hostile_names_are_refused),
    PROMISE("content is compared as values", content_is_compared_as_values),
    PROMISE("an answer is JSON, whatever is in it", an_answer_is_json_whatever_is_in_it),
    PROMISE("outcomes have the names of the protocol", outcomes_have_the_names_of_the_protocol),
};

UNIT_MAIN(promises)

/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/core/message.h"

#include "../../mod_serviceless/core/json.h"
#include "../../mod_serviceless/core/route.h"
#include "unit.h"

#define RELAY "{\"relay\":{\"from\":\"a\",\"route\":[\"c\",\"d\"],\"arity\":1}}"
#define EMPTY "{\"relay\":{\"from\":\"a\",\"route\":[],\"arity\":0}}"
#define ASK "{\"relay\":{\"from\":\"a\",\"route\":[],\"arity\":0,\"reply\":\"outcome\",\"timeout_ms\":2500}}"
#define SYNC "{\"sync\":{\"from\":\"a\",\"digest\":\"00\",\"vector\":{}}}"

static svl_message_t *parse(apr_pool_t *p, const char *body)
{
    svl_message_t *message;
    svl_fault_t fault = {SVL_REASON_NONE, NULL};

    assert_int_equal(svl_message_parse(&message, unit_exact(p, body, strlen(body)), strlen(body), &fault, p), APR_SUCCESS);
    return message;
}

static const char *refused(apr_pool_t *p, const char *body)
{
    svl_message_t *message;
    svl_fault_t fault = {SVL_REASON_NONE, NULL};

    assert_int_equal(svl_message_parse(&message, unit_exact(p, body, strlen(body)), strlen(body), &fault, p), SVL_EREFUSED);
    assert_int_equal(fault.reason, SVL_REASON_MESSAGE);
    assert_null(message);
    assert_true(unit_is_printable(fault.detail));
    return fault.detail;
}

static const svl_message_group_t *group_at(const svl_message_t *message, int i)
{
    return &APR_ARRAY_IDX(message->groups, i, svl_message_group_t);
}

static void assert_line(const svl_message_group_t *group, int i, const char *text)
{
    const svl_message_line_t *line = &APR_ARRAY_IDX(group->calls, i, svl_message_line_t);

    assert_int_equal(line->length, strlen(text));
    assert_memory_equal(line->text, text, line->length);
}

static const char *names(apr_pool_t *p, const apr_array_header_t *array)
{
    return apr_array_pstrcat(p, array, ' ');
}

static void a_relay_line_governs_the_calls_up_to_the_next_one(void **state)
{
    svl_message_t *message =
        parse(*state, RELAY "\n{\"id\":1}\n{\"id\":2}\n{\"relay\":{\"from\":\"a\",\"route\":[\"d\",\"e\",\"f\"],"
                            "\"arity\":2}}\n{\"id\":3}\n" EMPTY "\n");

    assert_int_equal(message->kind, SVL_MESSAGE_RELAY);
    assert_string_equal(message->from, "a");
    assert_int_equal(message->groups->nelts, 3);
    assert_string_equal(names(*state, group_at(message, 0)->route), "c d");
    assert_int_equal(group_at(message, 0)->arity, 1);
    assert_false(group_at(message, 0)->outcome);
    assert_int_equal(group_at(message, 0)->calls->nelts, 2);
    assert_line(group_at(message, 0), 0, "{\"id\":1}");
    assert_line(group_at(message, 0), 1, "{\"id\":2}");
    assert_string_equal(names(*state, group_at(message, 1)->route), "d e f");
    assert_int_equal(group_at(message, 1)->arity, 2);
    assert_line(group_at(message, 1), 0, "{\"id\":3}");
    assert_int_equal(group_at(message, 2)->route->nelts + group_at(message, 2)->calls->nelts, 0);
}

static void the_last_line_may_lack_its_newline(void **state)
{
    assert_line(group_at(parse(*state, RELAY "\n{\"id\":1}"), 0), 0, "{\"id\":1}");
    assert_int_equal(parse(*state, EMPTY)->groups->nelts, 1);
}

static void call_lines_are_left_as_they_came(void **state)
{
    const svl_message_group_t *group =
        group_at(parse(*state, EMPTY "\nnot json\n{\"x\":\"relay\"}\n\"relay\"\n{\"relays\":{}}\n"), 0);

    assert_int_equal(group->calls->nelts, 4);
    assert_line(group, 0, "not json");
    assert_line(group, 3, "{\"relays\":{}}");
}

static void members_of_a_newer_version_are_no_fault(void **state)
{
    parse(*state, "{\"relay\":{\"from\":\"a\",\"route\":[],\"arity\":0,\"hops\":{\"x\":[1]}},\"more\":1}\n");
    parse(
        *state,
        " { \"relay\" : {\"from\":\"a\",\"route\":[],\"arity\":0}}\n\t{\t\"relay\":{\"from\":\"a\",\"route\":[],\"arity\":0}}");
}

static void lines_are_framed_by_lf_alone(void **state)
{
    refused(*state, "");
    refused(*state, "\n");
    refused(*state, "\n" EMPTY "\n");
    assert_non_null(strstr(refused(*state, EMPTY "\n\n{\"id\":1}\n"), "line 2"));
    refused(*state, EMPTY "\n\n");
    refused(*state, EMPTY "\r\n{\"id\":1}\r\n");
    refused(*state, EMPTY "\n{\"id\":1}\r\n");
    refused(*state, EMPTY "\n{\"id\":\r1}\n");
}

static void a_message_begins_with_a_relay_or_a_sync(void **state)
{
    /* clang-format off */
    static const char *const bodies[] = {
        "{'id':'c1'}", "{}", "[]", "null", "{", "{'relay':[]}", "{'relay':null}", "{'sync':1}", "\xef\xbb\xbf" EMPTY,
        "{'relay':{'from':'a','route':[],'arity':0},'sync':{'from':'a'}}", "{'id':1}\n" EMPTY, EMPTY EMPTY,
        "{'relay':{'from':'a','from':'a','route':[],'arity':0}}", EMPTY "\n{'relay':1}", EMPTY "\n{'relay'",
    };
    /* clang-format on */

    for (size_t i = 0; i < UNIT_COUNT(bodies); i++) {
        refused(*state, unit_json(*state, bodies[i]));
    }
}

static void a_relay_line_is_read_strictly(void **state)
{
    /* clang-format off */
    static const char *const relays[] = {
        "{}", "{'route':[],'arity':0}", "{'from':'a','arity':0}", "{'from':'a','route':[]}", "{'from':1,'route':[],'arity':0}",
        "{'from':'','route':[],'arity':0}", "{'from':'a','route':{},'arity':0}", "{'from':'a','route':'b','arity':0}",
        "{'from':'a','route':[1],'arity':0}", "{'from':'a','route':[null],'arity':0}", "{'from':'a','route':[['b']],'arity':0}",
        "{'from':'a','route':[],'arity':-1}", "{'from':'a','route':[],'arity':10001}", "{'from':'a','route':[],'arity':1.0}",
        "{'from':'a','route':[],'arity':'1'}", "{'from':'a','route':[],'arity':4294967296}",
        "{'from':'a','route':[],'arity':0,'reply':'all'}", "{'from':'a','route':[],'arity':0,'reply':true,'timeout_ms':1}",
        "{'from':'a','route':[],'arity':0,'reply':'outcome'}",
        "{'from':'a','route':[],'arity':0,'reply':'outcome','timeout_ms':-1}",
        "{'from':'a','route':[],'arity':0,'reply':'outcome','timeout_ms':1.5}",
        "{'from':'a','route':[],'arity':0,'reply':'outcome','timeout_ms':86400001}",
    };
    /* clang-format on */

    for (size_t i = 0; i < UNIT_COUNT(relays); i++) {
        refused(*state, unit_json(*state, apr_psprintf(*state, "{'relay':%s}\n{'id':1}", relays[i])));
        refused(*state, unit_json(*state, apr_psprintf(*state, EMPTY "\n{'relay':%s}\n{'id':1}", relays[i])));
    }
    parse(*state, "{\"relay\":{\"from\":\"a\",\"route\":[],\"arity\":10000}}");
}

static void a_message_has_one_sender(void **state)
{
    refused(*state, EMPTY "\n{\"relay\":{\"from\":\"b\",\"route\":[],\"arity\":0}}");
}

/* THREATS 16, 15 */
static void names_that_come_again_or_fit_no_grammar_are_told_apart(void **state)
{
    const svl_message_group_t *group =
        group_at(parse(*state, "{\"relay\":{\"from\":\"a\",\"route\":[\"c\",\"x\\r\\ny\",\"d\",\"c\",\"c\",\"../"
                               "e\",\"x\\r\\ny\",\"http://h/\",\"\"],\"arity\":1}}"),
                 0);

    assert_string_equal(names(*state, group->route), "c d");
    assert_string_equal(names(*state, group->bad), "x\\x0d\\x0ay c ../e http://h/ ");
    assert_int_equal(group->bad->nelts, 5);
    for (size_t i = 0; i < UNIT_COUNT(unit_hostile_names); i++) {
        const char *name = svl_json_quote(unit_hostile_names[i], *state);

        group =
            group_at(parse(*state, apr_psprintf(*state, "{\"relay\":{\"from\":\"a\",\"route\":[%s],\"arity\":1}}", name)), 0);
        assert_int_equal(group->route->nelts, 0);
        assert_true(unit_is_printable(APR_ARRAY_IDX(group->bad, 0, const char *)));
        refused(*state, apr_psprintf(*state, "{\"relay\":{\"from\":%s,\"route\":[],\"arity\":1}}", name));
    }
}

static const char *long_route(apr_pool_t *p, int count)
{
    apr_array_header_t *all = apr_array_make(p, count, sizeof(const char *));

    for (int i = 0; i < count; i++) {
        APR_ARRAY_PUSH(all, const char *) = apr_psprintf(p, "\"n%d\"", i);
    }
    return apr_psprintf(p, "{\"relay\":{\"from\":\"a\",\"route\":[%s],\"arity\":1}}", apr_array_pstrcat(p, all, ','));
}

static void routes_and_calls_are_bounded(void **state)
{
    apr_pool_t *p = *state;
    const char *calls = apr_pstrcat(p, EMPTY "\n", unit_repeat(p, "{}\n", SVL_MESSAGE_CALLS_MAX), NULL);

    assert_int_equal(group_at(parse(p, long_route(p, SVL_ROUTE_NODES_MAX)), 0)->route->nelts, SVL_ROUTE_NODES_MAX);
    refused(p, long_route(p, SVL_ROUTE_NODES_MAX + 1));
    refused(p, long_route(p, 100000));
    assert_int_equal(group_at(parse(p, calls), 0)->calls->nelts, SVL_MESSAGE_CALLS_MAX);
    refused(p, apr_pstrcat(p, calls, EMPTY "\n{}\n", NULL));
}

static void who_asks_for_an_outcome_sends_one_call(void **state)
{
    const svl_message_group_t *group = group_at(parse(*state, ASK "\n{\"id\":1}\n"), 0);

    assert_true(group->outcome);
    assert_int_equal(group->timeout_ms, 2500);
    assert_line(group, 0, "{\"id\":1}");
    refused(*state, ASK);
    refused(*state, ASK "\n{\"id\":1}\n{\"id\":2}");
    refused(*state, ASK "\n{\"id\":1}\n" EMPTY);
    refused(*state, EMPTY "\n{\"id\":2}\n" ASK "\n{\"id\":1}\n");
}

static void a_sync_gives_its_line_its_sender_and_the_calls_after_it(void **state)
{
    svl_message_t *message = parse(*state, SYNC "\n");

    assert_int_equal(message->kind, SVL_MESSAGE_SYNC);
    assert_string_equal(message->from, "a");
    assert_int_equal(message->sync_length, strlen(SYNC));
    assert_memory_equal(message->sync, SYNC, strlen(SYNC));
    assert_string_equal(json_string_value(json_object_get(message->sync_json, "digest")), "00");
    assert_int_equal(group_at(message, 0)->calls->nelts, 0);
    message = parse(*state, SYNC "\n{\"id\":1}");
    assert_int_equal(group_at(message, 0)->route->nelts + group_at(message, 0)->bad->nelts, 0);
    assert_line(group_at(message, 0), 0, "{\"id\":1}");
    refused(*state, "{\"sync\":{}}");
    refused(*state, "{\"sync\":{\"from\":\"a/b\"}}");
    refused(*state, SYNC "\n" EMPTY);
}

static void what_is_written_is_read_as_it_was(void **state)
{
    static const char *const route[] = {"c", "[::1]:80", "d.example"};
    apr_size_t length;
    const char *line = svl_message_relay_line("a", route, 3, 2, -1, *state, &length);
    const svl_message_group_t *group;

    assert_string_equal(line, "{\"relay\":{\"from\":\"a\",\"route\":[\"c\",\"[::1]:80\",\"d.example\"],\"arity\":2}}\n");
    assert_int_equal(length, strlen(line));
    assert_string_equal(names(*state, group_at(parse(*state, line), 0)->route), "c [::1]:80 d.example");
    line = svl_message_relay_line("a", NULL, 0, 0, 2500, *state, &length);
    assert_string_equal(line, ASK "\n");
    group = group_at(
        parse(*state, apr_pstrcat(*state, svl_message_relay_line("a", NULL, 7, 10000, 0, *state, &length), "{}", NULL)), 0);
    assert_true(group->outcome && group->timeout_ms == 0 && group->arity == 10000);
    line = svl_message_relay_line(unit_repeat(*state, "n", 64), route, 1, UINT32_MAX, INT64_MAX, *state, &length);
    assert_int_equal(length, strlen(line));
    assert_string_equal(line + length - 3, "}}\n");
}

static svl_message_ack_t *ack_of(apr_pool_t *p, const char *body)
{
    svl_message_ack_t *ack;

    assert_int_equal(svl_message_parse_ack(&ack, unit_exact(p, body, strlen(body)), strlen(body), NULL, p), APR_SUCCESS);
    return ack;
}

static void an_acknowledgement_comes_back_as_it_was(void **state)
{
    apr_pool_t *p = *state;
    svl_message_ack_t ack = {"b", 3, 1, apr_array_make(p, 2, sizeof(const char *)),
                             apr_array_make(p, 2, sizeof(svl_message_refusal_t))};
    svl_message_ack_t *read;
    const char *text;
    apr_size_t length;

    assert_string_equal(svl_message_write_ack(&ack, p, &length), "{\"from\":\"b\",\"accepted\":3,\"duplicates\":1}");
    assert_null(ack_of(p, svl_message_write_ack(&ack, p, &length))->nodes);
    APR_ARRAY_PUSH(ack.nodes, const char *) = "x";
    APR_ARRAY_PUSH(ack.nodes, const char *) = "x"; /* whoever collects names may collect one twice */
    APR_ARRAY_PUSH(ack.nodes, const char *) = "bad\\x0aname \"";
    APR_ARRAY_PUSH(ack.calls, svl_message_refusal_t) = (svl_message_refusal_t){"c1", 409, "stream-conflict \"\xff"};
    APR_ARRAY_PUSH(ack.calls, svl_message_refusal_t) = (svl_message_refusal_t){"c2", 422, NULL};
    APR_ARRAY_PUSH(ack.calls, svl_message_refusal_t) = (svl_message_refusal_t){"c2", 422, NULL};
    read = ack_of(p, svl_message_write_ack(&ack, p, &length));
    assert_string_equal(read->from, "b");
    assert_int_equal(read->accepted, 3);
    assert_int_equal(read->duplicates, 1);
    assert_string_equal(names(p, read->nodes), "x");
    assert_int_equal(read->calls->nelts, 2);
    for (int i = 0; i < 2; i++) {
        const svl_message_refusal_t *refusal = &APR_ARRAY_IDX(read->calls, i, svl_message_refusal_t);
        int first = strcmp(refusal->id, "c1") == 0;

        assert_int_equal(refusal->status, first ? 409 : 422);
        assert_int_equal(refusal->detail != NULL, first);
    }
    ack.nodes = NULL;
    ack.calls = NULL;
    text = svl_message_write_ack(&ack, p, &length);
    assert_string_equal(text, "{\"from\":\"b\",\"accepted\":3,\"duplicates\":1}");
    assert_int_equal(length, strlen(text));
}

/* THREATS 21 */
static void what_is_no_acknowledgement_is_refused(void **state)
{
    /* clang-format off */
    static const char *const bodies[] = {
        "", "{}", "[]", "null", "<html>", "{'from':'b','accepted':1,'duplicates':0}{}", "{'from':'b','accepted':1}",
        "{'from':'b','duplicates':1}", "{'accepted':1,'duplicates':0}", "{'from':'b c','accepted':1,'duplicates':0}",
        "{'from':'b','accepted':-1,'duplicates':0}", "{'from':'b','accepted':1.0,'duplicates':0}",
        "{'from':'b','accepted':1,'duplicates':-9}", "{'from':'b','accepted':'1','duplicates':0}",
        "{'from':'b','accepted':1,'duplicates':0,'refused':[]}",
        "{'from':'b','accepted':1,'duplicates':0,'refused':{'nodes':[]}}",
        "{'from':'b','accepted':1,'duplicates':0,'refused':{'calls':[]}}",
        "{'from':'b','accepted':1,'duplicates':0,'refused':{'calls':{'c1':1}}}",
        "{'from':'b','accepted':1,'duplicates':0,'refused':{'calls':{'c1':{'status':200}}}}",
        "{'from':'b','accepted':1,'duplicates':0,'refused':{'calls':{'c.1':{'status':409}}}}",
    };
    /* clang-format on */

    for (size_t i = 0; i < UNIT_COUNT(bodies); i++) {
        svl_message_ack_t *ack;
        svl_fault_t fault = {SVL_REASON_NONE, NULL};
        const char *body = unit_json(*state, bodies[i]);
        apr_size_t length = strlen(body);

        assert_int_equal(svl_message_parse_ack(&ack, unit_exact(*state, body, length), length, &fault, *state), SVL_EREFUSED);
        assert_int_equal(fault.reason, SVL_REASON_MESSAGE);
        assert_null(ack);
    }
}

static void a_peers_words_are_escaped(void **state)
{
    svl_message_ack_t *ack =
        ack_of(*state, "{\"from\":\"b\",\"accepted\":0,\"duplicates\":0,\"refused\":{\"nodes\":{\"x\\ny\":\"unknown\"},"
                       "\"calls\":{\"c1\":{\"status\":409,\"detail\":\"a\\u001b[31m\\r\\n\\u00e9\"}}}}");

    assert_int_equal(ack->nodes->nelts, 0);
    assert_string_equal(APR_ARRAY_IDX(ack->calls, 0, svl_message_refusal_t).detail, "a\\x1b[31m\\x0d\\x0a\\xc3\\xa9");
}

static void mutated_messages_never_crash(void **state)
{
    static const char body[] = RELAY "\n{\"id\":1}\n" EMPTY "\n{\"id\":2}\n";
    static const char answer[] = "{\"from\":\"b\",\"accepted\":0,\"duplicates\":0,\"refused\":{\"nodes\":{\"x\":\"unknown\"},"
                                 "\"calls\":{\"c1\":{\"status\":409,\"detail\":\"words\"}}}}";

    for (int i = 0; i < 20000; i++) {
        apr_pool_t *p;
        svl_message_t *message;
        svl_message_ack_t *ack;
        svl_fault_t fault = {SVL_REASON_NONE, NULL};
        char *text;

        apr_pool_create(&p, *state);
        text = unit_exact(p, body, sizeof(body) - 1);
        unit_mutate(text, sizeof(body) - 1);
        if (svl_message_parse(&message, text, sizeof(body) - 1, &fault, p) != APR_SUCCESS) {
            assert_true(unit_is_printable(fault.detail));
        }
        text = unit_exact(p, answer, sizeof(answer) - 1);
        unit_mutate(text, sizeof(answer) - 1);
        svl_message_parse_ack(&ack, text, sizeof(answer) - 1, &fault, p);
        apr_pool_destroy(p);
    }
}

static const struct CMUnitTest promises[] = {
    PROMISE("a relay line governs the calls up to the next one", a_relay_line_governs_the_calls_up_to_the_next_one),
    PROMISE("the last line may lack its newline", the_last_line_may_lack_its_newline),
    PROMISE("call lines are left as they came", call_lines_are_left_as_they_came),
    PROMISE("members of a newer version are no fault", members_of_a_newer_version_are_no_fault),
    PROMISE("lines are framed by LF alone", lines_are_framed_by_lf_alone),
    PROMISE("a message begins with a relay or a sync", a_message_begins_with_a_relay_or_a_sync),
    PROMISE("a relay line is read strictly", a_relay_line_is_read_strictly),
    PROMISE("a message has one sender", a_message_has_one_sender),
    PROMISE("names that come again or fit no grammar are told apart", names_that_come_again_or_fit_no_grammar_are_told_apart),
    PROMISE("routes and calls are bounded", routes_and_calls_are_bounded),
    PROMISE("who asks for an outcome sends one call", who_asks_for_an_outcome_sends_one_call),
    PROMISE("a sync gives its line, its sender and the calls after it",
            a_sync_gives_its_line_its_sender_and_the_calls_after_it),
    PROMISE("what is written is read as it was", what_is_written_is_read_as_it_was),
    PROMISE("an acknowledgement comes back as it was", an_acknowledgement_comes_back_as_it_was),
    PROMISE("what is no acknowledgement is refused", what_is_no_acknowledgement_is_refused),
    PROMISE("a peer's words are escaped", a_peers_words_are_escaped),
    PROMISE("mutated messages never crash", mutated_messages_never_crash),
};

UNIT_MAIN(promises)

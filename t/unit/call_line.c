/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/core/call.h"

#include "../../mod_serviceless/core/json.h"
#include "unit.h"

#define EPOCH "0123456789abcdef"
#define LINE                                                                                                                   \
    "{\"id\":\"c1\",\"function\":\"cache.purge\",\"args\":[\"/a\",3],\"kwargs\":{\"recursive\":true},\"origin\":\"a\","        \
    "\"set\":\"all\",\"epoch\":\"" EPOCH "\",\"seq\":17,\"issued\":1700000000123,\"ttl\":86400}"

static json_t *json_of(apr_pool_t *p, const char *text)
{
    json_t *json;

    assert_int_equal(svl_json_parse(&json, text, strlen(text), NULL, p), APR_SUCCESS);
    return json;
}

static svl_fault_t refused_line(apr_pool_t *p, const char *text, svl_call_line_t **line)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};

    assert_int_equal(svl_call_parse_line(line, unit_exact(p, text, strlen(text)), strlen(text), &fault, p), SVL_EREFUSED);
    assert_true(unit_is_printable(fault.detail));
    return fault;
}

/* The line with one member replaced; without it when the value is NULL. */
static const char *line_with(apr_pool_t *p, const char *member, const char *value)
{
    json_t *json = json_of(p, LINE);
    apr_size_t length;

    json_object_del(json, member);
    if (value) {
        json_object_set(json, member, json_of(p, value));
    }
    return svl_json_write(json, p, &length);
}

/* THREATS 15 */
static void hostile_names_are_refused(void **state)
{
    static const char *const named[] = {"id", "function", "origin", "set", "epoch"};

    for (size_t i = 0; i < UNIT_COUNT(unit_hostile_names); i++) {
        const char *name = svl_json_quote(unit_hostile_names[i], *state);

        for (size_t j = 0; j < UNIT_COUNT(named); j++) {
            svl_call_line_t *line;

            assert_int_equal(refused_line(*state, line_with(*state, named[j], name), &line).reason, SVL_REASON_CALL);
        }
    }
}

static void a_call_line_is_read(void **state)
{
    svl_call_line_t *line;

    assert_int_equal(svl_call_parse_line(&line, unit_exact(*state, LINE, strlen(LINE)), strlen(LINE), NULL, *state),
                     APR_SUCCESS);
    assert_string_equal(line->id, "c1");
    assert_string_equal(line->function, "cache.purge");
    assert_string_equal(line->origin, "a");
    assert_string_equal(line->set, "all");
    assert_string_equal(line->epoch, EPOCH);
    assert_int_equal(line->seq, 17);
    assert_int_equal(line->issued, INT64_C(1700000000123));
    assert_int_equal(line->ttl, 86400);
    assert_int_equal(json_array_size(line->args), 2);
    assert_true(json_is_true(json_object_get(line->kwargs, "recursive")));
}

/* Without the JSON library: what nodes write, and nothing that is wrong. */
static void lines_of_the_usual_form_are_scanned(void **state)
{
    static const struct {
        const char *args, *kwargs;
        int scanned;
    } cases[] = {{"[]", "{}", 1},
                 {"['a b~!',0,-0,-7,999999999999999999,true,false,null,[],{}]", "{'a':{'a':[[1]]},'b':'x'}", 1},
                 {"[1000000000000000000]", "{}", 0},
                 {"[1.0]", "{}", 0},
                 {"[1e3]", "{}", 0},
                 {"[01]", "{}", 0},
                 {"[-]", "{}", 0},
                 {"[+1]", "{}", 0},
                 {"[1,]", "{}", 0},
                 {"[,1]", "{}", 0},
                 {"[ 1 , [\t] ,-2\n]", "{ 'a' : 1 ,'b':\r{ } }", 1},
                 {"[1 2]", "{}", 0},
                 {"[- 1]", "{}", 0},
                 {"[]", "{ 'a' 'b' : 1 }", 0},
                 {" []", "{}", 0},
                 {"[nul]", "{}", 0},
                 {"['a]", "{}", 0},
                 {"['\\n']", "{}", 0},
                 {"['\xc3\xa9']", "{}", 0},
                 {"['\t']", "{}", 0},
                 {"['\x7f']", "{}", 0},
                 {"[]", "{'a':1,'b':2,'a':3}", 0},
                 {"[]", "{'a':1,}", 0},
                 {"[]", "{a:1}", 0},
                 {"[]", "{'a'}", 0},
                 {"{}", "{}", 0},
                 {"[]", "[]", 0},
                 {"[[]", "{}", 0},
                 {"[]", "{'1':1,'2':1,'3':1,'4':1,'5':1,'6':1,'7':1,'8':1,'9':1,'10':1,'11':1,'12':1,'13':1,'14':1,'15':1,'16':1}", 1},
                 {"[]", "{'1':1,'2':1,'3':1,'4':1,'5':1,'6':1,'7':1,'8':1,'9':1,'10':1,'11':1,'12':1,'13':1,'14':1,'15':1,'16':1,'17':1}", 0}};
    svl_call_line_t line;
    svl_json_scan_part_t args, kwargs;

    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        const char *text = apr_pstrcat(*state, "{\"id\":\"c1\",\"function\":\"f\",\"args\":", unit_json(*state, cases[i].args),
                                       ",\"kwargs\":", unit_json(*state, cases[i].kwargs),
                                       ",\"origin\":\"a\",\"set\":\"all\",\"epoch\":\"" EPOCH
                                       "\",\"seq\":17,\"issued\":1700000000123,\"ttl\":86400}",
                                       NULL);
        const char *copy = unit_exact(*state, text, strlen(text));

        if (svl_call_scan(&line, &args, &kwargs, copy, strlen(text), *state) != cases[i].scanned) {
            fail_msg("scanned otherwise: %s", text);
        }
        for (size_t cut = 0; cut < strlen(text); cut++) {
            assert_false(svl_call_scan(&line, &args, &kwargs, unit_exact(*state, text, cut), cut, *state));
        }
    }
    assert_true(svl_call_scan(&line, &args, &kwargs, LINE, strlen(LINE), *state));
    assert_string_equal(apr_pstrmemdup(*state, args.text, args.length), "[\"/a\",3]");
    assert_string_equal(apr_pstrmemdup(*state, kwargs.text, kwargs.length), "{\"recursive\":true}");
    assert_string_equal(line.id, "c1");
    assert_int_equal(line.seq, 17);
    assert_int_equal(line.issued, INT64_C(1700000000123));
}

static void the_depth_of_scanned_lines_is_that_of_others(void **state)
{
    for (int deep = SVL_JSON_DEPTH - 3; deep <= SVL_JSON_DEPTH + 1; deep++) {
        char nested[2 * SVL_JSON_DEPTH + 4] = "";
        svl_call_line_t line, *parsed;
        svl_json_scan_part_t args, kwargs;
        const char *text;

        memset(nested, '[', (size_t)deep);
        memset(nested + deep, ']', (size_t)deep);
        nested[2 * deep] = '\0';
        text = apr_psprintf(*state,
                            "{\"id\":\"c1\",\"function\":\"f\",\"args\":%s,\"kwargs\":{},\"origin\":\"a\",\"set\":\"all\",\"epoch\":\"" EPOCH
                            "\",\"seq\":17,\"issued\":1700000000123,\"ttl\":86400}",
                            nested);
        assert_int_equal(svl_call_scan(&line, &args, &kwargs, text, strlen(text), *state), deep < SVL_JSON_DEPTH);
        assert_int_equal(svl_call_parse_line(&parsed, text, strlen(text), NULL, *state) == APR_SUCCESS, deep < SVL_JSON_DEPTH);
        assert_int_equal(svl_call_check_line(&parsed, text, strlen(text), NULL, *state) == APR_SUCCESS, deep < SVL_JSON_DEPTH);
    }
}

static void members_of_a_newer_version_are_no_fault(void **state)
{
    const char *text = line_with(*state, "priority", "{\"level\":[1]}");
    svl_call_line_t *line;

    assert_int_equal(svl_call_parse_line(&line, text, strlen(text), NULL, *state), APR_SUCCESS);
}

/* clang-format off */
static const struct {
    const char *member;
    int identity; /* nonzero: without it nobody knows which number to cover */
    const char *wrong[8];
} members[] = {
        {"id", 1, {NULL, "1", "''", "'a.b'", "null", "[]"}}, {"origin", 1, {NULL, "1", "''", "'a/b'", "'a b'", "{}"}},
        {"set", 1, {NULL, "1", "''", "'a/b'", "null"}},
        {"epoch", 1, {NULL, "1", "'0123456789ABCDEF'", "'0123456789abcde'", "'0123456789abcdef0'"}},
        {"seq", 1, {NULL, "0", "-1", "1.0", "'1'", "null", "true"}},
        {"function", 0, {NULL, "1", "''", "'1f'", "'a/b'", "'a\\r\\nb'", "'\\u001b[0m'"}},
        {"args", 0, {NULL, "{}", "null", "1"}}, {"kwargs", 0, {NULL, "[]", "null", "1"}},
        {"issued", 0, {NULL, "0", "-1", "1.5", "'1700000000123'", "9223372036854775807", "253402300800000"}},
        {"ttl", 0, {NULL, "0", "-1", "1.5", "'60'", "null"}},
};
/* clang-format on */

static void a_refused_line_still_tells_its_number_when_its_identity_is_sound(void **state)
{
    for (size_t i = 0; i < UNIT_COUNT(members); i++) {
        for (size_t j = 0; j == 0 || (j < 8 && members[i].wrong[j]); j++) {
            svl_call_line_t *line = (svl_call_line_t *)*state;
            const char *wrong = members[i].wrong[j] ? unit_json(*state, members[i].wrong[j]) : NULL;
            svl_fault_t fault = refused_line(*state, line_with(*state, members[i].member, wrong), &line);

            assert_int_equal(fault.reason, SVL_REASON_CALL);
            assert_non_null(strstr(fault.detail, members[i].member));
            assert_int_equal(line == NULL, members[i].identity);
            if (line) {
                assert_string_equal(line->id, "c1");
                assert_string_equal(line->origin, "a");
                assert_string_equal(line->set, "all");
                assert_string_equal(line->epoch, EPOCH);
                assert_int_equal(line->seq, 17);
            }
        }
    }
}

static void bounds_of_numbers_are_taken(void **state)
{
    static const struct {
        const char *member;
        const char *value;
    } bounds[] = {{"seq", "9223372036854775807"}, {"seq", "1"}, {"issued", "253402300799999"}, {"issued", "1"}, {"ttl", "1"}};
    svl_call_line_t *line;
    const char *text;

    for (size_t i = 0; i < UNIT_COUNT(bounds); i++) {
        text = line_with(*state, bounds[i].member, bounds[i].value);
        assert_int_equal(svl_call_parse_line(&line, text, strlen(text), NULL, *state), APR_SUCCESS);
    }
    text = line_with(*state, "ttl", "9223372036854775807");
    assert_int_equal(svl_call_parse_line(&line, text, strlen(text), NULL, *state), APR_SUCCESS);
    assert_int_equal(line->ttl, SVL_CALL_TTL_MAX); /* issued and ttl add up without overflow */
}

static void a_line_that_is_no_json_object_has_no_number(void **state)
{
    static const struct {
        const char *text;
        svl_reason_e reason;
    } lines[] = {
        {"", SVL_REASON_JSON},   {"{", SVL_REASON_JSON},    {LINE "x", SVL_REASON_JSON}, {LINE LINE, SVL_REASON_JSON},
        {"[]", SVL_REASON_CALL}, {"null", SVL_REASON_CALL}, {"{}", SVL_REASON_CALL},     {"{\"relay\":{}}", SVL_REASON_CALL},
    };

    for (size_t i = 0; i < UNIT_COUNT(lines); i++) {
        svl_call_line_t *line;

        assert_int_equal(refused_line(*state, lines[i].text, &line).reason, lines[i].reason);
        assert_null(line);
    }
}

static void mutated_lines_never_crash(void **state)
{
    for (int i = 0; i < 20000; i++) {
        apr_pool_t *p;
        svl_call_line_t *line;
        svl_call_request_t *request;
        svl_fault_t fault = {SVL_REASON_NONE, NULL};
        char *text;

        apr_pool_create(&p, *state);
        text = unit_exact(p, LINE, strlen(LINE));
        unit_mutate(text, strlen(LINE));
        svl_call_parse_line(&line, text, strlen(LINE), &fault, p);
        svl_call_parse_request(&request, text, strlen(LINE), "c1", &fault, p);
        assert_true(!fault.detail || unit_is_printable(fault.detail));
        apr_pool_destroy(p);
    }
}

static const char *stamped(apr_pool_t *p, const svl_call_draft_t *draft, apr_uint64_t seq)
{
    char stamp[SVL_CALL_STAMP_MAX];
    apr_size_t length = svl_call_stamp(stamp, EPOCH, seq);

    assert_int_equal(strlen(draft->head), draft->head_length);
    assert_int_equal(strlen(draft->tail), draft->tail_length);
    assert_true(length < sizeof(stamp));
    return apr_pstrcat(p, draft->head, apr_pstrmemdup(p, stamp, length), draft->tail, NULL);
}

static void a_stamped_draft_is_the_line(void **state)
{
    apr_pool_t *p = *state;
    svl_call_draft_t draft;
    svl_call_line_t *line;
    const char *text;

    assert_int_equal(svl_call_draft(&draft, "c1", "cache.purge", json_of(p, "[\"/a\",3]"), json_of(p, "{\"recursive\":true}"),
                                    "a", "all", INT64_C(1700000000123), 86400, p),
                     APR_SUCCESS);
    assert_string_equal(stamped(p, &draft, 17), LINE);
    text = stamped(p, &draft, INT64_MAX);
    assert_int_equal(svl_call_parse_line(&line, text, strlen(text), NULL, p), APR_SUCCESS);
    assert_int_equal(line->seq, INT64_MAX);
    assert_non_null(strstr(stamped(p, &draft, UINT64_MAX), "\"seq\":18446744073709551615,"));
    assert_int_equal(svl_call_draft(&draft, "c1", "f", NULL, NULL, "a", "all", 1, 1, p), APR_SUCCESS);
    assert_non_null(strstr(draft.head, "\"args\":[],\"kwargs\":{},"));
}

static json_t *nested(apr_pool_t *p, size_t depth)
{
    return json_of(p, apr_pstrcat(p, unit_repeat(p, "[", depth), unit_repeat(p, "]", depth), NULL));
}

static void what_a_client_may_send_can_be_drafted_and_what_is_drafted_is_taken(void **state)
{
    apr_pool_t *p = *state;
    svl_call_draft_t draft;
    svl_call_request_t *request;
    svl_call_line_t *line;
    apr_size_t length;

    for (size_t depth = 1; depth <= 32; depth++) {
        apr_status_t status = svl_call_draft(&draft, "c1", "f", nested(p, depth), NULL, "a", "all", 1, 1, p);
        const char *text =
            apr_pstrcat(p, "{\"function\":\"f\",\"args\":", svl_json_write(nested(p, depth), p, &length), "}", NULL);

        assert_int_equal(status, depth <= 31 ? APR_SUCCESS : APR_EINVAL);
        assert_int_equal(svl_call_parse_request(&request, text, strlen(text), "c1", NULL, p),
                         depth <= 31 ? APR_SUCCESS : SVL_EREFUSED);
        if (depth <= 31) {
            text = stamped(p, &draft, 1);
            assert_int_equal(svl_call_parse_line(&line, text, strlen(text), NULL, p), APR_SUCCESS);
        }
    }
}

static void what_is_no_line_is_not_drafted(void **state)
{
    apr_pool_t *p = *state;
    svl_call_draft_t draft;
    json_t *nul = svl_json_own(json_pack("[o]", json_stringn("\0", 1)), p);
    json_t *utf8 = svl_json_own(json_pack("{so}", "k", json_string_nocheck("\xff")), p);

    assert_int_equal(svl_call_draft(&draft, "c1", "f", nul, NULL, "a", "all", 1, 1, p), APR_EINVAL);
    assert_int_equal(svl_call_draft(&draft, "c1", "f", NULL, utf8, "a", "all", 1, 1, p), APR_EINVAL);
    assert_int_equal(svl_call_draft(&draft, "c1", "f", json_of(p, "{}"), NULL, "a", "all", 1, 1, p), APR_EINVAL);
    assert_int_equal(svl_call_draft(&draft, "c1", "f", NULL, json_of(p, "[]"), "a", "all", 1, 1, p), APR_EINVAL);
    assert_int_equal(svl_call_draft(&draft, "c1", "f", NULL, NULL, "a", "all", 0, 1, p), APR_EINVAL);
    assert_int_equal(svl_call_draft(&draft, "c1", "f", NULL, NULL, "a", "all", 1, 0, p), APR_EINVAL);
    for (size_t i = 0; i < UNIT_COUNT(unit_hostile_names); i++) {
        assert_int_equal(svl_call_draft(&draft, unit_hostile_names[i], "f", NULL, NULL, "a", "all", 1, 1, p), APR_EINVAL);
        assert_int_equal(svl_call_draft(&draft, "c1", unit_hostile_names[i], NULL, NULL, "a", "all", 1, 1, p), APR_EINVAL);
        assert_int_equal(svl_call_draft(&draft, "c1", "f", NULL, NULL, unit_hostile_names[i], "all", 1, 1, p), APR_EINVAL);
        assert_int_equal(svl_call_draft(&draft, "c1", "f", NULL, NULL, "a", unit_hostile_names[i], 1, 1, p), APR_EINVAL);
    }
}

static const struct CMUnitTest promises[] = {
    PROMISE("hostile names are refused", hostile_names_are_refused),
    PROMISE("a call line is read", a_call_line_is_read),
    PROMISE("lines of the usual form are scanned", lines_of_the_usual_form_are_scanned),
    PROMISE("the depth of scanned lines is that of others", the_depth_of_scanned_lines_is_that_of_others),
    PROMISE("members of a newer version are no fault", members_of_a_newer_version_are_no_fault),
    PROMISE("a refused line still tells its number when its identity is sound",
            a_refused_line_still_tells_its_number_when_its_identity_is_sound),
    PROMISE("the bounds of numbers are taken", bounds_of_numbers_are_taken),
    PROMISE("a line that is no JSON object has no number", a_line_that_is_no_json_object_has_no_number),
    PROMISE("mutated lines never crash", mutated_lines_never_crash),
    PROMISE("a stamped draft is the line", a_stamped_draft_is_the_line),
    PROMISE("what a client may send can be drafted, and what is drafted is taken",
            what_a_client_may_send_can_be_drafted_and_what_is_drafted_is_taken),
    PROMISE("what is no line is not drafted", what_is_no_line_is_not_drafted),
};

UNIT_MAIN(promises)

/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: what a node answers to a call that is asked for its outcome is written and read strictly, and all outcomes fit a bound. */
#include "unit.h"

#include "core/json.h"
#include "core/outcome.h"

static svl_outcome_t read_of(apr_pool_t *p, const char *text)
{
    svl_outcome_t outcome;
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    apr_status_t status = svl_outcome_parse(&outcome, unit_exact(p, text, strlen(text)), strlen(text), &fault, p);

    if (status != APR_SUCCESS) {
        fail_msg("%s: %s", text, fault.detail);
    }
    return outcome;
}

static void an_outcome_is_written_as_the_protocol_says(void **state)
{
    static const struct {
        svl_outcome_t outcome;
        const char *text;
    } cases[] = {
        {{"b", SVL_OUTCOME_OK, "6", 1, NULL, 100}, "{\"from\":\"b\",\"outcome\":\"ok\",\"result\":6,\"ms\":0.100}"},
        {{"b", SVL_OUTCOME_OK, NULL, 0, NULL, 1234567}, "{\"from\":\"b\",\"outcome\":\"ok\",\"result\":null,\"ms\":1234.567}"},
        {{"b", SVL_OUTCOME_OK, NULL, 0, "not kept", -1},
         "{\"from\":\"b\",\"outcome\":\"ok\",\"result\":null,\"detail\":\"not kept\"}"},
        {{"b", SVL_OUTCOME_ERROR, "6", 1, "a \"b\"\n", 0},
         "{\"from\":\"b\",\"outcome\":\"error\",\"detail\":\"a \\\"b\\\"\\u000a\",\"ms\":0.000}"},
        {{"b", SVL_OUTCOME_PENDING, NULL, 0, NULL, -1}, "{\"from\":\"b\",\"outcome\":\"pending\"}"},
    };

    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        apr_size_t length;
        const char *text = svl_outcome_write(&cases[i].outcome, *state, &length);

        assert_string_equal(text, cases[i].text);
        assert_int_equal(length, strlen(text));
    }
}

static void what_is_written_is_read(void **state)
{
    for (int i = 0; i < SVL_OUTCOME_COUNT; i++) {
        const svl_outcome_t wrote = {"n-1", (svl_outcome_e)i, "{\"a\":[1,2.5,\"x\"]}", 17, "words \xc3\xa4\t", 1234};
        apr_size_t length;
        const char *text = svl_outcome_write(&wrote, *state, &length);
        svl_outcome_t outcome = read_of(*state, text);

        if (i == SVL_OUTCOME_UNREACHABLE) { /* nobody says so of himself */
            assert_int_equal(outcome.outcome, SVL_OUTCOME_UNKNOWN);
            assert_non_null(strstr(outcome.detail, "unreachable"));
            continue;
        }
        assert_int_equal(outcome.outcome, i);
        assert_string_equal(outcome.node, "n-1");
        assert_string_equal(outcome.detail, wrote.detail);
        assert_int_equal(outcome.micros, 1234);
        if (i == SVL_OUTCOME_OK) {
            assert_string_equal(outcome.result, wrote.result);
            assert_int_equal(outcome.result_length, 17);
        }
        else {
            assert_null(outcome.result);
        }
    }
}

static void members_of_a_newer_node_are_no_fault_and_unknown_outcomes_are_unknown(void **state)
{
    svl_outcome_t outcome = read_of(*state, "{\"new\":[1],\"from\":\"b\",\"outcome\":\"ok\",\"result\":null,\"ms\":3}");

    assert_int_equal(outcome.outcome, SVL_OUTCOME_OK);
    assert_null(outcome.result);
    assert_int_equal(outcome.micros, 3000);
    outcome = read_of(*state, "{\"from\":\"b\",\"outcome\":\"postponed\\u0007\",\"result\":1,\"ms\":3}");
    assert_int_equal(outcome.outcome, SVL_OUTCOME_UNKNOWN);
    assert_non_null(strstr(outcome.detail, "postponed\\x07"));
    assert_null(outcome.result);
    assert_int_equal(outcome.micros, -1);
}

static void what_is_no_outcome_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "1",
        "{}",
        "{\"from\":\"b\"}",
        "{\"outcome\":\"ok\"}",
        "{\"from\":\"a b\",\"outcome\":\"ok\"}",
        "{\"from\":1,\"outcome\":\"ok\"}",
        "{\"from\":\"b\",\"outcome\":1}",
        "{\"from\":\"b\",\"outcome\":\"error\",\"detail\":[]}",
        "{\"from\":\"b\",\"outcome\":\"ok\",\"ms\":\"1\"}",
        "{\"from\":\"b\",\"outcome\":\"ok\",\"ms\":-1}",
        "{\"from\":\"b\",\"outcome\":\"ok\",\"ms\":1e300}",
        "{\"from\":\"b\",\"outcome\":\"ok\",\"outcome\":\"error\"}",
        "{\"from\":\"b\",\"outcome\":\"ok\"}x",
        "{\"from\":\"b\",\"outcome\":\"o\\u0000k\"}",
    };

    for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
        svl_fault_t fault = {SVL_REASON_NONE, NULL};
        svl_outcome_t outcome;

        assert_int_equal(
            svl_outcome_parse(&outcome, unit_exact(*state, bad[i], strlen(bad[i])), strlen(bad[i]), &fault, *state),
            SVL_EREFUSED);
        assert_int_equal(fault.reason, SVL_REASON_MESSAGE);
        assert_non_null(fault.detail);
    }
}

static const char *nested(apr_pool_t *p, int depth)
{
    char *text = apr_palloc(p, 2 * (apr_size_t)depth + 1);

    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    text[2 * depth] = '\0';
    return text;
}

static void a_result_that_could_not_be_handed_on_is_not_taken(void **state)
{
    apr_pool_t *p = *state;
    svl_outcome_t outcome = read_of(
        p, apr_pstrcat(p, "{\"from\":\"b\",\"outcome\":\"ok\",\"result\":", nested(p, SVL_JSON_RESULT_DEPTH), "}", NULL));
    const char *all;
    apr_size_t length;
    json_t *json;

    assert_int_equal(outcome.outcome, SVL_OUTCOME_OK);
    all = svl_outcome_write_all(&outcome, 1, SVL_OUTCOME_ALL_MAX, p, &length);
    all = svl_outcome_answer("{\"id\":\"x\"}", 10, all, length, p, &length);
    assert_int_equal(svl_json_parse(&json, all, length, NULL, p), APR_SUCCESS);
    outcome = read_of(
        p, apr_pstrcat(p, "{\"from\":\"b\",\"outcome\":\"ok\",\"result\":", nested(p, SVL_JSON_RESULT_DEPTH + 1), "}", NULL));
    assert_int_equal(outcome.outcome, SVL_OUTCOME_UNKNOWN);
    assert_non_null(strstr(outcome.detail, "nested"));
}

static void words_end_with_a_whole_character(void **state)
{
    apr_pool_t *p = *state;
    char *words = apr_palloc(p, SVL_OUTCOME_DETAIL_MAX + 3);

    memset(words, 'x', SVL_OUTCOME_DETAIL_MAX + 2);
    words[SVL_OUTCOME_DETAIL_MAX + 2] = '\0';
    assert_int_equal(strlen(svl_outcome_words(words, strlen(words), p)), SVL_OUTCOME_DETAIL_MAX);
    memcpy(words + SVL_OUTCOME_DETAIL_MAX - 1, "\xc3\xa4", 2);
    assert_int_equal(strlen(svl_outcome_words(words, strlen(words), p)), SVL_OUTCOME_DETAIL_MAX - 1);
    assert_string_equal(svl_outcome_words("short", 5, p), "short");
}

static void all_outcomes_stand_in_their_order(void **state)
{
    const svl_outcome_t outcomes[] = {
        {"b", SVL_OUTCOME_OK, "6", 1, NULL, 100},
        {"a", SVL_OUTCOME_UNREACHABLE, NULL, 0, "connection refused", -1},
    };
    apr_size_t length;
    const char *text = svl_outcome_write_all(outcomes, 2, 1000, *state, &length);

    assert_string_equal(text, "{\"b\":{\"outcome\":\"ok\",\"result\":6,\"ms\":0.100},"
                              "\"a\":{\"outcome\":\"unreachable\",\"detail\":\"connection refused\"}}");
    assert_int_equal(length, strlen(text));
    assert_string_equal(svl_outcome_write_all(outcomes, 0, 1000, *state, &length), "{}");
    text = svl_outcome_answer("{\"id\":\"x\"}", 10, "{}", 2, *state, &length);
    assert_string_equal(text, "{\"id\":\"x\",\"outcomes\":{}}");
    assert_int_equal(length, strlen(text));
}

static void what_has_no_room_is_left_out_and_its_outcome_stays(void **state)
{
    const svl_outcome_t outcomes[] = {
        {"a", SVL_OUTCOME_OK, "\"aaaaaaaa\"", 10, NULL, 1},
        {"b", SVL_OUTCOME_OK, "\"bbbbbbbbb\"", 11, NULL, 1},
        {"c", SVL_OUTCOME_OK, "\"cccccccc\"", 10, NULL, 1},
        {"d", SVL_OUTCOME_ERROR, NULL, 0, "no", 1},
    };
    apr_size_t length;
    json_t *json;
    const char *text = svl_outcome_write_all(outcomes, 4, 20, *state, &length);

    assert_int_equal(svl_json_parse(&json, text, length, NULL, *state), APR_SUCCESS);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "a"), "result")), "aaaaaaaa");
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "c"), "result")), "cccccccc");
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "b"), "outcome")), "ok");
    assert_true(json_is_null(json_object_get(json_object_get(json, "b"), "result")));
    assert_non_null(strstr(json_string_value(json_object_get(json_object_get(json, "b"), "detail")), "11 bytes"));
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "d"), "outcome")), "error");
    assert_null(json_object_get(json_object_get(json, "d"), "detail"));
}

static void the_detail_of_a_problem_is_found_and_escaped(void **state)
{
    static const char problem[] =
        "{\"type\":\"about:blank\",\"title\":\"Forbidden\",\"status\":403,\"detail\":\"no\\u001b[m\"}";

    assert_string_equal(svl_outcome_problem(problem, sizeof(problem) - 1, *state), "no\\x1b[m");
    assert_null(svl_outcome_problem("{}", 2, *state));
    assert_null(svl_outcome_problem("[]", 2, *state));
    assert_null(svl_outcome_problem("<html>", 6, *state));
}

static const struct CMUnitTest promises[] = {
    PROMISE("an outcome is written as the protocol says", an_outcome_is_written_as_the_protocol_says),
    PROMISE("what is written is read", what_is_written_is_read),
    PROMISE("members of a newer node are no fault, and unknown outcomes are unknown",
            members_of_a_newer_node_are_no_fault_and_unknown_outcomes_are_unknown),
    PROMISE("what is no outcome is refused", what_is_no_outcome_is_refused),
    PROMISE("a result that could not be handed on is not taken", a_result_that_could_not_be_handed_on_is_not_taken),
    PROMISE("words end with a whole character", words_end_with_a_whole_character),
    PROMISE("all outcomes stand in their order", all_outcomes_stand_in_their_order),
    PROMISE("what has no room is left out, and its outcome stays", what_has_no_room_is_left_out_and_its_outcome_stays),
    PROMISE("the detail of a problem is found and escaped", the_detail_of_a_problem_is_found_and_escaped),
};

UNIT_MAIN(promises)

/* SPDX-License-Identifier: Apache-2.0 */
#include "outcome.h"

#include <string.h>

#include <apr_strings.h>
#include <apr_tables.h>

#include "json.h"
#include "log.h"

#define PROBLEM_MAX 512           /* bytes of a peer's refusal that are kept */
#define MS_MAX (86400000.0 * 366) /* milliseconds: a year; a peer's number beyond it is no duration */

/* What a node can say of itself: not that it was not reached. */
static const unsigned char sayable[SVL_OUTCOME_COUNT] = {
    [SVL_OUTCOME_PENDING] = 1,  [SVL_OUTCOME_OK] = 1,          [SVL_OUTCOME_ERROR] = 1,   [SVL_OUTCOME_UNKNOWN_FUNCTION] = 1,
    [SVL_OUTCOME_REFUSED] = 1,  [SVL_OUTCOME_UNKNOWN] = 1,     [SVL_OUTCOME_EXPIRED] = 1, [SVL_OUTCOME_MISSED] = 1,
    [SVL_OUTCOME_ACCEPTED] = 1, [SVL_OUTCOME_QUARANTINED] = 1,
};

const char *svl_outcome_words(const char *text, apr_size_t length, apr_pool_t *p)
{
    if (length > SVL_OUTCOME_DETAIL_MAX) {
        length = SVL_OUTCOME_DETAIL_MAX;
        while (length && ((unsigned char)text[length] & 0xc0) == 0x80) {
            length--;
        }
    }
    return apr_pstrmemdup(p, text, length);
}

/* The members that both forms have.  @param left bytes that may still be written; NULL: all are */
static void write_members(apr_array_header_t *parts, const svl_outcome_t *outcome, apr_size_t *left, apr_pool_t *p)
{
    const char *detail = outcome->detail ? svl_json_quote(outcome->detail, p) : NULL;
    const char *result = outcome->outcome != SVL_OUTCOME_OK ? NULL : outcome->result ? outcome->result : "null";
    apr_size_t size = result && outcome->result ? outcome->result_length : 0;
    if (left && size > *left) {
        detail = svl_json_quote(apr_psprintf(p, "the result, %" APR_SIZE_T_FMT " bytes, has no room in this answer", size), p);
        result = "null";
    }
    else if (left) {
        *left -= size;
        detail = detail && strlen(detail) > *left ? NULL : detail;
        *left -= detail ? strlen(detail) : 0;
    }
    APR_ARRAY_PUSH(parts, const char *) =
        apr_pstrcat(p, "\"outcome\":\"", svl_call_outcome_name(outcome->outcome), "\"", result ? ",\"result\":" : "", NULL);
    if (result) {
        APR_ARRAY_PUSH(parts, const char *) = result;
    }
    if (detail) {
        APR_ARRAY_PUSH(parts, const char *) = ",\"detail\":";
        APR_ARRAY_PUSH(parts, const char *) = detail;
    }
    if (outcome->micros >= 0) {
        APR_ARRAY_PUSH(parts, const char *) =
            apr_psprintf(p, ",\"ms\":%" APR_INT64_T_FMT ".%03d", outcome->micros / 1000, (int)(outcome->micros % 1000));
    }
}

const char *svl_outcome_write(const svl_outcome_t *outcome, apr_pool_t *p, apr_size_t *length)
{
    apr_array_header_t *parts = apr_array_make(p, 8, sizeof(const char *));
    const char *text;
    APR_ARRAY_PUSH(parts, const char *) = apr_pstrcat(p, "{\"from\":", svl_json_quote(outcome->node, p), ",", NULL);
    write_members(parts, outcome, NULL, p);
    APR_ARRAY_PUSH(parts, const char *) = "}";
    text = apr_array_pstrcat(p, parts, 0);
    *length = strlen(text);
    return text;
}

const char *svl_outcome_write_all(const svl_outcome_t *outcomes, apr_size_t count, apr_size_t most, apr_pool_t *p,
                                  apr_size_t *length)
{
    apr_array_header_t *parts = apr_array_make(p, (int)(8 * count + 2), sizeof(const char *));
    const char *text;
    APR_ARRAY_PUSH(parts, const char *) = "{";
    for (apr_size_t i = 0; i < count; i++) {
        APR_ARRAY_PUSH(parts, const char *) = apr_pstrcat(p, i > 0 ? "," : "", svl_json_quote(outcomes[i].node, p), ":{", NULL);
        write_members(parts, &outcomes[i], &most, p);
        APR_ARRAY_PUSH(parts, const char *) = "}";
    }
    APR_ARRAY_PUSH(parts, const char *) = "}";
    text = apr_array_pstrcat(p, parts, 0);
    *length = strlen(text);
    return text;
}

const char *svl_outcome_answer(const char *answer, apr_size_t answer_length, const char *all, apr_size_t all_length,
                               apr_pool_t *p, apr_size_t *length)
{
    static const char member[] = ",\"outcomes\":";
    char *text = apr_palloc(p, answer_length + sizeof(member) + all_length + 1);
    char *end = text;
    memcpy(end, answer, answer_length - 1); /* without its brace */
    end += answer_length - 1;
    memcpy(end, member, sizeof(member) - 1);
    end += sizeof(member) - 1;
    memcpy(end, all, all_length);
    end += all_length;
    *end++ = '}';
    *end = '\0';
    *length = (apr_size_t)(end - text);
    return text;
}

/* @return 0 when no outcome that a node can have of itself has this name */
static int read_name(svl_outcome_e *outcome, const char *name)
{
    for (int i = 0; i < SVL_OUTCOME_COUNT; i++) {
        if (sayable[i] && strcmp(svl_call_outcome_name((svl_outcome_e)i), name) == 0) {
            *outcome = (svl_outcome_e)i;
            return 1;
        }
    }
    return 0;
}

static void set_unknown(svl_outcome_t *outcome, const char *detail)
{
    outcome->outcome = SVL_OUTCOME_UNKNOWN;
    outcome->result = NULL;
    outcome->result_length = 0;
    outcome->micros = -1;
    outcome->detail = detail;
}

static void read_result(svl_outcome_t *outcome, const json_t *result, apr_pool_t *p)
{
    if (outcome->outcome != SVL_OUTCOME_OK || !result || json_is_null(result)) {
        return;
    }
    outcome->result = svl_json_fits(result, SVL_JSON_RESULT_DEPTH) ? svl_json_write(result, p, &outcome->result_length) : NULL;
    if (!outcome->result) {
        set_unknown(outcome, apr_psprintf(p, "it answered ok with a result nested deeper than %d", SVL_JSON_RESULT_DEPTH));
    }
}

/* @return NULL or what is wrong */
static const char *read_document(svl_outcome_t *outcome, const json_t *json, apr_pool_t *p)
{
    const json_t *from = json_object_get(json, "from");
    const json_t *name = json_object_get(json, "outcome");
    const json_t *detail = json_object_get(json, "detail");
    const json_t *ms = json_object_get(json, "ms");
    if (!json_is_string(from) || !svl_name_is_node(json_string_value(from), json_string_length(from))) {
        return "\"from\" is not the name of a node";
    }
    outcome->node = json_string_value(from);
    if (!json_is_string(name) || (detail && !json_is_string(detail))) {
        return "\"outcome\" or \"detail\" is not a string";
    }
    if (ms && !(json_is_number(ms) && json_number_value(ms) >= 0 && json_number_value(ms) <= MS_MAX)) {
        return "\"ms\" is not a duration";
    }
    outcome->detail = detail ? svl_outcome_words(json_string_value(detail), json_string_length(detail), p) : NULL;
    outcome->micros = ms ? (apr_int64_t)(json_number_value(ms) * 1000 + 0.5) : -1;
    if (!read_name(&outcome->outcome, json_string_value(name))) {
        set_unknown(outcome, apr_pstrcat(p, "it answered with an outcome that this node does not know: ",
                                         svl_log_escape(p, json_string_value(name), SVL_NAME_NODE_MAX), NULL));
        return NULL;
    }
    read_result(outcome, json_object_get(json, "result"), p);
    return NULL;
}

apr_status_t svl_outcome_parse(svl_outcome_t *outcome, const char *body, apr_size_t length, svl_fault_t *fault, apr_pool_t *p)
{
    const char *wrong = NULL;
    json_t *json;
    memset(outcome, 0, sizeof(*outcome));
    if (svl_json_parse(&json, body, length, &wrong, p) == APR_SUCCESS) {
        wrong = json_is_object(json) ? read_document(outcome, json, p) : "it is no object";
    }
    return wrong ? svl_fault_set(fault, SVL_REASON_MESSAGE, p, "the outcome: %s", wrong) : APR_SUCCESS;
}

const char *svl_outcome_problem(const char *body, apr_size_t length, apr_pool_t *p)
{
    const char *detail;
    json_t *json;
    if (svl_json_parse(&json, body, length, NULL, p) != APR_SUCCESS) {
        return NULL;
    }
    detail = json_string_value(json_object_get(json, "detail"));
    return detail ? svl_log_escape(p, detail, PROBLEM_MAX) : NULL;
}

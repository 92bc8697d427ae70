/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: a node's outcome that is read and handed on says the same, and what is handed on to a client is always JSON within the depth. */
#include "fuzz.h"

#include "../../mod_serviceless/core/json.h"
#include "../../mod_serviceless/core/outcome.h"

static void check_outcome(const svl_outcome_t *outcome)
{
    FUZZ_REQUIRE(svl_name_is_node(outcome->node, strlen(outcome->node)));
    FUZZ_REQUIRE((unsigned int)outcome->outcome < SVL_OUTCOME_COUNT && outcome->outcome != SVL_OUTCOME_UNREACHABLE);
    FUZZ_REQUIRE(!outcome->result || outcome->outcome == SVL_OUTCOME_OK);
    FUZZ_REQUIRE(!outcome->result || outcome->result_length == strlen(outcome->result));
    FUZZ_REQUIRE(!outcome->detail || strlen(outcome->detail) <= SVL_OUTCOME_DETAIL_MAX);
    FUZZ_REQUIRE(outcome->micros >= -1);
}

static void check_again(const svl_outcome_t *outcome, apr_pool_t *p)
{
    svl_outcome_t again;
    apr_size_t length;
    const char *text = svl_outcome_write(outcome, p, &length);

    FUZZ_REQUIRE(length == strlen(text) && svl_outcome_parse(&again, text, length, NULL, p) == APR_SUCCESS);
    FUZZ_REQUIRE(strcmp(again.node, outcome->node) == 0 && again.outcome == outcome->outcome
                 && again.micros == outcome->micros);
    FUZZ_REQUIRE(fuzz_same(again.result, outcome->result) && fuzz_same(again.detail, outcome->detail));
}

/* The answer to the client, with room and without. */
static void check_answer(const svl_outcome_t *outcome, apr_size_t most, apr_pool_t *p)
{
    svl_outcome_t both[] = {*outcome, *outcome};
    apr_size_t answer_length;
    apr_size_t all_length;
    apr_size_t length;
    const char *answer = svl_call_answer("c1", "a", outcome->outcome, outcome->result, outcome->detail, 1, p, &answer_length);
    const char *all;
    const char *text;
    json_t *json;

    both[1].node = "other";
    all = svl_outcome_write_all(both, strcmp(outcome->node, "other") == 0 ? 1 : 2, most, p, &all_length);
    text = svl_outcome_answer(answer, answer_length, all, all_length, p, &length);
    FUZZ_REQUIRE(length == strlen(text));
    json = json_object_get(json_object_get(fuzz_json(text, length, p), "outcomes"), outcome->node);
    FUZZ_REQUIRE(fuzz_same(json_string_value(json_object_get(json, "outcome")), svl_call_outcome_name(outcome->outcome)));
    FUZZ_REQUIRE(outcome->outcome != SVL_OUTCOME_OK || json_object_get(json, "result"));
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_outcome_t outcome;
    apr_status_t status = svl_outcome_parse(&outcome, bytes, length, &fault, p);
    const char *problem = svl_outcome_problem(bytes, length, p);

    if (problem) {
        fuzz_printable(problem);
    }
    if (status != APR_SUCCESS) {
        fuzz_refused(status, &fault, SVL_REASON_MESSAGE, SVL_REASON_MESSAGE, p);
        return;
    }
    check_outcome(&outcome);
    check_again(&outcome, p);
    check_answer(&outcome, SVL_OUTCOME_ALL_MAX, p);
    check_answer(&outcome, 8, p);
}

FUZZ_TARGET(feed)

/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "../core/call.h"
#include "../core/json.h"

enum { COLUMNS = 4 };

const char *svl_cli_text_of(const json_t *object, const char *member)
{
    const char *text = json_string_value(json_object_get(object, member));

    return text ? text : "";
}

const char *svl_cli_shown_of(const json_t *object, const char *member, apr_pool_t *p)
{
    const char *text = svl_cli_text_of(object, member);

    return svl_cli_escape(p, text, strlen(text));
}

const char *svl_cli_words_of(const json_t *object, apr_pool_t *p)
{
    const json_t *result = json_object_get(object, "result");
    const int has_words = json_is_string(json_object_get(object, "detail"));
    const char *words = svl_cli_shown_of(object, "detail", p);
    apr_size_t length;
    const char *text;

    /* null beside words stands for a result that could not be told */
    if (has_words && (!result || json_is_null(result))) {
        return words;
    }
    text = result ? svl_json_write(result, p, &length) : NULL;
    text = text ? svl_cli_readable(p, text, length) : "";
    return has_words ? apr_pstrcat(p, text, " (", words, ")", NULL) : text;
}

const char *svl_cli_ms(double ms, apr_pool_t *p)
{
    return apr_psprintf(p, ms < 1 ? "%.3f" : "%.1f", ms);
}

const char *svl_cli_ms_of(const json_t *object, apr_pool_t *p)
{
    const json_t *ms = json_object_get(object, "ms");

    return json_is_number(ms) ? svl_cli_ms(json_number_value(ms), p) : "";
}

int svl_cli_is_ok(const svl_cli_t *cli, const char *outcome)
{
    return strcmp(outcome, svl_call_outcome_name(SVL_OUTCOME_OK)) == 0
           || strcmp(outcome, svl_call_outcome_name(SVL_OUTCOME_ACCEPTED)) == 0
           || (cli->options.accepted && strcmp(outcome, svl_call_outcome_name(SVL_OUTCOME_PENDING)) == 0);
}

static int in_order(const void *one, const void *other)
{
    return svl_cli_natural_order(*(const char *const *)one, *(const char *const *)other);
}

apr_array_header_t *svl_cli_nodes_of(json_t *outcomes, apr_pool_t *p)
{
    apr_array_header_t *names = apr_array_make(p, (int)json_object_size(outcomes) + 1, sizeof(const char *));
    const char *name;
    json_t *outcome;

    json_object_foreach(outcomes, name, outcome)
    {
        APR_ARRAY_PUSH(names, const char *) = name;
    }
    qsort(names->elts, (size_t)names->nelts, sizeof(const char *), in_order);
    return names;
}

int svl_cli_judge(const svl_cli_t *cli, const svl_cli_answer_t *answer)
{
    const char *name;
    json_t *outcome;

    if (!svl_cli_is_ok(cli, svl_cli_text_of(answer->json, "outcome"))) {
        return SVL_CLI_NOT_OK;
    }
    json_object_foreach(json_object_get(answer->json, "outcomes"), name, outcome)
    {
        if (!svl_cli_is_ok(cli, svl_cli_text_of(outcome, "outcome"))) {
            return SVL_CLI_NOT_OK;
        }
    }
    return SVL_CLI_OK;
}

/* The outcome of the node that answered. */
static void print_one(const svl_cli_t *cli, const svl_cli_answer_t *answer)
{
    static const char *const titles[COLUMNS] = {"ID", "NODE", "OUTCOME", "RESULT"};
    svl_cli_table_t *table = svl_cli_table_make(titles, COLUMNS, cli->pool);
    const char *const cells[COLUMNS] = {
        svl_cli_shown_of(answer->json, "id", cli->pool), svl_cli_shown_of(answer->json, "node", cli->pool),
        svl_cli_shown_of(answer->json, "outcome", cli->pool), svl_cli_words_of(answer->json, cli->pool)};

    table->painted = 2;
    svl_cli_table_add(table, cells);
    svl_cli_table_print(table);
}

static void print_all(const svl_cli_t *cli, json_t *outcomes)
{
    static const char *const titles[COLUMNS] = {"NODE", "OUTCOME", "MS", "RESULT"};
    svl_cli_table_t *table = svl_cli_table_make(titles, COLUMNS, cli->pool);
    const apr_array_header_t *names = svl_cli_nodes_of(outcomes, cli->pool);

    table->painted = 1;
    table->fitted = 1;
    for (int i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);
        const json_t *outcome = json_object_get(outcomes, name);
        const char **cells = apr_palloc(cli->pool, COLUMNS * sizeof(*cells));

        cells[0] = svl_cli_escape(cli->pool, name, strlen(name));
        cells[1] = svl_cli_shown_of(outcome, "outcome", cli->pool);
        cells[2] = svl_cli_ms_of(outcome, cli->pool);
        cells[3] = svl_cli_words_of(outcome, cli->pool);
        svl_cli_table_add(table, cells);
    }
    svl_cli_table_print(table);
}

/* Names the call and what will tell its end, when some node has not. */
static void print_unended(const svl_cli_answer_t *answer, json_t *outcomes)
{
    const char *id = svl_cli_text_of(answer->json, "id");
    const char *name;
    json_t *outcome;
    int pending = 0, unreached = 0, unknown = 0, all;

    json_object_foreach(outcomes, name, outcome)
    {
        const char *text = svl_cli_text_of(outcome, "outcome");

        pending += strcmp(text, svl_call_outcome_name(SVL_OUTCOME_PENDING)) == 0;
        unreached += strcmp(text, svl_call_outcome_name(SVL_OUTCOME_UNREACHABLE)) == 0;
        unknown += strcmp(text, svl_call_outcome_name(SVL_OUTCOME_UNKNOWN)) == 0;
    }
    all = pending + unreached + unknown;
    if (all == 0) {
        return;
    }
    fflush(stdout);
    fprintf(stderr, "call %s: %d %s not %s yet", id, all, all == 1 ? "node has" : "nodes have",
            unknown ? "told its end" : "ended it");
    if (unreached == all) {
        fprintf(stderr, "; %s when %s can be reached", all == 1 ? "it gets it" : "they get it", all == 1 ? "it" : "they");
    }
    else if (unreached) {
        fprintf(stderr, "; %d of them %s it when %s can be reached", unreached, unreached == 1 ? "gets" : "get",
                unreached == 1 ? "it" : "they");
    }
    fprintf(stderr, ". See: serviceless outcome %s\n", id);
}

int svl_cli_answer_print(const svl_cli_t *cli, const svl_cli_answer_t *answer)
{
    json_t *outcomes = json_object_get(answer->json, "outcomes");

    if (cli->options.json) {
        svl_cli_print_json(answer->text, answer->length);
        return svl_cli_judge(cli, answer);
    }
    if (outcomes) {
        print_all(cli, outcomes);
    }
    else {
        print_one(cli, answer);
    }
    if (json_is_true(json_object_get(answer->json, "duplicate"))) {
        puts("This id was called before: this is what was recorded then, and nothing ran again.");
    }
    if (outcomes) {
        print_unended(answer, outcomes);
    }
    return svl_cli_judge(cli, answer);
}

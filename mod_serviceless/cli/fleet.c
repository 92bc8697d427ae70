/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "../core/json.h"

#define TTL 60 /* seconds: a node that was away for longer leaves a question alone that nobody waits with any more */

enum { PING_COLUMNS = 7, FUNCTION_COLUMNS = 8, OUTCOME_COLUMNS = 4 };

/* Asks all nodes.  @param argument as for call, or NULL  @return SVL_CLI_OK, SVL_CLI_USAGE or SVL_CLI_REFUSED (said) */
static int ask_all(svl_cli_answer_t *answer, svl_cli_t *cli, const char *function, const char *argument)
{
    const char *body;
    apr_size_t length;
    int status;

    apr_array_clear(cli->args);
    APR_ARRAY_PUSH(cli->args, const char *) = function;
    if (argument) {
        APR_ARRAY_PUSH(cli->args, const char *) = argument;
    }
    cli->options.all = "";
    cli->ttl = TTL;
    status = svl_cli_document(&body, &length, cli);
    return status == SVL_CLI_OK ? svl_cli_ask(answer, body, length, cli) : status;
}

static int no_arguments(const svl_cli_t *cli, const char *command)
{
    return cli->args->nelts == 0
               ? SVL_CLI_OK
               : svl_cli_fail(SVL_CLI_USAGE, "%s takes no argument, and was given %d", command, cli->args->nelts);
}

static svl_cli_table_t *make_table(const char *const *titles, int columns, int painted, apr_pool_t *p)
{
    svl_cli_table_t *table = svl_cli_table_make(titles, columns, p);

    table->painted = painted;
    table->fitted = 1;
    return table;
}

static const char *uptime_of(const json_t *ping, apr_pool_t *p)
{
    static const struct {
        apr_int64_t seconds;
        const char *name;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    const json_t *uptime = json_object_get(ping, "uptime");
    apr_int64_t seconds = json_integer_value(uptime);
    int i = 0;

    if (!json_is_integer(uptime)) {
        return "";
    }
    while (units[i].seconds > 1 && seconds < units[i].seconds) {
        i++;
    }
    return apr_psprintf(p, "%" APR_INT64_T_FMT " %s", seconds / units[i].seconds, units[i].name);
}

/* The node read its clock somewhere between the call and the answer of all: in the middle, give or take half of that time. */
static const char *clock_of(const json_t *ping, const svl_cli_answer_t *answer, apr_pool_t *p)
{
    const json_t *clock = json_object_get(ping, "clock");
    double half = (double)answer->took / 2 / APR_USEC_PER_SEC;
    double here = (double)answer->sent / APR_USEC_PER_SEC + half;

    return json_is_integer(clock) ? apr_psprintf(p, "%+.3f ±%.3f s", (double)json_integer_value(clock) / 1000 - here, half)
                                  : "";
}

static const char *number_of(const json_t *object, const char *member, apr_pool_t *p)
{
    const json_t *number = json_object_get(object, member);

    return json_is_integer(number) ? apr_psprintf(p, "%" APR_INT64_T_FMT, (apr_int64_t)json_integer_value(number)) : "";
}

static void print_nodes(const svl_cli_t *cli, const svl_cli_answer_t *answer)
{
    static const char *const titles[PING_COLUMNS] = {"NODE", "OUTCOME", "UP", "VERSION", "CLOCK", "FUNCTIONS", "DETAIL"};
    json_t *outcomes = json_object_get(answer->json, "outcomes");
    const apr_array_header_t *names = svl_cli_nodes_of(outcomes, cli->pool);
    svl_cli_table_t *table = make_table(titles, PING_COLUMNS, 1, cli->pool);

    for (int i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);
        const json_t *outcome = json_object_get(outcomes, name);
        const json_t *ping = json_object_get(outcome, "result");
        const char **cells = apr_palloc(cli->pool, PING_COLUMNS * sizeof(*cells));

        cells[0] = svl_cli_escape(cli->pool, name, strlen(name));
        cells[1] = svl_cli_shown_of(outcome, "outcome", cli->pool);
        cells[2] = uptime_of(ping, cli->pool);
        cells[3] = svl_cli_shown_of(ping, "version", cli->pool);
        cells[4] = clock_of(ping, answer, cli->pool);
        cells[5] = number_of(ping, "functions", cli->pool);
        cells[6] = svl_cli_shown_of(outcome, "detail", cli->pool);
        svl_cli_table_add(table, cells);
    }
    svl_cli_table_print(table);
}

int svl_cli_nodes(svl_cli_t *cli)
{
    svl_cli_answer_t answer = {0};
    int status = no_arguments(cli, "nodes");

    status = status == SVL_CLI_OK ? ask_all(&answer, cli, "serviceless.ping", NULL) : status;
    if (status == SVL_CLI_OK && !cli->options.json) {
        print_nodes(cli, &answer);
        return svl_cli_judge(cli, &answer);
    }
    return status == SVL_CLI_OK ? svl_cli_answer_print(cli, &answer) : status;
}

/* A function, and the nodes that have it just so: where they differ there are several of one name. */
typedef struct known_t {
    const json_t *function;
    const char *nodes;
    int count;
} known_t;

static int by_name(const void *one, const void *other)
{
    const known_t *const *a = one;
    const known_t *const *b = other;
    int order = strcmp(svl_cli_text_of((*a)->function, "name"), svl_cli_text_of((*b)->function, "name"));

    return order != 0 ? order : svl_cli_natural_order((*a)->nodes, (*b)->nodes);
}

static void note(apr_array_header_t *list, apr_hash_t *by_text, const char *node, const json_t *function, apr_pool_t *p)
{
    apr_size_t length;
    const char *text = svl_json_write(function, p, &length);
    known_t *known = text ? apr_hash_get(by_text, text, APR_HASH_KEY_STRING) : NULL;

    if (text && !known) {
        known = apr_pcalloc(p, sizeof(*known));
        known->function = function;
        apr_hash_set(by_text, text, APR_HASH_KEY_STRING, known);
        APR_ARRAY_PUSH(list, known_t *) = known;
    }
    if (known) {
        node = svl_cli_escape(p, node, strlen(node));
        known->nodes = known->count ? apr_pstrcat(p, known->nodes, ",", node, NULL) : node;
        known->count++;
    }
}

/* @return known_t *, by name; those who did not answer are named on standard error.  @param answered how many did */
static apr_array_header_t *collect(int *answered, json_t *outcomes, const apr_array_header_t *names, const svl_cli_t *cli)
{
    apr_array_header_t *list = apr_array_make(cli->pool, 32, sizeof(known_t *));
    apr_hash_t *by_text = apr_hash_make(cli->pool);

    *answered = names->nelts;
    for (int i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);
        const json_t *outcome = json_object_get(outcomes, name);
        const json_t *functions = json_object_get(outcome, "result");

        if (!svl_cli_is_ok(cli, svl_cli_text_of(outcome, "outcome"))) {
            const char *words = svl_cli_words_of(outcome, cli->pool);

            (*answered)--;
            svl_cli_fail(SVL_CLI_NOT_OK, "node %s did not tell its functions: %s%s%s",
                         svl_cli_escape(cli->pool, name, strlen(name)), svl_cli_shown_of(outcome, "outcome", cli->pool),
                         *words ? ": " : "", words);
        }
        for (size_t j = 0; j < json_array_size(functions); j++) {
            note(list, by_text, name, json_array_get(functions, j), cli->pool);
        }
    }
    qsort(list->elts, (size_t)list->nelts, sizeof(known_t *), by_name);
    return list;
}

static void print_functions(const svl_cli_t *cli, const svl_cli_answer_t *answer)
{
    static const char *const titles[FUNCTION_COLUMNS] = {"FUNCTION", "ON",    "SET",      "MODE",
                                                         "TIMEOUT",  "SCOPE", "ON_CRASH", "SUMMARY"};
    json_t *outcomes = json_object_get(answer->json, "outcomes");
    const apr_array_header_t *names = svl_cli_nodes_of(outcomes, cli->pool);
    int answered;
    const apr_array_header_t *list = collect(&answered, outcomes, names, cli);
    const char *all = answered == names->nelts
                          ? "all nodes"
                          : apr_psprintf(cli->pool, "all that answered (%d of %d)", answered, names->nelts);
    svl_cli_table_t *table = make_table(titles, FUNCTION_COLUMNS, SVL_CLI_NO_COLUMN, cli->pool);

    for (int i = 0; i < list->nelts; i++) {
        const known_t *known = APR_ARRAY_IDX(list, i, const known_t *);
        const json_t *function = known->function;
        const char **cells = apr_palloc(cli->pool, FUNCTION_COLUMNS * sizeof(*cells));

        cells[0] = svl_cli_shown_of(function, "name", cli->pool);
        cells[1] = known->count == answered ? all : known->nodes;
        cells[2] = svl_cli_shown_of(function, "nodes", cli->pool);
        cells[3] = svl_cli_shown_of(function, "mode", cli->pool);
        cells[4] = apr_psprintf(cli->pool, "%g s", json_number_value(json_object_get(function, "timeout")));
        cells[5] = svl_cli_shown_of(function, "scope", cli->pool);
        cells[6] =
            strcmp(svl_cli_text_of(function, "scope"), "child") == 0 ? "-" : svl_cli_shown_of(function, "on_crash", cli->pool);
        cells[7] = svl_cli_shown_of(function, "summary", cli->pool);
        svl_cli_table_add(table, cells);
    }
    svl_cli_table_print(table);
}

int svl_cli_functions(svl_cli_t *cli)
{
    svl_cli_answer_t answer = {0};
    int status = no_arguments(cli, "functions");

    status = status == SVL_CLI_OK ? ask_all(&answer, cli, "serviceless.functions", NULL) : status;
    if (status == SVL_CLI_OK && !cli->options.json) {
        print_functions(cli, &answer);
        return svl_cli_judge(cli, &answer);
    }
    return status == SVL_CLI_OK ? svl_cli_answer_print(cli, &answer) : status;
}

/* What became of the call on one node, as that node tells; where it cannot, why.  @return nonzero when all is well there */
static int add_outcome(svl_cli_table_t *table, const svl_cli_t *cli, const char *node, const json_t *question)
{
    const json_t *told = json_object_get(question, "result");
    int answered = *svl_cli_text_of(told, "outcome") != '\0';
    int refused = !answered && strcmp(svl_cli_text_of(question, "outcome"), "error") == 0;
    const json_t *from = answered ? told : question;
    const char **cells = apr_palloc(cli->pool, OUTCOME_COLUMNS * sizeof(*cells));

    cells[0] = svl_cli_escape(cli->pool, node, strlen(node));
    cells[1] = refused ? "-" : svl_cli_shown_of(from, "outcome", cli->pool);
    cells[2] = answered ? svl_cli_ms_of(from, cli->pool) : "";
    cells[3] = svl_cli_words_of(from, cli->pool);
    svl_cli_table_add(table, cells);
    return answered && svl_cli_is_ok(cli, svl_cli_text_of(told, "outcome"));
}

static int print_outcome(const svl_cli_t *cli, const svl_cli_answer_t *answer)
{
    static const char *const titles[OUTCOME_COLUMNS] = {"NODE", "OUTCOME", "MS", "RESULT"};
    json_t *outcomes = json_object_get(answer->json, "outcomes");
    const apr_array_header_t *names = svl_cli_nodes_of(outcomes, cli->pool);
    svl_cli_table_t *table = make_table(titles, OUTCOME_COLUMNS, 1, cli->pool);
    int status = SVL_CLI_OK;

    for (int i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);

        if (!add_outcome(table, cli, name, json_object_get(outcomes, name))) {
            status = SVL_CLI_NOT_OK;
        }
    }
    if (!cli->options.json) {
        svl_cli_table_print(table);
    }
    return status;
}

int svl_cli_outcome(svl_cli_t *cli)
{
    const char *id = cli->args->nelts == 1 ? APR_ARRAY_IDX(cli->args, 0, const char *) : NULL;
    svl_cli_answer_t answer = {0};
    int status;

    if (!id || !svl_name_is_id(id, strlen(id))) {
        return svl_cli_fail(SVL_CLI_USAGE, "outcome takes one argument, the id of a call: 1 to %d of A-Z a-z 0-9 _ -",
                            SVL_NAME_ID_MAX);
    }
    status = ask_all(&answer, cli, "serviceless.outcome", apr_pstrcat(cli->pool, "id=", id, NULL));
    if (status == SVL_CLI_OK && cli->options.json) {
        svl_cli_print_json(answer.text, answer.length);
    }
    return status == SVL_CLI_OK ? print_outcome(cli, &answer) : status;
}

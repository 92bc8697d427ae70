/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file cli/cli.h
 * @brief The command `serviceless`: its table of subcommands, their options, and what they share.
 */
#ifndef SVL_CLI_CLI_H
#define SVL_CLI_CLI_H

#include <stdio.h>

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <jansson.h>

#include "../core/sign.h"

/** Exit statuses (pinned: scripts rely on them). */
enum {
    SVL_CLI_OK = 0,
    SVL_CLI_NOT_OK = 1, /**< some outcome was not ok */
    SVL_CLI_USAGE = 2,
    SVL_CLI_REFUSED = 3, /**< refused, or unreachable */
};

/** Options; a subcommand says which of them it takes. */
enum {
    SVL_CLI_URL = 1 << 0,
    SVL_CLI_KEY_FILE = 1 << 1,
    SVL_CLI_KEY = 1 << 2,
    SVL_CLI_ID = 1 << 3,
    SVL_CLI_ALL = 1 << 4,
    SVL_CLI_ACCEPTED = 1 << 5,
    SVL_CLI_NODES = 1 << 6,
    SVL_CLI_MODE = 1 << 7,
    SVL_CLI_TIMEOUT = 1 << 8,
    SVL_CLI_TIMESTAMP = 1 << 9,
    SVL_CLI_PROOF = 1 << 10, /**< id, timestamp and signature of what is verified */
    SVL_CLI_JSON = 1 << 11,
    SVL_CLI_HELP = 1 << 12,
    SVL_CLI_NUMBER = 1 << 13,
    SVL_CLI_WAIT = 1 << 14, /**< --timeout of a question to all nodes */
};

/** What was given.  Texts are NULL when neither option nor environment has them; flags are then NULL as well, else "". */
typedef struct svl_cli_options_t {
    const char *url, *key_file, *key, *id, *all, *accepted, *nodes, *mode, *timeout, *timestamp, *signature, *json, *help;
    const char *number;
} svl_cli_options_t;

typedef struct svl_cli_t {
    apr_pool_t *pool;
    svl_cli_options_t options;
    apr_int64_t ttl;          /**< seconds that a call may wait for a node; 0: the node's default */
    apr_array_header_t *args; /**< const char *: the other arguments, the subcommand's name not among them */
} svl_cli_t;

/** A row of the table in cli/main.c. */
typedef struct svl_cli_command_t {
    const char *name;
    const char *usage; /**< arguments other than options */
    const char *summary;
    int options; /**< bits */
    int (*run)(svl_cli_t *cli);
    const char *help; /**< more lines for --help, or NULL */
} svl_cli_command_t;

/* cli/options.c */

/** What follows the subcommand: `--name value`, `--name=value`; options and arguments in any order; `--` ends options; what
 * looks like a negative number is an argument.  @return SVL_CLI_OK or SVL_CLI_USAGE (said) */
int svl_cli_parse(svl_cli_t *cli, const svl_cli_command_t *command, int argc, const char *const *argv);

/** Prints the options that @a command takes. */
void svl_cli_print_options(const svl_cli_command_t *command, FILE *out);

/** Prints `serviceless: ` and the words to standard error.  Text from elsewhere must have been escaped.  @return @a status */
int svl_cli_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** @return @a number as seconds since 1970, or 0 when it does not fit the grammar of a webhook-timestamp */
apr_int64_t svl_cli_timestamp(const char *number);

/* cli/text.c */

/** @return @a text fit for a terminal: control characters, marks that turn text around, and what is no UTF-8 as \xHH */
const char *svl_cli_escape(apr_pool_t *p, const char *text, apr_size_t length);

/** Prints the text of a JSON value, which has been parsed, on a line of its own, as it is but for what a terminal obeys. */
void svl_cli_print_json(const char *text, apr_size_t length);

/** @return JSON text for people: escaped as above, and numbers no longer than it takes to tell them from any other double */
const char *svl_cli_readable(apr_pool_t *p, const char *text, apr_size_t length);

/** Reads standard input to its end.  @return SVL_CLI_OK, or SVL_CLI_REFUSED (said) */
int svl_cli_read_body(const char **body, apr_size_t *length, apr_pool_t *p);

/* cli/table.c */

#define SVL_CLI_NO_COLUMN (-1)

/** Rows that are printed aligned.  Widths only grow, so that a long table can be printed in pieces. */
typedef struct svl_cli_table_t {
    int columns;
    const char *const *titles;
    int painted; /**< the column that holds outcomes, for colours on a terminal; SVL_CLI_NO_COLUMN: none */
    int fitted;  /**< nonzero: on a terminal lines are cut to its width */
    int *widths;
    apr_array_header_t *rows; /**< const char *const *: escaped cells, as many as columns */
    int printed;
} svl_cli_table_t;
svl_cli_table_t *svl_cli_table_make(const char *const *titles, int columns, apr_pool_t *p);

/** @param cells as many as columns, const char *; NULL is an empty cell; kept until the table is printed */
void svl_cli_table_add(svl_cli_table_t *table, const char *const *cells);

/** Prints the rows (before the first: the titles) and forgets them. */
void svl_cli_table_print(svl_cli_table_t *table);

/** @return @a text, escaped as above, of which at most @a limit columns of a terminal are left */
const char *svl_cli_shorten(apr_pool_t *p, const char *text, int limit);

/** @return below, above or 0 as of strcmp; numbers within names are compared as numbers: n2 comes before n10 */
int svl_cli_natural_order(const char *one, const char *other);

/* cli/terminal.c */

/** @return the width of the terminal that standard output is; 0: it is none, or does not know */
int svl_cli_terminal_columns(void);

/** @return nonzero when standard output is a terminal that has colours, and they are wanted */
int svl_cli_terminal_has_colours(void);

/** A line on standard error that tells, each second, how long was waited; nothing where that is no terminal.
 * @param total how long it may take; 0: not known  @return NULL: there is none, which svl_cli_progress_end takes too */
typedef struct svl_cli_progress_t svl_cli_progress_t;
svl_cli_progress_t *svl_cli_progress_begin(apr_interval_time_t total, apr_pool_t *p);

/** Erases the line. */
void svl_cli_progress_end(svl_cli_progress_t *progress);

/* cli/keys.c */

/** The key file and the key that --key names, else the file's first. */
typedef struct svl_cli_keys_t {
    const svl_ring_t *ring;
    const svl_key_t *key;
    svl_signer_t *signer;
} svl_cli_keys_t;

/** @return SVL_CLI_OK, SVL_CLI_USAGE or SVL_CLI_REFUSED (said) */
int svl_cli_keys_open(svl_cli_keys_t *keys, const svl_cli_t *cli);

int svl_cli_keygen(svl_cli_t *cli);
int svl_cli_sign(svl_cli_t *cli);
int svl_cli_verify(svl_cli_t *cli);

/* cli/arguments.c */

/** Makes a call document of the arguments and options.  @return SVL_CLI_OK or SVL_CLI_USAGE (said) */
int svl_cli_document(const char **body, apr_size_t *length, const svl_cli_t *cli);

/** @return SVL_CLI_OK and the endpoint's URL, or SVL_CLI_USAGE (said) */
int svl_cli_endpoint(const char **endpoint, const svl_cli_t *cli);

/** @return SVL_CLI_OK and microseconds (0: not given), or SVL_CLI_USAGE (said) */
int svl_cli_timeout(apr_interval_time_t *timeout, const svl_cli_t *cli);

/* cli/call.c */

/** What a node answered to a call, checked: signed, of this call, and with an outcome for each node that it names. */
typedef struct svl_cli_answer_t {
    json_t *json;
    const char *text; /**< of it */
    apr_size_t length;
    const char *node; /**< that answered */
    apr_time_t sent;  /**< when the call left, by this machine's clock */
    apr_interval_time_t took;
} svl_cli_answer_t;

/** Signs a call document, sends it, and waits for the answer, which must have all outcomes if --all was given.
 * @return SVL_CLI_OK, SVL_CLI_USAGE or SVL_CLI_REFUSED (said) */
int svl_cli_ask(svl_cli_answer_t *answer, const char *body, apr_size_t length, const svl_cli_t *cli);

int svl_cli_call(svl_cli_t *cli);

/* cli/answer.c */

struct svl_transport_exchange_t;
/** Judges what came back of a call: reachable, accepted, signed.  @return SVL_CLI_OK or SVL_CLI_REFUSED (said) */
int svl_cli_answer_read(svl_cli_answer_t *answer, const svl_cli_t *cli, const svl_cli_keys_t *keys,
                        const struct svl_transport_exchange_t *exchange);

/* cli/outcomes.c */

/** @return SVL_CLI_OK, or SVL_CLI_NOT_OK: some outcome of the answer is not ok */
int svl_cli_judge(const svl_cli_t *cli, const svl_cli_answer_t *answer);

/** Prints an answer as a table or as JSON, and judges it. */
int svl_cli_answer_print(const svl_cli_t *cli, const svl_cli_answer_t *answer);

/** @return a text of an object, "" when there is none; the second one escaped */
const char *svl_cli_text_of(const json_t *object, const char *member);
const char *svl_cli_shown_of(const json_t *object, const char *member, apr_pool_t *p);

/** @return the result of an outcome, its words, or the result with the words in parentheses; and its milliseconds; "": none */
const char *svl_cli_words_of(const json_t *object, apr_pool_t *p);
const char *svl_cli_ms_of(const json_t *object, apr_pool_t *p);

/** @return milliseconds for people: three decimals below one, else one */
const char *svl_cli_ms(double ms, apr_pool_t *p);

/** @return nonzero when the outcome is one to be content with */
int svl_cli_is_ok(const svl_cli_t *cli, const char *outcome);

/** @return the nodes that an answer has outcomes of, in natural order: const char *, borrowed */
apr_array_header_t *svl_cli_nodes_of(json_t *outcomes, apr_pool_t *p);

/* cli/fleet.c: questions to all nodes */

int svl_cli_nodes(svl_cli_t *cli);
int svl_cli_functions(svl_cli_t *cli);
int svl_cli_outcome(svl_cli_t *cli);

/* cli/log.c */

int svl_cli_log(svl_cli_t *cli);

#endif

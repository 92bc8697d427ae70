/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <locale.h>
#include <string.h>

#include <apr_general.h>

#define CALLING (SVL_CLI_URL | SVL_CLI_KEY_FILE | SVL_CLI_KEY)
#define ASKING (CALLING | SVL_CLI_NODES | SVL_CLI_WAIT | SVL_CLI_JSON)

#define WAITS                                                                                                                  \
    ": how long the node waits for the others; default: what it has for the function,\n"                                       \
    "ServicelessTimeout (10 s) if nothing else, and 60 at most."

static const svl_cli_command_t commands[] = {
    {"keygen", "[permission ...]", "a new line for a key file", SVL_CLI_ID, svl_cli_keygen,
     "Permissions are relay, call and call=GLOB; none given means all.\n"
     "The line holds a secret:  umask 077; serviceless keygen > /etc/apache2/serviceless.keys"},
    {"call", "FUNCTION [ARG ...] [NAME=TEXT ...] [NAME:=JSON ...]", "call a function",
     CALLING | SVL_CLI_ID | SVL_CLI_ALL | SVL_CLI_ACCEPTED | SVL_CLI_NODES | SVL_CLI_MODE | SVL_CLI_TIMEOUT | SVL_CLI_JSON,
     svl_cli_call,
     "An ARG that is JSON, like 5 or true, is passed as JSON, any other as a string; '\"5\"' passes the string 5.\n"
     "--timeout without --all: how long this command waits for the answer; default: 60.\n"
     "--timeout with --all" WAITS},
    {"nodes", "", "every node: whether it answers, for how long it is up, version, clock, functions", ASKING, svl_cli_nodes,
     "CLOCK is the difference to the clock of this machine.\n--timeout" WAITS},
    {"functions", "", "the functions of all nodes", ASKING, svl_cli_functions,
     "ON names the nodes that have a function just so; where they differ it has several lines.\n--timeout" WAITS},
    {"outcome", "ID", "what became of a call on every node", ASKING, svl_cli_outcome,
     "A node that does not hold the call shows -.\n--timeout" WAITS},
    {"log", "[DIR]", "the log of a node on this machine, newest first", SVL_CLI_JSON | SVL_CLI_NUMBER, svl_cli_log,
     "DIR is a node's directory, or the state directory with one directory a node (default: " SVL_DEFAULT_STATEDIR ").\n"
     "With --json: one object a line."},
    {"sign", "< BODY", "headers for a body on standard input", SVL_CLI_KEY_FILE | SVL_CLI_KEY | SVL_CLI_ID | SVL_CLI_TIMESTAMP,
     svl_cli_sign,
     "serviceless sign < body.json | curl -sS -H @- -H 'Content-Type: application/json' --data-binary @body.json URL"},
    {"verify", "< BODY", "check such headers", SVL_CLI_KEY_FILE | SVL_CLI_PROOF, svl_cli_verify,
     "Says which key signed, and when.  An answer's headers do as well: its id is REQUEST:NODE."},
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_overview(FILE *out)
{
    fputs("usage: serviceless COMMAND [OPTION ...] [ARGUMENT ...]\n\n", out);
    for (int i = 0; i < COMMANDS; i++) {
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    fputs("\nserviceless COMMAND --help tells more; serviceless --version tells the version.\n"
          "Exit status: 0 ok or accepted, or with --accepted pending; 1 any other outcome; 2 usage; 3 refused,\n"
          "unreachable, or not known.\n",
          out);
}

static void print_help(const svl_cli_command_t *command)
{
    printf("usage: serviceless %s [OPTION ...]%s%s\n\n%s\n\n", command->name, *command->usage ? " " : "", command->usage,
           command->summary);
    svl_cli_print_options(command, stdout);
    if (command->help) {
        printf("\n%s\n", command->help);
    }
}

static int unknown_command(const char *name, apr_pool_t *p)
{
    fprintf(stderr, "serviceless: there is no command \"%s\"; the commands are", svl_cli_escape(p, name, strlen(name)));
    for (int i = 0; i < COMMANDS; i++) {
        fprintf(stderr, "%s %s", i == 0 ? "" : i == COMMANDS - 1 ? " and" : ",", commands[i].name);
    }
    fputc('\n', stderr);
    return SVL_CLI_USAGE;
}

static int run(int argc, const char *const *argv, apr_pool_t *p)
{
    svl_cli_t cli = {.pool = p};
    int status;

    if (argc < 2) {
        print_overview(stderr);
        return SVL_CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_overview(stdout);
        return SVL_CLI_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("serviceless " PACKAGE_VERSION);
        return SVL_CLI_OK;
    }
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            status = svl_cli_parse(&cli, &commands[i], argc - 2, argv + 2);
            if (status == SVL_CLI_OK && cli.options.help) {
                print_help(&commands[i]);
                return SVL_CLI_OK;
            }
            return status == SVL_CLI_OK ? commands[i].run(&cli) : status;
        }
    }
    return unknown_command(argv[1], p);
}

int main(int argc, const char *const *argv, const char *const *env)
{
    apr_pool_t *pool;
    int status;

    if (apr_app_initialize(&argc, &argv, &env) != APR_SUCCESS || apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        return svl_cli_fail(SVL_CLI_REFUSED, "the Apache Portable Runtime does not start: out of memory?");
    }
    setlocale(LC_CTYPE, "C.UTF-8"); /* for the widths of characters: everything here is UTF-8 */
    status = run(argc, argv, pool);
    /* An answer that nobody could read is no success. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        status = svl_cli_fail(SVL_CLI_REFUSED, "cannot write to standard output");
    }
    apr_pool_destroy(pool);
    apr_terminate();
    return status;
}

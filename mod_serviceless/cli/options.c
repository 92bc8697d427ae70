/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

/* One row names an option, its place, its environment variable and its words. */
static const struct {
    const char *name;
    const char *value; /* what people call it; NULL: a flag */
    int bit;
    size_t place;
    const char *environment; /* or NULL */
    const char *help;
} options[] = {
    {"url", "URL", SVL_CLI_URL, offsetof(svl_cli_options_t, url), "SERVICELESS_URL", "a node; without a path, /serviceless"},
    {"key-file", "FILE", SVL_CLI_KEY_FILE, offsetof(svl_cli_options_t, key_file), "SERVICELESS_KEY_FILE", "as on the nodes"},
    {"key", "ID", SVL_CLI_KEY, offsetof(svl_cli_options_t, key), NULL, "the key that signs; default: the file's first"},
    {"id", "ID", SVL_CLI_ID, offsetof(svl_cli_options_t, id), NULL, "an id of your own; default: a fresh one"},
    {"all", NULL, SVL_CLI_ALL, offsetof(svl_cli_options_t, all), NULL, "wait for all nodes, and tell the outcome of each"},
    {"accepted", NULL, SVL_CLI_ACCEPTED, offsetof(svl_cli_options_t, accepted), NULL, "do not wait for any outcome"},
    {"nodes", "SET", SVL_CLI_NODES, offsetof(svl_cli_options_t, nodes), NULL, "the node set; default: the function's"},
    {"mode", "MODE", SVL_CLI_MODE, offsetof(svl_cli_options_t, mode), NULL, "bounce, broadcast, tree or tree:K"},
    {"timeout", "SECONDS", SVL_CLI_TIMEOUT, offsetof(svl_cli_options_t, timeout), NULL,
     "how long to wait for the answer; default: 60; with --all see below"},
    {"timeout", "SECONDS", SVL_CLI_WAIT, offsetof(svl_cli_options_t, timeout), NULL,
     "how long the node waits for the others; see below"},
    {"timestamp", "SECONDS", SVL_CLI_TIMESTAMP, offsetof(svl_cli_options_t, timestamp), NULL,
     "the webhook-timestamp: seconds since 1970; default: now"},
    {"id", "ID", SVL_CLI_PROOF, offsetof(svl_cli_options_t, id), NULL, "the webhook-id (required)"},
    {"timestamp", "SECONDS", SVL_CLI_PROOF, offsetof(svl_cli_options_t, timestamp), NULL, "the webhook-timestamp (required)"},
    {"signature", "TEXT", SVL_CLI_PROOF, offsetof(svl_cli_options_t, signature), NULL, "the webhook-signature (required)"},
    {"number", "NUMBER", SVL_CLI_NUMBER, offsetof(svl_cli_options_t, number), NULL,
     "only the NUMBER newest entries; -n for short"},
    {"json", NULL, SVL_CLI_JSON, offsetof(svl_cli_options_t, json), NULL, "print JSON"},
    {"help", NULL, SVL_CLI_HELP, offsetof(svl_cli_options_t, help), NULL, "print this"},
};
enum { OPTIONS = sizeof(options) / sizeof(options[0]) };

static const char **place_of(svl_cli_options_t *all, int i)
{
    return (const char **)((char *)all + options[i].place);
}

int svl_cli_fail(int status, const char *format, ...)
{
    va_list arguments;

    fputs("serviceless: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return status;
}

apr_int64_t svl_cli_timestamp(const char *number)
{
    enum { DIGITS = 10 }; /* until the year 2286, and never fewer since 2001 */

    if (strlen(number) != DIGITS || number[0] == '0' || strspn(number, "0123456789") != DIGITS) {
        return 0;
    }
    return apr_atoi64(number);
}

void svl_cli_print_options(const svl_cli_command_t *command, FILE *out)
{
    for (int i = 0; i < OPTIONS; i++) {
        if (options[i].bit & (command->options | SVL_CLI_HELP)) {
            int width = fprintf(out, "  --%s%s%s", options[i].name, options[i].value ? " " : "",
                                options[i].value ? options[i].value : "");

            fprintf(out, "%*s%s%s%s%s\n", width < 24 ? 24 - width : 1, "", options[i].help,
                    options[i].environment ? " (else the environment's " : "",
                    options[i].environment ? options[i].environment : "", options[i].environment ? ")" : "");
        }
    }
}

/* @return nonzero for what is an option by its looks: -1 and -.5 are arguments, and so is a lone dash */
static int is_option(const char *argument)
{
    return argument[0] == '-' && argument[1] != '\0' && argument[1] != '.' && !apr_isdigit(argument[1]);
}

/* @return an argument, the two options of one letter written out; -n may have its number attached */
static const char *write_out(const char *argument, apr_pool_t *p)
{
    if (strncmp(argument, "-n", 2) == 0 && apr_isdigit(argument[2])) {
        return apr_pstrcat(p, "--number=", argument + 2, NULL);
    }
    return strcmp(argument, "-h") == 0 ? "--help" : strcmp(argument, "-n") == 0 ? "--number" : argument;
}

/* @return the row of an option that @a command takes, or -1.  @param length of its name */
static int find_option(const svl_cli_command_t *command, const char *name, size_t *length)
{
    *length = strcspn(name, "=");
    for (int i = 0; i < OPTIONS; i++) {
        if ((options[i].bit & (command->options | SVL_CLI_HELP)) && *length == strlen(options[i].name) + 2
            && strncmp(name, "--", 2) == 0 && strncmp(name + 2, options[i].name, *length - 2) == 0) {
            return i;
        }
    }
    return -1;
}

/* Takes the option at argv[0].  @return how many of argv it took, 0 when it is wrong (said) */
static int take_option(svl_cli_t *cli, const svl_cli_command_t *command, int argc, const char *const *argv)
{
    const char *shown = svl_cli_escape(cli->pool, argv[0], strlen(argv[0]));
    const char *name = write_out(argv[0], cli->pool);
    size_t length;
    int i = find_option(command, name, &length);
    int has_value = name[length] == '=';

    if (i < 0) {
        svl_cli_fail(SVL_CLI_USAGE, "%s has no option %s; see serviceless %s --help (-- ends the options)", command->name,
                     shown, command->name);
        return 0;
    }
    if (!options[i].value && has_value) {
        svl_cli_fail(SVL_CLI_USAGE, "the option --%s takes no value: %s", options[i].name, shown);
        return 0;
    }
    if (!options[i].value || has_value) {
        *place_of(&cli->options, i) = has_value ? name + length + 1 : "";
        return 1;
    }
    if (argc < 2) {
        svl_cli_fail(SVL_CLI_USAGE, "the option --%s needs a value: --%s %s", options[i].name, options[i].name,
                     options[i].value);
        return 0;
    }
    *place_of(&cli->options, i) = argv[1];
    return 2;
}

int svl_cli_parse(svl_cli_t *cli, const svl_cli_command_t *command, int argc, const char *const *argv)
{
    int ended = 0;
    int taken;

    cli->args = apr_array_make(cli->pool, argc, sizeof(const char *));
    for (int i = 0; i < OPTIONS; i++) {
        const char *value = options[i].environment ? getenv(options[i].environment) : NULL;

        *place_of(&cli->options, i) = value && *value ? value : NULL;
    }
    for (int i = 0; i < argc; i += taken) {
        taken = 1;
        if (!ended && strcmp(argv[i], "--") == 0) {
            ended = 1;
        }
        else if (ended || !is_option(argv[i])) {
            APR_ARRAY_PUSH(cli->args, const char *) = argv[i];
        }
        else {
            taken = take_option(cli, command, argc - i, argv + i);
            if (taken == 0) {
                return SVL_CLI_USAGE;
            }
        }
    }
    return SVL_CLI_OK;
}

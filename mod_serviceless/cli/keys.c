/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <string.h>

#include <apr_strings.h>
#include <apr_time.h>

#include "../httpd/keyfile.h"

#define DAY_FORMAT "key-%Y%m%d-"
#define TOLERANCE 300 /* seconds: the default of ServicelessTolerance */

static int read_ring(svl_cli_keys_t *keys, const svl_cli_t *cli)
{
    const char *path = cli->options.key_file;
    const char *warning = NULL;
    const char *error = NULL;

    if (!path) {
        return svl_cli_fail(SVL_CLI_USAGE, "no key file is given: use --key-file FILE or set SERVICELESS_KEY_FILE");
    }
    if (svl_keyfile_read(&keys->ring, path, &warning, &error, cli->pool) != APR_SUCCESS) {
        return svl_cli_fail(SVL_CLI_REFUSED, "%s", svl_cli_escape(cli->pool, error, strlen(error)));
    }
    if (warning) {
        svl_cli_fail(SVL_CLI_OK, "warning: %s", svl_cli_escape(cli->pool, warning, strlen(warning)));
    }
    return SVL_CLI_OK;
}

int svl_cli_keys_open(svl_cli_keys_t *keys, const svl_cli_t *cli)
{
    const char *id = cli->options.key;
    int status = read_ring(keys, cli);

    if (status != SVL_CLI_OK) {
        return status;
    }
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference,clang-analyzer-core.CallAndMessage): read_ring read it */
    keys->key = id ? svl_ring_find(keys->ring, id) : APR_ARRAY_IDX(keys->ring->keys, 0, const svl_key_t *);
    if (!keys->key) {
        return svl_cli_fail(SVL_CLI_USAGE, "the key file %s has no key \"%s\"",
                            svl_cli_escape(cli->pool, cli->options.key_file, strlen(cli->options.key_file)),
                            /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): without an id there is a key */
                            svl_cli_escape(cli->pool, id, strlen(id)));
    }
    if (svl_sign_create(&keys->signer, keys->ring, cli->pool) != APR_SUCCESS) {
        return svl_cli_fail(SVL_CLI_REFUSED, "libcrypto does not make signatures: out of memory?");
    }
    return SVL_CLI_OK;
}

/* A name that tells its age, because keys are to be changed, and its like from the others of that day. */
static const char *fresh_key_id(apr_pool_t *p)
{
    char epoch[SVL_NAME_EPOCH + 1];
    char day[sizeof("key-20380119-")];
    apr_time_exp_t now;
    apr_size_t length;

    if (svl_name_make_epoch(epoch) != APR_SUCCESS || apr_time_exp_gmt(&now, apr_time_now()) != APR_SUCCESS
        || apr_strftime(day, &length, sizeof(day), DAY_FORMAT, &now) != APR_SUCCESS) {
        return NULL;
    }
    epoch[4] = '\0';
    return apr_pstrcat(p, day, epoch, NULL);
}

int svl_cli_keygen(svl_cli_t *cli)
{
    const char *id = cli->options.id ? cli->options.id : fresh_key_id(cli->pool);
    const char *line;
    const char *error = NULL;
    apr_status_t status = id ? svl_ring_generate(&line, id, cli->args, &error, cli->pool) : APR_EGENERAL;

    if (status == APR_EINVAL) {
        return svl_cli_fail(SVL_CLI_USAGE, "keygen: %s", error ? error : "the id or a permission is wrong");
    }
    if (status != APR_SUCCESS) {
        return svl_cli_fail(SVL_CLI_REFUSED, "cannot make a key: %s", error ? error : "there is no randomness");
    }
    puts(line);
    return SVL_CLI_OK;
}

static int no_arguments(const svl_cli_t *cli, const char *command)
{
    if (cli->args->nelts > 0) {
        const char *first = APR_ARRAY_IDX(cli->args, 0, const char *);

        return svl_cli_fail(SVL_CLI_USAGE, "%s takes no argument, and was given \"%s\"; the body comes on standard input",
                            command, svl_cli_escape(cli->pool, first, strlen(first)));
    }
    return SVL_CLI_OK;
}

/* @return SVL_CLI_OK with the id of the option or a fresh one, or SVL_CLI_USAGE (said) */
static int choose_id(const char **id, const svl_cli_t *cli)
{
    char *fresh;

    *id = cli->options.id;
    if (*id && !svl_name_is_id(*id, strlen(*id))) {
        return svl_cli_fail(SVL_CLI_USAGE, "the id \"%s\" is not 1 to %d of A-Z a-z 0-9 _ -",
                            svl_cli_escape(cli->pool, *id, strlen(*id)), SVL_NAME_ID_MAX);
    }
    if (!*id) {
        fresh = apr_palloc(cli->pool, SVL_NAME_ID_MAX + 1);
        if (svl_name_make_id(fresh, apr_time_now()) != APR_SUCCESS) {
            return svl_cli_fail(SVL_CLI_REFUSED, "cannot make an id: there is no randomness");
        }
        *id = fresh;
    }
    return SVL_CLI_OK;
}

static int wrong_timestamp(const svl_cli_t *cli)
{
    return svl_cli_fail(SVL_CLI_USAGE, "the timestamp \"%s\" is not 10 digits: seconds since 1970, as of `date +%%s`",
                        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): only called when there is one */
                        svl_cli_escape(cli->pool, cli->options.timestamp, strlen(cli->options.timestamp)));
}

int svl_cli_sign(svl_cli_t *cli)
{
    svl_cli_keys_t keys;
    apr_int64_t seconds = cli->options.timestamp ? svl_cli_timestamp(cli->options.timestamp) : apr_time_sec(apr_time_now());
    char signature[SVL_SIGN_HEADER_MAX];
    const char *id;
    const char *body;
    apr_size_t length;
    int status = no_arguments(cli, "sign");

    if (status == SVL_CLI_OK && seconds == 0) {
        status = wrong_timestamp(cli);
    }
    status = status == SVL_CLI_OK ? choose_id(&id, cli) : status;
    status = status == SVL_CLI_OK ? svl_cli_keys_open(&keys, cli) : status;
    status = status == SVL_CLI_OK ? svl_cli_read_body(&body, &length, cli->pool) : status;
    if (status != SVL_CLI_OK) {
        return status;
    }
    if (svl_sign_make(keys.signer, keys.key, id, seconds, body, length, signature) != APR_SUCCESS) {
        return svl_cli_fail(SVL_CLI_REFUSED, "libcrypto cannot sign");
    }
    printf("webhook-id: %s\nwebhook-timestamp: %" APR_INT64_T_FMT "\nwebhook-signature: %s\n", id, seconds, signature);
    return SVL_CLI_OK;
}

/* @return "12 s ago", "3 s ahead of this clock" */
static const char *age_of(apr_int64_t seconds, apr_pool_t *p)
{
    apr_int64_t age = apr_time_sec(apr_time_now()) - seconds;

    return apr_psprintf(p, "%" APR_INT64_T_FMT " s %s%s", age < 0 ? -age : age, age < 0 ? "ahead of this clock" : "ago",
                        age > TOLERANCE || age < -TOLERANCE ? "; nodes refuse that unless ServicelessTolerance allows it" : "");
}

/* Checks a signature, not its time: what is checked by hand may have been recorded long ago. */
int svl_cli_verify(svl_cli_t *cli)
{
    const svl_cli_options_t *given = &cli->options;
    svl_sign_headers_t headers = {.id = given->id, .timestamp = given->timestamp, .signature = given->signature};
    apr_int64_t seconds = given->timestamp ? svl_cli_timestamp(given->timestamp) : 0;
    svl_cli_keys_t keys;
    const svl_key_t *key;
    svl_fault_t fault = {0};
    const char *body;
    apr_size_t length;
    int status = no_arguments(cli, "verify");

    if (status == SVL_CLI_OK && (!given->id || !given->timestamp || !given->signature)) {
        status = svl_cli_fail(SVL_CLI_USAGE, "verify needs --id, --timestamp and --signature, as the three headers have them");
    }
    if (status == SVL_CLI_OK && seconds == 0) {
        status = wrong_timestamp(cli);
    }
    status = status == SVL_CLI_OK ? svl_cli_keys_open(&keys, cli) : status;
    status = status == SVL_CLI_OK ? svl_cli_read_body(&body, &length, cli->pool) : status;
    if (status != SVL_CLI_OK) {
        return status;
    }
    /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): no id ended it above */
    if (svl_sign_verify(keys.signer, &headers, strchr(given->id, ':') ? given->id : NULL, body, length, seconds, 0, &key,
                        &fault, cli->pool)
        != APR_SUCCESS) {
        return svl_cli_fail(SVL_CLI_REFUSED, "not verified: %s", fault.detail ? fault.detail : svl_fault_name(fault.reason));
    }
    printf("signed by key %s (%s), %s\n", key->id, key->fingerprint, age_of(seconds, cli->pool));
    return SVL_CLI_OK;
}

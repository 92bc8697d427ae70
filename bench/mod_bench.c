/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file mod_bench.c
 * @brief What the bench loads into httpd: the function bench.note, which tells the board (board.h) of its run and nothing else, and the
 * handler `bench-nothing`, which reads the body and answers as much as example.echo does to a call of 200 bytes, and nothing else.
 *
 *   BenchBoard path place         this server's place on the board
 */
#include <errno.h>
#include <string.h>

#include <apr_optional.h>
#include <apr_strings.h>
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>

#include "mod_serviceless.h"

#include "board.h"

module AP_MODULE_DECLARE_DATA bench_module;

#define TEN "xxxxxxxxxx"
static const char answer[] = "{\"id\":\"b1700000000000000-10000-1000\",\"node\":\"n1\",\"outcome\":\"ok\",\"result\":[\"" TEN TEN TEN TEN TEN TEN
                             TEN TEN TEN TEN "\"]}\n";

static apr_status_t run(const serviceless_call_t *call, json_t **result, void *baton)
{
    bench_place_t **place = ap_get_module_config(call->server->module_config, &bench_module);

    (void)result;
    (void)baton;
    if (*place) {
        bench_note(*place);
    }
    return APR_SUCCESS;
}

static int nothing(request_rec *r)
{
    char bytes[8192];
    long length;
    int rv;

    if (!r->handler || strcmp(r->handler, "bench-nothing") != 0) {
        return DECLINED;
    }
    rv = ap_setup_client_block(r, REQUEST_CHUNKED_ERROR);
    if (rv != OK) {
        return rv;
    }
    if (ap_should_client_block(r)) {
        while ((length = ap_get_client_block(r, bytes, sizeof(bytes))) > 0) {
        }
        if (length < 0) {
            return HTTP_BAD_REQUEST;
        }
    }
    ap_set_content_type(r, "application/json");
    ap_set_content_length(r, sizeof(answer) - 1);
    ap_rwrite(answer, sizeof(answer) - 1, r);
    return OK;
}

static int register_function(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    APR_OPTIONAL_FN_TYPE(serviceless_register_function) *add = APR_RETRIEVE_OPTIONAL_FN(serviceless_register_function);

    (void)pconf;
    (void)plog;
    (void)ptemp;
    (void)s;
    return !add || add(NULL, "bench.note", run, NULL, NULL) == APR_SUCCESS ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

static void *create(apr_pool_t *p, server_rec *s)
{
    (void)s;
    return apr_pcalloc(p, sizeof(bench_place_t *));
}

static const char *set_board(cmd_parms *cmd, void *mconfig, const char *path, const char *place)
{
    bench_place_t **mine = ap_get_module_config(cmd->server->module_config, &bench_module);
    apr_int64_t number = apr_atoi64(place);
    bench_place_t *board = bench_board(path); /* for as long as the process lives */

    (void)mconfig;
    if (!board) {
        return apr_psprintf(cmd->pool, "cannot map the board %s: %s", path, strerror(errno));
    }
    if (number < 0 || number >= BENCH_PLACES) {
        return apr_psprintf(cmd->pool, "%s is no place: 0 to %d", place, BENCH_PLACES - 1);
    }
    *mine = &board[number];
    return NULL;
}

static const command_rec directives[] = {
    AP_INIT_TAKE2("BenchBoard", set_board, NULL, RSRC_CONF, "file of the board, and this server's place on it"),
    {NULL},
};

static void register_hooks(apr_pool_t *p)
{
    (void)p;
    ap_hook_post_config(register_function, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(nothing, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(bench) = {STANDARD20_MODULE_STUFF, NULL, NULL, create, NULL, directives, register_hooks, AP_MODULE_FLAG_NONE};

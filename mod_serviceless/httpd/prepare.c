/* SPDX-License-Identifier: Apache-2.0 */
#include "prepare.h"

#include <string.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <unixd.h>

#include "builtin.h"
#include "registry.h"
#include "links.h"
#include "run.h"
#include "shared.h"

#define READERS_MAX 65536 /* 4 MiB of lock file; more threads than that do not read at the same time */

APLOG_USE_MODULE(serviceless);

static void log_write(void *baton, const char *file, int line, svl_log_level_e level, apr_status_t status, const char *text)
{
    char words[160], whole[1400];
    if (status >= SVL_START && status < SVL_START + SVL_RANGE) { /* which APR has no words for */
        apr_snprintf(whole, sizeof(whole), "%s: %s", text, svl_fault_strerror(status, words, sizeof(words)));
        text = whole;
        status = 0;
    }
    ap_log_error(file, line, APLOG_MODULE_INDEX, (int)level, status, (server_rec *)baton, "%s", text);
}

static int log_enabled(void *baton, svl_log_level_e level)
{
    return APLOG_IS_LEVEL((server_rec *)baton, (int)level);
}

void svl_prepare_store_options(svl_store_options_t *options, const svl_node_t *node)
{
    int children = 1;
    int threads = 1;
    int threaded = 0;
    apr_uint64_t readers;
    ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &children);
    ap_mpm_query(AP_MPMQ_HARD_LIMIT_THREADS, &threads);
    ap_mpm_query(AP_MPMQ_IS_THREADED, &threaded);
    threads = threads > 0 ? threads : 1;
    readers = 2 * (apr_uint64_t)children * (apr_uint64_t)(threads + node->simultaneous + SVL_RUN_THREADS + SVL_LINKS_MAX + 2);
    memset(options, 0, sizeof(*options));
    options->directory = node->directory;
    options->node = node->name;
    options->size = node->store_size;
    options->durable = node->durable;
    options->processes = (unsigned int)children;
    options->readers = readers < READERS_MAX ? (unsigned int)readers : READERS_MAX;
    options->guard_signals = threaded == AP_MPMQ_NOT_SUPPORTED;
    options->set_aside_damaged = 1;
    options->log = &node->log;
}

static int prepare_store(svl_node_t *node, apr_pool_t *ptemp)
{
    const int root = geteuid() == 0;
    svl_store_options_t options;
    svl_store_prepared_t prepared = {0, 0};
    const char *error = NULL;
    apr_status_t rv;
    svl_prepare_store_options(&options, node);
    options.prepared = &prepared;
    rv = svl_store_prepare(&options, root ? (apr_int64_t)ap_unixd_config.user_id : -1,
                           root ? (apr_int64_t)ap_unixd_config.group_id : -1, &error, ptemp);
    if (rv != APR_SUCCESS) {
        char text[160];
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, node->server, SVLNO(0120) "node %s: %s", node->name,
                     error ? error : svl_fault_strerror(rv, text, sizeof(text)));
    }
    node->log_created = prepared.created;
    node->log_last = prepared.last;
    /* A damaged log that is in use must not end the server at a graceful restart: the node answers 503. */
    return rv == APR_SUCCESS || rv == SVL_EDAMAGED ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

int svl_prepare(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *main_server)
{
    const apr_array_header_t *nodes = svl_config_nodes();
    int status = OK;
    /* The first of the two passes at start is thrown away with its pool. */
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }
    if (svl_shared_tell_once(main_server->process->pool) != APR_SUCCESS) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (nodes->nelts == 0) {
        return OK;
    }
    for (int i = 0; i < nodes->nelts; i++) {
        svl_node_t *node = APR_ARRAY_IDX(nodes, i, svl_node_t *);
        node->log = (svl_log_t){log_write, log_enabled, node->server};
    }
    svl_builtin_register();
    if (svl_registry_freeze(pconf) != APR_SUCCESS) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    for (int i = 0; status == OK && i < nodes->nelts; i++) {
        status = prepare_store(APR_ARRAY_IDX(nodes, i, svl_node_t *), ptemp);
    }
    /* Last: what it remembers of positions depends on whose log it is. */
    if (status == OK && svl_shared_attach(main_server->process->pool, pconf) != APR_SUCCESS) {
        status = HTTP_INTERNAL_SERVER_ERROR;
    }
    return status;
}

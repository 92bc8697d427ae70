/* SPDX-License-Identifier: Apache-2.0 */
#include "loss.h"

#include <http_log.h>

#include "../core/json.h"
#include "children.h"
#include "shared.h"

APLOG_USE_MODULE(serviceless);

static void list_functions(svl_store_losses_t *losses, const svl_function_t **told, const svl_node_t *node, apr_pool_t *p)
{
    const char **functions = apr_palloc(p, (apr_hash_count(node->functions) + 1) * sizeof(*functions));
    unsigned char *every = apr_palloc(p, apr_hash_count(node->functions) + 1);
    for (apr_hash_index_t *hi = apr_hash_first(p, node->functions); hi; hi = apr_hash_next(hi)) {
        const svl_function_t *function = apr_hash_this_val(hi);
        if (function->missed) {
            every[losses->function_count] = function->scope == SERVICELESS_SCOPE_CHILD;
            functions[losses->function_count] = function->name;
            told[losses->function_count++] = function;
        }
    }
    losses->functions = functions;
    losses->every = every;
}

apr_status_t svl_loss_give_up(svl_runtime_t *runtime, svl_store_loss_t *losses, apr_uint32_t count, int always,
                              apr_uint64_t *missed, apr_pool_t *p)
{
    const svl_function_t **told = apr_palloc(p, (apr_hash_count(runtime->node->functions) + 1) * sizeof(*told));
    svl_store_losses_t all = {.losses = losses, .count = count, .always = always};
    apr_status_t rv;
    list_functions(&all, told, runtime->node, p);
    rv = svl_store_give_up(runtime->store, &all, apr_time_now());
    *missed = all.missed;
    SVL_COUNT_BY(runtime->node->shared->missed, all.missed);
    for (apr_uint32_t i = 0; all.position && i < all.function_count; i++) {
        if (told[i]->scope == SERVICELESS_SCOPE_CHILD) {
            svl_children_took(runtime, NULL, all.position + i, 0);
        }
        else {
            svl_runs_push(runtime->runs, NULL, all.position + i, 0);
        }
    }
    return rv;
}

static const svl_function_t *parse(const svl_node_t *node, const char *text, apr_size_t length, apr_uint64_t *calls,
                                   apr_pool_t *p)
{
    const svl_function_t *function;
    json_t *said = NULL;
    const char *name;
    if (svl_json_parse(&said, text, length, NULL, p) != APR_SUCCESS) {
        return NULL;
    }
    name = json_string_value(json_object_get(said, "function"));
    function = name ? svl_registry_find(node, name) : NULL;
    *calls = (apr_uint64_t)json_integer_value(json_object_get(said, "calls"));
    return function && function->missed ? function : NULL;
}

const svl_function_t *svl_loss_function(const svl_node_t *node, const char *text, apr_size_t length, apr_pool_t *p)
{
    apr_uint64_t calls;
    return parse(node, text, length, &calls, p);
}

void svl_loss_tell(svl_runtime_t *runtime, const char *text, apr_size_t length, apr_pool_t *p)
{
    apr_uint64_t calls;
    const svl_function_t *function = parse(runtime->node, text, length, &calls, p);
    if (function) {
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, runtime->node->server,
                     SVLNO(0341) "function %s is told of %" APR_UINT64_T_FMT " missed calls", function->name, calls);
        svl_run_enter();
        function->missed(runtime->node->server, p, function->name, calls, function->baton);
        svl_run_leave();
    }
}

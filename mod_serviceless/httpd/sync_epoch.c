/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_log.h>

#include "sync_private.h"

APLOG_USE_MODULE(serviceless);

void svl_sync_hear_own(svl_runtime_t *runtime, apr_hash_t *vector, const char *peer, apr_pool_t *p)
{
    apr_size_t length = strlen(runtime->node->name);
    for (apr_hash_index_t *hi = apr_hash_first(p, vector); hi; hi = apr_hash_next(hi)) {
        const char *stream = apr_hash_this_key(hi);
        int begun = 0;
        apr_status_t rv;
        if (strncmp(stream, runtime->node->name, length) != 0 || stream[length] != '/') {
            continue;
        }
        rv = svl_store_heard_of_own(runtime->store, stream, svl_vector_highest(apr_hash_this_val(hi)), &begun);
        if (rv != APR_SUCCESS || begun) {
            char text[160];
            ap_log_error(APLOG_MARK, begun ? APLOG_NOTICE : APLOG_ERR, 0, runtime->node->server,
                         SVLNO(0332) "node %s told numbers of this node's own stream %s: %s", peer, stream,
                         begun ? "beyond its last one" : svl_fault_strerror(rv, text, sizeof(text)));
        }
    }
}

void svl_sync_show_origin(svl_runtime_t *runtime, const char *origin, apr_uint64_t position)
{
    const svl_node_t *node = runtime->node;
    const svl_member_t *member = apr_hash_get(node->names, origin, APR_HASH_KEY_STRING);
    apr_uint32_t index = member ? (apr_uint32_t)(member - node->members) : node->self;
    if (index != node->self) {
        svl_relay_show(runtime->relay, position, index);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_log.h>

#include "invoke.h"
#include "sync_private.h"

APLOG_USE_MODULE(serviceless);

static const svl_receive_answer_t nothing_to_say = {.status = HTTP_NO_CONTENT};

/* Only what the asker can still be waiting for: the rest would fill its pages for nothing. */
static apr_hash_t *pruned_for(const svl_sync_own_t *own, const svl_sync_line_t *asked, apr_pool_t *p)
{
    apr_hash_t *told = apr_hash_make(p);
    for (apr_hash_index_t *hi = apr_hash_first(p, own->pruned); hi; hi = apr_hash_next(hi)) {
        const char *stream = apr_hash_this_key(hi);
        const svl_vector_numbers_t *theirs = apr_hash_get(asked->vector, stream, APR_HASH_KEY_STRING);
        const apr_uint64_t *pruned = apr_hash_this_val(hi);
        if (!theirs || theirs->watermark < *pruned) {
            apr_hash_set(told, stream, APR_HASH_KEY_STRING, pruned);
        }
    }
    return told;
}

/* The own line, and after it what the asker lacks of the line's page. */
static apr_status_t compare(svl_runtime_t *runtime, const svl_sync_line_t *asked, const svl_sync_own_t *own, const char *digest,
                            svl_peer_state_t *peer, svl_receive_answer_t *answer, apr_pool_t *p)
{
    const svl_node_t *node = runtime->node;
    svl_sync_line_t line = {.from = node->name, .digest = digest, .vector = own->vector, .pruned = own->pruned};
    svl_sync_lines_t lines = {.limit = node->max_body + SVL_MESSAGE_SLACK};
    apr_array_header_t *lacks;
    apr_uint64_t lag;
    const char *text;
    apr_size_t length;
    apr_status_t rv;
    if (asked->vector) {
        line.pruned = pruned_for(own, asked, p);
        line.after = asked->after;
        line.upto = asked->upto;
    }
    text = svl_sync_write(&line, p, &length);
    *answer = (svl_receive_answer_t){.status = HTTP_OK, .type = "application/x-ndjson", .body = text, .length = length};
    if (!asked->vector) {
        return APR_SUCCESS;
    }
    lacks = svl_sync_lacks(own->vector, own->pruned, asked->vector, &line, &lag, p);
    if (!line.after && !line.upto) {
        __atomic_store_n(&peer->lag, lag, __ATOMIC_RELAXED);
    }
    lines.text = apr_pmemdup(p, text, length);
    lines.length = lines.capacity = length;
    rv = svl_sync_collect(&lines, runtime->store, lacks, apr_time_now() - SVL_SYNC_YOUNG, p);
    answer->body = lines.text;
    answer->length = lines.length;
    return rv;
}

apr_status_t svl_sync_answer(svl_runtime_t *runtime, const svl_message_t *message, apr_uint32_t from,
                             svl_receive_answer_t *answer, svl_fault_t *fault, apr_pool_t *p)
{
    svl_node_t *node = runtime->node;
    svl_sync_line_t *asked;
    svl_sync_own_t own;
    char digest[SVL_SYNC_DIGEST + 1];
    apr_status_t rv = svl_sync_parse(&asked, message, fault, p);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (APR_ARRAY_IDX(message->groups, 0, svl_message_group_t).calls->nelts) {
        return svl_fault_set(fault, SVL_REASON_MESSAGE, p, "calls after a question; they belong to a relay message");
    }
    *answer = nothing_to_say;
    if (asked->done) {
        svl_sync_transfer_release(node->shared, from);
        return APR_SUCCESS;
    }
    if (asked->vector) {
        svl_sync_hear_own(runtime, asked->vector, node->members[from].name, p);
    }
    rv = svl_sync_own(&own, runtime, from, p);
    if (rv == APR_SUCCESS) {
        rv = svl_vector_digest(own.vector, digest, p);
    }
    if (rv != APR_SUCCESS) {
        return svl_invoke_store_fault(rv, node, fault, p);
    }
    if (!asked->vector && strcmp(asked->digest, digest) == 0) {
        svl_sync_transfer_release(node->shared, from);
        __atomic_store_n(&node->peers[from]->lag, 0, __ATOMIC_RELAXED);
        return APR_SUCCESS;
    }
    if (!svl_sync_transfer_take(node->shared, from, apr_time_now())) {
        return svl_fault_set(fault, SVL_REASON_BUSY, p, "another node transfers calls");
    }
    rv = compare(runtime, asked, &own, digest, node->peers[from], answer, p);
    return rv == APR_SUCCESS ? rv : svl_invoke_store_fault(rv, node, fault, p);
}

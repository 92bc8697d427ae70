/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <apr_strings.h>

#include "sync_private.h"

#define TURN 256         /* calls of one stream before the next one has its turn */
#define LOOKED_MAX 65536 /* entries looked at for one message, sent or not */
#define START 65536      /* bytes, at first */

static int is_member(const svl_set_t *set, apr_uint32_t node)
{
    apr_uint32_t low = 0, high = set->count;
    while (low < high) {
        apr_uint32_t middle = low + (high - low) / 2;
        if (set->members[middle] < node) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low < set->count && set->members[low] == node;
}

/* A set that only one of the two is in: the other one may be the origin of its calls, which is then the only source of them. */
static int is_shared(const svl_node_t *node, const char *stream, apr_uint32_t peer, apr_pool_t *p)
{
    const svl_set_t *set = apr_hash_get(node->sets, svl_sync_set(stream, p), APR_HASH_KEY_STRING);
    int theirs = set && is_member(set, peer);
    const char *lone = theirs ? node->name : node->members[peer].name;
    return set && ((set->has_self && theirs) || strcmp(svl_sync_origin(stream, p), lone) == 0);
}

static void drop_foreign(svl_sync_own_t *own, const svl_node_t *node, apr_uint32_t peer, apr_pool_t *p)
{
    for (apr_hash_index_t *hi = apr_hash_first(p, own->vector); hi; hi = apr_hash_next(hi)) {
        const char *stream = apr_hash_this_key(hi);
        if (!is_shared(node, stream, peer, p)) {
            apr_hash_set(own->vector, stream, APR_HASH_KEY_STRING, NULL);
            apr_hash_set(own->pruned, stream, APR_HASH_KEY_STRING, NULL);
        }
    }
}

apr_status_t svl_sync_own(svl_sync_own_t *own, svl_runtime_t *runtime, apr_uint32_t peer, apr_pool_t *p)
{
    const svl_node_t *node = runtime->node;
    const char **sets = apr_palloc(p, (apr_hash_count(node->sets) + 1) * sizeof(*sets));
    svl_store_reader_t *reader;
    int count = 0, one_sided = 0;
    apr_status_t rv;
    for (apr_hash_index_t *hi = apr_hash_first(p, node->sets); hi; hi = apr_hash_next(hi)) {
        const svl_set_t *set = apr_hash_this_val(hi);
        int theirs = is_member(set, peer);
        if (set->has_self || theirs) {
            sets[count++] = set->name;
            one_sided |= set->has_self != theirs;
        }
    }
    svl_store_settle(runtime->store);
    rv = svl_store_read_begin(&reader, runtime->store);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = svl_store_vector(reader, sets, count, &own->vector, &own->pruned, p);
    svl_store_read_end(reader);
    if (rv == APR_SUCCESS && one_sided) {
        drop_foreign(own, node, peer, p);
    }
    return rv;
}

/* Lines of one span on their way into a message. */
typedef struct collector_t {
    svl_sync_lines_t *lines;
    apr_pool_t *pool;
    int turn;          /* calls that the stream may still add */
    int looked;        /* entries, over the whole message */
    apr_uint64_t next; /* number to go on with */
} collector_t;

static void reserve(svl_sync_lines_t *lines, apr_size_t more, apr_pool_t *p)
{
    apr_size_t capacity = lines->capacity ? lines->capacity : START;
    char *text;
    if (lines->length + more <= lines->capacity) {
        return;
    }
    while (capacity < lines->length + more) {
        capacity *= 2;
    }
    text = apr_palloc(p, capacity);
    if (lines->length) {
        memcpy(text, lines->text, lines->length);
    }
    lines->text = text;
    lines->capacity = capacity;
}

/* A line that alone is too large (accepted under a larger ServicelessMaxBody) is passed over: the peer would refuse it. */
static int take(void *baton, apr_uint64_t number, const svl_store_record_t *record)
{
    collector_t *collector = baton;
    svl_sync_lines_t *lines = collector->lines;
    if (collector->looked++ == LOOKED_MAX) {
        lines->full = 1;
        return 1;
    }
    if (record->line && record->outcome != SVL_OUTCOME_REFUSED && record->length < lines->limit) {
        if (lines->calls == SVL_SYNC_CALLS_MAX || lines->length + record->length + 1 > lines->limit) {
            lines->full = 1;
            return 1;
        }
        reserve(lines, record->length + 1, collector->pool);
        memcpy(lines->text + lines->length, record->line, record->length);
        lines->length += record->length + 1;
        lines->text[lines->length - 1] = '\n';
        lines->calls++;
        collector->turn--;
    }
    collector->next = number + 1;
    return collector->turn == 0;
}

/* @return nonzero when the stream has nothing left */
static int take_turn(collector_t *collector, svl_store_reader_t *reader, svl_sync_lack_t *lack, const svl_store_young_t *young,
                     apr_status_t *rv)
{
    collector->turn = TURN;
    while (lack->at < lack->spans->nelts && collector->turn > 0 && !collector->lines->full && *rv == APR_SUCCESS) {
        const svl_vector_range_t *span = &APR_ARRAY_IDX(lack->spans, lack->at, svl_vector_range_t);
        collector->next = lack->next;
        *rv = svl_store_lines(reader, lack->stream, lack->next, span->last, young, take, collector);
        lack->next = collector->next;
        if (collector->turn > 0 && !collector->lines->full && ++lack->at < lack->spans->nelts) {
            lack->next = APR_ARRAY_IDX(lack->spans, lack->at, svl_vector_range_t).first;
        }
    }
    return lack->at == lack->spans->nelts;
}

apr_status_t svl_sync_collect(svl_sync_lines_t *lines, svl_store_t *store, apr_array_header_t *lacks, apr_time_t settled,
                              apr_pool_t *p)
{
    collector_t collector = {.lines = lines, .pool = p};
    const svl_store_young_t young = {settled, apr_time_now()};
    svl_store_reader_t *reader;
    int left = lacks->nelts;
    apr_status_t rv = svl_store_read_begin(&reader, store);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    lines->full = 0;
    while (left && !lines->full && rv == APR_SUCCESS) {
        left = 0;
        for (int i = 0; i < lacks->nelts && !lines->full && rv == APR_SUCCESS; i++) {
            left += !take_turn(&collector, reader, &APR_ARRAY_IDX(lacks, i, svl_sync_lack_t), &young, &rv);
        }
    }
    svl_store_read_end(reader);
    return rv;
}

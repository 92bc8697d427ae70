/* SPDX-License-Identifier: Apache-2.0 */
#include "sync.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "json.h"
#include "log.h"
#include "name.h"

#define FRAME 1024 /* what is no stream: from, digest, the page's bounds and punctuation, at their longest */
#define NUMBER 20  /* digits */

static apr_status_t refuse(svl_fault_t *fault, const char *wrong, apr_pool_t *p)
{
    return svl_fault_set(fault, SVL_REASON_MESSAGE, p, "the sync line: %s", wrong);
}

static int is_stream(const char *name)
{
    const char *set = strchr(name, '/');
    const char *epoch = set ? strchr(set + 1, '/') : NULL;

    return epoch && svl_name_is_node(name, (apr_size_t)(set - name)) && svl_name_is_node(set + 1, (apr_size_t)(epoch - set - 1))
           && svl_name_is_epoch(epoch + 1, strlen(epoch + 1));
}

static const char *read_digest(svl_sync_line_t *line, const json_t *digest)
{
    if (!digest) {
        return NULL;
    }
    if (json_string_length(digest) != SVL_SYNC_DIGEST
        || strspn(json_string_value(digest), "0123456789abcdef") != SVL_SYNC_DIGEST) {
        return "\"digest\" is not 64 hex digits";
    }
    line->digest = json_string_value(digest);
    return NULL;
}

static const char *read_bound(const char **bound, const json_t *name)
{
    if (name && (!json_is_string(name) || !is_stream(json_string_value(name)))) {
        return "\"after\" or \"upto\" is no stream";
    }
    *bound = json_string_value(name);
    return NULL;
}

static const char *read_pruned(svl_sync_line_t *line, json_t *pruned, apr_pool_t *p)
{
    line->pruned = apr_hash_make(p);
    if (pruned && (!json_is_object(pruned) || json_object_size(pruned) > SVL_VECTOR_STREAMS_MAX)) {
        return "\"pruned\" is no object of at most 100000 streams";
    }
    for (void *at = json_object_iter(pruned); at; at = json_object_iter_next(pruned, at)) {
        const char *name = json_object_iter_key(at);
        const json_t *value = json_object_iter_value(at);
        apr_uint64_t *number;

        if (!is_stream(name) || !json_is_integer(value) || json_integer_value(value) < 0) {
            return "\"pruned\" holds something that is not a number of a stream";
        }
        number = apr_palloc(p, sizeof(*number));
        *number = (apr_uint64_t)json_integer_value(value);
        apr_hash_set(line->pruned, apr_pstrdup(p, name), APR_HASH_KEY_STRING, number);
    }
    return NULL;
}

/* What a line tells of streams beyond its own page would be judged against nothing. */
static int keeps_to_page(const svl_sync_line_t *line, apr_hash_t *streams, apr_pool_t *p)
{
    for (apr_hash_index_t *at = streams ? apr_hash_first(p, streams) : NULL; at; at = apr_hash_next(at)) {
        if (!svl_sync_speaks_of(line, apr_hash_this_key(at))) {
            return 0;
        }
    }
    return 1;
}

apr_status_t svl_sync_parse(svl_sync_line_t **line, const svl_message_t *message, svl_fault_t *fault, apr_pool_t *p)
{
    svl_sync_line_t *fresh = apr_pcalloc(p, sizeof(*fresh));
    json_t *sync = message->sync_json;
    const json_t *vector = json_object_get(sync, "vector");
    const char *wrong = read_digest(fresh, json_object_get(sync, "digest"));

    *line = NULL;
    fresh->from = message->from;
    fresh->done = json_is_true(json_object_get(sync, "done"));
    if (!wrong) {
        wrong = read_bound(&fresh->after, json_object_get(sync, "after"));
    }
    if (!wrong) {
        wrong = read_bound(&fresh->upto, json_object_get(sync, "upto"));
    }
    if (!wrong && fresh->after && fresh->upto && strcmp(fresh->after, fresh->upto) >= 0) {
        wrong = "\"upto\" is not beyond \"after\"";
    }
    if (!wrong) {
        wrong = read_pruned(fresh, json_object_get(sync, "pruned"), p);
    }
    if (!wrong && vector && svl_vector_from_json(&fresh->vector, vector, fault, p) != APR_SUCCESS) {
        return SVL_EREFUSED;
    }
    if (!wrong && (!keeps_to_page(fresh, fresh->vector, p) || !keeps_to_page(fresh, fresh->pruned, p))) {
        wrong = "a stream lies beyond the page";
    }
    if (!wrong && !fresh->digest && !fresh->vector && !fresh->done) {
        wrong = "it tells nothing";
    }
    if (wrong) {
        return refuse(fault, wrong, p);
    }
    *line = fresh;
    return APR_SUCCESS;
}

int svl_sync_speaks_of(const svl_sync_line_t *line, const char *stream)
{
    return (!line->after || strcmp(stream, line->after) > 0) && (!line->upto || strcmp(stream, line->upto) <= 0);
}

static int compare_names(const void *one, const void *other)
{
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

/* The names of the page, sorted. */
static const char **names_of(apr_hash_t *streams, const svl_sync_line_t *page, int *count, apr_pool_t *p)
{
    const char **names = apr_palloc(p, (apr_hash_count(streams) + 1) * sizeof(*names));

    *count = 0;
    for (apr_hash_index_t *at = apr_hash_first(p, streams); at; at = apr_hash_next(at)) {
        if (svl_sync_speaks_of(page, apr_hash_this_key(at))) {
            names[(*count)++] = apr_hash_this_key(at);
        }
    }
    qsort(names, (size_t)*count, sizeof(*names), compare_names);
    return names;
}

static int told_ranges(const svl_vector_numbers_t *numbers)
{
    return numbers->ranges->nelts < SVL_SYNC_RANGES_MAX ? numbers->ranges->nelts : SVL_SYNC_RANGES_MAX;
}

/* An upper bound of what a stream takes in both objects. */
static apr_size_t stream_bytes(const char *name, const svl_vector_numbers_t *numbers, const apr_uint64_t *pruned)
{
    apr_size_t bytes = strlen(name) + NUMBER + sizeof("\"\":[,[]],") + (apr_size_t)told_ranges(numbers) * (2 * NUMBER + 4);

    return bytes + (pruned && *pruned ? strlen(name) + NUMBER + sizeof("\"\":,") : 0);
}

static char *put_text(char *at, const char *text)
{
    apr_size_t length = strlen(text);

    memcpy(at, text, length);
    return at + length;
}

static char *put_number(char *at, apr_uint64_t number)
{
    return at + apr_snprintf(at, NUMBER + 1, "%" APR_UINT64_T_FMT, number);
}

/* Names need no escapes: their grammar has none of the characters. */
static char *put_member(char *at, const char *name, const char *value)
{
    at = put_text(put_text(put_text(at, ",\""), name), "\":");
    return value ? put_text(put_text(put_text(at, "\""), value), "\"") : at;
}

static char *put_numbers(char *at, const char *name, const svl_vector_numbers_t *numbers)
{
    at = put_text(put_text(put_text(at, "\""), name), "\":[");
    at = put_text(put_number(at, numbers->watermark), ",[");
    for (int i = 0; i < told_ranges(numbers); i++) {
        const svl_vector_range_t *range = &APR_ARRAY_IDX(numbers->ranges, i, svl_vector_range_t);

        at = put_number(put_text(at, i > 0 ? ",[" : "["), range->first);
        at = put_text(put_number(put_text(at, ","), range->last), "]");
    }
    return put_text(at, "]]");
}

static char *put_pruned(char *at, const svl_sync_line_t *line, const char *const *names, int count)
{
    int told = 0;

    for (int i = 0; i < count; i++) {
        const apr_uint64_t *pruned = line->pruned ? apr_hash_get(line->pruned, names[i], APR_HASH_KEY_STRING) : NULL;

        if (pruned && *pruned) {
            at = told++ ? put_text(at, ",") : put_text(put_member(at, "pruned", NULL), "{");
            at = put_text(put_text(put_text(at, "\""), names[i]), "\":");
            at = put_number(at, *pruned);
        }
    }
    return told ? put_text(at, "}") : at;
}

/* How many of the names fit the page, and their bytes. */
static int count_fitting(const svl_sync_line_t *line, const char *const *names, int count, apr_size_t *bytes)
{
    *bytes = FRAME;
    for (int i = 0; i < count; i++) {
        apr_size_t more = stream_bytes(names[i], apr_hash_get(line->vector, names[i], APR_HASH_KEY_STRING),
                                       line->pruned ? apr_hash_get(line->pruned, names[i], APR_HASH_KEY_STRING) : NULL);

        if (*bytes + more > SVL_SYNC_PAGE_MAX) {
            return i;
        }
        *bytes += more;
    }
    return count;
}

const char *svl_sync_write(svl_sync_line_t *line, apr_pool_t *p, apr_size_t *length)
{
    const char **names = NULL;
    int count = 0;
    int all;
    apr_size_t bytes = FRAME;
    char *text;
    char *at;

    if (line->vector) {
        names = names_of(line->vector, line, &all, p);
        count = count_fitting(line, names, all, &bytes);
        line->upto = count < all ? names[count - 1] : line->upto;
    }
    at = text = apr_palloc(p, bytes);
    at = put_text(put_text(put_text(at, "{\"sync\":{\"from\":\""), line->from), "\"");
    at = line->digest ? put_member(at, "digest", line->digest) : at;
    at = line->done ? put_text(put_member(at, "done", NULL), "true") : at;
    at = line->after ? put_member(at, "after", line->after) : at;
    at = line->upto ? put_member(at, "upto", line->upto) : at;
    if (line->vector) {
        at = put_text(put_member(at, "vector", NULL), "{");
        for (int i = 0; i < count; i++) {
            at = i > 0 ? put_text(at, ",") : at;
            at = put_numbers(at, names[i], apr_hash_get(line->vector, names[i], APR_HASH_KEY_STRING));
        }
        at = put_pruned(put_text(at, "}"), line, names, count);
    }
    at = put_text(at, "}}\n");
    *length = (apr_size_t)(at - text);
    return text;
}

/* Leaves out what is held no more. */
static void drop_gone(apr_array_header_t *spans, apr_uint64_t gone)
{
    int kept = 0;

    for (int i = 0; i < spans->nelts; i++) {
        svl_vector_range_t span = APR_ARRAY_IDX(spans, i, svl_vector_range_t);

        if (span.last > gone) {
            span.first = span.first > gone ? span.first : gone + 1;
            APR_ARRAY_IDX(spans, kept++, svl_vector_range_t) = span;
        }
    }
    spans->nelts = kept;
}

apr_array_header_t *svl_sync_lacks(apr_hash_t *mine, apr_hash_t *gone, apr_hash_t *theirs, const svl_sync_line_t *page,
                                   apr_uint64_t *total, apr_pool_t *p)
{
    apr_array_header_t *lacks = apr_array_make(p, 8, sizeof(svl_sync_lack_t));
    int count;
    const char **names = names_of(mine, page, &count, p);
    apr_uint64_t sum = 0;

    for (int i = 0; i < count && lacks->nelts < SVL_SYNC_LACKS_MAX; i++) {
        const svl_vector_numbers_t *have = apr_hash_get(mine, names[i], APR_HASH_KEY_STRING);
        const svl_vector_numbers_t *other = apr_hash_get(theirs, names[i], APR_HASH_KEY_STRING);
        const apr_uint64_t *pruned = gone ? apr_hash_get(gone, names[i], APR_HASH_KEY_STRING) : NULL;
        apr_array_header_t *spans = svl_vector_difference(have, other, SVL_SYNC_SPANS_MAX, p);

        drop_gone(spans, pruned ? *pruned : 0);
        for (int j = 0; j < spans->nelts; j++) {
            const svl_vector_range_t *span = &APR_ARRAY_IDX(spans, j, svl_vector_range_t);

            sum += span->last - span->first + 1;
        }
        if (spans->nelts > 0) {
            APR_ARRAY_PUSH(lacks, svl_sync_lack_t) =
                (svl_sync_lack_t){names[i], spans, 0, APR_ARRAY_IDX(spans, 0, svl_vector_range_t).first};
        }
    }
    if (total) {
        *total = sum;
    }
    return lacks;
}

const char *svl_sync_origin(const char *stream, apr_pool_t *p)
{
    return apr_pstrndup(p, stream, strcspn(stream, "/"));
}

const char *svl_sync_set(const char *stream, apr_pool_t *p)
{
    const char *set = stream + strcspn(stream, "/") + 1;

    return apr_pstrndup(p, set, strcspn(set, "/"));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: a sync line that is read and written again tells the same vector, page by page, within the bounds of a message; its digest is
 * stable, and another one as soon as a number is added. */
#include "fuzz.h"

#include "../../mod_serviceless/core/name.h"
#include "../../mod_serviceless/core/sync.h"

static svl_sync_line_t *parse(const char *text, apr_size_t length, svl_fault_t *fault, apr_pool_t *p)
{
    svl_message_t *message;
    svl_sync_line_t *line;

    if (svl_message_parse(&message, text, length, fault, p) != APR_SUCCESS || message->kind != SVL_MESSAGE_SYNC) {
        return NULL;
    }
    return svl_sync_parse(&line, message, fault, p) == APR_SUCCESS ? line : NULL;
}

static int same_numbers(const svl_vector_numbers_t *one, const svl_vector_numbers_t *other)
{
    return one->watermark == other->watermark && one->ranges->nelts == other->ranges->nelts
           && memcmp(one->ranges->elts, other->ranges->elts, (size_t)one->ranges->nelts * sizeof(svl_vector_range_t)) == 0;
}

/* Each stream is well-formed: ranges ascend, and none touches another. */
static void check_vector(apr_hash_t *vector, apr_pool_t *p)
{
    for (apr_hash_index_t *at = apr_hash_first(p, vector); at; at = apr_hash_next(at)) {
        const svl_vector_numbers_t *numbers = apr_hash_this_val(at);
        apr_uint64_t before = numbers->watermark;

        FUZZ_REQUIRE(strlen(apr_hash_this_key(at)) <= SVL_NAME_STREAM_MAX);
        FUZZ_REQUIRE(numbers->watermark <= (apr_uint64_t)SVL_VECTOR_NUMBER_MAX
                     && numbers->ranges->nelts <= SVL_VECTOR_RANGES_MAX);
        for (int i = 0; i < numbers->ranges->nelts; i++) {
            const svl_vector_range_t *range = &APR_ARRAY_IDX(numbers->ranges, i, svl_vector_range_t);

            FUZZ_REQUIRE(range->first > before + 1 && range->last >= range->first);
            before = range->last;
        }
        FUZZ_REQUIRE(before <= (apr_uint64_t)SVL_VECTOR_NUMBER_MAX && svl_vector_highest(numbers) == before);
    }
}

/* Writes all pages.  @return the streams that they told, each once */
static unsigned int check_pages(svl_sync_line_t line, apr_pool_t *p)
{
    const char *end = line.upto;
    unsigned int told = 0;

    for (int more = 1; more;) {
        apr_size_t length;
        const char *text = svl_sync_write(&line, p, &length);
        svl_sync_line_t *again = parse(text, length, NULL, p);

        FUZZ_REQUIRE(length <= SVL_SYNC_PAGE_MAX && text[length - 1] == '\n' && again);
        FUZZ_REQUIRE(strcmp(again->from, line.from) == 0 && fuzz_same(again->digest, line.digest) && again->done == line.done);
        FUZZ_REQUIRE(fuzz_same(again->after, line.after) && fuzz_same(again->upto, line.upto)
                     && !again->vector == !line.vector);
        for (apr_hash_index_t *at = again->vector ? apr_hash_first(p, again->vector) : NULL; at; at = apr_hash_next(at)) {
            const svl_vector_numbers_t *numbers = apr_hash_get(line.vector, apr_hash_this_key(at), APR_HASH_KEY_STRING);

            FUZZ_REQUIRE(numbers && svl_sync_speaks_of(&line, apr_hash_this_key(at)));
            FUZZ_REQUIRE(numbers->ranges->nelts > SVL_SYNC_RANGES_MAX || same_numbers(numbers, apr_hash_this_val(at)));
            told++;
        }
        more = line.vector && !fuzz_same(line.upto, end);
        line.after = line.upto;
        line.upto = end;
    }
    return told;
}

static void check_digest(apr_hash_t *vector, apr_pool_t *p)
{
    apr_hash_index_t *first = apr_hash_first(p, vector);
    svl_vector_numbers_t *numbers = first ? apr_hash_this_val(first) : NULL;
    char digest[65];
    char again[65];
    char other[65];

    FUZZ_REQUIRE(svl_vector_digest(vector, digest, p) == APR_SUCCESS && svl_vector_digest(vector, again, p) == APR_SUCCESS);
    FUZZ_REQUIRE(strlen(digest) == SVL_SYNC_DIGEST && strcmp(digest, again) == 0);
    if (numbers && numbers->watermark < (apr_uint64_t)SVL_VECTOR_NUMBER_MAX) {
        FUZZ_REQUIRE(svl_vector_add(numbers, numbers->watermark + 1) == APR_SUCCESS);
        FUZZ_REQUIRE(svl_vector_digest(vector, other, p) == APR_SUCCESS && strcmp(digest, other) != 0);
    }
}

static void check_lacks(const svl_sync_line_t *line, apr_pool_t *p)
{
    apr_array_header_t *lacks = svl_sync_lacks(line->vector, line->pruned, apr_hash_make(p), line, NULL, p);

    FUZZ_REQUIRE(svl_sync_lacks(line->vector, NULL, line->vector, line, NULL, p)->nelts == 0);
    FUZZ_REQUIRE(lacks->nelts <= SVL_SYNC_LACKS_MAX && (unsigned int)lacks->nelts <= apr_hash_count(line->vector));
    for (int i = 0; i < lacks->nelts; i++) {
        const svl_sync_lack_t *lack = &APR_ARRAY_IDX(lacks, i, svl_sync_lack_t);
        const apr_uint64_t *pruned = apr_hash_get(line->pruned, lack->stream, APR_HASH_KEY_STRING);

        FUZZ_REQUIRE(lack->spans->nelts > 0 && lack->spans->nelts <= SVL_SYNC_SPANS_MAX);
        FUZZ_REQUIRE(lack->next == APR_ARRAY_IDX(lack->spans, 0, svl_vector_range_t).first
                     && lack->next > (pruned ? *pruned : 0));
        FUZZ_REQUIRE(svl_vector_covers(apr_hash_get(line->vector, lack->stream, APR_HASH_KEY_STRING), lack->next));
        FUZZ_REQUIRE(svl_name_is_node(svl_sync_origin(lack->stream, p), strlen(svl_sync_origin(lack->stream, p))));
        FUZZ_REQUIRE(svl_name_is_node(svl_sync_set(lack->stream, p), strlen(svl_sync_set(lack->stream, p))));
    }
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_sync_line_t *line = parse(bytes, length, &fault, p);

    if (!line) {
        if (fault.reason != SVL_REASON_NONE) { /* none: it is a relay */
            fuzz_refused(SVL_EREFUSED, &fault, SVL_REASON_MESSAGE, SVL_REASON_MESSAGE, p);
        }
        return;
    }
    FUZZ_REQUIRE(line->digest || line->vector || line->done);
    if (line->vector) {
        check_vector(line->vector, p);
        check_lacks(line, p);
    }
    FUZZ_REQUIRE(check_pages(*line, p) == (line->vector ? apr_hash_count(line->vector) : 0));
    if (line->vector) {
        check_digest(line->vector, p);
    }
}

FUZZ_TARGET(feed)

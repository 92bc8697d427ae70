/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/core/sync.h"

#include "unit.h"

#define EPOCH "0123456789abcdef"
#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define MANY 5000 /* streams: several pages */

static svl_vector_numbers_t *numbers(apr_pool_t *p, apr_uint64_t watermark, apr_uint64_t first, apr_uint64_t last)
{
    svl_vector_numbers_t *made = svl_vector_numbers_make(p);

    made->watermark = watermark;
    for (; first && first <= last; first++) {
        assert_int_equal(svl_vector_add(made, first), APR_SUCCESS);
    }
    return made;
}

static const char *stream(apr_pool_t *p, int i)
{
    return apr_psprintf(p, "n%d/all/" EPOCH, i);
}

static apr_status_t read_text(svl_sync_line_t **line, apr_pool_t *p, const char *text, apr_size_t length)
{
    svl_message_t *message;
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    apr_status_t status = svl_message_parse(&message, unit_exact(p, text, length), length, &fault, p);

    if (status == APR_SUCCESS && message->kind != SVL_MESSAGE_SYNC) {
        return SVL_EREFUSED;
    }
    if (status == APR_SUCCESS) {
        status = svl_sync_parse(line, message, &fault, p);
    }
    if (status != APR_SUCCESS) {
        assert_int_equal(status, SVL_EREFUSED);
        assert_int_equal(fault.reason, SVL_REASON_MESSAGE);
        assert_true(unit_is_printable(fault.detail));
    }
    return status;
}

static svl_sync_line_t *written_and_read(svl_sync_line_t *line, apr_pool_t *p)
{
    svl_sync_line_t *back;
    apr_size_t length;
    const char *text = svl_sync_write(line, p, &length);

    assert_true(length <= SVL_SYNC_PAGE_MAX);
    assert_int_equal(text[length - 1], '\n');
    assert_int_equal(read_text(&back, p, text, length), APR_SUCCESS);
    return back;
}

static void equal_vectors_are_a_line_of_constant_size(void **state)
{
    svl_sync_line_t line = {.from = "a", .digest = DIGEST};
    apr_size_t length;
    const char *text = svl_sync_write(&line, *state, &length);

    assert_int_equal(length, strlen("{\"sync\":{\"from\":\"a\",\"digest\":\"" DIGEST "\"}}\n"));
    assert_memory_equal(text, "{\"sync\":{\"from\":\"a\",\"digest\":\"" DIGEST "\"}}\n", length);
    svl_sync_line_t *back = written_and_read(&line, *state);
    assert_string_equal(back->from, "a");
    assert_string_equal(back->digest, DIGEST);
    assert_null(back->vector);
    assert_int_equal(apr_hash_count(back->pruned), 0);
    line = (svl_sync_line_t){.from = "a", .done = 1};
    assert_true(written_and_read(&line, *state)->done);
}

static void test_round_trip(void **state)
{
    apr_pool_t *p = *state;
    svl_sync_line_t line = {.from = "a", .digest = DIGEST, .vector = apr_hash_make(p), .pruned = apr_hash_make(p)};
    apr_uint64_t pruned = 7;

    apr_hash_set(line.vector, "a/all/" EPOCH, APR_HASH_KEY_STRING, numbers(p, 17, 19, 22));
    apr_hash_set(line.vector, "b/all/" EPOCH, APR_HASH_KEY_STRING, numbers(p, SVL_VECTOR_NUMBER_MAX, 0, 0));
    apr_hash_set(line.pruned, "a/all/" EPOCH, APR_HASH_KEY_STRING, &pruned);
    svl_sync_line_t *back = written_and_read(&line, p);
    assert_null(line.upto);
    assert_null(back->upto);
    assert_int_equal(apr_hash_count(back->vector), 2);
    assert_int_equal(*(apr_uint64_t *)apr_hash_get(back->pruned, "a/all/" EPOCH, APR_HASH_KEY_STRING), 7);
    assert_int_equal(svl_sync_lacks(line.vector, NULL, back->vector, back, NULL, p)->nelts, 0);
    assert_string_equal(svl_sync_origin("a/all/" EPOCH, p), "a");
    assert_string_equal(svl_sync_set("a/all/" EPOCH, p), "all");
}

static void test_pages(void **state)
{
    apr_pool_t *p = *state;
    apr_hash_t *vector = apr_hash_make(p);
    apr_hash_t *told = apr_hash_make(p);
    const char *after = NULL;
    int pages = 0;

    for (int i = 0; i < MANY; i++) {
        apr_uint64_t watermark = (apr_uint64_t)i;

        apr_hash_set(vector, stream(p, i), APR_HASH_KEY_STRING, numbers(p, watermark, watermark + 2, watermark + 3));
    }
    do {
        svl_sync_line_t line = {.from = "a", .vector = vector, .after = after};
        svl_sync_line_t *back = written_and_read(&line, p);

        assert_true(apr_hash_count(back->vector) > 0);
        for (apr_hash_index_t *hi = apr_hash_first(p, back->vector); hi; hi = apr_hash_next(hi)) {
            assert_null(apr_hash_get(told, apr_hash_this_key(hi), APR_HASH_KEY_STRING));
            apr_hash_set(told, apr_hash_this_key(hi), APR_HASH_KEY_STRING, "");
        }
        after = back->upto;
        pages++;
    } while (after);
    assert_int_equal(apr_hash_count(told), MANY);
    assert_true(pages > 1);
}

/* The largest stream that there can be fits a page, and what is not told of it only looks lacking. */
static void test_largest(void **state)
{
    apr_pool_t *p = *state;
    svl_sync_line_t line = {.from = unit_repeat(p, "x", 64), .digest = DIGEST};
    const char *name = apr_pstrcat(p, unit_repeat(p, "y", 64), "/", unit_repeat(p, "z", 64), "/" EPOCH, NULL);
    svl_vector_numbers_t *most = svl_vector_numbers_make(p);
    apr_uint64_t pruned = SVL_VECTOR_NUMBER_MAX;

    line.vector = apr_hash_make(p);
    line.pruned = apr_hash_make(p);
    for (int i = 0; i < SVL_VECTOR_RANGES_MAX; i++) {
        assert_int_equal(svl_vector_add(most, (apr_uint64_t)SVL_VECTOR_NUMBER_MAX - 2 * (apr_uint64_t)i), APR_SUCCESS);
    }
    apr_hash_set(line.vector, name, APR_HASH_KEY_STRING, most);
    apr_hash_set(line.pruned, name, APR_HASH_KEY_STRING, &pruned);
    svl_sync_line_t *back = written_and_read(&line, p);
    svl_vector_numbers_t *told = apr_hash_get(back->vector, name, APR_HASH_KEY_STRING);
    assert_null(back->upto);
    assert_int_equal(told->ranges->nelts, SVL_SYNC_RANGES_MAX);
    for (int i = 0; i < told->ranges->nelts; i++) {
        assert_true(svl_vector_covers(most, APR_ARRAY_IDX(told->ranges, i, svl_vector_range_t).first));
    }
}

static void test_lacks(void **state)
{
    apr_pool_t *p = *state;
    apr_hash_t *mine = apr_hash_make(p), *theirs = apr_hash_make(p), *gone = apr_hash_make(p);
    apr_uint64_t held_from = 4, total;
    svl_sync_line_t page = {.after = "n1/all/" EPOCH, .upto = "n3/all/" EPOCH};

    for (int i = 1; i <= 4; i++) {
        apr_hash_set(mine, stream(p, i), APR_HASH_KEY_STRING, numbers(p, 10, 12, 13));
    }
    apr_hash_set(theirs, stream(p, 2), APR_HASH_KEY_STRING, numbers(p, 2, 5, 6));
    apr_hash_set(gone, stream(p, 2), APR_HASH_KEY_STRING, &held_from);
    apr_array_header_t *lacks = svl_sync_lacks(mine, gone, theirs, &page, &total, p);
    assert_int_equal(lacks->nelts, 2);
    svl_sync_lack_t *first = &APR_ARRAY_IDX(lacks, 0, svl_sync_lack_t), *second = &APR_ARRAY_IDX(lacks, 1, svl_sync_lack_t);
    assert_string_equal(first->stream, stream(p, 2));
    assert_int_equal(first->spans->nelts, 2); /* 3 and 4 are gone, 5 and 6 are there */
    assert_int_equal(first->next, 7);
    assert_int_equal(APR_ARRAY_IDX(first->spans, 1, svl_vector_range_t).first, 12);
    assert_string_equal(second->stream, stream(p, 3)); /* unknown there: all of it */
    assert_int_equal(second->next, 1);
    assert_int_equal(total, 4 + 2 + 10 + 2);
    assert_int_equal(svl_sync_lacks(mine, NULL, mine, &page, &total, p)->nelts, 0);
    assert_int_equal(total, 0);
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "{'sync':{'from':'a'}}",
        "{'sync':{'from':'a','digest':'x'}}",
        "{'sync':{'from':'a','digest':7}}",
        "{'sync':{'from':'a','digest':'" DIGEST "0'}}",
        "{'sync':{'from':'a/b','digest':'" DIGEST "'}}",
        "{'sync':{'from':'a','vector':[]}}",
        "{'sync':{'from':'a','vector':{'x':[1,[]]}}}",
        "{'sync':{'from':'a','vector':{'a/all/" EPOCH "':[-1,[]]}}}",
        "{'sync':{'from':'a','vector':{'a/all/" EPOCH "':[5,[[6,7]]]}}}",
        "{'sync':{'from':'a','vector':{'a/all/" EPOCH "':[5,[[9,8]]]}}}",
        "{'sync':{'from':'a','vector':{'a/all/" EPOCH "':[1,[]]},'upto':'Z/all/" EPOCH "'}}",
        "{'sync':{'from':'a','vector':{'a/all/" EPOCH "':[1,[]]},'after':'b/all/" EPOCH "'}}",
        "{'sync':{'from':'a','vector':{},'after':'b'}}",
        "{'sync':{'from':'a','vector':{},'after':['b']}}",
        "{'sync':{'from':'a','vector':{},'after':'b/all/" EPOCH "','upto':'b/all/" EPOCH "'}}",
        "{'sync':{'from':'a','vector':{},'pruned':{'a/all/" EPOCH "':-1}}}",
        "{'sync':{'from':'a','vector':{},'pruned':{'a/all/" EPOCH "':'1'}}}",
        "{'sync':{'from':'a','vector':{},'pruned':{'a':1}}}",
        "{'sync':{'from':'a','vector':{},'pruned':[]}}",
    };
    svl_sync_line_t *line;

    for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
        const char *text = unit_json(*state, bad[i]);

        if (read_text(&line, *state, text, strlen(text)) == APR_SUCCESS) {
            fail_msg("taken: %s", bad[i]);
        }
    }
}

static void test_newer(void **state)
{
    const char *text = unit_json(*state, "{'sync':{'from':'a','since':[1],'vector':{},'upto':'b/all/" EPOCH "','done':0}}");
    svl_sync_line_t *line;

    assert_int_equal(read_text(&line, *state, text, strlen(text)), APR_SUCCESS);
    assert_int_equal(line->done, 0);
    assert_true(svl_sync_speaks_of(line, "a/all/" EPOCH));
    assert_false(svl_sync_speaks_of(line, "c/all/" EPOCH));
}

static void test_mutations(void **state)
{
    const char *text = unit_json(*state, "{'sync':{'from':'a','digest':'" DIGEST "','after':'a/all/" EPOCH
                                         "','vector':{'b/all/" EPOCH "':[3,[[5,6],[9,9]]]},'pruned':{'b/all/" EPOCH "':2}}}");
    svl_sync_line_t *line;
    apr_pool_t *p;

    apr_pool_create(&p, *state);
    for (int i = 0; i < 20000; i++) {
        char *copy = apr_pstrdup(p, text);

        unit_mutate(copy, strlen(text));
        read_text(&line, p, copy, unit_random(8) ? strlen(text) : unit_random(strlen(text)));
        apr_pool_clear(p);
    }
}

static const struct CMUnitTest promises[] = {
    PROMISE("equal vectors are told by a line whose size does not depend on them", equal_vectors_are_a_line_of_constant_size),
    PROMISE("what is written is read again", test_round_trip),
    PROMISE("pages tell every stream once", test_pages),
    PROMISE("the largest stream fits a page", test_largest),
    PROMISE("what lacks is what one has and holds, and the other has not, within the page", test_lacks),
    PROMISE("a line that breaks a bound or a grammar is refused, in printable words", test_refused),
    PROMISE("members of a newer version are ignored", test_newer),
    PROMISE("no mutation of a line is more than refused", test_mutations),
};

UNIT_MAIN(promises)

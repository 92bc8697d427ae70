/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/core/vector.h"

#include "../../mod_serviceless/core/json.h"
#include "unit.h"

#define MOST 200 /* numbers of the model */
#define EPOCH "0123456789abcdef"

/* The model: which of 1 … MOST are covered. */
typedef struct model_t {
    unsigned char has[MOST + 2];
} model_t;

static const svl_vector_range_t *range_at(const apr_array_header_t *ranges, int i)
{
    return &APR_ARRAY_IDX(ranges, i, svl_vector_range_t);
}

static void check_form(const svl_vector_numbers_t *numbers)
{
    apr_uint64_t before = numbers->watermark;

    for (int i = 0; i < numbers->ranges->nelts; i++) {
        assert_true(range_at(numbers->ranges, i)->first > before + 1);
        assert_true(range_at(numbers->ranges, i)->last >= range_at(numbers->ranges, i)->first);
        before = range_at(numbers->ranges, i)->last;
    }
}

static void check_model(const svl_vector_numbers_t *numbers, const model_t *model)
{
    check_form(numbers);
    for (apr_uint64_t n = 0; n <= MOST + 1; n++) {
        assert_int_equal(!!svl_vector_covers(numbers, n), model->has[n]);
    }
}

static svl_vector_numbers_t *by_chance(apr_pool_t *p, model_t *model)
{
    svl_vector_numbers_t *numbers = svl_vector_numbers_make(p);

    memset(model, 0, sizeof(*model));
    for (uint64_t left = unit_random(MOST); left > 0; left--) {
        apr_uint64_t n = 1 + unit_random(MOST);

        assert_int_equal(svl_vector_add(numbers, n), APR_SUCCESS);
        model->has[n] = 1;
    }
    return numbers;
}

static void assert_same(const svl_vector_numbers_t *one, const svl_vector_numbers_t *other)
{
    assert_int_equal(one->watermark, other->watermark);
    assert_int_equal(one->ranges->nelts, other->ranges->nelts);
    for (int i = 0; i < one->ranges->nelts; i++) {
        assert_int_equal(range_at(one->ranges, i)->first, range_at(other->ranges, i)->first);
        assert_int_equal(range_at(one->ranges, i)->last, range_at(other->ranges, i)->last);
    }
}

static void what_was_added_in_any_order_and_not_dropped_is_covered(void **state)
{
    for (int round = 0; round < 500; round++) {
        apr_pool_t *p;
        model_t model;
        svl_vector_numbers_t *sorted;
        svl_vector_numbers_t *numbers;

        apr_pool_create(&p, *state);
        numbers = by_chance(p, &model);
        check_model(numbers, &model);
        sorted = svl_vector_numbers_make(p);
        for (apr_uint64_t n = 1; n <= MOST; n++) {
            if (model.has[n]) {
                assert_int_equal(svl_vector_add(sorted, n), APR_SUCCESS);
            }
        }
        assert_same(numbers, sorted);
        for (apr_uint64_t n = unit_random(2); n <= MOST + 1; n += 1 + unit_random(9)) {
            assert_int_equal(svl_vector_drop(numbers, n), APR_SUCCESS);
            model.has[n] = 0;
        }
        check_model(numbers, &model);
        apr_pool_destroy(p);
    }
}

static void a_closed_gap_leaves_only_the_watermark(void **state)
{
    svl_vector_numbers_t *numbers = svl_vector_numbers_make(*state);

    for (apr_uint64_t n = MOST; n > 0; n--) {
        assert_int_equal(numbers->watermark, 0);
        svl_vector_add(numbers, n);
        svl_vector_add(numbers, n); /* again: no difference */
    }
    assert_int_equal(numbers->watermark, MOST);
    assert_int_equal(numbers->ranges->nelts, 0);
}

static void numbers_are_1_to_63_bits(void **state)
{
    svl_vector_numbers_t *numbers = svl_vector_numbers_make(*state);

    assert_int_equal(svl_vector_add(numbers, 0), APR_EINVAL);
    assert_int_equal(svl_vector_add(numbers, UINT64_C(0x8000000000000000)), APR_EINVAL);
    assert_int_equal(svl_vector_add(numbers, UINT64_MAX), APR_EINVAL);
    assert_int_equal(svl_vector_add(numbers, INT64_MAX), APR_SUCCESS);
    assert_true(svl_vector_covers(numbers, INT64_MAX));
    assert_false(svl_vector_covers(numbers, UINT64_MAX));
    assert_int_equal(svl_vector_raise(numbers, UINT64_MAX), INT64_MAX - 1);
    assert_int_equal(numbers->watermark, INT64_MAX);
    check_form(numbers);
}

static void there_are_at_most_4096_ranges(void **state)
{
    svl_vector_numbers_t *numbers = svl_vector_numbers_make(*state);

    for (apr_uint64_t i = 1; i <= SVL_VECTOR_RANGES_MAX; i++) {
        assert_int_equal(svl_vector_add(numbers, i * 2 + 1), APR_SUCCESS);
    }
    assert_int_equal(svl_vector_add(numbers, 1000000), APR_ENOSPC);
    assert_false(svl_vector_covers(numbers, 1000000));
    assert_int_equal(svl_vector_add(numbers, 4), APR_SUCCESS); /* joins two */
    assert_int_equal(svl_vector_add(numbers, 1000000), APR_SUCCESS);
    assert_int_equal(numbers->ranges->nelts, SVL_VECTOR_RANGES_MAX);
}

static void raising_the_watermark_counts_what_was_missing(void **state)
{
    for (int round = 0; round < 500; round++) {
        apr_pool_t *p;
        model_t model;
        svl_vector_numbers_t *numbers;
        apr_uint64_t watermark = unit_random(MOST + 1);
        apr_uint64_t missing = 0;

        apr_pool_create(&p, *state);
        numbers = by_chance(p, &model);
        for (apr_uint64_t n = 1; n <= watermark; n++) {
            missing += !model.has[n];
            model.has[n] = 1;
        }
        assert_int_equal(svl_vector_raise(numbers, watermark), missing);
        assert_int_equal(svl_vector_raise(numbers, watermark), 0);
        assert_true(numbers->watermark >= watermark);
        check_model(numbers, &model);
        apr_pool_destroy(p);
    }
}

static void the_difference_is_what_the_other_lacks(void **state)
{
    for (int round = 0; round < 500; round++) {
        apr_pool_t *p;
        model_t mine;
        model_t theirs;
        model_t lacking = {{0}};
        svl_vector_numbers_t *one;
        svl_vector_numbers_t *other;
        apr_array_header_t *ranges;
        apr_uint64_t before = 0;
        int limit;

        apr_pool_create(&p, *state);
        one = by_chance(p, &mine);
        other = round % 10 ? by_chance(p, &theirs) : NULL;
        ranges = svl_vector_difference(one, other, MOST, p);
        limit = (int)unit_random((uint64_t)ranges->nelts + 2);
        assert_int_equal(svl_vector_difference(one, other, limit, p)->nelts, limit < ranges->nelts ? limit : ranges->nelts);
        for (int i = 0; i < ranges->nelts; i++) {
            assert_true(range_at(ranges, i)->first > before);
            assert_true(range_at(ranges, i)->last >= range_at(ranges, i)->first);
            before = range_at(ranges, i)->last;
            memset(lacking.has + range_at(ranges, i)->first, 1, before - range_at(ranges, i)->first + 1);
        }
        for (apr_uint64_t n = 1; n <= MOST; n++) {
            assert_int_equal(lacking.has[n], mine.has[n] && !(other && theirs.has[n]));
        }
        apr_pool_destroy(p);
    }
}

static void the_difference_costs_ranges_and_not_numbers(void **state)
{
    svl_vector_numbers_t *one = svl_vector_numbers_make(*state);
    svl_vector_numbers_t *other = svl_vector_numbers_make(*state);
    apr_array_header_t *ranges;

    svl_vector_raise(one, INT64_MAX);
    svl_vector_add(other, INT64_MAX - 1);
    svl_vector_add(other, 3);
    ranges = svl_vector_difference(one, other, 10, *state);
    assert_int_equal(ranges->nelts, 3);
    assert_int_equal(range_at(ranges, 1)->first, 4);
    assert_int_equal(range_at(ranges, 2)->last, INT64_MAX);
    assert_int_equal(svl_vector_difference(other, one, 10, *state)->nelts, 0);
    assert_int_equal(svl_vector_difference(one, other, 0, *state)->nelts, 0);
}

static void the_binary_form_comes_back_as_it_was(void **state)
{
    static const unsigned char bytes[] = {0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1,
                                          0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 5};
    svl_vector_numbers_t *numbers;

    assert_int_equal(svl_vector_decode(&numbers, bytes, sizeof(bytes), *state), APR_SUCCESS);
    assert_int_equal(numbers->watermark, 0x102);
    assert_int_equal(range_at(numbers->ranges, 0)->last, 0x10005);
    for (int round = 0; round < 500; round++) {
        apr_pool_t *p;
        model_t model;
        unsigned char *form;
        apr_size_t size;

        apr_pool_create(&p, *state);
        numbers = by_chance(p, &model);
        size = svl_vector_encoded_size(numbers);
        form = apr_palloc(p, size);
        svl_vector_encode(numbers, form);
        assert_int_equal(svl_vector_decode(&numbers, (unsigned char *)unit_exact(p, form, size), size, p), APR_SUCCESS);
        check_model(numbers, &model);
        form = memcpy(memset(apr_palloc(p, size + 16), 0x7f, size + 16), form, size); /* a sound range follows */
        for (apr_size_t length = 0; length <= size + 16; length++) {
            assert_int_equal(svl_vector_decode(&numbers, form, length, p), length == size ? APR_SUCCESS : APR_EINVAL);
        }
        apr_pool_destroy(p);
    }
}

static void mutated_bytes_never_crash_and_never_break_the_form(void **state)
{
    for (int round = 0; round < 20000; round++) {
        apr_pool_t *p;
        model_t model;
        svl_vector_numbers_t *numbers;
        char *form;
        apr_size_t size;

        apr_pool_create(&p, *state);
        numbers = by_chance(p, &model);
        size = svl_vector_encoded_size(numbers);
        form = unit_exact(p, unit_repeat(p, "x", size), size);
        svl_vector_encode(numbers, (unsigned char *)form);
        unit_mutate(form, size < 48 ? size : 48);
        if (svl_vector_decode(&numbers, (unsigned char *)form, size, p) == APR_SUCCESS) {
            check_form(numbers);
        }
        apr_pool_destroy(p);
    }
}

static json_t *json_of(apr_pool_t *p, const char *text)
{
    json_t *json;

    assert_int_equal(svl_json_parse(&json, text, strlen(text), NULL, p), APR_SUCCESS);
    return json;
}

static void a_vector_is_written_sorted_and_read_back(void **state)
{
    static const char text[] =
        "{\"a/all/" EPOCH "\":[17,[[19,22],[30,30]]],\"b/all/" EPOCH "\":[5,[]],\"b/x/" EPOCH "\":[0,[]]}";
    apr_hash_t *vector;
    apr_size_t length;
    json_t *json;

    assert_int_equal(svl_vector_from_json(&vector, json_of(*state, text), NULL, *state), APR_SUCCESS);
    assert_int_equal(apr_hash_count(vector), 3);
    json = svl_json_own(svl_vector_to_json(vector, *state), *state);
    assert_string_equal(svl_json_write(json, *state, &length), text);
}

/* THREATS 25, 15 */
static void hostile_vectors_are_refused(void **state)
{
    /* clang-format off */
    static const char *const numbers[] = {
        "null", "5", "{}", "[]", "[5]", "[5,[],1]", "[5,5]", "[5,{}]", "[-1,[]]", "[1.0,[]]", "[\"5\",[]]", "[true,[]]",
        "[[],5]", "[5,[[7,6]]]", "[5,[[-7,8]]]", "[5,[[7,-8]]]", "[5,[[7]]]", "[5,[[7,8,9]]]", "[5,[7,8]]", "[5,[[7.0,8]]]",
        "[5,[null]]", "[5,[[6,7]]]", "[5,[[5,7]]]", "[5,[[1,2]]]", "[5,[[0,0]]]", "[5,[[10,12],[13,14]]]",
        "[5,[[10,12],[12,14]]]", "[5,[[10,12],[7,8]]]", "[5,[[10,12],[10,12]]]", "[9223372036854775807,[[1,2]]]",
        "[9223372036854775807,[[9223372036854775807,9223372036854775807]]]", "[0,[[1,5]]]",
    };
    /* clang-format on */
    svl_fault_t fault;
    apr_hash_t *vector;

    for (size_t i = 0; i < UNIT_COUNT(numbers); i++) {
        json_t *json = json_of(*state, apr_psprintf(*state, "{\"a/all/" EPOCH "\":%s}", numbers[i]));

        memset(&fault, 0, sizeof(fault));
        assert_int_equal(svl_vector_from_json(&vector, json, &fault, *state), SVL_EREFUSED);
        assert_int_equal(fault.reason, SVL_REASON_MESSAGE);
        assert_null(vector);
    }
    assert_int_equal(svl_vector_from_json(&vector, json_of(*state, "[]"), &fault, *state), SVL_EREFUSED);
    assert_int_equal(svl_vector_from_json(&vector, NULL, &fault, *state), SVL_EREFUSED);
}

static void hostile_stream_names_are_refused_and_only_quoted_escaped(void **state)
{
    /* clang-format off */
    static const char *const names[] = {
        "", "a", "a/b", "a/b/", "//" EPOCH, "a//" EPOCH, "/b/" EPOCH, "a/b/0123456789ABCDEF", "a/b/0123456789abcde",
        "a/b/" EPOCH "0", "a/b/c/" EPOCH, "a/b/" EPOCH "/",
    };
    /* clang-format on */
    svl_fault_t fault;
    apr_hash_t *vector;

    for (size_t i = 0; i < UNIT_COUNT(names) + UNIT_COUNT(unit_hostile_names); i++) {
        const char *name = i < UNIT_COUNT(names) ? names[i] : unit_hostile_names[i - UNIT_COUNT(names)];
        json_t *json = svl_json_own(json_object(), *state);

        if (i >= UNIT_COUNT(names)) {
            name = apr_pstrcat(*state, "a/", name, "/" EPOCH, NULL);
        }
        json_object_set_new_nocheck(json, name, json_pack("[i[]]", 1));
        assert_int_equal(svl_vector_from_json(&vector, json, &fault, *state), SVL_EREFUSED);
        assert_true(unit_is_printable(fault.detail));
    }
}

static void a_vector_has_bounded_ranges_and_streams(void **state)
{
    json_t *json = svl_json_own(json_object(), *state);
    json_t *ranges = json_array();
    apr_hash_t *vector;

    for (int i = 0; i < SVL_VECTOR_RANGES_MAX; i++) {
        json_array_append_new(ranges, json_pack("[ii]", 2 * i + 2, 2 * i + 2));
    }
    json_object_set_new(json, "a/all/" EPOCH, json_pack("[io]", 0, ranges));
    assert_int_equal(svl_vector_from_json(&vector, json, NULL, *state), APR_SUCCESS);
    json_array_append_new(ranges, json_pack("[ii]", 1000000, 1000000));
    assert_int_equal(svl_vector_from_json(&vector, json, NULL, *state), SVL_EREFUSED);
    json_object_clear(json);
    for (int i = 0; i <= SVL_VECTOR_STREAMS_MAX; i++) {
        json_object_set_new(json, apr_psprintf(*state, "n%d/all/" EPOCH, i), json_pack("[i[]]", 1));
    }
    assert_int_equal(svl_vector_from_json(&vector, json, NULL, *state), SVL_EREFUSED);
}

static void equal_vectors_have_equal_digests_and_others_do_not(void **state)
{
    const char *texts[] = {
        "{\"a/all/" EPOCH "\":[17,[[19,22]]],\"b/all/" EPOCH "\":[5,[]]}",
        "{\"b/all/" EPOCH "\":[5,[]],\"a/all/" EPOCH "\":[17,[[19,22]]]}",
        "{\"a/all/" EPOCH "\":[17,[[19,21]]],\"b/all/" EPOCH "\":[5,[]]}",
        "{\"a/all/" EPOCH "\":[17,[[19,22]]]}",
        "{\"a/all/" EPOCH "\":[18,[[20,22]]],\"b/all/" EPOCH "\":[5,[]]}",
    };
    char digests[UNIT_COUNT(texts)][65];
    char empty[65];
    apr_hash_t *vector;

    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        assert_int_equal(svl_vector_from_json(&vector, json_of(*state, texts[i]), NULL, *state), APR_SUCCESS);
        assert_int_equal(svl_vector_digest(vector, digests[i], *state), APR_SUCCESS);
        assert_int_equal(strspn(digests[i], "0123456789abcdef"), 64);
    }
    assert_string_equal(digests[0], digests[1]);
    for (size_t i = 2; i < UNIT_COUNT(texts); i++) {
        assert_string_not_equal(digests[0], digests[i]);
    }
    assert_int_equal(svl_vector_digest(apr_hash_make(*state), empty, *state), APR_SUCCESS);
    assert_string_equal(empty, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"); /* SHA-256 of {} */
}

static const struct CMUnitTest promises[] = {
    PROMISE("what was added in any order and not dropped is covered", what_was_added_in_any_order_and_not_dropped_is_covered),
    PROMISE("a closed gap leaves only the watermark", a_closed_gap_leaves_only_the_watermark),
    PROMISE("numbers are 1 to 63 bits", numbers_are_1_to_63_bits),
    PROMISE("there are at most 4096 ranges", there_are_at_most_4096_ranges),
    PROMISE("raising the watermark counts what was missing", raising_the_watermark_counts_what_was_missing),
    PROMISE("the difference is what the other lacks", the_difference_is_what_the_other_lacks),
    PROMISE("the difference costs ranges and not numbers", the_difference_costs_ranges_and_not_numbers),
    PROMISE("the binary form comes back as it was", the_binary_form_comes_back_as_it_was),
    PROMISE("mutated bytes never crash and never break the form", mutated_bytes_never_crash_and_never_break_the_form),
    PROMISE("a vector is written sorted and read back", a_vector_is_written_sorted_and_read_back),
    PROMISE("hostile vectors are refused", hostile_vectors_are_refused),
    PROMISE("hostile stream names are refused and only quoted escaped",
            hostile_stream_names_are_refused_and_only_quoted_escaped),
    PROMISE("a vector has bounded ranges and streams", a_vector_has_bounded_ranges_and_streams),
    PROMISE("equal vectors have equal digests, and others do not", equal_vectors_have_equal_digests_and_others_do_not),
};

UNIT_MAIN(promises)

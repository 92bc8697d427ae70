/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/core/name.h"

#include "unit.h"

typedef int grammar_t(const char *name, apr_size_t length);

static const struct {
    grammar_t *fits;
    const char *first;  /* characters that a name may begin with */
    const char *others; /* further ones that may follow */
    size_t shortest;
    size_t longest;
} grammars[] = {
    {svl_name_is_id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", "", 1, 64},
    {svl_name_is_function, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_", "0123456789.-", 1, 128},
    {svl_name_is_node, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:[]-", "", 1, 64},
    {svl_name_is_epoch, "0123456789abcdef", "", 16, 16},
};

static void every_byte_stands_only_where_its_grammar_lets_it(void **state)
{
    char name[16];

    (void)state;
    for (size_t g = 0; g < UNIT_COUNT(grammars); g++) {
        size_t length = grammars[g].shortest > 2 ? grammars[g].shortest : 2;

        for (int byte = 0; byte < 256; byte++) {
            int begins = byte != 0 && strchr(grammars[g].first, byte) != NULL;
            int follows = begins || (byte != 0 && strchr(grammars[g].others, byte) != NULL);

            for (size_t at = 0; at < length; at++) {
                memset(name, 'a', sizeof(name));
                name[at] = (char)byte;
                assert_int_equal(!!grammars[g].fits(name, length), at == 0 ? begins : follows);
            }
        }
    }
}

static void lengths_are_bounded(void **state)
{
    apr_pool_t *p = *state;

    for (size_t g = 0; g < UNIT_COUNT(grammars); g++) {
        for (size_t length = 0; length < 200; length++) {
            const char *name = unit_exact(p, unit_repeat(p, "a", length), length);

            assert_int_equal(!!grammars[g].fits(name, length), length >= grammars[g].shortest && length <= grammars[g].longest);
        }
    }
    assert_false(svl_name_is_id(NULL, 0));
}

static void hostile_names_fit_no_grammar(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(unit_hostile_names); i++) {
        for (size_t g = 0; g < UNIT_COUNT(grammars); g++) {
            assert_false(grammars[g].fits(unit_hostile_names[i], strlen(unit_hostile_names[i])));
        }
    }
}

static void the_length_counts_and_not_a_nul(void **state)
{
    (void)state;
    assert_true(svl_name_is_node("node-a,node-b", 6));
    assert_false(svl_name_is_node("a\0b", 3));
    assert_false(svl_name_is_id("a\0", 2));
}

static void ids_fit_the_grammar_and_never_repeat(void **state)
{
    enum { MANY = 2000 };
    apr_pool_t *p = *state;
    char(*ids)[SVL_NAME_ID_MAX + 1] = apr_palloc(p, MANY * sizeof(*ids));

    for (int i = 0; i < MANY; i++) {
        assert_int_equal(svl_name_make_id(ids[i], INT64_C(1700000000000000)), APR_SUCCESS);
        assert_int_equal(strlen(ids[i]), 28);
        assert_true(svl_name_is_id(ids[i], strlen(ids[i])));
        assert_int_not_equal(ids[i][0], '-');
    }
    for (int i = 0; i < MANY; i++) {
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(ids[i], ids[j]);
        }
    }
}

static void later_ids_sort_after_earlier_ones(void **state)
{
    apr_int64_t now = 1;
    char before[SVL_NAME_ID_MAX + 1];
    char after[SVL_NAME_ID_MAX + 1];

    (void)state;
    assert_int_equal(svl_name_make_id(before, 0), APR_SUCCESS);
    while (now < INT64_C(100000000000000000)) { /* the year 5138 */
        assert_int_equal(svl_name_make_id(after, now), APR_SUCCESS);
        assert_true(memcmp(before, after, 12) < 0);
        memcpy(before, after, sizeof(before));
        now += 1 + (apr_int64_t)unit_random((uint64_t)now);
    }
}

static void epochs_fit_the_grammar_and_differ(void **state)
{
    char one[SVL_NAME_EPOCH + 1];
    char other[SVL_NAME_EPOCH + 1];

    (void)state;
    assert_int_equal(svl_name_make_epoch(one), APR_SUCCESS);
    assert_int_equal(svl_name_make_epoch(other), APR_SUCCESS);
    assert_true(svl_name_is_epoch(one, strlen(one)));
    assert_true(svl_name_is_epoch(other, strlen(other)));
    assert_string_not_equal(one, other);
}

static void the_examples_of_the_protocol_fit(void **state)
{
    (void)state;
    assert_true(svl_name_is_id("msg_p5jXN8AQM9LWM0D4loKWxJek", 28));
    assert_true(svl_name_is_function("cache.purge", 11));
    assert_true(svl_name_is_function("serviceless.ping", 16));
    assert_true(svl_name_is_node("[2001:db8::1]:8080", 18));
    assert_true(svl_name_is_node("10.0.0.1:80", 11));
    assert_false(svl_name_is_epoch("0123456789ABCDEF", 16));
    assert_false(svl_name_is_id("c1.1700000000", 13)); /* a dot would let one signature fit two messages */
}

static const struct CMUnitTest promises[] = {
    PROMISE("every byte stands only where its grammar lets it", every_byte_stands_only_where_its_grammar_lets_it),
    PROMISE("lengths are bounded, and nothing is read beyond them", lengths_are_bounded),
    PROMISE("hostile names fit no grammar", hostile_names_fit_no_grammar),
    PROMISE("the length counts, and not a NUL", the_length_counts_and_not_a_nul),
    PROMISE("ids fit the grammar and never repeat", ids_fit_the_grammar_and_never_repeat),
    PROMISE("later ids sort after earlier ones", later_ids_sort_after_earlier_ones),
    PROMISE("epochs fit the grammar and differ", epochs_fit_the_grammar_and_differ),
    PROMISE("the examples of the protocol fit their grammars", the_examples_of_the_protocol_fit),
};

UNIT_MAIN(promises)

/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: the log's binary form has one spelling, and a version vector does with numbers what a plain set of them does.
 *
 * Input: 'b' and a binary form; or anything else and pairs of an operation and a number. */
#include "fuzz.h"

#include "../../mod_serviceless/core/vector.h"

#define NUMBERS 256 /* of the plain set; what an operation names is below */

static void check_binary(const unsigned char *bytes, apr_size_t length, apr_pool_t *p)
{
    svl_vector_numbers_t *numbers;
    unsigned char *again;

    if (svl_vector_decode(&numbers, bytes, length, p) != APR_SUCCESS) {
        FUZZ_REQUIRE(!numbers);
        return;
    }
    FUZZ_REQUIRE(svl_vector_encoded_size(numbers) == length);
    again = apr_palloc(p, length);
    svl_vector_encode(numbers, again);
    FUZZ_REQUIRE(memcmp(again, bytes, length) == 0);
    FUZZ_REQUIRE(svl_vector_difference(numbers, numbers, 8, p)->nelts == 0);
}

static void apply(svl_vector_numbers_t *numbers, unsigned char *plain, unsigned char operation, unsigned int number)
{
    unsigned int fresh = 0;

    switch (operation % 4) {
    case 0:
        for (unsigned int i = 1; i <= number; i++) {
            fresh += !plain[i];
            plain[i] = 1;
        }
        FUZZ_REQUIRE(svl_vector_raise(numbers, number) == fresh);
        break;
    case 1:
        FUZZ_REQUIRE(svl_vector_drop(numbers, number) == APR_SUCCESS);
        plain[number] = 0;
        break;
    default:
        FUZZ_REQUIRE(svl_vector_has_room(numbers, number));
        FUZZ_REQUIRE(svl_vector_add(numbers, number) == (number ? APR_SUCCESS : APR_EINVAL));
        plain[number] = number > 0;
    }
}

static void check_plain(const svl_vector_numbers_t *numbers, const unsigned char *plain)
{
    unsigned int highest = 0;

    for (unsigned int i = 0; i < NUMBERS; i++) {
        FUZZ_REQUIRE(!svl_vector_covers(numbers, i) == !plain[i]);
        highest = plain[i] ? i : highest;
    }
    FUZZ_REQUIRE(svl_vector_highest(numbers) == highest);
    FUZZ_REQUIRE(numbers->watermark == NUMBERS - 1 || !plain[numbers->watermark + 1]);
}

/* The difference of two is what the plain sets say. */
static void check_difference(const svl_vector_numbers_t *mine, const unsigned char *have, const svl_vector_numbers_t *other,
                             const unsigned char *theirs, apr_pool_t *p)
{
    apr_array_header_t *spans = svl_vector_difference(mine, other, NUMBERS, p);
    unsigned char lacking[NUMBERS] = {0};
    apr_uint64_t before = 0;

    for (int i = 0; i < spans->nelts; i++) {
        const svl_vector_range_t *span = &APR_ARRAY_IDX(spans, i, svl_vector_range_t);

        FUZZ_REQUIRE(span->first > before && span->last >= span->first && span->last < NUMBERS);
        before = span->last;
        memset(lacking + span->first, 1, (size_t)(span->last - span->first + 1));
    }
    for (unsigned int i = 1; i < NUMBERS; i++) {
        FUZZ_REQUIRE(lacking[i] == (have[i] && !theirs[i]));
    }
}

static void check_operations(const unsigned char *bytes, apr_size_t length, apr_pool_t *p)
{
    svl_vector_numbers_t *numbers[2] = {svl_vector_numbers_make(p), svl_vector_numbers_make(p)};
    unsigned char plain[2][NUMBERS] = {{0}};
    unsigned char form[16 + NUMBERS * 16];

    for (apr_size_t i = 0; i + 1 < length; i += 2) {
        apply(numbers[bytes[i] >> 7], plain[bytes[i] >> 7], bytes[i], bytes[i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        check_plain(numbers[i], plain[i]);
        check_difference(numbers[i], plain[i], numbers[!i], plain[!i], p);
        FUZZ_REQUIRE(svl_vector_encoded_size(numbers[i]) <= sizeof(form));
        svl_vector_encode(numbers[i], form);
        check_binary(form, svl_vector_encoded_size(numbers[i]), p);
    }
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    if (length > 0 && bytes[0] == 'b') {
        check_binary((const unsigned char *)bytes + 1, length - 1, p);
    }
    else {
        check_operations((const unsigned char *)bytes, length, p);
    }
}

FUZZ_TARGET(feed)

/* SPDX-License-Identifier: Apache-2.0 */
#include "vector.h"

#include <stdlib.h>
#include <string.h>

static svl_vector_range_t *range_at(const svl_vector_numbers_t *numbers, int i)
{
    return &APR_ARRAY_IDX(numbers->ranges, i, svl_vector_range_t);
}

svl_vector_numbers_t *svl_vector_numbers_make(apr_pool_t *p)
{
    svl_vector_numbers_t *numbers = apr_pcalloc(p, sizeof(*numbers));

    numbers->ranges = apr_array_make(p, 1, sizeof(svl_vector_range_t));
    return numbers;
}

/* @return the index of the first range that ends at `number` or later; how many ranges there are when none does */
static int find_range(const svl_vector_numbers_t *numbers, apr_uint64_t number)
{
    int low = 0;
    int high = numbers->ranges->nelts;

    while (low < high) {
        int middle = low + (high - low) / 2;

        if (range_at(numbers, middle)->last < number) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low;
}

static void remove_ranges(svl_vector_numbers_t *numbers, int first, int count)
{
    int after = numbers->ranges->nelts - first - count;

    if (count > 0 && after > 0) {
        memmove(range_at(numbers, first), range_at(numbers, first + count), (apr_size_t)after * sizeof(svl_vector_range_t));
    }
    numbers->ranges->nelts -= count;
}

static void insert_range(svl_vector_numbers_t *numbers, int at, apr_uint64_t first, apr_uint64_t last)
{
    int after = numbers->ranges->nelts - at;

    apr_array_push(numbers->ranges);
    memmove(range_at(numbers, at + 1), range_at(numbers, at), (apr_size_t)after * sizeof(svl_vector_range_t));
    *range_at(numbers, at) = (svl_vector_range_t){first, last};
}

apr_uint64_t svl_vector_highest(const svl_vector_numbers_t *numbers)
{
    const apr_array_header_t *ranges = numbers->ranges;

    return ranges->nelts ? APR_ARRAY_IDX(ranges, ranges->nelts - 1, svl_vector_range_t).last : numbers->watermark;
}

int svl_vector_covers(const svl_vector_numbers_t *numbers, apr_uint64_t number)
{
    int i;

    if (number <= numbers->watermark) {
        return number > 0;
    }
    i = find_range(numbers, number);
    return i < numbers->ranges->nelts && range_at(numbers, i)->first <= number;
}

/* Takes the ranges that the watermark has reached into it. */
static void swallow(svl_vector_numbers_t *numbers)
{
    int reached = 0;

    while (reached < numbers->ranges->nelts && range_at(numbers, reached)->first <= numbers->watermark + 1) {
        if (range_at(numbers, reached)->last > numbers->watermark) {
            numbers->watermark = range_at(numbers, reached)->last;
        }
        reached++;
    }
    remove_ranges(numbers, 0, reached);
}

int svl_vector_has_room(const svl_vector_numbers_t *numbers, apr_uint64_t number)
{
    int at;

    if (numbers->ranges->nelts < SVL_VECTOR_RANGES_MAX || number <= numbers->watermark + 1) {
        return 1;
    }
    at = find_range(numbers, number);
    return (at > 0 && range_at(numbers, at - 1)->last + 1 >= number)
           || (at < numbers->ranges->nelts && range_at(numbers, at)->first <= number + 1);
}

apr_status_t svl_vector_add(svl_vector_numbers_t *numbers, apr_uint64_t number)
{
    int at;
    int joins_before;
    int joins_after;

    if (number == 0 || number > (apr_uint64_t)SVL_VECTOR_NUMBER_MAX) {
        return APR_EINVAL;
    }
    if (svl_vector_covers(numbers, number)) {
        return APR_SUCCESS;
    }
    if (number == numbers->watermark + 1) {
        numbers->watermark = number;
        swallow(numbers);
        return APR_SUCCESS;
    }
    at = find_range(numbers, number);
    joins_before = at > 0 && range_at(numbers, at - 1)->last + 1 == number;
    joins_after = at < numbers->ranges->nelts && range_at(numbers, at)->first == number + 1;
    if (joins_before && joins_after) {
        range_at(numbers, at - 1)->last = range_at(numbers, at)->last;
        remove_ranges(numbers, at, 1);
    }
    else if (joins_before) {
        range_at(numbers, at - 1)->last = number;
    }
    else if (joins_after) {
        range_at(numbers, at)->first = number;
    }
    else if (numbers->ranges->nelts >= SVL_VECTOR_RANGES_MAX) {
        return APR_ENOSPC;
    }
    else {
        insert_range(numbers, at, number, number);
    }
    return APR_SUCCESS;
}

apr_status_t svl_vector_drop(svl_vector_numbers_t *numbers, apr_uint64_t number)
{
    apr_uint64_t last = numbers->watermark;
    int at = 0;

    if (!svl_vector_covers(numbers, number)) {
        return APR_SUCCESS;
    }
    if (numbers->ranges->nelts >= SVL_VECTOR_RANGES_MAX) {
        return APR_ENOSPC;
    }
    if (number <= numbers->watermark) {
        numbers->watermark = number - 1;
    }
    else {
        svl_vector_range_t *range = range_at(numbers, at = find_range(numbers, number));

        last = range->last;
        range->last = number - 1;
        if (range->first > range->last) {
            remove_ranges(numbers, at, 1);
        }
        else {
            at++;
        }
    }
    if (last > number) {
        insert_range(numbers, at, number + 1, last);
    }
    return APR_SUCCESS;
}

apr_uint64_t svl_vector_raise(svl_vector_numbers_t *numbers, apr_uint64_t watermark)
{
    apr_uint64_t fresh;

    if (watermark > (apr_uint64_t)SVL_VECTOR_NUMBER_MAX) {
        watermark = (apr_uint64_t)SVL_VECTOR_NUMBER_MAX;
    }
    if (watermark <= numbers->watermark) {
        return 0;
    }
    fresh = watermark - numbers->watermark;
    for (int i = 0; i < numbers->ranges->nelts && range_at(numbers, i)->first <= watermark; i++) {
        apr_uint64_t last = range_at(numbers, i)->last;

        fresh -= (last < watermark ? last : watermark) - range_at(numbers, i)->first + 1;
    }
    numbers->watermark = watermark;
    swallow(numbers);
    return fresh;
}

/* The numbers as intervals, the watermark's first. */
static int interval_at(const svl_vector_numbers_t *numbers, int i, svl_vector_range_t *interval)
{
    if (numbers->watermark > 0 && i == 0) {
        *interval = (svl_vector_range_t){1, numbers->watermark};
        return 1;
    }
    i -= numbers->watermark > 0;
    if (i >= numbers->ranges->nelts) {
        return 0;
    }
    *interval = *range_at(numbers, i);
    return 1;
}

apr_array_header_t *svl_vector_difference(const svl_vector_numbers_t *mine, const svl_vector_numbers_t *other, int limit,
                                          apr_pool_t *p)
{
    apr_array_header_t *lacking = apr_array_make(p, 1, sizeof(svl_vector_range_t));
    svl_vector_range_t have;
    svl_vector_range_t theirs;
    int i = 0;
    int j = 0;

    for (int more = interval_at(mine, i, &have); more && lacking->nelts < limit;) {
        if (!other || !interval_at(other, j, &theirs) || theirs.first > have.last) {
            APR_ARRAY_PUSH(lacking, svl_vector_range_t) = have;
            more = interval_at(mine, ++i, &have);
        }
        else if (theirs.last < have.first) {
            j++;
        }
        else {
            if (theirs.first > have.first) {
                APR_ARRAY_PUSH(lacking, svl_vector_range_t) = (svl_vector_range_t){have.first, theirs.first - 1};
            }
            have.first = theirs.last + 1;
            if (have.first > have.last) {
                more = interval_at(mine, ++i, &have);
            }
        }
    }
    return lacking;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "vector.h"

#include <stdlib.h>
#include <string.h>

#include <apr_encode.h>
#include <apr_strings.h>
#include <openssl/evp.h>

#include "json.h"
#include "log.h"
#include "name.h"

#define WORD 8          /* bytes of a number in the binary form */
#define HEAD (2 * WORD) /* watermark and count */
#define PAIR (2 * WORD) /* a range */
#define SHA256 32

static const svl_vector_range_t *range_at(const svl_vector_numbers_t *numbers, int i)
{
    return &APR_ARRAY_IDX(numbers->ranges, i, svl_vector_range_t);
}

static unsigned char *put(unsigned char *bytes, apr_uint64_t number)
{
    for (int i = WORD; i-- > 0; number >>= 8) {
        bytes[i] = (unsigned char)(number & 0xff);
    }
    return bytes + WORD;
}

static apr_uint64_t get(const unsigned char *bytes)
{
    apr_uint64_t number = 0;

    for (int i = 0; i < WORD; i++) {
        number = number << 8 | bytes[i];
    }
    return number;
}

apr_size_t svl_vector_encoded_size(const svl_vector_numbers_t *numbers)
{
    return HEAD + (apr_size_t)numbers->ranges->nelts * PAIR;
}

void svl_vector_encode(const svl_vector_numbers_t *numbers, unsigned char *bytes)
{
    bytes = put(bytes, numbers->watermark);
    bytes = put(bytes, (apr_uint64_t)numbers->ranges->nelts);
    for (int i = 0; i < numbers->ranges->nelts; i++) {
        bytes = put(bytes, APR_ARRAY_IDX(numbers->ranges, i, svl_vector_range_t).first);
        bytes = put(bytes, APR_ARRAY_IDX(numbers->ranges, i, svl_vector_range_t).last);
    }
}

/* Appends a range that came from outside.  @return nonzero when it may stand there: beyond what is before it, not adjacent */
static int append(svl_vector_numbers_t *numbers, apr_uint64_t first, apr_uint64_t last)
{
    int count = numbers->ranges->nelts;
    apr_uint64_t before = count > 0 ? APR_ARRAY_IDX(numbers->ranges, count - 1, svl_vector_range_t).last : numbers->watermark;

    if (count >= SVL_VECTOR_RANGES_MAX || first <= before + 1 || last < first || last > (apr_uint64_t)SVL_VECTOR_NUMBER_MAX) {
        return 0;
    }
    APR_ARRAY_PUSH(numbers->ranges, svl_vector_range_t) = (svl_vector_range_t){first, last};
    return 1;
}

apr_status_t svl_vector_decode(svl_vector_numbers_t **numbers, const unsigned char *bytes, apr_size_t length, apr_pool_t *p)
{
    svl_vector_numbers_t *fresh = svl_vector_numbers_make(p);
    apr_uint64_t count;

    *numbers = NULL;
    if (length < HEAD) {
        return APR_EINVAL;
    }
    fresh->watermark = get(bytes);
    count = get(bytes + WORD);
    if (fresh->watermark > (apr_uint64_t)SVL_VECTOR_NUMBER_MAX || count > SVL_VECTOR_RANGES_MAX
        || length != HEAD + count * PAIR) {
        return APR_EINVAL;
    }
    for (const unsigned char *pair = bytes + HEAD; pair < bytes + length; pair += PAIR) {
        if (!append(fresh, get(pair), get(pair + WORD))) {
            return APR_EINVAL;
        }
    }
    *numbers = fresh;
    return APR_SUCCESS;
}

static int compare_names(const void *one, const void *other)
{
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

/* @return NULL for a lack of memory */
static json_t *numbers_to_json(const svl_vector_numbers_t *numbers)
{
    json_t *ranges = json_array();
    int failed = !ranges;

    for (int i = 0; i < numbers->ranges->nelts && !failed; i++) {
        const svl_vector_range_t *range = range_at(numbers, i);

        failed = json_array_append_new(ranges, json_pack("[II]", (json_int_t)range->first, (json_int_t)range->last));
    }
    if (failed) {
        json_decref(ranges);
        return NULL;
    }
    return json_pack("[Io]", (json_int_t)numbers->watermark, ranges);
}

json_t *svl_vector_to_json(apr_hash_t *vector, apr_pool_t *p)
{
    unsigned int count = apr_hash_count(vector);
    const char **names = apr_palloc(p, (count + 1) * sizeof(*names));
    unsigned int i = 0;
    json_t *json;
    int failed;

    for (apr_hash_index_t *at = apr_hash_first(p, vector); at; at = apr_hash_next(at)) {
        names[i++] = apr_hash_this_key(at);
    }
    qsort(names, count, sizeof(*names), compare_names);
    json = json_object();
    failed = !json;
    for (i = 0; i < count && !failed; i++) {
        failed = json_object_set_new(json, names[i], numbers_to_json(apr_hash_get(vector, names[i], APR_HASH_KEY_STRING)));
    }
    if (failed) {
        json_decref(json);
        json = NULL;
        svl_json_lack(p);
    }
    return json;
}

static int is_stream(const char *name)
{
    const char *set = strchr(name, '/');
    const char *epoch = set ? strchr(set + 1, '/') : NULL;

    return epoch && svl_name_is_node(name, (apr_size_t)(set - name)) && svl_name_is_node(set + 1, (apr_size_t)(epoch - set - 1))
           && svl_name_is_epoch(epoch + 1, strlen(epoch + 1));
}

/* @return nonzero and a number of 63 bits that is not negative */
static int read_number(const json_t *json, apr_uint64_t *number)
{
    json_int_t value = json_integer_value(json);

    *number = (apr_uint64_t)value;
    return json_is_integer(json) && value >= 0;
}

static svl_vector_numbers_t *numbers_from_json(const json_t *json, apr_pool_t *p)
{
    svl_vector_numbers_t *numbers = svl_vector_numbers_make(p);
    const json_t *ranges = json_array_get(json, 1);
    apr_uint64_t first;
    apr_uint64_t last;

    if (json_array_size(json) != 2 || !json_is_array(ranges) || !read_number(json_array_get(json, 0), &numbers->watermark)) {
        return NULL;
    }
    for (apr_size_t i = 0; i < json_array_size(ranges); i++) {
        const json_t *pair = json_array_get(ranges, i);

        if (json_array_size(pair) != 2 || !read_number(json_array_get(pair, 0), &first)
            || !read_number(json_array_get(pair, 1), &last) || !append(numbers, first, last)) {
            return NULL;
        }
    }
    return numbers;
}

apr_status_t svl_vector_from_json(apr_hash_t **vector, const json_t *json, svl_fault_t *fault, apr_pool_t *p)
{
    apr_hash_t *fresh = apr_hash_make(p);

    *vector = NULL;
    if (!json_is_object(json) || json_object_size(json) > SVL_VECTOR_STREAMS_MAX) {
        return svl_fault_set(fault, SVL_REASON_MESSAGE, p, "the vector is no object of at most 100000 streams");
    }
    for (void *at = json_object_iter((json_t *)json); at; at = json_object_iter_next((json_t *)json, at)) {
        const char *name = json_object_iter_key(at);
        svl_vector_numbers_t *numbers;

        if (!is_stream(name)) {
            return svl_fault_set(fault, SVL_REASON_MESSAGE, p, "%s in the vector is no stream",
                                 svl_log_escape(p, name, SVL_NAME_STREAM_MAX));
        }
        numbers = numbers_from_json(json_object_iter_value(at), p);
        if (!numbers) {
            return svl_fault_set(fault, SVL_REASON_MESSAGE, p, "the numbers of %s are no watermark and ascending ranges", name);
        }
        apr_hash_set(fresh, apr_pstrdup(p, name), APR_HASH_KEY_STRING, numbers);
    }
    *vector = fresh;
    return APR_SUCCESS;
}

apr_status_t svl_vector_digest(apr_hash_t *vector, char digest[65], apr_pool_t *p)
{
    json_t *json = svl_vector_to_json(vector, p);
    unsigned char bytes[EVP_MAX_MD_SIZE];
    apr_size_t length;
    const char *text = svl_json_write(json, p, &length);

    json_decref(json);
    if (!text || EVP_Digest(text, length, bytes, NULL, EVP_sha256(), NULL) != 1) {
        return APR_EGENERAL;
    }
    return apr_encode_base16_binary(digest, bytes, SHA256, APR_ENCODE_LOWER, NULL);
}

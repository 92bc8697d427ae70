/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include <apr_general.h>

#include "../../mod_serviceless/core/json.h"

#define WORDS_MAX 2048 /* bytes of a detail: names and escaped pieces of bounded length */

/* Memory that one input may take, all at once, as nothing is given back before its pool: the smallest pieces of JSON, {} and a comma,
 * become 250 bytes each in jansson, and a target parses what it has written once or twice more. */
#define FACTOR 1024
#define BASE (512 << 10)

/* What the address sanitizer knows; without it the C library is asked. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static apr_size_t used(void)
{
    struct mallinfo2 info;

    if (__sanitizer_get_current_allocated_bytes) {
        return __sanitizer_get_current_allocated_bytes();
    }
    info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static int lack(int status)
{
    (void)status;
    fuzz_fail("there is memory", __FILE__, __LINE__);
}

/* @return nonzero when it kept within its bounds */
static int attempt(fuzz_feed_t *feed, const char *bytes, apr_size_t length)
{
    apr_size_t before = used();
    apr_size_t at_most;
    apr_pool_t *p;

    apr_pool_create_unmanaged_ex(&p, lack, NULL);
    feed(bytes, length, p);
    at_most = used();
    apr_pool_destroy(p);
    /* the C library counts what it keeps for the next allocation */
    return at_most <= before + BASE + length * FACTOR && (!__sanitizer_get_current_allocated_bytes || used() <= before);
}

int fuzz_one(fuzz_feed_t *feed, const unsigned char *bytes, size_t length)
{
    static int begun;

    if (!begun) {
        begun = 1;
        FUZZ_REQUIRE(apr_initialize() == APR_SUCCESS);
    }
    /* libraries set themselves up at their first use, so once may be more */
    FUZZ_REQUIRE(attempt(feed, (const char *)bytes, length) || attempt(feed, (const char *)bytes, length));
    return 0;
}

void fuzz_fail(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

void fuzz_printable(const char *text)
{
    apr_size_t length = 0;

    FUZZ_REQUIRE(text);
    for (; text[length]; length++) {
        FUZZ_REQUIRE(text[length] >= 0x20 && text[length] < 0x7f);
    }
    FUZZ_REQUIRE(length <= WORDS_MAX);
}

void fuzz_refused(apr_status_t status, const svl_fault_t *fault, svl_reason_e one, svl_reason_e other, apr_pool_t *p)
{
    apr_size_t length;
    const char *document;

    FUZZ_REQUIRE(status == SVL_EREFUSED);
    FUZZ_REQUIRE(fault->reason == one || fault->reason == other);
    fuzz_printable(fault->detail);
    document = svl_fault_document(fault, p, &length);
    FUZZ_REQUIRE(json_integer_value(json_object_get(fuzz_json(document, length, p), "status"))
                 == svl_fault_http(fault->reason));
}

json_t *fuzz_json(const char *text, apr_size_t length, apr_pool_t *p)
{
    json_t *json;

    FUZZ_REQUIRE(svl_json_parse(&json, text, length, NULL, p) == APR_SUCCESS);
    return json;
}

char *fuzz_line(const char **bytes, apr_size_t *length, apr_pool_t *p)
{
    const char *newline = *length > 0 ? memchr(*bytes, '\n', *length) : NULL;
    apr_size_t size = newline ? (apr_size_t)(newline - *bytes) : *length;
    char *line = apr_pstrmemdup(p, *length > 0 ? *bytes : "", size);

    *bytes += size + (newline != NULL);
    *length -= size + (newline != NULL);
    return line;
}

int fuzz_same(const char *one, const char *other)
{
    return one && other ? strcmp(one, other) == 0 : one == other;
}

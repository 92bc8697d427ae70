/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file t/unit/unit.h
 * @brief What the unit tests share: promises as cmocka tests with a pool each, TAP output, repeatable chance, exact buffers.
 */
#ifndef SVL_UNIT_H
#define SVL_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_pools.h>
#include <apr_strings.h>

#define UNIT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A test: the promise in words, and the function that holds it to it.  *state is a pool that ends with the test. */
#define PROMISE(words, function)                                                                                               \
    {                                                                                                                          \
        words, function, unit_begin, unit_end, NULL                                                                            \
    }

#define UNIT_MAIN(promises)                                                                                                    \
    int main(void)                                                                                                             \
    {                                                                                                                          \
        apr_initialize();                                                                                                      \
        atexit(apr_terminate);                                                                                                 \
        cmocka_set_message_output(CM_OUTPUT_TAP);                                                                              \
        return cmocka_run_group_tests(promises, NULL, NULL);                                                                   \
    }

static inline int unit_begin(void **state)
{
    return apr_pool_create((apr_pool_t **)state, NULL);
}

static inline int unit_end(void **state)
{
    apr_pool_destroy(*state);
    return 0;
}

/* xorshift64: the same numbers every time, so that what fails once fails again.  @return 0 … below - 1 */
static inline uint64_t unit_random(uint64_t below)
{
    static uint64_t x = UINT64_C(0x9e3779b97f4a7c15);

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x % below;
}

static inline apr_status_t unit_free(void *data)
{
    free(data);
    return APR_SUCCESS;
}

/* The bytes alone in a block of their size, without a NUL: what reads further is seen by valgrind and the address sanitizer. */
static inline char *unit_exact(apr_pool_t *p, const void *bytes, size_t length)
{
    char *copy = malloc(length ? length : 1);

    assert_non_null(copy);
    memcpy(copy, bytes, length);
    apr_pool_cleanup_register(p, copy, unit_free, apr_pool_cleanup_null);
    return copy;
}

static inline char *unit_repeat(apr_pool_t *p, const char *text, size_t times)
{
    size_t length = strlen(text);
    char *all = apr_palloc(p, length * times + 1);

    for (size_t i = 0; i < times; i++) {
        memcpy(all + i * length, text, length);
    }
    all[length * times] = '\0';
    return all;
}

/* @return JSON that is written with ' for " here, so that people can read it */
static inline char *unit_json(apr_pool_t *p, const char *text)
{
    char *json = apr_pstrdup(p, text);

    for (char *quote = strchr(json, '\''); quote; quote = strchr(quote, '\'')) {
        *quote = '"';
    }
    return json;
}

/* Changes 1 to 4 bytes, by chance. */
static inline void unit_mutate(char *bytes, size_t length)
{
    for (uint64_t n = 1 + unit_random(4); length > 0 && n > 0; n--) {
        bytes[unit_random(length)] = (char)unit_random(256);
    }
}

static inline int unit_is_printable(const char *text)
{
    while (*text >= 0x20 && *text < 0x7f) {
        text++;
    }
    return *text == '\0';
}

/* THREATS 15: what a name must never be. */
/* clang-format off */
static const char *const unit_hostile_names[] = {
    "", "a\r\nSet-Cookie: x", "\n", "a\n", "\x1b[31mred", "a\x1b", "../etc/passwd", "a/b", "%s%n", "<b>", "a b", " a", "a ",
    "a\tb", "a\"b", "a\\b", "a,b", "a;b", "a\x7f", "caf\xc3\xa9", "\xff", "a'b", "$(reboot)", "`id`", "a&b", "a?b", "a#b",
    "a=b", "a+b", "a@b", "a*", "{a}", "a|b", "a\x80", "a\xc2\x85",
};
/* clang-format on */

/* Between two looks at what threads do. */
static inline void unit_breathe(void)
{
    struct timespec breath = {0, 1000000};
    nanosleep(&breath, NULL);
}

#endif

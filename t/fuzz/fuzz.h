/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file t/fuzz/fuzz.h
 * @brief What the fuzz targets share.  A target is one file that says FUZZ_TARGET(feed); feed gets one input and requires what the
 * parser promises.  libFuzzer runs it (make fuzz), and replay.c feeds it the files of its corpus (make check-fuzz).
 */
#ifndef SVL_FUZZ_H
#define SVL_FUZZ_H

#include <stddef.h>
#include <string.h>

#include <apr_pools.h>
#include <apr_strings.h>
#include <jansson.h>

#include "../../mod_serviceless/core/fault.h"

/** Takes one input.  @param bytes exactly so many, not terminated  @param p is made for this input, and destroyed after it */
typedef void fuzz_feed_t(const char *bytes, apr_size_t length, apr_pool_t *p);

/** Feeds an input in a pool of its own, and requires that its memory was bounded by a multiple of the input and given back. */
int fuzz_one(fuzz_feed_t *feed, const unsigned char *bytes, size_t length);

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t length);

#define FUZZ_TARGET(feed)                                                                                                      \
    int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t length)                                                      \
    {                                                                                                                          \
        return fuzz_one(feed, bytes, length);                                                                                  \
    }

#define FUZZ_REQUIRE(condition) ((condition) ? (void)0 : fuzz_fail(#condition, __FILE__, __LINE__))

/** Says what did not hold and aborts. */
void fuzz_fail(const char *condition, const char *file, int line) __attribute__((noreturn));

/** Requires a refusal with one of the reasons, in words of printable ASCII, and a problem document that is JSON. */
void fuzz_refused(apr_status_t status, const svl_fault_t *fault, svl_reason_e one, svl_reason_e other, apr_pool_t *p);

/** Requires printable ASCII and at most 2,048 bytes. */
void fuzz_printable(const char *text);

/** @return JSON that must parse */
json_t *fuzz_json(const char *text, apr_size_t length, apr_pool_t *p);

/** @return a copy of the input up to the next newline, which is skipped; without a NUL in it, as headers come */
char *fuzz_line(const char **bytes, apr_size_t *length, apr_pool_t *p);

/** @return nonzero when both are NULL or equal texts */
int fuzz_same(const char *one, const char *other);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file bench/measure.h
 * @brief What the bench's generators share, so that all are measured alike: the message, a receiver's work, and the time until every
 * receiver has done it.
 */
#ifndef SVL_BENCH_MEASURE_H
#define SVL_BENCH_MEASURE_H

#include <apr_pools.h>

#include "../mod_serviceless/core/sign.h"
#include "board.h"

/** A generator's command line: `what board keys receivers bytes count batch …`; keys is a key file. */
typedef struct bench_t {
    apr_pool_t *pool;
    apr_pool_t *scratch;  /**< cleared after each publishing */
    const char *what;     /**< latency: one message at a time; sustained: as many as there can be; anything else is the generator's own */
    bench_place_t *board;
    int receivers;        /**< the first so many places are waited for */
    int bytes;            /**< of a call line, about; at least BENCH_BYTES_LEAST */
    int count;            /**< messages to send */
    int batch;            /**< how many are published together, and acknowledged together */
    const char *const *more; /**< the generator's own arguments */
    int mores;
    struct bench_signing_t *signing;
} bench_t;

#define BENCH_BYTES_LEAST 150
#define BENCH_WARM 20    /**< messages before those whose latency counts */
#define BENCH_PAUSE 2000 /**< microseconds between two of them */

/** Reads the command line, or ends the process with a line about what is wrong.
 * @param usage of the generator's own arguments  @param mores how many there must be */
void bench_begin(bench_t *bench, int argc, const char *const *argv, int mores, const char *usage);

/** @return the place of the board with this number; ends the process if there is none */
bench_place_t *bench_place(const bench_t *bench, const char *number);

/** Ends the process: prints a line of what happened, with the value. */
void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/** A call line as an origin makes it, of about bench->bytes, with an id that no other has.  @return of bench->scratch */
const char *bench_line(bench_t *bench, const char *function, const char *origin, const char *epoch, apr_uint64_t seq, apr_size_t *length);

/** Signs a request with an id that no other has.  @param prefix of that id, not longer than 8  @param headers of bench->scratch */
void bench_sign(bench_t *bench, const char *prefix, const char *body, apr_size_t length, svl_sign_headers_t *headers);

/** A call line with its signature, for those who know no headers: `id timestamp signature LF line`.  @return of bench->scratch */
const char *bench_sealed(bench_t *bench, apr_size_t *length);

/** A receiver's work, the same as a node's: verifies what bench_sealed made, parses its JSON, notes it.  Ends the process if it is
 * not as it was made. */
void bench_handle(bench_t *bench, bench_place_t *place, const char *sealed, apr_size_t length);

/** Publishes @a count messages, each new, and returns when whatever takes them first has acknowledged them. */
typedef void bench_publish_t(void *baton, bench_t *bench, int count);

/** Does bench->count messages as bench->what says, and prints one line of JSON:
 *  latency    {"us":[…]}: from before the publishing to the last receiver's note, for each message
 *  sustained  {"messages":N,"deliveries":N,"seconds":S}: from before the first publishing to the last note of all */
void bench_run(bench_t *bench, bench_publish_t *publish, void *baton);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file bench/board.h
 * @brief How receivers tell the bench that they have handled a message.
 *
 * Receivers are processes of any kind (httpd's children, subscribers of a broker).  They tell through a shared file, the board, which has
 * a place for each receiver: how many messages it has handled, and when the last.  So whoever waits needs nothing from what is
 * measured.
 */
#ifndef SVL_BENCH_BOARD_H
#define SVL_BENCH_BOARD_H

#include <apr.h>

#define BENCH_PLACES 64

typedef struct bench_place_t {
    apr_uint64_t handled; /**< atomic */
    apr_int64_t last;     /**< atomic; bench_now */
    char apart[48];       /**< a cache line each */
} bench_place_t;

/** @return the board in the file @a path, which is made if need be: BENCH_PLACES places; NULL, with errno */
bench_place_t *bench_board(const char *path);

/** @return microseconds of a clock that no one sets, the same for all processes */
apr_int64_t bench_now(void);

/** A message was handled. */
void bench_note(bench_place_t *place);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/records.h
 * @brief Keys and values of the log's tables as bytes.  Knows no LMDB.
 *
 * All integers are big-endian, so that keys sort as numbers do.
 *
 *   table     key                      value
 *   meta      "format"                 format(4)
 *   (top)     "node"                   created(8) boot(36) flags(1) name; LMDB's own table, which names the others
 *             "lost"                   time(8): when the log in whose place this one was begun was last used, about; or not there
 *             "running"                id(8) of the file of running.h that goes with it; or zeros, or not there: none does
 *             "journal"                where(8) in it batches begin that are not in the log (journal.h)
 *             "anew" epoch             next(8) last(8) position of calls of a superseded epoch to be logged anew
 *             "state"                  epoch(16) last position(8) owners given(8) runs pending(8) streams given(4)
 *   calls     position(8)              arrived(8) issued(8) expires(8) seq(8) stream(4) flags(1) line (refused: the id;
 *                                      missed: JSON)
 *   ids       id                       position(8) of the first entry with it
 *   aliases   id 0 position(8)         nothing; the entries with an id but for the first
 *   streams   "origin/set/epoch"       number(4) pruned(8) latest(8) numbers (svl_vector_encode)
 *   numbers   stream(4) seq(8)         position(8); for seq 0 the name of the stream
 *   work      position(8) of its first owner(8) accepted(8) arity(4) count(4) left(4) flags(1) states(count) route
 *   outcomes  position(8)              outcome(1, top bit: text dropped) micros(8) ended(8) text
 *   every     position(8)              of an entry that every child process is to run: nothing, or, once it was announced again, the
 *                                      position(8) of that and how often(1).  There, where no entry is: the entry's position(8), and
 *                                      where it was listed before(8)
 *
 * A call costs one append to calls, one insertion into ids and one into numbers; a batch costs one work record.  What counts a
 * table's records is LMDB's own count.
 */
#ifndef SVL_STORE_RECORDS_H
#define SVL_STORE_RECORDS_H

#include <apr.h>
#include <apr_errno.h>
#include <apr_time.h>

#include "store.h"

#define SVL_RECORDS_FORMAT 3
#define SVL_RECORDS_BOOT 36 /**< bytes of Linux's boot id, a UUID */

#define SVL_RECORDS_FORMAT_SIZE 4
#define SVL_RECORDS_NODE_SIZE 45 /**< without the name */
#define SVL_RECORDS_STATE_SIZE 44
#define SVL_RECORDS_CALL_SIZE 37 /**< without the line */
#define SVL_RECORDS_POSITION_SIZE 8
#define SVL_RECORDS_NUMBER_SIZE 12
#define SVL_RECORDS_ALIAS_SIZE (SVL_NAME_ID_MAX + 9)
#define SVL_RECORDS_STREAM_SIZE 20 /**< without the numbers */
#define SVL_RECORDS_WORK_SIZE 29   /**< without states and route */
#define SVL_RECORDS_EVERY_SIZE 9
#define SVL_RECORDS_AGAIN_SIZE 16
#define SVL_RECORDS_OUTCOME_SIZE 17 /**< without the text */

static inline void svl_records_put32(unsigned char *bytes, apr_uint32_t value)
{
    bytes[0] = (unsigned char)(value >> 24);
    bytes[1] = (unsigned char)(value >> 16);
    bytes[2] = (unsigned char)(value >> 8);
    bytes[3] = (unsigned char)value;
}

static inline apr_uint32_t svl_records_get32(const unsigned char *bytes)
{
    return (apr_uint32_t)bytes[0] << 24 | (apr_uint32_t)bytes[1] << 16 | (apr_uint32_t)bytes[2] << 8 | bytes[3];
}

static inline void svl_records_put64(unsigned char *bytes, apr_uint64_t value)
{
    svl_records_put32(bytes, (apr_uint32_t)(value >> 32));
    svl_records_put32(bytes + 4, (apr_uint32_t)value);
}

static inline apr_uint64_t svl_records_get64(const unsigned char *bytes)
{
    return (apr_uint64_t)svl_records_get32(bytes) << 32 | svl_records_get32(bytes + 4);
}

/** What changes with most transactions, in one record: one read and one write each. */
typedef struct svl_records_state_t {
    char epoch[SVL_NAME_EPOCH + 1];
    apr_uint64_t last;    /**< position of the newest entry */
    apr_uint64_t owners;  /**< owner numbers given */
    apr_uint64_t pending; /**< runs not ended */
    apr_uint32_t streams; /**< stream numbers given */
} svl_records_state_t;

#define SVL_RECORDS_NODE_ASYNC 1 /**< prepared without fsync: an operating system's crash may have taken numbers back */

/** Whose log it is. */
typedef struct svl_records_node_t {
    apr_time_t created;
    char boot[SVL_RECORDS_BOOT];
    unsigned char flags;
    const char *name; /**< borrowed, not terminated */
    apr_size_t name_length;
} svl_records_node_t;

#define SVL_RECORDS_CALL_ALIAS 1     /**< the id has an earlier entry */
#define SVL_RECORDS_CALL_REFUSED 2   /**< holds an id instead of a line */
#define SVL_RECORDS_CALL_IDLE 4      /**< this node is not to run it */
#define SVL_RECORDS_CALL_MISSED 8    /**< no call, of no stream: tells how many were given up */
#define SVL_RECORDS_CALL_UNROUTED 16 /**< no route has come with it: it came by sync, or at the end of its route */

typedef struct svl_records_call_t {
    apr_time_t arrived;
    apr_int64_t issued;  /**< milliseconds */
    apr_int64_t expires; /**< milliseconds */
    apr_uint64_t seq;
    apr_uint32_t stream;
    unsigned char flags;
    const char *text; /**< borrowed */
    apr_size_t length;
} svl_records_call_t;

typedef struct svl_records_stream_t {
    apr_uint32_t number;
    apr_uint64_t pruned; /**< numbers up to this one are not held */
    apr_int64_t latest;  /**< milliseconds; the newest `issued` of its entries, or arrival where that is earlier; negative:
                                       none was ever seen, and the last ones were given up at this time */
    const unsigned char *numbers; /**< borrowed */
    apr_size_t length;
} svl_records_stream_t;

#define SVL_RECORDS_WORK_ROUTE 1     /**< the route is still to be relayed */
#define SVL_RECORDS_WORK_CONTINUES 2 /**< of the same batch as the record that ends where this one begins */

/** A run's state is in the low two bits of its byte, how often it was cut short by its process's end in the others. */
typedef enum { SVL_RECORDS_RUN_NONE, SVL_RECORDS_RUN_TODO, SVL_RECORDS_RUN_STARTED, SVL_RECORDS_RUN_DONE } svl_records_run_e;
#define SVL_RECORDS_RUN_MASK 3
#define SVL_RECORDS_RUN_ATTEMPT 4
#define SVL_RECORDS_RUN_ATTEMPTS_MAX 63

typedef struct svl_records_work_t {
    apr_uint64_t owner;
    apr_time_t accepted;
    apr_uint32_t arity;
    apr_uint32_t count;
    apr_uint32_t left; /**< runs not ended */
    unsigned char flags;
    const unsigned char *states; /**< borrowed */
    const char *route;           /**< borrowed, not terminated */
    apr_size_t route_length;
} svl_records_work_t;

typedef struct svl_records_outcome_t {
    unsigned char outcome;
    int dropped; /**< there was a text, and no room for it */
    apr_int64_t micros;
    apr_time_t ended;
    const char *text; /**< borrowed, not terminated; NULL for none */
    apr_size_t length;
} svl_records_outcome_t;

void svl_records_put_number(unsigned char key[SVL_RECORDS_NUMBER_SIZE], apr_uint32_t stream, apr_uint64_t seq);
/** @return the length of the key */
apr_size_t svl_records_put_alias(unsigned char key[SVL_RECORDS_ALIAS_SIZE], const char *id, apr_uint64_t position);

/* Writers fill the fixed part; what follows it is the caller's to copy, but for work, whose states and route they write too. */
void svl_records_put_state(unsigned char *bytes, const svl_records_state_t *state);
void svl_records_put_node(unsigned char *bytes, const svl_records_node_t *node);
void svl_records_put_call(unsigned char *bytes, const svl_records_call_t *call);
void svl_records_put_stream(unsigned char *bytes, const svl_records_stream_t *stream);
void svl_records_put_work(unsigned char *bytes, const svl_records_work_t *work);
void svl_records_put_outcome(unsigned char *bytes, const svl_records_outcome_t *outcome);

/* Readers return APR_SUCCESS, or SVL_EDAMAGED for bytes that are no such record. */
apr_status_t svl_records_get_state(svl_records_state_t *state, const void *bytes, apr_size_t length);
apr_status_t svl_records_get_node(svl_records_node_t *node, const void *bytes, apr_size_t length);
apr_status_t svl_records_get_call(svl_records_call_t *call, const void *bytes, apr_size_t length);
apr_status_t svl_records_get_stream(svl_records_stream_t *stream, const void *bytes, apr_size_t length);
apr_status_t svl_records_get_work(svl_records_work_t *work, const void *bytes, apr_size_t length);
apr_status_t svl_records_get_outcome(svl_records_outcome_t *outcome, const void *bytes, apr_size_t length);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/call.h
 * @brief Calls: what a client asks for, the line that an origin makes of it, and how a call ended.
 */
#ifndef SVL_CORE_CALL_H
#define SVL_CORE_CALL_H

#include <apr_pools.h>
#include <jansson.h>

#include "fault.h"
#include "json_scan.h"
#include "name.h"

#define SVL_CALL_TIMEOUT_MAX 86400                       /**< seconds: a day; nobody waits longer for an answer */
#define SVL_CALL_TTL_MAX APR_INT64_C(1000000000)         /**< seconds: 31 years; larger ones are read as this, so sums hold */
#define SVL_CALL_ISSUED_MAX APR_INT64_C(253402300799999) /**< milliseconds: the end of the year 9999, so sums hold */

/** How a call ended on a node. */
typedef enum {
    SVL_OUTCOME_PENDING = 0,      /**< accepted, not ended yet */
    SVL_OUTCOME_OK,
    SVL_OUTCOME_ERROR,
    SVL_OUTCOME_UNKNOWN_FUNCTION,
    SVL_OUTCOME_REFUSED,
    SVL_OUTCOME_UNREACHABLE,
    SVL_OUTCOME_UNKNOWN,
    SVL_OUTCOME_EXPIRED,
    SVL_OUTCOME_MISSED,
    SVL_OUTCOME_ACCEPTED,         /**< this node is not in the call's set: logged and relayed, not run */
    SVL_OUTCOME_QUARANTINED,      /**< a crash cut it short and it is not run again */
    SVL_OUTCOME_COUNT
} svl_outcome_e;

/** @return "ok", "unknown-function", …, from one table */
const char *svl_call_outcome_name(svl_outcome_e outcome);

/** When a client wants its answer. */
typedef enum { SVL_REPLY_LOCAL, SVL_REPLY_ALL, SVL_REPLY_ACCEPTED } svl_reply_e;

/** A client's call document. */
typedef struct svl_call_request_t {
    const char *id;           /**< the request's webhook-id, or the member */
    const char *function;
    json_t *args;             /**< array, never NULL; lives as long as the pool */
    json_t *kwargs;           /**< object, never NULL; lives as long as the pool */
    svl_reply_e reply;
    const char *nodes;        /**< set, or NULL */
    int has_mode;
    apr_uint32_t arity;       /**< when has_mode */
    apr_int64_t timeout_ms;   /**< 0: not given; at most one day */
    apr_int64_t ttl;          /**< seconds, at most SVL_CALL_TTL_MAX; 0: not given */
} svl_call_request_t;

/** Parses a client's call.  Members that are not listed are an error.
 * @param id the request's webhook-id, which a member "id" must equal; NULL: there is none, and the member is required
 * @return APR_SUCCESS, or SVL_EREFUSED with SVL_REASON_JSON or SVL_REASON_CALL */
apr_status_t svl_call_parse_request(svl_call_request_t **request, const char *body, apr_size_t length, const char *id,
                                    svl_fault_t *fault, apr_pool_t *p);

/** A call line, parsed. */
typedef struct svl_call_line_t {
    const char *id, *function, *origin, *set, *epoch;
    apr_uint64_t seq;     /**< 1 … */
    apr_int64_t issued;   /**< milliseconds since 1970, by the origin's clock; 1 … SVL_CALL_ISSUED_MAX */
    apr_int64_t ttl;      /**< seconds; 1 … SVL_CALL_TTL_MAX */
    json_t *args;         /**< array; lives as long as the pool */
    json_t *kwargs;       /**< object; lives as long as the pool */
} svl_call_line_t;

/** Parses a call line (without its newline).  Unknown members are allowed: a newer node may add some.
 * When the refusal is of the content only, @a call still has id, origin, set, epoch and seq, so that its number can be covered
 * (the other members are zero where they do not fit); otherwise @a call is NULL.
 * @return APR_SUCCESS, or SVL_EREFUSED with SVL_REASON_JSON or SVL_REASON_CALL */
apr_status_t svl_call_parse_line(svl_call_line_t **call, const char *line, apr_size_t length, svl_fault_t *fault,
                                 apr_pool_t *p);

/** The same for who needs no arguments: they are checked, but args and kwargs may be NULL.  Much faster for lines as nodes write them. */
apr_status_t svl_call_check_line(svl_call_line_t **call, const char *line, apr_size_t length, svl_fault_t *fault,
                                 apr_pool_t *p);

/** Reads a line of the form that svl_call_draft writes, with values of the usual kinds (json_scan.h), without the JSON library.
 * @param call receives all but args and kwargs  @param args, kwargs receive these as text, which is strict JSON
 * @return 0: the line is of another form, or wrong; @a call may have been written to */
int svl_call_scan(svl_call_line_t *call, svl_json_scan_part_t *args, svl_json_scan_part_t *kwargs, const char *line, apr_size_t length,
                  apr_pool_t *p);

/** A line that waits for its number: head, then svl_call_stamp's bytes, then tail. */
typedef struct svl_call_draft_t {
    const char *head;      /**< {"id":…,"function":…,"args":…,"kwargs":…,"origin":…,"set":…, */
    apr_size_t head_length;
    const char *tail;      /**< ,"issued":…,"ttl":…} */
    apr_size_t tail_length;
} svl_call_draft_t;

/** Makes the draft of a line.  @param args, kwargs NULL: empty
 * @return APR_SUCCESS; APR_EINVAL when args or kwargs cannot be written as strict JSON within the depth of a line, or when
 * another part does not fit its grammar: what svl_call_draft writes, svl_call_parse_line takes */
apr_status_t svl_call_draft(svl_call_draft_t *draft, const char *id, const char *function, const json_t *args,
                            const json_t *kwargs, const char *origin, const char *set, apr_int64_t issued, apr_int64_t ttl,
                            apr_pool_t *p);

#define SVL_CALL_STAMP_MAX 64 /**< bytes of "epoch":"…","seq":… with 20 digits */
/** Writes `"epoch":"…","seq":N` (no NUL).  @return its length */
apr_size_t svl_call_stamp(char bytes[SVL_CALL_STAMP_MAX], const char *epoch, apr_uint64_t seq);

/** Compares two calls by content: function, args, kwargs, and the set unless @a set is NULL.  Keys in any order; 1 is not 1.0;
 * args and kwargs that are NULL are empty.
 * @return nonzero when equal */
int svl_call_equal(const svl_call_line_t *call, const char *function, const json_t *args, const json_t *kwargs,
                   const char *set);

/** A node's answer to a client: {"id":…,"node":…,"outcome":…[,"result":…][,"detail":…][,"duplicate":true]} .
 * @param result the JSON text of the result, or NULL; written for ok only (NULL: null)
 * @param detail words for error and others, or NULL */
const char *svl_call_answer(const char *id, const char *node, svl_outcome_e outcome, const char *result, const char *detail,
                            int duplicate, apr_pool_t *p, apr_size_t *length);

#endif

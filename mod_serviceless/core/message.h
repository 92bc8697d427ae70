/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/message.h
 * @brief Messages between nodes: framing of relay lines and call lines, and acknowledgements (PROTOCOL, Node to node).
 */
#ifndef SVL_CORE_MESSAGE_H
#define SVL_CORE_MESSAGE_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <jansson.h>

#include "fault.h"

#define SVL_MESSAGE_SLACK 65536    /**< bytes that a message may have over ServicelessMaxBody: room for relay lines */
#define SVL_MESSAGE_CALLS_MAX 65536 /**< call lines of one message; bounds the work of one request */

/** A piece of the message's body; not terminated. */
typedef struct svl_message_line_t {
    const char *text;
    apr_size_t length;
} svl_message_line_t;

/** One relay line and the call lines after it, up to the next relay line. */
typedef struct svl_message_group_t {
    apr_array_header_t *route; /**< const char *: names as they came, each of the grammar, no name twice */
    apr_array_header_t *bad;   /**< const char *: names of the route that came again or do not fit the grammar (escaped) */
    apr_uint32_t arity;
    int outcome;               /**< nonzero: "reply":"outcome"; then it is the only group, and has one call */
    apr_int64_t timeout_ms;    /**< with outcome: 0 … one day */
    apr_array_header_t *calls; /**< svl_message_line_t, unparsed */
} svl_message_group_t;

typedef enum { SVL_MESSAGE_RELAY, SVL_MESSAGE_SYNC } svl_message_kind_e;

typedef struct svl_message_t {
    svl_message_kind_e kind;
    const char *from;           /**< the sending node: grammar checked, configuration not */
    apr_array_header_t *groups; /**< svl_message_group_t, at least one, all of one sender; sync: one without a route, with the
                                     calls that came after the sync line */
    const char *sync;           /**< sync: the first line, for svl_json_parse; the answerer's reading of it comes with sync */
    apr_size_t sync_length;
    json_t *sync_json;          /**< sync: its member "sync", parsed; lives as long as the pool */
} svl_message_t;

/** Splits a verified body into lines and reads its first and relay lines; call lines are left unparsed.  Lines end with LF; the
 * last may lack it; empty lines and CR are faults.  A line whose first member is "relay" is a relay line, every other one but
 * the first line is a call line.
 * @return APR_SUCCESS, or SVL_EREFUSED with SVL_REASON_MESSAGE */
apr_status_t svl_message_parse(svl_message_t **message, const char *body, apr_size_t length, svl_fault_t *fault, apr_pool_t *p);

/** A relay line with its newline.  @param from, route names of the grammar, written as they are; route may be NULL
 * @param timeout_ms below 0: a plain relay; else "reply":"outcome" with this timeout */
const char *svl_message_relay_line(const char *from, const char *const *route, apr_uint32_t count, apr_uint32_t arity,
                                   apr_int64_t timeout_ms, apr_pool_t *p, apr_size_t *length);

/** One call that was refused. */
typedef struct svl_message_refusal_t {
    const char *id;
    int status;         /**< as of HTTP */
    const char *detail; /**< may be NULL; parsed: escaped */
} svl_message_refusal_t;

/** An acknowledgement: {"from":…,"accepted":…,"duplicates":…,"refused":{"nodes":{name:why},"calls":{id:{status,detail}}}} */
typedef struct svl_message_ack_t {
    const char *from;
    apr_int64_t accepted;
    apr_int64_t duplicates;
    apr_array_header_t *nodes; /**< const char *: refused names of routes; NULL: none.  Parsed: those that fit the grammar */
    apr_array_header_t *calls; /**< svl_message_refusal_t; NULL: none */
} svl_message_ack_t;

/** "refused" is left out when empty; every refused node's reason is "unknown". */
const char *svl_message_write_ack(const svl_message_ack_t *ack, apr_pool_t *p, apr_size_t *length);

/** @return APR_SUCCESS, or SVL_EREFUSED with SVL_REASON_MESSAGE */
apr_status_t svl_message_parse_ack(svl_message_ack_t **ack, const char *body, apr_size_t length, svl_fault_t *fault,
                                   apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/outcome.h
 * @brief How a call ended on each node: what a node answers to `"reply":"outcome"`, and what a client gets for `"reply":"all"`.
 */
#ifndef SVL_CORE_OUTCOME_H
#define SVL_CORE_OUTCOME_H

#include "call.h"

#define SVL_OUTCOME_DETAIL_MAX 4096 /**< bytes of words that are kept, of a function or of a peer: a page, not a report */
#define SVL_OUTCOME_ALL_MAX                                                                                                    \
    (48 << 20) /**< bytes of results and details in one answer: a command reads 64 MiB, and each node has a frame */

/** How a call ended on one node. */
typedef struct svl_outcome_t {
    const char *node; /**< its name */
    svl_outcome_e outcome;
    const char *result; /**< ok: JSON text; NULL: null */
    apr_size_t result_length;
    const char *detail; /**< words, or NULL */
    apr_int64_t micros; /**< what the run took; below 0: not known, or it did not run */
} svl_outcome_t;

/** @return the start of @a text, at most SVL_OUTCOME_DETAIL_MAX bytes of it and no part of a character */
const char *svl_outcome_words(const char *text, apr_size_t length, apr_pool_t *p);

/** A node's answer: {"from":…,"outcome":…[,"result":…][,"detail":…][,"ms":…]} .  "result" is written for ok only. */
const char *svl_outcome_write(const svl_outcome_t *outcome, apr_pool_t *p, apr_size_t *length);

/** Reads a node's answer.  Unknown members are allowed; an outcome that no node can have of itself, or a result that is nested too
 * deep to be handed on, is SVL_OUTCOME_UNKNOWN with a detail.  `node` is "from" of the grammar: the caller compares it.
 * @return APR_SUCCESS, or SVL_EREFUSED with SVL_REASON_MESSAGE: it is no such answer */
apr_status_t svl_outcome_parse(svl_outcome_t *outcome, const char *body, apr_size_t length, svl_fault_t *fault, apr_pool_t *p);

/** All nodes: {"a":{"outcome":…[,"result":…][,"detail":…][,"ms":…]},"b":…} in their order.  What is beyond @a most bytes is left out: of
 * a result its detail says so; the outcomes stay.
 * @param outcomes with different nodes */
const char *svl_outcome_write_all(const svl_outcome_t *outcomes, apr_size_t count, apr_size_t most, apr_pool_t *p,
                                  apr_size_t *length);

/** The answer to a client: @a answer, of svl_call_answer, with "outcomes" as its last member. */
const char *svl_outcome_answer(const char *answer, apr_size_t answer_length, const char *all, apr_size_t all_length,
                               apr_pool_t *p, apr_size_t *length);

/** The detail of a problem document, escaped.  @return NULL when there is none */
const char *svl_outcome_problem(const char *body, apr_size_t length, apr_pool_t *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/fault.h
 * @brief Why something was refused: one reason a refusal, with its HTTP status, its metric label and its words.
 *
 * Three things, kept apart (the idea is mod_md's md_result.h): the apr_status_t is for code, the reason for machines, the
 * detail for people.
 */
#ifndef SVL_CORE_FAULT_H
#define SVL_CORE_FAULT_H

#include <apr_errno.h>
#include <apr_pools.h>

/** Own status codes, in one range with texts (svl_fault_strerror). */
#define SVL_START (APR_OS_START_USERERR + 7400)
#define SVL_RANGE 100 /**< own codes are below SVL_START + SVL_RANGE */
#define SVL_EREFUSED (SVL_START + 1)  /**< refused; the svl_fault_t says why */
#define SVL_EFULL (SVL_START + 2)     /**< the log has no room */
#define SVL_EDAMAGED (SVL_START + 3)  /**< the log's file is not one of ours, or damaged */
#define SVL_EOWNER (SVL_START + 4)    /**< the log belongs to another node */
#define SVL_ESTOPPING (SVL_START + 5) /**< the process is leaving */

/** Reasons.  Each is a value of serviceless_rejected_total{reason} and of the log. */
typedef enum {
    SVL_REASON_NONE = 0,
    SVL_REASON_NO_NODE,          /**< 404 the server has no node */
    SVL_REASON_PATH,             /**< 404 below the endpoint's path */
    SVL_REASON_METHOD,           /**< 405 */
    SVL_REASON_CONTENT_TYPE,     /**< 415 */
    SVL_REASON_CONTENT_ENCODING, /**< 415 */
    SVL_REASON_BODY_SLOW,        /**< 408 */
    SVL_REASON_BODY_TRUNCATED,   /**< 400 */
    SVL_REASON_BODY_TOO_LARGE,   /**< 413 */
    SVL_REASON_HEADER,           /**< 401 a signature header missing, twice, or malformed */
    SVL_REASON_TIMESTAMP,        /**< 401 beyond the tolerance */
    SVL_REASON_SIGNATURE,        /**< 401 no key matches */
    SVL_REASON_JSON,             /**< 400 not strict JSON */
    SVL_REASON_CALL,             /**< 400 JSON, but no call */
    SVL_REASON_MESSAGE,          /**< 400 a node's message that cannot be framed */
    SVL_REASON_PERMISSION,       /**< 403 */
    SVL_REASON_UNKNOWN_FUNCTION, /**< 404 */
    SVL_REASON_UNKNOWN_SET,      /**< 400 a client named a node set that is not configured */
    SVL_REASON_CONFLICT,         /**< 409 same id, other content */
    SVL_REASON_STREAM_CONFLICT,  /**< 409 same number, other id */
    SVL_REASON_NOT_IN_SET,       /**< 409 a call line of a set that lacks this node */
    SVL_REASON_TOO_OLD,          /**< 422 issued before the retention began */
    SVL_REASON_STORE_FULL,       /**< 503 */
    SVL_REASON_STORE_FAILED,     /**< 503 */
    SVL_REASON_BUSY,             /**< 503 */
    SVL_REASON_STOPPING,         /**< 503 */
    SVL_REASON_COUNT
} svl_reason_e;

/** A refusal.  All zero: none. */
typedef struct svl_fault_t {
    svl_reason_e reason;
    const char *detail; /**< for people and for the log; may quote escaped input; NULL: the reason's own words */
} svl_fault_t;

/** Fills @a fault (may be NULL; @a format NULL: the reason's own words) and returns SVL_EREFUSED, so that a caller can `return svl_fault_set(...)`. */
apr_status_t svl_fault_set(svl_fault_t *fault, svl_reason_e reason, apr_pool_t *p, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/** @return the HTTP status of a reason, its label ("too-old"), the title of its problem document ("Unprocessable Content"). */
int svl_fault_http(svl_reason_e reason);
const char *svl_fault_name(svl_reason_e reason);
const char *svl_fault_title(svl_reason_e reason);

/** @return the RFC 9457 document: {"type":"about:blank","title":…,"status":…,"detail":…}.  401 has one constant text for all of
 * its reasons; every other detail is @a fault's own, or the reason's constant words. */
const char *svl_fault_document(const svl_fault_t *fault, apr_pool_t *p, apr_size_t *length);

/** @return the text of @a status: own ones from the table, others from apr_strerror. */
const char *svl_fault_strerror(apr_status_t status, char *buffer, apr_size_t size);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/status_formats.h
 * @brief The formats of the status page.  Each writes one snapshot and reads nothing else.
 */
#ifndef SVL_HTTPD_STATUS_FORMATS_H
#define SVL_HTTPD_STATUS_FORMATS_H

#include "snapshot.h"

#ifndef SVL_VERSION
#define SVL_VERSION "unknown" /* the build names it */
#endif

/** A page for people. */
void svl_status_html(const svl_snapshot_t *snapshot, request_rec *r);

/** The same facts, and more, for programs. */
void svl_status_json(const svl_snapshot_t *snapshot, request_rec *r);

/** Prometheus' text format, version 0.0.4. */
void svl_status_prometheus(const svl_snapshot_t *snapshot, request_rec *r);

/** @return "2026-01-31T12:00:00Z", or NULL for 0 */
const char *svl_status_time(apr_time_t time, apr_pool_t *p);

/** @return microseconds as seconds, "0.00025", "5": in no locale's way, and without trailing zeros */
const char *svl_status_seconds(apr_int64_t micros, apr_pool_t *p);

/** @return "node" or "child" */
const char *svl_status_scope_name(serviceless_scope_e scope);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/builtin.h
 * @brief The module's own functions, by which a fleet tells about itself: serviceless.ping, serviceless.functions,
 * serviceless.outcome.  To callers, permissions and the log they are functions like any other.
 */
#ifndef SVL_HTTPD_BUILTIN_H
#define SVL_HTTPD_BUILTIN_H

/** The end of post_config, before the registry freezes: every node gets them. */
void svl_builtin_register(void);

#endif

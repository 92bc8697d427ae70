/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/registry.h
 * @brief The functions: opened in pre_config, filled in post_config by companions, frozen at the end of it (apreq's parsers, likewise).
 */
#ifndef SVL_HTTPD_REGISTRY_H
#define SVL_HTTPD_REGISTRY_H

#include "config.h"
#include "shared.h"

/** A function on one node: what the companion said, under what the administrator said.  Immutable once frozen. */
typedef struct svl_function_t {
    const char *name;
    serviceless_function_t *function;
    void *baton;
    const char *summary;              /**< or NULL */
    void (*missed)(server_rec *s, apr_pool_t *p, const char *function, apr_uint64_t calls, void *baton);
    serviceless_scope_e scope;
    serviceless_on_crash_e on_crash;
    const svl_set_t *set;
    apr_uint32_t arity;
    apr_interval_time_t timeout;
    const apr_array_header_t *allow;  /**< const char *: key ids; NULL: every key with the permission */
    svl_shared_function_t *shared;
    apr_uint32_t index;               /**< 0 … count - 1 on its node; for tables beside it */
} svl_function_t;

/** pre_config. */
void svl_registry_open(apr_pool_t *pconf);

/** The optional function serviceless_register_function. */
apr_status_t serviceless_register_function(server_rec *s, const char *name, serviceless_function_t *function, void *baton,
                                   const serviceless_options_t *options);

/** A function of the module's own, for every node; its name begins with "serviceless.", which companions may not use.  After what
 * companions registered, before svl_registry_freeze.  @param options copied; set and mode are the defaults */
void svl_registry_add_own(const char *name, serviceless_function_t *function, void *baton, const serviceless_options_t *options);

/** The end of post_config: gives each node its table.  Sets and modes that companions named are checked here.
 * @return APR_SUCCESS or APR_EINVAL (logged) */
apr_status_t svl_registry_freeze(apr_pool_t *pconf);

/** @return the function, or NULL; thread-safe once frozen */
const svl_function_t *svl_registry_find(const svl_node_t *node, const char *name);

#endif

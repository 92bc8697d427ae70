/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/config.h
 * @brief Directives, and the immutable settings that they make of a node.
 *
 * httpd/directives.h is the one list that names, defaults, merges and documents them.  svl_config_check, from the check_config
 * hook (so that `apachectl configtest` finds every error), turns the merged lines of each server into svl_node_t.
 */
#ifndef SVL_HTTPD_CONFIG_H
#define SVL_HTTPD_CONFIG_H

#include <apr_hash.h>
#include <httpd.h>
#include <http_config.h>

#include "../core/log.h"
#include "../core/ring.h"
#include "../core/route.h"
#include "../transport/transport.h"
#include "mod_serviceless.h"

extern module AP_MODULE_DECLARE_DATA serviceless_module;

/** A node of the fleet, as ServicelessNodes has it. */
typedef struct svl_member_t {
    const char *name;
    const char *base;     /**< URL as configured, without a trailing slash */
    const char *endpoint; /**< base and ServicelessPath */
    const char *host;     /**< of the URL, without brackets */
    apr_port_t port;      /**< of the URL, or the scheme's */
    int tls;              /**< https */
} svl_member_t;

/** A named subset of the fleet; set "all" is always there. */
typedef struct svl_set_t {
    const char *name;
    apr_uint32_t count;
    const apr_uint32_t *members; /**< indexes, ascending */
    int has_self;
    svl_route_t ring;            /**< the members in ring order after the own node, without it */
} svl_set_t;

/** One ServicelessFunction line. */
typedef struct svl_function_settings_t {
    const char *name;
    const svl_set_t *set;             /**< NULL: not given */
    int has_mode;
    apr_uint32_t arity;
    apr_interval_time_t timeout;      /**< 0: not given */
    int has_on_crash;
    serviceless_on_crash_e on_crash;
    const apr_array_header_t *allow;  /**< const char *: ids of keys that may call it; NULL: not given */
} svl_function_settings_t;

struct svl_runtime_t;
struct svl_shared_node_t;
struct svl_shared_function_t;
struct svl_peer_state_t;

/** The settings of one node: immutable from check_config to the end of the generation (pool pconf), but for the last part. */
typedef struct svl_node_t {
    server_rec *server;
    const char *name;
    apr_uint32_t self;                /**< index into members */
    apr_uint32_t count;
    const svl_member_t *members;
    apr_hash_t *names;                /**< name to const svl_member_t *, of members; its place there is its index */
    apr_hash_t *sets;                 /**< name to const svl_set_t * */
    apr_hash_t *settings;             /**< function name to const svl_function_settings_t * */
    const svl_ring_t *ring;
    const char *path;                 /**< ServicelessPath */
    apr_uint32_t arity;               /**< ServicelessMode */
    int simultaneous;
    apr_interval_time_t tolerance;
    apr_size_t max_body;
    const char *directory;            /**< ServicelessStateDir/<name>, absolute; the name's characters are safe in a path */
    apr_uint64_t store_size;
    int durable;
    apr_interval_time_t retention;
    apr_interval_time_t sync_interval; /**< 0: off */
    int accept_django;
    int links;               /**< nonzero: gives links to peers, and asks them for some */
    int call_links;          /**< nonzero: gives links to clients */
    svl_transport_options_t http;      /**< headers, timeouts, response bound, TLS blobs */

    /* Filled in post_config. */
    apr_hash_t *functions;             /**< name to svl_function_t * (registry.h) */
    struct svl_shared_node_t *shared;
    struct svl_shared_function_t *unknown_function; /**< numbers of calls of functions that are not loaded */
    struct svl_peer_state_t **peers;   /**< by node index; in shared memory; the own one too */
    svl_log_t log;                     /**< to the server's error log */
    apr_time_t log_created;            /**< of the log, when this configuration began: when it was begun; 0: it is damaged … */
    apr_uint64_t log_last;             /**< … and the position of its newest entry */
    /* Filled in child_init; NULL before. */
    struct svl_runtime_t *runtime;
} svl_node_t;

extern const command_rec svl_config_commands[];
void *svl_config_create(apr_pool_t *p, server_rec *s);
void *svl_config_merge(apr_pool_t *p, void *base, void *add);

/** The check_config hook's work.  Errors are logged with their sentence.  @return OK or HTTP_INTERNAL_SERVER_ERROR */
int svl_config_check(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *main_server);

/** @return the node of this server, or of the main server when it has none of its own (a virtual host inherits the main
 * server's node); NULL: none */
svl_node_t *svl_config_node(const server_rec *s);

/** @return all nodes of the server, svl_node_t *, in the order of their server_recs; empty: the module is inert */
const apr_array_header_t *svl_config_nodes(void);

#endif

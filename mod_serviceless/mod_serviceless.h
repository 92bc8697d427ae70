/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file mod_serviceless.h
 * @brief The interface of mod_serviceless for companion modules.
 *
 * A companion registers functions in its post_config hook and calls them from any request or thread; each call runs on this
 * node at once and on every other node of the set soon after.  All three entry points are optional functions: retrieve them with
 * APR_RETRIEVE_OPTIONAL_FN in post_config, so that the order of the LoadModule lines does not matter.
 *
 * Build: apxs -c $(pkg-config --cflags --libs serviceless) mod_x.c
 * With the options first any prefix of mod_serviceless will do (PKG_CONFIG_PATH: where its serviceless.pc is).  With the file
 * first, apxs -c mod_x.c $(pkg-config --cflags --libs serviceless), apxs hands the options to the linker alone: then this header
 * must be in a directory that the compiler or apxs searches by itself.  On Debian: packages apache2-dev, libjansson-dev.
 */
#ifndef MOD_SERVICELESS_H
#define MOD_SERVICELESS_H

#include <errno.h>

#include <apr_optional.h>
#include <apr_pools.h>
#include <apr_time.h>
#include <httpd.h>
#include <jansson.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What serviceless_call_all returns where waiting could last for ever.  APR has no name for it. */
#ifndef APR_EDEADLK
#define APR_EDEADLK EDEADLK
#endif

/** One run of a function: what was called, by whom, and where it runs.  Everything in it lives as long as @a pool. */
typedef struct serviceless_call_t {
    const char *id;          /**< unique, the same on every node */
    const char *function;    /**< registered name */
    const char *origin;      /**< node where the call entered */
    const char *node;        /**< this node */
    const char *epoch;       /**< tells the seqs of different starts of the origin apart; has no order */
    apr_uint64_t seq;        /**< within an epoch and node set; (issued, origin, seq) orders all calls, the same way on every node */
    apr_time_t issued;       /**< when it entered, microseconds since 1970 (whole milliseconds), by the origin's clock */
    apr_time_t deadline;     /**< the run should end by then, by this node's clock */
    int rerun;               /**< nonzero: an earlier run here was cut short */
    int child;               /**< scope child: nonzero */
    json_t *args;            /**< array; borrowed, read only */
    json_t *kwargs;          /**< object; borrowed, read only */
    apr_pool_t *pool;        /**< lives as long as this run */
    server_rec *server;      /**< the server_rec that holds ServicelessNodes */
} serviceless_call_t;

/**
 * A function.  Runs on any thread, concurrently with itself, also under prefork.
 * @param call what is called; borrowed
 * @param result set to a new reference, or left NULL for null; on failure it may be a JSON string that says why
 * @param baton as registered
 * @return APR_SUCCESS: outcome ok; anything else: outcome error
 */
typedef apr_status_t serviceless_function_t(const serviceless_call_t *call, json_t **result, void *baton);

/** Where a function runs on a node. */
typedef enum {
    SERVICELESS_SCOPE_NODE,  /**< once on a node */
    SERVICELESS_SCOPE_CHILD  /**< in every child process of it, before its next request (then: milliseconds at most) */
} serviceless_scope_e;

/** What happens to a run that a crash cut short. */
typedef enum {
    SERVICELESS_RERUN,      /**< it runs again, with @a rerun set, at most twice */
    SERVICELESS_QUARANTINE  /**< it is reported and left */
} serviceless_on_crash_e;

/** Options of a function; all zero: the defaults. */
typedef struct serviceless_options_t {
    const char *nodes;               /**< node set; NULL: all */
    const char *mode;                /**< as in ServicelessMode; NULL: the server's */
    serviceless_scope_e scope;       /**< once on a node, or in every child process of it */
    serviceless_on_crash_e on_crash; /**< what happens to a run that a crash cut short */
    /** Up to @a calls calls are gone beyond recovery: start afresh.  Once a node; scope child: in every child.  May be NULL. */
    void (*missed)(server_rec *s, apr_pool_t *p, const char *function, apr_uint64_t calls, void *baton);
    const char *summary;             /**< one line for people; may be NULL */
    void *reserved[4];               /**< NULL */
} serviceless_options_t;

/** Options of one call; all zero: the function's own. */
typedef struct serviceless_call_options_t {
    const char *id;               /**< 1 to 64 of A-Z a-z 0-9 _ -; NULL: a fresh one */
    const char *nodes;            /**< node set */
    const char *mode;             /**< as in ServicelessMode */
    apr_interval_time_t ttl;      /**< microseconds after which a call that has not run is dropped; 0: the retention */
    apr_interval_time_t timeout;  /**< microseconds, for serviceless_call_all; 0: the function's */
    void *reserved[4];            /**< NULL */
} serviceless_call_options_t;

/** How a call ended on this node.  Allocated from the pool given to serviceless_call. */
typedef struct serviceless_outcome_t {
    const char *id;       /**< of the call */
    const char *outcome;  /**< "ok", "error", ... of this node */
    const char *detail;   /**< in words, or NULL */
    json_t *result;       /**< borrowed: freed with the pool given */
} serviceless_outcome_t;

/**
 * Registers a function.  Call it in post_config.
 * @param s the node's server, or NULL for every node
 * @param name ^[A-Za-z_][A-Za-z0-9_.-]{0,127}$, not beginning with "serviceless."; copied
 * @param function what runs
 * @param baton passed to @a function and to options->missed
 * @param options copied; NULL: the defaults
 * @return APR_SUCCESS; APR_EEXIST: name taken; APR_EINVAL: bad name or options
 */
APR_DECLARE_OPTIONAL_FN(apr_status_t, serviceless_register_function,
                        (server_rec *s, const char *name, serviceless_function_t *function, void *baton,
                         const serviceless_options_t *options));

/**
 * Calls a function: runs it here, returns its outcome, distributes it in the background.
 * @param s server of the request; its node, else the main server's, is the origin
 * @param p result pool
 * @param name registered name
 * @param args array, kwargs object, options: borrowed; NULL: empty
 * @param outcome filled when APR_SUCCESS or when a refusal has words to say
 * @return APR_SUCCESS: accepted (durable); APR_EINIT: before child_init; APR_ENOTIMPL: s and the main server have no node;
 *         APR_NOTFOUND: no such function or set; APR_EINVAL: arguments that no call can carry; APR_EEXIST: the id was used for
 *         other content; APR_ENOSPC: the log is full; another status: the log failed
 */
APR_DECLARE_OPTIONAL_FN(apr_status_t, serviceless_call,
                        (server_rec *s, apr_pool_t *p, const char *name, json_t *args, json_t *kwargs,
                         const serviceless_call_options_t *options, serviceless_outcome_t *outcome));

/**
 * Runs a function on every node of its set and waits, at most options->timeout.
 * @param p for the time of the call
 * @param outcomes an object, node name to {"outcome": …, "result": … or "detail": …, "ms": …}; a new reference, or NULL
 * @return as serviceless_call; inside a run or a missed callback: APR_EDEADLK; APR_EAGAIN: too many wait so already
 */
APR_DECLARE_OPTIONAL_FN(apr_status_t, serviceless_call_all,
                        (server_rec *s, apr_pool_t *p, const char *name, json_t *args, json_t *kwargs,
                         const serviceless_call_options_t *options, json_t **outcomes));

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime.h"

#include <dlfcn.h>

#include <ap_mpm.h>
#include <http_log.h>
#include <http_main.h>

#include "../core/guard.h"
#include "../core/pool.h"
#include "await.h"
#include "children.h"
#include "gatherer.h"
#include "links.h"
#include "maintain.h"
#include "prepare.h"
#include "run.h"
#include "sync.h"

#define LOOK_WITHOUT_SYNC apr_time_from_sec(5) /* without sync looking after peers is needed most */
#define AGAIN_MIN apr_time_from_sec(1)         /* before opening again what could not be opened; it doubles */
#define AGAIN_MAX apr_time_from_sec(5)

APLOG_USE_MODULE(serviceless);

static struct {
    apr_array_header_t *runtimes; /* svl_runtime_t *: of the nodes that are open; its number is atomic */
    int asynchronous, threaded;   /* the MPM */
    pthread_t main;
    int begun;                   /* atomic: the maintenance thread runs */
    apr_thread_mutex_t *rousing; /* guards begun, and next until the thread runs: then both are the thread's */
    apr_time_t next;             /* when to try again */
    apr_interval_time_t wait;
} child;

int svl_runtime_interruptible(const svl_runtime_t *runtime)
{
    return runtime->guarded && pthread_equal(pthread_self(), child.main);
}

svl_signer_t *svl_runtime_take_signer(svl_runtime_t *runtime)
{
    svl_signer_t **free_one;
    svl_signer_t *signer = NULL;
    sigset_t before;
    svl_guard_enter(&before);
    apr_thread_mutex_lock(runtime->signers_lock);
    free_one = apr_array_pop(runtime->signers);
    if (free_one) {
        signer = *free_one;
    }
    else if (svl_sign_create(&signer, runtime->node->ring, runtime->pool) != APR_SUCCESS) {
        signer = NULL;
    }
    apr_thread_mutex_unlock(runtime->signers_lock);
    svl_guard_leave(&before);
    return signer;
}

void svl_runtime_give_signer(svl_runtime_t *runtime, svl_signer_t *signer)
{
    sigset_t before;
    svl_guard_enter(&before);
    apr_thread_mutex_lock(runtime->signers_lock);
    APR_ARRAY_PUSH(runtime->signers, svl_signer_t *) = signer;
    apr_thread_mutex_unlock(runtime->signers_lock);
    svl_guard_leave(&before);
}

static apr_status_t open_node(svl_runtime_t *runtime, apr_pool_t *p)
{
    svl_node_t *node = runtime->node;
    svl_relay_peer_t *peers = apr_pcalloc(p, node->count * sizeof(*peers));
    svl_relay_options_t *options = apr_pcalloc(p, sizeof(*options));
    svl_store_options_t store;
    apr_status_t rv;
    svl_prepare_store_options(&store, node);
    rv = svl_store_open(&runtime->store, &store, p);
    for (apr_uint32_t i = 0; i < node->count; i++) {
        peers[i] = (svl_relay_peer_t){node->members[i].name, node->members[i].endpoint, node->peers[i]};
    }
    *options = (svl_relay_options_t){
        .peers = peers,
        .count = node->count,
        .self = node->self,
        .simultaneous = node->simultaneous,
        .max_body = node->max_body,
        .tolerance = apr_time_sec(node->tolerance),
        .probe_timeout = node->http.connect_timeout,
        .look = node->sync_interval > 0 ? node->sync_interval : LOOK_WITHOUT_SYNC,
        .transport = &svl_curl_transport,
        .http = &node->http,
        .links = node->links,
        .ring = node->ring,
        .store = runtime->store,
        .log = &node->log,
    };
    if (rv == APR_SUCCESS) {
        rv = svl_relay_create(&runtime->relay, options, p);
    }
    if (rv == APR_SUCCESS) {
        rv = svl_await_create(runtime, p);
    }
    if (rv == APR_SUCCESS) {
        rv = svl_gatherers_create(runtime, p);
    }
    if (rv == APR_SUCCESS) {
        rv = svl_runs_create(&runtime->runs, runtime, p);
    }
    if (rv == APR_SUCCESS) {
        rv = svl_children_create(&runtime->children, runtime, p);
    }
    if (rv == APR_SUCCESS) {
        rv = svl_sync_create(&runtime->sync, runtime, p);
    }
    if (rv == APR_SUCCESS) {
        rv = svl_links_create(&runtime->links, runtime, p);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_thread_mutex_create(&runtime->signers_lock, APR_THREAD_MUTEX_DEFAULT, p);
    }
    runtime->signers = apr_array_make(p, 16, sizeof(svl_signer_t *));
    return rv;
}

static apr_status_t start_node(svl_runtime_t **started, svl_node_t *node, apr_pool_t *p)
{
    svl_runtime_t *runtime;
    apr_pool_t *pool;
    apr_status_t rv = apr_pool_create(&pool, p);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    runtime = apr_pcalloc(pool, sizeof(*runtime));
    runtime->node = node;
    runtime->asynchronous = child.asynchronous;
    runtime->guarded = !child.threaded;
    runtime->pool = pool;
    rv = open_node(runtime, pool);
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(pool);
        return rv;
    }
    *started = runtime;
    return APR_SUCCESS;
}

/* Whoever reads the number finds so many. */
static void append(svl_runtime_t *runtime)
{
    APR_ARRAY_IDX(child.runtimes, child.runtimes->nelts, svl_runtime_t *) = runtime;
    __atomic_add_fetch(&child.runtimes->nelts, 1, __ATOMIC_RELEASE);
}

static void publish(svl_runtime_t *runtime)
{
    svl_children_begin(runtime);
    __atomic_store_n(&runtime->node->runtime, runtime, __ATOMIC_RELEASE);
}

static void open_nodes(const apr_array_header_t *nodes)
{
    char text[160];
    for (int i = 0; i < nodes->nelts; i++) {
        svl_node_t *node = APR_ARRAY_IDX(nodes, i, svl_node_t *);
        svl_runtime_t *runtime;
        apr_status_t rv = start_node(&runtime, node, child.runtimes->pool);
        if (rv == APR_SUCCESS) {
            append(runtime);
            continue;
        }
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, node->server,
                     SVLNO(0133) "node %s: this child cannot open its log in %s, and tries again: %s", node->name,
                     node->directory, svl_fault_strerror(rv, text, sizeof(text)));
    }
}

/* @return why there is no thread; then nothing is published, and no call taken */
static apr_status_t begin(void)
{
    apr_status_t rv = svl_maintain_start(child.runtimes, child.runtimes->pool, child.threaded ? NULL : &child.main);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, ap_server_conf,
                     SVLNO(0134) "this child cannot take calls: no thread; it tries again");
        return rv;
    }
    for (int i = 0; i < child.runtimes->nelts; i++) {
        publish(APR_ARRAY_IDX(child.runtimes, i, svl_runtime_t *));
    }
    __atomic_store_n(&child.begun, 1, __ATOMIC_RELEASE);
    return APR_SUCCESS;
}

static int is_open(const svl_node_t *node)
{
    for (int i = 0; i < child.runtimes->nelts; i++) {
        if (APR_ARRAY_IDX(child.runtimes, i, svl_runtime_t *)->node == node) {
            return 1;
        }
    }
    return 0;
}

void svl_runtime_again(void)
{
    const apr_array_header_t *nodes = svl_config_nodes();
    apr_time_t now = svl_transport_monotonic();
    if (child.runtimes->nelts == nodes->nelts || now < child.next) {
        return;
    }
    child.wait = child.wait ? child.wait * 2 : AGAIN_MIN;
    child.wait = child.wait < AGAIN_MAX ? child.wait : AGAIN_MAX;
    child.next = now + child.wait;
    for (int i = 0; i < nodes->nelts; i++) {
        svl_node_t *node = APR_ARRAY_IDX(nodes, i, svl_node_t *);
        svl_runtime_t *runtime;
        if (!is_open(node) && start_node(&runtime, node, child.runtimes->pool) == APR_SUCCESS) {
            append(runtime);
            publish(runtime);
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, node->server,
                         SVLNO(0355) "node %s: this child could open its log now, and takes calls", node->name);
        }
    }
}

void svl_runtime_rouse(void)
{
    sigset_t before;
    if (!child.runtimes || __atomic_load_n(&child.begun, __ATOMIC_ACQUIRE)) {
        return;
    }
    svl_guard_enter(&before);
    if (apr_thread_mutex_trylock(child.rousing) == APR_SUCCESS) {
        apr_time_t now = svl_transport_monotonic();
        if (!child.begun && now >= child.next) {
            child.next = now + AGAIN_MIN;
            if (begin() == APR_SUCCESS) {
                child.next = 0;
            }
        }
        apr_thread_mutex_unlock(child.rousing);
    }
    svl_guard_leave(&before);
}

/* glibc loads it when the first thread ends, and aborts the process when it has no descriptor or memory for that by then. */
static void load_what_ends_threads(void)
{
    (void)dlopen("libgcc_s.so.1", RTLD_NOW);
}

static apr_status_t make_child(const apr_array_header_t *nodes)
{
    apr_pool_t *pool;
    int is;
    apr_status_t rv = svl_pool_create(&pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    child.main = pthread_self();
    child.asynchronous = ap_mpm_query(AP_MPMQ_IS_ASYNC, &is) == APR_SUCCESS && is > 0;
    child.threaded = ap_mpm_query(AP_MPMQ_IS_THREADED, &is) != APR_SUCCESS || is != AP_MPMQ_NOT_SUPPORTED;
    svl_guard_needless = child.threaded;
    rv = apr_thread_mutex_create(&child.rousing, APR_THREAD_MUTEX_DEFAULT, pool);
    if (rv == APR_SUCCESS) {
        rv = svl_curl_transport.init(pool);
    }
    if (rv == APR_SUCCESS) {
        child.runtimes = apr_array_make(pool, nodes->nelts, sizeof(svl_runtime_t *));
    }
    return rv;
}

void svl_runtime_start(apr_pool_t *pchild, server_rec *main_server)
{
    const apr_array_header_t *nodes = svl_config_nodes();
    sigset_t before;
    apr_status_t rv;
    if (nodes->nelts == 0) {
        return;
    }
    /* Under prefork a stop signal that comes meanwhile would end the process from within a call of malloc, and its cleanups would use that. */
    svl_guard_block(&before);
    load_what_ends_threads();
    rv = make_child(nodes);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, main_server, SVLNO(0356) "this child cannot take calls: no memory or libcurl");
    }
    else {
        svl_children_start(pchild);
        open_nodes(nodes);
        begin();
        apr_pool_pre_cleanup_register(pchild, NULL, svl_maintain_leave);
    }
    svl_guard_restore(&before);
}

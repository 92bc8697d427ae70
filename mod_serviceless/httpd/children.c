/* SPDX-License-Identifier: Apache-2.0 */
#include "children.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <http_log.h>
#include <http_main.h>

#include "../core/guard.h"
#include "../core/pool.h"
#include "children_kept.h"
#include "children_private.h"
#include "place.h"

#define LOCK_LOOK apr_time_from_msec(20) /* between two looks at whether another thread has caught up */

APLOG_USE_MODULE(serviceless);

static struct {
    const apr_uint64_t *news;  /* atomic, of svl_shared_places; NULL: no node, or not begun yet */
    apr_uint64_t *began;       /* `every` of each node when this child began, by node slot */
    apr_uint64_t seen;         /* atomic; the news that this child has caught up with */
    svl_shared_place_t *place; /* NULL: there was none */
    sem_t own_wake, *wake;     /* the place's, or the own one */
    int wanted;                /* nonzero: there are functions of scope child */
    apr_thread_t *thread;      /* NULL: none yet */
    int left;                  /* atomic; the thread does nothing any more */
} child;

static int has_functions(const svl_node_t *node, apr_pool_t *p)
{
    for (apr_hash_index_t *hi = apr_hash_first(p, node->functions); hi; hi = apr_hash_next(hi)) {
        const svl_function_t *function = apr_hash_this_val(hi);
        if (function->scope == SERVICELESS_SCOPE_CHILD) {
            return 1;
        }
    }
    return 0;
}

void svl_children_start(apr_pool_t *pchild)
{
    const apr_array_header_t *nodes = svl_config_nodes();
    svl_place_claim();
    child.place = svl_place_own();
    sem_init(&child.own_wake, 0, 0);
    child.wake = child.place ? &child.place->wake : &child.own_wake;
    child.news = svl_shared_places()->news;
    child.began = calloc(svl_shared_places()->nodes, sizeof(*child.began));
    for (int i = 0; child.began && i < nodes->nelts; i++) {
        const svl_shared_node_t *shared = APR_ARRAY_IDX(nodes, i, const svl_node_t *)->shared;
        child.began[shared->slot] = __atomic_load_n(&shared->every, __ATOMIC_ACQUIRE);
    }
    for (int i = 0; i < nodes->nelts; i++) {
        child.wanted |= has_functions(APR_ARRAY_IDX(nodes, i, const svl_node_t *), pchild);
    }
}

apr_status_t svl_children_create(struct svl_children_t **children, svl_runtime_t *runtime, apr_pool_t *p)
{
    svl_children_t *made = apr_pcalloc(p, sizeof(*made));
    const svl_shared_node_t *shared = runtime->node->shared;
    svl_store_reader_t *reader;
    apr_uint64_t last, began;
    apr_status_t rv = svl_store_read_begin(&reader, runtime->store);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = svl_store_last(reader, &last);
    svl_store_read_end(reader);
    if (rv == APR_SUCCESS) {
        svl_place_looked(runtime->node, last);
        rv = apr_thread_mutex_create(&made->lock, APR_THREAD_MUTEX_TIMED, p);
    }
    if (rv == APR_SUCCESS) {
        rv = svl_kept_create(&runtime->kept, p);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    began = child.began ? child.began[shared->slot] : 0;
    began = began ? began : __atomic_load_n(&shared->first, __ATOMIC_ACQUIRE);
    made->cursor = svl_place_cursor(runtime->node);
    __atomic_store_n(&made->cursor->done, began, __ATOMIC_RELEASE);
    *children = made;
    return APR_SUCCESS;
}

void svl_children_begin(svl_runtime_t *runtime)
{
    svl_shared_cursor_t *cursor = runtime->children->cursor;
    __atomic_store_n(&cursor->began, __atomic_load_n(&cursor->done, __ATOMIC_RELAXED), __ATOMIC_RELEASE);
}

int svl_children_left(void)
{
    return __atomic_load_n(&child.left, __ATOMIC_ACQUIRE);
}

/* Better a request that does not see what a call changed than none at all: a function that hangs holds it as long as a run may take. */
static int is_over(svl_runtime_t *runtime)
{
    svl_children_t *children = runtime->children;
    apr_time_t until = __atomic_load_n(&children->until, __ATOMIC_ACQUIRE);
    if (!until || svl_transport_monotonic() < until) {
        return 0;
    }
    if (__atomic_exchange_n(&children->told, until, __ATOMIC_RELAXED) != until) {
        ap_log_error(
            APLOG_MARK, APLOG_ERR, 0, runtime->node->server,
            SVLNO(0713) "call %s of %s, which every child runs, has not ended in time in this one: its requests do not "
                        "wait for it any longer",
            children->cursor->id, children->cursor->function);
    }
    return 1;
}

/* @return APR_TIMEUP: what runs takes too long, or the child is leaving */
static apr_status_t wait_for_lock(svl_runtime_t *runtime, int request, int guarded)
{
    apr_status_t rv;
    while ((rv = apr_thread_mutex_timedlock(runtime->children->lock, LOCK_LOOK)) == APR_TIMEUP) {
        sigset_t before;
        if (request && (is_over(runtime) || svl_children_left())) {
            return APR_TIMEUP;
        }
        if (guarded) {
            svl_guard_open(&before);
            svl_guard_leave(&before);
        }
    }
    return rv;
}

/* @param request nonzero: in a request's thread  @return APR_SUCCESS when this child has caught up */
static apr_status_t enter(svl_runtime_t *runtime, int request)
{
    const int guarded = request && svl_runtime_interruptible(runtime);
    sigset_t before;
    apr_status_t rv;
    if (guarded) {
        svl_guard_enter(&before);
    }
    __atomic_add_fetch(&runtime->inline_runs, request, __ATOMIC_RELAXED); /* those who wait for one as well */
    rv = wait_for_lock(runtime, request, guarded);
    if (rv == APR_SUCCESS) {
        rv = svl_children_run(runtime, guarded);
        apr_thread_mutex_unlock(runtime->children->lock);
    }
    __atomic_sub_fetch(&runtime->inline_runs, request, __ATOMIC_RELAXED);
    if (guarded) {
        svl_guard_leave(&before);
    }
    return rv;
}

void svl_children_catch_up(svl_runtime_t *runtime)
{
    if (!svl_children_inside()) {
        enter(runtime, 1);
    }
}

static int has_news(void)
{
    /* In one order with the thread's `woken`: whoever finds that set leaves these news to it. */
    return child.news && __atomic_load_n(child.news, __ATOMIC_SEQ_CST) != __atomic_load_n(&child.seen, __ATOMIC_RELAXED);
}

/* @param request as above */
static void look(int request)
{
    const apr_array_header_t *nodes = svl_config_nodes();
    apr_uint64_t news = __atomic_load_n(child.news, __ATOMIC_ACQUIRE);
    apr_status_t rv = APR_SUCCESS;
    for (int i = 0; i < nodes->nelts; i++) {
        svl_runtime_t *runtime = svl_runtime_of(APR_ARRAY_IDX(nodes, i, const svl_node_t *));
        apr_status_t one = runtime ? enter(runtime, request) : APR_EAGAIN; /* not open yet */
        rv = rv == APR_SUCCESS ? one : rv;
    }
    if (rv == APR_SUCCESS && news != SVL_SHARED_LOOK) {
        __atomic_store_n(&child.seen, news, __ATOMIC_RELAXED);
    }
}

void svl_children_before_request(const request_rec *r)
{
    const svl_node_t *node;
    if (!has_news() || svl_children_inside()) {
        return;
    }
    node = svl_config_node(r->server);
    /* Other nodes' messages wait for no function; clients' calls do, once they are verified. */
    if (!node || !ap_strstr_c(r->uri, node->path)) {
        look(1);
    }
}

void svl_children_before_call(void)
{
    if (has_news() && !svl_children_inside()) {
        look(1);
    }
}

/* Nobody joins it: a function that hangs must not hold a child that leaves, which ends with all its threads. */
static void *APR_THREAD_FUNC catch_up_thread(apr_thread_t *thread, void *unused)
{
    (void)thread;
    (void)unused;
    while (1) {
        while (sem_wait(child.wake) != 0 && errno == EINTR) {
            continue;
        }
        if (child.place) { /* before the news are read */
            __atomic_store_n(&child.place->woken, 0, __ATOMIC_SEQ_CST);
        }
        if (has_news() && !svl_children_left()) {
            look(0);
        }
    }
    return NULL;
}

static void start_thread(void)
{
    apr_pool_t *pool;
    apr_status_t rv = svl_pool_create(&pool);
    if (rv == APR_SUCCESS) {
        rv = apr_thread_create(&child.thread, NULL, catch_up_thread, NULL, pool);
    }
    if (rv != APR_SUCCESS) {
        child.thread = NULL;
        ap_log_error(
            APLOG_MARK, APLOG_ERR, rv, ap_server_conf,
            SVLNO(0712) "no thread for what every child is to run: this one runs it when a request comes, and tries again");
    }
}

void svl_children_leave(void)
{
    __atomic_store_n(&child.left, 1, __ATOMIC_RELEASE);
}

void svl_children_watch(svl_runtime_t *runtime)
{
    apr_uint64_t every = __atomic_load_n(&runtime->node->shared->every, __ATOMIC_ACQUIRE);
    svl_store_listing_t at = {.position = every - 1};
    svl_store_reader_t *reader;
    if (!every || every == SVL_SHARED_LOOK || svl_store_read_begin(&reader, runtime->store) != APR_SUCCESS) {
        return;
    }
    while (svl_store_every(reader, &at) == APR_SUCCESS) {
        continue;
    }
    svl_store_read_end(reader);
    if (at.position >= every) {
        svl_place_publish(runtime->node, at.position);
    }
}

void svl_children_turn(void)
{
    if (child.wanted && !child.thread) {
        start_thread();
    }
    if (child.thread && has_news()) {
        sem_post(child.wake);
    }
}

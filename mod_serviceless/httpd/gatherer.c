/* SPDX-License-Identifier: Apache-2.0 */
#include "gatherer.h"

#include <poll.h>

#include <apr_strings.h>
#include <apr_thread_mutex.h>

#include "../core/guard.h"
#include "../core/pool.h"
#include "../transport/crew.h"
#include "../transport/signed.h"

#define OVER_LINK_MAX 16384         /* bytes of a message that go out at once over a link that rested */
#define LINKED_MAX 4                /* gatherers that have links: peers have only so many to give */
#define OPENERS 2                   /* threads that ask for links */
#define DRIVE apr_time_from_msec(1) /* between two looks at requests while answers over links are waited for */

/* A peer, as a gatherer sees it. */
typedef struct way_t {
    svl_link_t *link; /* NULL until one was asked for */
    char address[46]; /* where a request was answered from; "": no link is wanted */
    int port;
} way_t;

struct svl_gatherer_t {
    svl_gatherer_t *next;    /* among the idle, or the busy */
    svl_gatherer_t *linking; /* the next one that waits for a thread which asks for links */
    svl_runtime_t *runtime;
    svl_transport_client_t *client;
    way_t *ways; /* by node index */
    int may;     /* have links */
    int wanted;  /* links */
    apr_pool_t *pool;
};

struct svl_gather_t {
    apr_thread_mutex_t *lock;
    apr_pool_t *pool;
    svl_gatherer_t *idle, *busy; /* at most as many as may wait at the same time, and those for which links are asked for */
    svl_gatherer_t *linking;     /* of the busy ones, these */
    svl_crew_t *openers;
    int made;
    int aborted;
};

static void lock(svl_gather_t *gather, sigset_t *before)
{
    svl_guard_enter(before);
    apr_thread_mutex_lock(gather->lock);
}

static void unlock(svl_gather_t *gather, const sigset_t *before)
{
    apr_thread_mutex_unlock(gather->lock);
    svl_guard_leave(before);
}

static svl_gatherer_t *make(svl_runtime_t *runtime)
{
    svl_gatherer_t *made;
    apr_pool_t *pool;
    if (apr_pool_create(&pool, runtime->gather->pool) != APR_SUCCESS) {
        return NULL;
    }
    made = apr_pcalloc(pool, sizeof(*made));
    made->pool = pool;
    made->runtime = runtime;
    made->may = runtime->node->links && runtime->gather->made++ < LINKED_MAX;
    made->ways = apr_pcalloc(pool, runtime->node->count * sizeof(*made->ways));
    if (svl_curl_transport.create(&made->client, &runtime->node->http, pool) != APR_SUCCESS) {
        apr_pool_destroy(pool);
        return NULL;
    }
    return made;
}

svl_gatherer_t *svl_gatherer_take(svl_runtime_t *runtime)
{
    svl_gather_t *gather = runtime->gather;
    svl_gatherer_t *taken = NULL;
    sigset_t before;
    lock(gather, &before);
    if (!gather->aborted && gather->idle) {
        taken = gather->idle;
        gather->idle = taken->next;
    }
    else if (!gather->aborted) {
        taken = make(runtime);
    }
    if (taken) {
        taken->next = gather->busy;
        gather->busy = taken;
    }
    unlock(gather, &before);
    return taken;
}

/* What lost its link has the rest of its time. */
static void ask_again(svl_gatherer_t *gatherer, svl_transport_exchange_t **exchanges, int count, apr_time_t began)
{
    for (int i = 0; i < count; i++) {
        apr_interval_time_t left = began + exchanges[i]->timeout - svl_transport_monotonic();
        exchanges[i]->timeout = left > 1000 ? left : 1000;
    }
    svl_transport_perform(&svl_curl_transport, gatherer->client, exchanges, count);
}

static void tell_ended(const svl_gatherer_watch_t *watch, const svl_transport_exchange_t *exchanges,
                       svl_transport_exchange_t *const *ended, int count)
{
    for (int i = 0; i < count; i++) {
        watch->ended(watch->baton, (int)(ended[i] - exchanges));
    }
}

static void want_links(svl_gatherer_t *gatherer, const apr_uint32_t *nodes, const svl_transport_exchange_t *exchanges,
                       int count)
{
    for (int i = 0; i < count; i++) {
        way_t *way = &gatherer->ways[nodes[i]];
        if (gatherer->may && (!way->link || svl_link_is_wanted(way->link)) && exchanges[i].result == SVL_TRANSPORT_ANSWERED) {
            apr_cpystrn(way->address, exchanges[i].address, sizeof(way->address));
            way->port = exchanges[i].port;
            gatherer->wanted += *way->address != '\0';
        }
    }
}

static int link_is_through(svl_link_t *link, const struct pollfd *wait)
{
    struct pollfd ignored;
    return (wait->revents && svl_link_ended(link)) || svl_transport_monotonic() >= svl_link_wait(link, &ignored);
}

/* @param most 0: no longer than the first one of them has time */
static void wait_for_links(svl_link_t *const *links, struct pollfd *waits, int count, apr_interval_time_t most)
{
    apr_time_t first = APR_INT64_MAX, left;
    for (int i = 0; i < count; i++) {
        waits[i] = (struct pollfd){.fd = -1};
        if (links[i]) {
            apr_time_t until = svl_link_wait(links[i], &waits[i]);
            first = until < first ? until : first;
        }
    }
    left = first - svl_transport_monotonic();
    if (left > 0) {
        poll(waits, (nfds_t)count, (int)apr_time_as_msec(most && left > most ? most : left + apr_time_from_msec(1)));
    }
}

/* Each as its answer comes; requests go on meanwhile.  @param lost receives those that are to be made again  @return how many */
static int finish_links(svl_gatherer_t *gatherer, svl_link_t **links, svl_transport_exchange_t *exchanges, int count,
                        int requests, svl_transport_exchange_t **lost, const svl_gatherer_watch_t *watch)
{
    struct pollfd *waits = apr_pcalloc(exchanges->pool, (apr_size_t)count * sizeof(*waits));
    int left, lose = 0;
    for (int i = 0; i < count; i++) {
        waits[i].revents = POLLIN; /* each is looked at first */
    }
    for (;;) {
        left = 0;
        for (int i = 0; i < count; i++) {
            if (links[i] && link_is_through(links[i], &waits[i])) {
                if (svl_link_finish(links[i])) {
                    watch->ended(watch->baton, i);
                }
                else {
                    lost[lose++] = &exchanges[i];
                }
                links[i] = NULL;
            }
            left += links[i] != NULL;
        }
        if (!left) {
            return lose;
        }
        requests = requests && !svl_curl_transport.ended(gatherer->client);
        wait_for_links(links, waits, count, requests ? DRIVE : 0);
    }
}

void svl_gatherer_perform(svl_gatherer_t *gatherer, const apr_uint32_t *nodes, svl_transport_exchange_t *exchanges, int count,
                          const svl_gatherer_watch_t *watch)
{
    apr_pool_t *p = exchanges->pool;
    svl_transport_exchange_t **pointers = apr_palloc(p, (apr_size_t)count * sizeof(*pointers));
    svl_link_t **links = apr_pcalloc(p, (apr_size_t)count * sizeof(*links));
    apr_time_t began = svl_transport_monotonic();
    int asked = 0, lost;
    for (int i = 0; i < count; i++) {
        way_t *way = &gatherer->ways[nodes[i]];
        if (exchanges[i].length <= OVER_LINK_MAX && way->link && svl_link_is_open(way->link)) {
            links[i] = way->link;
            svl_link_begin(links[i], &exchanges[i]);
        }
        else {
            pointers[asked++] = &exchanges[i];
        }
    }
    if (asked) {
        svl_curl_transport.begin(gatherer->client, pointers, asked);
    }
    watch->sent(watch->baton);
    lost = finish_links(gatherer, links, exchanges, count, asked, pointers + asked, watch);
    if (asked) {
        svl_curl_transport.finish(gatherer->client);
        tell_ended(watch, exchanges, pointers, asked);
    }
    if (lost) {
        ask_again(gatherer, pointers + asked, lost, began);
        tell_ended(watch, exchanges, pointers + asked, lost);
    }
    want_links(gatherer, nodes, exchanges, count);
}

/* With the lock held. */
static void put_to_rest(svl_gather_t *gather, svl_gatherer_t *gatherer)
{
    svl_gatherer_t **at = &gather->busy;
    while (*at != gatherer) {
        at = &(*at)->next;
    }
    *at = gatherer->next;
    gatherer->next = gather->idle;
    gather->idle = gatherer;
}

static void open_link(svl_gatherer_t *gatherer, apr_uint32_t peer, svl_signer_t *signer, apr_pool_t *p)
{
    svl_node_t *node = gatherer->runtime->node;
    way_t *way = &gatherer->ways[peer];
    int made = way->link != NULL;
    if (!made) {
        apr_thread_mutex_lock(gatherer->runtime->gather->lock); /* for who aborts, and of the pool */
        made = !gatherer->runtime->gather->aborted && svl_link_create(&way->link, &node->http, gatherer->pool) == APR_SUCCESS;
        way->link = made ? way->link : NULL;
        apr_thread_mutex_unlock(gatherer->runtime->gather->lock);
    }
    if (made && svl_signed_link(way->link, signer, node->name, node->members[peer].endpoint, way->address, way->port, p)) {
        __atomic_add_fetch(&node->peers[peer]->links, 1, __ATOMIC_RELAXED);
    }
    *way->address = '\0';
}

/* A thread's turn: the links that one gatherer wants. */
static void open_links(void *baton)
{
    svl_runtime_t *runtime = baton;
    svl_gather_t *gather = runtime->gather;
    svl_signer_t *signer = svl_runtime_take_signer(runtime);
    svl_gatherer_t *gatherer;
    apr_pool_t *pool = NULL;
    apr_thread_mutex_lock(gather->lock);
    gatherer = gather->linking;
    gather->linking = gatherer ? gatherer->linking : NULL;
    apr_thread_mutex_unlock(gather->lock);
    if (gatherer && signer && svl_pool_create(&pool) == APR_SUCCESS) {
        for (apr_uint32_t i = 0; i < runtime->node->count; i++) {
            if (*gatherer->ways[i].address) {
                open_link(gatherer, i, signer, pool);
            }
        }
        apr_pool_destroy(pool);
    }
    if (signer) {
        svl_runtime_give_signer(runtime, signer);
    }
    if (gatherer) {
        gatherer->wanted = 0;
        apr_thread_mutex_lock(gather->lock);
        put_to_rest(gather, gatherer);
        apr_thread_mutex_unlock(gather->lock);
    }
}

/* @return nonzero when a thread sees to it */
static int leave_to_opener(svl_gather_t *gather, svl_gatherer_t *gatherer)
{
    gatherer->linking = gather->linking;
    gather->linking = gatherer;
    if (svl_crew_ask(gather->openers) == APR_SUCCESS) {
        return 1;
    }
    gather->linking = gatherer->linking;
    return 0;
}

void svl_gatherer_give(svl_gatherer_t *gatherer)
{
    svl_gather_t *gather = gatherer->runtime->gather;
    sigset_t before;
    lock(gather, &before);
    if (gather->aborted || !gatherer->wanted || !leave_to_opener(gather, gatherer)) {
        put_to_rest(gather, gatherer);
    }
    unlock(gather, &before);
}

void svl_gatherers_abort(svl_runtime_t *runtime)
{
    svl_gather_t *gather = runtime->gather;
    sigset_t before;
    lock(gather, &before);
    gather->aborted = 1;
    for (svl_gatherer_t *gatherer = gather->busy; gatherer; gatherer = gatherer->next) {
        svl_curl_transport.abort(gatherer->client);
        for (apr_uint32_t i = 0; i < runtime->node->count; i++) {
            if (gatherer->ways[i].link) {
                svl_link_abort(gatherer->ways[i].link);
            }
        }
    }
    unlock(gather, &before);
}

apr_status_t svl_gatherers_create(svl_runtime_t *runtime, apr_pool_t *p)
{
    svl_gather_t *gather = apr_pcalloc(p, sizeof(*gather));
    apr_status_t rv = apr_thread_mutex_create(&gather->lock, APR_THREAD_MUTEX_DEFAULT, p);
    gather->pool = p;
    runtime->gather = gather;
    return rv == APR_SUCCESS ? svl_crew_create(&gather->openers, OPENERS, open_links, runtime, p) : rv;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The segment, from its first byte:
 *
 *   svl_segment_t            how many slots of each kind there are
 *   svl_shared_node_t[]      one a node
 *   svl_shared_peer_t[]      one a member of each node's fleet, the node itself included
 *   svl_shared_function_t[]  one a function of each node, and one a node for functions that are not loaded
 *   svl_shared_place_t[]     one a child process
 *   svl_shared_cursor_t[]    one a child process and node
 *
 * Slots are found by (node, name), never by address, so a segment can outlive any number of configurations.  A slot whose name left the
 * configuration keeps its numbers and is used again should the name come back.
 */
#include "shared.h"

#include <string.h>

#include <ap_mpm.h>
#include <apr_hash.h>
#include <apr_shm.h>
#include <apr_strings.h>
#include <http_log.h>
#include <http_main.h>

#include "../core/robust.h"
#include "missing.h"
#include "registry.h"

#define SPARE_NODES 8 /* room for what a graceful restart may add; beyond, the segment is replaced */
#define SPARE_PEERS 256
#define SPARE_FUNCTIONS 256
#define RETAINED_KEY                                                                                                           \
    "serviceless-shared-4" /* another number with each change of the layout: it outlives an upgrade of the module */
#define RETAINED_TOLD "serviceless-told"

APLOG_USE_MODULE(serviceless);

typedef struct svl_segment_t {
    apr_uint32_t nodes;
    apr_uint32_t peers;
    apr_uint32_t functions;
    apr_uint32_t places;
    apr_uint64_t news; /* svl_shared_places_t */
} svl_segment_t;

/* The three tables of a segment. */
typedef struct tables_t {
    svl_segment_t size;
    svl_shared_node_t *nodes;
    svl_shared_peer_t *peers;
    svl_shared_function_t *functions;
    svl_shared_places_t places;
} tables_t;

static tables_t present;   /* of the last configuration; children inherit it */
static apr_uint32_t *told; /* of all children and generations: the line about a handler without a node was written */

static apr_size_t aligned(apr_size_t size)
{
    return APR_ALIGN(size, 64);
}

static apr_size_t segment_bytes(const svl_segment_t *size)
{
    return aligned(sizeof(svl_segment_t)) + aligned(size->nodes * sizeof(svl_shared_node_t))
           + aligned(size->peers * sizeof(svl_shared_peer_t)) + aligned(size->functions * sizeof(svl_shared_function_t))
           + aligned(size->places * sizeof(svl_shared_place_t))
           + aligned((apr_size_t)size->places * size->nodes * sizeof(svl_shared_cursor_t));
}

static void segment_map(tables_t *tables, char *base)
{
    memcpy(&tables->size, base, sizeof(tables->size));
    tables->places = (svl_shared_places_t){
        .count = tables->size.places, .nodes = tables->size.nodes, .news = &((svl_segment_t *)(void *)base)->news};
    base += aligned(sizeof(svl_segment_t));
    tables->nodes = (svl_shared_node_t *)base;
    base += aligned(tables->size.nodes * sizeof(svl_shared_node_t));
    tables->peers = (svl_shared_peer_t *)base;
    base += aligned(tables->size.peers * sizeof(svl_shared_peer_t));
    tables->functions = (svl_shared_function_t *)base;
    base += aligned(tables->size.functions * sizeof(svl_shared_function_t));
    tables->places.places = (svl_shared_place_t *)base;
    base += aligned(tables->size.places * sizeof(svl_shared_place_t));
    tables->places.cursors = (svl_shared_cursor_t *)base;
}

static apr_status_t segment_make(apr_shm_t **shm, const svl_segment_t *size, apr_pool_t *p)
{
    /* Anonymous: it leaves nothing in /dev/shm and no System V segment, however the server ends. */
    apr_status_t rv = apr_shm_create(shm, segment_bytes(size), NULL, p);
    tables_t tables;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    memset(apr_shm_baseaddr_get(*shm), 0, segment_bytes(size));
    memcpy(apr_shm_baseaddr_get(*shm), size, sizeof(*size));
    segment_map(&tables, apr_shm_baseaddr_get(*shm));
    for (apr_uint32_t i = 0; rv == APR_SUCCESS && i < size->nodes; i++) {
        tables.nodes[i].slot = i;
        rv = svl_robust_make(&tables.nodes[i].leader);
    }
    for (apr_uint32_t i = 0; i < size->places; i++) {
        sem_init(&tables.places.places[i].wake, 1, 0);
    }
    return rv;
}

/* Numbers move over; a leader's lock does not, because its holder still has the old one: for the life of the old children there are
 * two leaders, which costs a probe asked twice.  Old children stay in their places of the old segment, where they hear no news any more, so
 * they look into the log instead. */
static void segment_copy(tables_t *to, const tables_t *from)
{
    for (apr_uint32_t i = 0; i < from->size.nodes; i++) {
        pthread_mutex_t leader = to->nodes[i].leader;
        to->nodes[i] = from->nodes[i];
        to->nodes[i].leader = leader;
        __atomic_store_n(&from->nodes[i].every, SVL_SHARED_LOOK, __ATOMIC_RELEASE);
    }
    __atomic_store_n(from->places.news, SVL_SHARED_LOOK, __ATOMIC_RELEASE);
    memcpy(to->peers, from->peers, from->size.peers * sizeof(*to->peers));
    memcpy(to->functions, from->functions, from->size.functions * sizeof(*to->functions));
}

static apr_uint32_t node_slot(tables_t *tables, const char *name)
{
    apr_uint32_t i = 0;
    while (i < tables->size.nodes && tables->nodes[i].name[0] && strcmp(tables->nodes[i].name, name) != 0) {
        i++;
    }
    if (i < tables->size.nodes) {
        apr_cpystrn(tables->nodes[i].name, name, sizeof(tables->nodes[i].name));
    }
    return i;
}

static struct svl_peer_state_t *peer_slot(tables_t *tables, apr_uint32_t node, const char *name)
{
    apr_uint32_t i = 0;
    while (i < tables->size.peers && tables->peers[i].node
           && (tables->peers[i].node != node + 1 || strcmp(tables->peers[i].name, name) != 0)) {
        i++;
    }
    if (i == tables->size.peers) {
        return NULL;
    }
    tables->peers[i].node = node + 1;
    apr_cpystrn(tables->peers[i].name, name, sizeof(tables->peers[i].name));
    return &tables->peers[i].state;
}

static svl_shared_function_t *function_slot(tables_t *tables, apr_uint32_t node, const char *name)
{
    apr_uint32_t i = 0;
    while (i < tables->size.functions && tables->functions[i].node
           && (tables->functions[i].node != node + 1 || strcmp(tables->functions[i].name, name) != 0)) {
        i++;
    }
    if (i == tables->size.functions) {
        return NULL;
    }
    tables->functions[i].node = node + 1;
    apr_cpystrn(tables->functions[i].name, name, sizeof(tables->functions[i].name));
    return &tables->functions[i];
}

static int is_any_alive(const svl_shared_places_t *table)
{
    for (apr_uint32_t i = 0; i < table->count; i++) {
        if (__atomic_load_n(&table->places[i].pid, __ATOMIC_ACQUIRE)) {
            return 1;
        }
    }
    return 0;
}

/* What is remembered of positions may be of another log, or of this one before an older copy was put back.
 * @return 0 when that is so and children live that go by it */
static int check_positions(const svl_node_t *node, svl_shared_node_t *shared, const svl_shared_places_t *table)
{
    const int lives =
        is_any_alive(table); /* then the log goes on growing meanwhile, and nobody has put another copy in its place */
    if (!node->log_created || (shared->log_created == node->log_created && (lives || shared->every <= node->log_last + 1))) {
        return 1;
    }
    if (shared->log_created && lives) {
        return 0;
    }
    shared->log_created = node->log_created;
    shared->every = shared->first = 0;
    return 1;
}

/* Gives one node its slots.  @return 0 when the segment has too few, or cannot be used by this generation and the one before. */
static int place_node(svl_node_t *node, tables_t *tables, apr_pool_t *pconf)
{
    apr_uint32_t slot = node_slot(tables, node->name);
    if (slot == tables->size.nodes || !function_slot(tables, slot, "")) {
        return 0;
    }
    node->shared = &tables->nodes[slot];
    svl_missing_forget(node);
    if (!check_positions(node, node->shared, &tables->places)) {
        return 0;
    }
    node->peers = apr_pcalloc(pconf, node->count * sizeof(*node->peers));
    for (apr_uint32_t i = 0; i < node->count; i++) {
        node->peers[i] = peer_slot(tables, slot, node->members[i].name);
        if (!node->peers[i]) {
            return 0;
        }
    }
    for (apr_hash_index_t *hi = apr_hash_first(pconf, node->functions); hi; hi = apr_hash_next(hi)) {
        svl_function_t *function = apr_hash_this_val(hi);
        function->shared = function_slot(tables, slot, function->name);
        if (!function->shared) {
            return 0;
        }
    }
    node->unknown_function = function_slot(tables, slot, "");
    return 1;
}

/* @return 0 when the segment has too few of something */
static int place_all(tables_t *tables, apr_pool_t *pconf)
{
    const apr_array_header_t *nodes = svl_config_nodes();
    int placed = 1;
    for (int i = 0; placed && i < nodes->nelts; i++) {
        placed = place_node(APR_ARRAY_IDX(nodes, i, svl_node_t *), tables, pconf);
    }
    return placed;
}

/* What the present configuration needs, on top of what @a old holds already. */
static svl_segment_t size_wanted(const svl_segment_t *old)
{
    const apr_array_header_t *nodes = svl_config_nodes();
    svl_segment_t size = {old->nodes + SPARE_NODES, old->peers + SPARE_PEERS, old->functions + SPARE_FUNCTIONS, 0, 0};
    int children = 1;
    ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &children);
    size.places = 2 * (apr_uint32_t)(children > 0 ? children : 1); /* those of the last generation stay for a while */
    for (int i = 0; i < nodes->nelts; i++) {
        const svl_node_t *node = APR_ARRAY_IDX(nodes, i, const svl_node_t *);
        size.nodes++;
        size.peers += node->count;
        size.functions += apr_hash_count(node->functions) + 1;
    }
    return size;
}

const svl_shared_places_t *svl_shared_places(void)
{
    return present.places.places ? &present.places : NULL;
}

int svl_shared_first_time(void)
{
    return told && !__atomic_exchange_n(told, 1, __ATOMIC_RELAXED);
}

apr_status_t svl_shared_tell_once(apr_pool_t *process_pool)
{
    apr_uint32_t **retained = ap_retained_data_get(RETAINED_TOLD);
    apr_shm_t *shm;
    apr_status_t rv = APR_SUCCESS;
    if (!retained) {
        rv = apr_shm_create(&shm, sizeof(**retained), NULL, process_pool);
        if (rv == APR_SUCCESS) {
            retained = ap_retained_data_create(RETAINED_TOLD, sizeof(*retained));
            *retained = apr_shm_baseaddr_get(shm);
            **retained = 0;
        }
    }
    told = retained ? *retained : NULL;
    return rv;
}

apr_status_t svl_shared_attach(apr_pool_t *process_pool, apr_pool_t *pconf)
{
    apr_shm_t **retained = ap_retained_data_get(RETAINED_KEY);
    tables_t tables = {.nodes = NULL};
    tables_t larger;
    apr_shm_t *shm;
    if (!retained) {
        retained = ap_retained_data_create(RETAINED_KEY, sizeof(*retained));
    }
    if (*retained) {
        segment_map(&tables, apr_shm_baseaddr_get(*retained));
        if (place_all(&tables, pconf)) {
            present = tables;
            return APR_SUCCESS;
        }
    }
    svl_segment_t size = size_wanted(&tables.size);
    apr_status_t rv = segment_make(&shm, &size, process_pool);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, ap_server_conf,
                     SVLNO(0450) "cannot make a shared segment of %" APR_SIZE_T_FMT " bytes", segment_bytes(&size));
        return rv;
    }
    segment_map(&larger, apr_shm_baseaddr_get(shm));
    if (*retained) {
        segment_copy(&larger, &tables);
    }
    *retained = shm;
    present = larger;
    return place_all(&larger, pconf) ? APR_SUCCESS : APR_ENOSPC;
}

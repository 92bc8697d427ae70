/* SPDX-License-Identifier: Apache-2.0 */
#include "place.h"

#include <unistd.h>

#include <ap_mpm.h>
#include <http_log.h>
#include <http_main.h>
#include <scoreboard.h>

APLOG_USE_MODULE(serviceless);

static svl_shared_place_t *own;    /* NULL: in the parent, or none was free */
static svl_shared_cursor_t *alone; /* cursors of a child without a place, by node slot */

static void clear(const svl_shared_places_t *table, apr_uint32_t i)
{
    svl_shared_place_t *place = &table->places[i];
    for (apr_uint32_t node = 0; node < table->nodes; node++) {
        svl_shared_cursor_t *cursor = &table->cursors[i * table->nodes + node];
        __atomic_store_n(&cursor->began, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&cursor->done, 0, __ATOMIC_RELAXED);
        cursor->function[0] = '\0';
    }
    __atomic_store_n(&place->leaving, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&place->woken, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&place->waiting, 0, __ATOMIC_RELAXED);
}

void svl_place_claim(void)
{
    const svl_shared_places_t *table = svl_shared_places();
    int generation = 0;
    ap_mpm_query(AP_MPMQ_GENERATION, &generation);
    for (apr_uint32_t i = 0; i < table->count; i++) {
        apr_int64_t nobody = 0;
        if (__atomic_compare_exchange_n(&table->places[i].pid, &nobody, getpid(), 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            own = &table->places[i];
            __atomic_store_n(&own->generation, generation, __ATOMIC_RELAXED);
            return;
        }
    }
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, ap_server_conf,
                 SVLNO(0700) "all %u places of children are taken: outcomes do not count this child", table->count);
    alone = apr_pcalloc(ap_server_conf->process->pool, table->nodes * sizeof(*alone));
}

svl_shared_place_t *svl_place_own(void)
{
    return own;
}

svl_shared_cursor_t *svl_place_cursor(const svl_node_t *node)
{
    const svl_shared_places_t *table = svl_shared_places();
    return own ? &table->cursors[(apr_size_t)(own - table->places) * table->nodes + node->shared->slot]
               : &alone[node->shared->slot];
}

apr_uint32_t svl_place_count_old(void)
{
    const svl_shared_places_t *table = svl_shared_places();
    apr_uint32_t count = 0;
    for (apr_uint32_t i = 0; ap_exists_scoreboard_image() && i < table->count; i++) {
        count += __atomic_load_n(&table->places[i].pid, __ATOMIC_ACQUIRE)
                 && SVL_READ(table->places[i].generation) != ap_get_scoreboard_global()->running_generation;
    }
    return count;
}

void svl_place_leave(void)
{
    if (own) {
        __atomic_store_n(&own->leaving, 1, __ATOMIC_RELEASE);
    }
}

static void tell_ended(const server_rec *s, pid_t pid, const svl_shared_cursor_t *cursor)
{
    if (cursor->function[0]) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, SVLNO(0701) "child %" APR_PID_T_FMT " ended while it ran call %s of %s", pid,
                     cursor->id, cursor->function);
    }
}

void svl_place_ended(const server_rec *s, pid_t pid)
{
    const svl_shared_places_t *table = svl_shared_places();
    for (apr_uint32_t i = 0; table && i < table->count; i++) {
        svl_shared_place_t *place = &table->places[i];
        if (__atomic_load_n(&place->pid, __ATOMIC_ACQUIRE) != pid) {
            continue;
        }
        for (apr_uint32_t node = 0; node < table->nodes; node++) {
            tell_ended(s, pid, &table->cursors[i * table->nodes + node]);
        }
        clear(table, i);
        __atomic_store_n(&place->pid, 0, __ATOMIC_RELEASE);
        return;
    }
}

apr_uint32_t svl_place_wait(int change)
{
    const svl_shared_places_t *table = svl_shared_places();
    apr_uint32_t sum = 0;
    if (own) {
        __atomic_add_fetch(&own->waiting, (apr_uint32_t)change, __ATOMIC_SEQ_CST);
    }
    for (apr_uint32_t i = 0; i < table->count; i++) {
        sum += __atomic_load_n(&table->places[i].waiting, __ATOMIC_SEQ_CST);
    }
    return sum;
}

static void raise_to(apr_uint64_t *number, apr_uint64_t to)
{
    apr_uint64_t before = __atomic_load_n(number, __ATOMIC_RELAXED);
    while (before < to && !__atomic_compare_exchange_n(number, &before, to, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
}

/* Whoever was woken and has not heard it yet will see these news as well. */
static void wake_all(const svl_shared_places_t *table)
{
    for (apr_uint32_t i = 0; i < table->count; i++) {
        svl_shared_place_t *place = &table->places[i];
        if (__atomic_load_n(&place->pid, __ATOMIC_RELAXED) && !__atomic_exchange_n(&place->woken, 1, __ATOMIC_SEQ_CST)) {
            sem_post(&place->wake);
        }
    }
}

void svl_place_publish(const svl_node_t *node, apr_uint64_t position)
{
    const svl_shared_places_t *table = svl_shared_places();
    apr_uint64_t news = __atomic_load_n(table->news, __ATOMIC_RELAXED);
    raise_to(&node->shared->every, position + 1);
    while (news != SVL_SHARED_LOOK
           && !__atomic_compare_exchange_n(table->news, &news, news + 1, 1, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
    }
    wake_all(table);
}

void svl_place_looked(const svl_node_t *node, apr_uint64_t last)
{
    apr_uint64_t nobody = 0, unknown = 0;
    __atomic_compare_exchange_n(&node->shared->first, &nobody, last + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    __atomic_compare_exchange_n(&node->shared->every, &unknown, __atomic_load_n(&node->shared->first, __ATOMIC_SEQ_CST), 0,
                                __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

apr_uint32_t svl_place_count(const svl_node_t *node, apr_uint64_t position, apr_uint32_t *all)
{
    const svl_shared_places_t *table = svl_shared_places();
    apr_uint32_t through = 0;
    *all = 0;
    for (apr_uint32_t i = 0; i < table->count; i++) {
        const svl_shared_cursor_t *cursor = &table->cursors[i * table->nodes + node->shared->slot];
        apr_uint64_t began = __atomic_load_n(&cursor->began, __ATOMIC_ACQUIRE);
        if (began && began <= position && __atomic_load_n(&table->places[i].pid, __ATOMIC_ACQUIRE)
            && !__atomic_load_n(&table->places[i].leaving, __ATOMIC_ACQUIRE)) {
            ++*all;
            through += __atomic_load_n(&cursor->done, __ATOMIC_ACQUIRE) > position;
        }
    }
    return through;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tables.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "damage.h"

void svl_env_gate_make(svl_store_t *store)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&store->gate, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* the wall clock may jump */
    pthread_cond_init(&store->calm, &attributes);
    pthread_condattr_destroy(&attributes);
}

void svl_env_gate_destroy(svl_store_t *store)
{
    pthread_cond_destroy(&store->calm);
    pthread_mutex_destroy(&store->gate);
}

/* Within the gate's mutex. */
static apr_status_t enter(svl_store_t *store, svl_store_reader_t **idle)
{
    if (!store->env) {
        return APR_EGENERAL;
    }
    ++store->live;
    if (idle) {
        *idle = store->idle;
        store->idle = *idle ? (*idle)->next : NULL;
    }
    return APR_SUCCESS;
}

apr_status_t svl_env_enter(svl_store_t *store, svl_store_reader_t **idle)
{
    apr_status_t status;

    pthread_mutex_lock(&store->gate);
    while (store->shut) {
        pthread_cond_wait(&store->calm, &store->gate);
    }
    status = enter(store, idle);
    pthread_mutex_unlock(&store->gate);
    return status;
}

apr_status_t svl_env_enter_now(svl_store_t *store, svl_store_reader_t **idle)
{
    apr_status_t status;

    pthread_mutex_lock(&store->gate);
    status = store->shut ? APR_EGENERAL : enter(store, idle);
    pthread_mutex_unlock(&store->gate);
    return status;
}

void svl_env_leave(svl_store_t *store, svl_store_reader_t *ended)
{
    pthread_mutex_lock(&store->gate);
    if (ended) {
        ended->next = store->idle;
        store->idle = ended;
    }
    if (--store->live == 0 && store->shut) {
        pthread_cond_broadcast(&store->calm);
    }
    pthread_mutex_unlock(&store->gate);
}

void svl_env_forget_readers(svl_store_t *store)
{
    svl_store_reader_t *reader;

    while ((reader = store->idle) != NULL) {
        store->idle = reader->next;
        mdb_cursor_close(reader->cursor);
        mdb_txn_abort(reader->txn);
        free(reader);
    }
}

static int reopen(svl_store_t *store)
{
    MDB_txn *txn;
    int rc;

    svl_env_close(store);
    rc = svl_env_open(store);
    if (!rc) {
        rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    }
    if (!rc) {
        rc = svl_env_tables(store, txn, 0);
        if (rc) {
            mdb_txn_abort(txn);
        }
        else {
            rc = mdb_txn_commit(txn); /* keeps the handles of tables */
        }
    }
    if (rc) {
        svl_env_close(store);
    }
    return rc;
}

static int resize(svl_store_t *store)
{
    MDB_envinfo info;
    int rc = mdb_env_set_mapsize(store->env, 0);

    if (!rc) {
        svl_damage_watch(store);
    }
    mdb_env_info(store->env, &info);
    if (info.me_mapsize / store->page > store->bound) {
        store->bound = info.me_mapsize / store->page;
    }
    return rc;
}

apr_status_t svl_env_mend(svl_store_t *store, int rc)
{
    struct timespec deadline;
    int waited = 0;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += SVL_ENV_CALM;
    pthread_mutex_lock(&store->gate);
    store->shut = 1;
    while (store->live && waited != ETIMEDOUT) {
        waited = pthread_cond_timedwait(&store->calm, &store->gate, &deadline);
    }
    if (store->live) {
        rc = EAGAIN;
    }
    else {
        rc = rc == MDB_MAP_RESIZED ? resize(store) : rc == MDB_MAP_FULL ? svl_env_fit(store) : reopen(store);
    }
    store->shut = 0;
    pthread_cond_broadcast(&store->calm);
    pthread_mutex_unlock(&store->gate);
    return svl_env_status(rc);
}

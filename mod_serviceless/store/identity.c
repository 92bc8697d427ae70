/* SPDX-License-Identifier: Apache-2.0 */
#include "identity.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <apr_strings.h>

#include "../core/fault.h"
#include "boot.h"
#include "running.h"

#define FORMAT "format"
#define MOVE_AWAY "move the directory away, and the node begins a new log that its peers refill"

apr_status_t svl_identity_look(const char *directory)
{
    char path[APR_PATH_MAX];
    struct stat file;

    apr_snprintf(path, sizeof(path), "%s/data.mdb", directory);
    if (stat(path, &file)) {
        return APR_FROM_OS_ERROR(errno);
    }
    return file.st_size ? APR_SUCCESS : SVL_EDAMAGED;
}

const char *svl_identity_explain(const char *directory, apr_status_t status, apr_pool_t *p)
{
    char text[160];

    switch (status) {
    case SVL_EDAMAGED:
        return apr_psprintf(p, "%s: data.mdb is damaged, cut, or no log of mod_serviceless: " MOVE_AWAY, directory);
    case APR_ENOTIMPL:
        return apr_psprintf(p, "%s: the log is of another version of LMDB: use that one, or " MOVE_AWAY, directory);
    case APR_EBUSY:
        return apr_psprintf(p, "%s: this process has the log open already", directory);
    default:
        return apr_psprintf(p, "%s: the log cannot be opened: %s", directory, svl_fault_strerror(status, text, sizeof(text)));
    }
}

static int get(svl_store_t *store, MDB_txn *txn, const char *key, MDB_val *value)
{
    MDB_val k = {strlen(key), (void *)key};

    return mdb_get(txn, store->tables[SVL_TABLE_TOP], &k, value);
}

static int put(svl_store_t *store, MDB_txn *txn, const char *key, const void *bytes, apr_size_t length)
{
    MDB_val k = {strlen(key), (void *)key}, v = {length, (void *)bytes};

    return mdb_put(txn, store->tables[SVL_TABLE_TOP], &k, &v, 0);
}

static int open_top(svl_store_t *store, MDB_txn *txn)
{
    return mdb_dbi_open(txn, NULL, 0, &store->tables[SVL_TABLE_TOP]);
}

/* Has a table of its own, where every version looks for it. */
static int open_format(MDB_txn *txn, unsigned int flags, MDB_dbi *table)
{
    return mdb_dbi_open(txn, "meta", flags, table);
}

static apr_status_t load_format(const svl_store_t *store, MDB_txn *txn, const char **error, apr_pool_t *p)
{
    MDB_val key = {sizeof(FORMAT) - 1, FORMAT}, value;
    MDB_dbi table;
    int rc = open_format(txn, 0, &table);

    if (!rc) {
        rc = mdb_get(txn, table, &key, &value);
    }
    if (rc == MDB_NOTFOUND) {
        rc = MDB_INCOMPATIBLE;
    }
    if (rc) {
        return svl_env_status(rc);
    }
    if (value.mv_size != SVL_RECORDS_FORMAT_SIZE) {
        return SVL_EDAMAGED;
    }
    if (svl_records_get32(value.mv_data) == SVL_RECORDS_FORMAT) {
        return APR_SUCCESS;
    }
    *error = apr_psprintf(p,
                          "%s: the log has another format than version %d, which is all that this mod_serviceless reads: "
                          "use the one that wrote it, or " MOVE_AWAY,
                          store->options.directory, SVL_RECORDS_FORMAT);
    return APR_ENOTIMPL; /* not damaged: never to be set aside unasked */
}

static apr_status_t load_node(svl_store_t *store, MDB_txn *txn, const char *name, const char **error, apr_pool_t *p)
{
    svl_records_node_t *node = &store->node;
    MDB_val value;
    apr_status_t status = svl_env_status(get(store, txn, "node", &value));

    if (!status) {
        status = svl_records_get_node(node, value.mv_data, value.mv_size);
    }
    if (status) {
        return status == APR_NOTFOUND ? SVL_EDAMAGED : status;
    }
    node->name = apr_pstrmemdup(store->pool, node->name, node->name_length);
    if (!name || !strcmp(name, node->name)) {
        return APR_SUCCESS;
    }
    *error = apr_psprintf(p, "%s is the log of the node %s, not of %s: give each node a directory of its own, or " MOVE_AWAY,
                          store->options.directory, svl_log_escape(p, node->name, SVL_NAME_NODE_MAX), name);
    return SVL_EOWNER;
}

static apr_status_t load_epoch(svl_store_t *store, MDB_txn *txn)
{
    svl_records_state_t state;
    MDB_val value;
    apr_status_t status = svl_env_status(get(store, txn, "state", &value));

    if (!status) {
        status = svl_records_get_state(&state, value.mv_data, value.mv_size);
    }
    if (!status && !svl_name_is_epoch(state.epoch, SVL_NAME_EPOCH)) {
        status = SVL_EDAMAGED;
    }
    if (!status) {
        memcpy(store->epochs[store->epoch], state.epoch, sizeof(state.epoch));
    }
    return status == APR_NOTFOUND ? SVL_EDAMAGED : status;
}

static apr_status_t load_lost(svl_store_t *store, MDB_txn *txn)
{
    MDB_val value;
    apr_status_t status = svl_env_status(get(store, txn, "lost", &value));

    store->lost = status || value.mv_size != 8 ? 0 : (apr_time_t)svl_records_get64(value.mv_data);
    return status == APR_NOTFOUND ? APR_SUCCESS : status;
}

apr_status_t svl_identity_load(svl_store_t *store, MDB_txn *txn, const char *name, const char **error, apr_pool_t *p)
{
    apr_status_t status;

    *error = NULL;
    status = load_format(store, txn, error, p);
    if (!status) {
        status = svl_env_status(open_top(store, txn));
    }
    if (!status) {
        status = load_node(store, txn, name, error, p);
    }
    if (!status) {
        status = load_epoch(store, txn);
    }
    if (!status) {
        status = load_lost(store, txn);
    }
    if (!status) {
        status = svl_running_named(store, txn, store->running_id);
    }
    if (!status) {
        status = svl_env_status(svl_env_tables(store, txn, 0));
    }
    if (status == APR_NOTFOUND) {
        status = SVL_EDAMAGED;
    }
    if (status && !*error) {
        *error = svl_identity_explain(store->options.directory, status, p);
    }
    return status;
}

static int save_node(svl_store_t *store, MDB_txn *txn)
{
    unsigned char bytes[SVL_RECORDS_NODE_SIZE + SVL_NAME_NODE_MAX];

    svl_records_put_node(bytes, &store->node);
    memcpy(bytes + SVL_RECORDS_NODE_SIZE, store->node.name, store->node.name_length);
    return put(store, txn, "node", bytes, SVL_RECORDS_NODE_SIZE + store->node.name_length);
}

static apr_status_t begin_epoch(svl_store_t *store, MDB_txn *txn, svl_records_state_t *state)
{
    unsigned char bytes[SVL_RECORDS_STATE_SIZE];
    apr_status_t status = svl_name_make_epoch(state->epoch);

    if (status) {
        return status;
    }
    svl_records_put_state(bytes, state);
    svl_log_write(store->options.log, SVL_LOG_MARK, SVL_LOG_NOTICE, APR_SUCCESS,
                  SVLNO(0202) "the log %s of %s begins the epoch %s", store->options.directory, store->options.node,
                  state->epoch);
    return svl_env_status(put(store, txn, "state", bytes, sizeof(bytes)));
}

static apr_status_t create(svl_store_t *store, MDB_txn *txn)
{
    unsigned char format[SVL_RECORDS_FORMAT_SIZE], lost[8];
    MDB_val key = {sizeof(FORMAT) - 1, FORMAT}, value = {sizeof(format), format};
    svl_records_state_t state;
    MDB_dbi table;
    int rc = svl_env_tables(store, txn, 1);

    memset(&state, 0, sizeof(state));
    memset(&store->node, 0, sizeof(store->node));
    store->node.created = apr_time_now();
    store->node.name = store->options.node;
    store->node.name_length = strlen(store->options.node);
    svl_records_put32(format, SVL_RECORDS_FORMAT);
    if (!rc) {
        rc = open_format(txn, MDB_CREATE, &table);
    }
    if (!rc) {
        rc = mdb_put(txn, table, &key, &value, 0);
    }
    if (!rc) {
        rc = save_node(store, txn);
    }
    if (!rc && store->lost) {
        svl_records_put64(lost, (apr_uint64_t)store->lost);
        rc = put(store, txn, "lost", lost, sizeof(lost));
    }
    return rc ? svl_env_status(rc) : begin_epoch(store, txn, &state);
}

static apr_status_t renew_epoch(svl_store_t *store, MDB_txn *txn)
{
    svl_records_state_t state;
    MDB_val value;
    apr_status_t status = svl_env_status(get(store, txn, "state", &value));

    if (!status) {
        status = svl_records_get_state(&state, value.mv_data, value.mv_size);
    }
    return status ? status : begin_epoch(store, txn, &state);
}

static apr_status_t describe(svl_store_t *store, MDB_txn *txn, svl_store_prepared_t *prepared)
{
    svl_records_state_t state;
    MDB_val value;
    apr_status_t status = svl_env_status(get(store, txn, "state", &value));

    if (!status) {
        status = svl_records_get_state(&state, value.mv_data, value.mv_size);
    }
    if (!status) {
        *prepared = (svl_store_prepared_t){store->node.created, state.last};
    }
    return status;
}

apr_status_t svl_identity_prepare(svl_store_t *store, MDB_txn *txn, const char **error, apr_pool_t *p)
{
    unsigned char flags = store->options.durable ? 0 : SVL_RECORDS_NODE_ASYNC;
    char boot[SVL_RECORDS_BOOT];
    MDB_stat stat;
    apr_status_t status = svl_env_status(open_top(store, txn));

    if (!status) {
        status = svl_env_status(mdb_stat(txn, store->tables[SVL_TABLE_TOP], &stat));
    }
    store->begun = !status && !stat.ms_entries;
    if (store->begun) {
        status = create(store, txn);
    }
    if (status) {
        *error = svl_identity_explain(store->options.directory, status, p);
        return status;
    }
    status = svl_identity_load(store, txn, store->options.node, error, p);
    if (status) {
        return status;
    }
    /* Nothing in the file can say whether it is the newest state of it: a backup looks the same.  So no start of a server goes on where
     * the file ends; an epoch that was not used leaves no stream. */
    if (store->starts && !store->begun) {
        status = renew_epoch(store, txn);
    }
    svl_boot_read(boot);
    if (!status && (memcmp(boot, store->node.boot, sizeof(boot)) != 0 || flags != store->node.flags)) {
        memcpy(store->node.boot, boot, sizeof(boot));
        store->node.flags = flags;
        status = svl_env_status(save_node(store, txn));
    }
    if (!status && store->options.prepared) {
        status = describe(store, txn, store->options.prepared);
    }
    if (status) {
        *error = svl_identity_explain(store->options.directory, status, p);
    }
    return status;
}

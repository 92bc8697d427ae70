/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "commit.h"
#include "damage.h"
#include "ended.h"
#include "recent.h"

/* What nobody waits for: ends of relays, and ends of runs whose callers have their answer already. */

void svl_commit_late_drop(svl_commit_late_t *late, unsigned int relayed, unsigned int outcomes)
{
    unsigned int i;

    for (i = 0; i < outcomes; ++i) {
        free((void *)late->outcomes[i].text);
    }
    late->relayed_count -= relayed;
    late->outcome_count -= outcomes;
    memmove(late->relayed, late->relayed + relayed, late->relayed_count * sizeof(*late->relayed));
    memmove(late->outcomes, late->outcomes + outcomes, late->outcome_count * sizeof(*late->outcomes));
}

static int add_relayed(svl_store_t *store, apr_uint64_t first)
{
    svl_commit_late_t *late = store->late;
    sigset_t saved;
    int fits;

    svl_env_guard(store, &saved);
    pthread_mutex_lock(&store->queue);
    fits = late->relayed_count < SVL_COMMIT_LATE_MAX;
    if (fits) {
        late->relayed[late->relayed_count++] = first;
    }
    pthread_mutex_unlock(&store->queue);
    svl_env_unguard(store, &saved);
    return fits;
}

void svl_store_relayed(svl_store_t *store, apr_uint64_t first)
{
    sigset_t saved;
    int done;

    if (store->readonly) {
        return;
    }
    svl_env_guard(store, &saved);
    done = svl_recent_relayed(store, first);
    svl_env_unguard(store, &saved);
    /* When the log cannot be written either, its record keeps the route: that is relayed again, which nobody notices but
     * sync. */
    if (!done && !add_relayed(store, first) && !svl_commit_nothing(store)) {
        add_relayed(store, first);
    }
}

/* @return nonzero when the text was copied too, or there is none */
static int copy_outcome(svl_store_outcome_t *copy, const svl_store_outcome_t *outcome)
{
    char *text = NULL;

    *copy = *outcome;
    copy->text = NULL;
    if (!outcome->text || !outcome->length) {
        return 1;
    }
    if (outcome->length <= SVL_COMMIT_TEXT_MAX) {
        text = malloc(outcome->length);
    }
    if (text) {
        memcpy(text, outcome->text, outcome->length);
        copy->text = text;
    }
    return text != NULL;
}

/* Copies as many outcomes as fit, up to the first with a text that does not, unless `bare`: a length without a text says that there was
 * one.  Under the queue's mutex. */
static apr_uint32_t add_outcomes(svl_commit_late_t *late, const svl_store_outcome_t *outcomes, apr_uint32_t count, int bare)
{
    apr_uint32_t i;

    for (i = 0; i < count && late->outcome_count < SVL_COMMIT_LATE_MAX; ++i) {
        if (!copy_outcome(&late->outcomes[late->outcome_count], &outcomes[i]) && !bare) {
            break;
        }
        ++late->outcome_count;
    }
    return i;
}

void svl_commit_late_keep(svl_store_t *store, const svl_store_outcome_t *outcomes, apr_uint32_t count)
{
    sigset_t saved;

    svl_env_guard(store, &saved);
    pthread_mutex_lock(&store->queue);
    add_outcomes(store->late, outcomes, count, 1);
    store->late->failed = 1;
    pthread_mutex_unlock(&store->queue);
    svl_env_unguard(store, &saved);
}

apr_status_t svl_store_finish_later(svl_store_t *store, const svl_store_outcome_t *outcomes, apr_uint32_t count)
{
    sigset_t saved;
    apr_uint32_t added;

    if (store->readonly) {
        return APR_EACCES;
    }
    svl_env_guard(store, &saved);
    pthread_mutex_lock(&store->queue);
    added = add_outcomes(store->late, outcomes, count, 0);
    pthread_mutex_unlock(&store->queue);
    svl_env_unguard(store, &saved);
    return added == count ? APR_SUCCESS : svl_store_finish(store, outcomes + added, count - added);
}

apr_status_t svl_store_flush(svl_store_t *store)
{
    MDB_envinfo info;
    sigset_t saved;
    int wanted, dead;

    if (store->readonly) {
        return APR_EACCES;
    }
    svl_damage_look(store);
    if (svl_damage_known(store)) {
        return SVL_EDAMAGED;
    }
    svl_env_guard(store, &saved);
    pthread_mutex_lock(&store->queue);
    store->late->failed = store->ended_failed = 0;
    wanted = store->late->relayed_count || store->late->outcome_count;
    pthread_mutex_unlock(&store->queue);
    wanted |= svl_ended_mend(store) | svl_recent_any(store);
    if (svl_env_enter(store, NULL)) {
        wanted = 1; /* to open it anew */
    }
    else {
        mdb_reader_check(store->env, &dead);
        mdb_env_info(store->env, &info);
        wanted |=
            info.me_last_pgno != __atomic_load_n(&store->whole, __ATOMIC_RELAXED); /* makes the file whole for the command */
        svl_env_leave(store, NULL);
    }
    svl_env_unguard(store, &saved);
    return wanted ? svl_commit_nothing(store) : APR_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "children.h"

#include <apr_strings.h>

#include "children_kept.h"
#include "place.h"

#define SETTLE_WAIT apr_time_from_msec(100) /* of a run thread, for the other children */
#define SETTLE_LOOK apr_time_from_msec(1)   /* between two looks at how far they are */

void svl_children_expect(svl_runtime_t *runtime)
{
    svl_kept_expect(runtime->kept);
}

void svl_children_expected(svl_runtime_t *runtime)
{
    svl_kept_expected(runtime->kept);
}

void svl_children_took(svl_runtime_t *runtime, const svl_function_t *function, apr_uint64_t position, int ask)
{
    svl_kept_own(runtime->kept, position, ask ? 2 : 1);
    svl_place_publish(runtime->node, position);
    svl_runs_push(runtime->runs, function, position, 0);
}

int svl_children_result(svl_runtime_t *runtime, apr_uint64_t position, svl_run_t *run, apr_pool_t *p)
{
    int ran = svl_kept_find(runtime->kept, position, run, p);
    svl_kept_forget(runtime->kept, position);
    return ran;
}

void svl_children_announce(svl_runtime_t *runtime, apr_uint64_t position)
{
    if (__atomic_load_n(&runtime->node->shared->every, __ATOMIC_ACQUIRE) <= position) {
        svl_place_publish(runtime->node, position);
    }
}

/* What the log has of an entry. */
typedef struct state_t {
    svl_outcome_e outcome;
    apr_uint64_t listed; /* as of svl_store_listed */
} state_t;

static apr_status_t read_state(svl_runtime_t *runtime, apr_uint64_t position, state_t *state)
{
    svl_store_reader_t *reader;
    svl_store_record_t record;
    apr_status_t rv = svl_store_read_begin(&reader, runtime->store);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = svl_store_get(reader, position, 1, &record);
    if (rv == APR_SUCCESS) {
        state->outcome = record.outcome == SVL_OUTCOME_MISSED ? SVL_OUTCOME_PENDING : record.outcome;
        rv = svl_store_listed(reader, position, &state->listed);
    }
    svl_store_read_end(reader);
    return rv;
}

/* Where no child is left of those that were to run it, or its function was not there when it came, those that live now are to: it is
 * announced to them.  @return APR_EEXIST: that was done often enough; APR_EAGAIN: this child is leaving */
static apr_status_t announce_again(svl_runtime_t *runtime, apr_uint64_t position, state_t *state)
{
    apr_uint32_t all = 0;
    apr_status_t rv = APR_SUCCESS;
    if (state->listed) {
        svl_children_announce(runtime, state->listed);
        svl_place_count(runtime->node, state->listed, &all);
    }
    if (!all && state->outcome == SVL_OUTCOME_PENDING && !svl_kept_find(runtime->kept, position, NULL, NULL)) {
        if (svl_children_left()) {
            return APR_EAGAIN; /* at a stop no child counts, and perhaps none has run it */
        }
        rv = svl_store_announce(runtime->store, position, &state->listed);
        if (rv == APR_SUCCESS) {
            svl_place_publish(runtime->node, state->listed);
        }
    }
    return rv;
}

static int are_through(const svl_node_t *node, apr_uint64_t position)
{
    apr_uint32_t all;
    return svl_place_count(node, position, &all) == all;
}

static apr_status_t wait_for_all(svl_runtime_t *runtime, apr_uint64_t position)
{
    const apr_time_t end = svl_transport_monotonic() + SETTLE_WAIT;
    while (!are_through(runtime->node, position)) {
        if (__atomic_load_n(&runtime->stopping, __ATOMIC_ACQUIRE) || svl_transport_monotonic() > end) {
            return APR_EAGAIN;
        }
        apr_sleep(SETTLE_LOOK);
    }
    return APR_SUCCESS;
}

apr_status_t svl_children_settle(svl_runtime_t *runtime, const svl_function_t *function, apr_uint64_t position, svl_run_t *run,
                                 apr_pool_t *p)
{
    static const char ended[] = "all children that ran it have ended, three times";
    state_t state;
    apr_status_t rv = read_state(runtime, position, &state);
    *run = (svl_run_t){.outcome = SVL_OUTCOME_OK, .ended = apr_time_now()};
    if (rv == APR_SUCCESS) {
        rv = announce_again(runtime, position, &state);
    }
    if (rv == APR_EEXIST) {
        run->outcome = SVL_OUTCOME_QUARANTINED;
        run->text = ended;
        run->length = sizeof(ended) - 1;
        rv = APR_SUCCESS;
    }
    else if (rv == APR_SUCCESS) {
        rv = wait_for_all(runtime, state.listed);
        if (rv == APR_SUCCESS) {
            svl_kept_find(runtime->kept, position, run, p);
            rv = read_state(runtime, position, &state); /* a child may have failed meanwhile */
        }
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    svl_kept_forget(runtime->kept, position);
    if (function) {
        /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): read_state filled it */
        SVL_COUNT(function->shared->outcomes[state.outcome == SVL_OUTCOME_PENDING ? run->outcome : state.outcome]);
    }
    return APR_SUCCESS;
}

const char *svl_children_progress(const svl_node_t *node, const svl_function_t *function, apr_uint64_t position, apr_pool_t *p)
{
    apr_uint32_t all, through = svl_place_count(node, position, &all);
    if (!function || function->scope != SERVICELESS_SCOPE_CHILD) {
        return NULL;
    }
    return all ? apr_psprintf(p, "%u of %u children have run it so far", through, all)
               : "no child is left of those that were to run it: it is announced to those that live";
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Runs and routes of calls that are kept beside the log: they end there, or in the transaction that takes the calls, or later. */
#include "recent_fixture.h"

#include "store/commit.h"
#include "store/running.h"

/* In a stream that is known, with a route. */
static apr_uint64_t keep_routed(fixture_t *f, const char *id)
{
    svl_store_entry_t entry = own_call(f->p, id, "all", id);

    assert_int_equal(accept_all(f->store, &entry, 1, "b", NULL), APR_SUCCESS);
    assert_true(svl_running_get(svl_recent_word(f->store->recent, entry.position)) == entry.position);
    return entry.position;
}

static void work_ends_before_its_call_is_committed_and_after(void **state)
{
    fixture_t *f = *state;
    apr_uint64_t done, relayed, ran;
    svl_store_counts_t counts;

    begin_stream(f);
    assert_int_equal(finish_one(f->store, 1, SVL_OUTCOME_OK, "0"), APR_SUCCESS);
    done = keep_routed(f, "done");
    relayed = keep_routed(f, "relayed");
    ran = keep_routed(f, "ran");
    keep_routed(f, "neither");
    assert_int_equal(finish_one(f->store, done, SVL_OUTCOME_OK, "1"), APR_SUCCESS);
    assert_int_equal(finish_one(f->store, ran, SVL_OUTCOME_ERROR, "2"), APR_SUCCESS);
    svl_store_relayed(f->store, done);
    svl_store_relayed(f->store, relayed);
    assert_int_equal(f->store->late->relayed_count, 0);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_false(svl_recent_any(f->store));
    counts = count_log(f->store);
    assert_int_equal(counts.work, 3);
    assert_int_equal(counts.pending, 2);
    assert_string_equal(read_entry(f, done).text, "1");
    assert_string_equal(read_entry(f, ran).text, "2");
    assert_int_equal(finish_one(f->store, relayed, SVL_OUTCOME_OK, "3"), APR_SUCCESS);
    svl_store_relayed(f->store, ran);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    counts = count_log(f->store);
    assert_int_equal(counts.work, 1);
    assert_int_equal(counts.pending, 1);
}

/* As it is when who committed it was killed before it could say so. */
static void a_route_is_closed_though_its_call_seems_to_be_kept(void **state)
{
    fixture_t *f = *state;
    apr_uint64_t position;

    begin_stream(f);
    position = keep_routed(f, "one");
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    svl_running_put(svl_recent_word(f->store->recent, position), position);
    f->store->recent->ready = 0;
    assert_int_equal(finish_one(f->store, position, SVL_OUTCOME_OK, "1"), APR_SUCCESS);
    svl_store_relayed(f->store, position);
    assert_int_equal(svl_store_flush(f->store), APR_SUCCESS);
    assert_int_equal(count_log(f->store).work, 1);
}

static void leave_two_routes(fixture_t *f)
{
    svl_store_entry_t first = own_call(f->p, "first", "all", "x");

    if (accept_one(f->store, &first)) {
        _exit(1);
    }
    svl_store_relayed(f->store, keep_routed(f, "relayed"));
    keep_routed(f, "open");
}

static void a_route_that_was_relayed_before_its_process_died_is_not_taken_over(void **state)
{
    fixture_t *f = *state;
    apr_array_header_t *batches;
    int i;

    close_log(f);
    leave_work(f, leave_two_routes);
    open_log(f);
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 100, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 3);
    for (i = 0; i < batches->nelts; ++i) {
        const svl_store_orphans_t *batch = &APR_ARRAY_IDX(batches, i, svl_store_orphans_t);

        assert_int_equal(batch->first, i + 1);
        assert_int_equal(batch->runs->nelts, 1);
        assert_int_equal(batch->route != NULL, i == 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EITHER_WAY(work_ends_before_its_call_is_committed_and_after),
        EITHER_WAY(a_route_is_closed_though_its_call_seems_to_be_kept),
        EITHER_WAY(a_route_that_was_relayed_before_its_process_died_is_not_taken_over),
    };

    return run_promises("store_recent_work", tests, sizeof(tests) / sizeof(*tests));
}

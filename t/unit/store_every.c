/* SPDX-License-Identifier: Apache-2.0 */
/* What every child process is to run: listed once, in order of position, as long as it is held. */
#include "store_fixture.h"

/* The positions that are listed after `from`, and the entry that is announced there, as text. */
static const char *listed(fixture_t *f, apr_uint64_t from)
{
    const char *text = "";
    svl_store_reader_t *reader;
    svl_store_listing_t at = {.position = from};
    apr_status_t status;

    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    while ((status = svl_store_every(reader, &at)) == APR_SUCCESS) {
        text = at.entry == at.position ? apr_psprintf(f->p, "%s %" APR_UINT64_T_FMT, text, at.position)
                                       : apr_psprintf(f->p, "%s %" APR_UINT64_T_FMT ":%" APR_UINT64_T_FMT "/%" APR_UINT64_T_FMT,
                                                      text, at.position, at.entry, at.previous);
    }
    assert_int_equal(status, APR_NOTFOUND);
    svl_store_read_end(reader);
    return text;
}

static apr_uint64_t listed_at(fixture_t *f, apr_uint64_t entry)
{
    svl_store_reader_t *reader;
    apr_uint64_t position = 0;

    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    assert_int_equal(svl_store_listed(reader, entry, &position), APR_SUCCESS);
    svl_store_read_end(reader);
    return position;
}

static apr_uint64_t last(fixture_t *f)
{
    svl_store_reader_t *reader;
    apr_uint64_t position = 0;

    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    assert_int_equal(svl_store_last(reader, &position), APR_SUCCESS);
    svl_store_read_end(reader);
    return position;
}

static void what_asks_for_it_is_listed_and_nothing_else(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entries[4] = {own_call(f->p, "one", "all", "x"), own_call(f->p, "two", "all", "x"),
                                    own_call(f->p, "three", "all", "x"), own_call(f->p, "two", "all", "x")};

    assert_string_equal(listed(f, 0), "");
    assert_int_equal(last(f), 0);
    entries[1].every = entries[2].every = entries[3].every = 1;
    assert_int_equal(accept_all(f->store, entries, 4, NULL, NULL), APR_SUCCESS);
    assert_int_equal(entries[3].verdict, SVL_STORE_DUPLICATE);
    assert_string_equal(listed(f, 0), " 2 3");
    assert_string_equal(listed(f, 2), " 3");
    assert_string_equal(listed(f, 3), "");
    assert_int_equal(last(f), 3);
    assert_int_equal(finish_one(f->store, 2, SVL_OUTCOME_OK, NULL), APR_SUCCESS);
    assert_string_equal(listed(f, 0), " 2 3"); /* whatever its outcome: other children may not have run it yet */
    close_log(f);
    open_log(f);
    assert_string_equal(listed(f, 0), " 2 3");
}

static void what_this_node_does_not_run_is_not_listed(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t idle = foreign_call(f->p, "idle", "b", 1, "x"), refused = foreign_call(f->p, "refused", "b", 2, "x"),
                      alias = foreign_call(f->p, "idle", "c", 1, "x"), taken = foreign_call(f->p, "taken", "b", 3, "x");

    idle.every = refused.every = alias.every = taken.every = 1;
    idle.run = 0;
    refused.refused = 1;
    assert_int_equal(accept_one(f->store, &idle), APR_SUCCESS);
    assert_int_equal(accept_one(f->store, &refused), APR_SUCCESS);
    assert_int_equal(accept_one(f->store, &alias), APR_SUCCESS);
    assert_int_equal(alias.verdict, SVL_STORE_ALIAS);
    assert_string_equal(listed(f, 0), "");
    assert_int_equal(accept_one(f->store, &taken), APR_SUCCESS);
    assert_string_equal(listed(f, 0), " 4");
}

static void functions_that_are_told_of_missed_calls_are_listed(void **state)
{
    fixture_t *f = *state;
    static const char *const functions[] = {"f.node", "f.child"};
    static const unsigned char every[] = {0, 1};
    svl_store_loss_t loss = {"b/all/" EPOCH, 1, 5, 0};
    svl_store_losses_t losses = {.losses = &loss, .count = 1, .functions = functions, .every = every, .function_count = 2};

    assert_int_equal(svl_store_give_up(f->store, &losses, NOW), APR_SUCCESS);
    assert_int_equal(losses.position, 2);
    assert_string_equal(listed(f, 0), " 3");
}

static void what_is_pruned_is_not_listed_any_more(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x");
    unsigned int pruned;

    entry.every = 1;
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    assert_int_equal(svl_store_prune(f->store, NOW + 10, 10, &pruned), APR_SUCCESS);
    assert_int_equal(pruned, 0); /* it is to be run still */
    assert_string_equal(listed(f, 0), " 1");
    assert_int_equal(finish_one(f->store, 1, SVL_OUTCOME_OK, NULL), APR_SUCCESS);
    assert_int_equal(svl_store_prune(f->store, NOW + 10, 10, &pruned), APR_SUCCESS);
    assert_int_equal(pruned, 1);
    assert_string_equal(listed(f, 0), "");
    assert_int_equal(last(f), 1);
}

static void an_entry_is_announced_again_behind_all_others(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entries[2] = {own_call(f->p, "one", "all", "x"), own_call(f->p, "two", "all", "x")};
    svl_store_entry_t later = own_call(f->p, "three", "all", "x");
    apr_uint64_t position;
    unsigned int pruned;

    entries[1].every = later.every = 1; /* the first one's function was not loaded when it came */
    assert_int_equal(accept_all(f->store, entries, 2, NULL, NULL), APR_SUCCESS);
    assert_int_equal(svl_store_announce(f->store, 1, &position), APR_SUCCESS);
    assert_int_equal(position, 3);
    assert_string_equal(listed(f, 1), " 2 3:1/0");
    assert_int_equal(svl_store_announce(f->store, 2, &position), APR_SUCCESS);
    assert_int_equal(svl_store_announce(f->store, 2, &position), APR_SUCCESS);
    assert_int_equal(position, 5);
    assert_int_equal(svl_store_announce(f->store, 2, &position), APR_EEXIST);
    assert_int_equal(listed_at(f, 1), 3);
    assert_int_equal(listed_at(f, 2), 5);
    assert_int_equal(listed_at(f, 7), 0);
    assert_int_equal(accept_one(f->store, &later), APR_SUCCESS);
    assert_int_equal(later.position, 6);
    assert_string_equal(listed(f, 2), " 3:1/0 5:2/4 6");
    assert_int_equal(finish_one(f->store, 1, SVL_OUTCOME_OK, NULL), APR_SUCCESS);
    assert_int_equal(finish_one(f->store, 2, SVL_OUTCOME_OK, NULL), APR_SUCCESS);
    assert_int_equal(svl_store_prune(f->store, NOW + 10, 10, &pruned), APR_SUCCESS);
    assert_int_equal(pruned, 2);
    assert_string_equal(listed(f, 0), " 6");
    assert_int_equal(svl_store_announce(f->store, 1, &position), APR_NOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_asks_for_it_is_listed_and_nothing_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_this_node_does_not_run_is_not_listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(functions_that_are_told_of_missed_calls_are_listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_is_announced_again_behind_all_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_pruned_is_not_listed_any_more, set_up, tear_down),
    };

    return run_promises("store_every", tests, sizeof(tests) / sizeof(*tests));
}

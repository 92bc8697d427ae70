/* SPDX-License-Identifier: Apache-2.0 */
/* What the store tells peers about what it holds, what it gives up, and when it begins a new epoch. */
#include "store_fixture.h"

static const char *const all_sets[] = {"all"};

static const svl_vector_numbers_t *numbers_of(fixture_t *f, const char *const *sets, int count, const char *name,
                                              unsigned int *streams)
{
    svl_store_reader_t *reader;
    apr_hash_t *vector, *pruned;

    svl_store_settle(f->store);
    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    assert_int_equal(svl_store_vector(reader, sets, count, &vector, &pruned, f->p), APR_SUCCESS);
    svl_store_read_end(reader);
    *streams = apr_hash_count(vector);
    return apr_hash_get(vector, name, APR_HASH_KEY_STRING);
}

static void the_vector_has_the_streams_of_the_sets_asked_for(void **state)
{
    static const char *const sets[] = {"all", "al", "edge"};
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "own", "edge", "x");
    const svl_vector_numbers_t *numbers;
    unsigned int streams;
    apr_uint64_t i;

    for (i = 1; i <= 9; ++i) {
        svl_store_entry_t foreign = foreign_call(f->p, apr_psprintf(f->p, "id-%d", (int)i), "b", i, "x");

        if (i != 4 && i != 7) {
            assert_int_equal(accept_one(f->store, &foreign), APR_SUCCESS);
        }
    }
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    numbers = numbers_of(f, sets, 3, "b/all/" EPOCH, &streams);
    assert_int_equal(streams, 2);
    assert_int_equal(numbers->watermark, 3);
    assert_int_equal(numbers->ranges->nelts, 2);
    assert_int_equal(APR_ARRAY_IDX(numbers->ranges, 1, svl_vector_range_t).last, 9);
    numbers = numbers_of(f, sets + 2, 1, apr_pstrcat(f->p, "a/edge/", svl_store_epoch(f->store), NULL), &streams);
    assert_int_equal(streams, 1);
    assert_int_equal(numbers->watermark, 1);
    assert_null(numbers_of(f, sets + 1, 1, "b/all/" EPOCH, &streams));
    assert_int_equal(streams, 0);
}

typedef struct shown_t {
    apr_uint64_t numbers[16];
    int count, stop; /* after so many */
} shown_t;

static int show(void *baton, apr_uint64_t number, const svl_store_record_t *record)
{
    shown_t *shown = baton;
    char expected[32];

    snprintf(expected, sizeof(expected), "\"seq\":%d,", (int)number);
    assert_non_null(strstr(record->line, expected));
    shown->numbers[shown->count++] = number;
    return shown->count == shown->stop;
}

static shown_t lines_of(fixture_t *f, const char *stream, apr_uint64_t first, apr_uint64_t last, apr_time_t older_than,
                        int stop)
{
    const svl_store_young_t young = {older_than, NOW + 100};
    shown_t shown = {.stop = stop};
    svl_store_reader_t *reader;

    svl_store_settle(f->store);
    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    assert_int_equal(svl_store_lines(reader, stream, first, last, &young, show, &shown), APR_SUCCESS);
    svl_store_read_end(reader);
    return shown;
}

static void lines_come_by_number_without_what_is_refused_or_too_new(void **state)
{
    static const apr_uint64_t order[] = {5, 1, 3, 8, 2, 9};
    fixture_t *f = *state;
    svl_store_batch_t batch = {.count = 1};
    svl_store_young_t young;
    svl_store_reader_t *reader;
    shown_t shown;
    int i;

    for (i = 0; i < 6; ++i) {
        svl_store_entry_t entry = foreign_call(f->p, apr_psprintf(f->p, "id-%d", i), "b", order[i], "x");

        entry.refused = order[i] == 3;
        batch.entries = &entry;
        assert_int_equal(svl_store_accept(f->store, &batch, 1, NOW + i), APR_SUCCESS);
        entry = foreign_call(f->p, apr_psprintf(f->p, "other-%d", i), "c", order[i], "x");
        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    }
    shown = lines_of(f, "b/all/" EPOCH, 0, APR_UINT64_MAX, NOW + 10, 0);
    assert_int_equal(shown.count, 5);
    assert_int_equal(shown.numbers[0], 1);
    assert_int_equal(shown.numbers[1], 2);
    assert_int_equal(shown.numbers[2], 5);
    assert_int_equal(shown.numbers[4], 9);
    shown = lines_of(f, "b/all/" EPOCH, 2, 8, NOW + 10, 0);
    assert_int_equal(shown.count, 3);
    assert_int_equal(shown.numbers[2], 8);
    assert_int_equal(lines_of(f, "b/all/" EPOCH, 2, 9, NOW + 10, 2).count, 2);
    assert_int_equal(lines_of(f, "b/all/" EPOCH, 1, 9, NOW + 3, 0).count, 3);
    assert_int_equal(lines_of(f, "d/all/" EPOCH, 1, 9, NOW + 10, 0).count, 0);
    assert_int_equal(lines_of(f, "no stream", 1, 9, NOW + 10, 0).count, 0);
    assert_int_equal(lines_of(f, "b/all/" EPOCH, 1, 9, NOW - 200, 0).count, 0);
    young.from = NOW - 10;
    young.to = NOW - 1; /* the clock was set back: what is stamped later is no news */
    svl_store_settle(f->store);
    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    shown = (shown_t){.stop = 0};
    assert_int_equal(svl_store_lines(reader, "b/all/" EPOCH, 1, 9, &young, show, &shown), APR_SUCCESS);
    svl_store_read_end(reader);
    assert_int_equal(shown.count, 5);
}

static const char *const told[] = {"f.one", "f.two"};

static svl_store_losses_t give_up(fixture_t *f, const char *stream, apr_uint64_t first, apr_uint64_t last,
                                  unsigned int functions)
{
    svl_store_loss_t loss = {stream, first, last, 0};
    svl_store_losses_t losses = {.losses = &loss, .count = 1, .functions = told, .function_count = functions};

    assert_int_equal(svl_store_give_up(f->store, &losses, NOW + 7), APR_SUCCESS);
    assert_int_equal(loss.missed, losses.missed);
    return losses;
}

static void says(const svl_store_record_t *record, const char *text)
{
    assert_int_equal(record->outcome, SVL_OUTCOME_MISSED);
    assert_null(record->line);
    assert_null(record->refused);
    assert_int_equal(record->text_length, strlen(text));
    assert_memory_equal(record->text, text, record->text_length);
}

static void what_is_given_up_is_counted_and_logged_once(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = foreign_call(f->p, "three", "b", 3, "x");
    svl_store_losses_t losses;
    svl_store_loss_t bad = {"never/all/heard-of", 0, 5, 0};
    svl_store_record_t record;
    unsigned int streams;

    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    losses = give_up(f, "b/all/" EPOCH, 0, 5, 0);
    assert_int_equal(losses.missed, 4);
    assert_int_equal(losses.position, 0);
    assert_int_equal(numbers_of(f, all_sets, 1, "b/all/" EPOCH, &streams)->watermark, 5);
    record = read_entry(f, 2);
    assert_int_equal(record.arrived, NOW + 7);
    says(&record, "{\"calls\":4,\"stream\":\"b/all/" EPOCH "\"}");
    assert_int_equal(give_up(f, "b/all/" EPOCH, 0, 5, 2).missed, 0);
    losses = (svl_store_losses_t){.losses = &bad, .count = 1};
    assert_int_equal(svl_store_give_up(f->store, &losses, NOW), APR_EINVAL);
    assert_int_equal(give_up(f, "c/all/" EPOCH, 1, 1000, 0).missed, 1000);
    assert_int_equal(count_log(f->store).calls, 3);
    entry = foreign_call(f->p, "four", "b", 4, "x");
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    assert_int_equal(entry.verdict, SVL_STORE_COVERED);
    assert_int_equal(count_log(f->store).pending, 1);
}

static void single_numbers_are_given_up_too(void **state)
{
    fixture_t *f = *state;
    unsigned int streams;
    const svl_vector_numbers_t *numbers;
    svl_store_loss_t loss[] = {{"b/all/" EPOCH, 5, 6, 0}, {"c/all/" EPOCH, 9, 9, 0}, {"b/all/" EPOCH, 6, 8, 0}};
    svl_store_losses_t losses = {.losses = loss, .count = 3};
    svl_store_record_t record;

    assert_int_equal(svl_store_give_up(f->store, &losses, NOW), APR_SUCCESS);
    assert_int_equal(losses.missed, 5);
    assert_int_equal(loss[2].missed, 2);
    numbers = numbers_of(f, all_sets, 1, "b/all/" EPOCH, &streams);
    assert_int_equal(numbers->watermark, 0);
    assert_true(svl_vector_covers(numbers, 8) && svl_vector_covers(numbers, 5) && !svl_vector_covers(numbers, 4));
    record = read_entry(f, 1);
    says(&record, "{\"calls\":5}");
}

static void who_is_to_be_told_of_missed_calls_is_told_though_a_process_dies(void **state)
{
    fixture_t *f = *state;
    svl_store_losses_t losses = give_up(f, "b/all/" EPOCH, 0, 5, 2);
    apr_array_header_t *batches;
    svl_store_record_t record;
    const svl_store_orphans_t *batch;
    unsigned int pruned;

    assert_int_equal(losses.position, 2);
    record = read_entry(f, 3);
    says(&record, "{\"calls\":5,\"stream\":\"b/all/" EPOCH "\",\"function\":\"f.two\"}");
    assert_int_equal(count_log(f->store).pending, 2);
    assert_int_equal(finish_one(f->store, 2, SVL_OUTCOME_OK, NULL), APR_SUCCESS);
    close_log(f);
    open_log(f);
    assert_int_equal(svl_store_prune(f->store, NOW + apr_time_from_sec(1), 10, &pruned), APR_SUCCESS);
    assert_int_equal(pruned, 1); /* the first; the batch of the others waits as a whole */
    assert_int_equal(svl_store_take_over(f->store, NULL, NULL, 10, &batches, f->p), APR_SUCCESS);
    assert_int_equal(batches->nelts, 1);
    batch = &APR_ARRAY_IDX(batches, 0, svl_store_orphans_t);
    assert_null(batch->route);
    assert_int_equal(batch->runs->nelts, 1);
    assert_int_equal(APR_ARRAY_IDX(batch->runs, 0, svl_store_orphan_t).position, 3);
    assert_int_equal(finish_one(f->store, 3, SVL_OUTCOME_OK, NULL), APR_SUCCESS);
    assert_int_equal(count_log(f->store).pending, 0);
    losses = (svl_store_losses_t){.functions = told, .function_count = 1, .always = 1};
    assert_int_equal(svl_store_give_up(f->store, &losses, NOW), APR_SUCCESS);
    assert_int_equal(losses.missed, 0);
    record = read_entry(f, losses.position);
    says(&record, "{\"calls\":0,\"function\":\"f.one\"}");
}

static void what_was_missed_is_pruned_like_all_else(void **state)
{
    fixture_t *f = *state;
    unsigned int pruned, streams;

    give_up(f, "c/all/" EPOCH, 0, 10, 0);
    assert_int_equal(svl_store_prune(f->store, NOW + apr_time_from_sec(1), 10, &pruned), APR_SUCCESS);
    assert_int_equal(pruned, 1);
    assert_int_equal(count_log(f->store).calls, 0);
    assert_int_equal(numbers_of(f, all_sets, 1, "c/all/" EPOCH, &streams)->watermark, 10);
}

/* Their age and order are not known, only that of the giving up. */
static void streams_that_were_given_up_as_a_whole_are_forgotten_in_time(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = foreign_call(f->p, "seen", "b", 1, "x");
    unsigned int streams, n;

    give_up(f, "b/all/0000000000000001", 0, 5, 0);
    give_up(f, "b/all/ffffffffffffffff", 0, 6, 0);
    assert_int_equal(svl_store_forget_streams(f->store, NOW + 9000, 10, &n), APR_SUCCESS);
    assert_int_equal(n, 0); /* either may be the present one */
    assert_non_null(numbers_of(f, all_sets, 1, "b/all/0000000000000001", &streams));
    assert_int_equal(streams, 2);
    entry.issued = 1; /* a call that was seen makes its epoch the newest, however old */
    entry.run = 0;
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    assert_non_null(numbers_of(f, all_sets, 1, "b/all/" EPOCH, &streams));
    assert_int_equal(streams, 1);
    assert_int_equal(svl_store_forget_streams(f->store, NOW, 10, &n), APR_SUCCESS);
    assert_int_equal(n, 0);
    assert_int_equal(svl_store_forget_streams(f->store, NOW + 9000, 10, &n), APR_SUCCESS);
    assert_int_equal(n, 2);
    assert_int_equal(give_up(f, "b/all/ffffffffffffffff", 0, 6, 0).missed, 6); /* nothing is known of it */
}

static void runs_that_are_overdue_are_found(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entries[3] = {foreign_call(f->p, "one", "b", 1, "x"), foreign_call(f->p, "two", "b", 2, "x"),
                                    foreign_call(f->p, "three", "b", 3, "x")};
    apr_int64_t expiry = NOW / 1000 + 60 * 1000;
    apr_array_header_t *found;

    entries[1].ttl = 600;
    assert_int_equal(accept_all(f->store, entries, 3, NULL, NULL), APR_SUCCESS);
    assert_int_equal(svl_store_overdue(f->store, expiry, &found, f->p), APR_SUCCESS);
    assert_int_equal(found->nelts, 0);
    assert_int_equal(svl_store_overdue(f->store, expiry + 1, &found, f->p), APR_SUCCESS);
    assert_int_equal(found->nelts, 2);
    assert_int_equal(APR_ARRAY_IDX(found, 1, apr_uint64_t), 3);
    assert_int_equal(finish_one(f->store, 1, SVL_OUTCOME_EXPIRED, NULL), APR_SUCCESS);
    assert_int_equal(svl_store_start(f->store, 3), APR_SUCCESS); /* that its process has died is not known yet */
    assert_int_equal(svl_store_overdue(f->store, expiry + 1, &found, f->p), APR_SUCCESS);
    assert_int_equal(found->nelts, 1);
}

static apr_uint64_t last_number(fixture_t *f, const char *set)
{
    svl_store_reader_t *reader;
    apr_uint64_t number = 99;

    svl_store_settle(f->store);
    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    assert_int_equal(svl_store_last_number(reader, set, &number), APR_SUCCESS);
    svl_store_read_end(reader);
    return number;
}

/* As when a peer has more of this node's calls than it remembers. */
static void begin_epoch(svl_store_t *store)
{
    char stream[SVL_NAME_STREAM_MAX + 1];
    int begun = 0;

    snprintf(stream, sizeof(stream), "a/all/%s", svl_store_epoch(store));
    assert_int_equal(svl_store_heard_of_own(store, stream, 99, &begun), APR_SUCCESS);
    assert_true(begun);
}

static void a_new_epoch_numbers_from_one(void **state)
{
    fixture_t *f = *state;
    const char *first = svl_store_epoch(f->store), *second, *kept = apr_pstrdup(f->p, first);
    int i;

    assert_int_equal(last_number(f, "all"), 0);
    for (i = 1; i <= 3; ++i) {
        svl_store_entry_t entry = own_call(f->p, apr_psprintf(f->p, "id-%d", i), "all", "x");

        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
        assert_int_equal(last_number(f, "all"), i);
        assert_int_equal(last_number(f, "edge"), 0);
    }
    begin_epoch(f->store);
    second = svl_store_epoch(f->store);
    assert_true(svl_name_is_epoch(second, strlen(second)));
    assert_string_not_equal(second, first);
    assert_string_equal(first, kept); /* borrowed text stays */
    assert_int_equal(last_number(f, "all"), 0);
    for (i = 1; i <= 2; ++i) {
        svl_store_entry_t entry = own_call(f->p, apr_psprintf(f->p, "new-%d", i), "all", "x");

        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
        assert_int_equal(entry.seq, i);
        assert_string_equal(entry.stamped, second);
    }
    assert_int_equal(last_number(f, "all"), 2);
}

static void begin_one(fixture_t *f)
{
    begin_epoch(f->store);
}

static void the_epoch_that_another_process_begins_is_used(void **state)
{
    fixture_t *f = *state;
    svl_store_entry_t entry = own_call(f->p, "one", "all", "x");
    const char *before = apr_pstrdup(f->p, svl_store_epoch(f->store));

    leave_work(f, begin_one);
    assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
    assert_string_not_equal(entry.stamped, before);
    assert_string_equal(entry.stamped, svl_store_epoch(f->store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_vector_has_the_streams_of_the_sets_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_come_by_number_without_what_is_refused_or_too_new, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_given_up_is_counted_and_logged_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(single_numbers_are_given_up_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_is_to_be_told_of_missed_calls_is_told_though_a_process_dies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_missed_is_pruned_like_all_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(streams_that_were_given_up_as_a_whole_are_forgotten_in_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(runs_that_are_overdue_are_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_epoch_numbers_from_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_epoch_that_another_process_begins_is_used, set_up, tear_down),
    };

    return run_promises("store_sync", tests, sizeof(tests) / sizeof(*tests));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "ended.h"

#include <stdlib.h>
#include <string.h>

#include "../core/fault.h"
#include "journal.h"
#include "recent.h"
#include "running.h"
#include "work.h"

/* The lowest bits of a word; the others are an owner or a position. */
enum {
    FREE = 0,
    FILLING = 1,
    FULL = 2,
    HIDDEN = 3, /* full, and not as safe yet as it has to be: for transactions only */
    KINDS = 4
};

static int is_full(apr_uint64_t word)
{
    return word % KINDS == FULL;
}

static apr_uint32_t place_of(apr_uint64_t position)
{
    return (apr_uint32_t)(position % SVL_ENDED_PLACES);
}

/* @return nonzero when the place is this process's to fill */
static int claim(svl_store_t *store, apr_uint64_t position)
{
    return svl_running_swap(&store->ended->words[place_of(position)], FREE, store->owner * KINDS + FILLING);
}

/* What is decided without a run, as that a call has expired, comes after the outcome of a run that is kept already: it is committed. */
static int has_run(const svl_store_outcome_t *outcome)
{
    return outcome->outcome == SVL_OUTCOME_OK || outcome->outcome == SVL_OUTCOME_ERROR;
}

static void fill(svl_ended_body_t *body, const svl_store_outcome_t *outcome)
{
    const svl_records_outcome_t record = {.outcome = (unsigned char)outcome->outcome,
                                          .dropped = !outcome->text && outcome->length,
                                          .micros = outcome->micros,
                                          .ended = outcome->ended};
    apr_size_t length = outcome->text ? outcome->length : 0;
    svl_ended_body_t made;

    svl_records_put_outcome((unsigned char *)made.record, &record);
    if (length) {
        memcpy((unsigned char *)made.record + SVL_RECORDS_OUTCOME_SIZE, outcome->text, length);
    }
    length += SVL_RECORDS_OUTCOME_SIZE;
    memset((unsigned char *)made.record + length, 0, sizeof(made.record) - length); /* no bytes of the stack into a file */
    svl_running_put(&body->length, length);
    svl_running_write(body->record, made.record, length);
}

int svl_ended_holds(const svl_store_t *store, apr_uint64_t position)
{
    return store->ended && svl_running_get(&store->ended->words[place_of(position)]) == position * KINDS + FULL;
}

/* The first outcome of an entry stands: what is kept already, or was and is committed, is not kept again. */
static int keep(svl_store_t *store, const svl_store_outcome_t *outcomes, apr_uint32_t count, apr_uint64_t *ticket)
{
    const svl_store_outcome_t *fresh[SVL_ENDED_TOGETHER_MAX];
    apr_uint32_t wanted = 0, claimed, i;
    int safe;

    for (i = 0; i < count; ++i) {
        if (!svl_ended_holds(store, outcomes[i].position)) {
            fresh[wanted++] = &outcomes[i];
        }
    }
    for (claimed = 0; claimed < wanted && claim(store, fresh[claimed]->position); ++claimed) {
        continue;
    }
    safe = claimed == wanted;
    for (i = 0; i < claimed && safe; ++i) {
        svl_ended_body_t *body = &store->ended->bodies[place_of(fresh[i]->position)];

        fill(body, fresh[i]);
        safe = !store->options.durable
               || svl_journal_add(store, SVL_JOURNAL_OUTCOME, fresh[i]->position, body->record, body->length, ticket);
    }
    for (i = 0; i < claimed; ++i) {
        svl_running_put(&store->ended->words[place_of(fresh[i]->position)],
                        safe ? fresh[i]->position * KINDS + (store->options.durable ? HIDDEN : FULL) : FREE);
    }
    return safe;
}

/* Those that a transaction has taken meanwhile are seen in the log. */
static void show(svl_store_t *store, const svl_store_outcome_t *outcomes, apr_uint32_t count)
{
    apr_uint32_t i;

    for (i = 0; i < count; ++i) {
        apr_uint64_t position = outcomes[i].position;

        svl_running_swap(&store->ended->words[place_of(position)], position * KINDS + HIDDEN, position * KINDS + FULL);
    }
}

static int keep_durably(svl_store_t *store, const svl_store_outcome_t *outcomes, apr_uint32_t count)
{
    apr_uint64_t ticket = 0;
    int kept;

    if (svl_recent_lock(store)) {
        return 0;
    }
    kept = store->recent->ready && keep(store, outcomes, count, &ticket);
    svl_recent_unlock(store);
    if (kept && ticket) { /* with a transaction instead, which may have left outcomes alone, it is committed like others */
        kept = !svl_journal_wait(store, ticket) && svl_running_get(&store->journal->written) >= ticket;
    }
    if (kept) {
        show(store, outcomes, count);
    }
    return kept;
}

int svl_ended_keep(svl_store_t *store, const svl_store_outcome_t *outcomes, apr_uint32_t count)
{
    sigset_t saved;
    apr_uint32_t i;
    int kept;

    apr_uint64_t nothing;

    if (!store->ended || !svl_journal_serves(store) || count > SVL_ENDED_TOGETHER_MAX) {
        return 0;
    }
    for (i = 0; i < count; ++i) {
        if (!has_run(&outcomes[i]) || (outcomes[i].text && outcomes[i].length > SVL_ENDED_TEXT_MAX)) {
            return 0;
        }
    }
    svl_env_guard(store, &saved);
    kept = store->options.durable ? keep_durably(store, outcomes, count) : keep(store, outcomes, count, &nothing);
    svl_env_unguard(store, &saved);
    return kept;
}

static apr_uint32_t take(const svl_store_t *store, svl_ended_load_t *load, int also_hidden)
{
    apr_uint32_t i;

    load->count = 0;
    for (i = 0; store->ended && i < SVL_ENDED_PLACES; ++i) {
        apr_uint64_t word = svl_running_get(&store->ended->words[i]);

        if (is_full(word) || (also_hidden && word % KINDS == HIDDEN)) {
            load->places[load->count] = i;
            load->words[load->count++] = word;
        }
    }
    return load->count;
}

apr_uint32_t svl_ended_take(const svl_store_t *store, svl_ended_load_t *load)
{
    return take(store, load, 1);
}

/* @return APR_NOTFOUND: it is not there any more, which means that it is committed; SVL_EDAMAGED: this program did not write it */
static apr_status_t copy_out(const svl_store_t *store, apr_uint32_t place, apr_uint64_t word, svl_ended_copy_t *copy,
                             svl_records_outcome_t *record)
{
    const svl_ended_body_t *body = &store->ended->bodies[place];
    apr_status_t status = SVL_EDAMAGED;

    copy->position = word / KINDS;
    copy->body.length = svl_running_get(&body->length);
    if (copy->body.length <= SVL_ENDED_RECORD_MAX) {
        svl_running_read(copy->body.record, body->record, copy->body.length);
        status = svl_records_get_outcome(record, copy->body.record, copy->body.length);
    }
    return svl_running_get(&store->ended->words[place]) == word ? status : APR_NOTFOUND;
}

static apr_status_t apply_one(svl_change_t *change, apr_uint32_t place, apr_uint64_t word, int bare)
{
    const svl_store_options_t *options = &change->store->options;
    svl_ended_copy_t copy;
    svl_records_outcome_t record;
    svl_store_outcome_t outcome;
    apr_status_t status = copy_out(change->store, place, word, &copy, &record);

    if (status == APR_NOTFOUND
        && word % KINDS == HIDDEN) { /* it may only have been shown meanwhile, and the journal ends here */
        status = copy_out(change->store, place, word - HIDDEN + FULL, &copy, &record);
    }
    if (status == SVL_EDAMAGED) {
        svl_log_write(options->log, SVL_LOG_MARK, SVL_LOG_ERR, APR_SUCCESS,
                      SVLNO(0377) "%s/" SVL_RUNNING_FILE
                                  " holds something that is no outcome, for log position %" APR_UINT64_T_FMT
                                  ": something else wrote there; the call counts as not ended",
                      options->directory, copy.position);
        svl_running_swap(&change->store->ended->words[place], word, FREE); /* who takes over is not to believe it */
    }
    if (status) {
        return APR_SUCCESS;
    }
    outcome = (svl_store_outcome_t){.position = copy.position,
                                    .outcome = (svl_outcome_e)record.outcome,
                                    .micros = record.micros,
                                    .ended = record.ended,
                                    .text = bare ? NULL : record.text,
                                    .length = record.dropped ? 1 : record.length};
    return svl_work_finish(change, &outcome, 1);
}

apr_status_t svl_ended_apply(svl_change_t *change, const svl_ended_load_t *load, int bare)
{
    apr_status_t status = APR_SUCCESS;
    apr_uint32_t i;

    for (i = 0; i < load->count && !status; ++i) {
        status = apply_one(change, load->places[i], load->words[i], bare);
    }
    return status;
}

void svl_ended_drop(svl_store_t *store, const svl_ended_load_t *load)
{
    apr_uint32_t i;

    for (i = 0; i < load->count; ++i) {
        svl_running_swap(&store->ended->words[load->places[i]], load->words[i], FREE);
    }
}

int svl_ended_mend(svl_store_t *store)
{
    apr_uint32_t i;
    int any = 0;

    for (i = 0; store->ended && i < SVL_ENDED_PLACES; ++i) {
        apr_uint64_t word = svl_running_get(&store->ended->words[i]);

        any |= is_full(word) || word % KINDS == HIDDEN;
        if (word % KINDS == FREE ? word != FREE : word % KINDS == FILLING && !svl_store_owner_lives(store, word / KINDS)) {
            svl_running_swap(&store->ended->words[i], word, FREE);
        }
    }
    return any;
}

/* @return how many there are of positions from @a first on and below @a end */
static apr_uint32_t take_range(const svl_store_t *store, apr_uint64_t first, apr_uint64_t end, svl_ended_load_t *load)
{
    apr_uint64_t position;

    if (end > first + SVL_ENDED_PLACES) {
        return take(store, load, 0);
    }
    load->count = 0;
    for (position = first; position < end; ++position) {
        if (svl_ended_holds(store, position)) {
            load->places[load->count] = place_of(position);
            load->words[load->count++] = position * KINDS + FULL;
        }
    }
    return load->count;
}

apr_status_t svl_ended_copy(const svl_store_t *store, apr_uint64_t first, apr_uint64_t end, svl_ended_copy_t **list,
                            apr_uint32_t *count)
{
    svl_records_outcome_t record;
    svl_ended_load_t load;
    apr_uint32_t i;

    *list = NULL;
    *count = 0;
    if (!take_range(store, first, end, &load)) {
        return APR_SUCCESS;
    }
    *list = malloc(load.count * sizeof(**list));
    if (!*list) {
        return APR_ENOMEM;
    }
    for (i = 0; i < load.count; ++i) {
        *count += !copy_out(store, load.places[i], load.words[i], &(*list)[*count], &record);
    }
    return APR_SUCCESS;
}

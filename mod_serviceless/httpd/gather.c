/* SPDX-License-Identifier: Apache-2.0 */
#include "gather.h"

#include <string.h>

#include <apr_strings.h>

#include "../core/guard.h"
#include "../core/message.h"
#include "../transport/signed.h"
#include "await.h"
#include "gatherer.h"
#include "shared.h"

#define MARGIN_SHARE 10                    /* what is kept of the time for the way back: one part in so many … */
#define MARGIN_MIN apr_time_from_msec(5)   /* … a scheduler's turn … */
#define MARGIN_MAX apr_time_from_msec(250) /* … and what a busy machine may take */

/* A peer's answer, at its largest, is within the transport's bound: a result of ServicelessMaxBody, and words, each byte escaped. */
_Static_assert(SVL_OUTCOME_DETAIL_MAX * 6 + 1024 < SVL_MESSAGE_SLACK, "the frame of an outcome has room beside its result");

/* One call on its way round. */
typedef struct round_t {
    svl_runtime_t *runtime;
    const svl_set_t *set;
    const char *line; /* as it is in the log */
    apr_size_t length;
    apr_time_t until; /* of svl_transport_monotonic */
    int open;         /* signals are blocked, and may come in while others are waited for */
    apr_pool_t *pool;
    const svl_function_t *function; /* to be run here; NULL: nothing is (any more) */
    apr_uint64_t position;          /* of the call */
    svl_signer_t *signer;
    svl_transport_exchange_t *exchanges; /* by place in the ring */
    svl_outcome_t *outcomes;             /* by node index */
    int aborted;                         /* nonzero: one was, because the child is leaving */
} round_t;

void svl_gather_abort(svl_runtime_t *runtime)
{
    svl_gatherers_abort(runtime);
    svl_await_abort(runtime);
}

static apr_interval_time_t margin_of(apr_interval_time_t left)
{
    apr_interval_time_t margin = left / MARGIN_SHARE;
    return margin < MARGIN_MIN ? MARGIN_MIN : margin > MARGIN_MAX ? MARGIN_MAX : margin;
}

/* A peer that was given less time than a probe is not to blame for a client's hurry: it stays up for the relay. */
static void note(const round_t *round, apr_uint32_t peer, const svl_transport_exchange_t *exchange, svl_peer_result_e result,
                 const char *words)
{
    const svl_node_t *node = round->runtime->node;
    int timed_out = exchange->result == SVL_TRANSPORT_TIMEOUT || exchange->result == SVL_TRANSPORT_CONNECT_TIMEOUT;
    if (timed_out && exchange->timeout < node->http.connect_timeout) {
        svl_peer_count(node->peers[peer], result);
        return;
    }
    svl_relay_note(round->runtime->relay, peer, exchange, result, words);
    if (result == SVL_PEER_OK) {
        SVL_COUNT(node->peers[peer]->calls);
    }
}

static svl_peer_result_e read_outcome(const char *peer, const svl_transport_exchange_t *exchange, svl_outcome_t *outcome,
                                      const char **words, apr_pool_t *p)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_outcome_t read;
    *words = "its answer is signed, but no outcome";
    if (exchange->status != 200) {
        return SVL_PEER_BROKEN;
    }
    if (svl_outcome_parse(&read, exchange->response, exchange->response_length, &fault, p) != APR_SUCCESS) {
        *words = apr_pstrcat(p, *words, ": ", fault.detail, NULL);
        return SVL_PEER_BROKEN;
    }
    if (strcmp(read.node, peer) != 0) {
        return SVL_PEER_BROKEN;
    }
    *outcome = read;
    return SVL_PEER_OK;
}

/* What a refusal or a failure says of itself, when it is that peer's. */
static const char *problem_of(const svl_transport_exchange_t *exchange, int held, apr_pool_t *p)
{
    const char *detail = held ? svl_outcome_problem(exchange->response, exchange->response_length, p) : NULL;
    return detail ? apr_psprintf(p, "it answered %d: %s", exchange->status, detail)
                  : apr_psprintf(p, "it answered %d%s%s", exchange->status, held ? "" : ", not signed as it should be",
                                 svl_signed_advice(exchange->status, held));
}

static void conclude(const round_t *round, apr_uint32_t peer, const svl_transport_exchange_t *exchange, svl_outcome_t *outcome)
{
    const svl_node_t *node = round->runtime->node;
    const char *name = node->members[peer].name, *words;
    apr_int64_t tolerance = apr_time_sec(node->tolerance);
    svl_peer_result_e result =
        svl_signed_judge(exchange, round->signer, name, node->peers[peer], tolerance, &words, round->pool);
    *outcome = (svl_outcome_t){.outcome = SVL_OUTCOME_UNKNOWN, .micros = -1};
    if (result == SVL_PEER_OK) {
        result = read_outcome(name, exchange, outcome, &words, round->pool);
    }
    if (result == SVL_PEER_REFUSED || result == SVL_PEER_UNAVAILABLE) {
        int held = svl_signed_holds(exchange, round->signer, name, node->peers[peer], tolerance, round->pool);
        outcome->outcome = held && result == SVL_PEER_REFUSED ? SVL_OUTCOME_REFUSED : SVL_OUTCOME_UNKNOWN;
        words = problem_of(exchange, held, round->pool);
    }
    if (result == SVL_PEER_CONNECT || result == SVL_PEER_TLS) {
        outcome->outcome = SVL_OUTCOME_UNREACHABLE;
    }
    note(round, peer, exchange, result, words);
    outcome->node = name;
    if (result == SVL_PEER_TIMEOUT) {
        words = apr_psprintf(round->pool, "it was sent, and not answered within %" APR_TIME_T_FMT " ms",
                             apr_time_as_msec(exchange->timeout));
    }
    outcome->detail = result == SVL_PEER_OK ? outcome->detail : words;
}

/* Neither is the peer's fault, so nothing is noted of it. */
static int conclude_own_fault(const round_t *round, apr_uint32_t peer, const svl_transport_exchange_t *exchange,
                              svl_outcome_t *outcome)
{
    int aborted = exchange->result == SVL_TRANSPORT_ABORTED;
    if (!aborted && exchange->result != SVL_TRANSPORT_LOCAL) {
        return 0;
    }
    *outcome = (svl_outcome_t){
        .node = round->runtime->node->members[peer].name,
        .outcome = aborted ? SVL_OUTCOME_UNKNOWN : SVL_OUTCOME_UNREACHABLE,
        .detail = aborted ? "this node is stopping, and did not wait for the answer"
                          : apr_pstrcat(round->pool, "this node lacks what a request needs: ",
                                        exchange->error ? exchange->error : "memory", NULL),
        .micros = -1,
    };
    return 1;
}

/* The message for each peer: the same bytes, each signed under an id of its own.  @return 0 when they cannot be signed */
static int make_messages(const round_t *round)
{
    const svl_node_t *node = round->runtime->node;
    apr_interval_time_t left = round->until - svl_transport_monotonic();
    apr_interval_time_t margin = margin_of(left);
    apr_int64_t answer = left > margin ? apr_time_as_msec(left - margin) : 0;
    apr_size_t first;
    const char *relay = svl_message_relay_line(node->name, NULL, 0, 0, answer, round->pool, &first);
    char *body = apr_palloc(round->pool, first + round->length + 1);
    memcpy(body, relay, first);
    memcpy(body + first, round->line, round->length);
    body[first + round->length] = '\n';
    for (apr_uint32_t i = 0; i < round->set->ring.count; i++) {
        const svl_member_t *member = &node->members[round->set->ring.nodes[i]];
        if (svl_signed_make(&round->exchanges[i], round->signer, member->endpoint, "", body, first + round->length + 1,
                            round->pool)
            != APR_SUCCESS) {
            return 0;
        }
        round->exchanges[i].timeout = left > margin ? left - margin / 4 : left > 1000 ? left : 1000;
    }
    return 1;
}

/* The own run is left to a thread that has to be woken for it: once the messages are out. */
static void run_here(void *baton)
{
    round_t *round = baton;
    if (round->function) {
        svl_runs_push(round->runtime->runs, round->function, round->position, 0);
        round->function = NULL;
    }
}

static void note_ended(void *baton, int at)
{
    round_t *round = baton;
    const apr_uint32_t peer = round->set->ring.nodes[at];
    const svl_transport_exchange_t *exchange = &round->exchanges[at];
    sigset_t before;
    svl_guard_enter(&before);
    round->aborted |= exchange->result == SVL_TRANSPORT_ABORTED;
    if (!conclude_own_fault(round, peer, exchange, &round->outcomes[peer])) {
        conclude(round, peer, exchange, &round->outcomes[peer]);
    }
    svl_guard_leave(&before);
}

/* A stop cuts the wait short by svl_gather_abort. */
static void perform(round_t *round, svl_gatherer_t *gatherer)
{
    const svl_gatherer_watch_t watch = {round, run_here, note_ended};
    sigset_t before;
    if (round->open) {
        svl_guard_open(&before);
    }
    svl_gatherer_perform(gatherer, round->set->ring.nodes, round->exchanges, (int)round->set->ring.count, &watch);
    if (round->open) {
        svl_guard_leave(&before);
    }
}

/* Asks all others.  @return 0 when that was cut short because the child is leaving */
static int ask(round_t *round)
{
    const int count = (int)round->set->ring.count;
    svl_gatherer_t *gatherer;
    int made;
    if (!count) {
        return 1;
    }
    round->exchanges = apr_pcalloc(round->pool, (apr_size_t)count * sizeof(*round->exchanges));
    round->signer = svl_runtime_take_signer(round->runtime);
    gatherer = round->signer ? svl_gatherer_take(round->runtime) : NULL;
    made = gatherer && make_messages(round);
    if (made) {
        perform(round, gatherer);
    }
    for (int i = 0; !made && i < count; i++) {
        round->exchanges[i].result = SVL_TRANSPORT_LOCAL;
        round->exchanges[i].error = "it is stopping, or has no memory";
        note_ended(round, i);
    }
    if (gatherer) {
        svl_gatherer_give(gatherer);
    }
    if (round->signer) {
        svl_runtime_give_signer(round->runtime, round->signer);
    }
    return made && !round->aborted;
}

static apr_status_t read_line(round_t *round)
{
    svl_store_reader_t *reader;
    svl_store_record_t record;
    apr_status_t rv = svl_store_read_range(&reader, round->runtime->store, round->position, round->position + 1);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = svl_store_get(reader, round->position, 0, &record);
    if (rv == APR_SUCCESS && record.line) {
        round->line = apr_pstrmemdup(round->pool, record.line, record.length);
        round->length = record.length;
    }
    svl_store_read_end(reader);
    return rv == APR_SUCCESS && !round->line ? APR_NOTFOUND : rv;
}

/* All that follows once the call is in the log. */
static apr_status_t go_round(round_t *round, const svl_invoke_plan_t *plan, svl_gathered_t *all, svl_fault_t *fault)
{
    svl_runtime_t *runtime = round->runtime;
    const svl_node_t *node = runtime->node;
    svl_outcome_t *own;
    apr_status_t rv = read_line(round);
    round->outcomes = apr_pcalloc(round->pool, node->count * sizeof(*round->outcomes));
    own = &round->outcomes[node->self];
    if (rv != APR_SUCCESS) {
        run_here(round);
        return svl_invoke_store_fault(rv, node, fault, round->pool);
    }
    /* Who was not reached gets it by sync; while this is under way its route in the log is this process's, and then nobody's. */
    if (ask(round) && !all->answer.duplicate && plan->batch.route) {
        svl_store_relayed(runtime->store, plan->batch.first);
    }
    run_here(round); /* where no message was made */
    svl_await_outcome(runtime, round->position, round->until, round->open, own, round->pool);
    own->node = node->name;
    if (own->outcome == SVL_OUTCOME_PENDING) {
        own->detail = svl_await_detail(runtime, plan->function, round->position, round->pool);
    }
    all->answer.outcome = own->outcome;
    all->answer.text = own->outcome == SVL_OUTCOME_OK ? own->result : own->detail;
    all->answer.note = own->outcome == SVL_OUTCOME_OK ? own->detail : NULL;
    all->outcomes = apr_palloc(round->pool, (round->set->count + 1) * sizeof(*all->outcomes));
    for (apr_uint32_t i = 0; i < round->set->count; i++) {
        all->outcomes[all->count++] = round->outcomes[round->set->members[i]];
    }
    return APR_SUCCESS;
}

apr_status_t svl_gather(svl_runtime_t *runtime, const svl_call_request_t *request, const svl_key_t *key, svl_gathered_t *all,
                        svl_fault_t *fault, apr_pool_t *p)
{
    apr_time_t began = svl_transport_monotonic();
    svl_invoke_plan_t plan;
    apr_status_t rv;
    memset(all, 0, sizeof(*all));
    if (!svl_await_enter(runtime)) {
        return svl_fault_set(fault, SVL_REASON_BUSY, p, "too many calls wait for the outcomes of all nodes");
    }
    rv = svl_invoke_accept(runtime, request, key, &plan, &all->answer, fault, p);
    if (rv == APR_SUCCESS) {
        apr_interval_time_t timeout = request->timeout_ms ? apr_time_from_msec(request->timeout_ms) : plan.function->timeout;
        round_t round = {
            .runtime = runtime,
            .set = plan.set,
            .until = began + timeout - margin_of(timeout) / 4,
            .open = key && svl_runtime_interruptible(runtime), /* a companion's thread has the signals that it has */
            .pool = p,
            .function = !all->answer.duplicate && plan.entry.run && !plan.entry.every ? plan.function : NULL,
            .position = plan.entry.position,
        };
        rv = go_round(&round, &plan, all, fault);
    }
    svl_await_leave(runtime);
    return rv;
}

const char *svl_gather_text(const svl_gathered_t *all, apr_pool_t *p, apr_size_t *length)
{
    apr_size_t own = all->answer.text ? strlen(all->answer.text) : 0;
    return svl_outcome_write_all(all->outcomes, all->count, own < SVL_OUTCOME_ALL_MAX ? SVL_OUTCOME_ALL_MAX - own : 0, p,
                                 length);
}

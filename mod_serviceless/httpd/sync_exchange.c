/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One exchange: the digest; unless that settles it, a page after the other.  Of a page the peer tells its vector and sends what
 * is lacking here, until nothing new comes; what it lacks goes there as relay messages with an empty route.  At the end the
 * peer is told that its place for transfers is free.
 */
#include <string.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_log.h>

#include "../core/pool.h"
#include "../transport/signed.h"
#include "sync_private.h"

#define BULK 512                        /* calls of one answer from which on this node takes no transfers of others meanwhile */
#define LOG_EVERY apr_time_from_sec(60) /* of failures with one peer, which repeat each interval */

APLOG_USE_MODULE(serviceless);

typedef struct dialog_t {
    svl_sync_t *sync;
    svl_runtime_t *runtime;
    svl_node_t *node;
    apr_uint32_t peer;
    apr_time_t end;
    char after[SVL_NAME_STREAM_MAX + 1]; /* the page: beyond this name; "": from the first one */
    int holds;                           /* the peer keeps its place for this node */
    int pulls;                           /* this node keeps its own */
    int unfinished;                      /* calls are left to send */
    apr_uint64_t lag;                    /* of the peer, so far */
    apr_uint64_t taken, given;
} dialog_t;

/* An answer with a vector. */
typedef struct answer_t {
    const char *id;
    svl_message_t *message;
    svl_sync_line_t *line;
} answer_t;

static int out_of_time(const dialog_t *dialog)
{
    return __atomic_load_n(&dialog->sync->stopping, __ATOMIC_ACQUIRE) || apr_time_now() > dialog->end;
}

static svl_peer_sync_e failed(const dialog_t *dialog, const char *words)
{
    apr_time_t *logged = &dialog->sync->peers[dialog->peer].logged, now = apr_time_now();
    if (now - *logged >= LOG_EVERY || now < *logged) {
        *logged = now;
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, dialog->node->server, SVLNO(0170) "sync with node %s failed: %s",
                     dialog->node->members[dialog->peer].name, words);
    }
    return SVL_PEER_SYNC_FAILED;
}

/* Only what says that the peer is not there makes it down: one that answers anything still takes relays. */
static void note_down(const dialog_t *dialog, svl_peer_result_e result, const svl_transport_exchange_t *exchange)
{
    if (result == SVL_PEER_CONNECT || result == SVL_PEER_TLS || result == SVL_PEER_TIMEOUT || result == SVL_PEER_BROKEN) {
        if (svl_peer_note(dialog->node->peers[dialog->peer], result, exchange->took, apr_time_now())) {
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, dialog->node->server, SVLNO(0171) "node %s is down (%s), as sync found",
                         dialog->node->members[dialog->peer].name, svl_peer_result_name(result));
        }
    }
}

/* Posts a message.  @param brief a message that may be the last for an interval: its connection is not kept, because the peer's
 * httpd would have to wait for it when it stops; nor may it take longer than a probe, by which a peer that hangs is found out
 * @return EXCHANGED: a signed answer of another status than 204 */
static svl_peer_sync_e post(dialog_t *dialog, const char *body, apr_size_t length, int brief,
                            svl_transport_exchange_t *exchange, apr_pool_t *p)
{
    const svl_member_t *member = &dialog->node->members[dialog->peer];
    svl_transport_exchange_t *only = exchange;
    const char *words;
    svl_peer_result_e result;
    apr_status_t rv = svl_signed_make(exchange, dialog->sync->signer, member->endpoint, "", body, length, p);
    if (rv != APR_SUCCESS) {
        return failed(dialog, "the message cannot be signed");
    }
    exchange->once = brief;
    exchange->timeout = brief ? dialog->node->http.connect_timeout : 0;
    svl_transport_perform(&svl_curl_transport, dialog->sync->client, &only, 1);
    if (exchange->result == SVL_TRANSPORT_ABORTED) {
        return SVL_PEER_SYNC_FAILED;
    }
    if (exchange->result == SVL_TRANSPORT_LOCAL) { /* no word about the peer */
        return failed(dialog, apr_pstrcat(p, "this process lacks what a request needs: ",
                                          exchange->error ? exchange->error : "memory", NULL));
    }
    if (exchange->result == SVL_TRANSPORT_ANSWERED && exchange->status == HTTP_SERVICE_UNAVAILABLE) {
        return SVL_PEER_SYNC_BUSY;
    }
    result = svl_signed_judge(exchange, dialog->sync->signer, member->name, dialog->node->peers[dialog->peer],
                              apr_time_sec(dialog->node->tolerance), &words, p);
    if (result != SVL_PEER_OK) {
        note_down(dialog, result, exchange);
        return failed(dialog, words);
    }
    return exchange->status == HTTP_NO_CONTENT ? SVL_PEER_SYNC_EQUAL : SVL_PEER_SYNC_EXCHANGED;
}

/* Asks, and reads the answer.  @return EXCHANGED with @a answer, or EQUAL, BUSY, FAILED */
static svl_peer_sync_e ask(dialog_t *dialog, svl_sync_line_t *line, answer_t *answer, apr_pool_t *p)
{
    svl_transport_exchange_t exchange;
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    apr_size_t length;
    const char *text = svl_sync_write(line, p, &length);
    svl_peer_sync_e result = post(dialog, text, length, !line->vector, &exchange, p);
    if (result != SVL_PEER_SYNC_EXCHANGED) {
        return result;
    }
    dialog->holds = 1;
    answer->id = exchange.id;
    if (exchange.status != HTTP_OK
        || svl_message_parse(&answer->message, exchange.response, exchange.response_length, &fault, p) != APR_SUCCESS
        || answer->message->kind != SVL_MESSAGE_SYNC
        || strcmp(answer->message->from, dialog->node->members[dialog->peer].name) != 0
        || svl_sync_parse(&answer->line, answer->message, &fault, p) != APR_SUCCESS || !answer->line->vector) {
        return failed(dialog, fault.detail ? fault.detail : "its answer is signed, but no sync line of it with a vector");
    }
    return SVL_PEER_SYNC_EXCHANGED;
}

static svl_peer_sync_e ask_digest(dialog_t *dialog, answer_t *answer, apr_pool_t *p)
{
    svl_sync_line_t line = {.from = dialog->node->name};
    svl_sync_own_t own;
    char digest[SVL_SYNC_DIGEST + 1];
    apr_status_t rv = svl_sync_own(&own, dialog->runtime, dialog->peer, p);
    if (rv == APR_SUCCESS) {
        rv = svl_vector_digest(own.vector, digest, p);
    }
    if (rv != APR_SUCCESS) {
        return failed(dialog, "the own log cannot be read");
    }
    line.digest = digest;
    return ask(dialog, &line, answer, p);
}

static svl_peer_sync_e ask_page(dialog_t *dialog, answer_t *answer, apr_pool_t *p)
{
    svl_sync_line_t line = {.from = dialog->node->name, .after = dialog->after[0] ? dialog->after : NULL};
    svl_sync_own_t own;
    if (svl_sync_own(&own, dialog->runtime, dialog->peer, p) != APR_SUCCESS) {
        return failed(dialog, "the own log cannot be read");
    }
    line.vector = own.vector;
    return ask(dialog, &line, answer, p);
}

/* What was logged later is left to relay, which is perhaps about to bring it.  While a peer was down, relay has passed it over. */
static apr_time_t settled(const dialog_t *dialog)
{
    apr_time_t old = apr_time_now() - SVL_SYNC_YOUNG;
    apr_time_t up = dialog->sync->peers[dialog->peer].came_up ? SVL_READ(dialog->node->peers[dialog->peer]->since) : old;
    return up > old ? up : old;
}

/* One relay message of what lacks.  @return nonzero when there may be more that is worth sending */
static int give_message(dialog_t *dialog, apr_array_header_t *lacks, apr_pool_t *p)
{
    svl_sync_lines_t lines = {.limit = dialog->node->max_body + SVL_MESSAGE_SLACK};
    svl_transport_exchange_t exchange;
    svl_message_ack_t *ack;
    lines.text = (char *)(size_t)svl_message_relay_line(dialog->node->name, NULL, 0, 0, -1, p, &lines.length);
    lines.capacity = lines.length;
    if (svl_sync_collect(&lines, dialog->runtime->store, lacks, settled(dialog), p) != APR_SUCCESS) {
        failed(dialog, "the own log cannot be read");
        return 0;
    }
    if (!lines.calls || post(dialog, lines.text, lines.length, 0, &exchange, p) != SVL_PEER_SYNC_EXCHANGED) {
        return 0;
    }
    if (svl_message_parse_ack(&ack, exchange.response, exchange.response_length, NULL, p) != APR_SUCCESS
        || strcmp(ack->from, dialog->node->members[dialog->peer].name) != 0) {
        failed(dialog, "its answer is signed, but no acknowledgement");
        return 0;
    }
    __atomic_add_fetch(&dialog->node->peers[dialog->peer]->calls, lines.calls, __ATOMIC_RELAXED);
    dialog->given += lines.calls;
    if (ack->calls && ack->calls->nelts) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, dialog->node->server,
                     SVLNO(0172) "node %s refused %d of %u calls sent by sync", dialog->node->members[dialog->peer].name,
                     ack->calls->nelts, lines.calls);
    }
    /* Where all is refused, further calls would be too: the two configurations differ. */
    return lines.full && ack->accepted + ack->duplicates > 0;
}

/* @param most messages */
static void give(dialog_t *dialog, const answer_t *answer, const svl_sync_own_t *own, int most, apr_pool_t *p)
{
    apr_uint64_t lag;
    apr_array_header_t *lacks = svl_sync_lacks(own->vector, own->pruned, answer->line->vector, answer->line, &lag, p);
    apr_uint64_t given = dialog->given;
    apr_pool_t *scratch;
    int more = lacks->nelts > 0;
    apr_pool_create(&scratch, p);
    while (more && most-- > 0 && !out_of_time(dialog)) {
        more = give_message(dialog, lacks, scratch);
        apr_pool_clear(scratch);
    }
    dialog->unfinished = more;
    given = dialog->given - given;
    dialog->lag += lag > given ? lag - given : 0;
}

/* @return nonzero when the answer's calls were dealt with */
static int take(dialog_t *dialog, const answer_t *answer, apr_uint32_t *fresh, apr_pool_t *p)
{
    const svl_message_group_t *group = &APR_ARRAY_IDX(answer->message->groups, 0, svl_message_group_t);
    svl_received_t received;
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    *fresh = 0;
    if (!group->calls->nelts) {
        return 1;
    }
    if (group->calls->nelts >= BULK) {
        dialog->pulls |= svl_sync_transfer_take(dialog->node->shared, dialog->node->self, apr_time_now());
    }
    if (svl_receive_calls(dialog->runtime, NULL, answer->id, answer->message, &received, NULL, &fault, p) != APR_SUCCESS) {
        failed(dialog, apr_psprintf(p, "what it sent cannot be taken here: %s",
                                    fault.detail ? fault.detail : svl_fault_title(fault.reason)));
        return 0;
    }
    *fresh = received.fresh;
    dialog->taken += *fresh;
    return 1;
}

/* What follows an answer.  @param asked nonzero: with the own vector, so that all calls that the peer could send may have come
 * @return 1: ask for this page again; 2: for the next one; 0: that was the last; -1: no further now; -2: nor in a second */
static int step(dialog_t *dialog, const answer_t *answer, int asked, apr_pool_t *p)
{
    const svl_sync_line_t *line = answer->line;
    svl_sync_own_t own;
    apr_array_header_t *wanted;
    apr_uint32_t fresh;
    int again;
    svl_sync_hear_own(dialog->runtime, line->vector, dialog->node->members[dialog->peer].name, p);
    if (!take(dialog, answer, &fresh, p)) {
        return -2;
    }
    if (svl_sync_own(&own, dialog->runtime, dialog->peer, p) != APR_SUCCESS) {
        failed(dialog, "the own log cannot be read");
        return -2;
    }
    wanted = svl_sync_lacks(line->vector, line->pruned, own.vector, line, NULL, p);
    again = wanted->nelts && (!asked || fresh);
    dialog->lag = dialog->after[0] ? dialog->lag : 0;
    give(dialog, answer, &own, again ? 1 : APR_INT32_MAX, p);
    if (again) {
        return 1;
    }
    if (dialog->unfinished) {
        return -1;
    }
    svl_missed_page(dialog->sync->missed, dialog->peer, line, &own, wanted);
    apr_cpystrn(dialog->after, line->upto ? line->upto : "", sizeof(dialog->after));
    return line->upto ? 2 : 0;
}

/* A peer whose pages do not go on where they ended would be asked for ever. */
static int is_in_order(const dialog_t *dialog, const svl_sync_line_t *line)
{
    return strcmp(line->after ? line->after : "", dialog->after) == 0;
}

static svl_peer_sync_e converse(dialog_t *dialog, apr_pool_t *p)
{
    answer_t answer;
    int asked = dialog->after[0] != '\0';
    svl_peer_sync_e result = asked ? ask_page(dialog, &answer, p) : ask_digest(dialog, &answer, p);
    while (result == SVL_PEER_SYNC_EXCHANGED) {
        int next;
        /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): with this result there is a line */
        if (!is_in_order(dialog, answer.line)) {
            return failed(dialog, "it answers for other streams than it was asked for");
        }
        next = step(dialog, &answer, asked, p);
        apr_pool_clear(p);
        if (next <= 0) {
            return next == 0 ? SVL_PEER_SYNC_EXCHANGED : next == -1 ? SVL_PEER_SYNC_PARTIAL : SVL_PEER_SYNC_FAILED;
        }
        if (out_of_time(dialog)) {
            return SVL_PEER_SYNC_PARTIAL;
        }
        result = ask_page(dialog, &answer, p);
        asked = 1;
    }
    return result == SVL_PEER_SYNC_BUSY && dialog->taken + dialog->given ? SVL_PEER_SYNC_PARTIAL : result;
}

/* The lease would end the transfer as well, later. */
static void conclude(dialog_t *dialog, apr_pool_t *p)
{
    svl_sync_line_t line = {.from = dialog->node->name, .done = 1};
    svl_transport_exchange_t exchange;
    apr_size_t length;
    const char *text = svl_sync_write(&line, p, &length);
    post(dialog, text, length, 1, &exchange, p);
}

svl_peer_sync_e svl_sync_exchange(svl_sync_t *sync, apr_uint32_t peer)
{
    svl_node_t *node = sync->runtime->node;
    apr_time_t began = apr_time_now();
    dialog_t dialog = {.sync = sync, .runtime = sync->runtime, .node = node, .peer = peer, .end = began + SVL_SYNC_BUDGET};
    svl_peer_sync_e result;
    apr_pool_t *p;
    svl_pool_make(&p);
    if (sync->peers[peer].after[0]) {
        apr_cpystrn(dialog.after, sync->peers[peer].after, sizeof(dialog.after));
        dialog.lag = sync->peers[peer].lag;
    }
    else {
        svl_missed_begin(sync->missed, peer);
    }
    result = converse(&dialog, p);
    apr_pool_clear(p);
    sync->peers[peer].lag = dialog.lag;
    apr_cpystrn(sync->peers[peer].after, result == SVL_PEER_SYNC_PARTIAL ? dialog.after : "", sizeof(dialog.after));
    if (result == SVL_PEER_SYNC_EQUAL || result == SVL_PEER_SYNC_EXCHANGED) {
        svl_missed_heard(sync->missed, peer, apr_time_now());
        __atomic_store_n(&node->peers[peer]->lag, dialog.lag, __ATOMIC_RELAXED);
    }
    if (dialog.holds
        && (result == SVL_PEER_SYNC_EXCHANGED || (result == SVL_PEER_SYNC_FAILED && svl_peer_living(node->peers[peer])))) {
        conclude(&dialog, p);
    }
    if (dialog.pulls && result != SVL_PEER_SYNC_PARTIAL) {
        svl_sync_transfer_release(node->shared, node->self);
    }
    if (dialog.taken + dialog.given) {
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, node->server,
                     SVLNO(0173) "sync with node %s: %" APR_UINT64_T_FMT " calls came, %" APR_UINT64_T_FMT " went, in %d ms%s",
                     node->members[peer].name, dialog.taken, dialog.given, (int)apr_time_as_msec(apr_time_now() - began),
                     result == SVL_PEER_SYNC_PARTIAL ? "; there are more" : "");
    }
    SVL_COUNT(node->peers[peer]->syncs[result]);
    apr_pool_destroy(p);
    return result;
}

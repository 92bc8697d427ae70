/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Of every peer is kept, by stream, up to which number it holds nothing any more, and the first number that it holds and this
 * node still lacks.  Numbers that are pruned at one living peer and held by none are given up, once each living peer of the set
 * was heard; who was not heard is asked at the next turn.
 */
#include <string.h>

#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_strings.h>
#include <httpd.h>
#include <http_log.h>

#include "../core/pool.h"
#include "loss.h"
#include "sync_private.h"

#define RECORDS_MAX 4096                  /* streams kept of one peer; with more it counts as not heard */
#define GIVEN_UP_MAX 1000                 /* streams of one turn */
#define LOGGED_MAX 8                      /* of them in the log, one by one */
#define HEARD_MIN apr_time_from_sec(5)    /* a peer was heard when that was less long ago than this, or than an interval */
#define HEARD_EACH apr_time_from_msec(20) /* and for each node of the fleet */
#define AWAY_WINDOWS 4                    /* as long as that a node that was away waits for peers that it has not heard yet */
#define ASKED_MIN 8                       /* turns that a peer is waited for at least, however long they took */
#define SYNCED_FILE "synced"              /* modified when a sync was last completed */

APLOG_USE_MODULE(serviceless);

typedef struct record_t {
    apr_uint64_t pruned; /* 0: nothing that this node lacked */
    apr_uint64_t first;  /* held there and lacking here; APR_UINT64_MAX: none */
} record_t;

/* What one exchange brought. */
typedef struct hearing_t {
    apr_pool_t *pool;
    apr_hash_t *records; /* stream to record_t */
    int overflow;
} hearing_t;

typedef struct heard_t {
    hearing_t last, present; /* the last complete one; the one under way */
    apr_time_t time;         /* of the last; 0: never */
    apr_time_t waiting;      /* for it, since then, by the steady clock … */
    unsigned int asked;      /* … and for so many turns; 0: not */
} heard_t;

struct svl_missed_t {
    svl_runtime_t *runtime;
    svl_node_t *node;
    heard_t *peers;
    const char *file;
    apr_time_t away; /* since then, by the steady clock, it is known that this node was away; 0: nobody is to be told of that */
};

apr_status_t svl_missed_create(svl_missed_t **out, svl_runtime_t *runtime, apr_pool_t *p)
{
    svl_missed_t *missed = apr_pcalloc(p, sizeof(*missed));
    missed->runtime = runtime;
    missed->node = runtime->node;
    missed->peers = apr_pcalloc(p, runtime->node->count * sizeof(*missed->peers));
    missed->file = apr_pstrcat(p, runtime->node->directory, "/" SYNCED_FILE, NULL);
    *out = missed;
    return APR_SUCCESS;
}

static void forget(hearing_t *hearing)
{
    if (hearing->pool) {
        apr_pool_destroy(hearing->pool);
    }
    memset(hearing, 0, sizeof(*hearing));
}

void svl_missed_begin(svl_missed_t *missed, apr_uint32_t peer)
{
    forget(&missed->peers[peer].present);
}

/* @return NULL when there are too many */
static record_t *record_for(hearing_t *hearing, const char *stream)
{
    record_t *record;
    if (!hearing->pool) {
        svl_pool_make(&hearing->pool);
        hearing->records = apr_hash_make(hearing->pool);
    }
    record = apr_hash_get(hearing->records, stream, APR_HASH_KEY_STRING);
    if (!record && apr_hash_count(hearing->records) >= RECORDS_MAX) {
        hearing->overflow = 1;
        return NULL;
    }
    if (!record) {
        record = apr_palloc(hearing->pool, sizeof(*record));
        *record = (record_t){0, APR_UINT64_MAX};
        apr_hash_set(hearing->records, apr_pstrdup(hearing->pool, stream), APR_HASH_KEY_STRING, record);
    }
    return record;
}

void svl_missed_page(svl_missed_t *missed, apr_uint32_t peer, const svl_sync_line_t *page, const svl_sync_own_t *own,
                     const apr_array_header_t *wanted)
{
    hearing_t *hearing = &missed->peers[peer].present;
    for (int i = 0; i < wanted->nelts; i++) {
        const svl_sync_lack_t *lack = &APR_ARRAY_IDX(wanted, i, svl_sync_lack_t);
        record_t *record = record_for(hearing, lack->stream);
        if (record) {
            record->first = lack->next;
        }
    }
    hearing->overflow |= wanted->nelts == SVL_SYNC_LACKS_MAX;
    for (apr_hash_index_t *hi = apr_hash_first(apr_hash_pool_get(page->pruned), page->pruned); hi; hi = apr_hash_next(hi)) {
        const char *stream = apr_hash_this_key(hi);
        const svl_vector_numbers_t *theirs = apr_hash_get(page->vector, stream, APR_HASH_KEY_STRING);
        const svl_vector_numbers_t *mine = apr_hash_get(own->vector, stream, APR_HASH_KEY_STRING);
        apr_uint64_t pruned = *(const apr_uint64_t *)apr_hash_this_val(hi);
        record_t *record;
        /* Nobody has pruned what it never covered; and a vector that was not told whole says nothing of what is beyond. */
        if (!theirs || pruned > theirs->watermark || theirs->ranges->nelts >= SVL_SYNC_RANGES_MAX
            || (mine && mine->watermark >= pruned)) {
            continue;
        }
        record = record_for(hearing, stream);
        if (record) {
            record->pruned = pruned;
        }
    }
}

void svl_missed_heard(svl_missed_t *missed, apr_uint32_t peer, apr_time_t now)
{
    heard_t *heard = &missed->peers[peer];
    forget(&heard->last);
    heard->last = heard->present;
    memset(&heard->present, 0, sizeof(heard->present));
    heard->time = now;
    heard->asked = 0;
}

/* In a large fleet a turn that asks everybody takes its time. */
static apr_interval_time_t window(const svl_missed_t *missed)
{
    const svl_node_t *node = missed->node;
    return (node->sync_interval > HEARD_MIN ? node->sync_interval : HEARD_MIN) + node->count * HEARD_EACH;
}

static int is_heard(const svl_missed_t *missed, apr_uint32_t peer, apr_time_t now)
{
    apr_time_t time = missed->peers[peer].time;
    return time && time <= now && now - time <= window(missed);
}

/* Has the peer asked at the next turn.  One that is up, but was not understood for a whole retention, as when its clock is wrong,
 * holds nothing up.  @return nonzero while nothing is to be decided without it */
static int is_waited_for(svl_missed_t *missed, apr_uint32_t peer, svl_sync_peer_t *peers)
{
    heard_t *heard = &missed->peers[peer];
    if (!heard->asked) {
        heard->waiting = svl_transport_monotonic();
    }
    heard->asked += !peers[peer].wanted; /* once a turn, whatever the number of streams */
    peers[peer].wanted = 1;
    return heard->asked < ASKED_MIN || svl_transport_monotonic() - heard->waiting <= missed->node->retention;
}

/* @return up to which number the stream is lost; 0: not, or not known yet */
static apr_uint64_t lost_upto(svl_missed_t *missed, const char *stream, const svl_set_t *set, svl_sync_peer_t *peers,
                              apr_time_t now)
{
    const svl_node_t *node = missed->node;
    apr_uint64_t pruned = 0, first = APR_UINT64_MAX;
    int known = 1;
    for (apr_uint32_t i = 0; i < set->count; i++) {
        apr_uint32_t peer = set->members[i];
        const hearing_t *hearing = &missed->peers[peer].last;
        const record_t *record;
        if (peer == node->self || !svl_peer_living(node->peers[peer])) {
            continue;
        }
        record = hearing->records ? apr_hash_get(hearing->records, stream, APR_HASH_KEY_STRING) : NULL;
        if (!is_heard(missed, peer, now)) {
            known &= !is_waited_for(missed, peer, peers);
        }
        else if (!record) {
            known &= !hearing->overflow;
        }
        else {
            pruned = record->pruned > pruned ? record->pruned : pruned;
            first = record->first < first ? record->first : first;
        }
    }
    return !known ? 0 : pruned < first ? pruned : first - 1;
}

/* A stream that is settled is not looked at again until a peer names it anew. */
static void settle(svl_missed_t *missed, const char *stream)
{
    for (apr_uint32_t i = 0; i < missed->node->count; i++) {
        const hearing_t *hearing = &missed->peers[i].last;
        record_t *record = hearing->records ? apr_hash_get(hearing->records, stream, APR_HASH_KEY_STRING) : NULL;
        if (record) {
            record->pruned = 0;
        }
    }
}

/* Own numbers of the present epoch are nobody else's to prune. */
static const svl_set_t *set_to_judge(const svl_missed_t *missed, const char *stream, apr_pool_t *p)
{
    const svl_set_t *set = apr_hash_get(missed->node->sets, svl_sync_set(stream, p), APR_HASH_KEY_STRING);
    int own = strcmp(svl_sync_origin(stream, p), missed->node->name) == 0
              && strcmp(strrchr(stream, '/') + 1, svl_store_epoch(missed->runtime->store)) == 0;
    return set && set->has_self && !own ? set : NULL;
}

/* Adds what is lost of the streams that this peer has pruned. */
static void decide_of_peer(svl_missed_t *missed, apr_uint32_t peer, svl_sync_peer_t *peers, apr_array_header_t *losses,
                           apr_time_t now, apr_pool_t *p)
{
    const hearing_t *hearing = &missed->peers[peer].last;
    for (apr_hash_index_t *hi = hearing->records ? apr_hash_first(p, hearing->records) : NULL;
         hi && losses->nelts < GIVEN_UP_MAX; hi = apr_hash_next(hi)) {
        const char *stream = apr_hash_this_key(hi);
        const record_t *record = apr_hash_this_val(hi);
        const svl_set_t *set = record->pruned ? set_to_judge(missed, stream, p) : NULL;
        apr_uint64_t upto = set ? lost_upto(missed, stream, set, peers, now) : 0;
        if (upto) {
            APR_ARRAY_PUSH(losses, svl_store_loss_t) = (svl_store_loss_t){apr_pstrdup(p, stream), 0, upto, 0};
            settle(missed, stream);
        }
    }
}

static void log_losses(const svl_missed_t *missed, const apr_array_header_t *losses, apr_uint64_t total)
{
    int streams = 0;
    for (int i = 0; i < losses->nelts; i++) {
        const svl_store_loss_t *loss = &APR_ARRAY_IDX(losses, i, svl_store_loss_t);
        if (loss->missed && streams++ < LOGGED_MAX) {
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, missed->node->server,
                         SVLNO(0176) "%" APR_UINT64_T_FMT " calls of %s up to number %" APR_UINT64_T_FMT
                                     " are missed: no living node holds them any more",
                         loss->missed, loss->stream, loss->last);
        }
    }
    if (streams > LOGGED_MAX) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, missed->node->server,
                     SVLNO(0177) "%d streams have missed calls, %" APR_UINT64_T_FMT " calls in all", streams, total);
    }
}

/* The file's time outlives the server.  @return nonzero when the sync completed before this one is older than the retention */
static int was_away(const svl_missed_t *missed, apr_time_t now, apr_pool_t *p)
{
    apr_finfo_t info;
    return apr_stat(&info, missed->file, APR_FINFO_MTIME, p) == APR_SUCCESS && now - info.mtime > missed->node->retention;
}

static void mark_synced(const svl_missed_t *missed, apr_time_t now, apr_pool_t *p)
{
    apr_file_t *file;
    apr_status_t rv = apr_file_mtime_set(missed->file, now, p);
    if (APR_STATUS_IS_ENOENT(rv)) {
        rv = apr_file_open(&file, missed->file, APR_FOPEN_WRITE | APR_FOPEN_CREATE, APR_FPROT_UREAD | APR_FPROT_UWRITE, p);
        if (rv == APR_SUCCESS) {
            apr_file_close(file);
        }
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_DEBUG, rv, missed->node->server, "cannot mark %s", missed->file);
    }
}

/* One transaction for all, so that each function is told once.  @return 0 when the log could not record it */
static int give_up(svl_missed_t *missed, apr_array_header_t *losses, int away, apr_pool_t *p)
{
    svl_store_loss_t *lost = (svl_store_loss_t *)losses->elts;
    apr_uint64_t total;
    apr_status_t rv = svl_loss_give_up(missed->runtime, lost, (apr_uint32_t)losses->nelts, away, &total, p);
    if (rv != APR_SUCCESS) {
        char text[160];
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, missed->node->server,
                     SVLNO(0175) "the log could not record that calls are missed; it is tried again: %s",
                     svl_fault_strerror(rv, text, sizeof(text)));
        return 0;
    }
    log_losses(missed, losses, total);
    if (away && !total) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, missed->node->server,
                     SVLNO(0178) "the last sync was longer ago than the retention: functions are told of missed calls");
    }
    return 1;
}

/* A node that was away waits until it has heard from all how much it missed, so that functions are told once; but not for long.
 * @return nonzero while it waits */
static int waits(svl_missed_t *missed, svl_sync_peer_t *peers, apr_time_t now)
{
    int heard = 1;
    for (apr_uint32_t i = 0; i < missed->node->count; i++) {
        if (i != missed->node->self && svl_peer_living(missed->node->peers[i]) && !is_heard(missed, i, now)) {
            heard &= !is_waited_for(missed, i, peers);
        }
    }
    return !heard && svl_transport_monotonic() - missed->away < AWAY_WINDOWS * window(missed);
}

void svl_missed_decide(svl_missed_t *missed, svl_sync_peer_t *peers, int completed, apr_time_t now, apr_pool_t *p)
{
    apr_array_header_t *losses = apr_array_make(p, 4, sizeof(svl_store_loss_t));
    if (completed && !missed->away && was_away(missed, now, p)) {
        missed->away = svl_transport_monotonic();
    }
    if (missed->away && waits(missed, peers, now)) {
        return;
    }
    for (apr_uint32_t i = 0; i < missed->node->count; i++) {
        decide_of_peer(missed, i, peers, losses, now, p);
    }
    if ((losses->nelts || missed->away) && !give_up(missed, losses, missed->away != 0, p)) {
        return;
    }
    if (completed || missed->away) {
        mark_synced(missed, now, p);
    }
    missed->away = 0;
}

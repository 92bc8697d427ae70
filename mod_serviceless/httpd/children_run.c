/* SPDX-License-Identifier: Apache-2.0 */
#include "children_private.h"

#include <string.h>

#include <apr_strings.h>
#include <http_log.h>

#include "../core/guard.h"
#include "../core/pool.h"
#include "await.h"
#include "children_kept.h"
#include "loss.h"

#define TAKE_MAX 64 /* entries read at once: a reader is not held while they run */

APLOG_USE_MODULE(serviceless);

/* An entry to run, copied out of the log. */
typedef struct item_t {
    apr_uint64_t position, entry; /* where it is listed, and where it is held */
    const char *text;             /* the call's line, or what was missed; NULL: pruned meanwhile */
    apr_size_t length;
    int missed;
} item_t;

static __thread int inside; /* this thread is catching up */

int svl_children_inside(void)
{
    return inside;
}

static void done(svl_children_t *children, apr_uint64_t position)
{
    __atomic_store_n(&children->cursor->done, position + 1, __ATOMIC_RELEASE);
}

/* @return how many of the next entries were read */
static apr_status_t take(svl_runtime_t *runtime, item_t *items, int *count, apr_pool_t *p)
{
    svl_store_listing_t at = {.position = runtime->children->cursor->done - 1};
    svl_store_reader_t *reader;
    apr_status_t rv = svl_store_read_begin(&reader, runtime->store);
    *count = 0;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    while (*count < TAKE_MAX && (rv = svl_store_every(reader, &at)) == APR_SUCCESS) {
        svl_store_record_t record;
        item_t *item = &items[(*count)++];
        *item = (item_t){.position = at.position, .entry = at.entry};
        /* What is announced again is for children that are younger than where it was listed before: others have run it there. */
        if ((at.entry == at.position || at.previous < runtime->children->cursor->began)
            && svl_store_get(reader, at.entry, 0, &record) == APR_SUCCESS) {
            item->missed = record.outcome == SVL_OUTCOME_MISSED;
            item->length = item->missed ? record.text_length : record.length;
            item->text = item->missed ? record.text : record.line;
            item->text = item->text ? apr_pstrmemdup(p, item->text, item->length) : NULL;
        }
    }
    svl_store_read_end(reader);
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

/* Where the process ends meanwhile, the parent finds here what it ran; and requests find until when they wait. */
static void note_running(svl_runtime_t *runtime, const svl_function_t *function, const char *id)
{
    svl_children_t *children = runtime->children;
    apr_cpystrn(children->cursor->id, id, sizeof(children->cursor->id));
    apr_cpystrn(children->cursor->function, function ? function->name : "", sizeof(children->cursor->function));
    __atomic_store_n(&children->until, function ? svl_transport_monotonic() + function->timeout : 0, __ATOMIC_RELEASE);
}

/* The first outcome that is recorded stands: one child in which it fails is enough. */
static void record_failure(svl_runtime_t *runtime, const item_t *item, const svl_run_t *run)
{
    const svl_store_outcome_t outcome = {item->entry, run->outcome, run->micros, run->ended, run->text, run->length};
    char text[160];
    apr_status_t rv = svl_store_finish(runtime->store, &outcome, 1);
    svl_await_wake(runtime, &outcome, 1);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server,
                     SVLNO(0710) "the log could not record that a call failed in this child: %s",
                     svl_fault_strerror(rv, text, sizeof(text)));
    }
}

static void run_item(svl_runtime_t *runtime, const item_t *item, apr_pool_t *p)
{
    const svl_function_t *function;
    svl_call_line_t *call;
    svl_run_t run;
    if (item->missed) {
        function = svl_loss_function(runtime->node, item->text, item->length, p);
        if (function && function->scope == SERVICELESS_SCOPE_CHILD) {
            note_running(runtime, function, "missed");
            svl_loss_tell(runtime, item->text, item->length, p);
        }
        return;
    }
    if (svl_call_parse_line(&call, item->text, item->length, NULL, p) != APR_SUCCESS) {
        return;
    }
    function = svl_registry_find(runtime->node, call->function);
    if (!function || function->scope != SERVICELESS_SCOPE_CHILD) { /* as an older or newer configuration had it */
        return;
    }
    note_running(runtime, function, call->id);
    if (svl_run_call(runtime, function, call, item->entry, 0, &run, p, p) == APR_SUCCESS) {
        svl_kept_ran(runtime->kept, item->entry, &run);
        if (run.outcome != SVL_OUTCOME_OK) {
            record_failure(runtime, item, &run);
        }
    }
}

/* @return 0: the child is leaving, and has not run all */
static int run_items(svl_runtime_t *runtime, const item_t *items, int count, int open, apr_pool_t *p)
{
    apr_pool_t *run_pool;
    apr_pool_create(&run_pool, p);
    for (int i = 0; i < count; i++) {
        if (items[i].text) {
            sigset_t before;
            if (svl_children_left()) {
                return 0;
            }
            if (open) {
                svl_guard_open(&before);
            }
            run_item(runtime, &items[i], run_pool);
            if (open) {
                svl_guard_leave(&before);
            }
            note_running(runtime, NULL, "");
            apr_pool_clear(run_pool);
        }
        done(runtime->children, items[i].position);
    }
    return 1;
}

static void log_failure(svl_runtime_t *runtime, apr_status_t rv)
{
    char text[160];
    if (rv != APR_SUCCESS && !runtime->children->failed) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, runtime->node->server,
                     SVLNO(0711) "what every child is to run cannot be read; this one tries again: %s",
                     svl_fault_strerror(rv, text, sizeof(text)));
    }
    runtime->children->failed = rv != APR_SUCCESS;
}

apr_status_t svl_children_run(svl_runtime_t *runtime, int open)
{
    const svl_shared_node_t *shared = runtime->node->shared;
    svl_children_t *children = runtime->children;
    apr_uint64_t every;
    apr_status_t rv = APR_SUCCESS;
    apr_pool_t *p = NULL;
    int looked = 0;
    inside = 1;
    while ((every = __atomic_load_n(&shared->every, __ATOMIC_ACQUIRE)) > children->cursor->done && rv == APR_SUCCESS
           && !looked) {
        item_t items[TAKE_MAX];
        int count;
        if (!p) {
            svl_pool_make(&p);
        }
        rv = take(runtime, items, &count, p);
        if (!run_items(runtime, items, count, open, p)) {
            apr_pool_destroy(p);
            inside = 0;
            return APR_EAGAIN;
        }
        if (rv == APR_SUCCESS && count < TAKE_MAX) { /* all that was there when it was read, so all below `every` */
            looked = every == SVL_SHARED_LOOK;
            if (!looked && every > children->cursor->done) {
                done(children, every - 1);
            }
        }
        apr_pool_clear(p);
    }
    inside = 0;
    if (p) {
        apr_pool_destroy(p);
    }
    log_failure(runtime, rv);
    return rv;
}

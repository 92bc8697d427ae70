/* SPDX-License-Identifier: Apache-2.0 */
#include "children_kept.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "../core/guard.h"

#define STRAYS_MAX 256 /* beyond, whoever accepted one that ran before it knew gets no result, but `pending` */

typedef struct item_t {
    apr_uint64_t position; /* the key */
    int users;             /* 0: a stray */
    int ran;
    svl_run_t run; /* text: malloc */
} item_t;

struct svl_kept_t {
    apr_thread_mutex_t *lock;
    apr_hash_t *items;
    int expected; /* threads that accept */
    int strays;
};

apr_status_t svl_kept_create(svl_kept_t **kept, apr_pool_t *p)
{
    svl_kept_t *made = apr_pcalloc(p, sizeof(*made));
    made->items = apr_hash_make(p);
    *kept = made;
    return apr_thread_mutex_create(&made->lock, APR_THREAD_MUTEX_DEFAULT, p);
}

static void lock(svl_kept_t *kept, sigset_t *before)
{
    svl_guard_enter(before);
    apr_thread_mutex_lock(kept->lock);
}

static void unlock(svl_kept_t *kept, const sigset_t *before)
{
    apr_thread_mutex_unlock(kept->lock);
    svl_guard_leave(before);
}

static item_t *find(const svl_kept_t *kept, apr_uint64_t position)
{
    return apr_hash_get(kept->items, &position, sizeof(position));
}

static item_t *add(svl_kept_t *kept, apr_uint64_t position)
{
    item_t *item = find(kept, position);
    if (!item && (item = calloc(1, sizeof(*item))) != NULL) {
        item->position = position;
        apr_hash_set(kept->items, &item->position, sizeof(item->position), item);
        kept->strays++;
    }
    return item;
}

static void drop(svl_kept_t *kept, item_t *item)
{
    kept->strays -= !item->users;
    apr_hash_set(kept->items, &item->position, sizeof(item->position), NULL);
    free((char *)(size_t)item->run.text);
    free(item);
}

void svl_kept_expect(svl_kept_t *kept)
{
    sigset_t before;
    lock(kept, &before);
    kept->expected++;
    unlock(kept, &before);
}

void svl_kept_expected(svl_kept_t *kept)
{
    sigset_t before;
    lock(kept, &before);
    kept->expected--;
    if (!kept->expected && kept->strays) {
        for (apr_hash_index_t *hi = apr_hash_first(NULL, kept->items); hi; hi = apr_hash_next(hi)) {
            item_t *item = apr_hash_this_val(hi);
            if (!item->users) {
                drop(kept, item);
            }
        }
    }
    unlock(kept, &before);
}

void svl_kept_own(svl_kept_t *kept, apr_uint64_t position, int users)
{
    sigset_t before;
    item_t *item;
    lock(kept, &before);
    item = add(kept, position);
    if (item) {
        kept->strays -= !item->users;
        item->users += users;
    }
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the hash has it by its member */
    unlock(kept, &before);
}

void svl_kept_ran(svl_kept_t *kept, apr_uint64_t position, const svl_run_t *run)
{
    sigset_t before;
    item_t *item;
    lock(kept, &before);
    item = kept->expected && kept->strays < STRAYS_MAX ? add(kept, position) : find(kept, position);
    if (item && !item->ran) {
        char *text = run->text ? malloc(run->length + 1) : NULL;
        item->run = *run;
        item->run.result = NULL;
        item->run.text = text;
        if (text) {
            memcpy(text, run->text, run->length);
            text[run->length] = '\0';
        }
        item->ran = 1;
    }
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the hash has it by its member */
    unlock(kept, &before);
}

int svl_kept_find(svl_kept_t *kept, apr_uint64_t position, svl_run_t *run, apr_pool_t *p)
{
    sigset_t before;
    item_t *item;
    int ran;
    lock(kept, &before);
    item = find(kept, position);
    ran = item && item->ran;
    if (ran && run) {
        *run = item->run;
        run->text = run->text ? apr_pstrmemdup(p, run->text, run->length) : NULL;
    }
    unlock(kept, &before);
    return ran;
}

void svl_kept_forget(svl_kept_t *kept, apr_uint64_t position)
{
    sigset_t before;
    item_t *item;
    lock(kept, &before);
    item = find(kept, position);
    if (item && item->users && --item->users == 0) {
        kept->strays++;
        drop(kept, item);
    }
    unlock(kept, &before);
}

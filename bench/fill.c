/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills the log of a node that does not run with calls that have nothing left to do, as they are after a day of work.
 *
 *   fill directory node size count bytes
 *
 * size: of the store, bytes, as ServicelessStoreSize says; bytes: of a call line, about.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "../mod_serviceless/store/store.h"

#define EPOCH "00000000000f1115"
#define BATCH SVL_STORE_BATCH_MAX

static void write_log(void *baton, const char *file, int line, svl_log_level_e level, apr_status_t status, const char *text)
{
    (void)baton;
    (void)file;
    (void)line;
    (void)status;
    if (level <= SVL_LOG_WARNING) {
        fprintf(stderr, "%s\n", text);
    }
}

static void make(svl_store_entry_t *entry, apr_uint64_t seq, int bytes, apr_time_t now, apr_pool_t *p)
{
    const char *id = apr_psprintf(p, "fill-%016" APR_UINT64_T_HEX_FMT, seq);
    const char *head = apr_psprintf(p, "{\"id\":\"%s\",\"function\":\"bench.note\",\"args\":[\"", id);
    const char *tail = apr_psprintf(p,
                                    "\"],\"kwargs\":{},\"origin\":\"fill\",\"set\":\"all\",\"epoch\":\"" EPOCH "\",\"seq\":%" APR_UINT64_T_FMT
                                    ",\"issued\":%" APR_TIME_T_FMT ",\"ttl\":86400}",
                                    seq, apr_time_as_msec(now));
    int room = bytes - (int)(strlen(head) + strlen(tail));
    char *filling = apr_palloc(p, (apr_size_t)(room > 0 ? room : 0) + 1);

    memset(filling, 'x', (size_t)(room > 0 ? room : 0));
    filling[room > 0 ? room : 0] = '\0';
    *entry = (svl_store_entry_t){.id = id, .origin = "fill", .set = "all", .epoch = EPOCH, .seq = seq, .issued = apr_time_as_msec(now), .ttl = 86400};
    entry->draft.head = apr_pstrcat(p, head, filling, tail, NULL);
    entry->draft.head_length = strlen(entry->draft.head);
}

int main(int argc, const char *const *argv)
{
    static svl_store_entry_t entries[BATCH];
    const svl_log_t log = {.write = write_log};
    svl_store_options_t options = {.readers = 64, .processes = 4, .log = &log};
    apr_pool_t *pool, *scratch;
    svl_store_t *store;
    apr_uint64_t count, seq = 0;
    apr_status_t rv;
    char words[160];

    apr_app_initialize(&argc, &argv, NULL);
    atexit(apr_terminate);
    apr_pool_create(&pool, NULL);
    apr_pool_create(&scratch, pool);
    if (argc != 6) {
        fputs("usage: fill directory node size count bytes\n", stderr);
        return 2;
    }
    options.directory = argv[1];
    options.node = argv[2];
    options.size = strtoull(argv[3], NULL, 10);
    count = strtoull(argv[4], NULL, 10);
    rv = svl_store_open(&store, &options, pool);
    while (rv == APR_SUCCESS && seq < count) {
        svl_store_batch_t batch = {.entries = entries};
        apr_time_t now = apr_time_now();

        while (batch.count < BATCH && seq < count) {
            make(&entries[batch.count++], ++seq, atoi(argv[5]), now, scratch);
        }
        rv = svl_store_accept(store, &batch, 1, now);
        apr_pool_clear(scratch);
    }
    if (rv != APR_SUCCESS) {
        fprintf(stderr, "fill: %s: %s, after %" APR_UINT64_T_FMT " of %" APR_UINT64_T_FMT " calls\n", argv[1],
                apr_strerror(rv, words, sizeof(words)), seq, count);
        return 1;
    }
    return 0;
}

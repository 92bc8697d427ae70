/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that are kept beside the log. */
#ifndef SVL_T_UNIT_RECENT_FIXTURE_H
#define SVL_T_UNIT_RECENT_FIXTURE_H

#include "store_fixture.h"

#include "store/recent.h"

/* @return nonzero when that took no transaction */
static inline int accept_without_commit(fixture_t *f, svl_store_entry_t *entry)
{
    apr_uint64_t commits = count_log(f->store).commits;

    assert_int_equal(accept_one(f->store, entry), APR_SUCCESS);
    return count_log(f->store).commits == commits;
}

/* Of a stream that is known, for calls of set all that follow. */
static inline void begin_stream(fixture_t *f)
{
    svl_store_entry_t entry = own_call(f->p, "first", "all", "x");

    assert_false(accept_without_commit(f, &entry));
}

static inline svl_store_entry_t keep_call(fixture_t *f, const char *id)
{
    svl_store_entry_t entry = own_call(f->p, id, "all", id);

    assert_true(accept_without_commit(f, &entry));
    assert_int_equal(entry.verdict, SVL_STORE_NEW);
    return entry;
}

/* Positions of what is read in a direction, as "1 2 3". */
static inline const char *positions(fixture_t *f, int backwards)
{
    svl_store_record_t record = {.position = 0};
    svl_store_reader_t *reader;
    const char *list = "";

    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    while (!svl_store_next(reader, backwards, 1, &record)) {
        list = apr_psprintf(f->p, "%s%s%d", list, *list ? " " : "", (int)record.position);
    }
    svl_store_read_end(reader);
    return list;
}

static inline apr_uint64_t position_of(fixture_t *f, const char *id)
{
    svl_store_reader_t *reader;
    apr_uint64_t position = 0;

    assert_int_equal(svl_store_read_begin(&reader, f->store), APR_SUCCESS);
    svl_store_find(reader, id, &position);
    svl_store_read_end(reader);
    return position;
}

#endif

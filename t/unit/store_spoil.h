/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of damaged logs have in common. */
#ifndef STORE_SPOIL_H
#define STORE_SPOIL_H

#include <fcntl.h>

#include "store_fixture.h"

#define PAGE 4096
#define CALLS 400

static inline void fill(fixture_t *f)
{
    int i;

    for (i = 0; i < CALLS; ++i) {
        svl_store_entry_t entry = own_call(f->p, apr_psprintf(f->p, "id-%d", i), "all", "x");

        assert_int_equal(accept_one(f->store, &entry), APR_SUCCESS);
        assert_int_equal(finish_one(f->store, entry.position, SVL_OUTCOME_OK, "[1,2,3]"), APR_SUCCESS);
    }
}

static inline int open_data(const fixture_t *f)
{
    int fd = open(path_of(f, "data.mdb"), O_RDWR);

    assert_true(fd >= 0);
    return fd;
}

/* Overwrites everything but the meta pages with what nobody can read. */
static inline void spoil(const fixture_t *f)
{
    int fd = open_data(f);
    unsigned char garbage[PAGE];
    struct stat file;
    off_t at;

    memset(garbage, 0xa5, sizeof(garbage));
    assert_int_equal(fstat(fd, &file), 0);
    for (at = (off_t)2 * PAGE; at < file.st_size; at += PAGE) {
        assert_int_equal(pwrite(fd, garbage, PAGE, at), PAGE);
    }
    close(fd);
}

#endif

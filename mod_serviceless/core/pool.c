/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <stdlib.h>
#include <unistd.h>

#include <apr_allocator.h>
#include <apr_thread_mutex.h>

#define KEPT 262144 /* bytes that the allocator keeps for reuse */

static apr_abortfunc_t lacking;

static int out_of_memory(int status)
{
    static const char words[] = "mod_serviceless: out of memory, aborting process.\n";
    ssize_t written;

    if (lacking) {
        lacking(status);
    }
    written = write(STDERR_FILENO, words, sizeof(words) - 1);
    (void)written;
    abort();
}

void svl_pool_on_lack(apr_abortfunc_t handler)
{
    lacking = handler;
}

void svl_pool_make(apr_pool_t **pool)
{
    apr_pool_create_unmanaged_ex(pool, out_of_memory, NULL);
}

void svl_pool_modest(apr_pool_t *pool)
{
    apr_allocator_max_free_set(apr_pool_allocator_get(pool), KEPT);
}

apr_status_t svl_pool_create(apr_pool_t **pool)
{
    apr_allocator_t *allocator;
    apr_thread_mutex_t *mutex;
    apr_status_t status = apr_allocator_create(&allocator);

    if (status != APR_SUCCESS) {
        return status;
    }
    apr_allocator_max_free_set(allocator, KEPT);
    status = apr_pool_create_unmanaged_ex(pool, NULL, allocator);
    if (status != APR_SUCCESS) {
        apr_allocator_destroy(allocator);
        return status;
    }
    apr_pool_abort_set(out_of_memory, *pool);
    apr_allocator_owner_set(allocator, *pool);
    status = apr_thread_mutex_create(&mutex, APR_THREAD_MUTEX_DEFAULT, *pool);
    if (status != APR_SUCCESS) {
        apr_pool_destroy(*pool);
        return status;
    }
    apr_allocator_mutex_set(allocator, mutex);
    return APR_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Locks that processes share: whoever waits for one gets it when it is free, though nobody told. */
#include "../../mod_serviceless/core/robust.h"

#include <pthread.h>
#include <unistd.h>

#include "unit.h"

#define DEADLINE 10 /* seconds */

static pthread_mutex_t lock;
static int got = -1; /* atomic; what the lock said */

static void *take(void *none)
{
    int error = svl_robust_lock(&lock);
    if (!error) {
        pthread_mutex_unlock(&lock);
    }
    __atomic_store_n(&got, error, __ATOMIC_SEQ_CST);
    return none;
}

static int takes_it_in_time(pthread_t *thread)
{
    time_t end = time(NULL) + DEADLINE;
    while (__atomic_load_n(&got, __ATOMIC_SEQ_CST) < 0 && time(NULL) < end) {
        unit_breathe();
    }
    return __atomic_load_n(&got, __ATOMIC_SEQ_CST) >= 0 && pthread_join(*thread, NULL) == 0;
}

static void who_waits_gets_it_when_it_is_free(void **state)
{
    pthread_t waiting;

    (void)state;
    got = -1;
    assert_int_equal(svl_robust_make(&lock), 0);
    assert_int_equal(svl_robust_lock(&lock), 0);
    assert_int_equal(pthread_create(&waiting, NULL, take, NULL), 0);
    for (int i = 0; i < 20; i++) {
        unit_breathe();
    }
    assert_int_equal(__atomic_load_n(&got, __ATOMIC_SEQ_CST), -1);
    pthread_mutex_unlock(&lock);
    assert_true(takes_it_in_time(&waiting));
    assert_int_equal(got, 0);
}

#ifdef __GLIBC__
/* As when the process that was woken is killed before it has the lock: the word says that it is free, and nobody was woken. */
static void nobody_relies_on_being_woken(void **state)
{
    pthread_t waiting;

    (void)state;
    got = -1;
    assert_int_equal(svl_robust_make(&lock), 0);
    lock.__data.__lock = getpid() + 1; /* some other thread has it */
    assert_int_equal(pthread_create(&waiting, NULL, take, NULL), 0);
    for (int i = 0; i < 20; i++) {
        unit_breathe();
    }
    assert_int_equal(__atomic_load_n(&got, __ATOMIC_SEQ_CST), -1);
    __atomic_store_n(&lock.__data.__lock, 0, __ATOMIC_SEQ_CST);
    assert_true(takes_it_in_time(&waiting));
    assert_int_equal(got, 0);
}
#endif

static const struct CMUnitTest promises[] = {
    PROMISE("who waits gets it when it is free", who_waits_gets_it_when_it_is_free),
#ifdef __GLIBC__
    PROMISE("nobody relies on being woken", nobody_relies_on_being_woken),
#endif
};

UNIT_MAIN(promises)

/* SPDX-License-Identifier: Apache-2.0
 * base/thread.c - the bounded queue and the core count. */
#include "base/thread.h"
#include "base/error.h"
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

lt_status lti_queue_ptr_init(lti_queue_ptr *q, int cap, lt_error *err) {
    LT_ASSERT(cap > 0);
    *q = (lti_queue_ptr){.cap = cap};
    q->slot = calloc((size_t)cap, sizeof *q->slot);
    if (!q->slot) return lti_oom(err, (size_t)cap * sizeof *q->slot);
    /* With default attributes these cannot fail on Linux. */
    LT_ASSERT(pthread_mutex_init(&q->mu, NULL) == 0);
    LT_ASSERT(pthread_cond_init(&q->can_push, NULL) == 0);
    LT_ASSERT(pthread_cond_init(&q->can_pop, NULL) == 0);
    return LT_OK;
}

void lti_queue_ptr_destroy(lti_queue_ptr *q) {
    if (!q->slot) return;
    pthread_mutex_destroy(&q->mu);
    pthread_cond_destroy(&q->can_push);
    pthread_cond_destroy(&q->can_pop);
    free(q->slot);
    q->slot = NULL;
}

bool lti_queue_ptr_push(lti_queue_ptr *q, void *item) {
    pthread_mutex_lock(&q->mu);
    while (q->count == q->cap && !q->closed) pthread_cond_wait(&q->can_push, &q->mu);
    bool ok = !q->closed;
    if (ok) {
        q->slot[(q->head + q->count) % q->cap] = item;
        q->count++;
        pthread_cond_signal(&q->can_pop);
    }
    pthread_mutex_unlock(&q->mu);
    return ok;
}

bool lti_queue_ptr_pop(lti_queue_ptr *q, void **item) {
    pthread_mutex_lock(&q->mu);
    while (q->count == 0 && !q->closed) pthread_cond_wait(&q->can_pop, &q->mu);
    bool ok = q->count > 0;
    if (ok) {
        *item = q->slot[q->head];
        q->head = (q->head + 1) % q->cap;
        q->count--;
        pthread_cond_signal(&q->can_push);
    }
    pthread_mutex_unlock(&q->mu);
    return ok;
}

void lti_queue_ptr_close(lti_queue_ptr *q) {
    pthread_mutex_lock(&q->mu);
    q->closed = true;
    pthread_cond_broadcast(&q->can_push);
    pthread_cond_broadcast(&q->can_pop);
    pthread_mutex_unlock(&q->mu);
}

int lti_cpu_count(void) {
    /* The affinity mask, not the number of cores: containers and taskset narrow it. The kernel
     * wants a mask as wide as its own, so grow until it fits. */
    for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (!set) break;
        size_t bytes = CPU_ALLOC_SIZE((size_t)cpus);
        CPU_ZERO_S(bytes, set);
        int n = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (n > 0) return n;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 && online < 1 << 20 ? (int)online : 1;
}

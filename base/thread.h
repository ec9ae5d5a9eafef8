/* SPDX-License-Identifier: Apache-2.0
 * base/thread.h - a bounded queue of pointers between two threads, on pthreads.
 *
 * push blocks while full, pop while empty: a slow consumer gives back-pressure, never growth.
 * close() wakes everybody: push then fails at once, pop drains what is left and then fails. */
#ifndef LT_BASE_THREAD_H
#define LT_BASE_THREAD_H
#include <pthread.h>
#include <stdbool.h>
#include "longtake/status.h"

typedef struct lti_queue_ptr {
    pthread_mutex_t mu;
    pthread_cond_t can_push, can_pop;
    void **slot; /* ring of cap */
    int cap, head, count;
    bool closed;
} lti_queue_ptr;

lt_status lti_queue_ptr_init(lti_queue_ptr *q, int cap, lt_error *err);
void lti_queue_ptr_destroy(lti_queue_ptr *q);          /* no thread may be inside */
bool lti_queue_ptr_push(lti_queue_ptr *q, void *item); /* false: closed */
bool lti_queue_ptr_pop(lti_queue_ptr *q, void **item); /* false: closed and empty */
void lti_queue_ptr_close(lti_queue_ptr *q);

int lti_cpu_count(void); /* cores this process may run on, at least 1 */

#endif

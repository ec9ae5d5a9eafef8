/* SPDX-License-Identifier: Apache-2.0
 * Memory: nothing is allocated per chunk from the second chunk on (1000 chunks, both schedules,
 * every policy), and open survives the failure of its n-th allocation, for every n. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "tests/fault/alloc_wrap.h"
#include "tests/stream/tiny.h"

static void soak(int mode, int policy, int64_t n_chunks) {
    lt_engine *e = NULL;
    lt_stream *s = NULL;
    lt_frame f;
    lt_stream_params p = tiny_params(9 + 12 * (n_chunks - 1));
    p.mode = mode;
    p.sink_policy = policy;
    assert_int_equal(tiny_engine("cpu", 1, &e, NULL), LT_OK);
    assert_int_equal(lt_stream_open(e, &p, &s, NULL), LT_OK);
    long at_second = 0;
    while (lt_stream_next(s, &f) == LT_OK) {
        if (f.chunk == 1 && !at_second) at_second = atomic_load(&wrap_calls);
        lt_frame_release(&f);
    }
    assert_string_equal(lt_stream_error(s), "");
    long after = atomic_load(&wrap_calls) - at_second;
    if (after)
        fail_msg("mode %d policy %d: %ld allocations after the second chunk", mode, policy, after);
    lt_stream_close(&s);
    lt_engine_close(&e);
}

static void no_allocation_after_the_second_chunk(void **state) {
    (void)state;
    soak(LT_MODE_CHUNK, LT_SINK_SLOT, 1000);
    for (int policy = LT_SINK_NONE; policy <= LT_SINK_REALIGN; policy++) {
        soak(LT_MODE_CHUNK, policy, 40);
        soak(LT_MODE_ROLLING, policy, 40);
    }
}

/* Open and pull a frame; true when every call succeeded, and every failure is a plain ENOMEM. */
static int run_once(void) {
    lt_engine *e = NULL;
    lt_stream *s = NULL;
    lt_frame f;
    lt_error err = {0};
    lt_stream_params p = tiny_params(9);
    lt_status st = tiny_engine("cpu", 1, &e, &err);
    if (st == LT_OK) st = lt_stream_open(e, &p, &s, &err);
    if (st == LT_OK) {
        st = lt_stream_next(s, &f);
        if (st == LT_OK) lt_frame_release(&f);
        else snprintf(err.msg, sizeof err.msg, "%s", lt_stream_error(s));
    }
    if (st != LT_OK && (st != LT_ENOMEM || !err.msg[0]))
        fail_msg("allocation %ld: status %d, '%s'", (long)wrap_fail_at, st, err.msg);
    lt_stream_close(&s);
    lt_engine_close(&e);
    return st == LT_OK;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    atomic_store(&wrap_calls, 0);
    assert_true(run_once());
    long total = atomic_load(&wrap_calls);
    assert_true(total > 100);
    for (long at = 1; at <= total; at++) {
        atomic_store(&wrap_calls, 0);
        atomic_store(&wrap_fail_at, at);
        run_once();
    }
    atomic_store(&wrap_fail_at, 0);
    assert_true(run_once());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_allocation_after_the_second_chunk),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

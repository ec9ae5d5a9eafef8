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
#include "weights/weights.h"

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
    for (int policy = LT_SINK_NONE; policy <= LT_SINK_EMA; policy++) {
        soak(LT_MODE_CHUNK, policy, 40);
        if (policy <= LT_SINK_REALIGN) soak(LT_MODE_ROLLING, policy, 40);
    }
}

/* A stream with two prompts that take turns. Memory: each switch may make plans for shapes it has
 * not seen, the next of its kind must not; and what the stream holds does not depend on how many
 * prompts there are. */
static void prompts_take_turns(int how) {
    enum {
        TURNS = 12,
        LONG = 30
    }; /* chunks between two switches: the window is full of one text */
    lt_prompt turn[TURNS];
    lt_engine *e = NULL;
    lt_stream *s = NULL;
    lt_frame f;
    lt_stream_params p = tiny_params(9 + 12 * (LONG * (TURNS + 1) - 1));
    for (int i = 0; i < TURNS; i++)
        turn[i] = (lt_prompt){.text = i % 2 ? "a red ball bounces" : "a blue cube turns",
                              .frame = 9 + 12 * (LONG * (i + 1) - 1)};
    p.prompts = turn;
    p.prompt_switch = how;
    assert_int_equal(tiny_engine("cpu", 1, &e, NULL), LT_OK);
    uint64_t bytes[2];
    for (int i = 0; i < 2; i++) {
        lt_stream_info info;
        p.n_prompts = i ? TURNS : 1;
        assert_int_equal(lt_stream_open(e, &p, &s, NULL), LT_OK);
        lt_stream_get_info(s, &info, sizeof info);
        assert_int_equal(info.n_prompts, p.n_prompts);
        bytes[i] = info.state_bytes + info.work_bytes;
        if (i == 0) lt_stream_close(&s);
    }
    assert_true(bytes[0] == bytes[1]);
    long at_second = 0;
    while (lt_stream_next(s, &f) == LT_OK) {
        if (f.chunk == 2 * LONG + 8 && !at_second) at_second = atomic_load(&wrap_calls);
        lt_frame_release(&f);
    }
    assert_string_equal(lt_stream_error(s), "");
    long after = atomic_load(&wrap_calls) - at_second;
    if (after) fail_msg("switch %d: %ld allocations after the second prompt", how, after);
    lt_stream_close(&s);
    lt_engine_close(&e);
}

static void no_allocation_after_the_second_prompt(void **state) {
    (void)state;
    for (int how = LT_SWITCH_NONE; how <= LT_SWITCH_LERP; how++) prompts_take_turns(how);
}

/* Open and pull a frame; true when every call succeeded, and every failure is a plain ENOMEM. */
static int run_once(void) {
    lt_engine *e = NULL;
    lt_stream *s = NULL;
    lt_frame f;
    lt_error err = {0};
    lt_stream_params p = tiny_params(33);
    const lt_prompt later = {.text = "a blue cube", .frame = 9};
    p.prompts = &later; /* with a recache: all kinds of memory there are */
    p.n_prompts = 1;
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

/* A stream from pictures takes an encoder for a moment, and remembers the last one. */
static lt_status start_once(lt_engine *e, int64_t n_init) {
    static const uint8_t pictures[9 * TINY_RGB];
    lt_stream *s = NULL;
    lt_frame f;
    lt_error err = {0};
    lt_stream_params p = tiny_params(4);
    p.init_rgb = pictures;
    p.n_init = n_init;
    lt_status st = lt_stream_open(e, &p, &s, &err);
    if (st == LT_OK) {
        st = lt_stream_next(s, &f);
        if (st == LT_OK) lt_frame_release(&f);
    }
    if (st != LT_OK && st != LT_ENOMEM)
        fail_msg("allocation %ld: status %d, '%s'", (long)wrap_fail_at, st, err.msg);
    lt_stream_close(&s);
    return st;
}

static void every_allocation_of_a_start(void **state) {
    (void)state;
    lt_engine *e = NULL;
    lt_engine_params p;
    lt_engine_params_init(&p);
    p.model_dir = TINY;
    p.threads = 1;
    p.parts = LT_PART_DIT | LT_PART_TEXT | LT_PART_VAE | LT_PART_ENCODER;
    atomic_store(&wrap_fail_at, 0);
    assert_int_equal(lt_engine_open(&p, &e, NULL), LT_OK);
    for (int64_t n = 1; n <= 9; n += 8) { /* clamped, prefilled */
        atomic_store(&wrap_calls, 0);
        assert_int_equal(start_once(e, n), LT_OK);
        const long total = atomic_load(&wrap_calls);
        for (long at = 1; at <= total; at++) {
            atomic_store(&wrap_calls, 0);
            atomic_store(&wrap_fail_at, at);
            start_once(e, n);
        }
        atomic_store(&wrap_fail_at, 0);
    }
    lt_engine_close(&e);
}

/* A training checkpoint, a file of strided views, one of blocks: parse, translate, decode. */
static lt_status read_weights(const char *path) {
    lti_weights *w = NULL;
    lti_tensor t;
    lt_error err = {0};
    lt_status st = lti_weights_open(path, LTI_PART_DIT, &w, &err);
    for (int i = 0; st == LT_OK && i < lti_weights_count(w); i++) {
        const char *name = lti_weights_name(w, i, NULL);
        if (strcmp(name, "ints")) st = lti_weights_get(w, name, -1, NULL, &t, &err);
    }
    if (st != LT_OK && (st != LT_ENOMEM || !err.msg[0]))
        fail_msg("%s: status %d, '%s'", path, st, err.msg);
    lti_weights_close(&w);
    return st;
}

static void every_allocation_of_a_weights_file(void **state) {
    (void)state;
    static const char *const file[] = {LT_SOURCE_DIR "/tests/unit/torch/nested.pt",
                                       LT_SOURCE_DIR "/tests/unit/torch/views.pt",
                                       LT_SOURCE_DIR "/tests/golden/gguf/types.gguf"};
    for (int i = 0; i < 3; i++) {
        atomic_store(&wrap_calls, 0);
        assert_int_equal(read_weights(file[i]), LT_OK);
        long total = atomic_load(&wrap_calls);
        assert_true(total > 15);
        for (long at = 1; at <= total; at++) {
            atomic_store(&wrap_calls, 0);
            atomic_store(&wrap_fail_at, at);
            assert_int_equal(read_weights(file[i]), LT_ENOMEM);
        }
        atomic_store(&wrap_fail_at, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_allocation_after_the_second_chunk),
        cmocka_unit_test(no_allocation_after_the_second_prompt),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_allocation_of_a_start),
        cmocka_unit_test(every_allocation_of_a_weights_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/stream/test_vae_stream.c - the VAE as a stream: reset, two states, threads, memory.
 *
 * What it computes is compared in tests/golden/test_vae.c; here outputs are compared with each
 * other, byte for byte. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"
#include "tests/fast_backend.h"
#include "tests/vae_rig.h"
#include "vae/graph.h"

enum { H = 2, W = 3, C = 5, T = 4, PIXELS = 64 * H * W, FRAMES = 1 + 4 * (T - 1) };

typedef struct clip {
    float rgb[FRAMES * PIXELS * 3];
} clip;

static void open_odd(vae_rig *r, const char *backend, int threads, lti_dtype dtype) {
    rig_open(r, backend, threads, dtype, "odd.safetensors", "odd_config.json", H, W);
}

/* Latent i of clip `seed`, decoded with `s` to where it belongs in `out`. */
static void step(vae_rig *r, lti_vae_state *s, uint64_t seed, int i, clip *out) {
    float z[C * H * W];
    lti_randn(z, C * H * W, seed, (uint64_t)i, 0);
    int at = i ? 4 * i - 3 : 0;
    int n = rig_decode(r, s, z, out->rgb + at * PIXELS * 3);
    assert_int_equal(n, i ? 4 : 1);
}

static void decode_clip(vae_rig *r, lti_vae_state *s, uint64_t seed, clip *out) {
    for (int i = 0; i < T; i++) step(r, s, seed, i, out);
}

static clip *new_clip(void) {
    clip *c = calloc(1, sizeof *c);
    assert_non_null(c);
    return c;
}

static void test_reset_starts_over(void **state) {
    (void)state;
    vae_rig r;
    open_odd(&r, fast_backend(), 0, LTI_F32);
    clip *a = new_clip(), *b = new_clip(), *other = new_clip();
    decode_clip(&r, r.state, 1, a);
    lti_vae_state_reset(r.d, r.state);
    decode_clip(&r, r.state, 2, other);
    lti_vae_state_reset(r.d, r.state);
    decode_clip(&r, r.state, 1, b);
    assert_memory_equal(a, b, sizeof *a);
    assert_memory_not_equal(a, other, sizeof *a);
    free(a), free(b), free(other);
    rig_close(&r);
}

/* History matters: the second latent alone, as a first one, gives another picture. */
static void test_history_reaches_the_next_latent(void **state) {
    (void)state;
    vae_rig r;
    open_odd(&r, fast_backend(), 0, LTI_F32);
    clip *a = new_clip(), *b = new_clip();
    step(&r, r.state, 1, 0, a);
    step(&r, r.state, 7, 1, a);
    lti_vae_state_reset(r.d, r.state);
    step(&r, r.state, 2, 0, b);
    step(&r, r.state, 7, 1, b);
    assert_memory_not_equal(a->rgb + PIXELS * 3, b->rgb + PIXELS * 3,
                            4 * PIXELS * 3 * sizeof(float));
    free(a), free(b);
    rig_close(&r);
}

static void test_two_states_do_not_meet(void **state) {
    (void)state;
    vae_rig r;
    lt_error err = {0};
    lti_vae_state *second;
    open_odd(&r, fast_backend(), 0, LTI_BF16);
    rig_check(lti_vae_state_open(r.d, r.vae, H, W, &second, &err), &err);
    clip *a = new_clip(), *b = new_clip(), *a2 = new_clip(), *b2 = new_clip();
    decode_clip(&r, r.state, 1, a);
    decode_clip(&r, second, 2, b);
    lti_vae_state_reset(r.d, r.state);
    lti_vae_state_reset(r.d, second);
    for (int i = 0; i < T; i++) {
        step(&r, r.state, 1, i, a2);
        step(&r, second, 2, i, b2);
    }
    assert_memory_equal(a, a2, sizeof *a);
    assert_memory_equal(b, b2, sizeof *b);
    lti_vae_state_close(r.d, &second);
    free(a), free(b), free(a2), free(b2);
    rig_close(&r);
}

static void check_threads(const char *backend, lti_dtype dtype) {
    clip *one = new_clip(), *many = new_clip();
    for (int threads = 1; threads <= 4; threads++) {
        vae_rig r;
        open_odd(&r, backend, threads, dtype);
        decode_clip(&r, r.state, 1, threads == 1 ? one : many);
        if (threads > 1) assert_memory_equal(one, many, sizeof *one);
        rig_close(&r);
    }
    free(one), free(many);
}

static void test_bytes_do_not_depend_on_threads(void **state) {
    (void)state;
    check_threads("ref", LTI_F32);
    check_threads(fast_backend(), LTI_F32);
    check_threads(fast_backend(), LTI_BF16);
}

/* A measure pass leaves the state as it was and the slab it asks for is enough and all used. */
static void test_measure_pass(void **state) {
    (void)state;
    vae_rig r;
    open_odd(&r, fast_backend(), 0, LTI_BF16);
    clip *a = new_clip(), *b = new_clip();
    decode_clip(&r, r.state, 1, a);
    assert_int_equal(r.arena.peak, r.arena.cap);
    assert_int_equal(r.arena.used, 0);
    lti_vae_state_reset(r.d, r.state);
    assert_int_equal(rig_measure(&r), r.arena.cap);
    decode_clip(&r, r.state, 1, b);
    assert_memory_equal(a, b, sizeof *a);
    free(a), free(b);
    rig_close(&r);
}

/* The clip with maps of `split` bytes and more worked on frame by frame; returns the arena. */
static size_t decode_split(const char *backend, lti_dtype dtype, size_t split, clip *out) {
    vae_rig r;
    open_odd(&r, backend, 2, dtype);
    r.state->split_bytes = split;
    r.d->ops.free(r.d, r.arena.base);
    r.arena = (lti_arena){.cap = rig_measure(&r)};
    r.arena.base = r.d->ops.alloc(r.d, r.arena.cap);
    decode_clip(&r, r.state, 1, out);
    size_t bytes = r.arena.cap;
    rig_close(&r);
    return bytes;
}

/* Frame by frame, and whatever stage it starts at: the same bytes, less memory. oneDNN may choose
 * another kernel for another number of frames; for these shapes its sums are equal, too. */
static void test_frame_by_frame_is_the_same(void **state) {
    (void)state;
    const struct {
        const char *backend;
        lti_dtype dtype;
    } with[] = {
        {"ref", LTI_F32}, {"ref", LTI_BF16}, {fast_backend(), LTI_F32}, {fast_backend(), LTI_BF16}};
    clip *a = new_clip(), *b = new_clip();
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        size_t whole = decode_split(with[i].backend, with[i].dtype, SIZE_MAX, a), least = whole;
        /* a frame of the three enlarged maps has 24 x 6, 96 x 6, 384 x 3 elements */
        for (size_t split = 0; split <= 4096; split = split ? split * 4 : 400) {
            size_t now = decode_split(with[i].backend, with[i].dtype, split, b);
            assert_memory_equal(a, b, sizeof *a);
            least = now < least ? now : least;
        }
        print_message("%s %s: arena %zu bytes at once, %zu frame by frame\n", with[i].backend,
                      lti_dtype_name(with[i].dtype), whole, least);
        assert_true(least < whole * 2 / 3);
    }
    free(a), free(b);
}

static void *(*real_alloc)(lti_dev *d, size_t bytes);
static int allocs, fail_at; /* device allocations so far; the one that fails, 0 none */

static void *counting_alloc(lti_dev *d, size_t bytes) {
    return ++allocs == fail_at ? NULL : real_alloc(d, bytes);
}

static void test_memory_is_constant(void **state) {
    (void)state;
    vae_rig r;
    open_odd(&r, fast_backend(), 0, LTI_BF16);
    real_alloc = r.d->ops.alloc;
    r.d->ops.alloc = counting_alloc;
    clip *a = new_clip();
    size_t state_bytes = lti_vae_state_bytes(r.state);
    decode_clip(&r, r.state, 1, a);
    allocs = fail_at = 0;
    size_t heap = mallinfo2().uordblks;
    for (int i = 0; i < 100; i++) step(&r, r.state, 1, 1 + i % (T - 1), a);
    assert_int_equal(allocs, 0);
    assert_int_equal(mallinfo2().uordblks, heap);
    assert_int_equal(lti_vae_state_bytes(r.state), state_bytes);
    free(a);
    rig_close(&r);
}

/* Each device allocation of open fails once: LT_ENOMEM, no leak (ASan), the next one works. */
static void test_open_without_memory(void **state) {
    (void)state;
    vae_rig r;
    open_odd(&r, "ref", 1, LTI_F32);
    real_alloc = r.d->ops.alloc;
    r.d->ops.alloc = counting_alloc;
    cJSON *json = cJSON_Parse("{\"latents_mean\":[0,0,0,0,0],\"latents_std\":[1,1,1,1,1]}");
    int failures = 0;
    for (fail_at = 1;; fail_at++, failures++) {
        lt_error err = {0};
        lti_vae *vae;
        lti_vae_state *s = NULL;
        allocs = 0;
        lt_status st = lti_vae_open(r.d, r.weights, json, LTI_F32, &vae, &err);
        if (st == LT_OK) st = lti_vae_state_open(r.d, vae, H, W, &s, &err);
        lti_vae_state_close(r.d, &s);
        lti_vae_close(r.d, &vae);
        if (st == LT_OK) break;
        assert_int_equal(st, LT_ENOMEM);
        assert_true(strlen(err.msg) > 0);
    }
    assert_true(failures > 10);
    fail_at = 0;
    cJSON_Delete(json);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_starts_over),
        cmocka_unit_test(test_history_reaches_the_next_latent),
        cmocka_unit_test(test_two_states_do_not_meet),
        cmocka_unit_test(test_bytes_do_not_depend_on_threads),
        cmocka_unit_test(test_measure_pass),
        cmocka_unit_test(test_frame_by_frame_is_the_same),
        cmocka_unit_test(test_memory_is_constant),
        cmocka_unit_test(test_open_without_memory),
    };
    return cmocka_run_group_tests_name("stream vae", tests, NULL, NULL);
}

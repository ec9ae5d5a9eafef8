/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_cpu.c - what checkops cannot see of the CPU backend: SIMD levels, weights shared
 * by devs in several threads, and that a prepared op needs no more scratch. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "backend/cpu/cpu.h"
#include "base/rng.h"

enum { CI = 40, CO = 24, K = 96, N = 80, TEAMS = 4, ROUNDS = 6 };

static lti_dev *open_dev(int threads) {
    lt_error err = {0};
    lti_dev *d = NULL;
    assert_int_equal(lti_dev_open("cpu", threads, NULL, &d, &err), LT_OK);
    return d;
}

static float *noise(int64_t n) {
    float *p = malloc((size_t)n * sizeof *p);
    assert_non_null(p);
    lti_randn(p, n, 5, 0, 0);
    return p;
}

static void levels(void **state) {
    (void)state;
    lti_dev *d = open_dev(1);
    lt_error err = {0};
    float *w = noise(K * N);
    const lti_tensor tw = LTI_VIEW(w, LTI_F32, N, K);
    const int best = lti_cpu_best_level();
    assert_int_equal(lti_cpu_set_level(d, 99), best);
    lti_packed *p = lti_pack_linear(d, &tw, NULL, LTI_BF16, &err);
    assert_non_null(p);
    assert_int_equal(p->dtype, best == LTI_CPU_AVX512 ? LTI_BF16 : LTI_F32);
    lti_pack_free(d, &p);
    assert_int_equal(lti_cpu_set_level(d, -1), LTI_CPU_PORTABLE);
    p = lti_pack_linear(d, &tw, NULL, LTI_BF16, &err); /* no bf16 instructions: computes in f32 */
    assert_non_null(p);
    assert_int_equal(p->dtype, LTI_F32);
    lti_pack_free(d, &p);
    free(w);
    lti_dev_close(&d);
}

/* One thread of the sharing test: its own dev and picture sizes, everybody's weights. */
typedef struct user {
    const lti_packed *conv, *linear;
    const float *x;
    float *out; /* ROUNDS results of CO x size, then M x N */
    int64_t base;
    lti_dev *d;
} user;

static int64_t side(const user *u, int round) { return u->base + 3 * round; }

static void *use_weights(void *arg) {
    user *u = arg;
    float *out = u->out;
    for (int r = 0; r < ROUNDS; r++) {
        const int64_t s = side(u, r);
        lti_conv c = {.x = LTI_VIEW((void *)(uintptr_t)u->x, LTI_F32, 2, s, s, CI),
                      .w = u->conv,
                      .stride = {1, 1, 1},
                      .pad_top = 1,
                      .pad_bottom = 1,
                      .pad_left = 1,
                      .pad_right = 1,
                      .out = LTI_VIEW(out, LTI_F32, 1, s, s, CO)};
        lti_conv_run(u->d, &c);
        out += CO * s * s;
        lti_linear(u->d, LTI_VIEW((void *)(uintptr_t)u->x, LTI_F32, s, K), u->linear,
                   LTI_ACT_GELU_TANH, LTI_VIEW(out, LTI_F32, s, N));
        out += s * N;
    }
    return NULL;
}

static int64_t result_size(const user *u) {
    int64_t n = 0;
    for (int r = 0; r < ROUNDS; r++) n += CO * side(u, r) * side(u, r) + side(u, r) * N;
    return n;
}

/* The first uses of packed weights, from several threads at once, give what one thread gets. */
static void shared_weights(void **state) {
    (void)state;
    lt_error err = {0};
    lti_dev *home = open_dev(1);
    float *wc = noise(CO * CI * 18), *wl = noise(K * N), *x = noise(2 * 40 * 40 * CI);
    const lti_tensor tc = LTI_VIEW(wc, LTI_F32, CO, CI, 2, 3, 3), tl = LTI_VIEW(wl, LTI_F32, N, K);
    user u[TEAMS];
    pthread_t thread[TEAMS];
    lti_packed *conv = NULL, *linear = NULL;
    float *want[TEAMS];
    for (int pass = 0; pass < 2; pass++) { /* 0: one after the other; 1: together, fresh weights */
        conv = lti_pack_conv(home, &tc, NULL, LTI_BF16, &err);
        linear = lti_pack_linear(home, &tl, NULL, LTI_BF16, &err);
        assert_non_null(conv);
        assert_non_null(linear);
        for (int i = 0; i < TEAMS; i++) {
            u[i] = (user){.conv = conv, .linear = linear, .x = x, .base = 5 + 4 * i};
            u[i].d = open_dev(1 + i % 2);
            u[i].out = noise(result_size(&u[i]));
            assert_int_equal(pthread_create(&thread[i], NULL, use_weights, &u[i]), 0);
            if (pass == 0) pthread_join(thread[i], NULL);
        }
        for (int i = 0; i < TEAMS; i++) {
            if (pass == 1) pthread_join(thread[i], NULL);
            assert_int_equal(u[i].d->ops.sync(u[i].d, &err), LT_OK);
            if (pass == 0) {
                want[i] = u[i].out;
            } else {
                assert_memory_equal(u[i].out, want[i], (size_t)result_size(&u[i]) * sizeof(float));
                free(want[i]);
                free(u[i].out);
            }
            lti_dev_close(&u[i].d);
        }
        lti_pack_free(home, &conv);
        lti_pack_free(home, &linear);
    }
    free(wc);
    free(wl);
    free(x);
    lti_dev_close(&home);
}

/* After a measure pass with the same shapes the scratch slab stays where it is. */
static void prepared(void **state) {
    (void)state;
    lt_error err = {0};
    lti_dev *d = open_dev(2);
    const int64_t M = 70;
    float *w = noise(K * N), *x = noise(M * K), *out = noise(M * K);
    const lti_tensor tw = LTI_VIEW(w, LTI_F32, N, K);
    lti_packed *p = lti_pack_linear(d, &tw, NULL, LTI_BF16, &err);
    lti_attn a = {.q = LTI_VIEW(x, LTI_F32, M, 2, K / 2),
                  .n_span = 1,
                  .scale = 0.1f,
                  .span = {{x, x, M, K, LTI_F32}},
                  .out = LTI_VIEW(out, LTI_F32, M, 2, K / 2)};
    void *slab = NULL;
    for (int pass = 0; pass < 3; pass++) {
        d->measuring = pass == 0;
        lti_linear(d, LTI_VIEW(x, LTI_F32, M, K), p, LTI_ACT_NONE, LTI_VIEW(out, LTI_F32, M, N));
        lti_attention(d, &a);
        if (pass == 0) slab = lti_cpu_of(d)->slab;
        assert_non_null(slab);
        assert_ptr_equal(slab, lti_cpu_of(d)->slab);
    }
    lti_pack_free(d, &p);
    free(w);
    free(x);
    free(out);
    lti_dev_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(levels), cmocka_unit_test(shared_weights),
                                       cmocka_unit_test(prepared)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

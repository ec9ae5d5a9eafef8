/* SPDX-License-Identifier: Apache-2.0
 * tests/ops/test_cuda_conv.c - conv of the CUDA backend by way of cuDNN's graphs
 * (tests/shim/fake_cudnn.h), held against ref; refusals, errors. */
#include "tests/ops/dnn_rig.h"

typedef struct window {
    const char *name;
    int64_t t, h, w, ci, co, kt, kh, kw;
    int stride[3], top, bottom, left, right;
    bool bias, add, relu;
    lti_dtype x, compute, out;
} window;

#define B LTI_BF16
#define F LTI_F32
static const window windows[] = {
    {"causal", 4, 14, 17, 24, 14, 3, 3, 3, {1, 1, 1}, 1, 1, 1, 1, true, false, false, B, B, B},
    {"residual", 3, 24, 29, 16, 15, 3, 3, 3, {1, 1, 1}, 1, 1, 1, 1, true, true, false, B, B, B},
    {"tiny", 2, 20, 21, 40, 14, 1, 3, 3, {1, 1, 1}, 1, 1, 1, 1, true, true, true, B, B, B},
    {"no bias", 1, 30, 31, 40, 14, 1, 3, 3, {1, 1, 1}, 1, 1, 1, 1, false, false, true, B, B, B},
    {"bare", 1, 30, 33, 40, 14, 1, 3, 3, {1, 1, 1}, 1, 1, 1, 1, false, false, false, B, B, B},
    {"halve", 1, 61, 62, 40, 14, 1, 3, 3, {1, 2, 2}, 0, 1, 0, 1, true, false, false, B, B, B},
    {"halve, other side",
     2,
     44,
     42,
     40,
     56,
     1,
     3,
     3,
     {1, 2, 2},
     1,
     0,
     1,
     0,
     true,
     false,
     false,
     B,
     B,
     B},
    {"time", 3, 16, 17, 80, 83, 3, 1, 1, {1, 1, 1}, 0, 0, 0, 0, true, false, false, B, B, B},
    {"time, halved", 5,    16,    17, 80, 150, 3, 1, 1, {2, 1, 1}, 0, 0, 0, 0,
     true,           true, false, B,  B,  B},
    {"frames apart", 5,     16,    17, 80, 280, 1, 1, 1, {2, 1, 1}, 0, 0, 0, 0,
     true,           false, false, B,  B,  B},
    {"1x1", 1, 30, 30, 136, 38, 1, 1, 1, {1, 1, 1}, 0, 0, 0, 0, true, true, false, B, B, B},
    {"picture in", 1, 64, 65, 3, 38, 1, 3, 3, {1, 1, 1}, 1, 1, 1, 1, true, false, false, B, B, B},
    {"picture out", 2, 64, 65, 20, 3, 1, 3, 3, {1, 1, 1}, 1, 1, 1, 1, true, false, false, B, B, B},
    {"pads that differ",
     1,
     20,
     21,
     40,
     112,
     1,
     3,
     3,
     {1, 1, 1},
     2,
     0,
     3,
     1,
     true,
     false,
     false,
     B,
     B,
     B},
    {"f32 in", 1, 30, 31, 40, 14, 1, 3, 3, {1, 1, 1}, 1, 1, 1, 1, true, true, false, F, B, B},
    {"f32 out", 1, 30, 31, 40, 14, 1, 3, 3, {1, 1, 1}, 1, 1, 1, 1, true, true, false, B, B, F},
    {"f32", 4, 14, 17, 24, 14, 3, 3, 3, {1, 1, 1}, 1, 1, 1, 1, true, true, true, F, F, F},
    {"f32 of bf16", 1, 30, 31, 40, 14, 1, 3, 3, {1, 1, 1}, 1, 1, 1, 1, true, false, false, B, F, F},
};

typedef struct scene {
    lti_dev *d;
    lti_conv c;
    lti_packed *w;
} scene;

static scene place(lti_dev *d, const window *k) {
    scene s = {.d = d};
    lt_error err = {0};
    const int64_t to = (k->t - k->kt) / k->stride[0] + 1;
    const int64_t ho = (k->h + k->top + k->bottom - k->kh) / k->stride[1] + 1;
    const int64_t wo = (k->w + k->left + k->right - k->kw) / k->stride[2] + 1;
    const int64_t n = k->co * k->ci * k->kt * k->kh * k->kw;
    float *w = malloc((size_t)n * sizeof *w), *b = malloc((size_t)k->co * sizeof *b);
    lti_randn(w, n, 1, 0, 0);
    lti_randn(b, k->co, 2, 0, 0);
    for (int64_t i = 0; i < n; i++) w[i] /= sqrtf((float)(n / k->co));
    const lti_tensor wt = LTI_VIEW(w, F, k->co, k->ci, k->kt, k->kh, k->kw);
    const lti_tensor bt = LTI_VIEW(b, F, k->co);
    s.w = lti_pack_conv(d, &wt, k->bias ? &bt : NULL, k->compute, &err);
    if (!s.w) fail_msg("%s", err.msg);
    free(w);
    free(b);
    s.c = (lti_conv){.w = s.w,
                     .stride = {k->stride[0], k->stride[1], k->stride[2]},
                     .pad_top = k->top,
                     .pad_bottom = k->bottom,
                     .pad_left = k->left,
                     .pad_right = k->right,
                     .add = k->add,
                     .act = k->relu ? LTI_ACT_RELU : LTI_ACT_NONE};
    s.c.x = LTI_VIEW(filled(d, k->x, k->t * k->h * k->w * k->ci, 3, 1.0f), k->x, k->t, k->h, k->w,
                     k->ci);
    s.c.out = LTI_VIEW(filled(d, k->out, to * ho * wo * k->co, 4, 1.0f), k->out, to, ho, wo, k->co);
    return s;
}

static void take_away(scene *s) {
    s->d->ops.free(s->d, s->c.x.data);
    s->d->ops.free(s->d, s->c.out.data);
    lti_pack_free(s->d, &s->w);
}

static void prepare_conv(scene *s) {
    s->d->measuring = true;
    lti_conv_run(s->d, &s->c);
    s->d->measuring = false;
}

static void expect_ref_conv(const scene *s, const window *k) {
    lti_dev *ref = open_dev("ref");
    scene r = place(ref, k);
    lti_conv_run(ref, &r.c);
    const int64_t n = lti_numel(&r.c.out);
    float *got = fetched(s->d, s->c.out.data, k->out, n);
    float *want = fetched(ref, r.c.out.data, k->out, n);
    const bool exact = k->compute == F && k->out == F;
    expect_close(k->name, got, want, n, exact ? 1e-5f : 0.01f, exact ? 1e-5f : 0.02f);
    free(got);
    free(want);
    take_away(&r);
    lti_dev_close(&ref);
}

static void test_conv(void **state) {
    (void)state;
    for (int i = 0; i < N_OF(windows); i++) {
        const window *k = &windows[i];
        lti_dev *d = open_cuda(i % 2 ? 91900 : 90000);
        lti_fake_cudnn.workspace = i % 3 ? 0 : 3000;
        scene s = place(d, k);
        prepare_conv(&s);
        const size_t before = lti_shim_allocated();
        lti_conv_run(d, &s.c);
        expect_no_error(d);
        assert_int_equal(lti_shim_allocated(), before);
        if (lti_fake_cudnn.n_execute != 1 || lti_fake_cudnn.n_plan != 1)
            fail_msg("%s: %s", k->name, d->note);
        expect_ref_conv(&s, k);
        take_away(&s);
        close_cuda(d);
    }
}

/* Exact f32 keeps off tensor cores; bf16 does not mind. */
static void test_conv_exact(void **state) {
    (void)state;
    for (int note = 0; note < 2; note++)
        for (int i = 0; i < N_OF(windows); i++) {
            const window *k = &windows[i];
            if (strncmp(k->name, "f32", 3) != 0) continue;
            lti_dev *d = open_cuda(91900);
            lti_fake_cudnn.note = note; /* tensor cores; inputs cut down */
            scene s = place(d, k);
            lti_conv_run(d, &s.c);
            expect_no_error(d);
            assert_int_equal(lti_fake_cudnn.n_execute, 1);
            assert_int_equal(lti_fake_cudnn.engine, k->compute == F);
            take_away(&s);
            close_cuda(d);
        }
}

/* Our own kernel, for one reason or another. */
static void test_conv_not_taken(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        window k = windows[2];
        if (i == 0) k.ci = 8;
        if (i == 1) k.x = k.compute = F;
        lti_dev *d = open_cuda(91900);
        if (i == 2) lti_fake_cudnn.no_graph = true;
        scene s = place(d, &k);
        if (i == 3) { /* the same values two bytes further */
            float *old = fetched(d, s.c.out.data, k.out, lti_numel(&s.c.out));
            s.c.out.data = (char *)s.c.out.data + 2;
            void *host = malloc(lti_nbytes(&s.c.out));
            lti_from_f32(old, lti_numel(&s.c.out), k.out, host);
            lti_put(d, s.c.out.data, host, lti_nbytes(&s.c.out));
            free(old);
            free(host);
        }
        prepare_conv(&s);
        if (i == 4) lti_fake_cudnn.execute_status = 2007;
        lti_conv_run(d, &s.c);
        expect_no_error(d);
        assert_int_equal(lti_fake_cudnn.n_execute, 0);
        assert_int_equal(d->n_fallback, i >= 2);
        expect_ref_conv(&s, &k);
        if (i == 3) s.c.out.data = (char *)s.c.out.data - 2;
        take_away(&s);
        close_cuda(d);
    }
}

static void test_conv_errors(void **state) {
    (void)state;
    lti_dev *d = open_cuda(91900);
    scene s = place(d, &windows[2]);
    prepare_conv(&s);
    lti_fake_cudnn.execute_status = 5000;
    lti_conv_run(d, &s.c);
    expect_error(d, LT_EDEVICE, "conv: cuDNN: CUDNN_STATUS_EXECUTION_FAILED");
    take_away(&s);
    close_cuda(d);

    d = open_cuda(91900);
    s = place(d, &windows[14]); /* x is cast to scratch */
    lti_shim_fail_after(1, 0);
    prepare_conv(&s);
    expect_error(d, LT_ENOMEM, "scratch: out of memory");
    take_away(&s);
    close_cuda(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_conv_exact),
        cmocka_unit_test(test_conv_not_taken),
        cmocka_unit_test(test_conv_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/ops/test_cuda_linear.c - linear of the CUDA backend on the host: our kernel and the calls to
 * cuBLASLt (tests/shim/fake_cublaslt.h), held against ref; plans, errors. */
#include "backend/backend.h"
#include "base/error.h"
#include "base/rng.h"
#include "tests/shim/fake_cublaslt.h"
#include "tests/shim/shim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the four above */
#include <cmocka.h>
/* after cmocka */
#include "tests/ops/cuda_rig.h"

typedef struct shape {
    int64_t m, k, n;
} shape;

typedef struct variant {
    lti_dtype x, compute, out;
    bool bias;
    lti_act act;
} variant;

enum { N_VARIANTS = 64 };
static variant variant_of(int i) {
    return (variant){.x = i & 1 ? LTI_BF16 : LTI_F32,
                     .compute = i & 2 ? LTI_BF16 : LTI_F32,
                     .out = i & 4 ? LTI_BF16 : LTI_F32,
                     .bias = (i & 8) != 0,
                     .act = (lti_act)(i >> 4)};
}

static void *filled(lti_dtype dt, int64_t n, uint64_t seed, float scale) {
    float *f = malloc((size_t)n * sizeof *f);
    void *p = malloc((size_t)n * lti_dtype_size(dt));
    lti_randn(f, n, seed, 0, 0);
    for (int64_t i = 0; i < n; i++) f[i] *= scale;
    lti_from_f32(f, n, dt, p);
    free(f);
    return p;
}

static lti_dev *open_cuda(bool library) {
    lti_fake_remove_all();
    if (library) lti_fake_cublas_install("libcublasLt.so.13");
    return open_dev("cuda");
}

/* Of a device that has the last word on leaks. */
static void close_cuda(lti_dev *d) {
    lti_dev_close(&d);
    assert_int_equal(lti_shim_allocated(), 0);
    assert_int_equal(lti_fake_cublas.n_live, 0);
    lti_fake_remove_all();
}

/* -- one linear on a device ---------------------------------------------------------------------- */

typedef struct job {
    lti_dev *d;
    variant v;
    shape s;
    size_t offset; /* bytes that x and out are away from good alignment */
    lti_packed *w;
    char *x, *out; /* on the device */
} job;

static void *weights_of(const shape *s, lti_dtype dt) { return filled(dt, s->n * s->k, 2, 0.125f); }

/* Values that E4M3 has, with another power of two for every row, or for all, and the largest of each
 * 448 of them: turning them into E4M3 loses nothing. */
static void exact_f8(float *f, int64_t rows, int64_t k, bool per_row) {
    static const float value[] = {0.0f,  448.0f, -26.0f,  1.75f, 240.0f,
                                  -0.5f, 96.0f,  -448.0f, 15.0f};
    for (int64_t i = 0; i < rows * k; i++) {
        const int64_t row = i / k, e = i * i % 31 + 3 * row;
        f[i] = value[i % k == row % k ? 1 : e % 9] *
               (per_row ? 0x1p-9f * (float)(1 << row % 5) : 0x1p-7f);
    }
}

static bool rowwise; /* what scales are for, in tests of E4M3 */

static lti_packed *pack_f8(lti_dev *d, const variant *v, const shape *s) {
    lt_error err = {0};
    float *w = malloc((size_t)(s->n * s->k) * sizeof *w);
    void *b = filled(LTI_BF16, s->n, 3, 64.0f);
    exact_f8(w, s->n, s->k, rowwise);
    const lti_tensor wt = LTI_VIEW(w, LTI_F32, s->n, s->k), bt = LTI_VIEW(b, LTI_BF16, s->n);
    const bool cuda = strcmp(d->ops.name, "cuda") == 0;
    lti_packed *p =
        d->ops.pack_linear(d, &wt, v->bias ? &bt : NULL, cuda ? LTI_F8_E4M3 : LTI_BF16, &err);
    if (!p) fail_msg("%s", err.msg);
    assert_int_equal(p->dtype, LTI_BF16);
    free(w);
    free(b);
    return p;
}

/* compute F8_E4M3 is the backend's own: the wrapper does not know it. */
static lti_packed *pack(lti_dev *d, const variant *v, const shape *s, uint64_t bias_seed) {
    lt_error err = {0};
    if (v->compute == LTI_F8_E4M3) return pack_f8(d, v, s);
    void *w = weights_of(s, LTI_F32), *b = filled(LTI_F32, s->n, bias_seed, 1.0f);
    const lti_tensor wt = LTI_VIEW(w, LTI_F32, s->n, s->k), bt = LTI_VIEW(b, LTI_F32, s->n);
    lti_packed *p = lti_pack_linear(d, &wt, v->bias ? &bt : NULL, v->compute, &err);
    if (!p) fail_msg("%s", err.msg);
    free(w);
    free(b);
    return p;
}

static job start(lti_dev *d, variant v, shape s, size_t offset) {
    job j = {.d = d, .v = v, .s = s, .offset = offset, .w = pack(d, &v, &s, 3)};
    void *x = filled(v.x, s.m * s.k, 1, 1.0f);
    if (v.compute == LTI_F8_E4M3) {
        float *f = malloc((size_t)(s.m * s.k) * sizeof *f);
        exact_f8(f, s.m, s.k, rowwise);
        lti_from_f32(f, s.m * s.k, v.x, x);
        free(f);
    }
    j.x = d->ops.alloc(d, (size_t)(s.m * s.k) * lti_dtype_size(v.x) + offset);
    j.out = d->ops.alloc(d, (size_t)(s.m * s.n) * lti_dtype_size(v.out) + offset);
    lti_put(d, j.x + offset, x, (size_t)(s.m * s.k) * lti_dtype_size(v.x));
    free(x);
    return j;
}

static void issue(const job *j, bool measuring) {
    const lti_tensor x = LTI_VIEW(j->x + j->offset, j->v.x, j->s.m, j->s.k);
    const lti_tensor out = LTI_VIEW(j->out + j->offset, j->v.out, j->s.m, j->s.n);
    j->d->measuring = measuring;
    lti_linear(j->d, x, j->w, j->v.act, out);
    j->d->measuring = false;
}

/* What it gave, as f32; owned by the caller. */
static float *result(const job *j) {
    const int64_t n = j->s.m * j->s.n;
    void *host = malloc((size_t)n * lti_dtype_size(j->v.out));
    float *f = malloc((size_t)n * sizeof *f);
    lti_get(j->d, host, j->out + j->offset, (size_t)n * lti_dtype_size(j->v.out));
    const lti_tensor t = LTI_VIEW(host, j->v.out, n);
    lti_to_f32(&t, f);
    free(host);
    return f;
}

static void finish(job *j) {
    lti_pack_free(j->d, &j->w);
    j->d->ops.free(j->d, j->x);
    j->d->ops.free(j->d, j->out);
}

/* The same job on ref. */
static float *wanted(lti_dev *ref, const job *j) {
    job r = start(ref, j->v, j->s, 0);
    issue(&r, false);
    float *f = result(&r);
    finish(&r);
    return f;
}

static void expect_ref(lti_dev *ref, const job *j) {
    float *got = result(j), *want = wanted(ref, j);
    const int64_t n = j->s.m * j->s.n;
    const lti_diff e = lti_compare_f32(got, want, n);
    /* as tests/ops/checkops.h; one element that rounds the other way is all of a small output */
    double bound = j->v.compute != LTI_F32 ? 2e-5 : j->v.out == LTI_BF16 ? 1e-6 : 1e-12;
    if (j->v.out == LTI_BF16 && n < 256) bound = 0x1p-14;
    if (!(e.nmse <= bound))
        fail_msg("%lldx%lld->%lld x %d compute %d out %d bias %d act %d: nmse %g, bound %g",
                 (long long)j->s.m, (long long)j->s.k, (long long)j->s.n, j->v.x, j->v.compute,
                 j->v.out, j->v.bias, j->v.act, e.nmse, bound);
    free(got);
    free(want);
}

/* All variants of these shapes, prepared; the library must have done n_library of the calls. */
static void all_variants(lti_dev *d, const shape *s, int n_shape, size_t offset, int n_library) {
    lti_dev *ref = open_dev("ref");
    const int before = lti_fake_cublas.n_matmul;
    for (int i = 0; i < n_shape * N_VARIANTS; i++) {
        job j = start(d, variant_of(i % N_VARIANTS), s[i / N_VARIANTS], offset);
        issue(&j, true);
        issue(&j, false);
        expect_no_error(d);
        expect_ref(ref, &j);
        finish(&j);
    }
    assert_int_equal(lti_fake_cublas.n_matmul - before, n_library);
    lti_dev_close(&ref);
}

/* -- values -------------------------------------------------------------------------------------- */

static const shape odd[] = {{1, 1, 1}, {5, 33, 7}, {66, 65, 67}};
static const shape even[] = {{1, 8, 8}, {3, 64, 24}, {33, 136, 40}, {20, 256, 96}};
#define N_OF(a) (int)(sizeof(a) / sizeof *(a))

static void test_own_kernel(void **state) {
    (void)state;
    lti_dev *d = open_cuda(false);
    all_variants(d, odd, N_OF(odd), 0, 0);
    close_cuda(d);
}

static void test_library(void **state) {
    (void)state;
    lti_dev *d = open_cuda(true);
    all_variants(d, even, N_OF(even), 0, N_OF(even) * N_VARIANTS);
    all_variants(d, even, 2, 16, 2 * N_VARIANTS); /* all the alignment that it asks for */
    close_cuda(d);
}

/* Rows that are no multiples of 16 bytes, and pointers that are not aligned, are for our kernel. */
static void test_library_unaligned(void **state) {
    (void)state;
    lti_dev *d = open_cuda(true);
    all_variants(d, odd, 2, 0, 0);
    all_variants(d, even, 2, 4, 0);
    /* 12 outputs: rows of 24 bytes in bf16, of 48 in f32, so by way of an f32 result. */
    job j = start(d, (variant){LTI_BF16, LTI_BF16, LTI_BF16, true, LTI_ACT_NONE},
                  (shape){9, 64, 12}, 0);
    lti_dev *ref = open_dev("ref");
    issue(&j, false);
    expect_no_error(d);
    expect_ref(ref, &j);
    assert_int_equal(lti_fake_cublas.n_matmul, 1);
    finish(&j);
    lti_dev_close(&ref);
    close_cuda(d);
}

/* A library without some epilogues, and one without any algorithm. */
static void test_library_epilogues(void **state) {
    (void)state;
    enum { GELU = 32, RELU = 2, BIAS = 4 };
    lti_dev *d = open_cuda(true);
    lti_fake_cublas.no_epilogue = GELU | RELU;
    all_variants(d, even + 1, 1, 0, N_VARIANTS);
    close_cuda(d);
    d = open_cuda(true);
    lti_fake_cublas.no_epilogue = BIAS;
    all_variants(d, even + 1, 1, 0, N_VARIANTS / 2);
    close_cuda(d);
    d = open_cuda(true);
    lti_fake_cublas.no_epilogue = ~0u;
    all_variants(d, even + 1, 1, 0, 0);
    close_cuda(d);
}

/* Weights of every stored dtype, at an odd address, of more elements than one piece. */
static void test_stored_dtypes(void **state) {
    (void)state;
    static const lti_dtype stored[] = {LTI_F32, LTI_BF16, LTI_F16, LTI_F8_E4M3, LTI_F8_E5M2};
    lti_dev *d = open_cuda(false), *ref = open_dev("ref");
    for (int i = 0; i < 2 * N_OF(stored); i++) {
        const lti_dtype dt = stored[i / 2];
        const shape s = dt == LTI_F16 ? (shape){1, 1049, 1000} : (shape){3, 70, 90};
        const size_t bytes = (size_t)(s.n * s.k) * lti_dtype_size(dt);
        char *w = malloc(bytes + 1);
        for (size_t b = 0; b < bytes; b++) w[1 + b] = (char)(b * 37 % 59); /* all finite */
        const lti_tensor wt = LTI_VIEW(w + 1, dt, s.n, s.k);
        job j = start(d, variant_of(2 * (i % 2)), s, 0), r = start(ref, j.v, s, 0);
        lt_error err = {0};
        job *both[] = {&j, &r};
        for (int k = 0; k < 2; k++) {
            lti_pack_free(both[k]->d, &both[k]->w);
            both[k]->w = lti_pack_linear(both[k]->d, &wt, NULL, j.v.compute, &err);
            assert_non_null(both[k]->w);
            issue(both[k], false);
        }
        float *got = result(&j), *want = result(&r);
        const lti_diff e = lti_compare_f32(got, want, s.m * s.n);
        if (!(e.nmse <= 1e-10)) fail_msg("stored %s: nmse %g", lti_dtype_name(dt), e.nmse);
        free(got);
        free(want);
        finish(&j);
        finish(&r);
        free(w);
    }
    lti_dev_close(&ref);
    close_cuda(d);
}

/* -- 8-bit floats ---------------------------------------------------------------------------------- */

static const shape f8_shapes[] = {{1, 16, 16}, {7, 48, 32}, {3, 2064, 16}};

static void f8_variants(lti_dev *d, int n_shape, size_t offset, int n_library) {
    lti_dev *ref = open_dev("ref");
    const int before = lti_fake_cublas.n_matmul;
    for (int i = 0; i < n_shape * N_VARIANTS; i++) {
        variant v = variant_of(i % N_VARIANTS);
        if (v.compute == LTI_F32) continue;
        v.compute = LTI_F8_E4M3;
        job j = start(d, v, f8_shapes[i / N_VARIANTS], offset);
        issue(&j, true);
        lti_shim_fail_after(1, 0); /* no allocation after prepare */
        issue(&j, false);
        lti_shim_fail_after(0, 0);
        expect_no_error(d);
        expect_ref(ref, &j);
        finish(&j);
    }
    assert_int_equal(lti_fake_cublas.n_matmul - before, n_library);
    lti_dev_close(&ref);
}

/* Inputs that E4M3 holds exactly give what bf16 gives: by the library with scales per row, with one
 * scale, and by our kernel from the same weights. */
static void test_f8_exact(void **state) {
    (void)state;
    for (int rows = 0; rows < 2; rows++) {
        rowwise = rows;
        lti_fake_remove_all();
        lti_fake_cublas_install("libcublasLt.so.12");
        lti_fake_cublas.version = rows ? 120900 : 120805;
        lti_dev *d = open_dev("cuda");
        f8_variants(d, N_OF(f8_shapes), 0, N_OF(f8_shapes) * N_VARIANTS / 2);
        f8_variants(d, 2, 4, 0); /* not aligned: by our kernel */
        close_cuda(d);
    }
}

/* On anything else: within what three bits of mantissa allow, and no better. A row of zeros is not
 * divided by. */
static void test_f8_rounding(void **state) {
    (void)state;
    const shape s = {24, 256, 48};
    lti_dev *d = open_cuda(true), *ref = open_dev("ref");
    float *w = weights_of(&s, LTI_F32), *x = filled(LTI_F32, s.m * s.k, 1, 1.0f);
    memset(x + 5 * s.k, 0, (size_t)s.k * sizeof *x);
    memset(w + 7 * s.k, 0, (size_t)s.k * sizeof *w);
    const lti_tensor wt = LTI_VIEW(w, LTI_F32, s.n, s.k);
    const variant v = {LTI_F32, LTI_F32, LTI_F32, false, LTI_ACT_NONE};
    job j = start(d, v, s, 0), r = start(ref, v, s, 0);
    lt_error err = {0};
    lti_pack_free(d, &j.w);
    lti_pack_free(ref, &r.w);
    j.w = d->ops.pack_linear(d, &wt, NULL, LTI_F8_E4M3, &err);
    r.w = ref->ops.pack_linear(ref, &wt, NULL, LTI_F32, &err);
    lti_put(d, j.x, x, (size_t)(s.m * s.k) * sizeof *x);
    lti_put(ref, r.x, x, (size_t)(s.m * s.k) * sizeof *x);
    issue(&j, false);
    issue(&r, false);
    expect_no_error(d);
    assert_int_equal(lti_fake_cublas.n_matmul, 1);
    float *got = result(&j), *want = result(&r);
    const lti_diff e = lti_compare_f32(got, want, s.m * s.n);
    if (!(e.nmse > 2e-4 && e.nmse < 3e-3)) fail_msg("nmse %g", e.nmse);
    for (int64_t i = 0; i < s.n; i++) assert_true(got[5 * s.n + i] == 0);
    for (int64_t i = 0; i < s.m; i++) assert_true(got[i * s.n + 7] == 0);
    free(got);
    free(want);
    free(w);
    free(x);
    finish(&j);
    finish(&r);
    lti_dev_close(&ref);
    close_cuda(d);
}

/* Where 8-bit floats cannot be had, the weight is a bf16 one: no library, or no multiples of 16. */
static void test_f8_refused(void **state) {
    (void)state;
    rowwise = true;
    for (int library = 0; library < 2; library++) {
        lti_dev *d = open_cuda(library), *ref = open_dev("ref");
        job j = start(d, (variant){LTI_BF16, LTI_F8_E4M3, LTI_F32, true, LTI_ACT_NONE},
                      library ? (shape){3, 32, 24} : (shape){3, 32, 32}, 0);
        assert_true(j.w->bytes > (size_t)(j.s.n * j.s.k) * 2);
        issue(&j, false);
        expect_no_error(d);
        expect_ref(ref, &j);
        finish(&j);
        lti_dev_close(&ref);
        close_cuda(d);
    }
}

/* -- plans --------------------------------------------------------------------------------------- */

/* After prepare: no allocation (one would fail), no new plan; two weights of one shape share it, each
 * with its own bias; another dev reads the same weights. */
static void test_prepared(void **state) {
    (void)state;
    lti_dev *d = open_cuda(true), *ref = open_dev("ref"), *other = open_dev("cuda");
    const variant v = {LTI_F32, LTI_BF16, LTI_BF16, true, LTI_ACT_SILU};
    job j = start(d, v, even[2], 0);
    issue(&j, true);
    const int plans = lti_fake_cublas.n_heuristic;
    const size_t bytes = lti_shim_allocated();
    lti_shim_fail_after(1, 0);
    for (int i = 0; i < 2; i++) issue(&j, false);
    lti_shim_fail_after(0, 0);
    expect_no_error(d);
    expect_ref(ref, &j);
    assert_int_equal(lti_fake_cublas.n_heuristic, plans);
    assert_int_equal(lti_shim_allocated(), bytes);

    lti_packed *first = j.w;
    float *a = result(&j);
    j.w = pack(d, &v, &j.s, 99);
    issue(&j, false);
    float *b = result(&j);
    assert_int_equal(lti_fake_cublas.n_heuristic, plans);
    assert_true(memcmp(a, b, (size_t)(j.s.m * j.s.n) * sizeof *a) != 0);
    free(a);
    free(b);
    lti_pack_free(d, &j.w);
    j.w = first;
    job k = j;
    k.d = other;
    issue(&k, false);
    expect_no_error(other);
    expect_ref(ref, &k);
    finish(&j);
    lti_dev_close(&other);
    lti_dev_close(&ref);
    close_cuda(d);
}

static void test_many_plans(void **state) {
    (void)state;
    lti_dev *d = open_cuda(true);
    const variant v = {LTI_F32, LTI_F32, LTI_F32, false, LTI_ACT_NONE};
    for (int round = 0; round < 2; round++)
        for (int64_t m = 1; m <= 70; m++) {
            job j = start(d, v, (shape){m, 4, 4}, 0);
            issue(&j, true);
            finish(&j);
        }
    expect_no_error(d);
    assert_int_equal(lti_fake_cublas.n_heuristic, 70);
    close_cuda(d);
}

/* -- errors -------------------------------------------------------------------------------------- */

static void test_library_errors(void **state) {
    (void)state;
    const variant v = {LTI_BF16, LTI_BF16, LTI_BF16, true, LTI_ACT_NONE};
    lti_dev *d = open_cuda(true);
    lti_fake_cublas.heuristic_status = 14;
    job j = start(d, v, even[3], 0);
    issue(&j, true);
    expect_error(d, LT_EDEVICE, "linear: no plan for 20x256 -> 96: ");
    lti_fake_cublas.heuristic_status = 0;
    issue(&j, false); /* later ops do nothing */
    assert_int_equal(lti_fake_cublas.n_matmul, 0);
    finish(&j);
    close_cuda(d);

    d = open_cuda(true);
    j = start(d, v, even[3], 0);
    lti_fake_cublas.matmul_fails = 2;
    issue(&j, false);
    expect_no_error(d);
    issue(&j, false);
    expect_error(d, LT_EDEVICE,
                 "linear: cublasLtMatmul for 20x256 -> 96: CUBLAS_STATUS_EXECUTION_FAILED");
    issue(&j, false);
    assert_int_equal(lti_fake_cublas.n_matmul, 2);
    finish(&j);
    close_cuda(d);
}

/* The n-th allocation of a prepare, or launch of an op, fails. */
static void test_device_errors(void **state) {
    (void)state;
    const variant v = {LTI_F32, LTI_BF16, LTI_BF16, true, LTI_ACT_SILU};
    for (int n = 1; n <= 2; n++) { /* workspace, scratch */
        lti_dev *d = open_cuda(true);
        job j = start(d, v, even[3], 0);
        lti_shim_fail_after(n, 0);
        issue(&j, true);
        lti_shim_fail_after(0, 0);
        expect_error(d, LT_ENOMEM, n == 1 ? "linear: " : "scratch: ");
        issue(&j, false);
        assert_int_equal(lti_fake_cublas.n_matmul, 0);
        finish(&j);
        close_cuda(d);
    }
    for (int library = 0; library < 2; library++)
        for (int n = 1; n <= 1 + library; n++) { /* own: one; library: cast, SiLU */
            lti_dev *d = open_cuda(library);
            job j = start(d, v, even[3], 0);
            issue(&j, true);
            lti_shim_fail_after(0, n);
            issue(&j, false);
            lti_shim_fail_after(0, 0);
            expect_error(d, LT_EDEVICE, "linear: unspecified launch failure");
            finish(&j);
            close_cuda(d);
        }
}

/* A weight that there is no room for is an error of pack alone. */
static void test_pack_errors(void **state) {
    (void)state;
    lti_dev *d = open_cuda(false);
    void *w = weights_of(&even[2], LTI_F32), *b = filled(LTI_F32, even[2].n, 5, 1.0f);
    const lti_tensor wt = LTI_VIEW(w, LTI_F32, even[2].n, even[2].k),
                     bt = LTI_VIEW(b, LTI_F32, even[2].n);
    for (int n = 1; n <= 3; n++) { /* weight, bias, bf16 bias */
        lt_error err = {0};
        lti_shim_fail_after(n, 0);
        assert_null(lti_pack_linear(d, &wt, &bt, LTI_BF16, &err));
        lti_shim_fail_after(0, 0);
        assert_int_equal(err.code, LT_ENOMEM);
        assert_non_null(strstr(err.msg, "no device memory for a weight"));
        assert_int_equal(lti_shim_allocated(), 0);
    }
    expect_no_error(d);
    free(w);
    free(b);
    close_cuda(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_kernel),        cmocka_unit_test(test_library),
        cmocka_unit_test(test_library_unaligned), cmocka_unit_test(test_library_epilogues),
        cmocka_unit_test(test_stored_dtypes),     cmocka_unit_test(test_f8_exact),
        cmocka_unit_test(test_f8_rounding),       cmocka_unit_test(test_f8_refused),
        cmocka_unit_test(test_prepared),          cmocka_unit_test(test_many_plans),
        cmocka_unit_test(test_library_errors),    cmocka_unit_test(test_device_errors),
        cmocka_unit_test(test_pack_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/ops/cases_rows.c - norms, rope, modulation, elementwise ops. */
#include "checkops.h"
#include <stdio.h>

/* Rows and channels of the first cases; afterwards random. */
static const struct {
    int64_t m, d;
} edge[] = {
    {1, 1}, {1, 3}, {3, 16}, {2, 17}, {5, 63}, {7, 64}, {4, 65}, {9, 100}, {3, 384}, {2, 1536},
};
enum { N_EDGE = (int)(sizeof edge / sizeof *edge) };

/* Common part of all row ops: x [M,D], y for two-operand ops, the modulation. k->n holds these. */
enum { P_M, P_D, P_ROWS, P_STRIDE, P_FLAG, P_HEADS, P_ACT, P_INPLACE };

static void shape(ck_rng *r, int i, ck_case *k) {
    k->n[P_M] = i < N_EDGE ? edge[i].m : ck_range(r, 1, 70);
    k->n[P_D] = i < N_EDGE ? edge[i].d : ck_range(r, 1, 400);
    k->n[P_FLAG] = i % 2;
    k->f[0] = 1e-6f;
}

static void bench_shape(int i, ck_case *k) { /* model in the box, then Wan 1.3B */
    k->n[P_M] = i == 0 ? 180 : 1560;
    k->n[P_D] = i == 0 ? 384 : 1536;
    k->f[0] = 1e-6f;
}

/* Mostly 1, sometimes extreme: norms must not lose digits, activations must not overflow. */
static float magnitude(ck_rng *r) {
    static const float choice[] = {1, 1, 1, 30, 1e4f, 1e-3f};
    return choice[ck_range(r, 0, 5)];
}

static void describe(ck_case *k, const char *extra) {
    snprintf(k->desc, sizeof k->desc, "%lldx%lld %s->%s%s", (long long)k->n[P_M],
             (long long)k->n[P_D], ck_dt(k->buf[0].t.dtype), ck_dt(k->buf[1].t.dtype), extra);
    for (int i = 0; i < k->n_buf; i++) k->bytes += (double)lti_nbytes(&k->buf[i].t);
}

/* buffer 0: x, buffer 1: out */
static void x_and_out(ck_rng *r, ck_case *k, lti_dtype xt, lti_dtype ot, float scale, float offset,
                      double bound) {
    const int x = CK_BUF(k, CK_IN, xt, k->n[P_M], k->n[P_D]);
    const int out = CK_BUF(k, CK_OUT, ot, k->n[P_M], k->n[P_D]);
    ck_fill(k, x, r, scale, offset);
    k->buf[out].bound = ck_bound(bound, CK_BF16_ROW, ot);
}

static int vec(ck_rng *r, ck_case *k, int64_t n, float scale, float offset) {
    const int b = CK_BUF(k, CK_IN, LTI_F32, n);
    ck_fill(k, b, r, scale, offset);
    return b;
}

/* -- norm_mod: buffers 2, 3 are shift and scale inside one [F, stride] block ------------------- */

static void call_norm_mod(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    const float *mod = p[2];
    lti_norm_mod(d, ck_on(k, p, 0), mod, mod + k->n[P_D], k->n[P_STRIDE], k->n[P_ROWS], k->f[0],
                 ck_on(k, p, 1));
}

static void fill_norm_mod(ck_rng *r, ck_case *k, lti_dtype ot) {
    const float scale = magnitude(r);
    x_and_out(r, k, LTI_F32, ot, scale, ck_coin(r) ? 0.0f : 3.0f * scale, 2e-12);
    const int64_t frames = (k->n[P_M] + k->n[P_ROWS] - 1) / k->n[P_ROWS];
    k->n[P_STRIDE] =
        ck_coin(r) ? 6 * k->n[P_D] : 2 * k->n[P_D]; /* six vectors per frame in a block */
    vec(r, k, (frames - 1) * k->n[P_STRIDE] + 2 * k->n[P_D], 1.0f, 0.0f);
    k->call = call_norm_mod;
    describe(k, "");
}

static void norm_mod_case(ck_rng *r, int i, ck_case *k) {
    shape(r, i, k);
    k->n[P_ROWS] = ck_range(r, 1, k->n[P_M]);
    fill_norm_mod(r, k, i % 2 ? LTI_BF16 : LTI_F32);
}

static void norm_mod_bench(ck_rng *r, int i, ck_case *k) {
    bench_shape(i, k);
    k->n[P_ROWS] = k->n[P_M];
    fill_norm_mod(r, k, LTI_BF16);
}

/* -- layer_norm, rms_norm, chan_norm: buffer 2 weight, 3 bias ---------------------------------- */

static void call_layer_norm(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_layer_norm(d, ck_on(k, p, 0), p[2], p[3], k->f[0], ck_on(k, p, 1));
}

static void fill_layer_norm(ck_rng *r, ck_case *k, lti_dtype ot) {
    const float scale = magnitude(r);
    x_and_out(r, k, LTI_F32, ot, scale, ck_coin(r) ? 0.0f : 3.0f * scale, 2e-12);
    vec(r, k, k->n[P_D], 0.3f, 1.0f);
    vec(r, k, k->n[P_D], 0.3f, 0.0f);
    k->call = call_layer_norm;
    describe(k, "");
}

static void layer_norm_case(ck_rng *r, int i, ck_case *k) {
    shape(r, i, k);
    fill_layer_norm(r, k, i % 2 ? LTI_BF16 : LTI_F32);
}

static void layer_norm_bench(ck_rng *r, int i, ck_case *k) {
    bench_shape(i, k);
    fill_layer_norm(r, k, LTI_BF16);
}

/* In place: buffer 1 is in and out. */
static lti_tensor src(const ck_case *k, void *const *p) {
    return k->n[P_INPLACE] ? ck_on(k, p, 1) : ck_on(k, p, 0);
}

static void make_in_place(ck_rng *r, ck_case *k, float scale) {
    k->n[P_INPLACE] = 1;
    k->buf[1].role = CK_INOUT;
    ck_fill(k, 1, r, scale, 0.0f);
}

static void call_rms_norm(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_rms_norm(d, src(k, p), p[2], k->f[0], ck_on(k, p, 1));
}

static void fill_rms_norm(ck_rng *r, ck_case *k, lti_dtype xt, lti_dtype ot, bool in_place) {
    const float scale = magnitude(r);
    x_and_out(r, k, xt, ot, scale, 0.0f, 1e-13);
    if (in_place) make_in_place(r, k, scale);
    vec(r, k, k->n[P_D], 0.3f, 1.0f);
    k->call = call_rms_norm;
    describe(k, in_place ? " in place" : "");
}

static void rms_norm_case(ck_rng *r, int i, ck_case *k) {
    shape(r, i, k);
    const lti_dtype xt = ck_act_dtype(r), ot = ck_act_dtype(r);
    fill_rms_norm(r, k, xt, ot, i % 3 == 0);
}

static void rms_norm_bench(ck_rng *r, int i, ck_case *k) {
    bench_shape(i, k);
    fill_rms_norm(r, k, LTI_BF16, LTI_BF16, false);
}

static void call_chan_norm(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_chan_norm(d, ck_on(k, p, 0), p[2], k->n[P_FLAG] != 0, ck_on(k, p, 1));
}

static void fill_chan_norm(ck_rng *r, ck_case *k, lti_dtype xt, lti_dtype ot, float scale) {
    x_and_out(r, k, xt, ot, scale, 0.0f, 1e-12);
    vec(r, k, k->n[P_D], 0.3f, 1.0f);
    k->call = call_chan_norm;
    describe(k, k->n[P_FLAG] ? " silu" : "");
}

static void chan_norm_case(ck_rng *r, int i, ck_case *k) {
    shape(r, i, k);
    const lti_dtype xt = ck_act_dtype(r), ot = ck_act_dtype(r);
    fill_chan_norm(r, k, xt, ot, i == 3 ? 0.0f : magnitude(r)); /* a black position: |x| = 0 */
}

static void chan_norm_bench(ck_rng *r, int i, ck_case *k) {
    k->n[P_M] = i == 0 ? 96 * 160 : 60 * 104;
    k->n[P_D] = i == 0 ? 24 : 384;
    k->n[P_FLAG] = 1;
    fill_chan_norm(r, k, LTI_BF16, LTI_BF16, 1.0f);
}

/* -- rope and norm_rope: buffer 2 table, 3 weight ---------------------------------------------- */

static void angles(ck_rng *r, ck_case *k, int64_t m, int64_t hd) {
    const int t = CK_BUF(k, CK_IN, LTI_F32, m, hd / 2, 2);
    float *v = k->buf[t].t.data;
    for (int64_t i = 0; i < m * (hd / 2); i++) { /* rational points of the unit circle */
        const float u = (float)ck_range(r, -1000, 1000) / 500.0f;
        v[2 * i] = (1 - u * u) / (1 + u * u);
        v[2 * i + 1] = 2 * u / (1 + u * u);
    }
}

static void call_rope(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_tensor x = src(k, p), out = ck_on(k, p, 1);
    const int64_t n[3] = {k->n[P_M], k->n[P_HEADS], k->n[P_D]};
    x = lti_view(x.data, x.dtype, 3, n);
    lti_rope(d, x, k->n[P_STRIDE], p[2], out);
}

static void fill_rope(ck_rng *r, ck_case *k, lti_dtype xt, lti_dtype ot, int64_t extra,
                      bool in_place) {
    const int64_t m = k->n[P_M], heads = k->n[P_HEADS], hd = k->n[P_D];
    k->n[P_STRIDE] = heads * hd + (in_place ? 0 : extra);
    const int x = CK_BUF(k, CK_IN, xt, (m - 1) * k->n[P_STRIDE] + heads * hd);
    const int out = CK_BUF(k, CK_OUT, in_place ? xt : ot, m, heads, hd);
    ck_fill(k, x, r, 1.0f, 0.0f);
    if (in_place) make_in_place(r, k, 1.0f);
    angles(r, k, m, hd);
    k->buf[out].bound = ck_bound(1e-13, CK_BF16_ROW, k->buf[out].t.dtype);
    k->call = call_rope;
    describe(k, "");
    snprintf(k->desc, sizeof k->desc, "%lldx%lldx%lld %s->%s stride +%lld%s", (long long)m,
             (long long)heads, (long long)hd, ck_dt(xt), ck_dt(k->buf[out].t.dtype),
             (long long)(k->n[P_STRIDE] - heads * hd), in_place ? " in place" : "");
}

static const int64_t head_dims[] = {2, 20, 22, 32, 34, 48, 64, 80, 96, 128};

static void rope_case(ck_rng *r, int i, ck_case *k) {
    k->n[P_M] = i == 0 ? 1 : ck_range(r, 1, 60);
    k->n[P_HEADS] = ck_range(r, 1, 6);
    k->n[P_D] = head_dims[i < 10 ? i : ck_range(r, 0, 9)];
    const lti_dtype xt = ck_act_dtype(r), ot = ck_act_dtype(r);
    fill_rope(r, k, xt, ot, i % 2 ? ck_range(r, 1, 400) : 0, i % 3 == 0);
}

static void rope_bench(ck_rng *r, int i, ck_case *k) {
    k->n[P_M] = i == 0 ? 180 : 1560;
    k->n[P_HEADS] = i == 0 ? 6 : 12;
    k->n[P_D] = i == 0 ? 64 : 128;
    fill_rope(r, k, LTI_BF16, LTI_BF16, 0, false);
}

static void call_norm_rope(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_norm_rope(d, ck_on(k, p, 0), p[3], k->f[0], k->n[P_FLAG] ? p[2] : NULL, ck_on(k, p, 1));
}

static void fill_norm_rope(ck_rng *r, ck_case *k, lti_dtype xt, lti_dtype ot) {
    const int64_t m = k->n[P_M], heads = k->n[P_HEADS], hd = k->n[P_D];
    const int x = CK_BUF(k, CK_IN, xt, m, heads * hd);
    const int out = CK_BUF(k, CK_OUT, ot, m, heads, hd);
    ck_fill(k, x, r, magnitude(r), 0.0f);
    angles(r, k, m, hd);
    vec(r, k, heads * hd, 0.3f, 1.0f);
    k->buf[out].bound = ck_bound(1e-13, CK_BF16_ROW, ot);
    k->f[0] = 1e-6f;
    k->call = call_norm_rope;
    describe(k, "");
    snprintf(k->desc, sizeof k->desc, "%lldx%lldx%lld %s->%s%s", (long long)m, (long long)heads,
             (long long)hd, ck_dt(xt), ck_dt(ot), k->n[P_FLAG] ? "" : " norm only");
}

static void norm_rope_case(ck_rng *r, int i, ck_case *k) {
    k->n[P_M] = i == 0 ? 1 : ck_range(r, 1, 60);
    k->n[P_HEADS] = ck_range(r, 1, 6);
    k->n[P_D] = head_dims[i < 10 ? i : ck_range(r, 0, 9)];
    k->n[P_FLAG] = i % 4 != 3;
    const lti_dtype xt = ck_act_dtype(r), ot = ck_act_dtype(r);
    fill_norm_rope(r, k, xt, ot);
}

static void norm_rope_bench(ck_rng *r, int i, ck_case *k) {
    k->n[P_M] = i == 0 ? 180 : 1560;
    k->n[P_HEADS] = i == 0 ? 6 : 12;
    k->n[P_D] = i == 0 ? 64 : 128;
    k->n[P_FLAG] = 1;
    fill_norm_rope(r, k, LTI_BF16, LTI_BF16);
}

/* -- gated_add: buffer 0 y, 1 io, 2 gate --------------------------------------------------------
 */

static void call_gated_add(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_gated_add(d, ck_on(k, p, 1), ck_on(k, p, 0), k->n[P_FLAG] ? p[2] : NULL, k->n[P_STRIDE],
                  k->n[P_ROWS]);
}

static void fill_gated_add(ck_rng *r, ck_case *k, lti_dtype yt) {
    x_and_out(r, k, yt, LTI_F32, 1.0f, 0.0f, 1e-13);
    make_in_place(r, k, 1.0f);
    const int64_t frames = (k->n[P_M] + k->n[P_ROWS] - 1) / k->n[P_ROWS];
    k->n[P_STRIDE] = 6 * k->n[P_D];
    vec(r, k, (frames - 1) * k->n[P_STRIDE] + k->n[P_D], 1.0f, 0.0f);
    k->call = call_gated_add;
    describe(k, k->n[P_FLAG] ? " gate" : "");
}

static void gated_add_case(ck_rng *r, int i, ck_case *k) {
    shape(r, i, k);
    k->n[P_FLAG] = i % 4 != 0;
    k->n[P_ROWS] = ck_range(r, 1, k->n[P_M]);
    fill_gated_add(r, k, ck_act_dtype(r));
}

static void gated_add_bench(ck_rng *r, int i, ck_case *k) {
    bench_shape(i, k);
    k->n[P_FLAG] = 1;
    k->n[P_ROWS] = k->n[P_M];
    fill_gated_add(r, k, LTI_BF16);
}

/* -- unary, add, mul, cast -----------------------------------------------------------------------
 */

static void call_unary(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_unary(d, (lti_act)k->n[P_ACT], src(k, p), ck_on(k, p, 1));
}

static void fill_unary(ck_rng *r, ck_case *k, lti_dtype xt, lti_dtype ot, bool in_place) {
    const float scale = k->n[P_FLAG] ? 20.0f : 1.0f; /* 20: both tails of the activations */
    x_and_out(r, k, xt, ot, scale, 0.0f, 1e-12);
    if (in_place) make_in_place(r, k, scale);
    k->call = call_unary;
    static const char *const act[] = {" none", " silu", " gelu", " relu"};
    describe(k, act[k->n[P_ACT]]);
}

static void unary_case(ck_rng *r, int i, ck_case *k) {
    shape(r, i, k);
    k->n[P_ACT] = ck_range(r, 0, 3);
    const lti_dtype xt = ck_act_dtype(r), ot = ck_act_dtype(r);
    fill_unary(r, k, xt, i % 3 ? ot : xt, i % 3 == 0);
}

static void unary_bench(ck_rng *r, int i, ck_case *k) {
    bench_shape(i, k);
    k->n[P_ACT] = LTI_ACT_SILU;
    fill_unary(r, k, LTI_BF16, LTI_BF16, false);
}

static void call_add(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_add(d, src(k, p), ck_on(k, p, 2), ck_on(k, p, 1));
}

static void call_mul(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_mul(d, src(k, p), ck_on(k, p, 2), ck_on(k, p, 1));
}

static void two_operands(ck_rng *r, int i, ck_case *k) {
    shape(r, i, k);
    const lti_dtype xt = ck_act_dtype(r), ot = ck_act_dtype(r), yt = ck_act_dtype(r);
    const bool in_place = i % 3 == 0;
    x_and_out(r, k, xt, in_place ? xt : ot, 1.0f, 0.0f, 1e-14);
    if (in_place) make_in_place(r, k, 1.0f);
    ck_fill(k, CK_BUF(k, CK_IN, yt, k->n[P_M], k->n[P_D]), r, 1.0f, 0.0f);
    describe(k, in_place ? " in place" : "");
}

static void add_case(ck_rng *r, int i, ck_case *k) {
    two_operands(r, i, k);
    k->call = call_add;
}

static void mul_case(ck_rng *r, int i, ck_case *k) {
    two_operands(r, i, k);
    k->call = call_mul;
}

static void call_cast(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_cast(d, ck_on(k, p, 0), ck_on(k, p, 1));
}

static void cast_case(ck_rng *r, int i, ck_case *k) {
    shape(r, i, k);
    const lti_dtype xt = ck_act_dtype(r), ot = ck_act_dtype(r);
    x_and_out(r, k, xt, ot, magnitude(r), 0.0f, 0.0);
    k->buf[1].bound = 0.0; /* rounding to nearest even has one answer */
    k->call = call_cast;
    describe(k, "");
}

const ck_op ck_row_ops[] = {
    {"norm_mod", N_EDGE, norm_mod_case, 2, norm_mod_bench},
    {"layer_norm", N_EDGE, layer_norm_case, 2, layer_norm_bench},
    {"rms_norm", N_EDGE, rms_norm_case, 2, rms_norm_bench},
    {"chan_norm", N_EDGE, chan_norm_case, 2, chan_norm_bench},
    {"rope", N_EDGE, rope_case, 2, rope_bench},
    {"norm_rope", N_EDGE, norm_rope_case, 2, norm_rope_bench},
    {"gated_add", N_EDGE, gated_add_case, 2, gated_add_bench},
    {"unary", N_EDGE, unary_case, 2, unary_bench},
    {"add", N_EDGE, add_case, 0, NULL},
    {"mul", N_EDGE, mul_case, 0, NULL},
    {"cast", N_EDGE, cast_case, 0, NULL},
    {NULL, 0, NULL, 0, NULL},
};

/* SPDX-License-Identifier: Apache-2.0
 * tests/ops/cases_layout.c - ops that move elements, the noise, the sampler's step, pixels. */
#include "checkops.h"
#include <stdio.h>

/* Maps [n0, n1, n2, n3] of the first cases; afterwards random. */
static const int64_t edge[][4] = {
    {1, 1, 1, 1}, {1, 2, 3, 5}, {3, 1, 7, 16}, {2, 4, 5, 17}, {1, 6, 10, 48}, {4, 3, 2, 33},
};
enum { N_EDGE = (int)(sizeof edge / sizeof *edge) };

static void shape(ck_rng *r, int i, int64_t n[4]) {
    for (int a = 0; a < 4; a++) n[a] = i < N_EDGE ? edge[i][a] : ck_range(r, 1, a == 3 ? 70 : 9);
}

static void describe(ck_case *k) {
    int at = 0;
    for (int b = 0; b < 2; b++) {
        const lti_tensor *t = &k->buf[b].t;
        at += snprintf(k->desc + at, sizeof k->desc - (size_t)at, "%s%s", b ? " -> " : "",
                       t->dtype == LTI_F32 || t->dtype == LTI_BF16 ? ck_dt(t->dtype)
                                                                   : lti_dtype_name(t->dtype));
        for (int a = 0; a < t->rank; a++)
            at += snprintf(k->desc + at, sizeof k->desc - (size_t)at, "%c%lld", a ? 'x' : ' ',
                           (long long)t->n[a]);
        k->bytes += (double)lti_nbytes(t);
    }
}

/* Buffer 0 in, buffer 1 out; moving elements (with rounding) is exact. */
static void in_out(ck_rng *r, ck_case *k, lti_dtype xt, const int64_t *x, int x_rank, lti_dtype ot,
                   const int64_t *out, int out_rank) {
    ck_fill(k, ck_add(k, CK_IN, xt, x_rank, x), r, 1.0f, 0.0f);
    ck_add(k, CK_OUT, ot, out_rank, out);
    describe(k);
}

static void call_patchify(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_patchify(d, ck_on(k, p, 0), ck_on(k, p, 1));
}

static void patchify_case(ck_rng *r, int i, ck_case *k) {
    int64_t n[4]; /* F, h/2, w/2, C */
    shape(r, i, n);
    in_out(r, k, LTI_F32, (int64_t[]){n[0], n[3], 2 * n[1], 2 * n[2]}, 4, ck_act_dtype(r),
           (int64_t[]){n[0] * n[1] * n[2], 4 * n[3]}, 2);
    k->call = call_patchify;
}

static void call_unpatchify(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_unpatchify(d, ck_on(k, p, 0), ck_on(k, p, 1));
}

static void unpatchify_case(ck_rng *r, int i, ck_case *k) {
    int64_t n[4];
    shape(r, i, n);
    in_out(r, k, ck_act_dtype(r), (int64_t[]){n[0] * n[1] * n[2], 4 * n[3]}, 2, LTI_F32,
           (int64_t[]){n[0], n[3], 2 * n[1], 2 * n[2]}, 4);
    k->call = call_unpatchify;
}

static void call_upsample2x(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_upsample2x(d, ck_on(k, p, 0), ck_on(k, p, 1));
}

static void upsample2x_case(ck_rng *r, int i, ck_case *k) {
    int64_t n[4];
    shape(r, i, n);
    const lti_dtype dt = ck_act_dtype(r);
    in_out(r, k, dt, n, 4, i % 4 == 3 ? ck_act_dtype(r) : dt,
           (int64_t[]){n[0], 2 * n[1], 2 * n[2], n[3]}, 4);
    k->call = call_upsample2x;
}

static void call_time_unfold(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_time_unfold(d, ck_on(k, p, 0), ck_on(k, p, 1));
}

static void time_unfold_case(ck_rng *r, int i, ck_case *k) {
    int64_t n[4];
    shape(r, i, n);
    const lti_dtype dt = ck_act_dtype(r);
    in_out(r, k, dt, (int64_t[]){n[0], n[1], n[2], 2 * n[3]}, 4, i % 4 == 3 ? ck_act_dtype(r) : dt,
           (int64_t[]){2 * n[0], n[1], n[2], n[3]}, 4);
    k->call = call_time_unfold;
}

static void call_embed_rows(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_embed_rows(d, ck_on(k, p, 0), p[2], k->buf[2].t.n[0], ck_on(k, p, 1));
}

static void embed_rows_case(ck_rng *r, int i, ck_case *k) {
    static const lti_dtype stored[] = {LTI_F32, LTI_BF16, LTI_F16};
    int64_t n[4]; /* vocabulary n0*n1*n2, ids n1+n2, width n3 */
    shape(r, i, n);
    const int table = CK_BUF(k, CK_HOST, stored[i % 3], n[0] * n[1] * n[2], n[3]);
    ck_fill(k, table, r, 1.0f, 0.0f);
    CK_BUF(k, CK_OUT, LTI_F32, n[1] + n[2], n[3]);
    const int id = CK_BUF(k, CK_HOST, LTI_I32, n[1] + n[2]);
    for (int64_t j = 0; j < n[1] + n[2]; j++)
        ((int32_t *)k->buf[id].t.data)[j] = (int32_t)ck_range(r, 0, n[0] * n[1] * n[2] - 1);
    describe(k);
    k->call = call_embed_rows;
}

static void call_lincomb(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_lincomb(d, ck_on(k, p, k->n[0] ? 1 : 0), p[3], ck_on(k, p, 2), p[4], ck_on(k, p, 1));
}

static void lincomb_case(ck_rng *r, int i, ck_case *k) {
    int64_t n[4];
    shape(r, i, n);
    in_out(r, k, LTI_F32, n, 4, LTI_F32, n, 4);
    if (i % 2) { /* in place */
        k->n[0] = 1;
        k->buf[1].role = CK_INOUT;
        ck_fill(k, 1, r, 1.0f, 0.0f);
    }
    ck_fill(k, CK_BUF(k, CK_IN, LTI_F32, n[0], n[1], n[2], n[3]), r, 1.0f, 0.0f);
    ck_fill(k, CK_BUF(k, CK_HOST, LTI_F32, n[0]), r, 1.0f, 0.0f);
    ck_fill(k, CK_BUF(k, CK_HOST, LTI_F32, n[0]), r, 1.0f, 0.0f);
    k->buf[1].bound = 1e-13;
    k->call = call_lincomb;
}

static void call_latent_to_map(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    const float *mul_add = p[2];
    lti_latent_to_map(d, ck_on(k, p, 0), mul_add, mul_add + k->n[0], ck_on(k, p, 1));
}

static void latent_to_map_case(ck_rng *r, int i, ck_case *k) {
    int64_t n[4];
    shape(r, i, n);
    const lti_dtype dt = ck_act_dtype(r);
    in_out(r, k, LTI_F32, (int64_t[]){n[3], n[1], n[2]}, 3, dt, (int64_t[]){n[1], n[2], n[3]}, 3);
    ck_fill(k, CK_BUF(k, CK_HOST, LTI_F32, 2 * n[3]), r, 1.0f, 0.5f);
    k->n[0] = n[3];
    k->buf[1].bound = ck_bound(1e-13, CK_BF16_ROW, dt);
    k->call = call_latent_to_map;
}

static void call_randn(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_randn_op(d, ck_on(k, p, 0), (uint64_t)k->n[0], (uint64_t)k->n[1], (uint32_t)k->n[2]);
}

static void randn_case(ck_rng *r, int i, ck_case *k) {
    int64_t n[4];
    shape(r, i, n);
    CK_BUF(k, CK_OUT, LTI_F32, n[0], n[1], n[2], n[3]); /* bound 0: the same noise everywhere */
    k->n[0] = ck_range(r, 0, 1 << 30);
    k->n[1] = ck_coin(r) ? (int64_t)1 << 33 : 5;
    k->n[2] = ck_range(r, 0, 4);
    snprintf(k->desc, sizeof k->desc, "%lld", (long long)lti_numel(&k->buf[0].t));
    k->bytes = (double)lti_nbytes(&k->buf[0].t);
    k->call = call_randn;
}

static void call_to_rgb8(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_to_rgb8(d, ck_on(k, p, 0), ck_on(k, p, 1));
}

static void to_rgb8_case(ck_rng *r, int i, ck_case *k) {
    int64_t n[4];
    shape(r, i, n);
    n[3] = 3;
    ck_fill(k, ck_add(k, CK_IN, ck_act_dtype(r), 4, n), r, 0.8f, 0.0f); /* a fifth is clamped */
    ck_add(k, CK_OUT, LTI_U8, 4, n);
    describe(k);
    /* A contracted multiply-add may round a value that lies within 1e-7 of x.5 the other way. */
    k->buf[1].bound = 1e-6;
    k->call = call_to_rgb8;
}

const ck_op ck_layout_ops[] = {
    {"patchify", N_EDGE, patchify_case, 0, NULL},
    {"unpatchify", N_EDGE, unpatchify_case, 0, NULL},
    {"upsample2x", N_EDGE, upsample2x_case, 0, NULL},
    {"time_unfold", N_EDGE, time_unfold_case, 0, NULL},
    {"embed_rows", N_EDGE, embed_rows_case, 0, NULL},
    {"lincomb", N_EDGE, lincomb_case, 0, NULL},
    {"latent_to_map", N_EDGE, latent_to_map_case, 0, NULL},
    {"randn", N_EDGE, randn_case, 0, NULL},
    {"to_rgb8", N_EDGE, to_rgb8_case, 0, NULL},
    {NULL, 0, NULL, 0, NULL},
};

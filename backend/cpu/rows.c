/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/rows.c - ops that go row by row or element by element: arguments, then split.
 * The loops are in rows.inc. Costs are rough elements touched per row, for the size threshold. */
#include "backend/cpu/ops.h"

#include <math.h>

static int64_t last(const lti_tensor *t) { return t->n[t->rank - 1]; }

/* Rows of D elements of x -> out. */
static lti_cpu_row_args rows_of(const lti_tensor *x, const lti_tensor *out, int64_t D) {
    return (lti_cpu_row_args){
        .x = x->data, .xt = x->dtype, .out = out->data, .ot = out->dtype, .D = D};
}

static const lti_cpu_rows *table(const lti_dev *d) { return lti_cpu_of(d)->rows; }

void lti_cpu_norm_mod(lti_dev *d, const lti_tensor *x, const float *shift, const float *scale,
                      int64_t mod_stride, int64_t rows, float eps, const lti_tensor *out) {
    lti_cpu_row_args a = rows_of(x, out, last(x));
    a.b = shift;
    a.w = scale;
    a.mod_stride = mod_stride;
    a.rows = rows;
    a.eps = eps;
    lti_cpu_split(d, table(d)->norm_mod, &a, lti_numel(x) / a.D, 3 * a.D);
}

void lti_cpu_layer_norm(lti_dev *d, const lti_tensor *x, const float *w, const float *b, float eps,
                        const lti_tensor *out) {
    lti_cpu_row_args a = rows_of(x, out, last(x));
    a.w = w;
    a.b = b;
    a.eps = eps;
    lti_cpu_split(d, table(d)->layer_norm, &a, lti_numel(x) / a.D, 3 * a.D);
}

void lti_cpu_rms_norm(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                      const lti_tensor *out) {
    lti_cpu_row_args a = rows_of(x, out, last(x));
    a.w = w;
    a.eps = eps;
    lti_cpu_split(d, table(d)->rms_norm, &a, lti_numel(x) / a.D, 2 * a.D);
}

void lti_cpu_chan_norm(lti_dev *d, const lti_tensor *x, const float *gamma, bool silu,
                       const lti_tensor *out) {
    lti_cpu_row_args a = rows_of(x, out, last(x));
    a.w = gamma;
    a.c = (float)sqrt((double)a.D);
    a.act = silu ? LTI_ACT_SILU : LTI_ACT_NONE;
    lti_cpu_split(d, table(d)->chan_norm, &a, lti_numel(x) / a.D, 4 * a.D);
}

void lti_cpu_rope(lti_dev *d, const lti_tensor *x, int64_t x_stride, const float *t,
                  const lti_tensor *out) {
    lti_cpu_row_args a = rows_of(x, out, x->n[1] * x->n[2]);
    a.x_stride = x_stride;
    a.table = t;
    a.hd = x->n[2];
    lti_cpu_split(d, table(d)->rope, &a, x->n[0], 2 * a.D);
}

void lti_cpu_norm_rope(lti_dev *d, const lti_tensor *x, const float *w, float eps, const float *t,
                       const lti_tensor *out) {
    lti_cpu_row_args a = rows_of(x, out, x->n[1]);
    a.w = w;
    a.eps = eps;
    a.table = t;
    a.hd = out->n[2];
    lti_cpu_split(d, table(d)->norm_rope, &a, x->n[0], 3 * a.D);
}

void lti_cpu_gated_add(lti_dev *d, const lti_tensor *io, const lti_tensor *y, const float *gate,
                       int64_t mod_stride, int64_t rows) {
    lti_cpu_row_args a = rows_of(y, io, last(io));
    a.w = gate;
    a.mod_stride = mod_stride;
    a.rows = rows;
    lti_cpu_split(d, table(d)->gated_add, &a, lti_numel(io) / a.D, 2 * a.D);
}

void lti_cpu_unary(lti_dev *d, lti_act act, const lti_tensor *x, const lti_tensor *out) {
    lti_cpu_row_args a = rows_of(x, out, 1);
    a.act = act;
    lti_cpu_split(d, table(d)->unary, &a, lti_numel(x), 4);
}

void lti_cpu_add(lti_dev *d, const lti_tensor *x, const lti_tensor *y, const lti_tensor *out) {
    lti_cpu_row_args a = rows_of(x, out, 1);
    a.y = y->data;
    a.yt = y->dtype;
    lti_cpu_split(d, table(d)->add, &a, lti_numel(x), 1);
}

void lti_cpu_mul(lti_dev *d, const lti_tensor *x, const lti_tensor *y, const lti_tensor *out) {
    lti_cpu_row_args a = rows_of(x, out, 1);
    a.y = y->data;
    a.yt = y->dtype;
    lti_cpu_split(d, table(d)->mul, &a, lti_numel(x), 1);
}

/* Split over columns, so that the order of a sum does not depend on the threads. */
void lti_cpu_sum_rows(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    lti_cpu_row_args a = rows_of(x, out, x->n[1]);
    a.rows = x->n[0];
    lti_cpu_split(d, table(d)->sum_rows, &a, (a.D + LTI_SUM_COLS - 1) / LTI_SUM_COLS,
                  LTI_SUM_COLS * a.rows);
}

void lti_cpu_token_scores(lti_dev *d, const lti_tensor *q, const lti_tensor *k, float scale,
                          const lti_tensor *out) {
    lti_cpu_row_args a = rows_of(k, out, k->n[1]);
    a.w = q->data;
    a.c = scale;
    lti_cpu_split(d, table(d)->token_scores, &a, k->n[0], a.D);
}

void lti_cpu_cast(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    const lti_cpu_row_args a = rows_of(x, out, 1);
    lti_cpu_split(d, table(d)->cast, &a, lti_numel(x), 1);
}

void lti_cpu_lincomb(lti_dev *d, const lti_tensor *x, const float *ca, const lti_tensor *y,
                     const float *cb, const lti_tensor *out) {
    lti_cpu_row_args a = rows_of(x, out, x->n[0] ? lti_numel(x) / x->n[0] : 0);
    a.y = y->data;
    a.w = ca;
    a.b = cb;
    lti_cpu_split(d, table(d)->lincomb, &a, x->n[0], a.D);
}

void lti_cpu_to_rgb8(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    const lti_cpu_row_args a = rows_of(x, out, 1);
    lti_cpu_split(d, table(d)->to_rgb8, &a, lti_numel(x), 2);
}

/* SPDX-License-Identifier: Apache-2.0
 * backend/ref/rope.c - rotate adjacent channel pairs (2i, 2i+1) of every head by the row's angles:
 *   (a, b) -> (a cos - b sin, a sin + b cos),  table [M, hd/2, 2] = (cos, sin).
 * norm_rope does it to rows that are RMS-normalised first, over the full width of all heads (Wan's
 * QK norm), and rounds once: composing it from rms_norm and rope rounds a bf16 output twice. */
#include "backend/ref/ref.h"
#include <math.h>

void lti_ref_rope(lti_dev *d, const lti_tensor *x, int64_t x_stride, const float *table,
                  const lti_tensor *out) {
    (void)d;
    const int64_t n_row = x->n[0], heads = x->n[1], hd = x->n[2];
    for (int64_t m = 0; m < n_row; m++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < hd / 2; i++) {
                const int64_t from = m * x_stride + h * hd + 2 * i;
                const int64_t to = (m * heads + h) * hd + 2 * i;
                const float c = table[m * hd + 2 * i], s = table[m * hd + 2 * i + 1];
                const float a = get(x->data, x->dtype, from), b = get(x->data, x->dtype, from + 1);
                set(out->data, out->dtype, to, a * c - b * s);
                set(out->data, out->dtype, to + 1, a * s + b * c);
            }
}

void lti_ref_norm_rope(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                       const float *table, const lti_tensor *out) {
    (void)d;
    const int64_t n_row = x->n[0], dim = x->n[1], hd = out->n[2];
    for (int64_t m = 0; m < n_row; m++) {
        double squares = 0.0;
        for (int64_t i = 0; i < dim; i++) {
            const double v = get(x->data, x->dtype, m * dim + i);
            squares += v * v;
        }
        const double inv = 1.0 / sqrt(squares / (double)dim + eps);
        for (int64_t i = 0; i < dim; i += 2) {
            const int64_t at = m * dim + i;
            const double a = get(x->data, x->dtype, at) * inv * w[i];
            const double b = get(x->data, x->dtype, at + 1) * inv * w[i + 1];
            const float *turn = table ? table + m * hd + i % hd : NULL;
            const double c = turn ? turn[0] : 1.0, s = turn ? turn[1] : 0.0;
            set(out->data, out->dtype, at, (float)(a * c - b * s));
            set(out->data, out->dtype, at + 1, (float)(a * s + b * c));
        }
    }
}

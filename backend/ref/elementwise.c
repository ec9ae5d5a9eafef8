/* SPDX-License-Identifier: Apache-2.0
 * backend/ref/elementwise.c - ops whose output element needs only the same element of the inputs.
 */
#include "backend/ref/ref.h"
#include "base/rng.h"
#include <math.h>

float lti_ref_act(lti_act act, float v) {
    if (act == LTI_ACT_SILU) return (float)(v / (1.0 + exp(-(double)v)));
    if (act == LTI_ACT_GELU_TANH) { /* 0.5 v (1 + tanh(sqrt(2/pi) (v + 0.044715 v^3))) */
        const double x = v;
        return (float)(0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))));
    }
    if (act == LTI_ACT_RELU) return v > 0 ? v : v < 0 ? 0 : v; /* NaN stays */
    return v;
}

void lti_ref_unary(lti_dev *d, lti_act act, const lti_tensor *x, const lti_tensor *out) {
    (void)d;
    const int64_t n = lti_numel(x);
    for (int64_t i = 0; i < n; i++)
        set(out->data, out->dtype, i, lti_ref_act(act, get(x->data, x->dtype, i)));
}

void lti_ref_add(lti_dev *d, const lti_tensor *x, const lti_tensor *y, const lti_tensor *out) {
    (void)d;
    const int64_t n = lti_numel(x);
    for (int64_t i = 0; i < n; i++)
        set(out->data, out->dtype, i, get(x->data, x->dtype, i) + get(y->data, y->dtype, i));
}

void lti_ref_mul(lti_dev *d, const lti_tensor *x, const lti_tensor *y, const lti_tensor *out) {
    (void)d;
    const int64_t n = lti_numel(x);
    for (int64_t i = 0; i < n; i++)
        set(out->data, out->dtype, i, get(x->data, x->dtype, i) * get(y->data, y->dtype, i));
}

void lti_ref_gated_add(lti_dev *d, const lti_tensor *io, const lti_tensor *y, const float *gate,
                       int64_t mod_stride, int64_t rows) {
    (void)d;
    const int64_t dim = io->n[io->rank - 1], n_row = lti_numel(io) / dim;
    float *acc = io->data;
    for (int64_t m = 0; m < n_row; m++)
        for (int64_t i = 0; i < dim; i++) {
            const float g = gate ? gate[m / rows * mod_stride + i] : 1.0f;
            acc[m * dim + i] += g * get(y->data, y->dtype, m * dim + i);
        }
}

void lti_ref_lincomb(lti_dev *d, const lti_tensor *x, const float *a, const lti_tensor *y,
                     const float *b, const lti_tensor *out) {
    (void)d;
    const int64_t frames = x->n[0], n = frames ? lti_numel(x) / frames : 0;
    const float *px = x->data, *py = y->data;
    float *po = out->data;
    for (int64_t f = 0; f < frames; f++)
        for (int64_t i = f * n; i < (f + 1) * n; i++)
            po[i] = (float)((double)a[f] * px[i] + (double)b[f] * py[i]);
}

void lti_ref_randn(lti_dev *d, const lti_tensor *out, uint64_t seed, uint64_t frame,
                   uint32_t step) {
    (void)d;
    lti_randn(out->data, lti_numel(out), seed, frame, step);
}

void lti_ref_cast(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    (void)d;
    const int64_t n = lti_numel(x);
    for (int64_t i = 0; i < n; i++) set(out->data, out->dtype, i, get(x->data, x->dtype, i));
}

void lti_ref_to_rgb8(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    (void)d;
    const int64_t n = lti_numel(x);
    uint8_t *rgb = out->data;
    for (int64_t i = 0; i < n; i++) {
        float v = get(x->data, x->dtype, i) * 0.5f + 0.5f;
        if (!(v > 0.0f)) v = 0.0f; /* NaN too */
        if (v > 1.0f) v = 1.0f;
        rgb[i] = (uint8_t)(v * 255.0f + 0.5f);
    }
}

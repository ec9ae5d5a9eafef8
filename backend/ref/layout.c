/* SPDX-License-Identifier: Apache-2.0
 * backend/ref/layout.c - ops that only move elements (and convert their dtype). */
#include "backend/ref/ref.h"

void lti_ref_embed_rows(lti_dev *d, const lti_tensor *table, const int32_t *id, int64_t n,
                        const lti_tensor *out) {
    (void)d;
    const int64_t dim = table->n[1];
    for (int64_t i = 0; i < n; i++) {
        const lti_tensor row = lti_rows(*table, id[i], 1); /* [1, D] */
        lti_to_f32(&row, (float *)out->data + i * dim);
    }
}

void lti_ref_patchify(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    (void)d;
    const int64_t frames = x->n[0], ch = x->n[1], h = x->n[2], w = x->n[3];
    for (int64_t f = 0; f < frames; f++)
        for (int64_t c = 0; c < ch; c++)
            for (int64_t y = 0; y < h; y++)
                for (int64_t px = 0; px < w; px++) {
                    const int64_t token = (f * (h / 2) + y / 2) * (w / 2) + px / 2;
                    const int64_t e = c * 4 + y % 2 * 2 + px % 2;
                    set(out->data, out->dtype, token * ch * 4 + e,
                        get(x->data, x->dtype, ((f * ch + c) * h + y) * w + px));
                }
}

void lti_ref_unpatchify(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    (void)d;
    const int64_t frames = out->n[0], ch = out->n[1], h = out->n[2], w = out->n[3];
    for (int64_t f = 0; f < frames; f++)
        for (int64_t c = 0; c < ch; c++)
            for (int64_t y = 0; y < h; y++)
                for (int64_t px = 0; px < w; px++) {
                    const int64_t token = (f * (h / 2) + y / 2) * (w / 2) + px / 2;
                    const int64_t e = (y % 2 * 2 + px % 2) * ch + c;
                    set(out->data, out->dtype, ((f * ch + c) * h + y) * w + px,
                        get(x->data, x->dtype, token * ch * 4 + e));
                }
}

void lti_ref_upsample2x(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    (void)d;
    const int64_t frames = x->n[0], h = x->n[1], w = x->n[2], ch = x->n[3];
    for (int64_t t = 0; t < frames; t++)
        for (int64_t y = 0; y < 2 * h; y++)
            for (int64_t px = 0; px < 2 * w; px++)
                for (int64_t c = 0; c < ch; c++)
                    set(out->data, out->dtype, ((t * 2 * h + y) * 2 * w + px) * ch + c,
                        get(x->data, x->dtype, ((t * h + y / 2) * w + px / 2) * ch + c));
}

void lti_ref_time_unfold(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    (void)d;
    const int64_t frames = x->n[0], area = x->n[1] * x->n[2], ch = out->n[3];
    for (int64_t t = 0; t < frames; t++)
        for (int64_t sub = 0; sub < 2; sub++)
            for (int64_t p = 0; p < area; p++)
                for (int64_t c = 0; c < ch; c++)
                    set(out->data, out->dtype, (((2 * t + sub) * area) + p) * ch + c,
                        get(x->data, x->dtype, ((t * area + p) * 2 + sub) * ch + c));
}

void lti_ref_latent_to_map(lti_dev *d, const lti_tensor *x, const float *mul, const float *add,
                           const lti_tensor *out) {
    (void)d;
    const int64_t ch = x->n[0], area = x->n[1] * x->n[2];
    const float *px = x->data;
    for (int64_t p = 0; p < area; p++)
        for (int64_t c = 0; c < ch; c++)
            set(out->data, out->dtype, p * ch + c, px[c * area + p] * mul[c] + add[c]);
}

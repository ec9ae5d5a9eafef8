/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/maps.c - ops that move data: patches, upsampling, layouts, table rows, noise.
 *
 * Plain loops over memcpy where dtypes agree; they are bound by memory, or tiny. */
#include "backend/cpu/ops.h"
#include "base/rng.h"

#include <omp.h>

enum { PARALLEL_BYTES = 1 << 18 };

static int team(const lti_dev *d, size_t bytes) {
    return bytes < PARALLEL_BYTES ? 1 : d->n_threads;
}

static inline float get(const void *p, lti_dtype t, int64_t i) {
    return t == LTI_F32 ? ((const float *)p)[i] : lti_bf16_to_f32(((const uint16_t *)p)[i]);
}
static inline void set(void *p, lti_dtype t, int64_t i, float v) {
    if (t == LTI_F32) ((float *)p)[i] = v;
    else ((uint16_t *)p)[i] = lti_f32_to_bf16(v);
}

/* n elements, converting if the dtypes differ */
static void move(const lti_dev *d, void *dst, lti_dtype dt, int64_t at, const void *src,
                 lti_dtype st, int64_t from, int64_t n) {
    const size_t ds = lti_dtype_size(dt), ss = lti_dtype_size(st);
    char *to = (char *)dst + (size_t)at * ds;
    const char *x = (const char *)src + (size_t)from * ss;
    if (dt == st) {
        memcpy(to, x, (size_t)n * ds);
        return;
    }
    const lti_cpu_row_args a = {.x = x, .xt = st, .out = to, .ot = dt};
    lti_cpu_of(d)->rows->cast(&a, 0, n);
}

void lti_cpu_embed_rows(lti_dev *d, const lti_tensor *table, const int32_t *id, int64_t n,
                        const lti_tensor *out) {
    (void)d;
    const int64_t D = table->n[1];
    for (int64_t i = 0; i < n; i++) {
        const lti_tensor one = lti_rows(*table, id[i], 1); /* [1, D], maybe unaligned */
        lti_to_f32(&one, (float *)out->data + i * D);
    }
}

void lti_cpu_patchify(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    const int64_t F = x->n[0], C = x->n[1], h = x->n[2], w = x->n[3];
    const float *px = x->data;
#pragma omp parallel for num_threads(team(d, lti_nbytes(x))) schedule(static)
    for (int64_t fy = 0; fy < F * (h / 2); fy++) { /* one row of tokens */
        const int64_t f = fy / (h / 2), y = fy % (h / 2) * 2;
        for (int64_t c = 0; c < C; c++)
            for (int64_t ph = 0; ph < 2; ph++) {
                const float *line = px + ((f * C + c) * h + y + ph) * w;
                for (int64_t t = 0; t < w; t++)
                    set(out->data, out->dtype,
                        (fy * (w / 2) + t / 2) * 4 * C + c * 4 + ph * 2 + t % 2, line[t]);
            }
    }
}

void lti_cpu_unpatchify(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    const int64_t F = out->n[0], C = out->n[1], h = out->n[2], w = out->n[3];
    float *po = out->data;
#pragma omp parallel for num_threads(team(d, lti_nbytes(out))) schedule(static)
    for (int64_t fy = 0; fy < F * (h / 2); fy++) {
        const int64_t f = fy / (h / 2), y = fy % (h / 2) * 2;
        for (int64_t c = 0; c < C; c++)
            for (int64_t ph = 0; ph < 2; ph++) {
                float *line = po + ((f * C + c) * h + y + ph) * w;
                for (int64_t t = 0; t < w; t++)
                    line[t] = get(x->data, x->dtype,
                                  (fy * (w / 2) + t / 2) * 4 * C + (ph * 2 + t % 2) * C + c);
            }
    }
}

void lti_cpu_upsample2x(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    const int64_t T = x->n[0], h = x->n[1], w = x->n[2], C = x->n[3];
#pragma omp parallel for num_threads(team(d, lti_nbytes(out))) schedule(static)
    for (int64_t ty = 0; ty < T * h; ty++) {
        const int64_t to = ty * 2 * (2 * w) * C; /* first of the two equal output lines */
        for (int64_t p = 0; p < w; p++) {
            move(d, out->data, out->dtype, to + 2 * p * C, x->data, x->dtype, (ty * w + p) * C, C);
            move(d, out->data, out->dtype, to + (2 * p + 1) * C, x->data, x->dtype,
                 (ty * w + p) * C, C);
        }
        move(d, out->data, out->dtype, to + 2 * w * C, out->data, out->dtype, to, 2 * w * C);
    }
}

void lti_cpu_time_unfold(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    const int64_t T = x->n[0], area = x->n[1] * x->n[2], C = out->n[3];
#pragma omp parallel for num_threads(team(d, lti_nbytes(out))) schedule(static)
    for (int64_t tp = 0; tp < T * area; tp++) {
        const int64_t t = tp / area, p = tp % area;
        for (int64_t sub = 0; sub < 2; sub++)
            move(d, out->data, out->dtype, ((2 * t + sub) * area + p) * C, x->data, x->dtype,
                 (tp * 2 + sub) * C, C);
    }
}

void lti_cpu_latent_to_map(lti_dev *d, const lti_tensor *x, const float *mul, const float *add,
                           const lti_tensor *out) {
    const int64_t C = x->n[0], area = x->n[1] * x->n[2];
    const float *px = x->data;
#pragma omp parallel for num_threads(team(d, lti_nbytes(out))) schedule(static)
    for (int64_t p = 0; p < area; p++)
        for (int64_t c = 0; c < C; c++)
            set(out->data, out->dtype, p * C + c, px[c * area + p] * mul[c] + add[c]);
}

void lti_cpu_randn(lti_dev *d, const lti_tensor *out, uint64_t seed, uint64_t frame,
                   uint32_t step) {
    (void)d;
    lti_randn(out->data, lti_numel(out), seed, frame, step);
}

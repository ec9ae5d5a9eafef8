/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/layout.cu - ops that only move elements, or need no neighbour: patches, sub-frames,
 * up-sampling, noise, the way to 8 bits.
 *
 * One thread per output element throughout, so that writes are contiguous; these ops are far below
 * one percent of a chunk. Noise: base/rng.h's function in double arithmetic, so that a seed gives
 * the CPU's video. Host arrays of a few numbers (lincomb, latent_to_map) travel as kernel arguments
 * by value: no copy, no lifetime. */
#include "backend/cuda/cuda.h"
#include "base/error.h"

static constexpr int BLOCK = 256;

static __device__ __forceinline__ int64_t thread_index() {
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* ---- patches ------------------------------------------------------------------------------------ */

/* x f32 [F, C, h, w] -> out [F (h/2) (w/2), C 4]; element c 4 + ph 2 + pw. */
template <class X, class O>
__global__ void patchify_kernel(const X *x, O *out, int ch, int h, int w, int64_t n) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const int e = (int)(i % (ch * 4)), c = e / 4, ph = e / 2 % 2, pw = e % 2;
    const int64_t token = i / (ch * 4);
    const int px = (int)(token % (w / 2)) * 2 + pw;
    const int py = (int)(token / (w / 2) % (h / 2)) * 2 + ph;
    const int64_t f = token / ((int64_t)(w / 2) * (h / 2));
    lti_store(out, i, lti_load(x, ((f * ch + c) * h + py) * w + px));
}

void lti_cuda_patchify(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    const int64_t n = lti_numel(x);
    LTI_TYPES2(x->dtype, out->dtype,
               LTI_LAUNCH(d, "patchify", (patchify_kernel<X, O>), lti_grid(n, BLOCK), BLOCK, 0,
                          (const X *)x->data, (O *)out->data, (int)x->n[1], (int)x->n[2],
                          (int)x->n[3], n));
}

/* x [F (h/2) (w/2), 4 C], element (ph 2 + pw) C + c -> out f32 [F, C, h, w]. */
template <class X, class O>
__global__ void unpatchify_kernel(const X *x, O *out, int ch, int h, int w, int64_t n) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const int px = (int)(i % w), py = (int)(i / w % h), c = (int)(i / ((int64_t)w * h) % ch);
    const int64_t f = i / ((int64_t)w * h * ch);
    const int64_t token = (f * (h / 2) + py / 2) * (w / 2) + px / 2;
    const int e = (py % 2 * 2 + px % 2) * ch + c;
    lti_store(out, i, lti_load(x, token * ch * 4 + e));
}

void lti_cuda_unpatchify(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    const int64_t n = lti_numel(out);
    LTI_TYPES2(x->dtype, out->dtype,
               LTI_LAUNCH(d, "unpatchify", (unpatchify_kernel<X, O>), lti_grid(n, BLOCK), BLOCK, 0,
                          (const X *)x->data, (O *)out->data, (int)out->n[1], (int)out->n[2],
                          (int)out->n[3], n));
}

/* ---- feature maps --------------------------------------------------------------------------------- */

/* [T, h, w, C] -> [T, 2h, 2w, C], nearest. */
template <class X, class O>
__global__ void upsample_kernel(const X *x, O *out, int h, int w, int ch, int64_t n) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const int c = (int)(i % ch);
    const int64_t p = i / ch;
    const int px = (int)(p % (2 * w)), py = (int)(p / (2 * w) % (2 * h));
    const int64_t t = p / ((int64_t)4 * w * h);
    lti_store(out, i, lti_load(x, ((t * h + py / 2) * w + px / 2) * ch + c));
}

void lti_cuda_upsample2x(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    const int64_t n = lti_numel(out);
    LTI_TYPES2(x->dtype, out->dtype,
               LTI_LAUNCH(d, "upsample2x", (upsample_kernel<X, O>), lti_grid(n, BLOCK), BLOCK, 0,
                          (const X *)x->data, (O *)out->data, (int)x->n[1], (int)x->n[2],
                          (int)x->n[3], n));
}

/* [T, area, 2, C] -> [T, 2, area, C]. */
template <class X, class O>
__global__ void unfold_kernel(const X *x, O *out, int64_t area, int ch, int64_t n) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const int c = (int)(i % ch);
    const int64_t p = i / ch % area, sub = i / (ch * area) % 2, t = i / (2 * ch * area);
    lti_store(out, i, lti_load(x, ((t * area + p) * 2 + sub) * ch + c));
}

void lti_cuda_time_unfold(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    const int64_t n = lti_numel(out);
    LTI_TYPES2(x->dtype, out->dtype,
               LTI_LAUNCH(d, "time_unfold", (unfold_kernel<X, O>), lti_grid(n, BLOCK), BLOCK, 0,
                          (const X *)x->data, (O *)out->data, x->n[1] * x->n[2], (int)out->n[3],
                          n));
}

/* ---- latents -------------------------------------------------------------------------------------- */

static constexpr int MOST = 256; /* host numbers in one launch */
struct Pairs {
    float a[MOST], b[MOST];
};

/* f32 [F, n]: out[f] = a[f] x[f] + b[f] y[f]. In double like ref: the sum of two products is the
 * sampler's state and is rounded once. */
__global__ void lincomb_kernel(const float *x, const float *y, float *out, Pairs p, int64_t per,
                               int64_t n) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const int f = (int)(i / per);
    out[i] = (float)((double)p.a[f] * x[i] + (double)p.b[f] * y[i]);
}

void lti_cuda_lincomb(lti_dev *d, const lti_tensor *x, const float *a, const lti_tensor *y,
                      const float *b, const lti_tensor *out) {
    const int64_t frames = x->n[0], per = frames ? lti_numel(x) / frames : 0;
    for (int64_t f = 0; f < frames; f += MOST) {
        const int64_t some = frames - f < MOST ? frames - f : MOST, n = some * per;
        Pairs p;
        for (int64_t i = 0; i < some; i++) p.a[i] = a[f + i], p.b[i] = b[f + i];
        LTI_LAUNCH(d, "lincomb", lincomb_kernel, lti_grid(n, BLOCK), BLOCK, 0,
                   (const float *)x->data + f * per, (const float *)y->data + f * per,
                   (float *)out->data + f * per, p, per, n);
    }
}

/* x f32 [C, area] -> out [area, C]: x mul[c] + add[c], for channels c0 .. c0 + some of ch. */
template <class O>
__global__ void latent_kernel(const float *x, O *out, Pairs p, int c0, int some, int ch,
                              int64_t area, int64_t n) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const int c = (int)(i % some);
    const int64_t at = i / some;
    lti_store(out, at * ch + c0 + c, x[(c0 + c) * area + at] * p.a[c] + p.b[c]);
}

void lti_cuda_latent_to_map(lti_dev *d, const lti_tensor *x, const float *mul, const float *add,
                            const lti_tensor *out) {
    const int ch = (int)x->n[0];
    const int64_t area = x->n[1] * x->n[2];
    for (int c0 = 0; c0 < ch; c0 += MOST) {
        const int some = ch - c0 < MOST ? ch - c0 : MOST;
        const int64_t n = area * some;
        Pairs p;
        for (int i = 0; i < some; i++) p.a[i] = mul[c0 + i], p.b[i] = add[c0 + i];
        LTI_TYPES1(out->dtype,
                   LTI_LAUNCH(d, "latent_to_map", latent_kernel<X>, lti_grid(n, BLOCK), BLOCK, 0,
                              (const float *)x->data, (X *)out->data, p, c0, some, ch, area, n));
    }
}

/* ---- noise ---------------------------------------------------------------------------------------- */

static __device__ __forceinline__ double uniform24(uint32_t x) {
    return ((double)(x >> 8) + 1.0) * (1.0 / 16777216.0);
}

/* base/rng.c: one block of four words, two Box-Muller pairs. */
__global__ void randn_kernel(float *out, uint64_t seed, uint64_t frame, uint32_t step, int64_t n) {
    const int64_t i = thread_index();
    if (i * 4 >= n) return;
    uint32_t c0 = (uint32_t)i, c1 = step, c2 = (uint32_t)frame, c3 = (uint32_t)(frame >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const uint32_t word[4] = {c0, c1, c2, c3};
    for (int j = 0; j < 4 && i * 4 + j < n; j++) {
        const double r = sqrt(-2.0 * log(uniform24(word[j / 2 * 2])));
        const double phi = 2.0 * 3.14159265358979323846 * uniform24(word[j / 2 * 2 + 1]);
        out[i * 4 + j] = (float)(r * (j % 2 ? sin(phi) : cos(phi)));
    }
}

void lti_cuda_randn(lti_dev *d, const lti_tensor *out, uint64_t seed, uint64_t frame,
                    uint32_t step) {
    const int64_t n = lti_numel(out);
    LTI_LAUNCH(d, "randn", randn_kernel, lti_grid((n + 3) / 4, BLOCK), BLOCK, 0, (float *)out->data,
               seed, frame, step, n);
}

/* ---- to and from people ----------------------------------------------------------------------------- */

template <class X> __global__ void rgb8_kernel(const X *x, uint8_t *rgb, int64_t n) {
    const int64_t i = thread_index();
    if (i >= n) return;
    float v = lti_load(x, i) * 0.5f + 0.5f;
    if (!(v > 0.0f)) v = 0.0f; /* NaN too */
    if (v > 1.0f) v = 1.0f;
    rgb[i] = (uint8_t)(v * 255.0f + 0.5f);
}

void lti_cuda_to_rgb8(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    const int64_t n = lti_numel(x);
    LTI_TYPES1(x->dtype, LTI_LAUNCH(d, "to_rgb8", rgb8_kernel<X>, lti_grid(n, BLOCK), BLOCK, 0,
                                    (const X *)x->data, (uint8_t *)out->data, n));
}

/* The table is a mapped file on the host: rows are converted there and copied one by one, a prompt
 * has at most some hundred. */
void lti_cuda_embed_rows(lti_dev *d, const lti_tensor *table, const int32_t *id, int64_t n,
                         const lti_tensor *out) {
    const int64_t dim = table->n[1];
    float *row = (float *)malloc((size_t)dim * sizeof *row);
    if (!row) {
        lti_cuda_fail(d, LT_ENOMEM, "embed_rows", "out of memory");
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const lti_tensor one = lti_rows(*table, id[i], 1); /* [1, D] */
        lti_to_f32(&one, row);
        d->ops.put(d, (float *)out->data + i * dim, row, (size_t)dim * sizeof *row);
    }
    free(row);
}

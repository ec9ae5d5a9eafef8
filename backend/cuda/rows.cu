/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/rows.cu - ops that go row by row (norms, rope) or element by element.
 *
 * A row belongs to one block, a position of a feature map to one warp: sums are taken by the same
 * threads in the same order whatever the grid, so results do not depend on it. Sums in f32, of at
 * most some thousand terms; variance in a second pass over the row, as ref does, since E[x^2] -
 * E[x]^2 cancels. The row is read again from cache, not memory.
 * All of these are bound by memory: bytes moved are what counts, see docs/PERF.md. */
#include "backend/cuda/cuda.h"

static constexpr int BLOCK = 256, WARP = 32;

static __device__ __forceinline__ int64_t thread_index() {
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* The sum of every thread's v, in every thread; BLOCK threads, all of them. */
static __device__ float block_sum(float v) {
    __shared__ float part[BLOCK / WARP];
    v = lti_warp_sum(v);
    __syncthreads(); /* an earlier sum has been read by all */
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = v;
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < BLOCK / WARP; i++) sum += part[i];
    return sum;
}

static int64_t width(const lti_tensor *x) { return x->n[x->rank - 1]; }

/* ---- norms of rows: one block each ---------------------------------------------------------------- */

struct Moments {
    float mean, inv_std;
};

/* Of row x [dim], by the whole block. */
template <class X> static __device__ Moments moments_of(const X *x, int dim, float eps) {
    float sum = 0, squares = 0;
    for (int i = (int)threadIdx.x; i < dim; i += BLOCK) sum += lti_load(x, i);
    const float mean = block_sum(sum) / (float)dim;
    for (int i = (int)threadIdx.x; i < dim; i += BLOCK) {
        const float e = lti_load(x, i) - mean;
        squares += e * e;
    }
    return {mean, rsqrtf(block_sum(squares) / (float)dim + eps)};
}

/* 1 / root mean square of row x [dim]. */
template <class X> static __device__ float inverse_rms(const X *x, int dim, float eps) {
    float squares = 0;
    for (int i = (int)threadIdx.x; i < dim; i += BLOCK) {
        const float v = lti_load(x, i);
        squares += v * v;
    }
    return rsqrtf(block_sum(squares) / (float)dim + eps);
}

/* out = LN(x) (one + scale) + shift; scale and shift [.., dim], a set for every `rows` rows. */
template <class X, class O>
__global__ void __launch_bounds__(BLOCK)
    layer_norm_kernel(const X *x, const float *scale, const float *shift, float one,
                      int64_t mod_stride, int64_t rows, int dim, float eps, O *out) {
    const int64_t m = blockIdx.x, mod = m / rows * mod_stride;
    x += m * dim;
    out += m * dim;
    const Moments s = moments_of(x, dim, eps);
    for (int i = (int)threadIdx.x; i < dim; i += BLOCK) {
        const float v = (lti_load(x, i) - s.mean) * s.inv_std;
        lti_store(out, i, v * (one + scale[mod + i]) + shift[mod + i]);
    }
}

void lti_cuda_norm_mod(lti_dev *d, const lti_tensor *x, const float *shift, const float *scale,
                       int64_t mod_stride, int64_t rows, float eps, const lti_tensor *out) {
    const int dim = (int)width(x);
    const unsigned n = (unsigned)(lti_numel(x) / dim);
    LTI_TYPES2(x->dtype, out->dtype,
               LTI_LAUNCH(d, "norm_mod", (layer_norm_kernel<X, O>), dim3(n), BLOCK, 0,
                          (const X *)x->data, scale, shift, 1.0f, mod_stride, rows, dim, eps,
                          (O *)out->data));
}

void lti_cuda_layer_norm(lti_dev *d, const lti_tensor *x, const float *w, const float *b, float eps,
                         const lti_tensor *out) {
    const int dim = (int)width(x);
    const unsigned n = (unsigned)(lti_numel(x) / dim);
    LTI_TYPES2(x->dtype, out->dtype,
               LTI_LAUNCH(d, "layer_norm", (layer_norm_kernel<X, O>), dim3(n), BLOCK, 0,
                          (const X *)x->data, w, b, 0.0f, 0, 1, dim, eps, (O *)out->data));
}

/* In place: a thread reads again only what it writes itself. */
template <class X, class O>
__global__ void __launch_bounds__(BLOCK)
    rms_norm_kernel(const X *x, const float *w, int dim, float eps, O *out) {
    const int64_t m = blockIdx.x;
    x += m * dim;
    out += m * dim;
    const float inv = inverse_rms(x, dim, eps);
    for (int i = (int)threadIdx.x; i < dim; i += BLOCK)
        lti_store(out, i, lti_load(x, i) * inv * w[i]);
}

void lti_cuda_rms_norm(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                       const lti_tensor *out) {
    const int dim = (int)width(x);
    const unsigned n = (unsigned)(lti_numel(x) / dim);
    LTI_TYPES2(x->dtype, out->dtype,
               LTI_LAUNCH(d, "rms_norm", (rms_norm_kernel<X, O>), dim3(n), BLOCK, 0,
                          (const X *)x->data, w, dim, eps, (O *)out->data));
}

/* x [M, H hd] -> rms norm over the row, then pairs of every head turned by table [M, hd/2, 2], or
 * not; rounded once. */
template <class X, class O>
__global__ void __launch_bounds__(BLOCK)
    norm_rope_kernel(const X *x, const float *w, const float *table, int dim, int hd, float eps,
                     O *out) {
    const int64_t m = blockIdx.x;
    x += m * dim;
    out += m * dim;
    const float inv = inverse_rms(x, dim, eps);
    for (int i = 2 * (int)threadIdx.x; i < dim; i += 2 * BLOCK) {
        const float a = lti_load(x, i) * inv * w[i], b = lti_load(x, i + 1) * inv * w[i + 1];
        const float c = table ? table[m * hd + i % hd] : 1.0f;
        const float s = table ? table[m * hd + i % hd + 1] : 0.0f;
        lti_store(out, i, a * c - b * s);
        lti_store(out, i + 1, a * s + b * c);
    }
}

void lti_cuda_norm_rope(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                        const float *table, const lti_tensor *out) {
    const int dim = (int)width(x), hd = (int)out->n[2];
    LTI_TYPES2(x->dtype, out->dtype,
               LTI_LAUNCH(d, "norm_rope", (norm_rope_kernel<X, O>), dim3((unsigned)x->n[0]), BLOCK,
                          0, (const X *)x->data, w, table, dim, hd, eps, (O *)out->data));
}

/* ---- norms of positions: one warp each, channels are few ------------------------------------------ */

template <class X, class O>
__global__ void __launch_bounds__(BLOCK)
    chan_norm_kernel(const X *x, const float *gamma, bool silu, int dim, int64_t n, O *out) {
    const int64_t p = (int64_t)blockIdx.x * (BLOCK / WARP) + threadIdx.x / WARP;
    if (p >= n) return; /* the whole warp */
    x += p * dim;
    out += p * dim;
    float squares = 0;
    for (int i = (int)threadIdx.x % WARP; i < dim; i += WARP) {
        const float v = lti_load(x, i);
        squares += v * v;
    }
    const float inv = sqrtf((float)dim) / fmaxf(sqrtf(lti_warp_sum(squares)), 1e-12f);
    for (int i = (int)threadIdx.x % WARP; i < dim; i += WARP) {
        const float v = lti_load(x, i) * inv * gamma[i];
        lti_store(out, i, silu ? lti_activate(LTI_ACT_SILU, v) : v);
    }
}

void lti_cuda_chan_norm(lti_dev *d, const lti_tensor *x, const float *gamma, bool silu,
                        const lti_tensor *out) {
    const int dim = (int)width(x);
    const int64_t n = lti_numel(x) / dim;
    LTI_TYPES2(x->dtype, out->dtype,
               LTI_LAUNCH(d, "chan_norm", (chan_norm_kernel<X, O>), lti_grid(n, BLOCK / WARP),
                          BLOCK, 0, (const X *)x->data, gamma, silu, dim, n, (O *)out->data));
}

/* ---- rope ----------------------------------------------------------------------------------------- */

/* One thread per pair of x [M, H, hd], whose rows are x_stride apart. */
template <class X, class O>
__global__ void rope_kernel(const X *x, int64_t x_stride, const float *table, int heads, int hd,
                            int64_t n, O *out) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const int pair = (int)(i % (hd / 2)), h = (int)(i / (hd / 2) % heads);
    const int64_t m = i / ((int64_t)heads * (hd / 2));
    const int64_t from = m * x_stride + (int64_t)h * hd + 2 * pair;
    const float c = table[m * hd + 2 * pair], s = table[m * hd + 2 * pair + 1];
    const float a = lti_load(x, from), b = lti_load(x, from + 1);
    lti_store(out, 2 * i, a * c - b * s);
    lti_store(out, 2 * i + 1, a * s + b * c);
}

void lti_cuda_rope(lti_dev *d, const lti_tensor *x, int64_t x_stride, const float *table,
                   const lti_tensor *out) {
    const int heads = (int)x->n[1], hd = (int)x->n[2];
    const int64_t n = lti_numel(x) / 2;
    LTI_TYPES2(x->dtype, out->dtype,
               LTI_LAUNCH(d, "rope", (rope_kernel<X, O>), lti_grid(n, BLOCK), BLOCK, 0,
                          (const X *)x->data, x_stride, table, heads, hd, n, (O *)out->data));
}

/* ---- element by element ----------------------------------------------------------------------------- */

/* io[m] += gate[m / rows] y[m]. */
template <class X>
__global__ void gated_add_kernel(float *io, const X *y, const float *gate, int64_t mod_stride,
                                 int64_t rows, int dim, int64_t n) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const float g = gate ? gate[i / dim / rows * mod_stride + i % dim] : 1.0f;
    io[i] += g * lti_load(y, i);
}

void lti_cuda_gated_add(lti_dev *d, const lti_tensor *io, const lti_tensor *y, const float *gate,
                        int64_t mod_stride, int64_t rows) {
    const int64_t n = lti_numel(io);
    LTI_TYPES1(y->dtype, LTI_LAUNCH(d, "gated_add", gated_add_kernel<X>, lti_grid(n, BLOCK), BLOCK,
                                    0, (float *)io->data, (const X *)y->data, gate, mod_stride,
                                    rows, (int)width(io), n));
}

template <class X, class O>
__global__ void unary_kernel(lti_act act, const X *x, int64_t n, O *out) {
    const int64_t i = thread_index();
    if (i < n) lti_store(out, i, lti_activate(act, lti_load(x, i)));
}

static void unary(lti_dev *d, const char *op, lti_act act, const lti_tensor *x,
                  const lti_tensor *out) {
    const int64_t n = lti_numel(x);
    LTI_TYPES2(x->dtype, out->dtype,
               LTI_LAUNCH(d, op, (unary_kernel<X, O>), lti_grid(n, BLOCK), BLOCK, 0, act,
                          (const X *)x->data, n, (O *)out->data));
}

void lti_cuda_unary(lti_dev *d, lti_act act, const lti_tensor *x, const lti_tensor *out) {
    unary(d, "unary", act, x, out);
}

void lti_cuda_cast(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    unary(d, "cast", LTI_ACT_NONE, x, out);
}

/* y has x's type or not: it is read through a flag, since eight variants would be no faster. */
template <class X, class O>
__global__ void binary_kernel(bool product, const X *x, const void *y, bool y_f32, int64_t n,
                              O *out) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const float a = lti_load(x, i);
    const float b = y_f32 ? lti_load((const float *)y, i) : lti_load((const __nv_bfloat16 *)y, i);
    lti_store(out, i, product ? a * b : a + b);
}

static void binary(lti_dev *d, const char *op, bool product, const lti_tensor *x,
                   const lti_tensor *y, const lti_tensor *out) {
    const int64_t n = lti_numel(x);
    LTI_TYPES2(x->dtype, out->dtype,
               LTI_LAUNCH(d, op, (binary_kernel<X, O>), lti_grid(n, BLOCK), BLOCK, 0, product,
                          (const X *)x->data, (const void *)y->data, y->dtype == LTI_F32, n,
                          (O *)out->data));
}

void lti_cuda_add(lti_dev *d, const lti_tensor *x, const lti_tensor *y, const lti_tensor *out) {
    binary(d, "add", false, x, y, out);
}

void lti_cuda_mul(lti_dev *d, const lti_tensor *x, const lti_tensor *y, const lti_tensor *out) {
    binary(d, "mul", true, x, y, out);
}

/* ---- scores of cached tokens ------------------------------------------------------------------------ */

/* out[c] = sum of column c of x [M, D]: a block takes WARP columns, each of its warps every eighth
 * row; then the eight partial sums of a column are added in order. */
template <class X>
__global__ void __launch_bounds__(BLOCK)
    sum_rows_kernel(const X *x, int64_t m, int dim, float *out) {
    __shared__ float part[BLOCK / WARP][WARP];
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int c = (int)blockIdx.x * WARP + lane;
    float sum = 0;
    for (int64_t r = warp; c < dim && r < m; r += BLOCK / WARP) sum += lti_load(x, r * dim + c);
    part[warp][lane] = sum;
    __syncthreads();
    if (warp || c >= dim) return;
    for (int i = 1; i < BLOCK / WARP; i++) sum += part[i][lane];
    out[c] = sum;
}

void lti_cuda_sum_rows(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    const int dim = (int)x->n[1];
    LTI_TYPES1(x->dtype, LTI_LAUNCH(d, "sum_rows", sum_rows_kernel<X>, lti_grid(dim, WARP), BLOCK,
                                    0, (const X *)x->data, x->n[0], dim, (float *)out->data));
}

/* out[n] = scale q . k[n], one warp each. */
template <class X>
__global__ void __launch_bounds__(BLOCK)
    scores_kernel(const float *q, const X *k, float scale, int dim, int64_t n, float *out) {
    const int64_t p = (int64_t)blockIdx.x * (BLOCK / WARP) + threadIdx.x / WARP;
    if (p >= n) return; /* the whole warp */
    float dot = 0;
    for (int i = (int)threadIdx.x % WARP; i < dim; i += WARP)
        dot += q[i] * lti_load(k, p * dim + i);
    dot = lti_warp_sum(dot);
    if (threadIdx.x % WARP == 0) out[p] = scale * dot;
}

void lti_cuda_token_scores(lti_dev *d, const lti_tensor *q, const lti_tensor *k, float scale,
                           const lti_tensor *out) {
    const int64_t n = k->n[0];
    LTI_TYPES1(k->dtype, LTI_LAUNCH(d, "token_scores", scores_kernel<X>, lti_grid(n, BLOCK / WARP),
                                    BLOCK, 0, (const float *)q->data, (const X *)k->data, scale,
                                    (int)k->n[1], n, (float *)out->data));
}

/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/conv.cu - 3-d convolution on channels-last maps: the choice of a kernel, and our own.
 *
 * Ours is a matrix product without the matrix (implicit GEMM): rows are output positions, columns
 * output channels, and the inner dimension runs over taps and input channels. A block makes TILE by
 * TILE outputs from slices of DEEP input channels in shared memory, a thread 4 by 4 of them. Weights
 * are packed [Co, kt kh kw, Ci], as cuDNN wants them: one copy serves both. f32 sums in a fixed
 * order; compute BF16 rounds input and weights to bf16 first. It is for what cuDNN does not take, and
 * for machines without it.
 * Zero padding in space only; time context stands in front of the input already. */
#include "backend/cuda/cuda.h"
#include "base/error.h"
#include <stdlib.h>

static constexpr int TILE = 64, DEEP = 16, SIDE = 4, THREADS = 256;

struct Shape {
    int ci, co, kt, kh, kw;
    int h, w, ho, wo; /* in, out */
    int stride[3], pad_top, pad_left;
    int64_t positions; /* To ho wo */
};

static __device__ __forceinline__ float rounded(float v, const float *) { return v; }
static __device__ __forceinline__ float rounded(float v, const __nv_bfloat16 *) {
    return __bfloat162float(__float2bfloat16_rn(v));
}

/* Element c of the input row under tap (a, i, j) of output position p; 0 in the padding. */
template <class X>
static __device__ float input_at(const X *x, const Shape &s, int64_t p, int a, int i, int j,
                                 int c) {
    const int px = (int)(p % s.wo), py = (int)(p / s.wo % s.ho);
    const int64_t t = p / ((int64_t)s.wo * s.ho) * s.stride[0] + a;
    const int ix = px * s.stride[2] + j - s.pad_left, iy = py * s.stride[1] + i - s.pad_top;
    if (p >= s.positions || c >= s.ci || ix < 0 || ix >= s.w || iy < 0 || iy >= s.h) return 0;
    return lti_load(x, ((t * s.h + iy) * s.w + ix) * s.ci + c);
}

template <class X, class W, class O>
__global__ void __launch_bounds__(THREADS)
    conv_kernel(const X *x, const W *w, const float *bias, Shape s, bool add, lti_act act, O *out) {
    __shared__ float in[DEEP][TILE + 1], weight[DEEP][TILE + 1];
    const int64_t p0 = (int64_t)blockIdx.x * TILE;
    const int o0 = (int)blockIdx.y * TILE, tid = (int)threadIdx.x;
    const int row = tid / (TILE / SIDE) * SIDE, col = tid % (TILE / SIDE) * SIDE;
    const int taps = s.kt * s.kh * s.kw;
    float acc[SIDE][SIDE] = {};
    for (int tap = 0; tap < taps; tap++) {
        const int a = tap / (s.kh * s.kw), i = tap / s.kw % s.kh, j = tap % s.kw;
        for (int c0 = 0; c0 < s.ci; c0 += DEEP) {
            __syncthreads();
            for (int e = tid; e < TILE * DEEP; e += THREADS) {
                const int c = e % DEEP, r = e / DEEP;
                in[c][r] = rounded(input_at(x, s, p0 + r, a, i, j, c0 + c), w);
            }
            for (int e = tid; e < TILE * DEEP; e += THREADS) {
                const int c = e % DEEP, o = e / DEEP;
                const bool there = c0 + c < s.ci && o0 + o < s.co;
                const int64_t at = ((int64_t)(o0 + o) * taps + tap) * s.ci + c0 + c;
                weight[c][o] = there ? lti_load(w, at) : 0.0f;
            }
            __syncthreads();
            for (int c = 0; c < DEEP; c++)
                for (int r = 0; r < SIDE; r++)
                    for (int o = 0; o < SIDE; o++) acc[r][o] += in[c][row + r] * weight[c][col + o];
        }
    }
    for (int r = 0; r < SIDE; r++)
        for (int o = 0; o < SIDE; o++) {
            const int64_t p = p0 + row + r;
            const int oc = o0 + col + o;
            if (p >= s.positions || oc >= s.co) continue;
            float v = acc[r][o] + (bias ? bias[oc] : 0.0f);
            if (add) v += lti_load(out, p * s.co + oc);
            if (act == LTI_ACT_RELU) v = v > 0 ? v : v < 0 ? 0.0f : v; /* NaN stays */
            lti_store(out, p * s.co + oc, v);
        }
}

static void conv_own(lti_dev *d, const lti_conv *c) {
    const lti_packed *w = c->w;
    const lti_cuda_weight *impl = (const lti_cuda_weight *)w->impl;
    Shape s = {};
    s.co = (int)w->n[0], s.ci = (int)w->n[1];
    s.kt = (int)w->n[2], s.kh = (int)w->n[3], s.kw = (int)w->n[4];
    s.h = (int)c->x.n[1], s.w = (int)c->x.n[2];
    s.ho = (int)c->out.n[1], s.wo = (int)c->out.n[2];
    for (int i = 0; i < 3; i++) s.stride[i] = c->stride[i];
    s.pad_top = c->pad_top, s.pad_left = c->pad_left;
    s.positions = c->out.n[0] * s.ho * s.wo;
    const dim3 grid((unsigned)((s.positions + TILE - 1) / TILE),
                    (unsigned)((s.co + TILE - 1) / TILE));
    if (w->dtype == LTI_F32)
        LTI_TYPES2(c->x.dtype, c->out.dtype,
                   LTI_LAUNCH(d, "conv", (conv_kernel<X, float, O>), grid, THREADS, 0,
                              (const X *)c->x.data, (const float *)impl->w, impl->bias, s, c->add,
                              c->act, (O *)c->out.data));
    else
        LTI_TYPES2(c->x.dtype, c->out.dtype,
                   LTI_LAUNCH(d, "conv", (conv_kernel<X, __nv_bfloat16, O>), grid, THREADS, 0,
                              (const X *)c->x.data, (const __nv_bfloat16 *)impl->w, impl->bias, s,
                              c->add, c->act, (O *)c->out.data));
}

/* ---- packing ------------------------------------------------------------------------------------------ */

/* w [Co, Ci, taps] of any float dtype -> [Co, taps, Ci] in `compute`, host memory. */
static void *channels_last(const lti_tensor *w, lti_dtype compute) {
    const int64_t co = w->n[0], ci = w->n[1], taps = w->n[2] * w->n[3] * w->n[4],
                  n = co * ci * taps;
    float *f = (float *)malloc((size_t)n * sizeof *f);
    void *to = malloc((size_t)n * lti_dtype_size(compute));
    for (int64_t i = 0; f && to && i < n; i++) {
        const int64_t o = i / (taps * ci), t = i / ci % taps, c = i % ci;
        f[i] = lti_get_f32(w, (o * ci + c) * taps + t);
    }
    if (f && to) lti_from_f32(f, n, compute, to);
    else free(to), to = NULL;
    free(f);
    return to;
}

lti_packed *lti_cuda_pack_conv(lti_dev *d, const lti_tensor *w, const lti_tensor *b,
                               lti_dtype compute, lt_error *err) {
    void *host = channels_last(w, compute);
    if (!host) return lti_oom(err, lti_nbytes(w)), (lti_packed *)NULL;
    lti_packed *p = lti_cuda_pack_new(d, 1, w, b, compute, host, err);
    free(host);
    return p;
}

/* ---- the op ----------------------------------------------------------------------------------------- */

void lti_cuda_prepare_conv(lti_dev *d, const lti_conv *c) {
    if (lti_cuda_dnn_conv_takes(d, c)) lti_cuda_dnn_conv_prepare(d, c);
}

void lti_cuda_conv(lti_dev *d, const lti_conv *c) {
    const bool library = lti_cuda_dnn_conv_takes(d, c);
    if (library && lti_cuda_dnn_conv(d, c)) return;
    d->n_fallback += library;
    conv_own(d, c);
}

/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/linear.cu - linear: the choice between cuBLASLt and a kernel of our own, and that one.
 *
 * cuBLASLt takes rows of 16 bytes' multiples; around it go a cast of x to the compute dtype and,
 * where its epilogue cannot do the activation (SiLU) or not write the dtype (f32 weights, bf16
 * output), a pass over an f32 result. Both live in the dev's scratch: [x | result].
 * E4M3 weights: x is turned into E4M3 with scales instead of being cast: [x | its scales | result].
 * With bf16 output or E4M3 the library adds a bias rounded to bf16; everything else is f32 until the one
 * rounding at the end.
 *
 * Our kernel takes everything else. Compute BF16, also with E4M3 weights, rounds x to bf16 on the way
 * in. Sums of DEEP terms
 * are added to a total, in one fixed order: the error grows with sqrt(K / DEEP) + sqrt(DEEP), not
 * with sqrt(K), and no bit depends on grid or card. It has no tensor cores and is some twenty times
 * slower than the library: for odd shapes and machines without it. */
#include "backend/cuda/linear.h"
#include "base/error.h"

static constexpr int TILE = 64, DEEP = 32, SIDE = 16, EACH = TILE / SIDE, BLOCK = SIDE * SIDE;

/* ---- our own kernel --------------------------------------------------------------------------------- */

struct E4m3 {
    uint8_t bits;
};

static __device__ __forceinline__ float lti_load(const E4m3 *p, int64_t i) {
    const unsigned b = p[i].bits, magnitude = b & 0x7f;
    const float v = magnitude < 8       ? (float)magnitude * 0x1p-9f
                    : magnitude == 0x7f ? __uint_as_float(0x7fc00000u)
                                        : __uint_as_float((magnitude << 20) + (120u << 23));
    return b & 0x80 ? -v : v;
}

/* x as the product sees it: rounded if the weights are bf16. */
static __device__ __forceinline__ float as_operand(float v, const float *) { return v; }
template <class W> static __device__ __forceinline__ float as_operand(float v, const W *) {
    return __bfloat162float(__float2bfloat16_rn(v));
}

/* Rows [row, row + TILE) and columns [k0, k0 + DEEP) of from [n_row, k], turned; 0 outside. */
template <class T, class W>
static __device__ __forceinline__ void load_tile(const T *from, int64_t row, int64_t n_row, int k0,
                                                 int k, const W *w, float (*to)[TILE + 1]) {
    for (int e = (int)threadIdx.x; e < TILE * DEEP; e += BLOCK) {
        const int i = e % DEEP, r = e / DEEP;
        const bool there = k0 + i < k && row + r < n_row;
        to[i][r] = there ? as_operand(lti_load(from, (row + r) * k + k0 + i), w) : 0.0f;
    }
}

/* One block: TILE rows of x by TILE rows of w; a thread: every SIDE-th of both. */
template <class X, class W, class O>
__global__ void __launch_bounds__(BLOCK)
    linear_kernel(const X *x, const W *w, const float *scale, int scale_step, const float *bias,
                  int64_t m, int n, int k, lti_act act, O *out) {
    __shared__ float xs[DEEP][TILE + 1], ws[DEEP][TILE + 1];
    const int64_t m0 = (int64_t)blockIdx.x * TILE;
    const int n0 = (int)blockIdx.y * TILE;
    const int tx = (int)threadIdx.x % SIDE, ty = (int)threadIdx.x / SIDE;
    float total[EACH][EACH] = {};
    for (int k0 = 0; k0 < k; k0 += DEEP) {
        float part[EACH][EACH] = {};
        __syncthreads(); /* the tiles before have been read */
        load_tile(x, m0, m, k0, k, w, xs);
        load_tile(w, n0, n, k0, k, w, ws);
        __syncthreads();
        for (int i = 0; i < DEEP; i++)
            for (int r = 0; r < EACH; r++)
                for (int c = 0; c < EACH; c++)
                    part[r][c] += xs[i][ty + r * SIDE] * ws[i][tx + c * SIDE];
        for (int r = 0; r < EACH; r++)
            for (int c = 0; c < EACH; c++) total[r][c] += part[r][c];
    }
    for (int r = 0; r < EACH; r++)
        for (int c = 0; c < EACH; c++) {
            const int64_t row = m0 + ty + r * SIDE;
            const int col = n0 + tx + c * SIDE;
            if (row >= m || col >= n) continue;
            const float v = scale ? total[r][c] * scale[col * scale_step] : total[r][c];
            lti_store(out, row * n + col, lti_activate(act, v + (bias ? bias[col] : 0.0f)));
        }
}

static void linear_own(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                       const lti_tensor *out) {
    const lti_cuda_weight *impl = (const lti_cuda_weight *)w->impl;
    const int n = (int)w->n[0], k = (int)w->n[1];
    const int64_t m = lti_numel(x) / k;
    const int step = lti_cuda_fp8(d) == LTI_FP8_ROWS;
    const dim3 grid((unsigned)((m + TILE - 1) / TILE), (unsigned)((n + TILE - 1) / TILE));
#define OWN(W)                                                                                     \
    LTI_TYPES2(x->dtype, out->dtype,                                                               \
               LTI_LAUNCH(d, "linear", (linear_kernel<X, W, O>), grid, BLOCK, 0,                   \
                          (const X *)x->data, (const W *)impl->w, impl->scale, step, impl->bias,   \
                          m, n, k, act, (O *)out->data))
    if (impl->scale) OWN(E4m3);
    else if (w->dtype == LTI_F32) OWN(float);
    else OWN(__nv_bfloat16);
#undef OWN
}

/* ---- around the library's ----------------------------------------------------------------------------- */

/* out = act(x), element by element; out may be x. */
template <class X, class O>
__global__ void __launch_bounds__(BLOCK) map_kernel(const X *x, int64_t n, lti_act act, O *out) {
    const int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x;
    if (i < n) lti_store(out, i, lti_activate(act, lti_load(x, i)));
}

static void map(lti_dev *d, const void *x, lti_dtype xt, int64_t n, lti_act act, void *out,
                lti_dtype ot) {
    LTI_TYPES2(xt, ot,
               LTI_LAUNCH(d, "linear", (map_kernel<X, O>), lti_grid(n, BLOCK), BLOCK, 0,
                          (const X *)x, n, act, (O *)out));
}

struct Call {
    const lti_lt_plan *plan; /* NULL: our own kernel */
    size_t x, scale, out;    /* bytes of scratch for each; 0: not needed */
    lti_dtype operand;       /* what the library reads */
    lti_dtype result;        /* and writes */
    lti_act after;           /* what is left to do then */
};

static size_t round256(int64_t n) { return ((size_t)n + 255) & ~(size_t)255; }

static lti_lt_operands operands_of(const lti_packed *w, const Call *c) {
    const lti_cuda_weight *impl = (const lti_cuda_weight *)w->impl;
    lti_lt_operands o = {};
    o.w = impl->w;
    o.w_scale = impl->scale;
    const bool bias16 = c->result == LTI_BF16 || impl->scale;
    o.bias = bias16 ? impl->extra : impl->bias;
    return o;
}

/* True if the library does it so: result and what is left of act after it. */
static bool plan_as(lti_dev *d, int64_t m, const lti_packed *w, lti_dtype result, lti_act act,
                    lti_act after, Call *c) {
    if (w->n[0] * (int64_t)lti_dtype_size(result) % 16 != 0) return false;
    lti_lt_shape s;
    memset(&s, 0, sizeof s);
    s.m = m, s.n = w->n[0], s.k = w->n[1];
    s.in = (int32_t)c->operand, s.out = (int32_t)result;
    s.act = (int32_t)act, s.bias = w->has_bias;
    s.scales = c->operand == LTI_F8_E4M3 ? (int32_t)lti_cuda_fp8(d) : 0;
    c->result = result;
    c->after = after;
    const lti_lt_operands o = operands_of(w, c);
    return (c->plan = lti_lt_plan_get(d, &s, &o)) != NULL;
}

/* By shapes and dtypes alone, so that it comes out the same when it is prepared and when it runs. */
static Call plan_call(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                      const lti_tensor *out) {
    Call c = {};
    c.operand = ((const lti_cuda_weight *)w->impl)->scale ? LTI_F8_E4M3 : w->dtype;
    const int64_t m = lti_numel(x) / w->n[1], size = (int64_t)lti_dtype_size(c.operand);
    const lti_dtype best = w->dtype == LTI_F32 ? LTI_F32 : out->dtype;
    if (!lti_cuda_of(d)->cublas || w->n[1] * size % 16 != 0) return c;
    const bool fused = act != LTI_ACT_SILU && plan_as(d, m, w, best, act, LTI_ACT_NONE, &c);
    if (!fused && (best == LTI_BF16 || act != LTI_ACT_NONE))
        plan_as(d, m, w, LTI_F32, LTI_ACT_NONE, act, &c);
    if (!c.plan) return c;
    if (x->dtype != c.operand) c.x = round256(lti_numel(x) * size);
    if (c.operand == LTI_F8_E4M3) c.scale = round256((m + 1) * (int64_t)sizeof(float));
    if (out->dtype != c.result) c.out = round256(lti_numel(out) * (int64_t)sizeof(float));
    return c;
}

static bool aligned(const lti_tensor *t) { return (uintptr_t)t->data % 16 == 0; }

void lti_cuda_prepare_linear(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                             const lti_tensor *out) {
    const Call c = plan_call(d, x, w, act, out);
    if (c.x + c.out) lti_cuda_scratch(d, c.x + c.scale + c.out);
}

void lti_cuda_linear(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                     const lti_tensor *out) {
    const Call c = plan_call(d, x, w, act, out);
    if (!lti_cuda_ok(d)) return;
    if (!c.plan || !aligned(x) || !aligned(out)) {
        linear_own(d, x, w, act, out);
        return;
    }
    char *scratch = c.x + c.out ? (char *)lti_cuda_scratch(d, c.x + c.scale + c.out) : NULL;
    if (c.x + c.out && !scratch) return;
    lti_lt_operands o = operands_of(w, &c);
    o.x = c.x ? scratch : x->data;
    o.out = c.out ? scratch + c.x + c.scale : out->data;
    if (c.scale) {
        float *scale = (float *)(scratch + c.x);
        lti_cuda_fp8_convert(d, x->data, x->dtype, lti_numel(x) / w->n[1], w->n[1], scratch, scale);
        o.x_scale = scale;
    } else if (c.x) {
        map(d, x->data, x->dtype, lti_numel(x), LTI_ACT_NONE, scratch, c.operand);
    }
    lti_lt_plan_run(d, c.plan, &o);
    if (c.out || c.after != LTI_ACT_NONE)
        map(d, o.out, c.result, lti_numel(out), c.after, out->data, out->dtype);
}

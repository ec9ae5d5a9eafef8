/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/attention.cu - softmax attention over spans: the choice of a kernel, and our own.
 *
 * Ours takes everything backend.h allows: f32 and bf16 mixed, any span strides, bias, sink logits,
 * LSE, head_dim to 1024. A block has WARPS warps and one head; each warp carries QPW queries
 * through all keys, 32 keys at a time, one per lane, with the running maximum m, sum l and output
 * row o of the online softmax (Milakov and Gimelshein 2018):
 *     m' = max(m, max s),  l' = l e^(m - m') + sum e^(s - m'),  o' = o e^(m - m') + sum e^(s - m') v
 * Keys and values pass through one shared tile of 32 rows by PIECE channels. f32 throughout, no
 * tensor cores: it is for what cuDNN does not take and for machines without it. A query's keys are
 * summed in the order of the spans, whatever the grid.
 * Pitfalls: a bias of -inf masks, so a whole tile may be masked and m stay -inf; without any key out
 * is 0, also with a sink logit; a much larger sink logit makes its exp infinite and out 0. */
#include "backend/cuda/cuda.h"
#include "base/error.h"

static constexpr int WARP = 32, WARPS = 4, PIECE = 128, PER_LANE = PIECE / WARP;
static constexpr int MAX_HEAD_DIM = 1024;

struct Span {
    const void *k, *v;
    int64_t n, stride;
    bool f32;
};

struct Args {
    const void *q; /* [M, H, hd] */
    void *out;     /* [M, H, hd] */
    Span span[LTI_MAX_SPANS];
    int n_span, heads, hd;
    bool q_f32, out_f32;
    int64_t m, keys; /* queries, keys of all spans */
    float scale;
    const float *sink, *bias; /* [H]; [H, M, keys] */
    float *lse;               /* [H, M] */
};

/* By a flag: queries and results are touched once, and two more types would make four kernels of one. */
static __device__ __forceinline__ float load_any(const void *p, bool f32, int64_t i) {
    return f32 ? lti_load((const float *)p, i) : lti_load((const __nv_bfloat16 *)p, i);
}
static __device__ __forceinline__ void store_any(void *p, bool f32, int64_t i, float v) {
    if (f32) lti_store((float *)p, i, v);
    else lti_store((__nv_bfloat16 *)p, i, v);
}

/* Channels [c0, c0 + PIECE) of rows [n0, n0 + 32) of one head into the tile, zeros beyond. */
template <class T>
static __device__ void load_tile(const T *base, int64_t stride, int64_t n0, int64_t n, int c0,
                                 int hd, float (*tile)[PIECE + 1]) {
    for (int i = (int)threadIdx.x; i < WARP * PIECE; i += WARPS * WARP) {
        const int row = i / PIECE, c = i % PIECE;
        const bool in = n0 + row < n && c0 + c < hd;
        tile[row][c] = in ? lti_load(base, (n0 + row) * stride + c0 + c) : 0.0f;
    }
}

static __device__ void load_tile(const Span &s, const void *base, int64_t n0, int head, int c0,
                                 int hd, float (*tile)[PIECE + 1]) {
    const int64_t at = (int64_t)head * hd;
    __syncthreads(); /* the tile before has been used by all */
    if (s.f32) load_tile((const float *)base + at, s.stride, n0, s.n, c0, hd, tile);
    else load_tile((const __nv_bfloat16 *)base + at, s.stride, n0, s.n, c0, hd, tile);
    __syncthreads();
}

template <int QPW, int PIECES>
__global__ void __launch_bounds__(WARPS *WARP) attention_kernel(Args a) {
    __shared__ float tile[WARP][PIECE + 1];
    __shared__ float query[WARPS * QPW][PIECES * PIECE];
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP, hd = a.hd;
    const int head = (int)blockIdx.y;
    const int64_t m0 = (int64_t)blockIdx.x * (WARPS * QPW) + warp * QPW; /* the warp's first */
    float o[QPW][PIECES][PER_LANE], top[QPW], sum[QPW], p[QPW];

    LTI_UNROLL
    for (int j = 0; j < QPW; j++) {
        const int64_t at = ((m0 + j) * a.heads + head) * hd;
        for (int c = lane; c < PIECES * PIECE; c += WARP)
            query[warp * QPW + j][c] =
                m0 + j < a.m && c < hd ? load_any(a.q, a.q_f32, at + c) * a.scale : 0.0f;
        top[j] = -INFINITY;
        sum[j] = 0;
        LTI_UNROLL
        for (int i = 0; i < PIECES; i++) LTI_UNROLL
        for (int r = 0; r < PER_LANE; r++) o[j][i][r] = 0;
    }
    int64_t before = 0; /* keys of earlier spans */
    for (int si = 0; si < a.n_span; before += a.span[si].n, si++) {
        const Span &s = a.span[si];
        for (int64_t n0 = 0; n0 < s.n; n0 += WARP) {
            LTI_UNROLL
            for (int j = 0; j < QPW; j++) p[j] = 0;
            LTI_UNROLL
            for (int i = 0; i < PIECES; i++) {
                load_tile(s, s.k, n0, head, i * PIECE, hd, tile);
                const int many = hd - i * PIECE < PIECE ? hd - i * PIECE : PIECE;
                for (int c = 0; c < many; c++) LTI_UNROLL
                for (int j = 0; j < QPW; j++)
                    p[j] += query[warp * QPW + j][i * PIECE + c] * tile[lane][c];
            }
            LTI_UNROLL
            for (int j = 0; j < QPW; j++) {
                const bool in = n0 + lane < s.n;
                if (a.bias && in && m0 + j < a.m)
                    p[j] += a.bias[(head * a.m + m0 + j) * a.keys + before + n0 + lane];
                if (!in) p[j] = -INFINITY;
                const float now = fmaxf(top[j], lti_warp_max(p[j]));
                const float fade = now == -INFINITY ? 1.0f : expf(top[j] - now);
                p[j] = now == -INFINITY ? 0.0f : expf(p[j] - now);
                sum[j] = sum[j] * fade + lti_warp_sum(p[j]);
                top[j] = now;
                LTI_UNROLL
                for (int i = 0; i < PIECES; i++) LTI_UNROLL
                for (int r = 0; r < PER_LANE; r++) o[j][i][r] *= fade;
            }
            const int many = s.n - n0 < WARP ? (int)(s.n - n0) : WARP;
            LTI_UNROLL
            for (int i = 0; i < PIECES; i++) {
                load_tile(s, s.v, n0, head, i * PIECE, hd, tile);
                for (int n = 0; n < many; n++) LTI_UNROLL
                for (int j = 0; j < QPW; j++) {
                    const float weight = __shfl_sync(0xffffffffu, p[j], n);
                    LTI_UNROLL
                    for (int r = 0; r < PER_LANE; r++)
                        o[j][i][r] += weight * tile[n][lane + r * WARP];
                }
            }
        }
    }
    LTI_UNROLL
    for (int j = 0; j < QPW; j++) {
        if (m0 + j >= a.m) break;
        const int64_t at = ((m0 + j) * a.heads + head) * hd;
        const bool any = top[j] > -INFINITY;
        const float denom = sum[j] + (a.sink && any ? expf(a.sink[head] - top[j]) : 0.0f);
        const float inv = any && denom > 0 ? 1.0f / denom : 0.0f;
        LTI_UNROLL
        for (int i = 0; i < PIECES; i++) LTI_UNROLL
        for (int r = 0; r < PER_LANE; r++) {
            const int c = i * PIECE + lane + r * WARP;
            if (c < hd) store_any(a.out, a.out_f32, at + c, o[j][i][r] * inv);
        }
        if (a.lse && lane == 0)
            a.lse[head * a.m + m0 + j] = sum[j] > 0 ? top[j] + logf(sum[j]) : -INFINITY;
    }
}

template <int QPW, int PIECES> static void launch(lti_dev *d, const Args &args) {
    const dim3 grid((unsigned)((args.m + WARPS * QPW - 1) / (WARPS * QPW)), (unsigned)args.heads);
    LTI_LAUNCH(d, "attention", (attention_kernel<QPW, PIECES>), grid, WARPS * WARP, 0, args);
}

static void attention_own(lti_dev *d, const lti_attn *a) {
    Args args = {};
    args.q = a->q.data;
    args.out = a->out.data;
    args.q_f32 = a->q.dtype == LTI_F32;
    args.out_f32 = a->out.dtype == LTI_F32;
    args.m = a->q.n[0];
    args.heads = (int)a->q.n[1];
    args.hd = (int)a->q.n[2];
    args.scale = a->scale;
    args.sink = a->sink_logit;
    args.bias = a->bias;
    args.lse = a->lse;
    args.n_span = a->n_span;
    for (int i = 0; i < a->n_span; i++) {
        const lti_span *s = &a->span[i];
        args.span[i] = {s->k, s->v, s->n, s->stride, s->dtype == LTI_F32};
        args.keys += s->n;
    }
    LT_ASSERT(args.hd <= MAX_HEAD_DIM);
    if (args.hd <= PIECE) launch<4, 1>(d, args);
    else if (args.hd <= 2 * PIECE) launch<4, 2>(d, args);
    else if (args.hd <= 4 * PIECE) launch<2, 4>(d, args);
    else launch<1, 8>(d, args);
}

/* ---- the op ----------------------------------------------------------------------------------------- */

void lti_cuda_prepare_attention(lti_dev *d, const lti_attn *a) {
    if (lti_cuda_dnn_attention_takes(d, a)) lti_cuda_dnn_attention_prepare(d, a);
}

void lti_cuda_attention(lti_dev *d, const lti_attn *a) {
    const bool library = lti_cuda_dnn_attention_takes(d, a);
    if (library && lti_cuda_dnn_attention(d, a)) return;
    d->n_fallback += library;
    attention_own(d, a);
}

/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/cuda.h - inside of the CUDA backend.
 *
 * cuda.cu        the ops table; device, memory, copies, sticky errors
 * lib.h, lib.cu  cuBLASLt and cuDNN, found at run time: the same binary starts without them
 * rows.cu        ops that go row by row or element by element
 * layout.cu      ops that only move elements, and noise
 * linear.cu      matmul: a kernel of our own, and the choice; linear_lt.cu: cuBLASLt's
 * fp8.cu         8-bit floats for it
 * pack.cu        weights on the card
 * attention.cu   attention of any spans; attention_dnn.cu: cuDNN's for bf16
 * conv.cu        convolution; conv_dnn.cu: cuDNN's
 * dnn.cu         what the two share: graphs and plans of cuDNN
 *
 * Every .cu file is plain C++17 that nvcc compiles for the device and g++ compiles against
 * tests/shim, where a launch runs all its threads on the host: so every kernel is executed and held
 * against backend/ref on machines without a GPU. What differs is in this header alone.
 *
 * Streams. A dev owns one stream; ops are queued on it and return at once. Packed weights are
 * finished when pack_* returns, so all devs of one card may read them.
 * Errors are sticky: the first one is kept with the op's name and comes back from sync(); later
 * ops do nothing. */
#ifndef LT_BACKEND_CUDA_CUDA_H
#define LT_BACKEND_CUDA_CUDA_H
#include "backend/backend.h"
#include <cuda_bf16.h>
#include <cuda_runtime.h>

typedef struct lti_cublas lti_cublas; /* lib.h */
typedef struct lti_cudnn lti_cudnn;

typedef struct lti_cuda {
    int device;        /* ordinal */
    int sm;            /* compute capability, 90 for 9.0 */
    int n_sm;          /* multiprocessors */
    size_t shared_max; /* bytes of shared memory that a block may ask for */
    cudaStream_t stream;
    lt_error error;     /* sticky */
    lti_cublas *cublas; /* NULL: not on this machine */
    lti_cudnn *cudnn;
    void *scratch; /* device memory that ops of this stream share; grown by prepare_* only */
    size_t scratch_bytes;
    void *linear_plans, *attention_plans, *conv_plans; /* of the files of these names */
} lti_cuda;

static inline lti_cuda *lti_cuda_of(lti_dev *d) { return (lti_cuda *)d->impl; }

/* ---- errors ----------------------------------------------------------------------------------- */

/* Keeps the first failure. `op`: the op's name, for the message. */
void lti_cuda_fail(lti_dev *d, lt_status code, const char *op, const char *what);
static inline bool lti_cuda_ok(lti_dev *d) { return lti_cuda_of(d)->error.code >= 0; }
/* False, and sticky, if rc is an error. */
bool lti_cuda_check(lti_dev *d, cudaError_t rc, const char *op);
/* The calling thread works on d's device from here on. False: an earlier error. */
bool lti_cuda_enter(lti_dev *d);

/* At least `bytes` of scratch, or NULL and a sticky error. Only prepare_* and pack_* may make it
 * grow: it waits for the stream. In an op it is at hand. Contents do not outlive the op. */
void *lti_cuda_scratch(lti_dev *d, size_t bytes);

/* ---- kernels ---------------------------------------------------------------------------------- */

#ifdef __CUDACC__
#define LTI_UNROLL _Pragma("unroll")
#define LTI_SHARED_DYNAMIC(type, name)                                                             \
    extern __shared__ __align__(16) unsigned char lti_shared_bytes[];                              \
    type *const name = reinterpret_cast<type *>(lti_shared_bytes)
#define LTI_LAUNCH_(kernel, grid, block, shared, stream, ...)                                      \
    kernel<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__)
#else /* tests/shim/cuda_runtime.h */
#define LTI_UNROLL
#define LTI_SHARED_DYNAMIC(type, name) type *const name = (type *)lti_shim_shared()
#define LTI_LAUNCH_(kernel, grid, block, shared, stream, ...)                                      \
    lti_shim_arguments(#kernel, __VA_ARGS__);                                                      \
    lti_shim_launch((grid), (block), (shared), (stream), [&] { kernel(__VA_ARGS__); })
#endif

/* Queue kernel(...) on d's stream; a kernel with several template arguments goes in parentheses. An
 * empty grid is not launched: CUDA refuses it. */
#define LTI_LAUNCH(d, op, kernel, grid, block, shared, ...)                                        \
    do {                                                                                           \
        const dim3 grid_ = (grid);                                                                 \
        if (grid_.x && grid_.y && grid_.z && lti_cuda_enter(d)) {                                  \
            LTI_LAUNCH_(kernel, grid_, dim3(block), (shared), lti_cuda_of(d)->stream,              \
                        __VA_ARGS__);                                                              \
            lti_cuda_check(d, cudaGetLastError(), op);                                             \
        }                                                                                          \
    } while (0)

/* Blocks for n threads of work. Sizes beyond 2^31 - 1 blocks are bugs: no tensor here is so large. */
static inline dim3 lti_grid(int64_t n, int block) {
    return dim3((unsigned)((n + block - 1) / block), 1, 1);
}

/* f32 or bf16 in memory, f32 in registers. */
static __device__ __forceinline__ float lti_load(const float *p, int64_t i) { return p[i]; }
static __device__ __forceinline__ float lti_load(const __nv_bfloat16 *p, int64_t i) {
    return __bfloat162float(p[i]);
}
static __device__ __forceinline__ void lti_store(float *p, int64_t i, float v) { p[i] = v; }
static __device__ __forceinline__ void lti_store(__nv_bfloat16 *p, int64_t i, float v) {
    p[i] = __float2bfloat16_rn(v);
}

static __device__ __forceinline__ float lti_activate(lti_act act, float v) {
    if (act == LTI_ACT_SILU) return v / (1.0f + expf(-v));
    if (act == LTI_ACT_GELU_TANH)
        return 0.5f * v * (1.0f + tanhf(0.7978845608f * (v + 0.044715f * v * v * v)));
    if (act == LTI_ACT_RELU) return v > 0 ? v : v < 0 ? 0.0f : v; /* NaN stays */
    return v;
}

/* Sum over a warp, in every lane; always in the same order. */
static __device__ __forceinline__ float lti_warp_sum(float v) {
    for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}
static __device__ __forceinline__ float lti_warp_max(float v) {
    for (int o = 16; o > 0; o >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

/* The statement with X (and O) as the element types of one dtype or two, f32 or bf16. */
#define LTI_TYPES1(xt, ...)                                                                        \
    do {                                                                                           \
        if ((xt) == LTI_F32) {                                                                     \
            using X = float;                                                                       \
            __VA_ARGS__;                                                                           \
        } else {                                                                                   \
            using X = __nv_bfloat16;                                                               \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
    } while (0)
#define LTI_TYPES2(xt, ot, ...)                                                                    \
    do {                                                                                           \
        if ((ot) == LTI_F32) {                                                                     \
            using O = float;                                                                       \
            LTI_TYPES1(xt, __VA_ARGS__);                                                           \
        } else {                                                                                   \
            using O = __nv_bfloat16;                                                               \
            LTI_TYPES1(xt, __VA_ARGS__);                                                           \
        }                                                                                          \
    } while (0)

/* ---- packed weights ------------------------------------------------------------------------------ */

/* lti_packed.impl. linear: w [out, in]; conv: w [Co, taps, Ci]. In the compute dtype, on the card. */
typedef struct lti_cuda_weight {
    void *w;
    float *bias; /* f32 [out or Co], or NULL */
    void *extra; /* of linear.cu: another copy or layout, one cudaMalloc; or NULL */
    float *
        scale; /* NULL, or w is E4M3: what to multiply it with, one for all or f32 [out] (fp8.cu) */
} lti_cuda_weight;

/* A packed weight with `host` (all of it, in the compute dtype and its final order) and the bias on
 * the card; waits until it is there. Shape from w. Freed by lti_cuda_pack_free. */
lti_packed *lti_cuda_pack_new(lti_dev *d, int kind, const lti_tensor *w, const lti_tensor *b,
                              lti_dtype compute, const void *host, lt_error *err);

/* ---- cuDNN's side: attention_dnn.cu, conv_dnn.cu ---------------------------------------------------- */

/* True if cuDNN is there and such a shape is for it. */
bool lti_cuda_dnn_attention_takes(lti_dev *d, const lti_attn *a);
void lti_cuda_dnn_attention_prepare(lti_dev *d, const lti_attn *a);
bool lti_cuda_dnn_attention(lti_dev *d, const lti_attn *a); /* false: no plan; use our own */
bool lti_cuda_dnn_conv_takes(lti_dev *d, const lti_conv *c);
void lti_cuda_dnn_conv_prepare(lti_dev *d, const lti_conv *c);
bool lti_cuda_dnn_conv(lti_dev *d, const lti_conv *c);

/* ---- the ops, as in backend/backend.h ----------------------------------------------------------- */

/* compute F8_E4M3: 8-bit weights and activations where card, library and shape have it, else bf16; a
 * weight of compute dtype BF16 for everybody else. */
lti_packed *lti_cuda_pack_linear(lti_dev *d, const lti_tensor *w, const lti_tensor *b,
                                 lti_dtype compute, lt_error *err);
lti_packed *lti_cuda_pack_conv(lti_dev *d, const lti_tensor *w, const lti_tensor *b,
                               lti_dtype compute, lt_error *err);
void lti_cuda_pack_free(lti_dev *d, lti_packed *p);
void lti_cuda_prepare_linear(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                             const lti_tensor *out);
void lti_cuda_prepare_conv(lti_dev *d, const lti_conv *c);
void lti_cuda_prepare_attention(lti_dev *d, const lti_attn *a);
void lti_cuda_close_linear(lti_dev *d); /* frees the plans; also when there are none */
void lti_cuda_close_conv(lti_dev *d);
void lti_cuda_close_attention(lti_dev *d);

void lti_cuda_linear(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                     const lti_tensor *out);
void lti_cuda_conv(lti_dev *d, const lti_conv *c);
void lti_cuda_attention(lti_dev *d, const lti_attn *a);
void lti_cuda_norm_mod(lti_dev *d, const lti_tensor *x, const float *shift, const float *scale,
                       int64_t mod_stride, int64_t rows, float eps, const lti_tensor *out);
void lti_cuda_layer_norm(lti_dev *d, const lti_tensor *x, const float *w, const float *b, float eps,
                         const lti_tensor *out);
void lti_cuda_rms_norm(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                       const lti_tensor *out);
void lti_cuda_chan_norm(lti_dev *d, const lti_tensor *x, const float *gamma, bool silu,
                        const lti_tensor *out);
void lti_cuda_rope(lti_dev *d, const lti_tensor *x, int64_t x_stride, const float *table,
                   const lti_tensor *out);
void lti_cuda_norm_rope(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                        const float *table, const lti_tensor *out);
void lti_cuda_gated_add(lti_dev *d, const lti_tensor *io, const lti_tensor *y, const float *gate,
                        int64_t mod_stride, int64_t rows);
void lti_cuda_unary(lti_dev *d, lti_act act, const lti_tensor *x, const lti_tensor *out);
void lti_cuda_add(lti_dev *d, const lti_tensor *x, const lti_tensor *y, const lti_tensor *out);
void lti_cuda_mul(lti_dev *d, const lti_tensor *x, const lti_tensor *y, const lti_tensor *out);
void lti_cuda_cast(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_cuda_sum_rows(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_cuda_token_scores(lti_dev *d, const lti_tensor *q, const lti_tensor *k, float scale,
                           const lti_tensor *out);
void lti_cuda_embed_rows(lti_dev *d, const lti_tensor *table, const int32_t *id, int64_t n,
                         const lti_tensor *out);
void lti_cuda_patchify(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_cuda_unpatchify(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_cuda_upsample2x(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_cuda_time_unfold(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_cuda_lincomb(lti_dev *d, const lti_tensor *x, const float *a, const lti_tensor *y,
                      const float *b, const lti_tensor *out);
void lti_cuda_latent_to_map(lti_dev *d, const lti_tensor *x, const float *mul, const float *add,
                            const lti_tensor *out);
void lti_cuda_randn(lti_dev *d, const lti_tensor *out, uint64_t seed, uint64_t frame,
                    uint32_t step);
void lti_cuda_to_rgb8(lti_dev *d, const lti_tensor *x, const lti_tensor *out);

#endif

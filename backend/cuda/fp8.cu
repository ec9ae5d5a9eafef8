/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/fp8.cu - to E4M3 with scales: weights once, activations before every matmul.
 *
 * value = scale * q, q in E4M3 (at most 448, three bits of mantissa), scale = max |value| / 448 over
 * what it covers. On Hopper with cuBLASLt 12.9 and later that is a row: one output of the weight, one
 * token of the activation, found and used in one pass. Else it is the whole matrix, which other cards
 * and versions multiply as well; activations are then read twice from memory.
 * The bias, sums and outputs stay as for bf16. Error of one product: some 4 % of its size, of a sum
 * of many about that of its spread: nmse 1e-3, where bf16 has 1e-5.
 * A maximum does not depend on the order in which it is taken: nothing here depends on the grid. */
#include "backend/cuda/lib.h"
#include "backend/cuda/linear.h"
#include <cuda_fp8.h>

static constexpr int BLOCK = 256, WARP = 32, PACK = 8;

lti_fp8 lti_cuda_fp8(lti_dev *d) {
    const lti_cuda *c = lti_cuda_of(d);
    if (!c->cublas || c->sm < 89) return LTI_FP8_NONE;
    return c->sm == 90 && c->cublas->version >= 120900 ? LTI_FP8_ROWS : LTI_FP8_MATRIX;
}

bool lti_cuda_fp8_takes(lti_dev *d, int64_t n_out, int64_t n_in) {
    return lti_cuda_fp8(d) != LTI_FP8_NONE && n_out % 16 == 0 && n_in % 16 == 0;
}

/* ---- PACK elements at a time, 16-byte aligned -------------------------------------------------------- */

static __device__ __forceinline__ void load_pack(const float *p, float *v) {
    const float4 a = *(const float4 *)p, b = *(const float4 *)(p + 4);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

static __device__ __forceinline__ void load_pack(const __nv_bfloat16 *p, float *v) {
    const uint4 u = *(const uint4 *)p;
    const unsigned word[4] = {u.x, u.y, u.z, u.w};
    for (int i = 0; i < 4; i++) {
        v[2 * i] = __uint_as_float(word[i] << 16);
        v[2 * i + 1] = __uint_as_float(word[i] & 0xffff0000u);
    }
}

static __device__ __forceinline__ void store_pack(uint8_t *q, const float *v, float inverse) {
    unsigned half[4];
    for (int i = 0; i < 4; i++) {
        const float2 two = make_float2(v[2 * i] * inverse, v[2 * i + 1] * inverse);
        half[i] = __nv_cvt_float2_to_fp8x2(two, __NV_SATFINITE, __NV_E4M3);
    }
    uint2 u;
    u.x = half[0] | half[1] << 16;
    u.y = half[2] | half[3] << 16;
    *(uint2 *)q = u;
}

template <class X> static __device__ __forceinline__ float pack_max(const X *p, float most) {
    float v[PACK];
    load_pack(p, v);
    for (int i = 0; i < PACK; i++) most = fmaxf(most, fabsf(v[i]));
    return most;
}

static __device__ __forceinline__ float scale_of(float most) {
    return fmaxf(most / 448.0f, 1e-30f); /* of nothing but zeros: its inverse is finite */
}

/* The largest v of the block, in every thread. */
static __device__ float block_max(float v) {
    __shared__ float part[BLOCK / WARP];
    v = lti_warp_max(v);
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = v;
    __syncthreads();
    for (int i = 0; i < BLOCK / WARP; i++) v = fmaxf(v, part[i]);
    return v;
}

/* ---- kernels ------------------------------------------------------------------------------------------ */

/* x [M, k] -> q [M, k], scale [M]; a row is a block's. */
template <class X>
__global__ void __launch_bounds__(BLOCK) rows_kernel(const X *x, int k, uint8_t *q, float *scale) {
    const int64_t row = blockIdx.x;
    x += row * k;
    q += row * k;
    float most = 0;
    for (int i = (int)threadIdx.x * PACK; i < k; i += BLOCK * PACK) most = pack_max(x + i, most);
    const float s = scale_of(block_max(most)), inverse = 1.0f / s;
    if (threadIdx.x == 0) scale[row] = s;
    for (int i = (int)threadIdx.x * PACK; i < k; i += BLOCK * PACK) {
        float v[PACK];
        load_pack(x + i, v);
        store_pack(q + i, v, inverse);
    }
}

/* *most = the bits of max |x|: of floats that are not negative, they are in the order of the values. */
template <class X>
__global__ void __launch_bounds__(BLOCK) max_kernel(const X *x, int64_t n, unsigned *most) {
    float v = 0;
    for (int64_t i = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) * PACK; i < n;
         i += (int64_t)gridDim.x * BLOCK * PACK)
        v = pack_max(x + i, v);
    v = block_max(v);
    if (threadIdx.x == 0) atomicMax(most, __float_as_uint(v));
}

/* x [n] -> q [n], one scale. */
template <class X>
__global__ void __launch_bounds__(BLOCK)
    matrix_kernel(const X *x, int64_t n, const unsigned *most, uint8_t *q, float *scale) {
    const int64_t i = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) * PACK;
    const float s = scale_of(__uint_as_float(*most));
    if (i == 0) *scale = s;
    if (i >= n) return;
    float v[PACK];
    load_pack(x + i, v);
    store_pack(q + i, v, 1.0f / s);
}

void lti_cuda_fp8_convert(lti_dev *d, const void *x, lti_dtype dtype, int64_t m, int64_t k,
                          void *q_, float *scale) {
    const int64_t n = m * k;
    uint8_t *q = (uint8_t *)q_;
    if (lti_cuda_fp8(d) == LTI_FP8_ROWS) {
        LTI_TYPES1(dtype, LTI_LAUNCH(d, "linear", rows_kernel<X>, dim3((unsigned)m), BLOCK, 0,
                                     (const X *)x, (int)k, q, scale));
        return;
    }
    unsigned *most = (unsigned *)(scale + 1);
    if (!lti_cuda_enter(d) ||
        !lti_cuda_check(d, cudaMemsetAsync(most, 0, sizeof *most, lti_cuda_of(d)->stream),
                        "linear"))
        return;
    const dim3 grid = lti_grid(n, BLOCK * PACK);
    const unsigned few = 8u * (unsigned)lti_cuda_of(d)->n_sm; /* blocks: one atomic each */
    LTI_TYPES1(dtype, LTI_LAUNCH(d, "linear", max_kernel<X>, dim3(grid.x < few ? grid.x : few),
                                 BLOCK, 0, (const X *)x, n, most));
    LTI_TYPES1(dtype, LTI_LAUNCH(d, "linear", matrix_kernel<X>, grid, BLOCK, 0, (const X *)x, n,
                                 most, q, scale));
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/cuda_bf16.h - bfloat16 on the host: rounding to nearest even, NaN kept a NaN. */
#ifndef LT_TESTS_SHIM_CUDA_BF16_H
#define LT_TESTS_SHIM_CUDA_BF16_H
#include "cuda_runtime.h"

struct alignas(2) __nv_bfloat16 {
    uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

static inline float __bfloat162float(__nv_bfloat16 v) {
    return __uint_as_float((unsigned)v.bits << 16);
}
static inline __nv_bfloat16 __float2bfloat16_rn(float f) {
    const unsigned u = __float_as_uint(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return __nv_bfloat16{(uint16_t)(u >> 16 | 0x40)};
    return __nv_bfloat16{(uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16)};
}
static inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) {
    return __nv_bfloat162{__float2bfloat16_rn(a), __float2bfloat16_rn(b)};
}
static inline float2 __bfloat1622float2(__nv_bfloat162 v) {
    return make_float2(__bfloat162float(v.x), __bfloat162float(v.y));
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/cuda_fp8.h - 8-bit floats on the host. */
#ifndef LT_TESTS_SHIM_CUDA_FP8_H
#define LT_TESTS_SHIM_CUDA_FP8_H
#include "cuda_runtime.h"
#include "tensor/tensor.h"

typedef uint16_t __nv_fp8x2_storage_t;
enum __nv_saturation_t { __NV_NOSAT, __NV_SATFINITE };
enum __nv_fp8_interpretation_t { __NV_E4M3, __NV_E5M2 };

static inline __nv_fp8x2_storage_t __nv_cvt_float2_to_fp8x2(float2 v, __nv_saturation_t s,
                                                            __nv_fp8_interpretation_t f) {
    if (s != __NV_SATFINITE || f != __NV_E4M3) abort();
    return (uint16_t)(lti_f32_to_f8e4m3(v.x) | lti_f32_to_f8e4m3(v.y) << 8);
}

#endif

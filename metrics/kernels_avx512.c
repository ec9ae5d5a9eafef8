/* SPDX-License-Identifier: Apache-2.0
 * metrics/kernels_avx512.c - sample loops for AVX-512. See kernels.inc. */
#if defined(__x86_64__)
#define KERNELS_TABLE lti_kernels_avx512
#include "metrics/kernels.inc"
#endif

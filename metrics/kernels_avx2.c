/* SPDX-License-Identifier: Apache-2.0
 * metrics/kernels_avx2.c - sample loops for AVX2. See kernels.inc. */
#if defined(__x86_64__)
#define KERNELS_TABLE lti_kernels_avx2
#include "metrics/kernels.inc"
#endif

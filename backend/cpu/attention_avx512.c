/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/attention_avx512.c - attention in f32, 16 queries per vector; attention.inc. */
#if defined(__x86_64__)
#define W 16
#define R 8
#define BF16 0
#define KERNEL lti_cpu_attn_avx512
#include "backend/cpu/attention.inc"
#endif

/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/attention_avx2.c - attention tile in f32, 8 queries per vector. See attention.inc. */
#if defined(__x86_64__)
#define W 8
#define R 4
#define BF16 0
#define KERNEL lti_cpu_attn_avx2
#include "backend/cpu/attention.inc"
#endif

/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/attention_bf16_avx512.c - attention tile in bf16 dot products. See attention.inc. */
#if defined(__x86_64__)
#define W 16
#define R 8
#define BF16 1
#define KERNEL lti_cpu_attn_avx512_bf16
#include "backend/cpu/attention.inc"
#endif

/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/attention_portable.c - attention in plain C, 4 queries per vector; attention.inc. */
#define W 4
#define R 4
#define BF16 0
#define KERNEL lti_cpu_attn_portable
#include "backend/cpu/attention.inc"

/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/rows_avx512.c - row kernels, 16 floats at a time. See rows.inc. */
#if defined(__x86_64__)
#define W 16
#define ROWS_TABLE lti_cpu_rows_avx512
#include "backend/cpu/rows.inc"
#endif

/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/rows_avx2.c - row kernels, 8 floats at a time. See rows.inc. */
#if defined(__x86_64__)
#define W 8
#define ROWS_TABLE lti_cpu_rows_avx2
#include "backend/cpu/rows.inc"
#endif

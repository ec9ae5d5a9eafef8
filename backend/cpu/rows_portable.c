/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/rows_portable.c - row kernels, 4 floats at a time. See rows.inc. */
#define W 4
#define ROWS_TABLE lti_cpu_rows_portable
#include "backend/cpu/rows.inc"

/* SPDX-License-Identifier: Apache-2.0
 * metrics/motion_block_avx2.c - loops over a block for AVX2. See motion_block.inc. */
#if defined(__x86_64__)
#define BLOCK_OPS lti_block_ops_avx2
#include "metrics/motion_block.inc"
#endif

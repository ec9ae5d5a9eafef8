/* SPDX-License-Identifier: Apache-2.0
 * metrics/motion_block_base.c - loops over a block for what every processor of the kind has. See
 * motion_block.inc. */
#define BLOCK_OPS lti_block_ops_base
#include "metrics/motion_block.inc"

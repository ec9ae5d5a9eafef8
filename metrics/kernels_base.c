/* SPDX-License-Identifier: Apache-2.0
 * metrics/kernels_base.c - sample loops for any processor of the kind. See kernels.inc. */
#define KERNELS_TABLE lti_kernels_base
#include "metrics/kernels.inc"

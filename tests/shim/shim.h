/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/shim.h - what tests may ask of the host's CUDA. */
#ifndef LT_TESTS_SHIM_SHIM_H
#define LT_TESTS_SHIM_SHIM_H
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The next n-th allocation or launch of this thread from now on fails; 0: none. */
void lti_shim_fail_after(int allocations, int launches);
size_t lti_shim_allocated(void); /* bytes of device memory in use */

#ifdef __cplusplus
}
#endif
#endif

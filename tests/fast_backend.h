/* SPDX-License-Identifier: Apache-2.0
 * tests/fast_backend.h - which backend a test holds against the reference: LT_BACKEND, else "cpu". */
#ifndef LT_TESTS_FAST_BACKEND_H
#define LT_TESTS_FAST_BACKEND_H
#include <stdlib.h>

static inline const char *fast_backend(void) {
    const char *name = getenv("LT_BACKEND");
    return name && *name ? name : "cpu";
}
#endif

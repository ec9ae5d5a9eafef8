/* SPDX-License-Identifier: Apache-2.0
 * tests/fast_backend.h - what the environment says about a test program.
 *
 * LT_BACKEND  the backend that is held against the reference; default cpu
 * LT_TEST     only the tests of this name (a pattern); LT_EVERY=N only every N-th case: for backends
 *             that run on the host under tests/shim */
#ifndef LT_TESTS_FAST_BACKEND_H
#define LT_TESTS_FAST_BACKEND_H
#include <stdlib.h>

static inline const char *fast_backend(void) {
    const char *name = getenv("LT_BACKEND");
    return name && *name ? name : "cpu";
}

static inline int fast_stride(void) {
    const char *every = getenv("LT_EVERY");
    const long n = every ? strtol(every, NULL, 10) : 1;
    return n > 0 && n < 1000 ? (int)n : 1;
}
#endif

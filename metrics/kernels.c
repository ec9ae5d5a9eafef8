/* SPDX-License-Identifier: Apache-2.0
 * metrics/kernels.c - which table of sample loops this processor can run. */
#include "metrics/metrics_int.h"

extern const lti_kernels lti_kernels_base, lti_kernels_avx2, lti_kernels_avx512;

/* All that the files' compiler flags allow: the compiler may use any of it. */
const lti_kernels *lti_kernels_at(int level) {
    if (level == 0) return &lti_kernels_base;
#if defined(__x86_64__)
    /* f16c too, but clang 14 cannot ask for it: every processor with AVX2 has it */
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (level == 1 && avx2) return &lti_kernels_avx2;
    if (level == 2 && avx2 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16"))
        return &lti_kernels_avx512;
#endif
    return NULL;
}

const lti_kernels *lti_kernels_best(void) {
    for (int level = 2; level > 0; level--)
        if (lti_kernels_at(level)) return lti_kernels_at(level);
    return &lti_kernels_base;
}

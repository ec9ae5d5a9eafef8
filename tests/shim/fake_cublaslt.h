/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/fake_cublaslt.h - a cuBLASLt on the host, and what tests may make of it. */
#ifndef LT_TESTS_SHIM_FAKE_CUBLASLT_H
#define LT_TESTS_SHIM_FAKE_CUBLASLT_H
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lti_fake_cublas_state {
    /* what it shall do */
    size_t version;       /* 130100 */
    const char *missing;  /* a function it lacks */
    int create_status;    /* what cublasLtCreate returns */
    int heuristic_status; /* what the heuristic returns */
    unsigned no_epilogue; /* bits of epilogues that it has no algorithm for; ~0: for nothing */
    int matmul_fails;     /* the n-th matmul from now on returns EXECUTION_FAILED; 0: none */
    /* what it was asked */
    int n_heuristic, n_matmul, n_live; /* calls, calls, handles and descriptors not destroyed */
    const char *refused;               /* why the last call was refused */
} lti_fake_cublas_state;

extern lti_fake_cublas_state lti_fake_cublas;

/* The loader has it as `path` (not copied) from now on. Its state goes back to the default. */
void lti_fake_cublas_install(const char *path);
/* `path` is there and is no library that can be loaded. */
void lti_fake_broken_install(const char *path);
/* The loader has nothing. */
void lti_fake_remove_all(void);

#ifdef __cplusplus
}
#endif
#endif

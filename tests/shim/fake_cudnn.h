/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/fake_cudnn.h - a cuDNN graph interface on the host, and what tests may make of it. */
#ifndef LT_TESTS_SHIM_FAKE_CUDNN_H
#define LT_TESTS_SHIM_FAKE_CUDNN_H
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lti_fake_cudnn_state {
    /* what it shall do */
    size_t version;      /* 91900 */
    const char *missing; /* a function it lacks */
    int create_status;   /* what cudnnCreate returns */
    int engines;         /* on the list of mode A: 3 */
    int first_good;      /* engines before this one cannot be finalised */
    int note;            /* a numerical note of engine 0, or -1 */
    bool no_graph;       /* no graph can be finalised */
    bool no_sdpa;        /* no engine for the operation SDPA */
    bool no_fallback;    /* mode FALLBACK lists nothing */
    size_t workspace;    /* bytes that plans want */
    int execute_status;  /* what the next execution returns */
    /* what it was asked */
    int n_plan, n_execute, n_live; /* finalised, done, handles and descriptors not destroyed */
    int n_sdpa, n_length;          /* executions of the operation SDPA; those with lengths */
    int engine;                    /* of the last execution; 100: of mode FALLBACK */
    int n_refused;                 /* calls that broke a rule */
    char refused[160];             /* the last of them */
} lti_fake_cudnn_state;

extern lti_fake_cudnn_state lti_fake_cudnn;

/* The loader has it as `path` (not copied) from now on. Its state goes back to the default. */
void lti_fake_cudnn_install(const char *path);

#ifdef __cplusplus
}
#endif
#endif

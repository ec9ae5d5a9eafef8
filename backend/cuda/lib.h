/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/lib.h - cuBLASLt and cuDNN as tables of functions, filled with dlopen.
 *
 * They are half a gigabyte and not on every machine that has a driver, so the binary does not link
 * them: what is not there is NULL in lti_cuda, and our own kernels take its place.
 *
 * The few types and numbers of their C interfaces that we use are written down here as integers and
 * void pointers, so that neither building nor the host shim needs their headers; where nvcc has
 * cublasLt.h, lib.cu compares each with it. Statuses: 0 is success in both libraries. */
#ifndef LT_BACKEND_CUDA_LIB_H
#define LT_BACKEND_CUDA_LIB_H
#include "backend/cuda/cuda.h"

/* ---- cuBLASLt 12 and 13 ------------------------------------------------------------------------- */

enum lti_lt_number {
    LTI_LT_NOT_SUPPORTED = 15, /* status */
    LTI_LT_ARCH_MISMATCH = 8,
    LTI_LT_INVALID_VALUE = 7,

    LTI_LT_R_32F = 0, /* cudaDataType */
    LTI_LT_R_16BF = 14,
    LTI_LT_R_8F_E4M3 = 28,

    LTI_LT_COMPUTE_32F = 68, /* products and sums in f32: f32 inputs are not cut to TF32 */

    LTI_LT_OP_N = 0,
    LTI_LT_OP_T = 1,

    LTI_LT_DESC_TRANSA = 3, /* int32 */
    LTI_LT_DESC_TRANSB = 4,
    LTI_LT_DESC_EPILOGUE = 7,      /* uint32 */
    LTI_LT_DESC_BIAS_POINTER = 8,  /* const void * */
    LTI_LT_DESC_A_SCALE = 17,      /* const void * */
    LTI_LT_DESC_B_SCALE = 18,      /* const void * */
    LTI_LT_DESC_A_SCALE_MODE = 31, /* int32, from 12.8 on */
    LTI_LT_DESC_B_SCALE_MODE = 32,
    LTI_LT_SCALE_OUTER_VECTOR = 3, /* from 12.9 on */
    LTI_LT_DESC_BIAS_TYPE = 26,    /* int32 */
    LTI_LT_EPILOGUE_DEFAULT = 1,   /* the four below may be added to BIAS */
    LTI_LT_EPILOGUE_RELU = 2,
    LTI_LT_EPILOGUE_BIAS = 4,
    LTI_LT_EPILOGUE_GELU = 32, /* the tanh form */

    LTI_LT_PREF_WORKSPACE = 1, /* uint64 */
    LTI_LT_PREF_REDUCTION = 3, /* uint32 */
    LTI_LT_PREF_ALIGN_A = 5,   /* uint32; B, C, D follow */
    LTI_LT_PREF_ALIGN_B = 6,
    LTI_LT_PREF_ALIGN_C = 7,
    LTI_LT_PREF_ALIGN_D = 8,
    LTI_LT_REDUCTION_COMPUTE_TYPE = 2
};

typedef struct lti_lt_algo {
    uint64_t data[8];
} lti_lt_algo;

typedef struct lti_lt_choice { /* cublasLtMatmulHeuristicResult_t */
    lti_lt_algo algo;
    size_t workspace;
    int state; /* status; the rest only counts when it is 0 */
    float waves;
    int reserved[4];
} lti_lt_choice;

struct lti_cublas {
    void *library, *handle;
    cudaStream_t stream;
    size_t version; /* 120805, 130100 */

    size_t (*get_version)(void);
    const char *(*status_name)(int status);
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*desc_create)(void **desc, int compute, int scale_type);
    int (*desc_destroy)(void *desc);
    int (*desc_set)(void *desc, int attribute, const void *value, size_t bytes);
    int (*layout_create)(void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld);
    int (*layout_destroy)(void *layout);
    int (*pref_create)(void **pref);
    int (*pref_destroy)(void *pref);
    int (*pref_set)(void *pref, int attribute, const void *value, size_t bytes);
    int (*heuristic)(void *handle, void *desc, void *a, void *b, void *c, void *d, void *pref,
                     int most, lti_lt_choice *choice, int *found);
    int (*matmul)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                  const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                  void *d, void *d_layout, const lti_lt_algo *algo, void *workspace,
                  size_t workspace_bytes, cudaStream_t stream);
};

/* *out NULL and LT_OK: not on this machine. LT_EDEVICE: there, but it does not work. */
lt_status lti_cublas_open(lti_cublas **out, cudaStream_t stream, lt_error *err);
void lti_cublas_close(lti_cublas **b);

/* ---- cuDNN 9: the graph interface ----------------------------------------------------------------- */

/* Descriptor types, attribute names and attribute types are the library's enums, passed as int. */
struct lti_cudnn {
    void *library, *handle;
    size_t version; /* 91900 is 9.19.0 */

    size_t (*get_version)(void);
    const char *(*error_string)(int status);
    void (*last_error)(char *text, size_t size); /* why the last call of this thread failed */
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*set_stream)(void *handle, cudaStream_t stream);
    int (*desc_create)(int type, void **desc);
    int (*desc_destroy)(void *desc);
    int (*desc_set)(void *desc, int name, int type, int64_t n, const void *values);
    int (*desc_get)(void *desc, int name, int type, int64_t room, int64_t *n, void *values);
    int (*desc_finalize)(void *desc);
    int (*execute)(void *handle, void *plan, void *variant_pack);
};

lt_status lti_cudnn_open(lti_cudnn **out, cudaStream_t stream, lt_error *err);
void lti_cudnn_close(lti_cudnn **n);

#endif

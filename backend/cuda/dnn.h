/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/dnn.h - cuDNN's graph interface: describe a graph, have a plan made, run it.
 *
 * A graph is a set of tensors, each with an id of its own, and of operations between them. The
 * library's heuristics name engines that can run it, best first; the first that this card and this
 * version really take becomes the plan. Ops keep plans by shape: a plan is made when an op is
 * prepared, or when it meets a shape for the first time.
 * Reference: the header cudnn_graph.h and NVIDIA's "cuDNN backend API" pages.
 *
 * The numbers of the interface are written down here (lib.h says why); where nvcc has
 * cudnn_graph.h, dnn.cu compares each with it. */
#ifndef LT_BACKEND_CUDA_DNN_H
#define LT_BACKEND_CUDA_DNN_H
#include "backend/cuda/lib.h"

enum lti_dnn_number {
    /* descriptors */
    LTI_DNN_POINTWISE = 0,
    LTI_DNN_CONVOLUTION = 1,
    LTI_DNN_ENGINE = 2,
    LTI_DNN_CONFIG = 3,
    LTI_DNN_HEURISTIC = 4,
    LTI_DNN_PLAN = 5,
    LTI_DNN_OP_CONVOLUTION = 10,
    LTI_DNN_OP_POINTWISE = 13,
    LTI_DNN_GRAPH = 15,
    LTI_DNN_VARIANT_PACK = 16,
    LTI_DNN_TENSOR = 17,
    LTI_DNN_MATMUL = 18,
    LTI_DNN_OP_MATMUL = 19,
    LTI_DNN_REDUCTION = 21,
    LTI_DNN_OP_REDUCTION = 22,
    LTI_DNN_OP_SDPA = 41, /* since 9.13.1; lengths since 9.15 */

    /* types of attributes */
    LTI_DNN_T_HANDLE = 0,
    LTI_DNN_T_DATA_TYPE = 1,
    LTI_DNN_T_BOOLEAN = 2,
    LTI_DNN_T_INT64 = 3,
    LTI_DNN_T_FLOAT = 4,
    LTI_DNN_T_POINTER = 6,
    LTI_DNN_T_CONVOLUTION_MODE = 7,
    LTI_DNN_T_HEURISTIC_MODE = 8,
    LTI_DNN_T_NUMERICAL_NOTE = 11,
    LTI_DNN_T_POINTWISE_MODE = 14,
    LTI_DNN_T_DESCRIPTOR = 15,
    LTI_DNN_T_REDUCTION_MODE = 18,

    /* attributes */
    LTI_DNN_POINTWISE_MODE = 0,
    LTI_DNN_POINTWISE_PRECISION = 1,
    LTI_DNN_CONVOLUTION_PRECISION = 100,
    LTI_DNN_CONVOLUTION_MODE = 101,
    LTI_DNN_CONVOLUTION_DILATIONS = 102,
    LTI_DNN_CONVOLUTION_STRIDES = 103,
    LTI_DNN_CONVOLUTION_PAD_AFTER = 104,
    LTI_DNN_CONVOLUTION_PAD_BEFORE = 105,
    LTI_DNN_CONVOLUTION_DIMS = 106,
    LTI_DNN_HEURISTIC_MODE = 200,
    LTI_DNN_HEURISTIC_GRAPH = 201,
    LTI_DNN_HEURISTIC_RESULTS = 202,
    LTI_DNN_CONFIG_ENGINE = 300,
    LTI_DNN_PLAN_HANDLE = 400,
    LTI_DNN_PLAN_CONFIG = 401,
    LTI_DNN_PLAN_WORKSPACE = 402,
    LTI_DNN_OP_CONVOLUTION_ALPHA = 700,
    LTI_DNN_OP_CONVOLUTION_BETA = 701,
    LTI_DNN_OP_CONVOLUTION_DESC = 702,
    LTI_DNN_OP_CONVOLUTION_W = 703,
    LTI_DNN_OP_CONVOLUTION_X = 704,
    LTI_DNN_OP_CONVOLUTION_Y = 705,
    LTI_DNN_OP_POINTWISE_DESC = 750,
    LTI_DNN_OP_POINTWISE_X = 751,
    LTI_DNN_OP_POINTWISE_B = 752,
    LTI_DNN_OP_POINTWISE_Y = 753,
    LTI_DNN_GRAPH_HANDLE = 800,
    LTI_DNN_GRAPH_OPS = 801,
    LTI_DNN_TENSOR_ALIGNMENT = 900,
    LTI_DNN_TENSOR_TYPE = 901,
    LTI_DNN_TENSOR_DIMS = 902,
    LTI_DNN_TENSOR_STRIDES = 903,
    LTI_DNN_TENSOR_ID = 906,
    LTI_DNN_TENSOR_VIRTUAL = 907,
    LTI_DNN_TENSOR_BY_VALUE = 908,
    LTI_DNN_PACK_IDS = 1000,
    LTI_DNN_PACK_POINTERS = 1001,
    LTI_DNN_PACK_WORKSPACE = 1003,
    LTI_DNN_ENGINE_NOTES = 1303,
    LTI_DNN_MATMUL_PRECISION = 1500,
    LTI_DNN_OP_MATMUL_A = 1520,
    LTI_DNN_OP_MATMUL_B = 1521,
    LTI_DNN_OP_MATMUL_C = 1522,
    LTI_DNN_OP_MATMUL_DESC = 1523,
    LTI_DNN_REDUCTION_MODE = 1600,
    LTI_DNN_REDUCTION_PRECISION = 1601,
    LTI_DNN_OP_REDUCTION_X = 1610,
    LTI_DNN_OP_REDUCTION_Y = 1611,
    LTI_DNN_OP_REDUCTION_DESC = 1612,
    LTI_DNN_OP_SDPA_Q = 2800,
    LTI_DNN_OP_SDPA_K = 2801,
    LTI_DNN_OP_SDPA_V = 2802,
    LTI_DNN_OP_SDPA_O = 2803,
    LTI_DNN_OP_SDPA_STATS = 2804,
    LTI_DNN_OP_SDPA_SCALE = 2805,
    LTI_DNN_OP_SDPA_LENGTH_Q = 2809,
    LTI_DNN_OP_SDPA_LENGTH_KV = 2810,

    /* values */
    LTI_DNN_F32 = 0,
    LTI_DNN_I32 = 4,
    LTI_DNN_BF16 = 9,
    LTI_DNN_CROSS_CORRELATION = 1,
    LTI_DNN_ADD = 0, /* of two tensors */
    LTI_DNN_MUL = 1,
    LTI_DNN_DIV = 6,
    LTI_DNN_SUB = 9,
    LTI_DNN_EXP = 13, /* of one */
    LTI_DNN_LOG = 15,
    LTI_DNN_RELU = 100,
    LTI_DNN_REDUCE_ADD = 0,
    LTI_DNN_REDUCE_MAX = 3,
    LTI_DNN_MODE_FALLBACK = 2,
    LTI_DNN_MODE_A = 3,
    LTI_DNN_NOTE_TENSOR_CORE = 0,
    LTI_DNN_NOTE_DOWN_CONVERT = 1,
    LTI_DNN_NOTE_REDUCED_PRECISION = 2,
    LTI_DNN_NOTE_FFT = 3,
    LTI_DNN_NOTE_NONDETERMINISTIC = 4,
    LTI_DNN_NOTE_WINOGRAD = 5,
    LTI_DNN_NOTE_WINOGRAD_13 = 8, /* 6 and 7 are Winograd's too */

    LTI_DNN_NOT_SUPPORTED = 3000,
    LTI_DNN_INTERNAL_ERROR = 4000 /* from here on something may have been queued */
};

enum { LTI_DNN_KEY = 24, LTI_DNN_DESCRIPTORS = 72, LTI_DNN_OPS = 16, LTI_DNN_RANK = 5 };
enum lti_dnn_kind { LTI_DNN_REAL, LTI_DNN_VIRTUAL, LTI_DNN_BY_VALUE };

/* A graph and its plan. Descriptors live as long as the plan: it refers to them. */
typedef struct lti_dnn_plan {
    int64_t key[LTI_DNN_KEY]; /* what it is for: shape, strides, options */
    const lti_cudnn *n;
    void *desc[LTI_DNN_DESCRIPTORS]; /* all that were made, in that order */
    void *op[LTI_DNN_OPS];
    int n_desc, n_op;
    void *plan; /* NULL: there is none, use another way */
    size_t workspace;
    int rc;         /* of the first call that failed while it was made, or 0 */
    const char *at; /* and which one */
} lti_dnn_plan;

/* Add the graph of p->key to p. */
typedef void (*lti_dnn_describe)(lti_dnn_plan *p);

/* The plan of this key in *cache, made now if there is none: a second on the host where a kernel is
 * compiled. exact: engines that use tensor cores on f32 are not for us. NULL: cuDNN has no way of
 * doing this (noted in *d), or a sticky error. Valid until the cache is freed. */
lti_dnn_plan *lti_dnn_plan_get(lti_dev *d, void **cache, const int64_t *key, bool exact,
                               lti_dnn_describe describe);
/* What a cache holds, with or without a plan. */
int lti_dnn_plan_count(const void *cache);
lti_dnn_plan *lti_dnn_plan_at(const void *cache, int i);
void lti_dnn_free(void **cache);

/* Queue it with pointer[i] for tensor id i + 1; NULL: the graph has no such tensor. workspace: of
 * p->workspace bytes. False: not queued, and never will be; use another way. True also after an
 * error that is now sticky. */
bool lti_dnn_run(lti_dev *d, const char *op, lti_dnn_plan *p, int n, void *const *pointer,
                 void *workspace);

/* Why an op is not cuDNN's: the first such reason is kept in *d. Whoever takes the other way counts
 * it in d->n_fallback. */
void lti_dnn_note(lti_dev *d, const char *what);

/* ---- for describe ---------------------------------------------------------------------------- */

/* Every call is skipped after one has failed; NULL then. ids of virtual tensors start at 100. */
void *lti_dnn_tensor(lti_dnn_plan *p, int64_t id, int type, enum lti_dnn_kind kind, int rank,
                     const int64_t *dim, const int64_t *stride);
void *lti_dnn_new(lti_dnn_plan *p, int type);
void lti_dnn_set(lti_dnn_plan *p, void *desc, int name, int type, int64_t n, const void *values);
void lti_dnn_set_int(lti_dnn_plan *p, void *desc, int name, int type, int value);
void lti_dnn_set_desc(lti_dnn_plan *p, void *desc, int name, void *value);
void lti_dnn_finish(lti_dnn_plan *p, void *desc);
void lti_dnn_add_op(lti_dnn_plan *p, void *desc);                             /* finishes it, too */
void lti_dnn_pointwise(lti_dnn_plan *p, int mode, void *x, void *b, void *y); /* b: NULL if unary */

#endif

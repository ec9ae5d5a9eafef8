/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/linear.h - the parts that linear.cu is made of. */
#ifndef LT_BACKEND_CUDA_LINEAR_H
#define LT_BACKEND_CUDA_LINEAR_H
#include "backend/cuda/cuda.h"

/* ---- cuBLASLt: a plan for each shape (linear_lt.cu) --------------------------------------------------- */

/* out[m, n] = act(x[m, k] w[n, k]^T + bias); all it takes to choose an algorithm. Compared as bytes:
 * make it zero first. */
typedef struct lti_lt_shape {
    int64_t m, n, k;
    int32_t in;     /* dtype of x and w: F32, BF16, F8_E4M3 */
    int32_t out;    /* F32, or BF16 when `in` is not F32 */
    int32_t act;    /* NONE, RELU, GELU_TANH */
    int32_t bias;   /* there is one; of dtype BF16 if out or in says so, else F32 */
    int32_t scales; /* lti_fp8 */
    int32_t zero;
} lti_lt_shape;

typedef struct lti_lt_operands {
    const void *x, *w, *bias;
    const float *x_scale, *w_scale; /* of E4M3: one, or one per row */
    void *out;                      /* x and out 16-byte aligned, the others as cudaMalloc gives */
} lti_lt_operands;

typedef struct lti_lt_plan lti_lt_plan;

/* The plan of this shape, made now if there is none: some 100 us on the host. Of o only the bias
 * and w_scale are looked at, for their alignment. NULL: the library has no way of doing this, or a
 * sticky error. Valid until the next call. */
const lti_lt_plan *lti_lt_plan_get(lti_dev *d, const lti_lt_shape *s, const lti_lt_operands *o);
void lti_lt_plan_run(lti_dev *d, const lti_lt_plan *p, const lti_lt_operands *o);

/* ---- E4M3 (fp8.cu) -------------------------------------------------------------------------------------- */

typedef enum lti_fp8 { LTI_FP8_NONE, LTI_FP8_MATRIX, LTI_FP8_ROWS } lti_fp8; /* what has a scale */

lti_fp8 lti_cuda_fp8(lti_dev *d);
bool lti_cuda_fp8_takes(lti_dev *d, int64_t n_out, int64_t n_in);
/* x [m, k] f32 or bf16, 16-byte aligned, k a multiple of 16 -> q [m, k] E4M3. scale: room for m + 1
 * floats; [0, m) or [0] are the scales. */
void lti_cuda_fp8_convert(lti_dev *d, const void *x, lti_dtype dtype, int64_t m, int64_t k, void *q,
                          float *scale);

#endif

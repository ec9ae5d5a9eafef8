/* SPDX-License-Identifier: Apache-2.0
 * weights/ggml.h - the element types of GGUF tensors, and their blocks as F32. */
#ifndef LT_WEIGHTS_GGML_H
#define LT_WEIGHTS_GGML_H
#include "tensor/tensor.h"

typedef enum lti_ggml_id { /* the numbers of the file format; those that need decoding */
                           LTI_GGML_Q4_0 = 2,
                           LTI_GGML_Q4_1 = 3,
                           LTI_GGML_Q5_0 = 6,
                           LTI_GGML_Q5_1 = 7,
                           LTI_GGML_Q8_0 = 8,
                           LTI_GGML_Q2_K = 10,
                           LTI_GGML_Q3_K = 11,
                           LTI_GGML_Q4_K = 12,
                           LTI_GGML_Q5_K = 13,
                           LTI_GGML_Q6_K = 14,
                           LTI_GGML_IQ4_NL = 20
} lti_ggml_id;

typedef struct lti_ggml_type {
    uint32_t id;
    const char *name; /* "Q4_K" */
    int block;        /* elements of one block; 0: a type that exists but is not read */
    int bytes;        /* of one block */
    lti_dtype plain;  /* LTI_DTYPE_COUNT: blocks to decode */
} lti_ggml_type;

const lti_ggml_type *lti_ggml_find(uint32_t id); /* NULL: no such type */
/* n blocks at src (any alignment) to n * block floats. type is one of lti_ggml_id. The arithmetic
 * is ggml's, operation by operation, so the values are the same to the bit. */
void lti_ggml_decode(int type, const uint8_t *src, int64_t n, float *out);

#endif

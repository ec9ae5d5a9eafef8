/* SPDX-License-Identifier: Apache-2.0
 * tensor/tensor.h - dtype, shape and view. A view owns nothing and is passed by value.
 *
 * All views are contiguous, C order (last extent fastest). No arithmetic lives here except
 * comparison (nmse, cosine, max relative error) for tests and eval. */
#ifndef LT_TENSOR_TENSOR_H
#define LT_TENSOR_TENSOR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LTI_MAX_RANK 6

typedef enum lti_dtype {
    LTI_F32,
    LTI_BF16,
    LTI_F16,
    LTI_F64,
    LTI_F8_E4M3,
    LTI_F8_E5M2,
    LTI_I64,
    LTI_I32,
    LTI_I16,
    LTI_I8,
    LTI_U8,
    LTI_BOOL,
    LTI_DTYPE_COUNT
} lti_dtype;

typedef struct lti_tensor {
    void *data;
    lti_dtype dtype;
    int rank;
    int64_t n[LTI_MAX_RANK]; /* extents, n[0] slowest; unused ones are 1 */
} lti_tensor;

size_t lti_dtype_size(lti_dtype t);      /* bytes per element */
const char *lti_dtype_name(lti_dtype t); /* "F32", the safetensors spelling */

static inline bool lti_dtype_is_float(lti_dtype t) {
    return t == LTI_F32 || t == LTI_BF16 || t == LTI_F16 || t == LTI_F64 || t == LTI_F8_E4M3 ||
           t == LTI_F8_E5M2;
}
static inline int64_t lti_numel(const lti_tensor *t) {
    int64_t c = 1;
    for (int i = 0; i < t->rank; i++) c *= t->n[i];
    return c;
}
static inline size_t lti_nbytes(const lti_tensor *t) {
    return (size_t)lti_numel(t) * lti_dtype_size(t->dtype);
}
static inline lti_tensor lti_view(void *data, lti_dtype dt, int rank, const int64_t *n) {
    lti_tensor t = {data, dt, rank, {1, 1, 1, 1, 1, 1}};
    for (int i = 0; i < rank; i++) t.n[i] = n[i];
    return t;
}
#define LTI_VIEW(data, dt, ...)                                                                    \
    lti_view((data), (dt), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),              \
             (const int64_t[]){__VA_ARGS__})
/* Rows [first, first + count) along the slowest axis. */
static inline lti_tensor lti_rows(lti_tensor t, int64_t first, int64_t count) {
    size_t row = lti_nbytes(&t) / (size_t)(t.n[0] ? t.n[0] : 1);
    t.data = (char *)t.data + row * (size_t)first;
    t.n[0] = count;
    return t;
}

static inline float lti_bf16_to_f32(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline uint16_t lti_f32_to_bf16(float f) { /* round to nearest even, NaN stays NaN */
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
float lti_f16_to_f32(uint16_t h);
uint16_t lti_f32_to_f16(float f);
float lti_f8e4m3_to_f32(uint8_t b); /* the "fn" variant: no infinities */
float lti_f8e5m2_to_f32(uint8_t b);
uint8_t lti_f32_to_f8e4m3(float f); /* nearest, ties to even; beyond 448: +-448; NaN stays NaN */

/* Element i of any float or integer view, as f32. Slow; for loading, tests and eval. */
float lti_get_f32(const lti_tensor *t, int64_t i);
/* Convert all elements to f32; src data may be unaligned. */
void lti_to_f32(const lti_tensor *src, float *dst);
/* f32 -> dt, dt one of F32, BF16, F16. */
void lti_from_f32(const float *src, int64_t n, lti_dtype dt, void *dst);

typedef struct lti_diff {
    double nmse; /* sum (a-b)^2 / sum b^2 */
    double rel;  /* sqrt(nmse): the "relative error" of docs/NUMERICS.md */
    double cosine;
    double max_abs; /* max |a-b| */
    int64_t worst;  /* index of max_abs; of the first non-finite difference if there is one */
    bool finite;
} lti_diff;
lti_diff lti_compare_f32(const float *got, const float *want, int64_t n);

#ifdef __cplusplus
}
#endif
#endif

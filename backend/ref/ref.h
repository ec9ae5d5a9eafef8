/* SPDX-License-Identifier: Apache-2.0
 * backend/ref/ref.h - what the files of the reference backend share.
 *
 * Each op is a direct loop that says what backend.h promises; no state, no scratch memory, one
 * thread. Sums run in double or in a few f32 lanes, so that ref is the accurate side of every
 * comparison. An lti_dev of another backend that shares host memory may call these too (`disable`),
 * therefore nothing here may touch d->impl. */
#ifndef LT_BACKEND_REF_REF_H
#define LT_BACKEND_REF_REF_H
#include "backend/backend.h"

/* Element i of activation data (f32 or bf16). */
static inline float get(const void *p, lti_dtype dt, int64_t i) {
    return dt == LTI_F32 ? ((const float *)p)[i] : lti_bf16_to_f32(((const uint16_t *)p)[i]);
}

static inline void set(void *p, lti_dtype dt, int64_t i, float v) {
    if (dt == LTI_F32) ((float *)p)[i] = v;
    else ((uint16_t *)p)[i] = lti_f32_to_bf16(v);
}

static inline float round_bf16(float v) { return lti_bf16_to_f32(lti_f32_to_bf16(v)); }

/* Elements [at, at + n) as f32, rounded to bf16 when the op computes in bf16. */
static inline void load_row(const lti_tensor *x, int64_t at, int64_t n, lti_dtype compute,
                            float *dst) {
    for (int64_t i = 0; i < n; i++) dst[i] = get(x->data, x->dtype, at + i);
    if (compute == LTI_BF16 && x->dtype == LTI_F32)
        for (int64_t i = 0; i < n; i++) dst[i] = round_bf16(dst[i]);
}

float lti_ref_act(lti_act act, float v);

/* acc[j] += x[0..k) . w[j * ldw .. +k) for j in 0..n: the inner kernel of linear and conv. */
void lti_ref_dots(double *acc, int64_t n, const float *x, const float *w, int64_t ldw, int64_t k);

/* Packed weights: f32 values (already rounded to bf16 when the compute dtype is BF16).
 * linear w [out, in]; conv w [kt*kh*kw, Co, Ci]; b [out] or NULL. */
typedef struct lti_ref_weight {
    float *w, *b;
} lti_ref_weight;

/* A packed weight with room for n values and n_bias biases (0: none); NULL with err set. */
lti_packed *lti_ref_packed_new(int64_t n, int64_t n_bias, lt_error *err);

lti_packed *lti_ref_pack_linear(lti_dev *d, const lti_tensor *w, const lti_tensor *b,
                                lti_dtype compute, lt_error *err);
lti_packed *lti_ref_pack_conv(lti_dev *d, const lti_tensor *w, const lti_tensor *b,
                              lti_dtype compute, lt_error *err);
void lti_ref_linear(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                    const lti_tensor *out);
void lti_ref_conv(lti_dev *d, const lti_conv *c);
void lti_ref_attention(lti_dev *d, const lti_attn *a);
void lti_ref_norm_mod(lti_dev *d, const lti_tensor *x, const float *shift, const float *scale,
                      int64_t mod_stride, int64_t rows, float eps, const lti_tensor *out);
void lti_ref_layer_norm(lti_dev *d, const lti_tensor *x, const float *w, const float *b, float eps,
                        const lti_tensor *out);
void lti_ref_rms_norm(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                      const lti_tensor *out);
void lti_ref_chan_norm(lti_dev *d, const lti_tensor *x, const float *gamma, bool silu,
                       const lti_tensor *out);
void lti_ref_rope(lti_dev *d, const lti_tensor *x, int64_t x_stride, const float *table,
                  const lti_tensor *out);
void lti_ref_norm_rope(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                       const float *table, const lti_tensor *out);
void lti_ref_gated_add(lti_dev *d, const lti_tensor *io, const lti_tensor *y, const float *gate,
                       int64_t mod_stride, int64_t rows);
void lti_ref_unary(lti_dev *d, lti_act act, const lti_tensor *x, const lti_tensor *out);
void lti_ref_add(lti_dev *d, const lti_tensor *x, const lti_tensor *y, const lti_tensor *out);
void lti_ref_mul(lti_dev *d, const lti_tensor *x, const lti_tensor *y, const lti_tensor *out);
void lti_ref_lincomb(lti_dev *d, const lti_tensor *x, const float *a, const lti_tensor *y,
                     const float *b, const lti_tensor *out);
void lti_ref_randn(lti_dev *d, const lti_tensor *out, uint64_t seed, uint64_t frame, uint32_t step);
void lti_ref_cast(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_ref_to_rgb8(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_ref_sum_rows(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_ref_token_scores(lti_dev *d, const lti_tensor *q, const lti_tensor *k, float scale,
                          const lti_tensor *out);
void lti_ref_embed_rows(lti_dev *d, const lti_tensor *table, const int32_t *id, int64_t n,
                        const lti_tensor *out);
void lti_ref_patchify(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_ref_unpatchify(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_ref_upsample2x(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_ref_time_unfold(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_ref_latent_to_map(lti_dev *d, const lti_tensor *x, const float *mul, const float *add,
                           const lti_tensor *out);

#endif

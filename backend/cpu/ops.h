/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/ops.h - prototypes of the ops in the table; backend/backend.h says what they do. */
#ifndef LT_BACKEND_CPU_OPS_H
#define LT_BACKEND_CPU_OPS_H
#include "backend/cpu/cpu.h"

/* dnnl_plan.c, dnnl_ops.c */
lti_packed *lti_cpu_pack_linear(lti_dev *d, const lti_tensor *w, const lti_tensor *b,
                                lti_dtype compute, lt_error *err);
lti_packed *lti_cpu_pack_conv(lti_dev *d, const lti_tensor *w, const lti_tensor *b,
                              lti_dtype compute, lt_error *err);
void lti_cpu_pack_free(lti_dev *d, lti_packed *p);
void lti_cpu_prepare_linear(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                            const lti_tensor *out);
void lti_cpu_linear(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                    const lti_tensor *out);
void lti_cpu_prepare_conv(lti_dev *d, const lti_conv *c);
void lti_cpu_conv(lti_dev *d, const lti_conv *c);

/* attention.c */
void lti_cpu_prepare_attention(lti_dev *d, const lti_attn *a);
void lti_cpu_attention(lti_dev *d, const lti_attn *a);

/* rows.c */
void lti_cpu_norm_mod(lti_dev *d, const lti_tensor *x, const float *shift, const float *scale,
                      int64_t mod_stride, int64_t rows, float eps, const lti_tensor *out);
void lti_cpu_layer_norm(lti_dev *d, const lti_tensor *x, const float *w, const float *b, float eps,
                        const lti_tensor *out);
void lti_cpu_rms_norm(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                      const lti_tensor *out);
void lti_cpu_chan_norm(lti_dev *d, const lti_tensor *x, const float *gamma, bool silu,
                       const lti_tensor *out);
void lti_cpu_rope(lti_dev *d, const lti_tensor *x, int64_t x_stride, const float *table,
                  const lti_tensor *out);
void lti_cpu_norm_rope(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                       const float *table, const lti_tensor *out);
void lti_cpu_gated_add(lti_dev *d, const lti_tensor *io, const lti_tensor *y, const float *gate,
                       int64_t mod_stride, int64_t rows);
void lti_cpu_unary(lti_dev *d, lti_act act, const lti_tensor *x, const lti_tensor *out);
void lti_cpu_add(lti_dev *d, const lti_tensor *x, const lti_tensor *y, const lti_tensor *out);
void lti_cpu_mul(lti_dev *d, const lti_tensor *x, const lti_tensor *y, const lti_tensor *out);
void lti_cpu_sum_rows(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_cpu_token_scores(lti_dev *d, const lti_tensor *q, const lti_tensor *k, float scale,
                          const lti_tensor *out);
void lti_cpu_cast(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_cpu_lincomb(lti_dev *d, const lti_tensor *x, const float *a, const lti_tensor *y,
                     const float *b, const lti_tensor *out);
void lti_cpu_to_rgb8(lti_dev *d, const lti_tensor *x, const lti_tensor *out);

/* maps.c */
void lti_cpu_embed_rows(lti_dev *d, const lti_tensor *table, const int32_t *id, int64_t n,
                        const lti_tensor *out);
void lti_cpu_patchify(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_cpu_unpatchify(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_cpu_upsample2x(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_cpu_time_unfold(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
void lti_cpu_latent_to_map(lti_dev *d, const lti_tensor *x, const float *mul, const float *add,
                           const lti_tensor *out);
void lti_cpu_randn(lti_dev *d, const lti_tensor *out, uint64_t seed, uint64_t frame, uint32_t step);
#endif

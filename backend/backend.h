/* SPDX-License-Identifier: Apache-2.0
 * backend/backend.h - the ops table: everything a model may ask of a device.
 *
 * A backend is one `lti_ops` table. An `lti_dev` is one ordered queue of ops on one device, used
 * by one thread at a time; packed weights made with any lti_dev of a backend may be read by all
 * lti_devs of that backend at once. backend/ref is the specification: plain C11, f32 arithmetic.
 *
 * Rules. (1) Ops take views and sizes, never a model or a layer index. (2) The output is passed in;
 * an op never allocates after it was `prepared` with the same shapes, never blocks, never fails: a
 * wrong shape is a bug (the lti_* wrappers assert), a device failure is sticky and comes back from
 * sync(). (3) Accumulate in f32, write the dtype of `out`; f32 and bf16 are the only activation
 * dtypes. (4) Models call the lti_* wrappers below, which check shapes, count, and are muted while
 * an arena measures. (5) Input and output must not overlap unless the comment says "in place".
 *
 * Shapes: M rows (tokens), D channels, H heads, hd head_dim, F latent frames, T pixel/feature
 * frames. Video feature maps are channels last: [T, h, w, C].
 *
 * To add an op: docs/HACKING.md. To switch one off: the `disable` list of lti_dev_open. */
#ifndef LT_BACKEND_BACKEND_H
#define LT_BACKEND_BACKEND_H
#include <stdbool.h>
#include <stdint.h>
#include "longtake/status.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LTI_BACKEND_ABI 3

typedef struct lti_dev lti_dev;
typedef struct lti_packed lti_packed; /* a weight in the backend's own layout; immutable */

typedef enum lti_act { LTI_ACT_NONE, LTI_ACT_SILU, LTI_ACT_GELU_TANH, LTI_ACT_RELU } lti_act;

/* One span of keys and values: registers, anchors, window, current chunk, text. Row r of k starts
 * at k + r * stride elements; head j is its [j*hd, (j+1)*hd). Softmax does not care about order. */
typedef struct lti_span {
    const void *k, *v; /* [n, H, hd] */
    int64_t n;         /* rows; 0 is allowed */
    int64_t stride;    /* elements between rows, >= H*hd */
    lti_dtype dtype;   /* f32 or bf16 */
} lti_span;

#define LTI_MAX_SPANS 16

typedef struct lti_attn {
    lti_tensor q; /* [M, H, hd] f32 or bf16 */
    lti_span span[LTI_MAX_SPANS];
    int n_span;
    float scale;             /* scores = scale * q.k (+ bias) */
    const float *sink_logit; /* [H] or NULL: exp(s_h) joins the denominator, s_h is not scaled */
    const float *bias;       /* [H, M, N] or NULL, N = total rows of the spans, in span order */
    lti_tensor out;          /* [M, H, hd] */
    float *lse;              /* [H, M] or NULL: ln sum exp(score) over the spans, without the sink
                                logit; -inf when there is no key */
} lti_attn;

typedef struct lti_conv {
    lti_tensor x; /* [T, h, w, Ci]: time context (causal frames) is already in front */
    const lti_packed *w;
    int stride[3];                                /* t, h, w */
    int pad_top, pad_bottom, pad_left, pad_right; /* zeros; time is never padded */
    bool add;                                     /* out += conv instead of out = conv */
    lti_act act;                                  /* NONE or RELU, on the sum */
    lti_tensor out;                               /* [To, ho, wo, Co] */
} lti_conv;

struct lti_packed {
    int kind;        /* 0 linear, 1 conv */
    lti_dtype dtype; /* compute dtype: F32 or BF16 */
    int64_t n[5];    /* linear: out, in; conv: Co, Ci, kt, kh, kw */
    bool has_bias;
    size_t bytes; /* memory it owns */
    void *impl;   /* backend's */
};

typedef struct lti_ops {
    unsigned abi; /* LTI_BACKEND_ABI, first */
    const char *name;

    /* -- control ------------------------------------------------------------------------- */
    lt_status (*open)(lti_dev *d, lt_error *err); /* fills d->impl; d->n_threads is set */
    void (*close)(lti_dev *d);
    void *(*alloc)(lti_dev *d,
                   size_t bytes); /* 64-byte aligned device memory, zeroed; NULL: none */
    void (*free)(lti_dev *d, void *p);
    void (*put)(lti_dev *d, void *dst, const void *host, size_t bytes);
    void (*get)(lti_dev *d, void *host, const void *src, size_t bytes); /* waits for the data */
    void (*copy)(lti_dev *d, void *dst, const void *src, size_t bytes); /* device to device */
    void (*zero)(lti_dev *d, void *dst, size_t bytes);
    lt_status (*sync)(lti_dev *d, lt_error *err); /* wait; the sticky device error if any */
    /* Bytes of the device that may still be taken, and all it has; SIZE_MAX: not known. */
    void (*memory)(lti_dev *d, size_t *free, size_t *total);
    /* w any float dtype, host memory, maybe unaligned; b [out] or NULL. compute: F32 or BF16; linear
     * on a dev with fp8 also F8_E4M3: a shape that does not do becomes BF16. */
    lti_packed *(*pack_linear)(lti_dev *d, const lti_tensor *w /*[out,in]*/, const lti_tensor *b,
                               lti_dtype compute, lt_error *err);
    lti_packed *(*pack_conv)(lti_dev *d, const lti_tensor *w /*[Co,Ci,kt,kh,kw]*/,
                             const lti_tensor *b, lti_dtype compute, lt_error *err);
    void (*pack_free)(lti_dev *d, lti_packed *p);
    /* Called instead of the op during a measure pass; may create plans and grow scratch. NULL ok.
     */
    void (*prepare_linear)(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                           const lti_tensor *out);
    void (*prepare_conv)(lti_dev *d, const lti_conv *c);
    void (*prepare_attention)(lti_dev *d, const lti_attn *a);

    /* -- primitives ---------------------------------------------------------------------- */
    /* out[M,N] = act(x[M,K] w^T + b). x, out: f32 or bf16, converted as the compute dtype needs. */
    void (*linear)(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                   const lti_tensor *out);
    void (*conv)(lti_dev *d, const lti_conv *c);
    void (*attention)(lti_dev *d, const lti_attn *a);
    /* out = LN(x) * (1 + scale[m/rows]) + shift[m/rows]; LN without affine. shift and scale point
     * at f32 [F, D] with `mod_stride` elements between frames; rows = tokens per frame. */
    void (*norm_mod)(lti_dev *d, const lti_tensor *x /*f32 [M,D]*/, const float *shift,
                     const float *scale, int64_t mod_stride, int64_t rows, float eps,
                     const lti_tensor *out);
    void (*layer_norm)(lti_dev *d, const lti_tensor *x /*f32 [M,D]*/, const float *w,
                       const float *b, float eps, const lti_tensor *out);
    /* out = x * rsqrt(mean(x^2) + eps) * w over the last axis. In place allowed (same dtype). */
    void (*rms_norm)(lti_dev *d, const lti_tensor *x /*[M,D]*/, const float *w, float eps,
                     const lti_tensor *out);
    /* VAE norm: out = x / max(|x|_2, 1e-12) * sqrt(C) * gamma per position, then SiLU if asked. */
    void (*chan_norm)(lti_dev *d, const lti_tensor *x /*[.., C]*/, const float *gamma, bool silu,
                      const lti_tensor *out);
    /* Rotate adjacent pairs (2i, 2i+1): (a,b) -> (a cos - b sin, a sin + b cos). table f32
     * [M, hd/2, 2] = (cos, sin). x, out [M, H, hd]; rows of x are x_stride elements apart. In place
     * ok. */
    void (*rope)(lti_dev *d, const lti_tensor *x, int64_t x_stride, const float *table,
                 const lti_tensor *out);
    /* io[m] += gate[m/rows] * y[m]; gate f32 [F, D], mod_stride apart, or NULL for 1. */
    void (*gated_add)(lti_dev *d, const lti_tensor *io /*f32 [M,D]*/, const lti_tensor *y,
                      const float *gate, int64_t mod_stride, int64_t rows);
    void (*unary)(lti_dev *d, lti_act act, const lti_tensor *x,
                  const lti_tensor *out); /* in place ok */
    void (*add)(lti_dev *d, const lti_tensor *x, const lti_tensor *y,
                const lti_tensor *out); /* in place ok */
    void (*mul)(lti_dev *d, const lti_tensor *x, const lti_tensor *y,
                const lti_tensor *out); /* in place ok */
    /* out[i] = table[id[i]]; table [V, D] any float dtype in HOST memory (a mapped file), ids
     * checked. */
    void (*embed_rows)(lti_dev *d, const lti_tensor *table, const int32_t *id, int64_t n,
                       const lti_tensor *out /*f32 [n,D]*/);
    /* x f32 [F,C,h,w] -> out [F*(h/2)*(w/2), C*4]; element index c*4 + ph*2 + pw. */
    void (*patchify)(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
    /* x [F*(h/2)*(w/2), 4*C], index (ph*2+pw)*C + c -> out f32 [F,C,h,w]. Not patchify's inverse!
     */
    void (*unpatchify)(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
    /* nearest 2x in space: [T,h,w,C] -> [T,2h,2w,C] */
    void (*upsample2x)(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
    /* [T,h,w,2C] -> [2T,h,w,C]: channels [0,C) are the earlier sub-frame */
    void (*time_unfold)(lti_dev *d, const lti_tensor *x, const lti_tensor *out);
    /* f32 [F, n]: out[f] = a[f] x[f] + b[f] y[f]; a, b are HOST arrays [F]. In place ok. */
    void (*lincomb)(lti_dev *d, const lti_tensor *x, const float *a, const lti_tensor *y,
                    const float *b, const lti_tensor *out);
    /* f32 [C,h,w] latent -> [h,w,C] in out's dtype: out = x * mul[c] + add[c]; HOST arrays [C]. */
    void (*latent_to_map)(lti_dev *d, const lti_tensor *x, const float *mul, const float *add,
                          const lti_tensor *out);
    void (*randn)(lti_dev *d, const lti_tensor *out /*f32*/, uint64_t seed, uint64_t frame,
                  uint32_t step); /* base/rng.h lti_randn */
    void (*cast)(lti_dev *d, const lti_tensor *x,
                 const lti_tensor *out); /* f32 <-> bf16, or copy */
    /* out[D] = sum over the rows of x [M, D]. For token_scores' query. */
    void (*sum_rows)(lti_dev *d, const lti_tensor *x, const lti_tensor *out /*f32*/);
    /* out[n] = scale * q . k[n]: how much a (summed) query asks for each cached token, over all
     * heads at once. k [N, D] f32 or bf16. */
    void (*token_scores)(lti_dev *d, const lti_tensor *q /*f32 [D]*/, const lti_tensor *k,
                         float scale, const lti_tensor *out /*f32 [N]*/);
    /* x [-1,1] [.., 3] -> u8: round(clamp(x*0.5+0.5, 0, 1) * 255), half up */
    void (*to_rgb8)(lti_dev *d, const lti_tensor *x, const lti_tensor *out);

    /* -- fused, may be NULL: resolve.c composes them from primitives ---------------------- */
    /* out[M,H,hd] = rope(rms_norm(x[M,H*hd], w, eps), table). table NULL: norm only. */
    void (*norm_rope)(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                      const float *table, const lti_tensor *out);
} lti_ops;

struct lti_dev {
    lti_ops ops; /* a resolved copy: no primitive is NULL */
    void *impl;
    int n_threads;
    int index;          /* which card, of backends that have several */
    bool host;          /* its memory is the host's: ops of ref could compute on it */
    bool measuring;     /* ops are muted, prepare_* are called */
    bool fp8;           /* pack_linear takes F8_E4M3: 8-bit weights and products where it can */
    int64_t n_calls;    /* ops issued */
    bool counting;      /* all ops are muted, always: its memory is only counted, not there */
    int64_t n_fallback; /* ops that went a slower way because a library refused them */
    char note[200];     /* the first such reason, or empty */
};

/* name: "ref", "cpu", "cuda", "cuda:N" for card N, or "auto" (the fastest that opens here). disable: comma list of ops taken from
 * ref instead, or NULL. n_threads 0: all cores. */
lt_status lti_dev_open(const char *name, int n_threads, const char *disable, lti_dev **out,
                       lt_error *err);
void lti_dev_close(lti_dev **d);
/* Comma list of the backends in this build, for messages. */
const char *lti_backend_names(void);

extern const lti_ops lti_ops_ref;
extern const lti_ops lti_ops_cpu;
extern const lti_ops lti_ops_cuda; /* only where LT_CUDA found nvcc */

/* -- wrappers: shape checks + mute; the only way models call ops (backend/ops.c) -------------- */
void lti_put(lti_dev *d, void *dst, const void *host, size_t bytes);
void lti_get(lti_dev *d, void *host, const void *src, size_t bytes);
void lti_copy(lti_dev *d, void *dst, const void *src, size_t bytes);
void lti_zero(lti_dev *d, void *dst, size_t bytes);
void lti_linear(lti_dev *d, lti_tensor x, const lti_packed *w, lti_act act, lti_tensor out);
void lti_conv_run(lti_dev *d, const lti_conv *c);
void lti_attention(lti_dev *d, const lti_attn *a);
void lti_norm_mod(lti_dev *d, lti_tensor x, const float *shift, const float *scale,
                  int64_t mod_stride, int64_t rows, float eps, lti_tensor out);
void lti_layer_norm(lti_dev *d, lti_tensor x, const float *w, const float *b, float eps,
                    lti_tensor out);
void lti_rms_norm(lti_dev *d, lti_tensor x, const float *w, float eps, lti_tensor out);
void lti_chan_norm(lti_dev *d, lti_tensor x, const float *gamma, bool silu, lti_tensor out);
void lti_rope(lti_dev *d, lti_tensor x, int64_t x_stride, const float *table, lti_tensor out);
void lti_norm_rope(lti_dev *d, lti_tensor x, const float *w, float eps, const float *table,
                   lti_tensor out);
void lti_gated_add(lti_dev *d, lti_tensor io, lti_tensor y, const float *gate, int64_t mod_stride,
                   int64_t rows);
void lti_unary(lti_dev *d, lti_act act, lti_tensor x, lti_tensor out);
void lti_add(lti_dev *d, lti_tensor x, lti_tensor y, lti_tensor out);
void lti_mul(lti_dev *d, lti_tensor x, lti_tensor y, lti_tensor out);
void lti_embed_rows(lti_dev *d, lti_tensor table, const int32_t *id, int64_t n, lti_tensor out);
void lti_patchify(lti_dev *d, lti_tensor x, lti_tensor out);
void lti_unpatchify(lti_dev *d, lti_tensor x, lti_tensor out);
void lti_upsample2x(lti_dev *d, lti_tensor x, lti_tensor out);
void lti_time_unfold(lti_dev *d, lti_tensor x, lti_tensor out);
void lti_lincomb(lti_dev *d, lti_tensor x, const float *a, lti_tensor y, const float *b,
                 lti_tensor out);
void lti_latent_to_map(lti_dev *d, lti_tensor x, const float *mul, const float *add,
                       lti_tensor out);
void lti_randn_op(lti_dev *d, lti_tensor out, uint64_t seed, uint64_t frame, uint32_t step);
void lti_cast(lti_dev *d, lti_tensor x, lti_tensor out);
void lti_to_rgb8(lti_dev *d, lti_tensor x, lti_tensor out);
void lti_sum_rows(lti_dev *d, lti_tensor x, lti_tensor out);
void lti_token_scores(lti_dev *d, lti_tensor q, lti_tensor k, float scale, lti_tensor out);
lti_packed *lti_pack_linear(lti_dev *d, const lti_tensor *w, const lti_tensor *b, lti_dtype compute,
                            lt_error *err);
lti_packed *lti_pack_conv(lti_dev *d, const lti_tensor *w, const lti_tensor *b, lti_dtype compute,
                          lt_error *err);
void lti_pack_free(lti_dev *d, lti_packed **p);

#ifdef __cplusplus
}
#endif
#endif

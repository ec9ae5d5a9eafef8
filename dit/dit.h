/* SPDX-License-Identifier: Apache-2.0
 * dit/dit.h - the causal Wan diffusion transformer, forward only.
 *
 *   x += gate_sa * self_attn(LN(x)*(1+scale_sa)+shift_sa)   over [registers|cache|these frames]
 *   x += cross_attn(norm3(x), text)                         all text rows, unmasked
 *   x += gate_ffn * ffn(LN(x)*(1+scale_ffn)+shift_ffn)
 * The six vectors are modulation[6,D] + e0[frame]: one timestep per latent frame.
 * Reference: Wan2.1 wan/modules/model.py; Self-Forcing causal_model.py; diffusers
 * transformer_wan.py. */
#ifndef LT_DIT_DIT_H
#define LT_DIT_DIT_H
#include <stdatomic.h>
#include "backend/backend.h"
#include "base/arena.h"
#include "base/json.h"
#include "cache/kv.h"
#include "weights/weights.h"

#define LTI_MAX_TEXT_LEN 65536

typedef struct lti_dit_config {
    int dim, ffn, n_layer, n_head, head_dim, freq_dim;
    int in_ch, out_ch, text_dim, text_len;
    int n_register;       /* rows of register_k/v, 0 none */
    int n_register_token; /* rows of register_tokens, 0 none */
    bool has_sinks;
    float eps;
    int64_t n_param;
} lti_dit_config;

typedef struct lti_dit lti_dit; /* immutable after open; shareable between threads */

/* json: transformer/config.json or NULL. head_dim from attention_head_dim, else dim/num_heads, else
 * 128; text_len from json, else 512; everything else from shapes. compute: F32, BF16, or
 * F8_E4M3: BF16 with 8-bit products inside the blocks, on a dev that has them. */
lt_status lti_dit_open(lti_dev *d, lti_weights *w, const cJSON *json, lti_dtype compute,
                       lti_dit **out, lt_error *err);
/* The sizes alone, from shapes and json; refuses what open would refuse by name, at no cost. */
lt_status lti_dit_infer(const lti_weights *w, const cJSON *json, lti_dit_config *c, lt_error *err);
void lti_dit_close(lti_dev *d, lti_dit **dit);
const lti_dit_config *lti_dit_get_config(const lti_dit *dit);

/* Per-prompt keys and values: cross-attention of every block over the text, and those of
 * register_tokens, which attend only to themselves and the text at t = 0 and so depend on
 * nothing else. */
typedef struct lti_text_kv lti_text_kv;
lt_status lti_text_kv_open(lti_dev *d, const lti_dit *dit, lti_text_kv **out, lt_error *err);
void lti_text_kv_close(lti_dev *d, lti_text_kv **kv);
/* text f32 [text_len, text_dim] HOST memory, rows past the prompt are zero. Takes work memory from
 * a. */
void lti_text_kv_set(lti_text_kv *kv, lti_dev *d, const lti_dit *dit, lti_arena *a,
                     const float *text);

typedef struct lti_dit_pass {
    lti_tensor x;   /* f32 [F, in_ch, h, w], device */
    const float *t; /* HOST [F]: timestep of each latent frame, 0..1000 */
    int64_t first;  /* latent frame number of x[0]; with commit also of frames already cached */
    const lti_text_kv *text;
    lti_kv *kv;        /* NULL: no cache, positions from `first` */
    bool no_registers; /* ignore register_k/v, register_tokens and sinks */
    int commit;        /* frames whose keys and values join the cache after this pass */
    lti_tensor out;    /* f32 [F, out_ch, h, w] flow; data NULL: keys and values only, no head */
    const atomic_int *cancel; /* tested before every block; NULL never */
} lti_dit_pass;
/* LT_OK or LT_ECANCELLED (then nothing was committed). With a measuring arena only sizes are taken
 * (d->measuring must be set; the kv then counts as full and is not changed). */
lt_status lti_dit_forward(const lti_dit *dit, lti_dev *d, lti_arena *a, const lti_dit_pass *p);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * dit/model.h - the loaded transformer, private to dit/.
 *
 * D = dim, H = heads, hd = head_dim, C = latent channels, L = text_len. Vectors are f32 in device
 * memory. Patch embedding, time embedding and head compute in f32, the block's linears and the text
 * embedding in `compute`. */
#ifndef LT_DIT_MODEL_H
#define LT_DIT_MODEL_H
#include "dit/dit.h"

#define LTI_MAX_FREQ_DIM 1024 /* one sinusoid row fits on the stack */

typedef struct lti_dit_attn {
    lti_packed *q, *k, *v, *o; /* [D,D] + bias */
    float *norm_q, *norm_k;    /* [D] */
} lti_dit_attn;

typedef struct lti_dit_block {
    lti_dit_attn self, cross;
    lti_packed *ffn0, *ffn2;       /* [ffn,D], [D,ffn] */
    float *norm3_w, *norm3_b;      /* [D] */
    float *modulation;             /* [6,D] shift, scale, gate of self-attention, then of the ffn */
    float *sinks;                  /* [H] or NULL */
    void *register_k, *register_v; /* [R,H,hd] compute dtype, or NULL */
} lti_dit_block;

struct lti_dit {
    lti_dit_config c;
    lti_dtype compute;         /* F32 or BF16 */
    lti_dtype linears;         /* of the blocks: the same, or F8_E4M3 */
    lti_packed *patch;         /* [D, C*4] */
    lti_packed *text0, *text2; /* [D,text_dim], [D,D] */
    lti_packed *time0, *time2; /* [D,freq_dim], [D,D] */
    lti_packed *time_proj;     /* [6D,D] */
    lti_packed *head;          /* [4*out_ch, D] */
    float *head_modulation;    /* [2,D] shift, scale */
    float *register_tokens;    /* [Rt,D] or NULL */
    lti_dit_block *block;      /* [n_layer] */
};

struct lti_text_kv {
    size_t layer_bytes, text_bytes, token_bytes; /* text k|v, register token k|v of one layer */
    uint8_t *mem;                                /* device */
};
/* Text keys/values [L,H,hd] and those of the register tokens [Rt,H,hd], compute dtype. */
void *lti_text_kv_text(const lti_text_kv *kv, int layer, int is_v);
void *lti_text_kv_tokens(const lti_text_kv *kv, int layer, int is_v);

/* embed.c: t of G groups of frames (host) -> e [G,D] and e0 [G,6,D], f32. */
void lti_dit_time(const lti_dit *dit, lti_dev *d, lti_arena *a, const float *t, int64_t stride,
                  int n_group, lti_tensor e, lti_tensor e0);

/* One block over M rows. Rows of one group share their modulation. */
typedef struct lti_block_run {
    const lti_dit *dit;
    int layer;
    lti_tensor x;       /* f32 [M,D], in place */
    lti_tensor e0;      /* f32 [G,6,D] */
    int64_t group_rows; /* M / G */
    const float *rope;  /* [M,hd/2,2] or NULL: no positions */
    const lti_text_kv *text;
    lti_kv *kv;            /* past frames, or NULL */
    int commit;            /* frames to store in kv */
    bool registers;        /* registers, register tokens and sink logits take part */
    bool is_tokens;        /* x are the register tokens: they see only themselves */
    bool kv_only;          /* stop after keys and values */
    void *keep_k, *keep_v; /* copy of un-rotated keys and values [M,H,hd], or NULL */
} lti_block_run;
void lti_dit_block_run(lti_dev *d, lti_arena *a, const lti_block_run *r);

static inline lti_tensor lti_take_rows(lti_arena *a, lti_dtype dt, int64_t rows, int64_t cols) {
    lti_tensor t = LTI_VIEW(NULL, dt, rows, cols);
    t.data = lti_arena_take(a, lti_nbytes(&t));
    return t;
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 * dit/embed.c - time embedding, text embedding, and the keys and values that a prompt fixes.
 *
 *   s = [cos(t w_i), sin(t w_i)], w_i = 10000^(-i/half), in double, cos first
 *   e = W2 silu(W1 s + b1) + b2;  e0 = Wp silu(e) + bp, viewed as [6,D]
 *   context = W2 gelu_tanh(W1 text + b1) + b2 over ALL text_len rows: the padding rows are constant
 *   and are attended to, as in the reference (context_lens = None).
 * Reference: Wan2.1 wan/modules/model.py sinusoidal_embedding_1d, WanModel.forward. */
#include "base/error.h"
#include "dit/model.h"
#include <math.h>
#include <stdlib.h>

static void sinusoid(double t, int freq_dim, float *out /*[freq_dim]*/) {
    const int half = freq_dim / 2;
    for (int i = 0; i < half; i++) {
        double angle = t * pow(10000.0, -(double)i / half);
        out[i] = (float)cos(angle);
        out[half + i] = (float)sin(angle);
    }
}

void lti_dit_time(const lti_dit *dit, lti_dev *d, lti_arena *a, const float *t, int64_t stride,
                  int n_group, lti_tensor e, lti_tensor e0) {
    const lti_dit_config *c = &dit->c;
    size_t mark = lti_arena_mark(a);
    lti_tensor s = lti_take_rows(a, LTI_F32, n_group, c->freq_dim);
    lti_tensor h = lti_take_rows(a, LTI_F32, n_group, c->dim);
    float row[LTI_MAX_FREQ_DIM];
    for (int g = 0; g < n_group && !d->measuring; g++) {
        sinusoid(t[g * stride], c->freq_dim, row);
        lti_tensor dst = lti_rows(s, g, 1);
        lti_put(d, dst.data, row, lti_nbytes(&dst));
    }
    lti_tensor flat = LTI_VIEW(e0.data, LTI_F32, n_group, 6 * (int64_t)c->dim);
    lti_linear(d, s, dit->time0, LTI_ACT_SILU, h);
    lti_linear(d, h, dit->time2, LTI_ACT_NONE, e);
    lti_unary(d, LTI_ACT_SILU, e, h);
    lti_linear(d, h, dit->time_proj, LTI_ACT_NONE, flat);
    lti_arena_release(a, mark);
}

/* -- per-prompt keys and values -------------------------------------------------------------- */

static size_t round_up(size_t n) { return (n + LTI_ALIGN - 1) / LTI_ALIGN * LTI_ALIGN; }

lt_status lti_text_kv_open(lti_dev *d, const lti_dit *dit, lti_text_kv **out, lt_error *err) {
    *out = NULL;
    const lti_dit_config *c = &dit->c;
    lti_text_kv *kv = calloc(1, sizeof *kv);
    if (!kv) return lti_oom(err, sizeof *kv);
    size_t row = (size_t)c->dim * lti_dtype_size(dit->compute);
    kv->text_bytes = round_up((size_t)c->text_len * row);
    kv->token_bytes = round_up((size_t)c->n_register_token * row);
    kv->layer_bytes = 2 * (kv->text_bytes + kv->token_bytes);
    kv->mem = d->ops.alloc(d, kv->layer_bytes * (size_t)c->n_layer);
    if (!kv->mem) {
        size_t bytes = kv->layer_bytes * (size_t)c->n_layer;
        free(kv);
        return lti_oom(err, bytes);
    }
    *out = kv;
    return LT_OK;
}

void lti_text_kv_close(lti_dev *d, lti_text_kv **kv) {
    if (!kv || !*kv) return;
    d->ops.free(d, (*kv)->mem);
    free(*kv);
    *kv = NULL;
}

void *lti_text_kv_text(const lti_text_kv *kv, int layer, int is_v) {
    return kv->mem + (size_t)layer * kv->layer_bytes + (is_v ? kv->text_bytes : 0);
}

void *lti_text_kv_tokens(const lti_text_kv *kv, int layer, int is_v) {
    return kv->mem + (size_t)layer * kv->layer_bytes + 2 * kv->text_bytes +
           (is_v ? kv->token_bytes : 0);
}

static void text_keys(lti_text_kv *kv, lti_dev *d, const lti_dit *dit, lti_arena *a,
                      const float *text) {
    const lti_dit_config *c = &dit->c;
    size_t mark = lti_arena_mark(a);
    lti_tensor in = lti_take_rows(a, LTI_F32, c->text_len, c->text_dim);
    lti_tensor h = lti_take_rows(a, dit->compute, c->text_len, c->dim);
    lti_tensor ctx = lti_take_rows(a, dit->compute, c->text_len, c->dim);
    lti_put(d, in.data, text, lti_nbytes(&in));
    lti_linear(d, in, dit->text0, LTI_ACT_GELU_TANH, h);
    lti_linear(d, h, dit->text2, LTI_ACT_NONE, ctx);
    for (int i = 0; i < c->n_layer; i++) {
        const lti_dit_attn *at = &dit->block[i].cross;
        lti_tensor k = h, v = h;
        k.data = lti_text_kv_text(kv, i, 0);
        v.data = lti_text_kv_text(kv, i, 1);
        lti_linear(d, ctx, at->k, LTI_ACT_NONE, h);
        lti_rms_norm(d, h, at->norm_k, c->eps, k);
        lti_linear(d, ctx, at->v, LTI_ACT_NONE, v);
    }
    lti_arena_release(a, mark);
}

/* The register tokens run through all blocks as a sequence of their own, at t = 0. */
static void token_keys(lti_text_kv *kv, lti_dev *d, const lti_dit *dit, lti_arena *a) {
    const lti_dit_config *c = &dit->c;
    const float t0 = 0;
    size_t mark = lti_arena_mark(a);
    lti_tensor x = lti_take_rows(a, LTI_F32, c->n_register_token, c->dim);
    lti_tensor e = lti_take_rows(a, LTI_F32, 1, c->dim);
    lti_tensor e0 = lti_take_rows(a, LTI_F32, 6, c->dim);
    lti_copy(d, x.data, dit->register_tokens, lti_nbytes(&x));
    lti_dit_time(dit, d, a, &t0, 1, 1, e, e0);
    for (int i = 0; i < c->n_layer; i++) {
        lti_block_run r = {.dit = dit,
                           .layer = i,
                           .x = x,
                           .e0 = e0,
                           .text = kv,
                           .group_rows = c->n_register_token,
                           .registers = true,
                           .is_tokens = true,
                           .kv_only = i == c->n_layer - 1,
                           .keep_k = lti_text_kv_tokens(kv, i, 0),
                           .keep_v = lti_text_kv_tokens(kv, i, 1)};
        lti_dit_block_run(d, a, &r);
    }
    lti_arena_release(a, mark);
}

void lti_text_kv_set(lti_text_kv *kv, lti_dev *d, const lti_dit *dit, lti_arena *a,
                     const float *text /*[text_len, text_dim]*/) {
    text_keys(kv, d, dit, a, text);
    if (dit->c.n_register_token) token_keys(kv, d, dit, a);
}

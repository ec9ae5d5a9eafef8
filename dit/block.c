/* SPDX-License-Identifier: Apache-2.0
 * dit/block.c - one transformer block.
 *
 *   h = LN(x)*(1+m1)+m0;  q,k = RMS(W h + b)*g over the full width, v = W h + b;  rope on q, k
 *   x += m2 * Wo attention(q; registers | register tokens | anchors | window | these rows)
 *   x += Wo attention(RMS(Wq LN_affine(x)); text)              no gate, no positions
 *   h = LN(x)*(1+m4)+m3;  x += m5 * W2 gelu_tanh(W1 h)
 * with m = modulation + e0 of the row's frame group. x stays f32, everything between is in the
 * compute dtype. The six activations of the self-attention share memory where their lives do not
 * overlap. Reference: Wan2.1 wan/modules/model.py WanAttentionBlock (its norm3 is the affine one).
 */
#include "base/error.h"
#include "dit/model.h"
#include <math.h>

static lti_tensor heads(lti_tensor t, const lti_dit_config *c) { /* [M,D] -> [M,H,hd] */
    return LTI_VIEW(t.data, t.dtype, t.n[0], c->n_head, c->head_dim);
}

static lti_span span_of(const void *k, const void *v, int64_t n, const lti_dit *dit) {
    return (lti_span){k, v, n, dit->c.dim, dit->compute};
}

/* All keys the rows of this run see; returns how many spans. */
static int gather(lti_dev *d, lti_arena *a, const lti_block_run *r, lti_tensor k, lti_tensor v,
                  lti_span *span) {
    const lti_dit *dit = r->dit;
    const lti_dit_block *b = &dit->block[r->layer];
    int n = 0;
    if (r->registers && !r->is_tokens) {
        if (dit->c.n_register)
            span[n++] = span_of(b->register_k, b->register_v, dit->c.n_register, dit);
        if (dit->c.n_register_token)
            span[n++] =
                span_of(lti_text_kv_tokens(r->text, r->layer, 0),
                        lti_text_kv_tokens(r->text, r->layer, 1), dit->c.n_register_token, dit);
    }
    if (r->kv) n += lti_kv_spans(r->kv, d, a, r->layer, span + n);
    span[n++] = span_of(k.data, v.data, k.n[0], dit);
    return n;
}

/* Keys: un-rotated ones are needed to store or keep, rotated ones to attend. */
static lti_tensor make_keys(lti_dev *d, lti_arena *a, const lti_block_run *r, lti_tensor lin,
                            lti_tensor *raw) {
    const lti_dit_config *c = &r->dit->c;
    const float *norm = r->dit->block[r->layer].self.norm_k;
    const bool want_raw = r->commit > 0 || r->keep_k || r->kv_only || !r->rope;
    lti_tensor k = lti_take_rows(a, r->dit->compute, lin.n[0], c->dim);
    if (!want_raw) {
        lti_norm_rope(d, lin, norm, c->eps, r->rope, heads(k, c));
        return k;
    }
    lti_norm_rope(d, lin, norm, c->eps, NULL, heads(k, c));
    *raw = k;
    if (r->kv_only || !r->rope) return k;
    k = lti_take_rows(a, r->dit->compute, lin.n[0], c->dim);
    lti_rope(d, heads(*raw, c), c->dim, r->rope, heads(k, c));
    return k;
}

static void keep(lti_dev *d, const lti_block_run *r, lti_tensor raw, lti_tensor v) {
    const lti_dit_config *c = &r->dit->c;
    if (r->keep_k) {
        lti_copy(d, r->keep_k, raw.data, lti_nbytes(&raw));
        lti_copy(d, r->keep_v, v.data, lti_nbytes(&v));
    }
    if (r->commit > 0) lti_kv_store(r->kv, d, r->layer, heads(raw, c), heads(v, c), r->commit);
}

/* Rotated queries of all rows, by way of lin. */
static lti_tensor make_queries(lti_dev *d, lti_arena *a, const lti_block_run *r, lti_tensor h,
                               lti_tensor lin) {
    const lti_dit_config *c = &r->dit->c;
    const lti_dit_attn *self = &r->dit->block[r->layer].self;
    lti_tensor q = lti_take_rows(a, r->dit->compute, h.n[0], c->dim);
    lti_linear(d, h, self->q, LTI_ACT_NONE, lin);
    lti_norm_rope(d, lin, self->norm_q, c->eps, r->rope, heads(q, c));
    if (r->kv) lti_kv_queries(r->kv, d, a, r->layer, heads(q, c));
    return q;
}

static void self_attention(lti_dev *d, lti_arena *a, const lti_block_run *r, const float *mod) {
    const lti_dit *dit = r->dit;
    const lti_dit_config *c = &dit->c;
    const lti_dit_block *b = &dit->block[r->layer];
    const int64_t M = r->x.n[0], D = c->dim;
    size_t mark = lti_arena_mark(a);
    lti_tensor h = lti_take_rows(a, dit->compute, M, D), lin = lti_take_rows(a, dit->compute, M, D);
    lti_tensor v = lti_take_rows(a, dit->compute, M, D), raw = {0};
    lti_norm_mod(d, r->x, mod, mod + D, 6 * D, r->group_rows, c->eps, h);
    lti_linear(d, h, b->self.k, LTI_ACT_NONE, lin);
    lti_tensor k = make_keys(d, a, r, lin, &raw);
    lti_linear(d, h, b->self.v, LTI_ACT_NONE, v);
    if (r->kv_only) {
        if (r->kv && lti_kv_wants_queries(r->kv)) make_queries(d, a, r, h, lin);
    } else {
        lti_tensor q = make_queries(d, a, r, h, lin);
        lti_attn at = {.q = heads(q, c),
                       .scale = 1.0f / sqrtf((float)c->head_dim),
                       .sink_logit = r->registers ? b->sinks : NULL,
                       .out = heads(lin, c)};
        at.n_span = gather(d, a, r, k, v, at.span);
        lti_attention(d, &at);
        lti_linear(d, lin, b->self.o, LTI_ACT_NONE, h);
        lti_gated_add(d, r->x, h, mod + 2 * D, 6 * D, r->group_rows);
    }
    keep(d, r, raw, v); /* after the spans were read: storing overwrites the oldest of them */
    lti_arena_release(a, mark);
}

static void cross_attention(lti_dev *d, lti_arena *a, const lti_block_run *r) {
    const lti_dit *dit = r->dit;
    const lti_dit_config *c = &dit->c;
    const lti_dit_block *b = &dit->block[r->layer];
    const int64_t M = r->x.n[0], D = c->dim;
    size_t mark = lti_arena_mark(a);
    lti_tensor h = lti_take_rows(a, dit->compute, M, D), lin = lti_take_rows(a, dit->compute, M, D);
    lti_layer_norm(d, r->x, b->norm3_w, b->norm3_b, c->eps, h);
    lti_linear(d, h, b->cross.q, LTI_ACT_NONE, lin);
    lti_rms_norm(d, lin, b->cross.norm_q, c->eps, h);
    lti_attn at = {.q = heads(h, c),
                   .scale = 1.0f / sqrtf((float)c->head_dim),
                   .n_span = 1,
                   .out = heads(lin, c)};
    at.span[0] = span_of(lti_text_kv_text(r->text, r->layer, 0),
                         lti_text_kv_text(r->text, r->layer, 1), c->text_len, dit);
    lti_attention(d, &at);
    lti_linear(d, lin, b->cross.o, LTI_ACT_NONE, h);
    lti_gated_add(d, r->x, h, NULL, 0, M);
    lti_arena_release(a, mark);
}

static void feed_forward(lti_dev *d, lti_arena *a, const lti_block_run *r, const float *mod) {
    const lti_dit *dit = r->dit;
    const lti_dit_config *c = &dit->c;
    const lti_dit_block *b = &dit->block[r->layer];
    const int64_t M = r->x.n[0], D = c->dim;
    size_t mark = lti_arena_mark(a);
    lti_tensor h = lti_take_rows(a, dit->compute, M, D),
               wide = lti_take_rows(a, dit->compute, M, c->ffn);
    lti_norm_mod(d, r->x, mod + 3 * D, mod + 4 * D, 6 * D, r->group_rows, c->eps, h);
    lti_linear(d, h, b->ffn0, LTI_ACT_GELU_TANH, wide);
    lti_linear(d, wide, b->ffn2, LTI_ACT_NONE, h);
    lti_gated_add(d, r->x, h, mod + 5 * D, 6 * D, r->group_rows);
    lti_arena_release(a, mark);
}

void lti_dit_block_run(lti_dev *d, lti_arena *a, const lti_block_run *r) {
    const int64_t D = r->dit->c.dim, G = r->x.n[0] / r->group_rows;
    LT_ASSERT(G * r->group_rows == r->x.n[0]);
    size_t mark = lti_arena_mark(a);
    lti_tensor mod = lti_take_rows(a, LTI_F32, G * 6, D); /* [G,6,D] modulation + e0 */
    lti_tensor own = LTI_VIEW(r->dit->block[r->layer].modulation, LTI_F32, 6, D);
    lti_tensor e0 = LTI_VIEW(r->e0.data, LTI_F32, G * 6, D);
    for (int64_t g = 0; g < G; g++)
        lti_add(d, lti_rows(e0, 6 * g, 6), own, lti_rows(mod, 6 * g, 6));
    self_attention(d, a, r, mod.data);
    if (!r->kv_only) {
        cross_attention(d, a, r);
        feed_forward(d, a, r, mod.data);
    }
    lti_arena_release(a, mark);
}

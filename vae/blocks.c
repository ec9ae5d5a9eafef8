/* SPDX-License-Identifier: Apache-2.0
 * vae/blocks.c - what decoder and encoder are made of (feature maps channels last, [t, h, w, C]).
 *
 *   causal conv   y = conv([last input frames | t new ones]), no padding in time
 *   residual      y = conv2(silu(norm2(conv1(silu(norm1(x)))))) + shortcut(x)
 *   attention     x + proj(softmax(q k^T / sqrt(C)) v), one head, the positions of one frame
 * Reference: Wan2.1 wan/modules/vae.py.
 * Pitfall: a causal convolution remembers its input, after norm and SiLU.
 *
 * Memory: a causal convolution's input is put together in the arena, the norm writes straight
 * behind the two remembered frames. A block's temporaries are released when it ends; a map that the
 * next layer needs is taken before them. */
#include <math.h>
#include "base/error.h"
#include "vae/graph.h"

lti_tensor lti_vae_map(vae_run *r, int64_t t, int64_t h, int64_t w, int64_t c) {
    size_t bytes = (size_t)(t * h * w * c) * lti_dtype_size(r->dtype);
    return LTI_VIEW(lti_arena_take(r->a, bytes), r->dtype, t, h, w, c);
}

void lti_vae_conv_same(vae_run *r, lti_tensor x, const lti_packed *w, bool add, lti_act act,
                       lti_tensor out) {
    int ph = (int)(w->n[3] / 2), pw = (int)(w->n[4] / 2);
    lti_conv c = {.x = x, .w = w, .stride = {1, 1, 1}, .add = add, .act = act, .out = out};
    c.pad_top = c.pad_bottom = ph;
    c.pad_left = c.pad_right = pw;
    lti_conv_run(r->d, &c);
}

lti_tensor lti_vae_recall(vae_run *r, int slot, int frames, lti_tensor in) {
    lti_tensor past = lti_rows(in, 0, frames);
    lti_copy(r->d, past.data, r->past->at[slot], lti_nbytes(&past));
    return lti_rows(in, frames, in.n[0] - frames);
}

void lti_vae_remember(vae_run *r, int slot, int frames, lti_tensor in) {
    lti_tensor last = lti_rows(in, in.n[0] - frames, frames);
    lti_copy(r->d, r->past->at[slot], last.data, lti_nbytes(&last));
}

void lti_vae_conv_causal(vae_run *r, const vae_conv *c, lti_tensor in, bool add, lti_tensor out) {
    lti_vae_conv_same(r, in, c->w, add, LTI_ACT_NONE, out);
    lti_vae_remember(r, c->slot, VAE_HISTORY, in);
}

lti_tensor lti_vae_res_block(vae_run *r, const vae_res *b, lti_tensor x) {
    int64_t t = x.n[0], h = x.n[1], w = x.n[2], ci = x.n[3];
    int64_t cm = b->conv1.w->n[0], co = b->conv2.w->n[0];
    lti_tensor y = x; /* [t,h,w,Co] */
    if (b->shortcut) {
        y = lti_vae_map(r, t, h, w, co);
        lti_vae_conv_same(r, x, b->shortcut, false, LTI_ACT_NONE, y);
    }
    size_t mark = lti_arena_mark(r->a);
    lti_tensor in = lti_vae_map(r, VAE_HISTORY + t, h, w, ci > cm ? ci : cm); /* both, in turn */
    lti_tensor mid = lti_vae_map(r, t, h, w, cm);

    in.n[3] = ci;
    lti_chan_norm(r->d, x, b->gamma1, true, lti_vae_recall(r, b->conv1.slot, VAE_HISTORY, in));
    lti_vae_conv_causal(r, &b->conv1, in, false, mid);
    in.n[3] = cm;
    lti_chan_norm(r->d, mid, b->gamma2, true, lti_vae_recall(r, b->conv2.slot, VAE_HISTORY, in));
    lti_vae_conv_causal(r, &b->conv2, in, true, y);
    lti_arena_release(r->a, mark);
    return y;
}

/* x [t,h,w,C] += attention over the h*w positions of each frame. */
static void attn_block(vae_run *r, const vae_attn *b, lti_tensor x) {
    int64_t t = x.n[0], m = x.n[1] * x.n[2], c = x.n[3];
    lti_dtype dt = r->dtype;
    size_t mark = lti_arena_mark(r->a), esize = lti_dtype_size(dt);
    lti_tensor y = lti_vae_map(r, t, x.n[1], x.n[2], c); /* the norm, then the result */
    lti_tensor flat = LTI_VIEW(y.data, dt, t * m, c);
    lti_tensor q = LTI_VIEW(lti_arena_take(r->a, lti_nbytes(&y)), dt, t * m, c);
    lti_tensor kv = LTI_VIEW(lti_arena_take(r->a, 2 * lti_nbytes(&y)), dt, t * m, 2 * c);

    lti_chan_norm(r->d, x, b->gamma, false, y);
    lti_linear(r->d, flat, b->q, LTI_ACT_NONE, q);
    lti_linear(r->d, flat, b->kv, LTI_ACT_NONE, kv);
    for (int64_t f = 0; f < t; f++) {
        char *k = (char *)kv.data + (size_t)(f * m * 2 * c) * esize;
        lti_tensor qf = lti_rows(q, f * m, m), of = lti_rows(flat, f * m, m);
        lti_attn a = {
            .q = LTI_VIEW(qf.data, dt, m, 1, c),
            .span = {{.k = k, .v = k + (size_t)c * esize, .n = m, .stride = 2 * c, .dtype = dt}},
            .n_span = 1,
            .scale = 1.0f / sqrtf((float)c),
            .out = LTI_VIEW(of.data, dt, m, 1, c),
        };
        lti_attention(r->d, &a);
    }
    lti_vae_conv_same(r, y, b->proj, true, LTI_ACT_NONE, x);
    lti_arena_release(r->a, mark);
}

lti_tensor lti_vae_run_middle(vae_run *r, const vae_middle *m, lti_tensor x) {
    x = lti_vae_res_block(r, &m->res0, x);
    attn_block(r, &m->attn, x);
    return lti_vae_res_block(r, &m->res2, x);
}

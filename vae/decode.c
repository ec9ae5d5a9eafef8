/* SPDX-License-Identifier: Apache-2.0
 * vae/decode.c - one latent frame through the decoder: 1 picture the first time, then 4.
 *
 * Maths, per layer (feature maps channels last, [t, h, w, C]):
 *   causal conv   y = conv([last 2 input frames | t new ones]), no padding in time
 *   residual      y = conv2(silu(norm2(conv1(silu(norm1(x)))))) + shortcut(x)
 *   attention     x + proj(softmax(q k^T / sqrt(C)) v), one head, the positions of one frame
 *   upsampler     [time_conv to 2C, halves become sub-frames 2t and 2t + 1], nearest 2x, conv 3x3
 * Reference: Wan2.1 wan/modules/vae.py, Decoder3d.forward with feat_cache.
 * Pitfalls: the first latent skips time_conv and leaves no trace in its history, which begins as
 * zeros at the second latent. A causal convolution remembers its input, after norm and SiLU.
 *
 * Memory: a causal convolution's input is put together in the arena, the norm writes straight
 * behind the two remembered frames. A block's temporaries are released when it ends; a map that the
 * next layer needs is taken before them. Widest, the last stage: x (t), input (t + 2), mid (t). */
#include <math.h>
#include "base/error.h"
#include "vae/graph.h"

typedef struct run {
    const lti_vae *v;
    lti_dev *d;
    lti_arena *a;
    lti_vae_state *s;
    bool first;
} run;

static size_t map_bytes(const run *r, int64_t t, int64_t h, int64_t w, int64_t c) {
    return (size_t)(t * h * w * c) * lti_dtype_size(r->v->dtype);
}

static lti_tensor take_map(run *r, int64_t t, int64_t h, int64_t w, int64_t c) {
    return LTI_VIEW(lti_arena_take(r->a, map_bytes(r, t, h, w, c)), r->v->dtype, t, h, w, c);
}

/* out = (or +=) w * x with the zero padding that keeps height and width. */
static void conv_same(run *r, lti_tensor x, const lti_packed *w, bool add, lti_tensor out) {
    int ph = (int)(w->n[3] / 2), pw = (int)(w->n[4] / 2);
    lti_conv c = {.x = x, .w = w, .stride = {1, 1, 1}, .add = add, .out = out};
    c.pad_top = c.pad_bottom = ph;
    c.pad_left = c.pad_right = pw;
    lti_conv_run(r->d, &c);
}

/* Fill in[0..2) with what the convolution remembers and return in[2..), where the new frames go. */
static lti_tensor recall(run *r, int slot, lti_tensor in) {
    lti_tensor past = lti_rows(in, 0, VAE_HISTORY);
    lti_copy(r->d, past.data, r->s->history[slot], lti_nbytes(&past));
    return lti_rows(in, VAE_HISTORY, in.n[0] - VAE_HISTORY);
}

/* The convolution over [past | new], then its last two input frames become the past. */
static void conv_causal(run *r, const vae_conv *c, lti_tensor in, bool add, lti_tensor out) {
    conv_same(r, in, c->w, add, out);
    lti_tensor last = lti_rows(in, in.n[0] - VAE_HISTORY, VAE_HISTORY);
    lti_copy(r->d, r->s->history[c->slot], last.data, lti_nbytes(&last));
}

/* x [t,h,w,Ci] -> [t,h,w,Co]; in place when the width stays. */
static lti_tensor res_block(run *r, const vae_res *b, lti_tensor x) {
    int64_t t = x.n[0], h = x.n[1], w = x.n[2], ci = x.n[3], co = b->conv1.w->n[0];
    lti_tensor y = x; /* [t,h,w,Co] */
    if (b->shortcut) {
        y = take_map(r, t, h, w, co);
        conv_same(r, x, b->shortcut, false, y);
    }
    size_t mark = lti_arena_mark(r->a);
    lti_tensor in = take_map(r, VAE_HISTORY + t, h, w, ci > co ? ci : co); /* for both, in turn */
    lti_tensor mid = take_map(r, t, h, w, co);

    in.n[3] = ci;
    lti_chan_norm(r->d, x, b->gamma1, true, recall(r, b->conv1.slot, in));
    conv_causal(r, &b->conv1, in, false, mid);
    in.n[3] = co;
    lti_chan_norm(r->d, mid, b->gamma2, true, recall(r, b->conv2.slot, in));
    conv_causal(r, &b->conv2, in, true, y);
    lti_arena_release(r->a, mark);
    return y;
}

/* x [t,h,w,C] += attention over the h*w positions of each frame. */
static void attn_block(run *r, const vae_attn *b, lti_tensor x) {
    int64_t t = x.n[0], m = x.n[1] * x.n[2], c = x.n[3];
    lti_dtype dt = r->v->dtype;
    size_t mark = lti_arena_mark(r->a), esize = lti_dtype_size(dt);
    lti_tensor y = take_map(r, t, x.n[1], x.n[2], c); /* the norm, then the result */
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
    conv_same(r, y, b->proj, true, x);
    lti_arena_release(r->a, mark);
}

/* [t,h,w,C] -> [2t,h,w,C]: two new frames from every frame and the two before it. */
static lti_tensor double_time(run *r, const vae_up *u, lti_tensor x) {
    int64_t t = x.n[0], h = x.n[1], w = x.n[2], c = x.n[3];
    lti_tensor y = take_map(r, 2 * t, h, w, c);
    size_t mark = lti_arena_mark(r->a);
    lti_tensor in = take_map(r, VAE_HISTORY + t, h, w, c);
    lti_tensor wide = take_map(r, t, h, w, 2 * c);
    lti_copy(r->d, recall(r, u->time.slot, in).data, x.data, lti_nbytes(&x));
    conv_causal(r, &u->time, in, false, wide);
    lti_time_unfold(r->d, wide, y);
    lti_arena_release(r->a, mark);
    return y;
}

/* [t,h,w,C] -> [t or 2t, 2h, 2w, Co]. One frame at a time: the enlarged map is the widest. */
static lti_tensor upsample(run *r, const vae_up *u, lti_tensor x) {
    int64_t h = x.n[1], w = x.n[2], c = x.n[3];
    bool doubles = u->time.w && !r->first;
    lti_tensor y = take_map(r, doubles ? 2 * x.n[0] : x.n[0], 2 * h, 2 * w, u->w->n[0]);
    size_t mark = lti_arena_mark(r->a);
    if (doubles) x = double_time(r, u, x);
    lti_tensor big = take_map(r, 1, 2 * h, 2 * w, c);
    for (int64_t f = 0; f < x.n[0]; f++) {
        lti_upsample2x(r->d, lti_rows(x, f, 1), big);
        conv_same(r, big, u->w, false, lti_rows(y, f, 1));
    }
    lti_arena_release(r->a, mark);
    return y;
}

/* latent f32 [C,h,w] -> [1,h,w,C0]: undo the normalisation, conv2, conv_in. */
static lti_tensor enter(run *r, lti_tensor latent) {
    const lti_vae *v = r->v;
    int64_t h = r->s->h, w = r->s->w, z = v->z;
    lti_tensor x = take_map(r, 1, h, w, v->conv_in.w->n[0]);
    size_t mark = lti_arena_mark(r->a);
    lti_tensor map = take_map(r, 1, h, w, z);
    lti_tensor in = take_map(r, VAE_HISTORY + 1, h, w, z);
    lti_latent_to_map(r->d, latent, v->std, v->mean, LTI_VIEW(map.data, map.dtype, h, w, z));
    conv_same(r, map, v->conv2, false, recall(r, v->conv_in.slot, in));
    conv_causal(r, &v->conv_in, in, false, x);
    lti_arena_release(r->a, mark);
    return x;
}

int lti_vae_decode(const lti_vae *vae, lti_dev *d, lti_arena *a, lti_vae_state *s,
                   lti_tensor latent, lti_tensor rgb) {
    LT_ASSERT(latent.dtype == LTI_F32 && latent.rank == 3 && latent.n[0] == vae->z &&
              latent.n[1] == s->h && latent.n[2] == s->w);
    run r = {vae, d, a, s, !s->started};
    int64_t frames = r.first ? 1 : 4;
    LT_ASSERT(rgb.dtype == LTI_F32 && rgb.rank == 4 && rgb.n[0] >= frames &&
              rgb.n[1] == 8 * (int64_t)s->h && rgb.n[2] == 8 * (int64_t)s->w && rgb.n[3] == 3);
    size_t mark = lti_arena_mark(a);
    lti_tensor x = enter(&r, latent);
    x = res_block(&r, &vae->mid0, x);
    attn_block(&r, &vae->mid1, x);
    x = res_block(&r, &vae->mid2, x);
    for (int i = 0; i < vae->n_layer; i++) {
        const vae_layer *y = &vae->layer[i];
        x = y->is_up ? upsample(&r, &y->up, x) : res_block(&r, &y->res, x);
    }
    LT_ASSERT(x.n[0] == frames);
    lti_tensor in = take_map(&r, VAE_HISTORY + frames, x.n[1], x.n[2], x.n[3]);
    lti_chan_norm(d, x, vae->head_gamma, true, recall(&r, vae->head.slot, in));
    conv_causal(&r, &vae->head, in, false, lti_rows(rgb, 0, frames));
    lti_arena_release(a, mark);
    s->started = true;
    return (int)frames;
}

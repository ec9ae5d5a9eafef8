/* SPDX-License-Identifier: Apache-2.0
 * vae/decode.c - one latent frame through the decoder: 1 picture the first time, then 4.
 *
 * Maths, beside the blocks of blocks.c:
 *   upsampler     [time_conv to 2C, halves become sub-frames 2t and 2t + 1], nearest 2x, conv 3x3
 * Reference: Wan2.1 wan/modules/vae.py, Decoder3d.forward with feat_cache.
 * Pitfall: the first latent skips time_conv and leaves no trace in its history, which begins as
 * zeros at the second latent.
 *
 * Memory: small maps go through a stage all frames of the latent at once. From split_bytes a frame
 * on, frames go one by one through all that follows, depth first: causal convolutions only look
 * back, so the order is free and the sums are the same, while the arena holds one frame (and two
 * remembered ones) of the widest stage, not four. docs/PERF.md has the arithmetic. */
#include "base/error.h"
#include "vae/graph.h"

typedef struct decoding {
    vae_run run;
    const lti_vae *v;
    lti_vae_state *s;
    lti_tensor rgb; /* rows from `done` on are still to be written */
    int64_t done;
} decoding;

/* [t,h,w,C] -> [2t,h,w,C]: two new frames from every frame and the two before it. */
static lti_tensor double_time(vae_run *r, const vae_resample *u, lti_tensor x) {
    int64_t t = x.n[0], h = x.n[1], w = x.n[2], c = x.n[3];
    lti_tensor y = lti_vae_map(r, 2 * t, h, w, c);
    size_t mark = lti_arena_mark(r->a);
    lti_tensor in = lti_vae_map(r, VAE_HISTORY + t, h, w, c);
    lti_tensor wide = lti_vae_map(r, t, h, w, 2 * c);
    lti_copy(r->d, lti_vae_recall(r, u->time.slot, VAE_HISTORY, in).data, x.data, lti_nbytes(&x));
    lti_vae_conv_causal(r, &u->time, in, false, wide);
    lti_time_unfold(r->d, wide, y);
    lti_arena_release(r->a, mark);
    return y;
}

/* [t,h,w,C] -> y [t,2h,2w,Co]. One frame at a time: the enlarged map is the widest. */
static void enlarge(vae_run *r, const vae_resample *u, lti_tensor x, lti_tensor y) {
    size_t mark = lti_arena_mark(r->a);
    lti_tensor big = lti_vae_map(r, 1, 2 * x.n[1], 2 * x.n[2], x.n[3]);
    for (int64_t f = 0; f < x.n[0]; f++) {
        lti_upsample2x(r->d, lti_rows(x, f, 1), big);
        lti_vae_conv_same(r, big, u->w, false, LTI_ACT_NONE, lti_rows(y, f, 1));
    }
    lti_arena_release(r->a, mark);
}

static void finish(decoding *g, lti_tensor x) {
    vae_run *r = &g->run;
    lti_tensor in = lti_vae_map(r, VAE_HISTORY + x.n[0], x.n[1], x.n[2], x.n[3]);
    lti_tensor fresh = lti_vae_recall(r, g->v->head.slot, VAE_HISTORY, in);
    lti_chan_norm(r->d, x, g->v->head_gamma, true, fresh);
    lti_vae_conv_causal(r, &g->v->head, in, false, lti_rows(g->rgb, g->done, x.n[0]));
    g->done += x.n[0];
}

/* x [t,h,w,C] through layer i and all that follow. */
static void run_from(decoding *g, int i, lti_tensor x) {
    vae_run *r = &g->run;
    size_t mark = lti_arena_mark(r->a);
    for (; i < g->v->n_layer && !g->v->layer[i].is_resample; i++)
        x = lti_vae_res_block(r, &g->v->layer[i].res, x);
    if (i == g->v->n_layer) {
        finish(g, x);
        lti_arena_release(r->a, mark);
        return;
    }
    const vae_resample *u = &g->v->layer[i].resample;
    bool doubles = u->time.w && g->s->started;
    int64_t t = doubles ? 2 * x.n[0] : x.n[0], h = 2 * x.n[1], w = 2 * x.n[2], co = u->w->n[0];
    size_t frame = (size_t)(h * w * co) * lti_dtype_size(r->dtype);
    if (frame < g->s->split_bytes) {
        lti_tensor y = lti_vae_map(r, t, h, w, co);
        size_t inner = lti_arena_mark(r->a);
        enlarge(r, u, doubles ? double_time(r, u, x) : x, y);
        lti_arena_release(r->a, inner);
        run_from(g, i + 1, y);
    } else {
        if (doubles) x = double_time(r, u, x);
        lti_tensor y = lti_vae_map(r, 1, h, w, co);
        for (int64_t f = 0; f < t; f++) {
            enlarge(r, u, lti_rows(x, f, 1), y);
            run_from(g, i + 1, y);
        }
    }
    lti_arena_release(r->a, mark);
}

/* latent f32 [C,h,w] -> [1,h,w,C0]: undo the normalisation, conv2, conv_in. */
static lti_tensor enter(decoding *g, lti_tensor latent) {
    const lti_vae *v = g->v;
    vae_run *r = &g->run;
    int64_t h = r->past->h, w = r->past->w, z = v->z;
    lti_tensor x = lti_vae_map(r, 1, h, w, v->conv_in.w->n[0]);
    size_t mark = lti_arena_mark(r->a);
    lti_tensor map = lti_vae_map(r, 1, h, w, z);
    lti_tensor in = lti_vae_map(r, VAE_HISTORY + 1, h, w, z);
    lti_latent_to_map(r->d, latent, v->std, v->mean, LTI_VIEW(map.data, map.dtype, h, w, z));
    lti_vae_conv_same(r, map, v->conv2, false, LTI_ACT_NONE,
                      lti_vae_recall(r, v->conv_in.slot, VAE_HISTORY, in));
    lti_vae_conv_causal(r, &v->conv_in, in, false, x);
    lti_arena_release(r->a, mark);
    return x;
}

int lti_vae_decode(const lti_vae *vae, lti_dev *d, lti_arena *a, lti_vae_state *s,
                   lti_tensor latent, lti_tensor rgb) {
    vae_history *p = &s->past;
    LT_ASSERT(latent.dtype == LTI_F32 && latent.rank == 3 && latent.n[0] == vae->z &&
              latent.n[1] == p->h && latent.n[2] == p->w);
    int64_t frames = s->started ? 4 : 1;
    LT_ASSERT(rgb.dtype == LTI_F32 && rgb.rank == 4 && rgb.n[0] >= frames &&
              rgb.n[1] == 8 * (int64_t)p->h && rgb.n[2] == 8 * (int64_t)p->w && rgb.n[3] == 3);
    decoding g = {.run = {d, a, vae->dtype, p}, .v = vae, .s = s, .rgb = rgb};
    size_t mark = lti_arena_mark(a);
    lti_tensor x = enter(&g, latent);
    x = lti_vae_run_middle(&g.run, &vae->middle, x);
    run_from(&g, 0, x);
    LT_ASSERT(g.done == frames);
    lti_arena_release(a, mark);
    s->started = true;
    return (int)frames;
}

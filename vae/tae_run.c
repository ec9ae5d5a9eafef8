/* SPDX-License-Identifier: Apache-2.0
 * vae/tae_run.c - a TAE on a stream: one latent to 1 (first) or 4 pictures, pictures to latents.
 *
 *   block   relu(c4(relu(c2(relu(c0([past | x]))))) + x)
 *   grow    1x1 to s times the channels; group 0 is the earliest new frame
 *   pool    s frames to one
 * Reference: madebyollin/taehv, apply_model_with_memblocks_sequential; the first 3 pictures of a
 * stream are dropped. grow is pointwise, so it runs before the nearest 2x that precedes it in the
 * reference: same numbers, a quarter of the work. Memory: as decode.c, large maps frame by frame. */
#include "base/error.h"
#include "vae/tae_graph.h"

typedef struct tae_run {
    vae_run run;
    const lti_tae *t;
    lti_tae_state *s;
    lti_tensor rgb;
    int64_t done, drop; /* pictures written, and to drop before the next */
} tae_run;

/* ---- state ---------------------------------------------------------------------------------- */

lt_status lti_tae_state_open(lti_dev *d, const lti_tae *t, bool encode, int h, int w,
                             lti_tae_state **out, lt_error *err) {
    *out = NULL;
    if (encode && !t->has_encoder)
        return lti_fail(err, LT_EINVAL,
                        "tae: this file has no encoder; use one that has, or the VAE");
    lti_tae_state *s = calloc(1, sizeof *s);
    if (!s) return lti_oom(err, sizeof *s);
    s->split_bytes = VAE_SPLIT_BYTES;
    const vae_slots *slots = encode ? &t->encoder.slots : &t->decoder.slots;
    lt_status st = lti_vae_history_open(d, slots, t->dtype, h, w, &s->past, err);
    if (st < 0) {
        free(s);
        return st;
    }
    *out = s;
    return LT_OK;
}

void lti_tae_state_close(lti_dev *d, lti_tae_state **s) {
    if (!*s) return;
    lti_vae_history_close(d, &(*s)->past);
    free(*s);
    *s = NULL;
}

void lti_tae_state_reset(lti_dev *d, lti_tae_state *s) {
    lti_vae_history_reset(d, &s->past);
    s->started = false;
    memset(s->waiting, 0, sizeof s->waiting);
}

size_t lti_tae_state_bytes(const lti_tae_state *s) { return s->past.bytes; }

/* ---- blocks --------------------------------------------------------------------------------- */

/* x [t,h,w,C], in place */
static void run_block(vae_run *r, const tae_block *b, lti_tensor x) {
    int64_t t = x.n[0], h = x.n[1], w = x.n[2], c = x.n[3];
    size_t mark = lti_arena_mark(r->a);
    lti_tensor in = lti_vae_map(r, 1 + t, h, w, c), mid = lti_vae_map(r, t, h, w, c);
    lti_tensor fresh = lti_vae_recall(r, b->slot, 1, in);
    lti_copy(r->d, fresh.data, x.data, lti_nbytes(&x));
    lti_vae_conv_same(r, in, b->c0, false, LTI_ACT_RELU, mid);
    lti_vae_remember(r, b->slot, 1, in);
    lti_vae_conv_same(r, mid, b->c2, false, LTI_ACT_RELU, fresh); /* in is free again */
    lti_vae_conv_same(r, fresh, b->c4, true, LTI_ACT_RELU, x);
    lti_arena_release(r->a, mark);
}

static void run_blocks(vae_run *r, const tae_stage *s, lti_tensor x) {
    for (int i = 0; i < TAE_BLOCKS; i++) run_block(r, &s->block[i], x);
}

/* [t,h,w,C] -> [s t,h,w,C] */
static lti_tensor grow(vae_run *r, const tae_stage *s, lti_tensor x) {
    int64_t t = x.n[0], h = x.n[1], w = x.n[2], c = x.n[3];
    lti_tensor y = lti_vae_map(r, s->s * t, h, w, c);
    if (s->s == 1) {
        lti_vae_conv_same(r, x, s->time, false, LTI_ACT_NONE, y);
        return y;
    }
    size_t mark = lti_arena_mark(r->a);
    lti_tensor wide = lti_vae_map(r, t, h, w, s->s * c);
    lti_vae_conv_same(r, x, s->time, false, LTI_ACT_NONE, wide);
    lti_time_unfold(r->d, wide, y);
    lti_arena_release(r->a, mark);
    return y;
}

/* x [t,h,w,C] -> y [t,2h,2w,Co] */
static void enlarge(vae_run *r, const lti_packed *w, lti_act act, lti_tensor x, lti_tensor y) {
    size_t mark = lti_arena_mark(r->a);
    lti_tensor big = lti_vae_map(r, 1, 2 * x.n[1], 2 * x.n[2], x.n[3]);
    for (int64_t f = 0; f < x.n[0]; f++) {
        lti_upsample2x(r->d, lti_rows(x, f, 1), big);
        lti_vae_conv_same(r, big, w, false, act, lti_rows(y, f, 1));
    }
    lti_arena_release(r->a, mark);
}

/* ---- decode --------------------------------------------------------------------------------- */

static void decode_from(tae_run *g, int i, lti_tensor x);

static void emit(tae_run *g, lti_tensor x) {
    int64_t drop = g->drop < x.n[0] ? g->drop : x.n[0], n = x.n[0] - drop;
    g->drop -= drop;
    if (n == 0) return;
    lti_vae_conv_same(&g->run, lti_rows(x, drop, n), g->t->decoder.out, false, LTI_ACT_NONE,
                      lti_rows(g->rgb, g->done, n));
    g->done += n;
}

/* Stage i and all that follow; x is worked on in place. */
static void decode_from(tae_run *g, int i, lti_tensor x) {
    if (i == TAE_STAGES) {
        emit(g, x);
        return;
    }
    vae_run *r = &g->run;
    const tae_stage *s = &g->t->decoder.stage[i];
    size_t mark = lti_arena_mark(r->a);
    lti_act act = i + 1 == TAE_STAGES ? LTI_ACT_RELU : LTI_ACT_NONE;
    run_blocks(r, s, x);
    x = grow(r, s, x);
    int64_t t = x.n[0], h = 2 * x.n[1], w = 2 * x.n[2], co = s->conv->n[0];
    bool split = (size_t)(h * w * co) * lti_dtype_size(r->dtype) >= g->s->split_bytes;
    lti_tensor y = lti_vae_map(r, split ? 1 : t, h, w, co);
    for (int64_t f = 0; f < t; f += y.n[0]) {
        enlarge(r, s->conv, act, lti_rows(x, f, y.n[0]), y);
        decode_from(g, i + 1, y);
    }
    lti_arena_release(r->a, mark);
}

int lti_tae_decode(const lti_tae *t, lti_dev *d, lti_arena *a, lti_tae_state *s, lti_tensor latent,
                   lti_tensor rgb) {
    int64_t h = s->past.h, w = s->past.w, frames = s->started ? TAE_FRAMES : 1;
    LT_ASSERT(latent.dtype == LTI_F32 && latent.rank == 3 && latent.n[0] == t->z &&
              latent.n[1] == h && latent.n[2] == w);
    LT_ASSERT(rgb.dtype == LTI_F32 && rgb.rank == 4 && rgb.n[0] >= frames && rgb.n[1] == 8 * h &&
              rgb.n[2] == 8 * w && rgb.n[3] == 3);
    tae_run g = {.run = {d, a, t->dtype, &s->past}, .t = t, .s = s, .rgb = rgb};
    g.drop = TAE_FRAMES - frames;
    float one[VAE_MAX_CHANNELS], zero[VAE_MAX_CHANNELS] = {0};
    for (int i = 0; i < t->z; i++) one[i] = 1;
    size_t mark = lti_arena_mark(a);
    lti_tensor x = lti_vae_map(&g.run, 1, h, w, t->decoder.in->n[0]);
    lti_tensor map = lti_vae_map(&g.run, 1, h, w, t->z);
    lti_latent_to_map(d, latent, one, zero, LTI_VIEW(map.data, map.dtype, h, w, t->z));
    lti_vae_conv_same(&g.run, map, t->decoder.in, false, LTI_ACT_RELU, x);
    decode_from(&g, 0, x);
    LT_ASSERT(g.done == frames);
    lti_arena_release(a, mark);
    s->started = true;
    return (int)frames;
}

/* ---- encode --------------------------------------------------------------------------------- */

/* One frame of s, [1,h,w,C]. False: it waits. Else *x is the pooled frame. */
static bool pool(vae_run *r, const tae_stage *s, int *waiting, lti_tensor *x) {
    size_t frame = lti_nbytes(x);
    if (*waiting + 1 < s->s) {
        lti_copy(r->d, (char *)r->past->at[s->slot] + (size_t)*waiting * frame, x->data, frame);
        ++*waiting;
        return false;
    }
    *waiting = 0;
    lti_tensor y = lti_vae_map(r, 1, x->n[1], x->n[2], x->n[3]);
    size_t mark = lti_arena_mark(r->a);
    lti_tensor in = *x;
    if (s->s > 1) {
        in = lti_vae_map(r, s->s, x->n[1], x->n[2], x->n[3]);
        lti_copy(r->d, lti_vae_recall(r, s->slot, s->s - 1, in).data, x->data, frame);
    }
    lti_conv c = {.x = in, .w = s->time, .stride = {s->s, 1, 1}, .out = y};
    lti_conv_run(r->d, &c);
    lti_arena_release(r->a, mark);
    *x = y;
    return true;
}

static lti_tensor shrink(vae_run *r, const lti_packed *w, lti_tensor x) {
    lti_tensor y = lti_vae_map(r, 1, x.n[1] / 2, x.n[2] / 2, w->n[0]);
    lti_conv c = {.x = x, .w = w, .stride = {1, 2, 2}, .out = y};
    c.pad_top = c.pad_bottom = c.pad_left = c.pad_right = 1;
    lti_conv_run(r->d, &c);
    return y;
}

bool lti_tae_encode(const lti_tae *t, lti_dev *d, lti_arena *a, lti_tae_state *s,
                    lti_tensor picture, lti_tensor map) {
    int64_t h = s->past.h, w = s->past.w;
    LT_ASSERT(picture.dtype == LTI_F32 && picture.rank == 3 && picture.n[0] == 8 * h &&
              picture.n[1] == 8 * w && picture.n[2] == 3);
    LT_ASSERT(map.dtype == LTI_F32 && map.rank == 3 && map.n[0] == h && map.n[1] == w &&
              map.n[2] == t->z);
    vae_run r = {d, a, t->dtype, &s->past};
    const tae_half *e = &t->encoder;
    size_t mark = lti_arena_mark(a);
    lti_tensor x = lti_vae_map(&r, 1, 8 * h, 8 * w, e->in->n[0]);
    picture = LTI_VIEW(picture.data, LTI_F32, 1, 8 * h, 8 * w, 3);
    lti_vae_conv_same(&r, picture, e->in, false, LTI_ACT_RELU, x);
    bool complete = true;
    for (int i = 0; i < TAE_STAGES && complete; i++) {
        const tae_stage *y = &e->stage[i];
        complete = pool(&r, y, &s->waiting[i], &x);
        if (!complete) break;
        x = shrink(&r, y->conv, x);
        run_blocks(&r, y, x);
    }
    if (complete)
        lti_vae_conv_same(&r, x, e->out, false, LTI_ACT_NONE,
                          LTI_VIEW(map.data, LTI_F32, 1, h, w, t->z));
    lti_arena_release(a, mark);
    return complete;
}

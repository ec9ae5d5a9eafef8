/* SPDX-License-Identifier: Apache-2.0
 * dit/dit.c - one pass over F latent frames: patches, blocks, head.
 *
 * Timesteps are one per frame. Neighbouring frames that share theirs are one group with one
 * modulation: a chunk-wise pass has a single group, a rolling pass one per chunk, and only
 * irregular lists (tests, eval) fall back to one per frame. Reference: Wan2.1 wan/modules/model.py
 * WanModel.forward, Head.forward. */
#include "dit/dit.h"
#include "base/error.h"
#include "dit/model.h"
#include <stdlib.h>

/* Largest g that divides F such that t is constant on every run of g frames. */
static int group_frames(const float *t, int F) {
    for (int g = F; g > 1; g--) {
        bool same = F % g == 0;
        for (int f = 0; f < F && same; f++) same = t[f] == t[f / g * g];
        if (same) return g;
    }
    return 1;
}

/* Without a cache the positions are the frame numbers themselves. Only eval and tests come here, so
 * the table may be allocated. */
static lt_status free_table(const lti_dit *dit, lti_dev *d, lti_arena *a, const lti_dit_pass *p,
                            int gh, int gw, const float **out) {
    const int F = (int)p->x.n[0];
    lti_tensor t = lti_take_rows(a, LTI_F32, (int64_t)F * gh * gw, dit->c.head_dim);
    *out = t.data;
    if (d->measuring) return LT_OK;
    float *host = malloc(lti_nbytes(&t));
    int64_t *pos = malloc((size_t)F * sizeof *pos);
    if (host && pos) {
        for (int f = 0; f < F; f++) pos[f] = p->first + f;
        lti_rope_table(lti_rope_split(dit->c.head_dim), pos, F, gh, gw, host);
        lti_put(d, t.data, host, lti_nbytes(&t));
    }
    bool ok = host && pos;
    free(pos);
    free(host);
    return ok ? LT_OK : LT_ENOMEM;
}

/* flow = unpatchify(Wh (LN(x)*(1+scale)+shift) + bh), shift and scale from e itself, not e0. */
static void head(const lti_dit *dit, lti_dev *d, lti_arena *a, lti_tensor x /*[M,D]*/,
                 lti_tensor e /*[G,D]*/, lti_tensor out /*[F,out_ch,h,w]*/) {
    const lti_dit_config *c = &dit->c;
    const int64_t M = x.n[0], D = c->dim, G = e.n[0];
    size_t mark = lti_arena_mark(a);
    lti_tensor own = LTI_VIEW(dit->head_modulation, LTI_F32, 2, D);
    lti_tensor mod = lti_take_rows(a, LTI_F32, 2 * G, D);
    for (int64_t g = 0; g < G; g++)
        for (int i = 0; i < 2; i++)
            lti_add(d, lti_rows(e, g, 1), lti_rows(own, i, 1), lti_rows(mod, 2 * g + i, 1));
    lti_tensor h = lti_take_rows(a, LTI_F32, M, D),
               o = lti_take_rows(a, LTI_F32, M, 4 * (int64_t)c->out_ch);
    const float *shift = mod.data;
    lti_norm_mod(d, x, shift, shift + D, 2 * D, M / G, c->eps, h);
    lti_linear(d, h, dit->head, LTI_ACT_NONE, o);
    lti_unpatchify(d, o, out);
    lti_arena_release(a, mark);
}

static bool cancelled(const lti_dit_pass *p) {
    return p->cancel && atomic_load_explicit(p->cancel, memory_order_relaxed);
}

static lt_status blocks(const lti_dit *dit, lti_dev *d, lti_arena *a, const lti_dit_pass *p,
                        lti_block_run *r) {
    const int last = dit->c.n_layer - 1;
    for (int i = 0; i <= last; i++) {
        if (cancelled(p)) return LT_ECANCELLED;
        r->layer = i;
        r->kv_only = i == last && !p->out.data;
        lti_dit_block_run(d, a, r);
    }
    return LT_OK;
}

static void check(const lti_dit *dit, const lti_dit_pass *p) {
    const lti_dit_config *c = &dit->c;
    LT_ASSERT(p->x.rank == 4 && p->x.dtype == LTI_F32 && p->x.n[0] >= 1 && p->x.n[1] == c->in_ch);
    LT_ASSERT(p->x.n[2] % 2 == 0 && p->x.n[3] % 2 == 0 && p->x.n[0] <= 1 << 20);
    LT_ASSERT(p->text && p->t && p->commit >= 0 && p->commit <= p->x.n[0]);
    LT_ASSERT(p->commit == 0 || p->kv);
}

lt_status lti_dit_forward(const lti_dit *dit, lti_dev *d, lti_arena *a, const lti_dit_pass *p) {
    check(dit, p);
    const lti_dit_config *c = &dit->c;
    const int F = (int)p->x.n[0], gh = (int)(p->x.n[2] / 2), gw = (int)(p->x.n[3] / 2);
    const int64_t tok = (int64_t)gh * gw, M = F * tok;
    const int span = d->measuring ? 1 : group_frames(p->t, F), G = F / span;
    if (cancelled(p)) return LT_ECANCELLED;
    size_t mark = lti_arena_mark(a);
    lti_tensor x = lti_take_rows(a, LTI_F32, M, c->dim), e = lti_take_rows(a, LTI_F32, G, c->dim);
    lti_tensor e0 = lti_take_rows(a, LTI_F32, 6 * (int64_t)G, c->dim);
    lti_dit_time(dit, d, a, p->t, span, G, e, e0);
    lti_block_run r = {.dit = dit,
                       .x = x,
                       .e0 = e0,
                       .group_rows = span * tok,
                       .text = p->text,
                       .kv = p->kv,
                       .commit = p->commit,
                       .registers = !p->no_registers};
    lt_status st = LT_OK;
    if (p->kv) {
        lti_kv_begin(p->kv, d, p->first, F, p->commit);
        r.rope = lti_kv_query_table(p->kv);
    } else {
        st = free_table(dit, d, a, p, gh, gw, &r.rope);
    }
    if (st == LT_OK) {
        size_t inner = lti_arena_mark(a);
        lti_tensor patches = lti_take_rows(a, LTI_F32, M, 4 * (int64_t)c->in_ch);
        lti_patchify(d, p->x, patches);
        lti_linear(d, patches, dit->patch, LTI_ACT_NONE, x);
        lti_arena_release(a, inner);
        st = blocks(dit, d, a, p, &r);
    }
    if (st == LT_OK && p->out.data) head(dit, d, a, x, e, p->out);
    if (st == LT_OK && p->commit > 0) lti_kv_commit(p->kv, p->commit);
    lti_arena_release(a, mark);
    return st;
}

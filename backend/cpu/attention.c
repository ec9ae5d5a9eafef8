/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/attention.c - attention over spans: who computes what, and in which memory.
 *
 * Work items are (head, group of query tiles); a thread takes items one by one. For an item, keys
 * and values are packed block by block (LTI_CPU_KEY_BLOCK rows, across span borders) and every tile
 * of the group meets the block while it lies in the cache:
 *     for block: pack K, V;  for tile: S = QK^T, online softmax, O += PV
 * A group's queries and running outputs (GROUP_BYTES) and a block's K and V share the L2 cache.
 * bf16 dot products are used when q and all spans are bf16, else everything is computed in f32.
 * The tile arithmetic and the reason for the transposed layout are in attention.inc. */
#include "backend/cpu/ops.h"
#include "base/error.h"

#include <float.h>
#include <omp.h>

enum {
    GROUP_BYTES = 560 << 10,
    PARALLEL_MACS = 1 << 18, /* below: one thread */
    KB = LTI_CPU_KEY_BLOCK,
};

typedef struct plan {
    const lti_attn *a;
    const lti_cpu_attn_kernel *k;
    int64_t M, H, hd, N; /* N: keys in all spans */
    int64_t hdp, hs;     /* channels padded to the kernel's rows; dwords per packed row */
    int64_t n_tile, n_group;
    size_t q, kb, vb, s, p, o, ml; /* floats per tile or per block */
    int64_t max_tiles;             /* per group */
    size_t floats;                 /* scratch per thread */
} plan;

static bool all_bf16(const lti_attn *a) {
    if (a->q.dtype != LTI_BF16 || a->q.n[2] % 2) return false;
    for (int i = 0; i < a->n_span; i++)
        if (a->span[i].n && a->span[i].dtype != LTI_BF16) return false;
    return true;
}

static size_t lines(size_t floats) { return (floats + 15) & ~(size_t)15; }

static plan make_plan(const lti_dev *d, const lti_attn *a) {
    const lti_cpu *c = lti_cpu_of(d);
    plan p = {.a = a, .M = a->q.n[0], .H = a->q.n[1], .hd = a->q.n[2]};
    p.k = c->attn_bf16 && all_bf16(a) ? c->attn_bf16 : c->attn_f32;
    for (int i = 0; i < a->n_span; i++) p.N += a->span[i].n;
    const int64_t pair = p.k->type == LTI_BF16 ? 2 : 1, tile = p.k->tile;
    p.hdp = (p.hd + p.k->rows - 1) / p.k->rows * p.k->rows;
    p.hs = p.hd / pair;
    p.q = lines((size_t)(p.hs * tile));
    p.o = lines((size_t)(p.hdp * tile));
    p.ml = lines((size_t)tile);
    p.kb = lines((size_t)(KB * p.hs));
    p.vb = lines((size_t)((KB / pair * p.k->rows + 16) * (p.hdp / p.k->rows)));
    p.s = (size_t)(KB * tile);
    p.p = pair == 2 ? (size_t)(KB / 2 * tile) : 0; /* f32: in place */
    p.n_tile = (p.M + tile - 1) / tile;
    p.max_tiles = (int64_t)(GROUP_BYTES / ((p.q + p.o) * sizeof(float)));
    if (p.max_tiles < 1) p.max_tiles = 1;
    if (p.max_tiles > p.n_tile) p.max_tiles = p.n_tile;
    p.n_group = (p.n_tile + p.max_tiles - 1) / p.max_tiles;
    while (p.n_group < p.n_tile && p.n_group * p.H < 2 * d->n_threads) p.n_group++;
    p.floats = p.kb + p.vb + p.s + p.p + (size_t)p.max_tiles * (p.q + p.o + 3 * p.ml);
    return p;
}

/* Walks the rows of all spans in order. */
typedef struct cursor {
    int span;
    int64_t at;
} cursor;

/* Pointers to the next rows of a head, at most KB, padded with NULL to the kernel's rows. */
static int64_t next_rows(const plan *p, int64_t head, cursor *c, const void *k[KB],
                         const void *v[KB], lti_dtype dt[KB]) {
    int64_t n = 0;
    while (n < KB && c->span < p->a->n_span) {
        const lti_span *s = &p->a->span[c->span];
        if (c->at == s->n) {
            c->span++;
            c->at = 0;
            continue;
        }
        const size_t size = lti_dtype_size(s->dtype);
        const size_t at = (size_t)(c->at * s->stride + head * p->hd) * size;
        k[n] = (const char *)s->k + at;
        v[n] = (const char *)s->v + at;
        dt[n++] = s->dtype;
        c->at++;
    }
    for (int64_t i = n; i < KB && i % p->k->rows; i++) {
        k[i] = v[i] = NULL;
        dt[i] = LTI_F32;
    }
    return n;
}

typedef struct group {
    int64_t head, tile0, tiles;
    float *kb, *vb, *s, *p, *q, *o, *ml; /* q, o, ml: one per tile */
} group;

static void start_tiles(const plan *p, const group *g) {
    const lti_tensor *q = &p->a->q;
    const int64_t tile = p->k->tile, size = (int64_t)lti_dtype_size(q->dtype);
    for (int64_t t = 0; t < g->tiles; t++) {
        const void *row[LTI_CPU_MAX_TILE];
        lti_dtype dt[LTI_CPU_MAX_TILE];
        for (int64_t i = 0; i < tile; i++) {
            const int64_t m = (g->tile0 + t) * tile + i;
            row[i] = m < p->M ? (const char *)q->data + (m * p->H + g->head) * p->hd * size : NULL;
            dt[i] = q->dtype;
        }
        p->k->pack_q(row, dt, p->hd, g->q + (size_t)t * p->q);
        float *m = g->ml + (size_t)t * 3 * p->ml;
        for (int64_t i = 0; i < tile; i++) {
            m[i] = -FLT_MAX;
            m[p->ml + (size_t)i] = 0.0f;
        }
        if (p->N == 0) memset(g->o + (size_t)t * p->o, 0, p->o * sizeof(float));
    }
}

static lti_cpu_attn_tile tile_of(const plan *p, const group *g, int64_t t) {
    const int64_t m0 = (g->tile0 + t) * p->k->tile, left = p->M - m0;
    float *ml = g->ml + (size_t)t * 3 * p->ml;
    return (lti_cpu_attn_tile){.q = g->q + (size_t)t * p->q,
                               .k = g->kb,
                               .v = g->vb,
                               .s = g->s,
                               .p = g->p,
                               .m = ml,
                               .l = ml + p->ml,
                               .fade = ml + 2 * p->ml,
                               .o = g->o + (size_t)t * p->o,
                               .hd = p->hd,
                               .nq = left < p->k->tile ? left : p->k->tile,
                               .scale = p->a->scale * 1.4426950408889634f,
                               .bias =
                                   p->a->bias ? p->a->bias + (g->head * p->M + m0) * p->N : NULL,
                               .bias_stride = p->N};
}

static void run_group(const plan *p, const group *g) {
    const void *k[KB], *v[KB];
    lti_dtype dt[KB];
    cursor c = {0, 0};
    start_tiles(p, g);
    for (int64_t done = 0, n; (n = next_rows(p, g->head, &c, k, v, dt)) > 0; done += n) {
        const int64_t padded = (n + p->k->rows - 1) / p->k->rows * p->k->rows;
        p->k->pack_k(k, dt, padded, p->hd, g->kb);
        p->k->pack_v(v, dt, padded, p->hd, g->vb);
        for (int64_t t = 0; t < g->tiles; t++) {
            lti_cpu_attn_tile tile = tile_of(p, g, t);
            tile.nk = n;
            tile.first = done == 0;
            if (tile.bias) tile.bias += done;
            p->k->block(&tile);
        }
    }
    const lti_tensor *out = &p->a->out;
    const float *sink = p->a->sink_logit ? p->a->sink_logit + g->head : NULL;
    for (int64_t t = 0; t < g->tiles; t++) {
        const lti_cpu_attn_tile tile = tile_of(p, g, t);
        const int64_t m0 = (g->tile0 + t) * p->k->tile;
        char *to = (char *)out->data +
                   (size_t)((m0 * p->H + g->head) * p->hd) * lti_dtype_size(out->dtype);
        p->k->finish(&tile, to, out->dtype, p->H * p->hd, sink,
                     p->a->lse ? p->a->lse + g->head * p->M + m0 : NULL);
    }
}

static void run_item(const plan *p, int64_t item, float *scratch) {
    const int64_t gi = item % p->n_group;
    group g = {.head = item / p->n_group, .tile0 = p->n_tile * gi / p->n_group};
    g.tiles = p->n_tile * (gi + 1) / p->n_group - g.tile0;
    g.kb = scratch;
    g.vb = g.kb + p->kb;
    g.s = g.vb + p->vb;
    g.p = p->p ? g.s + p->s : g.s;
    g.q = g.s + p->s + p->p;
    g.o = g.q + (size_t)p->max_tiles * p->q;
    g.ml = g.o + (size_t)p->max_tiles * p->o;
    run_group(p, &g);
}

void lti_cpu_prepare_attention(lti_dev *d, const lti_attn *a) {
    const plan p = make_plan(d, a);
    lti_cpu_scratch(d, p.floats * sizeof(float) * (size_t)d->n_threads);
}

void lti_cpu_attention(lti_dev *d, const lti_attn *a) {
    const plan p = make_plan(d, a);
    LT_ASSERT(p.hd <= LTI_CPU_MAX_HEAD_DIM);
    float *scratch = lti_cpu_scratch(d, p.floats * sizeof(float) * (size_t)d->n_threads);
    if (!scratch) return;
    const int64_t items = p.H * p.n_group;
    const int team = p.M * p.N * p.H * p.hd < PARALLEL_MACS ? 1 : d->n_threads;
#pragma omp parallel num_threads(team)
    {
        float *mine = scratch + p.floats * (size_t)omp_get_thread_num();
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < items; i++) run_item(&p, i, mine);
    }
}

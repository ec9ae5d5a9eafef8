/* SPDX-License-Identifier: Apache-2.0
 * cache/evict.c - what happens to frames that no longer fit, where it is more than forgetting.
 *
 * ema (Reward Forcing): a chunk that leaves the window is mixed into the anchors, keys without
 * rotation and values alike,
 *     anchor = a anchor + (1 - a) leaving.
 * The published code keeps the mixture in the cache dtype. In bf16 an update by 0.001 is mostly
 * below half a unit in the last place and is lost: the anchors hardly move. So the mixture is kept
 * in f32 beside the anchors; `compat` rounds as published.
 *
 * deep (Deep Forcing, participative compression): when the current chunk would overflow the cache,
 * the first noisy pass scores every past token between the anchors and the recent frames,
 *     score_j = q . k_j / (sqrt(hd) H),  q = sum of all queries of the recent frames
 * over all heads at once, and each layer keeps its own best tokens, in their order. Then they take
 * the frames right behind the anchors: tokens of different times share a time, each keeps its own
 * place in the picture. For that keys are stored rotated by h and w alone, so that a time rotation
 * that is the same for a whole frame completes them. With compat they are stored fully rotated and
 * stay where they were.
 * Scores are meant for the positions before the compression, but the queries are already turned
 * for those after it. The sum of rotated queries turns like a query: one rotation of the sum by the
 * frames between mends that.
 *
 * Pitfalls. A chosen token can be chosen again; after deep_reuse times it must go, or the cache
 * would freeze. Tokens chosen depend on rounding where scores nearly tie. Reference: Reward-Forcing
 * causal_model.py; Deep-Forcing as in Relax-Forcing deep_forcing_model.py. */
#include "base/error.h"
#include "cache/kv_int.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory --------------------------------------------------------------------------------- */

static lt_status check_deep(const lti_kv_config *c, lt_error *err) {
    const int old = c->deep_recent - c->chunk, most = c->sink + c->window + c->chunk;
    if (old < 0 || old > c->chunk)
        return lti_fail(err, LT_EINVAL,
                        "deep recent: %d latent frames, expected %d to %d with chunks of %d",
                        c->deep_recent, c->chunk, 2 * c->chunk, c->chunk);
    if (c->deep_budget < c->sink + c->deep_recent || c->deep_budget >= most)
        return lti_fail(err, LT_EINVAL,
                        "deep budget: %d latent frames, expected %d (sink and recent) to %d (less "
                        "than sink, window and chunk)",
                        c->deep_budget, c->sink + c->deep_recent, most - 1);
    if (c->deep_reuse < 0 || c->deep_reuse > 255)
        return lti_fail(err, LT_EINVAL, "deep reuse: %d, expected 0 (no limit) to 255",
                        c->deep_reuse);
    if (c->in_flight == c->chunk) return LT_OK;
    return lti_fail(err, LT_EINVAL, "sink-policy deep: not in rolling mode; use --mode chunk");
}

lt_status lti_evict_check(const lti_kv_config *c, lt_error *err) {
    if (c->policy == LTI_POLICY_DEEP) return check_deep(c, err);
    if (c->policy != LTI_POLICY_EMA) return LT_OK;
    if (c->in_flight != c->chunk)
        return lti_fail(err, LT_EINVAL, "sink-policy ema: not in rolling mode; use --mode chunk");
    if (c->sink != c->chunk || c->window < c->chunk || c->window % c->chunk)
        return lti_fail(err, LT_EINVAL,
                        "sink-policy ema: sink %d and window %d with chunks of %d; the sink must "
                        "be one chunk, the window one or more",
                        c->sink, c->window, c->chunk);
    if (c->ema > 0 && c->ema < 1) return LT_OK;
    return lti_fail(err, LT_EINVAL, "ema: %g, expected a number between 0 and 1", (double)c->ema);
}

static size_t round_up(size_t n) { return (n + LTI_ALIGN - 1) / LTI_ALIGN * LTI_ALIGN; }
static int64_t width(const lti_kv *kv) { return (int64_t)kv->c.n_head * kv->c.head_dim; }

/* Lay out kv->extra; with base 0 it only counts. */
static size_t lay_out(lti_kv *kv, uint8_t *base) {
    const lti_kv_config *c = &kv->c;
    const size_t D = (size_t)width(kv), layers = (size_t)c->n_layer;
    const size_t anchor = (size_t)c->sink * (size_t)kv->tok * D, ring = (size_t)kv->ring;
    size_t at = 0;
#define TAKE(field, bytes)                                                                         \
    do {                                                                                           \
        (field) = base ? (void *)(base + at) : NULL;                                               \
        at += round_up(bytes);                                                                     \
    } while (0)
    if (c->policy == LTI_POLICY_EMA && c->dtype == LTI_BF16) {
        if (!c->compat) TAKE(kv->mean, layers * 2 * anchor * sizeof(float));
        TAKE(kv->scratch, 2 * anchor * sizeof(float));
        TAKE(kv->half, anchor * sizeof(uint16_t));
    }
    if (c->policy == LTI_POLICY_DEEP) {
        TAKE(kv->deep.ask, layers * D * sizeof(float));
        TAKE(kv->deep.query, D * sizeof(float));
        TAKE(kv->deep.score, ring * (size_t)kv->tok * sizeof(float));
        TAKE(kv->deep.turn, (size_t)c->head_dim * sizeof(float));
        TAKE(kv->deep.spatial, lti_kv_table_bytes(kv, 1));
    }
#undef TAKE
    return at;
}

static lt_status open_deep(lti_kv *kv, lti_dev *d, lt_error *err) {
    lti_deep *p = &kv->deep;
    const size_t tokens = (size_t)kv->ring * (size_t)kv->tok;
    p->host = malloc(2 * tokens * sizeof *p->host);
    p->pick = malloc(tokens * sizeof *p->pick);
    p->used = calloc((size_t)kv->c.n_layer, tokens);
    if (!p->host || !p->pick || !p->used) return lti_oom(err, tokens * sizeof *p->host);
    int64_t zero = 0;
    lti_rope_table(lti_rope_split(kv->c.head_dim), &zero, 1, kv->c.grid_h, kv->c.grid_w, kv->host);
    lti_put(d, p->spatial, kv->host, lti_kv_table_bytes(kv, 1));
    return LT_OK;
}

lt_status lti_evict_open(lti_kv *kv, lti_dev *d, lt_error *err) {
    kv->extra_bytes = lay_out(kv, NULL);
    if (kv->extra_bytes == 0) return LT_OK;
    kv->extra = d->ops.alloc(d, kv->extra_bytes);
    if (!kv->extra) return lti_oom(err, kv->extra_bytes);
    lay_out(kv, kv->extra);
    return kv->c.policy == LTI_POLICY_DEEP ? open_deep(kv, d, err) : LT_OK;
}

void lti_evict_close(lti_kv *kv, lti_dev *d) {
    if (kv->extra) d->ops.free(d, kv->extra);
    free(kv->deep.host);
    free(kv->deep.pick);
    free(kv->deep.used);
}

/* ---- ema ------------------------------------------------------------------------------------ */

/* Rows of `frames` frames as one long row. */
static lti_tensor flat(const lti_kv *kv, void *data, lti_dtype dt, int frames) {
    return LTI_VIEW(data, dt, 1, frames * kv->tok * width(kv));
}

/* The f32 mixture of a layer's anchor keys (v 0) or values (v 1). */
static lti_tensor mixture(const lti_kv *kv, int layer, int v) {
    lti_tensor one = flat(kv, NULL, LTI_F32, kv->c.sink);
    one.data = kv->mean + ((size_t)layer * 2 + (size_t)v) * (size_t)lti_numel(&one);
    return one;
}

void lti_ema_anchor(lti_kv *kv, lti_dev *d, int layer, int from, int n) {
    if (!kv->mean) return;
    (void)from;
    LT_ASSERT(from == 0 && n == kv->c.sink);
    for (int v = 0; v < 2; v++)
        lti_cast(d, flat(kv, lti_kv_region(kv, layer, v), LTI_BF16, n), mixture(kv, layer, v));
}

/* x = bf16(f x), in f32 memory. */
static void scale_rounded(lti_kv *kv, lti_dev *d, lti_tensor x, float f) {
    const float zero = 0;
    lti_tensor half = x;
    half.data = kv->half;
    half.dtype = LTI_BF16;
    lti_lincomb(d, x, &f, x, &zero, x);
    lti_cast(d, x, half);
    lti_cast(d, half, x);
}

/* anchor = bf16(bf16(a anchor) + bf16((1 - a) leaving)), as torch does in bf16. */
static void mix_rounded(lti_kv *kv, lti_dev *d, lti_tensor anchor, lti_tensor leaving) {
    lti_tensor x = flat(kv, kv->scratch, LTI_F32, kv->c.sink), y = x;
    y.data = kv->scratch + lti_numel(&x);
    lti_cast(d, anchor, x);
    lti_cast(d, leaving, y);
    scale_rounded(kv, d, x, kv->c.ema);
    scale_rounded(kv, d, y, (float)(1.0 - (double)kv->c.ema));
    lti_add(d, x, y, x);
    lti_cast(d, x, anchor);
}

void lti_ema_leave(lti_kv *kv, lti_dev *d, int layer, int at, int n) {
    if (kv->c.policy != LTI_POLICY_EMA) return;
    LT_ASSERT(n == kv->c.sink);
    const float a = kv->c.ema, b = (float)(1.0 - (double)kv->c.ema);
    for (int v = 0; v < 2; v++) {
        uint8_t *slot = lti_kv_region(kv, layer, 2 + v) + (size_t)(at * kv->tok) * kv->row_bytes;
        lti_tensor leaving = flat(kv, slot, kv->c.dtype, n);
        lti_tensor anchor = flat(kv, lti_kv_region(kv, layer, v), kv->c.dtype, n);
        if (kv->c.dtype == LTI_F32) {
            lti_lincomb(d, anchor, &a, leaving, &b, anchor);
        } else if (kv->c.compat) {
            mix_rounded(kv, d, anchor, leaving);
        } else {
            lti_tensor mean = mixture(kv, layer, v), wide = flat(kv, kv->scratch, LTI_F32, n);
            lti_cast(d, leaving, wide);
            lti_lincomb(d, mean, &a, wide, &b, mean);
            lti_cast(d, mean, anchor);
        }
    }
}

/* ---- deep ----------------------------------------------------------------------------------- */

void lti_deep_begin(lti_kv *kv, lti_dev *d) {
    const int hd = kv->c.head_dim, moved = kv->view.n_compress - kv->view.n_window;
    lti_rope_axes ax = lti_rope_split(hd);
    const int64_t pos = kv->c.compat ? 0 : moved;
    lti_rope_table(ax, &pos, 1, 1, 1, kv->host); /* h = w = 0: turns time alone */
    lti_put(d, kv->deep.turn, kv->host, (size_t)hd * sizeof(float));
    kv->past = kv->view.n_window;
    kv->deep.anchor_at = kv->view.anchor_pos;
}

void lti_deep_spatial(lti_kv *kv, lti_dev *d, lti_tensor k /*[rows, H, hd]*/, lti_tensor out) {
    for (int64_t r = 0; r < k.n[0]; r += kv->tok)
        lti_rope(d, lti_rows(k, r, kv->tok), width(kv), kv->deep.spatial,
                 lti_rows(out, r, kv->tok));
}

bool lti_kv_wants_queries(const lti_kv *kv) { return kv->c.policy == LTI_POLICY_DEEP; }

/* k-th largest of x (k from 0); reorders x. */
static float kth_largest(float *x, int n, int k) {
    for (int lo = 0, hi = n - 1; lo < hi;) {
        const float pivot = x[lo + (hi - lo) / 2];
        int i = lo, j = hi;
        while (i <= j) {
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i > j) break;
            const float t = x[i];
            x[i++] = x[j], x[j--] = t;
        }
        if (k <= j) hi = j;
        else if (k >= i) lo = i;
        else break;
    }
    return x[k];
}

/* The `want` best of `n` candidates by score, ascending, into pick. A token chosen too often
 * counts as the worst. */
static void choose(lti_deep *p, const uint8_t *used, int reuse, int n, int want) {
    float *score = p->host, *copy = p->host + n;
    for (int i = 0; i < n; i++)
        if (isnan(score[i]) || (reuse && used[i] >= reuse)) score[i] = -INFINITY;
    memcpy(copy, score, (size_t)n * sizeof *copy);
    const float least = kth_largest(copy, n, want - 1);
    int ties = want, count = 0;
    for (int i = 0; i < n; i++) ties -= score[i] > least;
    for (int i = 0; i < n; i++)
        if (score[i] > least || (score[i] == least && ties-- > 0)) p->pick[count++] = i;
    LT_ASSERT(count == want);
}

/* Rows listed in pick, then the recent ones, to the start of the ring, by way of `stage`. */
static void gather(lti_kv *kv, lti_dev *d, uint8_t *ring, uint8_t *stage, int n_pick, int recent_at,
                   int n_recent) {
    const size_t row = kv->row_bytes;
    for (int i = 0, run; i < n_pick; i += run) {
        const int *pick = kv->deep.pick + i;
        for (run = 1; i + run < n_pick && pick[run] == pick[0] + run;) run++;
        lti_copy(d, stage + (size_t)i * row, ring + (size_t)*pick * row, (size_t)run * row);
    }
    lti_copy(d, stage + (size_t)n_pick * row, ring + (size_t)recent_at * row,
             (size_t)n_recent * row);
    lti_copy(d, ring, stage, (size_t)(n_pick + n_recent) * row);
}

static void count_uses(lti_kv *kv, int layer, int n_pick, int recent_at, int n_recent) {
    const size_t tokens = (size_t)kv->ring * (size_t)kv->tok;
    uint8_t *used = kv->deep.used + (size_t)layer * tokens;
    for (int i = 0; i < n_pick; i++) { /* pick[i] >= i: nothing is read after it was written */
        const uint8_t u = used[kv->deep.pick[i]];
        used[i] = (uint8_t)(u < 255 ? u + 1 : u);
    }
    memmove(used + n_pick, used + recent_at, (size_t)n_recent);
    memset(used + n_pick + n_recent, 0, tokens - (size_t)(n_pick + n_recent));
}

/* score[0 .. n): how much the recent queries ask for each of the first n tokens of the ring. */
static void score(lti_kv *kv, lti_dev *d, lti_arena *a, int layer, lti_tensor q, int n) {
    const lti_kv_config *c = &kv->c;
    const int64_t D = width(kv);
    lti_tensor sum = LTI_VIEW(kv->deep.query, LTI_F32, 1, c->n_head, c->head_dim);
    lti_tensor before = LTI_VIEW(kv->deep.ask + layer * D, LTI_F32, D);
    lti_tensor k = LTI_VIEW(lti_kv_region(kv, layer, 2), c->dtype, n, c->n_head, c->head_dim);
    lti_tensor all = LTI_VIEW(q.data, q.dtype, q.n[0], D);
    lti_sum_rows(d, all, LTI_VIEW(sum.data, LTI_F32, D));
    lti_rope(d, sum, D, kv->deep.turn, sum);
    if (c->deep_recent > c->chunk)
        lti_add(d, LTI_VIEW(sum.data, LTI_F32, D), before, LTI_VIEW(sum.data, LTI_F32, D));
    if (!c->compat) {
        lti_tensor turned = k;
        turned.data = lti_arena_take(a, lti_nbytes(&k));
        lti_rope(d, k, D, kv->window.dev, turned);
        k = turned;
    }
    const float scale = (float)(1.0 / (sqrt((double)c->head_dim) * c->n_head));
    lti_token_scores(d, LTI_VIEW(sum.data, LTI_F32, D), LTI_VIEW(k.data, k.dtype, n, D), scale,
                     LTI_VIEW(kv->deep.score, LTI_F32, n));
    lti_get(d, kv->deep.host, kv->deep.score, (size_t)n * sizeof(float));
}

static void compress(lti_kv *kv, lti_dev *d, lti_arena *a, int layer, lti_tensor q) {
    const lti_kv_config *c = &kv->c;
    const int tok = (int)kv->tok, n_recent = (c->deep_recent - c->chunk) * tok;
    const int n_pick = (c->deep_budget - c->sink - c->deep_recent) * tok;
    const int recent_at = kv->view.n_compress * tok - n_recent;
    size_t mark = lti_arena_mark(a);
    score(kv, d, a, layer, q, recent_at);
    lti_arena_release(a, mark);
    uint8_t *stage = lti_arena_take(a, (size_t)(n_pick + n_recent) * kv->row_bytes);
    if (!d->measuring) {
        const uint8_t *used = kv->deep.used + (size_t)layer * (size_t)kv->ring * (size_t)kv->tok;
        if (n_pick > 0) choose(&kv->deep, used, c->deep_reuse, recent_at, n_pick);
        for (int part = 2; part < 4; part++)
            gather(kv, d, lti_kv_region(kv, layer, part), stage, n_pick, recent_at, n_recent);
        count_uses(kv, layer, n_pick, recent_at, n_recent);
    }
    lti_arena_release(a, mark);
}

void lti_kv_queries(lti_kv *kv, lti_dev *d, lti_arena *a, int layer,
                    lti_tensor q /*[rows, H, hd], rotated*/) {
    const lti_kv_config *c = &kv->c;
    if (c->policy != LTI_POLICY_DEEP) return;
    if (kv->view.n_compress > 0) compress(kv, d, a, layer, q);
    const int64_t rows = (c->deep_recent - c->chunk) * kv->tok, D = width(kv);
    if (kv->n_commit == 0 || rows == 0 || rows > q.n[0]) return;
    lti_tensor last = lti_rows(q, q.n[0] - rows, rows);
    lti_sum_rows(d, LTI_VIEW(last.data, q.dtype, rows, D),
                 LTI_VIEW(kv->deep.ask + layer * D, LTI_F32, D));
}

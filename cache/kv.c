/* SPDX-License-Identifier: Apache-2.0
 * cache/kv.c - anchors and the window ring of one stream: memory, storing, reading.
 *
 * The first `sink` frames are the anchors. The frames after them get window indices 0, 1, .. and
 * live in ring slot index % ring. The ring holds window + in_flight - chunk frames, the most that is
 * ever visible (deep: window + chunk, what can be there before it compresses; realign with compat:
 * sink more). What is visible and where it stands is position.c; ema and deep change what is stored
 * when it leaves: evict.c.
 *
 * Pitfalls. Storing overwrites the oldest chunk layer by layer while a pass runs: a layer must read
 * its spans before it stores, and a pass abandoned between the two leaves a kv that only reset can
 * mend; so does a pass abandoned while deep compresses. Reference: Self-Forcing and LongLive
 * causal_model.py, RollingForcing causal_model.py. */
#include "base/error.h"
#include "cache/kv_int.h"
#include <stdlib.h>
#include <string.h>

static size_t round_up(size_t n) { return (n + LTI_ALIGN - 1) / LTI_ALIGN * LTI_ALIGN; }

static lt_status check_config(const lti_kv_config *c, lt_error *err) {
    LT_ASSERT(c->n_layer > 0 && c->n_head > 0 && c->head_dim > 0 && c->head_dim % 2 == 0);
    LT_ASSERT(c->dtype == LTI_F32 || c->dtype == LTI_BF16);
    LT_ASSERT(c->grid_h > 0 && c->grid_w > 0);
    if (c->chunk < 1 || c->chunk > 4096)
        return lti_fail(err, LT_EINVAL, "chunk: %d latent frames, expected 1 to 4096", c->chunk);
    if (c->sink < 0 || c->sink > 65536)
        return lti_fail(err, LT_EINVAL, "sink: %d latent frames, expected 0 to 65536", c->sink);
    if (c->window < 0 || c->window > 65536)
        return lti_fail(err, LT_EINVAL, "window: %d latent frames, expected 0 to 65536", c->window);
    LT_ASSERT(c->in_flight >= c->chunk && c->in_flight <= 65536);
    LT_ASSERT(c->rewrite >= 0 && c->rewrite <= 4 * 65536);
    return lti_evict_check(c, err);
}

/* Sizes in bytes; false when they do not fit in a size_t. */
static bool measure(lti_kv *kv) {
    const lti_kv_config *c = &kv->c;
    kv->row_bytes = (size_t)c->n_head * (size_t)c->head_dim * lti_dtype_size(c->dtype);
    unsigned __int128 frame = (unsigned __int128)kv->row_bytes * (unsigned __int128)kv->tok;
    unsigned __int128 anchor = (frame * (unsigned)c->sink + LTI_ALIGN - 1) / LTI_ALIGN * LTI_ALIGN;
    unsigned __int128 ring = (frame * (unsigned)kv->ring + LTI_ALIGN - 1) / LTI_ALIGN * LTI_ALIGN;
    unsigned __int128 all = 2 * (anchor + ring) * (unsigned)c->n_layer;
    int tables = kv->anchor.cap + kv->window.cap + kv->query.cap;
    unsigned __int128 rope =
        (unsigned __int128)kv->tok * (unsigned)c->head_dim * sizeof(float) * (unsigned)tables +
        3 * LTI_ALIGN;
    /* an eighth of the address space: evict.c takes at most as much again, twice over */
    if (all + rope > SIZE_MAX / 8) return false;
    kv->anchor_bytes = (size_t)anchor;
    kv->ring_bytes = (size_t)ring;
    kv->layer_bytes = 2 * (kv->anchor_bytes + kv->ring_bytes);
    kv->bytes = (size_t)(all + rope);
    return true;
}

static void shape(lti_kv *kv, const lti_kv_config *c) {
    kv->c = *c;
    if (c->policy == LTI_POLICY_NONE) kv->c.sink = 0;
    kv->tok = (int64_t)c->grid_h * c->grid_w;
    kv->ring = c->window + c->in_flight - c->chunk;
    if (c->policy == LTI_POLICY_DEEP) kv->ring = c->window + c->chunk;
    if (c->policy == LTI_POLICY_REALIGN && c->compat) kv->ring += c->sink;
    kv->anchor.cap = kv->c.sink;
    kv->window.cap = lti_kv_stores_unrotated(c) ? kv->ring : 0;
    kv->window.time_only = c->policy == LTI_POLICY_DEEP;
    kv->query.cap = c->rewrite > c->in_flight ? c->rewrite : c->in_flight;
}

static lt_status take_memory(lti_kv *kv, lti_dev *d, lt_error *err) {
    const lti_kv_config *c = &kv->c;
    int most = kv->query.cap;
    if (kv->anchor.cap > most) most = kv->anchor.cap;
    if (kv->window.cap > most) most = kv->window.cap;
    if (!measure(kv))
        return lti_fail(err, LT_EINVAL,
                        "cache: %d + %d + %d latent frames of %d x %d tokens are too many", c->sink,
                        c->window, c->in_flight, c->grid_h, c->grid_w);
    if (d->counting) most = 1; /* nothing will be begun */
    if (!(kv->host = malloc(lti_kv_table_bytes(kv, most))))
        return lti_oom(err, lti_kv_table_bytes(kv, most));
    if (!(kv->mem = d->ops.alloc(d, kv->bytes))) return lti_oom(err, kv->bytes);
    uint8_t *p = kv->mem + kv->layer_bytes * (size_t)c->n_layer;
    lti_rope_run *run[3] = {&kv->anchor, &kv->window, &kv->query};
    for (int i = 0; i < 3; i++) {
        run[i]->dev = (float *)(void *)p;
        p += round_up(lti_kv_table_bytes(kv, run[i]->cap));
    }
    return lti_evict_open(kv, d, err);
}

lt_status lti_kv_open(lti_dev *d, const lti_kv_config *c, lti_kv **out, lt_error *err) {
    *out = NULL;
    LT_TRY(check_config(c, err));
    lti_kv *kv = calloc(1, sizeof *kv);
    if (!kv) return lti_oom(err, sizeof *kv);
    shape(kv, c);
    lt_status st = take_memory(kv, d, err);
    if (st < 0) lti_kv_close(d, &kv);
    *out = kv;
    return st;
}

void lti_kv_close(lti_dev *d, lti_kv **kv) {
    if (!kv || !*kv) return;
    lti_evict_close(*kv, d);
    if ((*kv)->mem) d->ops.free(d, (*kv)->mem);
    free((*kv)->host);
    free(*kv);
    *kv = NULL;
}

size_t lti_kv_bytes(const lti_kv *kv) { return kv->bytes + kv->extra_bytes; }
int64_t lti_kv_frames(const lti_kv *kv) { return kv->frames; }

void lti_kv_reset(lti_kv *kv) { lti_kv_restart(kv, 0); }

void lti_kv_restart(lti_kv *kv, int64_t first) {
    kv->frames = kv->origin = kv->deep.anchor_at = first;
    kv->past = kv->floor = 0;
    kv->cut = false;
    kv->view = (lti_kv_view){0};
    kv->n_query = kv->n_commit = 0;
    if (kv->deep.used)
        memset(kv->deep.used, 0, (size_t)kv->c.n_layer * (size_t)kv->ring * (size_t)kv->tok);
}

void lti_kv_flush(lti_kv *kv, int keep) {
    LT_ASSERT(keep >= 0 && kv->c.policy != LTI_POLICY_DEEP);
    if (kv->past - keep > kv->floor) kv->floor = kv->past - keep;
}

void lti_kv_cut(lti_kv *kv, bool on) {
    LT_ASSERT(!on || kv->c.policy == LTI_POLICY_SLOT || kv->c.policy == LTI_POLICY_EMA);
    kv->cut = on;
}

uint8_t *lti_kv_region(const lti_kv *kv, int layer, int part) {
    LT_ASSERT(layer >= 0 && layer < kv->c.n_layer);
    uint8_t *p = kv->mem + (size_t)layer * kv->layer_bytes;
    if (part < 2) return p + (size_t)part * kv->anchor_bytes;
    return p + 2 * kv->anchor_bytes + (size_t)(part - 2) * kv->ring_bytes;
}

/* n frames starting at frame slot `at` of a layer's anchors or ring as one span; table NULL: the
 * keys are already rotated. */
static lti_span one_span(lti_kv *kv, lti_dev *d, lti_arena *a, int layer, int part, int at, int n,
                         const float *table) {
    const lti_kv_config *c = &kv->c;
    const int64_t rows = n * kv->tok, D = (int64_t)c->n_head * c->head_dim;
    size_t off = (size_t)at * (size_t)kv->tok * kv->row_bytes;
    lti_span s = {lti_kv_region(kv, layer, part) + off, lti_kv_region(kv, layer, part + 1) + off,
                  rows, D, c->dtype};
    if (table) {
        lti_tensor raw = LTI_VIEW((void *)(uintptr_t)s.k, c->dtype, rows, c->n_head, c->head_dim);
        lti_tensor rot = raw;
        rot.data = lti_arena_take(a, lti_nbytes(&rot));
        lti_rope(d, raw, D, table, rot);
        s.k = rot.data;
    }
    return s;
}

int lti_kv_spans(lti_kv *kv, lti_dev *d, lti_arena *a, int layer, lti_span *span) {
    int count = 0;
    const size_t table_frame = lti_kv_table_bytes(kv, 1) / sizeof(float);
    const lti_kv_view *v = &kv->view;
    if (v->n_anchor > 0)
        span[count++] = one_span(kv, d, a, layer, 0, 0, v->n_anchor, kv->anchor.dev);
    if (kv->measuring) lti_arena_take(a, LTI_ALIGN); /* the ring may come in two rounded pieces */
    /* oldest visible frame first; the ring wraps at most once */
    for (int done = 0; done < v->n_window;) {
        int at = (int)((kv->oldest + done) % kv->ring);
        int n = (int)lti_min64(v->n_window - done, kv->ring - at);
        const float *table =
            lti_kv_stores_unrotated(&kv->c) ? kv->window.dev + (size_t)done * table_frame : NULL;
        span[count++] = one_span(kv, d, a, layer, 2, at, n, table);
        done += n;
    }
    return count;
}

/* Frames [from, from + n) of the pass into consecutive slots starting at `at`. */
static void store_run(lti_kv *kv, lti_dev *d, int layer, int part, int at, lti_tensor k_raw,
                      lti_tensor v, int from, int n) {
    const int64_t D = (int64_t)kv->c.n_head * kv->c.head_dim;
    size_t off = (size_t)at * (size_t)kv->tok * kv->row_bytes;
    lti_tensor k_src = lti_rows(k_raw, from * kv->tok, n * kv->tok);
    lti_tensor v_src = lti_rows(v, from * kv->tok, n * kv->tok), k_dst = k_src;
    k_dst.data = lti_kv_region(kv, layer, part) + off;
    if (part == 0 || kv->c.policy == LTI_POLICY_SLOT || kv->c.policy == LTI_POLICY_EMA) {
        lti_copy(d, k_dst.data, k_src.data, lti_nbytes(&k_src));
    } else if (lti_kv_stores_unrotated(&kv->c)) {
        lti_deep_spatial(kv, d, k_src, k_dst);
    } else {
        const float *table =
            kv->query.dev + (size_t)from * lti_kv_table_bytes(kv, 1) / sizeof(float);
        lti_rope(d, k_src, D, table, k_dst);
    }
    lti_copy(d, lti_kv_region(kv, layer, part + 1) + off, v_src.data, lti_nbytes(&v_src));
}

void lti_kv_store(lti_kv *kv, lti_dev *d, int layer, lti_tensor k_raw /*[rows, H, hd]*/,
                  lti_tensor v /*[rows, H, hd]*/, int n) {
    LT_ASSERT(k_raw.rank == 3 && k_raw.n[1] == kv->c.n_head && k_raw.n[2] == kv->c.head_dim);
    LT_ASSERT(k_raw.dtype == kv->c.dtype && v.dtype == kv->c.dtype && n <= kv->n_query);
    LT_ASSERT(k_raw.n[0] >= n * kv->tok && v.n[0] >= n * kv->tok);
    if (kv->measuring) return;
    const int64_t first = kv->first - kv->origin, back = kv->frames - kv->first;
    int i = first < kv->c.sink ? (int)lti_min64(n, kv->c.sink - first) : 0;
    if (i > 0) store_run(kv, d, layer, 0, (int)first, k_raw, v, 0, i);
    if (i > 0) lti_ema_anchor(kv, d, layer, (int)first, i);
    /* Window index of the pass's frame 0; negative while anchors are being filled. back > 0: the
     * pass rewrites frames that have their index. */
    const int64_t base = first < kv->c.sink ? -(int64_t)i : kv->past - back;
    const int64_t end = base + n > kv->past ? base + n : kv->past;
    if (end - kv->ring > base + i) i = (int)(end - kv->ring - base); /* overwritten at once */
    while (i < n) {
        int at = (int)((base + i) % kv->ring);
        int run = (int)lti_min64(n - i, kv->ring - at);
        if (base + i >= kv->past && base + i - kv->ring >= kv->floor)
            lti_ema_leave(kv, d, layer, at, run);
        store_run(kv, d, layer, 2, at, k_raw, v, i, run);
        i += run;
    }
}

void lti_kv_commit(lti_kv *kv, int n) {
    LT_ASSERT(n >= 0 && n <= kv->n_query);
    if (kv->measuring) return;
    const int64_t end = kv->first + n, anchors_end = kv->origin + kv->c.sink;
    if (end <= kv->frames) return;
    if (end > anchors_end) kv->past += end - (kv->frames > anchors_end ? kv->frames : anchors_end);
    kv->frames = end;
}

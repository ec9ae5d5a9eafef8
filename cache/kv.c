/* SPDX-License-Identifier: Apache-2.0
 * cache/kv.c - anchors and the window ring of one stream, and the positions of a pass.
 *
 * Frame f < sink is anchor f. Frame f >= sink lives in ring slot (f - sink) % ring; the ring holds
 * window + in_flight - chunk frames, the most that is ever visible. Committed frames are
 * [0, frames); a pass over [frames, frames + n) sees the anchors and the last
 *     n_window = min(frames - sink, window + in_flight - n, ring)
 * frames of the ring, which are at most two contiguous pieces. Positions of all policies are runs
 * of consecutive numbers, so a rope table is described by its first position alone:
 *
 *     policy     anchors            window (only slot)   queries
 *     absolute   0                  -                    frames
 *     realign    frames - nw - sv   -                    frames
 *     slot       0                  sv                   sv + nw       sv = anchors present
 *     none       -                  -                    frames        nw = n_window
 *
 * and is rebuilt only when that number changes (slot: never, once the ring is full).
 *
 * Pitfalls. Storing overwrites the oldest chunk layer by layer while a pass runs: a layer must read
 * its spans before it stores, and a pass abandoned between the two leaves a kv that only reset can
 * mend. Registers are keys without a position: with absolute positions the score against them
 * depends on how far the stream has run, with slots it stays in the trained range. That is by
 * design. Reference: Self-Forcing and LongLive causal_model.py, RollingForcing causal_model.py. */
#include "cache/kv.h"
#include "base/error.h"
#include <stdlib.h>

/* A cos/sin table of consecutive temporal positions first .. first + n. */
typedef struct rope_run {
    float *dev; /* [cap * tok, hd/2, 2] */
    int cap;    /* frames */
    int n;      /* frames filled in; 0: none */
    int64_t first;
} rope_run;

struct lti_kv {
    lti_kv_config c;    /* sink is 0 for policy none */
    int ring;           /* frames of the window ring */
    int64_t tok;        /* tokens per frame */
    int64_t frames;     /* committed */
    size_t row_bytes;   /* one token's keys */
    size_t layer_bytes; /* anchor k, anchor v, ring k, ring v of one layer */
    size_t anchor_bytes, ring_bytes;
    size_t bytes; /* of mem */
    uint8_t *mem; /* device: layers, then the rope tables */
    float *host;  /* one table under construction */
    rope_run anchor, window, query;
    int n_anchor, n_window, n_query; /* of the pass begun last; frames */
    int64_t oldest; /* its first visible window frame, counted from the anchors on */
    bool measuring; /* that pass only measures: the cache counts as full */
};

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
    return LT_OK;
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
    if (all + rope > SIZE_MAX / 2) return false;
    kv->anchor_bytes = (size_t)anchor;
    kv->ring_bytes = (size_t)ring;
    kv->layer_bytes = 2 * (kv->anchor_bytes + kv->ring_bytes);
    kv->bytes = (size_t)(all + rope);
    return true;
}

static size_t table_bytes(const lti_kv *kv, int frames) {
    return (size_t)frames * (size_t)kv->tok * (size_t)kv->c.head_dim * sizeof(float);
}

lt_status lti_kv_open(lti_dev *d, const lti_kv_config *c, lti_kv **out, lt_error *err) {
    *out = NULL;
    LT_TRY(check_config(c, err));
    lti_kv *kv = calloc(1, sizeof *kv);
    if (!kv) return lti_oom(err, sizeof *kv);
    kv->c = *c;
    if (c->policy == LTI_POLICY_NONE) kv->c.sink = 0;
    kv->tok = (int64_t)c->grid_h * c->grid_w;
    kv->ring = c->window + c->in_flight - c->chunk;
    kv->anchor.cap = kv->c.sink;
    kv->window.cap = c->policy == LTI_POLICY_SLOT ? kv->ring : 0;
    kv->query.cap = c->in_flight;
    int most = kv->query.cap;
    if (kv->anchor.cap > most) most = kv->anchor.cap;
    if (kv->window.cap > most) most = kv->window.cap;
    if (!measure(kv)) {
        free(kv);
        return lti_fail(err, LT_EINVAL,
                        "cache: %d + %d + %d latent frames of %d x %d tokens are too many", c->sink,
                        c->window, c->in_flight, c->grid_h, c->grid_w);
    }
    kv->host = malloc(table_bytes(kv, most));
    kv->mem = kv->host ? d->ops.alloc(d, kv->bytes) : NULL;
    if (!kv->mem) {
        size_t bytes = kv->host ? kv->bytes : table_bytes(kv, most);
        free(kv->host);
        free(kv);
        return lti_oom(err, bytes);
    }
    uint8_t *p = kv->mem + kv->layer_bytes * (size_t)c->n_layer;
    rope_run *run[3] = {&kv->anchor, &kv->window, &kv->query};
    for (int i = 0; i < 3; i++) {
        run[i]->dev = (float *)(void *)p;
        p += round_up(table_bytes(kv, run[i]->cap));
    }
    *out = kv;
    return LT_OK;
}

void lti_kv_close(lti_dev *d, lti_kv **kv) {
    if (!kv || !*kv) return;
    d->ops.free(d, (*kv)->mem);
    free((*kv)->host);
    free(*kv);
    *kv = NULL;
}

size_t lti_kv_bytes(const lti_kv *kv) { return kv->bytes; }
int64_t lti_kv_frames(const lti_kv *kv) { return kv->frames; }

void lti_kv_reset(lti_kv *kv) {
    kv->frames = 0;
    kv->n_anchor = kv->n_window = kv->n_query = 0;
}

/* Make r hold positions first .. first + n. Nothing is written while the device measures. */
static void fill(lti_kv *kv, lti_dev *d, rope_run *r, int64_t first, int n) {
    LT_ASSERT(n <= r->cap);
    if (n == 0 || d->measuring || (r->first == first && r->n >= n)) return;
    lti_rope_axes ax = lti_rope_split(kv->c.head_dim);
    size_t frame = table_bytes(kv, 1);
    for (int i = 0; i < n; i++) {
        int64_t pos = first + i;
        lti_rope_table(ax, &pos, 1, kv->c.grid_h, kv->c.grid_w,
                       kv->host + (size_t)i * frame / sizeof(float));
    }
    lti_put(d, r->dev, kv->host, (size_t)n * frame);
    r->first = first;
    r->n = n;
}

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

void lti_kv_begin(lti_kv *kv, lti_dev *d, int64_t first, int n) {
    const lti_kv_config *c = &kv->c;
    kv->measuring = d->measuring;
    LT_ASSERT((first == kv->frames || kv->measuring) && n >= 1 && n <= c->in_flight);
    if (kv->measuring) first = (int64_t)c->sink + 2 * (int64_t)kv->ring;
    int sv = (int)min64(first, c->sink);
    int nw = (int)min64(first - sv, min64(kv->ring, (int64_t)c->window + c->in_flight - n));
    kv->oldest = first - nw - c->sink;
    bool slot = c->policy == LTI_POLICY_SLOT, realign = c->policy == LTI_POLICY_REALIGN;
    kv->n_anchor = sv;
    kv->n_window = nw;
    kv->n_query = n;
    fill(kv, d, &kv->anchor, realign ? first - nw - sv : 0, sv);
    if (slot) fill(kv, d, &kv->window, sv, nw);
    fill(kv, d, &kv->query, slot ? sv + nw : first, n);
}

const float *lti_kv_query_table(const lti_kv *kv) { return kv->query.dev; }

/* Start of anchor k (part 0), anchor v (1), ring k (2), ring v (3) of a layer. */
static uint8_t *region(const lti_kv *kv, int layer, int part) {
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
    lti_span s = {region(kv, layer, part) + off, region(kv, layer, part + 1) + off, rows, D,
                  c->dtype};
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
    const size_t table_frame = table_bytes(kv, 1) / sizeof(float);
    if (kv->n_anchor > 0)
        span[count++] = one_span(kv, d, a, layer, 0, 0, kv->n_anchor, kv->anchor.dev);
    if (kv->measuring) lti_arena_take(a, LTI_ALIGN); /* the ring may come in two rounded pieces */
    /* oldest visible frame first; the ring wraps at most once */
    for (int done = 0; done < kv->n_window;) {
        int at = (int)((kv->oldest + done) % kv->ring);
        int n = (int)min64(kv->n_window - done, kv->ring - at);
        const float *table =
            kv->c.policy == LTI_POLICY_SLOT ? kv->window.dev + (size_t)done * table_frame : NULL;
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
    k_dst.data = region(kv, layer, part) + off;
    if (part == 2 && kv->c.policy != LTI_POLICY_SLOT) {
        const float *table = kv->query.dev + (size_t)from * table_bytes(kv, 1) / sizeof(float);
        lti_rope(d, k_src, D, table, k_dst);
    } else {
        lti_copy(d, k_dst.data, k_src.data, lti_nbytes(&k_src));
    }
    lti_copy(d, region(kv, layer, part + 1) + off, v_src.data, lti_nbytes(&v_src));
}

void lti_kv_store(lti_kv *kv, lti_dev *d, int layer, lti_tensor k_raw /*[rows, H, hd]*/,
                  lti_tensor v /*[rows, H, hd]*/, int n) {
    LT_ASSERT(k_raw.rank == 3 && k_raw.n[1] == kv->c.n_head && k_raw.n[2] == kv->c.head_dim);
    LT_ASSERT(k_raw.dtype == kv->c.dtype && v.dtype == kv->c.dtype && n <= kv->n_query);
    LT_ASSERT(k_raw.n[0] >= n * kv->tok && v.n[0] >= n * kv->tok);
    if (kv->measuring) return;
    int anchors = kv->frames < kv->c.sink ? (int)min64(n, kv->c.sink - kv->frames) : 0;
    if (anchors > 0) store_run(kv, d, layer, 0, (int)kv->frames, k_raw, v, 0, anchors);
    int i = anchors;
    if (n - i > kv->ring) i = n - kv->ring; /* older ones would be overwritten at once */
    while (i < n) {
        int at = (int)((kv->frames + i - kv->c.sink) % kv->ring);
        int run = (int)min64(n - i, kv->ring - at);
        store_run(kv, d, layer, 2, at, k_raw, v, i, run);
        i += run;
    }
}

void lti_kv_commit(lti_kv *kv, int n) {
    LT_ASSERT(n >= 0 && n <= kv->n_query);
    if (!kv->measuring) kv->frames += n;
}

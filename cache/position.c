/* SPDX-License-Identifier: Apache-2.0
 * cache/position.c - who is visible in a pass, and at which temporal positions.
 *
 * Positions of all policies are runs of consecutive numbers, so a rope table is described by its
 * first position alone and rebuilt only when that number changes (slot: never, once the ring is
 * full). With nw visible window frames and sv anchors present, a pass over frames c .. c + n:
 *
 *     policy           anchors        window         queries
 *     none             -              as stored      c
 *     absolute         origin         as stored      c
 *     realign          c - nw - sv    as stored      c
 *     slot, ema, deep  0              sv             sv + nw, or after a cut 45 if that is later
 *     deep, compat     c' - budget    as stored      c            c' = c of the last compression
 *
 * Pitfall: registers are keys without a position: with absolute positions the score against them
 * depends on how far the stream has run, with slots it stays in the trained range. By design.
 * Reference: Self-Forcing, LongLive, RollingForcing, Reward-Forcing, infinity-rope
 * causal_model.py; Relax-Forcing deep_forcing_model.py. */
#include "base/error.h"
#include "cache/kv_int.h"

bool lti_kv_stores_unrotated(const lti_kv_config *c) {
    return c->policy == LTI_POLICY_SLOT || c->policy == LTI_POLICY_EMA ||
           (c->policy == LTI_POLICY_DEEP && !c->compat);
}

/* Rolling Forcing's code caches 3 frames more than it attends to and takes the last 21 frames of
 * that for a clean pass: all frames where they were made, and once the cache is full no anchors. */
static void look_clean(const lti_kv *kv, int64_t first, int n, lti_kv_view *v) {
    const int64_t total = (int64_t)kv->c.sink + kv->c.window + kv->c.in_flight;
    v->anchor_pos = kv->origin;
    if (first - kv->origin + n > total) {
        v->n_anchor = 0;
        v->n_window = (int)lti_min64(kv->past - kv->floor, total - n);
    }
}

/* Deep: frames kept of the past when it is compressed: the chosen tokens' and the recent ones. */
static int deep_kept(const lti_kv_config *c) { return c->deep_budget - c->sink - c->chunk; }

lti_kv_view lti_kv_look(const lti_kv *kv, int64_t first, int n, bool clean) {
    const lti_kv_config *c = &kv->c;
    const bool rewrites = first < kv->frames, slots = lti_kv_stores_unrotated(c);
    lti_kv_view v = {.n_anchor = (int)lti_min64(first - kv->origin, c->sink)};
    int64_t past = rewrites ? 0 : kv->past - kv->floor;
    int64_t most = lti_min64(kv->ring, (int64_t)c->window + c->in_flight - n);
    if (c->policy == LTI_POLICY_DEEP) {
        most = past;
        if (past + n > (int64_t)c->window + c->chunk) {
            v.n_compress = (int)past;
            most = deep_kept(c);
        }
    }
    if (n > c->in_flight) most = 0; /* after a restart: all that is in the cache is in the pass */
    v.n_window = rewrites ? 0 : (int)lti_min64(past, most);
    int64_t before = v.n_anchor + (int64_t)v.n_window;
    if (c->policy == LTI_POLICY_ABSOLUTE) v.anchor_pos = kv->origin;
    if (c->policy == LTI_POLICY_REALIGN) v.anchor_pos = first - before;
    if (c->policy == LTI_POLICY_REALIGN && c->compat && clean && c->in_flight > c->chunk &&
        !rewrites)
        look_clean(kv, first, n, &v);
    if (c->policy == LTI_POLICY_DEEP && c->compat)
        v.anchor_pos = v.n_compress ? first - c->deep_budget : kv->deep.anchor_at;
    v.window_pos = v.n_anchor;
    v.query_pos = !slots ? first : kv->cut && before < LTI_CUT_POSITION ? LTI_CUT_POSITION : before;
    return v;
}

size_t lti_kv_table_bytes(const lti_kv *kv, int frames) {
    return (size_t)frames * (size_t)kv->tok * (size_t)kv->c.head_dim * sizeof(float);
}

/* Make r hold positions first .. first + n. Nothing is written while the device measures. */
void lti_kv_fill(lti_kv *kv, lti_dev *d, lti_rope_run *r, int64_t first, int n) {
    LT_ASSERT(n <= r->cap);
    if (n == 0 || d->measuring || (r->n >= n && r->first == first)) return;
    const lti_rope_axes ax = lti_rope_split(kv->c.head_dim);
    const size_t frame = lti_kv_table_bytes(kv, 1), hd = (size_t)kv->c.head_dim;
    for (int i = 0; i < n; i++) {
        int64_t pos = first + i;
        float *table = kv->host + (size_t)i * frame / sizeof(float);
        lti_rope_table(ax, &pos, 1, kv->c.grid_h, kv->c.grid_w, table);
        for (int64_t t = 0; t < kv->tok && r->time_only; t++)
            for (size_t j = (size_t)ax.t; j < hd; j += 2)
                table[(size_t)t * hd + j] = 1, table[(size_t)t * hd + j + 1] = 0;
    }
    lti_put(d, r->dev, kv->host, (size_t)n * frame);
    r->first = first;
    r->n = n;
}

void lti_kv_begin(lti_kv *kv, lti_dev *d, int64_t first, int n, int commit) {
    const lti_kv_config *c = &kv->c;
    LT_ASSERT(n >= 1 && n <= kv->query.cap && commit >= 0 && commit <= n);
    kv->measuring = d->measuring;
    kv->n_query = n;
    kv->n_commit = commit;
    kv->first = first;
    if (kv->measuring) {
        int64_t nw = c->compat || c->policy == LTI_POLICY_DEEP
                         ? kv->ring
                         : lti_min64(kv->ring, (int64_t)c->window + c->in_flight - n);
        kv->view = (lti_kv_view){.n_anchor = c->sink, .n_window = nw > 0 ? (int)nw : 0};
        if (c->policy == LTI_POLICY_DEEP) kv->view.n_compress = kv->ring;
        kv->oldest = 0;
        return;
    }
    LT_ASSERT(first == kv->frames || (first + n == kv->frames && first >= kv->origin + c->sink));
    kv->view = lti_kv_look(kv, first, n, commit > 0);
    if (kv->view.n_compress) lti_deep_begin(kv, d);
    kv->oldest = kv->past - kv->view.n_window;
    const lti_kv_view *v = &kv->view;
    lti_kv_fill(kv, d, &kv->anchor, v->anchor_pos, v->n_anchor);
    if (lti_kv_stores_unrotated(c)) {
        int most = v->n_compress > v->n_window ? v->n_compress : v->n_window;
        lti_kv_fill(kv, d, &kv->window, v->window_pos, most);
    }
    lti_kv_fill(kv, d, &kv->query, v->query_pos, n);
}

lti_kv_view lti_kv_get_view(const lti_kv *kv) { return kv->view; }
const float *lti_kv_query_table(const lti_kv *kv) { return kv->query.dev; }

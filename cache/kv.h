/* SPDX-License-Identifier: Apache-2.0
 * cache/kv.h - the frame cache: registers | anchors | window | current chunk.
 *
 * Holds, per layer, the keys and values of finished (clean) latent frames: the first `sink` frames
 * as anchors, and the last `window` frames in a ring that overwrites its oldest chunk in place. A
 * pass over frames [c, c+n) sees [registers | anchors | window | its own n frames]. Anchor keys are
 * kept un-rotated and rotated fresh on every use; so are window keys when positions are slots.
 * Positions (temporal, in latent frames; h and w never change):
 *   none      no anchors; absolute positions (equal to slot up to rounding)
 *   absolute  anchors 0..sink-1, window and queries their own frame number
 *   slot      anchors 0..sink-1, window sink.., queries right after the window
 *   realign   window and queries absolute, anchors at c - n_window - sink ..
 *   ema       as slot; a chunk that leaves the window is mixed into the anchors (Reward Forcing)
 *   deep      as slot, with many anchors; when sink + window + chunk frames are full, of all that
 *             is past only the tokens the current queries ask for most are kept (Deep Forcing)
 * `compat` is what the published code does where its paper means something else; docs/MODELS.md
 * says where and by how much:
 *   realign   the clean pass sees 0..sink-1 where they were made, and no anchors once the cache is
 *             full (rolling only)
 *   ema       the mixture is rounded to the cache dtype at every step
 *   deep      kept tokens stay at the frame they were made at; anchors move only when the cache is
 *             compressed
 * In rolling mode the visible total is capped at sink + window + in-flight frames, so the window
 * grows while the schedule drains.
 * All memory is taken in open. One kv belongs to one stream. */
#ifndef LT_CACHE_KV_H
#define LT_CACHE_KV_H
#include "backend/backend.h"
#include "base/arena.h"
#include "rope/rope.h"

typedef enum lti_policy {
    LTI_POLICY_NONE,
    LTI_POLICY_ABSOLUTE,
    LTI_POLICY_SLOT,
    LTI_POLICY_REALIGN,
    LTI_POLICY_DEEP,
    LTI_POLICY_EMA
} lti_policy;

/* A cut puts the chunk this far away in time from what it sees (Infinity-RoPE). */
#define LTI_CUT_POSITION 45

typedef struct lti_kv_config {
    int n_layer, n_head, head_dim;
    int grid_h, grid_w;      /* tokens per latent frame = grid_h * grid_w */
    int chunk, sink, window; /* latent frames; sink and window any value >= 0 */
    int in_flight;           /* most frames of one noisy pass: chunk, or n_step * chunk (rolling) */
    int rewrite;             /* most frames of a pass that writes finished frames again; 0: none */
    lti_policy policy;
    bool compat;
    float ema;       /* ema: anchors = ema * anchors + (1 - ema) * leaving; in (0, 1) */
    int deep_budget; /* deep: frames left by a compression, with anchors and current chunk */
    int deep_recent; /* deep: newest frames, with the current chunk, that are kept and that ask */
    int deep_reuse;  /* deep: how often one token may be chosen; 0: any number of times */
    lti_dtype dtype; /* of cached keys and values: F32 or BF16 */
} lti_kv_config;

typedef struct lti_kv lti_kv;
lt_status lti_kv_open(lti_dev *d, const lti_kv_config *c, lti_kv **out, lt_error *err);
void lti_kv_close(lti_dev *d, lti_kv **kv);
size_t lti_kv_bytes(const lti_kv *kv);
void lti_kv_reset(lti_kv *kv);           /* as restart at 0 */
int64_t lti_kv_frames(const lti_kv *kv); /* frames committed so far */
/* Forget all frames; the next ones are numbered from `first` on, and its anchors are made anew. */
void lti_kv_restart(lti_kv *kv, int64_t first);
/* Forget the window but for its last `keep` frames; anchors stay (Infinity-RoPE's KV flush). */
void lti_kv_flush(lti_kv *kv, int keep);
/* From the next pass on queries stand at LTI_CUT_POSITION or later; off: where they belong. Only
 * for slot and ema. */
void lti_kv_cut(lti_kv *kv, bool on);

/* Who is visible in a pass, and where: frames, and the first temporal position of each group. */
typedef struct lti_kv_view {
    int n_anchor, n_window;
    int64_t anchor_pos, window_pos, query_pos; /* window_pos: only where its keys are un-rotated */
    int n_compress; /* deep: window frames before this pass's compression; 0: it does not compress */
} lti_kv_view;

/* -- used by dit/ ------------------------------------------------------------------------ */
/* Start of a pass over frames [first, first + n), of which `commit` will be stored (0: a noisy
 * pass): decides who is visible and at which positions and builds the rope tables (host work +
 * put). first == lti_kv_frames(kv); or first + n == lti_kv_frames(kv), then the pass writes its own
 * frames again, which are none of the anchors, and sees only the anchors before it. While
 * d->measuring the cache counts as full (the worst case), whatever its state; then store and commit
 * change nothing. */
void lti_kv_begin(lti_kv *kv, lti_dev *d, int64_t first, int n, int commit);
lti_kv_view lti_kv_get_view(const lti_kv *kv); /* of the pass begun last */
/* cos/sin table of the queries of this pass, [n * tokens, hd/2, 2], device memory. */
const float *lti_kv_query_table(const lti_kv *kv);
/* Some policies choose by what is asked for: then every layer, also one whose attention is not
 * computed, shows its rotated queries [rows, H, hd] before lti_kv_spans. May reorder the cache. */
bool lti_kv_wants_queries(const lti_kv *kv);
void lti_kv_queries(lti_kv *kv, lti_dev *d, lti_arena *a, int layer, lti_tensor q);
/* Fill spans (anchors, window pieces) of one layer; rotates what is stored un-rotated into arena
 * memory. Returns how many spans. */
int lti_kv_spans(lti_kv *kv, lti_dev *d, lti_arena *a, int layer, lti_span *span);
/* Remember the first n frames of this pass's keys (normed, UN-rotated) and values, [rows, H, hd]
 * in the cache dtype. Visible from the next begin on, after commit. */
void lti_kv_store(lti_kv *kv, lti_dev *d, int layer, lti_tensor k_raw, lti_tensor v, int n);
void lti_kv_commit(lti_kv *kv, int n);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * cache/kv.h - the frame cache: registers | anchors | window ring | current chunk.
 *
 * Holds, per layer, the keys and values of finished (clean) latent frames: the first `sink` frames
 * as anchors, and the last `window` frames in a ring that overwrites its oldest chunk in place. A
 * pass over frames [c, c+n) sees [registers | anchors | window | its own n frames]. Anchor keys are
 * kept un-rotated and rotated fresh on every use; so are window keys when positions are slots.
 * Positions (temporal, in latent frames; h and w never change):
 *   absolute  anchors 0..sink-1, window and queries their own frame number
 *   realign   window and queries absolute, anchors at c - n_window - sink ..
 *   slot      anchors 0..sink-1, window sink.., queries right after the window
 *   none      no anchors; absolute positions (equal to slot up to rounding)
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
    LTI_POLICY_REALIGN
} lti_policy;

typedef struct lti_kv_config {
    int n_layer, n_head, head_dim;
    int grid_h, grid_w;      /* tokens per latent frame = grid_h * grid_w */
    int chunk, sink, window; /* latent frames; sink and window any value >= 0 */
    int in_flight;           /* most frames of one pass: chunk, or n_step * chunk when rolling */
    lti_policy policy;
    lti_dtype dtype; /* of cached keys and values: F32 or BF16 */
} lti_kv_config;

typedef struct lti_kv lti_kv;
lt_status lti_kv_open(lti_dev *d, const lti_kv_config *c, lti_kv **out, lt_error *err);
void lti_kv_close(lti_dev *d, lti_kv **kv);
size_t lti_kv_bytes(const lti_kv *kv);
void lti_kv_reset(lti_kv *kv);           /* forget all frames; keep the memory */
int64_t lti_kv_frames(const lti_kv *kv); /* frames committed so far */

/* -- used by dit/ ------------------------------------------------------------------------ */
/* Start of a pass over frames [first, first + n): decides who is visible and at which positions
 * and builds the rope tables (host work + put). first == lti_kv_frames(kv). While d->measuring the
 * cache counts as full (the worst case: sink + window, or the capped total when rolling), whatever
 * its state; then store and commit change nothing. */
void lti_kv_begin(lti_kv *kv, lti_dev *d, int64_t first, int n);
/* cos/sin table of the queries of this pass, [n * tokens, hd/2, 2], device memory. */
const float *lti_kv_query_table(const lti_kv *kv);
/* Fill spans (anchors, window pieces) of one layer; rotates what is stored un-rotated into arena
 * memory. Returns how many spans. */
int lti_kv_spans(lti_kv *kv, lti_dev *d, lti_arena *a, int layer, lti_span *span);
/* Remember the first n frames of this pass's keys (normed, UN-rotated) and values, [rows, H, hd]
 * in the cache dtype. Visible from the next begin on, after commit. */
void lti_kv_store(lti_kv *kv, lti_dev *d, int layer, lti_tensor k_raw, lti_tensor v, int n);
void lti_kv_commit(lti_kv *kv, int n);

#endif

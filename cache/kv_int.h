/* SPDX-License-Identifier: Apache-2.0
 * cache/kv_int.h - the frame cache's own state, for the files of cache/.
 *
 * "Window index": the window's frames are numbered 0, 1, .. as they are stored; index i lives in
 * ring slot i % ring. `past` frames have been stored, so frame f behind the anchors has index
 * past - (frames - f). Compression renumbers: what it keeps is 0 .. past. */
#ifndef LT_CACHE_KV_INT_H
#define LT_CACHE_KV_INT_H
#include "cache/kv.h"

/* A cos/sin table of consecutive temporal positions first .. first + n. */
typedef struct lti_rope_run {
    float *dev; /* [cap * tok, hd/2, 2] */
    int cap;    /* frames */
    int n;      /* frames filled in; 0: none */
    int64_t first;
    bool time_only; /* turns the temporal channels only: h and w are in the stored key already */
} lti_rope_run;

/* What deep keeps beside keys and values. D = n_head * head_dim. */
typedef struct lti_deep {
    float *ask;        /* device [n_layer, D]: sum of the recent queries before the current chunk */
    float *query;      /* device [D] */
    float *score;      /* device [ring * tok] */
    float *turn;       /* device [hd/2, 2]: by how many frames the summed query is moved */
    float *spatial;    /* device [tok, hd/2, 2]: h and w of one frame at time 0 */
    float *host;       /* [ring * tok] scores, and a copy to select in */
    uint8_t *used;     /* [n_layer, ring * tok]: how often each token was chosen */
    int *pick;         /* [ring * tok] chosen tokens, ascending */
    int64_t anchor_at; /* compat: where the anchors stand */
} lti_deep;

struct lti_kv {
    lti_kv_config c;    /* sink is 0 for policy none */
    int ring;           /* frames of the window ring */
    int64_t tok;        /* tokens per frame */
    int64_t frames;     /* committed: origin .. frames */
    int64_t origin;     /* first frame: the anchors are origin .. origin + sink */
    int64_t past;       /* window indices given out */
    int64_t floor;      /* window indices below it are forgotten (flush) */
    bool cut;           /* queries stand apart */
    size_t row_bytes;   /* one token's keys */
    size_t layer_bytes; /* anchor k, anchor v, ring k, ring v of one layer */
    size_t anchor_bytes, ring_bytes;
    size_t bytes, extra_bytes;
    uint8_t *mem;   /* device: layers, then the rope tables */
    uint8_t *extra; /* device: what ema or deep need beside */
    float *host;    /* one table under construction */
    lti_rope_run anchor, window, query;
    float *mean;    /* ema in bf16: f32 anchors [n_layer, 2, sink * tok, D] in extra; NULL: none */
    float *scratch; /* ema in bf16: f32 [2, sink * tok, D] in extra */
    uint16_t *half; /* ema in bf16 with compat: [sink * tok, D] in extra */
    lti_deep deep;
    /* of the pass begun last */
    lti_kv_view view;
    int64_t first;  /* its first frame */
    int64_t oldest; /* window index of the first visible window frame */
    int n_query, n_commit;
    bool measuring; /* it only measures: the cache counts as full */
};

/* position.c */
bool lti_kv_stores_unrotated(const lti_kv_config *c); /* window keys: rotated on every use */
lti_kv_view lti_kv_look(const lti_kv *kv, int64_t first, int n, bool clean);
size_t lti_kv_table_bytes(const lti_kv *kv, int frames);
void lti_kv_fill(lti_kv *kv, lti_dev *d, lti_rope_run *r, int64_t first, int n);

/* kv.c: start of anchor k (part 0), anchor v (1), ring k (2), ring v (3) of a layer */
uint8_t *lti_kv_region(const lti_kv *kv, int layer, int part);
static inline int64_t lti_min64(int64_t a, int64_t b) { return a < b ? a : b; }

/* evict.c: what ema and deep need beside keys and values; LT_OK for the other policies */
lt_status lti_evict_check(const lti_kv_config *c, lt_error *err);
lt_status lti_evict_open(lti_kv *kv, lti_dev *d, lt_error *err);
void lti_evict_close(lti_kv *kv, lti_dev *d);
/* ema: anchors of this layer were stored, `n` frames from `from` on */
void lti_ema_anchor(lti_kv *kv, lti_dev *d, int layer, int from, int n);
/* ema: the `n` frames in ring slots at.. are about to be overwritten */
void lti_ema_leave(lti_kv *kv, lti_dev *d, int layer, int at, int n);
/* deep, at begin: the host side of a compression */
void lti_deep_begin(lti_kv *kv, lti_dev *d);
/* deep, at store: rotate k by h and w alone */
void lti_deep_spatial(lti_kv *kv, lti_dev *d, lti_tensor k, lti_tensor out);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * text/umt5.c - the UMT5 encoder, once per prompt.
 *
 *   x += O attn(RMS(x))           scores = q.k + bias[bucket(k - q)], no 1/sqrt(d_kv)
 *   x += fc2( gelu(gate h) * (fc1 h) ), h = RMS(x)
 *   rows = RMS(x)
 * Only the real tokens are computed: in the reference, padding is masked with weight zero.
 * Reference: transformers modeling_umt5.py; Wan2.1 wan/modules/t5.py.
 *
 * Pitfalls: every layer has its own bias table (T5 shares the first). Half precision overflows in
 * the feed-forward, so the residual stays f32 and nothing is ever f16. The embedding table (2 GB)
 * is read row by row where it is mapped. Resident or streamed (umt5_load.c), the numbers are the
 * same to the bit. */
#include "text/umt5.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bucket of a key `rel` tokens after the query: exact up to a quarter of the buckets, then
 * logarithmic up to max_distance; keys after the query use the upper half. */
static int bucket(const lti_text *t, int64_t rel) {
    const int half = t->n_bucket / 2, exact = half / 2;
    const int side = rel > 0 ? half : 0;
    const int64_t n = rel < 0 ? -rel : rel;
    if (n < exact) return side + (int)n;
    /* The nudge keeps exact powers (16, 32, 64) in their bucket whatever libm rounds to. */
    double x = log((double)n / exact) / log((double)t->max_distance / exact) * (half - exact);
    int64_t b = exact + (int64_t)(x + 1e-9);
    return side + (int)(b < half - 1 ? b : half - 1);
}

/* bias [H, n, n]: row q of head h is a window of that head's values by distance, line [H, 2n-1]. */
static void fill_bias(const lti_text *t, const lti_t5_layer *l, int64_t n, float *line,
                      float *bias) {
    const int64_t span = 2 * n - 1;
    for (int64_t i = 0; i < span; i++) {
        const float *row = l->bias + (int64_t)bucket(t, i - (n - 1)) * t->n_head;
        for (int64_t h = 0; h < t->n_head; h++) line[h * span + i] = row[h];
    }
    for (int64_t h = 0; h < t->n_head; h++)
        for (int64_t q = 0; q < n; q++)
            memcpy(bias + (h * n + q) * n, line + h * span + (n - 1 - q),
                   (size_t)n * sizeof(float));
}

static lti_tensor take(lti_arena *a, lti_dtype dt, int64_t rows, int64_t cols) {
    return LTI_VIEW(lti_arena_take(a, (size_t)(rows * cols) * lti_dtype_size(dt)), dt, rows, cols);
}

/* x += O attn(RMS(x)). x f32 [n, dim]; bias f32 [H, n, n], device. */
static void attention(const lti_text *t, const lti_t5_layer *l, lti_dev *d, lti_arena *a,
                      lti_tensor x, const float *bias) {
    const int64_t n = x.n[0], inner = t->n_head * t->d_kv;
    lti_tensor h = take(a, t->compute, n, t->dim), y = take(a, LTI_F32, n, t->dim);
    lti_tensor q = take(a, t->compute, n, inner), k = take(a, t->compute, n, inner);
    lti_tensor v = take(a, t->compute, n, inner), o = take(a, t->compute, n, inner);
    lti_rms_norm(d, x, l->norm, t->eps, h);
    lti_linear(d, h, l->m[LTI_T5_Q], LTI_ACT_NONE, q);
    lti_linear(d, h, l->m[LTI_T5_K], LTI_ACT_NONE, k);
    lti_linear(d, h, l->m[LTI_T5_V], LTI_ACT_NONE, v);
    const lti_attn at = {
        .q = LTI_VIEW(q.data, q.dtype, n, t->n_head, t->d_kv),
        .span = {{.k = k.data, .v = v.data, .n = n, .stride = inner, .dtype = k.dtype}},
        .n_span = 1,
        .scale = 1.0f,
        .bias = bias,
        .out = LTI_VIEW(o.data, o.dtype, n, t->n_head, t->d_kv)};
    lti_attention(d, &at);
    lti_linear(d, o, l->m[LTI_T5_O], LTI_ACT_NONE, y);
    lti_add(d, x, y, x);
}

/* x += fc2( gelu(gate h) * (fc1 h) ), h = RMS(x) */
static void feed_forward(const lti_text *t, const lti_t5_layer *l, lti_dev *d, lti_arena *a,
                         lti_tensor x) {
    const int64_t n = x.n[0];
    lti_tensor h = take(a, t->compute, n, t->dim), y = take(a, LTI_F32, n, t->dim);
    lti_tensor g = take(a, t->compute, n, t->ffn), u = take(a, t->compute, n, t->ffn);
    lti_rms_norm(d, x, l->norm + t->dim, t->eps, h);
    lti_linear(d, h, l->m[LTI_T5_GATE], LTI_ACT_GELU_TANH, g);
    lti_linear(d, h, l->m[LTI_T5_FC1], LTI_ACT_NONE, u);
    lti_mul(d, g, u, g);
    lti_linear(d, g, l->m[LTI_T5_FC2], LTI_ACT_NONE, y);
    lti_add(d, x, y, x);
}

/* What one prompt of n tokens works on. */
typedef struct work {
    lti_arena a;
    lti_tensor x, out;       /* f32 [n, dim] */
    lti_tensor bias;         /* f32 [H, n, n] */
    float *line, *host_bias; /* host [H, 2n-1] and [H, n, n] */
    lti_t5_layer layer;      /* streamed: the one that is in memory */
    float *norm;             /* streamed: the last norm */
    void *slab;
} work;

static void take_all(const lti_text *t, work *k, int64_t n) {
    k->x = take(&k->a, LTI_F32, n, t->dim);
    k->out = take(&k->a, LTI_F32, n, t->dim);
    k->bias = take(&k->a, LTI_F32, t->n_head * n, n);
}

static void block(const lti_text *t, const lti_t5_layer *l, lti_dev *d, work *k) {
    size_t mark = lti_arena_mark(&k->a);
    if (!d->measuring) fill_bias(t, l, k->x.n[0], k->line, k->host_bias);
    lti_put(d, k->bias.data, k->host_bias, lti_nbytes(&k->bias));
    attention(t, l, d, &k->a, k->x, k->bias.data);
    lti_arena_release(&k->a, mark);
    feed_forward(t, l, d, &k->a, k->x);
    lti_arena_release(&k->a, mark);
}

/* Layer i: the resident one, or read now into the place of the one before. */
static lt_status layer_at(const lti_text *t, lti_dev *d, work *k, int i, const lti_t5_layer **l,
                          lt_error *err) {
    *l = t->layer ? &t->layer[i] : &k->layer;
    if (t->layer) return LT_OK;
    LT_TRY(d->ops.sync(d, err)); /* the device may still be reading it */
    lti_t5_unload(d, &k->layer);
    return lti_t5_load(t, d, i, &k->layer, err);
}

/* All layers have the shapes of this one. */
static void measure(const lti_text *t, const lti_t5_layer *l, lti_dev *d, work *k, int64_t n) {
    d->measuring = true;
    take_all(t, k, n);
    block(t, l, d, k);
    lti_rms_norm(d, k->x, l->norm, t->eps, k->out);
    d->measuring = false;
}

static size_t host_bytes(const lti_text *t, int64_t n) {
    return (size_t)(t->n_head * (n * n + 2 * n)) * sizeof(float);
}

/* Measure a layer, take the slab. */
static lt_status prepare(const lti_text *t, lti_dev *d, work *k, int64_t n, lt_error *err) {
    const lti_t5_layer *l;
    LT_TRY(layer_at(t, d, k, 0, &l, err));
    measure(t, l, d, k, n);
    const size_t host = host_bytes(t, n);
    k->host_bias = malloc(host);
    k->slab = k->host_bias ? d->ops.alloc(d, k->a.peak) : NULL;
    if (!k->slab) return lti_oom(err, host + k->a.peak);
    k->line = k->host_bias + t->n_head * n * n;
    k->a = (lti_arena){.base = k->slab, .cap = k->a.peak};
    take_all(t, k, n);
    return LT_OK;
}

/* rows [n, dim] host: the tokens' embeddings in, their encoding out. */
static lt_status forward(const lti_text *t, lti_dev *d, work *k, float *rows, lt_error *err) {
    const lti_t5_layer *l = t->layer ? t->layer : &k->layer;
    const float *norm = t->norm;
    lti_put(d, k->x.data, rows, lti_nbytes(&k->x));
    for (int i = 0; i < t->n_layer; i++) {
        if (i > 0) LT_TRY(layer_at(t, d, k, i, &l, err));
        block(t, l, d, k);
    }
    if (!norm) {
        LT_TRY(lti_t5_load_norm(t, d, &k->norm, err));
        norm = k->norm;
    }
    lti_rms_norm(d, k->x, norm, t->eps, k->out);
    lti_get(d, rows, k->out.data, lti_nbytes(&k->out));
    return d->ops.sync(d, err);
}

static lt_status encode(const lti_text *t, lti_dev *d, const lti_text_rows *r, lt_error *err) {
    work k = {0};
    lt_status st = LT_OK;
    for (int64_t i = 0; i < r->n && st == LT_OK; i++)
        st = lti_weights_rows(t->w, LTI_T5_EMBEDDING, r->ids[i], 1, r->rows + i * t->dim, err);
    if (st == LT_OK) st = prepare(t, d, &k, r->n, err);
    if (st == LT_OK) st = forward(t, d, &k, r->rows, err);
    d->measuring = false;
    if (k.slab) d->ops.free(d, k.slab);
    if (k.norm) d->ops.free(d, k.norm);
    lti_t5_unload(d, &k.layer);
    free(k.host_bias);
    if (!t->layer) {
        lti_weights_release(t->w);
        lti_weights_evict(t->w);
        lti_memory_trim();
    }
    return st;
}

/* A prompt of n tokens, beside the weights: with a layer that has shapes and nothing else. */
static size_t work_bytes(const lti_text *t, lti_dev *d, int64_t n) {
    const int64_t inner = t->n_head * t->d_kv;
    lti_packed in = {.n = {inner, t->dim}}, out = {.n = {t->dim, inner}};
    lti_packed up = {.n = {t->ffn, t->dim}}, down = {.n = {t->dim, t->ffn}};
    const lti_t5_layer l = {.m = {&in, &in, &in, &out, &up, &up, &down},
                            .norm = d->ops.alloc(d, (size_t)(2 * t->dim) * sizeof(float))};
    work k = {0};
    if (!l.norm) return SIZE_MAX;
    measure(t, &l, d, &k, n);
    d->ops.free(d, l.norm);
    return k.a.peak + host_bytes(t, n) + (size_t)(t->text_len * t->dim) * sizeof(float);
}

lt_status lti_text_count(const lti_text *t, lti_dev *d, const char *prompt, size_t *bytes,
                         lt_error *err) {
    char *clean;
    int32_t *ids = NULL;
    int n, n_all;
    LT_TRY(lti_text_clean(prompt, &clean, err));
    const lt_status st = lti_text_ids(t->tokenizer, clean, t->text_len, &ids, &n, &n_all, err);
    if (st == LT_OK) *bytes = work_bytes(t, d, n);
    free(ids);
    free(clean);
    return st;
}

/* Cleaned prompt to ids and rows. */
static lt_status encode_clean(const lti_text *t, lti_dev *d, const char *clean, lti_text_rows *out,
                              lt_error *err) {
    if (lti_text_cache_get(t, clean, out)) return LT_OK;
    LT_TRY(lti_text_ids(t->tokenizer, clean, t->text_len, &out->ids, &out->n, &out->n_all, err));
    size_t bytes = (size_t)t->text_len * (size_t)t->dim * sizeof(float);
    out->rows = calloc(1, bytes);
    if (!out->rows) return lti_oom(err, bytes);
    if (t->turn) pthread_mutex_lock(t->turn);
    lt_status st = encode(t, d, out, err);
    if (t->turn) pthread_mutex_unlock(t->turn);
    if (st == LT_OK) lti_text_cache_put(t, clean, out);
    return st;
}

lt_status lti_text_encode(const lti_text *t, lti_dev *d, const char *prompt, lti_text_rows *out,
                          lt_error *err) {
    char *clean;
    *out = (lti_text_rows){0};
    LT_TRY(lti_text_clean(prompt, &clean, err));
    lt_status st = encode_clean(t, d, clean, out, err);
    free(clean);
    if (st != LT_OK) lti_text_rows_free(out);
    return st;
}

void lti_text_rows_free(lti_text_rows *r) {
    free(r->ids);
    free(r->rows);
    *r = (lti_text_rows){0};
}

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
 * is read row by row where it is mapped. */
#include "base/arena.h"
#include "base/error.h"
#include "base/filemap.h"
#include "text/text.h"
#include "text/text_int.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD_DIM_MAX 1024 /* of the attention ops */

static const char config[] = "text_encoder/config.json";

typedef struct layer {
    lti_packed *q, *k, *v;      /* [inner, dim] */
    lti_packed *o;              /* [dim, inner] */
    lti_packed *gate, *fc1;     /* [ffn, dim] */
    lti_packed *fc2;            /* [dim, ffn] */
    float *bias;                /* [n_bucket, n_head] host */
    const float *norm1, *norm2; /* [dim] device, into lti_text.norms */
} layer;

struct lti_text {
    lti_spm *spm;
    lti_tensor embed; /* [vocab, dim] mapped */
    layer *layer;
    float *norms; /* [2 * n_layer + 1, dim] device; the last is the final norm */
    int n_layer, n_head, n_bucket, max_distance, text_len;
    int64_t dim, d_kv, ffn;
    float eps;
    lti_dtype compute;
    int64_t n_param;
};

/* -- open -------------------------------------------------------------------------------- */

/* "blocks.N.<rest>" of a given shape. */
static lt_status get_block(const lti_weights *w, int n, const char *rest, int rank,
                           const int64_t *shape, lti_tensor *out, lt_error *err) {
    char name[96];
    snprintf(name, sizeof name, "blocks.%d.%s", n, rest);
    return lti_weights_get(w, name, rank, shape, out, err);
}

static lt_status pack(lti_text *t, lti_dev *d, const lti_weights *w, int n, const char *rest,
                      int64_t rows, int64_t cols, lti_packed **out, lt_error *err) {
    lti_tensor x;
    LT_TRY(get_block(w, n, rest, 2, (const int64_t[]){rows, cols}, &x, err));
    *out = lti_pack_linear(d, &x, NULL, t->compute, err);
    if (!*out) return err && err->code < 0 ? err->code : lti_oom(err, lti_nbytes(&x));
    t->n_param += lti_numel(&x);
    return LT_OK;
}

/* A norm's weight into row `row` of t->norms. */
static lt_status put_norm(lti_text *t, lti_dev *d, const lti_tensor *x, int row, const float **out,
                          lt_error *err) {
    size_t bytes = (size_t)t->dim * sizeof(float);
    float *host = malloc(bytes);
    if (!host) return lti_oom(err, bytes);
    lti_to_f32(x, host);
    float *to = t->norms + row * t->dim;
    lti_put(d, to, host, bytes);
    free(host);
    t->n_param += t->dim;
    if (out) *out = to;
    return LT_OK;
}

static lt_status open_layer(lti_text *t, lti_dev *d, const lti_weights *w, int n, lt_error *err) {
    layer *l = &t->layer[n];
    const int64_t dim = t->dim, inner = t->n_head * t->d_kv;
    lti_tensor x;
    LT_TRY(get_block(w, n, "norm1.weight", 1, &dim, &x, err));
    LT_TRY(put_norm(t, d, &x, 2 * n, &l->norm1, err));
    LT_TRY(get_block(w, n, "norm2.weight", 1, &dim, &x, err));
    LT_TRY(put_norm(t, d, &x, 2 * n + 1, &l->norm2, err));
    LT_TRY(pack(t, d, w, n, "attn.q.weight", inner, dim, &l->q, err));
    LT_TRY(pack(t, d, w, n, "attn.k.weight", inner, dim, &l->k, err));
    LT_TRY(pack(t, d, w, n, "attn.v.weight", inner, dim, &l->v, err));
    LT_TRY(pack(t, d, w, n, "attn.o.weight", dim, inner, &l->o, err));
    LT_TRY(pack(t, d, w, n, "ffn.gate.0.weight", t->ffn, dim, &l->gate, err));
    LT_TRY(pack(t, d, w, n, "ffn.fc1.weight", t->ffn, dim, &l->fc1, err));
    LT_TRY(pack(t, d, w, n, "ffn.fc2.weight", dim, t->ffn, &l->fc2, err));
    LT_TRY(get_block(w, n, "pos_embedding.embedding.weight", 2,
                     (const int64_t[]){t->n_bucket, t->n_head}, &x, err));
    l->bias = malloc((size_t)lti_numel(&x) * sizeof(float));
    if (!l->bias) return lti_oom(err, (size_t)lti_numel(&x) * sizeof(float));
    lti_to_f32(&x, l->bias);
    t->n_param += lti_numel(&x);
    return LT_OK;
}

/* Sizes from the shapes of the first block; the json only has what shapes cannot tell. */
static lt_status read_sizes(lti_text *t, const lti_weights *w, const cJSON *json, lt_error *err) {
    const char *path = lti_weights_path(w);
    lti_tensor table, q, gate;
    LT_TRY(
        lti_weights_get(w, "token_embedding.weight", 2, (const int64_t[]){-1, -1}, &t->embed, err));
    t->dim = t->embed.n[1];
    LT_TRY(get_block(w, 0, "pos_embedding.embedding.weight", 2, (const int64_t[]){-1, -1}, &table,
                     err));
    LT_TRY(get_block(w, 0, "attn.q.weight", 2, (const int64_t[]){-1, t->dim}, &q, err));
    LT_TRY(get_block(w, 0, "ffn.gate.0.weight", 2, (const int64_t[]){-1, t->dim}, &gate, err));
    const int64_t heads = table.n[1], buckets = table.n[0];
    if (t->dim < 1 || gate.n[0] < 1 || heads < 1 || heads > q.n[0] || q.n[0] % heads ||
        q.n[0] / heads > HEAD_DIM_MAX || buckets < 4 || buckets > 4096 || t->dim > 1 << 20)
        return lti_fail(err, LT_EFORMAT,
                        "%s: text encoder of width %lld, %lld heads over %lld rows, %lld position "
                        "buckets cannot be; is this a UMT5 encoder?",
                        path, (long long)t->dim, (long long)heads, (long long)q.n[0],
                        (long long)buckets);
    t->n_head = (int)heads;
    t->d_kv = q.n[0] / heads;
    t->ffn = gate.n[0];
    t->n_bucket = (int)buckets;
    t->n_layer = lti_weights_layers(w, "blocks.");
    t->max_distance = 128;
    double eps = 1e-6;
    LT_TRY(lti_json_read_int(json, config, "relative_attention_max_distance", 1, 1 << 20,
                             &t->max_distance, err));
    LT_TRY(lti_json_read_num(json, config, "layer_norm_epsilon", 1e-20, 1, &eps, err));
    t->eps = (float)eps;
    static const char *const known_ffn[] = {"gated-gelu"};
    int ffn = 0;
    LT_TRY(lti_json_read_word(json, config, "feed_forward_proj", known_ffn, 1, &ffn, err));
    if (t->max_distance <= t->n_bucket / 4)
        return lti_fail(err, LT_EFORMAT,
                        "%s: relative_attention_max_distance %d, above %d expected", path,
                        t->max_distance, t->n_bucket / 4);
    return LT_OK;
}

static lt_status open_tokenizer(lti_text *t, const char *path, const char *weights, lt_error *err) {
    lti_filemap m;
    LT_TRY(lti_filemap_open(path, &m, err));
    lt_status st = lti_spm_open(m.data, m.size, path, &t->spm, err);
    lti_filemap_close(&m);
    LT_TRY(st);
    if (lti_spm_size(t->spm) > t->embed.n[0])
        return lti_fail(
            err, LT_EFORMAT,
            "%s: %d pieces, but %s has %lld rows; tokenizer and text encoder are not of "
            "one model",
            path, lti_spm_size(t->spm), weights, (long long)t->embed.n[0]);
    return LT_OK;
}

static lt_status open_all(lti_text *t, lti_dev *d, const lti_weights *w, const cJSON *json,
                          const char *tokenizer, lt_error *err) {
    if (t->text_len < 1)
        return lti_fail(err, LT_EINVAL, "text_len is %d, at least 1 expected", t->text_len);
    LT_TRY(read_sizes(t, w, json, err));
    LT_TRY(open_tokenizer(t, tokenizer, lti_weights_path(w), err));
    t->n_param = lti_numel(&t->embed);
    t->layer = calloc((size_t)t->n_layer, sizeof *t->layer);
    if (!t->layer) return lti_oom(err, (size_t)t->n_layer * sizeof *t->layer);
    size_t bytes = (size_t)(2 * t->n_layer + 1) * (size_t)t->dim * sizeof(float);
    t->norms = d->ops.alloc(d, bytes);
    if (!t->norms) return lti_oom(err, bytes);
    for (int n = 0; n < t->n_layer; n++) LT_TRY(open_layer(t, d, w, n, err));
    lti_tensor x;
    LT_TRY(lti_weights_get(w, "norm.weight", 1, &t->dim, &x, err));
    return put_norm(t, d, &x, 2 * t->n_layer, NULL, err);
}

lt_status lti_text_open(lti_dev *d, const lti_weights *w, const cJSON *json, const char *tokenizer,
                        int text_len, lti_dtype compute, lti_text **out, lt_error *err) {
    *out = NULL;
    lti_text *t = calloc(1, sizeof *t);
    if (!t) return lti_oom(err, sizeof *t);
    t->text_len = text_len;
    t->compute = compute;
    lt_status st = open_all(t, d, w, json, tokenizer, err);
    if (st != LT_OK) {
        lti_text_close(d, &t);
        return st;
    }
    *out = t;
    return LT_OK;
}

void lti_text_close(lti_dev *d, lti_text **pt) {
    lti_text *t = *pt;
    *pt = NULL;
    if (!t) return;
    for (int n = 0; t->layer && n < t->n_layer; n++) {
        layer *l = &t->layer[n];
        lti_packed **all[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->fc1, &l->fc2};
        for (int i = 0; i < 7; i++) lti_pack_free(d, all[i]);
        free(l->bias);
    }
    free(t->layer);
    if (t->norms) d->ops.free(d, t->norms);
    lti_spm_close(&t->spm);
    free(t);
}

int lti_text_dim(const lti_text *t) { return (int)t->dim; }
int64_t lti_text_params(const lti_text *t) { return t->n_param; }

/* -- forward ----------------------------------------------------------------------------- */

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
static void fill_bias(const lti_text *t, const layer *l, int64_t n, float *line, float *bias) {
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
static void attention(const lti_text *t, const layer *l, lti_dev *d, lti_arena *a, lti_tensor x,
                      const float *bias) {
    const int64_t n = x.n[0], inner = t->n_head * t->d_kv;
    lti_tensor h = take(a, t->compute, n, t->dim), y = take(a, LTI_F32, n, t->dim);
    lti_tensor q = take(a, t->compute, n, inner), k = take(a, t->compute, n, inner);
    lti_tensor v = take(a, t->compute, n, inner), o = take(a, t->compute, n, inner);
    lti_rms_norm(d, x, l->norm1, t->eps, h);
    lti_linear(d, h, l->q, LTI_ACT_NONE, q);
    lti_linear(d, h, l->k, LTI_ACT_NONE, k);
    lti_linear(d, h, l->v, LTI_ACT_NONE, v);
    const lti_attn at = {
        .q = LTI_VIEW(q.data, q.dtype, n, t->n_head, t->d_kv),
        .span = {{.k = k.data, .v = v.data, .n = n, .stride = inner, .dtype = k.dtype}},
        .n_span = 1,
        .scale = 1.0f,
        .bias = bias,
        .out = LTI_VIEW(o.data, o.dtype, n, t->n_head, t->d_kv)};
    lti_attention(d, &at);
    lti_linear(d, o, l->o, LTI_ACT_NONE, y);
    lti_add(d, x, y, x);
}

/* x += fc2( gelu(gate h) * (fc1 h) ), h = RMS(x) */
static void feed_forward(const lti_text *t, const layer *l, lti_dev *d, lti_arena *a,
                         lti_tensor x) {
    const int64_t n = x.n[0];
    lti_tensor h = take(a, t->compute, n, t->dim), y = take(a, LTI_F32, n, t->dim);
    lti_tensor g = take(a, t->compute, n, t->ffn), u = take(a, t->compute, n, t->ffn);
    lti_rms_norm(d, x, l->norm2, t->eps, h);
    lti_linear(d, h, l->gate, LTI_ACT_GELU_TANH, g);
    lti_linear(d, h, l->fc1, LTI_ACT_NONE, u);
    lti_mul(d, g, u, g);
    lti_linear(d, g, l->fc2, LTI_ACT_NONE, y);
    lti_add(d, x, y, x);
}

/* ids [n] -> rows [n, dim] host. line [H, 2n-1] and host_bias [H, n, n] are host scratch. */
static void forward(const lti_text *t, lti_dev *d, lti_arena *a, const int32_t *ids, int64_t n,
                    float *line, float *host_bias, float *rows) {
    lti_tensor x = take(a, LTI_F32, n, t->dim), out = take(a, LTI_F32, n, t->dim);
    lti_tensor bias = take(a, LTI_F32, t->n_head * n, n);
    lti_embed_rows(d, t->embed, ids, n, x);
    for (int i = 0; i < t->n_layer; i++) {
        size_t mark = lti_arena_mark(a);
        if (!d->measuring) fill_bias(t, &t->layer[i], n, line, host_bias);
        lti_put(d, bias.data, host_bias, lti_nbytes(&bias));
        attention(t, &t->layer[i], d, a, x, bias.data);
        lti_arena_release(a, mark);
        feed_forward(t, &t->layer[i], d, a, x);
        lti_arena_release(a, mark);
    }
    lti_rms_norm(d, x, t->norms + 2 * t->n_layer * t->dim, t->eps, out);
    lti_get(d, rows, out.data, lti_nbytes(&out));
}

/* Measure, take the slab, run. */
static lt_status encode(const lti_text *t, lti_dev *d, const int32_t *ids, int64_t n, float *rows,
                        lt_error *err) {
    lti_arena a = {0};
    d->measuring = true;
    forward(t, d, &a, ids, n, NULL, NULL, rows);
    d->measuring = false;
    size_t host = (size_t)(t->n_head * (n * n + 2 * n)) * sizeof(float);
    float *scratch = malloc(host);
    void *slab = scratch ? d->ops.alloc(d, a.peak) : NULL;
    lt_status st = LT_OK;
    if (!slab) st = lti_oom(err, host + a.peak);
    if (st == LT_OK) {
        a = (lti_arena){.base = slab, .cap = a.peak};
        forward(t, d, &a, ids, n, scratch + t->n_head * n * n, scratch, rows);
        st = d->ops.sync(d, err);
    }
    if (slab) d->ops.free(d, slab);
    free(scratch);
    return st;
}

lt_status lti_text_encode(const lti_text *t, lti_dev *d, const char *prompt, lti_text_rows *out,
                          lt_error *err) {
    *out = (lti_text_rows){0};
    LT_TRY(lti_text_tokens(t->spm, prompt, t->text_len, &out->ids, &out->n, &out->n_all, err));
    size_t bytes = (size_t)t->text_len * (size_t)t->dim * sizeof(float);
    out->rows = calloc(1, bytes);
    lt_status st = out->rows ? encode(t, d, out->ids, out->n, out->rows, err) : lti_oom(err, bytes);
    if (st != LT_OK) lti_text_rows_free(out);
    return st;
}

void lti_text_rows_free(lti_text_rows *r) {
    free(r->ids);
    free(r->rows);
    *r = (lti_text_rows){0};
}

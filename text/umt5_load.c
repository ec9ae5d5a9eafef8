/* SPDX-License-Identifier: Apache-2.0
 * text/umt5_load.c - sizes and weights of the UMT5 encoder.
 *
 * UMT5-XXL has 4.6e9 weights beside its embedding: 9.2 GB in bf16 that a film needs once, for a
 * second. So a large encoder is streamed: open checks every shape, and each prompt reads, packs,
 * uses and frees one layer after the other (0.4 GB). A small one is packed at open.
 *
 * Pitfall: pages of a mapped file count as memory of the process until somebody else needs them, so
 * what has been read is given back matrix by matrix (lti_weights_evict). */
#include "base/error.h"
#include "text/umt5.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_DIM_MAX 1024              /* of the attention ops */
#define RESIDENT_MAX ((size_t)1 << 30) /* bytes of packed weights that are kept by default */
#define NAME_LEN 96

static const char config[] = "text_encoder/config.json";
static const char bias_name[] = "pos_embedding.embedding.weight";
static const char final_norm[] = "norm.weight";

enum { DIM, INNER, FFN };
static const struct {
    const char *name;
    int rows, cols;
} matrix[LTI_T5_PACKS] = {{"attn.q.weight", INNER, DIM},   {"attn.k.weight", INNER, DIM},
                          {"attn.v.weight", INNER, DIM},   {"attn.o.weight", DIM, INNER},
                          {"ffn.gate.0.weight", FFN, DIM}, {"ffn.fc1.weight", FFN, DIM},
                          {"ffn.fc2.weight", DIM, FFN}};
static const char *const norm_name[] = {"norm1.weight", "norm2.weight"};

static int64_t size_of(const lti_text *t, int which) {
    return which == DIM ? t->dim : which == FFN ? t->ffn : t->n_head * t->d_kv;
}

/* -- one layer --------------------------------------------------------------------------- */

static const char *block_name(int n, const char *rest, char *buf) {
    snprintf(buf, NAME_LEN, "blocks.%d.%s", n, rest);
    return buf;
}

/* What was decoded or mapped for the last tensor is not needed again. */
static void done_with(const lti_text *t) {
    lti_weights_forget(t->w);
    lti_weights_evict(t->w);
}

/* A norm's weight [dim] to the device. */
static lt_status put_norm(const lti_text *t, lti_dev *d, const char *name, float *to,
                          lt_error *err) {
    lti_tensor x;
    size_t bytes = (size_t)t->dim * sizeof(float);
    LT_TRY(lti_weights_get(t->w, name, 1, &t->dim, &x, err));
    float *host = malloc(bytes);
    if (!host) return lti_oom(err, bytes);
    lti_to_f32(&x, host);
    lti_put(d, to, host, bytes);
    lt_status st = d->ops.sync(d, err);
    free(host);
    return st;
}

static lt_status pack(const lti_text *t, lti_dev *d, int n, int i, lti_packed **out,
                      lt_error *err) {
    char name[NAME_LEN];
    lti_tensor x;
    const int64_t shape[] = {size_of(t, matrix[i].rows), size_of(t, matrix[i].cols)};
    LT_TRY(lti_weights_get(t->w, block_name(n, matrix[i].name, name), 2, shape, &x, err));
    *out = lti_pack_linear(d, &x, NULL, t->compute, err);
    done_with(t);
    if (*out) return LT_OK;
    return err && err->code < 0 ? err->code : lti_oom(err, lti_nbytes(&x));
}

static lt_status load_bias(const lti_text *t, int n, float **out, lt_error *err) {
    char name[NAME_LEN];
    lti_tensor x;
    const int64_t shape[] = {t->n_bucket, t->n_head};
    LT_TRY(lti_weights_get(t->w, block_name(n, bias_name, name), 2, shape, &x, err));
    *out = malloc((size_t)lti_numel(&x) * sizeof(float));
    if (!*out) return lti_oom(err, (size_t)lti_numel(&x) * sizeof(float));
    lti_to_f32(&x, *out);
    return LT_OK;
}

static lt_status load_all(const lti_text *t, lti_dev *d, int n, lti_t5_layer *l, lt_error *err) {
    char name[NAME_LEN];
    const size_t bytes = 2 * (size_t)t->dim * sizeof(float);
    l->norm = d->ops.alloc(d, bytes);
    if (!l->norm) return lti_oom(err, bytes);
    for (int i = 0; i < 2; i++)
        LT_TRY(put_norm(t, d, block_name(n, norm_name[i], name), l->norm + i * t->dim, err));
    LT_TRY(load_bias(t, n, &l->bias, err));
    for (int i = 0; i < LTI_T5_PACKS; i++) LT_TRY(pack(t, d, n, i, &l->m[i], err));
    return LT_OK;
}

lt_status lti_t5_load(const lti_text *t, lti_dev *d, int n, lti_t5_layer *l, lt_error *err) {
    lt_status st = load_all(t, d, n, l, err);
    if (st != LT_OK) {
        lti_t5_unload(d, l);
        lti_weights_forget(t->w);
    }
    return st;
}

void lti_t5_unload(lti_dev *d, lti_t5_layer *l) {
    for (int i = 0; i < LTI_T5_PACKS; i++) lti_pack_free(d, &l->m[i]);
    free(l->bias);
    if (l->norm) d->ops.free(d, l->norm);
    *l = (lti_t5_layer){0};
}

lt_status lti_t5_load_norm(const lti_text *t, lti_dev *d, float **out, lt_error *err) {
    const size_t bytes = (size_t)t->dim * sizeof(float);
    *out = d->ops.alloc(d, bytes);
    if (!*out) return lti_oom(err, bytes);
    lt_status st = put_norm(t, d, final_norm, *out, err);
    if (st != LT_OK) {
        d->ops.free(d, *out);
        *out = NULL;
    }
    done_with(t);
    return st;
}

/* -- open -------------------------------------------------------------------------------- */

/* Sizes from the shapes of the first block. */
static lt_status read_shapes(lti_text *t, const lti_weights *w, lt_error *err) {
    lti_tensor table, q, gate;
    const int64_t any[] = {-1, -1};
    LT_TRY(lti_weights_expect(w, LTI_T5_EMBEDDING, 2, any, &t->embed, err));
    t->dim = t->embed.n[1];
    const int64_t wide[] = {-1, t->dim};
    LT_TRY(lti_weights_expect(w, "blocks.0.pos_embedding.embedding.weight", 2, any, &table, err));
    LT_TRY(lti_weights_expect(w, "blocks.0.attn.q.weight", 2, wide, &q, err));
    LT_TRY(lti_weights_expect(w, "blocks.0.ffn.gate.0.weight", 2, wide, &gate, err));
    const int64_t heads = table.n[1], buckets = table.n[0];
    if (t->dim < 1 || gate.n[0] < 1 || heads < 1 || heads > q.n[0] || q.n[0] % heads ||
        q.n[0] / heads > HEAD_DIM_MAX || buckets < 4 || buckets > 4096 || t->dim > 1 << 20)
        return lti_fail(err, LT_EFORMAT,
                        "%s: text encoder of width %lld, %lld heads over %lld rows, %lld position "
                        "buckets cannot be; is this a UMT5 encoder?",
                        lti_weights_path(w), (long long)t->dim, (long long)heads, (long long)q.n[0],
                        (long long)buckets);
    t->n_head = (int)heads;
    t->d_kv = q.n[0] / heads;
    t->ffn = gate.n[0];
    t->n_bucket = (int)buckets;
    t->n_layer = lti_weights_layers(w, "blocks.");
    return LT_OK;
}

/* What shapes cannot tell. */
static lt_status read_config(lti_text *t, const char *path, const cJSON *json, lt_error *err) {
    static const char *const known_ffn[] = {"gated-gelu"};
    double eps = 1e-6;
    int ffn = 0;
    t->max_distance = 128;
    LT_TRY(lti_json_read_int(json, config, "relative_attention_max_distance", 1, 1 << 20,
                             &t->max_distance, err));
    LT_TRY(lti_json_read_num(json, config, "layer_norm_epsilon", 1e-20, 1, &eps, err));
    t->eps = (float)eps;
    LT_TRY(lti_json_read_word(json, config, "feed_forward_proj", known_ffn, 1, &ffn, err));
    if (t->max_distance <= t->n_bucket / 4)
        return lti_fail(err, LT_EFORMAT,
                        "%s: relative_attention_max_distance %d, above %d expected", path,
                        t->max_distance, t->n_bucket / 4);
    return LT_OK;
}

/* Every tensor is there and of its shape, though none is read yet. */
static lt_status check_layers(lti_text *t, lt_error *err) {
    char name[NAME_LEN];
    lti_tensor x;
    int64_t sum = t->dim;
    for (int n = 0; n < t->n_layer; n++) {
        for (int i = 0; i < LTI_T5_PACKS; i++) {
            const int64_t shape[] = {size_of(t, matrix[i].rows), size_of(t, matrix[i].cols)};
            LT_TRY(
                lti_weights_expect(t->w, block_name(n, matrix[i].name, name), 2, shape, &x, err));
            sum += lti_numel(&x);
        }
        for (int i = 0; i < 2; i++)
            LT_TRY(
                lti_weights_expect(t->w, block_name(n, norm_name[i], name), 1, &t->dim, &x, err));
        LT_TRY(lti_weights_expect(t->w, block_name(n, bias_name, name), 2,
                                  (const int64_t[]){t->n_bucket, t->n_head}, &x, err));
        sum += 2 * t->dim + lti_numel(&x);
    }
    LT_TRY(lti_weights_expect(t->w, final_norm, 1, &t->dim, &x, err));
    t->n_param = sum + lti_numel(&t->embed);
    return LT_OK;
}

/* Rows of the embedding beyond the tokenizer's ids: padding, extra ids that few forms list. */
#define SPARE_ROWS 4096

static lt_status open_tokenizer(lti_text *t, const char *path, bool prefer_inside, lt_error *err) {
    const char *weights = lti_weights_path(t->w);
    const bool inside = (!path || prefer_inside) && lti_tokenizer_inside(t->w);
    if (inside) path = NULL;
    else if (!path)
        return lti_fail(err, LT_EFORMAT,
                        "%s: no tokenizer inside, and none given; expected tokenizer/spiece.model "
                        "in the model folder or --tokenizer FILE",
                        weights);
    LT_TRY(path ? lti_tokenizer_open(path, &t->tokenizer, err)
                : lti_tokenizer_open_inside(t->w, &t->tokenizer, err));
    if (lti_tokenizer_size(t->tokenizer) > t->embed.n[0] ||
        lti_tokenizer_size(t->tokenizer) + SPARE_ROWS < t->embed.n[0])
        return lti_fail(err, LT_EFORMAT,
                        "%s: %d pieces, but %s has %lld rows; tokenizer and text encoder are not "
                        "of one model",
                        path ? path : weights, lti_tokenizer_size(t->tokenizer), weights,
                        (long long)t->embed.n[0]);
    return LT_OK;
}

static lt_status load_resident(lti_text *t, lti_dev *d, lt_error *err) {
    t->layer = calloc((size_t)t->n_layer, sizeof *t->layer);
    if (!t->layer) return lti_oom(err, (size_t)t->n_layer * sizeof *t->layer);
    for (int n = 0; n < t->n_layer; n++) LT_TRY(lti_t5_load(t, d, n, &t->layer[n], err));
    LT_TRY(lti_t5_load_norm(t, d, &t->norm, err));
    lti_weights_release(t->w);
    return LT_OK;
}

static lt_status make_turn(lti_text *t, lt_error *err) {
    t->turn = malloc(sizeof *t->turn);
    if (!t->turn) return lti_oom(err, sizeof *t->turn);
    if (pthread_mutex_init(t->turn, NULL) == 0) return LT_OK;
    free(t->turn);
    t->turn = NULL;
    return lti_oom(err, sizeof *t->turn);
}

bool lti_text_streams(const lti_text_options *o, size_t packed) {
    if (o->mode != LTI_TEXT_AUTO) return o->mode == LTI_TEXT_STREAMED;
    return packed > RESIDENT_MAX || o->cache_dir;
}

static bool streams(const lti_text *t, const lti_text_options *o) {
    const int64_t n = t->n_param - lti_numel(&t->embed);
    return lti_text_streams(o, (size_t)n * lti_dtype_size(t->compute));
}

static lt_status open_all(lti_text *t, lti_dev *d, const cJSON *json, const char *tokenizer,
                          const lti_text_options *o, lt_error *err) {
    if (t->text_len < 1)
        return lti_fail(err, LT_EINVAL, "text_len is %d, at least 1 expected", t->text_len);
    LT_TRY(read_shapes(t, t->w, err));
    LT_TRY(read_config(t, lti_weights_path(t->w), json, err));
    LT_TRY(check_layers(t, err));
    LT_TRY(open_tokenizer(t, tokenizer, o->prefer_inside, err));
    if (o->cache_dir) LT_TRY(lti_text_cache_open(t, d, o->cache_dir, err));
    return streams(t, o) ? make_turn(t, err) : load_resident(t, d, err);
}

lt_status lti_text_open_with(lti_dev *d, lti_weights *w, const cJSON *json, const char *tokenizer,
                             int text_len, lti_dtype compute, const lti_text_options *o,
                             lti_text **out, lt_error *err) {
    static const lti_text_options none = {0};
    *out = NULL;
    lti_text *t = calloc(1, sizeof *t);
    if (!t) return lti_oom(err, sizeof *t);
    t->w = w;
    t->text_len = text_len;
    t->compute = compute;
    lt_status st = open_all(t, d, json, tokenizer, o ? o : &none, err);
    if (st != LT_OK) lti_text_close(d, &t);
    *out = t;
    return st;
}

lt_status lti_text_open(lti_dev *d, lti_weights *w, const cJSON *json, const char *tokenizer,
                        int text_len, lti_dtype compute, lti_text **out, lt_error *err) {
    return lti_text_open_with(d, w, json, tokenizer, text_len, compute, NULL, out, err);
}

void lti_text_close(lti_dev *d, lti_text **pt) {
    lti_text *t = *pt;
    *pt = NULL;
    if (!t) return;
    for (int n = 0; t->layer && n < t->n_layer; n++) lti_t5_unload(d, &t->layer[n]);
    free(t->layer);
    if (t->norm) d->ops.free(d, t->norm);
    if (t->turn) pthread_mutex_destroy(t->turn);
    free(t->turn);
    free(t->cache_dir);
    lti_tokenizer_close(&t->tokenizer);
    free(t);
}

int lti_text_dim(const lti_text *t) { return (int)t->dim; }
int64_t lti_text_params(const lti_text *t) { return t->n_param; }
bool lti_text_streamed(const lti_text *t) { return !t->layer; }

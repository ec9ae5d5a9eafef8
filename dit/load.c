/* SPDX-License-Identifier: Apache-2.0
 * dit/load.c - tensors of a file to packed weights and device vectors.
 *
 * Each tensor is asked for with the shape the config implies, so a wrong one is one clear line.
 * A failure anywhere frees what was made so far (lti_dit_close copes with a half-filled model). */
#include "base/error.h"
#include "dit/model.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct loader {
    lti_dev *d;
    lti_weights *w;
    lti_dit *dit;
    lt_error *err;
} loader;

/* What was decoded is freed, and pages of the file that were read stop counting as ours: else the
 * process would seem to hold the file and the packed weights. */
static void done_with(lti_weights *w) {
    lti_weights_forget(w);
    lti_weights_evict(w);
}

/* <name>.weight [out,in] and <name>.bias [out]. */
static lt_status linear(loader *l, const char *name, int64_t out, int64_t in, lti_dtype compute,
                        lti_packed **packed) {
    char full[128];
    lti_tensor wt, b;
    snprintf(full, sizeof full, "%s.weight", name);
    LT_TRY(lti_weights_get(l->w, full, 2, (const int64_t[]){out, in}, &wt, l->err));
    snprintf(full, sizeof full, "%s.bias", name);
    LT_TRY(lti_weights_get(l->w, full, 1, (const int64_t[]){out}, &b, l->err));
    *packed = lti_pack_linear(l->d, &wt, &b, compute, l->err);
    done_with(l->w);
    l->dit->c.n_param += out * in + out;
    return *packed ? LT_OK : l->err->code;
}

/* GGUF tools drop leading and trailing axes of one ([1,6,D] comes as [6,D]): such a tensor gets its
 * shape back. Any other is refused as get does. */
static lt_status get_squeezed(loader *l, const char *name, int rank, const int64_t *n,
                              lti_tensor *out) {
    const lti_tensor *t = lti_weights_find(l->w, name);
    int i = 0, k = 0;
    while (t) {
        while (i < t->rank && t->n[i] == 1) i++;
        while (k < rank && n[k] == 1) k++;
        if (i == t->rank || k == rank || t->n[i] != n[k]) break;
        i++;
        k++;
    }
    if (!t || i < t->rank || k < rank) return lti_weights_get(l->w, name, rank, n, out, l->err);
    LT_TRY(lti_weights_get(l->w, name, -1, NULL, out, l->err));
    *out = lti_view(out->data, out->dtype, rank, n);
    return LT_OK;
}

/* A vector or small table to device memory as `dt` (F32 or BF16). */
static lt_status upload(loader *l, const char *name, int rank, const int64_t *n, lti_dtype dt,
                        void **dev) {
    lti_tensor t;
    LT_TRY(get_squeezed(l, name, rank, n, &t));
    int64_t count = lti_numel(&t);
    size_t bytes = (size_t)count * lti_dtype_size(dt);
    float *f = malloc((size_t)count * sizeof *f);
    void *host = malloc(bytes);
    *dev = f && host ? l->d->ops.alloc(l->d, bytes) : NULL;
    if (*dev) {
        lti_to_f32(&t, f);
        lti_from_f32(f, count, dt, host);
        lti_put(l->d, *dev, host, bytes);
    }
    free(host);
    free(f);
    done_with(l->w);
    l->dit->c.n_param += count;
    return *dev ? LT_OK : lti_oom(l->err, bytes);
}

static lt_status vector(loader *l, const char *name, int64_t n, float **dev) {
    void *p;
    LT_TRY(upload(l, name, 1, &n, LTI_F32, &p));
    *dev = p;
    return LT_OK;
}

static lt_status attn(loader *l, int layer, const char *which, lti_dit_attn *at) {
    char name[96];
    const int64_t D = l->dit->c.dim;
    lti_packed **w[4] = {&at->q, &at->k, &at->v, &at->o};
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "blocks.%d.%s.%c", layer, which, "qkvo"[i]);
        LT_TRY(linear(l, name, D, D, l->dit->linears, w[i]));
    }
    snprintf(name, sizeof name, "blocks.%d.%s.norm_q.weight", layer, which);
    LT_TRY(vector(l, name, D, &at->norm_q));
    snprintf(name, sizeof name, "blocks.%d.%s.norm_k.weight", layer, which);
    return vector(l, name, D, &at->norm_k);
}

static lt_status block_sinks(loader *l, int layer, lti_dit_block *b) {
    char name[96];
    const lti_dit_config *c = &l->dit->c;
    if (c->has_sinks) {
        snprintf(name, sizeof name, "blocks.%d.self_attn.sinks", layer);
        LT_TRY(vector(l, name, c->n_head, &b->sinks));
    }
    if (c->n_register) {
        const int64_t n[3] = {c->n_register, c->n_head, c->head_dim};
        snprintf(name, sizeof name, "blocks.%d.self_attn.register_k", layer);
        LT_TRY(upload(l, name, 3, n, l->dit->compute, &b->register_k));
        snprintf(name, sizeof name, "blocks.%d.self_attn.register_v", layer);
        LT_TRY(upload(l, name, 3, n, l->dit->compute, &b->register_v));
    }
    return LT_OK;
}

static lt_status block(loader *l, int layer, lti_dit_block *b) {
    char name[96];
    void *p;
    const lti_dit_config *c = &l->dit->c;
    LT_TRY(attn(l, layer, "self_attn", &b->self));
    LT_TRY(attn(l, layer, "cross_attn", &b->cross));
    snprintf(name, sizeof name, "blocks.%d.norm3.weight", layer);
    LT_TRY(vector(l, name, c->dim, &b->norm3_w));
    snprintf(name, sizeof name, "blocks.%d.norm3.bias", layer);
    LT_TRY(vector(l, name, c->dim, &b->norm3_b));
    snprintf(name, sizeof name, "blocks.%d.ffn.0", layer);
    LT_TRY(linear(l, name, c->ffn, c->dim, l->dit->linears, &b->ffn0));
    snprintf(name, sizeof name, "blocks.%d.ffn.2", layer);
    LT_TRY(linear(l, name, c->dim, c->ffn, l->dit->linears, &b->ffn2));
    snprintf(name, sizeof name, "blocks.%d.modulation", layer);
    LT_TRY(upload(l, name, 3, (const int64_t[]){1, 6, c->dim}, LTI_F32, &p));
    b->modulation = p;
    return block_sinks(l, layer, b);
}

/* The patch convolution has stride = kernel, so it is a linear over c*4 + ph*2 + pw. ggml has no
 * fifth axis, so GGUF tools fold it to [D*C,1,2,2] or [D,C*4], which moves no element: infer has
 * checked their count. */
static lt_status patch(loader *l) {
    lti_tensor wt, b;
    const lti_dit_config *c = &l->dit->c;
    const int64_t n[5] = {c->dim, c->in_ch, 1, 2, 2};
    const lti_tensor *any = lti_weights_find(l->w, "patch_embedding.weight");
    const int rank = any && any->rank != 5 ? -1 : 5;
    LT_TRY(lti_weights_get(l->w, "patch_embedding.weight", rank, n, &wt, l->err));
    LT_TRY(lti_weights_get(l->w, "patch_embedding.bias", 1, n, &b, l->err));
    lti_tensor flat = LTI_VIEW(wt.data, wt.dtype, c->dim, (int64_t)c->in_ch * 4);
    l->dit->patch = lti_pack_linear(l->d, &flat, &b, LTI_F32, l->err);
    done_with(l->w);
    l->dit->c.n_param += lti_numel(&flat) + c->dim;
    return l->dit->patch ? LT_OK : l->err->code;
}

static lt_status load(loader *l) {
    lti_dit *m = l->dit;
    const lti_dit_config *c = &m->c;
    void *p;
    LT_TRY(patch(l));
    LT_TRY(linear(l, "text_embedding.0", c->dim, c->text_dim, m->compute, &m->text0));
    LT_TRY(linear(l, "text_embedding.2", c->dim, c->dim, m->compute, &m->text2));
    LT_TRY(linear(l, "time_embedding.0", c->dim, c->freq_dim, LTI_F32, &m->time0));
    LT_TRY(linear(l, "time_embedding.2", c->dim, c->dim, LTI_F32, &m->time2));
    LT_TRY(linear(l, "time_projection.1", 6 * (int64_t)c->dim, c->dim, LTI_F32, &m->time_proj));
    LT_TRY(linear(l, "head.head", 4 * (int64_t)c->out_ch, c->dim, LTI_F32, &m->head));
    LT_TRY(upload(l, "head.modulation", 3, (const int64_t[]){1, 2, c->dim}, LTI_F32, &p));
    m->head_modulation = p;
    if (c->n_register_token) {
        const int64_t n[3] = {1, c->n_register_token, c->dim};
        LT_TRY(upload(l, "register_tokens", 3, n, LTI_F32, &p));
        m->register_tokens = p;
    }
    for (int i = 0; i < c->n_layer; i++) LT_TRY(block(l, i, &m->block[i]));
    return l->d->ops.sync(l->d, l->err);
}

lt_status lti_dit_open(lti_dev *d, lti_weights *w, const cJSON *json, lti_dtype compute,
                       lti_dit **out, lt_error *err) {
    LT_ASSERT(compute == LTI_F32 || compute == LTI_BF16 || compute == LTI_F8_E4M3);
    *out = NULL;
    lt_error local = {0};
    if (!err) err = &local;
    lti_dit_config c;
    LT_TRY(lti_dit_infer(w, json, &c, err));
    lti_dit *m = calloc(1, sizeof *m);
    lti_dit_block *blocks = m ? calloc((size_t)c.n_layer, sizeof *blocks) : NULL;
    if (!blocks) {
        free(m);
        return lti_oom(err, (size_t)c.n_layer * sizeof *blocks);
    }
    m->c = c;
    m->linears = compute;
    m->compute = compute == LTI_F8_E4M3 ? LTI_BF16 : compute;
    m->block = blocks;
    loader l = {d, w, m, err};
    lt_status st = load(&l);
    lti_weights_release(w);
    if (st < 0) {
        lti_dit_close(d, &m);
        return st;
    }
    *out = m;
    return LT_OK;
}

static void free_dev(lti_dev *d, void *p) {
    if (p) d->ops.free(d, p);
}

static void free_attn(lti_dev *d, lti_dit_attn *at) {
    lti_packed **w[4] = {&at->q, &at->k, &at->v, &at->o};
    for (int i = 0; i < 4; i++) lti_pack_free(d, w[i]);
    free_dev(d, at->norm_q);
    free_dev(d, at->norm_k);
}

void lti_dit_close(lti_dev *d, lti_dit **dit) {
    if (!dit || !*dit) return;
    lti_dit *m = *dit;
    for (int i = 0; i < m->c.n_layer; i++) {
        lti_dit_block *b = &m->block[i];
        free_attn(d, &b->self);
        free_attn(d, &b->cross);
        lti_pack_free(d, &b->ffn0);
        lti_pack_free(d, &b->ffn2);
        void *vec[] = {b->norm3_w, b->norm3_b,    b->modulation,
                       b->sinks,   b->register_k, b->register_v};
        for (size_t k = 0; k < sizeof vec / sizeof *vec; k++) free_dev(d, vec[k]);
    }
    lti_packed **w[] = {&m->patch, &m->text0,     &m->text2, &m->time0,
                        &m->time2, &m->time_proj, &m->head};
    for (size_t k = 0; k < sizeof w / sizeof *w; k++) lti_pack_free(d, w[k]);
    free_dev(d, m->head_modulation);
    free_dev(d, m->register_tokens);
    free(m->block);
    free(m);
    *dit = NULL;
}

const lti_dit_config *lti_dit_get_config(const lti_dit *dit) { return &dit->c; }

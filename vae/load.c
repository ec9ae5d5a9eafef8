/* SPDX-License-Identifier: Apache-2.0
 * vae/load.c - blocks of the VAE from tensors: shapes are checked, weights packed for the device.
 *
 * Reference: Wan2.1 wan/modules/vae.py, names as there. Widths are the weights' extents: each
 * convolution says how wide its output is, the next one must agree.
 * Pitfalls: gamma is [C,1,1,1] in residual blocks and the heads, [C,1,1] in the attention; the
 * latent mean and deviation are not in the weight file. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "vae/graph.h"

#define NARROW                                                                                     \
    4 /* channels of a norm below which bf16 is not accurate: the unit sphere has few points */
#define HEAD_DIM_MAX 1024 /* of the attention ops; the middle attention is one head */

static const double wan_mean[16] = {-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,
                                    -0.1517, 1.5508,  0.4134,  -0.0715, 0.5517,  -0.3632,
                                    -0.1922, -0.9497, 0.2503,  -0.2921};
static const double wan_std[16] = {2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                                   3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160};

lti_dtype lti_vae_compute(const lti_weights *w, lti_dtype asked) {
    for (int i = 0; i < lti_weights_count(w); i++) {
        const lti_tensor *t;
        const char *name = lti_weights_name(w, i, &t);
        size_t n = strlen(name);
        if (n > 5 && !strcmp(name + n - 5, "gamma") && t->rank > 0 && t->n[0] < NARROW)
            return LTI_F32;
    }
    return asked;
}

lt_status lti_vae_get(vae_loader *l, const char *prefix, const char *leaf, int rank,
                      const int64_t *n, lti_tensor *out) {
    char name[VAE_NAME];
    snprintf(name, sizeof name, "%s.%s", prefix, leaf);
    LT_TRY(lti_weights_get(l->w, name, rank, n, out, l->err));
    *l->params += lti_numel(out);
    return LT_OK;
}

bool lti_vae_have(const vae_loader *l, const char *prefix, const char *leaf) {
    char name[VAE_NAME];
    snprintf(name, sizeof name, "%s.%s", prefix, leaf);
    return lti_weights_find(l->w, name) != NULL;
}

lt_status lti_vae_load_gamma(vae_loader *l, const char *prefix, const char *leaf, int rank,
                             int64_t c, float **out) {
    lti_tensor t;
    LT_TRY(lti_vae_get(l, prefix, leaf, rank, (const int64_t[]){c, 1, 1, 1}, &t));
    size_t bytes = (size_t)c * sizeof(float);
    float *host = malloc(bytes);
    float *dev = l->d->ops.alloc(l->d, bytes);
    *out = dev;
    if (!host || !dev) {
        free(host);
        return lti_oom(l->err, bytes);
    }
    lti_to_f32(&t, host);
    lti_weights_forget(l->w);
    lti_put(l->d, dev, host, bytes);
    lt_status st = l->d->ops.sync(l->d, l->err); /* `host` may still be on its way */
    free(host);
    return st;
}

lt_status lti_vae_check_width(const vae_loader *l, const char *prefix, const lti_tensor *w) {
    if (w->n[0] >= 1 && w->n[1] >= 1 && w->n[0] <= VAE_MAX_WIDTH && w->n[1] <= VAE_MAX_WIDTH)
        return LT_OK;
    return lti_fail(
        l->err, LT_EFORMAT, "%s: %s.weight has %lld and %lld channels, expected 1 to %d of each",
        lti_weights_path(l->w), prefix, (long long)w->n[0], (long long)w->n[1], VAE_MAX_WIDTH);
}

lt_status lti_vae_load_conv(vae_loader *l, const char *prefix, bool flat, int64_t co, int64_t ci,
                            int kt, int kh, lti_packed **out) {
    lti_tensor w, b;
    if (flat) {
        LT_TRY(lti_vae_get(l, prefix, "weight", 4, (const int64_t[]){co, ci, kh, kh}, &w));
        w = LTI_VIEW(w.data, w.dtype, w.n[0], w.n[1], 1, w.n[2], w.n[3]);
    } else {
        LT_TRY(lti_vae_get(l, prefix, "weight", 5, (const int64_t[]){co, ci, kt, kh, kh}, &w));
    }
    LT_TRY(lti_vae_check_width(l, prefix, &w));
    LT_TRY(lti_vae_get(l, prefix, "bias", 1, (const int64_t[]){w.n[0]}, &b));
    *out = lti_pack_conv(l->d, &w, &b, l->dtype, l->err);
    lti_weights_forget(l->w);
    return *out ? LT_OK : l->err->code;
}

int lti_vae_add_slot(vae_slots *s, int64_t channels, int level, int frames) {
    LT_ASSERT(s->n < VAE_MAX_CAUSAL && level >= 0);
    s->at[s->n].channels = channels;
    s->at[s->n].level = level;
    s->at[s->n].frames = frames;
    return s->n++;
}

lt_status lti_vae_load_causal(vae_loader *l, const char *prefix, int64_t co, int64_t ci, int kh,
                              vae_conv *out) {
    LT_TRY(lti_vae_load_conv(l, prefix, false, co, ci, 3, kh, &out->w));
    out->slot = lti_vae_add_slot(l->slots, out->w->n[1], l->level, VAE_HISTORY);
    return LT_OK;
}

lt_status lti_vae_load_res(vae_loader *l, const char *prefix, int64_t *c, vae_res *r) {
    char name[128];
    snprintf(name, sizeof name, "%s.residual.2", prefix);
    LT_TRY(lti_vae_load_causal(l, name, -1, *c, 3, &r->conv1));
    int64_t ci = *c, mid = r->conv1.w->n[0];
    snprintf(name, sizeof name, "%s.residual.6", prefix);
    LT_TRY(lti_vae_load_causal(l, name, -1, mid, 3, &r->conv2));
    int64_t co = *c = r->conv2.w->n[0];
    LT_TRY(lti_vae_load_gamma(l, prefix, "residual.0.gamma", 4, ci, &r->gamma1));
    LT_TRY(lti_vae_load_gamma(l, prefix, "residual.3.gamma", 4, mid, &r->gamma2));
    if (ci == co && !lti_vae_have(l, prefix, "shortcut.weight")) return LT_OK;
    snprintf(name, sizeof name, "%s.shortcut", prefix);
    return lti_vae_load_conv(l, name, false, co, ci, 1, 1, &r->shortcut);
}

/* Rows [first, first + count) of the 1x1 convolution to_qkv as a linear layer. */
static lt_status load_qkv_rows(vae_loader *l, lti_tensor w, lti_tensor b, int64_t first,
                               int64_t count, lti_packed **out) {
    lti_tensor wr = lti_rows(w, first, count), br = lti_rows(b, first, count);
    *out = lti_pack_linear(l->d, &wr, &br, l->dtype, l->err);
    return *out ? LT_OK : l->err->code;
}

static lt_status load_attn(vae_loader *l, const char *prefix, int64_t c, vae_attn *a) {
    lti_tensor w, b;
    if (c > HEAD_DIM_MAX)
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: %s is %lld channels wide, at most %d supported",
                        lti_weights_path(l->w), prefix, (long long)c, HEAD_DIM_MAX);
    LT_TRY(lti_vae_get(l, prefix, "to_qkv.weight", 4, (const int64_t[]){3 * c, c, 1, 1}, &w));
    LT_TRY(lti_vae_get(l, prefix, "to_qkv.bias", 1, (const int64_t[]){3 * c}, &b));
    w = LTI_VIEW(w.data, w.dtype, 3 * c, c);
    LT_TRY(load_qkv_rows(l, w, b, 0, c, &a->q));
    LT_TRY(load_qkv_rows(l, w, b, c, 2 * c, &a->kv));
    lti_weights_forget(l->w);
    LT_TRY(lti_vae_load_gamma(l, prefix, "norm.gamma", 3, c, &a->gamma));
    char name[128];
    snprintf(name, sizeof name, "%s.proj", prefix);
    return lti_vae_load_conv(l, name, true, c, c, 1, 1, &a->proj);
}

lt_status lti_vae_load_middle(vae_loader *l, const char *prefix, int64_t *c, vae_middle *m) {
    char name[64];
    snprintf(name, sizeof name, "%s.0", prefix);
    LT_TRY(lti_vae_load_res(l, name, c, &m->res0));
    snprintf(name, sizeof name, "%s.1", prefix);
    LT_TRY(load_attn(l, name, *c, &m->attn));
    snprintf(name, sizeof name, "%s.2", prefix);
    return lti_vae_load_res(l, name, c, &m->res2);
}

lt_status lti_vae_load_scale(const char *path, const cJSON *json, int z, float *mean, float *std,
                             lt_error *err) {
    double m[VAE_MAX_CHANNELS], s[VAE_MAX_CHANNELS];
    LT_ASSERT(z <= VAE_MAX_CHANNELS);
    bool given = json && (cJSON_HasObjectItem(json, "latents_mean") ||
                          cJSON_HasObjectItem(json, "latents_std"));
    if (!given && z != 16)
        return lti_fail(err, LT_EFORMAT,
                        "%s: %d latent channels but no latents_mean and latents_std; add a "
                        "config.json with both beside it",
                        path, z);
    if (given) {
        int nm = lti_json_nums(json, "latents_mean", m, VAE_MAX_CHANNELS);
        int ns = lti_json_nums(json, "latents_std", s, VAE_MAX_CHANNELS);
        if (nm != z || ns != z)
            return lti_fail(err, LT_EFORMAT,
                            "vae/config.json: latents_mean and latents_std must hold %d numbers "
                            "each (the latent channels of %s), found %d and %d",
                            z, path, nm < 0 ? 0 : nm, ns < 0 ? 0 : ns);
    }
    for (int i = 0; i < z; i++) {
        mean[i] = (float)(given ? m[i] : wan_mean[i]);
        std[i] = (float)(given ? s[i] : wan_std[i]);
        if (!isfinite(mean[i]) || !isfinite(std[i]) || std[i] <= 0)
            return lti_fail(err, LT_EFORMAT,
                            "vae/config.json: channel %d has latents_mean %g and latents_std %g, "
                            "expected finite numbers and a deviation above 0",
                            i, (double)mean[i], (double)std[i]);
    }
    return LT_OK;
}

void lti_vae_free_res(lti_dev *d, vae_res *r) {
    d->ops.free(d, r->gamma1);
    d->ops.free(d, r->gamma2);
    lti_pack_free(d, &r->conv1.w);
    lti_pack_free(d, &r->conv2.w);
    lti_pack_free(d, &r->shortcut);
}

void lti_vae_free_middle(lti_dev *d, vae_middle *m) {
    lti_vae_free_res(d, &m->res0);
    lti_vae_free_res(d, &m->res2);
    d->ops.free(d, m->attn.gamma);
    lti_pack_free(d, &m->attn.q);
    lti_pack_free(d, &m->attn.kv);
    lti_pack_free(d, &m->attn.proj);
}

void lti_vae_free_resample(lti_dev *d, vae_resample *r) {
    lti_pack_free(d, &r->time.w);
    lti_pack_free(d, &r->w);
}

/* SPDX-License-Identifier: Apache-2.0
 * vae/vae.c - load the Wan 2.1 VAE decoder: read the graph off the tensors, pack the weights.
 *
 * Reference: Wan2.1 wan/modules/vae.py (Decoder3d), names as there. Nothing is configured: the
 * entries of decoder.upsamples are residual blocks (`residual.2.weight`) or upsamplers
 * (`resample.1.weight`, with `time_conv.weight` when they double time), their widths are the
 * weights' extents.
 * Pitfalls: gamma is [C,1,1,1] in residual blocks and the head, [C,1,1] in the attention; the
 * latent mean and deviation are not in the weight file. */
#include <math.h>
#include <stdio.h>
#include "base/error.h"
#include "vae/graph.h"

#define HEAD_DIM_MAX 1024 /* of the attention ops; the middle attention is one head */

/* What every loading step needs. `level` is log2 of the map's size over the latent's. */
typedef struct loader {
    lti_dev *d;
    const lti_weights *w;
    lti_vae *vae;
    int level;
    lt_error *err;
} loader;

static const double wan_mean[16] = {-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,
                                    -0.1517, 1.5508,  0.4134,  -0.0715, 0.5517,  -0.3632,
                                    -0.1922, -0.9497, 0.2503,  -0.2921};
static const double wan_std[16] = {2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                                   3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160};

/* "<prefix>.<leaf>" */
static lt_status get(loader *l, const char *prefix, const char *leaf, int rank, const int64_t *n,
                     lti_tensor *out) {
    char name[192];
    snprintf(name, sizeof name, "%s.%s", prefix, leaf);
    LT_TRY(lti_weights_get(l->w, name, rank, n, out, l->err));
    l->vae->params += lti_numel(out);
    return LT_OK;
}

static bool have(const loader *l, const char *prefix, const char *leaf) {
    char name[192];
    snprintf(name, sizeof name, "%s.%s", prefix, leaf);
    return lti_weights_find(l->w, name) != NULL;
}

/* An RMS norm's gain as f32 on the device; rank 4 [C,1,1,1] or 3 [C,1,1]. */
static lt_status load_gamma(loader *l, const char *prefix, const char *leaf, int rank, int64_t c,
                            float **out) {
    lti_tensor t;
    LT_TRY(get(l, prefix, leaf, rank, (const int64_t[]){c, 1, 1, 1}, &t));
    size_t bytes = (size_t)c * sizeof(float);
    float *host = malloc(bytes);
    float *dev = l->d->ops.alloc(l->d, bytes);
    *out = dev;
    if (!host || !dev) {
        free(host);
        return lti_oom(l->err, bytes);
    }
    lti_to_f32(&t, host);
    lti_put(l->d, dev, host, bytes);
    lt_status st = l->d->ops.sync(l->d, l->err); /* `host` may still be on its way */
    free(host);
    return st;
}

/* "<prefix>.weight" [Co, Ci, kt, kh, kw] and "<prefix>.bias" [Co]. Extents of -1 are taken from the
 * tensor. flat: the file has [Co, Ci, kh, kw]; it is used with kt = 1. */
static lt_status load_conv(loader *l, const char *prefix, bool flat, int64_t co, int64_t ci, int kt,
                           int kh, lti_packed **out) {
    lti_tensor w, b;
    if (flat) {
        LT_TRY(get(l, prefix, "weight", 4, (const int64_t[]){co, ci, kh, kh}, &w));
        w = LTI_VIEW(w.data, w.dtype, w.n[0], w.n[1], 1, w.n[2], w.n[3]);
    } else {
        LT_TRY(get(l, prefix, "weight", 5, (const int64_t[]){co, ci, kt, kh, kh}, &w));
    }
    if (w.n[0] < 1 || w.n[1] < 1)
        return lti_fail(l->err, LT_EFORMAT, "%s: %s.weight has no channels", lti_weights_path(l->w),
                        prefix);
    LT_TRY(get(l, prefix, "bias", 1, (const int64_t[]){w.n[0]}, &b));
    *out = lti_pack_conv(l->d, &w, &b, l->vae->dtype, l->err);
    return *out ? LT_OK : l->err->code;
}

/* As load_conv for kt = 3, and a slot for the two input frames it has to remember. */
static lt_status load_causal(loader *l, const char *prefix, int64_t co, int64_t ci, int kh,
                             vae_conv *out) {
    LT_TRY(load_conv(l, prefix, false, co, ci, 3, kh, &out->w));
    lti_vae *v = l->vae;
    LT_ASSERT(v->n_causal < VAE_MAX_CAUSAL);
    out->slot = v->n_causal++;
    v->causal[out->slot].channels = out->w->n[1];
    v->causal[out->slot].level = l->level;
    return LT_OK;
}

/* A block Ci -> Co at "<prefix>"; Co is the first convolution's. */
static lt_status load_res(loader *l, const char *prefix, int64_t ci, vae_res *r) {
    char name[128];
    snprintf(name, sizeof name, "%s.residual.2", prefix);
    LT_TRY(load_causal(l, name, -1, ci, 3, &r->conv1));
    int64_t co = r->conv1.w->n[0];
    snprintf(name, sizeof name, "%s.residual.6", prefix);
    LT_TRY(load_causal(l, name, co, co, 3, &r->conv2));
    LT_TRY(load_gamma(l, prefix, "residual.0.gamma", 4, ci, &r->gamma1));
    LT_TRY(load_gamma(l, prefix, "residual.3.gamma", 4, co, &r->gamma2));
    if (ci == co && !have(l, prefix, "shortcut.weight")) return LT_OK;
    snprintf(name, sizeof name, "%s.shortcut", prefix);
    return load_conv(l, name, false, co, ci, 1, 1, &r->shortcut);
}

/* Rows [first, first + count) of the 1x1 convolution to_qkv as a linear layer. */
static lt_status load_qkv_rows(loader *l, lti_tensor w, lti_tensor b, int64_t first, int64_t count,
                               lti_packed **out) {
    lti_tensor wr = lti_rows(w, first, count), br = lti_rows(b, first, count);
    *out = lti_pack_linear(l->d, &wr, &br, l->vae->dtype, l->err);
    return *out ? LT_OK : l->err->code;
}

static lt_status load_attn(loader *l, const char *prefix, int64_t c, vae_attn *a) {
    lti_tensor w, b;
    if (c > HEAD_DIM_MAX)
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: %s is %lld channels wide, at most %d supported",
                        lti_weights_path(l->w), prefix, (long long)c, HEAD_DIM_MAX);
    LT_TRY(get(l, prefix, "to_qkv.weight", 4, (const int64_t[]){3 * c, c, 1, 1}, &w));
    LT_TRY(get(l, prefix, "to_qkv.bias", 1, (const int64_t[]){3 * c}, &b));
    w = LTI_VIEW(w.data, w.dtype, 3 * c, c);
    LT_TRY(load_qkv_rows(l, w, b, 0, c, &a->q));
    LT_TRY(load_qkv_rows(l, w, b, c, 2 * c, &a->kv));
    LT_TRY(load_gamma(l, prefix, "norm.gamma", 3, c, &a->gamma));
    char name[128];
    snprintf(name, sizeof name, "%s.proj", prefix);
    return load_conv(l, name, true, c, c, 1, 1, &a->proj);
}

static lt_status load_up(loader *l, const char *prefix, int64_t c, vae_up *u) {
    char name[128];
    if (have(l, prefix, "time_conv.weight")) {
        snprintf(name, sizeof name, "%s.time_conv", prefix);
        LT_TRY(load_causal(l, name, 2 * c, c, 1, &u->time));
    }
    snprintf(name, sizeof name, "%s.resample.1", prefix);
    return load_conv(l, name, true, -1, c, 1, 3, &u->w);
}

/* decoder.upsamples.*; *c is the width going in, then the width coming out. */
static lt_status load_layers(loader *l, int64_t *c) {
    lti_vae *v = l->vae;
    int n = lti_weights_layers(l->w, "decoder.upsamples."), n_up = 0, n_time = 0;
    const char *path = lti_weights_path(l->w);
    if (n < 1 || n > VAE_MAX_LAYERS)
        return lti_fail(
            l->err, LT_EFORMAT,
            "%s: decoder.upsamples has %d entries, expected 1 to %d; is this a Wan VAE?", path, n,
            VAE_MAX_LAYERS);
    if (lti_weights_layers(l->w, "decoder.upsamples.0.upsamples.") > 0)
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: this is a Wan 2.2 VAE (nested upsamples), only Wan 2.1's is supported",
                        path);
    for (int i = 0; i < n; i++) {
        vae_layer *y = &v->layer[v->n_layer++]; /* counted first: close frees a half-loaded one */
        char prefix[64];
        snprintf(prefix, sizeof prefix, "decoder.upsamples.%d", i);
        y->is_up = have(l, prefix, "resample.1.weight");
        if (y->is_up) {
            LT_TRY(load_up(l, prefix, *c, &y->up));
            *c = y->up.w->n[0];
            n_up++;
            n_time += y->up.time.w != NULL;
            l->level++;
        } else {
            LT_TRY(load_res(l, prefix, *c, &y->res));
            *c = y->res.conv1.w->n[0];
        }
    }
    if (n_up != 3 || n_time != 2)
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: %d spatial and %d temporal upsamplers, expected 3 and 2 (8x8x4)", path,
                        n_up, n_time);
    return LT_OK;
}

/* Latent mean and deviation: from config.json, else Wan 2.1's published numbers. */
static lt_status load_scale(loader *l, const cJSON *json) {
    lti_vae *v = l->vae;
    double mean[VAE_MAX_CHANNELS], std[VAE_MAX_CHANNELS];
    bool given = json && (cJSON_HasObjectItem(json, "latents_mean") ||
                          cJSON_HasObjectItem(json, "latents_std"));
    if (!given && v->z != 16)
        return lti_fail(l->err, LT_EFORMAT,
                        "%s: %d latent channels but no latents_mean and latents_std; add a "
                        "config.json with both beside it",
                        lti_weights_path(l->w), v->z);
    if (given) {
        int nm = lti_json_nums(json, "latents_mean", mean, VAE_MAX_CHANNELS);
        int ns = lti_json_nums(json, "latents_std", std, VAE_MAX_CHANNELS);
        if (nm != v->z || ns != v->z)
            return lti_fail(l->err, LT_EFORMAT,
                            "vae/config.json: latents_mean and latents_std must hold %d numbers "
                            "each (the latent channels of %s), found %d and %d",
                            v->z, lti_weights_path(l->w), nm < 0 ? 0 : nm, ns < 0 ? 0 : ns);
    }
    for (int i = 0; i < v->z; i++) {
        v->mean[i] = (float)(given ? mean[i] : wan_mean[i]);
        v->std[i] = (float)(given ? std[i] : wan_std[i]);
        if (!isfinite(v->mean[i]) || !isfinite(v->std[i]) || v->std[i] <= 0)
            return lti_fail(l->err, LT_EFORMAT,
                            "vae/config.json: channel %d has latents_mean %g and latents_std %g, "
                            "expected finite numbers and a deviation above 0",
                            i, (double)v->mean[i], (double)v->std[i]);
    }
    return LT_OK;
}

static lt_status load(loader *l, const cJSON *json) {
    lti_vae *v = l->vae;
    LT_TRY(load_causal(l, "decoder.conv1", -1, -1, 3, &v->conv_in));
    int64_t c = v->conv_in.w->n[0], z = v->conv_in.w->n[1];
    if (z > VAE_MAX_CHANNELS)
        return lti_fail(l->err, LT_EUNSUPPORTED, "%s: %lld latent channels, at most %d supported",
                        lti_weights_path(l->w), (long long)z, VAE_MAX_CHANNELS);
    v->z = (int)z;
    LT_TRY(load_scale(l, json));
    LT_TRY(load_conv(l, "conv2", false, z, z, 1, 1, &v->conv2));
    LT_TRY(load_res(l, "decoder.middle.0", c, &v->mid0));
    c = v->mid0.conv1.w->n[0];
    LT_TRY(load_attn(l, "decoder.middle.1", c, &v->mid1));
    LT_TRY(load_res(l, "decoder.middle.2", c, &v->mid2));
    c = v->mid2.conv1.w->n[0];
    LT_TRY(load_layers(l, &c));
    LT_TRY(load_gamma(l, "decoder", "head.0.gamma", 4, c, &v->head_gamma));
    return load_causal(l, "decoder.head.2", 3, c, 3, &v->head);
}

lt_status lti_vae_open(lti_dev *d, const lti_weights *w, const cJSON *json, lti_dtype compute,
                       lti_vae **out, lt_error *err) {
    LT_ASSERT(compute == LTI_F32 || compute == LTI_BF16);
    *out = NULL;
    lti_vae *v = calloc(1, sizeof *v);
    if (!v) return lti_oom(err, sizeof *v);
    v->dtype = compute;
    lt_error own = {0}; /* packing tells its status only here */
    loader l = {d, w, v, 0, err ? err : &own};
    lt_status st = load(&l, json);
    if (st < 0) {
        lti_vae_close(d, &v);
        return st;
    }
    *out = v;
    return LT_OK;
}

static void free_res(lti_dev *d, vae_res *r) {
    d->ops.free(d, r->gamma1);
    d->ops.free(d, r->gamma2);
    lti_pack_free(d, &r->conv1.w);
    lti_pack_free(d, &r->conv2.w);
    lti_pack_free(d, &r->shortcut);
}

void lti_vae_close(lti_dev *d, lti_vae **vae) {
    lti_vae *v = *vae;
    if (!v) return;
    lti_pack_free(d, &v->conv2);
    lti_pack_free(d, &v->conv_in.w);
    free_res(d, &v->mid0);
    free_res(d, &v->mid2);
    d->ops.free(d, v->mid1.gamma);
    lti_pack_free(d, &v->mid1.q);
    lti_pack_free(d, &v->mid1.kv);
    lti_pack_free(d, &v->mid1.proj);
    for (int i = 0; i < v->n_layer; i++) {
        free_res(d, &v->layer[i].res);
        lti_pack_free(d, &v->layer[i].up.time.w);
        lti_pack_free(d, &v->layer[i].up.w);
    }
    d->ops.free(d, v->head_gamma);
    lti_pack_free(d, &v->head.w);
    free(v);
    *vae = NULL;
}

int lti_vae_channels(const lti_vae *vae) { return vae->z; }
int64_t lti_vae_params(const lti_vae *vae) { return vae->params; }

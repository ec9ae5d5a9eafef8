/* SPDX-License-Identifier: Apache-2.0
 * vae/vae.c - load the Wan 2.1 VAE decoder: read the graph off the tensors, pack the weights.
 *
 * Reference: Wan2.1 wan/modules/vae.py (Decoder3d), names as there. Nothing is configured: the
 * entries of decoder.upsamples are residual blocks (`residual.2.weight`) or upsamplers
 * (`resample.1.weight`, with `time_conv.weight` when they double time), their widths are the
 * weights' extents. So pruned ("light") VAEs load like the original. */
#include <stdio.h>
#include "base/error.h"
#include "vae/graph.h"

static lt_status load_up(vae_loader *l, const char *prefix, int64_t *c, vae_resample *u) {
    char name[128];
    if (lti_vae_have(l, prefix, "time_conv.weight")) {
        snprintf(name, sizeof name, "%s.time_conv", prefix);
        LT_TRY(lti_vae_load_causal(l, name, 2 * *c, *c, 1, &u->time));
    }
    snprintf(name, sizeof name, "%s.resample.1", prefix);
    LT_TRY(lti_vae_load_conv(l, name, true, -1, *c, 1, 3, &u->w));
    *c = u->w->n[0];
    l->level++;
    return LT_OK;
}

static lt_status count_layers(const vae_loader *l, int *n) {
    const char *path = lti_weights_path(l->w);
    *n = lti_weights_layers(l->w, "decoder.upsamples.");
    if (*n < 1 || *n > VAE_MAX_LAYERS)
        return lti_fail(
            l->err, LT_EFORMAT,
            "%s: decoder.upsamples has %d entries, expected 1 to %d; is this a Wan VAE?", path, *n,
            VAE_MAX_LAYERS);
    if (lti_weights_layers(l->w, "decoder.upsamples.0.upsamples.") > 0)
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: this is a Wan 2.2 VAE (nested upsamples), only Wan 2.1's is supported",
                        path);
    return LT_OK;
}

/* decoder.upsamples.*; *c is the width going in, then the width coming out. */
static lt_status load_layers(vae_loader *l, lti_vae *v, int64_t *c) {
    int n, n_up = 0, n_time = 0;
    LT_TRY(count_layers(l, &n));
    for (int i = 0; i < n; i++) {
        vae_layer *y = &v->layer[v->n_layer++]; /* counted first: close frees a half-loaded one */
        char prefix[64];
        snprintf(prefix, sizeof prefix, "decoder.upsamples.%d", i);
        y->is_resample = lti_vae_have(l, prefix, "resample.1.weight");
        if (y->is_resample) LT_TRY(load_up(l, prefix, c, &y->resample));
        else LT_TRY(lti_vae_load_res(l, prefix, c, &y->res));
        n_up += y->is_resample;
        n_time += y->resample.time.w != NULL;
    }
    if (n_up != 3 || n_time != 2)
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: %d spatial and %d temporal upsamplers, expected 3 and 2 (8x8x4)",
                        lti_weights_path(l->w), n_up, n_time);
    return LT_OK;
}

static lt_status load(vae_loader *l, lti_vae *v, const cJSON *json) {
    const char *path = lti_weights_path(l->w);
    LT_TRY(lti_vae_load_causal(l, "decoder.conv1", -1, -1, 3, &v->conv_in));
    int64_t c = v->conv_in.w->n[0], z = v->conv_in.w->n[1];
    if (z > VAE_MAX_CHANNELS)
        return lti_fail(l->err, LT_EUNSUPPORTED, "%s: %lld latent channels, at most %d supported",
                        path, (long long)z, VAE_MAX_CHANNELS);
    v->z = (int)z;
    LT_TRY(lti_vae_load_scale(path, json, v->z, v->mean, v->std, l->err));
    LT_TRY(lti_vae_load_conv(l, "conv2", false, z, z, 1, 1, &v->conv2));
    LT_TRY(lti_vae_load_middle(l, "decoder.middle", &c, &v->middle));
    LT_TRY(load_layers(l, v, &c));
    LT_TRY(lti_vae_load_gamma(l, "decoder", "head.0.gamma", 4, c, &v->head_gamma));
    return lti_vae_load_causal(l, "decoder.head.2", 3, c, 3, &v->head);
}

lt_status lti_vae_open(lti_dev *d, lti_weights *w, const cJSON *json, lti_dtype compute,
                       lti_vae **out, lt_error *err) {
    LT_ASSERT(compute == LTI_F32 || compute == LTI_BF16);
    compute = lti_vae_compute(w, compute);
    *out = NULL;
    lti_vae *v = calloc(1, sizeof *v);
    if (!v) return lti_oom(err, sizeof *v);
    v->dtype = compute;
    lt_error own = {0}; /* packing tells its status only here */
    vae_loader l = {d, w, compute, &v->slots, &v->params, 0, err ? err : &own};
    lt_status st = load(&l, v, json);
    if (st < 0) {
        lti_vae_close(d, &v);
        return st;
    }
    *out = v;
    return LT_OK;
}

void lti_vae_close(lti_dev *d, lti_vae **vae) {
    lti_vae *v = *vae;
    if (!v) return;
    lti_pack_free(d, &v->conv2);
    lti_pack_free(d, &v->conv_in.w);
    lti_vae_free_middle(d, &v->middle);
    for (int i = 0; i < v->n_layer; i++) {
        lti_vae_free_res(d, &v->layer[i].res);
        lti_vae_free_resample(d, &v->layer[i].resample);
    }
    d->ops.free(d, v->head_gamma);
    lti_pack_free(d, &v->head.w);
    free(v);
    *vae = NULL;
}

int lti_vae_channels(const lti_vae *vae) { return vae->z; }
int64_t lti_vae_params(const lti_vae *vae) { return vae->params; }

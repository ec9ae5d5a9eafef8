/* SPDX-License-Identifier: Apache-2.0
 * vae/encode.c - the Wan 2.1 VAE encoder: load it, and run it picture by picture.
 *
 *   picture -> conv_in -> residual blocks and downsamplers -> middle -> head -> conv1 -> latent
 *   downsampler   zeros right and below, conv 3x3 stride 2, [time_conv (3,1,1) stride 2 over
 *                 (last frame of the previous step, two new ones)]
 * conv1 gives mean and log variance; the latent is the mean, normalised: (mu - mean) / std. So only
 * its first rows are packed, with the normalisation folded in.
 * Reference: Wan2.1 wan/modules/vae.py (Encoder3d.forward with feat_cache): chunks of 1, 4, 4, ...
 * pictures. Causal convolutions only look back, so here every picture goes down as far as it can
 * at once and waits before a time_conv for its partner: the same sums, with the maps of one picture.
 * Pitfalls: time_conv skips the first picture, but that frame is the history of the next; the
 * stride's padding is on one side only. */
#include <stdio.h>
#include "base/error.h"
#include "vae/graph.h"

#define PICTURE_LEVEL 3 /* a picture is 8 times the latent */
#define LAYERS "encoder.downsamples."

struct lti_vae_encoder {
    lti_dtype dtype;
    int z;
    float mean[VAE_MAX_CHANNELS], std[VAE_MAX_CHANNELS];
    vae_conv conv_in; /* [C0, 3, 3, 3, 3] */
    int n_layer;
    vae_layer layer[VAE_MAX_LAYERS];
    vae_middle middle;
    float *head_gamma; /* device [C] */
    vae_conv head;     /* [2z, C, 3, 3, 3] */
    lti_packed *conv1; /* [z, 2z, 1, 1, 1] */
    vae_slots slots;
    int64_t params;
};

struct lti_vae_encoder_state {
    vae_history past;
    bool started;                 /* the first picture is through */
    bool waiting[VAE_MAX_LAYERS]; /* a frame waits before this layer's time_conv */
};

/* ---- load ----------------------------------------------------------------------------------- */

static lt_status load_down(vae_loader *l, const char *prefix, int64_t *c, vae_resample *u) {
    char name[128];
    if (l->level == 0)
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: more than 3 spatial downsamplers (%s), expected 3",
                        lti_weights_path(l->w), prefix);
    snprintf(name, sizeof name, "%s.resample.1", prefix);
    LT_TRY(lti_vae_load_conv(l, name, true, -1, *c, 1, 3, &u->w));
    *c = u->w->n[0];
    l->level--;
    if (!lti_vae_have(l, prefix, "time_conv.weight")) return LT_OK;
    snprintf(name, sizeof name, "%s.time_conv", prefix);
    return lti_vae_load_causal(l, name, *c, *c, 1, &u->time);
}

static lt_status load_layers(vae_loader *l, lti_vae_encoder *e, int64_t *c) {
    const char *path = lti_weights_path(l->w);
    int n = lti_weights_layers(l->w, LAYERS), n_time = 0;
    if (n < 1 || n > VAE_MAX_LAYERS)
        return lti_fail(l->err, LT_EFORMAT,
                        "%s: encoder.downsamples has %d entries, expected 1 to %d; is this a Wan "
                        "VAE with its encoder?",
                        path, n, VAE_MAX_LAYERS);
    for (int i = 0; i < n; i++) {
        vae_layer *y = &e->layer[e->n_layer++]; /* counted first: close frees a half-loaded one */
        char prefix[64];
        snprintf(prefix, sizeof prefix, LAYERS "%d", i);
        y->is_resample = lti_vae_have(l, prefix, "resample.1.weight");
        if (y->is_resample) LT_TRY(load_down(l, prefix, c, &y->resample));
        else LT_TRY(lti_vae_load_res(l, prefix, c, &y->res));
        n_time += y->resample.time.w != NULL;
    }
    if (l->level != 0 || n_time != 2)
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: %d spatial and %d temporal downsamplers, expected 3 and 2 (8x8x4)",
                        path, PICTURE_LEVEL - l->level, n_time);
    return LT_OK;
}

/* conv1's rows for the mean: (W x + b - mean) / std. */
static lt_status load_conv1(vae_loader *l, lti_vae_encoder *e) {
    lti_tensor w, b;
    int64_t z = e->z, n = 2 * z;
    LT_TRY(lti_vae_get(l, "conv1", "weight", 5, (const int64_t[]){n, n, 1, 1, 1}, &w));
    LT_TRY(lti_vae_get(l, "conv1", "bias", 1, (const int64_t[]){n}, &b));
    float *rows = malloc((size_t)(n * n + n) * sizeof *rows);
    if (!rows) return lti_oom(l->err, (size_t)(n * n + n) * sizeof *rows);
    float *bias = rows + n * n;
    lti_to_f32(&w, rows);
    lti_to_f32(&b, bias);
    lti_weights_forget(l->w);
    for (int64_t o = 0; o < z; o++) {
        for (int64_t i = 0; i < n; i++) rows[o * n + i] /= e->std[o];
        bias[o] = (bias[o] - e->mean[o]) / e->std[o];
    }
    lti_tensor wz = LTI_VIEW(rows, LTI_F32, z, n, 1, 1, 1), bz = LTI_VIEW(bias, LTI_F32, z);
    e->conv1 = lti_pack_conv(l->d, &wz, &bz, l->dtype, l->err);
    free(rows);
    return e->conv1 ? LT_OK : l->err->code;
}

static lt_status load(vae_loader *l, lti_vae_encoder *e, const cJSON *json) {
    const char *path = lti_weights_path(l->w);
    LT_TRY(lti_vae_load_causal(l, "encoder.conv1", -1, 3, 3, &e->conv_in));
    int64_t c = e->conv_in.w->n[0];
    LT_TRY(load_layers(l, e, &c));
    LT_TRY(lti_vae_load_middle(l, "encoder.middle", &c, &e->middle));
    LT_TRY(lti_vae_load_gamma(l, "encoder", "head.0.gamma", 4, c, &e->head_gamma));
    LT_TRY(lti_vae_load_causal(l, "encoder.head.2", -1, c, 3, &e->head));
    int64_t n = e->head.w->n[0];
    if (n % 2 || n > 2 * VAE_MAX_CHANNELS)
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: encoder.head.2 makes %lld channels, expected twice the latent's (at "
                        "most %d)",
                        path, (long long)n, 2 * VAE_MAX_CHANNELS);
    e->z = (int)(n / 2);
    LT_TRY(lti_vae_load_scale(path, json, e->z, e->mean, e->std, l->err));
    return load_conv1(l, e);
}

lt_status lti_vae_encoder_open(lti_dev *d, lti_weights *w, const cJSON *json, lti_dtype compute,
                               lti_vae_encoder **out, lt_error *err) {
    LT_ASSERT(compute == LTI_F32 || compute == LTI_BF16);
    compute = lti_vae_compute(w, compute);
    *out = NULL;
    lti_vae_encoder *e = calloc(1, sizeof *e);
    if (!e) return lti_oom(err, sizeof *e);
    e->dtype = compute;
    lt_error own = {0};
    vae_loader l = {d, w, compute, &e->slots, &e->params, PICTURE_LEVEL, err ? err : &own};
    lt_status st = load(&l, e, json);
    if (st < 0) {
        lti_vae_encoder_close(d, &e);
        return st;
    }
    *out = e;
    return LT_OK;
}

void lti_vae_encoder_close(lti_dev *d, lti_vae_encoder **pe) {
    lti_vae_encoder *e = *pe;
    if (!e) return;
    lti_pack_free(d, &e->conv_in.w);
    for (int i = 0; i < e->n_layer; i++) {
        lti_vae_free_res(d, &e->layer[i].res);
        lti_vae_free_resample(d, &e->layer[i].resample);
    }
    lti_vae_free_middle(d, &e->middle);
    d->ops.free(d, e->head_gamma);
    lti_pack_free(d, &e->head.w);
    lti_pack_free(d, &e->conv1);
    free(e);
    *pe = NULL;
}

int lti_vae_encoder_channels(const lti_vae_encoder *e) { return e->z; }
int64_t lti_vae_encoder_params(const lti_vae_encoder *e) { return e->params; }

/* ---- state ---------------------------------------------------------------------------------- */

lt_status lti_vae_encoder_state_open(lti_dev *d, const lti_vae_encoder *e, int h, int w,
                                     lti_vae_encoder_state **out, lt_error *err) {
    *out = NULL;
    lti_vae_encoder_state *s = calloc(1, sizeof *s);
    if (!s) return lti_oom(err, sizeof *s);
    lt_status st = lti_vae_history_open(d, &e->slots, e->dtype, h, w, &s->past, err);
    if (st < 0) {
        free(s);
        return st;
    }
    *out = s;
    return LT_OK;
}

void lti_vae_encoder_state_close(lti_dev *d, lti_vae_encoder_state **s) {
    if (!*s) return;
    lti_vae_history_close(d, &(*s)->past);
    free(*s);
    *s = NULL;
}

void lti_vae_encoder_state_reset(lti_dev *d, lti_vae_encoder_state *s) {
    lti_vae_history_reset(d, &s->past);
    s->started = false;
    memset(s->waiting, 0, sizeof s->waiting);
}

size_t lti_vae_encoder_state_bytes(const lti_vae_encoder_state *s) { return s->past.bytes; }

/* ---- run ------------------------------------------------------------------------------------ */

/* [1,h,w,C] -> [1,h/2,w/2,Co] */
static lti_tensor shrink(vae_run *r, const lti_packed *w, lti_tensor x) {
    lti_tensor y = lti_vae_map(r, 1, x.n[1] / 2, x.n[2] / 2, w->n[0]);
    lti_conv c = {.x = x, .w = w, .stride = {1, 2, 2}, .pad_bottom = 1, .pad_right = 1, .out = y};
    lti_conv_run(r->d, &c);
    return y;
}

/* One frame of two, [1,h,w,C]. False: it waits for its partner. Else *x is the frame to go on with.
 * History of the slot: [last frame of the previous step, the one that waits]. */
static bool halve_time(vae_run *r, lti_vae_encoder_state *s, int layer, const vae_conv *time,
                       lti_tensor *x) {
    char *past = r->past->at[time->slot];
    size_t frame = lti_nbytes(x);
    if (!s->started) {
        lti_copy(r->d, past, x->data, frame);
        return true;
    }
    s->waiting[layer] = !s->waiting[layer];
    if (s->waiting[layer]) {
        lti_copy(r->d, past + frame, x->data, frame);
        return false;
    }
    lti_tensor y = lti_vae_map(r, 1, x->n[1], x->n[2], x->n[3]);
    size_t mark = lti_arena_mark(r->a);
    lti_tensor in = lti_vae_map(r, VAE_HISTORY + 1, x->n[1], x->n[2], x->n[3]);
    lti_copy(r->d, lti_vae_recall(r, time->slot, VAE_HISTORY, in).data, x->data, frame);
    lti_conv c = {.x = in, .w = time->w, .stride = {2, 1, 1}, .out = y};
    lti_conv_run(r->d, &c);
    lti_copy(r->d, past, x->data, frame);
    lti_arena_release(r->a, mark);
    *x = y;
    return true;
}

static lti_tensor enter(vae_run *r, const lti_vae_encoder *e, lti_tensor picture) {
    int64_t h = picture.n[0], w = picture.n[1];
    lti_tensor x = lti_vae_map(r, 1, h, w, e->conv_in.w->n[0]);
    size_t mark = lti_arena_mark(r->a);
    lti_tensor in = lti_vae_map(r, VAE_HISTORY + 1, h, w, 3);
    lti_cast(r->d, picture, lti_vae_recall(r, e->conv_in.slot, VAE_HISTORY, in));
    lti_vae_conv_causal(r, &e->conv_in, in, false, x);
    lti_arena_release(r->a, mark);
    return x;
}

/* x [1,h,w,C] -> map f32 [h,w,z] */
static void finish(vae_run *r, const lti_vae_encoder *e, lti_tensor x, lti_tensor map) {
    x = lti_vae_run_middle(r, &e->middle, x);
    lti_tensor in = lti_vae_map(r, VAE_HISTORY + 1, x.n[1], x.n[2], x.n[3]);
    lti_tensor both = lti_vae_map(r, 1, x.n[1], x.n[2], 2 * e->z);
    lti_chan_norm(r->d, x, e->head_gamma, true, lti_vae_recall(r, e->head.slot, VAE_HISTORY, in));
    lti_vae_conv_causal(r, &e->head, in, false, both);
    lti_vae_conv_same(r, both, e->conv1, false, LTI_ACT_NONE,
                      LTI_VIEW(map.data, map.dtype, 1, map.n[0], map.n[1], map.n[2]));
}

bool lti_vae_encode(const lti_vae_encoder *e, lti_dev *d, lti_arena *a, lti_vae_encoder_state *s,
                    lti_tensor picture, lti_tensor map) {
    int64_t h = s->past.h, w = s->past.w;
    LT_ASSERT(picture.dtype == LTI_F32 && picture.rank == 3 && picture.n[0] == 8 * h &&
              picture.n[1] == 8 * w && picture.n[2] == 3);
    LT_ASSERT(map.dtype == LTI_F32 && map.rank == 3 && map.n[0] == h && map.n[1] == w &&
              map.n[2] == e->z);
    vae_run r = {d, a, e->dtype, &s->past};
    size_t mark = lti_arena_mark(a);
    lti_tensor x = enter(&r, e, picture);
    bool complete = true;
    for (int i = 0; i < e->n_layer && complete; i++) {
        const vae_layer *y = &e->layer[i];
        if (!y->is_resample) {
            x = lti_vae_res_block(&r, &y->res, x);
            continue;
        }
        x = shrink(&r, y->resample.w, x);
        if (y->resample.time.w) complete = halve_time(&r, s, i, &y->resample.time, &x);
    }
    if (complete) finish(&r, e, x, map);
    lti_arena_release(a, mark);
    s->started = true;
    return complete;
}

/* SPDX-License-Identifier: Apache-2.0
 * vae/tae.c - load a TAE: names are module indices (`decoder.3.conv.0.weight`), widths come from
 * the tensors.
 *
 *   decoder.1 in | .3-.5 blocks | .7 grow | .8 conv | .9-.11 | .13 | .14 | .15-.17 | .19 | .20 | .22
 *   encoder.0 in | .2 pool | .3 conv | .4-.6 blocks | .7 | .8 | .9-.11 | .12 | .13 | .14-.16 | .17
 * Reference: madebyollin/taehv taehv.py, class TAEHV with its default arguments.
 *
 * Channel groups become time here. A memory block's first convolution reads [x | past] on channels:
 * the same numbers as a convolution over two frames. A pool that reads s frames on channels is one
 * over s frames with stride s. So the blocks are causal convolutions like the VAE's.
 * Folded into weights: pictures leave in [-1,1] (2 w, 2 b - 1), a denormalised encoder's latents
 * leave normalised.
 * Pitfall: a grow layer may hold more rows than it needs (it was trained for more frames): the last
 * ones count. */
#include <math.h>
#include <stdio.h>
#include <strings.h>
#include "base/error.h"
#include "vae/tae_graph.h"

static const int grow_of[TAE_STAGES] = {1, 2, 2};

/* ---- tensors -------------------------------------------------------------------------------- */

/* Weights of one convolution on their way to the device: f32 [co, ci, kt, k, k] and a bias. */
typedef struct draft {
    int64_t n[5];
    float *w, *b; /* b NULL: none; one allocation, owned by w */
} draft;

/* "<prefix>.weight" [co, ci, k, k] (-1: as it is) and, if wanted, "<prefix>.bias" [co]. */
static lt_status read_conv(vae_loader *l, const char *prefix, int64_t co, int64_t ci, int k,
                           bool bias, draft *out) {
    lti_tensor w, b;
    LT_TRY(lti_vae_get(l, prefix, "weight", 4, (const int64_t[]){co, ci, k, k}, &w));
    LT_TRY(lti_vae_check_width(l, prefix, &w));
    if (bias) LT_TRY(lti_vae_get(l, prefix, "bias", 1, (const int64_t[]){w.n[0]}, &b));
    int64_t n = lti_numel(&w);
    size_t bytes = (size_t)(n + w.n[0]) * sizeof(float);
    *out = (draft){.n = {w.n[0], w.n[1], 1, k, k}, .w = malloc(bytes)};
    if (!out->w) return lti_oom(l->err, bytes);
    lti_to_f32(&w, out->w);
    if (bias) {
        out->b = out->w + n;
        lti_to_f32(&b, out->b);
    }
    lti_weights_forget(l->w);
    return LT_OK;
}

/* Packs the last `rows` rows and ends the draft. */
static lt_status pack(vae_loader *l, draft *d, int64_t rows, lti_packed **out) {
    int64_t per = d->n[1] * d->n[2] * d->n[3] * d->n[4], skip = d->n[0] - rows;
    lti_tensor w = LTI_VIEW(d->w + skip * per, LTI_F32, rows, d->n[1], d->n[2], d->n[3], d->n[4]);
    lti_tensor b = LTI_VIEW(d->b ? d->b + skip : NULL, LTI_F32, rows);
    *out = lti_pack_conv(l->d, &w, d->b ? &b : NULL, l->dtype, l->err);
    free(d->w);
    *d = (draft){0};
    return *out ? LT_OK : l->err->code;
}

static lt_status load_conv(vae_loader *l, const char *prefix, int64_t co, int64_t ci, bool bias,
                           lti_packed **out) {
    draft d;
    LT_TRY(read_conv(l, prefix, co, ci, 3, bias, &d));
    return pack(l, &d, d.n[0], out);
}

/* [co, s * c, 1, k, k] -> [co, c, s, k, k]: channel group g becomes time g, or s - 1 - g. */
static lt_status groups_to_time(vae_loader *l, draft *d, int s, bool reverse) {
    int64_t co = d->n[0], c = d->n[1] / s, kk = d->n[3] * d->n[4];
    size_t bytes = (size_t)(co * c * s * kk + co) * sizeof(float);
    float *w = malloc(bytes);
    if (!w) {
        free(d->w);
        *d = (draft){0};
        return lti_oom(l->err, bytes);
    }
    for (int64_t o = 0; o < co; o++)
        for (int64_t i = 0; i < c; i++)
            for (int g = 0; g < s; g++) {
                int t = reverse ? s - 1 - g : g;
                memcpy(w + ((o * c + i) * s + t) * kk, d->w + ((o * s + g) * c + i) * kk,
                       (size_t)kk * sizeof *w);
            }
    if (d->b) memcpy(w + co * c * s * kk, d->b, (size_t)co * sizeof *w);
    d->b = d->b ? w + co * c * s * kk : NULL;
    free(d->w);
    d->w = w;
    d->n[1] = c;
    d->n[2] = s;
    return LT_OK;
}

/* ---- blocks --------------------------------------------------------------------------------- */

static lt_status load_block(vae_loader *l, const char *side, int index, int64_t c, tae_block *b) {
    char name[64];
    draft d;
    snprintf(name, sizeof name, "%s.%d.conv.0", side, index);
    LT_TRY(read_conv(l, name, c, 2 * c, 3, true, &d));
    LT_TRY(groups_to_time(l, &d, 2, true));
    LT_TRY(pack(l, &d, c, &b->c0));
    snprintf(name, sizeof name, "%s.%d.conv.2", side, index);
    LT_TRY(load_conv(l, name, c, c, true, &b->c2));
    snprintf(name, sizeof name, "%s.%d.conv.4", side, index);
    LT_TRY(load_conv(l, name, c, c, true, &b->c4));
    b->slot = lti_vae_add_slot(l->slots, c, l->level, 1);
    return LT_OK;
}

static lt_status load_blocks(vae_loader *l, const char *side, int index, int64_t c, tae_stage *s) {
    for (int i = 0; i < TAE_BLOCKS; i++) LT_TRY(load_block(l, side, index + i, c, &s->block[i]));
    return LT_OK;
}

static lt_status load_grow(vae_loader *l, int index, int64_t c, int factor, tae_stage *s) {
    char name[64];
    draft d;
    snprintf(name, sizeof name, "decoder.%d.conv", index);
    LT_TRY(read_conv(l, name, -1, c, 1, false, &d));
    s->s = factor;
    s->slot = -1;
    if (d.n[0] >= factor * c) return pack(l, &d, factor * c, &s->time);
    int64_t rows = d.n[0];
    free(d.w);
    return lti_fail(l->err, LT_EUNSUPPORTED,
                    "%s: %s.weight has %lld rows, expected at least %lld: a TAE of another model?",
                    lti_weights_path(l->w), name, (long long)rows, (long long)(factor * c));
}

static lt_status load_pool(vae_loader *l, int index, int64_t c, tae_stage *s) {
    char name[64];
    draft d;
    snprintf(name, sizeof name, "encoder.%d.conv", index);
    LT_TRY(read_conv(l, name, c, -1, 1, false, &d));
    int64_t n = d.n[1];
    if (n % c || n / c > TAE_FRAMES) {
        free(d.w);
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: %s.weight reads %lld channels, expected 1 to %d times %lld",
                        lti_weights_path(l->w), name, (long long)n, TAE_FRAMES, (long long)c);
    }
    s->s = (int)(n / c);
    s->slot = s->s > 1 ? lti_vae_add_slot(l->slots, c, l->level, s->s - 1) : -1;
    LT_TRY(groups_to_time(l, &d, s->s, false));
    return pack(l, &d, c, &s->time);
}

/* ---- halves --------------------------------------------------------------------------------- */

static lt_status load_decoder(vae_loader *l, lti_tae *t) {
    tae_half *h = &t->decoder;
    const char *path = lti_weights_path(l->w);
    l->level = 0;
    if (lti_vae_have(l, "decoder.0", "weight"))
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: a \"super\" TAE (decoder.0.weight), expected taew2_1's layout", path);
    LT_TRY(load_conv(l, "decoder.1", -1, -1, true, &h->in));
    int64_t c = h->in->n[0], z = h->in->n[1];
    if (z > VAE_MAX_CHANNELS)
        return lti_fail(l->err, LT_EUNSUPPORTED, "%s: %lld latent channels, at most %d supported",
                        path, (long long)z, VAE_MAX_CHANNELS);
    t->z = (int)z;
    for (int i = 0; i < TAE_STAGES; i++, l->level++) {
        char name[32];
        tae_stage *s = &h->stage[i];
        LT_TRY(load_blocks(l, "decoder", 3 + 6 * i, c, s));
        LT_TRY(load_grow(l, 7 + 6 * i, c, grow_of[i], s));
        snprintf(name, sizeof name, "decoder.%d", 8 + 6 * i);
        LT_TRY(load_conv(l, name, -1, c, false, &s->conv));
        c = s->conv->n[0];
    }
    draft d;
    LT_TRY(read_conv(l, "decoder.22", -1, c, 3, true, &d));
    int64_t n = 3 * c * 9;
    if (d.n[0] != 3) {
        n = d.n[0];
        free(d.w);
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: writes %lld channels (patches of pixels), expected 3: a TAE of "
                        "another model?",
                        path, (long long)n);
    }
    for (int64_t i = 0; i < n; i++) d.w[i] *= 2;
    for (int i = 0; i < 3; i++) d.b[i] = 2 * d.b[i] - 1;
    return pack(l, &d, 3, &h->out);
}

/* The last convolution; of a denormalised TAE: (W x + b - mean) / std. */
static lt_status load_encoder_out(vae_loader *l, const lti_tae *t, int64_t c, lti_packed **out) {
    draft d;
    LT_TRY(read_conv(l, "encoder.17", t->z, c, 3, true, &d));
    for (int o = 0; t->denormalised && o < t->z; o++) {
        for (int64_t i = 0; i < c * 9; i++) d.w[o * c * 9 + i] /= t->std[o];
        d.b[o] = (d.b[o] - t->mean[o]) / t->std[o];
    }
    return pack(l, &d, t->z, out);
}

static lt_status load_encoder(vae_loader *l, lti_tae *t) {
    tae_half *h = &t->encoder;
    int frames = 1;
    l->level = TAE_STAGES;
    l->slots = &h->slots;
    LT_TRY(load_conv(l, "encoder.0", -1, 3, true, &h->in));
    int64_t c = h->in->n[0];
    for (int i = 0; i < TAE_STAGES; i++) {
        char name[32];
        tae_stage *s = &h->stage[i];
        LT_TRY(load_pool(l, 2 + 5 * i, c, s));
        frames *= s->s;
        snprintf(name, sizeof name, "encoder.%d", 3 + 5 * i);
        LT_TRY(load_conv(l, name, -1, c, false, &s->conv));
        c = s->conv->n[0];
        l->level--;
        LT_TRY(load_blocks(l, "encoder", 4 + 5 * i, c, s));
    }
    if (frames != TAE_FRAMES)
        return lti_fail(l->err, LT_EUNSUPPORTED,
                        "%s: its encoder makes a latent of %d pictures, expected %d",
                        lti_weights_path(l->w), frames, TAE_FRAMES);
    return load_encoder_out(l, t, c, &h->out);
}

/* ---- open ----------------------------------------------------------------------------------- */

/* Which latents it reads: json's word, else the file's name. */
static lt_status read_convention(const char *path, const cJSON *json, lti_tae *t, lt_error *err) {
    static const char *const words[] = {"normalised", "denormalised", "normalized", "denormalized"};
    static const char light[] = "lighttae";
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    int word = 0;
    for (const char *p = name; *p; p++)
        if (strncasecmp(p, light, sizeof light - 1) == 0) word = 1;
    if (json)
        LT_TRY(lti_json_read_word(json, "config.json of the TAE", "latents", words, 4, &word, err));
    t->denormalised = word % 2 == 1;
    if (!t->denormalised) return LT_OK;
    return lti_vae_load_scale(path, json, t->z, t->mean, t->std, err);
}

lt_status lti_tae_open(lti_dev *d, lti_weights *w, const cJSON *json, lti_dtype compute,
                       lti_tae **out, lt_error *err) {
    LT_ASSERT(compute == LTI_F32 || compute == LTI_BF16);
    *out = NULL;
    lti_tae *t = calloc(1, sizeof *t);
    if (!t) return lti_oom(err, sizeof *t);
    t->dtype = compute;
    lt_error own = {0};
    vae_loader l = {d, w, compute, &t->decoder.slots, &t->params, 0, err ? err : &own};
    t->has_encoder = lti_vae_have(&l, "encoder.0", "weight");
    lt_status st = load_decoder(&l, t);
    if (st >= 0) st = read_convention(lti_weights_path(w), json, t, l.err);
    if (st >= 0 && t->has_encoder) st = load_encoder(&l, t);
    if (st < 0) {
        lti_tae_close(d, &t);
        return st;
    }
    *out = t;
    return LT_OK;
}

static void free_half(lti_dev *d, tae_half *h) {
    lti_pack_free(d, &h->in);
    lti_pack_free(d, &h->out);
    for (int i = 0; i < TAE_STAGES; i++) {
        tae_stage *s = &h->stage[i];
        for (int j = 0; j < TAE_BLOCKS; j++) {
            lti_pack_free(d, &s->block[j].c0);
            lti_pack_free(d, &s->block[j].c2);
            lti_pack_free(d, &s->block[j].c4);
        }
        lti_pack_free(d, &s->time);
        lti_pack_free(d, &s->conv);
    }
}

void lti_tae_close(lti_dev *d, lti_tae **tae) {
    if (!*tae) return;
    free_half(d, &(*tae)->decoder);
    free_half(d, &(*tae)->encoder);
    free(*tae);
    *tae = NULL;
}

int lti_tae_channels(const lti_tae *t) { return t->z; }
int64_t lti_tae_params(const lti_tae *t) { return t->params; }
bool lti_tae_has_encoder(const lti_tae *t) { return t->has_encoder; }

void lti_tae_prepare(const lti_tae *t, const float *latent, int64_t n, float *out) {
    for (int c = 0; c < t->z; c++)
        for (int64_t i = c * n; i < (c + 1) * n; i++) {
            float x = t->denormalised ? latent[i] * t->std[c] + t->mean[c] : latent[i];
            out[i] = 3 * tanhf(x / 3);
        }
}

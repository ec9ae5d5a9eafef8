/* SPDX-License-Identifier: Apache-2.0
 * vae/codec.c - VAE or TAE behind one face: buffers, measure pass, conversion on the host. */
#include "vae/codec.h"
#include "base/error.h"

/* ---- decoder -------------------------------------------------------------------------------- */

struct lti_decoder {
    lti_dev *d;
    const lti_vae *vae;
    const lti_tae *tae;
    lti_vae_state *vae_state;
    lti_tae_state *tae_state;
    lti_arena work;
    float *host;            /* [C,h,w] for the TAE */
    lti_tensor latent, rgb; /* device: f32 [C,h,w], f32 [4,8h,8w,3] */
};

static int run_decoder(lti_decoder *s) {
    if (s->tae) return lti_tae_decode(s->tae, s->d, &s->work, s->tae_state, s->latent, s->rgb);
    return lti_vae_decode(s->vae, s->d, &s->work, s->vae_state, s->latent, s->rgb);
}

static lt_status take_slab(lti_dev *d, lti_arena *a, lt_error *err) {
    a->cap = a->peak;
    a->used = 0;
    a->base = d->ops.alloc(d, a->cap);
    return a->base ? LT_OK : lti_oom(err, a->cap);
}

static lt_status decoder_init(lti_decoder *s, int h, int w, lt_error *err) {
    lti_dev *d = s->d;
    int c = s->tae ? lti_tae_channels(s->tae) : lti_vae_channels(s->vae);
    if (s->tae) LT_TRY(lti_tae_state_open(d, s->tae, false, h, w, &s->tae_state, err));
    else LT_TRY(lti_vae_state_open(d, s->vae, h, w, &s->vae_state, err));
    s->latent = LTI_VIEW(NULL, LTI_F32, c, h, w);
    s->rgb = LTI_VIEW(NULL, LTI_F32, LTI_FRAMES_PER_LATENT, 8 * (int64_t)h, 8 * (int64_t)w, 3);
    s->latent.data = d->ops.alloc(d, lti_nbytes(&s->latent));
    s->rgb.data = d->ops.alloc(d, lti_nbytes(&s->rgb));
    s->host = malloc(lti_nbytes(&s->latent));
    if (!s->latent.data || !s->rgb.data || !s->host) return lti_oom(err, lti_nbytes(&s->rgb));
    d->measuring = true; /* the first latent and a later one take different paths */
    for (int i = 0; i < 2; i++) run_decoder(s);
    d->measuring = false;
    lti_decoder_reset(s);
    return take_slab(d, &s->work, err);
}

lt_status lti_decoder_open(lti_dev *d, const lti_vae *vae, const lti_tae *tae, int h, int w,
                           lti_decoder **out, lt_error *err) {
    LT_ASSERT(!vae != !tae);
    *out = NULL;
    lti_decoder *s = calloc(1, sizeof *s);
    if (!s) return lti_oom(err, sizeof *s);
    s->d = d;
    s->vae = vae;
    s->tae = tae;
    lt_status st = decoder_init(s, h, w, err);
    if (st < 0) lti_decoder_close(&s);
    *out = s;
    return st;
}

void lti_decoder_close(lti_decoder **ps) {
    lti_decoder *s = *ps;
    if (!s) return;
    lti_vae_state_close(s->d, &s->vae_state);
    lti_tae_state_close(s->d, &s->tae_state);
    s->d->ops.free(s->d, s->latent.data);
    s->d->ops.free(s->d, s->rgb.data);
    s->d->ops.free(s->d, s->work.base);
    free(s->host);
    free(s);
    *ps = NULL;
}

void lti_decoder_reset(lti_decoder *s) {
    if (s->tae) lti_tae_state_reset(s->d, s->tae_state);
    else lti_vae_state_reset(s->d, s->vae_state);
}

void lti_decoder_bytes(const lti_decoder *s, size_t *state, size_t *work) {
    *state = s->tae ? lti_tae_state_bytes(s->tae_state) : lti_vae_state_bytes(s->vae_state);
    *work = s->work.cap + lti_nbytes(&s->latent) + lti_nbytes(&s->rgb);
}

int lti_decode(lti_decoder *s, const float *latent, lti_tensor *rgb) {
    if (s->tae) {
        lti_tae_prepare(s->tae, latent, s->latent.n[1] * s->latent.n[2], s->host);
        latent = s->host;
    }
    lti_put(s->d, s->latent.data, latent, lti_nbytes(&s->latent));
    int n = run_decoder(s);
    *rgb = lti_rows(s->rgb, 0, n);
    return n;
}

/* ---- encoder -------------------------------------------------------------------------------- */

struct lti_encoder {
    lti_dev *d;
    const lti_vae_encoder *vae;
    const lti_tae *tae;
    lti_vae_encoder_state *vae_state;
    lti_tae_state *tae_state;
    lti_arena work;
    float *host;             /* the picture as the model wants it, [8h,8w,3] */
    float *host_map;         /* [h,w,C] */
    lti_tensor picture, map; /* device: f32 [8h,8w,3], f32 [h,w,C] */
    int pending;             /* pictures since the last latent */
};

static bool run_encoder(lti_encoder *s) {
    if (s->tae) return lti_tae_encode(s->tae, s->d, &s->work, s->tae_state, s->picture, s->map);
    return lti_vae_encode(s->vae, s->d, &s->work, s->vae_state, s->picture, s->map);
}

static lt_status encoder_init(lti_encoder *s, int h, int w, lt_error *err) {
    lti_dev *d = s->d;
    int c = s->tae ? lti_tae_channels(s->tae) : lti_vae_encoder_channels(s->vae);
    if (s->tae) LT_TRY(lti_tae_state_open(d, s->tae, true, h, w, &s->tae_state, err));
    else LT_TRY(lti_vae_encoder_state_open(d, s->vae, h, w, &s->vae_state, err));
    s->picture = LTI_VIEW(NULL, LTI_F32, 8 * (int64_t)h, 8 * (int64_t)w, 3);
    s->map = LTI_VIEW(NULL, LTI_F32, h, w, c);
    s->picture.data = d->ops.alloc(d, lti_nbytes(&s->picture));
    s->map.data = d->ops.alloc(d, lti_nbytes(&s->map));
    s->host = calloc(1, lti_nbytes(&s->picture));
    s->host_map = malloc(lti_nbytes(&s->map));
    if (!s->picture.data || !s->map.data || !s->host || !s->host_map)
        return lti_oom(err, lti_nbytes(&s->picture));
    d->measuring = true; /* a first picture, then a whole group */
    for (int i = 0; i < 1 + LTI_FRAMES_PER_LATENT; i++) run_encoder(s);
    d->measuring = false;
    lti_encoder_reset(s);
    return take_slab(d, &s->work, err);
}

lt_status lti_encoder_open(lti_dev *d, const lti_vae_encoder *vae, const lti_tae *tae, int h, int w,
                           lti_encoder **out, lt_error *err) {
    LT_ASSERT(!vae != !tae);
    *out = NULL;
    lti_encoder *s = calloc(1, sizeof *s);
    if (!s) return lti_oom(err, sizeof *s);
    s->d = d;
    s->vae = vae;
    s->tae = tae;
    lt_status st = encoder_init(s, h, w, err);
    if (st < 0) lti_encoder_close(&s);
    *out = s;
    return st;
}

void lti_encoder_close(lti_encoder **ps) {
    lti_encoder *s = *ps;
    if (!s) return;
    lti_vae_encoder_state_close(s->d, &s->vae_state);
    lti_tae_state_close(s->d, &s->tae_state);
    s->d->ops.free(s->d, s->picture.data);
    s->d->ops.free(s->d, s->map.data);
    s->d->ops.free(s->d, s->work.base);
    free(s->host);
    free(s->host_map);
    free(s);
    *ps = NULL;
}

void lti_encoder_reset(lti_encoder *s) {
    s->pending = 0;
    if (s->tae) lti_tae_state_reset(s->d, s->tae_state);
    else lti_vae_encoder_state_reset(s->d, s->vae_state);
}

void lti_encoder_bytes(const lti_encoder *s, size_t *state, size_t *work) {
    *state = s->tae ? lti_tae_state_bytes(s->tae_state) : lti_vae_encoder_state_bytes(s->vae_state);
    *work = s->work.cap + lti_nbytes(&s->picture) + lti_nbytes(&s->map);
}

/* s->host: one more picture. [h,w,C] -> [C,h,w] when a latent came of it. */
static int push(lti_encoder *s, float *latent) {
    lti_put(s->d, s->picture.data, s->host, lti_nbytes(&s->picture));
    s->pending++;
    if (!run_encoder(s)) return 0;
    s->pending = 0;
    lti_get(s->d, s->host_map, s->map.data, lti_nbytes(&s->map));
    int64_t n = s->map.n[0] * s->map.n[1], c = s->map.n[2];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) latent[j * n + i] = s->host_map[i * c + j];
    return 1;
}

int lti_encode(lti_encoder *s, lti_tensor picture, float *latent) {
    int64_t n = lti_numel(&s->picture);
    LT_ASSERT(lti_numel(&picture) == n && (picture.dtype == LTI_U8 || picture.dtype == LTI_F32));
    /* to [-1,1] for the VAE, to [0,1] for the TAE */
    float mul = s->tae ? 0.5f : 1.0f, add = s->tae ? 0.5f : 0.0f;
    if (picture.dtype == LTI_U8) {
        const uint8_t *x = picture.data;
        for (int64_t i = 0; i < n; i++)
            s->host[i] = ((float)x[i] * (2.0f / 255.0f) - 1.0f) * mul + add;
    } else {
        const float *x = picture.data;
        for (int64_t i = 0; i < n; i++) s->host[i] = x[i] * mul + add;
    }
    return push(s, latent);
}

int lti_encode_finish(lti_encoder *s, float *latent) {
    int done = 0;
    while (s->tae && s->pending && !done) done = push(s, latent);
    return done;
}

/* SPDX-License-Identifier: Apache-2.0
 * pipeline/given.c - pictures that a stream starts from, as latents.
 *
 * 1 + 4 (n - 1) pictures are n latent frames. One picture for a model that makes several frames at
 * once is *clamped*: it stands in for the first frame of the first chunk (LongLive 2). Whole chunks
 * are *prefilled*: their keys and values go to the cache in clean passes, anchors first, as if they
 * had been made (Self Forcing's extension, Causal-Forcing's image to video with chunk 1).
 * The decoder is warmed up with the latents of the past, so new frames continue its motion; what it
 * cannot give back of the last picture fades over LTI_SEAM_FRAMES frames.
 * Pitfall: a TAE groups pictures by four from the first on, where Wan's first latent is one picture
 * alone. So its encoder gets the first picture four times. */
#include "pipeline/given.h"
#include "base/error.h"
#include "base/memory.h"
#include <string.h>

#define MAX_GIVEN ((int64_t)2 * LTI_MAX_CACHED) /* latent frames */

static lt_status check_pictures(const lt_engine *e, const lt_stream_params *p, lt_error *err) {
    if (p->n_init < 0 || (p->n_init > 0 && !p->init_rgb) || (p->n_init == 0 && p->init_mode) ||
        p->init_mode < LT_INIT_DEFAULT || p->init_mode > LT_INIT_PREFILL)
        return lti_fail(err, LT_EINVAL,
                        "init pictures: n_init %lld, init_mode %d, expected pictures with a number "
                        "and a mode of 0 to %d",
                        (long long)p->n_init, p->init_mode, LT_INIT_PREFILL);
    if (p->n_init == 0) return LT_OK;
    if (p->n_init % LTI_FRAMES_PER_LATENT != 1 || p->n_init > 4 * MAX_GIVEN)
        return lti_fail(err, LT_EINVAL,
                        "init pictures: there are %lld, expected 1, 5, 9, ... and at most %lld",
                        (long long)p->n_init, (long long)(4 * MAX_GIVEN - 3));
    if (e->vae_encoder || (e->tae && lti_tae_has_encoder(e->tae))) return LT_OK;
    return lti_fail(err, LT_EINVAL,
                    "init pictures: the engine has no encoder; open it with LT_PART_ENCODER among "
                    "the parts");
}

/* Whether n latent frames are the beginning of chunk 0. The model's wish is about pictures: a whole
 * chunk of them is a past, whatever it says. */
static bool clamps(const lt_engine *e, const lt_stream_params *p, int64_t n, int chunk) {
    if (p->init_mode) return p->init_mode == LT_INIT_CLAMP;
    if (e->info.init_mode) return e->info.init_mode == LT_INIT_CLAMP && n < chunk;
    return n == 1 && chunk > 1;
}

lt_status lti_given_plan(const lt_engine *e, const lt_stream_params *p, lti_plan *out,
                         lt_error *err) {
    lti_take_config *c = &out->take;
    LT_TRY(check_pictures(e, p, err));
    if (p->n_init == 0) return LT_OK;
    const int64_t n = 1 + (p->n_init - 1) / LTI_FRAMES_PER_LATENT;
    c->n_given = n;
    c->clamp = clamps(e, p, n, c->chunk);
    if (c->clamp && n >= c->chunk)
        return lti_fail(err, LT_EINVAL,
                        "init pictures: %lld latent frames leave nothing to make in a chunk of %d; "
                        "clamp fewer, or prefill",
                        (long long)n, c->chunk);
    if (!c->clamp && n % c->chunk)
        return lti_fail(err, LT_EINVAL,
                        "init pictures: %lld are %lld latent frames, expected whole chunks of %d; "
                        "%d pictures are one chunk, every further one takes %d",
                        (long long)p->n_init, (long long)n, c->chunk, 4 * c->chunk - 3,
                        4 * c->chunk);
    if (!c->clamp) out->first = p->n_init;
    return LT_OK;
}

/* All pictures through the encoder; z [n_given, C, h, w]. */
static lt_status encode_all(lti_encoder *s, lti_dev *d, const lti_plan *plan, bool tae,
                            const uint8_t *rgb, lti_tensor z, lt_error *err) {
    lti_tensor one = LTI_VIEW(NULL, LTI_U8, plan->height, plan->width, 3);
    const int64_t n = LTI_FRAMES_PER_LATENT * (z.n[0] - 1) + 1;
    const int64_t repeat = tae ? LTI_FRAMES_PER_LATENT - 1 : 0;
    int64_t done = 0;
    for (int64_t i = -repeat; i < n; i++) {
        one.data = (void *)(uintptr_t)(rgb + (i < 0 ? 0 : i) * lti_numel(&one));
        done += lti_encode(s, one, lti_rows(z, done < z.n[0] ? done : 0, 1).data);
    }
    LT_ASSERT(done == z.n[0]);
    LT_TRY(d->ops.sync(d, err));
    const float *p = z.data;
    float sum = 0; /* 0 * x is 0, or NaN for NaN and infinity */
    for (int64_t i = 0; i < lti_numel(&z); i++) sum += 0 * p[i];
    if (sum == 0) return LT_OK;
    return lti_fail(
        err, LT_EFORMAT,
        "init pictures: the encoder's output is not finite; its weights are damaged, or "
        "try --dtype f32");
}

lt_status lti_given_encode(const lt_engine *e, const lti_plan *plan, const uint8_t *rgb,
                           float **latents, lt_error *err) {
    const lti_take_config *c = &plan->take;
    const lti_tae *tae = e->vae_encoder ? NULL : e->tae;
    lti_tensor z = LTI_VIEW(NULL, LTI_F32, c->n_given, e->info.latent_channels, c->h, c->w);
    const size_t bytes = lti_nbytes(&z);
    *latents = z.data = lti_memory_fits(bytes) ? malloc(bytes) : NULL;
    if (!z.data) return lti_oom(err, bytes);
    lti_dev *d = NULL;
    lti_encoder *s = NULL;
    lt_status st = lti_engine_dev(e, 0, &d, err);
    if (st >= 0) st = lti_encoder_open(d, e->vae_encoder, tae, c->h, c->w, &s, err);
    if (st >= 0) st = encode_all(s, d, plan, tae != NULL, rgb, z, err);
    lti_encoder_close(&s);
    lti_dev_close(&d);
    return st;
}

/* ---- the join ------------------------------------------------------------------------------- */

lt_status lti_seam_open(lti_seam *s, const uint8_t *last, int64_t n, lt_error *err) {
    s->loss = malloc((size_t)n * sizeof *s->loss);
    if (!s->loss) return lti_oom(err, (size_t)n * sizeof *s->loss);
    s->n = n;
    for (int64_t i = 0; i < n; i++) s->loss[i] = last[i];
    return LT_OK;
}

void lti_seam_close(lti_seam *s) {
    free(s->loss);
    memset(s, 0, sizeof *s);
}

void lti_seam_decoded(lti_seam *s, const uint8_t *rgb) {
    for (int64_t i = 0; i < s->n; i++) s->loss[i] = (int16_t)(s->loss[i] - rgb[i]);
}

void lti_seam_apply(const lti_seam *s, int64_t frame, uint8_t *rgb) {
    const int part = (int)(LTI_SEAM_FRAMES - frame), whole = LTI_SEAM_FRAMES + 1;
    if (!s->loss || part <= 0) return;
    for (int64_t i = 0; i < s->n; i++) {
        const int v = rgb[i] + s->loss[i] * part / whole;
        rgb[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

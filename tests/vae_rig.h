/* SPDX-License-Identifier: Apache-2.0
 * tests/vae_rig.h - one VAE decoder on one device, sized by a measure pass. For the VAE tests. */
#ifndef LT_TESTS_VAE_RIG_H
#define LT_TESTS_VAE_RIG_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka.h needs the four above */
#include <cmocka.h>
#include "base/error.h"
#include "base/json.h"
#include "vae/vae.h"

#define VAE_FIXTURES LT_SOURCE_DIR "/tests/golden/vae/"

typedef struct vae_rig {
    lti_dev *d;
    lti_weights *weights;
    lti_vae *vae;
    lti_vae_state *state;
    lti_arena arena;
    float *latent, *rgb; /* device: [C,h,w], [4,8h,8w,3] */
    int64_t h, w, c;
} vae_rig;

static inline void rig_check(lt_status st, const lt_error *err) {
    if (st < 0) fail_msg("%s: %s", lt_status_str(st), err->msg);
}

static inline lti_tensor rig_latent(const vae_rig *r) {
    return LTI_VIEW(r->latent, LTI_F32, r->c, r->h, r->w);
}
static inline lti_tensor rig_rgb(const vae_rig *r) {
    return LTI_VIEW(r->rgb, LTI_F32, 4, 8 * r->h, 8 * r->w, 3);
}

/* The largest peak of a first and a later frame. */
static inline size_t rig_measure(vae_rig *r) {
    lti_arena a = {0};
    r->d->measuring = true;
    for (int i = 0; i < 2; i++)
        lti_vae_decode(r->vae, r->d, &a, r->state, rig_latent(r), rig_rgb(r));
    r->d->measuring = false;
    lti_vae_state_reset(r->d, r->state);
    return a.peak;
}

/* weights: a file of VAE_FIXTURES; config: another, or NULL. */
static inline void rig_open(vae_rig *r, const char *backend, int threads, lti_dtype dtype,
                            const char *weights, const char *config, int h, int w) {
    lt_error err = {0};
    char path[512];
    cJSON *json = NULL;
    *r = (vae_rig){.h = h, .w = w};
    rig_check(lti_dev_open(backend, threads, NULL, &r->d, &err), &err);
    snprintf(path, sizeof path, "%s%s", VAE_FIXTURES, weights);
    rig_check(lti_weights_open(path, LTI_PART_VAE, &r->weights, &err), &err);
    if (config) {
        snprintf(path, sizeof path, "%s%s", VAE_FIXTURES, config);
        rig_check(lti_json_load(path, 1 << 20, &json, &err), &err);
        assert_non_null(json);
    }
    rig_check(lti_vae_open(r->d, r->weights, json, dtype, &r->vae, &err), &err);
    cJSON_Delete(json);
    r->c = lti_vae_channels(r->vae);
    rig_check(lti_vae_state_open(r->d, r->vae, h, w, &r->state, &err), &err);
    r->latent = r->d->ops.alloc(r->d, (size_t)(r->c * h * w) * sizeof(float));
    r->rgb = r->d->ops.alloc(r->d, (size_t)(4 * 64 * h * w * 3) * sizeof(float));
    r->arena.cap = rig_measure(r);
    r->arena.base = r->d->ops.alloc(r->d, r->arena.cap);
    assert_true(r->latent && r->rgb && r->arena.base);
}

static inline void rig_close(vae_rig *r) {
    r->d->ops.free(r->d, r->latent);
    r->d->ops.free(r->d, r->rgb);
    r->d->ops.free(r->d, r->arena.base);
    lti_vae_state_close(r->d, &r->state);
    lti_vae_close(r->d, &r->vae);
    lti_weights_close(&r->weights);
    lti_dev_close(&r->d);
}

/* Decode one host latent [C,h,w] with `state` into host rgb [n,8h,8w,3]; returns n. */
static inline int rig_decode(vae_rig *r, lti_vae_state *state, const float *latent, float *rgb) {
    lt_error err = {0};
    lti_put(r->d, r->latent, latent, (size_t)(r->c * r->h * r->w) * sizeof(float));
    int n = lti_vae_decode(r->vae, r->d, &r->arena, state, rig_latent(r), rig_rgb(r));
    lti_get(r->d, rgb, r->rgb, (size_t)(n * 64 * r->h * r->w * 3) * sizeof(float));
    rig_check(r->d->ops.sync(r->d, &err), &err);
    return n;
}

#endif

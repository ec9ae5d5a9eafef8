/* SPDX-License-Identifier: Apache-2.0
 * tests/vae_rig.h - one VAE decoder on one device, sized by a measure pass; fixtures, and damaged
 * copies of them. For the tests of the VAE and of the small autoencoder. */
#ifndef LT_TESTS_VAE_RIG_H
#define LT_TESTS_VAE_RIG_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* cmocka.h needs the first four above */
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

static inline lti_weights *rig_fixture(const char *folder, const char *name, lti_part part) {
    char path[512];
    lt_error err = {0};
    lti_weights *w;
    snprintf(path, sizeof path, "%s%s", folder, name);
    rig_check(lti_weights_open(path, part, &w, &err), &err);
    return w;
}

/* A config of VAE_FIXTURES; NULL for NULL. */
static inline cJSON *rig_config(const char *name) {
    char path[512];
    lt_error err = {0};
    cJSON *json = NULL;
    if (!name) return NULL;
    snprintf(path, sizeof path, "%s%s", VAE_FIXTURES, name);
    rig_check(lti_json_load(path, 1 << 20, &json, &err), &err);
    assert_non_null(json);
    return json;
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
    *r = (vae_rig){.h = h, .w = w};
    rig_check(lti_dev_open(backend, threads, NULL, &r->d, &err), &err);
    r->weights = rig_fixture(VAE_FIXTURES, weights, LTI_PART_VAE);
    cJSON *json = rig_config(config);
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

/* ---- damaged files -------------------------------------------------------------------------- */

typedef enum rig_damage { RIG_MISSING, RIG_CUT, RIG_RENAMED } rig_damage;

/* The weights w with tensor `at` left out, one row short, or under the name `to`. */
static inline void rig_write_damaged(const lti_weights *w, int at, rig_damage how, const char *to,
                                     const char *path) {
    lt_error err = {0};
    int n = lti_weights_count(w), m = 0;
    lti_named *list = calloc((size_t)n, sizeof *list);
    for (int i = 0; i < n; i++) {
        const lti_tensor *t;
        list[m].name = lti_weights_name(w, i, &t);
        list[m].t = *t;
        if (i == at && how == RIG_MISSING) continue;
        if (i == at && how == RIG_CUT) list[m].t = lti_rows(*t, 0, t->n[0] - 1);
        if (i == at && how == RIG_RENAMED) list[m].name = to;
        m++;
    }
    rig_check(lti_safetensors_write(path, list, m, &err), &err);
    free(list);
}

/* Opens a model on w and closes it. */
typedef lt_status (*rig_opener)(lti_dev *d, lti_weights *w, const cJSON *json, lt_error *err);

static inline lt_status rig_open_file(lti_dev *d, const char *path, lti_part part,
                                      const cJSON *json, rig_opener open, lt_error *err) {
    lti_weights *w;
    *err = (lt_error){0};
    rig_check(lti_weights_open(path, part, &w, err), err);
    const lt_status st = open(d, w, json, err);
    lti_weights_close(&w);
    return st;
}

/* Every tensor of w missing, every tensor with a wrong shape: one line, no crash, no leak (ASan).
 * harmless: the cases that a model opens with all the same; NULL: none. */
static inline void rig_refuse_damaged(lti_dev *d, const lti_weights *w, lti_part part,
                                      const cJSON *json, rig_opener open,
                                      bool (*harmless)(const char *name, rig_damage how)) {
    char path[] = "/tmp/lt_damaged_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (int i = 0; i < lti_weights_count(w); i++)
        for (rig_damage how = RIG_MISSING; how <= RIG_CUT; how++) {
            lt_error err;
            const char *name = lti_weights_name(w, i, NULL);
            rig_write_damaged(w, i, how, NULL, path);
            const lt_status st = rig_open_file(d, path, part, json, open, &err);
            const bool fine = harmless && harmless(name, how);
            if (fine ? st != LT_OK : st != LT_EFORMAT && st != LT_EUNSUPPORTED)
                fail_msg("%s %s: status %d %s", name, how == RIG_CUT ? "cut" : "missing", st,
                         err.msg);
            if (!fine) assert_true(strlen(err.msg) > 20);
        }
    unlink(path);
}

#endif

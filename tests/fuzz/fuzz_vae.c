/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_vae.c - small VAEs and TAEs with tensors missing, renamed and misshapen: opening
 * fails with a line or gives a model that runs. The file itself is well-formed (fuzz_safetensors
 * has the others). Input: which model, then four bytes an edit: tensor, edit, two operands. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/error.h"
#include "tests/fuzz/fuzz.h"
#include "vae/codec.h"

#define GOLDEN LT_SOURCE_DIR "/tests/golden/"
enum { DECODER, ENCODER, TAE, MODELS, MAX_EDITS = 16 };

static const char *const file[MODELS] = {GOLDEN "vae/odd.safetensors",
                                         GOLDEN "vae/odd_encoder.safetensors",
                                         GOLDEN "tae/tiny.safetensors"};
static const char config[] = "{\"latents_mean\":[0,0,0,0,0],\"latents_std\":[1,1,1,1,1]}";

static lti_weights *open_or_die(const char *path, lti_part part) {
    lti_weights *w = NULL;
    lt_error err = {0};
    LT_ASSERT(lti_weights_open(path, part, &w, &err) == LT_OK);
    return w;
}

/* One edit; the view stays inside what it was. */
static void edit(lti_named *list, int n, const uint8_t *e) {
    lti_named *x = &list[e[0] * 2 % n];
    lti_tensor t = x->t;
    int axis = t.rank ? e[2] % t.rank : 0;
    switch (e[1] % 6) {
    case 0:
        t.n[axis] = e[3] % 9;
        break;
    case 1:
        t.n[axis] /= 2, t.n[(axis + 1) % t.rank] *= 2;
        break;
    case 2:
        t.rank = t.rank < LTI_MAX_RANK && t.n[t.rank] == 1 ? t.rank + 1 : t.rank;
        break;
    case 3:
        t.rank = t.n[t.rank - 1] == 1 && t.rank > 1 ? t.rank - 1 : t.rank;
        break;
    case 4:
        t.dtype = e[3] & 1 ? LTI_I8 : LTI_F16;
        break;
    default: {
        lti_named *y = &list[(e[2] * 256 + e[3]) % n];
        const char *name = x->name;
        x->name = y->name;
        y->name = name;
    }
    }
    if (lti_nbytes(&t) <= lti_nbytes(&x->t)) x->t = t;
}

static void write_edited(const lti_weights *w, const uint8_t *data, size_t size, const char *path) {
    int n = lti_weights_count(w);
    lt_error err = {0};
    lti_named *list = calloc((size_t)n, sizeof *list);
    LT_ASSERT(list);
    for (int i = 0; i < n; i++) {
        const lti_tensor *t;
        list[i].name = lti_weights_name(w, i, &t);
        list[i].t = *t;
    }
    for (size_t i = 0; i + 4 <= size && i < 4 * MAX_EDITS; i += 4) edit(list, n, data + i);
    if (size % 4 == 1) { /* one is missing */
        list[data[size - 1] * 2 % n] = list[n - 1];
        n--;
    }
    LT_ASSERT(lti_safetensors_write(path, list, n, &err) == LT_OK);
    free(list);
}

static void run_decoder(lti_dev *d, const lti_vae *vae, const lti_tae *tae) {
    float z[64] = {0.5f, -1.0f};
    lti_decoder *s = NULL;
    LT_ASSERT(lti_decoder_open(d, vae, tae, 1, 1, &s, NULL) == LT_OK);
    for (int i = 0; i < 2; i++) {
        lti_tensor rgb;
        LT_ASSERT(lti_decode(s, z, &rgb) == (i ? 4 : 1));
    }
    lti_decoder_close(&s);
}

static void run_encoder(lti_dev *d, const lti_vae_encoder *vae, const lti_tae *tae) {
    float z[64];
    uint8_t rgb[192] = {9, 99, 250};
    lti_encoder *s = NULL;
    int n = 0;
    LT_ASSERT(lti_encoder_open(d, vae, tae, 1, 1, &s, NULL) == LT_OK);
    for (int i = 0; i < 5; i++) n += lti_encode(s, LTI_VIEW(rgb, LTI_U8, 8, 8, 3), z);
    LT_ASSERT(n + lti_encode_finish(s, z) == 2);
    lti_encoder_close(&s);
}

static void open_model(lti_dev *d, int model, lti_weights *w, const cJSON *json, bool run) {
    lt_error err = {0};
    lti_vae *vae = NULL;
    lti_vae_encoder *enc = NULL;
    lti_tae *tae = NULL;
    lt_status st = model == DECODER   ? lti_vae_open(d, w, json, LTI_F32, &vae, &err)
                   : model == ENCODER ? lti_vae_encoder_open(d, w, json, LTI_F32, &enc, &err)
                                      : lti_tae_open(d, w, NULL, LTI_F32, &tae, &err);
    LT_ASSERT((st == LT_OK) == (vae || enc || tae) && (st == LT_OK || err.msg[0]));
    if (run && (vae || tae)) run_decoder(d, vae, tae);
    if (run && (enc || (tae && lti_tae_has_encoder(tae)))) run_encoder(d, enc, tae);
    lti_vae_close(d, &vae);
    lti_vae_encoder_close(d, &enc);
    lti_tae_close(d, &tae);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    int model = data[0] % MODELS;
    lti_part part = model == TAE ? LTI_PART_TAE : LTI_PART_VAE;
    char path[64];
    snprintf(path, sizeof path, "/tmp/lt_fuzz_vae_%d.safetensors", (int)getpid());
    lti_weights *base = open_or_die(file[model], part), *w = NULL;
    write_edited(base, data + 1, size - 1, path);
    cJSON *json = cJSON_Parse(config);
    lti_dev *d = NULL;
    lt_error err = {0};
    LT_ASSERT(lti_dev_open("ref", 1, NULL, &d, &err) == LT_OK);
    lt_status st = lti_weights_open(path, part, &w, &err); /* two names may have become one */
    LT_ASSERT((st == LT_OK) == (w != NULL));
    if (w) open_model(d, model, w, json, data[0] / MODELS % 8 == 0);
    lti_weights_close(&w);
    lti_weights_close(&base);
    lti_dev_close(&d);
    cJSON_Delete(json);
    unlink(path);
    return 0;
}

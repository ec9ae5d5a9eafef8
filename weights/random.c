/* SPDX-License-Identifier: Apache-2.0
 * weights/random.c - the tensors of a Wan model with its real names and shapes, without a file.
 *
 * An entry decodes to numbers that are a function of its name and the element, so nothing is kept: a
 * loader asks for a tensor, packs and forgets it, and 1.4 billion weights take the memory of one.
 * A multiplicative hash is random enough for speed: what is measured are shapes.
 * Shapes: Wan2.1 wan/modules/model.py and vae.py, madebyollin/taehv taehv.py; the same table in
 * Python is tools/make_full_size.py. */
#include "weights/random.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include "base/error.h"
#include "weights/weights_int.h"

#define HEAD 128 /* channels of a head */

/* ---- values --------------------------------------------------------------------------------- */

typedef enum kind { MATRIX, BIAS, NORM } kind; /* codec.type */

/* Uniform with the deviation that keeps activations of a residual network finite. */
static void draw(const lti_codec *c, const lti_tensor *t, int64_t first, int64_t n, float *out) {
    const int64_t inputs = t->rank > 1 ? lti_numel(t) / t->n[0] : 1;
    const float mean = c->type == NORM ? 1.0f : 0.0f;
    const float deviation = c->type == MATRIX ? 1 / sqrtf((float)inputs) : 0.05f;
    const float scale = deviation * 3.4641016f / 16777216.0f; /* sqrt(12) of a uniform, 2^-24 */
    const uint64_t seed = (uint64_t)c->stride[0];
    for (int64_t i = 0; i < n; i++) {
        uint64_t x = ((uint64_t)(first + i) + seed) * 0x9e3779b97f4a7c15u;
        x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
        out[i] = mean + ((float)(uint32_t)(x >> 40) - 8388608.0f) * scale;
    }
}

/* ---- lists ---------------------------------------------------------------------------------- */

typedef struct lister {
    lti_entries list;
    lt_status st; /* of the first failure */
    lt_error *err;
} lister;

static void add(lister *l, kind k, const char *name, int rank, const int64_t *n) {
    if (l->st < 0) return;
    uint64_t seed = 0xcbf29ce484222325u; /* FNV-1a of the name */
    for (const char *p = name; *p; p++) seed = (seed ^ (unsigned char)*p) * 0x100000001b3u;
    lti_entry e = {.name = strdup(name),
                   .t = {.dtype = LTI_F32, .rank = rank},
                   .codec = {.decode = draw,
                             .stored = "random",
                             .unit = 1,
                             .type = (int)k,
                             .from = LTI_F32,
                             .stride = {(int64_t)(seed >> 1)}}};
    memcpy(e.t.n, n, (size_t)rank * sizeof *n);
    l->st = e.name ? lti_entries_add(&l->list, &e, l->err) : lti_oom(l->err, strlen(name) + 1);
}

/* <name>.weight [out, in, ..] and <name>.bias [out] */
static void layer(lister *l, const char *name, bool bias, int rank, const int64_t *n) {
    char full[128];
    snprintf(full, sizeof full, "%s.weight", name);
    add(l, MATRIX, full, rank, n);
    snprintf(full, sizeof full, "%s.bias", name);
    if (bias) add(l, BIAS, full, 1, n);
}

static void linear(lister *l, const char *name, int64_t out, int64_t in) {
    layer(l, name, true, 2, (const int64_t[]){out, in});
}

static void norm(lister *l, const char *name, int rank, int64_t channels) {
    add(l, NORM, name, rank, (const int64_t[]){channels, 1, 1, 1});
}

/* ---- transformer ---------------------------------------------------------------------------- */

static void attention(lister *l, const char *block, const char *which, int64_t d) {
    char name[96];
    for (const char *m = "qkvo"; *m; m++) {
        snprintf(name, sizeof name, "%s.%s.%c", block, which, *m);
        linear(l, name, d, d);
    }
    for (const char *m = "qk"; *m; m++) {
        snprintf(name, sizeof name, "%s.%s.norm_%c.weight", block, which, *m);
        norm(l, name, 1, d);
    }
}

static void block(lister *l, int i, int64_t d, int64_t ffn) {
    char at[32], name[64];
    snprintf(at, sizeof at, "blocks.%d", i);
    snprintf(name, sizeof name, "%s.modulation", at);
    add(l, BIAS, name, 3, (const int64_t[]){1, 6, d});
    attention(l, at, "self_attn", d);
    attention(l, at, "cross_attn", d);
    snprintf(name, sizeof name, "%s.norm3.weight", at);
    norm(l, name, 1, d);
    snprintf(name, sizeof name, "%s.norm3.bias", at);
    add(l, BIAS, name, 1, &d);
    snprintf(name, sizeof name, "%s.ffn.0", at);
    linear(l, name, ffn, d);
    snprintf(name, sizeof name, "%s.ffn.2", at);
    linear(l, name, d, ffn);
}

static void list_dit(lister *l, const lti_random_sizes *s) {
    const int64_t d = s->dim;
    layer(l, "patch_embedding", true, 5, (const int64_t[]){d, s->channels, 1, 2, 2});
    linear(l, "text_embedding.0", d, s->text_dim);
    linear(l, "text_embedding.2", d, d);
    linear(l, "time_embedding.0", d, s->freq_dim);
    linear(l, "time_embedding.2", d, d);
    linear(l, "time_projection.1", 6 * d, d);
    for (int i = 0; i < s->layers; i++) block(l, i, d, s->ffn);
    add(l, BIAS, "head.modulation", 3, (const int64_t[]){1, 2, d});
    linear(l, "head.head", 4 * (int64_t)s->channels, d);
}

/* ---- VAE ------------------------------------------------------------------------------------ */

static void conv3(lister *l, const char *name, int64_t out, int64_t in) {
    layer(l, name, true, 5, (const int64_t[]){out, in, 3, 3, 3});
}

static void residual(lister *l, const char *at, int64_t in, int64_t out) {
    char name[96];
    snprintf(name, sizeof name, "%s.residual.0.gamma", at);
    norm(l, name, 4, in);
    snprintf(name, sizeof name, "%s.residual.2", at);
    conv3(l, name, out, in);
    snprintf(name, sizeof name, "%s.residual.3.gamma", at);
    norm(l, name, 4, out);
    snprintf(name, sizeof name, "%s.residual.6", at);
    conv3(l, name, out, out);
    snprintf(name, sizeof name, "%s.shortcut", at);
    if (in != out) layer(l, name, true, 5, (const int64_t[]){out, in, 1, 1, 1});
}

static void list_vae(lister *l, const lti_random_sizes *s) {
    const int64_t a = s->vae, b = 2 * a, c = 4 * a, z = s->channels;
    const int64_t stage[4][3] = {{c, c, 2}, {b, c, 2}, {b, b, 1}, {a, a, 0}}; /* in, width, up */
    layer(l, "conv2", true, 5, (const int64_t[]){z, z, 1, 1, 1});
    conv3(l, "decoder.conv1", c, z);
    residual(l, "decoder.middle.0", c, c);
    norm(l, "decoder.middle.1.norm.gamma", 3, c);
    layer(l, "decoder.middle.1.to_qkv", true, 4, (const int64_t[]){3 * c, c, 1, 1});
    layer(l, "decoder.middle.1.proj", true, 4, (const int64_t[]){c, c, 1, 1});
    residual(l, "decoder.middle.2", c, c);
    for (int i = 0, at = 0; i < 4; i++) {
        const int64_t width = stage[i][1];
        char name[64];
        for (int j = 0; j < 3; j++) {
            snprintf(name, sizeof name, "decoder.upsamples.%d", at++);
            residual(l, name, j ? width : stage[i][0], width);
        }
        if (!stage[i][2]) continue;
        snprintf(name, sizeof name, "decoder.upsamples.%d.resample.1", at);
        layer(l, name, true, 4, (const int64_t[]){width / 2, width, 3, 3});
        snprintf(name, sizeof name, "decoder.upsamples.%d.time_conv", at++);
        if (stage[i][2] == 2) layer(l, name, true, 5, (const int64_t[]){2 * width, width, 3, 1, 1});
    }
    norm(l, "decoder.head.0.gamma", 4, a);
    conv3(l, "decoder.head.2", 3, a);
}

/* ---- TAE ------------------------------------------------------------------------------------ */

static void flat(lister *l, int index, const char *leaf, bool bias, int64_t out, int64_t in,
                 int64_t k) {
    char name[64];
    snprintf(name, sizeof name, "decoder.%d%s", index, leaf);
    layer(l, name, bias, 4, (const int64_t[]){out, in, k, k});
}

static void list_tae(lister *l, const lti_random_sizes *s) {
    const int64_t width[4] = {4 * (int64_t)s->tae, 2 * (int64_t)s->tae, s->tae, s->tae};
    const int64_t grows[3] = {1, 2, 2};
    flat(l, 1, "", true, width[0], s->channels, 3);
    for (int i = 0; i < 3; i++) {
        const int64_t c = width[i];
        for (int j = 3; j < 6; j++) {
            flat(l, 6 * i + j, ".conv.0", true, c, 2 * c, 3);
            flat(l, 6 * i + j, ".conv.2", true, c, c, 3);
            flat(l, 6 * i + j, ".conv.4", true, c, c, 3);
        }
        flat(l, 6 * i + 7, ".conv", false, grows[i] * c, c, 1);
        flat(l, 6 * i + 8, "", false, width[i + 1], c, 3);
    }
    flat(l, 22, "", true, 3, s->tae, 3);
}

/* ---- open ----------------------------------------------------------------------------------- */

lti_random_sizes lti_random_wan(int dim, int layers) {
    const int vae = 96 * dim / 1536, tae = 64 * dim / 1536;
    return (lti_random_sizes){.dim = dim,
                              .ffn = (dim * 35 / 6 + 63) / 64 * 64, /* 8960 of 1536 */
                              .layers = layers,
                              .text_dim = dim * 8 / 3 / 64 * 64, /* 4096 of 1536 */
                              .freq_dim = 256,
                              .channels = 16,
                              .vae = (vae + 7) / 8 * 8,
                              .tae = (tae + 7) / 8 * 8};
}

lt_status lti_weights_random(lti_part part, const lti_random_sizes *s, lti_weights **out,
                             lt_error *err) {
    *out = NULL;
    if (s->dim < HEAD || s->dim % HEAD || s->dim > 16384 || s->layers < 1 || s->layers > 1000)
        return lti_fail(err, LT_EINVAL,
                        "random model: width %d and %d layers, expected a multiple of %d up to "
                        "16384, and 1 to 1000",
                        s->dim, s->layers, HEAD);
    lister l = {.err = err};
    if (part == LTI_PART_DIT) list_dit(&l, s);
    else if (part == LTI_PART_VAE) list_vae(&l, s);
    else list_tae(&l, s);
    if (l.st == LT_OK) l.st = lti_entries_sort(&l.list, "random model", err);
    if (l.st == LT_OK) return lti_weights_make(part, "random model", &l.list, out, err);
    lti_entries_free(&l.list);
    return l.st;
}

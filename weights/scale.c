/* SPDX-License-Identifier: Apache-2.0
 * weights/scale.c - 8-bit weights with scales: W = stored * scale, in f32.
 *
 * Three conventions are in use (<layer> is the name without ".weight"):
 *   ComfyUI    <layer>.scale_weight or .weight_scale, one number; a marker `scaled_fp8`; newer files
 *              say the format of each layer in <layer>.comfy_quant (JSON as bytes)
 *   LightX2V   <layer>.weight_scale [out, 1] f32, one number per row; F8_E4M3 or I8
 *   plain      F8_E4M3 or F8_E5M2 alone: nothing to do here
 * Every scale moves into the codec of its weight and leaves the list. Scales of activations
 * (scale_input) belong to engines that multiply in 8 bits; without them the result is more exact,
 * so they are left out.
 *
 * Pitfall: a scale that nobody consumes gives a picture of noise without a word, so one that does
 * not fit is an error; formats with a scale per block (NVFP4, MXFP8) are refused by name. */
#include "base/error.h"
#include "weights/weights_int.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum scale_kind { NO_SCALE, SCALE, IGNORED, QUANT_NOTE, BLOCKS } scale_kind;

static const struct {
    const char *suffix;
    scale_kind kind;
} suffixes[] = {
    {".scale_weight", SCALE},         {".weight_scale", SCALE},
    {".scale_input", IGNORED}, /* of the activations */
    {".input_scale", IGNORED},        {".input_absmax", IGNORED},
    {".scaled_fp8", IGNORED}, /* the marker under a prefix that translation left */
    {".comfy_quant", QUANT_NOTE},     {".weight_scale_2", BLOCKS},
    {".weight_global_scale", BLOCKS}, {".input_global_scale", BLOCKS},
};

/* What a name says; *stem is the length of <layer>. */
static scale_kind kind_of(const char *name, size_t *stem) {
    const size_t n = strlen(name);
    *stem = n;
    if (!strcmp(name, "scaled_fp8")) return IGNORED;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        const size_t m = strlen(suffixes[i].suffix);
        if (n <= m || strcmp(name + n - m, suffixes[i].suffix)) continue;
        *stem = n - m;
        return suffixes[i].kind;
    }
    return NO_SCALE;
}

/* One number for all, or one per row of the first axis. */
static void decode_scaled(const lti_codec *c, const lti_tensor *t, int64_t first, int64_t n,
                          float *out) {
    const int64_t rows = t->rank ? t->n[0] : 1, cols = rows ? lti_numel(t) / rows : 0;
    lti_decode_plain(c, t, first, n, out);
    if (!cols) return;
    for (int64_t i = 0; i < n;) {
        const int64_t row = (first + i) / cols, left = (row + 1) * cols - (first + i);
        const int64_t len = left < n - i ? left : n - i;
        const float s = c->scale[row * c->scale_step];
        for (int64_t k = 0; k < len; k++) out[i + k] *= s;
        i += len;
    }
}

static const char *stored_name(lti_dtype t) {
    switch (t) {
    case LTI_F8_E4M3:
        return "F8_E4M3 scaled";
    case LTI_F8_E5M2:
        return "F8_E5M2 scaled";
    case LTI_I8:
        return "I8 scaled";
    case LTI_F32:
        return "F32 scaled";
    case LTI_BF16:
        return "BF16 scaled";
    case LTI_F16:
        return "F16 scaled";
    default:
        return NULL;
    }
}

/* The numbers of a scale tensor as f32, every one of them finite and not zero. */
static lt_status read_scale(const char *what, const lti_entry *e, lti_scales *own, float **out,
                            lt_error *err) {
    const int64_t n = lti_numel(&e->t);
    if (own->n == own->cap) {
        const int cap = own->cap ? 2 * own->cap : 64;
        float **grown = realloc(own->p, sizeof *own->p * (size_t)cap);
        if (!grown) return lti_oom(err, sizeof *own->p * (size_t)cap);
        own->p = grown;
        own->cap = cap;
    }
    float *p = malloc((size_t)n * sizeof *p);
    if (!p) return lti_oom(err, (size_t)n * sizeof *p);
    own->p[own->n++] = p;
    lti_entry_rows(e, 0, e->t.rank ? e->t.n[0] : 1, p);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(p[i]) || p[i] == 0)
            return lti_fail(err, LT_EFORMAT,
                            "%s: scale '%s' has the value %g, expected a finite number other than "
                            "0; download the file again",
                            what, e->name, (double)p[i]);
    *out = p;
    return LT_OK;
}

static bool is_scale_type(const lti_entry *e) {
    const lti_dtype t = lti_entry_from(e);
    return t == LTI_F32 || t == LTI_F16 || t == LTI_BF16;
}

static lt_status attach(const char *what, const lti_entry *e, const char *layer, lti_entry *w,
                        lti_scales *own, lt_error *err) {
    const int64_t n = lti_numel(&e->t), rows = w->t.rank ? w->t.n[0] : 1;
    const char *stored = w->codec.decode ? NULL : stored_name(w->t.dtype);
    float *scale = NULL;
    if (w->codec.scale)
        return lti_fail(err, LT_EFORMAT, "%s: '%s' has two scales; keep one of them", what,
                        w->name);
    if (!stored)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "%s: '%s.weight' is stored as %s and has a scale; only F8 and I8 weights "
                        "with one scale for the layer or one per row are read; use a bf16 file",
                        what, layer,
                        w->codec.stored ? w->codec.stored : lti_dtype_name(w->t.dtype));
    if (!is_scale_type(e) || n < 1 || (n != 1 && (n != rows || e->t.n[0] != rows)))
        return lti_fail(err, LT_EUNSUPPORTED,
                        "%s: scale '%s' has %lld values of type %s for a weight of %lld rows; "
                        "expected one float or one per row (scales per block, as of NVFP4 and "
                        "MXFP8, are not read); use an fp8 or bf16 file",
                        what, e->name, (long long)n, lti_dtype_name(lti_entry_from(e)),
                        (long long)rows);
    LT_TRY(read_scale(what, e, own, &scale, err));
    lti_entry_decoded(w);
    w->codec.decode = decode_scaled;
    w->codec.stored = stored;
    w->codec.scale = scale;
    w->codec.scale_step = n == 1 ? 0 : 1;
    return LT_OK;
}

/* <layer>.comfy_quant: {"format": "float8_e4m3fn", ...} as bytes. */
static lt_status check_note(const char *what, const lti_entry *e, lt_error *err) {
    char text[128] = "";
    const int64_t n = lti_numel(&e->t);
    if (lti_dtype_size(e->t.dtype) == 1 && e->t.data && n > 0)
        memcpy(text, e->t.data, (size_t)n < sizeof text - 1 ? (size_t)n : sizeof text - 1);
    if (strstr(text, "float8_e")) return LT_OK;
    return lti_fail(err, LT_EUNSUPPORTED,
                    "%s: '%s' asks for the format '%.60s', only float8_e4m3fn and float8_e5m2 are "
                    "read; use an fp8 or bf16 file",
                    what, e->name, text);
}

static lt_status consume(const char *what, lti_entries *list, const lti_entry *e, scale_kind kind,
                         size_t stem, lti_scales *own, lt_error *err) {
    char layer[2 * LTI_NAME_MAX + 16], name[sizeof layer + 8];
    if (kind == IGNORED) return LT_OK;
    if (kind == QUANT_NOTE) return check_note(what, e, err);
    if (kind == BLOCKS)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "%s: '%s' is a scale of 4-bit block floats (NVFP4), which are not read; "
                        "use an fp8, gguf or bf16 file",
                        what, e->name);
    snprintf(layer, sizeof layer, "%.*s", (int)stem, e->name);
    snprintf(name, sizeof name, "%s.weight", layer);
    lti_entry *w = lti_entries_find(list, name);
    if (w) return attach(what, e, layer, w, own, err);
    return lti_fail(err, LT_EFORMAT,
                    "%s: scale '%s' without its weight '%s'; the file is incomplete, download it "
                    "again",
                    what, e->name, name);
}

lt_status lti_scales_apply(lti_part part, const char *what, lti_entries *list, lti_scales *own,
                           lt_error *err) {
    size_t stem;
    if (part == LTI_PART_NONE) return LT_OK; /* names as they are, nothing is interpreted */
    for (int i = 0; i < list->n; i++) {
        const scale_kind kind = kind_of(list->e[i].name, &stem);
        if (kind != NO_SCALE) LT_TRY(consume(what, list, &list->e[i], kind, stem, own, err));
    }
    int kept = 0;
    for (int i = 0; i < list->n; i++) {
        if (kind_of(list->e[i].name, &stem) != NO_SCALE) lti_entry_free(&list->e[i]);
        else list->e[kept++] = list->e[i];
    }
    list->n = kept;
    return LT_OK;
}

void lti_scales_free(lti_scales *own) {
    for (int i = 0; i < own->n; i++) free(own->p[i]);
    free(own->p);
    *own = (lti_scales){0};
}

/* SPDX-License-Identifier: Apache-2.0
 * weights/lora.c - low-rank and full deltas that are added to weights when they are loaded.
 *
 *   W += s * (alpha / r) * B A      A [r, in], B [out, r]; s is the user's scale
 *   W += s * D                      full deltas: .diff for .weight, .diff_b for .bias
 * alpha: the tensor <layer>.alpha, else lora_alpha of the adapter_config.json beside a file in PEFT
 * names, else r. Several files add up.
 *
 * Names of A and B: PEFT lora_A / lora_B (with or without an adapter's name), kohya and ComfyUI
 * lora_down / lora_up, older diffusers lora.down / lora.up. Names of layers: original or diffusers,
 * behind any prefix that trainers put, or kohya's lora_unet_ with underscores for dots.
 * Reference: PEFT tuners/lora/layer.py, kohya networks/lora.py (arithmetic and names).
 *
 * Pitfall: a LoRA of which a part finds no weight gives a picture that is quietly wrong, so every
 * tensor must find its place. */
#include "base/error.h"
#include "base/json.h"
#include "weights/weights_int.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME (2 * LTI_NAME_MAX + 32)
#define CONFIG_MAX ((size_t)1 << 20)

/* d first: lti_loras.delta points at it and frees the whole. */
typedef struct held_delta {
    lti_delta d;
    lti_tensor a, b;
} held_delta;

typedef enum lora_kind { LORA_NONE, LORA_A, LORA_B, LORA_ALPHA, LORA_DIFF, LORA_DIFF_B } lora_kind;

static const struct {
    const char *down, *up;
} pairs[] = {{".lora_A", ".lora_B"}, {".lora_down", ".lora_up"}, {".lora.down", ".lora.up"}};

typedef struct lora_job {
    lti_weights *file;
    const char *what; /* of the base */
    lti_entries *list;
    lti_loras *own;
    double scale;
    double peft_alpha; /* NAN: none given */
    bool rslora;       /* alpha / sqrt(r) */
    lt_error *err;
} lora_job;

/* ---- names ----------------------------------------------------------------------------------- */

static bool ends(const char *s, const char *suffix) {
    const size_t n = strlen(s), m = strlen(suffix);
    return n > m && !strcmp(s + n - m, suffix);
}

/* Position of `mark` in s when ".weight", ".<adapter>.weight" or nothing follows. */
static const char *marked(const char *s, const char *mark) {
    const char *at = strstr(s, mark);
    if (!at || at == s) return NULL;
    const char *rest = at + strlen(mark);
    return *rest == 0 || (*rest == '.' && ends(rest - 1, ".weight")) ? at : NULL;
}

/* The kind of a tensor; layer[NAME] gets the layer's name, other[NAME] that of B for an A and the
 * reverse. */
static lora_kind classify(const char *s, char *layer, char *other) {
    static const struct {
        const char *suffix;
        lora_kind kind;
    } single[] = {{".alpha", LORA_ALPHA}, {".diff", LORA_DIFF}, {".diff_b", LORA_DIFF_B}};
    for (int i = 0; i < 3; i++)
        if (ends(s, single[i].suffix)) {
            snprintf(layer, NAME, "%.*s", (int)(strlen(s) - strlen(single[i].suffix)), s);
            return single[i].kind;
        }
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (int up = 0; up < 2; up++) {
            const char *mark = up ? pairs[i].up : pairs[i].down;
            const char *at = marked(s, mark);
            if (!at) continue;
            snprintf(layer, NAME, "%.*s", (int)(at - s), s);
            snprintf(other, NAME, "%s%s%s", layer, up ? pairs[i].down : pairs[i].up,
                     at + strlen(mark));
            return up ? LORA_B : LORA_A;
        }
    return LORA_NONE;
}

static bool same_but_dots(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if (*a != *b && !(*a == '_' && *b == '.')) return false;
    return *a == *b;
}

/* The base's tensor for <layer><suffix>, suffix ".weight" or ".bias". */
static lti_entry *find_target(const lora_job *j, const char *layer, const char *suffix) {
    static const char kohya[] = "lora_unet_", peft[] = "base_model.model.", unit[] = "transformer.";
    char name[NAME + 8], ours[NAME + 8];
    if (!strncmp(layer, kohya, strlen(kohya))) {
        snprintf(name, sizeof name, "%s%s", layer + strlen(kohya), suffix);
        for (int i = 0; i < j->list->n; i++)
            if (same_but_dots(name, j->list->e[i].name)) return &j->list->e[i];
        return NULL;
    }
    if (!strncmp(layer, peft, strlen(peft))) layer += strlen(peft);
    if (!strncmp(layer, unit, strlen(unit))) layer += strlen(unit);
    snprintf(name, sizeof name, "%s%s", layer, suffix);
    lti_dit_target(name, ours, sizeof ours);
    return lti_entries_find(j->list, ours);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static lt_status read_tensor(const lora_job *j, const char *name, lti_tensor *t) {
    LT_TRY(lti_weights_get(j->file, name, -1, NULL, t, j->err));
    if (lti_dtype_is_float(t->dtype)) return LT_OK;
    return lti_fail(j->err, LT_EUNSUPPORTED, "%s: '%s' is %s, expected a float type",
                    lti_weights_path(j->file), name, lti_dtype_name(t->dtype));
}

static const char *shape_text(const lti_tensor *t, char *buf, size_t size) {
    return lti_shape_text(t->rank, t->n, buf, size);
}

static int64_t cols_of(const lti_tensor *t) {
    const int64_t rows = t->rank ? t->n[0] : 1;
    return rows ? lti_numel(t) / rows : 0;
}

/* A [r, in..], B [out, r, 1..] against W [out, in..]. */
static lt_status check_pair(const lora_job *j, const char *name, const lti_entry *w,
                            const held_delta *h) {
    char a[160], b[160], base[160];
    const lti_tensor *t = &w->t;
    const int64_t r = h->a.rank ? h->a.n[0] : 0;
    if (t->rank >= 2 && h->a.rank >= 2 && h->b.rank >= 2 && r > 0 && h->b.n[0] == t->n[0] &&
        cols_of(&h->b) == r && cols_of(&h->a) == cols_of(t))
        return LT_OK;
    return lti_fail(
        j->err, LT_EFORMAT,
        "%s: '%s' is %s with its partner %s, which does not make '%s' %s of %s; is this "
        "LoRA for another model?",
        lti_weights_path(j->file), name, shape_text(&h->a, a, sizeof a),
        shape_text(&h->b, b, sizeof b), w->name, shape_text(t, base, sizeof base), j->what);
}

static lt_status check_full(const lora_job *j, const char *name, const lti_entry *w,
                            const held_delta *h) {
    char a[160], base[160];
    if (lti_numel(&h->a) == lti_numel(&w->t)) return LT_OK;
    return lti_fail(j->err, LT_EFORMAT,
                    "%s: '%s' is %s, but '%s' of %s is %s; is this LoRA for another model?",
                    lti_weights_path(j->file), name, shape_text(&h->a, a, sizeof a), w->name,
                    j->what, shape_text(&w->t, base, sizeof base));
}

/* alpha / r: from the tensor <layer>.alpha, from PEFT's config, else 1. */
static lt_status strength(const lora_job *j, const char *layer, int64_t rank, bool peft,
                          double *out) {
    char name[NAME + 8];
    double alpha = (double)rank;
    lti_tensor t;
    snprintf(name, sizeof name, "%s.alpha", layer);
    if (lti_weights_find(j->file, name)) {
        LT_TRY(read_tensor(j, name, &t));
        if (lti_numel(&t) != 1 || !isfinite(lti_get_f32(&t, 0)))
            return lti_fail(j->err, LT_EFORMAT, "%s: '%s' is not one finite number",
                            lti_weights_path(j->file), name);
        alpha = lti_get_f32(&t, 0);
    } else if (peft && !isnan(j->peft_alpha)) {
        alpha = j->peft_alpha;
        if (j->rslora) alpha *= sqrt((double)rank);
    }
    *out = alpha / (double)rank;
    return LT_OK;
}

/* ---- one file -------------------------------------------------------------------------------- */

static lt_status hang(const lora_job *j, lti_entry *w, held_delta *h) {
    lti_loras *own = j->own;
    if (own->n_delta == own->cap) {
        const int cap = own->cap ? 2 * own->cap : 256;
        lti_delta **grown = realloc(own->delta, sizeof *own->delta * (size_t)cap);
        if (!grown) {
            free(h);
            return lti_oom(j->err, sizeof *own->delta * (size_t)cap);
        }
        own->delta = grown;
        own->cap = cap;
    }
    own->delta[own->n_delta++] = &h->d;
    lti_entry_decoded(w);
    lti_delta **end = &w->delta; /* in the order of the files */
    while (*end) end = &(*end)->next;
    *end = &h->d;
    return LT_OK;
}

static lt_status fill_delta(const lora_job *j, const char *name, const char *layer,
                            const char *other, lora_kind kind, const lti_entry *w, held_delta *h) {
    double k = 1;
    LT_TRY(read_tensor(j, name, &h->a));
    h->d.a = &h->a;
    if (kind == LORA_A) {
        if (!lti_weights_find(j->file, other))
            return lti_fail(j->err, LT_EFORMAT,
                            "%s: '%s' without its partner '%s'; the file is incomplete",
                            lti_weights_path(j->file), name, other);
        LT_TRY(read_tensor(j, other, &h->b));
        h->d.b = &h->b;
        LT_TRY(check_pair(j, name, w, h));
        LT_TRY(strength(j, layer, h->a.n[0], strstr(name, ".lora_A") != NULL, &k));
    } else {
        LT_TRY(check_full(j, name, w, h));
    }
    h->d.scale = j->scale * k;
    return LT_OK;
}

static lt_status add_tensor(const lora_job *j, const char *name, bool *used) {
    char layer[NAME], other[NAME];
    const lora_kind kind = classify(name, layer, other);
    const char *file = lti_weights_path(j->file);
    if (kind == LORA_NONE)
        return lti_fail(
            j->err, LT_EUNSUPPORTED,
            "%s: '%.200s' is no tensor of a LoRA; expected names that end in lora_A, "
            "lora_B, lora_down, lora_up, alpha, diff or diff_b (DoRA, LoKr and LoHa are "
            "not read)",
            file, name);
    if (kind == LORA_ALPHA) return LT_OK; /* read with its A */
    if (kind == LORA_B) {
        if (lti_weights_find(j->file, other)) return LT_OK; /* used with its A */
        return lti_fail(j->err, LT_EFORMAT,
                        "%s: '%s' without its partner '%s'; the file is incomplete", file, name,
                        other);
    }
    lti_entry *w = find_target(j, layer, kind == LORA_DIFF_B ? ".bias" : ".weight");
    if (!w || !lti_dtype_is_float(lti_entry_from(w)))
        return lti_fail(j->err, LT_EFORMAT,
                        "%s: '%.200s' changes a tensor that %s does not have; is this LoRA for "
                        "another model?",
                        file, name, j->what);
    held_delta *h = calloc(1, sizeof *h);
    if (!h) return lti_oom(j->err, sizeof *h);
    const lt_status st = fill_delta(j, name, layer, other, kind, w, h);
    if (st < 0) {
        free(h);
        return st;
    }
    *used = true;
    return hang(j, w, h);
}

/* adapter_config.json beside the file: lora_alpha, use_rslora. Absent: NAN. */
static lt_status read_config(lora_job *j, const char *path) {
    char file[4096];
    cJSON *c = NULL;
    const char *slash = strrchr(path, '/');
    const int n = snprintf(file, sizeof file, "%.*sadapter_config.json",
                           slash ? (int)(slash - path + 1) : 0, path);
    j->peft_alpha = NAN;
    if (n < 0 || n >= (int)sizeof file) return LT_OK;
    LT_TRY(lti_json_load(file, CONFIG_MAX, &c, j->err));
    double alpha = NAN;
    lt_status st = lti_json_read_num(c, file, "lora_alpha", -1e9, 1e9, &alpha, j->err);
    j->peft_alpha = alpha;
    j->rslora = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(c, "use_rslora"));
    const cJSON *own = cJSON_GetObjectItemCaseSensitive(c, "alpha_pattern");
    if (st >= 0 && cJSON_IsObject(own) && own->child)
        st = lti_fail(j->err, LT_EUNSUPPORTED,
                      "%s: alpha_pattern gives layers an alpha of their own, which is not read; "
                      "merge this adapter with PEFT first",
                      file);
    if (st >= 0 && cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(c, "use_dora")))
        st = lti_fail(j->err, LT_EUNSUPPORTED, "%s: use_dora: DoRA is not read; merge it first",
                      file);
    cJSON_Delete(c);
    return st;
}

static lt_status add_file(lora_job *j, const lti_lora_ref *ref) {
    bool used = false;
    if (!ref->path || !isfinite(ref->scale))
        return lti_fail(j->err, LT_EINVAL, "%s: LoRA scale %g, expected a finite number",
                        ref->path ? ref->path : "(no path)", ref->scale);
    /* a training checkpoint may hold both the model and its LoRA */
    const lti_weights_options in_training = {.root = "generator_lora"};
    if (lti_weights_open_with(ref->path, LTI_PART_NONE, &in_training, &j->file, NULL) != LT_OK)
        LT_TRY(lti_weights_open(ref->path, LTI_PART_NONE, &j->file, j->err));
    j->own->file[j->own->n_file++] = j->file;
    j->scale = ref->scale;
    LT_TRY(read_config(j, lti_weights_path(j->file)));
    for (int i = 0; i < lti_weights_count(j->file); i++)
        LT_TRY(add_tensor(j, lti_weights_name(j->file, i, NULL), &used));
    if (used) return LT_OK;
    return lti_fail(j->err, LT_EFORMAT, "%s: holds no LoRA tensors", lti_weights_path(j->file));
}

lt_status lti_lora_apply(lti_part part, const char *what, lti_entries *list,
                         const lti_weights_options *opt, lti_loras *own, lt_error *err) {
    if (!opt || opt->n_lora <= 0) return LT_OK;
    if (part != LTI_PART_DIT)
        return lti_fail(err, LT_EUNSUPPORTED, "%s: a LoRA can only be added to the diffusion model",
                        what);
    own->file = calloc((size_t)opt->n_lora, sizeof *own->file);
    if (!own->file) return lti_oom(err, (size_t)opt->n_lora * sizeof *own->file);
    lora_job j = {.what = what, .list = list, .own = own, .err = err};
    for (int i = 0; i < opt->n_lora; i++) LT_TRY(add_file(&j, &opt->lora[i]));
    return LT_OK;
}

void lti_loras_free(lti_loras *own) {
    for (int i = 0; i < own->n_delta; i++) free(own->delta[i]);
    for (int i = 0; i < own->n_file; i++) lti_weights_close(&own->file[i]);
    free(own->delta);
    free(own->file);
    *own = (lti_loras){0};
}

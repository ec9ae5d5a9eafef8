/* SPDX-License-Identifier: Apache-2.0
 * pipeline/describe.c - what is in a weight file: names and shapes, never the payload.
 *
 * {"path","part","format","system","sizes","runs","use","tensors","params","bytes","file_bytes",
 *  "dtypes":{"BF16":n,..},"dicts":[{name,tensors,used}],"n_missing","missing":[..],"n_unexpected",
 *  "unexpected":[..],"list":[{name,dtype,shape}]}
 * `dicts` only for torch files that have some; missing and unexpected only for the parts of a model
 * of which every name is known. */
#include "pipeline/describe.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/error.h"
#include "base/filemap.h"
#include "weights/gguf.h"

#define MAX_NAMED 64 /* names that are listed as missing or unexpected */
#define MAX_DICTS 32
#define MAX_JSON ((size_t)64 << 20) /* a tokenizer.json has 17 MB */

/* ---- tensors --------------------------------------------------------------------------------- */

static void add_shape(cJSON *item, const lti_tensor *t) {
    cJSON *shape = cJSON_AddArrayToObject(item, "shape");
    for (int i = 0; i < t->rank; i++)
        cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->n[i]));
}

static void add_tensors(cJSON *o, const lti_weights *w, bool list) {
    int64_t params = 0;
    uint64_t bytes = 0, own;
    cJSON_AddNumberToObject(o, "tensors", lti_weights_count(w));
    cJSON *dtypes = cJSON_CreateObject();
    cJSON *items = list ? cJSON_CreateArray() : NULL;
    for (int i = 0; i < lti_weights_count(w); i++) {
        const lti_tensor *t;
        const char *name = lti_weights_name(w, i, &t), *stored = lti_weights_stored(w, i, &own);
        params += lti_numel(t);
        bytes += own;
        cJSON *count = cJSON_GetObjectItemCaseSensitive(dtypes, stored);
        if (count) cJSON_SetNumberValue(count, count->valuedouble + 1);
        else cJSON_AddNumberToObject(dtypes, stored, 1);
        if (!items) continue;
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", name);
        cJSON_AddStringToObject(item, "dtype", stored);
        add_shape(item, t);
        cJSON_AddItemToArray(items, item);
    }
    cJSON_AddNumberToObject(o, "params", (double)params);
    cJSON_AddNumberToObject(o, "bytes", (double)bytes);
    cJSON_AddItemToObject(o, "dtypes", dtypes);
    if (items) cJSON_AddItemToObject(o, "list", items);
}

/* ---- names that should be there, and that should not ----------------------------------------- */

typedef struct coverage {
    const lti_weights *w;
    bool *seen; /* of each tensor */
    cJSON *missing;
    int n_missing, n_seen;
    int n_encoder; /* n_encoder: of the VAE's encoder, which only pictures in need */
} coverage;

static int index_of(const lti_weights *w, const char *name) {
    int lo = 0, hi = lti_weights_count(w);
    while (lo < hi) { /* sorted by name */
        const int mid = lo + (hi - lo) / 2, d = strcmp(lti_weights_name(w, mid, NULL), name);
        if (d == 0) return mid;
        if (d < 0) lo = mid + 1;
        else hi = mid;
    }
    return -1;
}

static void expect(void *opaque, const char *name) {
    coverage *c = opaque;
    const int i = index_of(c->w, name);
    if (i >= 0) {
        c->seen[i] = true;
        c->n_seen++;
        return;
    }
    if (strncmp(name, "encoder.", 8) == 0 || strncmp(name, "conv1.", 6) == 0) c->n_encoder++;
    if (c->n_missing++ < MAX_NAMED) cJSON_AddItemToArray(c->missing, cJSON_CreateString(name));
}

/* What our own models may have besides. */
static bool optional(lti_kind kind, const char *name) {
    if (kind == LTI_KIND_TEXT) return strcmp(name, "spiece_model") == 0;
    if (kind != LTI_KIND_DIT) return false;
    return strcmp(name, "register_tokens") == 0 || strstr(name, ".self_attn.sinks") ||
           strstr(name, ".self_attn.register_");
}

static void add_lists(cJSON *o, const coverage *c, lti_kind kind) {
    int unexpected = 0;
    cJSON *more = cJSON_CreateArray();
    for (int i = 0; i < lti_weights_count(c->w); i++) {
        const char *name = lti_weights_name(c->w, i, NULL);
        if (c->seen[i] || optional(kind, name)) continue;
        if (unexpected++ < MAX_NAMED) cJSON_AddItemToArray(more, cJSON_CreateString(name));
    }
    cJSON_AddNumberToObject(o, "n_missing", c->n_missing);
    cJSON_AddItemToObject(o, "missing", c->missing);
    cJSON_AddNumberToObject(o, "n_unexpected", unexpected);
    cJSON_AddItemToObject(o, "unexpected", more);
}

/* How many names a complete model has that this file has not; the VAE's encoder does not count. */
static lt_status add_coverage(cJSON *o, const lti_weights *w, lti_kind kind, int *lacks,
                              lt_error *err) {
    const int n = lti_weights_count(w);
    coverage c = {.w = w, .seen = calloc((size_t)n + 1, sizeof(bool))};
    if (!c.seen) return lti_oom(err, (size_t)n);
    c.missing = cJSON_CreateArray();
    lti_expected_names(kind, w, expect, &c);
    *lacks = c.n_missing - (kind == LTI_KIND_VAE ? c.n_encoder : 0);
    if (c.n_seen + c.n_missing > 0) add_lists(o, &c, kind);
    else cJSON_Delete(c.missing);
    free(c.seen);
    return LT_OK;
}

/* ---- the file -------------------------------------------------------------------------------- */

/* "torch zip", "gguf v3", ..; dicts of a torch file. */
static void add_format(cJSON *o, const char *path) {
    lti_filemap m;
    lti_gguf_meta meta;
    char text[64] = "safetensors";
    const size_t n = strlen(path);
    if (n > 11 && strcmp(path + n - 11, ".index.json") == 0) {
        snprintf(text, sizeof text, "safetensors, sharded");
    } else if (lti_filemap_open(path, &m, NULL) == LT_OK) {
        if (lti_gguf_is(m.data, m.size)) {
            const bool ok = lti_gguf_meta_read(m.data, m.size, path, &meta, NULL) == LT_OK;
            snprintf(text, sizeof text, "gguf v%d", ok ? meta.version : 3);
            if (ok) lti_gguf_meta_free(&meta);
        } else if (m.size >= 4 && memcmp(m.data, "PK\3\4", 4) == 0) {
            lti_torch_dict dict[MAX_DICTS];
            const int k = lti_torch_dicts(m.data, m.size, dict, MAX_DICTS);
            cJSON *list = k ? cJSON_AddArrayToObject(o, "dicts") : NULL;
            for (int i = 0; i < k; i++) {
                cJSON *d = cJSON_CreateObject();
                cJSON_AddStringToObject(d, "name", dict[i].name);
                cJSON_AddNumberToObject(d, "tensors", dict[i].n_tensor);
                cJSON_AddBoolToObject(d, "used", dict[i].used);
                cJSON_AddItemToArray(list, d);
            }
            snprintf(text, sizeof text, "torch .pt/.pth");
        }
        cJSON_AddNumberToObject(o, "file_bytes", (double)m.size);
        lti_filemap_close(&m);
    }
    cJSON_AddStringToObject(o, "format", text);
}

static void add_use(cJSON *o, const lti_sight *s, int lacks, const char *why) {
    static const char *const use[] = {
        [LTI_KIND_UNKNOWN] = "nothing: the names are of no system that is known here",
        [LTI_KIND_DIT] = "--diffusion-model FILE",
        [LTI_KIND_TEXT] = "--t5xxl FILE",
        [LTI_KIND_VAE] = "--vae FILE",
        [LTI_KIND_TAE] = "--tae FILE",
        [LTI_KIND_LORA] = "--lora FILE[:SCALE] with the transformer it was made for",
    };
    char text[600];
    if (why) snprintf(text, sizeof text, "nothing: %s", why);
    else if (s->needs) snprintf(text, sizeof text, "nothing: it would need %s", s->needs);
    else if (lacks) snprintf(text, sizeof text, "nothing: %d tensors are missing", lacks);
    else snprintf(text, sizeof text, "%s", use[s->kind]);
    cJSON_AddBoolToObject(o, "runs", s->runs && !lacks && !why);
    cJSON_AddStringToObject(o, "use", text);
}

/* Under the names of its kind; what cannot be opened so is shown under its own names, with why. */
static void open_as(const char *path, lti_kind kind, lti_weights **raw, lt_error *why,
                    lti_weights **out) {
    const lti_part part = lti_kind_part(kind);
    if (part != LTI_PART_NONE && lti_weights_open(path, part, out, why) == LT_OK) {
        lti_weights_close(raw);
        return;
    }
    *out = *raw;
    *raw = NULL;
}

lt_status lti_describe_weights(cJSON *o, const char *path, bool list, lti_kind part,
                               lt_error *err) {
    lti_weights *raw = NULL, *w = NULL;
    lti_sight s;
    lt_error why = {0};
    int lacks = 0;
    LT_TRY(lti_weights_open(path, LTI_PART_NONE, &raw, err));
    lti_sight_read(raw, &s);
    open_as(path, s.kind == LTI_KIND_UNKNOWN ? part : s.kind, &raw, &why, &w);
    if (why.code == LT_OK && s.kind != LTI_KIND_UNKNOWN) lti_sight_read(w, &s);
    cJSON_AddStringToObject(o, "path", lti_weights_path(w));
    cJSON_AddStringToObject(o, "part", lti_kind_name(s.kind));
    add_format(o, lti_weights_path(w));
    if (s.system[0]) cJSON_AddStringToObject(o, "system", s.system);
    if (s.sizes[0]) cJSON_AddStringToObject(o, "sizes", s.sizes);
    lt_status st = LT_OK;
    const bool whole = s.kind == LTI_KIND_DIT || s.kind == LTI_KIND_TEXT || s.kind == LTI_KIND_VAE;
    if (whole && why.code == LT_OK) st = add_coverage(o, w, s.kind, &lacks, err);
    add_use(o, &s, lacks, why.code < 0 ? why.msg : NULL);
    add_tensors(o, w, list);
    lti_weights_close(&w);
    return st;
}

/* ---- json and tokenizers --------------------------------------------------------------------- */

static bool has_any(const cJSON *j, const char *const *keys) {
    for (; *keys; keys++)
        if (cJSON_GetObjectItemCaseSensitive(j, *keys)) return true;
    return false;
}

static void describe_tokenizer_json(cJSON *o, const cJSON *model) {
    const cJSON *vocab = cJSON_GetObjectItemCaseSensitive(model, "vocab");
    const bool unigram = strcmp(lti_json_str(model, "type", ""), "Unigram") == 0;
    cJSON_AddStringToObject(o, "part", "tokenizer");
    cJSON_AddStringToObject(o, "format", "tokenizer.json");
    cJSON_AddStringToObject(o, "system", unigram ? "Unigram, as of T5 and UMT5" : "not Unigram");
    cJSON_AddNumberToObject(o, "pieces", cJSON_GetArraySize(vocab));
    cJSON_AddBoolToObject(o, "runs", unigram);
    cJSON_AddStringToObject(o, "use",
                            unigram ? "--tokenizer FILE" : "nothing: UMT5 has a Unigram tokenizer");
}

static lt_status describe_json(cJSON *o, const char *path, bool *known, lt_error *err) {
    static const char *const preset[] = {"timesteps",  "chunk",       "window",    "sink",
                                         "flow_shift", "sink_policy", "init_mode", NULL};
    cJSON *j = NULL;
    LT_TRY(lti_json_load(path, MAX_JSON, &j, err));
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(j, "model");
    if (cJSON_GetObjectItemCaseSensitive(j, "weight_map")) {
        *known = false; /* an index: its shards are described */
    } else if (cJSON_GetObjectItemCaseSensitive(model, "vocab")) {
        describe_tokenizer_json(o, model);
    } else if (has_any(j, preset)) {
        const char *name = lti_json_str(j, "name", "settings without a name");
        const bool shipped = cJSON_GetObjectItemCaseSensitive(j, "checkpoint") != NULL;
        cJSON_AddStringToObject(o, "part", "preset");
        cJSON_AddStringToObject(o, "system", lti_json_str(j, "system", name));
        cJSON_AddBoolToObject(o, "runs", true);
        cJSON_AddStringToObject(o, "use",
                                shipped ? "--preset NAME" : "defaults of the folder it lies in");
        cJSON_AddItemToObject(o, "defaults", cJSON_Duplicate(j, true));
    } else {
        cJSON_AddStringToObject(o, "part", "config");
        cJSON_AddStringToObject(o, "system", lti_json_str(j, "_class_name", "json"));
        cJSON_AddBoolToObject(o, "runs", false);
        cJSON_AddStringToObject(o, "use", "only beside the weights it describes");
    }
    cJSON_Delete(j);
    return LT_OK;
}

/* Pieces of a sentencepiece ModelProto: its repeated field 1. -1: these bytes are none. */
static int count_pieces(const uint8_t *p, size_t size) {
    int n = 0;
    for (size_t at = 0; at < size;) {
        uint64_t v[2] = {0, 0}; /* tag, length or number */
        for (int k = 0; k < 2; k++) {
            int shift = 0;
            for (;; shift += 7) {
                if (at == size || shift > 56) return -1;
                v[k] |= (uint64_t)(p[at] & 0x7f) << shift;
                if (!(p[at++] & 0x80)) break;
            }
        }
        const int wire = (int)(v[0] & 7);
        if (wire != 2 && wire != 0) return -1;
        if (wire == 2 && v[1] > size - at) return -1;
        if (wire == 2) at += (size_t)v[1];
        n += v[0] == (1 << 3 | 2);
    }
    return n > 0 ? n : -1;
}

static void describe_spiece(cJSON *o, const char *path, bool *known) {
    lti_filemap m;
    if (lti_filemap_open(path, &m, NULL) != LT_OK) return;
    const int pieces =
        m.size && m.size < MAX_JSON && m.data[0] == 0x0a ? count_pieces(m.data, m.size) : -1;
    lti_filemap_close(&m);
    if (pieces < 0) return;
    *known = true;
    cJSON_AddStringToObject(o, "part", "tokenizer");
    cJSON_AddStringToObject(o, "format", "sentencepiece");
    cJSON_AddNumberToObject(o, "pieces", pieces);
    cJSON_AddBoolToObject(o, "runs", true);
    cJSON_AddStringToObject(o, "use", "--tokenizer FILE");
}

lt_status lti_describe_other(cJSON *o, const char *path, bool *known, lt_error *err) {
    const size_t n = strlen(path);
    *known = n > 5 && strcmp(path + n - 5, ".json") == 0;
    if (*known) LT_TRY(describe_json(o, path, known, err));
    else describe_spiece(o, path, known);
    if (*known) cJSON_AddStringToObject(o, "path", path);
    return LT_OK;
}

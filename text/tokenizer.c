/* SPDX-License-Identifier: Apache-2.0
 * text/tokenizer.c - a tokenizer from any file that holds one; text to ids.
 *
 *   spiece.model                    as sentencepiece itself reads it
 *   tokenizer.json, GGUF            through lti_vocab into the same sentencepiece
 *   .safetensors with spiece_model  ComfyUI's text encoders carry the file as a tensor of bytes
 * Each behaves as the library whose file it is: with a tokenizer.json the text is first cut at the
 * added tokens (tokenizers does), so there <extra_id_0> and even </s> are single ids; with a
 * spiece.model they are text like any other.
 *
 * Differences to tokenizers that stay, all for text that no prompt has: a leading or trailing
 * U+2581 typed as such, and decomposed letters, which cleaning composes before they come here. */
#include "base/error.h"
#include "base/filemap.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "text/text_int.h"
#include "text/vocab.h"
#include "weights/gguf.h"
#include "weights/weights.h"
#include <stdlib.h>
#include <string.h>

struct lti_tokenizer {
    lti_spm *spm;
    lti_added *added;
    int n_added, n_id;
    lti_prefix prefix;
    uint8_t hash[LTI_SHA256_SIZE];
};

/* -- open -------------------------------------------------------------------------------- */

static void hash_all(lti_tokenizer *t, const uint8_t *proto, size_t n) {
    lti_sha256 s;
    lti_sha256_init(&s);
    lti_sha256_field(&s, proto, n);
    lti_sha256_field(&s, &(uint8_t){(uint8_t)t->prefix}, 1);
    for (int i = 0; i < t->n_added; i++) {
        const lti_added *a = &t->added[i];
        const uint8_t more[6] = {(uint8_t)a->id,         (uint8_t)(a->id >> 8),
                                 (uint8_t)(a->id >> 16), (uint8_t)(a->id >> 24),
                                 (uint8_t)a->lstrip,     (uint8_t)a->rstrip};
        lti_sha256_field(&s, a->text, a->n);
        lti_sha256_field(&s, more, sizeof more);
    }
    lti_sha256_end(&s, t->hash);
}

static lt_status load(lti_tokenizer *t, const uint8_t *proto, size_t n, const char *what,
                      lt_error *err) {
    const lt_status st = lti_proto_check(proto, n);
    if (st == LT_ENOMEM) return lti_oom(err, n);
    if (st < 0)
        return lti_fail(err, LT_EFORMAT,
                        "%s: not a sentencepiece model, or a damaged one; expected the "
                        "spiece.model, tokenizer.json or GGUF file of the text encoder",
                        what);
    LT_TRY(lti_spm_open(proto, n, what, &t->spm, err));
    t->n_id = lti_spm_size(t->spm);
    hash_all(t, proto, n);
    return LT_OK;
}

/* Through the vocabulary v, which gives up its added tokens. */
static lt_status load_vocab(lti_tokenizer *t, lti_vocab *v, const char *what, lt_error *err) {
    lti_bytes proto;
    LT_TRY(lti_vocab_proto(v, what, &proto, err));
    t->added = v->added;
    t->n_added = v->n_added;
    t->prefix = v->prefix;
    v->added = NULL;
    v->n_added = 0;
    lt_status st = load(t, proto.v, proto.n, what, err);
    free(proto.v);
    return st;
}

static lt_status load_json(lti_tokenizer *t, const uint8_t *data, size_t n, const char *what,
                           lt_error *err) {
    lti_vocab v = {0};
    cJSON *doc;
    LT_TRY(lti_json_parse((const char *)data, n, what, &doc, err));
    lt_status st = lti_vocab_from_json(doc, what, &v, err);
    if (st == LT_OK) st = load_vocab(t, &v, what, err);
    lti_vocab_free(&v);
    cJSON_Delete(doc);
    lti_memory_trim(); /* 100 MB for umt5's */
    return st;
}

static lt_status load_gguf(lti_tokenizer *t, const uint8_t *data, size_t n, const char *what,
                           lt_error *err) {
    lti_vocab v = {0};
    lti_gguf_meta m = {0};
    lt_status st = lti_vocab_from_gguf(data, n, what, &m, &v, err);
    if (st == LT_OK) st = load_vocab(t, &v, what, err);
    lti_vocab_free(&v);
    lti_gguf_meta_free(&m);
    return st;
}

lt_status lti_tokenizer_parse(const void *bytes, size_t n, const char *what, lti_tokenizer **out,
                              lt_error *err) {
    const uint8_t *data = bytes;
    *out = NULL;
    lti_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return lti_oom(err, sizeof *t);
    size_t at = n >= 3 && !memcmp(data, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (at < n && memchr(" \t\r\n", data[at], 4)) at++;
    lt_status st;
    if (lti_gguf_is(data, n)) st = load_gguf(t, data, n, what, err);
    else if (n > LTI_TOKENIZER_MAX)
        st = lti_fail(err, LT_EFORMAT, "%s: %zu bytes, a tokenizer has at most %zu", what, n,
                      LTI_TOKENIZER_MAX);
    else if (at < n && data[at] == '{') st = load_json(t, data + at, n - at, what, err);
    else st = load(t, data, n, what, err);
    if (st != LT_OK) lti_tokenizer_close(&t);
    *out = t;
    return st;
}

/* Length of the header, then '{': only safetensors begins so. */
static bool is_safetensors(const lti_filemap *m) {
    uint64_t n = 0;
    for (int i = 7; i >= 0 && m->size > 8; i--) n = n << 8 | m->data[i];
    return m->size > 8 && m->data[8] == '{' && n >= 2 && n <= m->size - 8;
}

static lt_status open_safetensors(const char *path, lti_tokenizer **out, lt_error *err) {
    lti_weights *w;
    LT_TRY(lti_weights_open(path, LTI_PART_TEXT, &w, err));
    lt_status st = LT_OK;
    if (lti_tokenizer_inside(w)) st = lti_tokenizer_open_inside(w, out, err);
    else
        st = lti_fail(err, LT_EFORMAT,
                      "%s: has no tensor spiece_model of bytes; expected a tokenizer", path);
    lti_weights_close(&w);
    return st;
}

lt_status lti_tokenizer_open(const char *path, lti_tokenizer **out, lt_error *err) {
    lti_filemap m;
    *out = NULL;
    LT_TRY(lti_filemap_open(path, &m, err));
    lt_status st = is_safetensors(&m) ? open_safetensors(path, out, err)
                                      : lti_tokenizer_parse(m.data, m.size, path, out, err);
    lti_filemap_close(&m);
    return st;
}

static const lti_tensor *spiece_tensor(const lti_weights *w) {
    const lti_tensor *x = lti_weights_find(w, "spiece_model");
    return x && x->rank == 1 && x->data && lti_dtype_size(x->dtype) == 1 ? x : NULL;
}

/* A GGUF file with a tokenizer in it. Its metadata lies at the front: nothing else is read. */
static bool gguf_inside(const char *path) {
    lti_filemap m;
    lti_gguf_meta meta = {0};
    if (lti_filemap_open(path, &m, NULL) != LT_OK) return false;
    bool found = lti_gguf_is(m.data, m.size) &&
                 lti_gguf_meta_read(m.data, m.size, path, &meta, NULL) == LT_OK &&
                 lti_gguf_find(&meta, "tokenizer.ggml.tokens");
    lti_gguf_meta_free(&meta);
    lti_filemap_close(&m);
    return found;
}

bool lti_tokenizer_inside(const lti_weights *w) {
    return spiece_tensor(w) || gguf_inside(lti_weights_path(w));
}

lt_status lti_tokenizer_open_inside(const lti_weights *w, lti_tokenizer **out, lt_error *err) {
    const lti_tensor *x = spiece_tensor(w);
    if (!x) return lti_tokenizer_open(lti_weights_path(w), out, err);
    return lti_tokenizer_parse(x->data, lti_nbytes(x), lti_weights_path(w), out, err);
}

void lti_tokenizer_close(lti_tokenizer **pt) {
    lti_tokenizer *t = *pt;
    *pt = NULL;
    if (!t) return;
    for (int i = 0; i < t->n_added; i++) free(t->added[i].text);
    free(t->added);
    lti_spm_close(&t->spm);
    free(t);
}

int lti_tokenizer_size(const lti_tokenizer *t) { return t->n_id; }
int lti_tokenizer_eos(const lti_tokenizer *t) { return lti_spm_eos(t->spm); }
const uint8_t *lti_tokenizer_hash(const lti_tokenizer *t) { return t->hash; }

/* -- encode ------------------------------------------------------------------------------ */

typedef struct id_list {
    int32_t *v;
    size_t n, cap;
} id_list;

static lt_status append(id_list *l, const int32_t *ids, size_t n, lt_error *err) {
    if (n > l->cap - l->n) {
        size_t cap = 2 * (l->n + n);
        int32_t *v = realloc(l->v, cap * sizeof *v);
        if (!v) return lti_oom(err, cap * sizeof *v);
        l->v = v;
        l->cap = cap;
    }
    if (n) memcpy(l->v + l->n, ids, n * sizeof *ids);
    l->n += n;
    return LT_OK;
}

/* text[0..n) without added tokens. first: it is the beginning of the prompt. */
static lt_status section(const lti_tokenizer *t, const char *text, size_t n, bool first,
                         id_list *out, lt_error *err) {
    static const char word[] = "\u2581"; /* a leading space, as sentencepiece writes it */
    if (n == 0) return LT_OK;
    bool mark = first && t->prefix == LTI_PREFIX_FIRST && text[0] != ' ';
    size_t at = mark ? sizeof word - 1 : 0;
    char *s = malloc(at + n + 1);
    if (!s) return lti_oom(err, at + n + 1);
    memcpy(s, word, at);
    memcpy(s + at, text, n);
    s[at + n] = '\0';
    int32_t *ids;
    int n_id;
    lt_status st = lti_spm_encode(t->spm, s, &ids, &n_id, err);
    free(s);
    LT_TRY(st);
    st = append(out, ids, (size_t)n_id, err);
    free(ids);
    return st;
}

/* The longest added token that stands at s; NULL: none. */
static const lti_added *added_at(const lti_tokenizer *t, const char *s, size_t n) {
    const lti_added *best = NULL;
    for (int i = 0; i < t->n_added; i++) {
        const lti_added *a = &t->added[i];
        if (a->text[0] == *s && a->n <= n && (!best || a->n > best->n) && !memcmp(a->text, s, a->n))
            best = a;
    }
    return best;
}

lt_status lti_tokenizer_encode(const lti_tokenizer *t, const char *text, int32_t **ids, int *n,
                               lt_error *err) {
    id_list out = {0};
    const size_t len = strlen(text);
    size_t from = 0; /* of the section */
    lt_status st = LT_OK;
    *ids = NULL;
    *n = 0;
    for (size_t i = 0; i <= len && st == LT_OK;) {
        const lti_added *a = i < len ? added_at(t, text + i, len - i) : NULL;
        if (!a && i < len) {
            i++;
            continue;
        }
        size_t end = i;
        while (a && a->lstrip && end > from && text[end - 1] == ' ') end--;
        st = section(t, text + from, end - from, from == 0, &out, err);
        if (!a) break;
        if (st == LT_OK) st = append(&out, &a->id, 1, err);
        i += a->n;
        while (a->rstrip && text[i] == ' ') i++;
        from = i;
    }
    if (st != LT_OK) {
        free(out.v);
        return st;
    }
    *ids = out.v;
    *n = (int)out.n;
    return LT_OK;
}

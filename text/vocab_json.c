/* SPDX-License-Identifier: Apache-2.0
 * text/vocab_json.c - a Hugging Face tokenizer.json with a Unigram model.
 *
 *   model         { type Unigram, unk_id, vocab [[piece, score]...], byte_fallback }
 *   normalizer    Precompiled { precompiled_charsmap, base64 }, maybe in a Sequence with others
 *   pre_tokenizer Metaspace { replacement U+2581, prepend_scheme or the older add_prefix_space }
 *   added_tokens  cut out of the text before all else: <extra_id_0>, and </s>, <pad>, ... as well
 * Reference: tokenizers (Rust) models/unigram, normalizers/precompiled, pre_tokenizers/metaspace.
 *
 * Pitfall: without byte_fallback the pieces <0x00> to <0xFF> are plain pieces like any other. */
#include "base/error.h"
#include "base/json.h"
#include "text/vocab.h"
#include <stdlib.h>
#include <string.h>

static const char *kind(const cJSON *o) { return lti_json_str(o, "type", "nothing"); }

static lt_status unsupported(const char *what, const char *part, const cJSON *o, lt_error *err) {
    return lti_fail(err, LT_EFORMAT,
                    "%s: %s is %.40s, which is not supported; expected the tokenizer of UMT5, or "
                    "give its spiece.model with --tokenizer",
                    what, part, kind(o));
}

/* Bytes of base64; *out is malloced. False: it is none, or no memory. */
static bool base64(const char *s, uint8_t **out, size_t *n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = strlen(s), at = 0;
    uint32_t acc = 0;
    int bits = 0;
    while (len > 0 && s[len - 1] == '=') len--;
    *out = malloc(len / 4 * 3 + 3);
    for (size_t i = 0; *out && i < len; i++) {
        const char *d = strchr(digits, s[i]);
        if (!d) {
            free(*out);
            *out = NULL;
            break;
        }
        acc = acc << 6 | (uint32_t)(d - digits);
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        (*out)[at++] = (uint8_t)(acc >> bits);
    }
    *n = at;
    return *out != NULL;
}

/* Prompts come cleaned (NFC, single spaces), so what only trims or composes has nothing to do. */
static lt_status normalizer(const cJSON *o, const char *what, lti_vocab *v, lt_error *err) {
    static const char *const idle[] = {"Strip", "NFC"};
    if (!o || cJSON_IsNull(o)) return LT_OK;
    if (!strcmp(kind(o), "Sequence")) {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "normalizers"), *e;
        cJSON_ArrayForEach(e, list) {
            if (!strcmp(kind(e), "Sequence")) return unsupported(what, "normalizer", e, err);
            LT_TRY(normalizer(e, what, v, err));
        }
        return LT_OK;
    }
    for (int i = 0; i < 2; i++)
        if (!strcmp(kind(o), idle[i])) return LT_OK;
    if (!strcmp(kind(o), "Replace")) {
        const cJSON *p = cJSON_GetObjectItemCaseSensitive(o, "pattern");
        if (!strcmp(lti_json_str(p, "Regex", ""), " {2,}")) return LT_OK;
    }
    if (strcmp(kind(o), "Precompiled") != 0 || v->charsmap)
        return unsupported(what, "normalizer", o, err);
    const char *map = lti_json_str(o, "precompiled_charsmap", "");
    if (!base64(map, &v->charsmap, &v->charsmap_n))
        return lti_fail(err, LT_EFORMAT, "%s: precompiled_charsmap is not base64", what);
    return LT_OK;
}

static lt_status pre_tokenizer(const cJSON *o, const char *what, lti_vocab *v, lt_error *err) {
    static const char *const schemes[] = {"always", "first", "never"}; /* as lti_prefix */
    int scheme = lti_json_str(o, "prepend_scheme", NULL)                                  ? 0
                 : cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(o, "add_prefix_space")) ? 2
                                                                                          : 0;
    if (!strcmp(kind(o), "Sequence")) { /* WhitespaceSplit before it: prompts have single spaces */
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "pretokenizers");
        if (cJSON_GetArraySize(list) != 2 || strcmp(kind(list->child), "WhitespaceSplit") ||
            strcmp(kind(list->child->next), "Metaspace"))
            return unsupported(what, "pre_tokenizer", o, err);
        return pre_tokenizer(list->child->next, what, v, err);
    }
    if (strcmp(kind(o), "Metaspace") != 0 || strcmp(lti_json_str(o, "replacement", ""), "\u2581"))
        return unsupported(what, "pre_tokenizer", o, err);
    LT_TRY(lti_json_read_word(o, what, "prepend_scheme", schemes, 3, &scheme, err));
    v->prefix = (lti_prefix)scheme;
    return LT_OK;
}

/* model.vocab into pieces. */
static lt_status pieces(const cJSON *model, const char *what, lti_vocab *v, lt_error *err) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(model, "vocab"), *e;
    const int n = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    int unk = -1;
    if (n < 1 || n > LTI_VOCAB_MAX)
        return lti_fail(err, LT_EFORMAT, "%s: %d pieces in the vocabulary, expected 1 to %d", what,
                        n, LTI_VOCAB_MAX);
    LT_TRY(lti_vocab_alloc(v, (size_t)n, err));
    lti_piece *p = v->piece;
    cJSON_ArrayForEach(e, list) {
        const cJSON *s = cJSON_IsArray(e) ? e->child : NULL;
        if (!cJSON_IsString(s) || !cJSON_IsNumber(s->next) || s->next->next)
            return lti_fail(err, LT_EFORMAT,
                            "%s: entry %td of the vocabulary is no pair of a string and a number",
                            what, p - v->piece);
        if (*s->valuestring) /* an empty piece stands nowhere in a text: a hole, as in tokenizers */
            *p = (lti_piece){s->valuestring, strlen(s->valuestring), (float)s->next->valuedouble,
                             LTI_PIECE_NORMAL};
        p++;
    }
    LT_TRY(lti_json_read_int(model, what, "unk_id", 0, n - 1, &unk, err));
    if (unk < 0)
        return lti_fail(err, LT_EFORMAT, "%s: model has no unk_id, expected a number", what);
    v->piece[unk].type = LTI_PIECE_UNKNOWN;
    return LT_OK;
}

static bool is_byte(const lti_piece *p) {
    static const char hex[] = "0123456789ABCDEF";
    return p->p && p->n == 6 && !memcmp(p->p, "<0x", 3) && memchr(hex, p->p[3], 16) &&
           memchr(hex, p->p[4], 16) && p->p[5] == '>';
}

static lt_status added(const cJSON *doc, const char *what, lti_vocab *v, lt_error *err) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(doc, "added_tokens"), *e;
    if (cJSON_GetArraySize(list) > LTI_ADDED_MAX)
        return lti_fail(err, LT_EFORMAT, "%s: %d added tokens, at most %d expected", what,
                        cJSON_GetArraySize(list), LTI_ADDED_MAX);
    cJSON_ArrayForEach(e, list) {
        const char *s = lti_json_str(e, "content", "");
        const int id = lti_json_int(e, "id", -1);
        const size_t n = strlen(s);
        if (n < 1 || n > LTI_PIECE_MAX || id < 0 || id >= LTI_VOCAB_MAX)
            return lti_fail(err, LT_EFORMAT, "%s: added token '%.40s' has id %d, expected 0 to %d",
                            what, s, id, LTI_VOCAB_MAX - 1);
        if ((size_t)id >= v->n) LT_TRY(lti_vocab_alloc(v, (size_t)id + 1, err));
        lti_piece *p = &v->piece[id];
        if (p->p && (p->n != n || memcmp(p->p, s, n) != 0))
            return lti_fail(err, LT_EFORMAT, "%s: added token '%.40s' has the id %d of '%.*s'",
                            what, s, id, (int)(p->n < 40 ? p->n : 40), p->p);
        if (p->type != LTI_PIECE_UNKNOWN)
            *p = (lti_piece){s, n, p->p ? p->score : 0, LTI_PIECE_CONTROL};
        LT_TRY(lti_vocab_add(v, s, n, id, cJSON_IsTrue(cJSON_GetObjectItem(e, "lstrip")),
                             cJSON_IsTrue(cJSON_GetObjectItem(e, "rstrip")), err));
    }
    return LT_OK;
}

lt_status lti_vocab_from_json(const cJSON *doc, const char *what, lti_vocab *v, lt_error *err) {
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(doc, "model");
    v->remove_extra_spaces = true;
    v->eos = "</s>";
    v->eos_n = 4;
    if (strcmp(kind(model), "Unigram") != 0) return unsupported(what, "model", model, err);
    LT_TRY(normalizer(cJSON_GetObjectItemCaseSensitive(doc, "normalizer"), what, v, err));
    LT_TRY(pre_tokenizer(cJSON_GetObjectItemCaseSensitive(doc, "pre_tokenizer"), what, v, err));
    LT_TRY(pieces(model, what, v, err));
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(model, "byte_fallback")))
        for (size_t i = 0; i < v->n; i++)
            if (is_byte(&v->piece[i])) v->piece[i].type = LTI_PIECE_BYTE;
    return added(doc, what, v, err);
}

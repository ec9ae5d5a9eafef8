/* SPDX-License-Identifier: Apache-2.0
 * text/vocab.c - a vocabulary as a sentencepiece ModelProto, in memory.
 *
 *   ModelProto      pieces 1 { piece 1, score 2, type 3 }, trainer_spec 2, normalizer_spec 3
 *   trainer_spec    model_type 3 = unigram, byte_fallback 35, unk_id 40, eos_id 42, eos_piece 47
 *   normalizer_spec name 1, precompiled_charsmap 2, add_dummy_prefix 3,
 *                   remove_extra_whitespaces 4, escape_whitespaces 5
 * Reference: sentencepiece_model.proto; the wire format of protocol buffers.
 *
 * Pitfall: a hole in the numbering still needs a piece of its own name, and sentencepiece refuses
 * two pieces of one name, byte pieces without byte_fallback, and fewer than all 256 with it. */
#include "text/vocab.h"
#include "base/error.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VARINT = 0, LENGTH = 2, FIXED32 = 5 };

static void put_bytes(lti_bytes *b, const void *p, size_t n) {
    if (b->oom || n == 0) return;
    if (n > b->cap - b->n) {
        size_t cap = 2 * b->cap > b->n + n ? 2 * b->cap : b->n + n + 256;
        uint8_t *v = realloc(b->v, cap);
        if (!v) {
            b->oom = true;
            return;
        }
        b->v = v;
        b->cap = cap;
    }
    memcpy(b->v + b->n, p, n);
    b->n += n;
}

static void put_varint(lti_bytes *b, uint64_t v) {
    uint8_t c[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) c[n++] = (uint8_t)(v | 0x80);
    c[n++] = (uint8_t)v;
    put_bytes(b, c, n);
}
static void put_int(lti_bytes *b, unsigned field, uint64_t v) {
    put_varint(b, field << 3 | VARINT);
    put_varint(b, v);
}
static void put_string(lti_bytes *b, unsigned field, const void *p, size_t n) {
    put_varint(b, field << 3 | LENGTH);
    put_varint(b, n);
    put_bytes(b, p, n);
}
static void put_message(lti_bytes *b, unsigned field, lti_bytes *inner) {
    put_string(b, field, inner->v, inner->n);
    b->oom |= inner->oom;
    inner->n = 0;
}

static void put_piece(lti_bytes *b, lti_bytes *scratch, const lti_piece *p, size_t id) {
    char hole[32];
    lti_piece at = *p;
    if (!at.p) {
        at.n = (size_t)snprintf(hole, sizeof hole, "<unused id %zu>", id);
        at.p = hole;
        at.type = LTI_PIECE_UNUSED;
    }
    uint32_t bits;
    memcpy(&bits, &at.score, sizeof bits);
    const uint8_t le[4] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                           (uint8_t)(bits >> 24)};
    put_string(scratch, 1, at.p, at.n);
    put_varint(scratch, 2 << 3 | FIXED32);
    put_bytes(scratch, le, sizeof le);
    put_int(scratch, 3, (uint64_t)at.type);
    put_message(b, 1, scratch);
}

/* What sentencepiece would choke on without saying where. */
static lt_status check(const lti_vocab *v, const char *what, int *n_byte, size_t *unk,
                       lt_error *err) {
    int n_unk = 0;
    *n_byte = 0;
    for (size_t i = 0; i < v->n; i++) {
        const lti_piece *p = &v->piece[i];
        if (!p->p) continue;
        if (p->n < 1 || p->n > LTI_PIECE_MAX || memchr(p->p, 0, p->n) || !isfinite(p->score) ||
            p->type < LTI_PIECE_NORMAL || p->type > LTI_PIECE_BYTE)
            return lti_fail(err, LT_EFORMAT,
                            "%s: token %zu (%zu bytes, score %g, type %d) cannot be; expected 1 to "
                            "%d bytes, a finite score and type 1 to 6",
                            what, i, p->n, (double)p->score, (int)p->type, LTI_PIECE_MAX);
        *n_byte += p->type == LTI_PIECE_BYTE;
        n_unk += p->type == LTI_PIECE_UNKNOWN;
        if (p->type == LTI_PIECE_UNKNOWN) *unk = i;
    }
    if (n_unk != 1)
        return lti_fail(err, LT_EFORMAT, "%s: %d unknown tokens, expected one", what, n_unk);
    if (*n_byte != 0 && *n_byte != 256)
        return lti_fail(err, LT_EFORMAT, "%s: %d byte tokens, expected none or 256", what, *n_byte);
    const lt_status st = lti_charsmap_check(v->charsmap, v->charsmap_n);
    if (st == LT_ENOMEM) return lti_oom(err, v->charsmap_n);
    if (st < 0)
        return lti_fail(err, LT_EFORMAT,
                        "%s: precompiled_charsmap is damaged (%zu bytes); download the file again",
                        what, v->charsmap_n);
    return LT_OK;
}

lt_status lti_vocab_proto(const lti_vocab *v, const char *what, lti_bytes *out, lt_error *err) {
    lti_bytes b = {0}, inner = {0};
    int n_byte;
    size_t unk = 0;
    *out = b;
    LT_TRY(check(v, what, &n_byte, &unk, err));
    for (size_t i = 0; i < v->n; i++) put_piece(&b, &inner, &v->piece[i], i);
    put_int(&inner, 3, 1);
    put_int(&inner, 35, n_byte > 0);
    put_int(&inner, 40, unk);
    put_string(&inner, 47, v->eos, v->eos_n);
    put_message(&b, 2, &inner);
    put_string(&inner, 1, "file", 4);
    put_string(&inner, 2, v->charsmap, v->charsmap_n);
    put_int(&inner, 3, v->prefix == LTI_PREFIX_ALWAYS);
    put_int(&inner, 4, v->remove_extra_spaces);
    put_int(&inner, 5, 1);
    put_message(&b, 3, &inner);
    free(inner.v);
    if (b.oom) {
        free(b.v);
        return lti_oom(err, b.cap * 2);
    }
    *out = b;
    return LT_OK;
}

lt_status lti_vocab_alloc(lti_vocab *v, size_t n, lt_error *err) {
    lti_piece *p = realloc(v->piece, n * sizeof *p);
    if (!p) return lti_oom(err, n * sizeof *p);
    if (n > v->n) memset(p + v->n, 0, (n - v->n) * sizeof *p);
    v->piece = p;
    v->n = n;
    return LT_OK;
}

lt_status lti_vocab_add(lti_vocab *v, const char *text, size_t n, int32_t id, bool lstrip,
                        bool rstrip, lt_error *err) {
    lti_added *list = realloc(v->added, ((size_t)v->n_added + 1) * sizeof *list);
    if (!list) return lti_oom(err, ((size_t)v->n_added + 1) * sizeof *list);
    v->added = list;
    char *copy = malloc(n + 1);
    if (!copy) return lti_oom(err, n + 1);
    memcpy(copy, text, n);
    copy[n] = '\0';
    list[v->n_added++] = (lti_added){copy, n, id, lstrip, rstrip};
    return LT_OK;
}

void lti_vocab_free(lti_vocab *v) {
    for (int i = 0; i < v->n_added; i++) free(v->added[i].text);
    free(v->added);
    free(v->piece);
    free(v->charsmap);
    *v = (lti_vocab){0};
}

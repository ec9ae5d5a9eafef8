/* SPDX-License-Identifier: Apache-2.0
 * text/charsmap.c - is a sentencepiece model safe to load?
 *
 * A model carries its normalization rules as a double-array trie of u32 units, followed by the
 * replacement strings. sentencepiece walks it as it comes: a hostile one reads outside the array,
 * or finds more nested matches than its buffer of 32 has room for. So every step that a walk can
 * take is checked here first.
 *   unit: bit 31 a value; else bits 0..7 label, bit 8 has a value, bits 10.. offset (bit 9: << 8)
 * Reference: sentencepiece src/normalizer.cc, sentencepiece_model.proto; darts-clone. */
#include "text/vocab.h"
#include "base/error.h"
#include <stdlib.h>
#include <string.h>

#define NESTED_MAX 32 /* matches of one key that sentencepiece has room for */
#define DEPTH_MAX 256 /* bytes of one key */

typedef struct trie {
    const uint8_t *unit;
    size_t n, n_text;
    uint8_t *nested; /* [n]: values at and below a node, 0 not yet seen, 255 being looked at */
} trie;

enum { BUSY = 255 };

static uint32_t load32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static uint32_t unit(const trie *t, size_t i) { return load32(t->unit + 4 * i); }
static size_t children(uint32_t u, size_t i) { return i ^ ((u >> 10) << ((u & 0x200) >> 6)); }

/* 1 + the most values on a way down from node i; 0: not safe. */
static int nested(trie *t, size_t i, int depth) {
    if (t->nested[i]) return t->nested[i] == BUSY ? 0 : t->nested[i];
    const uint32_t u = unit(t, i);
    const size_t base = children(u, i);
    if (u >> 31 || depth == DEPTH_MAX || (base | 255) >= t->n) return 0;
    t->nested[i] = BUSY;
    int most = 1;
    for (unsigned c = 1; c < 256; c++) {
        const size_t child = base ^ c;
        if ((unit(t, child) & 0x800000ffu) != c) continue;
        int below = nested(t, child, depth + 1);
        if (!below) return 0;
        if (below > most) most = below;
    }
    if (u & 0x100) {
        if ((unit(t, base) & 0x7fffffffu) >= t->n_text) return 0;
        most++;
    }
    if (most > NESTED_MAX) return 0;
    t->nested[i] = (uint8_t)most;
    return most;
}

lt_status lti_charsmap_check(const uint8_t *data, size_t n) {
    if (n == 0) return LT_OK; /* no rules */
    const size_t size = n > 4 ? load32(data) : 0;
    if (size < 1024 || size % 1024 || size >= n - 4 || data[n - 1] != 0) return LT_EFORMAT;
    trie t = {data + 4, size / 4, n - 4 - size, calloc(size / 4, 1)};
    if (!t.nested) return LT_ENOMEM;
    const bool safe = nested(&t, 0, 0) > 0;
    free(t.nested);
    return safe ? LT_OK : LT_EFORMAT;
}

/* -- protobuf ---------------------------------------------------------------------------- */

static bool varint(const uint8_t **p, const uint8_t *end, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 64 && *p < end; shift += 7) {
        uint8_t c = *(*p)++;
        *out |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) return true;
    }
    return false;
}

/* Next field: number, and its bytes when it is of the length-delimited kind (else NULL). */
static bool next_field(const uint8_t **p, const uint8_t *end, uint64_t *number,
                       const uint8_t **bytes, size_t *n) {
    uint64_t tag, v;
    *bytes = NULL;
    *n = 0;
    if (!varint(p, end, &tag)) return false;
    *number = tag >> 3;
    switch (tag & 7) {
    case 0:
        return varint(p, end, &v);
    case 1:
        v = 8;
        break;
    case 2:
        if (!varint(p, end, &v)) return false;
        *bytes = *p;
        break;
    case 5:
        v = 4;
        break;
    default:
        return false; /* groups: sentencepiece has none */
    }
    if (v > (uint64_t)(end - *p)) return false;
    *p += v;
    *n = (size_t)v;
    return true;
}

static lt_status check_spec(const uint8_t *p, size_t n) {
    enum { CHARSMAP = 2 };
    const uint8_t *end = p + n, *bytes;
    uint64_t number;
    for (size_t len; p < end;) {
        if (!next_field(&p, end, &number, &bytes, &len)) return LT_EFORMAT;
        if (number == CHARSMAP && bytes) LT_TRY(lti_charsmap_check(bytes, len));
    }
    return LT_OK;
}

lt_status lti_proto_check(const uint8_t *p, size_t n) {
    enum { NORMALIZER = 3, DENORMALIZER = 5 };
    const uint8_t *end = p + n, *bytes;
    uint64_t number;
    for (size_t len; p < end;) {
        if (!next_field(&p, end, &number, &bytes, &len)) return LT_EFORMAT;
        if ((number == NORMALIZER || number == DENORMALIZER) && bytes)
            LT_TRY(check_spec(bytes, len));
    }
    return LT_OK;
}

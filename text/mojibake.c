/* SPDX-License-Identifier: Apache-2.0
 * text/mojibake.c - repair UTF-8 that somebody read in a single-byte encoding.
 *
 * One step, while the text looks bad (badness.c):
 *   for each of ten encodings that has all the characters: back to bytes; put back no-break spaces
 *   that became spaces, mark what was lost; if the bytes are UTF-8, that is the text
 *   else repair the stretches that look like such bytes, each by itself
 *   else read C1 controls as Windows-1252
 * until nothing changes. Reference: ftfy 6, ftfy.fix_encoding with its defaults.
 *
 * Pitfall: steps can be as many as characters. `work` counts the characters looked at; a text that
 * uses it up (no prompt does) stays as it is by then. */
#include "text/mojibake.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define DEPTH_MAX 16 /* stretches inside stretches */

typedef struct bytes {
    uint8_t *v;
    size_t n;
} bytes;

static void swap(lti_cps *a, lti_cps *b) {
    lti_cps t = *a;
    *a = *b;
    *b = t;
}

static int compare_char(const void *key, const void *row) {
    uint32_t c = *(const uint32_t *)key, at = *(const uint32_t *)row >> 8;
    return c < at ? -1 : c > at;
}

/* Bytes of the text in a page; false when a character is not in it. b->v holds in->n. */
static bool encode(const lti_cps *in, int page, bytes *b) {
    b->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        uint32_t c = in->v[i];
        if (c < 0x80 && c != 0x1a) {
            b->v[b->n++] = (uint8_t)c;
            continue;
        }
        const uint32_t *row = bsearch(&c, lti_mojibake_page[page], LTI_PAGE_CHARS,
                                      sizeof **lti_mojibake_page, compare_char);
        if (!row) return false;
        b->v[b->n++] = (uint8_t)(*row & 0xff);
    }
    return true;
}

/* -- bytes to bytes ---------------------------------------------------------------------- */

static bool in(uint8_t c, int lo, int hi) { return c >= lo && c <= hi; }

/* A continuation byte of a sequence that may have lost its no-break space; 0x85 is too often a
 * real ellipsis. */
static bool near_space(uint8_t c) { return in(c, 0x80, 0xbf) && c != 0x85 && c != 0xa0; }

/* Length of a UTF-8 sequence at s of which one byte 0xa0 became a space; 0 if there is none. */
static size_t spaced(const uint8_t *s, size_t n) {
    if (n >= 2 && s[1] == ' ' && memchr("\xc2\xc3\xc5\xce\xd0\xd9", s[0], 6)) return 2;
    if (n >= 3 && in(s[0], 0xe2, 0xe3) && s[1] == ' ' && near_space(s[2])) return 3;
    if (n >= 3 && in(s[0], 0xe0, 0xe3) && near_space(s[1]) && s[2] == ' ') return 3;
    if (n < 4 || s[0] != 0xf0) return 0;
    int spaces = 0, next = 0;
    for (int i = 1; i < 4; i++) {
        spaces += s[i] == ' ';
        next += in(s[i], 0x80, 0xbf);
    }
    return spaces == 1 && next == 2 ? 4 : 0;
}

/* "Ã la mode" is "à la mode": this space is one. Not so in Portuguese "às", "àquele". */
static bool keeps_space(const uint8_t *s, size_t n) {
    static const char *const joined[] = {" ", "quele", "quela", "quilo", "s "};
    if (n < 2 || s[0] != 0xc3 || s[1] != ' ') return false;
    for (int i = 0; i < 5; i++) {
        size_t len = strlen(joined[i]);
        if (n - 2 >= len && !memcmp(s + 2, joined[i], len)) return false;
    }
    return true;
}

/* Spaces that were no-break spaces inside UTF-8. out->v holds 2 * in->n. */
static void restore_spaces(const bytes *b, bytes *out) {
    out->n = 0;
    for (size_t i = 0; i < b->n;) {
        const uint8_t *s = b->v + i;
        size_t len = spaced(s, b->n - i);
        for (size_t k = 0; k < len; k++) out->v[out->n++] = s[k] == ' ' ? 0xa0 : s[k];
        if (keeps_space(s, b->n - i)) out->v[out->n++] = ' ';
        if (!len) out->v[out->n++] = *s;
        i += len ? len : 1;
    }
}

/* What is left of a lost continuation byte. */
static bool lost(uint8_t c) { return c == 0x1a || c == '?'; }
static bool next_or_lost(uint8_t c) { return c == 0x1a || in(c, 0x80, 0xbf); }
static bool low_half(uint8_t c) { return lost(c) || in(c, 0x80, 0xbf); }

/* Length of a UTF-8 sequence at s that has lost bytes, among them at most one '?'; 0 if none. */
static size_t lossy(const uint8_t *s, size_t n) {
    if (n >= 2 && in(s[0], 0xc2, 0xdf) && (s[1] == 0x1a || (s[0] <= 0xc3 && s[1] == '?'))) return 2;
    if (n >= 6 && s[0] == 0xed && in(s[1], 0xa0, 0xaf) && s[3] == 0xed && in(s[4], 0xb0, 0xbf) &&
        ((lost(s[2]) && low_half(s[5])) || (low_half(s[2]) && lost(s[5]))))
        return 6; /* a character as two surrogates */
    size_t len = in(s[0], 0xe0, 0xef) ? 3 : in(s[0], 0xf0, 0xf4) ? 4 : 0;
    if (len && n >= len) {
        size_t good = 0, gone = 0, asked = 0;
        for (size_t i = 1; i < len; i++) {
            good += next_or_lost(s[i]);
            gone += s[i] == 0x1a;
            asked += s[i] == '?';
        }
        if (good + asked == len - 1 && asked <= 1 && gone + asked > 0) return len;
    }
    return s[0] == 0x1a;
}

/* Sequences with lost bytes to U+FFFD. out->v holds 3 * in->n. */
static void mark_lost(const bytes *b, bytes *out) {
    out->n = 0;
    for (size_t i = 0; i < b->n;) {
        size_t len = lossy(b->v + i, b->n - i);
        if (len) {
            memcpy(out->v + out->n, "\xef\xbf\xbd", 3);
            out->n += 3;
        } else out->v[out->n++] = b->v[i];
        i += len ? len : 1;
    }
}

/* -- bytes to text ----------------------------------------------------------------------- */

/* Two three-byte surrogates at s as one character (CESU-8), 0 if they are none. */
static uint32_t surrogates(const uint8_t *s, size_t n) {
    if (n < 6 || s[0] != 0xed || s[3] != 0xed || !in(s[1], 0xa0, 0xaf) || !in(s[4], 0xb0, 0xbf) ||
        !in(s[2], 0x80, 0xbf) || !in(s[5], 0x80, 0xbf))
        return 0;
    return 0x10000 + ((s[1] & 0xfu) << 16) + ((s[2] & 0x3fu) << 10) + ((s[4] & 0xfu) << 6) +
           (s[5] & 0x3fu);
}

/* UTF-8, also with surrogates and the two-byte NUL of Java; false when it is none. */
static bool decode(const bytes *b, lti_cps *out) {
    out->n = 0;
    for (size_t i = 0; i < b->n;) {
        const uint8_t *s = b->v + i;
        utf8proc_int32_t c = (utf8proc_int32_t)surrogates(s, b->n - i);
        utf8proc_ssize_t used = 6;
        if (!c && b->n - i >= 2 && s[0] == 0xc0 && s[1] == 0x80) used = 2;
        else if (!c) used = utf8proc_iterate(s, (utf8proc_ssize_t)(b->n - i), &c);
        if (used < 1) return false;
        lti_cps_push(out, (uint32_t)c);
        i += (size_t)used;
    }
    return true;
}

/* The whole text, by the first encoding that works. */
static bool decode_whole(const lti_cps *text, lti_cps *out) {
    uint8_t *slab = malloc(10 * text->n + 1);
    if (!slab) {
        out->oom = 1;
        return false;
    }
    bool done = false;
    for (int page = 0; page < LTI_PAGES && !done; page++) {
        bytes b = {slab, 0}, spaces = {slab + text->n, 0}, marked = {slab + 3 * text->n, 0};
        if (!encode(text, page, &b)) continue;
        if (page != LTI_PAGE_MAC) restore_spaces(&b, &spaces);
        else spaces = b;
        if (page >= 1 && page <= 6) mark_lost(&spaces, &marked);
        else marked = spaces;
        done = decode(&marked, out);
    }
    free(slab);
    return done;
}

/* -- stretches --------------------------------------------------------------------------- */

static bool fix(lti_cps *text, size_t *work, int depth);

/* Characters at s that look like the bytes of one UTF-8 sequence, 0 if they do not. */
static size_t sequence(const uint32_t *s, size_t n) {
    uint32_t m = lti_mojibake_class_of(s[0]);
    size_t len = m & LTI_FIRST2 ? 2 : m & LTI_FIRST3 ? 3 : m & LTI_FIRST4 ? 4 : 0;
    if (len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if (!(lti_mojibake_class_of(s[i]) & LTI_NEXT)) return 0;
    return len;
}

/* Repair each stretch of such sequences that looks bad by itself. False: there is none. */
static bool decode_stretches(const lti_cps *text, lti_cps *out, size_t *work, int depth) {
    bool found = false;
    out->n = 0;
    for (size_t i = 0; i < text->n;) {
        size_t len = 0;
        bool fresh = i == 0 || !(lti_mojibake_class_of(text->v[i - 1]) & LTI_NEXT_STRICT);
        for (size_t more = fresh; more && i + len < text->n; len += more)
            more = sequence(text->v + i + len, text->n - i - len);
        if (len && len < text->n && lti_looks_bad(text->v + i, len)) {
            lti_cps part = {0};
            for (size_t k = 0; k < len; k++) lti_cps_push(&part, text->v[i + k]);
            found |= fix(&part, work, depth + 1);
            for (size_t k = 0; k < part.n; k++) lti_cps_push(out, part.v[k]);
            out->oom |= part.oom;
            free(part.v);
        } else
            for (size_t k = 0; k < (len ? len : 1); k++) lti_cps_push(out, text->v[i + k]);
        i += len ? len : 1;
    }
    return found;
}

/* -- steps ------------------------------------------------------------------------------- */

static bool ascii(const lti_cps *t) {
    for (size_t i = 0; i < t->n; i++)
        if (t->v[i] >= 0x80) return false;
    return true;
}

static bool same(const lti_cps *a, const lti_cps *b) {
    return a->n == b->n && (a->n == 0 || !memcmp(a->v, b->v, a->n * sizeof *a->v));
}

/* One step from text to out; false: there is nothing to do. */
static bool step(const lti_cps *text, lti_cps *out, size_t *work, int depth) {
    if (ascii(text) || *work < text->n) return false;
    *work -= text->n;
    if (!lti_looks_bad(text->v, text->n)) return false;
    if (decode_whole(text, out)) return !same(text, out);
    if (depth < DEPTH_MAX && decode_stretches(text, out, work, depth) && !same(text, out))
        return true;
    out->n = 0;
    for (size_t i = 0; i < text->n; i++) lti_cps_push(out, lti_cp1252(text->v[i]));
    return !same(text, out);
}

static bool fix(lti_cps *text, size_t *work, int depth) {
    lti_cps next = {0};
    bool changed = false;
    while (!text->oom && step(text, &next, work, depth)) {
        swap(text, &next);
        changed = true;
    }
    text->oom |= next.oom;
    free(next.v);
    return changed;
}

bool lti_fix_encoding(lti_cps *text, size_t *work) { return fix(text, work, 0); }

/* SPDX-License-Identifier: Apache-2.0
 * text/badness.c - does a text look as if it was decoded wrongly?
 *
 * Each rule is a short sequence of character classes that people hardly ever write, but that UTF-8
 * read in a single-byte encoding is full of: an accented letter before a currency sign, a capital
 * A-circumflex before a copyright sign. One hit is enough.
 * Reference: the heuristic of ftfy 6 (ftfy.badness), which the fixtures of test_clean.c hold it to.
 *
 * Pitfall: the classes overlap, and their order means nothing. */
#include "text/mojibake.h"
#include <string.h>
#include <utf8proc.h>

#define LETTERS (LTI_LOWER | LTI_UPPER)
#define SIGNS (LTI_CURRENCY | LTI_NUMERIC)
#define QUOTES (LTI_START | LTI_END)
#define ARABIC (LTI_COMMON | LTI_BAD | LTI_START | SIGNS)
#define ARABIC_MORE "ŸŠ®°µ»"
#define LATIN (LTI_A_TO_Z | LTI_CAPITAL)

#define RULE_MAX 5

/* A place of a rule: any of the classes, or any of the characters. Both empty: the rule ends. */
typedef struct place {
    uint32_t mask;
    const char *chars;
} place;
typedef struct rule {
    place at[RULE_MAX];
} rule;

/* clang-format off */
static const rule rules[] = {
    {{{LTI_C1, 0}}},
    {{{LTI_BAD | LETTERS | LTI_BOX | QUOTES | SIGNS | LTI_LAW, 0}, {LTI_BAD, 0}}},
    {{{LTI_BAD, 0}, {LETTERS | LTI_BOX | QUOTES | SIGNS | LTI_LAW, 0}}},
    {{{LATIN, 0}, {LTI_LOWER_COMMON | LTI_UPPER_COMMON, 0}, {LTI_BAD, 0}}},
    {{{LTI_LOWER | LTI_LOWER_COMMON | LTI_BOX | LTI_END | SIGNS, 0}, {LTI_UPPER, 0}}},
    {{{LTI_BOX | LTI_END | SIGNS, 0}, {LTI_LOWER, 0}}},
    {{{LTI_LOWER | LTI_BOX | LTI_END, 0}, {LTI_CURRENCY, 0}}},
    {{{LTI_BLANK, 0}, {LTI_UPPER, 0}, {LTI_CURRENCY, 0}}},
    {{{LTI_UPPER | LTI_BOX, 0}, {LTI_NUMERIC | LTI_LAW, 0}}},
    {{{LETTERS | LTI_BOX | LTI_CURRENCY | LTI_END, 0}, {LTI_START, 0}, {LTI_NUMERIC, 0}}},
    {{{LETTERS | SIGNS | LTI_BOX | LTI_LAW, 0}, {LTI_END, 0}, {LTI_START, 0}}},
    {{{SIGNS | LTI_BOX, 0}, {LTI_START, 0}}},
    {{{LTI_A_TO_Z, 0}, {LTI_UPPER, 0}, {LTI_START | LTI_CURRENCY, 0}}},
    {{{LTI_BOX, 0}, {LTI_KAOMOJI | LTI_END, 0}}},
    {{{LETTERS | SIGNS | QUOTES | LTI_LAW, 0}, {LTI_BOX, 0}}},
    {{{LETTERS, 0}, {QUOTES, 0}, {LTI_WORD, 0}}},
    {{{0, "Œœ"}, {LTI_NO_LATIN, 0}}},
    {{{LTI_UPPER, 0}, {0, "°"}}},
    /* UTF-8 of Latin-1 characters, read as Windows-1252 */
    {{{0, "ÂÃÎÐ"}, {QUOTES, "€œŠš¢£Ÿž\u00a0\u00ad®©°·»–—´"}}},
    {{{0, "×"}, {0, "²³"}}},
    {{{0, "Ã"}, {0, "\u00a0¡"}}},
    {{{LTI_A_TO_Z, 0}, {0, "ÃÂ"}, {0, " "}}},
    {{{LTI_A_TO_Z, 0}, {LTI_BLANK, 0}, {0, "ÃÂ"}, {0, " "}}},
    {{{LTI_A_TO_Z | LTI_END, ".,?!"}, {0, "Â"}, {QUOTES, " "}}},
    /* Arabic and South Asian letters, read as Windows-1252 */
    {{{0, "ØÙ"}, {ARABIC, ARABIC_MORE}, {0, "ØÙ"}, {ARABIC, ARABIC_MORE}}},
    {{{0, "à"}, {0, "²µ¹¼½¾"}}},
    /* MacRoman */
    {{{0, "√"}, {0, "±∂†≠®™´≤≥¥µø"}}},
    {{{0, "≈"}, {0, "°¢"}}},
    {{{0, "‚"}, {0, "Ä"}, {0, "ìîïòôúùû†°¢π"}}},
    {{{0, "‚"}, {0, "âó"}, {0, "àä°ê"}}},
    /* Windows-1251, 1253, 1257 */
    {{{0, "в"}, {0, "Ђ"}}},
    {{{0, "ВГРС"}, {LTI_C1 | LTI_BAD | QUOTES | LTI_CURRENCY, "°µ"}, {0, "ВГРС"}}},
    {{{0, "β"}, {0, "€"}, {0, "™\u00a0Ά\u00ad®°"}}},
    {{{0, "ΒΓΞΟ"}, {LTI_C1 | LTI_BAD | QUOTES | LTI_CURRENCY, "°"}, {0, "ΒΓΞΟ"}}},
    {{{0, "ā"}, {0, "€"}}},
};
/* clang-format on */

uint32_t lti_mojibake_class_of(uint32_t c) {
    int lo = 0, hi = lti_mojibake_classes;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        const lti_char_class *r = &lti_mojibake_class[mid];
        if (c > r->last) lo = mid + 1;
        else if (c < r->first) hi = mid;
        else return r->mask;
    }
    return 0;
}

bool lti_white(uint32_t c) {
    return (c >= 9 && c <= 0xd) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool word(uint32_t c) { /* Python's \w */
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return c == '_' || (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
           (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
}

static uint32_t class_of(uint32_t c) {
    uint32_t m = c < 0x80 ? 0 : lti_mojibake_class_of(c);
    if (c >= 'a' && c <= 'z') return m | LTI_A_TO_Z;
    if (c >= 'A' && c <= 'Z') return m | LTI_CAPITAL;
    return m | LTI_NO_LATIN | (lti_white(c) ? LTI_BLANK : 0);
}

/* mask: class_of(c). */
static bool fits(const place *p, uint32_t c, uint32_t mask) {
    if (p->mask & mask) return true;
    if (p->mask & LTI_WORD && word(c)) return true;
    for (const char *s = p->chars; s && *s;) {
        utf8proc_int32_t at;
        s += utf8proc_iterate((const utf8proc_uint8_t *)s, -1, &at);
        if ((uint32_t)at == c) return true;
    }
    return false;
}

/* Does the rule match at s? mask[0..RULE_MAX) are the classes from s on. */
static bool matches(const rule *r, const uint32_t *s, size_t n, const uint32_t *mask) {
    for (int i = 0; i < RULE_MAX && (r->at[i].mask || r->at[i].chars); i++)
        if ((size_t)i >= n || !fits(&r->at[i], s[i], mask[i])) return false;
    return true;
}

/* Rules that need more than places: a capital at the very start, five letters with one gap. */
static bool special(const uint32_t *s, size_t n, bool at_start) {
    static const uint32_t five[] = {0x413, 0x45e, 0x412, 0x402, 0x412}; /* twice-decoded dash */
    if (at_start && n > 1 && (s[0] == 0xc3 || s[0] == 0xc2) && s[1] == ' ') return true;
    if (n < 7 || memcmp(s, five, sizeof five) != 0 || s[5] == '\n') return false;
    return s[6] == ' ' || class_of(s[6]) & LATIN;
}

bool lti_looks_bad(const uint32_t *s, size_t n) {
    uint32_t mask[RULE_MAX]; /* of s[i], s[i + 1], ... */
    for (size_t k = 0; k < RULE_MAX && k < n; k++) mask[k] = class_of(s[k]);
    for (size_t i = 0; i < n; i++) {
        /* No rule is without a character beyond ASCII among its first three. */
        if (s[i] >= 0x80 || (i + 1 < n && s[i + 1] >= 0x80) || (i + 2 < n && s[i + 2] >= 0x80)) {
            for (size_t r = 0; r < sizeof rules / sizeof *rules; r++)
                if (matches(&rules[r], s + i, n - i, mask)) return true;
            if (special(s + i, n - i, i == 0)) return true;
        }
        memmove(mask, mask + 1, (RULE_MAX - 1) * sizeof *mask);
        if (i + RULE_MAX < n) mask[RULE_MAX - 1] = class_of(s[i + RULE_MAX]);
    }
    return false;
}

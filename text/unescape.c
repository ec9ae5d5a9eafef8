/* SPDX-License-Identifier: Apache-2.0
 * text/unescape.c - HTML character references in text.
 *
 * Reference: HTML standard 13.2.5.72 to .80, in the reading of Python's html.unescape; ftfy
 * fixes.unescape_html for the strict variant. */
#include "text/text_int.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define NAME_MAX_LEN 32 /* characters of a name that are looked at, as in Python */
#define STRICT_MAX 24   /* as in ftfy */

void lti_cps_push(lti_cps *b, uint32_t c) {
    if (b->n == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 256;
        uint32_t *v = realloc(b->v, cap * sizeof *v);
        if (!v) {
            b->oom = 1;
            return;
        }
        b->v = v;
        b->cap = cap;
    }
    b->v[b->n++] = c;
}

uint32_t lti_cp1252(uint32_t c) {
    static const uint16_t high[32] = {
        0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6,  0x2030, 0x160,
        0x2039, 0x152,  0x8d,   0x17d,  0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
        0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};
    return c >= 0x80 && c < 0xa0 ? high[c - 0x80] : c;
}

/* The row of a name, NULL if unknown. Rows are found by bisection over bytes, each probe moved back
 * to the start of its row. */
static const char *find_row(const char *name, size_t len) {
    const char *t = lti_html_entities;
    size_t lo = 0, hi = lti_html_entities_size; /* both are starts of rows */
    while (lo < hi) {
        size_t row = lo + (hi - lo) / 2;
        while (row > lo && t[row - 1] != '\n') row--;
        size_t n = strcspn(t + row, ",;^");
        int cmp = memcmp(name, t + row, len < n ? len : n);
        if (cmp == 0 && len == n) return t + row;
        if (cmp < 0 || (cmp == 0 && len < n)) hi = row;
        else lo = (size_t)(strchr(t + row, '\n') - t) + 1;
    }
    return NULL;
}

/* Push the value of a named reference if its kind is one of kinds. */
static bool push_named(const char *name, size_t len, const char *kinds, lti_cps *out) {
    const char *row = find_row(name, len);
    if (!row || !strchr(kinds, row[len])) return false;
    const char *p = row + len + 1;
    while (*p != '\n') {
        utf8proc_int32_t c;
        p += utf8proc_iterate((const utf8proc_uint8_t *)p, -1, &c);
        lti_cps_push(out, c == '\v' ? '\n' : (uint32_t)c);
    }
    return true;
}

static bool dropped(uint32_t c) { /* code points the standard leaves out */
    return (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f ||
           (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
}

static int digit(uint32_t c, int base) {
    if (c >= '0' && c <= '9') return (int)(c - '0');
    if (base == 16 && c >= 'a' && c <= 'f') return (int)(c - 'a' + 10);
    if (base == 16 && c >= 'A' && c <= 'F') return (int)(c - 'A' + 10);
    return -1;
}

/* s[0] is '&', s[1] '#'. Characters read, 0 when it is no reference. */
static size_t numeric(const uint32_t *s, size_t n, lti_cps *out) {
    int base = n > 2 && (s[2] == 'x' || s[2] == 'X') ? 16 : 10;
    size_t start = base == 16 ? 3 : 2, i = start;
    uint32_t c = 0;
    for (; i < n && digit(s[i], base) >= 0; i++)
        if (c <= 0x10ffff) c = c * (uint32_t)base + (uint32_t)digit(s[i], base);
    if (i == start) return 0;
    if (i < n && s[i] == ';') i++;
    if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) c = 0xfffd;
    if (!dropped(c)) lti_cps_push(out, lti_cp1252(c));
    return i;
}

static bool ends_name(uint32_t c) {
    return c == '\t' || c == '\n' || c == '\f' || c == ' ' || c == '<' || c == '&' || c == '#' ||
           c == ';';
}

/* s[0] is '&'. Characters read, 0 when nothing is known by that name. */
static size_t named(const uint32_t *s, size_t n, lti_cps *out) {
    char name[NAME_MAX_LEN];
    size_t len = 0, ascii = 0;
    while (len < NAME_MAX_LEN && 1 + len < n && !ends_name(s[1 + len])) len++;
    while (ascii < len && s[1 + ascii] < 0x80) { /* no name has other characters */
        name[ascii] = (char)s[1 + ascii];
        ascii++;
    }
    if (ascii == len && 1 + len < n && s[1 + len] == ';' && push_named(name, len, ";,", out))
        return len + 2;
    for (size_t k = ascii; k >= 2; k--) /* the longest that may stand without its semicolon */
        if (push_named(name, k, ",", out)) return k + 1;
    return 0;
}

void lti_html_unescape(const lti_cps *in, lti_cps *out) {
    out->n = 0;
    for (size_t i = 0; i < in->n;) {
        size_t used = 0, left = in->n - i;
        if (in->v[i] == '&' && left > 1)
            used =
                in->v[i + 1] == '#' ? numeric(in->v + i, left, out) : named(in->v + i, left, out);
        if (!used) lti_cps_push(out, in->v[i]);
        i += used ? used : 1;
    }
}

static bool alnum(uint32_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* One reference at s: '&', maybe '#', 1 to 24 letters or digits, ';'. */
static size_t strict_one(const uint32_t *s, size_t n, lti_cps *out) {
    size_t start = n > 1 && s[1] == '#' ? 2 : 1, i = start;
    char name[STRICT_MAX];
    for (; i < n && i - start < STRICT_MAX && alnum(s[i]); i++) name[i - start] = (char)s[i];
    if (i == start || i >= n || s[i] != ';') return 0;
    if (start == 1) return push_named(name, i - 1, ";,^", out) ? i + 1 : 0;
    size_t before = out->n;
    if (numeric(s, n, out) != i + 1 || (out->n > before && out->v[before] == ';')) {
        out->n = before; /* only part of it was a number, or a semicolon came out: ftfy leaves it */
        return 0;
    }
    return i + 1;
}

void lti_html_unescape_strict(const lti_cps *in, lti_cps *out) {
    out->n = 0;
    for (size_t i = 0; i < in->n;) {
        size_t used = in->v[i] == '&' ? strict_one(in->v + i, in->n - i, out) : 0;
        if (!used) lti_cps_push(out, in->v[i]);
        i += used ? used : 1;
    }
}

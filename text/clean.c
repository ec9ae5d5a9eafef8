/* SPDX-License-Identifier: Apache-2.0
 * text/clean.c - the prompt cleaning that Wan was trained with.
 *
 *   ftfy.fix_text -> html.unescape twice -> white space to single spaces
 * ftfy works line by line and repeats its fixes until nothing changes: character references,
 * mojibake (mojibake.c), C1 controls as Windows-1252, Latin ligatures, character width, curly
 * quotes, line breaks, terminal escapes, control characters, NFC.
 * Reference: Wan2.1 wan/modules/tokenizers.py; ftfy 6 fixes.py, chardata.py.
 *
 * Pitfall: from the first line with a '<' on, ftfy decodes no references (html.unescape does). */
#include "base/error.h"
#include "text/text.h"
#include "text/mojibake.h"
#include "text/text_int.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Rounds of fixes. Text escaped more than 60 times over is an attack on our time, not a prompt. */
#define ROUNDS 64

typedef struct cleaner {
    lti_cps line, tmp, prev, all;
    size_t work;     /* left for lti_fix_encoding */
    bool saw_markup; /* a '<' was seen: ftfy stops decoding references */
} cleaner;

static void swap(lti_cps *a, lti_cps *b) {
    lti_cps t = *a;
    *a = *b;
    *b = t;
}
static void append(lti_cps *to, const lti_cps *from) {
    for (size_t i = 0; i < from->n; i++) lti_cps_push(to, from->v[i]);
    to->oom |= from->oom;
}

/* -- single characters ------------------------------------------------------------------- */

static uint32_t uncurl(uint32_t c) {
    if (c == 0x2bc || (c >= 0x2018 && c <= 0x201b)) return '\'';
    if (c >= 0x201c && c <= 0x201f) return '"';
    return c;
}

/* Letters of a Latin ligature or digraph, NULL if c is none. */
static const char *ligature(uint32_t c) {
    static const char *const croat[] = {"D\u017d", "D\u017e", "d\u017e", "LJ", "Lj",
                                        "lj",      "NJ",      "Nj",      "nj"}; /* U+01C4.. */
    static const char *const dz[] = {"DZ", "Dz", "dz"};                         /* U+01F1.. */
    static const char *const typo[] = {"ff",  "fi",      "fl", "ffi",
                                       "ffl", "\u017ft", "st"}; /* U+FB00.. */
    if (c == 0x132) return "IJ";
    if (c == 0x133) return "ij";
    if (c == 0x149) return "\u02bcn";
    if (c >= 0x1c4 && c <= 0x1cc) return croat[c - 0x1c4];
    if (c >= 0x1f1 && c <= 0x1f3) return dz[c - 0x1f1];
    if (c >= 0xfb00 && c <= 0xfb06) return typo[c - 0xfb00];
    return NULL;
}

/* Full and half width forms to the usual ones; the rest as it is. */
static void push_width(lti_cps *out, uint32_t c) {
    if (c == 0x3000) c = ' ';
    if (c < 0xff01 || c >= 0xfff0) {
        lti_cps_push(out, uncurl(c));
        return;
    }
    utf8proc_int32_t to[8];
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, to, 8,
                                                 UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, &boundary);
    for (utf8proc_ssize_t i = 0; i < n && i < 8; i++) lti_cps_push(out, uncurl((uint32_t)to[i]));
}

static void fix_chars(const lti_cps *in, lti_cps *out) {
    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        uint32_t c = lti_cp1252(in->v[i]);
        const char *letters = ligature(c);
        if (!letters) {
            push_width(out, c);
            continue;
        }
        while (*letters) {
            utf8proc_int32_t l;
            letters += utf8proc_iterate((const utf8proc_uint8_t *)letters, -1, &l);
            push_width(out, (uint32_t)l);
        }
    }
}

/* -- sequences --------------------------------------------------------------------------- */

static void fix_breaks(const lti_cps *in, lti_cps *out) {
    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        uint32_t c = in->v[i];
        if (c == '\r' && i + 1 < in->n && in->v[i + 1] == '\n') continue;
        lti_cps_push(out, c == '\r' || c == 0x2028 || c == 0x2029 || c == 0x85 ? '\n' : c);
    }
}

/* Characters of "ESC [ digits ; letter" at s, 0 if it is none. */
static size_t terminal_escape(const uint32_t *s, size_t n) {
    if (n < 3 || s[0] != 0x1b || s[1] != '[') return 0;
    size_t i = 2;
    while (i < n && (s[i] == ';' || (s[i] < 0x110000 && utf8proc_category((utf8proc_int32_t)s[i]) ==
                                                            UTF8PROC_CATEGORY_ND)))
        i++;
    if (i == n) return 0;
    uint32_t c = s[i] | 0x20;
    return c >= 'a' && c <= 'z' ? i + 1 : 0;
}

static bool control(uint32_t c) {
    return c <= 8 || c == 0xb || (c >= 0xe && c < 0x20) || c == 0x7f ||
           (c >= 0x206a && c < 0x2070) || c == 0xfeff || (c >= 0xfff9 && c < 0xfffd);
}

static void fix_controls(const lti_cps *in, lti_cps *out) {
    out->n = 0;
    for (size_t i = 0; i < in->n;) {
        size_t skip = terminal_escape(in->v + i, in->n - i);
        i += skip;
        if (skip) continue;
        if (!control(in->v[i])) lti_cps_push(out, in->v[i]);
        i++;
    }
}

/* UTF-8 of b, NUL terminated, malloced; NULL when memory runs out. */
static char *to_utf8(const lti_cps *b, size_t *len) {
    char *s = malloc(4 * b->n + 1);
    if (!s) return NULL;
    size_t at = 0;
    for (size_t i = 0; i < b->n; i++)
        at += (size_t)utf8proc_encode_char((utf8proc_int32_t)b->v[i], (utf8proc_uint8_t *)s + at);
    s[at] = '\0';
    *len = at;
    return s;
}

/* In place: canonical composition. Below U+0300 every text is already composed. */
static void compose(lti_cps *b) {
    size_t i = 0, len;
    while (i < b->n && b->v[i] < 0x300) i++;
    if (i == b->n) return;
    char *s = to_utf8(b, &len);
    utf8proc_uint8_t *nfc = NULL;
    utf8proc_ssize_t n = -1;
    if (s)
        n = utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)len, &nfc,
                         UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0) b->oom = 1; /* the text is valid: only memory can be missing */
    b->n = 0;
    for (utf8proc_ssize_t at = 0; at < n;) {
        utf8proc_int32_t c;
        at += utf8proc_iterate(nfc + at, n - at, &c);
        lti_cps_push(b, (uint32_t)c);
    }
    free(nfc);
    free(s);
}

/* -- a line, a prompt -------------------------------------------------------------------- */

static bool same(const lti_cps *a, const lti_cps *b) {
    return a->n == b->n && (a->n == 0 || !memcmp(a->v, b->v, a->n * sizeof *a->v));
}

/* ftfy on cl->line, in place. */
static void fix_line(cleaner *cl) {
    lti_cps *line = &cl->line, *tmp = &cl->tmp;
    for (size_t i = 0; i < line->n; i++) cl->saw_markup |= line->v[i] == '<';
    for (int round = 0; round < ROUNDS && !line->oom; round++) {
        cl->prev.n = 0;
        append(&cl->prev, line);
        if (!cl->saw_markup) {
            lti_html_unescape_strict(line, tmp);
            swap(line, tmp);
        }
        lti_fix_encoding(line, &cl->work);
        void (*const fix[])(const lti_cps *, lti_cps *) = {fix_chars, fix_breaks, fix_controls};
        for (int i = 0; i < 3; i++) {
            fix[i](line, tmp);
            swap(line, tmp);
        }
        compose(line);
        if (same(line, &cl->prev)) break;
    }
}

/* Runs of white space to one space, none at the ends. */
static void collapse(const lti_cps *in, lti_cps *out) {
    out->n = 0;
    bool gap = false;
    for (size_t i = 0; i < in->n; i++) {
        if (lti_white(in->v[i])) {
            gap = true;
            continue;
        }
        if (gap && out->n) lti_cps_push(out, ' ');
        gap = false;
        lti_cps_push(out, in->v[i]);
    }
}

/* The whole pipeline into cl->all. */
static lt_status run(cleaner *cl, const char *prompt, lt_error *err) {
    size_t len = strnlen(prompt, LTI_PROMPT_MAX + 1);
    if (len > LTI_PROMPT_MAX)
        return lti_fail(err, LT_EINVAL, "prompt: longer than %d bytes; shorten it", LTI_PROMPT_MAX);
    for (size_t at = 0; at < len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)prompt + at,
                                              (utf8proc_ssize_t)(len - at), &c);
        if (n < 1)
            return lti_fail(err, LT_EINVAL,
                            "prompt: not UTF-8 at byte %zu (0x%02x); save or type it as UTF-8", at,
                            (unsigned char)prompt[at]);
        at += (size_t)n;
        lti_cps_push(&cl->line, (uint32_t)c);
        if (c != '\n' && at < len) continue;
        fix_line(cl);
        append(&cl->all, &cl->line);
        cl->line.n = 0;
    }
    for (int i = 0; i < 2; i++) {
        lti_html_unescape(&cl->all, &cl->tmp);
        swap(&cl->all, &cl->tmp);
    }
    collapse(&cl->all, &cl->tmp);
    swap(&cl->all, &cl->tmp);
    if (cl->all.oom || cl->tmp.oom || cl->line.oom || cl->prev.oom) return lti_oom(err, len * 16);
    return LT_OK;
}

lt_status lti_text_clean(const char *prompt, char **out, lt_error *err) {
    *out = NULL;
    cleaner cl = {.work = LTI_FIX_WORK};
    lt_status st = run(&cl, prompt, err);
    if (st == LT_OK) {
        size_t len;
        *out = to_utf8(&cl.all, &len);
        if (!*out) st = lti_oom(err, 4 * cl.all.n + 1);
    }
    free(cl.line.v);
    free(cl.tmp.v);
    free(cl.prev.v);
    free(cl.all.v);
    return st;
}

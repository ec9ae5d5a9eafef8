/* SPDX-License-Identifier: Apache-2.0
 * metrics/font.c - a small stroke font, drawn for this project, sharp at any size.
 *
 * A glyph is a path on a grid whose unit is a pixel at size 1: base line 0, small letters up to 6,
 * capitals and figures to 8, tails to -3, counted between middles of strokes. M x y starts a stroke,
 * L x y is a line, Q cx cy x y a quadratic curve (with its control point in the corner it is a little
 * squarer than an ellipse, which suits small sizes), D x y a dot.
 * Sharpness: straight strokes lie on whole units, and every whole unit is moved to a whole pixel
 * before drawing, so that at 1.25 or 1.5 too stems fill pixels instead of straddling two.
 * The pen moves by the advance behind the name, which holds the gap to the next letter. */
#include "metrics/canvas.h"
#include "base/error.h"
#include <math.h>
#include <string.h>

typedef struct glyph {
    float advance;
    const char *path;
} glyph;

#define BOWL "M2.5 6Q5 6 5 3Q5 0 2.5 0Q0 0 0 3Q0 6 2.5 6"

static const glyph ascii[95] = {
    {4, ""},                                         /* space */
    {3.5f, "M0 8L0 2.8D0 0"},                        /* ! */
    {5, "M0 8L0 5.6M2 8L2 5.6"},                     /* " */
    {9, "M1.4 0L2.6 8M4.4 0L5.6 8M0 3L6 3M1 5L7 5"}, /* # */
    {8, "M5 6.4Q4.6 8 2.6 8Q0 8 0 6Q0 4.5 2.6 4Q5 3.5 5 2Q5 0 2.6 0Q.4 0 0 1.7M3 9L3 -1"}, /* $ */
    {11, "M1.5 8Q3 8 3 6Q3 4 1.5 4Q0 4 0 6Q0 8 1.5 8M6.5 4Q8 4 8 2Q8 0 6.5 0Q5 0 5 2Q5 4 6.5 4"
         "M6.6 8L1.4 0"}, /* % */
    {9, "M6.3 4Q5.8 0 2.6 0Q0 0 0 2Q0 3.6 2 4.5Q4 5.4 4 6.5Q4 8 2.5 8Q1 8 1 6.5Q1 5.4 2.2 4.2L6.3 "
        "0"},                                                                              /* & */
    {3, "M0 8L0 5.6"},                                                                     /* ' */
    {5, "M2 9.5Q0 7 0 3.5Q0 0 2 -2.5"},                                                    /* ( */
    {5, "M0 9.5Q2 7 2 3.5Q2 0 0 -2.5"},                                                    /* ) */
    {6.5f, "M2 8.4L2 4M0 7.3L4 5.1M4 7.3L0 5.1"},                                          /* * */
    {9, "M0 4L6 4M3 7L3 1"},                                                               /* + */
    {3.5f, "M1 .4L.2 -1.8"},                                                               /* , */
    {5.5f, "M0 3L3 3"},                                                                    /* - */
    {3, "D0 0"},                                                                           /* . */
    {6, "M0 -1L3.6 9"},                                                                    /* / */
    {8, "M0 5Q0 8 2.5 8Q5 8 5 5L5 3Q5 0 2.5 0Q0 0 0 3L0 5"},                               /* 0 */
    {8, "M.8 6.2Q2.4 6.8 3 8L3 0"},                                                        /* 1 */
    {8, "M.1 6Q.1 8 2.5 8Q4.8 8 4.8 5.9Q4.8 4.6 3.2 3L0 0L5 0"},                           /* 2 */
    {8, "M.2 6.4Q.6 8 2.5 8Q5 8 5 6Q5 4 2.5 4L1.6 4M2.5 4Q5 4 5 2Q5 0 2.5 0Q.4 0 0 1.7"},  /* 3 */
    {8, "M4 0L4 8L0 2L5.5 2"},                                                             /* 4 */
    {8, "M4.7 8L.7 8L.4 4.2Q1.2 5 2.6 5Q5 5 5 2.5Q5 0 2.4 0Q.4 0 0 1.6"},                  /* 5 */
    {8, "M4.6 6.8Q4.2 8 2.7 8Q0 8 0 4L0 2.5Q0 0 2.5 0Q5 0 5 2.5Q5 5 2.5 5Q.2 5 0 2.8"},    /* 6 */
    {8, "M0 8L5 8Q2.3 4.5 1.8 0"},                                                         /* 7 */
    {8, "M2.5 4Q0 4 0 6Q0 8 2.5 8Q5 8 5 6Q5 4 2.5 4Q0 4 0 2Q0 0 2.5 0Q5 0 5 2Q5 4 2.5 4"}, /* 8 */
    {8, "M.4 1.2Q.8 0 2.3 0Q5 0 5 4L5 5.5Q5 8 2.5 8Q0 8 0 5.5Q0 3 2.5 3Q4.8 3 5 5.2"},     /* 9 */
    {3.5f, "D0 0D0 5"},                                                                    /* : */
    {4, "D.8 5M1 .4L.2 -1.8"},                                                             /* ; */
    {8, "M5 7L0 4L5 1"},                                                                   /* < */
    {9, "M0 5L6 5M0 3L6 3"},                                                               /* = */
    {8, "M0 7L5 4L0 1"},                                                                   /* > */
    {7, "M0 6.4Q.2 8 2.2 8Q4.4 8 4.4 6Q4.4 4.9 3.2 4.2Q2 3.4 2 2.6D2 0"},                  /* ? */
    {12, "M7 1Q6 -1 4.5 -1Q0 -1 0 3.5Q0 8 4.5 8Q9 8 9 4Q9 2 7.6 2Q6.4 2 6.4 3.4L6.4 5.5M6.4 4Q6.4 "
         "5.8 4.7 5.8Q3 5.8 3 3.8Q3 2 4.5 2Q6.4 2 6.4 4"},                              /* @ */
    {8.5f, "M0 0L3 8L6 0M1 3L5 3"},                                                     /* A */
    {8, "M0 0L0 8L2.8 8Q5 8 5 6Q5 4 2.8 4L0 4M2.8 4Q5.4 4 5.4 2Q5.4 0 2.8 0L0 0"},      /* B */
    {8.5f, "M6 6Q5.2 8 3.2 8Q0 8 0 4Q0 0 3.2 0Q5.2 0 6 2"},                             /* C */
    {8.5f, "M0 0L0 8L2.5 8Q6 8 6 4Q6 0 2.5 0L0 0"},                                     /* D */
    {7.5f, "M5 8L0 8L0 0L5 0M0 4L4.4 4"},                                               /* E */
    {7, "M5 8L0 8L0 0M0 4L4.4 4"},                                                      /* F */
    {9, "M5.8 6.3Q5 8 3.2 8Q0 8 0 4Q0 0 3.2 0Q5 0 6 1.2L6 4L3.6 4"},                    /* G */
    {9, "M0 0L0 8M6 0L6 8M0 4L6 4"},                                                    /* H */
    {3, "M0 0L0 8"},                                                                    /* I */
    {7, "M4 8L4 2.2Q4 0 2 0Q0 0 0 2"},                                                  /* J */
    {8, "M0 0L0 8M5.4 8L0 3M2 4.8L5.7 0"},                                              /* K */
    {7, "M0 8L0 0L4.7 0"},                                                              /* L */
    {11, "M0 0L0 8L4 1.5L8 8L8 0"},                                                     /* M */
    {9, "M0 0L0 8L6 0L6 8"},                                                            /* N */
    {9.5f, "M3.5 8Q7 8 7 4Q7 0 3.5 0Q0 0 0 4Q0 8 3.5 8"},                               /* O */
    {7.5f, "M0 0L0 8L2.8 8Q5 8 5 5.5Q5 3 2.8 3L0 3"},                                   /* P */
    {9.5f, "M3.5 8Q7 8 7 4Q7 0 3.5 0Q0 0 0 4Q0 8 3.5 8M4.4 2.2L7 -.7"},                 /* Q */
    {8, "M0 0L0 8L2.8 8Q5 8 5 6Q5 4 2.8 4L0 4M3 4L5.5 0"},                              /* R */
    {8, "M5 6.4Q4.6 8 2.6 8Q0 8 0 6Q0 4.5 2.6 4Q5.3 3.5 5.3 2Q5.3 0 2.6 0Q.4 0 0 1.7"}, /* S */
    {8, "M0 8L6 8M3 8L3 0"},                                                            /* T */
    {9, "M0 8L0 3Q0 0 3 0Q6 0 6 3L6 8"},                                                /* U */
    {8.5f, "M0 8L3 0L6 8"},                                                             /* V */
    {11.5f, "M0 8L2.2 0L4.5 7.5L6.8 0L9 8"},                                            /* W */
    {8, "M0 8L5.6 0M5.6 8L0 0"},                                                        /* X */
    {8, "M0 8L3 3.6L6 8M3 3.6L3 0"},                                                    /* Y */
    {8, "M.2 8L5.4 8L0 0L5.6 0"},                                                       /* Z */
    {5, "M2 9.5L0 9.5L0 -2.5L2 -2.5"},                                                  /* [ */
    {6, "M0 9L3.6 -1"},                                                                 /* \ */
    {5, "M0 9.5L2 9.5L2 -2.5L0 -2.5"},                                                  /* ] */
    {7, "M0 5.4L2.2 8.2L4.4 5.4"},                                                      /* ^ */
    {7.5f, "M0 -2L5 -2"},                                                               /* _ */
    {5, "M0 8.6L1.6 7"},                                                                /* ` */
    {8, "M.4 5Q1 6 2.6 6Q5 6 5 4L5 0M5 3.4L2.6 3.4Q0 3.3 0 1.7Q0 0 2 0Q4.2 0 5 2"},     /* a */
    {7.5f, "M0 8.6L0 0" BOWL},                                                          /* b */
    {7, "M4.7 4.6Q4.1 6 2.6 6Q0 6 0 3Q0 0 2.6 0Q4.1 0 4.7 1.4"},                        /* c */
    {8, "M5 8.6L5 0" BOWL},                                                             /* d */
    {7.5f, "M0 3L5 3Q5 6 2.5 6Q0 6 0 3Q0 0 2.6 0Q4.2 0 4.8 1.2"},                       /* e */
    {5, "M3.7 8.6Q1 9 1 6.6L1 0M-.4 6L3.3 6"},                                          /* f */
    {8, "M5 6L5 0Q5 -3 2.5 -3Q.8 -3 .3 -2" BOWL},                                       /* g */
    {8, "M0 8.6L0 0M0 3.2Q.4 6 2.8 6Q5 6 5 3.6L5 0"},                                   /* h */
    {3, "M0 5.8L0 0D0 8.8"},                                                            /* i */
    {4, "M1 5.8L1 -1Q1 -3 -.5 -3D1 8.8"},                                               /* j */
    {7, "M0 8.6L0 0M4.4 6L0 2.2M1.7 3.6L4.7 0"},                                        /* k */
    {3, "M0 8.6L0 0"},                                                                  /* l */
    {11, "M0 6L0 0M0 3.4Q.3 6 2.2 6Q4 6 4 3.8L4 0M4 3.4Q4.3 6 6.2 6Q8 6 8 3.8L8 0"},    /* m */
    {8, "M0 6L0 0M0 3.2Q.4 6 2.8 6Q5 6 5 3.6L5 0"},                                     /* n */
    {7.5f, BOWL},                                                                       /* o */
    {7.5f, "M0 6L0 -3" BOWL},                                                           /* p */
    {8, "M5 6L5 -3" BOWL},                                                              /* q */
    {5, "M0 6L0 0M0 3.2Q.2 6 2.8 6"},                                                   /* r */
    {6.5f, "M4 4.8Q3.6 6 2.1 6Q.1 6 .1 4.5Q.1 3.4 2.1 3.1Q4.2 2.7 4.2 1.5Q4.2 0 2.1 0Q.4 0 0 1.2"},
    {5, "M1 8L1 1.8Q1 0 2.6 0L3.3 0M-.4 6L3.2 6"},                                           /* t */
    {8, "M0 6L0 2.4Q0 0 2.2 0Q4.6 0 5 2.8M5 6L5 0"},                                         /* u */
    {7, "M0 6L2.5 0L5 6"},                                                                   /* v */
    {10, "M0 6L2 0L4 5.6L6 0L8 6"},                                                          /* w */
    {7, "M0 6L4.7 0M4.7 6L0 0"},                                                             /* x */
    {7, "M0 6L2.6 0M5 6L2.6 0L1.9 -1.8Q1.4 -3 0 -3"},                                        /* y */
    {7, "M.2 6L4.5 6L0 0L4.7 0"},                                                            /* z */
    {6, "M3 9.5Q1.4 9.5 1.4 7.5L1.4 5Q1.4 3.5 0 3.5Q1.4 3.5 1.4 2L1.4 -.5Q1.4 -2.5 3 -2.5"}, /* { */
    {3, "M0 9.5L0 -2.5"},                                                                    /* | */
    {6, "M0 9.5Q1.6 9.5 1.6 7.5L1.6 5Q1.6 3.5 3 3.5Q1.6 3.5 1.6 2L1.6 -.5Q1.6 -2.5 0 -2.5"}, /* } */
    {9, "M0 3Q.4 5 1.8 5Q2.6 5 3.2 4.2Q3.8 3.4 4.6 3.4Q5.8 3.4 6.2 5"},                      /* ~ */
};

static const glyph box = {8, "M0 0L0 8L5 8L5 0L0 0"};
static const glyph minus = {9, "M0 4L6 4"};                                 /* U+2212 */
static const glyph two = {5, "M0 8Q0 9 1.3 9Q2.7 9 2.7 8Q2.7 7.2 0 5L3 5"}; /* U+00B2 */
static const glyph delta = {9, "M0 0L3 8L6 0L0 0"};                         /* U+0394 */
static const glyph middot = {4, "D0 3"};                                    /* U+00B7 */

/* The next character, *s moved behind it; a byte that is no UTF-8 counts as one bad character. */
static uint32_t next_char(const char **s) {
    const unsigned char *p = (const unsigned char *)*s;
    const int n = p[0] < 0x80 ? 0 : p[0] < 0xC2 ? -1 : p[0] < 0xE0 ? 1 : p[0] < 0xF0 ? 2 : 3;
    uint32_t c = n <= 0 ? p[0] : p[0] & (0x3Fu >> n);
    for (int i = 1; i <= n; i++) { /* stops at the ending NUL too */
        if ((p[i] & 0xC0) != 0x80) {
            *s += 1;
            return UINT32_MAX;
        }
        c = c << 6 | (p[i] & 0x3Fu);
    }
    *s += n > 0 ? n + 1 : 1;
    return n < 0 ? UINT32_MAX : c;
}

static const glyph *glyph_of(uint32_t c) {
    if (c >= 32 && c < 127) return &ascii[c - 32];
    switch (c) {
    case 0x2212:
        return &minus;
    case 0xB2:
        return &two;
    case 0x394:
        return &delta;
    case 0xB7:
        return &middot;
    default:
        return &box;
    }
}

static int advance_of(const glyph *g, float size, bool bold) {
    return (int)lroundf((g->advance + (bold ? 0.5f : 0)) * size);
}

int lti_text_width(const char *text, float size, bool bold) {
    int64_t sum = 0;
    const int64_t most = 1 << 30;
    while (*text && sum < most) sum += advance_of(glyph_of(next_char(&text)), size, bold);
    if (sum) sum -= lroundf(2 * size); /* the gap behind the last */
    return (int)(sum < 0 ? 0 : sum < most ? sum : most);
}

/* ---- drawing ------------------------------------------------------------------------------------ */

enum { MAX_SEGS = 400 };

typedef struct pen {
    lti_seg seg[MAX_SEGS];
    int n;
    float size;
    float x, y; /* where the grid's origin lies in the picture */
} pen;

/* Grid to pixels, whole units to whole pixels. */
static float snap(float u, float size) {
    const float whole = floorf(u), a = roundf(whole * size), b = roundf((whole + 1) * size);
    return a + (b - a) * (u - whole);
}

static lti_point place(const pen *p, float x, float y) {
    return (lti_point){p->x + snap(x, p->size), p->y - snap(y, p->size)};
}

static void add(pen *p, lti_point a, lti_point b) {
    LT_ASSERT(p->n < MAX_SEGS);
    p->seg[p->n++] = (lti_seg){a.x, a.y, b.x, b.y};
}

static void curve(pen *p, const float *from, const float *v) {
    const int n = p->size < 1.6f ? 6 : p->size < 4 ? 10 : 18;
    lti_point a = place(p, from[0], from[1]);
    for (int i = 1; i <= n; i++) {
        const float t = (float)i / (float)n, s = 1 - t;
        const lti_point b = place(p, s * s * from[0] + 2 * s * t * v[0] + t * t * v[2],
                                  s * s * from[1] + 2 * s * t * v[1] + t * t * v[3]);
        add(p, a, b);
        a = b;
    }
}

/* A number such as 3, -1 or .5 of the table above. */
static float number(const char **s) {
    float v = 0, unit = 1, sign = 1;
    while (**s == ' ') ++*s;
    if (**s == '-') sign = -1, ++*s;
    for (bool point = false; (**s >= '0' && **s <= '9') || **s == '.'; ++*s) {
        if (**s == '.') point = true;
        else v = v * 10 + (float)(**s - '0'), unit *= point ? 10 : 1;
    }
    return sign * v / unit;
}

static void draw_glyph(lti_canvas *c, int x, int y, const glyph *g, const lti_style *st) {
    const float width = (st->bold ? 1.85f : 1.2f) * st->size;
    /* an odd stroke is sharp around the middle of a pixel, an even one around a border */
    const float off = lroundf(width) % 2 ? 0.5f : 0;
    pen p = {.size = st->size, .x = (float)x + off, .y = (float)y - 1 + off};
    float at[2] = {0, 0}, v[4];
    for (const char *s = g->path; *s;) {
        const char op = *s++;
        for (int i = 0; i < (op == 'Q' ? 4 : 2); i++) v[i] = number(&s);
        if (op == 'L') add(&p, place(&p, at[0], at[1]), place(&p, v[0], v[1]));
        if (op == 'Q') curve(&p, at, v);
        if (op == 'D') {
            const lti_point q = place(&p, v[0], v[1]);
            lti_canvas_dot(c, q.x, q.y, (st->bold ? 1.1f : 0.85f) * st->size, st->ink, 1);
        }
        const int end = op == 'Q' ? 2 : 0;
        at[0] = v[end], at[1] = v[end + 1];
    }
    lti_canvas_strokes(c, p.seg, p.n, width, st->ink, 1);
}

void lti_text(lti_canvas *c, int x, int y, const char *text, const lti_style *st) {
    const int above = (int)(12 * st->size) + 2, below = (int)(5 * st->size) + 2;
    if (y + below < c->y0 || y - above > c->y1) return;
    while (*text && x < c->x1 + above) {
        const glyph *g = glyph_of(next_char(&text));
        const int w = advance_of(g, st->size, st->bold);
        if (x + w + above > c->x0) draw_glyph(c, x, y, g, st);
        x += w;
    }
}

void lti_text_right(lti_canvas *c, int x, int y, const char *text, const lti_style *st) {
    lti_text(c, x - lti_text_width(text, st->size, st->bold), y, text, st);
}

void lti_text_middle(lti_canvas *c, int x, int y, const char *text, const lti_style *st) {
    lti_text(c, x - lti_text_width(text, st->size, st->bold) / 2, y, text, st);
}

/* ---- cutting ------------------------------------------------------------------------------------ */

void lti_text_cut(const char *text, float size, bool bold, int width, char *out, size_t out_size) {
    const size_t bytes = strlen(text);
    const int whole = lti_text_width(text, size, bold);
    if (whole <= width && bytes < out_size) {
        memcpy(out, text, bytes + 1);
        return;
    }
    *out = '\0';
    const int dots = 3 * advance_of(glyph_of('.'), size, bold), room = width - dots;
    if (room < 0) return;
    const size_t half = (out_size - 4) / 2;
    const char *head = text, *tail = text + bytes, *p = text;
    for (int64_t w = 0; *p; head = p) { /* three fifths of the room for the beginning */
        w += advance_of(glyph_of(next_char(&p)), size, bold);
        if (w > (int64_t)room * 3 / 5 || (size_t)(p - text) > half) break;
    }
    int64_t left = 0; /* width of what is not yet behind us */
    for (p = text; *p;) left += advance_of(glyph_of(next_char(&p)), size, bold);
    for (p = text; *p;) {
        if (p >= head && left <= room - (int64_t)room * 3 / 5 &&
            (size_t)(text + bytes - p) <= half) {
            tail = p;
            break;
        }
        left -= advance_of(glyph_of(next_char(&p)), size, bold);
    }
    const size_t n = (size_t)(head - text), m = (size_t)(text + bytes - tail);
    memcpy(out, text, n);
    memcpy(out + n, "...", 3);
    memcpy(out + n + 3, tail, m + 1);
}

/* SPDX-License-Identifier: Apache-2.0
 * metrics/canvas.h - drawing into an RGB picture: rectangles, anti-aliased lines, text.
 *
 * Pixel (i, j) covers [i, i + 1) x [j, j + 1), y grows downwards. Everything is cut at the clip
 * rectangle, which never leaves the picture. */
#ifndef LT_METRICS_CANVAS_H
#define LT_METRICS_CANVAS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline int lti_min_int(int a, int b) { return a < b ? a : b; }
static inline int lti_max_int(int a, int b) { return a > b ? a : b; }

typedef struct lti_ink {
    uint8_t r, g, b;
} lti_ink;

typedef struct lti_point {
    float x, y;
} lti_point;

typedef struct lti_seg {
    float x0, y0, x1, y1; /* both ends alike: a dot */
} lti_seg;

typedef struct lti_canvas {
    uint8_t *rgb; /* [h, w, 3] */
    int w, h;
    int x0, y0, x1, y1; /* clip, x1 and y1 exclusive */
} lti_canvas;

void lti_canvas_init(lti_canvas *c, uint8_t *rgb, int w, int h);
void lti_canvas_clip(lti_canvas *c, int x, int y, int w, int h);
void lti_canvas_unclip(lti_canvas *c);

/* alpha 0..1. Whole pixels: */
void lti_canvas_fill(lti_canvas *c, int x, int y, int w, int h, lti_ink ink, float alpha);
/* rgb [h, w, 3] at (x, y), each pixel as zoom x zoom */
void lti_canvas_image(lti_canvas *c, int x, int y, const uint8_t *rgb, int w, int h, int zoom);
/* Pixel column x from y0 to y1 > y0, ends anti-aliased. */
void lti_canvas_column(lti_canvas *c, int x, float y0, float y1, lti_ink ink, float alpha);
/* The union of n lines with round ends; of a few dozen, since each pixel looks at all. */
void lti_canvas_strokes(lti_canvas *c, const lti_seg *seg, int n, float width, lti_ink ink,
                        float alpha);
void lti_canvas_dot(lti_canvas *c, float x, float y, float radius, lti_ink ink, float alpha);
/* One line through n points with x not falling; a point with NaN is a gap. About one point per pixel
 * column at most, or it takes long. */
void lti_canvas_line(lti_canvas *c, const lti_point *p, int n, float width, lti_ink ink,
                     float alpha);

/* ---- font.c: printable ASCII, a few signs, a box for anything else ------------------------------ */

typedef struct lti_style {
    float size; /* 1: capitals 9 pixels high, lines 16 apart */
    bool bold;
    lti_ink ink;
} lti_style;

/* Pixels that the text is wide, 0..2^30. Text is UTF-8 from anywhere: broken bytes become boxes. */
int lti_text_width(const char *text, float size, bool bold);
/* x: left edge, y: base line (the row below the letters). */
void lti_text(lti_canvas *c, int x, int y, const char *text, const lti_style *st);
void lti_text_right(lti_canvas *c, int x, int y, const char *text, const lti_style *st);
void lti_text_middle(lti_canvas *c, int x, int y, const char *text, const lti_style *st);
/* The text, or as much of its beginning and end around "..." as is at most width pixels wide and
 * fits out, which is at least 16 bytes; "" if not even the dots do. */
void lti_text_cut(const char *text, float size, bool bold, int width, char *out, size_t out_size);

#endif

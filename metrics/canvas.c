/* SPDX-License-Identifier: Apache-2.0
 * metrics/canvas.c - rectangles, lines and dots in an RGB picture.
 *
 * A stroke of width w covers a pixel by clamp(w / 2 + 1/2 - d, 0, 1), d the distance of the pixel's
 * centre from the nearest of its segments: the area to within a few percent for any slope. Taking
 * the nearest of all segments before blending keeps joints from being painted twice. Strokes thinner
 * than a pixel become lighter instead. */
#include "metrics/canvas.h"
#include <math.h>
#include <string.h>

/* To int without overflow; NaN becomes 0. */
static int to_int(float v) { return v > 1e6f ? 1000000 : v < -1e6f ? -1000000 : (int)v; }
static int floor_int(float v) { return to_int(floorf(v)); }

void lti_canvas_init(lti_canvas *c, uint8_t *rgb, int w, int h) {
    *c = (lti_canvas){.rgb = rgb, .w = w, .h = h, .x1 = w, .y1 = h};
}

void lti_canvas_unclip(lti_canvas *c) { c->x0 = c->y0 = 0, c->x1 = c->w, c->y1 = c->h; }

void lti_canvas_clip(lti_canvas *c, int x, int y, int w, int h) {
    c->x0 = lti_min_int(lti_max_int(x, 0), c->w);
    c->y0 = lti_min_int(lti_max_int(y, 0), c->h);
    c->x1 = lti_min_int(lti_max_int(x + w, c->x0), c->w);
    c->y1 = lti_min_int(lti_max_int(y + h, c->y0), c->h);
}

static uint8_t *pixel(const lti_canvas *c, int x, int y) {
    return c->rgb + ((size_t)y * (size_t)c->w + (size_t)x) * 3;
}

static void blend(uint8_t *p, lti_ink ink, float alpha) {
    const int a = (int)(alpha * 256 + 0.5f); /* 0..256 */
    p[0] = (uint8_t)((p[0] * (256 - a) + ink.r * a + 128) >> 8);
    p[1] = (uint8_t)((p[1] * (256 - a) + ink.g * a + 128) >> 8);
    p[2] = (uint8_t)((p[2] * (256 - a) + ink.b * a + 128) >> 8);
}

void lti_canvas_fill(lti_canvas *c, int x, int y, int w, int h, lti_ink ink, float alpha) {
    const int x0 = lti_max_int(x, c->x0), x1 = lti_min_int(x + w, c->x1);
    const int y0 = lti_max_int(y, c->y0), y1 = lti_min_int(y + h, c->y1);
    for (int j = y0; j < y1; j++)
        for (int i = x0; i < x1; i++) blend(pixel(c, i, j), ink, alpha);
}

void lti_canvas_image(lti_canvas *c, int x, int y, const uint8_t *rgb, int w, int h, int zoom) {
    const int x0 = lti_max_int(x, c->x0), x1 = lti_min_int(x + w * zoom, c->x1);
    const int y0 = lti_max_int(y, c->y0), y1 = lti_min_int(y + h * zoom, c->y1);
    for (int j = y0; j < y1; j++) {
        const uint8_t *row = rgb + (size_t)((j - y) / zoom) * (size_t)w * 3;
        for (int i = x0; i < x1; i++) memcpy(pixel(c, i, j), row + (size_t)((i - x) / zoom) * 3, 3);
    }
}

void lti_canvas_column(lti_canvas *c, int x, float y0, float y1, lti_ink ink, float alpha) {
    if (x < c->x0 || x >= c->x1) return;
    const int j0 = lti_max_int(floor_int(y0), c->y0), j1 = lti_min_int(floor_int(y1) + 1, c->y1);
    for (int j = j0; j < j1; j++) {
        const float top = fmaxf(y0, (float)j), bottom = fminf(y1, (float)(j + 1));
        if (bottom > top) blend(pixel(c, x, j), ink, alpha * (bottom - top));
    }
}

/* Square of the distance of (x, y) from a segment. */
static float distance2(const lti_seg *s, float x, float y) {
    const float dx = s->x1 - s->x0, dy = s->y1 - s->y0, len2 = dx * dx + dy * dy;
    float t = len2 > 0 ? ((x - s->x0) * dx + (y - s->y0) * dy) / len2 : 0;
    t = fminf(fmaxf(t, 0), 1);
    const float ex = s->x0 + t * dx - x, ey = s->y0 + t * dy - y;
    return ex * ex + ey * ey;
}

/* Paint pixel column x between rows y0 and y1 where segments are near. */
static void paint_column(lti_canvas *c, int x, int y0, int y1, const lti_seg *seg, int n,
                         float width, lti_ink ink, float alpha) {
    const float thin = fminf(width, 1), r = fmaxf(width, 1) / 2;
    const float reach = r + 0.5f;
    y0 = lti_max_int(y0, c->y0), y1 = lti_min_int(y1, c->y1);
    for (int y = y0; y < y1; y++) {
        const float cy = (float)y + 0.5f;
        float d2 = reach * reach;
        for (int i = 0; i < n; i++) {
            if (fminf(seg[i].y0, seg[i].y1) - reach > cy) continue;
            if (fmaxf(seg[i].y0, seg[i].y1) + reach < cy) continue;
            d2 = fminf(d2, distance2(&seg[i], (float)x + 0.5f, cy));
        }
        const float cover = fminf(reach - sqrtf(d2), 1);
        if (cover > 0) blend(pixel(c, x, y), ink, cover * thin * alpha);
    }
}

void lti_canvas_strokes(lti_canvas *c, const lti_seg *seg, int n, float width, lti_ink ink,
                        float alpha) {
    if (n <= 0) return;
    float x0 = seg[0].x0, x1 = x0, y0 = seg[0].y0, y1 = y0;
    for (int i = 0; i < n; i++) {
        x0 = fminf(x0, fminf(seg[i].x0, seg[i].x1)), x1 = fmaxf(x1, fmaxf(seg[i].x0, seg[i].x1));
        y0 = fminf(y0, fminf(seg[i].y0, seg[i].y1)), y1 = fmaxf(y1, fmaxf(seg[i].y0, seg[i].y1));
    }
    const float reach = fmaxf(width, 1) / 2 + 1;
    const int top = floor_int(y0 - reach), bottom = floor_int(y1 + reach) + 1;
    const int left = lti_max_int(floor_int(x0 - reach), c->x0);
    const int right = lti_min_int(floor_int(x1 + reach) + 1, c->x1);
    for (int x = left; x < right; x++) paint_column(c, x, top, bottom, seg, n, width, ink, alpha);
}

void lti_canvas_dot(lti_canvas *c, float x, float y, float radius, lti_ink ink, float alpha) {
    lti_canvas_strokes(c, &(lti_seg){x, y, x, y}, 1, 2 * radius, ink, alpha);
}

/* Segment from p[i] to p[i + 1], or a dot where p[i] stands alone; false: neither. */
static bool segment_at(const lti_point *p, int n, int i, lti_seg *out) {
    if (!isfinite(p[i].y)) return false;
    const bool next = i + 1 < n && isfinite(p[i + 1].y);
    const bool before = i > 0 && isfinite(p[i - 1].y);
    if (!next && before) return false; /* end of a line that is drawn already */
    const lti_point q = next ? p[i + 1] : p[i];
    *out = (lti_seg){p[i].x, p[i].y, q.x, q.y};
    return true;
}

void lti_canvas_line(lti_canvas *c, const lti_point *p, int n, float width, lti_ink ink,
                     float alpha) {
    enum { NEAR = 64 }; /* segments that touch one pixel column; more are painted in turns */
    if (n <= 0) return;
    const float reach = fmaxf(width, 1) / 2 + 1;
    const int left = lti_max_int(floor_int(p[0].x - reach), c->x0);
    const int right = lti_min_int(floor_int(p[n - 1].x + reach) + 1, c->x1);
    int from = 0;
    for (int x = left; x < right; x++) {
        const float cx = (float)x + 0.5f;
        while (from + 1 < n && p[from + 1].x < cx - reach) from++;
        for (int i = from; i < n && p[i].x <= cx + reach;) {
            lti_seg near[NEAR];
            float y0 = INFINITY, y1 = -INFINITY;
            int k = 0;
            for (; i < n && k < NEAR && p[i].x <= cx + reach; i++) {
                if (!segment_at(p, n, i, &near[k])) continue;
                y0 = fminf(y0, fminf(near[k].y0, near[k].y1));
                y1 = fmaxf(y1, fmaxf(near[k].y0, near[k].y1));
                k++;
            }
            if (k)
                paint_column(c, x, floor_int(y0 - reach), floor_int(y1 + reach) + 1, near, k, width,
                             ink, alpha);
        }
    }
}

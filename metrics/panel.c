/* SPDX-License-Identifier: Apache-2.0
 * metrics/panel.c - one panel of the plot: a metric of all videos over time.
 *
 * Of each video a thin line shows every frame (or, where several share a pixel column, their range)
 * and a thick one the moving mean over 1/32 of the time axis. Values that stand alone, such as those of
 * joins, are dots. Bars at both ends are the means that the drift is the difference of.
 * Drift is filled with the video's colour from the metric's mark on, and bold from half of that. Marks
 * are the scales of the score (drift.c) where it has one, the others a judgement, see
 * docs/METRICS.md; and it must pass three standard deviations of the first 15 %.
 * The range of values is that of the data, but never less than the metric's span: the rounding noise
 * of a still must look like a still. */
#include "metrics/panel.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Dark enough for lines and figures on white, told apart by hue and lightness with any colour vision;
 * the hues follow Okabe & Ito 2008. */
const lti_ink lti_palette[LTI_LINES] = {{0, 114, 178},  {213, 94, 0},  {0, 148, 108},
                                        {170, 84, 158}, {214, 146, 0}, {60, 160, 216},
                                        {64, 64, 64},   {122, 74, 34}};
const lti_ink lti_ink_text = {32, 36, 42}, lti_ink_grey = {108, 114, 124},
              lti_ink_white = {255, 255, 255};
static const lti_ink ink_grid = {228, 231, 236}, ink_shade = {243, 245, 249},
                     ink_frame = {148, 154, 164};

/* span: least range of values shown; drift: the mark, 0: drift.c has it. Both in the metric's unit
 * or as a share of the value. zero: the axis starts at 0. */
enum unit { ABSOLUTE, RELATIVE };
static const struct look {
    float span, drift;
    enum unit unit;
    bool zero;
    float low, high; /* values that exist */
} look[LT_METRIC_COUNT] = {
    [LT_METRIC_FLICKER] = {0.01f, 0.02f, ABSOLUTE, false, 0, 1},
    [LT_METRIC_LUMA] = {10, 0, ABSOLUTE, false, 0, 255},
    [LT_METRIC_CONTRAST] = {10, 0, ABSOLUTE, false, 0, 128},
    [LT_METRIC_SATURATION] = {8, 0, ABSOLUTE, false, 0, 182},
    [LT_METRIC_CLIP_LO] = {1, 5, ABSOLUTE, true, 0, 100},
    [LT_METRIC_CLIP_HI] = {1, 5, ABSOLUTE, true, 0, 100},
    [LT_METRIC_SHARPNESS] = {0.3f, 0, RELATIVE, false, 0, 1e6f},
    [LT_METRIC_SI] = {0.2f, 0.5f, RELATIVE, false, 0, 1e6f},
    [LT_METRIC_TI] = {3, 6, ABSOLUTE, true, 0, 1e6f},
    [LT_METRIC_HIST_FIRST] = {10, 0, ABSOLUTE, true, 0, 255},
    [LT_METRIC_HIST_PREV] = {5, 10, ABSOLUTE, true, 0, 255},
    [LT_METRIC_MOTION] = {4, 6, ABSOLUTE, true, 0, 1e6f},
    [LT_METRIC_WARP_ERROR] = {0.0005f, 0.0006f, ABSOLUTE, true, 0, 1},
    [LT_METRIC_SMOOTH] = {0.01f, 0.015f, ABSOLUTE, false, 0, 1},
    [LT_METRIC_BOUNDARY] = {0.6f, 1.5f, ABSOLUTE, false, 0, 1e6f},
    [LT_METRIC_LOOP] = {0.5f, 0.5f, ABSOLUTE, true, 0, 1},
    [LT_METRIC_PSNR] = {4, 6, ABSOLUTE, false, 0, 100},
    [LT_METRIC_SSIM] = {0.02f, 0.1f, ABSOLUTE, false, 0, 1},
    [LT_METRIC_MS_SSIM] = {0.02f, 0.1f, ABSOLUTE, false, 0, 1},
};

int lti_px(const lti_figure *f, double length) {
    const int px = (int)lround(length * (double)f->size);
    return px > 1 ? px : 1;
}

static lti_style style(const lti_figure *f, lti_ink ink, bool bold) {
    return (lti_style){.size = f->size, .bold = bold, .ink = ink};
}

/* ---- series -------------------------------------------------------------------------------------- */

static void load(const lti_figure *f, int i, int32_t metric) {
    lti_series *s = f->work;
    const lt_metrics *m = f->line[i].m;
    const int32_t n = lt_metrics_trace(m, metric, -1, NULL, NULL);
    s->n = 0;
    for (int32_t k = 0; k < n && s->n < LTI_PIECES; k++) {
        double t = NAN, v = NAN;
        lt_metrics_trace(m, metric, k, &t, &v);
        if (!isfinite(t)) continue;
        s->t[s->n] = t, s->v[s->n] = isfinite(v) ? v : NAN;
        s->n++;
    }
}

/* Means over `window` pieces around each, NaN where there is no value. */
static void smooth(lti_series *s, int window) {
    double sum = 0;
    int count = 0, lo = 0, hi = 0; /* pieces [lo, hi) are in the sum */
    for (int i = 0; i < s->n; i++) {
        const int from = i - window / 2, to = i + (window + 1) / 2;
        for (; hi < s->n && hi < to; hi++)
            if (isfinite(s->v[hi])) sum += s->v[hi], count++;
        for (; lo < from; lo++)
            if (isfinite(s->v[lo])) sum -= s->v[lo], count--;
        s->trend[i] = isfinite(s->v[i]) && count ? sum / count : NAN;
    }
}

/* Do most values stand alone? Then they are kept without the gaps between them. */
static bool take_lone(lti_series *s) {
    int values = 0, lone = 0;
    for (int i = 0; i < s->n; i++) {
        if (!isfinite(s->v[i])) continue;
        values++;
        lone += (i == 0 || !isfinite(s->v[i - 1])) && (i + 1 == s->n || !isfinite(s->v[i + 1]));
    }
    if (!values || lone * 2 < values || values == s->n) return false;
    int k = 0;
    for (int i = 0; i < s->n; i++)
        if (isfinite(s->v[i])) s->t[k] = s->t[i], s->v[k] = s->v[i], k++;
    s->n = k;
    return true;
}

/* Drift as a multiple of the metric's mark, or of three standard deviations of the first 15 %,
 * whichever is more. */
static double shows(const lti_panel *p, int i) {
    const lt_metric_summary *s = &p->sum[i];
    const struct look *k = &look[p->metric];
    if (!isfinite(s->drift) || s->n < 2) return 0;
    double by = lti_drift_moved(p->metric, s->first, s->last);
    if (isnan(by)) {
        by = fabs(s->drift) / (double)k->drift;
        if (k->unit == RELATIVE) by /= fmax(fabs(s->first), 1e-9);
    }
    if (!(s->first_deviation > 0)) return by;
    return fmin(by, fabs(s->drift) / (3 * s->first_deviation));
}

/* ---- measuring ------------------------------------------------------------------------------------ */

/* Least range shown for values of this size. */
static double span_of(int32_t metric, double value) {
    const struct look *k = &look[metric];
    return k->unit == ABSOLUTE ? (double)k->span : fmax((double)k->span * fabs(value), 1e-3);
}

static void set_range(lti_panel *p, double lo, double hi) {
    const struct look *k = &look[p->metric];
    if (!(lo <= hi)) lo = hi = p->metric == LT_METRIC_BOUNDARY ? 1 : (double)k->low;
    if (p->metric == LT_METRIC_BOUNDARY) lo = fmin(lo, 1), hi = fmax(hi, 1);
    if (k->zero) lo = fmin(lo, 0);
    const double span = span_of(p->metric, fmax(fabs(lo), fabs(hi)));
    if (hi - lo < span) { /* grow around the middle, inside what exists */
        const double mid = (lo + hi) / 2;
        lo = k->zero ? lo : mid - span / 2;
        if (lo < (double)k->low) lo = (double)k->low;
        hi = lo + span;
        if (hi > (double)k->high && !k->zero) hi = (double)k->high, lo = hi - span;
    }
    const double pad = (hi - lo) * 0.06;
    p->axis = (lti_axis){.lo = lo - (k->zero ? pad / 2 : pad), .hi = hi + pad};
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Extremes of the series that lies in `work`, and what all but 1 % at either end keep to. */
typedef struct extent {
    double lo, hi, most_lo, most_hi;
} extent;

static extent extent_of(lti_series *s) {
    int n = 0;
    for (int i = 0; i < s->n; i++)
        if (isfinite(s->v[i])) s->trend[n++] = s->v[i];
    if (!n) return (extent){INFINITY, -INFINITY, INFINITY, -INFINITY};
    qsort(s->trend, (size_t)n, sizeof *s->trend, by_value);
    const int off = n / 100;
    return (extent){s->trend[0], s->trend[n - 1], s->trend[off], s->trend[n - 1 - off]};
}

/* A single frame far outside would press all the rest flat: such frames are left out of the range
 * and marked at its border. */
static void leave_out(extent *e, double span) {
    const double usual = fmax(e->most_hi - e->most_lo, span);
    if (e->hi - e->most_hi > 1.5 * usual) e->hi = e->most_hi + 0.3 * usual;
    if (e->most_lo - e->lo > 1.5 * usual) e->lo = e->most_lo - 0.3 * usual;
}

void lti_panel_measure(const lti_figure *f, lti_panel *p) {
    extent all = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    double drift = 0;
    for (int i = 0; i < f->n; i++) {
        lt_metrics_summary_of(f->line[i].m, p->metric, &p->sum[i], sizeof p->sum[i]);
        const double size = isfinite(p->sum[i].drift) ? fabs(p->sum[i].drift) : 0;
        drift = fmax(drift, size);
        load(f, i, p->metric);
        const extent e = extent_of(f->work);
        all.lo = fmin(all.lo, e.lo), all.most_lo = fmin(all.most_lo, e.most_lo);
        all.hi = fmax(all.hi, e.hi), all.most_hi = fmax(all.most_hi, e.most_hi);
    }
    leave_out(&all, span_of(p->metric, all.most_hi));
    set_range(p, all.lo, all.hi);
    const int figures = drift > 0 ? 1 - (int)fmax(floor(log10(drift)), -12) : 0; /* two of them */
    const int most = lt_metric_digits(p->metric);
    p->digits = figures < 0 ? 0 : figures > most ? most : figures;
}

int lti_panel_ticks(const lti_figure *f, lti_panel *p) {
    const int room = p->h - lti_px(f, 35) - p->rows * lti_px(f, 15);
    int most = room / lti_px(f, 20);
    lti_axis_ticks(&p->axis, most < 2 ? 2 : most > 6 ? 6 : most);
    int widest = 0;
    for (int i = 0; i < p->axis.n; i++) {
        char label[LTI_LABEL];
        lti_axis_label(&p->axis, i, label);
        const int w = lti_text_width(label, f->size, false);
        if (w > widest) widest = w;
    }
    return widest;
}

/* ---- the drift numbers ---------------------------------------------------------------------------- */

static bool bold(const lti_panel *p, int i) { return shows(p, i) >= 0.5; }
static bool filled(const lti_panel *p, int i) { return shows(p, i) >= 1; }

static const char drift_word[] = "drift";

/* Text and width of video i's number; false if there is none. */
static bool drift_item(const lti_figure *f, const lti_panel *p, int i, char *text, int *width) {
    if (!isfinite(p->sum[i].drift) || p->sum[i].n < 2) return false;
    lti_signed_number(p->sum[i].drift, p->digits, text);
    *width = lti_text_width(text, f->size, bold(p, i)) + lti_px(f, filled(p, i) ? 17 : 9);
    return true;
}

/* One row of numbers from item *i on, as many as fit the room, at least one if `force`; returns its
 * width. */
static int row_of_items(const lti_figure *f, const lti_panel *p, int room, bool force, int *i) {
    char text[LTI_LABEL];
    int used = 0, w = 0;
    for (; *i < f->n; ++*i) {
        if (!drift_item(f, p, *i, text, &w)) continue;
        if (used + w > room && !force) break;
        used += w;
        force = false;
    }
    return used;
}

/* Room for numbers in a row: the name of the metric and the word "drift" stand in row 0. */
static int room_of_row(const lti_figure *f, const lti_panel *p, int row) {
    const char *unit = lt_metric_unit(p->metric);
    if (row) return p->w;
    return p->w - lti_text_width(lt_metric_name(p->metric), f->size, true) -
           lti_text_width(unit, f->size, false) - lti_px(f, *unit ? 17 : 10) -
           lti_text_width(drift_word, f->size, false) - lti_px(f, 10);
}

int lti_panel_rows(const lti_figure *f, const lti_panel *p) {
    int rows = 0;
    for (int i = 0; i < f->n; rows++) row_of_items(f, p, room_of_row(f, p, rows), rows > 0, &i);
    return rows ? rows - 1 : 0;
}

static void draw_row(const lti_figure *f, const lti_panel *p, lti_canvas *c, int from, int to,
                     int x, int y) {
    for (int i = from; i < to; i++) {
        char text[LTI_LABEL];
        int w = 0;
        if (!drift_item(f, p, i, text, &w)) continue;
        lti_style st = style(f, lti_palette[i], bold(p, i));
        const int tw = lti_text_width(text, f->size, st.bold);
        if (filled(p, i)) {
            const float r = 6.5f * f->size, mid = (float)y - 4.5f * f->size;
            const float x0 = (float)(x + w / 2 - tw / 2) + r / 3, x1 = x0 + (float)tw - r * 2 / 3;
            lti_canvas_strokes(c, &(lti_seg){x0, mid, x1, mid}, 1, 2 * r, lti_palette[i], 1);
            st.ink = lti_ink_white;
        }
        lti_text(c, x + w / 2 - tw / 2, y, text, &st);
        x += w;
    }
}

static void draw_drift(const lti_figure *f, const lti_panel *p, lti_canvas *c) {
    const lti_style grey = style(f, lti_ink_grey, false);
    const int line = lti_px(f, 15);
    if (lti_panel_rows(f, p) > p->rows) return; /* no room */
    int y = p->y + lti_px(f, 12);
    for (int i = 0, row = 0; row <= p->rows; row++, y += line) {
        const int from = i, used = row_of_items(f, p, room_of_row(f, p, row), row > 0, &i);
        const int x = p->x + p->w - used + lti_px(f, 4);
        draw_row(f, p, c, from, i, x, y);
        if (row == 0 && used) lti_text_right(c, x - lti_px(f, 6), y, drift_word, &grey);
    }
}

/* ---- the plotting area ----------------------------------------------------------------------------- */

typedef struct area {
    int x, y, w, h;
    double sx, sy; /* pixels per second, per unit of value */
    const lti_figure *f;
    const lti_panel *p;
    lti_canvas *c;
} area;

static float at_x(const area *a, double t) { return (float)(a->x + 0.5 + (t - a->f->t0) * a->sx); }
static float at_y(const area *a, double v) {
    const double y = a->y + a->h - 0.5 - (v - a->p->axis.lo) * a->sy;
    return (float)fmin(fmax(y, -1e5), 1e5);
}

static area make_area(const lti_figure *f, const lti_panel *p, lti_canvas *c) {
    const int top = lti_px(f, 20) + p->rows * lti_px(f, 15), bottom = lti_px(f, 15);
    area a = {.x = p->x + p->left, .y = p->y + top, .f = f, .p = p, .c = c};
    a.w = p->w - p->left, a.h = p->h - top - bottom;
    if (a.w < 8) a.w = 8;
    if (a.h < 8) a.h = 8;
    a.sx = (a.w - 1) / (f->t1 - f->t0);
    a.sy = (a.h - 1) / (p->axis.hi - p->axis.lo);
    return a;
}

/* Shades the first and the last 15 % of the longest video. */
static void draw_ground(const area *a) {
    const lti_figure *f = a->f;
    const double end = f->t1 - f->t0;
    const int w = (int)lround(0.15 * end * a->sx);
    if (f->shade) {
        lti_canvas_fill(a->c, a->x, a->y, w, a->h, ink_shade, 1);
        lti_canvas_fill(a->c, a->x + a->w - w, a->y, w, a->h, ink_shade, 1);
    }
    const int thick = lti_px(f, 0.8), dash = lti_px(f, 5);
    for (int i = 0; i < a->p->axis.n; i++) {
        const int y = (int)floorf(at_y(a, lti_axis_tick(&a->p->axis, i)));
        lti_canvas_fill(a->c, a->x, y, a->w, thick, ink_grid, 1);
    }
    if (a->p->metric == LT_METRIC_BOUNDARY) /* no seam */
        for (int x = 0; x < a->w; x += lti_px(f, 8))
            lti_canvas_fill(a->c, a->x + x, (int)floorf(at_y(a, 1)),
                            x + dash < a->w ? dash : a->w - x, thick, lti_ink_grey, 1);
}

static void draw_time_axis(const area *a) {
    const lti_figure *f = a->f;
    lti_axis t = {.lo = f->t0, .hi = f->t1, .time = true};
    const int most = a->w / lti_px(f, 34);
    lti_axis_ticks(&t, most < 2 ? 2 : most > 11 ? 11 : most);
    const lti_style grey = style(f, lti_ink_grey, false);
    const int base = a->y + a->h, thick = lti_px(f, 0.8);
    int free_from = -1000000;
    for (int i = 0; i < t.n; i++) {
        char label[LTI_LABEL];
        lti_axis_label(&t, i, label);
        const int x = (int)floorf(at_x(a, lti_axis_tick(&t, i))),
                  w = lti_text_width(label, f->size, 0);
        int left = x - w / 2;
        if (left + w > a->x + a->w) left = a->x + a->w - w;
        lti_canvas_fill(a->c, x, a->y, thick, a->h, ink_grid, 1);
        lti_canvas_fill(a->c, x, base, thick, lti_px(f, 3), ink_frame, 1);
        if (left >= free_from) lti_text(a->c, left, base + lti_px(f, 14), label, &grey);
        free_from = left + w + lti_px(f, 4);
    }
    lti_canvas_fill(a->c, a->x, base, a->w, thick, ink_frame, 1);
}

static void draw_value_labels(const area *a) {
    const lti_style grey = style(a->f, lti_ink_grey, false);
    for (int i = 0; i < a->p->axis.n; i++) {
        char label[LTI_LABEL];
        lti_axis_label(&a->p->axis, i, label);
        const int y = (int)floorf(at_y(a, lti_axis_tick(&a->p->axis, i)));
        lti_text_right(a->c, a->x - lti_px(a->f, 5), y + lti_px(a->f, 5), label, &grey);
    }
}

/* ---- lines ----------------------------------------------------------------------------------------- */

/* Range of the pieces in each pixel column, as a band at least a pixel high that reaches its
 * neighbours. */
static void draw_band(const area *a, lti_ink ink, float alpha) {
    const lti_series *s = a->f->work;
    float last_top = NAN, last_bottom = NAN;
    int last_x = -1;
    for (int i = 0; i < s->n;) {
        const int x = (int)floorf(at_x(a, s->t[i]));
        float top = INFINITY, bottom = -INFINITY;
        for (; i < s->n && (int)floorf(at_x(a, s->t[i])) == x; i++) {
            if (!isfinite(s->v[i])) continue;
            top = fminf(top, at_y(a, s->v[i])), bottom = fmaxf(bottom, at_y(a, s->v[i]));
        }
        if (top > bottom) continue; /* no value here */
        const float own_top = top, own_bottom = bottom;
        if (last_x == x - 1) top = fminf(top, last_bottom), bottom = fmaxf(bottom, last_top);
        last_x = x, last_top = own_top, last_bottom = own_bottom;
        lti_canvas_column(a->c, x, top - 0.5f, bottom + 0.5f, ink, alpha);
    }
}

/* A line through v or the trend, one point per piece or per pixel column. */
static void draw_curve(const area *a, const double *v, float width, lti_ink ink, float alpha) {
    lti_series *s = a->f->work;
    const bool dense = s->n > a->w;
    int k = 0;
    for (int i = 0; i < s->n;) {
        const float x = at_x(a, s->t[i]);
        double sum = 0, when = 0;
        int count = 0;
        const int first = i;
        for (; i < s->n && (i == first || (dense && floorf(at_x(a, s->t[i])) == floorf(x))); i++)
            if (isfinite(v[i])) sum += v[i], when += s->t[i], count++;
        s->point[k++] =
            count ? (lti_point){at_x(a, when / count), at_y(a, sum / count)} : (lti_point){x, NAN};
    }
    lti_canvas_line(a->c, s->point, k, width, ink, alpha);
}

static void draw_dots(const area *a, float radius, lti_ink ink, float alpha) {
    const lti_series *s = a->f->work;
    for (int i = 0; i < s->n; i++)
        if (isfinite(s->v[i]))
            lti_canvas_dot(a->c, at_x(a, s->t[i]), at_y(a, s->v[i]), radius, ink, alpha);
}

/* Video i; first all thin lines are drawn, then all thick ones. */
static void draw_series(const area *a, int i, bool thick) {
    enum { TREND = 32 }; /* windows in the time axis */
    const lti_ink ink = lti_palette[i];
    const float size = a->f->size, pale = a->f->n == 1 ? 0.4f : a->f->n <= 4 ? 0.25f : 0.18f;
    load(a->f, i, a->p->metric);
    lti_series *s = a->f->work;
    const bool lone = take_lone(s), few = s->n < 4;
    const double share = s->n > 1 ? (s->t[s->n - 1] - s->t[0]) / (a->f->t1 - a->f->t0) : 1;
    int window = (int)fmin(s->n / fmax(share, 1e-3) / (lone ? 8 : TREND), s->n / 6.0);
    if (lone && window < 3) window = 0;
    if (!thick) {
        if (lone) draw_dots(a, (s->n < 60 ? 2.2f : 1.5f) * size, ink, few ? 1 : 0.5f);
        else if (s->n > a->w) draw_band(a, ink, pale);
        else if (window >= 3) draw_curve(a, s->v, size, ink, pale + 0.12f);
        return;
    }
    if (lone && !window) return;
    if (!lone && share * a->w > 7 * (double)size * s->n) draw_dots(a, 2.4f * size, ink, 1);
    smooth(s, window >= 3 ? window : 1);
    draw_curve(a, s->trend, 1.9f * size, ink, 1);
}

/* The two means whose difference is the drift. */
static void draw_ends(const area *a, int i) {
    const lt_metric_summary *sum = &a->p->sum[i];
    const lti_series *s = a->f->work;
    load(a->f, i, a->p->metric);
    const int n = s->n, part = (int)(0.15 * n);
    if (n < LTI_SHORT || !isfinite(sum->first) || !isfinite(sum->last)) return;
    const double mean[2] = {sum->first, sum->last};
    const int from[2] = {0, n - 1 - part}, to[2] = {part, n - 1};
    for (int k = 0; k < 2; k++) {
        const float y = at_y(a, mean[k]);
        const lti_seg bar = {at_x(a, s->t[from[k]]), y, at_x(a, s->t[to[k]]), y};
        lti_canvas_strokes(a->c, &bar, 1, 5 * a->f->size, lti_palette[i], 0.4f);
    }
}

/* A wedge at the border for the frames beyond it, and the value of the farthest. */
static void mark_outliers(const area *a, int i) {
    const lti_axis *axis = &a->p->axis;
    const lti_series *s = a->f->work;
    const float r = 3.5f * a->f->size;
    load(a->f, i, a->p->metric);
    for (int top = 0; top < 2; top++) {
        int far = -1;
        float last_x = -INFINITY;
        for (int k = 0; k < s->n; k++) {
            if (!(top ? s->v[k] > axis->hi : s->v[k] < axis->lo)) continue;
            if (far < 0 || (top ? s->v[k] > s->v[far] : s->v[k] < s->v[far])) far = k;
            const float x = at_x(a, s->t[k]);
            if (x - last_x < r) continue;
            last_x = x;
            for (int j = 0; j <= (int)(1.6f * r); j++) { /* apex at the border */
                const int y = top ? a->y + j : a->y + a->h - 1 - j;
                lti_canvas_fill(a->c, (int)(x - (float)j * 0.6f), y, (int)((float)j * 1.2f) + 1, 1,
                                lti_palette[i], 1);
            }
        }
        if (far < 0) continue;
        char label[LTI_LABEL];
        snprintf(label, sizeof label, "%.*f", lt_metric_digits(a->p->metric), s->v[far]);
        const lti_style st = style(a->f, lti_palette[i], false);
        const int w = lti_text_width(label, a->f->size, false), off = lti_px(a->f, 6);
        int x = (int)at_x(a, s->t[far]) + off;
        if (x + w > a->x + a->w) x -= w + 2 * off;
        lti_text(a->c, x, top ? a->y + lti_px(a->f, 10) : a->y + a->h - lti_px(a->f, 3), label,
                 &st);
    }
}

void lti_panel_draw(const lti_figure *f, const lti_panel *p, lti_canvas *c) {
    lti_canvas_clip(c, p->x - lti_px(f, 6), p->y, p->w + lti_px(f, 12), p->h);
    const lti_style black = style(f, lti_ink_text, true), grey = style(f, lti_ink_grey, false);
    const char *name = lt_metric_name(p->metric), *unit = lt_metric_unit(p->metric);
    const int base = p->y + lti_px(f, 12);
    lti_text(c, p->x, base, name, &black);
    if (strcmp(unit, "levels^2") == 0) unit = "levels\xc2\xb2";
    lti_text(c, p->x + lti_text_width(name, f->size, true) + lti_px(f, 7), base, unit, &grey);
    draw_drift(f, p, c);
    const area a = make_area(f, p, c);
    bool any = false;
    for (int i = 0; i < f->n; i++) any = any || p->sum[i].n > 0;
    draw_ground(&a);
    draw_time_axis(&a);
    if (!any) {
        lti_text_middle(c, a.x + a.w / 2, a.y + a.h / 2 + lti_px(f, 5), "no values", &grey);
        lti_canvas_unclip(c);
        return;
    }
    draw_value_labels(&a);
    const int over = lti_px(f, 3);
    lti_canvas_clip(c, a.x - over, a.y - over, a.w + 2 * over, a.h + over);
    for (int i = 0; i < f->n; i++) draw_series(&a, i, false);
    for (int i = 0; i < f->n; i++) draw_ends(&a, i);
    for (int i = 0; i < f->n; i++) draw_series(&a, i, true);
    for (int i = 0; i < f->n; i++) mark_outliers(&a, i);
    lti_canvas_unclip(c);
}

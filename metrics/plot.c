/* SPDX-License-Identifier: Apache-2.0
 * metrics/plot.c - the figure of lt_plot_draw: legend, a grid of panels, what the marks mean.
 *
 * Everything scales with one number, the size of the text, which follows from the size of a panel;
 * below 0.9 nothing can be read, so small pictures lose room for curves instead. Names are foreign
 * text: they are cut to their place. */
#include "metrics/panel.h"
#include "base/error.h"
#include "base/memory.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_W = 640, MIN_H = 360, MAX_SIDE = 8192, CELL_W = 400, CELL_H = 206 };
static const double cell_w = 320, cell_h = 150; /* of a panel at size 1 */

static bool has_values(const lt_plot_line *line, int32_t n, int32_t metric) {
    for (int32_t i = 0; i < n; i++) {
        lt_metric_summary s;
        lt_metrics_summary_of(line[i].m, metric, &s, sizeof s);
        if (s.n > 0) return true;
    }
    return false;
}

/* The metrics to show, in order -> metric [LT_METRIC_COUNT]; how many. */
static int choose(const lt_plot_line *line, int32_t n, uint32_t want, int32_t *metric) {
    int k = 0;
    for (int32_t i = 0; i < LT_METRIC_COUNT; i++)
        if (want ? (want & LT_METRIC_BIT(i)) != 0 : has_values(line, n, i)) metric[k++] = i;
    return k;
}

static bool lines_ok(const lt_plot_line *line, int32_t n) {
    if (!line || n < 1 || n > LTI_LINES) return false;
    for (int32_t i = 0; i < n; i++)
        if (!line[i].m) return false;
    return true;
}

static int usual_columns(int panels) {
    return panels <= 3 ? panels + !panels : panels == 4 ? 2 : panels <= 9 ? 3 : 4;
}

void lt_plot_size(const lt_plot_line *line, int32_t n, uint32_t want, int32_t *width,
                  int32_t *height) {
    int32_t metric[LT_METRIC_COUNT];
    const int panels = lines_ok(line, n) ? choose(line, n, want, metric) : 0;
    const int columns = usual_columns(panels), rows = (panels + columns - 1) / columns;
    *width = panels <= 1 ? 1000 : columns * CELL_W + 80;
    *height = panels <= 1 ? 480 : rows * CELL_H + 100;
    if (*height < MIN_H) *height = MIN_H;
}

/* From the first frame to the end of the last; false: no frames. Of more than 8192 frames the first
 * piece has its time in its middle. */
static bool video_range(const lt_metrics *m, double *begin, double *end) {
    const double frames = (double)lt_metrics_frames(m);
    int32_t n = 0, k = 0; /* the pieces of the first metric that was measured */
    while (k < LT_METRIC_COUNT && (n = lt_metrics_trace(m, k, -1, NULL, NULL)) < 1) k++;
    double t = NAN, last = lt_metrics_seconds(m);
    if (n > 0) lt_metrics_trace(m, k, 0, &t, NULL);
    if (!isfinite(t) || !isfinite(last) || t > last) return false;
    const double step = n > 1 ? (last - t) / (frames - (frames / n + 1) / 2) : 0;
    *begin = t - step * (frames / n - 1) / 2;
    *end = last + step;
    return true;
}

/* ---- legend and footer ----------------------------------------------------------------------------- */

/* Name and length of each video beside its colour, in as many rows as they need; returns their
 * height. c NULL: only that. */
static int legend(const lti_figure *f, int x, int y, int width, lti_canvas *c) {
    const float size = f->size * 1.1f;
    const int line = lti_px(f, 20), swatch = lti_px(f, 22), gap = lti_px(f, 7),
              between = lti_px(f, 26);
    int at = x, rows = 1;
    for (int i = 0; i < f->n; i++) {
        const lt_metrics *m = f->line[i].m;
        const char *text = f->line[i].name ? f->line[i].name : "";
        char name[512], note[64], length[LTI_LABEL];
        double begin = 0, end = 0;
        video_range(m, &begin, &end);
        lti_duration(end - begin, length);
        snprintf(note, sizeof note, "%lld frame%s, %s", (long long)lt_metrics_frames(m),
                 lt_metrics_frames(m) == 1 ? "" : "s", length);
        const int note_w = lti_text_width(note, f->size, false);
        const int most = (f->n == 1 ? width : width / 2 - between) - swatch - note_w - 2 * gap;
        lti_text_cut(text, size, true, most, name, sizeof name);
        const int name_w = lti_text_width(name, size, true);
        const int need = swatch + gap + name_w + gap + note_w;
        if (at > x && at + need > x + width) at = x, rows++;
        if (c) {
            const int base = y + rows * line - lti_px(f, 6);
            const lti_style bold = {size, true, lti_ink_text},
                            grey = {f->size, false, lti_ink_grey};
            const float mid = (float)base - 4.5f * size, r = 2.5f * f->size;
            const lti_seg bar = {(float)at + r, mid, (float)(at + swatch) - r, mid};
            lti_canvas_strokes(c, &bar, 1, 2 * r, lti_palette[i], 1);
            lti_text(c, at + swatch + gap, base, name, &bold);
            lti_text(c, at + swatch + gap + name_w + gap, base, note, &grey);
        }
        at += need + between;
    }
    return rows * line;
}

static void footer(const lti_figure *f, int x, int y, int width, lti_canvas *c) {
    static const char *const say[] = {
        "thin: every frame \xc2\xb7 thick: moving mean \xc2\xb7 shaded: first and last 15 % "
        "\xc2\xb7 bars: their means \xc2\xb7 drift: last \xe2\x88\x92 first; filled: past the "
        "metric's mark, bold: half way",
        "shaded: first and last 15 % \xc2\xb7 bars: their means \xc2\xb7 drift: last \xe2\x88\x92 "
        "first",
        "drift: mean of the last 15 % \xe2\x88\x92 mean of the first 15 %"};
    const lti_style grey = {f->size, false, lti_ink_grey};
    for (size_t i = 0; i < sizeof say / sizeof *say; i++) {
        if (lti_text_width(say[i], f->size, false) > width) continue;
        lti_text(c, x, y, say[i], &grey);
        return;
    }
}

/* ---- layout ------------------------------------------------------------------------------------------ */

/* Columns for cells that come nearest to the usual shape. */
static int columns_for(int panels, int width, int height) {
    int best = 1;
    double least = INFINITY;
    for (int k = 1; k <= panels; k++) {
        const int rows = (panels + k - 1) / k;
        const double shape = ((double)width / k) / ((double)height / rows);
        const double off = fabs(log(shape / (cell_w / cell_h))) + 0.1 * (k * rows - panels);
        if (off < least) least = off, best = k;
    }
    return best;
}

static float text_size(int width, int height, int columns, int rows) {
    const double cell = fmin((width / (double)columns) / cell_w, (height / (double)rows) / cell_h);
    const double most = fmax(1.25, (width < height ? width : height) / 720.0);
    double size = fmin(cell, most);
    size = fmax(size, 0.9);
    return (float)(floor(size * 20) / 20); /* steps, so that sizes alike look alike */
}

/* From the first frame of all videos to the end of the last. */
static void time_range(lti_figure *f) {
    double lo = INFINITY, hi = -INFINITY;
    for (int i = 0; i < f->n; i++) {
        double begin, end;
        if (!video_range(f->line[i].m, &begin, &end)) continue;
        lo = fmin(lo, begin), hi = fmax(hi, end);
        f->shade = f->shade || lt_metrics_frames(f->line[i].m) >= LTI_SHORT;
    }
    if (!(lo <= hi)) lo = 0, hi = 1;
    if (hi - lo < 1e-6 * fmax(1, fabs(hi))) hi = lo + 1;
    f->t0 = lo, f->t1 = hi;
}

/* Panels of a row share the room for drift numbers, those of a column the room for tick labels, so
 * that their axes stand in line. */
static void align(const lti_figure *f, lti_panel *panel, int panels, int columns) {
    for (int k = 0; k < panels; k += columns) {
        int rows = 0;
        const int end = k + columns < panels ? k + columns : panels;
        for (int i = k; i < end; i++) {
            const int need = lti_panel_rows(f, &panel[i]);
            if (need > rows) rows = need;
        }
        if (panel[k].h < lti_px(f, 33 + 30 + 15 * rows)) rows = 0;
        for (int i = k; i < end; i++) panel[i].rows = rows;
    }
    for (int k = 0; k < columns; k++) {
        int widest = 0;
        for (int i = k; i < panels; i += columns) {
            const int w = lti_panel_ticks(f, &panel[i]);
            if (w > widest) widest = w;
        }
        for (int i = k; i < panels; i += columns) {
            panel[i].left = widest + lti_px(f, 7);
            if (panel[i].left > panel[i].w / 2) panel[i].left = panel[i].w / 2;
        }
    }
}

static void draw_figure(lti_figure *f, lti_panel *panel, int panels, lti_canvas *c) {
    lti_canvas_fill(c, 0, 0, c->w, c->h, lti_ink_white, 1);
    const int columns = panels ? columns_for(panels, c->w, c->h) : 1;
    const int rows = panels ? (panels + columns - 1) / columns : 1;
    f->size = text_size(c->w, c->h, columns, rows);
    const int edge = lti_px(f, 16), gap_x = lti_px(f, 24), gap_y = lti_px(f, 10);
    const int inner = c->w - 2 * edge;
    const int top = lti_px(f, 8) + legend(f, edge, lti_px(f, 8), inner, c) + lti_px(f, 8);
    const int bottom = c->h - lti_px(f, 24);
    footer(f, edge, c->h - lti_px(f, 9), inner, c);
    if (!panels) {
        const lti_style grey = {f->size, false, lti_ink_grey};
        lti_text_middle(c, c->w / 2, c->h / 2, "no values", &grey);
        return;
    }
    const int w = (inner - (columns - 1) * gap_x) / columns;
    const int h = (bottom - top - (rows - 1) * gap_y) / rows;
    for (int i = 0; i < panels; i++) {
        lti_panel *p = &panel[i];
        p->x = edge + i % columns * (w + gap_x), p->y = top + i / columns * (h + gap_y);
        p->w = w, p->h = h;
        lti_panel_measure(f, p);
    }
    align(f, panel, panels, columns);
    for (int i = 0; i < panels; i++) lti_panel_draw(f, &panel[i], c);
}

lt_status lt_plot_draw(const lt_plot_line *line, int32_t n, uint32_t want, int32_t width,
                       int32_t height, uint8_t *rgb, lt_error *err) {
    if (!lines_ok(line, n) || !rgb)
        return lti_fail(err, LT_EINVAL, "plot: %d videos given, 1 to %d can be drawn", (int)n,
                        LTI_LINES);
    if (want >> LT_METRIC_COUNT)
        return lti_fail(err, LT_EINVAL, "plot: metrics 0x%x asked for, there are %d",
                        (unsigned)want, LT_METRIC_COUNT);
    if (width < MIN_W || height < MIN_H || width > MAX_SIDE || height > MAX_SIDE)
        return lti_fail(err, LT_EINVAL, "plot: %dx%d pixels asked for, %dx%d to %dx%d can be drawn",
                        (int)width, (int)height, MIN_W, MIN_H, MAX_SIDE, MAX_SIDE);
    int32_t metric[LT_METRIC_COUNT];
    lti_panel panel[LT_METRIC_COUNT];
    const int panels = choose(line, n, want, metric);
    lti_figure f = {.line = line, .n = n, .size = 1};
    f.work = malloc(sizeof *f.work);
    if (!f.work) return lti_oom(err, sizeof *f.work);
    memset(panel, 0, sizeof panel);
    for (int i = 0; i < panels; i++) panel[i].metric = metric[i];
    time_range(&f);
    lti_canvas c;
    lti_canvas_init(&c, rgb, width, height);
    draw_figure(&f, panel, panels, &c);
    free(f.work);
    return LT_OK;
}

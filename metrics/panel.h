/* SPDX-License-Identifier: Apache-2.0
 * metrics/panel.h - axes and panels of lt_plot_draw: axis.c, panel.c, plot.c. */
#ifndef LT_METRICS_PANEL_H
#define LT_METRICS_PANEL_H
#include "metrics/canvas.h"
#include "metrics/metrics_int.h"

/* ---- axis.c: round numbers ------------------------------------------------------------------------- */

typedef struct lti_axis {
    double lo, hi;      /* range shown, lo < hi */
    double first, step; /* ticks at first + i * step, i in [0, n) */
    int n;
    bool time; /* seconds */
} lti_axis;

enum { LTI_LABEL = 32 }; /* bytes of a tick's label */

/* Choose at most `most` (2 or more) ticks inside lo..hi; both finite. */
void lti_axis_ticks(lti_axis *a, int most);
double lti_axis_tick(const lti_axis *a, int i);
void lti_axis_label(const lti_axis *a, int i, char *out);
/* 0.0 s, 1:40 from 100 s on, 2:00:00 from 2 h on */
void lti_duration(double seconds, char *out);
/* v with sign and `digits` behind the point; "0" if that is what is left of it */
void lti_signed_number(double v, int digits, char *out);

/* ---- panel.c: one metric ----------------------------------------------------------------------------- */

enum { LTI_LINES = 8, LTI_SHORT = 7 /* frames with no 15 % */ };

/* Where the series of one video lies while it is drawn. */
typedef struct lti_series {
    int n;                               /* pieces */
    double t[LTI_PIECES], v[LTI_PIECES]; /* v: NaN: none */
    double trend[LTI_PIECES];            /* moving mean of v */
    lti_point point[LTI_PIECES];
} lti_series;

/* The figure: what all panels share. */
typedef struct lti_figure {
    const lt_plot_line *line;
    int n;         /* videos */
    float size;    /* of text, see canvas.h; all lengths scale with it */
    double t0, t1; /* time axis */
    bool shade;    /* the first and last 15 %: there are enough frames */
    lti_series *work;
} lti_figure;

typedef struct lti_panel {
    int32_t metric;
    int x, y, w, h; /* all of it */
    int left;       /* width of the tick labels */
    int rows;       /* lines that drift numbers take below the name */
    lti_axis axis;  /* of values */
    int digits;     /* of drift, behind the point */
    lt_metric_summary sum[LTI_LINES];
} lti_panel;

extern const lti_ink lti_palette[LTI_LINES];
extern const lti_ink lti_ink_text, lti_ink_grey, lti_ink_white;

/* Pixels of a length given at size 1, at least 1. */
int lti_px(const lti_figure *f, double length);
/* Fills in what depends on the data alone: sum and the axis' range. */
void lti_panel_measure(const lti_figure *f, lti_panel *p);
/* Rows that the drift numbers need below the name in a panel of this width. */
int lti_panel_rows(const lti_figure *f, const lti_panel *p);
/* Ticks for a panel of this height; returns the width of the labels. */
int lti_panel_ticks(const lti_figure *f, lti_panel *p);
void lti_panel_draw(const lti_figure *f, const lti_panel *p, lti_canvas *c);

#endif

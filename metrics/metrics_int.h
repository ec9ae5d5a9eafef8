/* SPDX-License-Identifier: Apache-2.0
 * metrics/metrics_int.h - what the files of metrics/ know of each other.
 *
 * Planes are 8-bit [h, w] with a stride. Everything is allocated at open; a push allocates nothing. */
#ifndef LT_METRICS_METRICS_INT_H
#define LT_METRICS_METRICS_INT_H
#include "longtake/metrics.h"
#include <stdbool.h>

/* What is computed from RGB; all else from Y U V. */
#define LTI_METRICS_RGB                                                                            \
    (LT_METRIC_BIT(LT_METRIC_FLICKER) | LT_METRIC_BIT(LT_METRIC_BOUNDARY) |                        \
     LT_METRIC_BIT(LT_METRIC_HIST_FIRST) | LT_METRIC_BIT(LT_METRIC_HIST_PREV))

enum { LTI_PIECES = 8192 }; /* of a trace, at most */

typedef struct lti_plane {
    const uint8_t *p; /* [h, w] */
    ptrdiff_t stride;
    int w, h;
} lti_plane;

/* ---- kernels.c: loops over samples, one table per instruction set, equal results (integers) ---- */

typedef struct lti_levels {
    uint64_t sum, sum2, below, above;
} lti_levels;

/* Results through pointers are set, not added to, unless it says so. */
typedef struct lti_kernels {
    /* sum |a - b| over n bytes */
    uint64_t (*sad)(const uint8_t *a, const uint8_t *b, size_t n);
    /* the 16x16 block at a against that at b */
    uint32_t (*sad16)(const uint8_t *a, ptrdiff_t as, const uint8_t *b, ptrdiff_t bs);
    uint32_t (*sad8)(const uint8_t *a, ptrdiff_t as, const uint8_t *b, ptrdiff_t bs);
    /* sum and sum of squares of a - b over n bytes */
    void (*diff2)(const uint8_t *a, const uint8_t *b, size_t n, int64_t *sum, uint64_t *sum2);
    /* sum and sum of squares of the Laplacian of the inner pixels of row y (above, here, below) */
    void (*laplace)(const uint8_t *a, const uint8_t *h, const uint8_t *b, int w, int64_t *sum,
                    uint64_t *sum2);
    /* the same of the Sobel magnitude, in doubles */
    void (*sobel)(const uint8_t *a, const uint8_t *h, const uint8_t *b, int w, double *sum,
                  double *sum2);
    /* sum of sqrt((u-128)^2 + (v-128)^2) over n */
    double (*chroma)(const uint8_t *u, const uint8_t *v, size_t n);
    /* half the size, mean of 2x2 rounded; w, h of the output */
    void (*halve)(const uint8_t *in, ptrdiff_t is, uint8_t *out, ptrdiff_t os, int w, int h);
    /* adds what n samples are to *out; below: p <= lo, above: p >= hi */
    void (*levels)(const uint8_t *p, size_t n, uint8_t lo, uint8_t hi, lti_levels *out);
    /* 16..235 to 0..255, cut to integers as FFmpeg's siti does */
    void (*stretch)(const uint8_t *in, uint8_t *out, size_t n);
    /* acc[i] += p[i] */
    void (*add)(uint32_t *acc, const uint8_t *p, size_t n);
    /* sum a b; the caller sees to it that it fits, in any order of summing */
    int32_t (*dot)(const int16_t *a, const int16_t *b, size_t n);
    /* counts n pixels into bins [3, 32], 8 levels each */
    void (*bins)(const uint8_t *rgb, size_t n, uint32_t *bins);
    /* BT.709 limited range: n pixels to luma; rows a and b of w pixels to (w + 1) / 2 samples */
    void (*rgb_y)(const uint8_t *rgb, uint8_t *y, size_t n);
    void (*rgb_uv)(const uint8_t *a, const uint8_t *b, size_t w, uint8_t *u, uint8_t *v);
} lti_kernels;
const lti_kernels *lti_kernels_best(void);    /* of this processor */
const lti_kernels *lti_kernels_at(int level); /* 0 plain C, 1 AVX2, 2 AVX-512; NULL: not here */

/* ---- motion.c ---------------------------------------------------------------------------------- */

typedef struct lti_motion lti_motion;
lt_status lti_motion_open(int w, int h, lti_motion **out, lt_error *err);
void lti_motion_close(lti_motion **m);
/* Luma of the next frame. *motion, *warp from the second, *smooth from the third frame on, else
 * NaN. */
void lti_motion_push(lti_motion *m, lti_plane y, double *motion, double *warp, double *smooth);

/* ---- compare.c, msssim.c: against a reference --------------------------------------------------- */

typedef struct lti_compare lti_compare;
/* want: LT_METRIC_BITs of psnr, ssim, ms_ssim */
lt_status lti_compare_open(int w, int h, uint32_t want, lti_compare **out, lt_error *err);
void lti_compare_close(lti_compare **c);
/* n planes (1 or 3) of each; those of b may have another chroma size only if the caller checked
 * that they do not. NaN for what is not wanted. */
void lti_compare_push(lti_compare *c, const lti_plane *a, const lti_plane *b, int n, double *psnr,
                      double *ssim, double *ms_ssim);

typedef struct lti_msssim lti_msssim;
/* level: 0 plain C, 1 the best of this processor; equal results */
lt_status lti_msssim_open(int w, int h, int level, lti_msssim **out, lt_error *err);
void lti_msssim_close(lti_msssim **m);
double lti_msssim_push(lti_msssim *m, lti_plane a, lti_plane b); /* NaN: below 11x11 */

/* ---- source.c: a file decoded ahead by a thread of its own, for file.c -------------------------- */

typedef struct lti_source lti_source;
typedef struct lti_frame {
    lt_picture pic; /* planes, rgb if asked for */
    double seconds; /* rising */
} lti_frame;
lt_status lti_source_open(const lt_reader_params *p, bool rgb, lti_source **out, lt_error *err);
void lti_source_close(lti_source **s); /* at any time; the thread is gone then */
/* LT_OK, LT_END or an error, then always the same; *f is valid until the next call. */
lt_status lti_source_next(lti_source *s, const lti_frame **f, lt_error *err);
void lti_source_stop(lti_source *s); /* what is not read is left out; no next() from here on */
/* Of the reader: as it was opened, behind LT_END or stop() as it is now. */
const lt_reader_info *lti_source_info(const lti_source *s);
/* Frames per chunk and of chunk 0 as the metadata says; 0: it does not. */
void lti_source_chunks(const lti_source *s, int32_t *chunk, int32_t *first);

/* ---- match.c: a reference in the layout of the picture it is held against, for file.c ------------ */

typedef struct lti_match {
    uint8_t *buf;
    size_t cap;
} lti_match; /* zeroed at first */
/* *out: `in` with chroma planes and range as `like`, whose size it has; what is equal is not copied.
 * Valid until the next call. */
lt_status lti_match_run(lti_match *m, const lt_picture *like, const lt_picture *in, lt_picture *out,
                        lt_error *err);
void lti_match_close(lti_match *m);

/* ---- loop.c ------------------------------------------------------------------------------------- */

typedef struct lti_loop lti_loop;
lt_status lti_loop_open(int w, int h, lti_loop **out, lt_error *err);
void lti_loop_close(lti_loop **l);
double lti_loop_push(lti_loop *l, lti_plane y, double seconds); /* NaN before 2 s */

/* ---- trace.c: mean, extremes, slope and the course of one series in constant memory -------------- */

typedef struct lti_trace lti_trace;
lt_status lti_trace_open(lti_trace **out, lt_error *err);
void lti_trace_close(lti_trace **t);
void lti_trace_push(lti_trace *t, double seconds, double value); /* value may be NaN */
void lti_trace_summary(const lti_trace *t, lt_metric_summary *s);
int32_t lti_trace_piece(const lti_trace *t, int32_t i, double *seconds, double *mean);

/* ---- fromrgb.c: Y U V of pictures that come as RGB --------------------------------------------- */

typedef struct lti_fromrgb {
    int w, h;
    uint8_t *y, *u, *v; /* [h, w], [(h + 1) / 2, (w + 1) / 2] twice; rows without gaps */
} lti_fromrgb;
lt_status lti_fromrgb_open(int w, int h, lti_fromrgb *p, lt_error *err);
void lti_fromrgb_close(lti_fromrgb *p);
void lti_fromrgb_run(lti_fromrgb *p, const lti_kernels *k, const uint8_t *rgb /* [h, w, 3] */);

/* ---- hist.c: distance of a frame's histograms to those of earlier chunks ------------------------ */

typedef struct lti_hist lti_hist;
lt_status lti_hist_open(lti_hist **out, lt_error *err);
void lti_hist_close(lti_hist **h);
/* chunk: that the frame belongs to, from 0, never less than before. */
void lti_hist_push(lti_hist *h, const lti_kernels *k, const uint8_t *rgb, size_t pixels,
                   int64_t chunk, double *to_first, double *to_prev);

/* ---- seams.c: the median of the differences inside chunks ---------------------------------------- */

typedef struct lti_seams lti_seams;
lt_status lti_seams_open(lti_seams **out, lt_error *err);
void lti_seams_close(lti_seams **s);
void lti_seams_push(lti_seams *s, double diff); /* <|F_t - F_t-1|> in levels */
double lti_seams_median(lti_seams *s);          /* NaN: none yet */
double lti_seams_floor(double diff);            /* diff, or what counts as none */

/* ---- drift.c: the latest 2 s against the first --------------------------------------------------- */

typedef struct lti_drift lti_drift;
lt_status lti_drift_open(lti_drift **out, lt_error *err);
void lti_drift_close(lti_drift **t);
void lti_drift_push(lti_drift *t, double seconds, const double *row /* [LT_METRIC_COUNT] */);
void lti_drift_get(const lti_drift *t, lt_drift *out);
/* How far a mean moved, in its scale: 1 is plain to see. NaN: not a metric of the score. */
double lti_drift_moved(int32_t metric, double first, double now);

#endif

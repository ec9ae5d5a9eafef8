/* SPDX-License-Identifier: Apache-2.0
 * longtake/metrics.h - frame-consistency metrics: what drifts in a long video, without a network.
 *
 *   lt_metrics_params p; lt_metrics_params_init(&p);
 *   p.width = 832; p.height = 480; p.fps = 16; p.chunk = 12; p.first_chunk = 9;
 *   lt_metrics_open(&p, &m, &err);
 *   for each picture:  lt_metrics_push(m, &picture, NULL, seconds, row, &err);
 *   lt_metrics_summary_of(m, LT_METRIC_LUMA, &s, sizeof s);
 *   lt_metrics_close(&m);
 * or all of it at once: lt_metrics_file("out.mp4", NULL, &p, NULL, NULL, &m, &err).
 *
 * Streaming: memory and time per frame are constant, whatever the length. Integers are summed
 * exactly, so that the numbers do not depend on the processor. One thread per object.
 *
 * Per frame t, F = its R'G'B' samples 0..255, Y U V = its 8-bit samples as stored (limited range
 * unless the file says otherwise), <.> = mean over samples, W x H its size:
 *
 *   flicker     1 - <|F_t - F_t-1|> / 255; its mean is VBench's temporal flickering
 *   luma        <Y>, as signalstats' YAVG
 *   contrast    standard deviation of Y
 *   saturation  <sqrt((U-128)^2 + (V-128)^2)>, as signalstats' SATAVG
 *   clip_lo     percent of pixels with luma <= 2, luma stretched as for si; clip_hi: >= 253
 *   sharpness   variance of the Laplacian (0 1 0, 1 -4 1, 0 1 0) of Y, inner pixels
 *   si, ti      ITU-T P.910 on luma stretched to 0..255, as FFmpeg's siti: standard deviation of
 *               the Sobel magnitude, and of Y_t - Y_t-1
 *   hist_first  how far the colours moved since chunk 0, in levels: earth mover's distance of the
 *               32-bin histograms of R, G and B, mean of the three; hist_prev: since the chunk
 *               before. Chunk 0 itself is held against itself; without p.chunk a chunk is 1 s
 *   motion      mean length of the 5 % longest motion vectors of 16x16 blocks, t-1 to t, in pixels
 *               of a picture whose shorter side is 256 (VBench calls 6 at 8 fps dynamic). A vector
 *               that explains its block little better than a change of light does counts as 0
 *   warp_error  <(Y_t - Y_t-1 moved)^2> / 255^2 over the blocks whose forward and backward vectors
 *               agree (Ruder 2016, Lai 2018)
 *   smooth      1 - <|Y_t-1 - middle of Y_t-2 and Y_t along their motion|> / 255
 *   boundary    at the first frame of a chunk: <|F_t - F_t-1|> over the median of the same inside
 *               chunks so far; summary and trace take the median of the whole video. 1: no seam
 *   loop        0..1: how much of what had changed came back more than 2 s later: thumbnails'
 *               correlation at a lag, above its minimum at shorter lags, over what that minimum
 *               leaves to 1
 *   psnr, ssim, ms_ssim   against a reference. psnr: of the mean square error of all planes, as
 *               FFmpeg's psnr_avg, but 100 dB at most, also when equal; ssim: FFmpeg's, all planes
 *               from 8x8 on; ms_ssim: Wang 2003 on Y from 11x11 on, five scales (fewer below 161
 *               pixels, weights scaled to sum 1)
 *
 * NaN stands for "no value at this frame": the first frame of a difference, frames that are no
 * join, metrics not asked for. */
#ifndef LONGTAKE_METRICS_H
#define LONGTAKE_METRICS_H
#include "longtake/encode.h"
#include "longtake/status.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, name, unit, digits shown) in the order of tables and plots */
#define LT_METRIC_MAP(X)                                                                           \
    X(FLICKER, flicker, "", 4)                                                                     \
    X(LUMA, luma, "levels", 2)                                                                     \
    X(CONTRAST, contrast, "levels", 2)                                                             \
    X(SATURATION, saturation, "levels", 2)                                                         \
    X(CLIP_LO, clip_lo, "%", 2)                                                                    \
    X(CLIP_HI, clip_hi, "%", 2)                                                                    \
    X(SHARPNESS, sharpness, "levels^2", 1)                                                         \
    X(SI, si, "levels", 2)                                                                         \
    X(TI, ti, "levels", 2)                                                                         \
    X(HIST_FIRST, hist_first, "levels", 2)                                                         \
    X(HIST_PREV, hist_prev, "levels", 2)                                                           \
    X(MOTION, motion, "pixels", 2)                                                                 \
    X(WARP_ERROR, warp_error, "", 6)                                                               \
    X(SMOOTH, smooth, "", 4)                                                                       \
    X(BOUNDARY, boundary, "", 3)                                                                   \
    X(LOOP, loop, "", 3)                                                                           \
    X(PSNR, psnr, "dB", 2)                                                                         \
    X(SSIM, ssim, "", 4)                                                                           \
    X(MS_SSIM, ms_ssim, "", 4)

typedef enum lt_metric {
#define LT_METRIC_ENUM_(NAME, name, unit, digits) LT_METRIC_##NAME,
    LT_METRIC_MAP(LT_METRIC_ENUM_)
#undef LT_METRIC_ENUM_
        LT_METRIC_COUNT
} lt_metric;

#define LT_METRIC_BIT(m) (UINT32_C(1) << (m))
#define LT_METRICS_REF                                                                             \
    (LT_METRIC_BIT(LT_METRIC_PSNR) | LT_METRIC_BIT(LT_METRIC_SSIM) |                               \
     LT_METRIC_BIT(LT_METRIC_MS_SSIM))
#define LT_METRICS_NO_REF (LT_METRIC_BIT(LT_METRIC_PSNR) - 1)

LT_API const char *lt_metric_name(int32_t metric);  /* NULL if there is no such metric */
LT_API const char *lt_metric_unit(int32_t metric);  /* "" without unit */
LT_API int32_t lt_metric_digits(int32_t metric);    /* behind the point, for tables */
LT_API int32_t lt_metric_by_name(const char *name); /* -1: none */

/* ---- frame by frame --------------------------------------------------------------------------- */

typedef struct lt_metrics lt_metrics;

typedef struct lt_metrics_params {
    size_t struct_size;    /* set by lt_metrics_params_init */
    int32_t width, height; /* 1 to 8192 */
    double fps;            /* frames per second; 0: not known, 16 is assumed */
    int32_t chunk;         /* frames per chunk; 0: not known, then boundary has no value */
    int32_t first_chunk;   /* frames of chunk 0; 0: as the others. 3 latent frames: 9, then 12 */
    uint32_t want;         /* LT_METRIC_BIT | ...; 0: LT_METRICS_NO_REF */
} lt_metrics_params;

LT_API void lt_metrics_params_init_sized(lt_metrics_params *p, size_t size);
#define lt_metrics_params_init(p) lt_metrics_params_init_sized((p), sizeof *(p))

/* LT_EINVAL, LT_ENOMEM. */
LT_API lt_status lt_metrics_open(const lt_metrics_params *p, lt_metrics **out, lt_error *err);
LT_API void lt_metrics_close(lt_metrics **m); /* NULL-safe */

/* The next frame; it is not kept. Without planes (pic->y NULL) they are made from rgb: BT.709,
 * limited range, 4:2:0. rgb may be NULL if neither flicker, boundary nor hist_* is wanted. ref: the
 * picture to compare with, NULL: psnr, ssim and ms_ssim have no value. seconds: time of the frame,
 * rising; an earlier one than the last counts as the last. row [LT_METRIC_COUNT] may be NULL.
 * LT_EINVAL: another size, something missing. */
LT_API lt_status lt_metrics_push(lt_metrics *m, const lt_picture *pic, const lt_picture *ref,
                                 double seconds, double *row, lt_error *err);

typedef struct lt_metric_summary {
    size_t struct_size;
    int64_t n; /* frames with a value; 0: all the rest is NaN */
    double mean;
    double first, last; /* means over the first and the last 15 % of the frames. Of more than 8192
                           frames the borders are off by up to 1/4096 of the length */
    double drift;       /* last - first */
    double slope;       /* per second, least squares over all frames; NaN of fewer than two */
    double min, max;
    double deviation;       /* standard deviation over the frames */
    double first_deviation; /* within the first 15 % */
} lt_metric_summary;
/* Of the frames so far. */
LT_API void lt_metrics_summary_of(const lt_metrics *m, int32_t metric, lt_metric_summary *out,
                                  size_t size);
LT_API int64_t lt_metrics_frames(const lt_metrics *m);
LT_API double lt_metrics_seconds(const lt_metrics *m); /* time of the last frame */

/* The course of a metric in at most 8192 equal pieces, for plots. Returns how many there are; of
 * piece i, 0-based, *mean (NaN: no value) and the *seconds of its middle. i out of range: only the
 * count. */
LT_API int32_t lt_metrics_trace(const lt_metrics *m, int32_t metric, int32_t i, double *seconds,
                                double *mean);

/* ---- drift, live ------------------------------------------------------------------------------- */

typedef struct lt_drift {
    size_t struct_size;
    double score;      /* 0: as the start; 1: plain to see. NaN: fewer than 2 s, or none measured */
    int32_t metric;    /* the one that moved most of its scale, lt_metric; -1 with score NaN */
    double first, now; /* its means over the first and the latest 2 s */
} lt_drift;
/* The largest of |now - first| / scale over those that are measured of luma, contrast, saturation,
 * hist_first and sharpness, the last in octaves. Frame 0 does not count. The scales and what they
 * rest on: docs/METRICS.md. */
LT_API void lt_metrics_drift(const lt_metrics *m, lt_drift *out, size_t size);

/* ---- whole files -------------------------------------------------------------------------------- */

typedef struct lt_metrics_file_params {
    size_t struct_size;
    const char *ref;            /* the file to compare with, NULL: none */
    int32_t chunk, first_chunk; /* 0: from the file's metadata, else not known */
    uint32_t want;              /* as in lt_metrics_params; 0: all that can be had. A ref, and one
                                   of LT_METRICS_REF wanted, go together */
    int32_t threads;    /* of the decoder; 0: 1. Beside them one thread reads and one computes */
    int32_t shortest;   /* non-zero: with ref, compare as far as the shorter one goes */
    int32_t accept_cut; /* as in lt_reader_params */
    int32_t rgb;        /* non-zero: fn gets every frame as RGB, also if no metric needs it */
} lt_metrics_file_params;

LT_API void lt_metrics_file_params_init_sized(lt_metrics_file_params *p, size_t size);
#define lt_metrics_file_params_init(p) lt_metrics_file_params_init_sized((p), sizeof *(p))

/* Called for each frame in order, on the caller's thread; rgb [height, width, 3] of the frame, or
 * NULL when neither a metric nor p->rgb asked for it. Non-zero stops: LT_ECANCELLED. */
typedef int (*lt_metrics_frame_fn)(void *user, int64_t frame, double seconds,
                                   const double *row /* [LT_METRIC_COUNT] */, const uint8_t *rgb);

typedef struct lt_metrics_file_info {
    size_t struct_size;         /* set by the caller: sizeof */
    int32_t chunk, first_chunk; /* in use; 0: not known */
    int64_t ref_frames;         /* frames compared */
    uint32_t have;              /* metrics with a value */
    lt_reader_info video;       /* of the file, at its end. Stays last: it grows with its type */
} lt_metrics_file_info;

/* Reads the file (and p->ref) to its end; *out holds the results, close it; NULL on failure.
 *
 * With a ref both files must have one size. Frames of equal time are compared (to 2.5 ms, Matroska
 * rounds to 1), and those of one of the two must all have a partner in the other: so rates are
 * equal or whole multiples of each other, or one has left frames out. A frame without partner has
 * no psnr, ssim, ms_ssim. Chroma and range of the ref are brought to those of the file. Without
 * `shortest` both must be equally long.
 *
 * Errors as of lt_reader_open and lt_reader_next; LT_EINVAL: the two cannot be aligned, with their
 * numbers. */
LT_API lt_status lt_metrics_file(const char *path, const lt_metrics_file_params *p,
                                 lt_metrics_frame_fn fn, void *user, lt_metrics_file_info *info,
                                 lt_metrics **out, lt_error *err);

/* ---- pictures ------------------------------------------------------------------------------------ */

typedef struct lt_plot_line {
    const char *name; /* shown, UTF-8 */
    const lt_metrics *m;
} lt_plot_line;

/* The series of 1 to 8 videos over time, one panel per metric in `want` (0: all that have values),
 * first and last 15 % shaded, drift marked -> rgb [height, width, 3], caller's. Size: from 640x360
 * to 8192x8192; 0: lt_plot_size suggests one. */
LT_API void lt_plot_size(const lt_plot_line *line, int32_t n, uint32_t want, int32_t *width,
                         int32_t *height);
LT_API lt_status lt_plot_draw(const lt_plot_line *line, int32_t n, uint32_t want, int32_t width,
                              int32_t height, uint8_t *rgb, lt_error *err);

/* A contact sheet: `tiles` evenly spaced frames of a stream whose length is not known before, with
 * their times. Keeps at most 8 * tiles small pictures. The last frame is always shown. */
typedef struct lt_contact lt_contact;
LT_API lt_status lt_contact_open(int32_t width, int32_t height, int32_t tiles /* 1 to 400 */,
                                 lt_contact **out, lt_error *err);
LT_API void lt_contact_close(lt_contact **c);
LT_API lt_status lt_contact_push(lt_contact *c, const uint8_t *rgb, double seconds, lt_error *err);
/* Size of the sheet of n contacts, one below the other (one: several rows), then the drawing of that
 * size, rgb [height, width, 3]. LT_EINVAL: more than 8192 pixels. */
LT_API lt_status lt_contact_size(lt_contact *const *c, int32_t n, int32_t *width, int32_t *height,
                                 lt_error *err);
LT_API lt_status lt_contact_draw(lt_contact *const *c, const char *const *name, int32_t n,
                                 int32_t width, int32_t height, uint8_t *rgb, lt_error *err);

/* ---- baselines ----------------------------------------------------------------------------------- */

/* The statistics of a video against those of an earlier run. A baseline is what `longtake metrics
 * --write-baseline` writes: {"width", "height", "fps", "frames", "summary": {NAME: {"mean", "first",
 * "last", "drift", "slope", "min", "max"}}, "ref": {..}}; the object of --json will do. Without
 * tolerance, mean, last and drift may each be off by lt_baseline_default; of boundary and loop the
 * mean; of psnr, ssim and ms_ssim mean and min, downwards; the number of frames by 10 %. A tolerance
 * file changes that per metric or per statistic: {"luma": 4, "saturation": {"drift": "+3", "max":
 * "20%"}, "psnr": {"min": -1}, "loop": null, "frames": "50%"}: 4 to both sides; "+3", only that far
 * up, "-3" or -3 only down, the other side is free; % of the baseline's mean; null: not checked. Both
 * are foreign files: bounded, checked, LT_EFORMAT with what and where. */
typedef struct lt_baseline lt_baseline;
enum { LT_BASELINE_BYTES = 4 << 20, LT_TOLERANCE_BYTES = 64 << 10 }; /* at most */
/* text, tolerance: UTF-8 of n bytes; tolerance NULL: the default bands. */
LT_API lt_status lt_baseline_parse(const char *text, size_t n, const char *tolerance,
                                   size_t tolerance_n, lt_baseline **out, lt_error *err);
LT_API void lt_baseline_close(lt_baseline **b); /* NULL-safe */
/* Calls fn with one line of text for each statistic that left its band; returns how many did. A
 * metric that the baseline has and m has not is one of them; one that the baseline lacks is not
 * checked, unless want (0: all) names it. info may be NULL: else another size or frame rate is one
 * line instead of all others, for then the numbers cannot be compared. */
LT_API int32_t lt_baseline_check(const lt_baseline *b, const lt_metrics *m,
                                 const lt_metrics_file_info *info, uint32_t want,
                                 void (*fn)(void *user, const char *line), void *user);
/* The default band: the larger of plain, in the metric's unit, and share times its mean. */
LT_API void lt_baseline_default(int32_t metric, double *plain, double *share);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: Apache-2.0
 * metrics/metrics.c - the object of metrics.h: what is wanted is computed, frame by frame.
 *
 * The definitions are in metrics.h. Details that are not: contrast and sharpness are standard
 * deviation and variance over n, not n - 1. clip_*, si and ti share FFmpeg's integer stretch of
 * limited range, so clip_lo counts Y <= 18 and clip_hi Y >= 234 there. Chunk of a frame: the first
 * `first_chunk` frames are chunk 0, then `chunk` frames each. */
#include "metrics/metrics_int.h"
#include "base/error.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BIT(NAME) LT_METRIC_BIT(LT_METRIC_##NAME)
enum { MAX_SIDE = 8192 };

/* What the parts need. */
static const uint32_t OF_DIFF = BIT(FLICKER) | BIT(BOUNDARY);
static const uint32_t OF_HIST = BIT(HIST_FIRST) | BIT(HIST_PREV);
static const uint32_t OF_PLANES = LT_METRICS_NO_REF & ~LTI_METRICS_RGB;
static const uint32_t OF_LEVELS = BIT(LUMA) | BIT(CONTRAST) | BIT(CLIP_LO) | BIT(CLIP_HI);
static const uint32_t OF_SITI = BIT(SI) | BIT(TI);
static const uint32_t OF_MOTION = BIT(MOTION) | BIT(WARP_ERROR) | BIT(SMOOTH);

struct lt_metrics {
    int w, h;
    uint32_t want;
    int32_t chunk, first_chunk; /* for hist_*; at least 1 */
    bool chunk_known;
    const lti_kernels *k;
    int64_t frames;
    double seconds;     /* of the last frame */
    uint8_t *last_rgb;  /* [h, w, 3] of the last frame */
    uint8_t *stretched; /* [h, w] luma of this frame, 0..255, and of the last one */
    uint8_t *last_stretched;
    lti_fromrgb made, made_ref;
    lti_hist *hist;
    lti_seams *seams;
    lti_motion *motion;
    lti_loop *loop;
    lti_compare *compare;
    lti_drift *drift;
    lti_trace *trace[LT_METRIC_COUNT]; /* NULL: not wanted */
};

static bool wants(const lt_metrics *m, uint32_t bits) { return (m->want & bits) != 0; }

/* ---- open -------------------------------------------------------------------------------------- */

void lt_metrics_params_init_sized(lt_metrics_params *p, size_t size) {
    memset(p, 0, size);
    p->struct_size = size;
}

static lt_status check(const lt_metrics_params *p, lt_error *err) {
    if (p->width < 1 || p->height < 1 || p->width > MAX_SIDE || p->height > MAX_SIDE)
        return lti_fail(err, LT_EINVAL, "metrics: frames of %dx%d; a side must be 1 to %d",
                        p->width, p->height, MAX_SIDE);
    if (!(p->fps >= 0 && p->fps <= 1e6))
        return lti_fail(err, LT_EINVAL,
                        "metrics: %g frames per second; give 0 (not known) to 1000000", p->fps);
    if (p->chunk < 0 || p->first_chunk < 0)
        return lti_fail(err, LT_EINVAL,
                        "metrics: chunks of %d frames, the first of %d; give 0 (not known) or more",
                        p->chunk, p->first_chunk);
    if (p->want >> LT_METRIC_COUNT)
        return lti_fail(err, LT_EINVAL, "metrics: want is 0x%x; it has bits beyond the %d metrics",
                        (unsigned)p->want, LT_METRIC_COUNT);
    return LT_OK;
}

static lt_status take(uint8_t **p, size_t n, lt_error *err) {
    *p = lti_memory_fits(n) ? malloc(n) : NULL;
    return *p ? LT_OK : lti_oom(err, n);
}

static lt_status open_parts(lt_metrics *m, lt_error *err) {
    const size_t n = (size_t)m->w * (size_t)m->h;
    if (wants(m, OF_DIFF)) LT_TRY(take(&m->last_rgb, 3 * n, err));
    if (wants(m, OF_SITI)) LT_TRY(take(&m->stretched, n, err));
    if (wants(m, BIT(TI))) LT_TRY(take(&m->last_stretched, n, err));
    LT_TRY(lti_fromrgb_open(m->w, m->h, &m->made, err));
    if (wants(m, LT_METRICS_REF)) {
        LT_TRY(lti_fromrgb_open(m->w, m->h, &m->made_ref, err));
        LT_TRY(lti_compare_open(m->w, m->h, m->want & LT_METRICS_REF, &m->compare, err));
    }
    if (wants(m, OF_HIST)) LT_TRY(lti_hist_open(&m->hist, err));
    if (wants(m, BIT(BOUNDARY))) LT_TRY(lti_seams_open(&m->seams, err));
    if (wants(m, OF_MOTION)) LT_TRY(lti_motion_open(m->w, m->h, &m->motion, err));
    if (wants(m, BIT(LOOP))) LT_TRY(lti_loop_open(m->w, m->h, &m->loop, err));
    LT_TRY(lti_drift_open(&m->drift, err));
    for (int i = 0; i < LT_METRIC_COUNT; i++)
        if (wants(m, LT_METRIC_BIT(i))) LT_TRY(lti_trace_open(&m->trace[i], err));
    return LT_OK;
}

lt_status lt_metrics_open(const lt_metrics_params *params, lt_metrics **out, lt_error *err) {
    *out = NULL;
    lt_metrics_params p = {0};
    memcpy(&p, params, params->struct_size < sizeof p ? params->struct_size : sizeof p);
    LT_TRY(check(&p, err));
    lt_metrics *m = calloc(1, sizeof *m);
    if (!m) return lti_oom(err, sizeof *m);
    const double fps = p.fps > 0 ? p.fps : 16;
    *m = (lt_metrics){.w = p.width, .h = p.height, .k = lti_kernels_best()};
    m->want = p.want ? p.want : LT_METRICS_NO_REF;
    m->chunk_known = p.chunk > 0;
    m->chunk = p.chunk ? p.chunk : fps < 1 ? 1 : (int32_t)lrint(fps);
    m->first_chunk = p.first_chunk && p.chunk ? p.first_chunk : m->chunk;
    lt_status st = open_parts(m, err);
    if (st < 0) {
        lt_metrics_close(&m);
        return st;
    }
    *out = m;
    return LT_OK;
}

void lt_metrics_close(lt_metrics **pm) {
    lt_metrics *m = pm ? *pm : NULL;
    if (!m) return;
    free(m->last_rgb);
    free(m->stretched);
    free(m->last_stretched);
    lti_fromrgb_close(&m->made);
    lti_fromrgb_close(&m->made_ref);
    lti_hist_close(&m->hist);
    lti_seams_close(&m->seams);
    if (m->motion) lti_motion_close(&m->motion);
    if (m->loop) lti_loop_close(&m->loop);
    if (m->compare) lti_compare_close(&m->compare);
    lti_drift_close(&m->drift);
    for (int i = 0; i < LT_METRIC_COUNT; i++)
        if (m->trace[i]) lti_trace_close(&m->trace[i]);
    free(m);
    *pm = NULL;
}

/* ---- push -------------------------------------------------------------------------------------- */

static lt_status check_picture(const lt_metrics *m, const lt_picture *p, const char *what,
                               lt_error *err) {
    if (p->width != m->w || p->height != m->h)
        return lti_fail(err, LT_EINVAL, "metrics: %s is %dx%d, expected %dx%d", what, p->width,
                        p->height, m->w, m->h);
    if (!p->y && !p->rgb)
        return lti_fail(err, LT_EINVAL, "metrics: %s has neither rgb nor planes", what);
    if (p->y && llabs(p->y_stride) < p->width)
        return lti_fail(err, LT_EINVAL, "metrics: %s has rows of %td bytes for %d samples", what,
                        p->y_stride, p->width);
    if (p->y && !p->u != !p->v)
        return lti_fail(err, LT_EINVAL,
                        "metrics: %s has one of the planes u and v; give both or "
                        "none (grey)",
                        what);
    if (p->y && p->u &&
        (p->c_width < 1 || p->c_height < 1 || p->c_width > p->width || p->c_height > p->height ||
         llabs(p->c_stride) < p->c_width))
        return lti_fail(err, LT_EINVAL, "metrics: %s has chroma of %dx%d, rows of %td bytes", what,
                        p->c_width, p->c_height, p->c_stride);
    return LT_OK;
}

/* The planes of a picture: its own, or made from its rgb. */
static lt_picture with_planes(const lt_metrics *m, const lt_picture *p, lti_fromrgb *made) {
    lt_picture q = *p;
    if (q.y) return q;
    lti_fromrgb_run(made, m->k, q.rgb);
    q.y = made->y;
    q.u = made->u;
    q.v = made->v;
    q.y_stride = made->w;
    q.c_width = (made->w + 1) / 2;
    q.c_height = (made->h + 1) / 2;
    q.c_stride = q.c_width;
    q.full_range = 0;
    return q;
}

static bool joins(const lt_metrics *m) {
    const int64_t past = m->frames - m->first_chunk;
    return past >= 0 && past % m->chunk == 0;
}

static int64_t chunk_of(const lt_metrics *m) {
    const int64_t past = m->frames - m->first_chunk;
    return past < 0 ? 0 : 1 + past / m->chunk;
}

/* Returns what goes into the trace of boundary: the difference at a join. */
static double push_rgb(lt_metrics *m, const uint8_t *rgb, double *row) {
    const size_t n = (size_t)m->w * (size_t)m->h;
    double at_join = NAN;
    if (wants(m, OF_DIFF)) {
        if (m->frames > 0) {
            double diff = (double)m->k->sad(rgb, m->last_rgb, 3 * n) / (3 * (double)n);
            row[LT_METRIC_FLICKER] = 1 - diff / 255;
            if (m->seams && m->chunk_known && joins(m)) {
                at_join = lti_seams_floor(diff);
                row[LT_METRIC_BOUNDARY] = at_join / lti_seams_median(m->seams);
            } else if (m->seams) {
                lti_seams_push(m->seams, diff);
            }
        }
        memcpy(m->last_rgb, rgb, 3 * n);
    }
    if (m->hist)
        lti_hist_push(m->hist, m->k, rgb, n, chunk_of(m), &row[LT_METRIC_HIST_FIRST],
                      &row[LT_METRIC_HIST_PREV]);
    return at_join;
}

static void push_levels(const lt_metrics *m, const lt_picture *p, double *row) {
    const double n = (double)m->w * m->h;
    lti_levels s = {0};
    for (int y = 0; y < m->h; y++)
        m->k->levels(p->y + y * p->y_stride, (size_t)m->w, p->full_range ? 2 : 18,
                     p->full_range ? 253 : 234, &s);
    const double mean = (double)s.sum / n;
    row[LT_METRIC_LUMA] = mean;
    row[LT_METRIC_CONTRAST] = sqrt(fmax(0, (double)s.sum2 / n - mean * mean));
    row[LT_METRIC_CLIP_LO] = 100 * (double)s.below / n;
    row[LT_METRIC_CLIP_HI] = 100 * (double)s.above / n;
}

static double saturation(const lt_metrics *m, const lt_picture *p) {
    double sum = 0;
    if (!p->u) return 0;
    for (int y = 0; y < p->c_height; y++)
        sum += m->k->chroma(p->u + y * p->c_stride, p->v + y * p->c_stride, (size_t)p->c_width);
    return sum / ((double)p->c_width * p->c_height);
}

/* Variance over the inner pixels, NaN if there are none. */
static double variance(const lt_metrics *m, double sum, double sum2) {
    if (m->w < 3 || m->h < 3) return NAN;
    const double n = (double)(m->w - 2) * (m->h - 2);
    return fmax(0, sum2 / n - (sum / n) * (sum / n));
}

static double sharpness(const lt_metrics *m, const lt_picture *p) {
    int64_t sum = 0;
    uint64_t sum2 = 0;
    for (int y = 1; y < m->h - 1; y++) {
        const uint8_t *here = p->y + y * p->y_stride;
        int64_t s;
        uint64_t s2;
        m->k->laplace(here - p->y_stride, here, here + p->y_stride, m->w, &s, &s2);
        sum += s;
        sum2 += s2;
    }
    return variance(m, (double)sum, (double)sum2);
}

/* si and ti of FFmpeg: on luma stretched to 0..255, ti over all pixels. */
static void push_siti(lt_metrics *m, const lt_picture *p, double *row) {
    const size_t w = (size_t)m->w, n = w * (size_t)m->h;
    for (int y = 0; y < m->h; y++) {
        const uint8_t *in = p->y + y * p->y_stride;
        uint8_t *out = m->stretched + w * (size_t)y;
        if (p->full_range) memcpy(out, in, w);
        else m->k->stretch(in, out, w);
    }
    if (wants(m, BIT(SI))) {
        double sum = 0, sum2 = 0;
        for (int y = 1; y < m->h - 1; y++) {
            const uint8_t *here = m->stretched + w * (size_t)y;
            double s, s2;
            m->k->sobel(here - w, here, here + w, m->w, &s, &s2);
            sum += s;
            sum2 += s2;
        }
        row[LT_METRIC_SI] = sqrt(variance(m, sum, sum2));
    }
    if (!wants(m, BIT(TI))) return;
    if (m->frames > 0) {
        int64_t s;
        uint64_t s2;
        m->k->diff2(m->stretched, m->last_stretched, n, &s, &s2);
        const double mean = (double)s / (double)n;
        row[LT_METRIC_TI] = sqrt(fmax(0, (double)s2 / (double)n - mean * mean));
    }
    uint8_t *swap = m->stretched;
    m->stretched = m->last_stretched;
    m->last_stretched = swap;
}

static void push_planes(lt_metrics *m, const lt_picture *p, double *row) {
    const lti_plane luma = {p->y, p->y_stride, m->w, m->h};
    if (wants(m, OF_LEVELS)) push_levels(m, p, row);
    if (wants(m, BIT(SATURATION))) row[LT_METRIC_SATURATION] = saturation(m, p);
    if (wants(m, BIT(SHARPNESS))) row[LT_METRIC_SHARPNESS] = sharpness(m, p);
    if (wants(m, OF_SITI)) push_siti(m, p, row);
    if (m->motion)
        lti_motion_push(m->motion, luma, &row[LT_METRIC_MOTION], &row[LT_METRIC_WARP_ERROR],
                        &row[LT_METRIC_SMOOTH]);
    if (m->loop) row[LT_METRIC_LOOP] = lti_loop_push(m->loop, luma, m->seconds);
}

static lt_status push_ref(lt_metrics *m, const lt_picture *a, const lt_picture *b, double *row,
                          lt_error *err) {
    const int n = a->u && b->u ? 3 : 1;
    if (a->full_range != b->full_range || !a->u != !b->u)
        return lti_fail(err, LT_EINVAL,
                        "metrics: the picture is %s range and %s, the reference %s range and %s; "
                        "they must be of one kind",
                        a->full_range ? "full" : "limited", a->u ? "in colour" : "grey",
                        b->full_range ? "full" : "limited", b->u ? "in colour" : "grey");
    if (n == 3 && (a->c_width != b->c_width || a->c_height != b->c_height))
        return lti_fail(err, LT_EINVAL,
                        "metrics: the picture's chroma is %dx%d, the reference's %dx%d; they must "
                        "be equal",
                        a->c_width, a->c_height, b->c_width, b->c_height);
    const lti_plane pa[3] = {{a->y, a->y_stride, m->w, m->h},
                             {a->u, a->c_stride, a->c_width, a->c_height},
                             {a->v, a->c_stride, a->c_width, a->c_height}};
    const lti_plane pb[3] = {{b->y, b->y_stride, m->w, m->h},
                             {b->u, b->c_stride, b->c_width, b->c_height},
                             {b->v, b->c_stride, b->c_width, b->c_height}};
    lti_compare_push(m->compare, pa, pb, n, &row[LT_METRIC_PSNR], &row[LT_METRIC_SSIM],
                     &row[LT_METRIC_MS_SSIM]);
    return LT_OK;
}

/* All that can be refused is refused before the first part takes the frame. */
lt_status lt_metrics_push(lt_metrics *m, const lt_picture *pic, const lt_picture *ref,
                          double seconds, double *out, lt_error *err) {
    double row[LT_METRIC_COUNT], at_join = NAN;
    for (int i = 0; i < LT_METRIC_COUNT; i++) row[i] = NAN;
    LT_TRY(check_picture(m, pic, "the picture", err));
    if (!isfinite(seconds))
        return lti_fail(err, LT_EINVAL, "metrics: frame %lld has no time; give finite seconds",
                        (long long)m->frames);
    if (!pic->rgb && wants(m, LTI_METRICS_RGB))
        return lti_fail(err, LT_EINVAL,
                        "metrics: the picture has no rgb, which flicker, boundary and hist_* need");
    const bool planes = wants(m, OF_PLANES) || (m->compare && ref);
    const lt_picture p = planes ? with_planes(m, pic, &m->made) : *pic;
    if (m->compare && ref) {
        LT_TRY(check_picture(m, ref, "the reference", err));
        const lt_picture r = with_planes(m, ref, &m->made_ref);
        LT_TRY(push_ref(m, &p, &r, row, err));
    }
    if (m->frames == 0 || seconds > m->seconds) m->seconds = seconds;
    if (wants(m, LTI_METRICS_RGB)) at_join = push_rgb(m, pic->rgb, row);
    if (wants(m, OF_PLANES)) push_planes(m, &p, row);
    for (int i = 0; i < LT_METRIC_COUNT; i++) {
        if (!m->trace[i]) row[i] = NAN;
        else lti_trace_push(m->trace[i], m->seconds, i == LT_METRIC_BOUNDARY ? at_join : row[i]);
    }
    lti_drift_push(m->drift, m->seconds, row);
    m->frames++;
    if (out) memcpy(out, row, sizeof row);
    return LT_OK;
}

/* ---- results ----------------------------------------------------------------------------------- */

/* What the values of a trace are multiplied with: boundary's are differences. */
static double unit_of(const lt_metrics *m, int32_t metric) {
    return metric == LT_METRIC_BOUNDARY ? 1 / lti_seams_median(m->seams) : 1;
}

static bool traced(const lt_metrics *m, int32_t metric) {
    return metric >= 0 && metric < LT_METRIC_COUNT && m->trace[metric];
}

void lt_metrics_summary_of(const lt_metrics *m, int32_t metric, lt_metric_summary *out,
                           size_t size) {
    lt_metric_summary s = {0};
    double *of[] = {&s.mean, &s.first, &s.last,      &s.drift,          &s.slope,
                    &s.min,  &s.max,   &s.deviation, &s.first_deviation};
    const double unit = traced(m, metric) ? unit_of(m, metric) : NAN;
    if (!isnan(unit)) lti_trace_summary(m->trace[metric], &s);
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) *of[i] *= unit;
    s.struct_size = size;
    memcpy(out, &s, size < sizeof s ? size : sizeof s);
}

int64_t lt_metrics_frames(const lt_metrics *m) { return m->frames; }
double lt_metrics_seconds(const lt_metrics *m) { return m->seconds; }

int32_t lt_metrics_trace(const lt_metrics *m, int32_t metric, int32_t i, double *seconds,
                         double *mean) {
    if (!traced(m, metric)) return 0;
    double v = NAN;
    const int32_t n = lti_trace_piece(m->trace[metric], i, seconds, &v);
    if (mean && i >= 0 && i < n) *mean = v * unit_of(m, metric);
    return n;
}

void lt_metrics_drift(const lt_metrics *m, lt_drift *out, size_t size) {
    lt_drift d = {.struct_size = size};
    lti_drift_get(m->drift, &d);
    memcpy(out, &d, size < sizeof d ? size : sizeof d);
}

/* SPDX-License-Identifier: Apache-2.0
 * metrics/drift.c - is the picture still what it was at the start? For use while it is made.
 *
 * Five series, each as the mean over the first 2 s (without frame 0, which a causal decoder makes
 * from one latent frame) against the mean over the latest 2 s; of the latest 512 frames if 2 s are
 * more. Each difference is taken in the scale of its own below; the largest is the score. */
#include "metrics/metrics_int.h"
#include "base/error.h"
#include <math.h>

enum { KEEP = 512, N = 5 };
static const double WINDOW = 2; /* seconds */

/* What a viewer notices, found on real clips: docs/METRICS.md. */
static const struct {
    lt_metric metric;
    double scale;  /* in its unit, or in octaves */
    bool relative; /* of the ratio: log2 */
} watch[N] = {
    {LT_METRIC_LUMA, 32, false},       {LT_METRIC_CONTRAST, 14, false},
    {LT_METRIC_SATURATION, 20, false}, {LT_METRIC_SHARPNESS, 2.3, true},
    {LT_METRIC_HIST_FIRST, 36, false},
};

struct lti_drift {
    int64_t frames;
    double begin, now;   /* seconds of the first and the latest frame */
    double first_sum[N]; /* over the first window */
    int64_t first_n[N];
    double seconds[KEEP], value[KEEP][N]; /* ring: frame f at f % KEEP */
};

lt_status lti_drift_open(lti_drift **out, lt_error *err) {
    *out = calloc(1, sizeof **out);
    return *out ? LT_OK : lti_oom(err, sizeof **out);
}

void lti_drift_close(lti_drift **t) {
    free(*t);
    *t = NULL;
}

void lti_drift_push(lti_drift *t, double seconds, const double *row) {
    const int64_t f = t->frames++, at = f % KEEP;
    if (f == 0) t->begin = seconds;
    t->now = t->seconds[at] = seconds;
    for (int i = 0; i < N; i++) {
        const double v = t->value[at][i] = row[watch[i].metric];
        if (f == 0 || seconds - t->begin > WINDOW || !isfinite(v)) continue;
        t->first_sum[i] += v;
        t->first_n[i]++;
    }
}

/* Mean of watch[i] over the latest window, NaN: none. */
static double latest(const lti_drift *t, int i) {
    double sum = 0;
    int64_t n = 0;
    for (int64_t f = t->frames - 1; f > 0 && f >= t->frames - KEEP; f--) {
        if (t->now - t->seconds[f % KEEP] > WINDOW) break;
        const double v = t->value[f % KEEP][i];
        if (!isfinite(v)) continue;
        sum += v;
        n++;
    }
    return n ? sum / (double)n : NAN;
}

static double moved_of(int i, double first, double now) {
    /* + 1: a flat picture has no sharpness, and no octaves either */
    const double moved = watch[i].relative ? log2((now + 1) / (first + 1)) : now - first;
    return fabs(moved) / watch[i].scale;
}

double lti_drift_moved(int32_t metric, double first, double now) {
    for (int i = 0; i < N; i++)
        if ((int32_t)watch[i].metric == metric) return moved_of(i, first, now);
    return NAN;
}

void lti_drift_get(const lti_drift *t, lt_drift *out) {
    out->score = out->first = out->now = NAN;
    out->metric = -1;
    if (t->frames < 2 || t->now - t->begin < WINDOW) return;
    for (int i = 0; i < N; i++) {
        const double first = t->first_n[i] ? t->first_sum[i] / (double)t->first_n[i] : NAN;
        const double now = latest(t, i);
        const double score = moved_of(i, first, now);
        if (!isfinite(score) || score <= out->score) continue;
        out->score = score;
        out->metric = watch[i].metric;
        out->first = first;
        out->now = now;
    }
}

/* SPDX-License-Identifier: Apache-2.0
 * metrics/trace.c - one series in constant memory: its moments, extremes, slope and course.
 *
 * Mean, deviation and slope are running sums about the running means (Welford 1962, and the same
 * for the product of time and value), exact to rounding whatever the length. The course is kept in
 * at most LTI_PIECES pieces of `per` frames each: when all are in use, neighbours merge (Chan, Golub,
 * LeVeque 1979) and `per` doubles. Up to 8192 frames the first and the last 15 % are therefore
 * exact; beyond, a piece cut by the border counts in proportion.
 *
 * Deviations divide by n. The slope of fewer than two values, or of values all at one time, is
 * NaN. */
#include "metrics/metrics_int.h"
#include "base/error.h"
#include <math.h>

typedef struct piece {
    double n; /* frames with a value; a fraction in a part of a piece */
    double mean, m2;
    double from, to; /* seconds of the first and last frame */
} piece;

struct lti_trace {
    piece all; /* of the whole series */
    double min, max;
    double t_mean, tt, tv; /* of the frames with a value: mean time, sums of dt^2 and dt dv */
    int64_t frames, per;
    int64_t in_last; /* frames in the last piece */
    int32_t pieces;
    piece piece[LTI_PIECES];
};

lt_status lti_trace_open(lti_trace **out, lt_error *err) {
    lti_trace *t = *out = calloc(1, sizeof *t);
    if (!t) return lti_oom(err, sizeof *t);
    t->per = 1;
    return LT_OK;
}

void lti_trace_close(lti_trace **t) {
    free(*t);
    *t = NULL;
}

/* b, later, joins a. */
static void join(piece *a, const piece *b) {
    if (b->n > 0) {
        double n = a->n + b->n, d = b->mean - a->mean;
        a->mean += d * b->n / n;
        a->m2 += b->m2 + d * d * a->n * b->n / n;
        a->n = n;
    }
    a->to = b->to;
}

static piece *last_piece(lti_trace *t, double seconds) {
    if (t->pieces && t->in_last < t->per) return &t->piece[t->pieces - 1];
    if (t->pieces == LTI_PIECES) {
        for (int i = 0; i < LTI_PIECES / 2; i++) {
            t->piece[i] = t->piece[2 * i];
            join(&t->piece[i], &t->piece[2 * i + 1]);
        }
        t->pieces = LTI_PIECES / 2;
        t->per *= 2;
    }
    t->in_last = 0;
    t->piece[t->pieces] = (piece){.from = seconds};
    return &t->piece[t->pieces++];
}

void lti_trace_push(lti_trace *t, double seconds, double value) {
    const piece one = {isfinite(value) ? 1 : 0, value, 0, seconds, seconds};
    piece *p = last_piece(t, seconds);
    join(p, &one);
    t->in_last++;
    t->frames++;
    if (one.n == 0) return;
    double dv = value - t->all.mean;
    join(&t->all, &one);
    double dt = seconds - t->t_mean;
    t->t_mean += dt / t->all.n;
    t->tt += dt * (seconds - t->t_mean);
    t->tv += (seconds - t->t_mean) * dv;
    if (t->all.n == 1 || value < t->min) t->min = value;
    if (t->all.n == 1 || value > t->max) t->max = value;
}

/* Moments of the frames from, .., to - 1. */
static piece part(const lti_trace *t, int64_t from, int64_t to) {
    piece sum = {0};
    for (int32_t i = (int32_t)(from / t->per); i < t->pieces; i++) {
        int64_t a = i * t->per, n = i == t->pieces - 1 ? t->in_last : t->per, b = a + n;
        if (a >= to) break;
        double share = (double)((b < to ? b : to) - (a > from ? a : from)) / (double)n;
        piece p = t->piece[i];
        p.n *= share;
        p.m2 *= share;
        join(&sum, &p);
    }
    return sum;
}

static double mean_of(const piece *p) { return p->n > 0 ? p->mean : NAN; }
static double deviation_of(const piece *p) { return p->n > 0 ? sqrt(p->m2 / p->n) : NAN; }

void lti_trace_summary(const lti_trace *t, lt_metric_summary *s) {
    int64_t border = (3 * t->frames + 10) / 20; /* 15 %, rounded */
    if (border < 1) border = 1;
    piece first = part(t, 0, border), last = part(t, t->frames - border, t->frames);
    s->n = (int64_t)t->all.n;
    s->mean = mean_of(&t->all);
    s->first = mean_of(&first);
    s->last = mean_of(&last);
    s->drift = s->last - s->first;
    s->slope = t->tt > 0 ? t->tv / t->tt : NAN;
    s->min = t->all.n > 0 ? t->min : NAN;
    s->max = t->all.n > 0 ? t->max : NAN;
    s->deviation = deviation_of(&t->all);
    s->first_deviation = deviation_of(&first);
}

int32_t lti_trace_piece(const lti_trace *t, int32_t i, double *seconds, double *mean) {
    if (i < 0 || i >= t->pieces) return t->pieces;
    if (seconds) *seconds = (t->piece[i].from + t->piece[i].to) / 2;
    if (mean) *mean = mean_of(&t->piece[i]);
    return t->pieces;
}

/* SPDX-License-Identifier: Apache-2.0
 * metrics/seams.c - the median of the frame differences inside chunks, in constant memory.
 *
 * 16384 bins of equal ratio (1.00058) from 0.02 to 255 levels, each with the sum of what fell into
 * it: the median is the mean of its bin, so off by 0.06 % at most, and not at all while the bin
 * holds one value. An even count takes the mean of the two in the middle. Differences below 0.02
 * levels count as 0.02: in a still nothing stands out, and its seams come to 1. */
#include "metrics/metrics_int.h"
#include "base/error.h"
#include <math.h>

enum { BINS = 16384 };
static const double FLOOR = 0.02, CEILING = 255;

struct lti_seams {
    int64_t n, median_n; /* differences so far; those that `median` is of */
    double median;
    struct {
        int64_t n;
        double sum;
    } bin[BINS];
};

lt_status lti_seams_open(lti_seams **out, lt_error *err) {
    *out = calloc(1, sizeof **out);
    return *out ? LT_OK : lti_oom(err, sizeof **out);
}

void lti_seams_close(lti_seams **s) {
    free(*s);
    *s = NULL;
}

double lti_seams_floor(double diff) { return diff > FLOOR ? diff : FLOOR; }

void lti_seams_push(lti_seams *s, double diff) {
    const double v = lti_seams_floor(diff);
    int i = (int)(log(v / FLOOR) * (BINS / log(CEILING / FLOOR)));
    if (i > BINS - 1) i = BINS - 1;
    s->bin[i].n++;
    s->bin[i].sum += v;
    s->n++;
}

/* Mean of the bin of the k-th smallest, from 0. */
static double kth(const lti_seams *s, int64_t k) {
    int i = 0;
    for (; i < BINS - 1 && k >= s->bin[i].n; i++) k -= s->bin[i].n;
    return s->bin[i].sum / (double)s->bin[i].n;
}

double lti_seams_median(lti_seams *s) {
    if (s->n == 0) return NAN;
    if (s->n != s->median_n)
        s->median = s->n % 2 ? kth(s, s->n / 2) : (kth(s, s->n / 2 - 1) + kth(s, s->n / 2)) / 2;
    s->median_n = s->n;
    return s->median;
}

/* SPDX-License-Identifier: Apache-2.0
 * metrics/hist.c - how far a frame's colours are from those of earlier chunks.
 *
 * The earth mover's distance of two histograms on a line is the area between their cumulative sums
 * (Rubner 2000): 8 levels times the sum over the 31 inner edges of |A(e) - B(e)|, mean of R, G, B.
 * A frame is held against the mean histogram of chunk 0 and of the chunk before its own. A frame of
 * chunk 0 is held against the mean of chunk 0 so far, itself included, and has no chunk before. */
#include "metrics/metrics_int.h"
#include "base/error.h"
#include <math.h>
#include <string.h>

enum { BINS = 32, WIDTH = 8, ALL = 3 * BINS };

typedef struct counts {
    uint64_t n[ALL]; /* [3, BINS], sums over frames */
    int64_t frames;
} counts;

struct lti_hist {
    counts first, prev, now;
    int64_t chunk; /* that `now` counts */
};

lt_status lti_hist_open(lti_hist **out, lt_error *err) {
    *out = calloc(1, sizeof **out);
    return *out ? LT_OK : lti_oom(err, sizeof **out);
}

void lti_hist_close(lti_hist **h) {
    free(*h);
    *h = NULL;
}

static double distance(const uint32_t *frame, const counts *c, size_t pixels) {
    const double to_frame = 1.0 / (double)pixels, to_mean = to_frame / (double)c->frames;
    double sum = 0;
    for (int at = 0; at < ALL; at += BINS) {
        uint64_t a = 0, b = 0;
        for (int k = at; k < at + BINS - 1; k++) {
            a += frame[k];
            b += c->n[k];
            sum += fabs((double)a * to_frame - (double)b * to_mean);
        }
    }
    return sum * WIDTH / 3;
}

void lti_hist_push(lti_hist *h, const lti_kernels *k, const uint8_t *rgb, size_t pixels,
                   int64_t chunk, double *to_first, double *to_prev) {
    uint32_t frame[ALL] = {0};
    k->bins(rgb, pixels, frame);
    if (chunk != h->chunk) {
        if (h->chunk == 0) h->first = h->now;
        h->prev = h->now;
        memset(&h->now, 0, sizeof h->now);
        h->chunk = chunk;
    }
    for (int i = 0; i < ALL; i++) h->now.n[i] += frame[i];
    h->now.frames++;
    *to_first = distance(frame, chunk == 0 ? &h->now : &h->first, pixels);
    *to_prev = chunk == 0 ? NAN : distance(frame, &h->prev, pixels);
}

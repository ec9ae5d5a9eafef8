/* SPDX-License-Identifier: Apache-2.0
 * metrics/loop.c - does the video come back to what it showed before?
 *
 * Each frame becomes a thumbnail of 32x18 mean luma values. S(lag) is the correlation of the
 * thumbnails now and `lag` seconds ago,
 *     S = (cov + 4) / sqrt((var_now + 4) (var_then + 4)),  in levels^2,
 * Pearson's but for the 4: without it the noise of two flat pictures would decide. A slow change
 * makes S fall with the lag; a return makes it rise again. So, over all lags above 2 s,
 *     loop = max (S(lag) - low(lag)) / (1 - low(lag) + 0.02),  low = min of S at shorter lags,
 * at least 0: the share of the change that was undone. A still and a drift that only goes one way
 * give 0, an exact repeat nearly 1; 0.02 keeps noise on a still small. What lasts for fewer than
 * three kept frames is no change: S goes into `low` as the largest of three neighbours, else one
 * broken frame would make a loop of all that follows.
 *
 * At most 1024 thumbnails are kept; when they are that many every second one goes and from then on
 * half as many come. Past 1024 frames a repeat is thus seen at the nearest kept frame, which is at
 * most half a spacing away (17 minutes at 16 frames/s: half a second).
 *
 * Thumbnails are stored less their mean, scaled to a length of 2^14 and rounded: products of whole
 * numbers, equal on all processors, and at most 2^28 and a bit. */
#include "metrics/metrics_int.h"
#include "base/error.h"
#include <math.h>
#include <string.h>

enum { COLS = 32, ROWS = 18, CELLS = COLS * ROWS, KEEP = 1024 };
static const double MIN_LAG = 2, SMALL = 0.02, FLAT = 4;

typedef struct thumb {
    int16_t v[CELLS]; /* [ROWS, COLS], length 2^14; all 0: flat */
    double unit;      /* v times it is the thumbnail less its mean, over sqrt(CELLS) */
    double scale;     /* 1 / sqrt(variance + FLAT) */
    double seconds;
} thumb;

struct lti_loop {
    const lti_kernels *k;
    int w, h;
    uint32_t *column; /* [w] sums over the rows of a cell */
    int64_t frames, spacing;
    int kept;
    thumb now, past[KEEP]; /* oldest first */
};

lt_status lti_loop_open(int w, int h, lti_loop **out, lt_error *err) {
    lti_loop *l = *out = calloc(1, sizeof *l);
    if (!l) return lti_oom(err, sizeof *l);
    l->k = lti_kernels_best();
    l->w = w;
    l->h = h;
    l->spacing = 1;
    l->column = calloc((size_t)w, sizeof *l->column);
    if (l->column) return LT_OK;
    lti_loop_close(out);
    return lti_oom(err, (size_t)w * sizeof(uint32_t));
}

void lti_loop_close(lti_loop **l) {
    if (*l) free((*l)->column);
    free(*l);
    *l = NULL;
}

/* Cell i of n on a side of `size` pixels begins here; cells of a small picture repeat pixels. */
static int begin(int i, int n, int size) { return i * size / n; }
static int end(int i, int n, int size) {
    int a = begin(i, n, size), b = begin(i + 1, n, size);
    return b > a ? b : a + 1;
}

static void shrink(lti_loop *l, lti_plane y, double *cell /* [ROWS, COLS] */) {
    for (int r = 0; r < ROWS; r++) {
        const int top = begin(r, ROWS, l->h), bottom = end(r, ROWS, l->h);
        memset(l->column, 0, (size_t)l->w * sizeof *l->column);
        for (int i = top; i < bottom; i++) l->k->add(l->column, y.p + i * y.stride, (size_t)l->w);
        for (int c = 0; c < COLS; c++) {
            const int left = begin(c, COLS, l->w), right = end(c, COLS, l->w);
            uint64_t sum = 0;
            for (int i = left; i < right; i++) sum += l->column[i];
            *cell++ = (double)sum / ((double)(bottom - top) * (right - left));
        }
    }
}

static void make_thumb(lti_loop *l, lti_plane y, double seconds) {
    double cell[CELLS], mean = 0, square = 0;
    shrink(l, y, cell);
    for (int i = 0; i < CELLS; i++) mean += cell[i] / CELLS;
    for (int i = 0; i < CELLS; i++) square += (cell[i] - mean) * (cell[i] - mean);
    thumb *t = &l->now;
    const double scale = square > 1e-12 ? 16384 / sqrt(square) : 0;
    for (int i = 0; i < CELLS; i++) t->v[i] = (int16_t)lrint((cell[i] - mean) * scale);
    const double length = sqrt((double)l->k->dot(t->v, t->v, CELLS)); /* as rounded */
    t->unit = length > 0 ? sqrt(square / CELLS) / length : 0;
    t->scale = 1 / sqrt(square / CELLS + FLAT);
    t->seconds = seconds;
}

static double similarity(const lti_loop *l, const thumb *a, const thumb *b) {
    return (l->k->dot(a->v, b->v, CELLS) * a->unit * b->unit + FLAT) * a->scale * b->scale;
}

static void keep(lti_loop *l) {
    if (l->frames++ % l->spacing) return;
    if (l->kept == KEEP) {
        for (int i = 1; i < KEEP / 2; i++) l->past[i] = l->past[2 * i];
        l->kept = KEEP / 2;
        l->spacing *= 2;
    }
    l->past[l->kept++] = l->now;
}

double lti_loop_push(lti_loop *l, lti_plane y, double seconds) {
    make_thumb(l, y, seconds);
    double low = 1, best = NAN;
    double s1 = 1, s2 = 1; /* S at the two lags before, of lag 0 at first */
    for (int i = l->kept - 1; i >= 0; i--) {
        const double s = similarity(l, &l->now, &l->past[i]);
        if (seconds - l->past[i].seconds > MIN_LAG) {
            const double back = (s - low) / (1 - low + SMALL);
            if (!(best >= back)) best = back;
            if (best < 0) best = 0;
        }
        low = fmin(low, fmax(s, fmax(s1, s2)));
        s2 = s1;
        s1 = s;
    }
    keep(l);
    return best;
}

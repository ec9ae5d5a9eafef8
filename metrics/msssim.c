/* SPDX-License-Identifier: Apache-2.0
 * metrics/msssim.c - multi-scale SSIM of luma (Wang, Simoncelli, Bovik: "Multi-scale structural
 * similarity for image quality assessment", Asilomar 2003).
 *
 * Per scale, windows that lie inside ('valid'), 11x11 Gaussian of sigma 1.5, K1 .01 K2 .03 L 255:
 *     l = (2 mx my + C1) / (mx^2 + my^2 + C1),  cs = (2 sxy + C2) / (sx^2 + sy^2 + C2)
 *     MS-SSIM = <cs>_1^w1 <cs>_2^w2 <cs>_3^w3 <cs>_4^w4 <l cs>_5^w5
 * Between scales the mean of 2x2; a last odd row or column counts twice (the paper's own code
 * mirrors it). A scale needs 11x11: a side below 161 has fewer than five, then the last one there
 * is has the l and the weights are divided by their sum; below 11 there is none. (All five sum to
 * 1.0001, as published.) A negative mean, possible only between pictures that contradict each
 * other, counts as 0: it has no real power.
 *
 * Computed from S = x + y - 256 and D = x - y: with E the window's mean, vS = E S^2 - (E S)^2 and
 * vD alike,
 *     1 - cs = vD / ((vS + vD) / 2 + C2)
 *     1 - l  = (E D)^2 / (((E S + 256)^2 + (E D)^2) / 2 + C1)
 * Four filtered maps instead of five, and floats suffice: what rounding spoils is a share of the
 * difference, equal pictures give exactly 1. S and D are whole multiples of 1/256 at every scale
 * and thus exact.
 *
 * One pass over the rows: each is filtered across into a ring of 11; the full ring gives a row of
 * windows; two rows give one of the next scale. The order of operations is fixed, eight columns at
 * a time, so that every processor gives the same number: no FMA. */
#include "base/error.h"
#include "metrics/metrics_int.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCALES 5
#define TAPS 11
#define LANES 8
#define C1 6.5025f  /* (.01 * 255)^2 */
#define C2 58.5225f /* (.03 * 255)^2 */
enum { SUM, DIF, SUM2, DIF2, MAPS };

typedef float vec __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));

typedef struct scale {
    int w, h, out; /* out: windows in a row, w - 10 */
    int stride;    /* of one map of a row: room for whole vectors of windows */
    int rows;      /* that came */
    float *row;    /* [MAPS, stride]: this one */
    float *even;   /* [2, stride]: S and D of the even row that waits for the odd one */
    float *ring;   /* [TAPS, MAPS, stride]: filtered across */
    double loss;   /* sum of 1 - cs, at the last scale of 1 - l cs */
} scale;

typedef struct passes {
    /* in [stride] -> out: one map filtered across, n windows and what fills the last vector */
    void (*across)(const float *in, float *out, int n, const float *k);
    /* rows[i] [MAPS, stride], top first: sum over n windows of 1 - cs, or of 1 - l cs */
    double (*down)(const float *const *rows, int stride, int n, bool last, const float *k);
    /* S, D, their squares from samples */
    void (*mix)(const uint8_t *a, const uint8_t *b, int w, float *row, int stride);
} passes;

#define ISA(name) name##_plain
#define TARGET
#include "metrics/msssim_rows.inc"
#undef ISA
#undef TARGET
#ifdef __x86_64__
#define ISA(name) name##_avx2
#define TARGET __attribute__((target("avx2")))
#include "metrics/msssim_rows.inc"
#undef ISA
#undef TARGET
#endif

/* ---- scales -------------------------------------------------------------------------------------
 */

struct lti_msssim {
    int scales;
    float k[TAPS];
    double weight[SCALES];
    passes pass;
    scale at[SCALES];
};

static lt_status scale_open(scale *s, int w, int h, lt_error *err) {
    s->w = w;
    s->h = h;
    s->out = w - TAPS + 1;
    /* whole vectors of windows, the last of which looks TAPS - 1 further */
    s->stride = (w + LANES - 1) / LANES * LANES + 2 * LANES;
    const size_t row = (size_t)s->stride * MAPS, all = row + row / 2 + row * TAPS;
    /* zeros: what lies behind a row is read, though never counted */
    s->row = calloc(all, sizeof *s->row);
    if (!s->row) return lti_oom(err, all * sizeof *s->row);
    s->even = s->row + row;
    s->ring = s->even + row / 2;
    return LT_OK;
}

static passes passes_at(int level) {
#ifdef __x86_64__
    if (level > 0 && __builtin_cpu_supports("avx2"))
        return (passes){across_avx2, down_avx2, mix_avx2};
#endif
    (void)level;
    return (passes){across_plain, down_plain, mix_plain};
}

lt_status lti_msssim_open(int w, int h, int level, lti_msssim **out, lt_error *err) {
    static const double weight[SCALES] = {.0448, .2856, .3001, .2363, .1333};
    *out = NULL;
    lti_msssim *m = calloc(1, sizeof *m);
    if (!m) return lti_oom(err, sizeof *m);
    m->pass = passes_at(level);
    double tap[TAPS], sum = 0, weights = 0;
    for (int i = 0; i < TAPS; i++) {
        tap[i] = exp(-(i - 5) * (i - 5) / (2 * 1.5 * 1.5));
        sum += tap[i];
    }
    for (int i = 0; i < TAPS; i++) m->k[i] = (float)(tap[i] / sum);
    lt_status st = LT_OK;
    for (; m->scales < SCALES && w >= TAPS && h >= TAPS && st == LT_OK; m->scales++) {
        st = scale_open(&m->at[m->scales], w, h, err);
        w = (w + 1) / 2;
        h = (h + 1) / 2;
    }
    for (int i = 0; i < m->scales; i++) weights += weight[i];
    if (m->scales == SCALES) weights = 1;
    for (int i = 0; i < m->scales; i++) m->weight[i] = weight[i] / weights;
    if (st != LT_OK) lti_msssim_close(&m);
    *out = m;
    return st;
}

void lti_msssim_close(lti_msssim **pm) {
    lti_msssim *m = pm ? *pm : NULL;
    if (!m) return;
    for (int i = 0; i < SCALES; i++) free(m->at[i].row);
    free(m);
    *pm = NULL;
}

/* ---- rows ---------------------------------------------------------------------------------------
 */

/* The mean of 2x2 of the rows up and down -> the S and D of a row of the next scale and their
 * squares. */
static void halve(const scale *s, const float *up, const float *down, scale *next) {
    for (int map = SUM; map <= DIF; map++) {
        const float *a = up + map * s->stride, *b = down + map * s->stride;
        float *out = next->row + map * next->stride, *square = out + SUM2 * next->stride;
        for (int x = 0; x < next->w; x++) {
            const int l = 2 * x, r = l + 1 < s->w ? l + 1 : l;
            out[x] = (a[l] + a[r] + b[l] + b[r]) / 4;
            square[x] = out[x] * out[x];
        }
    }
}

/* at[i].row is complete. Calls itself for the next scale: five deep at most. */
static void push_row(lti_msssim *m, int i) {
    scale *s = &m->at[i];
    const int y = s->rows++, last = i == m->scales - 1;
    float *filtered = s->ring + (ptrdiff_t)(y % TAPS) * MAPS * s->stride;
    for (int map = 0; map < MAPS; map++)
        m->pass.across(s->row + map * s->stride, filtered + map * s->stride, s->out, m->k);
    if (y >= TAPS - 1) {
        const float *rows[TAPS];
        for (int t = 0; t < TAPS; t++)
            rows[t] = s->ring + (ptrdiff_t)((y + 1 + t) % TAPS) * MAPS * s->stride;
        s->loss += m->pass.down(rows, s->stride, s->out, last, m->k);
    }
    if (last) return;
    if (y % 2 == 0 && y + 1 < s->h) {
        memcpy(s->even, s->row, 2 * (size_t)s->stride * sizeof *s->even);
        return;
    }
    halve(s, y % 2 ? s->even : s->row, s->row, s + 1);
    push_row(m, i + 1);
}

double lti_msssim_push(lti_msssim *m, lti_plane a, lti_plane b) {
    if (!m->scales) return (double)NAN;
    LT_ASSERT(a.w == m->at[0].w && a.h == m->at[0].h);
    for (int i = 0; i < m->scales; i++) {
        m->at[i].rows = 0;
        m->at[i].loss = 0;
    }
    for (int y = 0; y < a.h; y++) {
        m->pass.mix(a.p + y * a.stride, b.p + y * b.stride, a.w, m->at[0].row, m->at[0].stride);
        push_row(m, 0);
    }
    double product = 1;
    for (int i = 0; i < m->scales; i++) {
        const scale *s = &m->at[i];
        const double mean = 1 - s->loss / ((double)s->out * (s->h - TAPS + 1));
        product *= pow(fmax(mean, 0), m->weight[i]);
    }
    return product;
}

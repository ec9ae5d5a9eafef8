/* SPDX-License-Identifier: Apache-2.0
 * metrics/compare.c - PSNR and SSIM against a reference, by the rules of FFmpeg's filters.
 *
 * psnr is psnr_avg of the filter: 10 log10(255^2 / MSE), MSE over the samples of all planes, so
 * that a plane weighs as much as it has samples. The filter says "inf" for equal pictures; here 100
 * stands for that and for all above it, since a mean over frames must stay a number and one changed
 * sample (about 106 dB at 832x480) must not look better than none.
 *
 * ssim is "All" of the filter: 8x8 windows whose corners lie on a grid of 4, each the sum of four
 * 4x4 blocks. With sums s1 s2 of a and b, ss of both squares, s12 of products, all times 64:
 *     vars = 64 ss - s1^2 - s2^2,  covar = 64 s12 - s1 s2
 *     (2 s1 s2 + c1) (2 covar + c2) / ((s1^2 + s2^2 + c1) (vars + c2))
 * c1 = 64 (.01 255)^2, c2 = 64 63 (.03 255)^2, rounded; c1 belongs to squares 4096 times as large
 * and so is 64 times smaller than the paper's, which is the filter's way. Integers up to the
 * factors, float for the quotient (largest: 64 * 2 * 64 * 255^2 < 2^31). Mean over the windows of a
 * plane, planes weighted by their size. Up to three columns at the right and rows at the bottom lie
 * in no window, as there. A plane below 8x8 has no window and is left out; the filter divides by
 * zero. Luma that small: no value. */
#include "base/error.h"
#include "metrics/metrics_int.h"
#include <math.h>
#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define PSNR_TOP 100.0
enum { S1, S2, SS, S12, SUMS };

struct lti_compare {
    uint32_t want;
    const lti_kernels *k;
    int32_t *sums[2]; /* [w / 4, SUMS]: the 4x4 blocks of the row above and of this one */
    lti_msssim *ms;
};

static bool wants(const lti_compare *c, lt_metric m) { return c->want & LT_METRIC_BIT(m); }

lt_status lti_compare_open(int w, int h, uint32_t want, lti_compare **out, lt_error *err) {
    *out = NULL;
    lti_compare *c = calloc(1, sizeof *c);
    if (!c) return lti_oom(err, sizeof *c);
    c->want = want;
    c->k = lti_kernels_best();
    lt_status st = LT_OK;
    const size_t n = ((size_t)w / 4 + 1) * SUMS;
    for (int i = 0; i < 2 && st == LT_OK && wants(c, LT_METRIC_SSIM); i++) {
        c->sums[i] = malloc(n * sizeof *c->sums[i]);
        if (!c->sums[i]) st = lti_oom(err, n * sizeof *c->sums[i]);
    }
    if (st == LT_OK && wants(c, LT_METRIC_MS_SSIM)) st = lti_msssim_open(w, h, 1, &c->ms, err);
    if (st != LT_OK) lti_compare_close(&c);
    *out = c;
    return st;
}

void lti_compare_close(lti_compare **pc) {
    lti_compare *c = pc ? *pc : NULL;
    if (!c) return;
    for (int i = 0; i < 2; i++) free(c->sums[i]);
    lti_msssim_close(&c->ms);
    free(c);
    *pc = NULL;
}

/* ---- psnr ---------------------------------------------------------------------------------------
 */

static double psnr_of(const lti_kernels *k, const lti_plane *a, const lti_plane *b, int n) {
    uint64_t square = 0, samples = 0;
    for (int p = 0; p < n; p++) {
        for (int y = 0; y < a[p].h; y++) {
            int64_t sum = 0;
            uint64_t sum2 = 0;
            k->diff2(a[p].p + y * a[p].stride, b[p].p + y * b[p].stride, (size_t)a[p].w, &sum,
                     &sum2);
            square += sum2;
        }
        samples += (uint64_t)a[p].w * (uint64_t)a[p].h;
    }
    if (!square) return PSNR_TOP;
    return fmin(PSNR_TOP, 10 * log10(255.0 * 255.0 * (double)samples / (double)square));
}

/* ---- ssim ---------------------------------------------------------------------------------------
 */

/* The sums of one 4x4 block. */
static void block(const uint8_t *a, ptrdiff_t as, const uint8_t *b, ptrdiff_t bs,
                  int32_t out[SUMS]) {
    int32_t s1 = 0, s2 = 0, ss = 0, s12 = 0;
    for (int y = 0; y < 4; y++, a += as, b += bs)
        for (int x = 0; x < 4; x++) {
            s1 += a[x];
            s2 += b[x];
            ss += a[x] * a[x] + b[x] * b[x];
            s12 += a[x] * b[x];
        }
    out[S1] = s1;
    out[S2] = s2;
    out[SS] = ss;
    out[S12] = s12;
}

#ifdef __SSE2__
/* Pairs of x and y added up: x0+x1 y0+y1 x2+x3 y2+y3. */
static __m128i add_pairs(__m128i x, __m128i y) {
    const __m128i lo = _mm_unpacklo_epi32(x, y), hi = _mm_unpackhi_epi32(x, y);
    return _mm_add_epi32(_mm_unpacklo_epi64(lo, hi), _mm_unpackhi_epi64(lo, hi));
}

/* Two blocks side by side: 8 columns as 16-bit numbers, products added in pairs. */
static void two_blocks(const uint8_t *a, ptrdiff_t as, const uint8_t *b, ptrdiff_t bs,
                       int32_t out[2 * SUMS]) {
    const __m128i zero = _mm_setzero_si128(), one = _mm_set1_epi16(1);
    __m128i s1 = zero, s2 = zero, ss = zero, s12 = zero;
    for (int y = 0; y < 4; y++, a += as, b += bs) {
        const __m128i va =
            _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(const void *)a), zero);
        const __m128i vb =
            _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(const void *)b), zero);
        s1 = _mm_add_epi16(s1, va);
        s2 = _mm_add_epi16(s2, vb);
        ss = _mm_add_epi32(ss, _mm_add_epi32(_mm_madd_epi16(va, va), _mm_madd_epi16(vb, vb)));
        s12 = _mm_add_epi32(s12, _mm_madd_epi16(va, vb));
    }
    const __m128i means = add_pairs(_mm_madd_epi16(s1, one), _mm_madd_epi16(s2, one));
    const __m128i squares = add_pairs(ss, s12);
    _mm_storeu_si128((__m128i *)(void *)out, _mm_unpacklo_epi64(means, squares));
    _mm_storeu_si128((__m128i *)(void *)(out + SUMS), _mm_unpackhi_epi64(means, squares));
}
#else
static void two_blocks(const uint8_t *a, ptrdiff_t as, const uint8_t *b, ptrdiff_t bs,
                       int32_t out[2 * SUMS]) {
    block(a, as, b, bs, out);
    block(a + 4, as, b + 4, bs, out + SUMS);
}
#endif

/* out [n, SUMS]: the blocks of four rows. */
static void block_row(const uint8_t *a, ptrdiff_t as, const uint8_t *b, ptrdiff_t bs, int n,
                      int32_t *out) {
    int x = 0;
    for (; x + 1 < n; x += 2) two_blocks(a + 4 * x, as, b + 4 * x, bs, out + SUMS * x);
    if (x < n) block(a + 4 * x, as, b + 4 * x, bs, out + SUMS * x);
}

static float window(const int32_t s[SUMS]) {
    const int32_t c1 = (int32_t)(.01 * .01 * 255 * 255 * 64 + .5);
    const int32_t c2 = (int32_t)(.03 * .03 * 255 * 255 * 64 * 63 + .5);
    const int32_t squares = s[S1] * s[S1] + s[S2] * s[S2], product = s[S1] * s[S2];
    const int32_t vars = s[SS] * 64 - squares, covar = s[S12] * 64 - product;
    return (float)(2 * product + c1) * (float)(2 * covar + c2) /
           ((float)(squares + c1) * (float)(vars + c2));
}

/* Mean over the windows; the plane has one. */
static double ssim_plane(int32_t *const sums[2], const lti_plane *a, const lti_plane *b) {
    const int n = a->w / 4, rows = a->h / 4;
    double total = 0;
    block_row(a->p, a->stride, b->p, b->stride, n, sums[0]);
    for (int y = 1; y < rows; y++) {
        const int32_t *up = sums[(y - 1) & 1], *here = sums[y & 1];
        block_row(a->p + 4 * y * a->stride, a->stride, b->p + 4 * y * b->stride, b->stride, n,
                  sums[y & 1]);
        for (int x = 0; x + 1 < n; x++, up += SUMS, here += SUMS) {
            int32_t s[SUMS];
            for (int k = 0; k < SUMS; k++) s[k] = up[k] + up[SUMS + k] + here[k] + here[SUMS + k];
            total += (double)window(s);
        }
    }
    return total / ((double)(n - 1) * (rows - 1));
}

static double ssim_of(const lti_compare *c, const lti_plane *a, const lti_plane *b, int n) {
    double sum = 0, weight = 0;
    if (a[0].w < 8 || a[0].h < 8) return (double)NAN;
    for (int p = 0; p < n; p++) {
        if (a[p].w < 8 || a[p].h < 8) continue;
        const double samples = (double)a[p].w * a[p].h;
        sum += samples * ssim_plane(c->sums, &a[p], &b[p]);
        weight += samples;
    }
    return sum / weight;
}

void lti_compare_push(lti_compare *c, const lti_plane *a, const lti_plane *b, int n, double *psnr,
                      double *ssim, double *ms_ssim) {
    for (int p = 0; p < n; p++) LT_ASSERT(a[p].w == b[p].w && a[p].h == b[p].h);
    *psnr = wants(c, LT_METRIC_PSNR) ? psnr_of(c->k, a, b, n) : (double)NAN;
    *ssim = wants(c, LT_METRIC_SSIM) ? ssim_of(c, a, b, n) : (double)NAN;
    *ms_ssim = wants(c, LT_METRIC_MS_SSIM) ? lti_msssim_push(c->ms, a[0], b[0]) : (double)NAN;
}

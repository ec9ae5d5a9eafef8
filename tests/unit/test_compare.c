/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_compare.c - PSNR, SSIM and MS-SSIM of picture pairs: values that theory gives,
 * slow formulas straight from the definitions in doubles, and numbers of other programs. */
#include "metrics/metrics_int.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REF                                                                                        \
    (LT_METRIC_BIT(LT_METRIC_PSNR) | LT_METRIC_BIT(LT_METRIC_SSIM) |                               \
     LT_METRIC_BIT(LT_METRIC_MS_SSIM))

typedef struct result {
    double psnr, ssim, ms;
} result;

/* ---- pictures -----------------------------------------------------------------------------------
 */

typedef struct picture {
    int n;
    lti_plane plane[3];
    uint8_t *buf;
} picture;

/* 4:2:0 with rows `gap` longer than needed; samples all 0, gaps 99. */
static picture make(int w, int h, int n, int gap) {
    picture p = {.n = n};
    const int cw = (w + 1) / 2, ch = (h + 1) / 2;
    const size_t luma = (size_t)(w + gap) * (size_t)h, chroma = (size_t)(cw + gap) * (size_t)ch;
    p.buf = malloc(luma + 2 * chroma);
    assert_non_null(p.buf);
    memset(p.buf, 99, luma + 2 * chroma);
    p.plane[0] = (lti_plane){p.buf, w + gap, w, h};
    p.plane[1] = (lti_plane){p.buf + luma, cw + gap, cw, ch};
    p.plane[2] = (lti_plane){p.buf + luma + chroma, cw + gap, cw, ch};
    return p;
}

static uint8_t *at(const picture *p, int plane, int x, int y) {
    const lti_plane *q = &p->plane[plane];
    return (uint8_t *)(uintptr_t)(q->p + y * q->stride + x);
}

static int clip(int v) { return v < 0 ? 0 : v > 255 ? 255 : v; }

static uint32_t next(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

/* Triangle waves across and down, per plane another one; b has noise of -s..s on it. The same
 * formula is in tools/make_msssim_golden.py. */
static void paint(picture *a, picture *b, int s) {
    uint32_t seed = 1;
    for (int k = 0; k < a->n; k++)
        for (int y = 0; y < a->plane[k].h; y++)
            for (int x = 0; x < a->plane[k].w; x++) {
                const int wave = abs((5 * x + 3 * y + 40 * k) % 240 - 120) + (x * y / 16 + y) % 96;
                const int noise = (int)(next(&seed) % (uint32_t)(2 * s + 1)) - s;
                *at(a, k, x, y) = (uint8_t)wave;
                *at(b, k, x, y) = (uint8_t)clip(wave + noise);
            }
}

static result compare(const picture *a, const picture *b) {
    lt_error err = {0};
    lti_compare *c = NULL;
    result r;
    assert_int_equal(lti_compare_open(a->plane[0].w, a->plane[0].h, REF, &c, &err), LT_OK);
    lti_compare_push(c, a->plane, b->plane, a->n, &r.psnr, &r.ssim, &r.ms);
    result again;
    lti_compare_push(c, a->plane, b->plane, a->n, &again.psnr, &again.ssim, &again.ms);
    assert_memory_equal(&r, &again, sizeof r); /* nothing is left over from one to the next */
    lti_compare_close(&c);
    assert_null(c);
    return r;
}

/* ---- the definitions, slowly --------------------------------------------------------------------
 */

static double slow_psnr(const picture *a, const picture *b) {
    double square = 0, n = 0;
    for (int k = 0; k < a->n; k++)
        for (int y = 0; y < a->plane[k].h; y++)
            for (int x = 0; x < a->plane[k].w; x++, n++)
                square += pow(*at(a, k, x, y) - *at(b, k, x, y), 2);
    return fmin(100, 20 * log10(255) - 10 * log10(square / n));
}

/* 8x8 windows every 4 samples; variances over 63, as the constants of the filter imply. */
static double slow_ssim_plane(const picture *a, const picture *b, int k) {
    const double c1 = 416.0 / (64 * 64), c2 = 235963.0 / (64 * 63); /* as the filter has it */
    double total = 0, n = 0;
    for (int top = 0; top + 8 <= a->plane[k].h / 4 * 4; top += 4)
        for (int left = 0; left + 8 <= a->plane[k].w / 4 * 4; left += 4, n++) {
            double ma = 0, mb = 0, va = 0, vb = 0, cov = 0;
            for (int i = 0; i < 64; i++) {
                ma += *at(a, k, left + i % 8, top + i / 8) / 64.0;
                mb += *at(b, k, left + i % 8, top + i / 8) / 64.0;
            }
            for (int i = 0; i < 64; i++) {
                const double da = *at(a, k, left + i % 8, top + i / 8) - ma;
                const double db = *at(b, k, left + i % 8, top + i / 8) - mb;
                va += da * da / 63;
                vb += db * db / 63;
                cov += da * db / 63;
            }
            total +=
                (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
        }
    return total / n;
}

static double slow_ssim(const picture *a, const picture *b) {
    double sum = 0, weight = 0;
    for (int k = 0; k < a->n; k++) {
        const double n = (double)a->plane[k].w * a->plane[k].h;
        if (a->plane[k].w < 8 || a->plane[k].h < 8) continue;
        sum += n * slow_ssim_plane(a, b, k);
        weight += n;
    }
    return a->plane[0].w < 8 || a->plane[0].h < 8 ? (double)NAN : sum / weight;
}

/* One scale of x, y [h, w]: *cs and *ssim, means over the windows. */
static void slow_scale(const double *x, const double *y, int w, int h, double *cs, double *ssim) {
    const double c1 = pow(.01 * 255, 2), c2 = pow(.03 * 255, 2);
    double g[11], norm = 0, n = 0;
    for (int i = 0; i < 11; i++) norm += g[i] = exp(-(i - 5) * (i - 5) / 4.5);
    *cs = *ssim = 0;
    for (int top = 0; top + 11 <= h; top++)
        for (int left = 0; left + 11 <= w; left++, n++) {
            double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
            for (int i = 0; i < 121; i++) {
                const int p = (top + i / 11) * w + left + i % 11;
                const double k = g[i / 11] * g[i % 11] / (norm * norm);
                mx += k * x[p];
                my += k * y[p];
                xx += k * x[p] * x[p];
                yy += k * y[p] * y[p];
                xy += k * x[p] * y[p];
            }
            const double c = (2 * (xy - mx * my) + c2) / (xx - mx * mx + yy - my * my + c2);
            *cs += c;
            *ssim += c * (2 * mx * my + c1) / (mx * mx + my * my + c1);
        }
    *cs /= n;
    *ssim /= n;
}

static void slow_halve(double *p, int w, int h) {
    const int w2 = (w + 1) / 2, h2 = (h + 1) / 2;
    for (int y = 0; y < h2; y++)
        for (int x = 0; x < w2; x++) {
            const int r = 2 * x + 1 < w ? 2 * x + 1 : 2 * x, d = 2 * y + 1 < h ? 2 * y + 1 : 2 * y;
            p[y * w2 + x] =
                (p[2 * y * w + 2 * x] + p[2 * y * w + r] + p[d * w + 2 * x] + p[d * w + r]) / 4;
        }
}

static double slow_ms(const picture *a, const picture *b) {
    static const double weight[5] = {.0448, .2856, .3001, .2363, .1333};
    int w = a->plane[0].w, h = a->plane[0].h, scales = 0;
    double *x = malloc((size_t)w * (size_t)h * sizeof *x), *y = malloc((size_t)w * (size_t)h * 8);
    for (int i = 0; i < w * h; i++) {
        x[i] = *at(a, 0, i % w, i / w);
        y[i] = *at(b, 0, i % w, i / w);
    }
    double cs[5], ssim[5], sum = 0, product = 1;
    for (; scales < 5 && w >= 11 && h >= 11; w = (w + 1) / 2, h = (h + 1) / 2, scales++) {
        slow_scale(x, y, w, h, &cs[scales], &ssim[scales]);
        slow_halve(x, w, h);
        slow_halve(y, w, h);
        sum += weight[scales];
    }
    for (int i = 0; i < scales; i++)
        product *=
            pow(fmax(0, i + 1 < scales ? cs[i] : ssim[i]), weight[i] / (scales < 5 ? sum : 1));
    free(x);
    free(y);
    return scales ? product : (double)NAN;
}

static void near(double got, double want, double tol, const char *what, int w, int h) {
    if (isnan(want) ? !isnan(got) : !(fabs(got - want) <= tol))
        fail_msg("%s at %dx%d: %.9f, expected %.9f", what, w, h, got, want);
}

/* ---- tests --------------------------------------------------------------------------------------
 */

static const int SIDES[] = {1, 2, 3, 4, 7, 8, 9, 11, 12, 15, 16, 17, 21, 22, 37, 64};
#define N_SIDES ((int)(sizeof SIDES / sizeof *SIDES))

static void test_small_and_odd_sizes(void **state) {
    (void)state;
    for (int i = 0; i < N_SIDES * N_SIDES; i++) {
        const int w = SIDES[i % N_SIDES], h = SIDES[i / N_SIDES], n = i % 3 ? 3 : 1;
        picture a = make(w, h, n, i % 5), b = make(w, h, n, i % 7);
        paint(&a, &b, 12);
        const result r = compare(&a, &b), same = compare(&a, &a);
        near(r.psnr, slow_psnr(&a, &b), 1e-9, "psnr", w, h);
        near(r.ssim, slow_ssim(&a, &b), 2e-6, "ssim", w, h);
        near(r.ms, slow_ms(&a, &b), 1e-5, "ms_ssim", w, h);
        near(same.psnr, 100, 0, "psnr of equals", w, h);
        near(same.ssim, w < 8 || h < 8 ? (double)NAN : 1, 0, "ssim of equals", w, h);
        near(same.ms, w < 11 || h < 11 ? (double)NAN : 1, 0, "ms_ssim of equals", w, h);
        free(a.buf);
        free(b.buf);
    }
}

/* Two to five scales, the borders between them, and noise from none to much. */
static void test_scales(void **state) {
    (void)state;
    static const int size[][2] = {{160, 161}, {161, 161}, {192, 176}, {81, 203}, {40, 80}};
    for (int i = 0; i < 5; i++)
        for (int s = 1; s < 256; s *= 6) {
            const int w = size[i][0], h = size[i][1];
            picture a = make(w, h, 1, 3), b = make(w, h, 1, 0);
            paint(&a, &b, s);
            const result r = compare(&a, &b);
            near(r.ms, slow_ms(&a, &b), 3e-6, "ms_ssim", w, h);
            near(r.ssim, slow_ssim(&a, &b), 2e-6, "ssim", w, h);
            free(a.buf);
            free(b.buf);
        }
}

static void test_known_errors(void **state) {
    (void)state;
    picture a = make(64, 48, 3, 0), b = make(64, 48, 3, 0);
    paint(&a, &b, 0);
    for (int d = 1; d < 40; d *= 3) {
        for (int i = 0; i < 64 * 48; i++) b.buf[i] = (uint8_t)(a.buf[i] + d);
        /* luma, two thirds of the samples, is off by d */
        near(compare(&a, &b).psnr, 20 * log10(255.0 / d) + 10 * log10(1.5), 1e-9, "psnr", 64, 48);
    }
    free(a.buf);
    free(b.buf);
}

/* A flat picture against a lighter one: no structure, only l is left, at every scale. */
static void test_flat(void **state) {
    (void)state;
    picture a = make(200, 170, 1, 0), b = make(200, 170, 1, 0);
    memset(a.buf, 100, 200 * 170);
    memset(b.buf, 140, 200 * 170);
    const double product = 2 * 100 * 140, squares = 100 * 100 + 140 * 140;
    const result r = compare(&a, &b);
    near(r.psnr, 20 * log10(255.0 / 40), 1e-9, "psnr", 200, 170);
    near(r.ssim, (product + 0.1016) / (squares + 0.1016), 1e-6, "ssim", 200, 170);
    near(r.ms, pow((product + 6.5025) / (squares + 6.5025), .1333), 1e-6, "ms_ssim", 200, 170);
    free(a.buf);
    free(b.buf);
}

static void test_one_sample(void **state) {
    (void)state;
    picture a = make(832, 480, 3, 0), b = make(832, 480, 3, 0);
    paint(&a, &b, 0);
    *at(&b, 0, 417, 233) ^= 64;
    const double n = 832 * 480 * 1.5;
    result r = compare(&a, &b);
    near(r.psnr, 10 * log10(255.0 * 255.0 * n / 4096), 1e-9, "psnr", 832, 480);
    near(r.ssim, slow_ssim(&a, &b), 1e-6, "ssim", 832, 480);
    assert_true(r.ssim < 1 && r.ms < 1 && r.ms > 0.999);
    *at(&b, 0, 417, 233) ^= 65; /* one level: 105.9 dB, no better than equal pictures */
    r = compare(&a, &b);
    near(r.psnr, 100, 0, "psnr", 832, 480);
    assert_true(r.ssim < 1 && r.ms < 1);
    *at(&b, 0, 417, 233) ^= 1;
    *at(&b, 2, 415, 239) ^= 64; /* the last sample of v: seen by psnr and ssim, not by ms_ssim */
    r = compare(&a, &b);
    near(r.psnr, 10 * log10(255.0 * 255.0 * n / 4096), 1e-9, "psnr", 832, 480);
    assert_true(r.ssim < 1 && r.ms >= 1);
    free(a.buf);
    free(b.buf);
}

/* A picture against its negative: ssim below 0, a mean contrast term below 0 counts as 0. */
static void test_negative(void **state) {
    (void)state;
    picture a = make(176, 176, 1, 0), b = make(176, 176, 1, 0);
    paint(&a, &b, 0);
    for (int i = 0; i < 176 * 176; i++) b.buf[i] = (uint8_t)(255 - a.buf[i]);
    const result r = compare(&a, &b);
    assert_true(r.ssim < -0.1);
    near(r.ssim, slow_ssim(&a, &b), 2e-6, "ssim", 176, 176);
    near(r.ms, 0, 0, "ms_ssim", 176, 176);
    free(a.buf);
    free(b.buf);
}

static void test_only_what_is_wanted(void **state) {
    (void)state;
    picture a = make(32, 32, 3, 0), b = make(32, 32, 3, 0);
    paint(&a, &b, 5);
    for (int m = LT_METRIC_PSNR; m <= LT_METRIC_MS_SSIM; m++) {
        lti_compare *c = NULL;
        double v[3];
        assert_int_equal(lti_compare_open(32, 32, LT_METRIC_BIT(m), &c, NULL), LT_OK);
        lti_compare_push(c, a.plane, b.plane, 3, &v[0], &v[1], &v[2]);
        for (int k = 0; k < 3; k++) assert_true(isnan(v[k]) == (LT_METRIC_PSNR + k != m));
        lti_compare_close(&c);
    }
    lti_compare *none = NULL;
    lti_compare_close(&none);
    free(a.buf);
    free(b.buf);
}

/* Plain C and the processor's vectors: the same bits. */
static void test_levels(void **state) {
    (void)state;
    for (int w = 161; w < 180; w++) {
        picture a = make(w, 170, 1, 0), b = make(w, 170, 1, 0);
        paint(&a, &b, 40);
        double v[2];
        for (int level = 0; level < 2; level++) {
            lti_msssim *m = NULL;
            assert_int_equal(lti_msssim_open(w, 170, level, &m, NULL), LT_OK);
            v[level] = lti_msssim_push(m, a.plane[0], b.plane[0]);
            lti_msssim_close(&m);
        }
        assert_memory_equal(&v[0], &v[1], sizeof v[0]);
        free(a.buf);
        free(b.buf);
    }
}

/* Of pytorch_msssim 1.0.0, see tools/make_msssim_golden.py; sides even at every scale, where its
 * padding of odd ones plays no part. */
static void test_other_program(void **state) {
    (void)state;
    static const struct {
        int w, h, noise;
        double ms;
    } of[] = {
        {192, 176, 4, 0.998930192},
        {192, 176, 32, 0.960547713},
        {832, 480, 12, 0.993546988},
        {832, 480, 128, 0.668240313},
    };
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        picture a = make(of[i].w, of[i].h, 1, 0), b = make(of[i].w, of[i].h, 1, 0);
        paint(&a, &b, of[i].noise);
        near(compare(&a, &b).ms, of[i].ms, 2e-6, "ms_ssim", of[i].w, of[i].h);
        free(a.buf);
        free(b.buf);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_and_odd_sizes), cmocka_unit_test(test_scales),
        cmocka_unit_test(test_known_errors),        cmocka_unit_test(test_flat),
        cmocka_unit_test(test_one_sample),          cmocka_unit_test(test_negative),
        cmocka_unit_test(test_only_what_is_wanted), cmocka_unit_test(test_levels),
        cmocka_unit_test(test_other_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

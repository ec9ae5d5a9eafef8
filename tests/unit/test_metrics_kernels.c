/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_metrics_kernels.c - what the metrics are built of: the sample loops of every
 * instruction set against loops that a reader can check, RGB to YUV against its formula in double,
 * running sums against sums over all values, the median inside chunks against a sorted list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "metrics/metrics_int.h"

static uint64_t seed = 1;
static uint32_t random32(void) { /* an LCG's high half: any platform, the same pictures */
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}
static double random1(void) { return random32() / 4294967296.0; }

/* n bytes with room around them; kind 0: anything, 1: only 0 and 255, 2: small steps. */
static uint8_t *bytes(size_t n, int kind) {
    uint8_t *p = malloc(n + 128), v = 99;
    assert_non_null(p);
    for (size_t i = 0; i < n + 128; i++) {
        if (kind == 2) v = (uint8_t)(v + random32() % 5 - 2);
        p[i] = kind == 2 ? v : kind == 1 ? (uint8_t) - (int)(random32() & 1) : (uint8_t)random32();
    }
    return p;
}

/* ---- kernels ----------------------------------------------------------------------------------- */

static const int LENGTH[] = {0, 1, 2, 3, 7, 8, 15, 16, 31, 33, 64, 100, 257, 832, 1023, 1025, 5000};
enum { LENGTHS = sizeof LENGTH / sizeof *LENGTH };

static void one_row(const lti_kernels *k, const uint8_t *a, const uint8_t *b, size_t n) {
    uint64_t sad = 0, sum2 = 0;
    int64_t sum = 0, fixed = 0;
    lti_levels l = {1, 2, 3, 4}, want = l;
    for (size_t i = 0; i < n; i++) {
        const int d = a[i] - b[i];
        sad += (uint64_t)abs(d);
        sum += d;
        sum2 += (uint64_t)(d * d);
        const double u = a[i] - 128, v = b[i] - 128;
        fixed += (int64_t)(sqrt(u * u + v * v) * 4194304 + 0.5);
        want.sum += a[i];
        want.sum2 += (uint64_t)a[i] * a[i];
        want.below += a[i] <= 18;
        want.above += a[i] >= 234;
    }
    int64_t s;
    uint64_t s2;
    k->diff2(a, b, n, &s, &s2);
    k->levels(a, n, 18, 234, &l);
    assert_true(k->sad(a, b, n) == sad);
    assert_true(s == sum && s2 == sum2);
    assert_memory_equal(&l, &want, sizeof l);
    assert_true(k->chroma(a, b, n) == (double)fixed / 4194304);
    uint8_t *out = malloc(n + 1);
    uint32_t *acc = calloc(n + 1, sizeof *acc);
    k->stretch(a, out, n);
    k->add(acc, a, n);
    k->add(acc, b, n);
    for (size_t i = 0; i < n; i++) {
        const int in = a[i] < 16 ? 0 : a[i] > 235 ? 219 : a[i] - 16;
        assert_int_equal(out[i], 255 * in / 219);
        assert_int_equal(acc[i], a[i] + b[i]);
    }
    free(out);
    free(acc);
}

static void one_triple(const lti_kernels *k, const uint8_t *p, const uint8_t *q, const uint8_t *r,
                       int w) {
    int64_t lap = 0, fixed = 0, s;
    uint64_t lap2 = 0, s2;
    double sob2 = 0, f, f2;
    for (int x = 1; x < w - 1; x++) {
        const int l = p[x] + r[x] + q[x - 1] + q[x + 1] - 4 * q[x];
        const int gx = p[x + 1] - p[x - 1] + 2 * (q[x + 1] - q[x - 1]) + r[x + 1] - r[x - 1];
        const int gy = r[x - 1] - p[x - 1] + 2 * (r[x] - p[x]) + r[x + 1] - p[x + 1];
        lap += l;
        lap2 += (uint64_t)(l * l);
        sob2 += gx * gx + gy * gy;
        fixed += (int64_t)((double)sqrtf((float)(gx * gx + gy * gy)) * 1048576);
    }
    k->laplace(p, q, r, w, &s, &s2);
    k->sobel(p, q, r, w, &f, &f2);
    assert_true(s == lap && s2 == lap2);
    assert_true(f == (double)fixed / 1048576 && f2 == sob2);
}

static void test_rows(void **state) {
    (void)state;
    for (int level = 0; level < 3; level++) {
        const lti_kernels *k = lti_kernels_at(level);
        if (!k) continue;
        for (int i = 0; i < 3 * LENGTHS; i++) {
            const int n = LENGTH[i / 3];
            uint8_t *a = bytes((size_t)n, i % 3), *b = bytes((size_t)n, i % 3),
                    *c = bytes((size_t)n, i % 3);
            for (int shift = 0; shift < 3; shift++) {
                one_row(k, a + shift, b + 2 * shift, (size_t)n);
                one_triple(k, a + shift, b + 2 * shift, c, n);
            }
            free(a);
            free(b);
            free(c);
        }
    }
}

/* The largest sums: nothing overflows. */
static void test_extremes(void **state) {
    (void)state;
    enum { N = 70000 };
    uint8_t *a = calloc(1, N), *b = malloc(N), *c = malloc(N);
    memset(b, 255, N);
    for (int i = 0; i < N; i++) c[i] = i % 2 ? 255 : 0;
    for (int level = 0; level < 3; level++) {
        if (!lti_kernels_at(level)) continue;
        one_row(lti_kernels_at(level), a, b, N);
        one_row(lti_kernels_at(level), b, a, N);
        one_row(lti_kernels_at(level), b, b, N);
        one_triple(lti_kernels_at(level), c + 1, c, c + 1, N - 1);
        one_triple(lti_kernels_at(level), a, a, b, N);
    }
    free(a);
    free(b);
    free(c);
}

static void test_blocks(void **state) {
    (void)state;
    enum { W = 61, H = 40 };
    uint8_t *a = bytes(W * H, 0), *b = bytes(W * H, 0);
    for (int level = 0; level < 3; level++) {
        const lti_kernels *k = lti_kernels_at(level);
        if (!k) continue;
        for (int at = 0; at < 40; at++) {
            const uint8_t *p = a + at, *q = b + 3 * at;
            uint32_t s16 = 0, s8 = 0;
            for (int y = 0; y < 16; y++)
                for (int x = 0; x < 16; x++) {
                    const uint32_t d = (uint32_t)abs(p[y * W + x] - q[y * (W - 7) + x]);
                    s16 += d;
                    if (y < 8 && x < 8) s8 += d;
                }
            assert_int_equal(k->sad16(p, W, q, W - 7), s16);
            assert_int_equal(k->sad8(p, W, q, W - 7), s8);
        }
        for (int w = 1; w <= 30; w++) {
            uint8_t out[31 * 5];
            memset(out, 7, sizeof out);
            k->halve(a + w, W, out, 31, w, 5);
            for (int y = 0; y < 5; y++) {
                for (int x = 0; x < w; x++) {
                    const uint8_t *p = a + w + 2 * y * W + 2 * x;
                    assert_int_equal(out[31 * y + x], (p[0] + p[1] + p[W] + p[W + 1] + 2) / 4);
                }
                assert_int_equal(out[31 * y + w], 7); /* not a byte further */
            }
        }
    }
    free(a);
    free(b);
}

static void test_counts(void **state) {
    (void)state;
    int16_t x[577], y[577];
    for (int i = 0; i < 577; i++) x[i] = (int16_t)(random32() % 1400 - 700);
    for (int i = 0; i < 577; i++) y[i] = (int16_t)(random32() % 1400 - 700);
    uint8_t *rgb = bytes(3 * 1001, 0);
    for (int level = 0; level < 3; level++) {
        const lti_kernels *k = lti_kernels_at(level);
        if (!k) continue;
        for (int n = 0; n <= 577; n++) {
            int32_t sum = 0;
            for (int i = 0; i < n; i++) sum += x[i] * y[i];
            assert_int_equal(k->dot(x, y, (size_t)n), sum);
        }
        for (int n = 0; n <= 1001; n += 77) {
            uint32_t bins[96], want[96];
            for (int i = 0; i < 96; i++) bins[i] = want[i] = (uint32_t)i;
            for (int i = 0; i < 3 * n; i++) want[32 * (i % 3) + rgb[i] / 8]++;
            k->bins(rgb, (size_t)n, bins);
            assert_memory_equal(bins, want, sizeof bins);
        }
    }
    free(rgb);
}

/* ---- planes ------------------------------------------------------------------------------------ */

/* Nearest integer, or the other one where the definition is within 1e-4 of a half. */
static void near_to(int got, double want) {
    if (got == (int)floor(want + 0.5)) return;
    if (fabs(want - floor(want) - 0.5) > 1e-4 || fabs(got - want) > 0.51)
        fail_msg("%d, expected %.6f", got, want);
}

static void to_yuv(double r, double g, double b, double *yuv) {
    const double y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    yuv[0] = 16 + y * 219 / 255;
    yuv[1] = 128 + (b - y) / 1.8556 * 224 / 255;
    yuv[2] = 128 + (r - y) / 1.5748 * 224 / 255;
}

static void test_every_colour(void **state) {
    (void)state;
    uint8_t rgb[3 * 256], y[256], u[128], v[128];
    for (int r = 0; r < 256; r++)
        for (int g = 0; g < 256; g += r % 51 ? 13 : 1) {
            for (int b = 0; b < 256; b++)
                memcpy(rgb + 3 * b, (uint8_t[]){(uint8_t)r, (uint8_t)g, (uint8_t)b}, 3);
            const lti_kernels *k = lti_kernels_best();
            k->rgb_y(rgb, y, 256);
            k->rgb_uv(rgb, rgb, 256, u, v);
            for (int b = 0; b < 256; b++) {
                double yuv[3];
                to_yuv(r, g, b, yuv);
                near_to(y[b], yuv[0]);
                if (b % 2) continue;
                to_yuv(r, g, b + 0.5, yuv); /* b and its neighbour, twice */
                near_to(u[b / 2], yuv[1]);
                near_to(v[b / 2], yuv[2]);
            }
        }
}

static void one_size(const lti_kernels *k, int w, int h) {
    uint8_t *rgb = bytes((size_t)(3 * w * h), (w + h) % 2);
    lti_fromrgb p;
    lt_error err = {0};
    assert_int_equal(lti_fromrgb_open(w, h, &p, &err), LT_OK);
    lti_fromrgb_run(&p, k, rgb);
    const int cw = (w + 1) / 2, ch = (h + 1) / 2;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const uint8_t *q = rgb + 3 * (y * w + x);
            double yuv[3];
            to_yuv(q[0], q[1], q[2], yuv);
            near_to(p.y[y * w + x], yuv[0]);
        }
    for (int y = 0; y < ch; y++)
        for (int x = 0; x < cw; x++) {
            double sum[3] = {0}, yuv[3];
            for (int i = 0; i < 4; i++) {
                const int px = 2 * x + i % 2, py = 2 * y + i / 2;
                const int at = (py < h ? py : h - 1) * w + (px < w ? px : w - 1);
                for (int c = 0; c < 3; c++) sum[c] += rgb[3 * at + c] / 4.0;
            }
            to_yuv(sum[0], sum[1], sum[2], yuv);
            near_to(p.u[y * cw + x], yuv[1]);
            near_to(p.v[y * cw + x], yuv[2]);
        }
    lti_fromrgb_close(&p);
    free(rgb);
}

static void test_planes(void **state) {
    (void)state;
    for (int level = 0; level < 3; level++)
        for (int w = 1; w < 70; w += 1 + w / 7)
            for (int h = 1; h < 8 && lti_kernels_at(level); h++)
                one_size(lti_kernels_at(level), w, h);
}

/* ---- trace ------------------------------------------------------------------------------------- */

static void close_to(double got, double want, double bound) {
    if (isnan(want) && isnan(got)) return;
    if (!(fabs(got - want) <= bound)) fail_msg("%.12g, expected %.12g +- %g", got, want, bound);
}

/* Mean (and deviation) of the values a, .., b - 1 that are numbers. */
static double mean_of(const double *v, int64_t a, int64_t b, double *deviation) {
    double sum = 0, sum2 = 0;
    int64_t n = 0;
    for (int64_t i = a; i < b; i++)
        if (!isnan(v[i])) sum += v[i], n++;
    for (int64_t i = a; i < b; i++)
        if (!isnan(v[i])) sum2 += (v[i] - sum / (double)n) * (v[i] - sum / (double)n);
    *deviation = n ? sqrt(sum2 / (double)n) : NAN;
    return n ? sum / (double)n : NAN;
}

static void compare_trace(const double *v, const double *t, int64_t n, double border) {
    lti_trace *trace;
    lt_error err = {0};
    assert_int_equal(lti_trace_open(&trace, &err), LT_OK);
    for (int64_t i = 0; i < n; i++) lti_trace_push(trace, t[i], v[i]);
    lt_metric_summary s = {0};
    lti_trace_summary(trace, &s);
    int64_t share = (int64_t)floor(0.15 * (double)n + 0.5), count = 0;
    if (share < 1) share = 1;
    double dev, first_dev, last_dev, lo = NAN, hi = NAN, tm = 0, tt = 0, tv = 0;
    const double mean = mean_of(v, 0, n, &dev);
    for (int64_t i = 0; i < n; i++) {
        if (isnan(v[i])) continue;
        tm += t[i];
        lo = count && lo < v[i] ? lo : v[i];
        hi = count && hi > v[i] ? hi : v[i];
        count++;
    }
    for (int64_t i = 0; i < n; i++) {
        if (isnan(v[i])) continue;
        const double d = t[i] - tm / (double)count;
        tt += d * d;
        tv += d * (v[i] - mean);
    }
    assert_true(s.n == count);
    close_to(s.mean, mean, 1e-9);
    close_to(s.deviation, dev, 1e-9);
    close_to(s.min, lo, 0);
    close_to(s.max, hi, 0);
    close_to(s.slope, tt > 0 ? tv / tt : NAN, 1e-9);
    close_to(s.first, mean_of(v, 0, share, &first_dev), border);
    close_to(s.last, mean_of(v, n - share, n, &last_dev), border);
    close_to(s.first_deviation, first_dev, border);
    close_to(s.drift, s.last - s.first, 0);
    const int32_t pieces = lti_trace_piece(trace, -1, NULL, NULL);
    assert_true(pieces <= 8192 && (n < 8192 ? pieces == n : pieces > 4096));
    double before = -1, at, value;
    for (int32_t i = 0; i < pieces; i++) {
        assert_int_equal(lti_trace_piece(trace, i, &at, &value), pieces);
        assert_true(at > before);
        before = at;
        if (pieces == n) close_to(value, v[i], 0), close_to(at, t[i], 0);
    }
    lti_trace_close(&trace);
    assert_null(trace);
}

static void test_trace(void **state) {
    (void)state;
    enum { N = 100000 };
    double *v = malloc(N * sizeof *v), *t = malloc(N * sizeof *t);
    for (int64_t i = 0; i < N; i++) {
        t[i] = (double)i / 16 + 0.03 * random1();
        v[i] = 1000 + (double)i / N + random1();
    }
    for (int64_t n = 1; n <= 41; n++) compare_trace(v, t, n, 1e-9);
    compare_trace(v, t, 8192, 1e-9);
    compare_trace(v, t, 8193, 1e-3);
    compare_trace(v, t, N, 1e-3);
    for (int64_t i = 0; i < N; i++)
        if (i % 7 == 3 || i < 3) v[i] = NAN;
    for (int64_t n = 1; n <= 41; n++) compare_trace(v, t, n, 1e-9);
    compare_trace(v, t, N, 1e-3);
    for (int64_t i = 0; i < N; i++) v[i] = NAN;
    compare_trace(v, t, 50, 0);
    for (int64_t i = 0; i < N; i++) v[i] = 0.1; /* nothing grows from rounding */
    compare_trace(v, t, N, 1e-12);
    /* pieces of two frames, and the border of 1229 cuts one: half of it counts */
    for (int64_t i = 0; i < N; i++) v[i] = i < 1228 ? 0 : 1000;
    compare_trace(v, t, 8193, 1e-9);
    free(v);
    free(t);
}

static void test_empty_trace(void **state) {
    (void)state;
    lti_trace *trace;
    lt_error err = {0};
    lt_metric_summary s = {0};
    assert_int_equal(lti_trace_open(&trace, &err), LT_OK);
    lti_trace_summary(trace, &s);
    assert_true(s.n == 0 && isnan(s.mean) && isnan(s.first) && isnan(s.last) && isnan(s.slope));
    assert_true(isnan(s.min) && isnan(s.max) && isnan(s.deviation) && isnan(s.first_deviation));
    assert_int_equal(lti_trace_piece(trace, 0, NULL, NULL), 0);
    lti_trace_push(trace, 0, INFINITY); /* no number either */
    lti_trace_summary(trace, &s);
    assert_true(s.n == 0 && isnan(s.mean));
    lti_trace_close(&trace);
}

/* ---- seams ------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void test_median(void **state) {
    (void)state;
    static double v[5001], sorted[5001];
    lti_seams *s;
    lt_error err = {0};
    for (int kind = 0; kind < 4; kind++) {
        assert_int_equal(lti_seams_open(&s, &err), LT_OK);
        assert_true(isnan(lti_seams_median(s)));
        for (int n = 1; n <= 5001; n++) {
            const double r = random1();
            v[n - 1] = kind == 0   ? 3.25
                       : kind == 1 ? 255 * r
                       : kind == 2 ? 0.03 * pow(8000, r)
                                   : 2 + 0.0001 * r;
            lti_seams_push(s, v[n - 1]);
            if (n > 30 && n % 500 != 1 && n % 500 != 2) continue;
            memcpy(sorted, v, (size_t)n * sizeof *v);
            qsort(sorted, (size_t)n, sizeof *v, by_value);
            const double m = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
            close_to(lti_seams_median(s), m, kind == 0 ? 1e-12 : 6e-4 * m);
        }
        lti_seams_close(&s);
    }
    assert_int_equal(lti_seams_open(&s, &err), LT_OK);
    for (int i = 0; i < 9; i++) lti_seams_push(s, i < 5 ? 0 : 255);
    close_to(lti_seams_median(s), 0.02, 1e-12);
    for (int i = 0; i < 9; i++) lti_seams_push(s, 255);
    close_to(lti_seams_median(s), 255, 1e-9);
    lti_seams_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),         cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_blocks),       cmocka_unit_test(test_counts),
        cmocka_unit_test(test_every_colour), cmocka_unit_test(test_planes),
        cmocka_unit_test(test_trace),        cmocka_unit_test(test_empty_trace),
        cmocka_unit_test(test_median),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

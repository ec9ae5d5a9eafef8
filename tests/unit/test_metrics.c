/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_metrics.c - videos with one known fault each: a metric must answer to its own with
 * the value that theory gives, and be quiet for the others. Motion has its own tests. */
#include "metrics/metrics_int.h"
#include "tests/unit/metrics_rig.h"

enum { W = 96, H = 64, N = W * H };
/* All of this file's metrics. */
#define CORE (LT_METRICS_NO_REF & ~(BIT(MOTION) | BIT(WARP_ERROR) | BIT(SMOOTH)))

static uint8_t clamp8(double v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : floor(v + 0.5)); }

/* A soft pattern of 70 to 180 in each channel; `kind` picks another one. */
static void pattern(uint8_t *rgb, int kind) {
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int c = 0; c < 3; c++)
                rgb[3 * (y * W + x) + c] =
                    clamp8(125 + 30 * sin((x * (kind + 2) + 5 * c) * 0.07 + kind) +
                           25 * cos((y * (3 + 2 * kind) - x) * 0.09 + c));
}

static void shift(uint8_t *out, const uint8_t *in, int by) {
    for (int i = 0; i < 3 * N; i++) out[i] = (uint8_t)(in[i] + by);
}

static double mean_difference(const uint8_t *a, const uint8_t *b) {
    double sum = 0;
    for (int i = 0; i < 3 * N; i++) sum += abs(a[i] - b[i]);
    return sum / (3 * N);
}

/* Earth mover's distance of the pictures' 32-bin histograms, mean of the channels. */
static double colour_distance(const uint8_t *a, const uint8_t *b) {
    double sum = 0;
    for (int edge = 8; edge < 256; edge += 8)
        for (int c = 0; c < 3; c++) {
            int below = 0;
            for (int i = c; i < 3 * N; i += 3) below += (a[i] < edge) - (b[i] < edge);
            sum += abs(below);
        }
    return sum * 8 / N / 3;
}

/* What a video without change says, but for frames a and b. */
static void quiet_difference(const clip *c, int a, int b) {
    all_are(c, LT_METRIC_FLICKER, 1, 1, 0, a, b);
    all_are(c, LT_METRIC_TI, 1, 0, 0, a, b);
}

static void quiet_levels(const clip *c) {
    static const int same[] = {LT_METRIC_LUMA,    LT_METRIC_CONTRAST, LT_METRIC_SATURATION,
                               LT_METRIC_CLIP_LO, LT_METRIC_CLIP_HI,  LT_METRIC_SHARPNESS,
                               LT_METRIC_SI};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        all_are(c, same[i], 0, c->row[0][same[i]], 0, -1, -1);
        const lt_metric_summary s = summary(c, same[i]);
        close_to(s.mean, c->row[0][same[i]], 1e-9);
        close_to(s.drift, 0, 1e-9);
        close_to(s.slope, 0, 1e-9);
        close_to(s.deviation, 0, 1e-9);
    }
}

/* boundary is `value` at frames 9, 21, 33, .. and nowhere else. */
static void seams_are(const clip *c, double value, double bound) {
    int n = 0;
    for (int t = 0; t < c->frames; t++) {
        const double b = c->row[t][LT_METRIC_BOUNDARY];
        assert_true(isnan(b) == !(t >= 9 && (t - 9) % 12 == 0));
        if (isnan(b)) continue;
        close_to(b, value, bound);
        n++;
    }
    const lt_metric_summary s = summary(c, LT_METRIC_BOUNDARY);
    assert_true(s.n == n);
    if (n) close_to(s.mean, value, bound);
}

static void no_loop(const clip *c, double bound) {
    for (int t = 0; t < c->frames; t++) {
        assert_true(isnan(c->row[t][LT_METRIC_LOOP]) == (t <= 2 * FPS));
        if (t > 2 * FPS) close_to(c->row[t][LT_METRIC_LOOP], 0, bound);
    }
}

static lt_drift drift(const clip *c) {
    lt_drift d;
    lt_metrics_drift(c->m, &d, sizeof d);
    return d;
}

/* ---- a still ------------------------------------------------------------------------------------ */

static void test_still(void **state) {
    (void)state;
    uint8_t rgb[3 * N];
    for (int i = 0; i < 3 * N; i++) rgb[i] = (uint8_t)random32();
    clip *c = clip_open(W, H, CORE, 12, 9);
    for (int t = 0; t < 96; t++) {
        assert_true(isnan(drift(c).score) == (t < 33)); /* 2 s: frames 0 to 32 */
        clip_push(c, rgb);
    }
    quiet_difference(c, -1, -1);
    quiet_levels(c);
    all_are(c, LT_METRIC_HIST_FIRST, 0, 0, 1e-12, -1, -1);
    all_are(c, LT_METRIC_HIST_PREV, 9, 0, 1e-12, -1, -1);
    for (int t = 0; t < 9; t++) assert_true(isnan(c->row[t][LT_METRIC_HIST_PREV]));
    assert_true(isnan(c->row[0][LT_METRIC_FLICKER]) && isnan(c->row[0][LT_METRIC_TI]));
    seams_are(c, 1, 1e-12);
    no_loop(c, 1e-9);
    close_to(drift(c).score, 0, 1e-12);
    assert_true(summary(c, LT_METRIC_FLICKER).n == 95);
    clip_close(c);
}

/* ---- a cut, and a glitch: two cuts, one frame apart --------------------------------------------- */

/* Frames a, .., b - 1 show another picture. */
static void one_cut(int a, int b) {
    enum { FRAMES = 110 };
    static uint8_t one[3 * N], other[3 * N];
    pattern(one, 0);
    pattern(other, 3);
    clip *c = clip_open(W, H, CORE, 12, 9);
    for (int t = 0; t < FRAMES; t++) clip_push(c, t >= a && t < b ? other : one);
    const double jump = mean_difference(one, other), far = colour_distance(one, other);
    assert_true(jump > 15 && far > 1);
    quiet_difference(c, a, b);
    close_to(c->row[a][LT_METRIC_FLICKER], 1 - jump / 255, 1e-12);
    const lt_metric_summary s = summary(c, LT_METRIC_FLICKER);
    close_to(s.mean, 1 - (b < FRAMES ? 2 : 1) * jump / 255 / (FRAMES - 1), 1e-12);
    close_to(s.min, 1 - jump / 255, 1e-12);
    close_to(s.max, 1, 0);
    assert_true(c->row[a][LT_METRIC_TI] > 10);
    for (int t = 0; t < FRAMES; t++)
        close_to(c->row[t][LT_METRIC_HIST_FIRST], t >= a && t < b ? far : 0, 1e-9);
    seams_are(c, 1, 1e-12); /* neither frame is a join */
    no_loop(c, 0.005);
    clip_close(c);
}

static void test_cut(void **state) {
    (void)state;
    one_cut(46, 9999);
}

static void test_glitch(void **state) {
    (void)state;
    one_cut(46, 47);
}

/* A cut at a join stands out by itself: against the floor of 0.02 levels. */
static void test_cut_at_join(void **state) {
    (void)state;
    static uint8_t one[3 * N], other[3 * N];
    pattern(one, 0);
    pattern(other, 3);
    clip *c = clip_open(W, H, BIT(BOUNDARY), 12, 9);
    for (int t = 0; t < 60; t++) clip_push(c, t < 45 ? one : other);
    close_to(c->row[45][LT_METRIC_BOUNDARY], mean_difference(one, other) / 0.02, 1e-6);
    close_to(c->row[33][LT_METRIC_BOUNDARY], 1, 1e-12);
    clip_close(c);
}

/* ---- fade and brightness ------------------------------------------------------------------------ */

static void test_fade(void **state) {
    (void)state;
    static uint8_t rgb[3 * N];
    clip *c = clip_open(W, H, CORE, 12, 9);
    for (int t = 0; t < 128; t++) {
        memset(rgb, 2 * t, sizeof rgb);
        clip_push(c, rgb);
        close_to(c->row[t][LT_METRIC_LUMA], 16 + 2 * t * 219.0 / 255, 0.501);
    }
    all_are(c, LT_METRIC_FLICKER, 1, 1 - 2.0 / 255, 1e-12, -1, -1);
    static const int none[] = {LT_METRIC_CONTRAST, LT_METRIC_SATURATION, LT_METRIC_SHARPNESS,
                               LT_METRIC_SI, LT_METRIC_TI};
    for (int i = 0; i < 5; i++) all_are(c, none[i], i == 4, 0, 1e-9, -1, -1);
    seams_are(c, 1, 1e-12);
    no_loop(c, 1e-9);
    close_to(summary(c, LT_METRIC_LUMA).slope, 2 * FPS * 219 / 255, 0.01);
    close_to(summary(c, LT_METRIC_LUMA).drift, 2 * 109 * 219.0 / 255, 0.1); /* 19 frames = 15 % */
    for (int t = 0; t < 128; t++) { /* luma 18 and 234 are 2 and 253 of 255 */
        const double y = c->row[t][LT_METRIC_LUMA];
        close_to(c->row[t][LT_METRIC_CLIP_LO], y <= 18 ? 100 : 0, 0);
        close_to(c->row[t][LT_METRIC_CLIP_HI], y >= 234 ? 100 : 0, 0);
    }
    close_to(c->row[1][LT_METRIC_CLIP_LO] + c->row[127][LT_METRIC_CLIP_HI], 200, 0);
    clip_close(c);
}

/* One level brighter each frame, all levels of 32..159 equally often: the histograms move by
 * exactly the levels between a frame and the middle of the chunk it is held against. */
static void test_brightness(void **state) {
    (void)state;
    static uint8_t ramp[3 * N], rgb[3 * N];
    for (int i = 0; i < N; i++) memset(ramp + 3 * i, 32 + i % 128, 3);
    clip *c = clip_open(W, H, CORE, 12, 9);
    for (int t = 0; t < 93; t++) {
        shift(rgb, ramp, t);
        clip_push(c, rgb);
        const int start = t < 9 ? 0 : t - (t - 9) % 12;   /* of the chunk */
        const double prev = start == 9 ? 4 : start - 6.5; /* middle of the one before */
        close_to(c->row[t][LT_METRIC_HIST_FIRST], t < 9 ? t / 2.0 : t - 4, 1e-9);
        if (t >= 9) close_to(c->row[t][LT_METRIC_HIST_PREV], t - prev, 1e-9);
        close_to(c->row[t][LT_METRIC_LUMA], 16 + (95.5 + t) * 219 / 255, 0.05);
        close_to(c->row[t][LT_METRIC_CONTRAST], 36.95 * 219 / 255, 0.1);
    }
    all_are(c, LT_METRIC_FLICKER, 1, 1 - 1.0 / 255, 1e-12, -1, -1);
    all_are(c, LT_METRIC_SATURATION, 0, 0, 0, -1, -1);
    all_are(c, LT_METRIC_CLIP_LO, 0, 0, 0, -1, -1);
    seams_are(c, 1, 1e-12);
    no_loop(c, 0.005);
    close_to(summary(c, LT_METRIC_LUMA).slope, FPS * 219 / 255, 0.02);
    close_to(summary(c, LT_METRIC_HIST_FIRST).last, 85.5 - 4, 1e-9); /* the last 14 of 93 */
    /* live: frames 60 to 92 against 1 to 32, for luma 32 levels are 1 */
    const lt_drift d = drift(c);
    const double luma = (76 - 16.5) * 219 / 255 / 32;
    const double hist = (72 - (36.0 / 2 + 24 * 16.5) / 32) / 36;
    assert_int_equal(d.metric, LT_METRIC_HIST_FIRST);
    close_to(d.score, hist, 1e-9);
    assert_true(hist > luma);
    clip_close(c);
}

/* ---- drift, live --------------------------------------------------------------------------------- */

static void test_drift(void **state) {
    (void)state;
    static uint8_t rgb[3 * N];
    static const struct {
        uint32_t want;
        double scale;
    } watch[] = {{BIT(LUMA), 32},       {BIT(CONTRAST), 14},   {BIT(SATURATION), 20},
                 {BIT(SHARPNESS), 2.3}, {BIT(HIST_FIRST), 36}, {BIT(FLICKER), 0}};
    for (int i = 0; i < 6; i++) {
        clip *c = clip_open(W, H, watch[i].want, 0, 0);
        for (int t = 0; t < 80; t++) { /* from the third second on: violet, contrast, noise */
            pattern(rgb, 0);
            for (int k = 0; k < 3 * N && t >= 40; k++)
                rgb[k] = clamp8(1.4 * rgb[k] - 30 + (k % 3 == 2 ? 60 : 0) + random32() % 9);
            if (t == 0) memset(rgb, 200, sizeof rgb); /* not counted */
            clip_push(c, rgb);
            if (t == 32 && watch[i].scale > 0) close_to(drift(c).score, 0, 1e-12);
        }
        int metric = 0;
        while (LT_METRIC_BIT(metric) != watch[i].want) metric++;
        double first = 0, now = 0;
        for (int t = 1; t <= 32; t++) first += c->row[t][metric] / 32;
        for (int t = 47; t < 80; t++) now += c->row[t][metric] / 33;
        const lt_drift d = drift(c);
        if (watch[i].scale == 0) { /* flicker is not watched */
            assert_true(isnan(d.score) && isnan(d.first) && isnan(d.now) && d.metric == -1);
            assert_true(isnan(lti_drift_moved(metric, 1, 2)));
        } else {
            double moved =
                metric == LT_METRIC_SHARPNESS ? log2((now + 1) / (first + 1)) : now - first;
            assert_int_equal(d.metric, metric);
            assert_true(fabs(moved) > 0.5);
            close_to(d.score, fabs(moved) / watch[i].scale, 1e-9);
            close_to(lti_drift_moved(metric, first, now), d.score, 1e-9); /* what plots use */
            close_to(d.first, first, 1e-9);
            close_to(d.now, now, 1e-9);
        }
        clip_close(c);
    }
}

/* At 1000 frames per second 2 s are more than it keeps: then the latest 512. */
static void test_drift_bound(void **state) {
    (void)state;
    uint8_t grey[3] = {0};
    clip *c = clip_open(1, 1, BIT(LUMA), 0, 0);
    for (int t = 0; t < 6000; t++) {
        const lt_picture p = {.width = 1, .height = 1, .rgb = grey};
        lt_error err = {0};
        memset(grey, t < 5700 ? 50 : 200, 3);
        assert_int_equal(lt_metrics_push(c->m, &p, NULL, t / 1000.0, NULL, &err), LT_OK);
    }
    close_to(drift(c).first, 59, 0); /* 16 + 50 * 219 / 255 */
    close_to(drift(c).now, (212 * 59 + 300 * 188) / 512.0, 1e-9);
    clip_close(c);
}

/* ---- loop ---------------------------------------------------------------------------------------- */

/* A bright spot on grey at x, y in pixels. */
static void spot(uint8_t *rgb, double x, double y) {
    for (int j = 0; j < H; j++)
        for (int i = 0; i < W; i++) {
            const double d2 = (i - x) * (i - x) + (j - y) * (j - y);
            memset(rgb + 3 * (j * W + i), clamp8(90 + 120 * exp(-d2 / 60)), 3);
        }
}

static void test_loop(void **state) {
    (void)state;
    static uint8_t rgb[3 * N];
    clip *c = clip_open(W, H, BIT(LOOP), 0, 0);
    for (int t = 0; t < 160; t++) { /* a turn takes 3 s: 48 frames */
        const double angle = 2 * 3.141592653589793 * t / 48;
        spot(rgb, 48 + 30 * cos(angle), 32 + 20 * sin(angle));
        clip_push(c, rgb);
    }
    for (int t = 0; t < 160; t++) {
        const double v = c->row[t][LT_METRIC_LOOP];
        if (t <= 32) assert_true(isnan(v));
        else if (t <= 40) close_to(v, 0, 0.05); /* still on its way */
        else if (t >= 48) close_to(v, 1, 0.03);
    }
    clip_close(c);
    c = clip_open(W, H, BIT(LOOP), 0, 0);
    for (int t = 0; t < 160; t++) { /* one way only */
        spot(rgb, 3 + t * 0.56, 20 + t * 0.1);
        clip_push(c, rgb);
    }
    no_loop(c, 0.02);
    clip_close(c);
}

/* Flat, then something, then flat again: flat pictures are alike, and unlike anything else. */
static void test_flat_loop(void **state) {
    (void)state;
    static uint8_t flat[3 * N], rgb[3 * N];
    memset(flat, 60, sizeof flat);
    pattern(rgb, 0);
    clip *c = clip_open(W, H, BIT(LOOP), 0, 0);
    for (int t = 0; t < 110; t++) clip_push(c, t >= 50 && t < 90 ? rgb : flat);
    for (int t = 33; t < 90; t++) close_to(c->row[t][LT_METRIC_LOOP], 0, 1e-9);
    for (int t = 90; t < 110; t++) close_to(c->row[t][LT_METRIC_LOOP], 1, 0.03);
    clip_close(c);
}

/* Past 1024 frames every second thumbnail goes: a repeat is still found. */
static void test_long_loop(void **state) {
    (void)state;
    static uint8_t rgb[3 * N];
    clip *c = clip_open(W, H, BIT(LOOP), 0, 0);
    for (int t = 0; t < MAX_FRAMES; t++) {
        const int at = t < 1100 ? t : t - 1100; /* a slow way, then from its start again */
        spot(rgb, 3 + at * 0.08, 20 + at * 0.015);
        clip_push(c, rgb);
    }
    for (int t = 33; t < 1100; t++) close_to(c->row[t][LT_METRIC_LOOP], 0, 0.02);
    for (int t = 1104; t < MAX_FRAMES; t++) close_to(c->row[t][LT_METRIC_LOOP], 1, 0.04);
    clip_close(c);
}

/* A way of 1000 frames, a long wait elsewhere, then a place of that way: thumbnails are dropped again
 * and again, evenly, so that each part of the past stays. */
static void test_distant_loop(void **state) {
    (void)state;
    enum { WAY = 1000, END = 4300, PLACE = 800 };
    static uint8_t rgb[3 * N];
    clip *c = clip_open(W, H, BIT(LOOP), 0, 0);
    double row[LT_METRIC_COUNT];
    for (int t = 0; t <= END + 8; t++) {
        const lt_picture p = {.width = W, .height = H, .rgb = rgb};
        lt_error err = {0};
        if (t < WAY) spot(rgb, 5 + t * 0.08, 16);
        else if (t == WAY) spot(rgb, 20, 50);
        else if (t >= END) spot(rgb, 5 + PLACE * 0.08, 16);
        assert_int_equal(lt_metrics_push(c->m, &p, NULL, t / FPS, row, &err), LT_OK);
        if (t == END - 1) close_to(row[LT_METRIC_LOOP], 0, 0.02);
    }
    close_to(row[LT_METRIC_LOOP], 1, 0.04);
    clip_close(c);
}

/* ---- seams --------------------------------------------------------------------------------------- */

/* Inside chunks one level up and down, at joins six. */
static void seam_video(clip *c, int frames) {
    static uint8_t base[3 * N], rgb[3 * N];
    int up = 0;
    pattern(base, 1);
    for (int t = 0; t < frames; t++) {
        if (t >= 9 && (t - 9) % 12 == 0) up = up > 3 ? up - 6 : up + 6;
        else if (t > 0) up += up % 2 ? -1 : 1;
        shift(rgb, base, up);
        clip_push(c, rgb);
    }
}

static void test_seam(void **state) {
    (void)state;
    clip *c = clip_open(W, H, CORE, 12, 9);
    seam_video(c, 100);
    seams_are(c, 6, 1e-9);
    for (int t = 1; t < 100; t++)
        close_to(c->row[t][LT_METRIC_FLICKER], 1 - (t >= 9 && (t - 9) % 12 == 0 ? 6 : 1) / 255.0,
                 1e-12);
    close_to(summary(c, LT_METRIC_BOUNDARY).deviation, 0, 1e-9);
    close_to(summary(c, LT_METRIC_LUMA).deviation, 0, 3);
    double at, value;
    assert_int_equal(lt_metrics_trace(c->m, LT_METRIC_BOUNDARY, 21, &at, &value), 100);
    close_to(at, 21 / FPS, 1e-12);
    close_to(value, 6, 1e-9);
    lt_metrics_trace(c->m, LT_METRIC_BOUNDARY, 22, &at, &value);
    assert_true(isnan(value));
    clip_close(c);
    c = clip_open(W, H, CORE, 13, 13); /* the wrong places: no seam there */
    seam_video(c, 100);
    for (int t = 13; t < 100; t += 13) close_to(c->row[t][LT_METRIC_BOUNDARY], 1, 1e-9);
    clip_close(c);
    c = clip_open(W, H, CORE, 0, 9); /* not known */
    seam_video(c, 100);
    assert_true(summary(c, LT_METRIC_BOUNDARY).n == 0);
    assert_true(isnan(summary(c, LT_METRIC_BOUNDARY).mean));
    clip_close(c);
}

/* The median of the whole video, not of what came before the join. */
static void test_seam_median(void **state) {
    (void)state;
    static uint8_t base[3 * N], rgb[3 * N];
    pattern(base, 1);
    clip *c = clip_open(W, H, BIT(BOUNDARY), 10, 0);
    int up = 0;
    for (int t = 0; t < 41; t++) { /* inside: 1 level in the first two chunks, then 4; joins: 8 */
        const int step = t == 0 ? 0 : t % 10 == 0 ? 8 : t < 20 ? 1 : 4;
        up += up > 8 ? -step : step;
        shift(rgb, base, up);
        clip_push(c, rgb);
    }
    close_to(c->row[10][LT_METRIC_BOUNDARY], 8, 1e-9);
    close_to(c->row[30][LT_METRIC_BOUNDARY], 8, 1e-9);   /* 18 of 1, 9 of 4 */
    close_to(c->row[40][LT_METRIC_BOUNDARY], 3.2, 1e-9); /* 18 of 1, 18 of 4: median 2.5 */
    close_to(summary(c, LT_METRIC_BOUNDARY).mean, 3.2, 1e-9);
    clip_close(c);
    c = clip_open(W, H, BIT(BOUNDARY), 1, 0); /* nothing is inside */
    for (int t = 0; t < 20; t++) clip_push(c, base);
    assert_true(summary(c, LT_METRIC_BOUNDARY).n == 0 && isnan(c->row[9][LT_METRIC_BOUNDARY]));
    clip_close(c);
}

/* ---- noise --------------------------------------------------------------------------------------- */

/* Variance of a normal value rounded to luma, then stretched to 0..255 as for si and ti: cut to
 * integers there, so that every sixth step is one of 2. */
static double stretched_variance(double mean, double deviation) {
    double sum = 0, sum2 = 0;
    for (int y = 16; y < 235; y++) {
        const double p = (erf((y + 0.5 - mean) / deviation / sqrt(2)) -
                          erf((y - 0.5 - mean) / deviation / sqrt(2))) /
                         2;
        const int v = (y - 16) * 255 / 219;
        sum += p * v;
        sum2 += p * v * v;
    }
    return sum2 - sum * sum;
}

static void test_noise(void **state) {
    (void)state;
    static uint8_t rgb[3 * N];
    static const double sigma[] = {2, 5, 9};
    for (int k = 0; k < 3; k++) {
        clip *c = clip_open(W, H, CORE, 12, 9);
        for (int t = 0; t < 60; t++) {
            for (int i = 0; i < 3 * N; i++) rgb[i] = clamp8(132 + sigma[k] * normal());
            clip_push(c, rgb);
        }
        const double s2 = sigma[k] * sigma[k] + 1.0 / 12; /* rounded to levels */
        const double y2 =
            s2 * (219 * 219 / 65025.0) * (0.2126 * 0.2126 + 0.7152 * 0.7152 + 0.0722 * 0.0722) +
            1.0 / 12;
        /* mean |difference| of two: of a normal one spread over +-1 level, less what that adds at
         * the difference 0 */
        const double diff =
            sqrt((2 * s2 + 1.0 / 6) * 2 / 3.14159265) - 1 / sqrt(2 * 3.14159265 * 2 * s2) / 3;
        close_to(summary(c, LT_METRIC_FLICKER).mean, 1 - diff / 255, 0.003 * diff / 255);
        close_to(summary(c, LT_METRIC_CONTRAST).mean, sqrt(y2), 0.01 * sqrt(y2));
        close_to(summary(c, LT_METRIC_SHARPNESS).mean, 20 * y2, 0.02 * 20 * y2);
        const double ti = sqrt(2 * stretched_variance(16 + 132 * 219.0 / 255, sqrt(y2 - 1.0 / 12)));
        close_to(summary(c, LT_METRIC_TI).mean, ti, 0.01 * ti);
        close_to(summary(c, LT_METRIC_LUMA).drift, 0, 0.2);
        close_to(summary(c, LT_METRIC_BOUNDARY).mean, 1, 0.01);
        close_to(summary(c, LT_METRIC_HIST_FIRST).drift, 0, 0.15);
        no_loop(c, 0.2); /* cells of 11 pixels; real pictures have hundreds */
        close_to(drift(c).score, 0, 0.05);
        clip_close(c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_still),     cmocka_unit_test(test_cut),
        cmocka_unit_test(test_glitch),    cmocka_unit_test(test_cut_at_join),
        cmocka_unit_test(test_fade),      cmocka_unit_test(test_brightness),
        cmocka_unit_test(test_drift),     cmocka_unit_test(test_drift_bound),
        cmocka_unit_test(test_loop),      cmocka_unit_test(test_flat_loop),
        cmocka_unit_test(test_long_loop), cmocka_unit_test(test_distant_loop),
        cmocka_unit_test(test_seam),      cmocka_unit_test(test_seam_median),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_motion.c - motion, warp_error and smooth against films whose motion is known. */
#include "metrics/motion_int.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- scenes: grey [h, w] --------------------------------------------------------------------- */

static uint64_t seed = 1;
static double uniform(void) { /* 0 to 1 */
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 40) / (1 << 24);
}

static double normal(void) {
    return sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform());
}

static double lattice(int x, int y, int which) {
    uint32_t h =
        (uint32_t)x * 374761393u + (uint32_t)y * 668265263u + (uint32_t)which * 2246822519u;
    h = (h ^ (h >> 13)) * 1274126177u;
    return (double)((h ^ (h >> 16)) & 0xffff) / 0xffff;
}

/* Smooth noise with a value every `cell` pixels, 0 to 1: a texture at any point of the plane. */
static double noise(double x, double y, double cell, int which) {
    x /= cell;
    y /= cell;
    const int ix = (int)floor(x), iy = (int)floor(y);
    double u = x - ix, v = y - iy;
    u = u * u * (3 - 2 * u);
    v = v * v * (3 - 2 * v);
    return (1 - v) * ((1 - u) * lattice(ix, iy, which) + u * lattice(ix + 1, iy, which)) +
           v * ((1 - u) * lattice(ix, iy + 1, which) + u * lattice(ix + 1, iy + 1, which));
}

/* Grain on patches: the small tells vectors apart, the large survives the halving. */
static double texture(double x, double y, int which) {
    return 30 + 70 * noise(x, y, 7, which) + 120 * noise(x, y, 40, which + 50);
}

static uint8_t level(double v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5); }

/* out(x, y) = texture at s R(angle) ((x, y) - middle) + middle + (dx, dy) */
static void scene(uint8_t *out, int w, int h, double dx, double dy, double angle, double s,
                  int which) {
    const double c = s * cos(angle), n = s * sin(angle), mx = 0.5 * w, my = 0.5 * h;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            out[(size_t)y * (size_t)w + (size_t)x] =
                level(texture(c * (x - mx) - n * (y - my) + mx + dx,
                              n * (x - mx) + c * (y - my) + my + dy, which));
}

/* ---- a film under measurement ---------------------------------------------------------------- */

typedef struct film {
    int w, h;
    lti_motion *m;
    uint8_t *y; /* the frame to show next, and scratch for the caller */
    double motion, warp, smooth;
} film;

static film film_of(int w, int h) {
    film f = {.w = w, .h = h, .y = malloc((size_t)w * (size_t)h)};
    assert_int_equal(lti_motion_open(w, h, &f.m, NULL), LT_OK);
    assert_non_null(f.y);
    return f;
}

static void show(film *f) {
    lti_motion_push(f->m, (lti_plane){f->y, f->w, f->w, f->h}, &f->motion, &f->warp, &f->smooth);
}

static void end(film *f) {
    lti_motion_close(&f->m);
    assert_null(f->m);
    lti_motion_close(&f->m);
    free(f->y);
}

static void near_to(double got, double want, double tolerance, const char *what) {
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s: %.9g, expected %.9g +- %.3g", what, got, want, tolerance);
}

static double in_256(double pixels, int w, int h) { return pixels * 256 / (w < h ? w : h); }

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_still(void **state) {
    (void)state;
    film f = film_of(200, 130);
    scene(f.y, f.w, f.h, 0, 0, 0, 1, 1);
    show(&f);
    assert_true(isnan(f.motion) && isnan(f.warp) && isnan(f.smooth));
    show(&f);
    assert_true(f.motion == 0 && f.warp == 0 && isnan(f.smooth));
    for (int i = 0; i < 4; i++) {
        show(&f);
        assert_true(f.motion == 0 && f.warp == 0 && f.smooth == 1);
    }
    end(&f);
}

/* The camera moves: what enters at the border has no past, everything else comes out exactly; of
 * 300 blocks one at the border may find something by chance. */
static void test_pan(void **state) {
    (void)state;
    const struct {
        int x, y;
        double off, warp, smooth; /* tolerances; smooth may fall short at the border */
    } t[] = {{1, 0, 0, 0, 1e-4},         {0, -1, 0, 0, 1e-4},        {3, 2, 0, 0, 3e-4},
             {-5, 8, 0, 1e-6, 4e-3},     {7, -7, 0, 1e-6, 3e-3},     {-16, 3, 0.01, 1e-5, 0.02},
             {20, 20, 0.02, 2e-4, 0.05}, {-32, 31, 0.03, 1e-3, 0.08}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        film f = film_of(320, 240);
        for (int n = 0; n < 4; n++) {
            scene(f.y, f.w, f.h, -n * t[i].x, -n * t[i].y, 0, 1, 2);
            show(&f);
            const double want = in_256(hypot(t[i].x, t[i].y), f.w, f.h);
            if (n > 0) near_to(f.motion, want, want * t[i].off + 1e-9, "motion");
            if (n > 0) near_to(f.warp, 0, t[i].warp, "warp_error");
            if (n > 1) near_to(f.smooth, 1, t[i].smooth, "smooth");
        }
        end(&f);
    }
}

/* Soft slopes of grey between a few strips of texture: the slopes alone could as well be a change
 * of light, so their blocks must learn from the ones around. */
static void test_soft_pan(void **state) {
    (void)state;
    film f = film_of(320, 240);
    for (int n = 0; n < 4; n++) {
        for (int k = 0; k < f.w * f.h; k++) {
            const double x = k % f.w - 4 * n, y = (double)(k / f.w) - n;
            f.y[k] =
                level(140 * noise(x, y, 90, 15) + 60 * noise(x, y, 7, 16) * (sin(x / 30) > 0.8));
        }
        show(&f);
        if (n > 0) near_to(f.motion, in_256(hypot(4, 1), f.w, f.h), 1e-9, "motion");
        if (n > 0) near_to(f.warp, 0, 1e-6, "warp_error");
        if (n > 1) near_to(f.smooth, 1, 2e-4, "smooth");
    }
    end(&f);
}

/* Quarters of a pixel are exact up to the sampling; what lies between is rounded to them. */
static void test_subpixel(void **state) {
    (void)state;
    const double v[] = {0.5, 0.75, 1.25, 2.5, -3.25};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        film f = film_of(320, 240);
        double rest = 0;
        for (int n = 0; n < 3; n++) {
            uint8_t *last = malloc((size_t)f.w * (size_t)f.h);
            memcpy(last, f.y, (size_t)f.w * (size_t)f.h);
            scene(f.y, f.w, f.h, -n * v[i], n * v[i], 0, 1, 3);
            show(&f);
            rest = 0;
            for (int k = 0; k < f.w * f.h; k++) rest += (f.y[k] - last[k]) * (f.y[k] - last[k]);
            free(last);
        }
        rest /= 255. * 255 * f.w * f.h;
        near_to(f.motion, in_256(hypot(v[i], v[i]), f.w, f.h), in_256(0.25, f.w, f.h), "motion");
        near_to(f.warp, 0, rest / 20, "warp_error");
        near_to(f.smooth, 1, 0.006, "smooth");
        end(&f);
    }
}

/* How far vectors reach, by the shorter side. */
static void test_reach(void **state) {
    (void)state;
    const int t[][3] = {{1, 1, 8},      {16, 16, 8},     {119, 200, 8},     {120, 120, 16},
                        {832, 480, 64}, {1280, 720, 64}, {1920, 1080, 128}, {8192, 8192, 1024}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        lti_pyr p;
        lti_pyr_init(&p, t[i][0], t[i][1]);
        assert_int_equal(p.level[0].range, t[i][2]);
        assert_true(p.n <= LTI_PYR_MAX);
    }
    film f = film_of(320, 240); /* 32: one more than that is not found */
    for (int n = 0; n < 2; n++) {
        scene(f.y, f.w, f.h, 40 * n, 0, 0, 1, 2);
        show(&f);
    }
    assert_true(f.motion < in_256(36, f.w, f.h) && (isnan(f.warp) || f.warp > 1e-3));
    end(&f);
}

/* A square over still ground: the 5 % longest are of the square, the ground does not move. What the
 * square uncovers finds something here and there. */
static void test_square(void **state) {
    (void)state;
    const int v[][3] = {{2, 0, 96}, {-7, 3, 96}, {25, -14, 128}, {0, 0, 96}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        film f = film_of(416, 240);
        for (int n = 0; n < 4; n++) {
            scene(f.y, f.w, f.h, 0, 0, 0, 1, 4);
            const int x0 = 150 + n * v[i][0], y0 = 60 + n * v[i][1];
            for (int y = 0; y < v[i][2]; y++)
                for (int x = 0; x < v[i][2]; x++)
                    f.y[(y0 + y) * f.w + x0 + x] = level(texture(x, y, 5));
            show(&f);
            const double want = in_256(hypot(v[i][0], v[i][1]), f.w, f.h);
            if (n > 0) near_to(f.motion, want, 0.04 * want, "motion");
            if (n > 0) near_to(f.warp, 0, 1.5e-3, "warp_error");
            if (n > 1) near_to(f.smooth, 1, 0.015, "smooth");
        }
        end(&f);
    }
}

/* Four blocks of 390 move: 5 % are 20. */
static void test_five_percent(void **state) {
    (void)state;
    film f = film_of(416, 240);
    for (int n = 0; n < 2; n++) {
        scene(f.y, f.w, f.h, 0, 0, 0, 1, 4);
        for (int y = 0; y < 32; y++)
            for (int x = 0; x < 32; x++)
                f.y[(64 + 2 * n + y) * f.w + 160 + 3 * n + x] = level(texture(x, y, 5));
        show(&f);
    }
    const double want = in_256(4 * hypot(3, 2) / 20, f.w, f.h);
    near_to(f.motion, want, 0.1 * want, "motion");
    end(&f);
}

/* Turning and growing: against the displacement of the 5 % of the blocks that move most. */
static void test_turn_and_grow(void **state) {
    (void)state;
    const double t[][2] = {{0.02, 1}, {0, 1.03}, {-0.015, 0.98}};
    for (size_t i = 0; i < 3; i++) {
        film f = film_of(480, 320);
        const double c = t[i][1] * cos(t[i][0]), s = t[i][1] * sin(t[i][0]);
        int n = 0;
        double len[600], sum = 0;
        for (int y = 8; y < f.h; y += 16)
            for (int x = 8; x < f.w; x += 16) /* |R^-1 p - p| is close to |R p - p| */
                len[n++] = hypot(c - 1, s) * hypot(x - 240, y - 160);
        for (int k = 0; k < (n + 19) / 20; k++) {
            int at = 0;
            for (int j = 1; j < n; j++)
                if (len[j] > len[at]) at = j;
            sum += len[at] / ((n + 19) / 20);
            len[at] = 0;
        }
        double angle = 0, scale = 1;
        for (int k = 0; k < 4; k++, angle += t[i][0], scale *= t[i][1]) {
            scene(f.y, f.w, f.h, 0, 0, angle, scale, 6);
            show(&f);
            if (k == 0) continue;
            near_to(f.motion, in_256(sum, f.w, f.h), 0.12 * in_256(sum, f.w, f.h), "motion");
            near_to(f.warp, 0, 4e-4, "warp_error");
        }
        near_to(f.smooth, 1, 0.01, "smooth");
        end(&f);
    }
}

/* Noise of its own in each frame: warp_error 2 s^2, smooth the mean of |n1 - (n0 + n2) / 2|. Each
 * sample is rounded: + 1/12. */
static void test_noise(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        const double s[] = {1, 4, 12}, sigma = s[i / 2], var = sigma * sigma + 1. / 12;
        film f = film_of(320, 240);
        for (int n = 0; n < 4; n++) {
            for (int k = 0; k < f.w * f.h; k++) {
                const double ground =
                    i & 1 ? 128 : 40 + 0.6 * texture(k % f.w, (double)(k / f.w), 7);
                f.y[k] = level(ground + sigma * normal());
            }
            show(&f);
            if (n > 0) near_to(f.motion, 0, 0.02, "motion");
            if (n > 0) near_to(f.warp * 65025, 2 * var, 0.03 * 2 * var, "warp_error");
            const double off = sqrt(1.5 * var * 2 / 3.141592653589793);
            if (n > 1) near_to((1 - f.smooth) * 255, off, 0.03 * off, "smooth");
        }
        end(&f);
    }
}

/* Light is no motion: a change of brightness and a fade, on texture and on a slope of grey, where a
 * vector could explain it. */
static void test_light(void **state) {
    (void)state;
    for (int slope = 0; slope < 2; slope++)
        for (int d = 1; d < 10; d += 3) {
            film f = film_of(320, 240);
            for (int n = 0; n < 4; n++) {
                for (int k = 0; k < f.w * f.h; k++) {
                    const double x = k % f.w, y = (double)(k / f.w);
                    f.y[k] =
                        level(30 + d * n + (slope ? 0.3 * x + 0.2 * y : 0.6 * texture(x, y, 8)));
                }
                show(&f);
                if (n > 0) near_to(f.motion, 0, 0, "motion");
                if (n > 0) near_to(f.warp * 65025, d * d, 0.05 * d * d, "warp_error");
                if (n > 1) near_to(f.smooth, 1, 1e-3, "smooth");
            }
            end(&f);
        }
    film f = film_of(320, 240);
    for (int n = 0; n < 8; n++) {
        for (int k = 0; k < f.w * f.h; k++)
            f.y[k] = level(16 + (1 - n / 24.) * texture(k % f.w, (double)(k / f.w), 9));
        show(&f);
        if (n > 0) near_to(f.motion, 0, 0, "motion of a fade");
        if (n > 1) near_to(f.smooth, 1, 2e-3, "smooth of a fade");
    }
    end(&f);
}

/* One frame that is not like the others, and the first one of another scene. */
static void test_glitch_and_cut(void **state) {
    (void)state;
    film f = film_of(320, 240);
    double smooth[8];
    for (int n = 0; n < 8; n++) {
        scene(f.y, f.w, f.h, 0, 0, 0, 1, 10);
        for (int k = 0; k < f.w * f.h; k++) f.y[k] = (uint8_t)(f.y[k] / 2 + (n == 4 ? 60 : 20));
        show(&f);
        smooth[n] = f.smooth;
        if (n == 4 || n == 5) near_to(f.warp * 65025, 1600, 80, "warp_error at the glitch");
        if (n > 1) near_to(f.motion, 0, 0, "motion");
    }
    /* frame 4 is the middle at push 5; the search must not have seen it */
    near_to(smooth[5], 1 - 40. / 255, 1e-9, "smooth at the glitch");
    near_to(smooth[3], 1, 0, "smooth before");
    near_to(smooth[7], 1, 0, "smooth after");
    end(&f);

    f = film_of(320, 240);
    double pass[8][2];
    for (int n = 0; n < 8; n++) {
        scene(f.y, f.w, f.h, 0, 0, 0, 1, n < 4 ? 11 : 12);
        show(&f);
        pass[n][0] = f.warp;
        pass[n][1] = f.smooth;
    }
    assert_true(pass[3][0] == 0 && pass[5][0] == 0);
    assert_true(isnan(pass[4][0]) || pass[4][0] > 1e-3);
    assert_true(pass[3][1] == 1 && pass[4][1] < 0.96 && pass[5][1] < 0.96 && pass[6][1] == 1);
    end(&f);
}

/* Sides that are no multiple of 16, down to 16, and a plane with a stride. */
static void test_odd_sizes(void **state) {
    (void)state;
    const int t[][2] = {{16, 16}, {17, 16}, {16, 33}, {31, 47}, {119, 121}, {131, 97}, {333, 245}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        film f = film_of(t[i][0], t[i][1]);
        uint8_t *wide = malloc((size_t)(f.w + 13) * (size_t)f.h);
        assert_non_null(wide);
        for (int n = 0; n < 3; n++) {
            scene(f.y, f.w, f.h, -2 * n, n, 0, 1, 13);
            memset(wide, n * 77, (size_t)(f.w + 13) * (size_t)f.h);
            for (int y = 0; y < f.h; y++) memcpy(wide + y * (f.w + 13), f.y + y * f.w, (size_t)f.w);
            lti_motion_push(f.m, (lti_plane){wide, f.w + 13, f.w, f.h}, &f.motion, &f.warp,
                            &f.smooth);
            const double want = in_256(hypot(2, 1), f.w, f.h);
            if (n > 0) near_to(f.motion, want, 1e-9, "motion");
            if (n > 0) near_to(f.warp, 0, 0, "warp_error");
            if (n > 1) near_to(f.smooth, 1, 1e-3, "smooth");
        }
        free(wide);
        end(&f);
    }
}

/* The last blocks overlap the ones before: each pixel must count once. */
static void test_each_pixel_once(void **state) {
    (void)state;
    film f = film_of(37, 21);
    for (int n = 0; n < 3; n++) {
        for (int k = 0; k < f.w * f.h; k++) f.y[k] = 100;
        if (n == 1)
            for (int y = 0; y < f.h; y++) f.y[y * f.w + 25] = 110; /* of two blocks */
        show(&f);
        if (n > 0) near_to(f.warp * 65025, 100. / f.w, 1e-12, "warp_error");
    }
    near_to((1 - f.smooth) * 255, 10. / f.w, 1e-12, "smooth");
    end(&f);
}

/* Below 16x16: at rest. */
static void test_tiny(void **state) {
    (void)state;
    const int t[][2] = {{1, 1}, {1, 300}, {300, 1}, {15, 15}, {15, 64}, {64, 15}, {2, 3}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        film f = film_of(t[i][0], t[i][1]);
        const int n = f.w * f.h;
        uint8_t *pic = malloc(3 * (size_t)n);
        assert_non_null(pic);
        for (int k = 0; k < 3 * n; k++) pic[k] = level(255 * uniform());
        for (int p = 0; p < 3; p++) {
            memcpy(f.y, pic + p * n, (size_t)n);
            show(&f);
        }
        double square = 0, off = 0;
        for (int k = 0; k < n; k++) {
            square += (pic[2 * n + k] - pic[n + k]) * (pic[2 * n + k] - pic[n + k]);
            off += abs(2 * pic[n + k] - pic[k] - pic[2 * n + k]) / 2.;
        }
        near_to(f.motion, 0, 0, "motion");
        near_to(f.warp, square / n / 65025, 1e-12, "warp_error");
        near_to(f.smooth, 1 - off / n / 255, 1e-12, "smooth");
        free(pic);
        end(&f);
    }
}

static void test_same_on_every_processor(void **state) {
    (void)state;
    enum { W = 203, H = 149 };
    static uint8_t y[W * H];
    lti_motion *m[3] = {NULL};
    int levels = 0;
    for (int l = 0; l < 3; l++)
        if (lti_kernels_at(l)) {
            assert_int_equal(lti_motion_open_with(lti_kernels_at(l), W, H, &m[l], NULL), LT_OK);
            levels++;
        }
    for (int n = 0; n < 8; n++) {
        scene(y, W, H, 2.3 * n, -1.4 * n, 0.01 * n, 1 + 0.01 * n, 14);
        for (int k = 0; k < W * H; k++) y[k] = level(y[k] + (n - 2) * normal());
        double want[3], got[3];
        lti_motion_push(m[0], (lti_plane){y, W, W, H}, want, want + 1, want + 2);
        if (n > 0) assert_true(want[0] > 0);
        for (int l = 1; l < 3; l++)
            if (m[l]) {
                lti_motion_push(m[l], (lti_plane){y, W, W, H}, got, got + 1, got + 2);
                assert_memory_equal(got, want, sizeof got);
            }
    }
    print_message("%d instruction sets\n", levels);
    for (int l = 0; l < 3; l++) lti_motion_close(&m[l]);
}

/* Nothing in common: no crash, values in range; once in a while no block is confirmed at all. */
static void test_random(void **state) {
    (void)state;
    int none = 0;
    for (int i = 0; i < 60; i++) {
        film f = film_of(1 + (int)(uniform() * 300), 1 + (int)(uniform() * 200));
        if (i % 2) {
            end(&f);
            f = film_of(16 + i % 8, 16 + i % 5);
        }
        for (int n = 0; n < 4; n++) {
            scene(f.y, f.w, f.h, 0, 0, 0, 1, 20 + 4 * i + n);
            if (i % 3 == 0)
                for (int k = 0; k < f.w * f.h; k++) f.y[k] = uniform() < 0.5 ? 0 : 255;
            show(&f);
            none += n > 0 && isnan(f.warp);
            if (n > 0) assert_true(f.motion >= 0 && f.motion < in_256(1.5 * 40, f.w, f.h));
            if (n > 0) assert_true(isnan(f.warp) || (f.warp >= 0 && f.warp <= 1));
            if (n > 1) assert_true(f.smooth >= 0 && f.smooth <= 1);
        }
        end(&f);
    }
    assert_true(none > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_still),
        cmocka_unit_test(test_pan),
        cmocka_unit_test(test_soft_pan),
        cmocka_unit_test(test_subpixel),
        cmocka_unit_test(test_reach),
        cmocka_unit_test(test_square),
        cmocka_unit_test(test_five_percent),
        cmocka_unit_test(test_turn_and_grow),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_light),
        cmocka_unit_test(test_glitch_and_cut),
        cmocka_unit_test(test_odd_sizes),
        cmocka_unit_test(test_each_pixel_once),
        cmocka_unit_test(test_tiny),
        cmocka_unit_test(test_same_on_every_processor),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

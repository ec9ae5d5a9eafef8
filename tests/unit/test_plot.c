/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_plot.c - plots: what is drawn where, and never outside. */
#include "tests/unit/draw_rig.h"

/* ---- plots -------------------------------------------------------------------------------------- */

/* frames of one level each, level(i, n) */
static lt_metrics *make_metrics(int n, double (*level)(int i, int n), uint32_t want) {
    enum { W = 16 };
    lt_metrics_params p;
    lt_metrics_params_init(&p);
    p.width = p.height = W;
    p.fps = 16;
    p.chunk = 12;
    p.want = want;
    lt_metrics *m = NULL;
    lt_error e = {0};
    assert_int_equal(lt_metrics_open(&p, &m, &e), LT_OK);
    uint8_t rgb[W * W * 3];
    for (int i = 0; i < n; i++) {
        memset(rgb, (int)lround(level(i, n)), sizeof rgb);
        const lt_picture pic = {.width = W, .height = W, .rgb = rgb};
        assert_int_equal(lt_metrics_push(m, &pic, NULL, i / 16.0, NULL, &e), LT_OK);
    }
    return m;
}

static double rising(int i, int n) { return 40 + 160.0 * i / (n - 1); }
static double falling(int i, int n) { return 200 - 160.0 * i / (n - 1); }
static double still(int i, int n) { return 100 + 0 * i * n; }
static double shaky(int i, int n) { return 100 + (i * 7 % 3 == 0) + 0 * n; }
static double glitch(int i, int n) { return i == n / 2 ? 250 : 100 + i % 3; }

static picture draw(const lt_plot_line *line, int n, uint32_t want, int w, int h) {
    picture p = make_picture(w, h, 17);
    lt_error e = {0};
    assert_int_equal(lt_plot_draw(line, n, want, w, h, p.rgb, &e), LT_OK);
    check_guards(&p);
    return p;
}

enum { W = 1000, H = 480, BELOW = 80 }; /* of one panel: below are no legend and no numbers */
static const uint32_t luma = LT_METRIC_BIT(LT_METRIC_LUMA);

static void test_rising(void **state) {
    (void)state;
    lt_metrics *up = make_metrics(320, rising, luma), *down = make_metrics(320, falling, luma);
    const lt_plot_line line[2] = {{"up", up}, {"down", down}};
    picture p = draw(line, 2, luma, W, H);
    double y[2][2];
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) y[i][k] = middle_of(&p, k ? 700 : 300, BELOW, lti_palette[i]);
    const double slope = (y[0][1] - y[0][0]) / 400;
    assert_true(slope < -0.25 && slope > -0.4); /* nearly the height of the panel over its width */
    assert_true(fabs(y[0][0] - y[1][1] + (slope * 400 + y[1][1] - y[1][0]) / 2) < 60);
    assert_true(y[1][1] > y[1][0] + 100);
    for (int x = 200; x < 800; x += 10) { /* a straight line without gaps */
        const double v = middle_of(&p, x, BELOW, lti_palette[0]);
        if (fabs(y[0][0] + (x - 300) * slope - middle_of(&p, x, BELOW, lti_palette[1])) < 8)
            continue;
        assert_true(fabs(v - (y[0][0] + (x - 300) * slope)) < 1.5);
    }
    free_picture(&p);
    lt_metrics_close(&up);
    lt_metrics_close(&down);
}

/* Rows between the highest and the lowest pixel of video 0's colour. */
static int spread(const picture *p) {
    int top = p->h, bottom = -1;
    for (int y = BELOW; y < p->h; y++)
        for (int x = 0; x < p->w; x++)
            if (is(p, x, y, lti_palette[0])) top = y < top ? y : top, bottom = y;
    assert_true(bottom >= 0);
    return bottom - top + 1;
}

static void test_still(void **state) {
    (void)state;
    double (*const level[3])(int, int) = {still, shaky, rising};
    int rows[3];
    for (int i = 0; i < 3; i++) {
        lt_metrics *m = make_metrics(320, level[i], luma);
        picture p = draw(&(lt_plot_line){"x", m}, 1, luma, W, H);
        rows[i] = spread(&p);
        free_picture(&p);
        lt_metrics_close(&m);
    }
    assert_in_range(rows[0], 1, 3);
    assert_in_range(rows[1], 1, 30); /* one level of shaking is no drama */
    assert_in_range(rows[2], 250, 400);
}

/* One wild frame must not press the rest flat; it is marked at the border. */
static void test_outlier(void **state) {
    (void)state;
    lt_metrics *m = make_metrics(320, glitch, luma);
    picture p = draw(&(lt_plot_line){"x", m}, 1, luma, W, H);
    assert_true(spread(&p) > 200); /* from the curve to the wedge */
    int wedge = 0;
    for (int x = 480; x < 540; x++) wedge += is(&p, x, BELOW, lti_palette[0]);
    assert_in_range(wedge, 2, 30);
    free_picture(&p);
    lt_metrics_close(&m);
}

static void test_legend(void **state) {
    (void)state;
    lt_metrics *m = make_metrics(40, rising, 0);
    lt_plot_line line[8];
    for (int i = 0; i < 8; i++) line[i] = (lt_plot_line){"video.mp4", m};
    for (int n = 1; n <= 8; n += 7) {
        picture p = draw(line, n, 0, 1680, 924);
        for (int i = 0; i < 8; i++)
            assert_int_equal(count_ink(&p, 0, 60, lti_palette[i]) > 50, i < n);
        assert_true(count_ink(&p, 0, 60, lti_ink_text) > 50);
        free_picture(&p);
    }
    lt_metrics_close(&m);
}

/* From the scale of the score on (luma: 32 levels) the number of the drift is filled. */
static double little(int i, int n) { return 100 + 40.0 * i / (n - 1); }
static double much(int i, int n) { return 100 + 50.0 * i / (n - 1); }
static void test_filled(void **state) {
    (void)state;
    double (*const level[2])(int, int) = {little, much};
    int ink[2];
    for (int i = 0; i < 2; i++) {
        lt_metrics *m = make_metrics(320, level[i], luma);
        lt_metric_summary s;
        lt_metrics_summary_of(m, LT_METRIC_LUMA, &s, sizeof s);
        assert_int_equal(s.drift > 32, i);
        picture p = draw(&(lt_plot_line){"x", m}, 1, luma, W, H);
        ink[i] = count_ink(&p, 0, BELOW, lti_palette[0]);
        free_picture(&p);
        lt_metrics_close(&m);
    }
    assert_true(ink[1] > ink[0] + 150);
}

/* Values at joins only are dots. */
static double seams(int i, int n) { return 60 + i / 12 % 2 * 20 + i % 12 + 0 * n; }
static void test_joins(void **state) {
    (void)state;
    const uint32_t want = LT_METRIC_BIT(LT_METRIC_BOUNDARY);
    lt_metrics *m = make_metrics(60, seams, want);
    picture p = draw(&(lt_plot_line){"x", m}, 1, want, W, H);
    int groups = 0;
    bool last = false;
    for (int x = 0; x < W; x++) {
        bool coloured = false;
        for (int y = BELOW; y < H - 50; y++) {
            const uint8_t *q = at(&p, x, y);
            coloured = coloured || (q[2] > q[0] + 60);
        }
        groups += coloured && !last;
        last = coloured;
    }
    assert_true(groups >= 4); /* five chunks; the bars at the ends may touch dots */
    free_picture(&p);
    lt_metrics_close(&m);
    m = make_metrics(480, seams, want); /* of many joins a moving mean goes through */
    p = draw(&(lt_plot_line){"x", m}, 1, want, W, H);
    for (int x = 150; x < 850; x++) assert_true(middle_of(&p, x, BELOW, lti_palette[0]) > 0);
    free_picture(&p);
    lt_metrics_close(&m);
}

static void test_sizes(void **state) {
    (void)state;
    static const int size[][2] = {{640, 360}, {641, 2000}, {8192, 360}, {640, 8192}, {3001, 1999}};
    static const int frames[] = {0, 1, 2, 3, 33, 20000};
    for (int k = 0; k < 6; k++) {
        lt_metrics *m = make_metrics(frames[k], still, k == 5 ? luma : 0);
        lt_plot_line line[8];
        for (int i = 0; i < 8; i++) line[i] = (lt_plot_line){"video.mp4", m};
        for (int i = 0; i < (k < 5 ? 5 : 1); i++) {
            picture a = draw(line, 8, 0, size[i][0], size[i][1]);
            if (i == 0) { /* all pixels are written, always alike */
                picture b = make_picture(a.w, a.h, 99);
                assert_int_equal(lt_plot_draw(line, 8, 0, a.w, a.h, b.rgb, NULL), LT_OK);
                assert_memory_equal(a.rgb, b.rgb, bytes_of(&a));
                free_picture(&b);
            }
            free_picture(&a);
        }
        int32_t w = 0, h = 0;
        for (uint32_t want = 0; want < 1u << LT_METRIC_COUNT; want = want * 2 + 1) {
            lt_plot_size(line, 8, want, &w, &h);
            assert_true(w >= 640 && w <= 2000 && h >= 360 && h <= 2000);
        }
        picture p = draw(line, 1, LT_METRICS_REF, w, h); /* "no values" */
        free_picture(&p);
        lt_metrics_close(&m);
    }
}

static void test_names(void **state) {
    (void)state;
    char *name = malloc(10001);
    memset(name, 'n', 10000);
    name[10000] = '\0';
    const char *const hostile[] = {name,
                                   "",
                                   NULL,
                                   "\x01\x1b[31m\n\r\t\x7f",
                                   "\xff\xfe\xc0\x80\xe6",
                                   "\xe6\xbc\xa2\xe5\xad\x97.mp4",
                                   "%s%n%d",
                                   "..."};
    lt_metrics *m = make_metrics(30, rising, 0);
    lt_plot_line line[8];
    for (int i = 0; i < 8; i++) line[i] = (lt_plot_line){hostile[i], m};
    for (int n = 1; n <= 8; n++) {
        picture p = draw(line, n, 0, 640, 360);
        free_picture(&p);
        p = draw(line, n, luma, W, H);
        free_picture(&p);
    }
    lt_metrics_close(&m);
    free(name);
}

static void test_refused(void **state) {
    (void)state;
    lt_metrics *m = make_metrics(3, still, luma);
    lt_plot_line line[9];
    for (int i = 0; i < 9; i++) line[i] = (lt_plot_line){"x", m};
    const lt_plot_line none = {"x", NULL};
    uint8_t rgb[16];
    static const int bad[][2] = {{639, 360}, {640, 359}, {8193, 480},       {640, 8193},
                                 {0, 0},     {-1, -1},   {INT32_MAX, 8000}, {INT32_MIN, 400}};
    for (int i = 0; i < 8; i++) {
        lt_error e = {0};
        assert_int_equal(lt_plot_draw(line, 1, 0, bad[i][0], bad[i][1], rgb, &e), LT_EINVAL);
        check_line(&e);
    }
    lt_error e[6];
    memset(e, 0, sizeof e);
    assert_int_equal(lt_plot_draw(line, 0, 0, W, H, rgb, &e[0]), LT_EINVAL);
    assert_int_equal(lt_plot_draw(line, 9, 0, W, H, rgb, &e[1]), LT_EINVAL);
    assert_int_equal(lt_plot_draw(NULL, 1, 0, W, H, rgb, &e[2]), LT_EINVAL);
    assert_int_equal(lt_plot_draw(&none, 1, 0, W, H, rgb, &e[3]), LT_EINVAL);
    assert_int_equal(lt_plot_draw(line, 1, 1u << 31, W, H, rgb, &e[4]), LT_EINVAL);
    assert_int_equal(lt_plot_draw(line, 1, 0, W, H, NULL, &e[5]), LT_EINVAL);
    for (int i = 0; i < 6; i++) check_line(&e[i]);
    int32_t w = 0, h = 0;
    lt_plot_size(NULL, 1, 0, &w, &h);
    assert_true(w >= 640 && h >= 360);
    lt_metrics_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rising),  cmocka_unit_test(test_still),
        cmocka_unit_test(test_outlier), cmocka_unit_test(test_legend),
        cmocka_unit_test(test_joins),   cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_names),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

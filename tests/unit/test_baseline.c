/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_baseline.c - bands of a baseline: what is inside, what is not, and what is said.
 *
 * The video: 40 frames of one grey each, luma 100 + t, so mean 119.5, first 102.5, last 136.5, drift
 * 34, slope 1 a second, and 0 for contrast, saturation and sharpness. */
#include "longtake/metrics.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { W = 16, H = 16, FRAMES = 40 };

static lt_metrics *measured(void) {
    static uint8_t y[H * W], c[H / 2 * W / 2];
    lt_metrics_params p;
    lt_metrics *m = NULL;
    lt_metrics_params_init(&p);
    p.width = W;
    p.height = H;
    p.fps = 1;
    p.want = LT_METRIC_BIT(LT_METRIC_LUMA) | LT_METRIC_BIT(LT_METRIC_CONTRAST) |
             LT_METRIC_BIT(LT_METRIC_SATURATION) | LT_METRIC_BIT(LT_METRIC_SHARPNESS) |
             LT_METRIC_BIT(LT_METRIC_LOOP);
    assert_int_equal(lt_metrics_open(&p, &m, NULL), LT_OK);
    memset(c, 128, sizeof c);
    for (int t = 0; t < FRAMES; t++) {
        const lt_picture pic = {.width = W,
                                .height = H,
                                .y = y,
                                .u = c,
                                .v = c,
                                .y_stride = W,
                                .c_stride = W / 2,
                                .c_width = W / 2,
                                .c_height = H / 2};
        memset(y, 100 + t, sizeof y);
        assert_int_equal(lt_metrics_push(m, &pic, NULL, t, NULL, NULL), LT_OK);
    }
    return m;
}

static char said[4096];

static void on_line(void *user, const char *line) {
    const size_t at = strlen(said);
    (void)user;
    snprintf(said + at, sizeof said - at, "%s\n", line);
}

/* Lines of a check; they lie in said. */
static int check(const char *base, const char *tolerance, uint32_t want) {
    lt_metrics *m = measured();
    lt_baseline *b = NULL;
    lt_error err = {0};
    const lt_status st = lt_baseline_parse(base, strlen(base), tolerance,
                                           tolerance ? strlen(tolerance) : 0, &b, &err);
    if (st != LT_OK) fail_msg("%s", err.msg);
    *said = 0;
    const int32_t n = lt_baseline_check(b, m, NULL, want, on_line, NULL);
    lt_baseline_close(&b);
    lt_metrics_close(&m);
    return n;
}

static void test_bands(void **state) {
    (void)state;
    static const struct {
        const char *base, *tolerance;
        int lines;
    } row[] = {
        /* the default of luma is 6 to both sides */
        {"{\"luma\":{\"mean\":113.6,\"last\":142.4,\"drift\":34}}", NULL, 0},
        {"{\"luma\":{\"mean\":113.4,\"last\":142.6,\"drift\":27}}", NULL, 3},
        {"{\"luma\":{\"first\":0,\"slope\":9,\"min\":9,\"max\":9}}", NULL, 0}, /* not by default */
        {"{\"luma\":{\"mean\":119.5,\"first\":0}}", "{\"luma\":{\"first\":102}}", 1},
        {"{\"luma\":{\"mean\":119.5,\"first\":0}}", "{\"luma\":{\"first\":103}}", 0},
        {"{\"luma\":{\"min\":101,\"max\":138,\"slope\":0.5}}",
         "{\"luma\":{\"min\":0.9,\"max\":0.9,\"slope\":0.4}}", 3},
        /* one side */
        {"{\"luma\":{\"mean\":110}}", "{\"luma\":\"+9\"}", 1},
        {"{\"luma\":{\"mean\":110}}", "{\"luma\":\"+10\"}", 0},
        {"{\"luma\":{\"mean\":110}}", "{\"luma\":\"-1\"}", 0},
        {"{\"luma\":{\"mean\":110}}", "{\"luma\":-1}", 0},
        {"{\"luma\":{\"mean\":130}}", "{\"luma\":\"+1\"}", 0},
        {"{\"luma\":{\"mean\":130}}", "{\"luma\":\"-10\"}", 1},
        {"{\"luma\":{\"mean\":130}}", "{\"luma\":-11}", 0},
        /* shares are of the mean, also those of drift; of a mean of 0 they are 0 */
        {"{\"luma\":{\"mean\":100}}", "{\"luma\":\"19%\"}", 1},
        {"{\"luma\":{\"mean\":100}}", "{\"luma\":\"19.6%\"}", 0},
        {"{\"luma\":{\"mean\":100,\"drift\":0}}", "{\"luma\":{\"mean\":30,\"drift\":\"35%\"}}", 0},
        {"{\"luma\":{\"mean\":100,\"drift\":0}}", "{\"luma\":{\"mean\":30,\"drift\":\"33%\"}}", 1},
        {"{\"contrast\":{\"mean\":0}}", "{\"contrast\":\"+10%\"}", 0},
        {"{\"contrast\":{\"mean\":0,\"drift\":1}}", "{\"contrast\":\"10%\"}", 1},
        /* the default of sharpness: 4 or a quarter */
        {"{\"sharpness\":{\"mean\":3.9}}", NULL, 0},
        {"{\"sharpness\":{\"mean\":4.1}}", NULL, 1},
        {"{\"sharpness\":{\"mean\":100,\"drift\":24,\"last\":-24}}", NULL, 1},
        /* of loop only the mean; null */
        {"{\"loop\":{\"mean\":0,\"last\":9,\"drift\":9}}", NULL, 0},
        {"{\"loop\":{\"mean\":9,\"last\":9,\"drift\":9}}", NULL, 1},
        {"{\"loop\":{\"mean\":9}}", "{\"loop\":null}", 0},
        {"{\"luma\":{\"mean\":9,\"drift\":9}}", "{\"luma\":{\"mean\":null}}", 1},
        {"{\"luma\":{\"mean\":null,\"drift\":9}}", NULL, 1},
        /* a metric of a later version */
        {"{\"beauty\":{\"mean\":7},\"luma\":{\"mean\":119.5}}", NULL, 0},
        /* one that was not measured */
        {"{\"psnr\":{\"mean\":40,\"min\":30}}", NULL, 1},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char base[256];
        snprintf(base, sizeof base, "{\"summary\":%s}", row[i].base);
        const int n = check(base, row[i].tolerance, 0);
        if (n != row[i].lines)
            fail_msg("%s with %s: %d lines, expected %d\n%s", base,
                     row[i].tolerance ? row[i].tolerance : "-", n, row[i].lines, said);
    }
}

static void test_lines(void **state) {
    (void)state;
    const char *base = "{\"summary\":{\"luma\":{\"mean\":100,\"slope\":2}}}";
    assert_int_equal(check(base, "{\"luma\":{\"slope\":0.5}}", 0), 2);
    assert_string_equal(said, "luma mean is 119.500, allowed 94.000 to 106.000 (baseline 100.000)\n"
                              "luma slope is 1.000000, allowed 1.500000 to 2.500000 (baseline "
                              "2.000000)\n");
    assert_int_equal(check(base, "{\"luma\":\"+1\"}", 0), 1);
    assert_string_equal(said, "luma mean is 119.500, allowed 101.000 or less (baseline 100.000)\n");
    base = "{\"frames\":50,\"summary\":{}}";
    assert_int_equal(check(base, NULL, 0), 1);
    assert_string_equal(said, "number of frames is 40, allowed 45 to 55 (baseline 50)\n");
    assert_int_equal(check(base, "{\"frames\":-10}", 0), 0);
    assert_int_equal(check("{\"summary\":{\"luma\":{\"mean\":1e300}}}", NULL, 0), 1);
    assert_non_null(strstr(said, "(baseline 1e+300)"));
}

static void test_want(void **state) {
    (void)state;
    const uint32_t luma = LT_METRIC_BIT(LT_METRIC_LUMA), loop = LT_METRIC_BIT(LT_METRIC_LOOP);
    const char *base = "{\"summary\":{\"luma\":{\"mean\":100}}}";
    assert_int_equal(check(base, NULL, luma), 1);
    assert_int_equal(check(base, NULL, LT_METRIC_BIT(LT_METRIC_CONTRAST) | loop), 2);
    assert_non_null(strstr(said, "contrast is not checked"));
    assert_int_equal(check(base, "{\"luma\":null}", luma), 0);
}

static void test_info(void **state) {
    (void)state;
    const char *base = "{\"width\":32,\"height\":16,\"fps\":8,\"summary\":{\"luma\":{\"mean\":1}}}";
    lt_metrics *m = measured();
    lt_baseline *b = NULL;
    lt_metrics_file_info info = {.video = {.width = 16, .height = 16, .fps_num = 8, .fps_den = 1}};
    assert_int_equal(lt_baseline_parse(base, strlen(base), NULL, 0, &b, NULL), LT_OK);
    *said = 0;
    assert_int_equal(lt_baseline_check(b, m, &info, 0, on_line, NULL), 1);
    assert_non_null(strstr(said, "size is 16x16, the baseline's 32x16"));
    info.video.width = 32;
    assert_int_equal(lt_baseline_check(b, m, &info, 0, on_line, NULL), 1);
    assert_non_null(strstr(said, "luma mean"));
    info.video.fps_num = 24;
    assert_int_equal(lt_baseline_check(b, m, &info, 0, on_line, NULL), 1);
    assert_non_null(strstr(said, "24 frames per second, the baseline has 8"));
    info.video.fps_den = 0; /* not known: not compared */
    assert_int_equal(lt_baseline_check(b, m, &info, 0, on_line, NULL), 1);
    lt_baseline_close(&b);
    lt_baseline_close(&b);
    lt_metrics_close(&m);
}

static void test_ref_of_json(void **state) {
    (void)state;
    lt_baseline *b = NULL;
    /* --json has the minimum in "ref" only */
    const char *base = "{\"summary\":{\"psnr\":{\"mean\":40}},\"ref\":{\"psnr\":{\"min\":30}}}";
    const char *tolerance = "{\"psnr\":{\"min\":-1}}";
    assert_int_equal(lt_baseline_parse(base, strlen(base), tolerance, strlen(tolerance), &b, NULL),
                     LT_OK);
    lt_baseline_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bands),       cmocka_unit_test(test_lines),
        cmocka_unit_test(test_want),        cmocka_unit_test(test_info),
        cmocka_unit_test(test_ref_of_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

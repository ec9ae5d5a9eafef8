/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_canvas.c - lines, text and axes: what is drawn where, never outside. */
#include "tests/unit/draw_rig.h"

/* ---- canvas and font ---------------------------------------------------------------------------- */

static void test_clip(void **state) {
    (void)state;
    picture p = make_picture(50, 40, 255);
    lti_canvas c;
    lti_canvas_init(&c, p.rgb, p.w, p.h);
    const lti_ink ink = {1, 2, 3};
    const float far[] = {-1e30f, -1000, -1, 0, 20, 49, 50, 51, 1000, 1e30f, INFINITY, NAN};
    const int n = sizeof far / sizeof *far;
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < n * n; i++) {
            const float x = far[i / n], y = far[i % n];
            lti_canvas_dot(&c, x, y, 5, ink, 1);
            lti_canvas_strokes(&c, &(lti_seg){x, y, y, x}, 1, 3, ink, 0.5f);
            lti_canvas_line(&c, (lti_point[]){{0, y}, {25, x}, {50, y}}, 3, 2, ink, 1);
            lti_canvas_column(&c, (int)fminf(fmaxf(x, -1e6f), 1e6f), y, x, ink, 1);
        }
        lti_canvas_fill(&c, -5, -5, 200, 200, ink, 1);
        lti_canvas_clip(&c, 30, -10, 1000, 20); /* second turn: only here */
        if (turn == 0) memset(p.rgb, 255, bytes_of(&p));
    }
    for (int y = 0; y < p.h; y++)
        for (int x = 0; x < p.w; x++) assert_int_equal(is(&p, x, y, ink), x >= 30 && y < 10);
    free_picture(&p);
}

/* A line of width 2 covers two pixels per unit of length, whatever its slope; a gap stays empty. */
static void test_line(void **state) {
    (void)state;
    const lti_ink black = {0, 0, 0};
    for (int rise = -30; rise <= 30; rise += 10) {
        picture p = make_picture(120, 100, 255);
        lti_canvas c;
        lti_canvas_init(&c, p.rgb, p.w, p.h);
        const float y = 50 - (float)rise / 2;
        lti_canvas_line(&c,
                        (lti_point[]){{20, y}, {60, y + (float)rise / 2}, {100, y + (float)rise}},
                        3, 2, black, 1);
        const double length = hypot(80, rise), area = 2 * length + 3.14; /* round ends */
        assert_true(fabs(darkness(&p) / 3.0 - area) < 0.04 * area);
        assert_true(fabs(middle_of(&p, 60, 0, black) - (y + rise / 2.0 - 0.5)) <= 1);
        free_picture(&p);
    }
    picture p = make_picture(60, 20, 255);
    lti_canvas c;
    lti_canvas_init(&c, p.rgb, p.w, p.h);
    const lti_point gap[] = {{5, 10}, {15, 10}, {20, NAN}, {40, 10}, {45, NAN}, {50, 10}, {55, 10}};
    lti_canvas_line(&c, gap, 7, 3, black, 1);
    for (int x = 0; x < 60; x++) { /* 40: a value alone is a dot */
        const bool ink = is(&p, x, 9, black) && is(&p, x, 10, black);
        if ((x > 5 && x < 14) || x == 39 || x == 40 || (x > 50 && x < 54)) assert_true(ink);
        if ((x > 18 && x < 36) || x == 45 || x == 46) assert_false(ink);
    }
    free_picture(&p);
}

/* Every printable character is drawn, inside its line, and looks like no other. */
static void test_glyphs(void **state) {
    (void)state;
    static const float size[] = {0.9f, 1, 1.25f, 2, 5};
    for (int k = 0; k < 5; k++)
        for (int bold = 0; bold < 2; bold++) {
            picture p[95];
            const int side = (int)(20 * size[k]) + 4, base = (int)(13 * size[k]) + 2;
            for (int i = 0; i < 95; i++) {
                p[i] = make_picture(side, side, 255);
                lti_canvas c;
                lti_canvas_init(&c, p[i].rgb, side, side);
                const char text[2] = {(char)(32 + i), '\0'};
                const lti_style st = {size[k], bold != 0, {0, 0, 0}};
                lti_text(&c, 3, base, text, &st);
                assert_int_equal(darkness(&p[i]) > 0, i > 0);
                for (int x = 0; x < side; x++) { /* nothing touches the border: nothing is cut */
                    assert_true(is(&p[i], x, 0, lti_ink_white));
                    assert_true(is(&p[i], x, side - 1, lti_ink_white));
                }
                for (int j = 0; j < i; j++)
                    assert_memory_not_equal(p[i].rgb, p[j].rgb, bytes_of(&p[i]));
            }
            for (int i = 0; i < 95; i++) free_picture(&p[i]);
        }
}

static void test_width(void **state) {
    (void)state;
    const float s = 1.25f;
    const int box = lti_text_width("\x01", s, false);
    assert_true(box > 3);
    assert_int_equal(lti_text_width("", s, false), 0);
    assert_true(lti_text_width("saturation", s, true) > lti_text_width("saturation", s, false));
    /* one character, one box; a broken byte is one of its own */
    static const char *const one[] = {
        "\xc3\xa4", "\xe6\xbc\xa2", "\xf0\x9f\x98\x80", "\xff", "\x80", "\n", "\xc0", "\xe6"};
    for (int i = 0; i < 8; i++) assert_int_equal(lti_text_width(one[i], s, false), box);
    assert_true(lti_text_width("\xe6\xbc", s, false) > box); /* two bytes, no character */
    assert_true(lti_text_width("\xc0\x80", s, false) > box);
    char *huge = malloc(1 << 20);
    memset(huge, 'W', 1 << 20);
    huge[(1 << 20) - 1] = '\0';
    assert_true(lti_text_width(huge, 500, false) == 1 << 30);
    free(huge);
}

static void test_cut(void **state) {
    (void)state;
    char out[64], name[10001];
    lti_text_cut("self_cloud.mp4", 1, false, 200, out, sizeof out);
    assert_string_equal(out, "self_cloud.mp4");
    lti_text_cut("self_cloud.mp4", 1, false, 2, out, sizeof out);
    assert_string_equal(out, "");
    memset(name, 'a', sizeof name);
    memcpy(name, "head", 4);
    memcpy(name + 10000 - 8, "tail.mp4", 9);
    for (int width = 20; width < 5000; width += 37) {
        lti_text_cut(name, 1.25f, true, width, out, sizeof out);
        assert_true(lti_text_width(out, 1.25f, true) <= width);
        assert_true(strlen(out) < sizeof out);
        assert_non_null(strstr(out, "..."));
        if (width < 300) continue;
        assert_memory_equal(out, "head", 4);
        assert_string_equal(out + strlen(out) - 8, "tail.mp4");
    }
    for (int i = 0; i < 10000; i++)
        name[i] = "\xe6\xbc\xa2"[i % 3]; /* no character is cut in two */
    for (int width = 40; width < 500; width += 7) {
        lti_text_cut(name, 1, false, width, out, 16);
        const size_t head = strcspn(out, ".");
        assert_true(head % 3 == 0 && strlen(out) < 16);
    }
}

/* ---- axes --------------------------------------------------------------------------------------- */

static void check_labels(double lo, double hi, bool time, int most, const char *want) {
    lti_axis a = {.lo = lo, .hi = hi, .time = time};
    lti_axis_ticks(&a, most);
    char got[512] = "";
    for (int i = 0; i < a.n; i++) {
        char label[LTI_LABEL];
        lti_axis_label(&a, i, label);
        if (i) strcat(got, " ");
        strcat(got, label);
    }
    assert_string_equal(got, want);
}

static void test_ticks(void **state) {
    (void)state;
    check_labels(17.3, 52, false, 5, "20 30 40 50");
    check_labels(0.9612, 1.0003, false, 5, "0.97 0.98 0.99 1.00");
    check_labels(-0.00002, 0.0021, false, 5, "0 0.0005 0.0010 0.0015 0.0020");
    check_labels(-3, 3, false, 4,
                 "\xe2\x88\x92"
                 "2 0 2");
    check_labels(0, 3.1e7, false, 4, "0 1e+07 2e+07 3e+07");
    check_labels(0, 30, true, 7, "0 5 10 15 20 25 30 s");
    check_labels(0, 0.125, true, 4, "0 0.05 0.10 s");
    check_labels(0, 600, true, 6, "0 2:00 4:00 6:00 8:00 10:00");
    check_labels(0, 9000, true, 6, "0 0:30 1:00 1:30 2:00 2:30 h");
    for (int e = -12; e <= 12; e++) /* never more ticks than asked for, all inside */
        for (int most = 2; most < 9; most++)
            for (int time = 0; time < 2; time++) {
                lti_axis a = {.lo = 0.37 * pow(10, e), .hi = 1.93 * pow(10, e), .time = time != 0};
                lti_axis_ticks(&a, most);
                assert_in_range(a.n, 0, most);
                for (int i = 0; i < a.n; i++)
                    assert_true(lti_axis_tick(&a, i) >= a.lo - 1e-6 * a.step &&
                                lti_axis_tick(&a, i) <= a.hi + 1e-6 * a.step);
            }
    char text[LTI_LABEL];
    lti_duration(99.94, text);
    assert_string_equal(text, "99.9 s");
    lti_duration(99.96, text);
    assert_string_equal(text, "1:40");
    lti_duration(7325, text);
    assert_string_equal(text, "2:02:05");
    lti_duration(NAN, text);
    assert_string_equal(text, "0.0 s");
    lti_signed_number(-0.004, 2, text);
    assert_string_equal(text, "0");
    lti_signed_number(-3.96, 1, text);
    assert_string_equal(text, "\xe2\x88\x92"
                              "4.0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clip),  cmocka_unit_test(test_line), cmocka_unit_test(test_glyphs),
        cmocka_unit_test(test_width), cmocka_unit_test(test_cut),  cmocka_unit_test(test_ticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_contact.c - contact sheets: which frames, what pixels, how much memory. */
#include "tests/unit/draw_rig.h"
#include <malloc.h>

/* ---- contact sheets --------------------------------------------------------------------------------- */

static picture draw_sheet(lt_contact **c, const char *const *name, int n) {
    int32_t w = 0, h = 0;
    lt_error e = {0};
    assert_int_equal(lt_contact_size(c, n, &w, &h, &e), LT_OK);
    picture p = make_picture(w, h, 17);
    assert_int_equal(lt_contact_draw(c, name, n, w, h, p.rgb, &e), LT_OK);
    check_guards(&p);
    return p;
}

/* Frames of one colour each: red and green are the number, blue is 7 as nothing else is. */
static lt_contact *push_numbers(int frames, int w, int h, int tiles) {
    lt_contact *c = NULL;
    lt_error e = {0};
    assert_int_equal(lt_contact_open(w, h, tiles, &c, &e), LT_OK);
    uint8_t *rgb = malloc((size_t)w * (size_t)h * 3);
    for (int f = 0; f < frames; f++) {
        for (int i = 0; i < w * h; i++)
            rgb[3 * i] = (uint8_t)f, rgb[3 * i + 1] = (uint8_t)(f >> 8), rgb[3 * i + 2] = 7;
        assert_int_equal(lt_contact_push(c, rgb, f / 16.0, &e), LT_OK);
    }
    free(rgb);
    return c;
}

/* Frame numbers of the tiles in the order of reading; how many. */
static int read_numbers(const picture *p, int *frame, int most) {
    int n = 0;
    for (int y = 1; y < p->h; y++)
        for (int x = 1; x < p->w; x++) {
            const uint8_t *q = at(p, x, y);
            if (q[2] != 7 || at(p, x - 1, y)[2] == 7 || at(p, x, y - 1)[2] == 7) continue;
            if (n < most) frame[n] = q[0] | q[1] << 8;
            n++;
        }
    return n;
}

static void test_even(void **state) {
    (void)state;
    static const int frames[] = {1, 2, 5, 6, 7, 46, 47, 48, 49, 100, 480, 1000, 5003};
    static const int tiles[] = {1, 2, 6, 13};
    for (size_t k = 0; k < sizeof frames / sizeof *frames; k++)
        for (int t = 0; t < 4; t++) {
            const int n = frames[k], most = tiles[t];
            lt_contact *c = push_numbers(n, 40, 20, most);
            picture p = draw_sheet(&c, NULL, 1);
            int got[32];
            const int count = read_numbers(&p, got, 32);
            assert_int_equal(count, n < most ? n : most);
            for (int i = 0; i < count; i++) {
                const double step = count > 1 ? (n - 1.0) / (count - 1) : 0;
                const double off = fabs(got[i] - i * step);
                assert_true(n <= 8 * most - 1 ? off <= 0.5 : off <= step / 8 + 0.5);
            }
            assert_int_equal(got[0], 0);
            if (count > 1) assert_int_equal(got[count - 1], n - 1);
            free_picture(&p);
            lt_contact_close(&c);
            assert_null(c);
        }
}

/* Every pixel of a tile is the mean over its area. */
static void test_mean(void **state) {
    (void)state;
    static const int size[][2] = {{500, 300}, {241, 137}, {480, 832}, {719, 31}, {3, 2000}};
    for (int k = 0; k < 5; k++) {
        const int w = size[k][0], h = size[k][1];
        uint8_t *rgb = malloc((size_t)w * (size_t)h * 3);
        uint32_t seed = 1;
        for (int i = 0; i < w * h * 3; i++) {
            seed = seed * 1664525 + 1013904223;
            rgb[i] = i % 3 == 2 ? 7 : (uint8_t)(seed >> 24);
        }
        lt_contact *c = NULL;
        assert_int_equal(lt_contact_open(w, h, 1, &c, NULL), LT_OK);
        assert_int_equal(lt_contact_push(c, rgb, 0, NULL), LT_OK);
        picture p = draw_sheet(&c, NULL, 1);
        int x0 = p.w, y0 = p.h, x1 = 0, y1 = 0; /* the tile */
        for (int y = 0; y < p.h; y++)
            for (int x = 0; x < p.w; x++) {
                if (at(&p, x, y)[2] != 7) continue;
                x0 = x < x0 ? x : x0, x1 = x >= x1 ? x + 1 : x1, y0 = y < y0 ? y : y0, y1 = y + 1;
            }
        const int tw = x1 - x0, th = y1 - y0;
        assert_true(tw <= 240 && th <= 320 && (tw == 240 || th == 320));
        for (int y = 0; y < th; y++)
            for (int x = 0; x < tw; x++) {
                double sum[2] = {0};
                const double l = (double)x * w / tw, r = (double)(x + 1) * w / tw;
                const double t = (double)y * h / th, b = (double)(y + 1) * h / th;
                for (int j = (int)t; j < h && j < b; j++)
                    for (int i = (int)l; i < w && i < r; i++)
                        for (int ch = 0; ch < 2; ch++)
                            sum[ch] += rgb[((size_t)j * (size_t)w + (size_t)i) * 3 + (size_t)ch] *
                                       (fmin(i + 1, r) - fmax(i, l)) *
                                       (fmin(j + 1, b) - fmax(j, t));
                for (int ch = 0; ch < 2; ch++)
                    assert_true(fabs(sum[ch] / ((r - l) * (b - t)) - at(&p, x0 + x, y0 + y)[ch]) <
                                0.5 + 1e-6);
            }
        free_picture(&p);
        lt_contact_close(&c);
        free(rgb);
    }
}

static size_t in_use(void) {
    const struct mallinfo2 i = mallinfo2(); /* zero under ASan */
    return i.uordblks + i.hblkhd;
}

static void test_memory(void **state) {
    (void)state;
    enum { TILES = 10, BYTES = 240 * 138 * 3 };
    const size_t before = in_use();
    lt_contact *c = push_numbers(2000, 416, 240, TILES);
    const size_t after = in_use();
    assert_true(after - before < (size_t)8 * TILES * (BYTES + 64) + 65536);
    lt_contact_close(&c);
}

static void test_sheets(void **state) {
    (void)state;
    char *name = malloc(10001);
    memset(name, 'n', 10000);
    name[10000] = '\0';
    const char *const names[4] = {name, "\x01\xff\n.mp4", NULL, "odd"};
    lt_contact *c[4] = {push_numbers(100, 160, 96, 6), push_numbers(3, 8191, 1, 6),
                        push_numbers(0, 32, 32, 6), push_numbers(50, 1, 77, 40)};
    picture p = draw_sheet(c, names, 4);
    assert_true(count_ink(&p, 0, p.h, lti_palette[3]) > 30); /* its colour in the plot */
    picture q = make_picture(p.w, p.h, 200);
    assert_int_equal(lt_contact_draw(c, names, 4, p.w, p.h, q.rgb, NULL), LT_OK);
    assert_memory_equal(p.rgb, q.rgb, bytes_of(&p));
    free_picture(&q);
    free_picture(&p);
    for (int i = 0; i < 4; i++) { /* the same alone, as several rows */
        p = draw_sheet(&c[i], &names[i], 1);
        free_picture(&p);
        lt_contact_close(&c[i]);
    }
    c[0] = push_numbers(500, 100, 10, 400); /* more than fit a row: further rows */
    c[1] = push_numbers(2, 100, 10, 400);
    p = draw_sheet(c, names, 2);
    int frame[500];
    assert_int_equal(read_numbers(&p, frame, 500), 402);
    assert_true(p.w <= 8192);
    free_picture(&p);
    lt_contact_close(&c[0]);
    lt_contact_close(&c[1]);
    free(name);
}

static void test_sheets_refused(void **state) {
    (void)state;
    static const int bad[][3] = {{0, 1, 1},  {1, 0, 1}, {8193, 1, 1}, {1, 8193, 1},
                                 {-5, 9, 1}, {9, 9, 0}, {9, 9, 401},  {9, 9, -1}};
    for (int i = 0; i < 8; i++) {
        lt_error e = {0};
        lt_contact *c = (lt_contact *)&e;
        assert_int_equal(lt_contact_open(bad[i][0], bad[i][1], bad[i][2], &c, &e), LT_EINVAL);
        assert_null(c);
        check_line(&e);
    }
    lt_contact *many[64];
    for (int i = 0; i < 64; i++) many[i] = push_numbers(1, 64, 64, 1);
    int32_t w = 0, h = 0;
    uint8_t rgb[4] = {1, 2, 3, 4};
    lt_error e[5];
    memset(e, 0, sizeof e);
    assert_int_equal(lt_contact_size(many, 64, &w, &h, &e[0]), LT_EINVAL); /* too high */
    assert_int_equal(lt_contact_size(many, 0, &w, &h, &e[1]), LT_EINVAL);
    assert_int_equal(lt_contact_size(many, 1, &w, &h, NULL), LT_OK);
    assert_int_equal(lt_contact_draw(many, NULL, 1, w + 1, h, rgb, &e[2]), LT_EINVAL);
    assert_int_equal(lt_contact_draw(many, NULL, 1, w, h, NULL, &e[3]), LT_EINVAL);
    assert_int_equal(lt_contact_push(many[0], NULL, 0, &e[4]), LT_EINVAL);
    for (int i = 0; i < 5; i++) check_line(&e[i]);
    for (int i = 0; i < 64; i++) lt_contact_close(&many[i]);
    lt_contact_close(&many[0]);
    lt_contact_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even),           cmocka_unit_test(test_mean),
        cmocka_unit_test(test_memory),         cmocka_unit_test(test_sheets),
        cmocka_unit_test(test_sheets_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

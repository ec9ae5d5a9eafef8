/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_picture.c - every kind of PNG through the frame reader, and damaged ones. */
#include "tests/unit/reader_rig.h"
#include <math.h>
#include <png.h>

typedef struct png_kind {
    int type, bits, interlaced, trns, gamma;
} png_kind;

typedef struct grow {
    uint8_t *p;
    size_t n;
} grow;

static void grow_write(png_structp png, png_bytep data, size_t n) {
    grow *g = png_get_io_ptr(png);
    memcpy(g->p + g->n, data, n);
    g->n += n;
}

static void no_flush(png_structp png) { (void)png; }

enum { PW = 13, PH = 9 };

/* Value of a sample, 0..1, in a pattern of its own for every channel. */
static double shade(int x, int y, int ch) { return ((x * 5 + y * 3 + ch * 7) % 16) / 15.3; }

static void png_row(const png_kind *k, int y, int channels, uint8_t *row) {
    const int top = (1 << k->bits) - 1;
    memset(row, 0, 256);
    for (int x = 0; x < PW; x++)
        for (int c = 0; c < channels; c++) {
            const int i = x * channels + c;
            const int v =
                k->type == PNG_COLOR_TYPE_PALETTE ? (x + y) % 4 : (int)lround(shade(x, y, c) * top);
            if (k->bits == 16) row[2 * i] = (uint8_t)(v >> 8), row[2 * i + 1] = (uint8_t)v;
            else if (k->bits == 8) row[i] = (uint8_t)v;
            else row[i * k->bits / 8] |= (uint8_t)(v << (8 - k->bits - i * k->bits % 8));
        }
}

static grow make_png(const png_kind *k) {
    grow g = {malloc(1 << 16), 0};
    uint8_t row[256];
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &g, grow_write, no_flush);
    png_set_IHDR(png, info, PW, PH, k->bits, k->type,
                 k->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, 0, 0);
    png_color pal[4];
    for (int i = 0; i < 4; i++)
        pal[i] = (png_color){PATCH[i + 3][0], PATCH[i + 3][1], PATCH[i + 3][2]};
    png_byte trans[2] = {255, 128};
    if (k->type == PNG_COLOR_TYPE_PALETTE) {
        png_set_PLTE(png, info, pal, 4);
        if (k->trns) png_set_tRNS(png, info, trans, 2, NULL);
    }
    if (k->gamma) png_set_gAMA(png, info, 1.0);
    png_text text = {.compression = PNG_TEXT_COMPRESSION_NONE, .key = "Title", .text = "x"};
    png_set_text(png, info, &text, 1);
    png_write_info(png, info);
    const int passes = png_set_interlace_handling(png);
    for (int p = 0; p < passes; p++)
        for (int y = 0; y < PH; y++) {
            png_row(k, y, png_get_channels(png, info), row);
            png_write_row(png, row);
        }
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    return g;
}

static void want_png(const png_kind *k, int x, int y, uint8_t out[3]) {
    const int top = (1 << k->bits) - 1;
    const bool grey = !(k->type & PNG_COLOR_MASK_COLOR), alpha = k->type & PNG_COLOR_MASK_ALPHA;
    double a = 1;
    if (k->type == PNG_COLOR_TYPE_PALETTE) {
        const int i = (x + y) % 4;
        if (k->trns && i == 1) a = 128 / 255.0;
        for (int c = 0; c < 3; c++) out[c] = (uint8_t)lround(PATCH[i + 3][c] * a);
        return;
    }
    if (alpha) a = lround(shade(x, y, grey ? 1 : 3) * top) / (double)top;
    for (int c = 0; c < 3; c++) {
        const double v = lround(shade(x, y, grey ? 0 : c) * top) / (double)top;
        out[c] = (uint8_t)lround(lround(v * 255) * (lround(a * 255) / 255.0));
    }
}

static const png_kind KINDS[] = {
    {PNG_COLOR_TYPE_GRAY, 1, 0, 0, 0},        {PNG_COLOR_TYPE_GRAY, 2, 1, 0, 0},
    {PNG_COLOR_TYPE_GRAY, 4, 0, 0, 1},        {PNG_COLOR_TYPE_GRAY, 8, 0, 0, 1},
    {PNG_COLOR_TYPE_GRAY, 16, 1, 0, 0},       {PNG_COLOR_TYPE_GRAY_ALPHA, 8, 0, 0, 0},
    {PNG_COLOR_TYPE_GRAY_ALPHA, 16, 0, 0, 1}, {PNG_COLOR_TYPE_PALETTE, 2, 0, 0, 0},
    {PNG_COLOR_TYPE_PALETTE, 4, 1, 1, 0},     {PNG_COLOR_TYPE_PALETTE, 8, 0, 1, 1},
    {PNG_COLOR_TYPE_RGB, 8, 1, 0, 1},         {PNG_COLOR_TYPE_RGB, 16, 0, 0, 1},
    {PNG_COLOR_TYPE_RGB_ALPHA, 8, 0, 0, 1},   {PNG_COLOR_TYPE_RGB_ALPHA, 16, 1, 0, 0}};

static void test_png_kinds(void **state) {
    (void)state;
    uint8_t rgb[PW * PH * 3], want[3];
    for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++) {
        grow g = make_png(&KINDS[k]);
        char *path = in_dir("kind.png");
        write_file(path, g.p, g.n);
        lt_reader *r = open_path(path);
        next_ok(r, rgb);
        for (int y = 0; y < PH; y++)
            for (int x = 0; x < PW; x++) {
                want_png(&KINDS[k], x, y, want);
                expect_pixel(rgb, PW, x, y, want, 0);
            }
        const lt_reader_info i = info_of(r);
        assert_int_equal(i.bits, KINDS[k].bits);
        assert_int_equal(i.interlaced, KINDS[k].interlaced);
        assert_int_equal(i.alpha, KINDS[k].trns || KINDS[k].type & PNG_COLOR_MASK_ALPHA);
        lt_reader_close(&r);
        free(g.p);
    }
}

static void test_bad_png(void **state) {
    (void)state;
    grow g = make_png(&KINDS[10]);
    char *path = in_dir("bad.png");
    for (size_t n = 8; n < g.n - 12; n++) { /* at every length; the IEND chunk is 12 bytes */
        write_file(path, g.p, n);
        refused_path(path, LT_EFORMAT, "PNG");
    }
    static const uint8_t sizes[4][4] = {
        {0x7f, 0xff, 0xff, 0xff}, {0, 0, 0, 0}, {0, 0, 0x20, 1}, {0x80, 0, 0, 1}};
    for (int k = 0; k < 8; k++) {
        uint8_t keep[4];
        memcpy(keep, g.p + 16 + 4 * (k / 4), 4);
        memcpy(g.p + 16 + 4 * (k / 4), sizes[k % 4], 4);
        write_file(path, g.p, g.n);
        refused_path(path, LT_EFORMAT, "each side may have 1 to 8192");
        memcpy(g.p + 16 + 4 * (k / 4), keep, 4);
    }
    g.p[16 + 3]++; /* the CRC is wrong now */
    write_file(path, g.p, g.n);
    refused_path(path, LT_EFORMAT, "damaged PNG");
    free(g.p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_png_kinds),
                                       cmocka_unit_test(test_bad_png)};
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/reader_rig.h - what the tests of the frame reader share: frames of flat patches, files
 * from our own sinks, and the rule of the one error line. */
#ifndef LT_TESTS_READER_RIG_H
#define LT_TESTS_READER_RIG_H
#include "longtake/encode.h"
#include "tests/temp_rig.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define W 128
#define H 64

/* Eight flat patches side by side, 16 pixels each. */
static const uint8_t PATCH[8][3] = {{128, 128, 128}, {255, 0, 0}, {0, 255, 0},     {0, 0, 255},
                                    {255, 255, 255}, {0, 0, 0},   {200, 150, 120}, {64, 64, 64}};

/* rgb [H, W, 3]: the patches; in the lowest rows a square that moves 4 pixels a frame. */
static inline void paint(uint8_t *rgb, int frame) {
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            const int at = frame * 4 % (W - 16), square = y >= 48 && x >= at && x < at + 16;
            for (int k = 0; k < 3; k++) rgb[(y * W + x) * 3 + k] = square ? 240 : PATCH[x / 16][k];
        }
}

static inline lt_sink_params sink_params(const char *path) {
    lt_sink_params p;
    lt_sink_params_init(&p);
    p.path = path;
    p.width = W;
    p.height = H;
    p.fps_num = 16;
    p.fps_den = 1;
    p.crf = 0;
    return p;
}

static inline void write_sink(const lt_sink_params *p, int count) {
    static uint8_t rgb[H * W * 3];
    lt_error err = {0};
    lt_sink *s = NULL;
    lt_status st = lt_sink_open(p, &s, &err);
    for (int i = 0; i < count && st == LT_OK; i++) {
        paint(rgb, i);
        st = lt_sink_write(s, rgb, i % 8 == 7, &err);
    }
    if (st == LT_OK) st = lt_sink_close(&s, &err);
    if (st != LT_OK) fail_msg("%s: %s", p->path, err.msg);
}

static inline lt_reader *open_ok(const lt_reader_params *p) {
    lt_error err = {0};
    lt_reader *r = NULL;
    if (lt_reader_open(p, &r, &err) != LT_OK) fail_msg("%s: %s", p->path, err.msg);
    assert_int_equal(err.code, LT_OK);
    return r;
}

static inline lt_reader_params reader_params(const char *path) {
    lt_reader_params p;
    lt_reader_params_init(&p);
    p.path = path;
    return p;
}

static inline lt_reader *open_path(const char *path) {
    const lt_reader_params p = reader_params(path);
    return open_ok(&p);
}

static inline lt_reader_info info_of(const lt_reader *r) {
    lt_reader_info i;
    lt_reader_get_info(r, &i, sizeof i);
    return i;
}

static inline void next_ok(lt_reader *r, uint8_t *rgb) {
    lt_error err = {0};
    if (lt_reader_next(r, rgb, NULL, &err) != LT_OK) fail_msg("%s", err.msg);
}

static inline void expect_pixel(const uint8_t *rgb, int w, int x, int y, const uint8_t want[3],
                                int tol) {
    const uint8_t *p = rgb + 3 * ((size_t)y * (size_t)w + (size_t)x);
    for (int k = 0; k < 3; k++)
        if (abs(p[k] - want[k]) > tol)
            fail_msg("pixel %d,%d: %d %d %d, expected %d %d %d within %d", x, y, p[0], p[1], p[2],
                     want[0], want[1], want[2], tol);
}

static inline void expect_patches(const uint8_t *rgb, int tol) {
    for (int p = 0; p < 8; p++)
        for (int y = 4; y < 40; y += 7) expect_pixel(rgb, W, 16 * p + 8, y, PATCH[p], tol);
}

/* Opening or reading must fail with this status and one line that has the word. */
static inline void refused(const lt_reader_params *p, lt_status want, const char *word) {
    static uint8_t rgb[512 * 512 * 3];
    lt_error err = {0};
    lt_reader *r = NULL;
    lt_status st = lt_reader_open(p, &r, &err);
    assert_true((st == LT_OK) == (r != NULL));
    const lt_reader_info i = r ? info_of(r) : (lt_reader_info){0};
    uint8_t *out = i.width * i.height <= 512 * 512 ? rgb : NULL;
    while (st == LT_OK) st = lt_reader_next(r, out, NULL, &err);
    if (st != want || !strstr(err.msg, word))
        fail_msg("%s: status %d, expected %d with '%s': %s", p->path, st, want, word, err.msg);
    assert_null(strchr(err.msg, '\n'));
    if (r) assert_int_equal(lt_reader_next(r, out, NULL, NULL), want); /* and stays so */
    lt_reader_close(&r);
    assert_null(r);
}

static inline void refused_path(const char *path, lt_status want, const char *word) {
    const lt_reader_params p = reader_params(path);
    refused(&p, want, word);
}

static inline void write_file(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline uint8_t *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    uint8_t *buf = malloc(1 << 22);
    *n = fread(buf, 1, 1 << 22, f);
    fclose(f);
    return buf;
}

#endif

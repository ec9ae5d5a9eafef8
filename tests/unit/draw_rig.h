/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/draw_rig.h - pictures between guard bytes, and what colours are where in them. */
#ifndef LT_TESTS_DRAW_RIG_H
#define LT_TESTS_DRAW_RIG_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "longtake/metrics.h"
#include "metrics/panel.h"

/* ---- pictures with guards --------------------------------------------------------------------- */

enum { GUARD = 4096, MARK = 0xA5 };

typedef struct picture {
    uint8_t *all, *rgb; /* rgb [h, w, 3] between two guards */
    int w, h;
} picture;

static inline picture make_picture(int w, int h, uint8_t ground) {
    const size_t n = (size_t)w * (size_t)h * 3;
    picture p = {.all = malloc(n + 2 * GUARD), .w = w, .h = h};
    p.rgb = p.all + GUARD;
    memset(p.all, MARK, n + 2 * GUARD);
    memset(p.rgb, ground, n);
    return p;
}

static inline size_t bytes_of(const picture *p) { return (size_t)p->w * (size_t)p->h * 3; }

static inline void check_guards(const picture *p) {
    for (int i = 0; i < GUARD; i++) {
        assert_int_equal(p->all[i], MARK);
        assert_int_equal(p->rgb[bytes_of(p) + (size_t)i], MARK);
    }
}

static inline void free_picture(picture *p) {
    check_guards(p);
    free(p->all);
}

static inline const uint8_t *at(const picture *p, int x, int y) {
    return p->rgb + ((size_t)y * (size_t)p->w + (size_t)x) * 3;
}

static inline bool is(const picture *p, int x, int y, lti_ink ink) {
    const uint8_t *q = at(p, x, y);
    return q[0] == ink.r && q[1] == ink.g && q[2] == ink.b;
}

/* Middle of the pixels of exactly this colour in column x from row y0 on; NaN: none. */
static inline double middle_of(const picture *p, int x, int y0, lti_ink ink) {
    double sum = 0;
    int n = 0;
    for (int y = y0; y < p->h; y++)
        if (is(p, x, y, ink)) sum += y, n++;
    return n ? sum / n : NAN;
}

static inline int count_ink(const picture *p, int y0, int y1, lti_ink ink) {
    int n = 0;
    for (int y = y0; y < y1; y++)
        for (int x = 0; x < p->w; x++) n += is(p, x, y, ink);
    return n;
}

static inline int darkness(const picture *p) {
    int64_t sum = 0;
    for (size_t i = 0; i < bytes_of(p); i++) sum += 255 - p->rgb[i];
    return (int)(sum / 255);
}

static inline void check_line(const lt_error *e) { /* one line that says something */
    assert_true(strlen(e->msg) > 20);
    assert_null(strchr(e->msg, '\n'));
}

#endif

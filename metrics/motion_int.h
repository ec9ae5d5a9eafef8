/* SPDX-License-Identifier: Apache-2.0
 * metrics/motion_int.h - between motion.c (what is measured), motion_search.c (the vectors) and
 * motion_block.inc (loops over one block). */
#ifndef LT_METRICS_MOTION_INT_H
#define LT_METRICS_MOTION_INT_H
#include "metrics/metrics_int.h"

enum {
    LTI_BLOCK = 16,
    LTI_REACH = 8,   /* of the full search at the top, in its pixels */
    LTI_MARGIN = 16, /* replicated pixels around every level, for vectors that leave the picture */
    LTI_PYR_MAX = 9, /* 8192 halved until 64 */
    LTI_ENERGY =
        LTI_BLOCK * LTI_BLOCK * LTI_BLOCK * LTI_BLOCK, /* lti_motion_left's of 1 per pixel */
};

typedef struct lti_vec {
    int16_t x, y; /* whole pixels of their level; of a finished field: quarters of a pixel */
} lti_vec;

/* ---- motion_block.inc: 16x16 pixels, one table per instruction set, equal results ------------ */

typedef struct lti_block_ops {
    /* the pixels at p moved by (qx, qy) quarters, bilinear -> out [16, 16] */
    void (*move)(const uint8_t *p, ptrdiff_t stride, int qx, int qy, uint8_t *out);
    /* gradients g of a and b (4 times the mean of both) and the difference e = p - q
     * -> sums of xx, xy, yy, xe, ye about the means; reads one pixel around a and b */
    void (*slope)(const uint8_t *a, const uint8_t *b, ptrdiff_t stride, const uint8_t *p,
                  ptrdiff_t ps, const uint8_t *q, ptrdiff_t qs, int32_t *out /* [5] */);
    /* sums of a, b, aa, ab, bb */
    void (*line)(const uint8_t *a, ptrdiff_t as, const uint8_t *b, ptrdiff_t bs,
                 int32_t *out /* [5] */);
    /* sum of (a - b)^2 */
    uint32_t (*square)(const uint8_t *a, ptrdiff_t as, const uint8_t *b, ptrdiff_t bs);
    /* sum of |2 c - a - b|; a and b [16, 16] */
    uint32_t (*middle)(const uint8_t *c, ptrdiff_t stride, const uint8_t *a, const uint8_t *b);
} lti_block_ops;
const lti_block_ops *lti_block_ops_of(const lti_kernels *k); /* that go with that table */

/* ---- motion_search.c ------------------------------------------------------------------------- */

/* One level of a picture, level 0 as it is, each further one half as large. Its blocks: [ny, nx]
 * windows of win x win pixels, block i at min(i * win, w - win): those at the right and lower edge
 * move inwards, so that all are whole. 16x16 at level 0, else 8x8: the same ground at level 1. */
typedef struct lti_pyr_level {
    int w, h, win, nx, ny;
    int range;        /* of a vector's components, either sign */
    ptrdiff_t stride; /* w + 2 margins */
    size_t at;        /* of pixel (0, 0) in the picture's memory */
} lti_pyr_level;

typedef struct lti_pyr {
    int n;
    lti_pyr_level level[LTI_PYR_MAX];
    size_t bytes; /* of one picture with all its levels */
} lti_pyr;

/* Levels until the shorter side is 60 to 119; below that one. */
void lti_pyr_init(lti_pyr *p, int w, int h);
/* y -> mem [bytes], margins and all levels */
void lti_pyr_fill(const lti_pyr *p, const lti_kernels *k, lti_plane y, uint8_t *mem);

/* Where block i lies along a side of that many pixels. */
static inline int lti_block_pos(int i, int win, int side) {
    return i * win < side - win ? i * win : side - win;
}

/* Vectors of the blocks of level 0, in quarters of a pixel -> field [ny, nx]; scratch [2, ny, nx].
 * two_sided false: block x of a lies at x + v in b. True: x is in a picture half way, which is not
 * looked at; it lies at x - v in a and at x + v in b. Sides of at least LTI_BLOCK. */
void lti_motion_search(const lti_pyr *p, const lti_kernels *k, const uint8_t *a, const uint8_t *b,
                       bool two_sided, lti_vec *scratch, lti_vec *field);

/* What is left of the energy of block a after the best change of brightness and contrast of b:
 * 256 times the residual of a line through the points (b, a). */
double lti_motion_left(const lti_block_ops *o, const uint8_t *a, ptrdiff_t as, const uint8_t *b,
                       ptrdiff_t bs);

/* ---- motion.c -------------------------------------------------------------------------------- */

/* lti_motion_open with the loops of one instruction set, as lti_kernels_at has them. */
lt_status lti_motion_open_with(const lti_kernels *k, int w, int h, lti_motion **out, lt_error *err);

#endif

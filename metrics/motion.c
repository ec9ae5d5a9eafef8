/* SPDX-License-Identifier: Apache-2.0
 * metrics/motion.c - motion, warp_error and smooth from block motion.
 *
 * Three searches per frame t (motion_search.c): t-1 to t (w), t to t-1 (v), and t-2 to t two-sided
 * around the unseen t-1.
 *
 *   motion      the longest w of the blocks of t-1, 5 % of all: mean length * 256 / min(W, H);
 *               a w counts as 0 unless moving by it leaves less than half the energy that the best
 *               change of brightness and contrast at the place leaves: fades do not move, and what
 *               appears or leaves does not either
 *   warp_error  mean over the pixels of the blocks of t with a confirmed v, those that come from
 *               outside the picture excepted; none: NaN. Confirmed: the block of t-1 that it leads
 *               to leads back, |w + v|^2 < 0.01 (|w|^2 + |v|^2) + 0.5 in pixels (Ruder 2016)
 *   smooth      mean over all pixels; where one of the two blocks is outside the picture, the other
 *               alone
 *
 * Pitfalls: vectors are of 16x16 blocks, in quarters of a pixel, bilinear. What turns, grows or
 * changes form inside a block leaves an error that a flow per pixel would not. They reach
 * lti_pyr_level.range pixels: 8, doubled with each halving until the shorter side is below 120, so
 * 64 at 480 and at 720; small things (below 8 pixels of the top level) that move fast are lost.
 * Pictures below 16x16 have no blocks: motion 0, warp_error and smooth at rest. */
#include "metrics/motion_int.h"
#include "base/error.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct lti_motion {
    lti_pyr pyr;
    const lti_kernels *k;
    const lti_block_ops *o;
    int w, h;
    bool small; /* no blocks; pyr is one plane */
    int64_t frames;
    uint8_t *mem, *pic[3]; /* pic: the frame, the one before, the one before that */
    size_t n;              /* blocks */
    lti_vec *vec;          /* [5, n]: forth, back, two-sided, scratch [2, n] */
    int64_t *top;          /* [(n + 19) / 20] heap of squared lengths, smallest first */
};

extern const lti_block_ops lti_block_ops_base, lti_block_ops_avx2;

const lti_block_ops *lti_block_ops_of(const lti_kernels *k) {
#if defined(__x86_64__)
    if (k != lti_kernels_at(0)) return &lti_block_ops_avx2;
#else
    (void)k;
#endif
    return &lti_block_ops_base;
}

lt_status lti_motion_open(int w, int h, lti_motion **out, lt_error *err) {
    return lti_motion_open_with(lti_kernels_best(), w, h, out, err);
}

lt_status lti_motion_open_with(const lti_kernels *k, int w, int h, lti_motion **out,
                               lt_error *err) {
    *out = NULL;
    LT_ASSERT(w > 0 && h > 0 && w <= 8192 && h <= 8192);
    lti_motion *m = calloc(1, sizeof *m);
    if (!m) return lti_oom(err, sizeof *m);
    m->w = w;
    m->h = h;
    m->k = k;
    m->o = lti_block_ops_of(k);
    m->small = w < LTI_BLOCK || h < LTI_BLOCK;
    lti_pyr_init(&m->pyr, w, h);
    m->n = (size_t)m->pyr.level[0].nx * (size_t)m->pyr.level[0].ny;
    m->mem = calloc(3, m->pyr.bytes);
    m->vec = calloc(5 * m->n, sizeof *m->vec);
    m->top = calloc((m->n + 19) / 20, sizeof *m->top);
    if (!m->mem || !m->vec || !m->top) {
        lti_motion_close(&m);
        return lti_oom(err, 3 * m->pyr.bytes);
    }
    for (int i = 0; i < 3; i++) m->pic[i] = m->mem + (size_t)i * m->pyr.bytes;
    *out = m;
    return LT_OK;
}

void lti_motion_close(lti_motion **m) {
    if (!*m) return;
    free((*m)->mem);
    free((*m)->vec);
    free((*m)->top);
    free(*m);
    *m = NULL;
}

/* The part of a block that it alone answers for: the last of a row or column overlaps the one
 * before. Offset inside the block and size. */
typedef struct part {
    int x, y;         /* of the block in the picture */
    int ox, oy, w, h; /* within it */
} part;

static part part_of(const lti_pyr_level *l, int bx, int by) {
    part p = {.x = lti_block_pos(bx, LTI_BLOCK, l->w), .y = lti_block_pos(by, LTI_BLOCK, l->h)};
    p.ox = bx * LTI_BLOCK - p.x;
    p.oy = by * LTI_BLOCK - p.y;
    p.w = LTI_BLOCK - p.ox;
    p.h = LTI_BLOCK - p.oy;
    return p;
}

/* Whether the vector v of block (bx, by) is led back by the field `other` [ny, nx]. */
static bool confirmed(const lti_pyr_level *l, int bx, int by, lti_vec v, const lti_vec *other) {
    const part p = part_of(l, bx, by);
    int cx = (4 * (p.x + LTI_BLOCK / 2) + v.x) / 4 / LTI_BLOCK;
    int cy = (4 * (p.y + LTI_BLOCK / 2) + v.y) / 4 / LTI_BLOCK;
    cx = cx < 0 ? 0 : cx < l->nx ? cx : l->nx - 1;
    cy = cy < 0 ? 0 : cy < l->ny ? cy : l->ny - 1;
    const lti_vec u = other[(ptrdiff_t)cy * l->nx + cx];
    const int64_t sx = v.x + u.x, sy = v.y + u.y;
    const int64_t len =
        (int64_t)v.x * v.x + (int64_t)v.y * v.y + (int64_t)u.x * u.x + (int64_t)u.y * u.y;
    return 100 * (sx * sx + sy * sy) < len + 50 * 16; /* in quarters: 16 to a pixel squared */
}

/* heap [n], smallest first: its first is replaced by a larger one and sinks */
static void heap_replace(int64_t *heap, size_t n, int64_t value) {
    size_t i = 0;
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= n) break;
        if (c + 1 < n && heap[c + 1] < heap[c]) c++;
        if (heap[c] >= value) break;
        heap[i] = heap[c];
        i = c;
    }
    heap[i] = value;
}

/* Whether block (bx, by) of t-1 moved by v rather than changed its light where it is: that must
 * leave more than twice what moving leaves, and a level per pixel. */
static bool truly_moved(const lti_motion *m, int bx, int by, lti_vec v) {
    const lti_pyr_level *l = m->pyr.level;
    const part p = part_of(l, bx, by);
    const size_t at = l->at + (size_t)(p.y * l->stride + p.x);
    const uint8_t *a = m->pic[1] + at, *b = m->pic[0] + at;
    uint8_t moved[LTI_BLOCK * LTI_BLOCK];
    const double light = lti_motion_left(m->o, a, l->stride, b, l->stride);
    m->o->move(b, l->stride, v.x, v.y, moved);
    return 2 * lti_motion_left(m->o, a, l->stride, moved, LTI_BLOCK) + LTI_ENERGY < light;
}

static double motion_of(lti_motion *m, const lti_vec *forth) {
    const lti_pyr_level *l = m->pyr.level;
    const size_t n = (m->n + 19) / 20;
    memset(m->top, 0, n * sizeof *m->top);
    for (int by = 0; by < l->ny; by++)
        for (int bx = 0; bx < l->nx; bx++) {
            const lti_vec v = forth[(ptrdiff_t)by * l->nx + bx];
            const int64_t len = (int64_t)v.x * v.x + (int64_t)v.y * v.y;
            if (len > m->top[0] && truly_moved(m, bx, by, v)) heap_replace(m->top, n, len);
        }
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += sqrt((double)m->top[i]);
    return sum / (double)n / 4 * 256 / (m->w < m->h ? m->w : m->h);
}

/* sum of (a - b)^2 over [h, w]; a from the picture, b [16, 16] */
static uint64_t square_error(const lti_block_ops *o, const uint8_t *a, ptrdiff_t stride,
                             const uint8_t *b, int w, int h) {
    if (w == LTI_BLOCK && h == LTI_BLOCK) return o->square(a, stride, b, LTI_BLOCK);
    uint64_t sum = 0;
    for (int y = 0; y < h; y++, a += stride, b += LTI_BLOCK)
        for (int x = 0; x < w; x++) sum += (uint64_t)((a[x] - b[x]) * (a[x] - b[x]));
    return sum;
}

/* Shrinks [*lo, *hi), pixels of a block at `at`, to those that moved by q are inside the side. */
static void clip(int at, int q, int side, int *lo, int *hi) {
    while (*lo < *hi && 4 * (at + *lo) + q < 0) ++*lo;
    while (*lo < *hi && 4 * (at + *hi - 1) + q > 4 * (side - 1)) --*hi;
}

static double warp_of(const lti_motion *m, const lti_vec *forth, const lti_vec *back) {
    const lti_pyr_level *l = m->pyr.level;
    uint64_t sum = 0, count = 0;
    uint8_t moved[LTI_BLOCK * LTI_BLOCK];
    for (int by = 0; by < l->ny; by++)
        for (int bx = 0; bx < l->nx; bx++) {
            const lti_vec v = back[(ptrdiff_t)by * l->nx + bx];
            if (!confirmed(l, bx, by, v, forth)) continue;
            const part p = part_of(l, bx, by);
            int x0 = p.ox, x1 = LTI_BLOCK, y0 = p.oy, y1 = LTI_BLOCK;
            clip(p.x, v.x, l->w, &x0, &x1);
            clip(p.y, v.y, l->h, &y0, &y1);
            const size_t at = l->at + (size_t)(p.y * l->stride + p.x);
            m->o->move(m->pic[1] + at, l->stride, v.x, v.y, moved);
            sum += square_error(m->o, m->pic[0] + at + y0 * l->stride + x0, l->stride,
                                moved + y0 * LTI_BLOCK + x0, x1 - x0, y1 - y0);
            count += (uint64_t)((x1 - x0) * (y1 - y0));
        }
    return count ? (double)sum / (double)count / (255. * 255.) : NAN;
}

/* Whether the n pixels from `at` of a side, moved by q quarters, are inside it. */
static bool within(int at, int n, int q, int side) {
    return 4 * at + q >= 0 && 4 * (at + n - 1) + q <= 4 * (side - 1);
}

/* Where only one of two blocks [16, 16], at p - v and at p + v, shows the picture, the other takes
 * its pixels. */
static void one_sided(const lti_pyr_level *l, part p, lti_vec v, uint8_t *a, uint8_t *b) {
    if (within(p.x, LTI_BLOCK, v.x, l->w) && within(p.x, LTI_BLOCK, -v.x, l->w) &&
        within(p.y, LTI_BLOCK, v.y, l->h) && within(p.y, LTI_BLOCK, -v.y, l->h))
        return;
    for (int y = 0; y < LTI_BLOCK; y++)
        for (int x = 0; x < LTI_BLOCK; x++) {
            const int i = y * LTI_BLOCK + x;
            const bool in_a = within(p.x + x, 1, -v.x, l->w) && within(p.y + y, 1, -v.y, l->h);
            const bool in_b = within(p.x + x, 1, v.x, l->w) && within(p.y + y, 1, v.y, l->h);
            if (in_b && !in_a) a[i] = b[i];
            if (in_a && !in_b) b[i] = a[i];
        }
}

/* sum of |2 c - (a + b)| over [h, w]; c from the picture, a and b [16, 16] */
static uint64_t middle_error(const lti_block_ops *o, const uint8_t *c, ptrdiff_t stride,
                             const uint8_t *a, const uint8_t *b, int w, int h) {
    if (w == LTI_BLOCK && h == LTI_BLOCK) return o->middle(c, stride, a, b);
    uint64_t sum = 0;
    for (int y = 0; y < h; y++, c += stride, a += LTI_BLOCK, b += LTI_BLOCK)
        for (int x = 0; x < w; x++) sum += (uint64_t)abs(2 * c[x] - a[x] - b[x]);
    return sum;
}

static double smooth_of(const lti_motion *m, const lti_vec *field) {
    const lti_pyr_level *l = m->pyr.level;
    uint64_t sum = 0;
    uint8_t a[LTI_BLOCK * LTI_BLOCK], b[LTI_BLOCK * LTI_BLOCK];
    for (int by = 0; by < l->ny; by++)
        for (int bx = 0; bx < l->nx; bx++) {
            const lti_vec v = field[(ptrdiff_t)by * l->nx + bx];
            const part p = part_of(l, bx, by);
            const size_t at = l->at + (size_t)(p.y * l->stride + p.x);
            m->o->move(m->pic[2] + at, l->stride, -v.x, -v.y, a);
            m->o->move(m->pic[0] + at, l->stride, v.x, v.y, b);
            one_sided(l, p, v, a, b);
            const int o = p.oy * LTI_BLOCK + p.ox;
            sum += middle_error(m->o, m->pic[1] + at + p.oy * l->stride + p.ox, l->stride, a + o,
                                b + o, p.w, p.h);
        }
    return 1 - (double)sum / 2 / ((double)m->w * m->h) / 255;
}

/* Without blocks: every vector is 0. */
static void push_small(const lti_motion *m, double *motion, double *warp, double *smooth) {
    const lti_pyr_level *l = m->pyr.level;
    uint64_t square = 0, off = 0;
    for (int y = 0; y < m->h; y++) {
        const size_t row = l->at + (size_t)(y * l->stride);
        const uint8_t *a = m->pic[0] + row, *b = m->pic[1] + row, *c = m->pic[2] + row;
        for (int x = 0; x < m->w; x++) {
            square += (uint64_t)((a[x] - b[x]) * (a[x] - b[x]));
            off += (uint64_t)abs(2 * b[x] - a[x] - c[x]);
        }
    }
    const double n = (double)m->w * m->h;
    if (m->frames >= 2) {
        *motion = 0;
        *warp = (double)square / n / (255. * 255.);
    }
    if (m->frames >= 3) *smooth = 1 - (double)off / 2 / n / 255;
}

void lti_motion_push(lti_motion *m, lti_plane y, double *motion, double *warp, double *smooth) {
    LT_ASSERT(y.w == m->w && y.h == m->h);
    uint8_t *oldest = m->pic[2];
    m->pic[2] = m->pic[1];
    m->pic[1] = m->pic[0];
    m->pic[0] = oldest;
    lti_pyr_fill(&m->pyr, m->k, y, m->pic[0]);
    m->frames += m->frames < 3;
    *motion = *warp = *smooth = NAN;
    if (m->small) {
        push_small(m, motion, warp, smooth);
        return;
    }
    lti_vec *forth = m->vec, *back = forth + m->n, *both = back + m->n, *scratch = both + m->n;
    if (m->frames >= 2) {
        lti_motion_search(&m->pyr, m->k, m->pic[1], m->pic[0], false, scratch, forth);
        lti_motion_search(&m->pyr, m->k, m->pic[0], m->pic[1], false, scratch, back);
        *motion = motion_of(m, forth);
        *warp = warp_of(m, forth, back);
    }
    if (m->frames >= 3) {
        lti_motion_search(&m->pyr, m->k, m->pic[2], m->pic[0], true, scratch, both);
        *smooth = smooth_of(m, both);
    }
}

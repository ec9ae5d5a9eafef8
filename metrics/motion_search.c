/* SPDX-License-Identifier: Apache-2.0
 * metrics/motion_search.c - motion vectors of 16x16 blocks between two pictures.
 *
 * Coarse to fine: every vector of +-8 pixels at the top of the pyramid, where an 8x8 window covers
 * a large piece of the picture; below that the vectors of the coarser block, of its neighbours, of
 * the blocks done before, and rest are tried, and the best of them is walked downhill. At the end
 * up to two steps of Lucas and Kanade to a quarter of a pixel. Measure: the sum of absolute
 * differences.
 *
 * Noise must not look like motion: the best of thirty sums over noise is always a little below the
 * one at rest. So a vector has to explain a quarter of what rest leaves; one that the blocks around
 * have, a sixteenth. Nor must light: on a slope of grey a change of brightness fits a motion as
 * well. So a vector that the blocks around do not have must leave less than the best change of
 * brightness and contrast at rest leaves.
 *
 * Whole numbers decide (the doubles are exact or rounded once), the first of equals wins: the
 * vectors do not depend on the processor. */
#include "metrics/motion_int.h"
#include <stdlib.h>
#include <string.h>

void lti_pyr_init(lti_pyr *p, int w, int h) {
    memset(p, 0, sizeof *p);
    do {
        lti_pyr_level *l = &p->level[p->n];
        l->w = w >> p->n;
        l->h = h >> p->n;
        l->win = p->n ? LTI_BLOCK / 2 : LTI_BLOCK;
        const int step = p->n > 1 ? LTI_BLOCK << (p->n - 1) : LTI_BLOCK;
        l->nx = (w + step - 1) / step;
        l->ny = (h + step - 1) / step;
        l->stride = l->w + 2 * LTI_MARGIN;
        l->at = p->bytes + (size_t)l->stride * LTI_MARGIN + LTI_MARGIN;
        p->bytes += (size_t)l->stride * (size_t)(l->h + 2 * LTI_MARGIN);
        p->n++;
    } while ((w < h ? w : h) >> p->n >= 60 && p->n < LTI_PYR_MAX);
    for (int i = 0; i < p->n; i++) p->level[i].range = LTI_REACH << (p->n - 1 - i);
}

/* Continues the edge pixels of a level into its margin. */
static void replicate(const lti_pyr_level *l, uint8_t *mem) {
    uint8_t *p = mem + l->at;
    for (int y = 0; y < l->h; y++) {
        uint8_t *row = p + y * l->stride;
        memset(row - LTI_MARGIN, row[0], LTI_MARGIN);
        memset(row + l->w, row[l->w - 1], LTI_MARGIN);
    }
    const uint8_t *first = p - LTI_MARGIN, *last = first + (l->h - 1) * l->stride;
    for (int y = 1; y <= LTI_MARGIN; y++) {
        memcpy(p - LTI_MARGIN - y * l->stride, first, (size_t)l->stride);
        memcpy(p - LTI_MARGIN + (l->h - 1 + y) * l->stride, last, (size_t)l->stride);
    }
}

void lti_pyr_fill(const lti_pyr *p, const lti_kernels *k, lti_plane y, uint8_t *mem) {
    for (int i = 0; i < p->n; i++) {
        const lti_pyr_level *l = &p->level[i], *up = l - 1;
        if (i > 0) k->halve(mem + up->at, up->stride, mem + l->at, l->stride, l->w, l->h);
        else
            for (int r = 0; r < l->h; r++)
                memcpy(mem + l->at + r * l->stride, y.p + r * y.stride, (size_t)l->w);
        replicate(l, mem);
    }
}

double lti_motion_left(const lti_block_ops *o, const uint8_t *a, ptrdiff_t as, const uint8_t *b,
                       ptrdiff_t bs) {
    int32_t s[5];
    o->line(a, as, b, bs, s);
    const int64_t n = LTI_BLOCK * LTI_BLOCK; /* products below 2^53: exact as doubles */
    const double aa = (double)(n * s[2] - (int64_t)s[0] * s[0]),
                 ab = (double)(n * s[3] - (int64_t)s[0] * s[1]),
                 bb = (double)(n * s[4] - (int64_t)s[1] * s[1]);
    return bb > 0 ? aa - ab * ab / bb : aa;
}

/* ---- one block ------------------------------------------------------------------------------- */

typedef struct job {
    const lti_pyr *p;
    const lti_kernels *k;
    const lti_block_ops *o;
    const uint8_t *a, *b;
    bool two_sided;
} job;

typedef struct block {
    const uint8_t *a, *b; /* the window at rest */
    ptrdiff_t stride;
    bool two_sided;
    uint32_t (*sad)(const uint8_t *a, ptrdiff_t as, const uint8_t *b, ptrdiff_t bs);
    int lo_x, hi_x, lo_y, hi_y; /* of vectors */
    lti_vec seen[3];            /* of the blocks to the left, above and above to the right */
    int n_seen;
    lti_vec around;         /* their median */
    bool moving;            /* it is not 0 */
    uint32_t lonely, along; /* surcharge on a vector of its own, on one near `around` */
    lti_vec best;
    uint32_t cost, rest; /* of best, with its surcharge; of vector 0 */
} block;

static uint32_t sad_at(const block *k, int x, int y) {
    const ptrdiff_t move = y * k->stride + x;
    return k->sad(k->two_sided ? k->a - move : k->a, k->stride, k->b + move, k->stride);
}

static bool near(lti_vec a, lti_vec b) { return abs(a.x - b.x) <= 1 && abs(a.y - b.y) <= 1; }

static void try_vec(block *k, int x, int y) {
    if (x < k->lo_x || x > k->hi_x || y < k->lo_y || y > k->hi_y) return;
    const lti_vec v = {(int16_t)x, (int16_t)y};
    const uint32_t extra = k->moving && near(v, k->around) ? k->along : k->lonely;
    if (extra >= k->cost) return;
    const uint32_t c = sad_at(k, x, y) + extra;
    if (c < k->cost) {
        k->cost = c;
        k->best = v;
    }
}

static int clamp(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }

static int median3(int a, int b, int c) {
    const int lo = a < b ? a : b, hi = a < b ? b : a;
    return clamp(c, lo, hi);
}

/* What the blocks done before say; field [l->ny, l->nx], done up to (bx, by). */
static void look_around(const lti_pyr_level *l, const lti_vec *field, int bx, int by, block *k) {
    const lti_vec *here = field + (ptrdiff_t)by * l->nx + bx;
    lti_vec *s = k->seen;
    if (bx > 0) s[k->n_seen++] = here[-1];
    if (by > 0) s[k->n_seen++] = here[-l->nx];
    if (by > 0 && bx + 1 < l->nx) s[k->n_seen++] = here[1 - l->nx];
    if (k->n_seen > 0) k->around = s[0];
    if (k->n_seen == 3)
        k->around = (lti_vec){(int16_t)median3(s[0].x, s[1].x, s[2].x),
                              (int16_t)median3(s[0].y, s[1].y, s[2].y)};
    k->moving = k->around.x != 0 || k->around.y != 0;
}

/* Limits of the vectors along one side: half a window may leave the picture. */
static void limits(int at, int win, int side, int range, bool two_sided, int *lo, int *hi) {
    int before = at + win / 2, after = side - win / 2 - at;
    if (two_sided) before = after = before < after ? before : after;
    *lo = -(before < range ? before : range);
    *hi = after < range ? after : range;
}

static block start(const job *j, const lti_pyr_level *l, const lti_vec *field, int bx, int by) {
    const int x = lti_block_pos(bx, l->win, l->w), y = lti_block_pos(by, l->win, l->h);
    const size_t at = l->at + (size_t)(y * l->stride + x);
    block k = {.a = j->a + at, .b = j->b + at, .stride = l->stride, .two_sided = j->two_sided};
    k.sad = l->win == LTI_BLOCK ? j->k->sad16 : j->k->sad8;
    limits(x, l->win, l->w, l->range, j->two_sided, &k.lo_x, &k.hi_x);
    limits(y, l->win, l->h, l->range, j->two_sided, &k.lo_y, &k.hi_y);
    look_around(l, field, bx, by, &k);
    k.cost = k.rest = sad_at(&k, 0, 0);
    const uint32_t scale = k.rest + (uint32_t)(l->win * l->win);
    k.along = scale / 16;
    k.lonely = l == j->p->level ? scale / 4 : scale / 16; /* only level 0 decides */
    return k;
}

static void search_top(block *k) {
    for (int y = k->lo_y; y <= k->hi_y; y++)
        for (int x = k->lo_x; x <= k->hi_x; x++)
            if (x != 0 || y != 0) try_vec(k, x, y);
}

/* Into list [n], if it is neither rest nor there already; its new length. */
static int add(const block *k, lti_vec *list, int n, lti_vec v, int scale) {
    v.x = (int16_t)clamp(v.x * scale, k->lo_x, k->hi_x);
    v.y = (int16_t)clamp(v.y * scale, k->lo_y, k->hi_y);
    if (v.x == 0 && v.y == 0) return n;
    for (int i = 0; i < n; i++)
        if (list[i].x == v.x && list[i].y == v.y) return n;
    list[n] = v;
    return n + 1;
}

static void walk(block *k, int steps) {
    static const int8_t ring[8][2] = {{0, -1},  {-1, 0}, {1, 0},  {0, 1},
                                      {-1, -1}, {1, -1}, {-1, 1}, {1, 1}};
    lti_vec last = k->best, from;
    for (int i = 0; i < steps; i++, last = from) {
        from = k->best;
        for (int r = 0; r < 8; r++) {
            const lti_vec v = {(int16_t)(from.x + ring[r][0]), (int16_t)(from.y + ring[r][1])};
            if ((v.x == 0 && v.y == 0) || (i > 0 && near(v, last))) continue; /* tried */
            try_vec(k, v.x, v.y);
        }
        if (k->best.x == from.x && k->best.y == from.y) return;
    }
}

/* coarse [c->ny, c->nx]: the field of the level above, c; (cx, cy) the block there. */
static void search_below(const lti_pyr_level *c, const lti_vec *coarse, int cx, int cy, block *k) {
    if (k->rest == 0) return;
    lti_vec list[8];
    coarse += (ptrdiff_t)cy * c->nx + cx;
    int n = add(k, list, 0, coarse[0], 2);
    if (cx > 0) n = add(k, list, n, coarse[-1], 2);
    if (cx + 1 < c->nx) n = add(k, list, n, coarse[1], 2);
    if (cy > 0) n = add(k, list, n, coarse[-c->nx], 2);
    if (cy + 1 < c->ny) n = add(k, list, n, coarse[c->nx], 2);
    for (int i = 0; i < k->n_seen; i++) n = add(k, list, n, k->seen[i], 1);
    for (int i = 0; i < n; i++) try_vec(k, list[i].x, list[i].y);
    walk(k, 3);
}

/* A vector that no block around has must explain more than light that changes where it is. */
static void doubt(const lti_block_ops *o, block *k) {
    const lti_vec v = k->best;
    if ((v.x == 0 && v.y == 0) || (k->moving && near(v, k->around))) return;
    const ptrdiff_t s = k->stride, move = v.y * s + v.x;
    const double light = lti_motion_left(o, k->a, s, k->b, s);
    const double left = lti_motion_left(o, k->two_sided ? k->a - move : k->a, s, k->b + move, s);
    if (left + LTI_ENERGY / 4 < light) return;
    k->best = (lti_vec){0, 0};
    k->cost = k->rest;
    if (k->moving) try_vec(k, k->around.x, k->around.y);
}

static void search_level(const job *j, int level, const lti_vec *coarse, lti_vec *field) {
    const lti_pyr_level *l = &j->p->level[level];
    const int halved = level > 0; /* levels 0 and 1 have the same blocks */
    for (int by = 0; by < l->ny; by++)
        for (int bx = 0; bx < l->nx; bx++) {
            block k = start(j, l, field, bx, by);
            if (coarse) search_below(l + 1, coarse, bx >> halved, by >> halved, &k);
            else search_top(&k);
            if (level == 0) doubt(j->o, &k);
            field[(ptrdiff_t)by * l->nx + bx] = k.best;
        }
}

/* ---- quarters of a pixel --------------------------------------------------------------------- */

/* num / den to the nearest, at most +-limit; den > 0 */
static int ratio(int64_t num, int64_t den, int limit) {
    const int64_t q = (2 * (num < 0 ? -num : num) + den) / (2 * den);
    const int r = q < limit ? (int)q : limit;
    return num < 0 ? -r : r;
}

/* One step of Lucas and Kanade from the differences p - q, in quarters of a pixel; what all pixels
 * of the block differ by is light. */
static lti_vec step(const job *j, const uint8_t *a, const uint8_t *b, const uint8_t *p,
                    ptrdiff_t ps, const uint8_t *q, ptrdiff_t qs) {
    int32_t s[5];
    j->o->slope(a, b, j->p->level->stride, p, ps, q, qs, s);
    /* a slope of less than a level per pixel is none: gradients come four times too large */
    const int64_t xx = s[0] + 16 * LTI_BLOCK * LTI_BLOCK, yy = s[2] + 16 * LTI_BLOCK * LTI_BLOCK;
    const int64_t xy = s[1], xe = s[3], ye = s[4];
    const int64_t det = xx * yy - xy * xy, scale = j->two_sided ? 8 : 16;
    return (lti_vec){(int16_t)ratio(scale * (yy * xe - xy * ye), det, 3),
                     (int16_t)ratio(scale * (xx * ye - xy * xe), det, 3)};
}

/* *v: whole pixels -> quarters */
static void refine(const job *j, int bx, int by, lti_vec *v) {
    const lti_pyr_level *l = j->p->level;
    const ptrdiff_t s = l->stride, move = v->y * s + v->x;
    const size_t at = l->at + (size_t)(lti_block_pos(by, l->win, l->h) * s) +
                      (size_t)lti_block_pos(bx, l->win, l->w);
    const uint8_t *a = j->two_sided ? j->a + at - move : j->a + at, *b = j->b + at + move;
    const lti_vec whole = {(int16_t)(4 * v->x), (int16_t)(4 * v->y)};
    *v = whole;
    uint32_t best = j->k->sad16(a, s, b, s);
    if (best < LTI_BLOCK * LTI_BLOCK / 4) return;
    /* a mean of four pixels has less noise than one: sqrt((1 + 1/4) / 2) = 0.79 of the sum */
    best = best / 4 * 3;
    uint8_t moved[2][LTI_BLOCK * LTI_BLOCK];
    const uint8_t *p = a, *q = b;
    ptrdiff_t ps = s, qs = s;
    lti_vec q4 = {0, 0};
    for (int i = 0; i < 2; i++) {
        const lti_vec d = step(j, a, b, p, ps, q, qs);
        if (d.x == 0 && d.y == 0) return;
        q4 = (lti_vec){(int16_t)clamp(q4.x + d.x, -4, 4), (int16_t)clamp(q4.y + d.y, -4, 4)};
        j->o->move(b, s, q4.x, q4.y, moved[0]);
        q = moved[0];
        qs = LTI_BLOCK;
        if (j->two_sided) {
            j->o->move(a, s, -q4.x, -q4.y, moved[1]);
            p = moved[1];
            ps = LTI_BLOCK;
        }
        const uint32_t sad = j->k->sad16(p, ps, q, qs);
        if (sad >= best) return;
        best = sad;
        *v = (lti_vec){(int16_t)(whole.x + q4.x), (int16_t)(whole.y + q4.y)};
    }
}

void lti_motion_search(const lti_pyr *p, const lti_kernels *k, const uint8_t *a, const uint8_t *b,
                       bool two_sided, lti_vec *scratch, lti_vec *field) {
    const job j = {p, k, lti_block_ops_of(k), a, b, two_sided};
    const lti_pyr_level *l = p->level;
    const size_t n = (size_t)l->nx * (size_t)l->ny;
    const lti_vec *coarse = NULL;
    for (int i = p->n - 1; i >= 0; i--) {
        lti_vec *to = i == 0 ? field : i & 1 ? scratch : scratch + n;
        search_level(&j, i, coarse, to);
        coarse = to;
    }
    for (int by = 0; by < l->ny; by++)
        for (int bx = 0; bx < l->nx; bx++) refine(&j, bx, by, field + (ptrdiff_t)by * l->nx + bx);
}

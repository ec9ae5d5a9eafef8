/* SPDX-License-Identifier: Apache-2.0
 * metrics/match.c - brings a reference into the layout of the picture it is held against: FFmpeg's
 * filters also convert the second input to the format of the first.
 *
 * Chroma of another size is resampled with a triangle as wide as the coarser grid (what swscale
 * calls bilinear). Along x the first samples of both grids lie on each other (MPEG-2 and H.264:
 * left), along y their borders do (half way down): 4:4:4 to 4:2:0 is 1 2 1 across and 1 3 3 1 down.
 * FFmpeg's own conversion is bicubic and puts chroma in the middle of its cell across as well, so
 * psnr of all planes differs by some tenths of a dB here. Another range is mapped by the
 * definition: Y 16..235 and C 16..240 against 0..255, rounded. A grey picture has the chroma 128;
 * against a grey one chroma is left out.
 */
#include "base/error.h"
#include "metrics/metrics_int.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- chroma -------------------------------------------------------------------------------------
 */

#define PHASES 8 /* grids are 1 to 8 apart */

/* One direction. Output sample i is the sum of `n` inputs from at[i % period] + i / period * step
 * on, times weight[i % period]. */
typedef struct axis {
    int in, out; /* samples */
    int period, step, n, at[PHASES];
    float weight[PHASES][2 * PHASES]; /* sum 1 */
} axis;

/* log2 of luma samples per chroma sample; -1: neither 1, 2, 4 nor 8 */
static int shift_of(int luma, int chroma) {
    for (int k = 0; k < 4; k++)
        if ((luma + (1 << k) - 1) >> k == chroma) return k;
    return -1;
}

/* left: the first samples of both grids coincide, else their borders. */
static bool axis_init(axis *a, int luma, int in, int out, bool left) {
    const int from = shift_of(luma, in), to = shift_of(luma, out);
    if (from < 0 || to < 0) return false;
    const double ratio = (double)(1 << to) / (1 << from), half = fmax(ratio, 1);
    a->in = in;
    a->out = out;
    a->period = from > to ? 1 << (from - to) : 1;
    a->step = from > to ? 1 : 1 << (to - from);
    a->n = (int)(2 * half);
    for (int i = 0; i < a->period; i++) {
        const double centre = left ? i * ratio : (i + 0.5) * ratio - 0.5;
        float sum = 0;
        a->at[i] = (int)floor(centre - half) + 1;
        for (int k = 0; k < a->n; k++) {
            a->weight[i][k] = (float)fmax(0, 1 - fabs(a->at[i] + k - centre) / half);
            sum += a->weight[i][k];
        }
        for (int k = 0; k < a->n; k++) a->weight[i][k] /= sum;
    }
    return true;
}

static int within(int i, int n) { return i < 0 ? 0 : i < n ? i : n - 1; }

/* in [ay->in, ax->in] -> out [ay->out, ax->out]; row [ax->in] */
static void resample(const axis *ax, const axis *ay, const uint8_t *in, ptrdiff_t is, float *row,
                     uint8_t *out) {
    for (int y = 0; y < ay->out; y++, out += ax->out) {
        const int py = y % ay->period, top = ay->at[py] + y / ay->period * ay->step;
        for (int x = 0; x < ax->in; x++) row[x] = 0;
        for (int k = 0; k < ay->n; k++) {
            const uint8_t *line = in + within(top + k, ay->in) * is;
            const float w = ay->weight[py][k];
            for (int x = 0; x < ax->in; x++) row[x] += w * (float)line[x];
        }
        for (int x = 0; x < ax->out; x++) {
            const int px = x % ax->period, left = ax->at[px] + x / ax->period * ax->step;
            float sum = 0.5f;
            for (int k = 0; k < ax->n; k++)
                sum += ax->weight[px][k] * row[within(left + k, ax->in)];
            out[x] = (uint8_t)sum;
        }
    }
}

static lt_status match_chroma(const lt_picture *like, const lt_picture *in, uint8_t *buf,
                              lt_picture *out, lt_error *err) {
    axis ax, ay;
    if (!axis_init(&ax, in->width, in->c_width, like->c_width, true) ||
        !axis_init(&ay, in->height, in->c_height, like->c_height, false))
        return lti_fail(err, LT_EUNSUPPORTED,
                        "chroma of %dx%d against %dx%d, expected grids of 1, 2, 4 or 8 pixels",
                        in->c_width, in->c_height, like->c_width, like->c_height);
    const size_t n = (size_t)like->c_width * (size_t)like->c_height;
    float *row = malloc((size_t)in->c_width * sizeof *row);
    if (!row) return lti_oom(err, (size_t)in->c_width * sizeof *row);
    resample(&ax, &ay, in->u, in->c_stride, row, buf);
    resample(&ax, &ay, in->v, in->c_stride, row, buf + n);
    free(row);
    out->u = buf;
    out->v = buf + n;
    out->c_stride = out->c_width = like->c_width;
    out->c_height = like->c_height;
    return LT_OK;
}

/* ---- range --------------------------------------------------------------------------------------
 */

/* size: 219 for luma, 224 for chroma; low, zero: what stands for 0 in the limited and the full
 * range */
static void range_table(uint8_t table[256], bool to_full, double size, double low, double zero) {
    for (int i = 0; i < 256; i++) {
        const double v = to_full ? (i - low) * 255 / size + zero : (i - zero) * size / 255 + low;
        table[i] = (uint8_t)lround(fmin(fmax(v, 0), 255));
    }
}

/* May run in place. */
static void map_plane(const uint8_t table[256], const uint8_t *in, ptrdiff_t is, int w, int h,
                      uint8_t *out) {
    for (int y = 0; y < h; y++, in += is, out += w)
        for (int x = 0; x < w; x++) out[x] = table[in[x]];
}

static void match_range(bool to_full, lt_picture *p, uint8_t *luma, uint8_t *chroma) {
    uint8_t table[256];
    range_table(table, to_full, 219, 16, 0);
    map_plane(table, p->y, p->y_stride, p->width, p->height, luma);
    p->y = luma;
    p->y_stride = p->width;
    p->full_range = to_full;
    if (!p->u) return;
    uint8_t *v = chroma + (size_t)p->c_width * (size_t)p->c_height;
    range_table(table, to_full, 224, 128, 128);
    map_plane(table, p->u, p->c_stride, p->c_width, p->c_height, chroma);
    map_plane(table, p->v, p->c_stride, p->c_width, p->c_height, v);
    p->u = chroma;
    p->v = v;
    p->c_stride = p->c_width;
}

/* ---- both ---------------------------------------------------------------------------------------
 */

static bool same_range(const lt_picture *a, const lt_picture *b) {
    return !a->full_range == !b->full_range;
}

lt_status lti_match_run(lti_match *m, const lt_picture *like, const lt_picture *in, lt_picture *out,
                        lt_error *err) {
    LT_ASSERT(like->width == in->width && like->height == in->height);
    *out = *in;
    if (!like->u) out->u = out->v = NULL;
    const bool chroma =
        like->u && (!in->u || like->c_width != in->c_width || like->c_height != in->c_height);
    if (!chroma && same_range(like, in)) return LT_OK;
    const size_t luma = (size_t)in->width * (size_t)in->height;
    const size_t plane = like->u ? (size_t)like->c_width * (size_t)like->c_height : 0;
    const size_t need = luma + 2 * plane;
    if (m->cap < need) {
        free(m->buf);
        m->cap = 0;
        m->buf = malloc(need);
        if (!m->buf) return lti_oom(err, need);
        m->cap = need;
    }
    uint8_t *c = m->buf + luma;
    if (chroma && in->u) {
        LT_TRY(match_chroma(like, in, c, out, err));
    } else if (chroma) {
        memset(c, 128, 2 * plane);
        out->u = c;
        out->v = c + plane;
        out->c_stride = out->c_width = like->c_width;
        out->c_height = like->c_height;
    }
    if (!same_range(like, in)) match_range(like->full_range != 0, out, m->buf, c);
    return LT_OK;
}

void lti_match_close(lti_match *m) {
    free(m->buf);
    *m = (lti_match){0};
}

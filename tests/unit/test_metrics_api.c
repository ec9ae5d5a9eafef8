/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_metrics_api.c - lt_metrics with pictures of every shape against sums in double,
 * what `want` leaves out, and what is refused. */
#include "tests/unit/metrics_rig.h"

/* ---- random pictures ----------------------------------------------------------------------------- */

typedef struct shape {
    int w, h, cw, ch, full; /* cw 0: grey */
} shape;

typedef struct movie {
    shape s;
    uint8_t *rgb[2], *y[2], *u[2], *v[2]; /* two frames; planes with gaps behind the rows */
} movie;

enum { GAP = 13 };

static uint8_t *noise(size_t n) {
    uint8_t *p = malloc(n);
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)random32();
    return p;
}

static movie make_movie(shape s) {
    movie m = {.s = s};
    for (int i = 0; i < 2; i++) {
        m.rgb[i] = noise((size_t)(3 * s.w * s.h));
        m.y[i] = noise((size_t)((s.w + GAP) * s.h));
        if (s.cw) m.u[i] = noise((size_t)((s.cw + GAP) * s.ch));
        if (s.cw) m.v[i] = noise((size_t)((s.cw + GAP) * s.ch));
    }
    return m;
}

static void free_movie(movie *m) {
    for (int i = 0; i < 2; i++) {
        free(m->rgb[i]);
        free(m->y[i]);
        free(m->u[i]);
        free(m->v[i]);
    }
}

static lt_picture picture(const movie *m, int i) {
    return (lt_picture){.width = m->s.w,
                        .height = m->s.h,
                        .rgb = m->rgb[i],
                        .y = m->y[i],
                        .u = m->u[i],
                        .v = m->v[i],
                        .y_stride = m->s.w + GAP,
                        .c_stride = m->s.cw ? m->s.cw + GAP : 0,
                        .c_width = m->s.cw,
                        .c_height = m->s.ch,
                        .full_range = m->s.full};
}

/* Luma of frame i, stretched to 0..255 if `full` is wanted. */
static double luma(const movie *m, int i, int x, int y, int full) {
    int v = m->y[i][y * (m->s.w + GAP) + x];
    if (!full || m->s.full) return v;
    v = v < 16 ? 16 : v > 235 ? 235 : v;
    return (v - 16) * 255 / 219;
}

typedef struct moments {
    double n, sum, sum2;
} moments;
static void add(moments *m, double v) {
    m->n++;
    m->sum += v;
    m->sum2 += v * v;
}
static double variance(const moments *m) {
    return m->n ? m->sum2 / m->n - (m->sum / m->n) * (m->sum / m->n) : NAN;
}

static double sobel(const movie *m, int i, int x, int y) {
    double gx = 0, gy = 0;
    for (int d = -1; d <= 1; d++) {
        const double k = d ? 1 : 2;
        gx += k * (luma(m, i, x + 1, y + d, 1) - luma(m, i, x - 1, y + d, 1));
        gy += k * (luma(m, i, x + d, y + 1, 1) - luma(m, i, x + d, y - 1, 1));
    }
    return sqrt(gx * gx + gy * gy);
}

/* Frame i by the definitions of metrics.h. */
static void by_definition(const movie *m, int i, double *row) {
    moments y = {0}, lap = {0}, sob = {0}, dif = {0}, sat = {0}, rgb = {0};
    double lo = 0, hi = 0;
    for (int j = 0; j < m->s.h; j++)
        for (int x = 0; x < m->s.w; x++) {
            add(&y, luma(m, i, x, j, 0));
            lo += luma(m, i, x, j, 1) <= 2;
            hi += luma(m, i, x, j, 1) >= 253;
            add(&dif, luma(m, i, x, j, 1) - luma(m, 1 - i, x, j, 1));
            if (x < 1 || j < 1 || x > m->s.w - 2 || j > m->s.h - 2) continue;
            add(&sob, sobel(m, i, x, j));
            add(&lap, luma(m, i, x - 1, j, 0) + luma(m, i, x + 1, j, 0) + luma(m, i, x, j - 1, 0) +
                          luma(m, i, x, j + 1, 0) - 4 * luma(m, i, x, j, 0));
        }
    for (int j = 0; j < m->s.ch; j++)
        for (int x = 0; x < m->s.cw; x++) {
            const int at = j * (m->s.cw + GAP) + x;
            add(&sat, hypot(m->u[i][at] - 128, m->v[i][at] - 128));
        }
    for (int k = 0; k < 3 * m->s.w * m->s.h; k++) add(&rgb, abs(m->rgb[0][k] - m->rgb[1][k]));
    row[LT_METRIC_FLICKER] = i ? 1 - rgb.sum / rgb.n / 255 : NAN;
    row[LT_METRIC_LUMA] = y.sum / y.n;
    row[LT_METRIC_CONTRAST] = sqrt(variance(&y));
    row[LT_METRIC_SATURATION] = sat.n ? sat.sum / sat.n : 0;
    row[LT_METRIC_CLIP_LO] = 100 * lo / y.n;
    row[LT_METRIC_CLIP_HI] = 100 * hi / y.n;
    row[LT_METRIC_SHARPNESS] = variance(&lap);
    row[LT_METRIC_SI] = sqrt(fmax(0, variance(&sob)));
    row[LT_METRIC_TI] = i ? sqrt(variance(&dif)) : NAN;
    if (isnan(variance(&sob))) row[LT_METRIC_SI] = NAN;
}

static const lt_metric EXACT[] = {LT_METRIC_FLICKER,    LT_METRIC_LUMA,    LT_METRIC_CONTRAST,
                                  LT_METRIC_SATURATION, LT_METRIC_CLIP_LO, LT_METRIC_CLIP_HI,
                                  LT_METRIC_SHARPNESS,  LT_METRIC_SI,      LT_METRIC_TI};
enum { EXACTS = sizeof EXACT / sizeof *EXACT };

static lt_metrics *open_want(int w, int h, uint32_t want) {
    lt_metrics_params p;
    lt_metrics *m;
    lt_error err = {0};
    lt_metrics_params_init(&p);
    p.width = w;
    p.height = h;
    p.want = want;
    if (lt_metrics_open(&p, &m, &err) != LT_OK) fail_msg("%s", err.msg);
    return m;
}

static void one_shape(shape s) {
    movie mv = make_movie(s);
    lt_metrics *m = open_want(s.w, s.h, 0);
    lt_error err = {0};
    for (int t = 0; t < 2; t++) {
        const lt_picture p = picture(&mv, t);
        double row[LT_METRIC_COUNT], want[LT_METRIC_COUNT];
        assert_int_equal(lt_metrics_push(m, &p, NULL, t / FPS, row, &err), LT_OK);
        by_definition(&mv, t, want);
        for (int k = 0; k < EXACTS; k++) {
            const int i = EXACT[k];
            assert_int_equal(isnan(row[i]), isnan(want[i]));
            /* si rounds each magnitude to float, as FFmpeg's */
            const double bound = i == LT_METRIC_SI ? 2e-5 : 1e-6;
            if (!isnan(want[i]) && !(fabs(row[i] - want[i]) <= bound))
                fail_msg("%dx%d, %s of frame %d: %.9g, expected %.9g", s.w, s.h, lt_metric_name(i),
                         t, row[i], want[i]);
        }
        assert_true(isnan(row[LT_METRIC_PSNR]) && isnan(row[LT_METRIC_LOOP]));
    }
    lt_metrics_close(&m);
    free_movie(&mv);
}

static void test_shapes(void **state) {
    (void)state;
    static const shape kinds[] = {
        {64, 48, 32, 24, 0}, {64, 48, 64, 48, 1}, {65, 47, 33, 24, 0},   {101, 9, 51, 9, 1},
        {37, 53, 0, 0, 0},   {1, 1, 1, 1, 0},     {1, 1, 0, 0, 1},       {2, 2, 1, 1, 0},
        {3, 3, 2, 2, 0},     {3, 1, 2, 1, 1},     {1, 40, 1, 20, 0},     {40, 1, 20, 1, 0},
        {2, 100, 1, 50, 0},  {517, 4, 259, 2, 0}, {8192, 3, 4096, 2, 0}, {3, 8192, 2, 4096, 1}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) one_shape(kinds[i]);
}

/* ---- what is wanted, and no more ----------------------------------------------------------------- */

static void test_want(void **state) {
    (void)state;
    movie mv = make_movie((shape){40, 30, 20, 15, 0});
    lt_error err = {0};
    double all[2][LT_METRIC_COUNT], row[LT_METRIC_COUNT];
    lt_metrics *m = open_want(40, 30, 0);
    for (int t = 0; t < 2; t++) {
        const lt_picture p = picture(&mv, t);
        assert_int_equal(lt_metrics_push(m, &p, NULL, t, all[t], &err), LT_OK);
    }
    lt_metrics_close(&m);
    for (int i = 0; i < LT_METRIC_COUNT; i++) {
        m = open_want(40, 30, LT_METRIC_BIT(i));
        for (int t = 0; t < 2; t++) {
            const lt_picture p = picture(&mv, t);
            assert_int_equal(lt_metrics_push(m, &p, NULL, t, row, &err), LT_OK);
            for (int k = 0; k < LT_METRIC_COUNT; k++)
                if (k != i || isnan(all[t][k])) assert_true(isnan(row[k]));
                else assert_true(row[k] == all[t][k]);
        }
        lt_metric_summary s;
        for (int k = -1; k <= LT_METRIC_COUNT; k++) {
            lt_metrics_summary_of(m, k, &s, sizeof s);
            assert_true((s.n > 0) == (k == i && !isnan(all[1][k])));
            assert_true(isnan(s.mean) == (s.n == 0) && isnan(s.max) == (s.n == 0));
            const int32_t pieces = lt_metrics_trace(m, k, 99, NULL, NULL);
            assert_int_equal(pieces, k == i ? 2 : 0);
        }
        lt_metrics_close(&m);
    }
    free_movie(&mv);
}

/* Without planes they are made from rgb; without rgb what needs planes alone still comes. */
static void test_parts(void **state) {
    (void)state;
    movie mv = make_movie((shape){40, 30, 20, 15, 0});
    lt_error err = {0};
    double row[LT_METRIC_COUNT];
    lt_picture p = picture(&mv, 0);
    p.y = NULL;
    lt_metrics *m = open_want(40, 30, 0);
    assert_int_equal(lt_metrics_push(m, &p, NULL, 0, row, &err), LT_OK);
    double sum = 0;
    for (int i = 0; i < 40 * 30; i++) {
        const uint8_t *q = mv.rgb[0] + 3 * i;
        sum += floor(16.5 + (0.2126 * q[0] + 0.7152 * q[1] + 0.0722 * q[2]) * 219 / 255);
    }
    close_to(row[LT_METRIC_LUMA], sum / 1200, 0.002);
    lt_metrics_close(&m);
    m = open_want(40, 30, BIT(LUMA) | BIT(SI) | BIT(LOOP) | BIT(MOTION));
    p = picture(&mv, 0);
    p.rgb = NULL;
    assert_int_equal(lt_metrics_push(m, &p, NULL, 0, NULL, &err), LT_OK);
    p = picture(&mv, 1);
    p.rgb = NULL;
    assert_int_equal(lt_metrics_push(m, &p, NULL, 1, row, &err), LT_OK);
    assert_false(isnan(row[LT_METRIC_LUMA]) || isnan(row[LT_METRIC_SI]));
    assert_true(lt_metrics_frames(m) == 2 && lt_metrics_seconds(m) == 1);
    lt_metrics_close(&m);
    lt_metrics_close(&m);
    lt_metrics_close(NULL);
    free_movie(&mv);
}

/* The rows of a plane from the last to the first, in new memory. */
static uint8_t *turned(const uint8_t *p, int stride, int h) {
    uint8_t *out = malloc((size_t)(stride * h));
    for (int y = 0; y < h; y++)
        memcpy(out + (ptrdiff_t)(h - 1 - y) * stride, p + (ptrdiff_t)y * stride, (size_t)stride);
    return out;
}

/* Planes stored bottom up, as some decoders give them, are the same picture. */
static void test_negative_strides(void **state) {
    (void)state;
    const shape s = {40, 30, 20, 15, 0};
    movie mv = make_movie(s), up = mv;
    lt_error err = {0};
    double row[2][LT_METRIC_COUNT];
    lt_metrics *m[2] = {open_want(40, 30, LT_METRICS_NO_REF | LT_METRICS_REF),
                        open_want(40, 30, LT_METRICS_NO_REF | LT_METRICS_REF)};
    for (int i = 0; i < 2; i++) {
        up.y[i] = turned(mv.y[i], s.w + GAP, s.h);
        up.u[i] = turned(mv.u[i], s.cw + GAP, s.ch);
        up.v[i] = turned(mv.v[i], s.cw + GAP, s.ch);
    }
    for (int i = 0; i < 6; i++) {
        const lt_picture p = picture(&mv, i & 1), ref = picture(&mv, (i + 1) & 1);
        lt_picture q = picture(&up, i & 1);
        q.y += (q.height - 1) * q.y_stride;
        q.u += (q.c_height - 1) * q.c_stride;
        q.v += (q.c_height - 1) * q.c_stride;
        q.y_stride = -q.y_stride;
        q.c_stride = -q.c_stride;
        assert_int_equal(lt_metrics_push(m[0], &p, &ref, i, row[0], &err), LT_OK);
        if (lt_metrics_push(m[1], &q, &ref, i, row[1], &err) != LT_OK) fail_msg("%s", err.msg);
        for (int k = 0; k < LT_METRIC_COUNT; k++)
            if (!isnan(row[0][k]) || !isnan(row[1][k])) close_to(row[1][k], row[0][k], 0);
    }
    for (int i = 0; i < 2; i++) {
        free(up.y[i]);
        free(up.u[i]);
        free(up.v[i]);
        lt_metrics_close(&m[i]);
    }
    free_movie(&mv);
}

/* ---- what is refused ----------------------------------------------------------------------------- */

static void refused_open(lt_metrics_params p, const char *text) {
    lt_metrics *m = (lt_metrics *)&p;
    lt_error err = {0};
    assert_int_equal(lt_metrics_open(&p, &m, &err), LT_EINVAL);
    assert_null(m);
    if (!strstr(err.msg, text)) fail_msg("'%s' is not in '%s'", text, err.msg);
}

static void test_bad_open(void **state) {
    (void)state;
    lt_metrics_params p, q;
    lt_metrics_params_init(&p);
    p.width = p.height = 16;
#define WITH(set, text) q = p, set, refused_open(q, text)
    WITH(q.width = 0, "0x16; a side must be 1 to 8192");
    WITH(q.height = 8193, "16x8193");
    WITH(q.width = INT32_MIN, "a side must be");
    WITH(q.fps = -1, "-1 frames per second");
    WITH(q.fps = NAN, "nan frames per second");
    WITH(q.fps = INFINITY, "frames per second");
    WITH(q.chunk = -1, "chunks of -1 frames");
    WITH(q.first_chunk = -3, "the first of -3");
    WITH(q.want = LT_METRIC_BIT(LT_METRIC_COUNT), "beyond the 19 metrics");
    lt_metrics *m;
    lt_error err = {0};
    p.chunk = p.first_chunk = INT32_MAX; /* no overflow */
    p.fps = 1e-9;
    assert_int_equal(lt_metrics_open(&p, &m, &err), LT_OK);
    lt_metrics_close(&m);
}

static void refused_push(lt_metrics *m, lt_picture p, const lt_picture *ref, double seconds,
                         const char *text) {
    lt_error err = {0};
    double row[LT_METRIC_COUNT];
    assert_int_equal(lt_metrics_push(m, &p, ref, seconds, row, &err), LT_EINVAL);
    if (!strstr(err.msg, text)) fail_msg("'%s' is not in '%s'", text, err.msg);
    assert_true(lt_metrics_frames(m) == 1);
}

static void test_bad_push(void **state) {
    (void)state;
    movie mv = make_movie((shape){40, 30, 20, 15, 0});
    lt_metrics *m = open_want(40, 30, LT_METRICS_NO_REF | LT_METRICS_REF);
    lt_error err = {0};
    const lt_picture p = picture(&mv, 0);
    lt_picture q;
    double row[LT_METRIC_COUNT];
    assert_int_equal(lt_metrics_push(m, &p, &p, 0, row, &err), LT_OK);
    assert_true(row[LT_METRIC_PSNR] == 100 && row[LT_METRIC_SSIM] == 1);
#define PUSH(set, text) q = p, set, refused_push(m, q, NULL, 1, text)
#define REF(set, text) q = p, set, refused_push(m, p, &q, 1, text)
    PUSH(q.width = 39, "the picture is 39x30, expected 40x30");
    PUSH(q.height = 0, "40x0");
    PUSH((q.rgb = NULL, q.y = NULL), "neither rgb nor planes");
    PUSH(q.rgb = NULL, "no rgb, which flicker");
    PUSH(q.y_stride = 39, "rows of 39 bytes");
    PUSH(q.y_stride = -39, "rows of -39 bytes");
    PUSH(q.u = NULL, "one of the planes u and v");
    PUSH(q.c_width = 41, "chroma of 41x15");
    PUSH(q.c_height = 0, "chroma of 20x0");
    PUSH(q.c_stride = 19, "rows of 19 bytes");
    REF(q.width = 41, "the reference is 41x30");
    REF(q.full_range = 1, "full range");
    REF((q.u = NULL, q.v = NULL), "grey");
    REF(q.c_height = 30, "chroma is 20x15, the reference's 20x30");
    refused_push(m, p, NULL, NAN, "no time");
    refused_push(m, p, NULL, INFINITY, "no time");
    /* nothing of those was taken: the next frame is held against the first */
    assert_int_equal(lt_metrics_push(m, &p, NULL, 1, row, &err), LT_OK);
    assert_true(row[LT_METRIC_FLICKER] == 1 && row[LT_METRIC_TI] == 0);
    /* a time that runs back counts as the last one */
    assert_int_equal(lt_metrics_push(m, &p, NULL, -5, row, &err), LT_OK);
    assert_true(lt_metrics_seconds(m) == 1 && lt_metrics_frames(m) == 3);
    lt_metrics_close(&m);
    free_movie(&mv);
}

/* Callers of an older header know shorter structs. */
static void test_old_structs(void **state) {
    (void)state;
    movie mv = make_movie((shape){40, 30, 20, 15, 0});
    const lt_picture pic = picture(&mv, 0);
    struct {
        lt_metrics_params p;
        char after[16];
    } old;
    memset(&old, 0x55, sizeof old);
    lt_metrics_params_init_sized(&old.p, offsetof(lt_metrics_params, fps));
    old.p.width = 40;
    old.p.height = 30;
    lt_metrics *m;
    lt_error err = {0};
    assert_int_equal(lt_metrics_open(&old.p, &m, &err), LT_OK); /* fps and the rest are not read */
    for (int t = 0; t < 50; t++)
        assert_int_equal(lt_metrics_push(m, &pic, NULL, t / FPS, NULL, &err), LT_OK);
    lt_metric_summary s = {.slope = 123};
    lt_metrics_summary_of(m, LT_METRIC_LUMA, &s, offsetof(lt_metric_summary, slope));
    assert_true(s.slope == 123 && s.n == 50 && s.struct_size == offsetof(lt_metric_summary, slope));
    lt_drift d = {.now = 123};
    lt_metrics_drift(m, &d, offsetof(lt_drift, now));
    assert_true(d.now == 123);
    close_to(d.score, 0, 1e-12);
    lt_metrics_close(&m);
    free_movie(&mv);
}

static void test_names(void **state) {
    (void)state;
    for (int i = 0; i < LT_METRIC_COUNT; i++) {
        assert_int_equal(lt_metric_by_name(lt_metric_name(i)), i);
        assert_non_null(lt_metric_unit(i));
        assert_true(lt_metric_digits(i) > 0);
    }
    assert_string_equal(lt_metric_name(LT_METRIC_MS_SSIM), "ms_ssim");
    assert_null(lt_metric_name(-1));
    assert_null(lt_metric_name(LT_METRIC_COUNT));
    assert_int_equal(lt_metric_by_name("lumax"), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),      cmocka_unit_test(test_want),
        cmocka_unit_test(test_parts),       cmocka_unit_test(test_negative_strides),
        cmocka_unit_test(test_bad_open),    cmocka_unit_test(test_bad_push),
        cmocka_unit_test(test_old_structs), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

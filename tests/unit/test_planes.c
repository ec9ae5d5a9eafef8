/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_planes.c - the stored samples of a frame: every pixel format that libav knows,
 * written by libavutil's own line writer, and through lt_reader_picture. */
#include "encode/planes.h"
#include "tests/unit/movie_rig.h"
#include <libswscale/swscale.h>

enum { PW = 21, PH = 11 }; /* odd, and no multiple of any chroma block */

typedef struct rig {
    AVFrame *f;
    lti_colour colour;
    lti_torgb torgb;
    lti_planes planes;
    lt_picture pic;
} rig;

static rig open_rig(enum AVPixelFormat format) {
    rig r = {.f = av_frame_alloc(), .torgb = {.width = PW, .height = PH}};
    r.f->format = format;
    r.f->width = PW;
    r.f->height = PH;
    assert_true(av_frame_get_buffer(r.f, 0) >= 0);
    for (int p = 0; p < 4 && r.f->buf[p]; p++)
        memset(r.f->buf[p]->data, 0, (size_t)r.f->buf[p]->size);
    return r;
}

static lt_status take(rig *r, const uint8_t *rgb) {
    bool guessed;
    lt_error err = {0};
    lt_status st = lti_colour_of(r->f, LT_MATRIX_BT709, false, &r->colour, &guessed, &err);
    if (st == LT_OK)
        st = lti_planes_run(&r->planes, r->f, r->colour, &r->torgb, rgb, &r->pic, &err);
    assert_true((st == LT_OK) == (err.msg[0] == 0));
    return st;
}

static void close_rig(rig *r) {
    lti_planes_close(&r->planes);
    lti_torgb_close(&r->torgb);
    av_frame_free(&r->f);
}

/* A value of n bits: the extremes, the ties of the rounding, and much between. */
static unsigned value(int comp, int x, int y, int depth) {
    const unsigned top = (1u << depth) - 1, i = (unsigned)(comp * 97 + y * PW + x);
    if (i % 7 == 0) return top - i % 3;
    if (i % 7 == 1) return i % 3;
    return (i * 2654435761u >> 7) & top;
}

static unsigned to8(unsigned v, int depth) {
    const double exact = depth == 8 ? v : floor(v / (double)(1 << (depth - 8)) + 0.5);
    return exact > 255 ? 255 : (unsigned)exact;
}

/* Every component by libavutil's writer. */
static void fill(rig *r, const AVPixFmtDescriptor *d) {
    uint16_t line[PW];
    for (int c = 0; c < d->nb_components; c++) {
        const bool chroma = c == 1 || c == 2;
        const int w = chroma ? AV_CEIL_RSHIFT(PW, d->log2_chroma_w) : PW;
        const int h = chroma ? AV_CEIL_RSHIFT(PH, d->log2_chroma_h) : PH;
        for (int y = 0; y < h; y++) {
            for (int x = 0; x < w; x++) line[x] = (uint16_t)value(c, x, y, d->comp[c].depth);
            av_write_image_line(line, r->f->data, r->f->linesize, d, 0, y, c, w);
        }
    }
}

static void expect_plane(const char *name, const uint8_t *p, ptrdiff_t stride, int comp, int w,
                         int h, int depth) {
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            if (p[y * stride + x] != to8(value(comp, x, y, depth), depth))
                fail_msg("%s, component %d at %d,%d: %d for %u of %d bits", name, comp, x, y,
                         p[y * stride + x], value(comp, x, y, depth), depth);
}

static void expect_samples(const rig *r, const AVPixFmtDescriptor *d) {
    const lt_picture *p = &r->pic;
    const bool grey = d->nb_components < 3;
    assert_int_equal(p->width, PW);
    assert_int_equal(p->height, PH);
    assert_int_equal(p->c_width, grey ? 0 : AV_CEIL_RSHIFT(PW, d->log2_chroma_w));
    assert_int_equal(p->c_height, grey ? 0 : AV_CEIL_RSHIFT(PH, d->log2_chroma_h));
    expect_plane(d->name, p->y, p->y_stride, 0, PW, PH, d->comp[0].depth);
    assert_true(grey == !p->u && grey == !p->v);
    for (int c = 1; c < 3 && !grey; c++)
        expect_plane(d->name, c == 1 ? p->u : p->v, p->c_stride, c, p->c_width, p->c_height,
                     d->comp[c].depth);
    assert_null(p->rgb);
}

static bool by_samples(const AVPixFmtDescriptor *d) {
    const enum AVPixelFormat f = av_pix_fmt_desc_get_id(d);
    const uint64_t other = AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM |
                           AV_PIX_FMT_FLAG_FLOAT | AV_PIX_FMT_FLAG_HWACCEL;
    return sws_isSupportedInput(f) && !(d->flags & other) && strncmp(d->name, "xyz", 3) != 0 &&
           d->comp[0].depth <= 16;
}

static void test_all_formats(void **state) {
    (void)state;
    int n = 0, copied = 0;
    for (const AVPixFmtDescriptor *d = NULL; (d = av_pix_fmt_desc_next(d)) != NULL;) {
        if (!by_samples(d)) continue;
        rig r = open_rig(av_pix_fmt_desc_get_id(d));
        fill(&r, d);
        assert_int_equal(take(&r, NULL), LT_OK);
        expect_samples(&r, d);
        copied += r.pic.y != r.f->data[0];
        n++;
        close_rig(&r);
    }
    assert_true(n > 100 && n - copied >= 15); /* 8-bit planes are not copied */
}

static void test_zero_copy(void **state) {
    (void)state;
    static const enum AVPixelFormat own[] = {
        AV_PIX_FMT_YUV420P,  AV_PIX_FMT_YUV422P,  AV_PIX_FMT_YUV444P,  AV_PIX_FMT_YUV440P,
        AV_PIX_FMT_YUV411P,  AV_PIX_FMT_YUV410P,  AV_PIX_FMT_YUVJ420P, AV_PIX_FMT_YUVJ422P,
        AV_PIX_FMT_YUVJ444P, AV_PIX_FMT_YUVA420P, AV_PIX_FMT_GRAY8};
    for (size_t k = 0; k < sizeof own / sizeof *own; k++) {
        rig r = open_rig(own[k]);
        assert_int_equal(take(&r, NULL), LT_OK);
        assert_ptr_equal(r.pic.y, r.f->data[0]);
        assert_ptr_equal(r.pic.u, r.f->data[1]);
        assert_ptr_equal(r.pic.v, own[k] == AV_PIX_FMT_GRAY8 ? NULL : r.f->data[2]);
        assert_null(r.planes.yuv);
        const bool full = k >= 6 && own[k] != AV_PIX_FMT_YUVA420P;
        assert_int_equal(r.pic.full_range, full);
        r.f->color_range = full ? AVCOL_RANGE_MPEG : AVCOL_RANGE_JPEG; /* a tag goes before */
        assert_int_equal(take(&r, NULL), LT_OK);
        assert_int_equal(r.pic.full_range, !full);
        close_rig(&r);
    }
}

/* Upside down, and u and v with different strides. */
static void test_strides(void **state) {
    (void)state;
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(AV_PIX_FMT_YUV420P);
    rig r = open_rig(AV_PIX_FMT_YUV420P);
    for (int p = 0; p < 3; p++) {
        r.f->data[p] += (ptrdiff_t)((p ? (PH + 1) / 2 : PH) - 1) * r.f->linesize[p];
        r.f->linesize[p] = -r.f->linesize[p];
    }
    fill(&r, d);
    assert_int_equal(take(&r, NULL), LT_OK);
    assert_true(r.pic.y_stride < 0);
    expect_samples(&r, d);
    close_rig(&r);
    r = open_rig(AV_PIX_FMT_YUV420P);
    r.f->linesize[2] -= 4; /* rows of 32 and more */
    fill(&r, d);
    assert_int_equal(take(&r, NULL), LT_OK);
    expect_samples(&r, d);
    close_rig(&r);
}

/* ---- samples made of RGB -----------------------------------------------------------------------
 */

static void expect_of_rgb(const rig *r, const uint8_t *rgb) {
    const lt_picture *p = &r->pic;
    assert_int_equal(p->c_width, PW);
    assert_int_equal(p->c_height, PH);
    assert_int_equal(p->full_range, 0);
    for (int y = 0; y < PH; y++)
        for (int x = 0; x < PW; x++) {
            const uint8_t *c = rgb + 3 * (y * PW + x);
            const double luma = (0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]) / 255;
            const double want[3] = {16 + 219 * luma, 128 + 224 * (c[2] / 255.0 - luma) / 1.8556,
                                    128 + 224 * (c[0] / 255.0 - luma) / 1.5748};
            const int got[3] = {p->y[y * p->y_stride + x], p->u[y * p->c_stride + x],
                                p->v[y * p->c_stride + x]};
            for (int k = 0; k < 3; k++)
                if (fabs(got[k] - want[k]) > 0.52)
                    fail_msg("%d of %d %d %d: %d, expected %.3f", k, c[0], c[1], c[2], got[k],
                             want[k]);
            if (c[0] == c[1] && c[1] == c[2]) assert_true(got[1] == 128 && got[2] == 128);
        }
}

static void test_of_rgb(void **state) {
    (void)state;
    static const enum AVPixelFormat format[] = {
        AV_PIX_FMT_RGB24, AV_PIX_FMT_GBRP,   AV_PIX_FMT_BGRA,     AV_PIX_FMT_RGB48LE,
        AV_PIX_FMT_PAL8,  AV_PIX_FMT_RGB8,   AV_PIX_FMT_RGB565LE, AV_PIX_FMT_MONOBLACK,
        AV_PIX_FMT_XYZ12, AV_PIX_FMT_GBRP12, AV_PIX_FMT_MONOWHITE};
    static uint8_t rgb[PW * PH * 3];
    for (size_t k = 0; k < sizeof format / sizeof *format; k++) {
        rig r = open_rig(format[k]);
        for (int p = 0; p < 4 && r.f->buf[p]; p++)
            for (int i = 0; i < (int)r.f->buf[p]->size; i++)
                r.f->buf[p]->data[i] =
                    (uint8_t)(value(p, i, 0, 8) & (format[k] == AV_PIX_FMT_GBRP12 ? 15 : 255));
        assert_int_equal(take(&r, NULL), LT_OK);
        lt_error err = {0};
        assert_int_equal(lti_torgb_run(&r.torgb, r.f, r.colour, rgb, &err), LT_OK);
        assert_null(r.pic.rgb);
        expect_of_rgb(&r, rgb);
        for (size_t i = 0; i < sizeof rgb; i++) rgb[i] ^= 0x55; /* what is given is what counts */
        assert_int_equal(take(&r, rgb), LT_OK);
        assert_ptr_equal(r.pic.rgb, rgb);
        expect_of_rgb(&r, rgb);
        close_rig(&r);
    }
}

/* 8-bit grey of limited range is stretched, as that of more bits. */
static void test_limited_grey(void **state) {
    (void)state;
    static uint8_t rgb[PW * PH * 3];
    static const struct {
        uint8_t y, rgb;
    } c[] = {{0, 0}, {16, 0}, {17, 1}, {126, 128}, {234, 254}, {235, 255}, {255, 255}};
    for (size_t k = 0; k < sizeof c / sizeof *c; k++)
        for (int wide = 0; wide < 2; wide++) {
            rig r = open_rig(AV_PIX_FMT_GRAY8);
            r.f->color_range = wide ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
            memset(r.f->buf[0]->data, c[k].y, (size_t)r.f->buf[0]->size);
            assert_int_equal(take(&r, NULL), LT_OK);
            lt_error err = {0};
            assert_int_equal(lti_torgb_run(&r.torgb, r.f, r.colour, rgb, &err), LT_OK);
            for (size_t i = 0; i < sizeof rgb; i++)
                assert_int_equal(rgb[i], wide ? c[k].y : c[k].rgb);
            assert_true(r.pic.y[0] == c[k].y && r.pic.full_range == wide);
            close_rig(&r);
        }
}

/* The middle is cut out where it is, also where luma and chroma share a plane. */
static void test_crop(void **state) {
    (void)state;
    static const enum AVPixelFormat format[] = {
        AV_PIX_FMT_YUV420P, AV_PIX_FMT_NV12,     AV_PIX_FMT_YUYV422, AV_PIX_FMT_UYVY422,
        AV_PIX_FMT_YUV411P, AV_PIX_FMT_YUVA444P, AV_PIX_FMT_BGRA,    AV_PIX_FMT_GBRP};
    const movie m = {.kr = 0.2126, .kb = 0.0722};
    static uint8_t rgb[64 * 64 * 3];
    for (size_t k = 0; k < sizeof format / sizeof *format; k++) {
        AVFrame *f = av_frame_alloc();
        f->format = format[k];
        f->width = W;
        f->height = H;
        assert_true(av_frame_get_buffer(f, 0) >= 0);
        fill_frame(&m, f);
        lti_torgb t = {.width = 64, .height = 64};
        lti_colour colour;
        bool guessed;
        assert_int_equal(lti_colour_of(f, LT_MATRIX_BT709, false, &colour, &guessed, NULL), LT_OK);
        assert_int_equal(lti_torgb_run(&t, f, colour, rgb, NULL), LT_OK);
        for (int p = 0; p < 4; p++) expect_pixel(rgb, 64, 16 * p + 8, 30, PATCH[2 + p], 3);
        lti_torgb_close(&t);
        av_frame_free(&f);
    }
}

/* ---- through the reader ------------------------------------------------------------------------
 */

/* The same frames and times by both calls, with and without RGB. */
static void test_same_as_next(void **state) {
    (void)state;
    static uint8_t a[W * H * 3], b[W * H * 3];
    lt_sink_params sp = sink_params(in_dir("v.mp4"));
    write_sink(&sp, 20);
    lt_reader *one = open_path(sp.path), *two = open_path(sp.path);
    lt_picture pic;
    for (int i = 0; i < 20; i++) {
        double ta, tb;
        lt_error err = {0};
        const bool with = i % 3 != 0;
        assert_int_equal(lt_reader_next(one, a, &ta, &err), LT_OK);
        assert_int_equal(lt_reader_picture(two, with ? b : NULL, &pic, &tb, &err), LT_OK);
        assert_true(ta == tb);
        assert_ptr_equal(pic.rgb, with ? b : NULL);
        if (with) assert_memory_equal(a, b, sizeof a);
        assert_true(pic.width == W && pic.height == H && pic.c_width == W / 2);
        for (int k = 0; k < 3; k++) { /* a grey patch: luma 126, no colour; red: 63, 102, 240 */
            static const uint8_t want[2][3] = {{126, 128, 128}, {63, 102, 240}};
            for (int x = 8; x < 32; x += 16) {
                const uint8_t *at = k == 0   ? pic.y + 20 * pic.y_stride + x
                                    : k == 1 ? pic.u + 10 * pic.c_stride + x / 2
                                             : pic.v + 10 * pic.c_stride + x / 2;
                assert_in_range(*at, want[x / 16][k] - 1, want[x / 16][k] + 1);
            }
        }
    }
    assert_int_equal(info_of(two).frames_read, 20);
    assert_int_equal(lt_reader_picture(two, b, &pic, NULL, NULL), LT_END);
    assert_null(pic.y);
    lt_reader_close(&one);
    lt_reader_close(&two);
}

/* Asking in vain neither takes a frame nor spoils the reader. */
static void test_other_size(void **state) {
    (void)state;
    static uint8_t rgb[W * H * 3];
    lt_sink_params sp = sink_params(in_dir("v2.mp4"));
    write_sink(&sp, 3);
    lt_reader_params p = reader_params(sp.path);
    p.width = p.height = 64;
    lt_reader *r = open_ok(&p);
    lt_picture pic;
    lt_error err = {0};
    assert_int_equal(lt_reader_picture(r, rgb, &pic, NULL, &err), LT_EINVAL);
    assert_non_null(strstr(err.msg, "128x64"));
    for (int i = 0; i < 3; i++) next_ok(r, rgb);
    assert_int_equal(lt_reader_next(r, rgb, NULL, NULL), LT_END);
    lt_reader_close(&r);
    p.width = W; /* its own size, said */
    p.height = H;
    r = open_ok(&p);
    assert_int_equal(lt_reader_picture(r, NULL, &pic, NULL, NULL), LT_OK);
    lt_reader_close(&r);
}

static void test_picture_file(void **state) {
    (void)state;
    lt_sink_params sp = sink_params(in_dir("one%d.png"));
    write_sink(&sp, 1);
    lt_reader *r = open_path(in_dir("one0.png"));
    lt_picture pic;
    assert_int_equal(lt_reader_picture(r, NULL, &pic, NULL, NULL), LT_OK);
    assert_true(pic.c_width == W && pic.c_height == H && !pic.full_range && !pic.rgb);
    assert_int_equal(pic.y[20 * pic.y_stride + 8], 126);
    assert_int_equal(pic.u[20 * pic.c_stride + 24], 102);
    assert_int_equal(pic.v[20 * pic.c_stride + 24], 240);
    assert_int_equal(lt_reader_picture(r, NULL, &pic, NULL, NULL), LT_END);
    lt_reader_close(&r);
}

/* The pixel format may change in the middle; size and time go on. */
static void test_format_changes(void **state) {
    (void)state;
    static uint8_t rgb[W * H * 3];
    const movie m = {"turn.mkv",
                     .format = "matroska",
                     .codec = "mjpeg",
                     .w = W,
                     .h = H,
                     .w2 = W,
                     .h2 = H,
                     .pix2 = AV_PIX_FMT_YUVJ444P,
                     .frames = 8,
                     .pix = AV_PIX_FMT_YUVJ420P,
                     .range = AVCOL_RANGE_JPEG,
                     .kr = 0.299,
                     .kb = 0.114};
    lt_reader *r = open_path(make_movie(&m));
    for (int i = 0; i < 8; i++) {
        lt_picture pic;
        double now;
        assert_int_equal(lt_reader_picture(r, rgb, &pic, &now, NULL), LT_OK);
        assert_int_equal(pic.c_width, i < 4 ? W / 2 : W);
        assert_int_equal(pic.c_height, i < 4 ? H / 2 : H);
        assert_true(fabs(now - i / 25.0) < 1e-3);
        assert_in_range(pic.u[20 * pic.c_stride + pic.c_width * 24 / W], 82, 88); /* red: 85 */
        expect_patches(rgb, 6);                                                   /* lossy */
    }
    assert_int_equal(lt_reader_next(r, rgb, NULL, NULL), LT_END);
    lt_reader_close(&r);
}

int main(void) {
    av_log_set_level(AV_LOG_QUIET);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_formats),  cmocka_unit_test(test_zero_copy),
        cmocka_unit_test(test_strides),      cmocka_unit_test(test_of_rgb),
        cmocka_unit_test(test_limited_grey), cmocka_unit_test(test_crop),
        cmocka_unit_test(test_same_as_next), cmocka_unit_test(test_other_size),
        cmocka_unit_test(test_picture_file), cmocka_unit_test(test_format_changes)};
    return cmocka_run_group_tests(tests, setup, teardown);
}

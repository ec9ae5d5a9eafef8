/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_metrics_file.c - lt_metrics_file: the frames that come, in which order and when,
 * which of two files are held against each other, and that no thread outlives the call. */
#include "longtake/metrics.h"
#include "metrics/metrics_int.h"
#include "tests/unit/movie_rig.h"
#include <dirent.h>

#define N 21

/* ---- rig ----------------------------------------------------------------------------------------
 */

/* in_dir's paths do not last. */
static char *keep(const char *path) {
    static char held[16][64];
    static int turn;
    char *p = held[turn++ % 16];
    snprintf(p, sizeof held[0], "%s", path);
    return p;
}

/* Frames paint(0), paint(step), .. through one of our sinks; crf 0 and ffv1 are lossless. */
static char *clip(const char *name, int fps, int count, int step) {
    static uint8_t rgb[H * W * 3];
    lt_error err = {0};
    lt_sink *s = NULL;
    lt_sink_params p = sink_params(in_dir(name));
    p.fps_num = fps;
    if (strstr(name, ".mkv")) p.codec = "ffv1";
    lt_status st = lt_sink_open(&p, &s, &err);
    for (int i = 0; i < count && st == LT_OK; i++) {
        paint(rgb, i * step);
        st = lt_sink_write(s, rgb, i % 8 == 7, &err);
    }
    if (st == LT_OK) st = lt_sink_close(&s, &err);
    if (st != LT_OK) fail_msg("%s: %s", name, err.msg);
    return keep(in_dir(name));
}

static char *movie_of(const movie *m) { return keep(make_movie(m)); }

typedef struct seen { /* by the callback */
    int64_t frames, with_psnr, with_rgb, stop_at;
    double seconds, least_psnr;
} seen;

static int on_frame(void *user, int64_t frame, double seconds, const double *row,
                    const uint8_t *rgb) {
    seen *s = user;
    assert_int_equal(frame, s->frames);
    assert_true(frame ? seconds > s->seconds : fabs(seconds) < 1e-9);
    s->frames++;
    s->seconds = seconds;
    s->with_rgb += rgb != NULL;
    if (!isnan(row[LT_METRIC_PSNR])) {
        s->least_psnr =
            s->with_psnr++ ? fmin(s->least_psnr, row[LT_METRIC_PSNR]) : row[LT_METRIC_PSNR];
        assert_false(isnan(row[LT_METRIC_SSIM]) || isnan(row[LT_METRIC_MS_SSIM]));
    }
    return s->stop_at && frame == s->stop_at;
}

static int threads_now(void) {
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* A joined thread may be listed for a moment longer. */
static void expect_threads(int n) {
    for (int i = 0; i < 2000 && threads_now() > n; i++) usleep(1000);
    assert_int_equal(threads_now(), n);
}

static lt_metrics_file_params params(const char *ref) {
    lt_metrics_file_params p;
    lt_metrics_file_params_init(&p);
    p.ref = ref;
    return p;
}

static lt_metrics_file_info run_ok(const char *path, const lt_metrics_file_params *p, seen *s,
                                   lt_metrics **m) {
    lt_error err = {0};
    lt_metrics_file_info info = {.struct_size = sizeof info};
    const int before = threads_now();
    *s = (seen){0};
    if (lt_metrics_file(path, p, on_frame, s, &info, m, &err) != LT_OK)
        fail_msg("%s: %s", path, err.msg);
    expect_threads(before);
    return info;
}

/* Both as they are: pairs compared, frames of the file, the worst psnr. */
static void expect(const char *path, const char *ref, int shortest, int pairs, int frames,
                   double psnr) {
    seen s;
    lt_metrics *m = NULL;
    lt_metrics_file_params p = params(ref);
    p.shortest = shortest;
    p.want = LT_METRICS_REF;
    const lt_metrics_file_info info = run_ok(path, &p, &s, &m);
    lt_metric_summary sum;
    lt_metrics_summary_of(m, LT_METRIC_PSNR, &sum, sizeof sum);
    if (info.ref_frames != pairs || s.with_psnr != pairs || sum.n != pairs || s.frames != frames)
        fail_msg("%s, %s: %d compared, %d with psnr of %d, expected %d of %d", path, ref,
                 (int)info.ref_frames, (int)s.with_psnr, (int)s.frames, pairs, frames);
    if (!(s.least_psnr >= psnr)) fail_msg("%s, %s: psnr %g", path, ref, s.least_psnr);
    assert_int_equal(info.have, LT_METRICS_REF);
    assert_int_equal(lt_metrics_frames(m), frames);
    lt_metrics_close(&m);
}

/* Refused with one line that has all words, and no thread stays. */
static void expect_refusal(const char *path, const lt_metrics_file_params *p, lt_status want,
                           const char *word, const char *word2) {
    lt_error err = {0};
    lt_metrics_file_info info = {.struct_size = sizeof info};
    lt_metrics *m = (lt_metrics *)&err; /* must be overwritten */
    const int before = threads_now();
    seen s = {0};
    const lt_status st = lt_metrics_file(path, p, on_frame, &s, &info, &m, &err);
    if (st != want || !strstr(err.msg, word) || !strstr(err.msg, word2))
        fail_msg("%s: status %d, expected %d with '%s' '%s': %s", path, st, want, word, word2,
                 err.msg);
    assert_null(strchr(err.msg, '\n'));
    assert_null(m);
    expect_threads(before);
}

static void refuse_pair(const char *path, const char *ref, const char *word, const char *word2) {
    const lt_metrics_file_params p = params(ref);
    expect_refusal(path, &p, LT_EINVAL, word, word2);
}

/* ---- one file -----------------------------------------------------------------------------------
 */

static void test_one_file(void **state) {
    (void)state;
    const char *name[] = {"one.mp4", "one.mkv", "one.y4m"};
    for (int k = 0; k < 3; k++) {
        const char *path = clip(name[k], 16, N, 1);
        seen s;
        lt_metrics *m = NULL;
        const lt_metrics_file_info i = run_ok(path, NULL, &s, &m);
        assert_int_equal(s.frames, N);
        assert_int_equal(s.with_rgb, N); /* flicker needs it */
        assert_int_equal(s.with_psnr, 0);
        assert_int_equal(i.video.frames_read, N);
        assert_int_equal(i.video.width, W);
        assert_int_equal(i.ref_frames, 0);
        assert_int_equal(i.have & LT_METRICS_REF, 0);
        assert_true(i.have & LT_METRIC_BIT(LT_METRIC_FLICKER));
        assert_true(fabs(lt_metrics_seconds(m) - (N - 1) / 16.0) < 2e-3);
        lt_metric_summary sum;
        lt_metrics_summary_of(m, LT_METRIC_FLICKER, &sum, sizeof sum);
        assert_int_equal(sum.n, N - 1);
        lt_metrics_close(&m);
    }
}

static void expect_plane(const uint8_t *a, ptrdiff_t as, const uint8_t *b, ptrdiff_t bs, int w,
                         int h) {
    for (int y = 0; y < h; y++) assert_memory_equal(a + y * as, b + y * bs, (size_t)w);
}

static void expect_frame(const lti_frame *f, const lt_picture *want, double seconds) {
    const lt_picture *p = &f->pic;
    assert_true(fabs(f->seconds - seconds) < 1e-9);
    assert_memory_equal(p->rgb, want->rgb, H * W * 3);
    expect_plane(p->y, p->y_stride, want->y, want->y_stride, W, H);
    assert_int_equal(p->c_width, W / 2);
    assert_int_equal(p->c_height, H / 2);
    expect_plane(p->u, p->c_stride, want->u, want->c_stride, W / 2, H / 2);
    expect_plane(p->v, p->c_stride, want->v, want->c_stride, W / 2, H / 2);
}

/* What the thread hands over is what the reader says, whether the caller is slow or fast. */
static void test_source(void **state) {
    (void)state;
    static uint8_t rgb[H * W * 3];
    const char *path = clip("source.mp4", 16, N, 1);
    const lt_reader_params p = reader_params(path);
    for (int slow = 0; slow < 2; slow++) {
        lti_source *s = NULL;
        const lti_frame *f = NULL;
        lt_reader *r = open_ok(&p);
        assert_int_equal(lti_source_open(&p, true, &s, NULL), LT_OK);
        for (int i = 0; i < N; i++) {
            lt_picture want;
            double seconds = 0;
            assert_int_equal(lti_source_next(s, &f, NULL), LT_OK);
            if (slow) usleep(2000);
            assert_int_equal(lt_reader_picture(r, rgb, &want, &seconds, NULL), LT_OK);
            expect_frame(f, &want, seconds);
        }
        for (int i = 0; i < 3; i++) assert_int_equal(lti_source_next(s, &f, NULL), LT_END);
        assert_int_equal(lti_source_info(s)->frames_read, N);
        lti_source_close(&s);
        assert_null(s);
        lti_source_close(&s);
        lt_reader_close(&r);
    }
}

static void test_rgb_only_when_asked_for(void **state) {
    (void)state;
    const char *path = clip("rgb.y4m", 16, 5, 1);
    seen s;
    lt_metrics *m = NULL;
    lt_metrics_file_params p = params(NULL);
    p.want = LT_METRIC_BIT(LT_METRIC_LUMA);
    run_ok(path, &p, &s, &m);
    assert_int_equal(s.with_rgb, 0);
    lt_metrics_close(&m);
    p.rgb = 1;
    run_ok(path, &p, &s, &m);
    assert_int_equal(s.with_rgb, 5);
    lt_metrics_close(&m);
    assert_int_equal(lt_metrics_file(path, &p, NULL, NULL, NULL, NULL, NULL), LT_OK);
}

static lt_metrics_file_info chunks_of(const char *chunk, const char *first, int32_t p_chunk,
                                      int32_t p_first) {
    const lt_sink_meta meta[] = {{"chunk_frames", chunk}, {"first_chunk_frames", first}};
    lt_sink_params sp = sink_params(in_dir("chunks.mkv"));
    sp.meta = meta;
    sp.n_meta = 2;
    write_sink(&sp, 4);
    seen s;
    lt_metrics *m = NULL;
    lt_metrics_file_params p = params(NULL);
    p.chunk = p_chunk;
    p.first_chunk = p_first;
    const lt_metrics_file_info i = run_ok(sp.path, &p, &s, &m);
    lt_metrics_close(&m);
    return i;
}

static void test_chunks(void **state) {
    (void)state;
    static const struct {
        const char *chunk, *first;
        int32_t p_chunk, p_first, want, want_first;
    } of[] = {
        {"12", "9", 0, 0, 12, 9},        {"12", "9", 7, 0, 7, 0},
        {"12", "9", 7, 3, 7, 3},         {"12", "9", 0, 4, 12, 4},
        {"12", "x", 0, 0, 12, 0},        {"", "9", 0, 0, 0, 0},
        {"12 ", "9", 0, 0, 0, 0},        {"-12", "9", 0, 0, 0, 0},
        {"4294967308", "9", 0, 0, 0, 0}, {"1000000", "1000001", 0, 0, 1000000, 0},
    };
    for (size_t k = 0; k < sizeof of / sizeof *of; k++) {
        const lt_metrics_file_info i =
            chunks_of(of[k].chunk, of[k].first, of[k].p_chunk, of[k].p_first);
        assert_int_equal(i.chunk, of[k].want);
        assert_int_equal(i.first_chunk, of[k].want_first);
    }
}

/* ---- two files ----------------------------------------------------------------------------------
 */

static void test_containers(void **state) {
    (void)state;
    const char *name[] = {"c.mp4", "c.mkv", "c.y4m"};
    for (int fps = 16; fps < 32; fps += 14) /* 30: Matroska rounds 33.3 to whole milliseconds */
        for (int k = 0; k < 9; k++) {
            char other[32];
            snprintf(other, sizeof other, "other%s", name[k / 3] + 1);
            expect(clip(name[k % 3], fps, N, 1), clip(other, fps, N, 1), 0, N, N, 100);
        }
    const char *moved = clip("moved.mkv", 16, N, 2);
    const char *path = clip("a.mkv", 16, N, 1);
    expect(path, moved, 0, N, N, 10);
    seen s;
    lt_metrics *m = NULL;
    const lt_metrics_file_params p = params(moved);
    run_ok(path, &p, &s, &m);
    assert_true(s.least_psnr < 40); /* frame 0 is equal, the others are not */
    lt_metrics_close(&m);
}

static void test_rates(void **state) {
    (void)state;
    char *slow = clip("slow.mkv", 16, N, 6), *same = clip("same.y4m", 16, N, 6);
    char *two = clip("two.mp4", 32, 2 * N, 3);
    expect(slow, two, 0, N, N, 100);     /* every second frame of the reference */
    expect(two, slow, 0, N, 2 * N, 100); /* every second frame of the file */
    expect(same, two, 0, N, N, 100);
    char *three = clip("three.mkv", 48, 3 * N, 2);
    expect(slow, three, 0, N, N, 100);
    expect(three, same, 0, N, 3 * N, 100);
    expect(clip("film.y4m", 24, N, 6), clip("film.mkv", 120, 5 * N, 1), 0, N, N, 10);
    refuse_pair(two, three, "32 frames/s", "(48)");
    refuse_pair(three, two, "48 frames/s", "(32)");
    refuse_pair(slow, clip("pal.mkv", 25, N, 6), "whole multiple", "at 0.063 s");
    refuse_pair(clip("mp.mp4", 24, N, 6), clip("pal2.y4m", 25, N, 6), "(24 frames/s)",
                "at 0.080 s");
}

static void test_lengths(void **state) {
    (void)state;
    const char *name[] = {"l.mp4", "l.mkv", "l.y4m"};
    for (int k = 0; k < 3; k++) {
        char other[32];
        snprintf(other, sizeof other, "more%s", name[k] + 1);
        char *less = clip(name[k], 16, 7, 1), *more = clip(other, 16, 30, 1);
        refuse_pair(less, more, "has 7 frames", " 30 (16)");
        refuse_pair(more, less, "has 30 frames", " 7 (16)");
        expect(less, more, 1, 7, 7, 100);
        expect(more, less, 1, 7, 7, 100);
    }
    char *one = clip("one_frame.y4m", 16, 1, 1), *two = clip("two_frames.y4m", 16, 2, 1);
    refuse_pair(one, two, "has 1 frames", " 2 (16)");
    refuse_pair(two, one, "has 2 frames", " 1 (16)");
    expect(one, one, 0, 1, 1, 100);
    /* twice the rate: the last frame may be shown half as long, and no longer */
    char *fast = clip("fast.y4m", 32, 59, 1);
    refuse_pair(clip("l30.y4m", 16, 31, 2), fast, "has 31 frames", " 59 (32)");
    expect(clip("l30.y4m", 16, 30, 2), fast, 0, 30, 30, 100);
    refuse_pair(clip("l29.y4m", 16, 29, 2), fast, "has 29 frames", " 59 (32)");
}

static void test_pictures(void **state) {
    (void)state;
    clip("p%02d.png", 16, 2, 9);
    char *first = keep(in_dir("p00.png")), *second = keep(in_dir("p01.png"));
    expect(first, first, 0, 1, 1, 100);
    expect(first, second, 0, 1, 1, 10);
    expect(first, clip("one.y4m", 16, 1, 1), 0, 1, 1, 20); /* 4:4:4 against 4:2:0 */
    refuse_pair(clip("two.y4m", 16, 2, 1), first, "2 frames", " 1 (0)");
}

static void test_sizes(void **state) {
    (void)state;
    movie m = {"big.mkv", "matroska", "ffv1", .pix = AV_PIX_FMT_YUV420P, .w = 98, .h = 66};
    m.frames = 3;
    m.kr = 0.2126;
    m.kb = 0.0722;
    refuse_pair(clip("s.mkv", 25, 3, 1), movie_of(&m), "128x64", "98x66");
}

/* ---- time stamps --------------------------------------------------------------------------------
 */

static movie flat_movie(const char *name, int frames, int uneven) {
    return (movie){.name = name,
                   .format = strstr(name, ".mp4") ? "mp4" : "matroska",
                   .codec = strstr(name, ".mp4") ? "mpeg4" : "ffv1",
                   .pix = AV_PIX_FMT_YUV420P,
                   .space = AVCOL_SPC_BT709,
                   .w = 64,
                   .h = 32,
                   .frames = frames,
                   .kr = 0.2126,
                   .kb = 0.0722,
                   .uneven = uneven};
}

static void test_variable_rate(void **state) {
    (void)state;
    /* 9 frames at 0 1 2, 5 6 7, 10 11 12 of 25 a second */
    const movie uneven = flat_movie("uneven.mkv", 9, 1), gap = flat_movie("uneven.mp4", 9, 1);
    const movie even = flat_movie("even.mkv", 13, 0), shorter = flat_movie("shorter.mkv", 10, 0);
    char *a = movie_of(&uneven), *b = movie_of(&gap), *all = movie_of(&even);
    char *less = movie_of(&shorter);
    expect(a, b, 0, 9, 9, 30);
    expect(a, all, 0, 9, 9, 100);
    expect(all, a, 0, 9, 13, 100);
    refuse_pair(a, less, "has 9 frames", " 10 (25)");
    movie wide = flat_movie("wide.mkv", 9, 1);
    wide.w = W;
    wide.h = H;
    refuse_pair(movie_of(&wide), clip("r20.mkv", 20, 11, 1), "at 0.040 s only the first",
                "at 0.050 s only the second");
    seen s;
    lt_metrics *m = NULL;
    const lt_metrics_file_info i = run_ok(a, NULL, &s, &m);
    assert_true(i.video.variable_rate);
    assert_true(fabs(s.seconds - 12 / 25.0) < 2e-3);
    lt_metrics_close(&m);
}

/* ---- layouts ------------------------------------------------------------------------------------
 */

static lt_picture layout(const uint8_t *buf, int w, int h, int sx, int sy, int full) {
    const int cw = (w + (1 << sx) - 1) >> sx, ch = (h + (1 << sy) - 1) >> sy;
    return (lt_picture){.width = w,
                        .height = h,
                        .y = buf,
                        .u = buf + w * h,
                        .v = buf + w * h + cw * ch,
                        .y_stride = w,
                        .c_stride = cw,
                        .c_width = cw,
                        .c_height = ch,
                        .full_range = full};
}

/* Chroma of u = 40 + 2 x + y at sample x, y of the luma grid, v flat 200: what a linear filter
 * gives is known wherever it does not reach over the border. Left: sample i lies at i << sx; down
 * it lies in the middle of its cell. */
static void ramp(uint8_t *buf, int w, int h, int sx, int sy) {
    const lt_picture p = layout(buf, w, h, sx, sy, 0);
    memset(buf, 90, (size_t)w * (size_t)h);
    memset(buf + (p.v - buf), 200, (size_t)p.c_width * (size_t)p.c_height);
    for (int y = 0; y < p.c_height; y++)
        for (int x = 0; x < p.c_width; x++) {
            const double at_y = ((y + 0.5) * (1 << sy)) - 0.5;
            buf[w * h + y * p.c_width + x] = (uint8_t)lround(40 + 2 * (x << sx) + at_y);
        }
}

static void test_chroma_layouts(void **state) {
    (void)state;
    enum { RW = 45, RH = 27 };
    static uint8_t from[3 * RW * RH], to[3 * RW * RH];
    static const int shift[][2] = {{0, 0}, {1, 0}, {1, 1}, {2, 0}, {2, 2}, {0, 1}, {3, 3}};
    lti_match m = {0};
    for (int k = 0; k < 49; k++) {
        const int *a = shift[k / 7], *b = shift[k % 7];
        const lt_picture like = layout(to, RW, RH, b[0], b[1], 0);
        const lt_picture in = layout(from, RW, RH, a[0], a[1], 0);
        lt_picture out;
        ramp(from, RW, RH, a[0], a[1]);
        ramp(to, RW, RH, b[0], b[1]);
        assert_int_equal(lti_match_run(&m, &like, &in, &out, NULL), LT_OK);
        assert_ptr_equal(out.y, from);
        assert_int_equal(out.c_width, like.c_width);
        assert_int_equal(out.c_height, like.c_height);
        if (k / 7 == k % 7) assert_ptr_equal(out.u, in.u);
        const int mx = 1 + (8 >> b[0]), my = 1 + (8 >> b[1]); /* reach over the border */
        for (int y = 0; y < out.c_height; y++)
            for (int x = 0; x < out.c_width; x++) {
                const int u = out.u[y * out.c_stride + x], want = like.u[y * like.c_stride + x];
                assert_int_equal(out.v[y * out.c_stride + x], 200);
                const bool inside =
                    x >= mx && y >= my && x < out.c_width - mx - 1 && y < out.c_height - my - 1;
                if (inside && abs(u - want) > 1)
                    fail_msg("%d%d to %d%d at %d,%d: %d, expected %d", a[0], a[1], b[0], b[1], x, y,
                             u, want);
            }
    }
    lti_match_close(&m);
}

static void test_grey_and_range(void **state) {
    (void)state;
    static uint8_t buf[3 * 64], like_buf[3 * 64];
    for (int i = 0; i < 64; i++) {
        buf[i] = (uint8_t)(4 * i);
        buf[64 + i] = buf[128 + i] = (uint8_t)(3 * i + 16);
    }
    const lt_picture colour = layout(buf, 8, 8, 0, 0, 0);
    lt_picture grey = colour, out;
    grey.u = grey.v = NULL;
    lti_match m = {0};
    assert_int_equal(lti_match_run(&m, &grey, &colour, &out, NULL), LT_OK);
    assert_true(out.y == buf && !out.u && !out.v);
    assert_int_equal(lti_match_run(&m, &colour, &grey, &out, NULL), LT_OK);
    for (int i = 0; i < 64; i++) assert_true(out.u[i] == 128 && out.v[i] == 128);
    for (int full = 0; full < 2; full++) {
        const lt_picture like = layout(like_buf, 8, 8, 0, 0, full);
        const lt_picture in = layout(buf, 8, 8, 0, 0, !full);
        assert_int_equal(lti_match_run(&m, &like, &in, &out, NULL), LT_OK);
        assert_int_equal(out.full_range, full);
        for (int i = 0; i < 64; i++) {
            const double y = full ? (buf[i] - 16) * 255 / 219.0 : 16 + buf[i] * 219 / 255.0;
            const double c = (buf[64 + i] - 128) * (full ? 255 / 224.0 : 224 / 255.0) + 128;
            assert_int_equal(out.y[i], lround(fmin(255, fmax(0, y))));
            assert_int_equal(out.u[i], lround(fmin(255, fmax(0, c))));
            assert_int_equal(out.v[i], out.u[i]);
        }
    }
    lti_match_close(&m);
}

/* The same patches, 4:4:4 full range and 4:2:0 limited. */
static void test_layouts_of_files(void **state) {
    (void)state;
    movie fine = flat_movie("fine.mkv", 4, 0), grey = flat_movie("grey.mkv", 4, 0);
    const movie coarse = flat_movie("coarse.mkv", 4, 0);
    fine.pix = AV_PIX_FMT_YUV444P;
    fine.range = AVCOL_RANGE_JPEG;
    grey.pix = AV_PIX_FMT_GRAY8;
    grey.range = AVCOL_RANGE_JPEG; /* libav's grey always is */
    char *a = movie_of(&fine), *b = movie_of(&coarse), *c = movie_of(&grey);
    expect(a, b, 0, 4, 4, 20); /* the borders of the patches blur */
    expect(b, a, 0, 4, 4, 20);
    expect(c, b, 0, 4, 4, 40); /* grey: luma alone */
    expect(b, c, 0, 4, 4, 10);
}

/* ---- ends ---------------------------------------------------------------------------------------
 */

static void test_cancel(void **state) {
    (void)state;
    char *path = clip("cancel.mkv", 16, 60, 1);
    for (int k = 0; k < 6; k++) {
        lt_error err = {0};
        lt_metrics *m = NULL;
        lt_metrics_file_params p = params(k % 2 ? path : NULL);
        seen s = {.stop_at = k / 2 * 29 + 1};
        p.threads = 1 + k % 3;
        const int before = threads_now();
        assert_int_equal(lt_metrics_file(path, &p, on_frame, &s, NULL, &m, &err), LT_ECANCELLED);
        assert_int_equal(s.frames, s.stop_at + 1);
        assert_null(m);
        assert_non_null(strstr(err.msg, "cancelled"));
        expect_threads(before);
    }
}

static void test_damaged(void **state) {
    (void)state;
    char *good = clip("good.y4m", 16, 12, 1);
    size_t n = 0;
    uint8_t *data = read_file(good, &n);
    char *cut = keep(in_dir("cut.y4m"));
    write_file(cut, data, n * 3 / 4 + 100);
    free(data);
    const lt_metrics_file_params alone = params(NULL), to_cut = params(cut), to_good = params(good);
    expect_refusal(cut, &alone, LT_EFORMAT, "cut.y4m", "too early");
    expect_refusal(good, &to_cut, LT_EFORMAT, "cut.y4m", "too early");
    expect_refusal(cut, &to_good, LT_EFORMAT, "cut.y4m", "too early");
    lt_metrics_file_params p = params(good);
    p.accept_cut = p.shortest = 1;
    seen s;
    lt_metrics *m = NULL;
    const lt_metrics_file_info i = run_ok(cut, &p, &s, &m);
    assert_int_equal(i.ref_frames, 9);
    assert_true(i.video.cut_short);
    assert_true(s.least_psnr >= 100);
    lt_metrics_close(&m);
}

static void test_bad_parameters(void **state) {
    (void)state;
    char *good = clip("ok.y4m", 16, 3, 1);
    lt_metrics_file_params p = params(NULL);
    expect_refusal("", &p, LT_EINVAL, "path is empty", "");
    expect_refusal(NULL, &p, LT_EINVAL, "path is empty", "");
    expect_refusal(in_dir("none.mp4"), &p, LT_EIO, "none.mp4", "");
    p.want = LT_METRIC_BIT(LT_METRIC_COUNT);
    expect_refusal(good, &p, LT_EINVAL, "metrics wanted", "");
    p.want = LT_METRIC_BIT(LT_METRIC_SSIM);
    expect_refusal(good, &p, LT_EINVAL, "need a reference", "");
    p = params(good);
    p.want = LT_METRIC_BIT(LT_METRIC_LUMA);
    expect_refusal(good, &p, LT_EINVAL, "none of psnr", "");
    p = params("");
    expect_refusal(good, &p, LT_EINVAL, "reference: the path is empty", "");
    p = params(in_dir("none.mp4"));
    expect_refusal(good, &p, LT_EIO, "none.mp4", "");
    p = params(NULL);
    p.chunk = -1;
    expect_refusal(good, &p, LT_EINVAL, "-1 frames per chunk", "");
    p = params(NULL);
    p.threads = -1;
    expect_refusal(good, &p, LT_EINVAL, "decoder threads", "");
    char *text = keep(in_dir("text.mp4"));
    write_file(text, "no video at all\n", 16);
    p = params(text);
    expect_refusal(good, &p, LT_EFORMAT, "text.mp4", "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_file),
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_rgb_only_when_asked_for),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_containers),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_variable_rate),
        cmocka_unit_test(test_chroma_layouts),
        cmocka_unit_test(test_grey_and_range),
        cmocka_unit_test(test_layouts_of_files),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_bad_parameters),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_reader_bad.c - the frame reader on a corpus of every kind of container: whole,
 * one frame, no frame, odd sizes, cut anywhere, bits flipped, bytes overwritten. What it gives of
 * a cut file is what the whole one gave, bit for bit; the rest must end, with one line of text. */
#include "tests/unit/movie_rig.h"
#include <time.h>

#define SMALL .w = 64, .h = 48, .frames = 10, .moving = 1, .kr = 0.299, .kb = 0.114

static const movie CORPUS[] = {
    {"mpeg4.mp4", .format = "mp4", .codec = "mpeg4", SMALL},
    {"fields.ts", .format = "mpegts", .codec = "mpeg2video", .interlaced = 1, SMALL},
    {"jpeg.avi", .format = "avi", .codec = "mjpeg", .pix = AV_PIX_FMT_YUVJ420P, SMALL},
    {"mpeg4.avi", .format = "avi", .codec = "mpeg4", SMALL},
    {"ffv1.mkv", .format = "matroska", .codec = "ffv1", .pix = AV_PIX_FMT_YUVA420P, SMALL},
    {"vp8.webm", .format = "webm", .codec = "libvpx", SMALL},
    {"vfr.mkv", .format = "matroska", .codec = "mpeg4", .uneven = 1, SMALL},
    {"anim.gif", .format = "gif", .codec = "gif", .pix = AV_PIX_FMT_GRAY8, SMALL},
    {"prores.mov", .format = "mov", .codec = "prores_ks", .pix = AV_PIX_FMT_YUV422P10, SMALL},
    {"raw.nut", .format = "nut", .codec = "rawvideo", .pix = AV_PIX_FMT_YUYV422, SMALL},
    {"flash.flv", .format = "flv", .codec = "flv", SMALL},
};
static const char *const OURS[] = {"x264.mp4", "x264.mkv", "plain.y4m", "still%d.png"};
enum { MOVIES = sizeof CORPUS / sizeof *CORPUS, FILES = MOVIES + sizeof OURS / sizeof *OURS };

/* File k of the corpus, written anew; *frames: how many it has. */
static const char *make_file(int k, int *frames) {
    if (k < MOVIES) {
        *frames = CORPUS[k].frames;
        return make_movie(&CORPUS[k]);
    }
    lt_sink_params sp = sink_params(in_dir(OURS[k - MOVIES]));
    const bool png = k == FILES - 1;
    *frames = png ? 1 : 10;
    write_sink(&sp, *frames);
    return png ? in_dir("still0.png") : sp.path;
}

/* ---- reading to the end ------------------------------------------------------------------------
 */

typedef struct outcome {
    lt_status st;
    lt_error err;
    int n;
    uint64_t hash[64]; /* of each frame: RGB, then luma */
} outcome;

static uint64_t hash_of(uint64_t h, const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 1099511628211u;
    return h;
}

static outcome read_all(const char *path, int accept_cut) {
    enum { SIDE = 1024 };
    static uint8_t rgb[SIDE * SIDE * 3];
    lt_reader_params p = reader_params(path);
    p.accept_cut = accept_cut;
    lt_reader *r = NULL;
    outcome o = {0};
    o.st = lt_reader_open(&p, &r, &o.err);
    assert_true((o.st == LT_OK) == (r != NULL));
    const lt_reader_info i = r ? info_of(r) : (lt_reader_info){0};
    uint8_t *out = i.width <= SIDE && i.height <= SIDE ? rgb : NULL;
    lt_picture pic;
    while (o.st == LT_OK && (o.st = lt_reader_picture(r, out, &pic, NULL, &o.err)) == LT_OK) {
        assert_true(pic.y && pic.width == i.width && pic.height == i.height);
        assert_true(!pic.u == !pic.v);
        if (o.n == 64) fail_msg("%s: more frames than were ever in it", path);
        uint64_t h = out ? hash_of(1, rgb, (size_t)i.width * (size_t)i.height * 3) : 0;
        for (int y = 0; y < pic.height && out; y++)
            h = hash_of(h, pic.y + y * pic.y_stride, (size_t)pic.width);
        o.hash[o.n++] = h;
    }
    assert_true(o.st == LT_END || o.st < 0);
    if ((o.st < 0) != (o.err.msg[0] != 0) || strchr(o.err.msg, '\n') ||
        (o.st == LT_END && o.n == 0))
        fail_msg("%s: status %d after %d frames: '%s'", path, o.st, o.n, o.err.msg);
    lt_reader_close(&r);
    return o;
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- correct results ---------------------------------------------------------------------------
 */

static void test_whole(void **state) {
    (void)state;
    for (int k = 0; k < FILES; k++) {
        int frames;
        const char *path = make_file(k, &frames);
        const outcome o = read_all(path, 0);
        if (o.st != LT_END || o.n != frames)
            fail_msg("%s: %d of %d frames: %s", path, o.n, frames, o.err.msg);
        for (int i = 1; i < o.n; i++) assert_true(o.hash[i] != o.hash[i - 1]);
    }
}

static void test_one_frame(void **state) {
    (void)state;
    for (int k = 0; k < MOVIES; k++) {
        movie m = CORPUS[k];
        m.frames = 1;
        m.w = 720, m.h = 576; /* libav does not recognise a transport stream of 6 packets */
        const outcome o = read_all(make_movie(&m), 0);
        if (o.st != LT_END || o.n != 1) fail_msg("%s: %d frames: %s", m.name, o.n, o.err.msg);
    }
}

static void test_no_frame(void **state) {
    (void)state;
    int files = 0;
    for (int k = 0; k < MOVIES; k++) {
        movie m = CORPUS[k];
        m.no_frames = 1;
        if (strcmp(m.format, "gif") == 0 || m.interlaced) continue; /* these write nothing then */
        const outcome o = read_all(make_movie(&m), 0);
        if (o.st != LT_EFORMAT ||
            !(strstr(o.err.msg, "no frame") || strstr(o.err.msg, "no video") ||
              strstr(o.err.msg, "not a video")))
            fail_msg("%s: status %d: %s", m.name, o.st, o.err.msg);
        files++;
    }
    assert_true(files >= 8);
}

/* Sizes that no chroma block divides, and one pixel. */
static void test_odd_sizes(void **state) {
    (void)state;
    static const int size[][2] = {{33, 17}, {1, 1}, {7, 64}, {64, 3}};
    static const enum AVPixelFormat pix[] = {AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUV410P,
                                             AV_PIX_FMT_YUV422P10, AV_PIX_FMT_BGR0};
    for (int k = 0; k < 16; k++) {
        const int *s = size[k / 4];
        const movie m = {"odd.mkv",   .format = "matroska", .codec = "ffv1", .w = s[0],  .h = s[1],
                         .frames = 2, .pix = pix[k % 4],    .kr = 0.299,     .kb = 0.114};
        static uint8_t rgb[64 * 64 * 3];
        lt_reader *r = open_path(make_movie(&m));
        lt_picture pic;
        assert_int_equal(lt_reader_picture(r, rgb, &pic, NULL, NULL), LT_OK);
        const int cw[] = {2, 4, 2, 1}, ch[] = {2, 4, 1, 1};
        assert_true(pic.width == s[0] && pic.height == s[1]);
        assert_int_equal(pic.c_width, (s[0] + cw[k % 4] - 1) / cw[k % 4]);
        assert_int_equal(pic.c_height, (s[1] + ch[k % 4] - 1) / ch[k % 4]);
        assert_in_range(pic.y[0], 125, 127); /* the first patch is grey */
        lt_reader_close(&r);
    }
}

/* Coded as fields: said, and each frame is whole. */
static void test_interlaced(void **state) {
    (void)state;
    lt_reader *r = open_path(make_movie(&CORPUS[1]));
    next_ok(r, NULL);
    assert_true(info_of(r).interlaced);
    assert_int_equal(info_of(r).height, 48);
    lt_reader_close(&r);
}

/* The shape of a pixel is still known when the last frame is gone. */
static void test_pixel_shape(void **state) {
    (void)state;
    const char *file = "YUV4MPEG2 W2 H2 F25:1 Ip A4:3 C420mpeg2\nFRAME\n\x10\x10\x10\x10\x80\x80";
    write_file(in_dir("shape.y4m"), file, strlen(file));
    lt_reader *r = open_path(in_dir("shape.y4m"));
    next_ok(r, NULL);
    assert_int_equal(lt_reader_next(r, NULL, NULL, NULL), LT_END);
    assert_true(info_of(r).sar_num == 4 && info_of(r).sar_den == 3);
    lt_reader_close(&r);
}

/* ---- cut files ---------------------------------------------------------------------------------
 */

static bool among(const outcome *all, uint64_t hash) {
    for (int i = 0; i < all->n; i++)
        if (all->hash[i] == hash) return true;
    return false;
}

static void test_cut_anywhere(void **state) {
    (void)state;
    enum { CUTS = 32 };
    for (int k = 0; k < FILES; k++) {
        int frames, most = 0;
        const char *path = make_file(k, &frames), *cut = in_dir("cut");
        const outcome all = read_all(path, 0);
        size_t n;
        uint8_t *data = read_file(path, &n);
        for (size_t c = 0; c < CUTS; c++) {
            write_file(cut, data, c == 0 ? n - 1 : n * c / CUTS);
            const outcome strict = read_all(cut, 0), kept = read_all(cut, 1);
            for (int i = 0; i < strict.n; i++)
                if (!among(&all, strict.hash[i])) fail_msg("%s: frame %d is spoilt", path, i);
            /* accepting a cut changes how it ends, not what comes */
            assert_int_equal(kept.n, strict.n);
            assert_memory_equal(kept.hash, strict.hash, sizeof kept.hash);
            if (strict.n > most) most = strict.n;
            if (strict.st < 0 && strict.st != LT_EFORMAT && strict.st != LT_EUNSUPPORTED)
                fail_msg("%s: status %d: %s", path, strict.st, strict.err.msg);
        }
        free(data);
        const char *ext = strrchr(path, '.');
        const bool index_last = strcmp(ext, ".png") == 0 || strcmp(ext, ".mov") == 0;
        if (!index_last && most < frames - 1) fail_msg("%s: at most %d frames", path, most);
    }
}

/* ---- damaged files -----------------------------------------------------------------------------
 */

static uint32_t next_random(uint32_t *rng) {
    *rng = *rng * 1664525u + 1013904223u;
    return *rng >> 8;
}

/* Mutant i of n bytes: some bits, some bytes, or zeros; every other one in the headers. */
static void mutate(uint8_t *data, size_t n, int i, uint32_t *rng) {
    const size_t range = i % 2 && n > 512 ? 512 : n;
    for (int hit = 0; hit <= i % 4; hit++) {
        const size_t at = next_random(rng) % range;
        for (size_t k = at; k < n && k < at + (i % 3 ? 4 : 1); k++)
            data[k] = i % 3 == 0   ? data[k] ^ (uint8_t)(1u << (next_random(rng) & 7))
                      : i % 3 == 1 ? (uint8_t)next_random(rng)
                      : i % 6 == 2 ? 0
                                   : 0xff;
    }
}

static void test_mutants(void **state) {
    (void)state;
    enum { MUTANTS = 40 };
    uint32_t rng = 1;
    int read = 0, refused_n = 0;
    for (int k = 0; k < FILES; k++) {
        int frames;
        const char *path = make_file(k, &frames), *mutant = in_dir("mutant");
        size_t n;
        uint8_t *data = read_file(path, &n), *copy = malloc(n);
        for (int i = 0; i < MUTANTS; i++) {
            memcpy(copy, data, n);
            mutate(copy, n, i, &rng);
            write_file(mutant, copy, n);
            const double start = seconds_now();
            const outcome o = read_all(mutant, i & 1);
            if (seconds_now() - start > 5) fail_msg("%s, mutant %d: hangs", path, i);
            read += o.st == LT_END;
            refused_n += o.st < 0;
        }
        free(data);
        free(copy);
    }
    assert_true(read > FILES * MUTANTS / 8 && refused_n > FILES * MUTANTS / 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),        cmocka_unit_test(test_one_frame),
        cmocka_unit_test(test_no_frame),     cmocka_unit_test(test_odd_sizes),
        cmocka_unit_test(test_interlaced),   cmocka_unit_test(test_pixel_shape),
        cmocka_unit_test(test_cut_anywhere), cmocka_unit_test(test_mutants)};
    return cmocka_run_group_tests(tests, setup, teardown);
}

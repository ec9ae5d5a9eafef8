/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_reader.c - the frame reader on what our sinks wrote, on files made with libav by
 * the textbook colour formulas, and on damaged and foreign files. */
#include "tests/unit/movie_rig.h"
#include <sys/stat.h>

/* ---- what our sinks wrote ----------------------------------------------------------------------
 */

static void test_round_trip(void **state) {
    (void)state;
    const struct {
        const char *name, *codec;
        int counted; /* the container knows how many */
    } kind[] = {{"a.mp4", NULL, 1}, {"a.mkv", NULL, 0}, {"f.mkv", "ffv1", 0}, {"a.y4m", NULL, 1}};
    static uint8_t rgb[H * W * 3], want[H * W * 3];
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) {
        lt_sink_params sp = sink_params(in_dir(kind[k].name));
        sp.codec = kind[k].codec;
        write_sink(&sp, 21);
        lt_reader_params rp = reader_params(sp.path);
        rp.threads = 1 + (int)k % 3;
        lt_reader *r = open_ok(&rp);
        lt_error err = {0};
        for (int i = 0; i < 21; i++) {
            double seconds = -1;
            if (lt_reader_next(r, rgb, &seconds, &err) != LT_OK) fail_msg("%s", err.msg);
            assert_true(fabs(seconds - i / 16.0) < 1e-3);
            expect_patches(rgb, 2);
            paint(want, i);
            const int at = i * 4 % (W - 16);
            expect_pixel(rgb, W, at + 8, 56, &want[(56 * W + at + 8) * 3], 2);
        }
        assert_int_equal(lt_reader_next(r, rgb, NULL, &err), LT_END);
        assert_int_equal(lt_reader_next(r, rgb, NULL, &err), LT_END);
        const lt_reader_info i = info_of(r);
        assert_int_equal(i.width, W);
        assert_int_equal(i.height, H);
        assert_int_equal(i.fps_num, 16 * i.fps_den);
        assert_int_equal(i.matrix, LT_MATRIX_BT709);
        assert_false(i.matrix_guessed || i.full_range || i.variable_rate || i.cut_short);
        assert_int_equal(i.bits, 8);
        assert_int_equal(i.frames_read, 21);
        if (kind[k].counted && k == 0) assert_int_equal(i.frames, 21);
        lt_reader_close(&r);
    }
}

static void test_png_round_trip(void **state) {
    (void)state;
    static uint8_t rgb[H * W * 3], want[H * W * 3];
    lt_sink_params sp = sink_params(in_dir("p%02d.png"));
    write_sink(&sp, 2);
    lt_reader *r = open_path(in_dir("p01.png"));
    next_ok(r, rgb);
    paint(want, 1);
    assert_memory_equal(rgb, want, sizeof rgb);
    assert_int_equal(lt_reader_next(r, rgb, NULL, NULL), LT_END);
    assert_true(info_of(r).picture);
    assert_null(lt_reader_meta(r, "prompt"));
    lt_reader_close(&r);
}

static void test_metadata(void **state) {
    (void)state;
    const lt_sink_meta meta[] = {{"title", "a red ball"},
                                 {"seed", "18446744073709551615"},
                                 {"prompt", "a red ball, \xc3\xa9t\xc3\xa9 = \"x\"; 1"},
                                 {"settings", "mode=chunk chunk=3 window=6"}};
    const char *names[] = {"m.mp4", "m.mkv"};
    for (int k = 0; k < 2; k++) {
        lt_sink_params sp = sink_params(in_dir(names[k]));
        sp.meta = meta;
        sp.n_meta = 4;
        write_sink(&sp, 3);
        lt_reader *r = open_path(sp.path);
        for (int i = 0; i < 4; i++)
            assert_string_equal(lt_reader_meta(r, meta[i].key), meta[i].value);
        assert_null(lt_reader_meta(r, "nothing"));
        const char *key, *value;
        int n = 0, seen = 0;
        while (lt_reader_meta_at(r, n, &key, &value)) {
            n++;
            seen += strcmp(value, meta[2].value) == 0;
        }
        assert_true(n >= 4);
        assert_int_equal(seen, 1);
        assert_int_equal(lt_reader_meta_at(r, -1, &key, &value), 0);
        lt_reader_close(&r);
    }
}

/* ---- files made with libav ---------------------------------------------------------------------
 */

#define BT709 .kr = 0.2126, .kb = 0.0722
#define BT601 .kr = 0.299, .kb = 0.114
#define BT2020 .kr = 0.2627, .kb = 0.0593
#define FFV1 .format = "matroska", .codec = "ffv1", .w = W, .h = H, .frames = 2

static void check_movie(const movie *m, lt_matrix matrix, int guessed, int bits, int tol) {
    static uint8_t rgb[W * 720 * 3];
    lt_reader *r = open_path(make_movie(m));
    const lt_reader_info i = info_of(r);
    assert_int_equal(i.matrix, matrix);
    assert_int_equal(i.matrix_guessed, guessed);
    assert_int_equal(i.full_range, m->range == AVCOL_RANGE_JPEG || matrix == LT_MATRIX_RGB);
    assert_int_equal(i.bits, bits);
    next_ok(r, rgb);
    expect_patches(rgb, tol);
    lt_reader_close(&r);
}

static void test_matrices(void **state) {
    (void)state;
    const struct {
        movie m;
        lt_matrix matrix;
        int guessed, bits;
    } c[] = {
        {{"709.mkv", FFV1, .pix = AV_PIX_FMT_YUV444P, .space = AVCOL_SPC_BT709, BT709,
          .range = AVCOL_RANGE_MPEG},
         LT_MATRIX_BT709,
         0,
         8},
        {{"601.mkv", FFV1, .pix = AV_PIX_FMT_YUV420P, .space = AVCOL_SPC_SMPTE170M, BT601},
         LT_MATRIX_BT601,
         0,
         8},
        {{"full.mkv", FFV1, .pix = AV_PIX_FMT_YUV422P, .space = AVCOL_SPC_BT470BG, BT601,
          .range = AVCOL_RANGE_JPEG},
         LT_MATRIX_BT601,
         0,
         8},
        {{"2020.mkv", FFV1, .pix = AV_PIX_FMT_YUV420P10, .space = AVCOL_SPC_BT2020_NCL, BT2020,
          .range = AVCOL_RANGE_MPEG},
         LT_MATRIX_BT2020,
         0,
         10},
        {{"none.mkv", .format = "matroska", .codec = "ffv1", .w = W, .h = 718, .frames = 1,
          .pix = AV_PIX_FMT_YUV420P, .space = AVCOL_SPC_UNSPECIFIED, BT601},
         LT_MATRIX_BT601,
         1,
         8},
        {{"big.mkv", .format = "matroska", .codec = "ffv1", .w = W, .h = 720, .frames = 1,
          .pix = AV_PIX_FMT_YUV420P, .space = AVCOL_SPC_UNSPECIFIED, BT709},
         LT_MATRIX_BT709,
         1,
         8},
        {{"gbr.mkv", FFV1, .pix = AV_PIX_FMT_BGR0, .space = AVCOL_SPC_RGB, BT709},
         LT_MATRIX_RGB,
         0,
         8},
    };
    for (size_t k = 0; k < sizeof c / sizeof *c; k++)
        check_movie(&c[k].m, c[k].matrix, c[k].guessed, c[k].bits, 2);
}

/* Cb and Cr of 4:2:0 as a triangle wave over x, sampled where loc says: what comes back lies on the
 * wave, at every pixel; half a pixel off would be 4 of 255. */
static void test_chroma_position(void **state) {
    (void)state;
    static uint8_t rgb[W * H * 3];
    for (int left = 0; left < 2; left++) {
        movie m = {"place.mkv", FFV1, .pix = AV_PIX_FMT_YUV420P, .space = AVCOL_SPC_BT709, BT709};
        m.wave = left ? AVCHROMA_LOC_LEFT : AVCHROMA_LOC_CENTER;
        lt_reader *r = open_path(make_movie(&m));
        next_ok(r, rgb);
        for (int x = 20; x < W - 20; x++) {
            if (x % 16 < 4 || x % 16 > 11) continue; /* the tips are rounded */
            const double cr = (wave(x) - 128) / 224, y = (126.0 - 16) / 219;
            const int red = (int)lround(255 * (y + 2 * (1 - 0.2126) * cr));
            if (abs(rgb[(20 * W + x) * 3] - red) > 2)
                fail_msg("loc %d, x %d: %d, expected %d", (int)m.wave, x, rgb[(20 * W + x) * 3],
                         red);
        }
        lt_reader_close(&r);
    }
}

/* A wrong tag can be overruled; a matrix that nobody can invert linearly is refused. */
static void test_matrix_choice(void **state) {
    (void)state;
    static uint8_t rgb[W * H * 3];
    movie m = {"lie.mkv", FFV1, .pix = AV_PIX_FMT_YUV444P, .space = AVCOL_SPC_SMPTE170M, BT709};
    lt_reader_params p = reader_params(make_movie(&m));
    p.matrix = LT_MATRIX_BT709;
    lt_reader *r = open_ok(&p);
    next_ok(r, rgb);
    expect_patches(rgb, 2);
    lt_reader_close(&r);
    m.name = "ycgco.mkv";
    m.space = AVCOL_SPC_YCGCO;
    refused_path(make_movie(&m), LT_EUNSUPPORTED, "ycgco");
}

static void test_flags(void **state) {
    (void)state;
    const movie m[] = {
        {"alpha.mkv", FFV1, .pix = AV_PIX_FMT_YUVA420P, .space = AVCOL_SPC_BT709, BT709},
        {"fields.mkv", FFV1, .pix = AV_PIX_FMT_YUV420P, .interlaced = 1, BT601},
        {"hdr.mkv", FFV1, .pix = AV_PIX_FMT_YUV420P10, .space = AVCOL_SPC_BT2020_NCL,
         .trc = AVCOL_TRC_SMPTE2084, BT2020},
        {"turned.mp4", .format = "mp4", .codec = "mpeg4", .w = W, .h = H, .frames = 4,
         .pix = AV_PIX_FMT_YUV420P, .rotate = 90, BT601},
        {"vfr.mkv", .format = "matroska", .codec = "ffv1", .w = 33, .h = 17, .frames = 12,
         .pix = AV_PIX_FMT_YUV420P, .uneven = 1, BT601}};
    for (int k = 0; k < 5; k++) {
        lt_reader *r = open_path(make_movie(&m[k]));
        double last = -1, now = 0;
        int n = 0;
        for (; lt_reader_next(r, NULL, &now, NULL) == LT_OK; last = now, n++)
            assert_true(now > last);
        assert_int_equal(n, m[k].frames);
        const lt_reader_info i = info_of(r);
        assert_int_equal(i.alpha, k == 0);
        assert_int_equal(i.interlaced, k == 1);
        assert_int_equal(i.hdr, k == 2);
        assert_int_equal(i.rotation, k == 3 ? 90 : 0);
        assert_int_equal(i.variable_rate, k == 4);
        assert_int_equal(i.stored_width, m[k].w); /* also odd ones */
        assert_int_equal(i.stored_height, m[k].h);
        assert_int_equal(i.fps_num, 25 * i.fps_den);
        lt_reader_close(&r);
    }
}

/* The middle of the picture, scaled: patches 2..5 of 8 fill a picture of half the width. */
static void test_scale(void **state) {
    (void)state;
    static uint8_t rgb[96 * 96 * 3];
    const movie m = {"crop.mkv", FFV1, .pix = AV_PIX_FMT_YUV420P, .space = AVCOL_SPC_BT709, BT709};
    const char *paths[] = {make_movie(&m), in_dir("wide00.png")};
    lt_sink_params sp = sink_params(in_dir("wide%02d.png"));
    write_sink(&sp, 1);
    for (int k = 0; k < 2; k++) {
        lt_reader_params p = reader_params(paths[k]);
        p.width = p.height = 96; /* from 64 x 64 in the middle */
        lt_reader *r = open_ok(&p);
        assert_int_equal(info_of(r).width, 96);
        assert_int_equal(info_of(r).stored_width, W);
        next_ok(r, rgb);
        for (int q = 0; q < 4; q++) expect_pixel(rgb, 96, 24 * q + 12, 30, PATCH[2 + q], 2);
        lt_reader_close(&r);
        p.width = 16, p.height = 32; /* from 32 x 64: patches 3 and 4, downwards */
        r = open_ok(&p);
        next_ok(r, rgb);
        for (int q = 0; q < 2; q++) expect_pixel(rgb, 16, 8 * q + 4, 12, PATCH[3 + q], 2);
        lt_reader_close(&r);
    }
}

/* ---- bad files ---------------------------------------------------------------------------------
 */

static void test_no_video(void **state) {
    (void)state;
    refused_path("", LT_EINVAL, "empty");
    refused_path(in_dir("missing.mp4"), LT_EIO, "No such file");
    refused_path(dir, LT_EIO, "folder");
    refused_path("/dev/zero", LT_EIO, "no regular file");
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    refused_path(in_dir("fifo"), LT_EIO, "no regular file");
    write_file(in_dir("empty.mp4"), "", 0);
    refused_path(in_dir("empty.mp4"), LT_EFORMAT, "empty");
    const char *text = "this is just a text\nwith lines\n";
    write_file(in_dir("text.mp4"), text, strlen(text));
    refused_path(in_dir("text.mp4"), LT_EFORMAT, "not a video");
    /* playlists and scripts would open other files */
    write_file(in_dir("a.m3u8"), "#EXTM3U\n#EXTINF:1,\na.mp4\n", 26);
    refused_path(in_dir("a.m3u8"), LT_EFORMAT, "not a video");
    const char *script = "ffconcat version 1.0\nfile a.mp4\n";
    write_file(in_dir("a.ffconcat"), script, strlen(script));
    refused_path(in_dir("a.ffconcat"), LT_EFORMAT, "not a video");
    const char *header = "YUV4MPEG2 W64 H64 F25:1 Ip C420mpeg2\n";
    write_file(in_dir("none.y4m"), header, strlen(header));
    refused_path(in_dir("none.y4m"), LT_EFORMAT, "no frame");
    const char *huge = "YUV4MPEG2 W12000 H12000 F25:1 Ip C420mpeg2\nFRAME\nxxxx";
    write_file(in_dir("huge.y4m"), huge, strlen(huge));
    refused_path(in_dir("huge.y4m"), LT_EFORMAT, "at most 8192x8192");
    const movie none = {"none.mkv", FFV1, .pix = AV_PIX_FMT_YUV420P, .no_frames = 1, BT601};
    refused_path(make_movie(&none), LT_EFORMAT, "");
}

/* One second of silence in a container that could hold a video. */
static void test_audio_only(void **state) {
    (void)state;
    AVFormatContext *oc = NULL;
    char *path = in_dir("sound.mkv");
    assert_true(avformat_alloc_output_context2(&oc, NULL, "matroska", path) >= 0);
    AVStream *st = avformat_new_stream(oc, NULL);
    st->codecpar->codec_type = AVMEDIA_TYPE_AUDIO;
    st->codecpar->codec_id = AV_CODEC_ID_PCM_S16LE;
    st->codecpar->sample_rate = 8000;
    st->codecpar->bits_per_coded_sample = 16;
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(59, 24, 100)
    av_channel_layout_default(&st->codecpar->ch_layout, 1);
#endif
    st->time_base = (AVRational){1, 8000};
    assert_true(avio_open(&oc->pb, path, AVIO_FLAG_WRITE) >= 0);
    assert_true(avformat_write_header(oc, NULL) >= 0);
    AVPacket *pkt = av_packet_alloc();
    assert_true(av_new_packet(pkt, 16000) >= 0);
    memset(pkt->data, 0, 16000);
    pkt->pts = pkt->dts = 0;
    assert_true(av_write_frame(oc, pkt) >= 0);
    av_packet_free(&pkt);
    av_write_trailer(oc);
    avio_closep(&oc->pb);
    avformat_free_context(oc);
    refused_path(path, LT_EFORMAT, "no video");
}

static void test_size_changes(void **state) {
    (void)state;
    const movie m = {"change.mkv",
                     .format = "matroska",
                     .codec = "mjpeg",
                     .w = 64,
                     .h = 48,
                     .w2 = 80,
                     .h2 = 48,
                     .frames = 6,
                     .pix = AV_PIX_FMT_YUVJ420P,
                     .range = AVCOL_RANGE_JPEG,
                     BT601};
    refused_path(make_movie(&m), LT_EFORMAT, "changes from 64x48 to 80x48 at frame 3");
}

/* Frames that can be read before the first failure; the status of that. */
static int count_frames(const char *path, int accept_cut, lt_status *st, lt_error *err) {
    static uint8_t rgb[W * H * 3];
    lt_reader_params p = reader_params(path);
    p.accept_cut = accept_cut;
    p.width = W;
    p.height = H;
    lt_reader *r = NULL;
    int n = 0;
    *err = (lt_error){0};
    *st = lt_reader_open(&p, &r, err);
    if (*st == LT_OK)
        while ((*st = lt_reader_next(r, rgb, NULL, err)) == LT_OK) n++;
    lt_reader_close(&r);
    return n;
}

static void test_cut_short(void **state) {
    (void)state;
    const char *names[] = {"cut.mp4", "cut.mkv", "cut.y4m"};
    for (int k = 0; k < 3; k++) {
        lt_sink_params sp = sink_params(in_dir(names[k]));
        write_sink(&sp, 24);
        size_t n;
        uint8_t *data = read_file(sp.path, &n);
        lt_status st;
        lt_error err;
        const char *path = in_dir("cut");
        assert_int_equal(count_frames(sp.path, 0, &st, &err), 24);
        assert_int_equal(st, LT_END);
        write_file(path, data, n * 2 / 3);
        const int strict = count_frames(path, 0, &st, &err);
        if (st != LT_EFORMAT) fail_msg("%s cut: %d after %d frames", names[k], st, strict);
        assert_non_null(strstr(err.msg, "too early"));
        const int kept = count_frames(path, 1, &st, &err);
        assert_int_equal(st, LT_END);
        assert_true(kept == strict && kept >= 1 && kept < 24);
        free(data);
    }
}

/* Frames that the decoder had to make up are no frames. */
static void test_damage(void **state) {
    (void)state;
    lt_sink_params sp = sink_params(in_dir("whole.mp4"));
    write_sink(&sp, 24);
    size_t n;
    uint8_t *data = read_file(sp.path, &n);
    memset(data + n * 2 / 3, 0x5a, 60);
    write_file(in_dir("hole.mp4"), data, n);
    free(data);
    lt_status st;
    lt_error err;
    for (int cut = 0; cut < 2; cut++) {
        const int got = count_frames(in_dir("hole.mp4"), cut, &st, &err);
        assert_int_equal(st, LT_EFORMAT);
        assert_non_null(strstr(err.msg, "damaged at frame"));
        assert_true(got >= 1 && got < 24);
    }
}

/* Bit flips and cuts: some status, one line, no crash; run under ASan by `make asan`. */
static void test_corpus(void **state) {
    (void)state;
    lt_sink_params sp = sink_params(in_dir("seed.mp4"));
    sp.crf = 30;
    write_sink(&sp, 10);
    sp = sink_params(in_dir("seed%d.png"));
    write_sink(&sp, 1);
    const char *seeds[] = {in_dir("seed.mp4"), in_dir("seed0.png")};
    uint32_t rng = 1;
    int failed = 0, read = 0;
    for (int k = 0; k < 2; k++) {
        size_t n;
        uint8_t *data = read_file(seeds[k], &n), *copy = malloc(n);
        for (int i = 0; i < 250; i++) {
            memcpy(copy, data, n);
            size_t len = n;
            for (int f = 0; f <= i % 3; f++) {
                rng = rng * 1664525u + 1013904223u;
                const size_t at = (rng >> 3) % (k == 0 && i % 2 ? n / 3 : n);
                if (i % 5 == 4) len = at;
                else copy[at] ^= (uint8_t)(1u << (rng & 7));
            }
            write_file(in_dir("mutant"), copy, len);
            lt_status st;
            lt_error err;
            const int got = count_frames(in_dir("mutant"), i & 1, &st, &err);
            assert_true(st == LT_END || st < 0);
            assert_true((st < 0) == (err.msg[0] != 0));
            assert_null(strchr(err.msg, '\n'));
            assert_true(st != LT_END || got >= 1);
            failed += st < 0;
            read += st == LT_END;
        }
        free(data);
        free(copy);
    }
    assert_true(failed > 100 && read > 20);
}

static void test_parameters(void **state) {
    (void)state;
    lt_sink_params sp = sink_params(in_dir("param.mp4"));
    write_sink(&sp, 2);
    const struct {
        int w, h, threads, matrix;
    } bad[] = {{64, 0, 0, 0}, {-2, 64, 0, 0}, {64, 20000, 0, 0}, {0, 0, -1, 0}, {0, 0, 0, 6}};
    for (int k = 0; k < 5; k++) {
        lt_reader_params p = reader_params(sp.path);
        p.width = bad[k].w;
        p.height = bad[k].h;
        p.threads = bad[k].threads;
        p.matrix = bad[k].matrix;
        refused(&p, LT_EINVAL, "param.mp4");
    }
    lt_reader_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_png_round_trip),
        cmocka_unit_test(test_metadata),      cmocka_unit_test(test_matrices),
        cmocka_unit_test(test_matrix_choice), cmocka_unit_test(test_chroma_position),
        cmocka_unit_test(test_flags),         cmocka_unit_test(test_scale),
        cmocka_unit_test(test_no_video),      cmocka_unit_test(test_audio_only),
        cmocka_unit_test(test_size_changes),  cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_damage),        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_parameters)};
    return cmocka_run_group_tests(tests, setup, teardown);
}

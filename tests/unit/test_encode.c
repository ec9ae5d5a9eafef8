/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_encode.c - every frame sink on synthetic frames, read back with libav and libpng.
 * What goes wrong: test_encode_faults.c. */
#include "tests/unit/encode_rig.h"
#include <fcntl.h>
#include <libavutil/md5.h>
#include <png.h>
#include <sys/stat.h>
#include <unistd.h>

static const lt_sink_meta META[] = {{"title", "a red ball"},
                                    {"seed", "42"},
                                    {"prompt", "a red ball, \xc3\xa9t\xc3\xa9"},
                                    {"model", "box"}};

static void video_file(const char *name, int classic) {
    lt_sink_params p = params(in_dir(name));
    p.meta = META;
    p.n_meta = 4;
    make_file(&p, 50); /* not a whole number of chunks */
    decoded d;
    assert_int_equal(read_video(p.path, &d), 0);
    assert_int_equal(d.frames, 50);
    assert_int_equal(d.errors, 0);
    assert_true(d.last_pts_ok);
    assert_true(d.seconds > 3.12 && d.seconds < 3.13);
    assert_int_equal(d.keys, 3); /* chunks of 0.75 s: every second one starts with an I-frame */
    for (int i = 0; i < 3; i++) assert_int_equal(d.key_at[i], 2 * CHUNK * i);
    check_colours(d.yuv);
    check_tags(&d);
    for (int i = 0; i < 4; i++)
        if (!strstr(d.tags, META[i].value)) fail_msg("%s lacks %s: %s", name, META[i].key, d.tags);
    if (classic) {
        assert_int_equal(find_bytes(p.path, "moof"), -1);
        assert_true(find_bytes(p.path, "moov") < find_bytes(p.path, "mdat"));
    }
    char part[300];
    snprintf(part, sizeof part, "%s.part", p.path);
    assert_int_not_equal(access(part, F_OK), 0);
}

static void test_mp4(void **state) {
    (void)state;
    video_file("a.mp4", 1);
    video_file("odd:name %d -x.MP4", 1);
}

static void test_mkv(void **state) {
    (void)state;
    video_file("a.mkv", 0);
}

/* Frame rates that are no integer, one frame only, other encoders. */
static void test_video_options(void **state) {
    (void)state;
    decoded d;
    lt_sink_params p = params(in_dir("one.mp4"));
    make_file(&p, 1);
    assert_int_equal(read_video(p.path, &d), 0);
    assert_int_equal(d.frames, 1);
    p = params(in_dir("ntsc.mp4"));
    p.fps_num = 24000;
    p.fps_den = 1001;
    p.threads = 2;
    make_file(&p, 48);
    assert_int_equal(read_video(p.path, &d), 0);
    assert_int_equal(d.frames, 48);
    assert_true(d.seconds > 2.0 && d.seconds < 2.01);
    p = params(in_dir("m4.mp4"));
    p.codec = "mpeg4";
    p.crf = 10;
    make_file(&p, 30);
    assert_int_equal(read_video(p.path, &d), 0);
    assert_int_equal(d.frames, 30);
    check_colours(d.yuv);
    p = params(in_dir("ffv1.mkv"));
    p.codec = "ffv1";
    make_file(&p, 30);
    assert_int_equal(read_video(p.path, &d), 0);
    assert_int_equal(d.frames, 30);
}

static void test_crf_matters(void **state) {
    (void)state;
    struct stat small, big;
    lt_sink_params p = params(in_dir("crf.mkv"));
    p.crf = 40;
    make_file(&p, 48);
    assert_int_equal(stat(p.path, &small), 0);
    p.crf = 5;
    make_file(&p, 48);
    assert_int_equal(stat(p.path, &big), 0);
    assert_true(big.st_size > small.st_size * 5 / 4);
}

static void test_png(void **state) {
    (void)state;
    lt_sink_params p = params(in_dir("100%% %04d x.png"));
    p.height = 63; /* odd is fine here */
    lt_error err = {0};
    lt_sink *s = NULL;
    static uint8_t rgb[H * W * 3], back[H * W * 3];
    assert_int_equal(lt_sink_open(&p, &s, &err), LT_OK);
    for (int i = 0; i < 11; i++) {
        paint(rgb, i);
        assert_int_equal(lt_sink_write(s, rgb, 0, &err), LT_OK);
    }
    assert_int_equal(lt_sink_close(&s, &err), LT_OK);
    for (int i = 0; i < 11; i++) {
        char name[64];
        snprintf(name, sizeof name, "100%% %04d x.png", i);
        png_image image = {.version = PNG_IMAGE_VERSION};
        assert_true(png_image_begin_read_from_file(&image, in_dir(name)));
        assert_int_equal(image.width, W);
        assert_int_equal(image.height, 63);
        assert_int_equal(image.format, PNG_FORMAT_RGB);
        assert_true(png_image_finish_read(&image, NULL, back, 0, NULL));
        paint(rgb, i);
        assert_memory_equal(rgb, back, (size_t)W * 63 * 3);
    }
    assert_int_not_equal(access(in_dir("100% 0011 x.png"), F_OK), 0);
}

static void test_raw(void **state) {
    (void)state;
    static uint8_t rgb[H * W * 3], back[H * W * 3];
    lt_sink_params p = params(in_dir("a.rgb"));
    make_file(&p, 5);
    FILE *f = fopen(p.path, "rb");
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fread(back, 1, sizeof back, f), sizeof back);
        paint(rgb, i);
        assert_memory_equal(rgb, back, sizeof rgb);
    }
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
}

static void test_y4m(void **state) {
    (void)state;
    lt_sink_params p = params(in_dir("a.y4m"));
    make_file(&p, 20);
    FILE *f = fopen(p.path, "rb");
    char line[256];
    assert_non_null(fgets(line, sizeof line, f));
    assert_non_null(strstr(line, "YUV4MPEG2 W96 H64 F16:1 Ip A1:1 C420mpeg2 "));
    assert_non_null(strstr(line, "XCOLORRANGE=LIMITED\n"));
    fclose(f);
    decoded d;
    assert_int_equal(read_video(p.path, &d), 0);
    assert_int_equal(d.frames, 20);
    assert_true(d.last_pts_ok);
    assert_int_equal(d.range, AVCOL_RANGE_MPEG);
    assert_int_equal(d.loc, AVCHROMA_LOC_LEFT);
    check_colours(d.yuv);
}

static void test_stdout(void **state) {
    (void)state;
    fflush(stdout);
    const int keep = dup(1), fd = open(in_dir("stdout.y4m"), O_RDWR | O_CREAT, 0600);
    dup2(fd, 1);
    lt_sink_params p = params("-");
    lt_error err = {0};
    lt_sink *s = NULL;
    lt_status st = lt_sink_open(&p, &s, &err);
    if (st == LT_OK) st = write_frames(s, 7, NULL, &err);
    if (st == LT_OK) st = lt_sink_close(&s, &err);
    const ssize_t open_still = write(1, "", 0);
    dup2(keep, 1);
    close(keep);
    close(fd);
    assert_int_equal(st, LT_OK);
    assert_int_equal(open_still, 0);
    decoded d;
    assert_int_equal(read_video(in_dir("stdout.y4m"), &d), 0);
    assert_int_equal(d.frames, 7);
}

static void md5_of(int frames, char out[40]) {
    static uint8_t all[8][H * W * 3];
    uint8_t sum[16];
    for (int i = 0; i < frames; i++) paint(all[i], i);
    av_md5_sum(sum, all[0], sizeof all[0] * (size_t)frames);
    int n = snprintf(out, 40, "md5 ");
    for (int i = 0; i < 16; i++) n += snprintf(out + n, 40 - (size_t)n, "%02x", sum[i]);
}

static void test_md5_null(void **state) {
    (void)state;
    static uint8_t rgb[H * W * 3];
    lt_error err = {0};
    lt_sink *s = NULL;
    char want[40];
    lt_sink_params p = params("md5");
    assert_int_equal(lt_sink_open(&p, &s, &err), LT_OK);
    for (int i = 0; i < 8; i++) { /* asking in between must not disturb */
        paint(rgb, i);
        assert_int_equal(lt_sink_write(s, rgb, 0, &err), LT_OK);
        md5_of(i + 1, want);
        assert_string_equal(lt_sink_result(s), want);
    }
    assert_int_equal(lt_sink_close(&s, &err), LT_OK);
    assert_int_equal(lt_sink_close(&s, &err), LT_OK); /* NULL-safe */
    p = params("null");
    make_file(&p, 3);
    lt_sink_open(&p, &s, &err);
    assert_string_equal(lt_sink_result(s), "");
    lt_sink_close(&s, &err);
}

/* A caller built against a shorter struct: what it does not know has its default. */
static void test_old_caller(void **state) {
    (void)state;
    lt_error err;
    lt_sink_params p;
    memset(&p, 0x5a, sizeof p);
    const size_t old = offsetof(lt_sink_params, codec);
    lt_sink_params_init_sized(&p, old);
    p.path = "null";
    p.width = p.height = 2;
    p.fps_num = p.fps_den = 1;
    assert_int_equal(open_status(&p, &err), LT_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mp4),           cmocka_unit_test(test_mkv),
        cmocka_unit_test(test_video_options), cmocka_unit_test(test_crf_matters),
        cmocka_unit_test(test_png),           cmocka_unit_test(test_raw),
        cmocka_unit_test(test_y4m),           cmocka_unit_test(test_stdout),
        cmocka_unit_test(test_md5_null),      cmocka_unit_test(test_old_caller),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

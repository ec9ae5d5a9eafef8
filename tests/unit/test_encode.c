/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_encode.c - every frame sink on synthetic frames, read back with libav and libpng.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "longtake/encode.h"
#include <cmocka.h>
#include <fcntl.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/md5.h>
#include <png.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define W 96
#define H 64
#define CHUNK 12

static char dir[64];

static const uint8_t PATCH[3][3] = {{192, 0, 0}, {0, 192, 0}, {200, 150, 120}};

static char *in_dir(const char *name) {
    static char buf[4][256];
    static int k;
    char *p = buf[k++ % 4];
    snprintf(p, sizeof buf[0], "%s/%s", dir, name);
    return p;
}

/* rgb [H, W, 3]: three flat patches side by side, and a bright square that moves with the frame. */
static void paint(uint8_t *rgb, int frame) {
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            const uint8_t *c = PATCH[x / 32];
            const int square = y >= 48 && x >= frame * 2 % 80 && x < frame * 2 % 80 + 16;
            for (int k = 0; k < 3; k++) rgb[(y * W + x) * 3 + k] = square ? 240 : c[k];
        }
}

static lt_sink_params params(const char *path) {
    lt_sink_params p;
    lt_sink_params_init(&p);
    p.path = path;
    p.width = W;
    p.height = H;
    p.fps_num = 16;
    p.fps_den = 1;
    return p;
}

/* Writes frames until the first failure; returns it, *n = frames accepted. */
static lt_status write_frames(lt_sink *s, int count, int *n, lt_error *err) {
    static uint8_t rgb[H * W * 3];
    lt_status st = LT_OK;
    int i = 0;
    for (; i < count && st == LT_OK; i++) {
        paint(rgb, i);
        st = lt_sink_write(s, rgb, i % CHUNK == CHUNK - 1, err);
    }
    if (n) *n = st == LT_OK ? i : i - 1;
    return st;
}

static void make_file(const lt_sink_params *p, int count) {
    lt_error err = {0};
    lt_sink *s = NULL;
    lt_status st = lt_sink_open(p, &s, &err);
    if (st == LT_OK) st = write_frames(s, count, NULL, &err);
    if (st == LT_OK) st = lt_sink_close(&s, &err);
    if (st != LT_OK) fail_msg("%s: %s", p->path, err.msg);
    assert_string_equal(err.msg, "");
    assert_null(s);
}

static lt_status open_status(const lt_sink_params *p, lt_error *err) {
    lt_sink *s = NULL;
    *err = (lt_error){0};
    const lt_status st = lt_sink_open(p, &s, err);
    if (st == LT_OK) {
        lt_sink_close(&s, NULL);
    } else {
        assert_null(s);
        assert_true(err->msg[0] != 0);
        assert_null(strchr(err->msg, '\n'));
        assert_int_equal(err->code, st);
    }
    return st;
}

/* ---- reading back ------------------------------------------------------------------------------
 */

typedef struct decoded {
    int frames, keys, errors;
    int key_at[8];     /* frames that are I-frames */
    int last_pts_ok;   /* every frame 1/16 s after the one before */
    double seconds;    /* container duration */
    uint8_t yuv[3][3]; /* first frame: Y, Cb, Cr at the middle of each patch */
    enum AVColorRange range;
    enum AVColorSpace space;
    enum AVColorPrimaries prim;
    enum AVColorTransferCharacteristic trc;
    enum AVChromaLocation loc;
    char tags[512]; /* key=value; */
} decoded;

static void take_frame(decoded *d, const AVFrame *f, AVRational tb) {
    if (d->frames == 0) {
        d->range = f->color_range;
        d->space = f->colorspace;
        d->prim = f->color_primaries;
        d->trc = f->color_trc;
        d->loc = f->chroma_location;
        for (int p = 0; p < 3; p++) {
            const int x = p * 32 + 16, y = 24;
            d->yuv[p][0] = f->data[0][y * f->linesize[0] + x];
            d->yuv[p][1] = f->data[1][y / 2 * f->linesize[1] + x / 2];
            d->yuv[p][2] = f->data[2][y / 2 * f->linesize[2] + x / 2];
        }
    }
    const double want = d->frames / 16.0, got = (double)f->best_effort_timestamp * av_q2d(tb);
    if (got < want - 1e-3 || got > want + 1e-3) d->last_pts_ok = 0;
    if (f->pict_type == AV_PICTURE_TYPE_I && d->keys < 8) d->key_at[d->keys] = d->frames;
    d->frames++;
    d->keys += f->pict_type == AV_PICTURE_TYPE_I;
}

static int read_video(const char *path, decoded *d) {
    AVFormatContext *ic = NULL;
    memset(d, 0, sizeof *d);
    d->last_pts_ok = 1;
    av_log_set_level(AV_LOG_QUIET);
    if (avformat_open_input(&ic, path, NULL, NULL) < 0) return -1;
    int rc = avformat_find_stream_info(ic, NULL);
    const AVDictionaryEntry *e = NULL;
    size_t used = 0;
    while ((e = av_dict_get(ic->metadata, "", e, AV_DICT_IGNORE_SUFFIX)) && used < sizeof d->tags)
        used += (size_t)snprintf(d->tags + used, sizeof d->tags - used, "%s=%s;", e->key, e->value);
    const AVCodecParameters *par = ic->streams[0]->codecpar;
    AVCodecContext *dec = avcodec_alloc_context3(avcodec_find_decoder(par->codec_id));
    avcodec_parameters_to_context(dec, par);
    dec->thread_count = 1;
    rc = rc < 0 ? rc : avcodec_open2(dec, dec->codec, NULL);
    d->seconds = (double)ic->duration / AV_TIME_BASE;
    AVPacket *pkt = av_packet_alloc();
    AVFrame *f = av_frame_alloc();
    for (int draining = 0; rc >= 0 && !draining;) {
        draining = av_read_frame(ic, pkt) < 0;
        if (avcodec_send_packet(dec, draining ? NULL : pkt) < 0) d->errors++;
        av_packet_unref(pkt);
        while (avcodec_receive_frame(dec, f) >= 0) {
            d->errors += f->decode_error_flags != 0;
            take_frame(d, f, ic->streams[0]->time_base);
        }
    }
    av_frame_free(&f);
    av_packet_free(&pkt);
    avcodec_free_context(&dec);
    avformat_close_input(&ic);
    return rc < 0 ? -1 : 0;
}

/* BT.709 limited range back to RGB, the textbook formula: not our code, not swscale's. */
static void to_rgb(const uint8_t yuv[3], double rgb[3]) {
    const double y = (yuv[0] - 16) / 219.0, cb = (yuv[1] - 128) / 224.0,
                 cr = (yuv[2] - 128) / 224.0;
    const double r = y + 1.5748 * cr, b = y + 1.8556 * cb;
    rgb[0] = 255 * r;
    rgb[1] = 255 * ((y - 0.2126 * r - 0.0722 * b) / 0.7152);
    rgb[2] = 255 * b;
}

static void check_colours(uint8_t yuv[3][3]) {
    for (int p = 0; p < 3; p++) {
        double rgb[3];
        to_rgb(yuv[p], rgb);
        for (int k = 0; k < 3; k++)
            if (rgb[k] < PATCH[p][k] - 3.0 || rgb[k] > PATCH[p][k] + 3.0)
                fail_msg("patch %d channel %d: %.1f, expected %d", p, k, rgb[k], PATCH[p][k]);
    }
}

static void check_tags(const decoded *d) {
    assert_int_equal(d->range, AVCOL_RANGE_MPEG);
    assert_int_equal(d->space, AVCOL_SPC_BT709);
    assert_int_equal(d->prim, AVCOL_PRI_BT709);
    assert_int_equal(d->trc, AVCOL_TRC_BT709);
    assert_int_equal(d->loc, AVCHROMA_LOC_LEFT);
}

static long find_bytes(const char *path, const char *what) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    static uint8_t buf[1 << 20];
    const size_t n = fread(buf, 1, sizeof buf, f);
    fclose(f);
    const uint8_t *p = memmem(buf, n, what, strlen(what));
    return p ? (long)(p - buf) : -1;
}

/* ---- tests -------------------------------------------------------------------------------------
 */

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

/* A child writes `count` frames, says so, and is killed without a chance to close. */
static void kill_during(const char *path, int count) {
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        lt_sink_params p = params(path);
        lt_sink *s = NULL;
        if (lt_sink_open(&p, &s, NULL) == LT_OK && write_frames(s, count, NULL, NULL) == LT_OK)
            (void)!write(fd[1], "x", 1);
        for (;;) pause();
    }
    assert_true(pid > 0);
    char c = 0;
    assert_int_equal(read(fd[0], &c, 1), 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(fd[0]);
    close(fd[1]);
}

static void test_kill(void **state) {
    (void)state;
    const char *names[] = {"kill.mp4", "kill.mkv"};
    for (int i = 0; i < 2; i++) {
        decoded d;
        const char *path = in_dir(names[i]);
        kill_during(path, 4 * CHUNK + 5); /* in the middle of the fifth chunk */
        assert_int_equal(read_video(path, &d), 0);
        assert_int_equal(d.frames, 4 * CHUNK); /* every flushed chunk, whole */
        assert_int_equal(d.errors, 0);
        assert_true(d.last_pts_ok);
        check_colours(d.yuv);
        check_tags(&d);
    }
}

/* The file size limit stands in for a full disk: same path, EFBIG for ENOSPC. */
static void test_full_disk(void **state) {
    (void)state;
    const char *names[] = {"full.mp4", "full.mkv", "full.y4m", "full.rgb", "full%d.png"};
    const rlim_t limit[] = {6000, 6000, 200000, 200000, 100};
    for (int i = 0; i < 5; i++) {
        struct rlimit old, now;
        getrlimit(RLIMIT_FSIZE, &old);
        now = old;
        now.rlim_cur = limit[i];
        lt_sink_params p = params(in_dir(names[i]));
        lt_error err = {0};
        lt_sink *s = NULL;
        int n = 0;
        assert_int_equal(lt_sink_open(&p, &s, &err), LT_OK);
        setrlimit(RLIMIT_FSIZE, &now);
        const lt_status st = write_frames(s, 2000, &n, &err);
        assert_int_equal(lt_sink_write(s, NULL, 0, NULL), LT_EIO); /* and stays failed */
        const lt_status closed = lt_sink_close(&s, NULL);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(st, LT_EIO);
        assert_int_equal(closed, LT_EIO);
        assert_non_null(strstr(err.msg, "too large"));
        if (i < 2) {
            decoded d;
            assert_int_equal(read_video(p.path, &d), 0);
            char kept[64];
            snprintf(kept, sizeof kept, "first %d frames are kept", d.frames);
            if (!strstr(err.msg, kept)) fail_msg("%s; %s", err.msg, kept);
            assert_true(d.frames >= CHUNK && d.frames % CHUNK == 0 && d.frames <= n);
            assert_int_equal(d.errors, 0);
        }
    }
    assert_int_not_equal(access(in_dir("full0.png.part"), F_OK), 0);
}

/* No room for the second copy: the file stays fragmented, complete and playable, and we say so. */
static void test_no_room_for_classic(void **state) {
    (void)state;
    lt_sink_params p = params(in_dir("room.mp4"));
    lt_error err = {0};
    lt_sink *s = NULL;
    assert_int_equal(mkdir(in_dir("room.mp4.part"), 0777), 0); /* the name is taken */
    assert_int_equal(lt_sink_open(&p, &s, &err), LT_OK);
    assert_int_equal(write_frames(s, 30, NULL, &err), LT_OK);
    assert_int_equal(lt_sink_close(&s, &err), LT_OK);
    assert_non_null(strstr(err.msg, "stays fragmented"));
    decoded d;
    assert_int_equal(read_video(p.path, &d), 0);
    assert_int_equal(d.frames, 30);
    rmdir(in_dir("room.mp4.part"));
}

static void test_dev_full(void **state) {
    (void)state;
    const char *names[] = {"df.mp4", "df.mkv", "df.y4m", "df.rgb"};
    for (int i = 0; i < 4; i++) {
        lt_error err = {0};
        lt_sink *s = NULL;
        lt_sink_params p = params(in_dir(names[i]));
        assert_int_equal(symlink("/dev/full", p.path), 0);
        assert_int_equal(lt_sink_open(&p, &s, &err), LT_OK);
        lt_status st = write_frames(s, 40, NULL, &err);
        assert_int_equal(st, LT_EIO);
        assert_non_null(strstr(err.msg, "No space left"));
        assert_int_equal(lt_sink_close(&s, NULL), LT_EIO);
        assert_int_equal(access("/dev/full", F_OK), 0);
    }
}

/* A reader that goes away: EPIPE as a status, no signal, and the program's handler untouched. */
static void test_broken_pipe(void **state) {
    (void)state;
    int fd[2];
    const char *path = in_dir("pipe.y4m");
    assert_int_equal(mkfifo(path, 0600), 0);
    fd[0] = open(path, O_RDONLY | O_NONBLOCK);
    lt_sink_params p = params(path);
    lt_error err = {0};
    lt_sink *s = NULL;
    assert_int_equal(lt_sink_open(&p, &s, &err), LT_OK);
    assert_int_equal(write_frames(s, 2, NULL, &err), LT_OK);
    close(fd[0]);
    assert_int_equal(write_frames(s, 2, NULL, &err), LT_EIO);
    assert_non_null(strstr(err.msg, "Broken pipe"));
    lt_sink_close(&s, NULL);
    struct sigaction sa;
    sigaction(SIGPIPE, NULL, &sa);
    assert_true(sa.sa_handler == SIG_DFL);
    sigset_t pending;
    sigpending(&pending);
    assert_int_equal(sigismember(&pending, SIGPIPE), 0);
}

/* Opening changes nothing; without a frame nothing is left, and an older file stays. */
static void test_nothing_lost(void **state) {
    (void)state;
    const char *names[] = {"old.mp4", "old.mkv", "old.y4m", "old.rgb"};
    for (int i = 0; i < 4; i++) {
        lt_error err = {0};
        lt_sink_params p = params(in_dir(names[i]));
        assert_int_equal(open_status(&p, &err), LT_OK);
        assert_int_not_equal(access(p.path, F_OK), 0);
        FILE *f = fopen(p.path, "w");
        fputs("precious", f);
        fclose(f);
        assert_int_equal(open_status(&p, &err), LT_OK);
        assert_int_equal(find_bytes(p.path, "precious"), 0);
        p.codec = "nosuch";
        if (i < 2) assert_int_equal(open_status(&p, &err), LT_EINVAL);
        assert_int_equal(find_bytes(p.path, "precious"), 0);
    }
    lt_sink_params p = params(in_dir("old.mp4")); /* and a real run replaces it, keeping its mode */
    assert_int_equal(chmod(p.path, 0640), 0);
    make_file(&p, 13);
    struct stat st;
    assert_int_equal(stat(p.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(find_bytes(p.path, "precious"), -1);
}

static void test_bad_params(void **state) {
    (void)state;
    lt_error err;
    static const struct {
        const char *path;
        lt_status want;
        const char *say;
    } paths[] = {
        {"x.avi", LT_EINVAL, ".mp4"},
        {"noext", LT_EINVAL, ".mp4"},
        {"", LT_EINVAL, "empty"},
        {"x.m3u8", LT_EUNSUPPORTED, "not in this version"},
        {"a.mp4/b", LT_EINVAL, "a.mp4/b"},
        {"/nosuch/x.mp4", LT_EIO, "No such file"},
        {"/nosuch/x.mkv", LT_EIO, "/nosuch"},
        {"/nosuch/%d.png", LT_EIO, "/nosuch"},
        {"/nosuch/x.y4m", LT_EIO, "/nosuch"},
        {"%s%n.png", LT_EINVAL, "%06d"},
        {"%d%d.png", LT_EINVAL, "%06d"},
        {"%n.png", LT_EINVAL, "%06d"},
        {"plain.png", LT_EINVAL, "%06d"},
        {"%5d.png", LT_EINVAL, "%06d"},
        {"%010d.png", LT_EINVAL, "%06d"},
        {"%ld.png", LT_EINVAL, "%06d"},
        {"%*d.png", LT_EINVAL, "%06d"},
        {"%%d.png", LT_EINVAL, "%06d"},
        {"%.png", LT_EINVAL, "%06d"},
        {"%d/x.png", LT_EINVAL, "%06d"},
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        lt_sink_params p = params(paths[i].path);
        if (open_status(&p, &err) != paths[i].want || !strstr(err.msg, paths[i].say))
            fail_msg("%s: %d, %s", paths[i].path, err.code, err.msg);
    }
    static const struct {
        int w, h, num, den, crf;
        const char *path, *codec;
        lt_status want;
    } bad[] = {
        {95, 64, 16, 1, 18, "b.mp4", NULL, LT_EINVAL},
        {96, 63, 16, 1, 18, "b.mkv", NULL, LT_EINVAL},
        {96, 63, 16, 1, 18, "b.y4m", NULL, LT_EINVAL},
        {0, 64, 16, 1, 18, "null", NULL, LT_EINVAL},
        {96, -2, 16, 1, 18, "null", NULL, LT_EINVAL},
        {96, 99999, 16, 1, 18, "null", NULL, LT_EINVAL},
        {96, 64, 0, 1, 18, "null", NULL, LT_EINVAL},
        {96, 64, 16, 0, 18, "null", NULL, LT_EINVAL},
        {96, 64, 16, 1, 52, "b.mp4", NULL, LT_EINVAL},
        {96, 64, 16, 1, -2, "b.mp4", NULL, LT_EINVAL},
        {96, 64, 16, 1, 18, "b.mp4", "h265x", LT_EINVAL},
        {96, 64, 16, 1, 18, "b.mp4", "aac", LT_EINVAL},
        {96, 64, 16, 1, 18, "b.mp4", "gif", LT_EINVAL},
        {96, 64, 16, 1, 18, "b.mkv", "prores", LT_EUNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lt_sink_params p = params(in_dir(bad[i].path));
        if (strcmp(bad[i].path, "null") == 0) p.path = "null";
        p.width = bad[i].w;
        p.height = bad[i].h;
        p.fps_num = bad[i].num;
        p.fps_den = bad[i].den;
        p.crf = bad[i].crf;
        p.codec = bad[i].codec;
        if (open_status(&p, &err) != bad[i].want) fail_msg("row %zu: %d %s", i, err.code, err.msg);
        if (p.codec) assert_non_null(strstr(err.msg, p.codec));
        if (strcmp(p.path, "null") != 0) assert_int_not_equal(access(p.path, F_OK), 0);
    }
}

/* As another user when we are root, who may write anywhere. */
static void test_unwritable(void **state) {
    (void)state;
    const int root = geteuid() == 0;
    const char *names[] = {"locked.mp4", "locked.y4m", "%d.png"};
    lt_status st[3];
    lt_error err;
    assert_int_equal(chmod(dir, 0555), 0);
    if (root) assert_int_equal(seteuid(65534), 0);
    for (int i = 0; i < 3; i++) {
        lt_sink_params p = params(in_dir(names[i]));
        lt_sink *s = NULL;
        err = (lt_error){0};
        st[i] = lt_sink_open(&p, &s, &err);
    }
    if (root) assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(dir, 0755), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(st[i], LT_EIO);
    lt_sink_params p = params(in_dir("folder.mp4"));
    assert_int_equal(mkdir(p.path, 0700), 0);
    assert_int_equal(open_status(&p, &err), LT_EIO);
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

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/lt_encode_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char cmd[96];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    return system(cmd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mp4),           cmocka_unit_test(test_mkv),
        cmocka_unit_test(test_video_options), cmocka_unit_test(test_crf_matters),
        cmocka_unit_test(test_kill),          cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_dev_full),      cmocka_unit_test(test_no_room_for_classic),
        cmocka_unit_test(test_broken_pipe),   cmocka_unit_test(test_nothing_lost),
        cmocka_unit_test(test_bad_params),    cmocka_unit_test(test_unwritable),
        cmocka_unit_test(test_png),           cmocka_unit_test(test_raw),
        cmocka_unit_test(test_y4m),           cmocka_unit_test(test_stdout),
        cmocka_unit_test(test_md5_null),      cmocka_unit_test(test_old_caller),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

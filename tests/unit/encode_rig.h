/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/encode_rig.h - what the tests of the frame sinks share: synthetic frames, files made
 * of them, and what libav finds in a video file. */
#ifndef LT_TESTS_ENCODE_RIG_H
#define LT_TESTS_ENCODE_RIG_H
#include "longtake/encode.h"
#include "tests/temp_rig.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdio.h>
#include <string.h>

#define W 96
#define H 64
#define CHUNK 12

static const uint8_t PATCH[3][3] = {{192, 0, 0}, {0, 192, 0}, {200, 150, 120}};

/* rgb [H, W, 3]: three flat patches side by side, and a bright square that moves with the frame. */
static inline void paint(uint8_t *rgb, int frame) {
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            const uint8_t *c = PATCH[x / 32];
            const int square = y >= 48 && x >= frame * 2 % 80 && x < frame * 2 % 80 + 16;
            for (int k = 0; k < 3; k++) rgb[(y * W + x) * 3 + k] = square ? 240 : c[k];
        }
}

static inline lt_sink_params params(const char *path) {
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
static inline lt_status write_frames(lt_sink *s, int count, int *n, lt_error *err) {
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

static inline void make_file(const lt_sink_params *p, int count) {
    lt_error err = {0};
    lt_sink *s = NULL;
    lt_status st = lt_sink_open(p, &s, &err);
    if (st == LT_OK) st = write_frames(s, count, NULL, &err);
    if (st == LT_OK) st = lt_sink_close(&s, &err);
    if (st != LT_OK) fail_msg("%s: %s", p->path, err.msg);
    assert_string_equal(err.msg, "");
    assert_null(s);
}

static inline lt_status open_status(const lt_sink_params *p, lt_error *err) {
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

/* ---- reading back ---------------------------------------------------------------------------- */

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

static inline void take_frame(decoded *d, const AVFrame *f, AVRational tb) {
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

static inline int read_video(const char *path, decoded *d) {
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
static inline void to_rgb(const uint8_t yuv[3], double rgb[3]) {
    const double y = (yuv[0] - 16) / 219.0, cb = (yuv[1] - 128) / 224.0,
                 cr = (yuv[2] - 128) / 224.0;
    const double r = y + 1.5748 * cr, b = y + 1.8556 * cb;
    rgb[0] = 255 * r;
    rgb[1] = 255 * ((y - 0.2126 * r - 0.0722 * b) / 0.7152);
    rgb[2] = 255 * b;
}

static inline void check_colours(uint8_t yuv[3][3]) {
    for (int p = 0; p < 3; p++) {
        double rgb[3];
        to_rgb(yuv[p], rgb);
        for (int k = 0; k < 3; k++)
            if (rgb[k] < PATCH[p][k] - 3.0 || rgb[k] > PATCH[p][k] + 3.0)
                fail_msg("patch %d channel %d: %.1f, expected %d", p, k, rgb[k], PATCH[p][k]);
    }
}

static inline void check_tags(const decoded *d) {
    assert_int_equal(d->range, AVCOL_RANGE_MPEG);
    assert_int_equal(d->space, AVCOL_SPC_BT709);
    assert_int_equal(d->prim, AVCOL_PRI_BT709);
    assert_int_equal(d->trc, AVCOL_TRC_BT709);
    assert_int_equal(d->loc, AVCHROMA_LOC_LEFT);
}

static inline long find_bytes(const char *path, const char *what) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    static uint8_t buf[1 << 20];
    const size_t n = fread(buf, 1, sizeof buf, f);
    fclose(f);
    const uint8_t *p = memmem(buf, n, what, strlen(what));
    return p ? (long)(p - buf) : -1;
}

#endif

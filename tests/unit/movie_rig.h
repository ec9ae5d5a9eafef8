/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/movie_rig.h - video files made with libav whose samples come from the definitions of
 * the colour matrices, not from any converter. */
#ifndef LT_TESTS_MOVIE_RIG_H
#define LT_TESTS_MOVIE_RIG_H
#include "tests/unit/reader_rig.h"
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/pixdesc.h>
#include <math.h>

typedef struct movie {
    const char *name, *format, *codec;
    enum AVPixelFormat pix;
    enum AVColorSpace space;
    enum AVColorRange range;
    int w, h, frames, w2, h2; /* w2, h2: from the middle on, 0 the same */
    enum AVPixelFormat pix2;  /* the same, with w2; 0: pix */
    int moving;               /* the patches change places from frame to frame */
    double kr, kb;            /* matrix by which the samples are made */
    enum AVColorTransferCharacteristic trc;
    int rotate, interlaced, uneven, no_frames;
    enum AVChromaLocation wave; /* a chroma wave instead of patches */
} movie;

/* Patch colour -> samples of a planar format, by the definition: Y = Kr R + Kg G + Kb B. */
static inline void samples(const movie *m, const uint8_t rgb[3], int bits, int out[4]) {
    const double r = rgb[0] / 255.0, g = rgb[1] / 255.0, b = rgb[2] / 255.0;
    const double y = m->kr * r + (1 - m->kr - m->kb) * g + m->kb * b;
    const double cb = (b - y) / (2 * (1 - m->kb)), cr = (r - y) / (2 * (1 - m->kr));
    const double unit = 1 << (bits - 8), full = (1 << bits) - 1;
    const bool wide = m->range == AVCOL_RANGE_JPEG;
    out[0] = (int)lround(wide ? full * y : unit * (16 + 219 * y));
    out[1] = (int)lround(128 * unit + (wide ? full : unit * 224) * cb);
    out[2] = (int)lround(128 * unit + (wide ? full : unit * 224) * cr);
    for (int k = 1; k < 3; k++)
        if (out[k] > (int)full) out[k] = (int)full;
    out[3] = (int)full;
}

static inline double wave(double x) { /* 128 +- 32, 4 a pixel, period 32 */
    const double p = fmod(x + 32, 32);
    return 128 + (p < 16 ? p * 4 - 32 : 96 - p * 4);
}

static inline void fill_wave(const movie *m, AVFrame *f) {
    for (int p = 0; p < 3; p++)
        for (int y = 0; y < (p ? f->height / 2 : f->height); y++)
            for (int x = 0; x < (p ? f->width / 2 : f->width); x++)
                f->data[p][y * f->linesize[p] + x] =
                    p ? (uint8_t)lround(wave(2 * x + (m->wave == AVCHROMA_LOC_LEFT ? 0 : 0.5)))
                      : 126;
}

/* Patches across the width, whatever it is. */
static inline void fill_frame(const movie *m, AVFrame *f) {
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    for (int p = 0; p < d->nb_components; p++) {
        const bool chroma = p == 1 || p == 2, rgb = d->flags & AV_PIX_FMT_FLAG_RGB;
        const int pw = chroma ? -(-f->width >> d->log2_chroma_w) : f->width;
        const int ph = chroma ? -(-f->height >> d->log2_chroma_h) : f->height;
        const AVComponentDescriptor *c = &d->comp[p];
        for (int y = 0; y < ph; y++)
            for (int x = 0; x < pw; x++) {
                const uint8_t *colour = PATCH[(x * 8 / pw + (m->moving ? (int)f->pts : 0)) % 8];
                int v[4];
                samples(m, colour, c->depth, v);
                const int value = rgb && p < 3 ? colour[p] : v[p];
                uint8_t *at = f->data[c->plane] + (ptrdiff_t)y * f->linesize[c->plane] +
                              (ptrdiff_t)x * c->step + c->offset;
                at[0] = (uint8_t)value;
                if (c->depth > 8) at[1] = (uint8_t)(value >> 8);
            }
    }
}

static inline AVCodecContext *open_encoder(const movie *m, int w, int h, enum AVPixelFormat pix,
                                           bool global) {
    const AVCodec *codec = avcodec_find_encoder_by_name(m->codec);
    assert_non_null(codec);
    AVCodecContext *c = avcodec_alloc_context3(codec);
    c->width = w;
    c->height = h;
    c->pix_fmt = pix;
    c->colorspace = m->space;
    c->color_range = m->range;
    c->color_trc = m->trc;
    c->chroma_sample_location = m->wave;
    c->time_base = (AVRational){1, 25};
    c->framerate = (AVRational){25, 1};
    c->strict_std_compliance = -2;
    c->global_quality = FF_QP2LAMBDA;
    c->flags |= AV_CODEC_FLAG_QSCALE | (global ? AV_CODEC_FLAG_GLOBAL_HEADER : 0);
    if (m->interlaced) c->flags |= AV_CODEC_FLAG_INTERLACED_DCT | AV_CODEC_FLAG_INTERLACED_ME;
    assert_true(avcodec_open2(c, codec, NULL) >= 0);
    return c;
}

static inline void put_packets(AVFormatContext *oc, AVCodecContext *c, const AVFrame *f,
                               AVPacket *pkt) {
    assert_true(avcodec_send_frame(c, f) >= 0);
    while (avcodec_receive_packet(c, pkt) >= 0) {
        pkt->duration = 1;
        av_packet_rescale_ts(pkt, c->time_base, oc->streams[0]->time_base);
        assert_true(av_write_frame(oc, pkt) >= 0);
        av_packet_unref(pkt);
    }
}

static inline void set_rotation(AVStream *st, int degrees) {
    int32_t *matrix = av_malloc(36);
    av_display_rotation_set(matrix, degrees); /* clockwise */
#if LIBAVFORMAT_VERSION_INT >= AV_VERSION_INT(60, 15, 100)
    assert_non_null(av_packet_side_data_add(&st->codecpar->coded_side_data,
                                            &st->codecpar->nb_coded_side_data,
                                            AV_PKT_DATA_DISPLAYMATRIX, matrix, 36, 0));
#else
    assert_true(av_stream_add_side_data(st, AV_PKT_DATA_DISPLAYMATRIX, (uint8_t *)matrix, 36) >= 0);
#endif
}

static inline void put_frames(const movie *m, AVFormatContext *oc, AVCodecContext *c, int from,
                              int to) {
    AVFrame *f = av_frame_alloc();
    AVPacket *pkt = av_packet_alloc();
    f->format = c->pix_fmt;
    f->width = c->width;
    f->height = c->height;
    assert_true(av_frame_get_buffer(f, 0) >= 0);
    for (int i = from; i < to; i++) {
        assert_true(av_frame_make_writable(f) >= 0);
        f->pts = m->uneven ? i + i / 3 * 2 : i;
        m->wave ? fill_wave(m, f) : fill_frame(m, f);
        put_packets(oc, c, f, pkt);
    }
    put_packets(oc, c, NULL, pkt);
    av_frame_free(&f);
    av_packet_free(&pkt);
}

static inline char *make_movie(const movie *m) {
    char *path = in_dir(m->name);
    AVFormatContext *oc = NULL;
    av_log_set_level(AV_LOG_QUIET);
    assert_true(avformat_alloc_output_context2(&oc, NULL, m->format, path) >= 0);
    AVCodecContext *c =
        open_encoder(m, m->w, m->h, m->pix, !m->w2 && oc->oformat->flags & AVFMT_GLOBALHEADER);
    AVStream *st = avformat_new_stream(oc, NULL);
    assert_true(avcodec_parameters_from_context(st->codecpar, c) >= 0);
    if (m->interlaced) st->codecpar->field_order = AV_FIELD_TT;
    if (m->rotate) set_rotation(st, m->rotate);
    st->time_base = c->time_base;
    st->avg_frame_rate = c->framerate;
    assert_true(avio_open(&oc->pb, path, AVIO_FLAG_WRITE) >= 0);
    assert_true(avformat_write_header(oc, NULL) >= 0);
    const int half = m->w2 ? m->frames / 2 : m->frames;
    if (!m->no_frames) put_frames(m, oc, c, 0, half);
    avcodec_free_context(&c);
    if (m->w2) {
        c = open_encoder(m, m->w2, m->h2, m->pix2 ? m->pix2 : m->pix, false);
        put_frames(m, oc, c, half, m->frames);
        avcodec_free_context(&c);
    }
    assert_true(av_write_trailer(oc) >= 0);
    avio_closep(&oc->pb);
    avformat_free_context(oc);
    return path;
}

#endif

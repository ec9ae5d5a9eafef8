/* SPDX-License-Identifier: Apache-2.0
 * encode/codec.c - choosing and opening a libavcodec video encoder.
 *
 * Whether an encoder works is only known by opening it (a hardware encoder is listed on machines
 * without the hardware), so the search opens each in turn. Look-ahead and B-frames are switched
 * off: a chunk's last frame must be on disk when the chunk is done. Measured with libx264 veryfast
 * at 160x96: tune=zerolatency returns each packet at once; without it 30 frames and more wait
 * inside. Pitfall: options such as preset mean different things to different encoders; only give
 * them to those they were written for. */
#include "encode/codec.h"
#include <libavutil/opt.h>
#include <string.h>

#define DEFAULT_CRF 18

const char *lti_av_text(int code, char buf[AV_ERROR_MAX_STRING_SIZE]) {
    return av_make_error_string(buf, AV_ERROR_MAX_STRING_SIZE, code);
}

static void set_quality(AVCodecContext *c, const lt_sink *s, AVDictionary **opt) {
    const int crf = s->crf < 0 ? DEFAULT_CRF : s->crf;
    if (c->priv_data && av_opt_find(c->priv_data, "crf", NULL, 0, 0)) {
        av_dict_set_int(opt, "crf", crf, 0);
    } else { /* a fixed quantiser on the MPEG scale 1..31: crf 18 becomes 3 */
        const int q = crf / 6 < 1 ? 1 : crf / 6;
        c->flags |= AV_CODEC_FLAG_QSCALE;
        c->global_quality = FF_QP2LAMBDA * q;
    }
}

static void set_low_delay(const AVCodec *codec, AVDictionary **opt) {
    const bool x264 = strcmp(codec->name, "libx264") == 0;
    const bool x265 = strcmp(codec->name, "libx265") == 0;
    if (x264 || x265) {
        av_dict_set(opt, "preset", "veryfast", 0);
        av_dict_set(opt, "tune", "zerolatency", 0);
    }
    if (x265) av_dict_set(opt, "x265-params", "log-level=none", 0); /* it prints by itself */
    if (strcmp(codec->name, "libsvtav1") == 0) av_dict_set(opt, "preset", "10", 0);
}

static AVCodecContext *make_context(const lt_sink *s, const AVCodec *codec,
                                    const AVOutputFormat *container, AVDictionary **opt) {
    AVCodecContext *c = avcodec_alloc_context3(codec);
    if (!c) return NULL;
    c->log_level_offset = 100; /* above every level: libraries do not print */
    c->width = s->width;
    c->height = s->height;
    c->pix_fmt = AV_PIX_FMT_YUV420P;
    c->time_base = (AVRational){s->fps_den, s->fps_num};
    c->framerate = (AVRational){s->fps_num, s->fps_den};
    c->sample_aspect_ratio = (AVRational){1, 1};
    c->color_range = AVCOL_RANGE_MPEG;
    c->colorspace = AVCOL_SPC_BT709;
    c->color_primaries = AVCOL_PRI_BT709;
    c->color_trc = AVCOL_TRC_BT709;
    c->chroma_sample_location = AVCHROMA_LOC_LEFT;
    c->max_b_frames = 0;
    const int64_t two_seconds = 2 * (int64_t)s->fps_num / s->fps_den;
    c->gop_size = two_seconds < 1 ? 1 : (int)two_seconds;
    c->thread_count = s->threads < 1 ? 1 : s->threads;
    if (container->flags & AVFMT_GLOBALHEADER) c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    set_quality(c, s, opt);
    set_low_delay(codec, opt);
    return c;
}

/* 0 or a libav error. */
static int try_open(const lt_sink *s, const AVCodec *codec, const AVOutputFormat *container,
                    AVCodecContext **out) {
    AVDictionary *opt = NULL;
    AVCodecContext *c = make_context(s, codec, container, &opt);
    int rc = c ? avcodec_open2(c, codec, &opt) : AVERROR(ENOMEM);
    av_dict_free(&opt);
    if (rc < 0) avcodec_free_context(&c);
    *out = c;
    return rc;
}

static const AVCodec *find_named(const char *name) {
    const AVCodec *codec = avcodec_find_encoder_by_name(name);
    const AVCodecDescriptor *d = codec ? NULL : avcodec_descriptor_get_by_name(name);
    if (d) codec = avcodec_find_encoder(d->id); /* "h264": whichever encoder there is */
    return codec && codec->type == AVMEDIA_TYPE_VIDEO ? codec : NULL;
}

static lt_status open_named(const lt_sink *s, const AVOutputFormat *container, AVCodecContext **out,
                            lt_error *err) {
    const AVCodec *codec = find_named(s->codec);
    if (!codec)
        return lti_fail(
            err, LT_EINVAL,
            "codec %s: libavcodec has no such video encoder; use libx264 or mpeg4, or see "
            "`ffmpeg -encoders`",
            s->codec);
    if (avformat_query_codec(container, codec->id, FF_COMPLIANCE_NORMAL) == 0)
        return lti_fail(err, LT_EINVAL, "codec %s: a %s file cannot hold it; use libx264 or .mkv",
                        s->codec, s->ops->name);
    const int rc = try_open(s, codec, container, out);
    char why[AV_ERROR_MAX_STRING_SIZE];
    if (rc >= 0) return LT_OK;
    return lti_fail(err, LT_EUNSUPPORTED,
                    "codec %s does not open for %dx%d yuv420p (%s); use libx264 or mpeg4", s->codec,
                    s->width, s->height, lti_av_text(rc, why));
}

lt_status lti_codec_open(const lt_sink *s, const AVOutputFormat *container, AVCodecContext **out,
                         lt_error *err) {
    *out = NULL;
    if (s->codec) return open_named(s, container, out, err);
    const AVCodec *codec = avcodec_find_encoder_by_name("libx264");
    if (codec && try_open(s, codec, container, out) >= 0) return LT_OK;
    void *it = NULL;
    while ((codec = av_codec_iterate(&it)) != NULL)
        if (codec->id == AV_CODEC_ID_H264 && av_codec_is_encoder(codec) &&
            try_open(s, codec, container, out) >= 0)
            return LT_OK;
    return lti_fail(err, LT_EUNSUPPORTED,
                    "libavcodec has no H.264 encoder that opens for %dx%d; use --codec mpeg4",
                    s->width, s->height);
}

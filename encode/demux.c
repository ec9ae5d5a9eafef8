/* SPDX-License-Identifier: Apache-2.0
 * encode/demux.c - the decoded frames of a video file, one by one.
 *
 * The file is hostile: only demuxers that read this one file are allowed (a playlist or a
 * concatenation script would open others), only the "file" protocol, and the size of a picture is
 * bounded before a decoder allocates it. A frame of which the decoder says that it had to guess
 * parts is an error, not a frame: a measurement or a continuation on it would be worthless, and
 * silently so. H.264 and the MPEGs say it; FFV1, MJPEG and HEVC mend a flipped bit without a word.
 * A file whose end is missing is told apart from a damaged one: all frames before are good.
 * libav prints its own remarks through a global callback; a library must not print, so the level is
 * set to quiet unless the program has chosen one. Reference: libavformat and libavcodec API
 * documentation, 5.1 to 8. */
#include "encode/demux.h"
#include "base/error.h"
#include "encode/codec.h"
#include <libavutil/display.h>
#include <libavutil/pixdesc.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Names as in av_demuxer_iterate. */
static const char FORMATS[] = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,yuv4mpegpipe,avi,mpegts,mpeg,"
                              "mpegvideo,flv,asf,ogg,nut,ivf,mxf,gif,h264,hevc,av1,obu,vc1,"
                              "m4v,mjpeg,jpeg_pipe,webp_pipe,bmp_pipe";

/* ---- open --------------------------------------------------------------------------------------
 */

static lt_status open_input(lti_demux *m, lt_error *err) {
    char url[PATH_MAX + 8], why[AV_ERROR_MAX_STRING_SIZE];
    const int len = snprintf(url, sizeof url, "file:%s", m->name);
    if (len < 0 || (size_t)len >= sizeof url)
        return lti_fail(err, LT_EINVAL, "input: the file name is too long");
    AVDictionary *opt = NULL;
    av_dict_set(&opt, "format_whitelist", FORMATS, 0);
    av_dict_set(&opt, "protocol_whitelist", "file", 0);
    int rc = avformat_open_input(&m->ic, url, NULL, &opt);
    av_dict_free(&opt);
    if (rc == AVERROR(ENOMEM)) return lti_oom(err, sizeof url);
    if (rc < 0)
        return lti_fail(err, LT_EFORMAT,
                        "%s: not a video that can be read (%s); expected .mp4 .mov .mkv .webm .avi "
                        ".y4m or a .png picture",
                        m->name, lti_av_text(rc, why));
    return LT_OK;
}

/* libav opens decoders of its own to look into the streams: they get the same limits. */
static lt_status look_inside(lti_demux *m, lt_error *err) {
    const unsigned n = m->ic->nb_streams;
    AVDictionary **opt = calloc(n + 1, sizeof *opt);
    if (!opt) return lti_oom(err, (n + 1) * sizeof *opt);
    for (unsigned i = 0; i < n; i++) {
        av_dict_set_int(&opt[i], "max_pixels", LTI_VIDEO_MAX_PIXELS, 0);
        av_dict_set_int(&opt[i], "threads", 1, 0);
    }
    const int rc = avformat_find_stream_info(m->ic, opt);
    for (unsigned i = 0; i < n; i++) av_dict_free(&opt[i]);
    free(opt);
    char why[AV_ERROR_MAX_STRING_SIZE];
    if (rc >= 0) return LT_OK;
    if (rc == AVERROR_EOF)
        return lti_fail(err, LT_EFORMAT, "%s: there is no video in it, only a header", m->name);
    return lti_fail(err, LT_EFORMAT, "%s: damaged: %s", m->name, lti_av_text(rc, why));
}

static lt_status pick_stream(lti_demux *m, lt_error *err) {
    const int i = av_find_best_stream(m->ic, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    if (i < 0 || m->ic->streams[i]->disposition & AV_DISPOSITION_ATTACHED_PIC)
        return lti_fail(err, LT_EFORMAT, "%s: there is no video in it, only %s", m->name,
                        m->ic->nb_streams == 0 ? "an empty container"
                        : i >= 0               ? "sound and a cover picture"
                                               : "sound or data");
    m->stream = m->ic->streams[i];
    for (unsigned k = 0; k < m->ic->nb_streams; k++)
        m->ic->streams[k]->discard = (int)k == i ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
    const AVCodecParameters *p = m->stream->codecpar;
    if ((int64_t)p->width * p->height > LTI_VIDEO_MAX_PIXELS)
        return lti_fail(err, LT_EFORMAT,
                        "%s: pictures of %dx%d; at most 8192x8192 pixels are read, scale it down",
                        m->name, p->width, p->height);
    return LT_OK;
}

static lt_status open_decoder(lti_demux *m, int threads, lt_error *err) {
    const AVCodecParameters *p = m->stream->codecpar;
    const AVCodec *codec = avcodec_find_decoder(p->codec_id);
    if (p->codec_id == AV_CODEC_ID_NONE)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "%s: coded in a way that this libavformat does not know; convert it to "
                        "H.264 first",
                        m->name);
    if (!codec)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "%s: this libavcodec has no decoder for %s; convert it to H.264 first",
                        m->name, avcodec_get_name(p->codec_id));
    m->dec = avcodec_alloc_context3(codec);
    m->pkt = av_packet_alloc();
    m->frame = av_frame_alloc();
    if (!m->dec || !m->pkt || !m->frame || avcodec_parameters_to_context(m->dec, p) < 0)
        return lti_oom(err, sizeof *m->dec);
    m->dec->log_level_offset = 100; /* above every level */
    m->dec->max_pixels = LTI_VIDEO_MAX_PIXELS;
    m->dec->pkt_timebase = m->stream->time_base;
    m->dec->thread_count = threads < 1 ? 1 : threads;
    const int rc = avcodec_open2(m->dec, codec, NULL);
    char why[AV_ERROR_MAX_STRING_SIZE];
    if (rc >= 0) return LT_OK;
    return lti_fail(err, LT_EFORMAT, "%s: the %s decoder refuses it: %s", m->name, codec->name,
                    lti_av_text(rc, why));
}

lt_status lti_demux_open(lti_demux *m, const char *path, int threads, lt_error *err) {
    *m = (lti_demux){.last_pts = AV_NOPTS_VALUE};
    if (av_log_get_level() == AV_LOG_INFO) av_log_set_level(AV_LOG_QUIET);
    m->name = strdup(path);
    lt_status st = m->name ? open_input(m, err) : lti_oom(err, strlen(path));
    if (st == LT_OK) st = look_inside(m, err);
    if (st == LT_OK) st = pick_stream(m, err);
    if (st == LT_OK) st = open_decoder(m, threads, err);
    if (st != LT_OK) lti_demux_close(m);
    return st;
}

void lti_demux_close(lti_demux *m) {
    av_frame_free(&m->frame);
    av_packet_free(&m->pkt);
    avcodec_free_context(&m->dec);
    avformat_close_input(&m->ic);
    free(m->name);
    *m = (lti_demux){0};
}

/* ---- frames ------------------------------------------------------------------------------------
 */

static lt_status damaged(const lti_demux *m, int rc, lt_error *err) {
    char why[AV_ERROR_MAX_STRING_SIZE];
    if (rc == AVERROR(ENOMEM)) return lti_oom(err, (size_t)m->dec->width * (size_t)m->dec->height);
    if (m->n == 0)
        return lti_fail(err, LT_EFORMAT, "%s: damaged: no frame can be decoded (%s)", m->name,
                        lti_av_text(rc, why));
    return lti_fail(err, LT_EFORMAT,
                    "%s: damaged at frame %lld (%s); the %lld frames before it are good", m->name,
                    (long long)m->n, lti_av_text(rc, why), (long long)m->n);
}

/* One packet to the decoder, or the news that there are no more. */
static lt_status feed(lti_demux *m, lt_error *err) {
    int rc;
    do {
        av_packet_unref(m->pkt);
        rc = av_read_frame(m->ic, m->pkt);
    } while (rc >= 0 && m->pkt->stream_index != m->stream->index);
    if (rc == AVERROR(ENOMEM)) return damaged(m, rc, err);
    if (rc >= 0 && m->pkt->pos >= 0) m->last_byte = m->pkt->pos + m->pkt->size;
    /* half a packet, or an index that points behind the end of the file */
    const bool half = rc >= 0 && m->pkt->flags & AV_PKT_FLAG_CORRUPT;
    if (half || (rc < 0 && rc != AVERROR_EOF)) m->cut = true;
    m->draining = half || rc < 0;
    rc = avcodec_send_packet(m->dec, m->draining ? NULL : m->pkt);
    av_packet_unref(m->pkt);
    return rc < 0 && rc != AVERROR_EOF ? damaged(m, rc, err) : LT_OK;
}

static lt_status check_frame(lti_demux *m, lt_error *err) {
    const AVFrame *f = m->frame;
    if (f->decode_error_flags || f->flags & AV_FRAME_FLAG_CORRUPT)
        return damaged(m, AVERROR_INVALIDDATA, err);
    if (f->width < 1 || f->height < 1 || (int64_t)f->width * f->height > LTI_VIDEO_MAX_PIXELS)
        return lti_fail(err, LT_EFORMAT, "%s: frame %lld has %dx%d pixels; at most 8192x8192",
                        m->name, (long long)m->n, f->width, f->height);
    return LT_OK;
}

/* Two demuxers do not complain about a missing end. y4m: bytes are left over. Matroska: the
 * duration in its header is longer than what came. */
static bool stops_early(const lti_demux *m) {
    const AVFormatContext *ic = m->ic;
    if (strcmp(ic->iformat->name, "yuv4mpegpipe") == 0)
        return m->last_byte > 0 && m->last_byte < avio_size(ic->pb);
    if (ic->nb_streams != 1 || strncmp(ic->iformat->name, "matroska", 8) != 0) return false;
    if (ic->duration <= 0 || ic->duration_estimation_method != AVFMT_DURATION_FROM_STREAM)
        return false;
    const double rate = av_q2d(m->stream->avg_frame_rate);
    const double two_frames = rate > 0 ? 2 / rate : 0.2;
    const double end = (double)m->last_pts * av_q2d(m->stream->time_base);
    const double start = ic->start_time == AV_NOPTS_VALUE ? 0 : (double)ic->start_time / 1e6;
    return m->last_pts != AV_NOPTS_VALUE && end - start + two_frames < (double)ic->duration / 1e6;
}

static lt_status next_frame(lti_demux *m, lt_error *err) {
    for (;;) {
        const int rc = avcodec_receive_frame(m->dec, m->frame);
        if (rc >= 0) {
            LT_TRY(check_frame(m, err));
            m->n++;
            m->last_pts = m->frame->best_effort_timestamp;
            return LT_OK;
        }
        if (rc == AVERROR_EOF) {
            m->cut = m->cut || stops_early(m);
            return LT_END;
        }
        if (rc != AVERROR(EAGAIN) || m->draining) return damaged(m, rc, err);
        LT_TRY(feed(m, err));
    }
}

lt_status lti_demux_next(lti_demux *m, lt_error *err) {
    if (m->ended == LT_OK) {
        const lt_status st = next_frame(m, err);
        if (st != LT_OK) m->ended = st;
        return st;
    }
    if (m->ended < 0) return lti_fail(err, m->ended, "%s: reading stopped earlier", m->name);
    return m->ended;
}

int lti_demux_rotation(const lti_demux *m) {
    const uint8_t *matrix = NULL;
#if LIBAVFORMAT_VERSION_INT >= AV_VERSION_INT(60, 15, 100)
    const AVCodecParameters *p = m->stream->codecpar;
    const AVPacketSideData *sd = av_packet_side_data_get(p->coded_side_data, p->nb_coded_side_data,
                                                         AV_PKT_DATA_DISPLAYMATRIX);
    if (sd && sd->size >= 36) matrix = sd->data;
#else
    size_t size = 0;
    matrix = av_stream_get_side_data(m->stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
    if (size < 36) matrix = NULL;
#endif
    if (!matrix) return 0;
    const double angle = av_display_rotation_get((const int32_t *)(const void *)matrix);
    if (!isfinite(angle)) return 0;
    return (int)((4 - lround(angle / 90)) % 4 + 4) % 4 * 90; /* libav counts the other way round */
}

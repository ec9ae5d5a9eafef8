/* SPDX-License-Identifier: Apache-2.0
 * encode/mp4.c - .mp4 and .mkv through libavformat, playable at every moment.
 *
 * .mp4: one fragment per chunk (frag_custom: a fragment ends where we say), written and synced at
 * the chunk's end; the index of each fragment is in it, so a kill costs at most the chunk in
 * flight. A clean close turns the file into a classic one (remux.c). .mkv: one cluster per chunk;
 * the trailer adds duration and cues in place, and only metadata that came after the first frame
 * needs a rewrite. A chunk starts with an I-frame if the last one is a second or more ago: seeking
 * stays quick, and short chunks do not pay for an I-frame each. Without help the encoder puts one
 * every 2 s. Our own AVIO callbacks rather than a URL: they give the errno of a full disk, let us
 * cut the file back to the last whole chunk, and leave an old file alone until the first byte.
 * Reference: ISO 14496-12 (fragments: moof, mdat), the FFmpeg muxer documentation. */
#include "encode/codec.h"
#include "encode/remux.h"
#include "encode/sink_int.h"
#include "encode/yuv.h"
#include <errno.h>
#include <libavformat/avformat.h>
#include <libavutil/mem.h>
#include <stdio.h>
#include <string.h>

#define IO_BUFFER (64 << 10)
#define MAX_TAG 4096  /* bytes of a metadata value */
#define MAX_TAGS 1024 /* entries */

typedef struct mp4_sink {
    lti_outfile out;
    int write_errno; /* first failure of the file; libav only passes a code on */
    lti_yuv yuv;
    AVCodecContext *enc;
    AVFormatContext *oc;
    AVPacket *pkt;
    bool header;                    /* the muxer's header is written */
    bool late_meta;                 /* metadata that is not in it */
    int64_t last_key;               /* frame of the last forced I-frame, -1: none */
    int64_t good_size, good_frames; /* bytes and frames of whole chunks on disk */
} mp4_sink;

/* ---- file callbacks ---------------------------------------------------------------------------
 */

#if LIBAVFORMAT_VERSION_MAJOR >= 61
typedef const uint8_t io_byte;
#else
typedef uint8_t io_byte;
#endif

static int io_write(void *opaque, io_byte *buf, int n) {
    mp4_sink *m = opaque;
    const int e = lti_outfile_write(&m->out, buf, (size_t)n);
    if (e == 0) return n;
    if (m->write_errno == 0) m->write_errno = e;
    return AVERROR(e);
}

static int64_t io_seek(void *opaque, int64_t offset, int whence) {
    mp4_sink *m = opaque;
    whence &= ~AVSEEK_FORCE;
    if (whence == AVSEEK_SIZE) return m->out.end;
    if (whence == SEEK_CUR) offset += m->out.pos;
    if (whence == SEEK_END) offset += m->out.end;
    const int64_t pos = lti_outfile_seek(&m->out, offset);
    return pos < 0 ? AVERROR(ESPIPE) : pos;
}

static lt_status io_open(lt_sink *s, mp4_sink *m, lt_error *err) {
    LT_TRY(lti_outfile_open(s->path, &m->out, err));
    uint8_t *buf = av_malloc(IO_BUFFER);
    if (!buf) return lti_oom(err, IO_BUFFER);
    /* fragments never look back; only Matroska completes its header at the end */
    const bool seek = m->out.regular && s->ops == &lti_sink_mkv;
    m->oc->pb = avio_alloc_context(buf, IO_BUFFER, 1, m, NULL, io_write, seek ? io_seek : NULL);
    if (!m->oc->pb) {
        av_free(buf);
        return lti_oom(err, IO_BUFFER);
    }
    m->oc->flags |= AVFMT_FLAG_CUSTOM_IO;
    return LT_OK;
}

static lt_status write_error(const lt_sink *s, const mp4_sink *m, int rc, lt_error *err) {
    char why[AV_ERROR_MAX_STRING_SIZE];
    return lti_fail(err, LT_EIO, "cannot write %s: %s; the first %lld frames are kept", s->path,
                    m->write_errno ? strerror(m->write_errno) : lti_av_text(rc, why),
                    (long long)m->good_frames);
}

/* ---- open -------------------------------------------------------------------------------------
 */

/* One metadata entry; replaces one of the same key. Long values (a prompt may have 64 KiB) are cut
 * at a character: libavformat cannot read back tags that outgrow its moov reserve. */
static lt_status set_tag(AVFormatContext *oc, const char *key, const char *value, lt_error *err) {
    size_t n = strlen(value);
    if (n > MAX_TAG)
        for (n = MAX_TAG; n > 0 && ((unsigned char)value[n] & 0xc0) == 0x80;) n--;
    char *copy = av_strndup(value, n);
    if (!copy || av_dict_set(&oc->metadata, key, copy, AV_DICT_DONT_STRDUP_VAL) < 0)
        return lti_oom(err, n);
    return LT_OK;
}

static lt_status open_muxer(lt_sink *s, mp4_sink *m, lt_error *err) {
    m->oc = avformat_alloc_context();
    m->pkt = av_packet_alloc();
    if (!m->oc || !m->pkt) return lti_oom(err, sizeof *m->oc);
    const char *format = s->ops == &lti_sink_mkv ? "matroska" : "mp4";
    m->oc->oformat = av_guess_format(format, NULL, NULL);
    if (!m->oc->oformat)
        return lti_fail(err, LT_EUNSUPPORTED, "output %s: this libavformat has no %s writer",
                        s->path, format);
    LT_TRY(lti_codec_open(s, m->oc->oformat, &m->enc, err));
    AVStream *st = avformat_new_stream(m->oc, NULL);
    if (!st || avcodec_parameters_from_context(st->codecpar, m->enc) < 0)
        return lti_oom(err, sizeof *st);
    st->time_base = m->enc->time_base;
    st->avg_frame_rate = m->enc->framerate;
    st->sample_aspect_ratio = m->enc->sample_aspect_ratio;
    for (int i = 0; i < s->n_meta; i++)
        LT_TRY(set_tag(m->oc, s->meta[i].key, s->meta[i].value, err));
    return LT_OK;
}

static lt_status mp4_open(lt_sink *s, lt_error *err) {
    mp4_sink *m = s->priv = calloc(1, sizeof *m);
    if (!m) return lti_oom(err, sizeof *m);
    m->out.fd = -1;
    m->last_key = -1;
    LT_TRY(lti_yuv_open(&m->yuv, s->width, s->height, err));
    LT_TRY(open_muxer(s, m, err));
    LT_TRY(io_open(s, m, err));
    AVDictionary *opt = NULL;
    av_dict_set(&opt, "movflags",
                "+frag_custom+empty_moov+default_base_moof+skip_trailer+use_metadata_tags", 0);
    const int rc = avformat_init_output(m->oc, &opt);
    av_dict_free(&opt);
    char why[AV_ERROR_MAX_STRING_SIZE];
    if (rc >= 0) return LT_OK;
    return lti_fail(err, LT_EUNSUPPORTED, "output %s: the %s writer refuses %s: %s", s->path,
                    s->ops->name, m->enc->codec->name, lti_av_text(rc, why));
}

/* ---- write ------------------------------------------------------------------------------------
 */

/* Everything the encoder has ready goes to the muxer. */
static lt_status drain_encoder(lt_sink *s, mp4_sink *m, lt_error *err) {
    for (;;) {
        int rc = avcodec_receive_packet(m->enc, m->pkt);
        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF) return LT_OK;
        char why[AV_ERROR_MAX_STRING_SIZE];
        if (rc < 0)
            return lti_fail(err, LT_EUNSUPPORTED, "encoder %s failed at frame %lld: %s",
                            m->enc->codec->name, (long long)s->n_frame, lti_av_text(rc, why));
        if (m->pkt->duration == 0) m->pkt->duration = 1;
        m->pkt->stream_index = 0;
        av_packet_rescale_ts(m->pkt, m->enc->time_base, m->oc->streams[0]->time_base);
        rc = av_write_frame(m->oc, m->pkt);
        av_packet_unref(m->pkt);
        if (rc < 0 || m->write_errno) return write_error(s, m, rc, err);
    }
}

static lt_status send_frame(lt_sink *s, mp4_sink *m, const AVFrame *frame, lt_error *err) {
    const int rc = avcodec_send_frame(m->enc, frame);
    char why[AV_ERROR_MAX_STRING_SIZE];
    if (rc < 0 && rc != AVERROR_EOF)
        return lti_fail(err, LT_EUNSUPPORTED, "encoder %s refused frame %lld: %s",
                        m->enc->codec->name, (long long)s->n_frame, lti_av_text(rc, why));
    return drain_encoder(s, m, err);
}

static lt_status mp4_write(lt_sink *s, const uint8_t *rgb, lt_error *err) {
    mp4_sink *m = s->priv;
    if (!m->header) {
        const int rc = avformat_write_header(m->oc, NULL);
        if (rc < 0 || m->write_errno) return write_error(s, m, rc, err);
        m->header = true;
    }
    LT_TRY(lti_yuv_convert(&m->yuv, rgb, err));
    AVFrame *f = m->yuv.frame;
    const int64_t second = s->fps_num / s->fps_den;
    const bool key = s->chunk_start && (m->last_key < 0 || s->n_frame - m->last_key >= second);
    if (key) m->last_key = s->n_frame;
    f->pict_type = key ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    f->pts = s->n_frame;
    return send_frame(s, m, f, err);
}

static lt_status mp4_flush(lt_sink *s, lt_error *err) {
    mp4_sink *m = s->priv;
    const int rc = av_write_frame(m->oc, NULL); /* ends the fragment or cluster */
    avio_flush(m->oc->pb);
    if (rc < 0 || m->write_errno) return write_error(s, m, rc, err);
    m->write_errno = lti_outfile_sync(&m->out);
    if (m->write_errno) return write_error(s, m, rc, err);
    m->good_size = m->out.end;
    m->good_frames = s->n_frame;
    return LT_OK;
}

/* ---- close ------------------------------------------------------------------------------------
 */

/* The file on disk stays as it is; the copy that close makes has the new entries. */
static lt_status mp4_set_meta(lt_sink *s, const char *key, const char *value, lt_error *err) {
    mp4_sink *m = s->priv;
    if (m->header && !m->out.regular)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "output %s: the header is sent and cannot be taken back; metadata that "
                        "comes late needs a regular file",
                        s->path);
    if (av_dict_count(m->oc->metadata) >= MAX_TAGS)
        return lti_fail(err, LT_EINVAL, "output %s: more than %d metadata entries", s->path,
                        MAX_TAGS);
    LT_TRY(set_tag(m->oc, key, value, err));
    m->late_meta = m->late_meta || m->header;
    return LT_OK;
}

static lt_status finish(lt_sink *s, mp4_sink *m, lt_error *err) {
    LT_TRY(send_frame(s, m, NULL, err));
    LT_TRY(mp4_flush(s, err));
    const int rc = av_write_trailer(m->oc);
    avio_flush(m->oc->pb);
    if (rc < 0 || m->write_errno) return write_error(s, m, rc, err);
    m->write_errno = lti_outfile_sync(&m->out);
    return m->write_errno ? write_error(s, m, rc, err) : LT_OK;
}

static void mp4_free(mp4_sink *m) {
    if (m->oc && m->oc->pb) {
        av_freep(&m->oc->pb->buffer);
        avio_context_free(&m->oc->pb);
    }
    avformat_free_context(m->oc);
    av_packet_free(&m->pkt);
    avcodec_free_context(&m->enc);
    lti_yuv_close(&m->yuv);
    lti_outfile_close(&m->out);
    free(m);
}

/* The finished file once more, as a classic one and with the metadata that came late. A failure (no
 * room for a second copy) leaves a complete file: a remark, not an error. */
static void rewrite(const lt_sink *s, const mp4_sink *m, lt_error *err) {
    const bool mkv = s->ops == &lti_sink_mkv;
    if (!m->out.regular || (mkv && !m->late_meta)) return;
    const int rc = lti_remux(m->out.path, mkv ? "matroska" : "mp4", m->oc->streams[0],
                             m->oc->metadata, s->n_frame);
    if (rc >= 0 || !err || err->code != LT_OK) return;
    char why[AV_ERROR_MAX_STRING_SIZE];
    snprintf(err->msg, sizeof err->msg, "%s is complete but %s%s%s: %s", m->out.path,
             mkv ? "" : "stays fragmented", m->late_meta && !mkv ? ", " : "",
             m->late_meta ? "without the metadata that came late" : "", lti_av_text(rc, why));
}

static lt_status mp4_close(lt_sink *s, bool ok, lt_error *err) {
    mp4_sink *m = s->priv;
    if (!m) return LT_OK;
    lt_status st = ok ? finish(s, m, err) : LT_OK;
    if (!ok || st != LT_OK) lti_outfile_cut(&m->out, m->good_size);
    if (ok && st == LT_OK) rewrite(s, m, err);
    mp4_free(m);
    s->priv = NULL;
    return st;
}

const lti_sink_ops lti_sink_mp4 = {".mp4",    true,      mp4_open, mp4_write,
                                   mp4_flush, mp4_close, NULL,     mp4_set_meta};
const lti_sink_ops lti_sink_mkv = {".mkv",    true,      mp4_open, mp4_write,
                                   mp4_flush, mp4_close, NULL,     mp4_set_meta};

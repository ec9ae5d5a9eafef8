/* SPDX-License-Identifier: Apache-2.0
 * encode/reader.c - the public frame reader: a video file (demux.c) or a PNG picture (png_read.c),
 * each frame converted (torgb.c) straight into the caller's memory: decoder -> RGB, one write. Its
 * samples as stored come along on demand (planes.c), mostly without a copy.
 *
 * The first eight bytes decide, not the name. One frame is decoded at open and kept back, since
 * size, pixel format and colour tags in the container may differ from what the decoder finds. */
#include "base/error.h"
#include "base/filemap.h"
#include "encode/demux.h"
#include "encode/planes.h"
#include "encode/png_read.h"
#include "encode/torgb.h"
#include <errno.h>
#include <fcntl.h>
#include <libavutil/pixdesc.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SIDE 16384

struct lt_reader {
    char *path;
    lt_matrix want;
    bool accept_cut;
    bool is_png, y4m_ours;
    lti_demux video;     /* a video file */
    lti_picture picture; /* or a PNG, and the frame that points to it */
    AVFrame *still;
    bool pending; /* the frame to give next is there already */
    lti_torgb torgb;
    lti_planes planes;
    int stored_w, stored_h;
    int64_t n;         /* frames given */
    double last, step; /* time of the last frame and its distance to the one before */
    int64_t first_pts;
    bool uneven, interlaced;
    lti_colour colour;
    bool guessed;
    AVRational sar;   /* of a pixel; kept, since the last frame goes at the end */
    lt_status failed; /* of an earlier call */
};

void lt_reader_params_init_sized(lt_reader_params *p, size_t size) {
    memset(p, 0, size);
    p->struct_size = size;
}

/* ---- open --------------------------------------------------------------------------------------
 */

static lt_status check_params(const lt_reader_params *p, lt_error *err) {
    if (!p->path || !*p->path) return lti_fail(err, LT_EINVAL, "input: the path is empty");
    const bool stored = p->width == 0 && p->height == 0;
    if (!stored && (p->width < 1 || p->height < 1 || p->width > MAX_SIDE || p->height > MAX_SIDE))
        return lti_fail(err, LT_EINVAL,
                        "%s: frames of %dx%d wanted; give both sides, 1 to %d, or 0 0 for its own",
                        p->path, p->width, p->height, MAX_SIDE);
    if (p->threads < 0 || p->threads > 256)
        return lti_fail(err, LT_EINVAL, "%s: %d decoder threads, expected 0 to 256", p->path,
                        p->threads);
    if (p->matrix < LT_MATRIX_AUTO || p->matrix > LT_MATRIX_FCC)
        return lti_fail(err, LT_EINVAL, "%s: matrix %d, expected %d to %d", p->path, p->matrix,
                        LT_MATRIX_AUTO, LT_MATRIX_FCC);
    return LT_OK;
}

/* First bytes of a regular file; *n of them. */
static lt_status peek(const char *path, uint8_t *buf, size_t cap, size_t *n, lt_error *err) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        const int e = errno;
        if (fd >= 0) close(fd);
        return lti_fail(err, LT_EIO, "cannot read %s: %s", path, strerror(e));
    }
    const ssize_t got = S_ISREG(st.st_mode) ? read(fd, buf, cap) : 0;
    const int e = errno;
    close(fd);
    if (!S_ISREG(st.st_mode))
        return lti_fail(err, LT_EIO, "cannot read %s: it is %s; give a file", path,
                        S_ISDIR(st.st_mode) ? "a folder" : "no regular file");
    if (got < 0) return lti_fail(err, LT_EIO, "cannot read %s: %s", path, strerror(e));
    if (got == 0) return lti_fail(err, LT_EFORMAT, "%s: the file is empty", path);
    *n = (size_t)got;
    return LT_OK;
}

static lt_status open_png(lt_reader *r, lt_error *err) {
    lti_filemap map = {0};
    LT_TRY(lti_filemap_open(r->path, &map, err));
    const lt_status st = lti_png_decode(map.data, map.size, r->path, &r->picture, err);
    lti_filemap_close(&map);
    LT_TRY(st);
    AVFrame *f = r->still = av_frame_alloc();
    if (!f) return lti_oom(err, sizeof *f);
    f->format = AV_PIX_FMT_RGB24;
    f->width = r->picture.width;
    f->height = r->picture.height;
    f->data[0] = r->picture.rgb; /* no reference count: never unreferenced, only freed */
    f->linesize[0] = 3 * f->width;
    return LT_OK;
}

/* Our y4m says its matrix in a comment that libav skips. */
static bool says_bt709(const uint8_t *head, size_t n) {
    const uint8_t *end = memchr(head, '\n', n);
    const char *magic = "YUV4MPEG2 ", *tag = " XBT709";
    return end && n > 10 && memcmp(head, magic, 10) == 0 &&
           memmem(head, (size_t)(end - head), tag, strlen(tag));
}

static const AVFrame *current(const lt_reader *r) { return r->is_png ? r->still : r->video.frame; }

static lt_status set_colour(lt_reader *r, lt_error *err) {
    lt_error why = {0};
    const lt_status st =
        lti_colour_of(current(r), r->want, r->y4m_ours, &r->colour, &r->guessed, &why);
    return st == LT_OK ? st : lti_fail(err, st, "%s: %s", r->path, why.msg);
}

/* LT_END of the demuxer is an error when the file was cut and nobody expects that. */
static lt_status fetch(lt_reader *r, lt_error *err) {
    const lt_status st = lti_demux_next(&r->video, err);
    if (st != LT_END || !r->video.cut || r->accept_cut) return st;
    if (r->video.n == 0)
        return lti_fail(err, LT_EFORMAT, "%s: the file ends too early, in its first frame",
                        r->path);
    return lti_fail(err, LT_EFORMAT,
                    "%s: the file ends too early, in the middle of frame %lld; the frames before "
                    "it are good",
                    r->path, (long long)r->video.n);
}

static lt_status open_video(lt_reader *r, int threads, lt_error *err) {
    LT_TRY(lti_demux_open(&r->video, r->path, threads, err));
    const lt_status st = fetch(r, err);
    if (st == LT_END) return lti_fail(err, LT_EFORMAT, "%s: there is no frame in it", r->path);
    return st;
}

static lt_status reader_init(lt_reader *r, const lt_reader_params *p, lt_error *err) {
    uint8_t head[512];
    size_t n = 0;
    r->path = strdup(p->path);
    if (!r->path) return lti_oom(err, strlen(p->path));
    r->want = (lt_matrix)p->matrix;
    r->accept_cut = p->accept_cut != 0;
    LT_TRY(peek(r->path, head, sizeof head, &n, err));
    r->is_png = lti_is_png(head, n);
    r->y4m_ours = says_bt709(head, n);
    LT_TRY(r->is_png ? open_png(r, err) : open_video(r, p->threads, err));
    LT_TRY(set_colour(r, err));
    const AVFrame *f = current(r);
    r->stored_w = f->width;
    r->stored_h = f->height;
    r->first_pts = f->best_effort_timestamp;
    if (!r->is_png)
        r->sar = av_guess_sample_aspect_ratio(r->video.ic, r->video.stream, r->video.frame);
    r->torgb.width = p->width ? p->width : f->width;
    r->torgb.height = p->height ? p->height : f->height;
    r->pending = true;
    return LT_OK;
}

lt_status lt_reader_open(const lt_reader_params *p, lt_reader **out, lt_error *err) {
    *out = NULL;
    lt_reader_params q;
    lt_reader_params_init(&q);
    memcpy(&q, p, p->struct_size < sizeof q ? p->struct_size : sizeof q);
    LT_TRY(check_params(&q, err));
    lt_reader *r = calloc(1, sizeof *r);
    if (!r) return lti_oom(err, sizeof *r);
    const lt_status st = reader_init(r, &q, err);
    if (st != LT_OK) lt_reader_close(&r);
    *out = r;
    return st;
}

void lt_reader_close(lt_reader **pr) {
    lt_reader *r = pr ? *pr : NULL;
    if (!r) return;
    lti_planes_close(&r->planes);
    lti_torgb_close(&r->torgb);
    lti_demux_close(&r->video);
    if (r->still) r->still->data[0] = NULL;
    av_frame_free(&r->still);
    free(r->picture.rgb);
    free(r->path);
    free(r);
    *pr = NULL;
}

/* ---- frames ------------------------------------------------------------------------------------
 */

static AVRational rate_of(const lt_reader *r) {
    if (r->is_png) return (AVRational){0, 1};
    const AVStream *st = r->video.stream;
    AVRational fps = st->avg_frame_rate;
    if (fps.num < 1 || fps.den < 1) fps = st->r_frame_rate;
    return fps.num < 1 || fps.den < 1 ? (AVRational){0, 1} : fps;
}

/* Seconds since the first frame; without a time stamp the frame rate counts. */
static double time_of(const lt_reader *r, const AVFrame *f) {
    if (r->is_png) return 0;
    const int64_t pts = f->best_effort_timestamp;
    const AVRational fps = rate_of(r);
    if (pts != AV_NOPTS_VALUE && r->first_pts != AV_NOPTS_VALUE)
        return ((double)pts - (double)r->first_pts) * av_q2d(r->video.stream->time_base);
    return fps.num ? (double)r->n / av_q2d(fps) : 0;
}

static void note_time(lt_reader *r, double now) {
    const double step = now - r->last;
    /* time stamps are rounded to the container's clock, 1 ms in Matroska */
    if (r->n > 1 && fabs(step - r->step) > 0.0025) r->uneven = true;
    if (r->n > 0 && (r->n == 1 || !r->uneven)) r->step = step;
    r->last = now;
}

static lt_status take_next(lt_reader *r, lt_error *err) {
    if (r->pending) {
        r->pending = false;
        return LT_OK;
    }
    if (r->is_png) return LT_END;
    LT_TRY(fetch(r, err));
    if (r->video.ended == LT_END) return LT_END;
    const AVFrame *f = r->video.frame;
    if (f->width != r->stored_w || f->height != r->stored_h)
        return lti_fail(err, LT_EFORMAT,
                        "%s: the size changes from %dx%d to %dx%d at frame %lld; split it there",
                        r->path, r->stored_w, r->stored_h, f->width, f->height, (long long)r->n);
    return set_colour(r, err);
}

static bool is_interlaced(const AVFrame *f) {
#ifdef AV_FRAME_FLAG_INTERLACED
    return f->flags & AV_FRAME_FLAG_INTERLACED;
#else
    return f->interlaced_frame;
#endif
}

/* The frame that take_next found, as RGB and as it is stored; either may be NULL. */
static lt_status convert(lt_reader *r, uint8_t *rgb, lt_picture *pic, lt_error *err) {
    const AVFrame *f = current(r);
    lt_error why = {0};
    lt_status st = rgb ? lti_torgb_run(&r->torgb, f, r->colour, rgb, &why) : LT_OK;
    if (st == LT_OK && pic)
        st = lti_planes_run(&r->planes, f, r->colour, &r->torgb, rgb, pic, &why);
    return st == LT_OK ? st : lti_fail(err, st, "%s: %s", r->path, why.msg);
}

static lt_status read_frame(lt_reader *r, uint8_t *rgb, lt_picture *pic, double *seconds,
                            lt_error *err) {
    if (r->failed < 0) return lti_fail(err, r->failed, "%s: reading stopped earlier", r->path);
    lt_status st = take_next(r, err);
    if (st == LT_OK) {
        const AVFrame *f = current(r);
        const double now = time_of(r, f);
        note_time(r, now);
        if (seconds) *seconds = now;
        r->interlaced = r->interlaced || is_interlaced(f);
        st = convert(r, rgb, pic, err);
    }
    if (st == LT_OK) r->n++;
    if (st < 0) r->failed = st;
    return st;
}

lt_status lt_reader_next(lt_reader *r, uint8_t *rgb, double *seconds, lt_error *err) {
    return read_frame(r, rgb, NULL, seconds, err);
}

lt_status lt_reader_picture(lt_reader *r, uint8_t *rgb, lt_picture *pic, double *seconds,
                            lt_error *err) {
    *pic = (lt_picture){0};
    if (r->torgb.width != r->stored_w || r->torgb.height != r->stored_h)
        return lti_fail(err, LT_EINVAL,
                        "%s: samples as stored are %dx%d, frames of %dx%d were asked for; open it "
                        "with the size 0 0",
                        r->path, r->stored_w, r->stored_h, r->torgb.width, r->torgb.height);
    return read_frame(r, rgb, pic, seconds, err);
}

/* ---- facts -------------------------------------------------------------------------------------
 */

static void video_info(const lt_reader *r, lt_reader_info *i) {
    const lti_demux *m = &r->video;
    const AVStream *st = m->stream;
    const AVRational fps = rate_of(r), sar = r->sar;
    i->fps_num = fps.num;
    i->fps_den = fps.den;
    i->frames = st->nb_frames > 0 ? st->nb_frames : 0;
    if (st->duration > 0) i->seconds = (double)st->duration * av_q2d(st->time_base);
    else if (m->ic->duration > 0) i->seconds = (double)m->ic->duration / AV_TIME_BASE;
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(m->dec->pix_fmt);
    i->bits = d ? d->comp[0].depth : 0;
    i->alpha = d && d->flags & AV_PIX_FMT_FLAG_ALPHA;
    const enum AVFieldOrder order = st->codecpar->field_order;
    i->interlaced = r->interlaced || order > AV_FIELD_PROGRESSIVE;
    const enum AVColorTransferCharacteristic trc = st->codecpar->color_trc;
    i->hdr = trc == AVCOL_TRC_SMPTE2084 || trc == AVCOL_TRC_ARIB_STD_B67;
    i->rotation = lti_demux_rotation(m);
    if (sar.num > 0 && sar.den > 0) i->sar_num = sar.num, i->sar_den = sar.den;
    i->variable_rate = r->uneven;
    i->cut_short = m->cut;
    snprintf(i->format, sizeof i->format, "%s", m->ic->iformat->name);
    snprintf(i->codec, sizeof i->codec, "%s", avcodec_get_name(st->codecpar->codec_id));
    snprintf(i->pixel_format, sizeof i->pixel_format, "%s", d ? d->name : "");
}

void lt_reader_get_info(const lt_reader *r, lt_reader_info *info, size_t size) {
    lt_reader_info i = {.struct_size = size,
                        .width = r->torgb.width,
                        .height = r->torgb.height,
                        .stored_width = r->stored_w,
                        .stored_height = r->stored_h,
                        .fps_den = 1,
                        .frames = 1,
                        .picture = r->is_png,
                        .matrix = (int32_t)r->colour.matrix,
                        .matrix_guessed = r->guessed,
                        .full_range = r->colour.full_range,
                        .sar_num = 1,
                        .sar_den = 1,
                        .frames_read = r->n};
    if (r->is_png) {
        i.bits = r->picture.bits;
        i.alpha = r->picture.alpha;
        i.interlaced = r->picture.interlaced;
        memcpy(i.format, "png", 4);
        memcpy(i.codec, "png", 4);
        memcpy(i.pixel_format, "rgb24", 6);
    } else {
        video_info(r, &i);
    }
    memcpy(info, &i, size < sizeof i ? size : sizeof i);
}

const char *lt_reader_meta(const lt_reader *r, const char *key) {
    if (r->is_png) return NULL;
    const AVDictionaryEntry *e = av_dict_get(r->video.ic->metadata, key, NULL, 0);
    return e ? e->value : NULL;
}

int32_t lt_reader_meta_at(const lt_reader *r, int32_t i, const char **key, const char **value) {
    const AVDictionaryEntry *e = NULL;
    *key = *value = NULL;
    if (r->is_png || i < 0) return 0;
    for (; i >= 0; i--)
        if (!(e = av_dict_get(r->video.ic->metadata, "", e, AV_DICT_IGNORE_SUFFIX))) return 0;
    *key = e->key;
    *value = e->value;
    return 1;
}

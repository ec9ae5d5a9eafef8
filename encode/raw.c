/* SPDX-License-Identifier: Apache-2.0
 * encode/raw.c - uncompressed sinks: .rgb (RGB24, no header) and y4m (4:2:0) to a file or stdout.
 *
 * y4m has no field for the matrix; ours is always BT.709, limited range, chroma sited left
 * (C420mpeg2; C420jpeg would mean centred). The comment XBT709 says so to our own reader; others
 * that guess from the size must be told, e.g. with -colorspace bt709. Pitfall: libav refuses a
 * header of more than 96 characters. */
#include "encode/sink_int.h"
#include "encode/yuv.h"
#include <stdio.h>
#include <string.h>

typedef struct raw_sink {
    lti_outfile out;
    lti_yuv yuv;  /* y4m only */
    uint8_t *buf; /* y4m: "FRAME\n" + planes */
    size_t buf_size;
    bool header; /* the stream header is out */
} raw_sink;

static const char FRAME[] = "FRAME\n";
#define FRAME_LEN (sizeof FRAME - 1)

static lt_status raw_open(lt_sink *s, lt_error *err) {
    raw_sink *r = s->priv = calloc(1, sizeof *r);
    if (!r) return lti_oom(err, sizeof *r);
    r->out.fd = -1;
    return lti_outfile_open(s->path, &r->out, err);
}

static lt_status y4m_open(lt_sink *s, lt_error *err) {
    LT_TRY(raw_open(s, err));
    raw_sink *r = s->priv;
    LT_TRY(lti_yuv_open(&r->yuv, s->width, s->height, err));
    const size_t luma = (size_t)s->width * (size_t)s->height;
    r->buf_size = FRAME_LEN + luma + luma / 2;
    r->buf = malloc(r->buf_size);
    return r->buf ? LT_OK : lti_oom(err, r->buf_size);
}

static lt_status put(lt_sink *s, const void *buf, size_t n, lt_error *err) {
    raw_sink *r = s->priv;
    const int e = lti_outfile_write(&r->out, buf, n);
    if (e == 0) return LT_OK;
    return lti_fail(err, LT_EIO, "cannot write %s: %s; the first %lld frames are complete",
                    r->out.path, strerror(e), (long long)s->n_frame);
}

static lt_status rgb_write(lt_sink *s, const uint8_t *rgb, lt_error *err) {
    return put(s, rgb, (size_t)s->width * (size_t)s->height * 3, err);
}

static lt_status y4m_header(lt_sink *s, lt_error *err) {
    char line[160];
    const int n =
        snprintf(line, sizeof line,
                 "YUV4MPEG2 W%d H%d F%d:%d Ip A1:1 C420mpeg2 XBT709 XCOLORRANGE=LIMITED\n",
                 s->width, s->height, s->fps_num, s->fps_den);
    ((raw_sink *)s->priv)->header = true;
    return put(s, line, (size_t)n, err);
}

static lt_status y4m_write(lt_sink *s, const uint8_t *rgb, lt_error *err) {
    raw_sink *r = s->priv;
    if (!r->header) LT_TRY(y4m_header(s, err));
    LT_TRY(lti_yuv_convert(&r->yuv, rgb, err));
    uint8_t *p = r->buf;
    memcpy(p, FRAME, FRAME_LEN);
    p += FRAME_LEN;
    for (int plane = 0; plane < 3; plane++) { /* Y [h, w], Cb and Cr [h/2, w/2], without padding */
        const int w = plane ? s->width / 2 : s->width, h = plane ? s->height / 2 : s->height;
        for (int row = 0; row < h; row++, p += w)
            memcpy(p, r->yuv.frame->data[plane] + (ptrdiff_t)row * r->yuv.frame->linesize[plane],
                   (size_t)w);
    }
    return put(s, r->buf, r->buf_size, err);
}

static lt_status raw_flush(lt_sink *s, lt_error *err) {
    raw_sink *r = s->priv;
    const int e = lti_outfile_sync(&r->out);
    if (e == 0) return LT_OK;
    return lti_fail(err, LT_EIO, "cannot write %s: %s", r->out.path, strerror(e));
}

static lt_status raw_close(lt_sink *s, bool ok, lt_error *err) {
    raw_sink *r = s->priv;
    if (!r) return LT_OK;
    lt_status st = ok ? raw_flush(s, err) : LT_OK;
    if (s->n_frame == 0) lti_outfile_cut(&r->out, 0);
    const int e = lti_outfile_close(&r->out);
    if (ok && st == LT_OK && e != 0)
        st = lti_fail(err, LT_EIO, "cannot finish %s: %s", s->path, strerror(e));
    lti_yuv_close(&r->yuv);
    free(r->buf);
    free(r);
    s->priv = NULL;
    return st;
}

const lti_sink_ops lti_sink_rgb = {".rgb",    false,     raw_open, rgb_write,
                                   raw_flush, raw_close, NULL,     NULL};
const lti_sink_ops lti_sink_y4m = {"y4m",     true,      y4m_open, y4m_write,
                                   raw_flush, raw_close, NULL,     NULL};

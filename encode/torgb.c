/* SPDX-License-Identifier: Apache-2.0
 * encode/torgb.c - a decoded frame of any pixel format becomes RGB24 of one size.
 *
 * Matrix by tag (BT.709, 601, 2020, ...), limited or full range, chroma position by tag, so that a
 * flat patch comes back within 1 of what was encoded. Without a matrix tag: BT.601 below 720 lines,
 * else BT.709, as most players guess. Values are taken as sRGB: transfer curves are not converted
 * (the difference between BT.709 and sRGB is what players ignore too).
 * Cropping moves the plane pointers and copies nothing. Pitfalls: libswscale's short cut for 4:2:0
 * repeats chroma samples; SWS_FULL_CHR_H_INT makes it interpolate. It does not know the yuvj
 * formats' range by itself when told otherwise, so range is always given. */
#include "encode/torgb.h"
#include "base/error.h"
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
#include <string.h>

/* ---- colour ------------------------------------------------------------------------------------
 */

static lt_matrix matrix_of_tag(enum AVColorSpace tag) {
    switch (tag) {
    case AVCOL_SPC_BT709:
        return LT_MATRIX_BT709;
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
        return LT_MATRIX_BT601;
    case AVCOL_SPC_BT2020_NCL:
        return LT_MATRIX_BT2020;
    case AVCOL_SPC_SMPTE240M:
        return LT_MATRIX_SMPTE240M;
    case AVCOL_SPC_FCC:
        return LT_MATRIX_FCC;
    default:
        return LT_MATRIX_AUTO;
    }
}

static int sws_matrix(lt_matrix m) {
    static const int table[] = {
        [LT_MATRIX_BT709] = SWS_CS_ITU709,  [LT_MATRIX_BT601] = SWS_CS_ITU601,
        [LT_MATRIX_BT2020] = SWS_CS_BT2020, [LT_MATRIX_SMPTE240M] = SWS_CS_SMPTE240M,
        [LT_MATRIX_FCC] = SWS_CS_FCC,       [LT_MATRIX_RGB] = SWS_CS_ITU709};
    return table[m];
}

/* The old full-range formats and grey have it in their names. */
static bool full_by_format(enum AVPixelFormat f, const AVPixFmtDescriptor *d) {
    return (d->flags & AV_PIX_FMT_FLAG_RGB) || d->nb_components <= 2 || f == AV_PIX_FMT_PAL8 ||
           f == AV_PIX_FMT_YUVJ420P || f == AV_PIX_FMT_YUVJ422P || f == AV_PIX_FMT_YUVJ444P ||
           f == AV_PIX_FMT_YUVJ440P || f == AV_PIX_FMT_YUVJ411P;
}

lt_status lti_colour_of(const AVFrame *f, lt_matrix want, bool y4m_ours, lti_colour *out,
                        bool *guessed, lt_error *err) {
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    if (!d || !sws_isSupportedInput(f->format) || (d->flags & AV_PIX_FMT_FLAG_HWACCEL))
        return lti_fail(err, LT_EUNSUPPORTED, "pixels stored as %s cannot be converted to RGB",
                        d ? d->name : "an unknown format");
    const bool rgb = d->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL);
    const lt_matrix tag = matrix_of_tag(f->colorspace);
    const bool no_tag = f->colorspace == AVCOL_SPC_UNSPECIFIED ||
                        f->colorspace == AVCOL_SPC_RESERVED || f->colorspace == AVCOL_SPC_RGB;
    *guessed = false;
    out->full_range = full_by_format(f->format, d);
    if (!rgb && f->color_range != AVCOL_RANGE_UNSPECIFIED)
        out->full_range = f->color_range == AVCOL_RANGE_JPEG;
    if (rgb || d->nb_components <= 2) out->matrix = LT_MATRIX_RGB; /* grey has no chroma either */
    else if (want != LT_MATRIX_AUTO) out->matrix = want;
    else if (tag != LT_MATRIX_AUTO) out->matrix = tag;
    else if (!no_tag)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "colours stored as %s cannot be converted to RGB; convert the file to "
                        "bt709 first",
                        av_color_space_name(f->colorspace) ? av_color_space_name(f->colorspace)
                                                           : "an unknown matrix");
    else if (y4m_ours) out->matrix = LT_MATRIX_BT709;
    else {
        *guessed = true;
        out->matrix = f->height < 720 ? LT_MATRIX_BT601 : LT_MATRIX_BT709;
    }
    return LT_OK;
}

/* ---- set-up ------------------------------------------------------------------------------------
 */

/* Chroma sample position of 4:2:0 in 1/256 of a luma pixel; libswscale's own defaults differ. */
static void set_chroma_position(struct SwsContext *sws, const AVPixFmtDescriptor *d, int loc,
                                bool full_range) {
    if (d->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL) || !d->log2_chroma_w) return;
    if (loc == AVCHROMA_LOC_UNSPECIFIED)
        loc = full_range ? AVCHROMA_LOC_CENTER : AVCHROMA_LOC_LEFT; /* JPEG, MPEG-2 */
    const bool left =
        loc == AVCHROMA_LOC_LEFT || loc == AVCHROMA_LOC_TOPLEFT || loc == AVCHROMA_LOC_BOTTOMLEFT;
    av_opt_set_int(sws, "src_h_chr_pos", left ? 0 : 128, 0);
    if (!d->log2_chroma_h) return;
    const bool top = loc == AVCHROMA_LOC_TOPLEFT || loc == AVCHROMA_LOC_TOP;
    const bool bottom = loc == AVCHROMA_LOC_BOTTOMLEFT || loc == AVCHROMA_LOC_BOTTOM;
    av_opt_set_int(sws, "src_v_chr_pos", top ? 0 : bottom ? 256 : 128, 0);
}

static lt_status set_up(lti_torgb *t, const AVFrame *f, int w, int h, lti_colour colour,
                        lt_error *err) {
    sws_freeContext(t->sws);
    t->sws = sws_alloc_context();
    if (!t->sws) return lti_oom(err, sizeof *t);
    const bool scaled = w != t->width || h != t->height;
    const int flags = (scaled ? SWS_LANCZOS : SWS_BICUBIC) | SWS_ACCURATE_RND | SWS_BITEXACT |
                      SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP;
    const struct {
        const char *name;
        int value;
    } opt[] = {{"srcw", w},
               {"srch", h},
               {"src_format", f->format},
               {"dstw", t->width},
               {"dsth", t->height},
               {"dst_format", AV_PIX_FMT_RGB24},
               {"sws_flags", flags},
               {"src_range", colour.full_range},
               {"dst_range", 1}};
    int rc = 0;
    for (size_t i = 0; i < sizeof opt / sizeof *opt && rc >= 0; i++)
        rc = av_opt_set_int(t->sws, opt[i].name, opt[i].value, 0);
    set_chroma_position(t->sws, av_pix_fmt_desc_get(f->format), f->chroma_location,
                        colour.full_range);
    if (rc >= 0) rc = sws_init_context(t->sws, NULL, NULL);
    const int *in = sws_getCoefficients(sws_matrix(colour.matrix));
    const int *out = sws_getCoefficients(SWS_CS_ITU709);
    /* refused where there is nothing to set (RGB in, RGB out): not an error */
    if (rc >= 0)
        sws_setColorspaceDetails(t->sws, in, colour.full_range, out, 1, 0, 1 << 16, 1 << 16);
    if (rc < 0) {
        sws_freeContext(t->sws);
        t->sws = NULL;
        return lti_fail(err, LT_EUNSUPPORTED, "libswscale cannot convert %dx%d %s to %dx%d RGB", w,
                        h, av_get_pix_fmt_name(f->format), t->width, t->height);
    }
    t->made.w = w;
    t->made.h = h;
    t->made.format = f->format;
    t->made.chroma_location = f->chroma_location;
    t->made.colour = colour;
    return LT_OK;
}

static bool fits(const lti_torgb *t, const AVFrame *f, int w, int h, lti_colour colour) {
    return t->sws && t->made.w == w && t->made.h == h && t->made.format == f->format &&
           t->made.chroma_location == (int)f->chroma_location &&
           t->made.colour.matrix == colour.matrix && t->made.colour.full_range == colour.full_range;
}

/* ---- run ---------------------------------------------------------------------------------------
 */

/* The largest w x h inside f with the output's shape, at an x, y that chroma samples allow. */
static void middle(const lti_torgb *t, const AVFrame *f, const AVPixFmtDescriptor *d, int *x,
                   int *y, int *w, int *h) {
    const int64_t ow = t->width, oh = t->height, fw = f->width, fh = f->height;
    *w = f->width;
    *h = f->height;
    if (fw * oh > fh * ow) *w = (int)((2 * fh * ow + oh) / (2 * oh));
    else *h = (int)((2 * fw * oh + ow) / (2 * ow));
    if (*w < 1) *w = 1;
    if (*h < 1) *h = 1;
    *x = (f->width - *w) / 2 >> d->log2_chroma_w << d->log2_chroma_w;
    *y = (f->height - *h) / 2 >> d->log2_chroma_h << d->log2_chroma_h;
    if (d->flags & AV_PIX_FMT_FLAG_BITSTREAM) *x = 0; /* pixels share bytes */
}

static void crop(const AVFrame *f, const AVPixFmtDescriptor *d, int x, int y,
                 const uint8_t *data[4]) {
    int step[4] = {0};
    av_image_fill_max_pixsteps(step, NULL, d);
    for (int p = 0; p < 4; p++) {
        data[p] = f->data[p];
        if (!data[p] || (p > 0 && d->flags & AV_PIX_FMT_FLAG_PAL)) continue;
        const bool chroma = p == 1 || p == 2;
        /* in yuyv422 and the like a step of plane 0 is that from one chroma sample to the next */
        const bool wide = chroma || d->comp[1].plane == p;
        const int px = wide ? x >> d->log2_chroma_w : x, py = chroma ? y >> d->log2_chroma_h : y;
        data[p] += (ptrdiff_t)py * f->linesize[p] + (ptrdiff_t)px * step[p];
    }
}

/* 16..235 -> 0..255 */
static void stretch(uint8_t *v, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const int x = v[i] < 16 ? 0 : v[i] > 235 ? 219 : v[i] - 16;
        v[i] = (uint8_t)((x * 255 + 109) / 219);
    }
}

lt_status lti_torgb_run(lti_torgb *t, const AVFrame *f, lti_colour colour, uint8_t *rgb,
                        lt_error *err) {
    /* libswscale reads 8-bit grey as a palette, always full */
    const bool limited_grey = f->format == AV_PIX_FMT_GRAY8 && !colour.full_range;
    if (limited_grey) colour.full_range = true;
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    const uint8_t *data[4];
    int x, y, w, h;
    middle(t, f, d, &x, &y, &w, &h);
    crop(f, d, x, y, data);
    const size_t row = (size_t)t->width * 3;
    if (f->format == AV_PIX_FMT_RGB24 && w == t->width && h == t->height) {
        for (int i = 0; i < h; i++)
            memcpy(rgb + (size_t)i * row, data[0] + (ptrdiff_t)i * f->linesize[0], row);
        return LT_OK;
    }
    if (!fits(t, f, w, h, colour)) LT_TRY(set_up(t, f, w, h, colour, err));
    uint8_t *dst[4] = {rgb, NULL, NULL, NULL};
    const int stride[4] = {(int)row, 0, 0, 0};
    const int rows = sws_scale(t->sws, data, f->linesize, 0, h, dst, stride);
    if (rows != t->height)
        return lti_fail(err, LT_EUNSUPPORTED, "libswscale converted %d of %d rows", rows,
                        t->height);
    if (limited_grey) stretch(rgb, row * (size_t)t->height);
    return LT_OK;
}

void lti_torgb_close(lti_torgb *t) {
    sws_freeContext(t->sws);
    t->sws = NULL;
}

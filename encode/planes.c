/* SPDX-License-Identifier: Apache-2.0
 * encode/planes.c - the 8-bit Y'CbCr samples of a decoded frame of any pixel format.
 *
 * Three ways, by what the pixel format's description says:
 *   8-bit planes (yuv420p, yuvj*, yuva*, gray ...)  the decoder's own, nothing is copied
 *   other Y'CbCr (nv12, yuyv422, p010, 10 to 16 bit) taken apart sample by sample; of n bits
 *                                                   (v + 2^(n-9)) >> (n-8), at most 255
 *   everything else (RGB, palettes, 1 bit, float)   its RGB24, then BT.709, limited range, 4:4:4:
 *       Y = 16 + 219/255 (0.2126 R + 0.7152 G + 0.0722 B)
 *       Cb = 128 + 224/255 (B - Y') / 1.8556,  Cr = 128 + 224/255 (R - Y') / 1.5748
 * By hand and not by libswscale, which dithers, rounds otherwise from version to version, and
 * scales the range when it is asked for a yuvj format: a measurement must see what is stored.
 * Pitfall: a row may lie before the one above it in memory (negative stride). */
#include "encode/planes.h"
#include "base/error.h"
#include "base/memory.h"
#include <libavutil/intreadwrite.h>
#include <libavutil/pixdesc.h>
#include <string.h>

/* ---- kinds -------------------------------------------------------------------------------------
 */

static int n_planes(const AVPixFmtDescriptor *d) { return d->nb_components >= 3 ? 3 : 1; }

/* Y'CbCr or grey whose samples can be picked one by one. XYZ bears no flag of its own. */
static bool has_samples(const AVPixFmtDescriptor *d) {
    const uint64_t other = AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM |
                           AV_PIX_FMT_FLAG_FLOAT | AV_PIX_FMT_FLAG_BAYER;
    if (d->flags & other || strncmp(d->name, "xyz", 3) == 0) return false;
    for (int i = 0; i < n_planes(d); i++)
        if (d->comp[i].depth < 8 || d->comp[i].depth > 16) return false;
    return true;
}

static bool is_planar8(const AVPixFmtDescriptor *d) {
    for (int i = 0; i < n_planes(d); i++) {
        const AVComponentDescriptor *c = &d->comp[i];
        if (c->plane != i || c->step != 1 || c->offset != 0 || c->shift != 0 || c->depth != 8)
            return false;
    }
    return true;
}

/* ---- memory ------------------------------------------------------------------------------------
 */

/* At least n bytes at *p; what was in them is lost. */
static lt_status reserve(uint8_t **p, size_t *have, size_t n, lt_error *err) {
    if (*have >= n) return LT_OK;
    free(*p);
    *p = lti_memory_fits(n) ? malloc(n) : NULL;
    *have = *p ? n : 0;
    return *p ? LT_OK : lti_oom(err, n);
}

/* Room for the planes of pic's size, and pic's pointers to it. */
static lt_status place(lti_planes *p, int n, lt_picture *pic, lt_error *err) {
    const size_t luma = (size_t)pic->width * (size_t)pic->height;
    const size_t chroma = n > 1 ? (size_t)pic->c_width * (size_t)pic->c_height : 0;
    LT_TRY(reserve(&p->yuv, &p->yuv_size, luma + 2 * chroma, err));
    pic->y = p->yuv;
    pic->y_stride = pic->width;
    if (n == 1) return LT_OK;
    pic->u = p->yuv + luma;
    pic->v = pic->u + chroma;
    pic->c_stride = pic->c_width;
    return LT_OK;
}

/* ---- samples of the file -----------------------------------------------------------------------
 */

/* One component, [h, w] of them in f -> out [h, w] of 8 bits. */
static void take_component(const AVFrame *f, const AVPixFmtDescriptor *d, int comp, int w, int h,
                           uint8_t *out) {
    const AVComponentDescriptor c = d->comp[comp];
    const bool big = d->flags & AV_PIX_FMT_FLAG_BE;
    const unsigned mask = (1u << c.depth) - 1, half = 1u << c.depth >> 9;
    for (int y = 0; y < h; y++, out += w) {
        const uint8_t *in = f->data[c.plane] + (ptrdiff_t)y * f->linesize[c.plane] + c.offset;
        for (int x = 0; x < w; x++, in += c.step) {
            unsigned v = in[0];
            if (c.depth > 8) {
                v = ((big ? AV_RB16(in) : AV_RL16(in)) >> c.shift) & mask;
                v = (v + half) >> (c.depth - 8);
            }
            out[x] = (uint8_t)(v > 255 ? 255 : v);
        }
    }
}

static lt_status from_samples(lti_planes *p, const AVFrame *f, const AVPixFmtDescriptor *d,
                              lt_picture *pic, lt_error *err) {
    const int n = n_planes(d);
    if (n > 1) {
        pic->c_width = AV_CEIL_RSHIFT(f->width, d->log2_chroma_w);
        pic->c_height = AV_CEIL_RSHIFT(f->height, d->log2_chroma_h);
    }
    if (is_planar8(d)) {
        pic->y = f->data[0];
        pic->y_stride = f->linesize[0];
        if (n == 1) return LT_OK;
        pic->u = f->data[1];
        pic->v = f->data[2];
        pic->c_stride = f->linesize[1];
        if (f->linesize[2] == f->linesize[1]) return LT_OK;
    }
    LT_TRY(place(p, n, pic, err));
    uint8_t *out = p->yuv;
    for (int i = 0; i < n; i++) {
        const int w = i ? pic->c_width : pic->width, h = i ? pic->c_height : pic->height;
        take_component(f, d, i, w, h, out);
        out += (size_t)w * (size_t)h;
    }
    return LT_OK;
}

/* ---- samples made of RGB -----------------------------------------------------------------------
 */

/* 16.16 numbers; those of Cb and of Cr add up to 0, so that grey stays 128. */
static void row_of_rgb(const uint8_t *rgb, int w, uint8_t *y, uint8_t *u, uint8_t *v) {
    const int round = 1 << 15;
    for (int x = 0; x < w; x++) {
        const int r = rgb[3 * x], g = rgb[3 * x + 1], b = rgb[3 * x + 2];
        y[x] = (uint8_t)((11966 * r + 40254 * g + 4064 * b + (16 << 16) + round) >> 16);
        u[x] = (uint8_t)((-6596 * r - 22188 * g + 28784 * b + (128 << 16) + round) >> 16);
        v[x] = (uint8_t)((28784 * r - 26145 * g - 2639 * b + (128 << 16) + round) >> 16);
    }
}

static lt_status from_rgb(lti_planes *p, const AVFrame *f, lti_colour colour, lti_torgb *torgb,
                          const uint8_t *rgb, lt_picture *pic, lt_error *err) {
    const size_t w = (size_t)f->width, h = (size_t)f->height;
    if (!rgb) {
        LT_TRY(reserve(&p->rgb, &p->rgb_size, w * h * 3, err));
        LT_TRY(lti_torgb_run(torgb, f, colour, p->rgb, err));
        rgb = p->rgb;
    }
    pic->c_width = f->width;
    pic->c_height = f->height;
    LT_TRY(place(p, 3, pic, err));
    pic->full_range = 0;
    for (size_t y = 0; y < h; y++)
        row_of_rgb(rgb + y * w * 3, f->width, p->yuv + y * w, p->yuv + (h + y) * w,
                   p->yuv + (2 * h + y) * w);
    return LT_OK;
}

/* ---- run ---------------------------------------------------------------------------------------
 */

lt_status lti_planes_run(lti_planes *p, const AVFrame *f, lti_colour colour, lti_torgb *torgb,
                         const uint8_t *rgb, lt_picture *pic, lt_error *err) {
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    *pic = (lt_picture){
        .width = f->width, .height = f->height, .rgb = rgb, .full_range = colour.full_range};
    return has_samples(d) ? from_samples(p, f, d, pic, err)
                          : from_rgb(p, f, colour, torgb, rgb, pic, err);
}

void lti_planes_close(lti_planes *p) {
    free(p->yuv);
    free(p->rgb);
    *p = (lti_planes){0};
}

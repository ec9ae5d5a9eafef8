/* SPDX-License-Identifier: Apache-2.0
 * encode/yuv.c - RGB24 to yuv420p, converted and tagged BT.709 limited range.
 *
 * A player that sees no tags guesses from the picture size, and libswscale's default matrix is
 * BT.601: either alone shifts colours visibly (pure red 192 becomes 208,18,0). So both are fixed
 * here: Y = 16 + 219 (0.2126 R + 0.7152 G + 0.0722 B),  Cb, Cr in 16..240, chroma sited left
 * (MPEG-2). The transfer is tagged bt709 although the pixels are sRGB: the curves are close enough
 * that players show them unchanged, while a true sRGB tag makes some convert. */
#include "encode/yuv.h"
#include "base/error.h"
#include <libavutil/opt.h>
#include <libswscale/swscale.h>

static lt_status open_frame(lti_yuv *y, int width, int height, lt_error *err) {
    y->frame = av_frame_alloc();
    if (!y->frame) return lti_oom(err, sizeof *y->frame);
    y->frame->format = AV_PIX_FMT_YUV420P;
    y->frame->width = width;
    y->frame->height = height;
    y->frame->color_range = AVCOL_RANGE_MPEG;
    y->frame->colorspace = AVCOL_SPC_BT709;
    y->frame->color_primaries = AVCOL_PRI_BT709;
    y->frame->color_trc = AVCOL_TRC_BT709;
    y->frame->chroma_location = AVCHROMA_LOC_LEFT;
    if (av_frame_get_buffer(y->frame, 0) < 0)
        return lti_oom(err, (size_t)width * (size_t)height * 2);
    return LT_OK;
}

lt_status lti_yuv_open(lti_yuv *y, int width, int height, lt_error *err) {
    *y = (lti_yuv){0};
    LT_TRY(open_frame(y, width, height, err));
    y->sws = sws_alloc_context();
    if (!y->sws) return lti_oom(err, sizeof *y);
    const int flags = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP | SWS_BITEXACT;
    const struct {
        const char *name;
        int value;
    } opt[] = {
        {"srcw", width},
        {"srch", height},
        {"src_format", AV_PIX_FMT_RGB24},
        {"dstw", width},
        {"dsth", height},
        {"dst_format", AV_PIX_FMT_YUV420P},
        {"sws_flags", flags},
        {"dst_h_chr_pos", 0},
        {"dst_v_chr_pos", 128}, /* left, half way down */
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof opt / sizeof *opt && rc >= 0; i++)
        rc = av_opt_set_int(y->sws, opt[i].name, opt[i].value, 0);
    if (rc >= 0) rc = sws_init_context(y->sws, NULL, NULL);
    const int *m = sws_getCoefficients(SWS_CS_ITU709);
    if (rc >= 0) rc = sws_setColorspaceDetails(y->sws, m, 1, m, 0, 0, 1 << 16, 1 << 16);
    if (rc < 0)
        return lti_fail(err, LT_EUNSUPPORTED, "libswscale cannot convert RGB to BT.709 at %dx%d",
                        width, height);
    return LT_OK;
}

lt_status lti_yuv_convert(lti_yuv *y, const uint8_t *rgb, lt_error *err) {
    /* the encoder may still hold the last picture: then this takes a new buffer */
    if (av_frame_make_writable(y->frame) < 0) return lti_oom(err, sizeof *y->frame);
    const uint8_t *src[4] = {rgb, NULL, NULL, NULL};
    const int stride[4] = {y->frame->width * 3, 0, 0, 0};
    const int rows =
        sws_scale(y->sws, src, stride, 0, y->frame->height, y->frame->data, y->frame->linesize);
    if (rows != y->frame->height)
        return lti_fail(err, LT_EUNSUPPORTED, "libswscale converted %d of %d rows", rows,
                        y->frame->height);
    return LT_OK;
}

void lti_yuv_close(lti_yuv *y) {
    av_frame_free(&y->frame);
    sws_freeContext(y->sws);
    y->sws = NULL;
}

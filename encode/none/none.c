/* SPDX-License-Identifier: Apache-2.0
 * encode/none/none.c - the video files that a build without FFmpeg and libpng does not have.
 *
 * Such a build (LT_VIDEO=OFF) writes .rgb, .y4m, md5 and null. The rest is there by name and refuses, so
 * nothing above this layer knows of it: sinks, the reader, PNG. */
#include <stdlib.h>
#include <string.h>
#include "encode/sink_int.h"
#include "encode/yuv.h"

static const char why[] =
    "this build has no FFmpeg and libpng, so it writes only .rgb, .y4m, md5 and "
    "null; build it again where they are installed";

static lt_status refuse(lt_sink *s, lt_error *err) {
    return lti_fail(err, LT_EUNSUPPORTED, "output %s: %s", s->path, why);
}

static lt_status no_write(lt_sink *s, const uint8_t *rgb, lt_error *err) {
    (void)rgb;
    return refuse(s, err);
}

static lt_status no_close(lt_sink *s, bool ok, lt_error *err) {
    (void)s, (void)ok, (void)err;
    return LT_OK;
}

const lti_sink_ops lti_sink_mp4 = {
    .name = ".mp4", .open = refuse, .write = no_write, .close = no_close};
const lti_sink_ops lti_sink_mkv = {
    .name = ".mkv", .open = refuse, .write = no_write, .close = no_close};
const lti_sink_ops lti_sink_png = {
    .name = ".png", .open = refuse, .write = no_write, .close = no_close};

/* ---- reader: none ever opens ---------------------------------------------------------------- */

void lt_reader_params_init_sized(lt_reader_params *p, size_t size) {
    memset(p, 0, size);
    p->struct_size = size;
}

lt_status lt_reader_open(const lt_reader_params *p, lt_reader **out, lt_error *err) {
    *out = NULL;
    return lti_fail(err, LT_EUNSUPPORTED,
                    "%s: this build has no FFmpeg and libpng, so it reads no video and no picture; "
                    "build it again where they are installed",
                    p->path ? p->path : "");
}

void lt_reader_close(lt_reader **r) { *r = NULL; }

lt_status lt_reader_next(lt_reader *r, uint8_t *rgb, double *seconds, lt_error *err) {
    (void)r, (void)rgb, (void)seconds;
    return lti_fail(err, LT_EUNSUPPORTED, "%s", why);
}

void lt_reader_get_info(const lt_reader *r, lt_reader_info *info, size_t size) {
    (void)r;
    memset(info, 0, size);
}

lt_status lt_reader_picture(lt_reader *r, uint8_t *rgb, lt_picture *pic, double *seconds,
                            lt_error *err) {
    (void)pic;
    return lt_reader_next(r, rgb, seconds, err);
}

const char *lt_reader_meta(const lt_reader *r, const char *key) {
    (void)r, (void)key;
    return NULL;
}

int32_t lt_reader_meta_at(const lt_reader *r, int32_t i, const char **key, const char **value) {
    (void)r, (void)i, (void)key, (void)value;
    return 0;
}

lt_status lt_png_write(const char *path, const uint8_t *rgb, int32_t width, int32_t height,
                       lt_error *err) {
    (void)rgb, (void)width, (void)height;
    return lti_fail(err, LT_EUNSUPPORTED, "%s: %s", path, why);
}

/* ---- yuv420p -------------------------------------------------------------------------------- */

/* As libswscale does it with our settings, to a step or two: Y' = 16 + 219 (0.2126 R + 0.7152 G +
 * 0.0722 B), Cb and Cr of the 2 x 2 mean, BT.709. */
lt_status lti_yuv_open(lti_yuv *y, int width, int height, lt_error *err) {
    const size_t luma = (size_t)width * (size_t)height;
    AVFrame *f = y->frame = calloc(1, sizeof *f);
    if (f) f->data[0] = malloc(luma + luma / 2);
    if (!f || !f->data[0]) return lti_oom(err, luma);
    f->data[1] = f->data[0] + luma;
    f->data[2] = f->data[1] + luma / 4;
    f->linesize[0] = width;
    f->linesize[1] = f->linesize[2] = width / 2;
    f->height = height;
    return LT_OK;
}

static uint8_t level(float zero, float span, float v) { return (uint8_t)(zero + span * v + 0.5f); }

static float luma_of(const float *c) { return 0.2126f * c[0] + 0.7152f * c[1] + 0.0722f * c[2]; }

lt_status lti_yuv_convert(lti_yuv *y, const uint8_t *rgb, lt_error *err) {
    const AVFrame *f = y->frame;
    const int w = f->linesize[0], half = w / 2;
    (void)err;
    for (int i = 0; i < f->height; i += 2)
        for (int j = 0; j < w; j += 2) {
            float mean[3] = {0};
            for (int k = 0; k < 4; k++) {
                const size_t at = (size_t)(i + k / 2) * (size_t)w + (size_t)(j + k % 2);
                float c[3];
                for (int l = 0; l < 3; l++)
                    mean[l] += (c[l] = (float)rgb[3 * at + (size_t)l] / 255) / 4;
                f->data[0][at] = level(16, 219, luma_of(c));
            }
            const size_t at = (size_t)(i / 2) * (size_t)half + (size_t)(j / 2);
            f->data[1][at] = level(128, 224, (mean[2] - luma_of(mean)) / 1.8556f);
            f->data[2][at] = level(128, 224, (mean[0] - luma_of(mean)) / 1.5748f);
        }
    return LT_OK;
}

void lti_yuv_close(lti_yuv *y) {
    if (y->frame) free(y->frame->data[0]);
    free(y->frame);
    *y = (lti_yuv){0};
}

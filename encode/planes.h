/* SPDX-License-Identifier: Apache-2.0
 * encode/planes.h - the 8-bit Y'CbCr samples of a decoded frame of any pixel format. */
#ifndef LT_ENCODE_PLANES_H
#define LT_ENCODE_PLANES_H
#include "encode/torgb.h"
#include "longtake/encode.h"
#include <libavutil/frame.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lti_planes {
    uint8_t *yuv; /* what was converted: y [h, w], then u and v [c_height, c_width] */
    uint8_t *rgb; /* [h, w, 3] of a frame whose RGB nobody asked for */
    size_t yuv_size, rgb_size;
} lti_planes;

/* Size and y, u, v of pic; they belong to f or to p, until f or p changes. f may have another
 * format than the last one. torgb: of the frame's own size. rgb: f as RGB, NULL: not made yet. */
lt_status lti_planes_run(lti_planes *p, const AVFrame *f, lti_colour colour, lti_torgb *torgb,
                         const uint8_t *rgb, lt_picture *pic, lt_error *err);
void lti_planes_close(lti_planes *p); /* safe on a zeroed one */

#endif

/* SPDX-License-Identifier: Apache-2.0
 * encode/yuv.h - RGB24 to yuv420p, converted and tagged BT.709 limited range. */
#ifndef LT_ENCODE_YUV_H
#define LT_ENCODE_YUV_H
#include "longtake/status.h"
#include <libavutil/frame.h>
#include <stdint.h>

struct SwsContext;

typedef struct lti_yuv {
    struct SwsContext *sws;
    AVFrame *frame;
} lti_yuv;

lt_status lti_yuv_open(lti_yuv *y, int width, int height, lt_error *err); /* both even */
/* rgb [height, width, 3] -> y->frame; valid until the next call. */
lt_status lti_yuv_convert(lti_yuv *y, const uint8_t *rgb, lt_error *err);
void lti_yuv_close(lti_yuv *y); /* safe on a zeroed one */

#endif

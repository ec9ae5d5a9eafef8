/* SPDX-License-Identifier: Apache-2.0
 * encode/none/libavutil/frame.h - what encode/raw.c reads of libavutil's frame, for builds without
 * FFmpeg (LT_VIDEO=OFF). */
#ifndef LT_ENCODE_NONE_FRAME_H
#define LT_ENCODE_NONE_FRAME_H
#include <stdint.h>

typedef struct AVFrame {
    uint8_t *data[3]; /* Y [h, w], Cb and Cr [h/2, w/2] */
    int linesize[3];
    int height;
} AVFrame;

#endif

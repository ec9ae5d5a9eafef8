/* SPDX-License-Identifier: Apache-2.0
 * encode/demux.h - the decoded frames of a video file, one by one. */
#ifndef LT_ENCODE_DEMUX_H
#define LT_ENCODE_DEMUX_H
#include "longtake/status.h"
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdbool.h>
#include <stdint.h>

#define LTI_VIDEO_MAX_PIXELS ((int64_t)8192 * 8192)

typedef struct lti_demux {
    char *name; /* the path, for messages */
    AVFormatContext *ic;
    AVCodecContext *dec;
    AVPacket *pkt;
    AVStream *stream;
    AVFrame *frame;              /* the last one that came */
    int64_t n;                   /* frames that came */
    int64_t last_pts, last_byte; /* of what came */
    bool draining;               /* no packets left */
    bool cut;                    /* the file stops in the middle of something */
    lt_status ended;             /* LT_END or an error: nothing comes any more */
} lti_demux;

/* Opens the first real video stream. On failure m is closed. */
lt_status lti_demux_open(lti_demux *m, const char *path, int threads, lt_error *err);
/* LT_OK: m->frame. LT_END, also with m->cut. LT_EFORMAT: damaged, or the size changes. */
lt_status lti_demux_next(lti_demux *m, lt_error *err);
void lti_demux_close(lti_demux *m);         /* safe on a zeroed one */
int lti_demux_rotation(const lti_demux *m); /* degrees clockwise, a multiple of 90 */

#endif

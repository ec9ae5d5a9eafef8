/* SPDX-License-Identifier: Apache-2.0
 * encode/codec.h - choosing and opening a libavcodec video encoder. */
#ifndef LT_ENCODE_CODEC_H
#define LT_ENCODE_CODEC_H
#include "encode/sink_int.h"
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

/* Opens s->codec, or libx264, or the first H.264 encoder that opens. yuv420p in BT.709, no delay:
 * every frame that goes in can be had out at once. *out is freed with avcodec_free_context.
 * LT_EINVAL: no such encoder, or `container` cannot hold it. LT_EUNSUPPORTED: it does not open. */
lt_status lti_codec_open(const lt_sink *s, const AVOutputFormat *container, AVCodecContext **out,
                         lt_error *err);
/* libav's text for a negative code, in buf. */
const char *lti_av_text(int code, char buf[AV_ERROR_MAX_STRING_SIZE]);

#endif

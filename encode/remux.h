/* SPDX-License-Identifier: Apache-2.0
 * encode/remux.h - a fragmented MP4 becomes a classic one. */
#ifndef LT_ENCODE_REMUX_H
#define LT_ENCODE_REMUX_H
#include "encode/sink_int.h"
#include <libavformat/avformat.h>

/* Copies the packets of `path` (video parameters as in `like`, metadata as in `meta`, n_frame
 * frames) into path.part with the index in front, and renames it over path. On failure path is as
 * it was. */
lt_status lti_remux_classic(const char *path, const AVStream *like, const AVDictionary *meta,
                            int64_t n_frame, lt_error *err);

#endif

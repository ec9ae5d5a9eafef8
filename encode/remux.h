/* SPDX-License-Identifier: Apache-2.0
 * encode/remux.h - a finished file is written anew: MP4 as a classic one, with new metadata. */
#ifndef LT_ENCODE_REMUX_H
#define LT_ENCODE_REMUX_H
#include "encode/sink_int.h"
#include <libavformat/avformat.h>

/* Copies the packets of `path` (an "mp4" or "matroska" of one video stream, parameters as in
 * `like`, n_frame frames) into path.part with the metadata in `meta`, an MP4 with the index in
 * front, and renames it over path. 0 or a libav error; then path is as it was. */
int lti_remux(const char *path, const char *format, const AVStream *like, const AVDictionary *meta,
              int64_t n_frame);

#endif

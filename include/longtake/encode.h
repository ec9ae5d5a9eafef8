/* SPDX-License-Identifier: Apache-2.0
 * longtake/encode.h - frame sinks: where finished frames go.
 *
 *   lt_sink_params p; lt_sink_params_init(&p);
 *   p.path = "out.mp4"; p.width = 160; p.height = 96; p.fps_num = 16; p.fps_den = 1;
 *   lt_sink_open(&p, &sink, &err);
 *   lt_sink_write(sink, rgb, chunk_end); ...
 *   lt_sink_close(&sink, &err);
 *
 * The extension picks the sink: .mp4 .mkv (libavcodec H.264 or `codec`), .png with one printf
 * integer (%06d.png), .y4m, .rgb (raw RGB24), "-" (y4m on stdout), "null", "md5" (digest of all RGB
 * bytes).
 * MP4 is written as one fragment per chunk into the final name, so that a kill leaves a playable
 * file; close rewrites it as a classic, seekable file and renames it over. One thread per sink. */
#ifndef LONGTAKE_ENCODE_H
#define LONGTAKE_ENCODE_H
#include <stddef.h>
#include <stdint.h>
#include "longtake/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_sink lt_sink;

typedef struct lt_sink_meta {
    const char *key, *value;
} lt_sink_meta;

typedef struct lt_sink_params {
    size_t struct_size; /* set by lt_sink_params_init */
    const char *path;
    int32_t width, height; /* even for .mp4, .mkv and y4m */
    int32_t fps_num, fps_den;
    const char *codec; /* libavcodec encoder name; NULL: libx264, else the first H.264 that opens */
    int32_t crf;       /* 0..51; -1: 18 */
    int32_t threads;   /* encoder threads; 0: 1 */
    const lt_sink_meta *meta; /* e.g. {"seed","42"} {"prompt","..."} {"model","longtake-box"} */
    int32_t n_meta;
} lt_sink_params;

LT_API void lt_sink_params_init_sized(lt_sink_params *p, size_t size);
#define lt_sink_params_init(p) lt_sink_params_init_sized((p), sizeof *(p))

/* LT_EINVAL (extension, size, codec name), LT_EIO (cannot create), LT_EUNSUPPORTED (codec missing).
 */
LT_API lt_status lt_sink_open(const lt_sink_params *p, lt_sink **out, lt_error *err);
/* rgb [height, width, 3]. chunk_end non-zero: flush to disk, so that this chunk survives a kill.
 * LT_EIO when the disk is full: what was flushed before stays playable. */
LT_API lt_status lt_sink_write(lt_sink *s, const uint8_t *rgb, int32_t chunk_end, lt_error *err);
/* Finish and free; *s becomes NULL. The status says whether the file is complete. With LT_OK a text
 * in err->msg is a remark, e.g. that there was no room to make the file a classic one. Without any
 * frame no file is left, and an older one is untouched. */
LT_API lt_status lt_sink_close(lt_sink **s, lt_error *err);
/* One line for the user after a good close, e.g. "md5 3f2a..."; "" if there is nothing to say. */
LT_API const char *lt_sink_result(const lt_sink *s); /* before close; md5 of the frames so far */

#ifdef __cplusplus
}
#endif
#endif

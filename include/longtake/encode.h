/* SPDX-License-Identifier: Apache-2.0
 * longtake/encode.h - frame sinks: where finished frames go; frame readers: where they come from.
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
 * file; close rewrites it as a classic, seekable file and renames it over. One thread per sink.
 *
 *   lt_reader_params p; lt_reader_params_init(&p);
 *   p.path = "in.mp4"; p.width = 160; p.height = 96;   (0, 0: as stored)
 *   lt_reader_open(&p, &reader, &err);
 *   while ((st = lt_reader_next(reader, rgb, &seconds, &err)) == LT_OK) ...
 *   lt_reader_close(&reader); */
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
/* Metadata, also after frames were written, such as what was measured; replaces what the key had.
 * key: 1 to 64 of A-Z a-z 0-9 _ -; of the value 4096 bytes are kept. What comes after the first
 * frame is in the file only when close is done: it copies an .mkv for that, as it does any .mp4,
 * and leaves a remark if it cannot. LT_EUNSUPPORTED: this kind of output has nowhere to put it. */
LT_API lt_status lt_sink_set_meta(lt_sink *s, const char *key, const char *value, lt_error *err);
/* One line for the user after a good close, e.g. "md5 3f2a..."; "" if there is nothing to say. */
LT_API const char *lt_sink_result(const lt_sink *s); /* before close; md5 of the frames so far */

/* ---- reader: a video file or a PNG picture as RGB frames ----------------------------------- */

typedef struct lt_reader lt_reader;

typedef enum lt_matrix {
    LT_MATRIX_AUTO = 0, /* by the file's tag; without one: RGB data none, our own y4m BT.709, else
                           BT.601 below 720 lines and BT.709 from there on */
    LT_MATRIX_BT709 = 1,
    LT_MATRIX_BT601 = 2,
    LT_MATRIX_BT2020 = 3,
    LT_MATRIX_SMPTE240M = 4,
    LT_MATRIX_FCC = 5,
    LT_MATRIX_RGB = 6 /* in lt_reader_info only: no matrix */
} lt_matrix;

typedef struct lt_reader_params {
    size_t struct_size; /* set by lt_reader_params_init */
    const char *path;   /* a regular file */
    /* Size of the frames; 0, 0: as stored. Else the middle of the picture, as much as has this
     * shape, scaled (Lanczos). */
    int32_t width, height;
    int32_t threads; /* decoder threads; 0: 1 */
    int32_t matrix;  /* lt_matrix up to BT2020: instead of the file's own */
    /* Non-zero: a file that stops in the middle (killed writer, full disk) ends with LT_END behind
     * its last whole frame, and lt_reader_info.cut_short says so. Zero: it is an error. */
    int32_t accept_cut;
} lt_reader_params;

LT_API void lt_reader_params_init_sized(lt_reader_params *p, size_t size);
#define lt_reader_params_init(p) lt_reader_params_init_sized((p), sizeof *(p))

/* The first frame is decoded here, so that what the info says is what comes. PNG: libpng, 8192
 * pixels a side at most, transparency laid on black, gamma and profiles ignored, of an animated one
 * the first picture. Video: libav's demuxers for files (no playlists, no network), 8192x8192 pixels
 * at most, the alpha of a video is ignored. Rotation and non-square pixels are reported, not
 * applied; nor are HDR curves.
 * LT_EIO: cannot be read. LT_EFORMAT: no video in it, no frame, damaged, too large.
 * LT_EUNSUPPORTED: no decoder, or a colour model without RGB matrix. LT_EINVAL: bad parameters.
 * libav would print its own remarks: if its log level is still the default, it is set to quiet. */
LT_API lt_status lt_reader_open(const lt_reader_params *p, lt_reader **out, lt_error *err);
LT_API void lt_reader_close(lt_reader **r); /* NULL-safe */

/* Next frame into rgb [height, width, 3], full-range sRGB values; NULL skips the conversion.
 * *seconds (may be NULL): its time, the first frame is at 0. LT_OK, LT_END, or LT_EFORMAT (damaged,
 * cut short, another size from here on): then every later call says the same. */
LT_API lt_status lt_reader_next(lt_reader *r, uint8_t *rgb, double *seconds, lt_error *err);

typedef struct lt_reader_info {
    size_t struct_size;
    int32_t width, height;               /* of the frames that come */
    int32_t stored_width, stored_height; /* of those in the file */
    int32_t fps_num, fps_den;            /* average; 0/1: not known, or a picture */
    int64_t frames;                      /* as the container says; 0: not known */
    double seconds;                      /* the same; 0: not known */
    int32_t picture;                     /* a PNG: one frame */
    int32_t matrix, matrix_guessed;      /* lt_matrix in use; non-zero: the file does not say */
    int32_t full_range, bits;            /* of the stored samples */
    int32_t alpha, interlaced, hdr;      /* flags; hdr: PQ or HLG curve */
    int32_t rotation;         /* degrees clockwise that a player turns the picture; 0 90 180 270 */
    int32_t sar_num, sar_den; /* shape of a pixel; 1/1 unless the file says otherwise */
    int32_t variable_rate;    /* frames so far were not evenly spaced, or the container says so */
    int32_t cut_short;        /* see accept_cut */
    int64_t frames_read;
    char format[24], codec[24], pixel_format[24];
} lt_reader_info;
LT_API void lt_reader_get_info(const lt_reader *r, lt_reader_info *info, size_t size);

/* One frame as RGB, as the samples of the file, or both. */
typedef struct lt_picture {
    int32_t width, height;
    const uint8_t *rgb; /* [height, width, 3], full-range sRGB values, rows without gaps; or NULL */
    /* 8-bit Y'CbCr as stored, or y NULL. u and v [c_height, c_width], NULL for grey. A stride may
     * be negative. */
    const uint8_t *y, *u, *v;
    ptrdiff_t y_stride, c_stride;
    int32_t c_width, c_height; /* may change from frame to frame, with the pixel format */
    int32_t full_range;        /* of y u v: 0..255 instead of 16..235 and 16..240 */
} lt_picture;

/* Like lt_reader_next, with the stored samples too: of more than 8 bits rounded to 8, of RGB data
 * made by BT.709, limited range, 4:4:4. Only for a reader of the stored size (LT_EINVAL). The
 * planes are the reader's, until its next call; pic->rgb is the caller's rgb, which may be NULL. */
LT_API lt_status lt_reader_picture(lt_reader *r, uint8_t *rgb, lt_picture *pic, double *seconds,
                                   lt_error *err);

/* Metadata of the container, such as our own title, prompt, seed, model, settings. NULL: absent.
 * Case does not matter (Matroska writes capitals). Foreign text: any bytes, any length. Valid until
 * close. */
LT_API const char *lt_reader_meta(const lt_reader *r, const char *key);
/* The i-th entry, from 0; returns 0 behind the last. */
LT_API int32_t lt_reader_meta_at(const lt_reader *r, int32_t i, const char **key,
                                 const char **value);

/* One picture as a PNG file, rgb [height, width, 3], at most 8192 pixels a side. Written as
 * path.part and renamed: no half file. LT_EIO, also if path is no regular file. LT_EINVAL. */
LT_API lt_status lt_png_write(const char *path, const uint8_t *rgb, int32_t width, int32_t height,
                              lt_error *err);

#ifdef __cplusplus
}
#endif
#endif

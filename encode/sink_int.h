/* SPDX-License-Identifier: Apache-2.0
 * encode/sink_int.h - inside the frame sinks: one vtable, one record, the output file.
 *
 * A sink is a row of the table in sink.c. sink.c checks the parameters, counts frames and remembers
 * the first failure, so that a sink's own code only ever sees the good path:
 *   open -> (write, flush at a chunk's end)* -> close(ok)
 * close(ok = false) comes after a failure or without any frame: keep what was flushed, free the
 * rest. */
#ifndef LT_ENCODE_SINK_INT_H
#define LT_ENCODE_SINK_INT_H
#include "base/error.h"
#include "longtake/encode.h"
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lti_sink_ops {
    const char *name;
    bool even; /* 4:2:0 planes: width and height must be even */
    lt_status (*open)(lt_sink *s, lt_error *err);
    lt_status (*write)(lt_sink *s, const uint8_t *rgb, lt_error *err); /* rgb [height, width, 3] */
    lt_status (*flush)(lt_sink *s, lt_error *err);                     /* NULL: nothing to flush */
    lt_status (*close)(lt_sink *s, bool ok, lt_error *err); /* frees s->priv, NULL-safe */
    const char *(*result)(lt_sink *s);                      /* NULL: "" */
    /* metadata at any time before close; NULL: there is no place for it */
    lt_status (*set_meta)(lt_sink *s, const char *key, const char *value, lt_error *err);
} lti_sink_ops;

struct lt_sink {
    const lti_sink_ops *ops;
    char *path, *codec; /* codec NULL: choose */
    int width, height, fps_num, fps_den, crf, threads;
    lt_sink_meta *meta; /* n_meta copies */
    int n_meta;
    int64_t n_frame;  /* frames written without an error */
    bool chunk_start; /* the next frame is the first of its chunk */
    lt_status failed; /* first failure of write or flush; then only close does anything */
    char result[80];
    void *priv;
};

extern const lti_sink_ops lti_sink_mp4, lti_sink_mkv, lti_sink_png, lti_sink_y4m, lti_sink_rgb,
    lti_sink_md5, lti_sink_null;

/* ---- file.c: an output file that costs nothing until the first byte ----------------------------
 */

typedef struct lti_outfile {
    int fd;       /* -1: closed */
    char *path;   /* with links resolved when it is a regular file; "standard output" */
    bool regular; /* can be seeked, synced, cut */
    bool created; /* by us: removed again when nothing comes */
    bool started; /* first byte written; only then an old file is emptied */
    int64_t pos, end;
} lti_outfile;

/* "-": standard output. LT_EIO when it cannot be created. An existing file is untouched until the
 * first write. */
lt_status lti_outfile_open(const char *path, lti_outfile *f, lt_error *err);
int lti_outfile_write(lti_outfile *f, const void *buf, size_t n); /* 0 or errno; never a signal */
int64_t lti_outfile_seek(lti_outfile *f, int64_t pos);            /* new position or -1 */
int lti_outfile_sync(lti_outfile *f);                             /* fdatasync; 0 or errno */
void lti_outfile_cut(lti_outfile *f, int64_t size);               /* size 0: remove what we made */
int lti_outfile_close(lti_outfile *f);                            /* 0 or errno; safe twice */

/* While held, writing to a closed pipe or beyond a size limit gives an errno and no signal, in this
 * thread only: a library must not change the signal handlers of its program. */
typedef struct lti_sigguard {
    sigset_t old, raised;
} lti_sigguard;
void lti_sigguard_begin(lti_sigguard *g);
void lti_sigguard_end(lti_sigguard *g);

#endif

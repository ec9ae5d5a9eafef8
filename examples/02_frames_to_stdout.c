/* SPDX-License-Identifier: Apache-2.0
 * examples/02_frames_to_stdout.c - frames as bytes: no encoder, the program owns the pictures.
 *
 *   02_frames_to_stdout models "A red ball bounces across a green meadow at noon" 160 | ffplay ...
 *
 * Raw RGB24 on stdout as each frame is decoded; the ffplay line for it on stderr. The pipe's reader
 * sets the pace: while fwrite blocks the library stops after a few frames and memory stays flat. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include "longtake/longtake.h"

static int write_frames(lt_stream *stream) {
    lt_frame f;
    lt_status st;
    while ((st = lt_stream_next(stream, &f)) == LT_OK) {
        size_t bytes = (size_t)f.width * (size_t)f.height * 3;
        size_t written = fwrite(f.rgb, 1, bytes, stdout);
        lt_frame_release(&f);
        if (written != bytes) {
            fprintf(stderr, "stdout was closed by its reader\n");
            return 1;
        }
    }
    if (st == LT_END && fflush(stdout) == 0) return 0;
    fprintf(stderr, "%s: %s\n", lt_status_str(st), lt_stream_error(stream));
    return 1;
}

int main(int argc, char **argv) {
    int64_t n_frames = argc == 4 ? strtoll(argv[3], NULL, 10) : 0;
    if (n_frames < 1) { /* 0 would mean endless */
        fprintf(stderr, "usage: %s MODEL_DIR PROMPT FRAMES > frames.rgb\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a short fwrite, not a death */
    lt_error err = {0};
    lt_engine *engine = NULL;
    lt_stream *stream = NULL;

    lt_engine_params ep;
    lt_engine_params_init(&ep);
    ep.model_dir = argv[1];
    lt_stream_params sp;
    lt_stream_params_init(&sp);
    sp.prompt = argv[2];
    sp.n_frames = n_frames;

    int rc = 1;
    if (lt_engine_open(&ep, &engine, &err) == LT_OK &&
        lt_stream_open(engine, &sp, &stream, &err) == LT_OK) {
        lt_stream_info info;
        lt_stream_get_info(stream, &info, sizeof info);
        fprintf(stderr,
                "ffplay -f rawvideo -pixel_format rgb24 "
                "-video_size %dx%d -framerate %g -\n",
                info.width, info.height, info.fps);
        rc = write_frames(stream);
    } else {
        fprintf(stderr, "%s: %s\n", lt_status_str(err.code), err.msg);
    }
    lt_stream_close(&stream);
    lt_engine_close(&engine);
    return rc;
}

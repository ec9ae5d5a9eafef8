/* SPDX-License-Identifier: Apache-2.0
 * examples/01_one_clip.c - a prompt in, a video file out.
 *
 *   01_one_clip models "A red ball bounces across a green meadow at noon" clip.mp4 160
 *
 * The whole library in one function: open an engine (weights), open a stream (one generation), pull
 * frames, push them into a sink. The extension picks the format: .mp4 .mkv .y4m .rgb %06d.png */
#include <stdio.h>
#include <stdlib.h>
#include "longtake/encode.h"
#include "longtake/longtake.h"

/* A sink that fits the stream's picture size and rate. */
static lt_status open_sink(const lt_stream *stream, const char *path, lt_sink **out,
                           lt_error *err) {
    lt_stream_info info;
    lt_stream_get_info(stream, &info, sizeof info);
    lt_sink_params p;
    lt_sink_params_init(&p);
    p.path = path;
    p.width = info.width;
    p.height = info.height;
    p.fps_num = (int32_t)(info.fps * 1000 + 0.5);
    p.fps_den = 1000;
    return lt_sink_open(&p, out, err);
}

/* Every frame of the stream into the sink. The library's pictures go back as soon as written. */
static lt_status pump(lt_stream *stream, lt_sink *sink, lt_error *err) {
    lt_frame frame;
    lt_status st;
    while ((st = lt_stream_next(stream, &frame)) == LT_OK) {
        st = lt_sink_write(sink, frame.rgb, frame.chunk_end, err);
        lt_frame_release(&frame);
        if (st < 0) return st;
    }
    if (st == LT_END) return LT_OK;
    err->code = st; /* a stream keeps its own message: it fails in its worker thread */
    snprintf(err->msg, sizeof err->msg, "%s", lt_stream_error(stream));
    return st;
}

int main(int argc, char **argv) {
    int64_t n_frames = argc == 5 ? strtoll(argv[4], NULL, 10) : 0;
    if (n_frames < 1) { /* 0 would mean endless */
        fprintf(stderr, "usage: %s MODEL_DIR PROMPT OUT.mp4 FRAMES\n", argv[0]);
        return 2;
    }
    lt_error err = {0};
    lt_engine *engine = NULL;
    lt_stream *stream = NULL;
    lt_sink *sink = NULL;

    lt_engine_params ep;
    lt_engine_params_init(&ep);
    ep.model_dir = argv[1];
    lt_stream_params sp;
    lt_stream_params_init(&sp);
    sp.prompt = argv[2];
    sp.n_frames = n_frames;
    sp.seed = 7;

    lt_status st = lt_engine_open(&ep, &engine, &err);
    if (st == LT_OK) st = lt_stream_open(engine, &sp, &stream, &err);
    if (st == LT_OK) st = open_sink(stream, argv[3], &sink, &err);
    if (st == LT_OK) st = pump(stream, sink, &err);
    if (sink) { /* close finishes the file: its status says whether the file is complete */
        lt_error close_err = {0};
        lt_status closed = lt_sink_close(&sink, &close_err);
        if (st == LT_OK && closed < 0) {
            st = closed;
            err = close_err;
        }
    }
    lt_stream_close(&stream); /* streams before their engine; both are NULL-safe */
    lt_engine_close(&engine);
    if (st < 0) fprintf(stderr, "%s: %s\n", lt_status_str(st), err.msg);
    return st < 0;
}

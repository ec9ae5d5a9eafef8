/* SPDX-License-Identifier: Apache-2.0
 * examples/04_cancel.c - stop a stream that never ends, from another thread; the file stays.
 *
 *   04_cancel models "A red ball bounces across a green meadow at noon" clip.mp4 10
 *
 * n_frames is 0, so the stream is endless. lt_stream_cancel is the one call any thread may make:
 * lt_stream_next then hands out what was decoded, then LT_ECANCELLED. The sink is closed as always,
 * the file ends with the last finished frame. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "longtake/encode.h"
#include "longtake/longtake.h"

typedef struct alarm_clock {
    lt_stream *stream;
    unsigned seconds;
} alarm_clock;

static void *ring(void *arg) {
    const alarm_clock *a = arg;
    sleep(a->seconds);
    lt_stream_cancel(a->stream);
    return NULL;
}

/* Frames until the stream is cancelled; the number written, or -1 with a line on stderr. */
static int64_t record(lt_stream *stream, const char *path) {
    lt_error err = {0};
    lt_sink *sink = NULL;
    lt_stream_info info;
    lt_stream_get_info(stream, &info, sizeof info);
    lt_sink_params p;
    lt_sink_params_init(&p);
    p.path = path;
    p.width = info.width;
    p.height = info.height;
    p.fps_num = (int32_t)(info.fps * 1000 + 0.5);
    p.fps_den = 1000;
    int64_t n = 0;
    lt_frame f;
    lt_status st = lt_sink_open(&p, &sink, &err);
    while (st == LT_OK && (st = lt_stream_next(stream, &f)) == LT_OK) {
        st = lt_sink_write(sink, f.rgb, f.chunk_end, &err);
        n += st == LT_OK;
        lt_frame_release(&f);
    }
    if (st == LT_ECANCELLED) st = LT_OK; /* what we asked for */
    if (sink && lt_sink_close(&sink, &err) < 0 && st == LT_OK) st = err.code;
    if (st == LT_OK) return n;
    fprintf(stderr, "%s: %s\n", lt_status_str(st), err.code ? err.msg : lt_stream_error(stream));
    return -1;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: %s MODEL_DIR PROMPT OUT.mp4 SECONDS\n", argv[0]);
        return 2;
    }
    lt_error err = {0};
    lt_engine *engine = NULL;
    lt_stream *stream = NULL;
    lt_engine_params ep;
    lt_engine_params_init(&ep);
    ep.model_dir = argv[1];
    lt_stream_params sp;
    lt_stream_params_init(&sp);
    sp.prompt = argv[2];
    int rc = 1;
    if (lt_engine_open(&ep, &engine, &err) == LT_OK &&
        lt_stream_open(engine, &sp, &stream, &err) == LT_OK) {
        alarm_clock a = {stream, (unsigned)strtoul(argv[4], NULL, 10)};
        pthread_t thread;
        if (pthread_create(&thread, NULL, ring, &a) == 0) {
            int64_t n = record(stream, argv[3]);
            pthread_join(thread, NULL); /* before the stream it cancels is closed */
            if (n >= 0) printf("cancelled after %" PRId64 " frames: %s\n", n, argv[3]);
            rc = n < 0;
        } else {
            fprintf(stderr, "cannot start a thread\n");
        }
    } else {
        fprintf(stderr, "%s: %s\n", lt_status_str(err.code), err.msg);
    }
    lt_stream_close(&stream);
    lt_engine_close(&engine);
    return rc;
}

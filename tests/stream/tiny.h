/* SPDX-License-Identifier: Apache-2.0
 * tests/stream/tiny.h - open the random model of tests/tiny and pull frames out of it. */
#ifndef LT_TESTS_TINY_H
#define LT_TESTS_TINY_H
#include <stdlib.h>
#include <string.h>
#include "longtake/longtake.h"

#define TINY LT_SOURCE_DIR "/tests/tiny"
#define TINY_RGB (32 * 32 * 3)

static inline lt_status tiny_engine(const char *backend, int threads, lt_engine **out,
                                    lt_error *err) {
    lt_engine_params p;
    lt_engine_params_init(&p);
    p.model_dir = TINY;
    p.backend = backend;
    p.threads = threads;
    return lt_engine_open(&p, out, err);
}

static inline lt_stream_params tiny_params(int64_t n_frames) {
    lt_stream_params p;
    lt_stream_params_init(&p);
    p.prompt = "a red ball bounces";
    p.n_frames = n_frames;
    p.seed = 5;
    return p;
}

/* All frames of a stream into rgb [n, 32, 32, 3]; returns how many, -1 on an error. */
static inline int64_t tiny_collect(lt_engine *e, const lt_stream_params *p, uint8_t *rgb,
                                   int64_t cap) {
    lt_stream *s = NULL;
    lt_frame f;
    int64_t n = 0;
    lt_status st;
    if (lt_stream_open(e, p, &s, NULL) != LT_OK) return -1;
    while ((st = lt_stream_next(s, &f)) == LT_OK && n < cap) {
        memcpy(rgb + n++ * TINY_RGB, f.rgb, TINY_RGB);
        lt_frame_release(&f);
    }
    lt_stream_close(&s);
    return st < 0 ? -1 : n;
}
#endif

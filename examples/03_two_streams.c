/* SPDX-License-Identifier: Apache-2.0
 * examples/03_two_streams.c - two videos at once from one set of weights.
 *
 *   03_two_streams models "A red ball bounces" "A blue box slides" 80
 *
 * An engine is immutable after open, so threads share it without a lock; each thread owns its
 * stream. The null consumer here sums the bytes: put a sink, a socket or a texture in its place. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "longtake/longtake.h"

typedef struct job {
    lt_engine *engine; /* shared */
    const char *prompt;
    int64_t n_frames;
    int64_t frames; /* results, read after the join */
    uint64_t sum;
    lt_status status;
    char message[sizeof((lt_error *)0)->msg];
} job;

static void *run(void *arg) {
    job *j = arg;
    lt_error err = {0};
    lt_stream *stream = NULL;
    lt_stream_params sp;
    lt_stream_params_init(&sp);
    sp.prompt = j->prompt;
    sp.n_frames = j->n_frames;
    j->status = lt_stream_open(j->engine, &sp, &stream, &err);
    if (j->status < 0) {
        snprintf(j->message, sizeof j->message, "%s", err.msg);
        return NULL;
    }
    lt_frame f;
    while ((j->status = lt_stream_next(stream, &f)) == LT_OK) {
        size_t bytes = (size_t)f.width * (size_t)f.height * 3;
        for (size_t i = 0; i < bytes; i++) j->sum += f.rgb[i];
        j->frames++;
        lt_frame_release(&f);
    }
    if (j->status < 0) snprintf(j->message, sizeof j->message, "%s", lt_stream_error(stream));
    lt_stream_close(&stream);
    return NULL;
}

int main(int argc, char **argv) {
    int64_t n_frames = argc == 5 ? strtoll(argv[4], NULL, 10) : 0;
    if (n_frames < 1) { /* 0 would mean endless */
        fprintf(stderr, "usage: %s MODEL_DIR PROMPT_A PROMPT_B FRAMES\n", argv[0]);
        return 2;
    }
    lt_error err = {0};
    lt_engine *engine = NULL;
    lt_engine_params ep;
    lt_engine_params_init(&ep);
    ep.model_dir = argv[1];
    ep.threads = 1; /* per stream: two streams on two cores */
    if (lt_engine_open(&ep, &engine, &err) < 0) {
        fprintf(stderr, "%s: %s\n", lt_status_str(err.code), err.msg);
        return 1;
    }
    job jobs[2] = {{.engine = engine, .prompt = argv[2]}, {.engine = engine, .prompt = argv[3]}};
    pthread_t threads[2];
    int started = 0, rc = 0;
    for (; started < 2; started++) {
        jobs[started].n_frames = n_frames;
        if (pthread_create(&threads[started], NULL, run, &jobs[started]) != 0) {
            fprintf(stderr, "cannot start a thread\n");
            rc = 1;
            break;
        }
    }
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        if (jobs[i].status < 0) {
            fprintf(stderr, "%s: %s\n", lt_status_str(jobs[i].status), jobs[i].message);
            rc = 1;
        } else {
            printf("%" PRId64 " frames, byte sum %" PRIu64 ": %s\n", jobs[i].frames, jobs[i].sum,
                   jobs[i].prompt);
        }
    }
    lt_engine_close(&engine); /* after its streams */
    return rc;
}

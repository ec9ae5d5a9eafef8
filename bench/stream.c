/* SPDX-License-Identifier: Apache-2.0
 * bench/stream.c - the whole way, prompt to H.264 file, timed as a user feels it.
 *
 *   bench_stream MODEL_DIR OUT.mp4 [SECONDS [THREADS [MODE]]]
 *
 * first_frame_s  start of main to the first frame in hand (engine open, text, first chunk, decode)
 * fps            frames / time from the first frame to the last, encoding included
 * chunk_p50/p95  time between chunk ends
 * rss_20s, rss_end  resident MiB when 20 s of video are done and at the end; their ratio is the
 *                constant-memory target (1.02). Prints one table and one JSON line on stdout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "longtake/encode.h"
#include "longtake/longtake.h"

#define MAX_CHUNKS 65536

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double rss_mib(void) {
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%ld %ld", &pages, &resident) != 2) resident = 0;
    if (f) fclose(f);
    return (double)resident * 4096 / (1 << 20);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

typedef struct result {
    double first_frame, fps, p50, p95, rss_20s, rss_end;
    int64_t frames;
} result;

static int die(const char *what, const char *msg) {
    fprintf(stderr, "bench_stream: %s: %s\n", what, msg);
    return 1;
}

static int pull(lt_stream *s, lt_sink *sink, double start, int64_t frames_20s, result *r) {
    static double chunk[MAX_CHUNKS];
    int n_chunk = 0;
    double first = 0, last_chunk = 0;
    lt_frame f;
    lt_error err = {0};
    while (lt_stream_next(s, &f) == LT_OK) {
        if (!r->frames++) first = last_chunk = now();
        if (lt_sink_write(sink, f.rgb, f.chunk_end, &err) < 0) return die("write", err.msg);
        if (r->frames == frames_20s) r->rss_20s = rss_mib();
        if (f.chunk_end && f.chunk > 0 && n_chunk < MAX_CHUNKS)
            chunk[n_chunk++] = now() - last_chunk;
        if (f.chunk_end) last_chunk = now();
        lt_frame_release(&f);
    }
    if (*lt_stream_error(s)) return die("stream", lt_stream_error(s));
    r->first_frame = first - start;
    r->fps = (double)(r->frames - 1) / (now() - first);
    r->rss_end = rss_mib();
    qsort(chunk, (size_t)n_chunk, sizeof *chunk, by_value);
    if (n_chunk) r->p50 = chunk[n_chunk / 2], r->p95 = chunk[n_chunk * 95 / 100];
    return 0;
}

static void print(const result *r, const lt_stream_info *i) {
    printf("%-28s %10.2f s\n%-28s %10.1f\n%-28s %7.0f / %.0f ms\n%-28s %7.1f / %.1f MiB (x%.4f)\n"
           "%-28s %.2f / %.2f / %.2f s\n",
           "first frame after", r->first_frame, "frames per second", r->fps, "chunk p50 / p95",
           1e3 * r->p50, 1e3 * r->p95, "resident at 20 s / end", r->rss_20s, r->rss_end,
           r->rss_20s > 0 ? r->rss_end / r->rss_20s : 0, "text / DiT / VAE busy", i->text_seconds,
           i->dit_seconds, i->vae_seconds);
    printf("{\"bench\":\"stream\",\"frames\":%lld,\"first_frame_s\":%.3f,\"fps\":%.2f,\"chunk_p50_"
           "ms\":%.1f,"
           "\"chunk_p95_ms\":%.1f,\"rss_20s_mib\":%.1f,\"rss_end_mib\":%.1f,\"dit_s\":%.2f,\"vae_"
           "s\":%.2f}\n",
           (long long)r->frames, r->first_frame, r->fps, 1e3 * r->p50, 1e3 * r->p95, r->rss_20s,
           r->rss_end, i->dit_seconds, i->vae_seconds);
}

int main(int argc, char **argv) {
    double start = now(), seconds = argc > 3 ? strtod(argv[3], NULL) : 30;
    lt_error err = {0};
    lt_engine *e = NULL;
    lt_stream *s = NULL;
    lt_sink *sink = NULL;
    lt_engine_params ep;
    lt_stream_params sp;
    lt_sink_params kp;
    lt_stream_info info;
    result r = {0};
    if (argc < 3)
        return die("usage", "bench_stream MODEL_DIR OUT.mp4 [SECONDS [THREADS [chunk|rolling]]]");
    lt_engine_params_init(&ep);
    ep.model_dir = argv[1];
    ep.threads = argc > 4 ? (int32_t)strtol(argv[4], NULL, 10) : 0;
    if (lt_engine_open(&ep, &e, &err) < 0) return die("engine", err.msg);
    lt_model_info m;
    lt_engine_model(e, &m, sizeof m);
    lt_stream_params_init(&sp);
    sp.prompt = "a red ball bounces across a green meadow at noon";
    sp.n_frames = (int64_t)(seconds * m.fps);
    if (argc > 5 && strcmp(argv[5], "rolling") == 0) sp.mode = LT_MODE_ROLLING;
    if (lt_stream_open(e, &sp, &s, &err) < 0) return die("stream", err.msg);
    lt_sink_params_init(&kp);
    kp.path = argv[2];
    kp.width = m.width;
    kp.height = m.height;
    kp.fps_num = (int32_t)m.fps;
    kp.fps_den = 1;
    if (lt_sink_open(&kp, &sink, &err) < 0) return die("sink", err.msg);
    int rc = pull(s, sink, start, (int64_t)(20 * m.fps), &r);
    lt_stream_get_info(s, &info, sizeof info);
    lt_stream_close(&s);
    if (lt_sink_close(&sink, &err) < 0) rc = die("close", err.msg);
    lt_engine_close(&e);
    if (!rc) print(&r, &info);
    return rc;
}

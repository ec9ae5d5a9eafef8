/* SPDX-License-Identifier: Apache-2.0
 * bench/metrics.c - what each metric costs per frame, and how fast whole files are measured.
 *
 *   bench_metrics OUT.mp4 [VIDEO ...]
 *
 * First the metrics alone, on 832x480 pictures of a texture that moves by two pixels a frame under a
 * little noise: the median time of a push on this thread, with the planes at hand as a decoder gives
 * them. Then whole files, decoder and conversion included (one thread decodes, one computes): a 10 s
 * video of those pictures, written to OUT.mp4, and any others that are named. Goals, on two cores:
 * 100 frames/s for all metrics without reference, 200 for flicker, luma and saturation. Prints one
 * table and one JSON line per row on stdout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "longtake/metrics.h"

enum { W = 832, H = 480, N = W * H, FRAMES = 24, ROUNDS = 4, FPS = 16 };
#define BIT(NAME) LT_METRIC_BIT(LT_METRIC_##NAME)
#define FAST (BIT(FLICKER) | BIT(LUMA) | BIT(SATURATION))

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int die(const char *what, const char *msg) {
    fprintf(stderr, "bench_metrics: %s: %s\n", what, msg);
    return 1;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* ---- pictures ----------------------------------------------------------------------------------- */

typedef struct frame {
    uint8_t rgb[3 * N];
    uint8_t yuv[N * 3 / 2]; /* y [H, W], u and v [H/2, W/2] */
} frame;

static uint32_t noise(uint32_t *s) { return (*s = *s * 1664525 + 1013904223) >> 24; }

/* Blobs of three sizes, about 60 to 200, at x, y of an endless texture. */
static int texture(int x, int y) {
    int sum = 130;
    for (int size = 4; size <= 64; size *= 4) {
        uint32_t h = (uint32_t)(x / size) * 2654435761u ^ (uint32_t)(y / size) * 2246822519u;
        sum += (int)((h ^ h >> 15) * 2654435761u >> 24) / 5 - 25;
    }
    return sum;
}

static void draw(frame *f, int t) {
    uint32_t s = (uint32_t)t * 7919 + 1;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            const int v = texture(x + 2 * t, y + t) + (int)(noise(&s) & 7), i = y * W + x;
            f->rgb[3 * i] = (uint8_t)v;
            f->rgb[3 * i + 1] = (uint8_t)(v - 20);
            f->rgb[3 * i + 2] = (uint8_t)(v / 2 + 60);
            f->yuv[i] = (uint8_t)(v * 7 / 8);
        }
    for (int i = N; i < N * 3 / 2; i++) f->yuv[i] = (uint8_t)(100 + (noise(&s) & 15));
}

static lt_picture picture(const frame *f, int planes) {
    lt_picture p = {.width = W, .height = H, .rgb = f->rgb};
    if (!planes) return p;
    p.y = f->yuv;
    p.u = f->yuv + N;
    p.v = f->yuv + N * 5 / 4;
    p.y_stride = W;
    p.c_stride = p.c_width = W / 2;
    p.c_height = H / 2;
    return p;
}

/* ---- one row each -------------------------------------------------------------------------------- */

/* Median ms of a push; what: a name for the table. */
static int row(const char *what, const frame *f, uint32_t want, int planes) {
    lt_metrics_params p;
    lt_metrics *m;
    lt_error err = {0};
    lt_metrics_params_init(&p);
    p.width = W;
    p.height = H;
    p.fps = FPS;
    p.chunk = 12;
    p.want = want;
    if (lt_metrics_open(&p, &m, &err) < 0) return die(what, err.msg);
    double ms[FRAMES * ROUNDS];
    for (int t = 0; t < FRAMES * ROUNDS; t++) {
        const lt_picture pic = picture(&f[t % FRAMES], planes);
        const lt_picture ref = picture(&f[(t + 1) % FRAMES], planes);
        const double start = now();
        if (lt_metrics_push(m, &pic, &ref, (double)t / FPS, NULL, &err) < 0)
            return die(what, err.msg);
        ms[t] = 1e3 * (now() - start);
    }
    lt_metrics_close(&m);
    qsort(ms, FRAMES * ROUNDS, sizeof *ms, by_value);
    const double median = ms[FRAMES * ROUNDS / 2];
    printf("%-36s %9.3f %12.0f\n", what, median, 1e3 / median);
    printf("{\"bench\":\"metrics\",\"what\":\"%s\",\"ms\":%.4f}\n", what, median);
    return 0;
}

static int write_video(const char *path, const frame *f) {
    lt_sink_params p;
    lt_sink *s;
    lt_error err = {0};
    lt_sink_params_init(&p);
    p.path = path;
    p.width = W;
    p.height = H;
    p.fps_num = FPS;
    p.fps_den = 1;
    p.crf = -1;
    if (lt_sink_open(&p, &s, &err) < 0) return die(path, err.msg);
    lt_status st = LT_OK;
    for (int t = 0; t < 10 * FPS && st == LT_OK; t++) /* forth and back */
        st =
            lt_sink_write(s, f[t / FRAMES % 2 ? FRAMES - 1 - t % FRAMES : t % FRAMES].rgb, 0, &err);
    if (lt_sink_close(&s, &err) < 0 || st < 0) return die(path, err.msg);
    return 0;
}

static int file_row(const char *what, const char *path, uint32_t want) {
    lt_metrics_file_params p;
    lt_metrics *m;
    lt_error err = {0};
    lt_metrics_file_params_init(&p);
    p.want = want;
    const double start = now();
    if (lt_metrics_file(path, &p, NULL, NULL, NULL, &m, &err) < 0) return die(path, err.msg);
    const double seconds = now() - start, n = (double)lt_metrics_frames(m);
    lt_metrics_close(&m);
    printf("%-36s %9.3f %12.0f\n", what, 1e3 * seconds / n, n / seconds);
    printf("{\"bench\":\"metrics_file\",\"what\":\"%s\",\"frames\":%.0f,\"fps\":%.1f}\n", what, n,
           n / seconds);
    return 0;
}

int main(int argc, char **argv) {
    static const struct {
        const char *what;
        uint32_t want;
        int planes;
    } rows[] = {
        {"flicker", BIT(FLICKER), 1},
        {"boundary", BIT(BOUNDARY), 1},
        {"luma contrast clip_lo clip_hi", BIT(LUMA) | BIT(CONTRAST) | BIT(CLIP_LO) | BIT(CLIP_HI),
         1},
        {"saturation", BIT(SATURATION), 1},
        {"sharpness", BIT(SHARPNESS), 1},
        {"si", BIT(SI), 1},
        {"ti", BIT(TI), 1},
        {"hist_first hist_prev", BIT(HIST_FIRST) | BIT(HIST_PREV), 1},
        {"motion warp_error smooth", BIT(MOTION) | BIT(WARP_ERROR) | BIT(SMOOTH), 1},
        {"loop", BIT(LOOP), 1},
        {"luma, planes made from rgb", BIT(LUMA), 0},
        {"flicker luma saturation", FAST, 1},
        {"all without reference", LT_METRICS_NO_REF, 1},
        {"psnr", BIT(PSNR), 1},
        {"ssim", BIT(SSIM), 1},
        {"ms_ssim", BIT(MS_SSIM), 1},
    };
    if (argc < 2) return die("usage", "bench_metrics OUT.mp4 [VIDEO ...]");
    frame *f = malloc(FRAMES * sizeof *f);
    if (!f) return die("frames", "out of memory");
    for (int t = 0; t < FRAMES; t++) draw(&f[t], t);
    printf("%-36s %9s %12s\n", "832x480, one thread", "ms/frame", "frames/s");
    int rc = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !rc; i++)
        rc = row(rows[i].what, f, rows[i].want, rows[i].planes);
    if (!rc) rc = write_video(argv[1], f);
    free(f);
    for (int i = 1; i < argc && !rc; i++) {
        printf("%s\n", argv[i]);
        rc = file_row("file, flicker luma saturation", argv[i], FAST);
        if (!rc) rc = file_row("file, all without reference", argv[i], LT_METRICS_NO_REF);
    }
    return rc;
}

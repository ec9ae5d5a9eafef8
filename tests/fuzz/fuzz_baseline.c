/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_baseline.c - any bytes as a baseline and, behind the first '~', as a tolerance file:
 * refused with one line, or a check that says a line per statistic, whatever the numbers are. */
#include "base/error.h"
#include "longtake/metrics.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

enum { W = 16, H = 16, FRAMES = 12 };

/* A video of a few small frames, measured once. */
static lt_metrics *measured(void) {
    static lt_metrics *m;
    static uint8_t rgb[H * W * 3];
    lt_metrics_params p;
    lt_metrics_params_init(&p);
    p.width = W;
    p.height = H;
    p.fps = 4;
    p.chunk = 4;
    if (m || lt_metrics_open(&p, &m, NULL) != LT_OK) return m;
    for (int t = 0; t < FRAMES; t++) {
        for (int i = 0; i < (int)sizeof rgb; i++) rgb[i] = (uint8_t)(i * (t + 1) + 5 * t);
        const lt_picture pic = {.width = W, .height = H, .rgb = rgb};
        LT_ASSERT(lt_metrics_push(m, &pic, NULL, t / 4.0, NULL, NULL) == LT_OK);
    }
    return m;
}

static void on_line(void *user, const char *line) {
    LT_ASSERT(*line);
    for (const char *s = line; *s; s++) LT_ASSERT((unsigned char)*s >= 0x20 && *s != 0x7f);
    ++*(int32_t *)user;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data, *tilde = size ? memchr(text, '~', size) : NULL;
    const size_t n = tilde ? (size_t)(tilde - text) : size;
    lt_metrics *m = measured();
    lt_baseline *b = NULL;
    lt_error err = {0};
    LT_ASSERT(m);
    const lt_status st =
        lt_baseline_parse(text, n, tilde ? tilde + 1 : NULL, tilde ? size - n - 1 : 0, &b, &err);
    if (st != LT_OK) {
        LT_ASSERT(st == LT_EFORMAT && !b && err.msg[0] && !strchr(err.msg, '\n'));
        return 0;
    }
    const lt_metrics_file_info info = {
        .video = {.width = W, .height = H, .fps_num = 4, .fps_den = 1}};
    int32_t lines = 0;
    int32_t n_out = lt_baseline_check(b, m, NULL, 0, on_line, &lines);
    n_out += lt_baseline_check(b, m, &info, LT_METRICS_NO_REF, on_line, &lines);
    LT_ASSERT(n_out == lines && lines <= 2 * (1 + 7 * LT_METRIC_COUNT));
    lt_baseline_close(&b);
    LT_ASSERT(!b);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/metrics_rig.h - videos made of formulas, pushed frame by frame into lt_metrics. */
#ifndef LT_TESTS_METRICS_RIG_H
#define LT_TESTS_METRICS_RIG_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "longtake/metrics.h"

#define BIT(NAME) LT_METRIC_BIT(LT_METRIC_##NAME)
enum { MAX_FRAMES = 1200 };
#define FPS 16.0

/* One video's metrics: open, push, then look at rows and summaries. */
typedef struct clip {
    lt_metrics *m;
    int w, h, frames;
    double row[MAX_FRAMES][LT_METRIC_COUNT];
} clip;

static inline uint32_t random32(void) { /* an LCG's high half: the same everywhere */
    static uint64_t seed = 7;
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}
static inline double random1(void) { return (random32() + 0.5) / 4294967296.0; }
static inline double normal(void) {
    return sqrt(-2 * log(random1())) * cos(6.283185307179586 * random1());
}

static inline void close_to(double got, double want, double bound) {
    if (!(fabs(got - want) <= bound)) fail_msg("%.12g, expected %.12g +- %g", got, want, bound);
}

static inline clip *clip_open(int w, int h, uint32_t want, int chunk, int first_chunk) {
    clip *c = calloc(1, sizeof *c);
    lt_metrics_params p;
    lt_error err = {0};
    lt_metrics_params_init(&p);
    p.width = w;
    p.height = h;
    p.fps = FPS;
    p.chunk = chunk;
    p.first_chunk = first_chunk;
    p.want = want;
    if (lt_metrics_open(&p, &c->m, &err) != LT_OK) fail_msg("%s", err.msg);
    c->w = w;
    c->h = h;
    return c;
}

static inline void clip_push(clip *c, const uint8_t *rgb) {
    const lt_picture p = {.width = c->w, .height = c->h, .rgb = rgb};
    lt_error err = {0};
    assert_true(c->frames < MAX_FRAMES);
    if (lt_metrics_push(c->m, &p, NULL, c->frames / FPS, c->row[c->frames], &err) != LT_OK)
        fail_msg("%s", err.msg);
    c->frames++;
}

static inline void clip_close(clip *c) {
    lt_metrics_close(&c->m);
    assert_null(c->m);
    free(c);
}

static inline lt_metric_summary summary(const clip *c, int metric) {
    lt_metric_summary s;
    lt_metrics_summary_of(c->m, metric, &s, sizeof s);
    return s;
}

/* All rows from frame `from` on are `value` +- bound, but for frames a and b (-1: none). */
static inline void all_are(const clip *c, int metric, int from, double value, double bound, int a,
                           int b) {
    for (int t = from; t < c->frames; t++)
        if (t != a && t != b && !(fabs(c->row[t][metric] - value) <= bound))
            fail_msg("%s at frame %d: %.9g, expected %.9g +- %g", lt_metric_name(metric), t,
                     c->row[t][metric], value, bound);
}

#endif

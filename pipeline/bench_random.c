/* SPDX-License-Identifier: Apache-2.0
 * pipeline/bench_random.c - a model of random numbers timed on a device, for `longtake bench --gpu`.
 *
 * First the stages alone, one after the other with a wait behind each: passes of the network with a
 * full cache, decoders, copies. Then whole streams as a user runs them, with both workers and every
 * copy: pictures per second, time of each chunk, memory of the device at the end of each chunk.
 * A share of the matmul's rate compares with an 8192^3 matmul through the same backend in the same
 * run; the bare TFLOP/s of a card's data sheet are of no use, clocks differ.
 * Steady: the cache is full. Chunks before are not counted. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/rng.h"
#include "pipeline/bench.h"
#include "pipeline/budget.h"

#define MAX_CHUNK 1000
#define STAGE_CHUNKS 3 /* timed with a full cache */
#define DECODED 6      /* latent frames timed */
#define STREAM_CHUNKS 40
#define MAX_SECONDS 20 /* a slow stream ends then */
#define LARGE 8192     /* of the yardstick; small models are compared with a small one */
#define SMALL 512
#define GIB ((double)(1u << 30))

typedef struct runner {
    const lt_bench_params *p;
    lt_engine *e;
    lti_dev *d;
    lti_plan plan;
    double rate;  /* of the yardstick */
    double since; /* end of the last step */
    double steps; /* seconds of all steps of a chunk */
    int64_t n_chunk;
    lt_error *err;
} runner;

static void report(const runner *r, const char *name, double value, const char *unit) {
    r->p->report(r->p->opaque, name, value, unit);
}

/* Chunks until anchors and window are full, and one more. */
static int64_t warm_chunks(const runner *r) {
    const lti_take_config *c = &r->plan.take;
    return (c->sink + c->window + c->chunk - 1) / c->chunk + 1;
}

/* Bytes of the device in use, by anybody. */
static double used_gib(const runner *r) {
    size_t left, all;
    r->e->dev->ops.memory(r->e->dev, &left, &all);
    return left == SIZE_MAX || all == SIZE_MAX ? 0 : (double)(all - left) / GIB;
}

/* ---- stages --------------------------------------------------------------------------------- */

static int on_step(void *opaque, int64_t chunk, int step, int n_step) {
    runner *r = opaque;
    (void)chunk, (void)step, (void)n_step;
    if (r->d->ops.sync(r->d, r->err) < 0) return 1;
    r->steps += lti_bench_now() - r->since;
    r->since = lti_bench_now();
    return 0;
}

static void report_passes(runner *r, double pass, double clean) {
    const lti_take_config *c = &r->plan.take;
    const double frame = (double)(c->h / 2) * (c->w / 2), n = frame * c->chunk;
    const double seen = n + frame * (c->sink + c->window);
    const double flop = lti_bench_flop(lti_dit_get_config(r->e->dit), n, seen);
    char name[96];
    snprintf(name, sizeof name, "DiT pass, %.0f tokens seeing %.0f", n, seen);
    report(r, name, 1e3 * pass, "ms");
    report(r, "  its rate", 1e-12 * flop / pass, "TFLOP/s");
    report(r, "  share of the matmul's rate", flop / pass / r->rate, "");
    report(r, "clean pass", 1e3 * clean, "ms");
}

/* Chunks through the stream's own loop; the last ones count. */
static lt_status time_passes(runner *r) {
    lti_take_config c = r->plan.take;
    const int64_t warm = warm_chunks(r);
    const lti_dit_config *m = lti_dit_get_config(r->e->dit);
    const int64_t n = (int64_t)c.chunk * m->out_ch * c.h * c.w;
    float *latent = malloc((size_t)n * sizeof *latent);
    lti_take *take = NULL;
    c.n_chunk = 0;
    c.on_step = on_step;
    c.opaque = r;
    lt_status st = latent ? LT_OK : lti_oom(r->err, (size_t)n * sizeof *latent);
    if (st == LT_OK) st = lti_take_open(r->d, r->e->dit, &c, r->e->text_rows, &take, r->err);
    double all = 0;
    for (int64_t b = 0; b < warm + STAGE_CHUNKS && st == LT_OK; b++) {
        if (b == warm) r->steps = 0;
        const double t0 = r->since = lti_bench_now();
        st = lti_take_next(take, latent, r->err);
        if (b >= warm) all += lti_bench_now() - t0;
    }
    if (st == LT_OK)
        report_passes(r, r->steps / (STAGE_CHUNKS * c.schedule.n_step),
                      (all - r->steps) / STAGE_CHUNKS);
    if (take) lti_take_close(&take);
    free(latent);
    return st;
}

/* Decode, make 8 bits, fetch: each with a wait, so that it stands alone. */
static lt_status decode_some(runner *r, lti_decoder *s, const char *which, lti_tensor rgb8,
                             const float *latent, uint8_t *host) {
    double decode = 0, fetch = 0;
    char name[64];
    for (int f = 0; f < 2 + DECODED; f++) { /* the first ones are not counted */
        lti_tensor rgb;
        const double t0 = lti_bench_now();
        const int n = lti_decode(s, latent, &rgb);
        lti_to_rgb8(r->d, rgb, lti_rows(rgb8, 0, n));
        LT_TRY(r->d->ops.sync(r->d, r->err));
        const double t1 = lti_bench_now();
        lti_get(r->d, host, rgb8.data, lti_nbytes(&rgb8));
        if (f < 2) continue;
        decode += t1 - t0;
        fetch += lti_bench_now() - t1;
    }
    snprintf(name, sizeof name, "%s, a latent frame (4 pictures)", which);
    report(r, name, 1e3 * decode / DECODED, "ms");
    report(r, "  copy of its pictures to the host", 1e3 * fetch / DECODED, "ms");
    return LT_OK;
}

static lt_status time_decoder(runner *r, const lti_vae *vae, const lti_tae *tae,
                              const char *which) {
    const lti_plan *p = &r->plan;
    const int64_t n = (int64_t)r->e->info.latent_channels * p->take.h * p->take.w;
    lti_tensor rgb8 = LTI_VIEW(NULL, LTI_U8, LTI_FRAMES_PER_LATENT, p->height, p->width, 3);
    lti_decoder *s = NULL;
    float *latent = malloc((size_t)n * sizeof *latent);
    uint8_t *host = malloc(lti_nbytes(&rgb8));
    rgb8.data = r->d->ops.alloc(r->d, lti_nbytes(&rgb8));
    lt_status st = latent && host && rgb8.data ? LT_OK : lti_oom(r->err, lti_nbytes(&rgb8));
    if (st == LT_OK) st = lti_decoder_open(r->d, vae, tae, p->take.h, p->take.w, &s, r->err);
    if (st == LT_OK) lti_randn(latent, n, 1, 0, 0);
    if (st == LT_OK) st = decode_some(r, s, which, rgb8, latent, host);
    if (s) lti_decoder_close(&s);
    if (rgb8.data) r->d->ops.free(r->d, rgb8.data);
    free(latent);
    free(host);
    return st;
}

/* ---- streams -------------------------------------------------------------------------------- */

typedef struct trace {
    double start, first;    /* before open; the first picture */
    double at[MAX_CHUNK];   /* end of each chunk */
    double used[MAX_CHUNK]; /* GiB of the device then */
    int64_t n;
    int64_t pictures; /* after the first chunk that counts */
} trace;

static lt_status follow(runner *r, lt_stream *s, int64_t warm, trace *t) {
    lt_frame f;
    lt_status st;
    while ((st = lt_stream_next(s, &f)) == LT_OK) {
        const double now = lti_bench_now();
        if (t->first == 0) t->first = now;
        if (t->n >= warm) t->pictures++;
        const bool end = f.chunk_end != 0;
        lt_frame_release(&f);
        if (!end || t->n == MAX_CHUNK) continue;
        t->at[t->n] = now;
        t->used[t->n++] = used_gib(r);
        if (t->n > warm + 2 && now - t->start > MAX_SECONDS) return LT_OK;
    }
    return st == LT_END ? LT_OK : lti_fail(r->err, st, "%s", lt_stream_error(s));
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report_stream(const runner *r, const char *what, int64_t warm, const trace *t) {
    static const char *const unit = "GiB";
    char name[96];
    double gap[MAX_CHUNK], least = t->used[warm], most = least;
    const int64_t n = t->n - warm; /* gaps, the first behind chunk `warm` - 1 */
    for (int64_t i = 0; i < n; i++) {
        gap[i] = t->at[warm + i] - t->at[warm + i - 1];
        least = fmin(least, t->used[warm + i]);
        most = fmax(most, t->used[warm + i]);
    }
    qsort(gap, (size_t)n, sizeof *gap, by_value);
    snprintf(name, sizeof name, "%s: pictures per second", what);
    report(r, name, (double)t->pictures / (t->at[t->n - 1] - t->at[warm - 1]), "1/s");
    report(r, "  first picture after", t->first - t->start, "s");
    report(r, "  chunk, p50", 1e3 * gap[n / 2], "ms");
    report(r, "  chunk, p99", 1e3 * gap[(n * 99 + 99) / 100 - 1], "ms");
    report(r, "  device memory, least", least, unit);
    report(r, "  device memory, most", most, unit);
}

static lt_status time_stream(runner *r, const char *what, int mode) {
    const int64_t warm =
        warm_chunks(r) + (mode == LT_MODE_ROLLING ? r->plan.take.schedule.n_step : 0);
    lt_stream_params sp;
    lt_stream_params_init(&sp);
    sp.prompt = "random";
    sp.width = r->plan.width;
    sp.height = r->plan.height;
    sp.mode = mode;
    sp.n_frames = 4 * r->plan.take.chunk * (warm + r->n_chunk) - 3;
    lt_stream *s = NULL;
    trace *t = calloc(1, sizeof *t);
    if (!t) return lti_oom(r->err, sizeof *t);
    t->start = lti_bench_now();
    lt_status st = lt_stream_open(r->e, &sp, &s, r->err);
    if (st == LT_OK) st = follow(r, s, warm, t);
    lt_stream_close(&s);
    if (st == LT_OK && t->n > warm) report_stream(r, what, warm, t);
    free(t);
    return st;
}

/* ---- all ------------------------------------------------------------------------------------ */

static lt_status open_model(runner *r, const lt_engine_params *ep) {
    const lti_random_sizes sizes =
        lti_random_wan(r->p->dim ? r->p->dim : 1536, r->p->layers ? r->p->layers : 30);
    lt_stream_params sp;
    lt_stream_params_init(&sp);
    const double t0 = lti_bench_now();
    LT_TRY(lti_engine_random(ep, &sizes, &r->e, r->err));
    const double made = lti_bench_now() - t0;
    sp.width = r->p->width;
    sp.height = r->p->height;
    LT_TRY(lti_plan_make(r->e, &sp, &r->plan, r->err));
    report(r, "make and pack random weights", made, "s");
    report(r, "  parameters of the DiT", 1e-6 * (double)r->e->info.dit_params, "million");
    report(r, "  device memory then", used_gib(r), "GiB");
    LT_TRY(lti_engine_dev(r->e, 0, &r->d, r->err));
    const int64_t n = sizes.dim < 1024 ? SMALL : LARGE;
    LT_TRY(lti_bench_matmul(r->d, r->e->compute, n, &r->rate, r->err));
    char name[48];
    snprintf(name, sizeof name, "matmul %lld^3, %s", (long long)n, lti_dtype_name(r->e->compute));
    report(r, name, 1e-12 * r->rate, "TFLOP/s");
    return LT_OK;
}

static lt_status bench_random(runner *r, const lt_engine_params *ep) {
    LT_TRY(open_model(r, ep));
    lti_tae *tae = r->e->tae;
    lti_memory needed;
    LT_TRY(lti_budget_stream(r->e, &r->plan, &needed, r->err));
    LT_TRY(time_passes(r));
    LT_TRY(time_decoder(r, NULL, tae, "TAE"));
    LT_TRY(time_decoder(r, r->e->vae, NULL, "VAE"));
    LT_TRY(time_stream(r, "stream with TAE", LT_MODE_CHUNK));
    LT_TRY(time_stream(r, "rolling stream with TAE", LT_MODE_ROLLING));
    r->e->tae = NULL;
    const lt_status st = time_stream(r, "stream with VAE", LT_MODE_CHUNK);
    r->e->tae = tae;
    return st;
}

lt_status lti_bench_random(const lt_engine_params *engine, const lt_bench_params *p,
                           lt_error *err) {
    runner r = {.p = p, .err = err, .n_chunk = p->n_chunk ? p->n_chunk : STREAM_CHUNKS};
    if (r.n_chunk < 1 || r.n_chunk > MAX_CHUNK / 2)
        return lti_fail(err, LT_EINVAL, "chunks: %lld, expected 1 to %d", (long long)r.n_chunk,
                        MAX_CHUNK / 2);
    const lt_status st = bench_random(&r, engine);
    if (r.d) lti_dev_close(&r.d);
    if (r.e) lt_engine_close(&r.e);
    return st;
}

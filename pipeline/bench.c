/* SPDX-License-Identifier: Apache-2.0
 * pipeline/bench.c - a whole model timed part by part, for `longtake bench --full`.
 *
 * What a user of a real checkpoint wants to know before the first long run: how long loading takes,
 * how much memory, how long one chunk and one decoded latent frame. Absolute times mean little on a
 * shared machine, so one large matmul of the same compute type is timed before and after, and the
 * work of a pass is given as a share of its rate:
 *   DiT flop = 2 N layers (6 d^2 + 2 d ffn) + 4 N M d layers + 4 N text_len d layers
 *              N tokens of the pass, M tokens it sees, itself included
 * The text encoder runs before the others are opened, as in generation. Weights may be random. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/error.h"
#include "base/rng.h"
#include "pipeline/bench.h"
#include "pipeline/budget.h"

#define MATMUL 4096
#define BATCH 2
#define VAE_FRAMES 3 /* latent frames decoded: 9 pictures */

typedef struct bench_run {
    const lt_bench_params *p;
    lt_engine *e;
    lti_dev *d;
    lti_plan plan;
    double rate; /* flop/s of the matmul */
    double last; /* time of the last denoising step */
    int64_t seen;
    lt_error *err;
} bench_run;

double lti_bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void report(bench_run *r, const char *name, double value, const char *unit) {
    r->p->report(r->p->opaque, name, value, unit);
}

/* A field of /proc/self/status in GiB; 0 where there is none. */
static double status_gib(const char *field) {
    char line[160];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0)
            (void)!sscanf(line + strlen(field), ": %ld", &kib);
    if (f) fclose(f);
    return (double)kib / (1 << 20);
}

static void memory(bench_run *r, const char *when) {
    char name[64];
    snprintf(name, sizeof name, "resident after %s", when);
    report(r, name, status_gib("VmRSS"), "GiB");
    snprintf(name, sizeof name, "  of it anonymous");
    report(r, name, status_gib("RssAnon"), "GiB");
}

/* ---- the yardstick -------------------------------------------------------------------------- */

lt_status lti_bench_matmul(lti_dev *d, lti_dtype t, int64_t n, double *rate, lt_error *err) {
    lt_status st = LT_OK;
    lti_tensor x = LTI_VIEW(NULL, t, n, n), y = x, w = x;
    const size_t bytes = lti_nbytes(&x);
    uint8_t *mem = d->ops.alloc(d, 2 * bytes);
    w.data = calloc(1, bytes); /* on the host */
    lti_packed *packed = mem && w.data ? lti_pack_linear(d, &w, NULL, t, err) : NULL;
    if (!packed) st = mem && w.data ? LT_ENOMEM : lti_oom(err, bytes);
    free(w.data);
    x.data = mem;
    y.data = mem + bytes;
    d->measuring = true; /* plans */
    if (packed) lti_linear(d, x, packed, LTI_ACT_NONE, y);
    d->measuring = false;
    double best = 1e30;
    for (int batch = 0; st == LT_OK && batch < 4; batch++) { /* the first one is not counted */
        const double t0 = lti_bench_now();
        for (int i = 0; i < BATCH; i++) lti_linear(d, x, packed, LTI_ACT_NONE, y);
        st = d->ops.sync(d, err);
        const double one = (lti_bench_now() - t0) / BATCH;
        if (batch > 0 && one < best) best = one;
    }
    if (packed) lti_pack_free(d, &packed);
    if (mem) d->ops.free(d, mem);
    *rate = 2.0 * (double)n * (double)n * (double)n / best;
    return st;
}

static lt_status matmul(bench_run *r) {
    LT_TRY(lti_bench_matmul(r->d, r->plan.take.dtype, MATMUL, &r->rate, r->err));
    report(r, "matmul 4096^3", r->rate * 1e-9, "GFLOP/s");
    return LT_OK;
}

/* ---- parts ---------------------------------------------------------------------------------- */

static lt_status open_engine(bench_run *r, const lt_engine_params *ep, int parts,
                             const char *what) {
    char name[64];
    lt_engine_params p;
    lt_engine_params_init(&p);
    memcpy(&p, ep, ep->struct_size < sizeof p ? ep->struct_size : sizeof p);
    p.parts = parts;
    double t0 = lti_bench_now();
    LT_TRY(lt_engine_open(&p, &r->e, r->err));
    snprintf(name, sizeof name, "open %s", what);
    report(r, name, lti_bench_now() - t0, "s");
    return LT_OK;
}

static lt_status bench_text(bench_run *r) {
    static const char prompt[] =
        "A long, uncut shot: a red vintage tram climbs a steep street at dusk while rain begins to "
        "fall, shop windows glow, people open umbrellas, the camera follows slowly from behind.";
    lti_text_rows rows = {0};
    double t0 = lti_bench_now();
    LT_TRY(lti_text_encode(r->e->text, r->d, prompt, &rows, r->err));
    report(r, "text encoder, one prompt", lti_bench_now() - t0, "s");
    report(r, "  its tokens", rows.n, "");
    lti_text_rows_free(&rows);
    memory(r, "the text encoder");
    return LT_OK;
}

double lti_bench_flop(const lti_dit_config *c, double n, double m) {
    double d = c->dim, layers = c->n_layer;
    return 2 * n * layers * (6 * d * d + 2 * d * c->ffn) + 4 * n * m * d * layers +
           4 * n * c->text_len * d * layers;
}

static int on_step(void *opaque, int64_t chunk, int step, int n_step) {
    bench_run *r = opaque;
    char name[64];
    const lti_take_config *c = &r->plan.take;
    const lti_dit_config *m = lti_dit_get_config(r->e->dit);
    int64_t past = chunk * c->chunk, most = (int64_t)c->sink + c->window;
    double frame = (double)(c->h / 2) * (c->w / 2), n = frame * c->chunk;
    double flop = lti_bench_flop(m, n, n + frame * (double)(past < most ? past : most));
    double t = lti_bench_now() - r->last;
    (void)n_step;
    snprintf(name, sizeof name, "chunk %lld step %d, %.0f tokens", (long long)chunk, step, n);
    report(r, name, t, "s");
    report(r, "  share of the matmul's rate", flop / t / r->rate, "");
    r->last = lti_bench_now();
    return 0;
}

/* Chunks through the stream's own loop: schedule, frame cache, clean pass. */
static lt_status bench_dit(bench_run *r) {
    const lti_dit_config *m = lti_dit_get_config(r->e->dit);
    lti_take_config *c = &r->plan.take;
    size_t rows = (size_t)m->text_len * (size_t)m->text_dim;
    int64_t n = (int64_t)c->chunk * m->out_ch * c->h * c->w;
    float *text = malloc(rows * sizeof *text), *latent = malloc((size_t)n * sizeof *latent);
    lti_take *take = NULL;
    lti_memory needed;
    lt_status st = text && latent ? LT_OK : lti_oom(r->err, rows * sizeof *text);
    if (st == LT_OK) st = lti_budget_stream(r->e, &r->plan, &needed, r->err);
    if (st == LT_OK) lti_randn(text, (int64_t)rows, 1, 0, 0);
    c->on_step = on_step;
    c->opaque = r;
    double t0 = lti_bench_now();
    if (st == LT_OK) st = lti_take_open(r->d, r->e->dit, c, text, &take, r->err);
    if (st == LT_OK) report(r, "prepare a stream", lti_bench_now() - t0, "s");
    for (int64_t b = 0; b < c->n_chunk - 1 && st == LT_OK; b++) {
        t0 = r->last = lti_bench_now();
        st = lti_take_next(take, latent, r->err);
        report(r, "chunk, all steps and the clean pass", lti_bench_now() - t0, "s");
        memory(r, "a chunk");
    }
    size_t state = 0, work = 0;
    if (take) lti_take_bytes(take, &state, &work);
    report(r, "frame cache", (double)state / (1u << 30), "GiB");
    report(r, "activations", (double)work / (1u << 30), "GiB");
    if (take) lti_take_close(&take);
    free(text);
    free(latent);
    return st == LT_END ? LT_OK : st;
}

static lt_status decode(bench_run *r, lti_vae_state *s, lti_tensor z, lti_tensor rgb) {
    lti_arena work = {0};
    lti_vae *vae = r->e->vae;
    r->d->measuring = true;
    for (int i = 0; i < 2; i++) lti_vae_decode(vae, r->d, &work, s, z, rgb);
    r->d->measuring = false;
    lti_vae_state_reset(r->d, s);
    work.cap = work.peak;
    work.used = 0;
    work.base = r->d->ops.alloc(r->d, work.cap);
    if (!work.base) return lti_oom(r->err, work.cap);
    double all = lti_bench_now();
    for (int f = 0, n; f < VAE_FRAMES; f++) {
        double t0 = lti_bench_now();
        char name[64];
        lti_randn_op(r->d, z, 1, (uint64_t)f, 0);
        n = lti_vae_decode(vae, r->d, &work, s, z, rgb);
        LT_TRY(r->d->ops.sync(r->d, r->err));
        snprintf(name, sizeof name, "decode latent frame %d (%d pictures)", f, n);
        report(r, name, lti_bench_now() - t0, "s");
    }
    all = lti_bench_now() - all;
    report(r, "decode of 9 pictures", all, "s");
    report(r, "  as matmuls of 4096^3", all * r->rate / (2.0 * MATMUL * MATMUL * (double)MATMUL),
           "");
    double state = (double)lti_vae_state_bytes(s), scratch = (double)work.cap;
    report(r, "VAE memory beside weights", (state + scratch) / (1u << 30), "GiB");
    r->d->ops.free(r->d, work.base);
    memory(r, "decoding");
    return LT_OK;
}

static lt_status bench_vae(bench_run *r) {
    const lti_take_config *c = &r->plan.take;
    lti_memory needed;
    LT_TRY(lti_budget_stream(r->e, &r->plan, &needed, r->err));
    lti_tensor z = LTI_VIEW(NULL, LTI_F32, lti_vae_channels(r->e->vae), c->h, c->w);
    lti_tensor rgb = LTI_VIEW(NULL, LTI_F32, 4, 8 * c->h, 8 * c->w, 3);
    lti_vae_state *s = NULL;
    z.data = r->d->ops.alloc(r->d, lti_nbytes(&z));
    rgb.data = r->d->ops.alloc(r->d, lti_nbytes(&rgb));
    lt_status st = z.data && rgb.data ? LT_OK : lti_oom(r->err, lti_nbytes(&rgb));
    if (st == LT_OK) st = lti_vae_state_open(r->d, r->e->vae, c->h, c->w, &s, r->err);
    if (st == LT_OK) st = decode(r, s, z, rgb);
    if (s) lti_vae_state_close(r->d, &s);
    if (rgb.data) r->d->ops.free(r->d, rgb.data);
    if (z.data) r->d->ops.free(r->d, z.data);
    return st;
}

static lt_status bench_all(bench_run *r, const lt_engine_params *ep) {
    lt_stream_params sp;
    lt_stream_params_init(&sp);
    LT_TRY(open_engine(r, ep, LT_PART_TEXT, "the text encoder"));
    LT_TRY(lti_engine_dev(r->e, 0, &r->d, r->err));
    r->plan.take.dtype = r->e->compute;
    LT_TRY(matmul(r));
    LT_TRY(bench_text(r));
    lti_dev_close(&r->d);
    lt_engine_close(&r->e);
    LT_TRY(open_engine(r, ep, LT_PART_DIT, "the DiT"));
    LT_TRY(lti_engine_dev(r->e, 0, &r->d, r->err));
    memory(r, "opening it");
    sp.width = r->p->width;
    sp.height = r->p->height;
    LT_TRY(lti_plan_make(r->e, &sp, &r->plan, r->err));
    r->plan.take.n_chunk = (r->p->n_chunk > 0 ? r->p->n_chunk : 1) + 1; /* one more: the clean pass
                                                                           of the last is run too */
    LT_TRY(bench_dit(r));
    lti_dev_close(&r->d);
    lt_engine_close(&r->e);
    LT_TRY(open_engine(r, ep, LT_PART_VAE, "the VAE"));
    LT_TRY(lti_engine_dev(r->e, 0, &r->d, r->err));
    LT_TRY(bench_vae(r));
    return matmul(r);
}

lt_status lt_bench(const lt_engine_params *engine, const lt_bench_params *params, lt_error *err) {
    lt_bench_params p = {0};
    memcpy(&p, params, params->struct_size < sizeof p ? params->struct_size : sizeof p);
    lt_error local = {0};
    if (!p.report) return lti_fail(err, LT_EINVAL, "bench: no report function given");
    if (p.random) return lti_bench_random(engine, &p, err ? err : &local);
    bench_run r = {.p = &p, .err = err ? err : &local};
    lt_status st = bench_all(&r, engine);
    if (r.d) lti_dev_close(&r.d);
    if (r.e) lt_engine_close(&r.e);
    if (st == LT_OK) report(&r, "peak resident memory", status_gib("VmHWM"), "GiB");
    return st;
}

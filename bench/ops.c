/* SPDX-License-Identifier: Apache-2.0
 * bench/ops.c - the CPU ops at the block sizes of Wan 1.3B (and of the model in the box), each next
 * to one large bf16 matmul of the same run.
 *
 *   bench_ops [--threads N] [--quick] [--dtype bf16|f32]
 *
 * A case is run until 0.3 s (0.1 s with --quick) have passed and the best time counts. Two rates,
 * in billions of multiply-adds (GMAC):
 *   wall   per second of wall time, all threads: the number that matters, on a quiet machine
 *   cpu    per second of CPU time over all threads: what is left to compare on a busy machine
 * `ratio` is the case's rate over the large matmul's. A table, and one JSON line per case.
 * "block" runs all ops of one DiT block in order (dit/block.c) and counts only the multiply-adds of
 * its matrix products and attention: norms, rope and residuals are overhead in it. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "backend/backend.h"
#include "base/error.h"
#include "base/rng.h"

typedef struct bench {
    lti_dev *d;
    lti_dtype type;
    double budget;    /* seconds per case */
    double wall, cpu; /* GMAC/s of the large matmul */
} bench;

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static _Noreturn void die(const char *what) {
    fprintf(stderr, "bench_ops: %s\n", what);
    exit(1);
}

/* A tensor of unit Gaussians times `scale`. */
static lti_tensor make(bench *b, lti_dtype t, int rank, const int64_t *n, float scale) {
    lti_tensor x = lti_view(NULL, t, rank, n);
    const int64_t count = lti_numel(&x), chunk = 1 << 16;
    float *buf = malloc((size_t)chunk * sizeof *buf);
    x.data = b->d->ops.alloc(b->d, lti_nbytes(&x));
    if (!x.data || !buf) die("out of memory");
    lti_randn(buf, chunk, 1, 0, 0);
    for (int64_t i = 0; i < chunk; i++) buf[i] *= scale;
    for (int64_t i = 0; i < count; i += chunk)
        lti_from_f32(buf, count - i < chunk ? count - i : chunk, t,
                     (char *)x.data + (size_t)i * lti_dtype_size(t));
    free(buf);
    return x;
}
#define MAKE(b, t, scale, ...)                                                                     \
    make(b, t, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                          \
         (const int64_t[]){__VA_ARGS__}, scale)

static void drop(bench *b, lti_tensor t) { b->d->ops.free(b->d, t.data); }

static lti_packed *make_linear(bench *b, int64_t out, int64_t in) {
    lt_error err = {0};
    lti_tensor w = MAKE(b, b->type, 1.0f / sqrtf((float)in), out, in);
    lti_tensor bias = MAKE(b, LTI_F32, 0.1f, out);
    lti_packed *p = lti_pack_linear(b->d, &w, &bias, b->type, &err);
    if (!p) die(err.msg);
    drop(b, w);
    drop(b, bias);
    return p;
}

typedef void body(bench *b, void *arg);

/* Best wall and CPU time of one call, after a warm-up call. */
static void time_it(bench *b, body *fn, void *arg, double *wall, double *cpu) {
    fn(b, arg);
    *wall = *cpu = 1e30;
    const double start = seconds(CLOCK_MONOTONIC);
    int n = 0;
    do {
        const double w = seconds(CLOCK_MONOTONIC), c = seconds(CLOCK_PROCESS_CPUTIME_ID);
        fn(b, arg);
        *wall = fmin(*wall, seconds(CLOCK_MONOTONIC) - w);
        *cpu = fmin(*cpu, seconds(CLOCK_PROCESS_CPUTIME_ID) - c);
    } while (++n < 2 || seconds(CLOCK_MONOTONIC) - start < b->budget);
}

static void report(bench *b, const char *name, double macs, body *fn, void *arg) {
    double wall, cpu;
    time_it(b, fn, arg, &wall, &cpu);
    const double rw = macs / wall / 1e9, rc = macs / cpu / 1e9;
    if (b->wall == 0) {
        b->wall = rw;
        b->cpu = rc;
    }
    printf("%-44s %10.3f ms %8.1f %8.1f %6.2f %6.2f\n", name, wall * 1e3, rw, rc, rw / b->wall,
           rc / b->cpu);
    printf("{\"bench\":\"ops\",\"case\":\"%s\",\"ms\":%.4f,\"cpu_ms\":%.4f,\"gmac_s\":%.2f,"
           "\"gmac_cpu_s\":%.2f,\"ratio\":%.4f,\"cpu_ratio\":%.4f}\n",
           name, wall * 1e3, cpu * 1e3, rw, rc, rw / b->wall, rc / b->cpu);
    fflush(stdout);
}

/* -- linear ---------------------------------------------------------------------------------- */

typedef struct linear_case {
    lti_tensor x, out;
    lti_packed *w;
    lti_act act;
} linear_case;

static void run_linear(bench *b, void *arg) {
    linear_case *c = arg;
    lti_linear(b->d, c->x, c->w, c->act, c->out);
}

static void bench_linear(bench *b, int64_t M, int64_t K, int64_t N, lti_act act) {
    char name[96];
    linear_case c = {.x = MAKE(b, b->type, 1, M, K),
                     .out = MAKE(b, b->type, 0, M, N),
                     .w = make_linear(b, N, K),
                     .act = act};
    snprintf(name, sizeof name, "linear %lldx%lld -> %lld%s", (long long)M, (long long)K,
             (long long)N, act ? " gelu" : "");
    report(b, name, (double)M * (double)K * (double)N, run_linear, &c);
    drop(b, c.x);
    drop(b, c.out);
    lti_pack_free(b->d, &c.w);
}

/* -- convolution ----------------------------------------------------------------------------- */

static void run_conv(bench *b, void *arg) { lti_conv_run(b->d, arg); }

static void bench_conv(bench *b, int64_t T, int64_t h, int64_t w, int64_t Ci, int64_t Co,
                       int64_t kt, int64_t k) {
    char name[96];
    lt_error err = {0};
    lti_tensor weight = MAKE(b, b->type, 0.05f, Co, Ci, kt, k, k);
    lti_packed *p = lti_pack_conv(b->d, &weight, NULL, b->type, &err);
    if (!p) die(err.msg);
    const int pad = (int)(k / 2);
    lti_conv c = {.x = MAKE(b, b->type, 1, T, h, w, Ci),
                  .w = p,
                  .stride = {1, 1, 1},
                  .pad_top = pad,
                  .pad_bottom = pad,
                  .pad_left = pad,
                  .pad_right = pad,
                  .out = MAKE(b, b->type, 0, T - kt + 1, h, w, Co)};
    snprintf(name, sizeof name, "conv %lldx%lldx%lld %lld -> %lld, %lldx%lldx%lld", (long long)T,
             (long long)h, (long long)w, (long long)Ci, (long long)Co, (long long)kt, (long long)k,
             (long long)k);
    report(b, name, (double)lti_numel(&c.out) * (double)(Ci * kt * k * k), run_conv, &c);
    drop(b, weight);
    drop(b, c.x);
    drop(b, c.out);
    lti_pack_free(b->d, &p);
}

/* -- attention ------------------------------------------------------------------------------- */

static void run_attention(bench *b, void *arg) { lti_attention(b->d, arg); }

static void bench_attention(bench *b, int64_t M, int64_t N, int64_t H, int64_t hd) {
    char name[96];
    lti_tensor k = MAKE(b, b->type, 1, N, H, hd), v = MAKE(b, b->type, 1, N, H, hd);
    lti_attn a = {.q = MAKE(b, b->type, 1, M, H, hd),
                  .n_span = 1,
                  .span = {{k.data, v.data, N, H * hd, b->type}},
                  .scale = 1.0f / sqrtf((float)hd),
                  .out = MAKE(b, b->type, 0, M, H, hd)};
    snprintf(name, sizeof name, "attention %lld q, %lld kv, %lld x %lld", (long long)M,
             (long long)N, (long long)H, (long long)hd);
    report(b, name, 2.0 * (double)(M * N) * (double)(H * hd), run_attention, &a);
    drop(b, k);
    drop(b, v);
    drop(b, a.q);
    drop(b, a.out);
}

/* -- one DiT block --------------------------------------------------------------------------- */

typedef struct dit_block {
    int64_t M, D, ffn, H, n_key, n_text;
    lti_tensor x, h, lin, q, k, v, wide, mod, table, w; /* x residual f32, mod [6,D], w [D] */
    lti_tensor old_k, old_v, text_k, text_v;
    lti_packed *square[6], *ffn0, *ffn2; /* q k v o, cross q o */
} dit_block;

static lti_tensor heads(const dit_block *s, lti_tensor t) {
    return LTI_VIEW(t.data, t.dtype, t.n[0], s->H, s->D / s->H);
}

static void run_block(bench *b, void *arg) {
    dit_block *s = arg;
    lti_dev *d = b->d;
    const float *mod = s->mod.data, *w = s->w.data, *table = s->table.data;
    const int64_t D = s->D, M = s->M;
    lti_attn a = {.q = heads(s, s->q),
                  .n_span = 2,
                  .scale = 1.0f / sqrtf((float)(D / s->H)),
                  .span = {{s->old_k.data, s->old_v.data, s->n_key - M, D, b->type},
                           {s->k.data, s->v.data, M, D, b->type}},
                  .out = heads(s, s->lin)};
    lti_attn c = {.q = heads(s, s->h),
                  .n_span = 1,
                  .scale = a.scale,
                  .span = {{s->text_k.data, s->text_v.data, s->n_text, D, b->type}},
                  .out = heads(s, s->lin)};
    lti_norm_mod(d, s->x, mod, mod + D, 6 * D, M, 1e-6f, s->h);
    lti_linear(d, s->h, s->square[1], LTI_ACT_NONE, s->lin);
    lti_norm_rope(d, s->lin, w, 1e-6f, table, heads(s, s->k));
    lti_linear(d, s->h, s->square[2], LTI_ACT_NONE, s->v);
    lti_linear(d, s->h, s->square[0], LTI_ACT_NONE, s->lin);
    lti_norm_rope(d, s->lin, w, 1e-6f, table, heads(s, s->q));
    lti_attention(d, &a);
    lti_linear(d, s->lin, s->square[3], LTI_ACT_NONE, s->h);
    lti_gated_add(d, s->x, s->h, mod + 2 * D, 6 * D, M);
    lti_layer_norm(d, s->x, w, w, 1e-6f, s->h);
    lti_linear(d, s->h, s->square[4], LTI_ACT_NONE, s->lin);
    lti_rms_norm(d, s->lin, w, 1e-6f, s->h);
    lti_attention(d, &c);
    lti_linear(d, s->lin, s->square[5], LTI_ACT_NONE, s->h);
    lti_gated_add(d, s->x, s->h, NULL, 0, M);
    lti_norm_mod(d, s->x, mod + 3 * D, mod + 4 * D, 6 * D, M, 1e-6f, s->h);
    lti_linear(d, s->h, s->ffn0, LTI_ACT_GELU_TANH, s->wide);
    lti_linear(d, s->wide, s->ffn2, LTI_ACT_NONE, s->h);
    lti_gated_add(d, s->x, s->h, mod + 5 * D, 6 * D, M);
}

static void free_block(bench *b, dit_block *s) {
    lti_tensor *all[] = {&s->x,   &s->h,     &s->lin, &s->q,     &s->k,     &s->v,      &s->wide,
                         &s->mod, &s->table, &s->w,   &s->old_k, &s->old_v, &s->text_k, &s->text_v};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop(b, *all[i]);
    for (int i = 0; i < 6; i++) lti_pack_free(b->d, &s->square[i]);
    lti_pack_free(b->d, &s->ffn0);
    lti_pack_free(b->d, &s->ffn2);
}

static void bench_block(bench *b, const char *model, int64_t M, int64_t n_key, int64_t D,
                        int64_t ffn, int64_t H, int64_t n_text) {
    char name[96];
    dit_block s = {.M = M, .D = D, .ffn = ffn, .H = H, .n_key = n_key, .n_text = n_text};
    s.x = MAKE(b, LTI_F32, 1, M, D);
    s.mod = MAKE(b, LTI_F32, 0.1f, 6, D);
    s.w = MAKE(b, LTI_F32, 1, D);
    s.table = MAKE(b, LTI_F32, 0.7f, M, D / H);
    lti_tensor *rows[] = {&s.h, &s.lin, &s.q, &s.k, &s.v};
    for (int i = 0; i < 5; i++) *rows[i] = MAKE(b, b->type, 1, M, D);
    s.wide = MAKE(b, b->type, 1, M, ffn);
    s.old_k = MAKE(b, b->type, 1, n_key - M + 1, D);
    s.old_v = MAKE(b, b->type, 1, n_key - M + 1, D);
    s.text_k = MAKE(b, b->type, 1, n_text, D);
    s.text_v = MAKE(b, b->type, 1, n_text, D);
    for (int i = 0; i < 6; i++) s.square[i] = make_linear(b, D, D);
    s.ffn0 = make_linear(b, ffn, D);
    s.ffn2 = make_linear(b, D, ffn);
    const double macs = (double)M * (double)D *
                        (6.0 * (double)D + 2.0 * (double)ffn + 2.0 * (double)(n_key + n_text));
    snprintf(name, sizeof name, "%s block, %lld rows, %lld keys", model, (long long)M,
             (long long)n_key);
    report(b, name, macs, run_block, &s);
    free_block(b, &s);
}

static void run_all(bench *b) {
    printf("%-44s %13s %8s %8s %6s %6s\n", "case", "time", "wall", "cpu", "ratio", "cpu r.");
    bench_linear(b, 4096, 4096, 4096, LTI_ACT_NONE); /* first: the yardstick */
    for (int64_t M = 1560; M <= 4680; M += 3120) {
        bench_linear(b, M, 1536, 1536, LTI_ACT_NONE);
        bench_linear(b, M, 1536, 8960, LTI_ACT_GELU_TANH);
        bench_linear(b, M, 8960, 1536, LTI_ACT_NONE);
        for (int64_t N = 4680; N <= 18720; N *= 2) bench_attention(b, M, N, 12, 128);
        bench_attention(b, M, 512, 12, 128);
    }
    bench_block(b, "Wan 1.3B", 1560, 18720, 1536, 8960, 12, 512);
    bench_block(b, "Wan 1.3B", 4680, 18720, 1536, 8960, 12, 512);
    bench_linear(b, 180, 256, 256, LTI_ACT_NONE);
    bench_linear(b, 180, 256, 1024, LTI_ACT_GELU_TANH);
    bench_attention(b, 180, 720, 4, 64);
    bench_block(b, "box", 180, 720, 256, 1024, 4, 32);
    bench_conv(b, 6, 96, 160, 16, 16, 3, 3);
    bench_conv(b, 6, 96, 160, 16, 3, 3, 3);
    bench_conv(b, 4, 48, 80, 32, 32, 3, 3);
    bench_conv(b, 3, 60, 104, 384, 384, 3, 3);
}

int main(int argc, char **argv) {
    static const struct option opts[] = {{"threads", required_argument, NULL, 't'},
                                         {"dtype", required_argument, NULL, 'd'},
                                         {"quick", no_argument, NULL, 'q'},
                                         {NULL, 0, NULL, 0}};
    bench b = {.type = LTI_BF16, .budget = 0.3};
    int threads = 0;
    for (int c; (c = getopt_long(argc, argv, "t:d:q", opts, NULL)) != -1;) {
        if (c == 't') threads = (int)strtol(optarg, NULL, 10);
        else if (c == 'd') b.type = strcmp(optarg, "f32") == 0 ? LTI_F32 : LTI_BF16;
        else if (c == 'q') b.budget = 0.1;
        else return 2;
    }
    lt_error err = {0};
    if (lti_dev_open("cpu", threads, NULL, &b.d, &err) < 0) die(err.msg);
    printf("threads %d, %s\n", b.d->n_threads, lti_dtype_name(b.type));
    run_all(&b);
    if (b.d->ops.sync(b.d, &err) < 0) die(err.msg);
    lti_dev_close(&b.d);
    return 0;
}

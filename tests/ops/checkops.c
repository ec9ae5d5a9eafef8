/* SPDX-License-Identifier: Apache-2.0
 * tests/ops/checkops.c - every op of every backend and SIMD level against ref.
 *
 * For each case, on each device: a measure pass must not touch anything; the op runs with the given
 * threads and again with one thread, and the bits must agree (linear and conv belong to oneDNN,
 * which may pick another kernel: within the bound); every output must be within the bound of ref's;
 * nothing outside the outputs may change (guard bytes around each buffer, poisoned under
 * AddressSanitizer so that reads outside are found too).
 *
 *   checkops [--seed N] [--op NAME] [--case I] [--backend NAME] [--threads N] [--cases N] [-v]
 *   checkops --bench [--jsonl FILE] ...                     time the cases and large ones instead
 */
#include "checkops.h"
#include "backend/cpu/cpu.h"
#include "base/error.h"
#include "base/rng.h"
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { GUARD_BYTE = 0xA5, FILL_BYTE = 0xFF /* NaN in f32 and bf16: an unwritten element shows */ };

typedef struct options {
    uint64_t seed;
    const char *op, *backend, *jsonl;
    int only_case, threads, n_random;
    bool bench, verbose;
} options;

/* A device under test: d with the threads asked for, one with a single thread. */
typedef struct target {
    char name[32];
    lti_dev *d, *one;
    double worst; /* largest nmse / bound seen */
    int64_t n_case, n_fail;
} target;

/* -- describing cases ------------------------------------------------------------------------ */

uint32_t ck_u32(ck_rng *r) {
    uint32_t out[4];
    lti_philox(r->seed, (uint32_t[]){r->next++, 77, (uint32_t)r->frame, 0}, out);
    return out[0];
}

int64_t ck_range(ck_rng *r, int64_t lo, int64_t hi) {
    return lo + (int64_t)(ck_u32(r) % (uint64_t)(hi - lo + 1));
}

bool ck_coin(ck_rng *r) { return ck_u32(r) & 1u; }

lti_dtype ck_act_dtype(ck_rng *r) { return ck_coin(r) ? LTI_F32 : LTI_BF16; }

const char *ck_dt(lti_dtype t) { return t == LTI_F32 ? "f32" : t == LTI_BF16 ? "bf16" : "u8"; }

static void *must(void *p) {
    if (!p) {
        fprintf(stderr, "checkops: out of memory\n");
        exit(1);
    }
    return p;
}

int ck_add(ck_case *k, ck_role role, lti_dtype dt, int rank, const int64_t *n) {
    LT_ASSERT(k->n_buf < CK_MAX_BUF);
    ck_buf *b = &k->buf[k->n_buf];
    *b = (ck_buf){.t = lti_view(NULL, dt, rank, n), .role = role};
    const size_t bytes = lti_nbytes(&b->t);
    b->t.data = must(malloc(bytes ? bytes : 1));
    memset(b->t.data, FILL_BYTE, bytes);
    return k->n_buf++;
}

void ck_fill(ck_case *k, int buf, ck_rng *r, float scale, float offset) {
    lti_tensor *t = &k->buf[buf].t;
    const int64_t n = lti_numel(t);
    float *v = must(malloc((size_t)(n ? n : 1) * sizeof *v));
    lti_randn(v, n, r->seed, r->frame, 1000 + (uint32_t)buf);
    for (int64_t i = 0; i < n; i++) v[i] = v[i] * scale + offset;
    lti_from_f32(v, n, t->dtype, t->data);
    free(v);
}

static void free_case(ck_case *k) {
    for (int i = 0; i < k->n_buf; i++) free(k->buf[i].t.data);
}

/* -- a case on a device ---------------------------------------------------------------------- */

typedef struct placed {
    lti_dev *d;
    uint8_t *block[CK_MAX_BUF]; /* guard, data, guard */
    void *p[CK_MAX_BUF];
    lti_packed *w;
} placed;

static void put_guard(lti_dev *d, uint8_t *at) {
    uint8_t guard[CK_GUARD];
    memset(guard, GUARD_BYTE, sizeof guard);
    lti_put(d, at, guard, sizeof guard);
    ASAN_POISON_MEMORY_REGION(at, CK_GUARD);
}

static bool guard_ok(lti_dev *d, uint8_t *at) {
    uint8_t guard[CK_GUARD];
    ASAN_UNPOISON_MEMORY_REGION(at, CK_GUARD);
    lti_get(d, guard, at, sizeof guard);
    ASAN_POISON_MEMORY_REGION(at, CK_GUARD);
    for (int i = 0; i < CK_GUARD; i++)
        if (guard[i] != GUARD_BYTE) return false;
    return true;
}

static void reset(const ck_case *k, placed *s) {
    for (int i = 0; i < k->n_buf; i++)
        if (s->block[i]) lti_put(s->d, s->p[i], k->buf[i].t.data, lti_nbytes(&k->buf[i].t));
}

static void place(const ck_case *k, lti_dev *d, placed *s) {
    lt_error err = {0};
    *s = (placed){.d = d};
    for (int i = 0; i < k->n_buf; i++) {
        const ck_buf *b = &k->buf[i];
        s->p[i] = b->t.data;
        if (b->role == CK_HOST) continue;
        const size_t bytes = lti_nbytes(&b->t);
        s->block[i] = must(d->ops.alloc(d, bytes + 2 * CK_GUARD));
        s->p[i] = s->block[i] + CK_GUARD;
        put_guard(d, s->block[i]);
        put_guard(d, s->block[i] + CK_GUARD + bytes);
    }
    reset(k, s);
    if (k->weight < 0) return;
    const lti_tensor *w = &k->buf[k->weight].t, *b = k->bias >= 0 ? &k->buf[k->bias].t : NULL;
    s->w = w->rank == 2 ? lti_pack_linear(d, w, b, k->compute, &err)
                        : lti_pack_conv(d, w, b, k->compute, &err);
    if (!s->w) {
        fprintf(stderr, "checkops: packing failed: %s\n", err.msg);
        exit(1);
    }
}

static void unplace(const ck_case *k, placed *s) {
    for (int i = 0; i < k->n_buf; i++) {
        if (!s->block[i]) continue;
        ASAN_UNPOISON_MEMORY_REGION(s->block[i], lti_nbytes(&k->buf[i].t) + 2 * CK_GUARD);
        s->d->ops.free(s->d, s->block[i]);
    }
    lti_pack_free(s->d, &s->w);
}

static void *fetch(const ck_case *k, placed *s, int i) {
    const size_t bytes = lti_nbytes(&k->buf[i].t);
    void *host = must(malloc(bytes ? bytes : 1));
    lti_get(s->d, host, s->p[i], bytes);
    return host;
}

/* Guards whole, inputs (and when muted outputs too) unchanged. NULL: fine. */
static const char *damage(const ck_case *k, placed *s, bool muted, int *which) {
    for (int i = 0; i < k->n_buf; i++) {
        if (!s->block[i]) continue;
        *which = i;
        const size_t bytes = lti_nbytes(&k->buf[i].t);
        if (!guard_ok(s->d, s->block[i])) return "wrote before buffer";
        if (!guard_ok(s->d, s->block[i] + CK_GUARD + bytes)) return "wrote past buffer";
        if (k->buf[i].role != CK_IN && !muted) continue;
        void *now = fetch(k, s, i);
        const bool same = memcmp(now, k->buf[i].t.data, bytes) == 0;
        free(now);
        if (!same) return muted ? "measure pass wrote buffer" : "changed its input buffer";
    }
    return NULL;
}

static bool same_bits(const ck_case *k, placed *a, placed *b, int *which) {
    bool same = true;
    for (int i = 0; i < k->n_buf && same; i++) {
        if (k->buf[i].role != CK_OUT && k->buf[i].role != CK_INOUT) continue;
        void *x = fetch(k, a, i), *y = fetch(k, b, i);
        same = memcmp(x, y, lti_nbytes(&k->buf[i].t)) == 0;
        *which = i;
        free(x);
        free(y);
    }
    return same;
}

static void run_once(const ck_case *k, placed *s, bool measure) {
    lt_error err = {0};
    s->d->measuring = measure;
    k->call(k, s->d, s->p, s->w);
    s->d->measuring = false;
    if (s->d->ops.sync(s->d, &err) < 0) {
        fprintf(stderr, "checkops: device error: %s\n", err.msg);
        exit(1);
    }
}

/* -- checking -------------------------------------------------------------------------------- */

static void complain(target *t, const ck_op *op, int i, const ck_case *k, const char *what, int buf,
                     const lti_diff *d) {
    t->n_fail++;
    printf("FAIL %s %s case %d (%s): %s %d", t->name, op->name, i, k->desc, what, buf);
    if (d)
        printf(": nmse %.3g, bound %.3g, max abs %.3g at %lld%s", d->nmse, k->buf[buf].bound,
               d->max_abs, (long long)d->worst, d->finite ? "" : " (not finite)");
    printf("\n");
}

static void compare_outputs(target *t, const ck_op *op, int i, const ck_case *k, placed *ref,
                            placed *got, bool verbose) {
    for (int b = 0; b < k->n_buf; b++) {
        if (k->buf[b].role != CK_OUT && k->buf[b].role != CK_INOUT) continue;
        lti_tensor want = k->buf[b].t, have = k->buf[b].t;
        const int64_t n = lti_numel(&want);
        float *fw = must(malloc((size_t)n * 4 + 4)), *fh = must(malloc((size_t)n * 4 + 4));
        want.data = fetch(k, ref, b);
        have.data = fetch(k, got, b);
        lti_to_f32(&want, fw);
        lti_to_f32(&have, fh);
        const lti_diff d = lti_compare_f32(fh, fw, n);
        double bound = k->buf[b].bound;
        /* In a small output one element that rounds to the other neighbour can be all of the error:
         * one unit in the last place of bf16, 2^-7 of the value, squared. */
        if (bound > 0 && have.dtype == LTI_BF16 && n < 256) bound = 0x1p-14;
        const bool near_zero = d.finite && d.max_abs <= k->buf[b].abs;
        if (d.nmse > bound && !near_zero) complain(t, op, i, k, "wrong values in buffer", b, &d);
        if (d.nmse > 0 && !near_zero && d.nmse / bound > t->worst) t->worst = d.nmse / bound;
        if (verbose)
            printf("     %s %s case %d (%s) buffer %d: nmse %.3g of %.3g\n", t->name, op->name, i,
                   k->desc, b, d.nmse, bound);
        free(want.data);
        free(have.data);
        free(fw);
        free(fh);
    }
}

static void check_case(target *t, const ck_op *op, int i, const ck_case *k, placed *ref,
                       bool verbose) {
    placed s, one;
    int which = 0;
    const char *what;
    place(k, t->d, &s);
    t->n_case++;
    const int64_t before = t->d->n_calls;
    run_once(k, &s, true);
    if ((what = damage(k, &s, true, &which))) complain(t, op, i, k, what, which, NULL);
    if (t->d->n_calls != before) complain(t, op, i, k, "measure pass counted, buffer", 0, NULL);
    run_once(k, &s, false);
    if ((what = damage(k, &s, false, &which))) complain(t, op, i, k, what, which, NULL);
    compare_outputs(t, op, i, k, ref, &s, verbose);
    place(k, t->one, &one);
    run_once(k, &one, false); /* unprepared: a plan made on the fly must do as well */
    if (!same_bits(k, &s, &one, &which)) {
        if (k->weight >= 0) compare_outputs(t, op, i, k, ref, &one, verbose);
        else complain(t, op, i, k, "depends on the number of threads: buffer", which, NULL);
    }
    unplace(k, &one);
    unplace(k, &s);
}

static void new_case(const options *o, uint64_t op_id, int i, ck_rng *r, ck_case *k) {
    *r = (ck_rng){.seed = o->seed, .frame = op_id * 100000 + (uint64_t)i};
    *k = (ck_case){.weight = -1, .bias = -1, .compute = LTI_F32};
}

static void check_op(const options *o, const ck_op *op, uint64_t op_id, lti_dev *ref, target *t,
                     int n_target) {
    for (int i = 0; i < op->n_edge + o->n_random; i++) {
        if (o->only_case >= 0 && i != o->only_case) continue;
        ck_rng r;
        ck_case k;
        placed want;
        int which = 0;
        new_case(o, op_id, i, &r, &k);
        op->make(&r, i, &k);
        place(&k, ref, &want);
        run_once(&k, &want, false);
        const char *what = damage(&k, &want, false, &which);
        for (int j = 0; j < n_target; j++) {
            if (what) complain(&t[j], op, i, &k, what, which, NULL);
            check_case(&t[j], op, i, &k, &want, o->verbose);
        }
        unplace(&k, &want);
        free_case(&k);
    }
}

/* -- timing ---------------------------------------------------------------------------------- */

static double now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* Fastest of at least 3 calls and 0.2 s: other work on the machine only ever adds time. */
static double time_case(const ck_case *k, placed *s) {
    double best = INFINITY;
    run_once(k, s, true);
    run_once(k, s, false);
    const double start = now_ns();
    for (int i = 0; i < 3 || (now_ns() - start < 2e8 && i < 10000); i++) {
        const double t0 = now_ns();
        run_once(k, s, false);
        const double dt = now_ns() - t0;
        if (dt < best) best = dt;
    }
    return best;
}

static void bench_op(const options *o, const ck_op *op, uint64_t op_id, target *t, int n_target,
                     FILE *jsonl) {
    for (int i = 0; i < op->n_edge + op->n_bench; i++) {
        if (o->only_case >= 0 && i != o->only_case) continue;
        ck_rng r;
        ck_case k;
        new_case(o, op_id, i, &r, &k);
        if (i < op->n_edge) op->make(&r, i, &k);
        else op->bench(&r, i - op->n_edge, &k);
        for (int j = 0; j < n_target; j++) {
            placed s;
            place(&k, t[j].d, &s);
            const double ns = time_case(&k, &s);
            unplace(&k, &s);
            printf("%-12s %-14s %-72s %12.0f ns", t[j].name, op->name, k.desc, ns);
            if (k.flops > 0) printf(" %9.2f GFLOP/s", k.flops / ns);
            printf(" %8.2f GB/s\n", k.bytes / ns);
            if (jsonl)
                fprintf(jsonl,
                        "{\"op\":\"%s\",\"case\":\"%s\",\"device\":\"%s\",\"threads\":%d,"
                        "\"ns\":%.0f,\"gflops\":%.3f,\"gbs\":%.3f}\n",
                        op->name, k.desc, t[j].name, t[j].d->n_threads, ns, k.flops / ns,
                        k.bytes / ns);
        }
        free_case(&k);
    }
}

/* -- devices and options --------------------------------------------------------------------- */

static lti_dev *open_dev(const char *name, int threads) {
    lt_error err = {0};
    lti_dev *d = NULL;
    if (lti_dev_open(name, threads, NULL, &d, &err) < 0) {
        fprintf(stderr, "checkops: %s\n", err.msg);
        exit(2);
    }
    return d;
}

static target open_target(const options *o, const char *backend, int level) {
    static const char *const level_name[] = {"portable", "avx2", "avx512"};
    target t = {.d = open_dev(backend, o->threads), .one = open_dev(backend, 1)};
    if (level < 0) {
        snprintf(t.name, sizeof t.name, "%s", backend);
        return t;
    }
#ifdef LT_HAVE_CPU
    lti_cpu_set_level(t.d, level);
    lti_cpu_set_level(t.one, level);
#endif
    snprintf(t.name, sizeof t.name, "%s/%s", backend, level_name[level]);
    return t;
}

/* ref against itself keeps the checks of guards and inputs honest; it costs little. Timing leaves
 * it out unless asked: the large cases would take minutes. */
static int open_targets(const options *o, target t[8]) {
    int n = 0;
    if (o->backend ? strcmp(o->backend, "ref") == 0 : !o->bench) t[n++] = open_target(o, "ref", -1);
#ifdef LT_HAVE_CPU
    if (!o->backend || strcmp(o->backend, "cpu") == 0)
        for (int level = o->bench ? lti_cpu_best_level() : 0; level <= lti_cpu_best_level();
             level++)
            t[n++] = open_target(o, "cpu", level);
#endif
    if (o->backend && strncmp(o->backend, "cuda", 4) == 0) t[n++] = open_target(o, o->backend, -1);
    if (n == 0) {
        fprintf(stderr, "checkops: no backend \"%s\"; there are %s\n", o->backend,
                lti_backend_names());
        exit(2);
    }
    return n;
}

static uint64_t number(const char *name, const char *s, uint64_t max) {
    char *end = NULL;
    const unsigned long long v = strtoull(s, &end, 10);
    if (end == s || *end || v > max) {
        fprintf(stderr, "checkops: %s: \"%s\" is not a number up to %llu\n", name, s,
                (unsigned long long)max);
        exit(2);
    }
    return v;
}

static options parse(int argc, char **argv) {
    static const struct option opts[] = {
        {"seed", required_argument, NULL, 's'},    {"op", required_argument, NULL, 'o'},
        {"case", required_argument, NULL, 'i'},    {"backend", required_argument, NULL, 'b'},
        {"threads", required_argument, NULL, 't'}, {"cases", required_argument, NULL, 'n'},
        {"bench", no_argument, NULL, 'B'},         {"jsonl", required_argument, NULL, 'j'},
        {"verbose", no_argument, NULL, 'v'},       {NULL, 0, NULL, 0},
    };
    options o = {.seed = 1, .only_case = -1, .n_random = 12};
    int c;
    while ((c = getopt_long(argc, argv, "v", opts, NULL)) != -1) {
        switch (c) {
        case 's':
            o.seed = number("--seed", optarg, UINT64_MAX);
            break;
        case 'o':
            o.op = optarg;
            break;
        case 'i':
            o.only_case = (int)number("--case", optarg, 99999);
            break;
        case 'b':
            o.backend = optarg;
            break;
        case 't':
            o.threads = (int)number("--threads", optarg, 1024);
            break;
        case 'n':
            o.n_random = (int)number("--cases", optarg, 90000);
            break;
        case 'B':
            o.bench = true;
            break;
        case 'j':
            o.jsonl = optarg;
            break;
        case 'v':
            o.verbose = true;
            break;
        default:
            exit(2);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "checkops: unexpected argument \"%s\"\n", argv[optind]);
        exit(2);
    }
    /* Odd and more than the cores of a small machine: splits become uneven. Timing wants all cores.
     */
    if (o.threads == 0 && !o.bench) o.threads = 3;
    return o;
}

static int report(const options *o, target *t, int n_target) {
    int64_t n_case = 0, n_fail = 0;
    for (int j = 0; j < n_target; j++) {
        n_case += t[j].n_case;
        n_fail += t[j].n_fail;
        if (!o->bench)
            printf("%-14s %lld cases, %lld failures, worst error %.0f %% of its bound\n", t[j].name,
                   (long long)t[j].n_case, (long long)t[j].n_fail, 100 * t[j].worst);
        if (t[j].d && t[j].d->n_fallback)
            printf("%-14s %lld ops went the slower way: %s\n", t[j].name,
                   (long long)t[j].d->n_fallback, t[j].d->note);
        lti_dev_close(&t[j].d);
        lti_dev_close(&t[j].one);
    }
    if (!o->bench && n_case == 0) {
        fprintf(stderr, "checkops: no case matches --op \"%s\"\n", o->op ? o->op : "");
        return 2;
    }
    return n_fail ? 1 : 0;
}

int main(int argc, char **argv) {
    const options o = parse(argc, argv);
    target t[8];
    const int n_target = open_targets(&o, t);
    lti_dev *ref = open_dev("ref", 1);
    FILE *jsonl = NULL;
    if (o.jsonl && !(jsonl = fopen(o.jsonl, "w"))) {
        perror(o.jsonl);
        return 2;
    }
    printf("seed %llu, threads %d\n", (unsigned long long)o.seed, t[0].d->n_threads);
    const ck_op *const groups[] = {ck_matrix_ops, ck_row_ops, ck_layout_ops, ck_cache_ops};
    for (int g = 0; g < 4; g++)
        for (const ck_op *op = groups[g]; op->name; op++) {
            if (o.op && strcmp(o.op, op->name) != 0) continue;
            const uint64_t id = (uint64_t)g * 100 + (uint64_t)(op - groups[g]);
            if (o.bench) bench_op(&o, op, id, t, n_target, jsonl);
            else check_op(&o, op, id, ref, t, n_target);
        }
    if (jsonl && fclose(jsonl) != 0) {
        perror(o.jsonl);
        return 1;
    }
    lti_dev_close(&ref);
    return report(&o, t, n_target);
}

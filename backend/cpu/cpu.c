/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/cpu.c - the ops table of the CPU backend; memory, SIMD level, scratch, threads.
 *
 * Ops run at once on the calling thread and its team; there is no queue, so sync only reports the
 * sticky error. See cpu.h for the file map and the thread rules. */
#include "backend/cpu/ops.h"
#include "base/error.h"
#include "base/memory.h"

#include <omp.h>

/* Below this much work (elements) a team costs more than it gives: a fork and join is some
 * microseconds, an element is a fraction of a nanosecond. */
enum { PARALLEL_COST = 1 << 16, PARALLEL_COPY = 1 << 22 /* bytes */ };

/* -- SIMD level ---------------------------------------------------------------------------- */

int lti_cpu_best_level(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bf16"))
        return LTI_CPU_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return LTI_CPU_AVX2;
#endif
    return LTI_CPU_PORTABLE;
}

int lti_cpu_set_level(lti_dev *d, int level) {
    lti_cpu *c = lti_cpu_of(d);
    const int best = lti_cpu_best_level();
    level = level < LTI_CPU_PORTABLE ? LTI_CPU_PORTABLE : level > best ? best : level;
    c->level = level;
    c->rows = &lti_cpu_rows_portable;
    c->attn_f32 = &lti_cpu_attn_portable;
    c->attn_bf16 = NULL;
#if defined(__x86_64__)
    if (level == LTI_CPU_AVX2) {
        c->rows = &lti_cpu_rows_avx2;
        c->attn_f32 = &lti_cpu_attn_avx2;
    } else if (level == LTI_CPU_AVX512) {
        c->rows = &lti_cpu_rows_avx512;
        c->attn_f32 = &lti_cpu_attn_avx512;
        c->attn_bf16 = &lti_cpu_attn_avx512_bf16;
    }
#endif
    return level;
}

/* -- control ------------------------------------------------------------------------------- */

static lt_status cpu_open(lti_dev *d, lt_error *err) {
    lti_cpu *c = calloc(1, sizeof *c);
    if (!c) return lti_oom(err, sizeof *c);
    d->impl = c;
    lti_cpu_set_level(d, LTI_CPU_LEVELS);
    const lt_status st = lti_cpu_plans_open(d, &c->plans, err);
    if (st < 0) {
        free(c);
        d->impl = NULL;
    }
    return st;
}

static void cpu_close(lti_dev *d) {
    lti_cpu *c = lti_cpu_of(d);
    if (!c) return;
    lti_cpu_plans_close(&c->plans);
    free(c->slab);
    free(c);
    d->impl = NULL;
}

static void *aligned(size_t bytes) {
    if (bytes > SIZE_MAX / 2 || !lti_memory_fits(bytes)) return NULL;
    const size_t rounded = (bytes + 63) & ~(size_t)63;
    return aligned_alloc(64, rounded ? rounded : 64);
}

static void *cpu_alloc(lti_dev *d, size_t bytes) {
    (void)d;
    void *p = aligned(bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

static void cpu_free(lti_dev *d, void *p) {
    (void)d;
    free(p);
}

/* One core does not fill the memory bus: large copies (VAE history) are shared. */
static void cpu_move(lti_dev *d, void *dst, const void *src, size_t bytes) {
    if (bytes < PARALLEL_COPY || d->n_threads <= 1) {
        if (bytes) memcpy(dst, src, bytes);
        return;
    }
    const size_t blocks = bytes / 4096 + 1;
#pragma omp parallel num_threads(d->n_threads)
    {
        const size_t parts = (size_t)omp_get_num_threads(), me = (size_t)omp_get_thread_num();
        const size_t b0 = blocks * me / parts * 4096, b1 = blocks * (me + 1) / parts * 4096;
        if (b0 < bytes)
            memcpy((char *)dst + b0, (const char *)src + b0, (b1 < bytes ? b1 : bytes) - b0);
    }
}

static void cpu_zero(lti_dev *d, void *dst, size_t bytes) {
    (void)d;
    if (bytes) memset(dst, 0, bytes);
}

static void cpu_memory(lti_dev *d, size_t *left, size_t *total) {
    (void)d;
    *left = lti_memory_left();
    *total = lti_memory_all();
}

static lt_status cpu_sync(lti_dev *d, lt_error *err) {
    const lt_error *e = &lti_cpu_of(d)->error;
    return e->code < 0 ? lti_fail(err, e->code, "%s", e->msg) : LT_OK;
}

void lti_cpu_fail(lti_dev *d, lt_status code, const char *what) {
    lti_fail(&lti_cpu_of(d)->error, code, "backend cpu: %s", what);
}

void *lti_cpu_scratch(lti_dev *d, size_t bytes) {
    lti_cpu *c = lti_cpu_of(d);
    if (c->slab && bytes <= c->slab_bytes) return c->slab;
    void *p = aligned(bytes);
    if (!p) {
        lti_cpu_fail(d, LT_ENOMEM, "no memory for scratch");
        return NULL;
    }
    free(c->slab);
    c->slab = p;
    c->slab_bytes = bytes;
    return p;
}

/* -- threads ------------------------------------------------------------------------------- */

void lti_cpu_split(lti_dev *d, lti_cpu_row_fn *fn, const lti_cpu_row_args *a, int64_t n,
                   int64_t cost) {
    if (d->n_threads <= 1 || n <= 1 || n * cost < PARALLEL_COST) {
        fn(a, 0, n);
        return;
    }
    /* Parts are multiples of 64 elements where a row is one element: no shared cache lines. */
    const int64_t step = cost < 64 ? 64 : 1, blocks = (n + step - 1) / step;
#pragma omp parallel num_threads(d->n_threads)
    {
        const int64_t parts = omp_get_num_threads(), me = omp_get_thread_num();
        const int64_t r0 = blocks * me / parts * step, r1 = blocks * (me + 1) / parts * step;
        if (r0 < n) fn(a, r0, r1 < n ? r1 : n);
    }
}

/* -- the table ----------------------------------------------------------------------------- */

const lti_ops lti_ops_cpu = {
    .abi = LTI_BACKEND_ABI,
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .put = cpu_move,
    .get = cpu_move,
    .copy = cpu_move,
    .zero = cpu_zero,
    .sync = cpu_sync,
    .memory = cpu_memory,
    .pack_linear = lti_cpu_pack_linear,
    .pack_conv = lti_cpu_pack_conv,
    .pack_free = lti_cpu_pack_free,
    .prepare_linear = lti_cpu_prepare_linear,
    .prepare_conv = lti_cpu_prepare_conv,
    .prepare_attention = lti_cpu_prepare_attention,
    .linear = lti_cpu_linear,
    .conv = lti_cpu_conv,
    .attention = lti_cpu_attention,
    .norm_mod = lti_cpu_norm_mod,
    .layer_norm = lti_cpu_layer_norm,
    .rms_norm = lti_cpu_rms_norm,
    .chan_norm = lti_cpu_chan_norm,
    .rope = lti_cpu_rope,
    .gated_add = lti_cpu_gated_add,
    .unary = lti_cpu_unary,
    .add = lti_cpu_add,
    .mul = lti_cpu_mul,
    .embed_rows = lti_cpu_embed_rows,
    .patchify = lti_cpu_patchify,
    .unpatchify = lti_cpu_unpatchify,
    .upsample2x = lti_cpu_upsample2x,
    .time_unfold = lti_cpu_time_unfold,
    .lincomb = lti_cpu_lincomb,
    .latent_to_map = lti_cpu_latent_to_map,
    .randn = lti_cpu_randn,
    .cast = lti_cpu_cast,
    .to_rgb8 = lti_cpu_to_rgb8,
    .norm_rope = lti_cpu_norm_rope,
    .sum_rows = lti_cpu_sum_rows,
    .token_scores = lti_cpu_token_scores,
};

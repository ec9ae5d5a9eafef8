/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/cpu.h - inside of the fast CPU backend.
 *
 * ops.h, cpu.c      the ops table; memory, SIMD level, scratch, splitting work over threads
 * dnnl_plan.c       oneDNN primitives: made once per shape, cached per dev; weight layouts
 * dnnl_ops.c        the two ops that are oneDNN's: linear and conv
 * rows.c, maps.c    glue of the ops that go row by row / that move data; loops in rows.inc
 * attention.c       work split and packing of attention; the arithmetic is in attention.inc
 * *_portable.c, *_avx2.c, *_avx512.c   the .inc files compiled for one instruction set each
 *
 * Threads. Each dev has its own team size (omp_set_num_threads belongs to the calling thread) and
 * its own scratch and primitives, so two devs may run in two threads at once. No result of our own
 * kernels depends on the number of threads: a thread owns whole output rows. (oneDNN: dnnl_ops.c.)
 * Two teams on the same cores: the process should run with OMP_WAIT_POLICY=passive, as the longtake
 * command sees to; a spinning thread costs its team a time slice per op on a busy machine. */
#ifndef LT_BACKEND_CPU_CPU_H
#define LT_BACKEND_CPU_CPU_H
#include "backend/backend.h"

/* SIMD levels. 2 needs AVX-512 F, BW, VL, DQ and BF16; below it bf16 weights compute in f32. */
enum { LTI_CPU_PORTABLE, LTI_CPU_AVX2, LTI_CPU_AVX512, LTI_CPU_LEVELS };

/* Use at most this level for our own kernels and for weights packed from now on; clamped to what
 * the machine has. Returns the level set. For tests and bisection. */
int lti_cpu_set_level(lti_dev *d, int level);
int lti_cpu_best_level(void);

/* -- row kernels: work on rows [r0, r1) --------------------------------------------------- */
typedef struct lti_cpu_row_args {
    const void *x, *y;
    void *out;
    lti_dtype xt, yt, ot;
    int64_t D;                /* row length */
    int64_t x_stride;         /* rope: elements between rows of x */
    const float *w, *b;       /* per channel or per frame: see the op */
    int64_t mod_stride, rows; /* norm_mod, gated_add */
    const float *table;       /* rope: [M, hd/2, 2], or NULL */
    int64_t hd;
    float eps, c; /* c: sqrt(C) of chan_norm */
    lti_act act;
} lti_cpu_row_args;

typedef void lti_cpu_row_fn(const lti_cpu_row_args *a, int64_t r0, int64_t r1);

#define LTI_SUM_COLS 64
typedef struct lti_cpu_rows {
    lti_cpu_row_fn *norm_mod, *layer_norm, *rms_norm, *chan_norm, *rope, *norm_rope, *gated_add;
    lti_cpu_row_fn *lincomb; /* a row is a frame */
    lti_cpu_row_fn *token_scores;
    lti_cpu_row_fn *sum_rows; /* a row is LTI_SUM_COLS columns of all rows */
    lti_cpu_row_fn *unary, *add, *mul, *cast, *to_rgb8; /* a row is one element */
} lti_cpu_rows;

extern const lti_cpu_rows lti_cpu_rows_portable, lti_cpu_rows_avx2, lti_cpu_rows_avx512;

/* -- attention kernel: one head, one tile of queries, one block of keys -------------------- */
/* Dwords: one f32, or a pair of bf16 that is contracted together. Layouts in attention.inc. */
typedef struct lti_cpu_attn_tile {
    const float *q;      /* packed queries [hs][tile] dwords */
    const float *k, *v;  /* packed block of keys and values */
    float *s;            /* [block keys][tile] scores, scratch */
    float *p;            /* [block keys / pair][tile] probabilities, scratch; may be s */
    float *m, *l;        /* [tile] running maximum (log2 domain) and sum */
    float *fade;         /* [tile] scratch: exp2(old m - new m) */
    float *o;            /* [hd padded to rows][tile] running output, transposed */
    int64_t hd, nk;      /* nk: keys in this block */
    int64_t nq;          /* queries in this tile, 1..tile */
    float scale;         /* scale * log2 e */
    const float *bias;   /* first query and key of this tile and block, or NULL */
    int64_t bias_stride; /* between queries */
    bool first;          /* no block came before */
} lti_cpu_attn_tile;

typedef struct lti_cpu_attn_kernel {
    lti_dtype type; /* F32, or BF16 with pairs */
    int tile;       /* queries per tile */
    int rows;       /* keys and channels per register block; both are padded to it */
    /* row[i] points at hd elements of dtype dt[i]; NULL is a row of zeros */
    void (*pack_q)(const void *const *row, const lti_dtype *dt, int64_t hd, float *out);
    void (*pack_k)(const void *const *row, const lti_dtype *dt, int64_t n, int64_t hd, float *out);
    void (*pack_v)(const void *const *row, const lti_dtype *dt, int64_t n, int64_t hd, float *out);
    void (*block)(const lti_cpu_attn_tile *t);
    /* out rows `stride` elements apart; sink NULL or one logit; lse NULL or [nq] */
    void (*finish)(const lti_cpu_attn_tile *t, void *out, lti_dtype ot, int64_t stride,
                   const float *sink, float *lse);
} lti_cpu_attn_kernel;

#define LTI_CPU_KEY_BLOCK 256 /* keys packed at a time */
#define LTI_CPU_MAX_TILE 48
#define LTI_CPU_MAX_HEAD_DIM 1024

extern const lti_cpu_attn_kernel lti_cpu_attn_portable, lti_cpu_attn_avx2, lti_cpu_attn_avx512,
    lti_cpu_attn_avx512_bf16;

/* -- the dev ------------------------------------------------------------------------------- */
typedef struct lti_cpu_plans lti_cpu_plans; /* oneDNN engine, stream and primitives */

typedef struct lti_cpu {
    int level;
    const lti_cpu_rows *rows;
    const lti_cpu_attn_kernel *attn_f32, *attn_bf16; /* bf16: NULL where it would not pay */
    lti_cpu_plans *plans;
    void *slab; /* scratch: only grows, in prepare_* when the caller measures first */
    size_t slab_bytes;
    lt_error error; /* sticky, reported by sync */
} lti_cpu;

static inline lti_cpu *lti_cpu_of(const lti_dev *d) { return (lti_cpu *)d->impl; }
/* At least `bytes` of scratch, 64-byte aligned; NULL and a sticky error when there is none. */
void *lti_cpu_scratch(lti_dev *d, size_t bytes);
void lti_cpu_fail(lti_dev *d, lt_status code, const char *what); /* first one stays */
/* fn over rows [0, n); in parallel when n * cost (about one per element) is worth it. */
void lti_cpu_split(lti_dev *d, lti_cpu_row_fn *fn, const lti_cpu_row_args *a, int64_t n,
                   int64_t cost);

lt_status lti_cpu_plans_open(lti_dev *d, lti_cpu_plans **out, lt_error *err);
void lti_cpu_plans_close(lti_cpu_plans **p);
#endif

/* SPDX-License-Identifier: Apache-2.0
 * weights/lora_add.c - out += scale * B A, the arithmetic of a LoRA, in f32.
 *
 * A [r, in] and B [out, r] lie in the file in any dtype and alignment. Both are unpacked to f32 in
 * the order the kernel reads: A in panels of 16 columns [panel][r][16], B in strips of 6 rows
 * [strip][r][6], scaled. The kernel keeps a 6 x 16 tile of the product in registers. All 300 linears
 * of Wan 1.3B with rank 256 are 0.7 Tflop: on plain loops that is minutes.
 *
 * Rows are split over OpenMP threads; every element is summed by one thread in the order of r, so
 * the result does not depend on their number. */
#include "base/error.h"
#include "weights/weights_int.h"
#include <stdlib.h>
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_AVX2 1
#endif

enum { STRIP = 6, PANEL = 16 };

/* One tile: c [rows, cols] of row length ldc += b [r][6] * a [r][16]. */
static void tile_plain(int64_t rank, const float *a, const float *b, float *c, int64_t ldc,
                       int64_t rows, int64_t cols) {
    float acc[STRIP][PANEL] = {0};
    for (int64_t k = 0; k < rank; k++)
        for (int i = 0; i < STRIP; i++)
            for (int n = 0; n < PANEL; n++) acc[i][n] += b[k * STRIP + i] * a[k * PANEL + n];
    for (int64_t i = 0; i < rows; i++)
        for (int64_t n = 0; n < cols; n++) c[i * ldc + n] += acc[i][n];
}

#ifdef HAS_AVX2
#define ROW(i)                                                                                     \
    {                                                                                              \
        const __m256 s = _mm256_broadcast_ss(b + (i));                                             \
        lo##i = _mm256_fmadd_ps(s, a0, lo##i);                                                     \
        hi##i = _mm256_fmadd_ps(s, a1, hi##i);                                                     \
    }
#define STORE(i)                                                                                   \
    {                                                                                              \
        float *at = c + (i)*ldc;                                                                   \
        _mm256_storeu_ps(at, _mm256_add_ps(_mm256_loadu_ps(at), lo##i));                           \
        _mm256_storeu_ps(at + 8, _mm256_add_ps(_mm256_loadu_ps(at + 8), hi##i));                   \
    }
/* A whole tile. */
__attribute__((target("avx2,fma"))) static void tile_avx2(int64_t rank, const float *a,
                                                          const float *b, float *c, int64_t ldc) {
    __m256 lo0 = _mm256_setzero_ps(), hi0 = lo0, lo1 = lo0, hi1 = lo0, lo2 = lo0, hi2 = lo0;
    __m256 lo3 = lo0, hi3 = lo0, lo4 = lo0, hi4 = lo0, lo5 = lo0, hi5 = lo0;
    for (int64_t k = 0; k < rank; k++, a += PANEL, b += STRIP) {
        const __m256 a0 = _mm256_loadu_ps(a), a1 = _mm256_loadu_ps(a + 8);
        ROW(0) ROW(1) ROW(2) ROW(3) ROW(4) ROW(5)
    }
    STORE(0) STORE(1) STORE(2) STORE(3) STORE(4) STORE(5)
}
#endif

typedef struct product {
    const lti_delta *d;
    int64_t rank, cols, first, n; /* rows [first, first + n) of the weight */
    int64_t n_panel, n_strip;
    float *a, *b; /* unpacked: [n_panel][rank][16], [n_strip][rank][6] */
    float *out;   /* [n, cols] */
} product;

static bool has_avx2(void) {
#ifdef HAS_AVX2
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

static lti_tensor part_of(const lti_tensor *t, int64_t first, int64_t n) {
    uint8_t *at = (uint8_t *)t->data + (size_t)first * lti_dtype_size(t->dtype);
    return LTI_VIEW(at, t->dtype, n);
}

/* Row k of A into its place in every panel; row [cols] is scratch. */
static void unpack_a(const product *p, int64_t k, float *row) {
    const lti_tensor v = part_of(p->d->a, k * p->cols, p->cols);
    lti_to_f32(&v, row);
    for (int64_t c = 0; c < p->n_panel * PANEL; c++)
        p->a[(c / PANEL * p->rank + k) * PANEL + c % PANEL] = c < p->cols ? row[c] : 0;
}

/* Row i of B, times the scale, into its strip; row [rank] is scratch. */
static void unpack_b(const product *p, int64_t i, float *row) {
    const float scale = (float)p->d->scale;
    float *to = p->b + (i / STRIP * p->rank) * STRIP + i % STRIP;
    if (i < p->n) {
        const lti_tensor v = part_of(p->d->b, (p->first + i) * p->rank, p->rank);
        lti_to_f32(&v, row);
    }
    for (int64_t k = 0; k < p->rank; k++) to[k * STRIP] = i < p->n ? scale * row[k] : 0;
}

static void strip_times_a(const product *p, int64_t s, bool avx2) {
    const float *b = p->b + s * p->rank * STRIP;
    float *out = p->out + s * STRIP * p->cols;
    const int64_t rows = p->n - s * STRIP < STRIP ? p->n - s * STRIP : STRIP;
    for (int64_t j = 0; j < p->n_panel; j++) {
        const float *a = p->a + j * p->rank * PANEL;
        const int64_t cols = p->cols - j * PANEL < PANEL ? p->cols - j * PANEL : PANEL;
#ifdef HAS_AVX2
        if (avx2 && rows == STRIP && cols == PANEL) {
            tile_avx2(p->rank, a, b, out + j * PANEL, p->cols);
            continue;
        }
#endif
        (void)avx2;
        tile_plain(p->rank, a, b, out + j * PANEL, p->cols, rows, cols);
    }
}

static void run(const product *p, float *scratch) {
    const bool avx2 = has_avx2();
    for (int64_t k = 0; k < p->rank; k++) unpack_a(p, k, scratch);
    for (int64_t i = 0; i < p->n_strip * STRIP; i++) unpack_b(p, i, scratch);
#pragma omp parallel for schedule(static) if (p->n * p->cols > 1 << 16)
    for (int64_t s = 0; s < p->n_strip; s++) strip_times_a(p, s, avx2);
}

/* Without memory for the unpacked factors: right, and slow. */
static void run_slowly(const product *p) {
    const float scale = (float)p->d->scale;
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t k = 0; k < p->rank; k++) {
            const float b = scale * lti_get_f32(p->d->b, (p->first + i) * p->rank + k);
            for (int64_t c = 0; c < p->cols; c++)
                p->out[i * p->cols + c] += b * lti_get_f32(p->d->a, k * p->cols + c);
        }
}

static void add_full(const lti_delta *d, int64_t first, int64_t n, float *out) {
    const float scale = (float)d->scale;
    float part[1024];
    for (int64_t at = 0; at < n; at += 1024) {
        const int64_t len = n - at < 1024 ? n - at : 1024;
        const lti_tensor v = part_of(d->a, first + at, len);
        lti_to_f32(&v, part);
        for (int64_t i = 0; i < len; i++) out[at + i] += scale * part[i];
    }
}

void lti_lora_add(const lti_delta *d, const lti_tensor *t, int64_t first, int64_t n, float *out) {
    const int64_t rows = t->rank ? t->n[0] : 1, cols = rows ? lti_numel(t) / rows : 0;
    if (n == 0 || cols == 0) return;
    if (!d->b) {
        add_full(d, first * cols, n * cols, out);
        return;
    }
    product p = {.d = d, .rank = d->a->n[0], .cols = cols, .first = first, .n = n, .out = out};
    p.n_panel = (cols + PANEL - 1) / PANEL;
    p.n_strip = (n + STRIP - 1) / STRIP;
    const size_t rank = (size_t)p.rank, longest = cols > p.rank ? (size_t)cols : rank;
    p.a = malloc(sizeof(float) * rank * PANEL * (size_t)p.n_panel);
    p.b = malloc(sizeof(float) * rank * STRIP * (size_t)p.n_strip);
    float *scratch = malloc(sizeof(float) * longest);
    if (p.a && p.b && scratch) run(&p, scratch);
    else run_slowly(&p);
    free(scratch);
    free(p.b);
    free(p.a);
}

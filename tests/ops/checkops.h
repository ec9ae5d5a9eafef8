/* SPDX-License-Identifier: Apache-2.0
 * tests/ops/checkops.h - how the op cases are described.
 *
 * A case is a list of buffers (inputs with random data, outputs, in-out) and a function that issues
 * one op on them. The runner puts the buffers on a device between guard bytes, runs the case on ref
 * and on the device under test, and compares every output. Case i of an op depends only on (seed,
 * op, i): `--seed S --op NAME --case I` repeats it alone. To add an op: one entry in ck_ops. */
#ifndef LT_TESTS_OPS_CHECKOPS_H
#define LT_TESTS_OPS_CHECKOPS_H
#include "backend/backend.h"

enum { CK_MAX_BUF = 48, CK_GUARD = 64 };

typedef struct ck_rng {
    uint64_t seed, frame; /* frame: which op and case */
    uint32_t next;
} ck_rng;

uint32_t ck_u32(ck_rng *r);
int64_t ck_range(ck_rng *r, int64_t lo, int64_t hi); /* inclusive */
bool ck_coin(ck_rng *r);
lti_dtype ck_act_dtype(ck_rng *r); /* F32 or BF16 */

typedef enum ck_role { CK_IN, CK_OUT, CK_INOUT, CK_HOST } ck_role; /* HOST: read from host memory */

typedef struct ck_buf {
    lti_tensor t; /* initial data; owned */
    ck_role role;
    double bound; /* NMSE against ref, outputs only; 0: equal bits */
    double abs;   /* or: every element within this; for values whose zero has no meaning (lse) */
} ck_buf;

typedef struct ck_case ck_case;
struct ck_case {
    char desc[160];
    ck_buf buf[CK_MAX_BUF];
    int n_buf;
    /* Issue the op; p[i] is buffer i on the device (host pointer for CK_HOST). */
    void (*call)(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w);
    int weight, bias;    /* buffers to pack, -1: none */
    lti_dtype compute;   /* of the packed weight */
    double flops, bytes; /* of one call, for --bench */
    int64_t n[16];       /* what `call` needs */
    float f[4];
};

/* Buffers filled with gaussians * scale + offset; returns the index. dims end with 0 extents. */
int ck_add(ck_case *k, ck_role role, lti_dtype dt, int rank, const int64_t *n);
void ck_fill(ck_case *k, int buf, ck_rng *r, float scale, float offset);
#define CK_BUF(k, role, dt, ...)                                                                   \
    ck_add((k), (role), (dt), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),           \
           (const int64_t[]){__VA_ARGS__})
/* Buffer i as a tensor on the device. */
static inline lti_tensor ck_on(const ck_case *k, void *const *p, int i) {
    lti_tensor t = k->buf[i].t;
    t.data = p[i];
    return t;
}
const char *ck_dt(lti_dtype t); /* "f32", "bf16" */

/* Make case i: below n_edge a fixed shape, else a random one. bench(i): a large, timed one. */
typedef struct ck_op {
    const char *name;
    int n_edge;
    void (*make)(ck_rng *r, int i, ck_case *k);
    int n_bench;
    void (*bench)(ck_rng *r, int i, ck_case *k);
} ck_op;

/* end with name NULL */
extern const ck_op ck_matrix_ops[], ck_row_ops[], ck_layout_ops[], ck_cache_ops[];

/* NMSE bounds, docs/NUMERICS.md: `f32` unless the output is bf16. */
static inline double ck_bound(double f32, double bf16, lti_dtype out) {
    return out == LTI_BF16 ? bf16 : f32;
}
#define CK_BF16_MATRIX 2e-5 /* operands or weights rounded to bf16, sums in f32 */
#define CK_BF16_ROW 1e-6    /* f32 arithmetic, rounded once: only ties may go the other way */

#endif

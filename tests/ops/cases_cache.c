/* SPDX-License-Identifier: Apache-2.0
 * tests/ops/cases_cache.c - ops of the frame cache: row sums, token scores. */
#include "checkops.h"
#include <stdio.h>

static const struct {
    int64_t n, d;
} edge[] = {
    {1, 1}, {1, 3}, {2, 17}, {63, 64}, {64, 65}, {65, 16}, {130, 63}, {5, 1536}, {200, 129},
};
enum { N_EDGE = (int)(sizeof edge / sizeof *edge) };

static void shape(ck_rng *r, int i, ck_case *k) {
    k->n[0] = i < N_EDGE ? edge[i].n : ck_range(r, 1, 300);
    k->n[1] = i < N_EDGE ? edge[i].d : ck_range(r, 1, 400);
}

static void describe(ck_case *k, lti_dtype dt) {
    snprintf(k->desc, sizeof k->desc, "%lldx%lld %s", (long long)k->n[0], (long long)k->n[1],
             ck_dt(dt));
    for (int i = 0; i < k->n_buf; i++) k->bytes += (double)lti_nbytes(&k->buf[i].t);
}

/* buffer 0: x [n,D], buffer 1: out [D] */
static void call_sum(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_sum_rows(d, ck_on(k, p, 0), ck_on(k, p, 1));
}

static void fill_sum(ck_rng *r, ck_case *k, lti_dtype dt) {
    ck_fill(k, CK_BUF(k, CK_IN, dt, k->n[0], k->n[1]), r, 1.0f, 0.5f);
    const int out = CK_BUF(k, CK_OUT, LTI_F32, k->n[1]);
    k->buf[out].bound = 1e-12;
    k->call = call_sum;
    describe(k, dt);
}

static void sum_case(ck_rng *r, int i, ck_case *k) {
    shape(r, i, k);
    fill_sum(r, k, ck_act_dtype(r));
}

static void sum_bench(ck_rng *r, int i, ck_case *k) {
    (void)i;
    k->n[0] = 4680, k->n[1] = 1536;
    fill_sum(r, k, LTI_BF16);
}

/* buffer 0: q [D], buffer 1: k [n,D], buffer 2: out [n] */
static void call_scores(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_token_scores(d, ck_on(k, p, 0), ck_on(k, p, 1), k->f[0], ck_on(k, p, 2));
}

static void fill_scores(ck_rng *r, ck_case *k, lti_dtype dt) {
    ck_fill(k, CK_BUF(k, CK_IN, LTI_F32, k->n[1]), r, 1.0f, 0.0f);
    ck_fill(k, CK_BUF(k, CK_IN, dt, k->n[0], k->n[1]), r, 1.0f, 0.0f);
    const int out = CK_BUF(k, CK_OUT, LTI_F32, k->n[0]);
    k->buf[out].bound = 1e-12;
    k->buf[out].abs = 2e-5; /* a score near zero is a difference of large products */
    k->f[0] = 0.25f;
    k->call = call_scores;
    describe(k, dt);
}

static void scores_case(ck_rng *r, int i, ck_case *k) {
    shape(r, i, k);
    fill_scores(r, k, ck_act_dtype(r));
}

static void scores_bench(ck_rng *r, int i, ck_case *k) {
    (void)i;
    k->n[0] = 12480, k->n[1] = 1536;
    fill_scores(r, k, LTI_BF16);
}

const ck_op ck_cache_ops[] = {
    {"sum_rows", N_EDGE, sum_case, 1, sum_bench},
    {"token_scores", N_EDGE, scores_case, 1, scores_bench},
    {NULL, 0, NULL, 0, NULL},
};

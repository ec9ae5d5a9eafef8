/* SPDX-License-Identifier: Apache-2.0
 * backend/ref/attention.c - softmax attention over spans of keys and values.
 *
 *   s_n   = scale * q.k_n + bias[h, m, n]
 *   out_m = sum_n exp(s_n) v_n / (sum_n exp(s_n) + exp(sink_logit_h))
 *   lse   = ln sum_n exp(s_n)                     (without the sink logit)
 * Two passes, the first for the largest score, so that no exp of a score overflows; that of a much
 * larger sink logit may become infinite, and then out is 0, as it should. With no key at all out is
 * 0 (with or without a sink logit) and lse is -inf. A bias of -inf masks its key. */
#include "backend/ref/ref.h"
#include "base/error.h"
#include <math.h>

enum { MAX_HEAD_DIM = 1024 };

typedef struct row {
    const lti_attn *a;
    int64_t m, head, hd;
    const float *q;    /* [hd] */
    const float *bias; /* [N] or NULL */
} row;

/* Row n of keys or values at head r->head, as f32: in place, or converted into buf. */
static const float *head_row(const row *r, const lti_span *s, const void *base, int64_t n,
                             float *buf) {
    const int64_t at = n * s->stride + r->head * r->hd;
    if (s->dtype == LTI_F32) return (const float *)base + at;
    for (int64_t i = 0; i < r->hd; i++) buf[i] = get(base, s->dtype, at + i);
    return buf;
}

static double score(const row *r, const lti_span *s, int64_t n, int64_t n_total) {
    float buf[MAX_HEAD_DIM];
    double dot = 0.0;
    lti_ref_dots(&dot, 1, r->q, head_row(r, s, s->k, n, buf), 0, r->hd);
    return dot * r->a->scale + (r->bias ? r->bias[n_total] : 0.0);
}

static double largest_score(const row *r) {
    double best = -INFINITY;
    int64_t n_total = 0;
    for (int i = 0; i < r->a->n_span; i++)
        for (int64_t n = 0; n < r->a->span[i].n; n++, n_total++) {
            const double s = score(r, &r->a->span[i], n, n_total);
            if (s > best || isnan(s)) best = s; /* and stays: damaged weights must show */
        }
    return best;
}

/* acc[hd] += sum of exp(s - peak) v; returns the sum of exp(s - peak). */
static double weigh(const row *r, double peak, double *acc) {
    float buf[MAX_HEAD_DIM];
    double sum = 0.0;
    int64_t n_total = 0;
    for (int i = 0; i < r->a->n_span; i++) {
        const lti_span *s = &r->a->span[i];
        for (int64_t n = 0; n < s->n; n++, n_total++) {
            const double p = exp(score(r, s, n, n_total) - peak);
            const float *v = head_row(r, s, s->v, n, buf);
            sum += p;
            for (int64_t j = 0; j < r->hd; j++) acc[j] += p * v[j];
        }
    }
    return sum;
}

static void attend_row(const row *r) {
    const lti_attn *a = r->a;
    const int64_t n_query = a->q.n[0], heads = a->q.n[1];
    const int64_t at = (r->m * heads + r->head) * r->hd;
    double acc[MAX_HEAD_DIM] = {0};
    double sum = 0.0, denom = 0.0;
    const double peak = largest_score(r);
    if (peak != -INFINITY) {
        sum = weigh(r, peak, acc);
        denom = sum + (a->sink_logit ? exp(a->sink_logit[r->head] - peak) : 0.0);
    }
    for (int64_t j = 0; j < r->hd; j++)
        set(a->out.data, a->out.dtype, at + j, denom == 0.0 ? 0.0f : (float)(acc[j] / denom));
    if (a->lse)
        a->lse[r->head * n_query + r->m] = sum == 0.0 ? -INFINITY : (float)(peak + log(sum));
}

void lti_ref_attention(lti_dev *d, const lti_attn *a) {
    (void)d;
    const int64_t n_query = a->q.n[0], heads = a->q.n[1], hd = a->q.n[2];
    LT_ASSERT(hd <= MAX_HEAD_DIM);
    int64_t n_key = 0;
    for (int i = 0; i < a->n_span; i++) n_key += a->span[i].n;
    float q[MAX_HEAD_DIM];
    for (int64_t m = 0; m < n_query; m++)
        for (int64_t h = 0; h < heads; h++) {
            load_row(&a->q, (m * heads + h) * hd, hd, LTI_F32, q);
            row r = {.a = a,
                     .m = m,
                     .head = h,
                     .hd = hd,
                     .q = q,
                     .bias = a->bias ? a->bias + (h * n_query + m) * n_key : NULL};
            attend_row(&r);
        }
}

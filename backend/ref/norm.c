/* SPDX-License-Identifier: Apache-2.0
 * backend/ref/norm.c - layer norm (modulated or affine), RMS norm, the VAE's channel norm.
 *
 * Statistics in double, the variance by two passes (no E[x^2] - E[x]^2 cancellation). */
#include "backend/ref/ref.h"
#include <math.h>

typedef struct moments {
    double mean, inv_std;
} moments;

static moments row_moments(const lti_tensor *x, int64_t at, int64_t n, double eps) {
    double mean = 0.0, var = 0.0;
    for (int64_t i = 0; i < n; i++) mean += get(x->data, x->dtype, at + i);
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        double e = get(x->data, x->dtype, at + i) - mean;
        var += e * e;
    }
    return (moments){mean, 1.0 / sqrt(var / (double)n + eps)};
}

static double sum_of_squares(const lti_tensor *x, int64_t at, int64_t n) {
    double s = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double v = get(x->data, x->dtype, at + i);
        s += v * v;
    }
    return s;
}

void lti_ref_norm_mod(lti_dev *d, const lti_tensor *x, const float *shift, const float *scale,
                      int64_t mod_stride, int64_t rows, float eps, const lti_tensor *out) {
    (void)d;
    const int64_t dim = x->n[x->rank - 1], n_row = lti_numel(x) / dim;
    for (int64_t m = 0; m < n_row; m++) {
        const moments s = row_moments(x, m * dim, dim, eps);
        const float *sc = scale + m / rows * mod_stride, *sh = shift + m / rows * mod_stride;
        for (int64_t i = 0; i < dim; i++) {
            double v = (get(x->data, x->dtype, m * dim + i) - s.mean) * s.inv_std;
            set(out->data, out->dtype, m * dim + i, (float)(v * (1.0 + sc[i]) + sh[i]));
        }
    }
}

void lti_ref_layer_norm(lti_dev *d, const lti_tensor *x, const float *w, const float *b, float eps,
                        const lti_tensor *out) {
    (void)d;
    const int64_t dim = x->n[x->rank - 1], n_row = lti_numel(x) / dim;
    for (int64_t m = 0; m < n_row; m++) {
        const moments s = row_moments(x, m * dim, dim, eps);
        for (int64_t i = 0; i < dim; i++) {
            double v = (get(x->data, x->dtype, m * dim + i) - s.mean) * s.inv_std;
            set(out->data, out->dtype, m * dim + i, (float)(v * w[i] + b[i]));
        }
    }
}

void lti_ref_rms_norm(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                      const lti_tensor *out) {
    (void)d;
    const int64_t dim = x->n[x->rank - 1], n_row = lti_numel(x) / dim;
    for (int64_t m = 0; m < n_row; m++) {
        const double inv = 1.0 / sqrt(sum_of_squares(x, m * dim, dim) / (double)dim + eps);
        for (int64_t i = 0; i < dim; i++)
            set(out->data, out->dtype, m * dim + i,
                (float)(get(x->data, x->dtype, m * dim + i) * inv * w[i]));
    }
}

void lti_ref_chan_norm(lti_dev *d, const lti_tensor *x, const float *gamma, bool silu,
                       const lti_tensor *out) {
    (void)d;
    const int64_t dim = x->n[x->rank - 1], n_row = lti_numel(x) / dim;
    for (int64_t m = 0; m < n_row; m++) {
        const double len = sqrt(sum_of_squares(x, m * dim, dim));
        const double inv = sqrt((double)dim) / (len > 1e-12 ? len : 1e-12);
        for (int64_t i = 0; i < dim; i++) {
            float v = (float)(get(x->data, x->dtype, m * dim + i) * inv * gamma[i]);
            set(out->data, out->dtype, m * dim + i, silu ? lti_ref_act(LTI_ACT_SILU, v) : v);
        }
    }
}

void lti_ref_sum_rows(lti_dev *d, const lti_tensor *x, const lti_tensor *out) {
    (void)d;
    float *sum = out->data;
    for (int64_t i = 0; i < x->n[1]; i++) {
        double acc = 0;
        for (int64_t m = 0; m < x->n[0]; m++) acc += get(x->data, x->dtype, m * x->n[1] + i);
        sum[i] = (float)acc;
    }
}

void lti_ref_token_scores(lti_dev *d, const lti_tensor *q, const lti_tensor *k, float scale,
                          const lti_tensor *out) {
    (void)d;
    const float *query = q->data;
    float *score = out->data;
    for (int64_t n = 0; n < k->n[0]; n++) {
        double dot = 0;
        for (int64_t i = 0; i < k->n[1]; i++)
            dot += (double)query[i] * get(k->data, k->dtype, n * k->n[1] + i);
        score[n] = (float)(scale * dot);
    }
}

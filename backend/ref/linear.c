/* SPDX-License-Identifier: Apache-2.0
 * backend/ref/linear.c - out[m,n] = act(sum_k x[m,k] w[n,k] + b[n]), and the packing of weights.
 *
 * Compute BF16 means: x and w are rounded to bf16, products and sums stay f32 (double here); the
 * bias and the activation are f32. The loops are tiled only because an op may not allocate: a strip
 * of x is converted on the stack and used against a strip of rows of w. */
#include "backend/ref/ref.h"
#include "base/error.h"
#include <stdlib.h>

enum { K_TILE = 1024, N_TILE = 64, M_TILE = 4, LANES = 16 };

static double dot(const float *a, const float *b, int64_t n) {
    float lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] += a[i + j] * b[i + j];
    double s = 0.0;
    for (; i < n; i++) s += (double)a[i] * b[i];
    for (int j = 0; j < LANES; j++) s += lane[j];
    return s;
}

void lti_ref_dots(double *acc, int64_t n, const float *x, const float *w, int64_t ldw, int64_t k) {
    for (int64_t j = 0; j < n; j++) acc[j] += dot(x, w + j * ldw, k);
}

lti_packed *lti_ref_packed_new(int64_t n, int64_t n_bias, lt_error *err) {
    lti_packed *p = calloc(1, sizeof *p);
    lti_ref_weight *r = calloc(1, sizeof *r);
    size_t bytes = (size_t)(n + n_bias) * sizeof(float);
    float *data = malloc(bytes ? bytes : 1);
    if (!p || !r || !data) {
        free(p);
        free(r);
        free(data);
        lti_oom(err, bytes);
        return NULL;
    }
    r->w = data;
    r->b = n_bias ? data + n : NULL;
    p->has_bias = n_bias != 0;
    p->bytes = bytes + sizeof *p + sizeof *r;
    p->impl = r;
    return p;
}

lti_packed *lti_ref_pack_linear(lti_dev *d, const lti_tensor *w, const lti_tensor *b,
                                lti_dtype compute, lt_error *err) {
    (void)d;
    int64_t n = lti_numel(w);
    lti_packed *p = lti_ref_packed_new(n, b ? w->n[0] : 0, err);
    if (!p) return NULL;
    p->kind = 0;
    p->dtype = compute;
    p->n[0] = w->n[0];
    p->n[1] = w->n[1];
    lti_ref_weight *r = p->impl;
    lti_to_f32(w, r->w);
    if (compute == LTI_BF16)
        for (int64_t i = 0; i < n; i++) r->w[i] = round_bf16(r->w[i]);
    if (b) lti_to_f32(b, r->b);
    return p;
}

void lti_ref_linear(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                    const lti_tensor *out) {
    (void)d;
    const lti_ref_weight *r = w->impl;
    const int64_t n_out = w->n[0], n_in = w->n[1], n_row = n_in ? lti_numel(x) / n_in : 0;
    float strip[M_TILE][K_TILE];
    double acc[M_TILE][N_TILE];
    for (int64_t m0 = 0; m0 < n_row; m0 += M_TILE) {
        const int64_t mb = n_row - m0 < M_TILE ? n_row - m0 : M_TILE;
        for (int64_t n0 = 0; n0 < n_out; n0 += N_TILE) {
            const int64_t nb = n_out - n0 < N_TILE ? n_out - n0 : N_TILE;
            for (int64_t m = 0; m < mb; m++)
                for (int64_t n = 0; n < nb; n++) acc[m][n] = r->b ? r->b[n0 + n] : 0.0;
            for (int64_t k0 = 0; k0 < n_in; k0 += K_TILE) {
                const int64_t kb = n_in - k0 < K_TILE ? n_in - k0 : K_TILE;
                for (int64_t m = 0; m < mb; m++) {
                    load_row(x, (m0 + m) * n_in + k0, kb, w->dtype, strip[m]);
                    lti_ref_dots(acc[m], nb, strip[m], r->w + n0 * n_in + k0, n_in, kb);
                }
            }
            for (int64_t m = 0; m < mb; m++)
                for (int64_t n = 0; n < nb; n++)
                    set(out->data, out->dtype, (m0 + m) * n_out + n0 + n,
                        lti_ref_act(act, (float)acc[m][n]));
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0
 * backend/ops.c - the lti_* wrappers: the only way models call ops.
 *
 * Each wrapper asserts shapes and dtypes (a wrong one is a bug of ours), does nothing while the
 * device measures (except the prepare_* calls), returns early when there is nothing to compute, so
 * that no backend sees an empty output, and counts the op. */
#include "backend/backend.h"
#include "base/error.h"

static bool is_act_dtype(lti_dtype t) { return t == LTI_F32 || t == LTI_BF16; }

/* Activation tensors with the same number of elements; shapes may be regrouped. */
static void check_same(const lti_tensor *x, const lti_tensor *out) {
    LT_ASSERT(is_act_dtype(x->dtype) && is_act_dtype(out->dtype));
    LT_ASSERT(lti_numel(x) == lti_numel(out));
}

static int64_t last(const lti_tensor *t) { return t->n[t->rank - 1]; }

static bool muted(const lti_dev *d) { return d->measuring || d->counting; }

/* Shall the op run? Counts it if so. */
static bool issue(lti_dev *d, const lti_tensor *out) {
    if (muted(d) || lti_numel(out) == 0) return false;
    d->n_calls++;
    return true;
}

void lti_put(lti_dev *d, void *dst, const void *host, size_t bytes) {
    if (!muted(d) && bytes) d->ops.put(d, dst, host, bytes);
}

void lti_get(lti_dev *d, void *host, const void *src, size_t bytes) {
    if (!muted(d) && bytes) d->ops.get(d, host, src, bytes);
}

void lti_copy(lti_dev *d, void *dst, const void *src, size_t bytes) {
    if (!muted(d) && bytes) d->ops.copy(d, dst, src, bytes);
}

void lti_zero(lti_dev *d, void *dst, size_t bytes) {
    if (!muted(d) && bytes) d->ops.zero(d, dst, bytes);
}

void lti_linear(lti_dev *d, lti_tensor x, const lti_packed *w, lti_act act, lti_tensor out) {
    LT_ASSERT(w && w->kind == 0 && is_act_dtype(x.dtype) && is_act_dtype(out.dtype));
    LT_ASSERT(x.rank >= 1 && out.rank >= 1 && w->n[1] > 0);
    const int64_t n_row = lti_numel(&x) / w->n[1];
    LT_ASSERT(lti_numel(&x) == n_row * w->n[1] && lti_numel(&out) == n_row * w->n[0]);
    if (d->measuring && d->ops.prepare_linear && n_row) d->ops.prepare_linear(d, &x, w, act, &out);
    if (issue(d, &out)) d->ops.linear(d, &x, w, act, &out);
}

void lti_conv_run(lti_dev *d, const lti_conv *c) {
    LT_ASSERT(c->w && c->w->kind == 1 && c->x.rank == 4 && c->out.rank == 4);
    LT_ASSERT(is_act_dtype(c->x.dtype) && is_act_dtype(c->out.dtype));
    LT_ASSERT(c->stride[0] > 0 && c->stride[1] > 0 && c->stride[2] > 0);
    LT_ASSERT(c->pad_top >= 0 && c->pad_bottom >= 0 && c->pad_left >= 0 && c->pad_right >= 0);
    LT_ASSERT(c->x.n[3] == c->w->n[1] && c->out.n[3] == c->w->n[0]);
    LT_ASSERT(c->act == LTI_ACT_NONE || c->act == LTI_ACT_RELU);
    const int64_t t = c->x.n[0] - c->w->n[2];
    const int64_t h = c->x.n[1] + c->pad_top + c->pad_bottom - c->w->n[3];
    const int64_t w = c->x.n[2] + c->pad_left + c->pad_right - c->w->n[4];
    LT_ASSERT(t >= 0 && h >= 0 && w >= 0);
    LT_ASSERT(c->out.n[0] == t / c->stride[0] + 1 && c->out.n[1] == h / c->stride[1] + 1 &&
              c->out.n[2] == w / c->stride[2] + 1);
    if (d->measuring && d->ops.prepare_conv) d->ops.prepare_conv(d, c);
    if (issue(d, &c->out)) d->ops.conv(d, c);
}

void lti_attention(lti_dev *d, const lti_attn *a) {
    LT_ASSERT(a->q.rank == 3 && a->out.rank == 3 && a->q.n[2] > 0);
    check_same(&a->q, &a->out);
    for (int i = 0; i < 3; i++) LT_ASSERT(a->q.n[i] == a->out.n[i]);
    LT_ASSERT(a->n_span >= 0 && a->n_span <= LTI_MAX_SPANS);
    for (int i = 0; i < a->n_span; i++) {
        const lti_span *s = &a->span[i];
        LT_ASSERT(s->n >= 0 && is_act_dtype(s->dtype));
        LT_ASSERT(s->n == 0 || (s->k && s->v && s->stride >= a->q.n[1] * a->q.n[2]));
    }
    if (d->measuring && d->ops.prepare_attention && lti_numel(&a->q))
        d->ops.prepare_attention(d, a);
    if (issue(d, &a->out)) d->ops.attention(d, a);
}

void lti_norm_mod(lti_dev *d, lti_tensor x, const float *shift, const float *scale,
                  int64_t mod_stride, int64_t rows, float eps, lti_tensor out) {
    check_same(&x, &out);
    LT_ASSERT(x.dtype == LTI_F32 && x.rank >= 1 && rows > 0 && shift && scale);
    if (issue(d, &out)) d->ops.norm_mod(d, &x, shift, scale, mod_stride, rows, eps, &out);
}

void lti_layer_norm(lti_dev *d, lti_tensor x, const float *w, const float *b, float eps,
                    lti_tensor out) {
    check_same(&x, &out);
    LT_ASSERT(x.dtype == LTI_F32 && x.rank >= 1 && w && b);
    if (issue(d, &out)) d->ops.layer_norm(d, &x, w, b, eps, &out);
}

void lti_rms_norm(lti_dev *d, lti_tensor x, const float *w, float eps, lti_tensor out) {
    check_same(&x, &out);
    LT_ASSERT(x.rank >= 1 && w && (x.data != out.data || x.dtype == out.dtype));
    if (issue(d, &out)) d->ops.rms_norm(d, &x, w, eps, &out);
}

void lti_chan_norm(lti_dev *d, lti_tensor x, const float *gamma, bool silu, lti_tensor out) {
    check_same(&x, &out);
    LT_ASSERT(x.rank >= 1 && gamma);
    if (issue(d, &out)) d->ops.chan_norm(d, &x, gamma, silu, &out);
}

void lti_rope(lti_dev *d, lti_tensor x, int64_t x_stride, const float *table, lti_tensor out) {
    check_same(&x, &out);
    LT_ASSERT(x.rank == 3 && out.rank == 3 && table && x.n[2] % 2 == 0);
    LT_ASSERT(x.n[0] <= 1 || x_stride >= x.n[1] * x.n[2]);
    LT_ASSERT(x.data != out.data || (x.dtype == out.dtype && x_stride == x.n[1] * x.n[2]));
    if (issue(d, &out)) d->ops.rope(d, &x, x_stride, table, &out);
}

void lti_norm_rope(lti_dev *d, lti_tensor x, const float *w, float eps, const float *table,
                   lti_tensor out) {
    check_same(&x, &out);
    LT_ASSERT(x.rank == 2 && out.rank == 3 && w && out.n[2] % 2 == 0);
    LT_ASSERT(x.n[0] == out.n[0] && x.n[1] == out.n[1] * out.n[2]);
    if (issue(d, &out)) d->ops.norm_rope(d, &x, w, eps, table, &out);
}

void lti_gated_add(lti_dev *d, lti_tensor io, lti_tensor y, const float *gate, int64_t mod_stride,
                   int64_t rows) {
    check_same(&io, &y);
    LT_ASSERT(io.dtype == LTI_F32 && io.rank >= 1 && rows > 0);
    if (issue(d, &io)) d->ops.gated_add(d, &io, &y, gate, mod_stride, rows);
}

void lti_unary(lti_dev *d, lti_act act, lti_tensor x, lti_tensor out) {
    check_same(&x, &out);
    if (issue(d, &out)) d->ops.unary(d, act, &x, &out);
}

void lti_add(lti_dev *d, lti_tensor x, lti_tensor y, lti_tensor out) {
    check_same(&x, &out);
    check_same(&y, &out);
    if (issue(d, &out)) d->ops.add(d, &x, &y, &out);
}

void lti_mul(lti_dev *d, lti_tensor x, lti_tensor y, lti_tensor out) {
    check_same(&x, &out);
    check_same(&y, &out);
    if (issue(d, &out)) d->ops.mul(d, &x, &y, &out);
}

void lti_embed_rows(lti_dev *d, lti_tensor table, const int32_t *id, int64_t n, lti_tensor out) {
    LT_ASSERT(table.rank == 2 && lti_dtype_is_float(table.dtype) && out.dtype == LTI_F32);
    LT_ASSERT(n >= 0 && lti_numel(&out) == n * table.n[1]);
    for (int64_t i = 0; i < n; i++) LT_ASSERT(id[i] >= 0 && id[i] < table.n[0]);
    if (issue(d, &out)) d->ops.embed_rows(d, &table, id, n, &out);
}

/* frames [F, C, h, w] against tokens [F*(h/2)*(w/2), 4*C] */
static void check_patches(const lti_tensor *frames, const lti_tensor *tokens) {
    LT_ASSERT(frames->rank == 4 && frames->dtype == LTI_F32 && is_act_dtype(tokens->dtype));
    LT_ASSERT(frames->n[2] % 2 == 0 && frames->n[3] % 2 == 0);
    LT_ASSERT(tokens->rank == 2 && tokens->n[1] == 4 * frames->n[1]);
    LT_ASSERT(tokens->n[0] == frames->n[0] * (frames->n[2] / 2) * (frames->n[3] / 2));
}

void lti_patchify(lti_dev *d, lti_tensor x, lti_tensor out) {
    check_patches(&x, &out);
    if (issue(d, &out)) d->ops.patchify(d, &x, &out);
}

void lti_unpatchify(lti_dev *d, lti_tensor x, lti_tensor out) {
    check_patches(&out, &x);
    if (issue(d, &out)) d->ops.unpatchify(d, &x, &out);
}

void lti_upsample2x(lti_dev *d, lti_tensor x, lti_tensor out) {
    LT_ASSERT(is_act_dtype(x.dtype) && is_act_dtype(out.dtype) && x.rank == 4 && out.rank == 4);
    LT_ASSERT(out.n[0] == x.n[0] && out.n[1] == 2 * x.n[1] && out.n[2] == 2 * x.n[2] &&
              out.n[3] == x.n[3]);
    if (issue(d, &out)) d->ops.upsample2x(d, &x, &out);
}

void lti_time_unfold(lti_dev *d, lti_tensor x, lti_tensor out) {
    check_same(&x, &out);
    LT_ASSERT(x.rank == 4 && out.rank == 4 && out.n[0] == 2 * x.n[0] && out.n[1] == x.n[1] &&
              out.n[2] == x.n[2] && x.n[3] == 2 * out.n[3]);
    if (issue(d, &out)) d->ops.time_unfold(d, &x, &out);
}

void lti_lincomb(lti_dev *d, lti_tensor x, const float *a, lti_tensor y, const float *b,
                 lti_tensor out) {
    check_same(&x, &out);
    check_same(&y, &out);
    LT_ASSERT(x.dtype == LTI_F32 && y.dtype == LTI_F32 && out.dtype == LTI_F32 && a && b);
    LT_ASSERT(x.n[0] == out.n[0] && y.n[0] == out.n[0]);
    if (issue(d, &out)) d->ops.lincomb(d, &x, a, &y, b, &out);
}

void lti_latent_to_map(lti_dev *d, lti_tensor x, const float *mul, const float *add,
                       lti_tensor out) {
    check_same(&x, &out);
    LT_ASSERT(x.rank == 3 && x.dtype == LTI_F32 && last(&out) == x.n[0] && mul && add);
    if (issue(d, &out)) d->ops.latent_to_map(d, &x, mul, add, &out);
}

void lti_randn_op(lti_dev *d, lti_tensor out, uint64_t seed, uint64_t frame, uint32_t step) {
    LT_ASSERT(out.dtype == LTI_F32);
    if (issue(d, &out)) d->ops.randn(d, &out, seed, frame, step);
}

void lti_cast(lti_dev *d, lti_tensor x, lti_tensor out) {
    check_same(&x, &out);
    if (issue(d, &out)) d->ops.cast(d, &x, &out);
}

void lti_to_rgb8(lti_dev *d, lti_tensor x, lti_tensor out) {
    LT_ASSERT(is_act_dtype(x.dtype) && out.dtype == LTI_U8 && lti_numel(&x) == lti_numel(&out));
    if (issue(d, &out)) d->ops.to_rgb8(d, &x, &out);
}

void lti_sum_rows(lti_dev *d, lti_tensor x, lti_tensor out) {
    LT_ASSERT(is_act_dtype(x.dtype) && out.dtype == LTI_F32 && x.rank == 2);
    LT_ASSERT(lti_numel(&out) == x.n[1]);
    if (issue(d, &out)) d->ops.sum_rows(d, &x, &out);
}

void lti_token_scores(lti_dev *d, lti_tensor q, lti_tensor k, float scale, lti_tensor out) {
    LT_ASSERT(q.dtype == LTI_F32 && out.dtype == LTI_F32 && is_act_dtype(k.dtype) && k.rank == 2);
    LT_ASSERT(lti_numel(&q) == k.n[1] && lti_numel(&out) == k.n[0]);
    if (issue(d, &out)) d->ops.token_scores(d, &q, &k, scale, &out);
}

/* A weight's dtype comes from a file: not being a float is bad input, not a bug. */
static bool check_weight(const lti_tensor *w, const lti_tensor *b, lti_dtype compute, int rank,
                         lt_error *err) {
    LT_ASSERT(is_act_dtype(compute) || (compute == LTI_F8_E4M3 && rank == 2));
    LT_ASSERT(w->rank == rank && (!b || lti_numel(b) == w->n[0]));
    const lti_tensor *bad = !lti_dtype_is_float(w->dtype)        ? w
                            : b && !lti_dtype_is_float(b->dtype) ? b
                                                                 : NULL;
    if (!bad) return true;
    lti_fail(err, LT_EUNSUPPORTED,
             "a %s is stored as %s, expected a float type (F32, BF16, F16 ...)",
             bad == w ? "weight" : "bias", lti_dtype_name(bad->dtype));
    return false;
}

lti_packed *lti_pack_linear(lti_dev *d, const lti_tensor *w, const lti_tensor *b, lti_dtype compute,
                            lt_error *err) {
    if (compute == LTI_F8_E4M3 && !d->fp8) compute = LTI_BF16; /* also where linear is ref's */
    return check_weight(w, b, compute, 2, err) ? d->ops.pack_linear(d, w, b, compute, err) : NULL;
}

lti_packed *lti_pack_conv(lti_dev *d, const lti_tensor *w, const lti_tensor *b, lti_dtype compute,
                          lt_error *err) {
    return check_weight(w, b, compute, 5, err) ? d->ops.pack_conv(d, w, b, compute, err) : NULL;
}

void lti_pack_free(lti_dev *d, lti_packed **p) {
    if (!*p) return;
    /* `disable` may take one kind of weight from ref and leave the other with the backend. */
    const bool of_ref = (*p)->kind == 0 ? d->ops.pack_linear == lti_ops_ref.pack_linear
                                        : d->ops.pack_conv == lti_ops_ref.pack_conv;
    (of_ref ? lti_ops_ref.pack_free : d->ops.pack_free)(d, *p);
    *p = NULL;
}

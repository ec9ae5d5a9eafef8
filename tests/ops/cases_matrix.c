/* SPDX-License-Identifier: Apache-2.0
 * tests/ops/cases_matrix.c - linear, conv, attention. */
#include "base/error.h"
#include "checkops.h"
#include <math.h>
#include <stdio.h>

/* -- linear ---------------------------------------------------------------------------------- */

typedef struct linear_shape {
    int64_t m, k, n;
    lti_dtype x, w, compute, out;
    bool bias;
    lti_act act;
} linear_shape;

static void call_linear(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    lti_linear(d, ck_on(k, p, 0), w, (lti_act)k->n[0], ck_on(k, p, 1));
}

static void make_linear(ck_rng *r, const linear_shape *s, float scale, ck_case *k) {
    const int x = CK_BUF(k, CK_IN, s->x, s->m, s->k);
    const int out = CK_BUF(k, CK_OUT, s->out, s->m, s->n);
    k->weight = CK_BUF(k, CK_HOST, s->w, s->n, s->k);
    ck_fill(k, x, r, scale, 0.1f * scale);
    ck_fill(k, k->weight, r, 1.0f / sqrtf((float)s->k), 0.0f);
    if (s->bias) {
        k->bias = CK_BUF(k, CK_HOST, LTI_F32, s->n);
        ck_fill(k, k->bias, r, scale, 0.0f);
    }
    k->buf[out].bound =
        s->compute == LTI_BF16 ? CK_BF16_MATRIX : ck_bound(1e-12, CK_BF16_ROW, s->out);
    k->compute = s->compute;
    k->n[0] = s->act;
    k->call = call_linear;
    k->flops = 2.0 * (double)s->m * (double)s->k * (double)s->n;
    k->bytes = (double)(s->m * s->k + s->n * s->k + s->m * s->n) * (s->compute == LTI_F32 ? 4 : 2);
    static const char *const act[] = {"none", "silu", "gelu", "relu"};
    snprintf(k->desc, sizeof k->desc, "%lldx%lld->%lld %s w=%s compute=%s out=%s%s act=%s",
             (long long)s->m, (long long)s->k, (long long)s->n, ck_dt(s->x), lti_dtype_name(s->w),
             ck_dt(s->compute), ck_dt(s->out), s->bias ? " bias" : "", act[s->act]);
}

static const linear_shape linear_edge[] = {
    {1, 1, 1, LTI_F32, LTI_F32, LTI_F32, LTI_F32, false, LTI_ACT_NONE},
    {1, 17, 5, LTI_F32, LTI_F32, LTI_F32, LTI_F32, true, LTI_ACT_SILU},
    {1, 256, 384, LTI_F32, LTI_BF16, LTI_BF16, LTI_F32, true, LTI_ACT_SILU},
    {5, 1, 7, LTI_BF16, LTI_F16, LTI_BF16, LTI_BF16, true, LTI_ACT_NONE},
    {7, 33, 1, LTI_F32, LTI_F32, LTI_BF16, LTI_BF16, false, LTI_ACT_NONE},
    {64, 64, 64, LTI_F32, LTI_F32, LTI_F32, LTI_F32, true, LTI_ACT_GELU_TANH},
    {65, 127, 129, LTI_BF16, LTI_BF16, LTI_BF16, LTI_F32, true, LTI_ACT_GELU_TANH},
    {130, 320, 66, LTI_F32, LTI_F32, LTI_F32, LTI_BF16, true, LTI_ACT_NONE},
    {33, 1100, 70, LTI_BF16, LTI_BF16, LTI_F32, LTI_F32, false, LTI_ACT_SILU},
    {240, 384, 1152, LTI_BF16, LTI_BF16, LTI_BF16, LTI_BF16, true, LTI_ACT_NONE},
};

static void linear_case(ck_rng *r, int i, ck_case *k) {
    if (i < (int)(sizeof linear_edge / sizeof *linear_edge)) {
        make_linear(r, &linear_edge[i], 1.0f, k);
        return;
    }
    static const lti_dtype stored[] = {LTI_F32, LTI_BF16, LTI_F16};
    linear_shape s = {.m = ck_range(r, 1, 90),
                      .k = ck_range(r, 1, 300),
                      .n = ck_range(r, 1, 200),
                      .x = ck_act_dtype(r),
                      .w = stored[ck_range(r, 0, 2)],
                      .compute = ck_act_dtype(r),
                      .out = ck_act_dtype(r),
                      .bias = ck_coin(r),
                      .act = (lti_act)ck_range(r, 0, 3)};
    make_linear(r, &s, ck_coin(r) ? 1.0f : 100.0f, k);
}

static void linear_bench(ck_rng *r, int i, ck_case *k) {
    static const linear_shape big[] = {
        /* Wan 1.3B: one frame and one chunk of 480x832, then the model in the box */
        {1560, 1536, 1536, LTI_BF16, LTI_BF16, LTI_BF16, LTI_BF16, true, LTI_ACT_NONE},
        {1560, 1536, 8960, LTI_BF16, LTI_BF16, LTI_BF16, LTI_BF16, true, LTI_ACT_GELU_TANH},
        {1560, 8960, 1536, LTI_BF16, LTI_BF16, LTI_BF16, LTI_BF16, true, LTI_ACT_NONE},
        {1560, 1536, 1536, LTI_F32, LTI_F32, LTI_F32, LTI_F32, true, LTI_ACT_NONE},
        {180, 384, 384, LTI_BF16, LTI_BF16, LTI_BF16, LTI_BF16, true, LTI_ACT_NONE},
        {180, 384, 1536, LTI_BF16, LTI_BF16, LTI_BF16, LTI_BF16, true, LTI_ACT_GELU_TANH},
    };
    make_linear(r, &big[i], 1.0f, k);
}

/* -- conv ------------------------------------------------------------------------------------ */

typedef struct conv_shape {
    int64_t t, h, w, ci, co, kt, kh, kw;
    int st, sh, sw, top, bottom, left, right;
    bool bias;
    int add; /* ADD, RELU */
    lti_dtype x, compute, out;
} conv_shape;

enum { ADD = 1, RELU = 2 };

static void call_conv(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    const lti_conv c = {.x = ck_on(k, p, 0),
                        .w = w,
                        .stride = {(int)k->n[0], (int)k->n[1], (int)k->n[2]},
                        .pad_top = (int)k->n[3],
                        .pad_bottom = (int)k->n[4],
                        .pad_left = (int)k->n[5],
                        .pad_right = (int)k->n[6],
                        .add = (k->n[7] & ADD) != 0,
                        .act = k->n[7] & RELU ? LTI_ACT_RELU : LTI_ACT_NONE,
                        .out = ck_on(k, p, 1)};
    lti_conv_run(d, &c);
}

static void make_conv(ck_rng *r, const conv_shape *s, ck_case *k) {
    const int64_t to = (s->t - s->kt) / s->st + 1;
    const int64_t ho = (s->h + s->top + s->bottom - s->kh) / s->sh + 1;
    const int64_t wo = (s->w + s->left + s->right - s->kw) / s->sw + 1;
    const int x = CK_BUF(k, CK_IN, s->x, s->t, s->h, s->w, s->ci);
    const int out = CK_BUF(k, s->add & ADD ? CK_INOUT : CK_OUT, s->out, to, ho, wo, s->co);
    k->weight = CK_BUF(k, CK_HOST, LTI_F32, s->co, s->ci, s->kt, s->kh, s->kw);
    ck_fill(k, x, r, 1.0f, 0.2f);
    ck_fill(k, k->weight, r, 1.0f / sqrtf((float)(s->ci * s->kt * s->kh * s->kw)), 0.0f);
    if (s->add & ADD) ck_fill(k, out, r, 1.0f, 0.0f);
    if (s->bias) {
        k->bias = CK_BUF(k, CK_HOST, LTI_F32, s->co);
        ck_fill(k, k->bias, r, 1.0f, 0.0f);
    }
    k->buf[out].bound =
        s->compute == LTI_BF16 ? CK_BF16_MATRIX : ck_bound(1e-12, CK_BF16_ROW, s->out);
    k->compute = s->compute;
    const int64_t n[] = {s->st, s->sh, s->sw, s->top, s->bottom, s->left, s->right, s->add};
    memcpy(k->n, n, sizeof n);
    k->call = call_conv;
    k->flops = 2.0 * (double)(to * ho * wo * s->co) * (double)(s->ci * s->kt * s->kh * s->kw);
    k->bytes = (double)(lti_nbytes(&k->buf[x].t) + lti_nbytes(&k->buf[out].t));
    snprintf(k->desc, sizeof k->desc,
             "%lldx%lldx%lldx%lld->%lld k%lld%lld%lld s%d%d%d p%d%d%d%d %s compute=%s out=%s%s%s%s",
             (long long)s->t, (long long)s->h, (long long)s->w, (long long)s->ci, (long long)s->co,
             (long long)s->kt, (long long)s->kh, (long long)s->kw, s->st, s->sh, s->sw, s->top,
             s->bottom, s->left, s->right, ck_dt(s->x), ck_dt(s->compute), ck_dt(s->out),
             s->bias ? " bias" : "", s->add & ADD ? " add" : "", s->add & RELU ? " relu" : "");
}

#define F LTI_F32
#define B LTI_BF16
static const conv_shape conv_edge[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, false, false, F, F, F},
    {3, 1, 1, 3, 2, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, false, F, F, F},
    {3, 6, 10, 16, 48, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, false, F, F, F}, /* causal 3x3x3 */
    {4, 6, 10, 16, 48, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, true, B, B, B},  /* residual */
    {2, 5, 7, 12, 24, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, true, false, F, B, F},  /* shortcut */
    {5, 4, 6, 24, 48, 3, 1, 1, 1, 1, 1, 0, 0, 0, 0, true, false, B, B, F},  /* time conv */
    {6, 4, 6, 8, 8, 3, 1, 1, 2, 1, 1, 0, 0, 0, 0, true, false, F, F, F},    /* time down */
    {2, 7, 9, 8, 12, 1, 3, 3, 1, 2, 2, 0, 1, 0, 1, true, false, F, F, F},   /* space down */
    {2, 8, 8, 8, 12, 1, 3, 3, 1, 2, 2, 0, 1, 0, 1, true, false, B, B, B},
    {1, 9, 5, 24, 3, 3, 3, 3, 1, 1, 1, 2, 0, 1, 3, false, false, F, F, F},  /* asymmetric */
    {3, 12, 20, 24, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, false, B, B, F}, /* head */
    {1, 8, 8, 48, 24, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, true, F, F, F},   /* after upsample */
    {3, 6, 10, 16, 16, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, RELU, B, B, B},  /* memory block */
    {2, 6, 10, 16, 16, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, ADD | RELU, B, B, B},
    {2, 6, 10, 16, 16, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, ADD | RELU, B, F, B}, /* added after */
};

static void conv_case(ck_rng *r, int i, ck_case *k) {
    if (i < (int)(sizeof conv_edge / sizeof *conv_edge)) {
        conv_shape s = conv_edge[i];
        if (s.t < s.kt) s.t = s.kt;
        make_conv(r, &s, k);
        return;
    }
    conv_shape s = {.ci = ck_range(r, 1, 40),
                    .co = ck_range(r, 1, 40),
                    .kt = ck_range(r, 1, 3),
                    .kh = ck_coin(r) ? 3 : 1,
                    .st = ck_coin(r) ? 2 : 1,
                    .sh = ck_coin(r) ? 2 : 1,
                    .bias = ck_coin(r),
                    .add = (int)ck_range(r, 0, 3),
                    .x = ck_act_dtype(r),
                    .compute = ck_act_dtype(r),
                    .out = ck_act_dtype(r)};
    s.kw = ck_coin(r) ? s.kh : 3;
    s.sw = s.sh;
    s.t = s.kt + ck_range(r, 0, 3);
    s.h = s.kh + ck_range(r, 0, 9);
    s.w = s.kw + ck_range(r, 0, 9);
    s.top = (int)ck_range(r, 0, s.kh - 1);
    s.bottom = (int)ck_range(r, 0, s.kh - 1);
    s.left = (int)ck_range(r, 0, s.kw - 1);
    s.right = (int)ck_range(r, 0, s.kw - 1);
    make_conv(r, &s, k);
}

static void conv_bench(ck_rng *r, int i, ck_case *k) {
    static const conv_shape big[] = {
        {6, 12, 20, 96, 96, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, false, B, B, B},
        {6, 48, 80, 48, 48, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, false, B, B, B},
        {6, 96, 160, 24, 24, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, true, B, B, B},
        {6, 96, 160, 24, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, false, B, B, F},
        {3, 60, 104, 384, 384, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, false, B, B, B}, /* Wan */
        {6, 48, 80, 48, 48, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, true, false, F, F, F},
    };
    make_conv(r, &big[i], k);
}

/* -- attention ------------------------------------------------------------------------------- */

typedef struct attn_shape {
    int64_t m, heads, hd;
    int n_span;
    int64_t span[4], extra[4]; /* rows, and stride beyond heads*hd */
    lti_dtype q, kv[4], out;
    bool sink, bias, lse;
    float magnitude; /* of q: scores get this standard deviation */
} attn_shape;

enum { A_SINK, A_BIAS, A_LSE, A_N_SPAN, A_SPAN }; /* k->n: buffer + 1 or 0; spans: n, stride */

static void call_attention(const ck_case *k, lti_dev *d, void *const *p, const lti_packed *w) {
    (void)w;
    lti_attn a = {.q = ck_on(k, p, 0),
                  .out = ck_on(k, p, 1),
                  .scale = k->f[0],
                  .n_span = (int)k->n[A_N_SPAN]};
    for (int i = 0; i < a.n_span; i++) {
        const int kb = 2 + 2 * i;
        a.span[i] = (lti_span){.k = p[kb],
                               .v = p[kb + 1],
                               .n = k->n[A_SPAN + 2 * i],
                               .stride = k->n[A_SPAN + 2 * i + 1],
                               .dtype = k->buf[kb].t.dtype};
    }
    if (k->n[A_SINK]) a.sink_logit = p[k->n[A_SINK] - 1];
    if (k->n[A_BIAS]) a.bias = p[k->n[A_BIAS] - 1];
    if (k->n[A_LSE]) a.lse = p[k->n[A_LSE] - 1];
    lti_attention(d, &a);
}

static int64_t add_spans(ck_rng *r, const attn_shape *s, ck_case *k) {
    const int64_t width = s->heads * s->hd;
    int64_t total = 0;
    k->n[A_N_SPAN] = s->n_span;
    for (int i = 0; i < s->n_span; i++) {
        const int64_t stride = width + s->extra[i];
        /* The last row ends where its data ends: reading a whole stride would leave the buffer. */
        const int64_t numel = s->span[i] ? (s->span[i] - 1) * stride + width : 0;
        const int kb = CK_BUF(k, CK_IN, s->kv[i], numel), vb = CK_BUF(k, CK_IN, s->kv[i], numel);
        ck_fill(k, kb, r, 1.0f, 0.0f);
        ck_fill(k, vb, r, 1.0f, 0.5f);
        k->n[A_SPAN + 2 * i] = s->span[i];
        k->n[A_SPAN + 2 * i + 1] = stride;
        total += s->span[i];
    }
    return total;
}

static void make_attention(ck_rng *r, const attn_shape *s, ck_case *k) {
    const int q = CK_BUF(k, CK_IN, s->q, s->m, s->heads, s->hd);
    const int out = CK_BUF(k, CK_OUT, s->out, s->m, s->heads, s->hd);
    ck_fill(k, q, r, s->magnitude, 0.0f);
    const int64_t total = add_spans(r, s, k);
    bool bf16 = s->q == LTI_BF16;
    for (int i = 0; i < s->n_span; i++) bf16 = bf16 || s->kv[i] == LTI_BF16;
    k->buf[out].bound = bf16 ? CK_BF16_MATRIX : ck_bound(1e-10, CK_BF16_ROW, s->out);
    if (s->sink) {
        const int b = CK_BUF(k, CK_IN, LTI_F32, s->heads);
        ck_fill(k, b, r, 2.0f, 1.0f);
        k->n[A_SINK] = b + 1;
    }
    if (s->bias) {
        const int b = CK_BUF(k, CK_IN, LTI_F32, s->heads, s->m, total);
        ck_fill(k, b, r, 1.0f, 0.0f);
        k->n[A_BIAS] = b + 1;
    }
    if (s->lse) {
        const int b = CK_BUF(k, CK_OUT, LTI_F32, s->heads, s->m);
        k->buf[b].bound = bf16 ? 1e-6 : 1e-11;
        k->buf[b].abs = bf16 ? 1e-4 : 1e-6;
        k->n[A_LSE] = b + 1;
    }
    k->f[0] = 1.0f / sqrtf((float)s->hd);
    k->call = call_attention;
    k->flops = 4.0 * (double)s->m * (double)s->heads * (double)s->hd * (double)total;
    k->bytes = (double)(lti_nbytes(&k->buf[q].t) + lti_nbytes(&k->buf[out].t)) +
               2.0 * (double)(total * s->heads * s->hd) * (bf16 ? 2 : 4);
    int at =
        snprintf(k->desc, sizeof k->desc, "M%lld H%lld hd%lld q=%s out=%s spans", (long long)s->m,
                 (long long)s->heads, (long long)s->hd, ck_dt(s->q), ck_dt(s->out));
    for (int i = 0; i < s->n_span; i++)
        at += snprintf(k->desc + at, sizeof k->desc - (size_t)at, " %lld%s%s",
                       (long long)s->span[i], ck_dt(s->kv[i]), s->extra[i] ? "+" : "");
    snprintf(k->desc + at, sizeof k->desc - (size_t)at, "%s%s%s x%g", s->sink ? " sink" : "",
             s->bias ? " bias" : "", s->lse ? " lse" : "", (double)s->magnitude);
}

static const attn_shape attn_edge[] = {
    {1, 1, 20, 1, {1}, {0}, F, {F}, F, false, false, true, 1},
    {1, 1, 2, 1, {3}, {0}, F, {F}, F, true, false, true, 1},
    {5, 3, 64, 0, {0}, {0}, F, {F}, F, true, false, true, 1},        /* no key at all */
    {5, 3, 64, 2, {0, 0}, {0}, B, {B, B}, B, false, false, true, 1}, /* empty spans */
    {17, 2, 64, 3, {4, 0, 33}, {0}, B, {B, B, B}, B, true, false, true, 1},
    {60, 6, 64, 4, {8, 60, 180, 60}, {0}, B, {B, B, B, B}, B, false, false, false, 1},
    {60, 6, 64, 4, {8, 60, 180, 60}, {0}, F, {F, F, F, F}, F, true, false, true, 1},
    {33, 3, 128, 2, {70, 65}, {5, 128}, F, {F, F}, F, false, false, true, 1}, /* strides */
    {33, 3, 128, 2, {70, 65}, {8, 128}, B, {B, B}, F, true, false, true, 1},
    {49, 4, 32, 1, {49}, {0}, F, {F}, F, false, true, false, 1}, /* UMT5: bias */
    {49, 4, 32, 1, {49}, {64}, B, {B}, B, false, true, true, 1},
    {19, 5, 36, 2, {21, 50}, {0}, B, {B, B}, B, false, false, true, 1},
    {120, 1, 96, 1, {120}, {192}, F, {F}, F, false, false, false, 1}, /* VAE: one head of C */
    {40, 1, 384, 1, {40}, {768}, B, {B}, B, false, false, false, 1},
    {9, 2, 64, 1, {700}, {0}, F, {F}, F, true, false, true, 40}, /* a softmax of one key */
    {9, 2, 64, 1, {700}, {0}, B, {B}, B, true, false, true, 40},
    {31, 2, 48, 2, {64, 257}, {0}, F, {B, B}, F, false, false, true, 1},
};

static void attention_case(ck_rng *r, int i, ck_case *k) {
    if (i < (int)(sizeof attn_edge / sizeof *attn_edge)) {
        make_attention(r, &attn_edge[i], k);
        return;
    }
    static const int64_t dims[] = {20, 22, 32, 40, 48, 64, 80, 96, 112, 128};
    const lti_dtype dt = ck_act_dtype(r);
    attn_shape s = {.m = ck_range(r, 1, 100),
                    .heads = ck_range(r, 1, 5),
                    .hd = dims[ck_range(r, 0, 9)],
                    .n_span = (int)ck_range(r, 1, 4),
                    .q = dt,
                    .out = ck_act_dtype(r),
                    .sink = ck_coin(r),
                    .bias = ck_range(r, 0, 3) == 0,
                    .lse = ck_coin(r),
                    .magnitude = ck_coin(r) ? 1.0f : 5.0f};
    for (int j = 0; j < s.n_span; j++) {
        s.span[j] = ck_range(r, 0, ck_coin(r) ? 12 : 150);
        s.extra[j] = ck_coin(r) ? 0 : ck_range(r, 1, 70);
        s.kv[j] = dt;
    }
    make_attention(r, &s, k);
}

static void attention_bench(ck_rng *r, int i, ck_case *k) {
    static const attn_shape big[] = {
        {1560, 12, 128, 3, {1560, 4680, 1560}, {0}, B, {B, B, B}, B, false, false, false, 1},
        {4680, 12, 128, 2, {14040, 4680}, {0}, B, {B, B}, B, false, false, false, 1},
        {1560, 12, 128, 1, {512}, {0}, B, {B}, B, false, false, false, 1}, /* text */
        {180, 6, 64, 4, {16, 180, 540, 180}, {0}, B, {B, B, B, B}, B, true, false, false, 1},
        {1560, 12, 128, 1, {1560}, {0}, F, {F}, F, false, false, false, 1},
    };
    make_attention(r, &big[i], k);
}

#undef F
#undef B
#define N_OF(a) (int)(sizeof(a) / sizeof *(a))
const ck_op ck_matrix_ops[] = {
    {"linear", N_OF(linear_edge), linear_case, 6, linear_bench},
    {"conv", N_OF(conv_edge), conv_case, 6, conv_bench},
    {"attention", N_OF(attn_edge), attention_case, 5, attention_bench},
    {NULL, 0, NULL, 0, NULL},
};

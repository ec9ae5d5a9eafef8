/* SPDX-License-Identifier: Apache-2.0
 * The frame cache as the published systems use it: what is visible and where it stands (numbers
 * from their code), the running mean of Reward Forcing, and Deep Forcing's compression, in the form
 * that no published code has, against a naive one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "cache/kv.h"
#include "scheduler/schedule.h"

enum { LAYERS = 2, H = 2, HD = 12, D = H * HD, GH = 2, GW = 2, TOK = GH * GW, FRAME = TOK * D };
enum { MAX_N = 15, MAX_KEYS = 24 * TOK };

static lti_dev *dev;

static lti_kv_config config(lti_policy policy, int chunk, int sink, int window) {
    return (lti_kv_config){.n_layer = LAYERS,
                           .n_head = H,
                           .head_dim = HD,
                           .grid_h = GH,
                           .grid_w = GW,
                           .chunk = chunk,
                           .sink = sink,
                           .window = window,
                           .in_flight = chunk,
                           .policy = policy,
                           .ema = 0.9f,
                           .dtype = LTI_F32};
}

static lti_kv *open_kv(const lti_kv_config *c) {
    lti_kv *kv;
    lt_error err = {0};
    if (lti_kv_open(dev, c, &kv, &err) != LT_OK) fail_msg("%s", err.msg);
    return kv;
}

/* Keys (what 0), values (1), queries (2) of a frame; kind tells passes of one frame apart. */
static void frame_data(int64_t frame, int layer, int what, int kind, float *out) {
    lti_randn(out, FRAME, 7, (uint64_t)frame, (uint32_t)((kind * LAYERS + layer) * 3 + what));
}

/* ---- geometry ------------------------------------------------------------------------------- */

static lti_kv_view look(lti_kv *kv, int n, int commit) {
    lti_kv_begin(kv, dev, lti_kv_frames(kv), n, commit);
    lti_kv_view v = lti_kv_get_view(kv);
    lti_kv_commit(kv, commit);
    return v;
}

static void assert_view(lti_kv_view v, int anchors, int64_t anchor_pos, int window, int64_t query) {
    assert_int_equal(v.n_anchor, anchors);
    assert_int_equal(v.n_window, window);
    assert_int_equal(v.query_pos, query);
    if (anchors) assert_int_equal(v.anchor_pos, anchor_pos);
}

/* Self Forcing: 21 frames, then the oldest go. LongLive: at frame 12 the window is 6..11. */
static void test_self_forcing_and_longlive(void **state) {
    (void)state;
    lti_kv_config c = config(LTI_POLICY_NONE, 3, 0, 18);
    lti_kv *kv = open_kv(&c);
    for (int b = 0; b < 20; b++) {
        for (int pass = 0; pass < 4; pass++)
            assert_view(look(kv, 3, 0), 0, 0, b < 6 ? 3 * b : 18, 3 * b);
        assert_view(look(kv, 3, 3), 0, 0, b < 6 ? 3 * b : 18, 3 * b);
        assert_int_equal(lti_kv_frames(kv), 3 * (b + 1));
    }
    lti_kv_close(dev, &kv);
    c = config(LTI_POLICY_ABSOLUTE, 3, 3, 6);
    kv = open_kv(&c);
    for (int b = 0; b < 20; b++)
        assert_view(look(kv, 3, 3), b ? 3 : 0, 0, b < 4 ? (b ? 3 * b - 3 : 0) : 6, 3 * b);
    lti_kv_close(dev, &kv);
}

/* Anchors of Rolling Forcing's noisy passes, and who its clean passes see. */
static void rolling(bool compat) {
    lti_kv_config c = config(LTI_POLICY_REALIGN, 3, 3, 3);
    c.in_flight = 15;
    c.compat = compat;
    lti_kv *kv = open_kv(&c);
    const int keys7[] = {3, 6, 9, 12, 15, 18, 21, 21, 21, 21, 21};
    lti_roll r;
    for (int64_t w = 0; lti_roll_window(w, 5, 40, &r); w++) {
        int n = 3 * r.n, start = (int)(3 * r.start);
        lti_kv_view v = look(kv, n, 0);
        if (w < 7) assert_int_equal(v.n_anchor + v.n_window + n, keys7[w]);
        else assert_int_equal(v.n_anchor + v.n_window + n, 21);
        if (start) assert_int_equal(v.anchor_pos, start - v.n_window - 3);
        if (w == 5 || w == 6) assert_int_equal(v.anchor_pos, 0);
        if (w >= 7 && r.n == 5) assert_int_equal(v.anchor_pos, 3 * (w - 6));
        if (!r.commits) continue;
        v = look(kv, 3, 3);
        if (!compat)
            assert_view(v, start ? 3 : 0, start < 18 ? 0 : start - 18,
                        start < 18 ? (start ? start - 3 : 0) : 15, start);
        else if (start <= 18) assert_view(v, start ? 3 : 0, 0, start ? start - 3 : 0, start);
        else assert_view(v, 0, 0, 18, start);
    }
    assert_int_equal(lti_kv_frames(kv), 120);
    lti_kv_close(dev, &kv);
}

static void test_rolling_forcing(void **state) {
    (void)state;
    rolling(true);
    rolling(false);
}

/* Lengths 3, 6 .. 21, then 16, 19, 16, 19; the anchors move by 5, then 6. */
static void test_deep_forcing(void **state) {
    (void)state;
    for (int compat = 0; compat < 2; compat++) {
        lti_kv_config c = config(LTI_POLICY_DEEP, 3, 10, 8);
        c.compat = compat;
        c.deep_budget = 16;
        c.deep_recent = 4;
        lti_kv *kv = open_kv(&c);
        for (int b = 0; b < 30; b++) {
            lti_kv_view noisy = look(kv, 3, 0), clean = look(kv, 3, 3);
            int total = noisy.n_anchor + noisy.n_window + 3;
            assert_int_equal(total, b < 7 ? 3 * (b + 1) : b % 2 ? 16 : 19);
            assert_int_equal(noisy.n_compress, b == 7 ? 11 : b > 7 && b % 2 ? 9 : 0);
            assert_int_equal(clean.n_compress, 0);
            assert_int_equal(clean.n_window, noisy.n_window);
            int64_t moved = b < 7 ? 0 : 5 + (b - 7) / 2 * 6;
            assert_int_equal(noisy.anchor_pos, compat ? moved : 0);
            assert_int_equal(clean.anchor_pos, noisy.anchor_pos);
            assert_int_equal(noisy.query_pos, compat ? 3 * b : total - 3);
        }
        lti_kv_close(dev, &kv);
    }
}

/* Reward Forcing: queries at 0, 3, 6, 6. Infinity-RoPE: six slots, a flush, a cut at 45. */
static void test_slots(void **state) {
    (void)state;
    lti_kv_config c = config(LTI_POLICY_EMA, 3, 3, 3);
    lti_kv *kv = open_kv(&c);
    for (int b = 0; b < 10; b++) assert_int_equal(look(kv, 3, 3).query_pos, b < 2 ? 3 * b : 6);
    lti_kv_close(dev, &kv);
    c = config(LTI_POLICY_SLOT, 3, 1, 11);
    kv = open_kv(&c);
    for (int b = 0; b < 8; b++) assert_int_equal(look(kv, 3, 3).query_pos, b < 4 ? 3 * b : 12);
    lti_kv_flush(kv, 2);
    lti_kv_cut(kv, true);
    assert_view(look(kv, 3, 0), 1, 0, 2, LTI_CUT_POSITION);
    lti_kv_cut(kv, false);
    assert_view(look(kv, 3, 3), 1, 0, 2, 3);
    assert_view(look(kv, 3, 3), 1, 0, 5, 6);
    lti_kv_reset(kv);
    assert_view(look(kv, 3, 3), 0, 0, 0, 0);
    lti_kv_close(dev, &kv);
}

/* LongLive's switch at frame 42: nine frames again, seeing the old anchors only; and all anew. */
static void test_rewrite(void **state) {
    (void)state;
    lti_kv_config c = config(LTI_POLICY_ABSOLUTE, 3, 3, 6);
    c.rewrite = 12;
    lti_kv *kv = open_kv(&c);
    for (int b = 0; b < 14; b++) look(kv, 3, 3);
    lti_kv_begin(kv, dev, 33, 9, 9);
    assert_view(lti_kv_get_view(kv), 3, 0, 0, 33);
    lti_kv_commit(kv, 9);
    assert_int_equal(lti_kv_frames(kv), 42);
    assert_view(look(kv, 3, 3), 3, 0, 6, 42);
    lti_kv_restart(kv, 33);
    lti_kv_begin(kv, dev, 33, 12, 12);
    assert_view(lti_kv_get_view(kv), 0, 0, 0, 33);
    lti_kv_commit(kv, 12);
    assert_view(look(kv, 3, 3), 3, 33, 6, 45);
    lti_kv_close(dev, &kv);
}

/* ---- one pass with data --------------------------------------------------------------------- */

typedef struct pass {
    lti_arena arena;
    lti_tensor q, k, v, k_rot, out; /* [MAX_N * TOK, H, HD] */
} pass;

static lti_tensor rows(lti_dtype dt) {
    lti_tensor t = LTI_VIEW(NULL, dt, MAX_N * TOK, H, HD);
    assert_non_null(t.data = dev->ops.alloc(dev, lti_nbytes(&t)));
    return t;
}

static pass pass_open(lti_dtype dt) {
    pass p = {.q = rows(dt), .k = rows(dt), .v = rows(dt), .k_rot = rows(dt), .out = rows(LTI_F32)};
    p.arena.cap = (size_t)4 * MAX_KEYS * D * 4;
    assert_non_null(p.arena.base = dev->ops.alloc(dev, p.arena.cap));
    return p;
}

static void pass_close(pass *p) {
    void *mem[] = {p->q.data, p->k.data, p->v.data, p->k_rot.data, p->out.data, p->arena.base};
    for (int i = 0; i < 6; i++) dev->ops.free(dev, mem[i]);
}

static void load(lti_tensor t, int64_t first, int n, int layer, int what, int kind) {
    float buf[FRAME];
    for (int f = 0; f < n; f++) {
        lti_tensor at = lti_rows(t, (int64_t)f * TOK, TOK);
        frame_data(first + f, layer, what, kind, buf);
        lti_from_f32(buf, FRAME, at.dtype, at.data);
    }
}

/* Frames [first, first + n) through one layer; out [n*TOK, H, HD]. Begin and commit are the
 * caller's. */
static void run_layer(lti_kv *kv, pass *p, int64_t first, int n, int layer, int kind, int commit) {
    const int64_t r = (int64_t)n * TOK;
    lti_tensor q = lti_rows(p->q, 0, r), k = lti_rows(p->k, 0, r), v = lti_rows(p->v, 0, r);
    lti_tensor k_rot = lti_rows(p->k_rot, 0, r);
    load(k, first, n, layer, 0, kind);
    load(v, first, n, layer, 1, kind);
    load(q, first, n, layer, 2, kind);
    lti_rope(dev, k, D, lti_kv_query_table(kv), k_rot);
    lti_rope(dev, q, D, lti_kv_query_table(kv), q);
    p->arena.used = 0;
    lti_kv_queries(kv, dev, &p->arena, layer, q);
    lti_attn at = {.q = q, .scale = 1 / sqrtf(HD), .out = lti_rows(p->out, 0, r)};
    at.n_span = lti_kv_spans(kv, dev, &p->arena, layer, at.span);
    at.span[at.n_span++] = (lti_span){k_rot.data, v.data, r, D, k_rot.dtype};
    lti_attention(dev, &at);
    if (commit) lti_kv_store(kv, dev, layer, k, v, commit);
}

/* ---- ema ------------------------------------------------------------------------------------ */

static float bf16(float x) { return lti_bf16_to_f32(lti_f32_to_bf16(x)); }

/* Anchor values after `chunks` chunks against the recurrence; f32, bf16 and bf16 as published. */
static double ema_error(lti_dtype dt, bool compat, int chunks) {
    lti_kv_config c = config(LTI_POLICY_EMA, 3, 3, 3);
    c.dtype = dt;
    c.compat = compat;
    c.ema = 0.99f;
    lti_kv *kv = open_kv(&c);
    pass p = pass_open(dt);
    static float want[3 * FRAME], got[3 * FRAME], leaving[FRAME];
    const bool half = dt == LTI_BF16;
    for (int b = 0; b < chunks; b++) {
        lti_kv_begin(kv, dev, 3 * b, 3, 3);
        for (int layer = 0; layer < LAYERS; layer++) run_layer(kv, &p, 3 * b, 3, layer, 0, 3);
        lti_kv_commit(kv, 3);
        /* what is stored now pushes chunk b - 1 out, if that is not the anchors themselves */
        for (int f = 0; f < 3 && b != 1; f++) {
            float *w = want + f * FRAME;
            frame_data(b ? 3 * (b - 1) + f : f, LAYERS - 1, 1, 0, leaving);
            for (int i = 0; i < FRAME; i++) {
                float x = half ? bf16(leaving[i]) : leaving[i];
                if (b == 0) w[i] = x;
                else if (half && compat) w[i] = bf16(bf16(0.99f * w[i]) + bf16(0.01f * x));
                else w[i] = 0.99f * w[i] + 0.01f * x;
            }
        }
    }
    lti_span span[LTI_MAX_SPANS];
    lti_kv_begin(kv, dev, 3 * chunks, 3, 0);
    p.arena.used = 0;
    assert_int_equal(lti_kv_spans(kv, dev, &p.arena, LAYERS - 1, span), 2);
    assert_int_equal(span[0].n, 3 * TOK);
    lti_tensor t = LTI_VIEW((void *)(uintptr_t)span[0].v, dt, 3 * FRAME);
    lti_to_f32(&t, got);
    double e = lti_compare_f32(got, want, 3 * FRAME).rel;
    pass_close(&p);
    lti_kv_close(dev, &kv);
    return e;
}

static void test_ema(void **state) {
    (void)state;
    assert_true(ema_error(LTI_F32, false, 60) < 1e-6);
    assert_true(ema_error(LTI_F32, true, 60) < 1e-6);
    assert_true(ema_error(LTI_BF16, true, 60) < 1e-6);  /* the same roundings */
    assert_true(ema_error(LTI_BF16, false, 60) < 3e-3); /* rounded once, at the end */
}

/* ---- deep ----------------------------------------------------------------------------------- */

typedef struct token {
    double k[D], v[D]; /* un-rotated */
    int place, used;   /* in the picture; how often chosen */
} token;

typedef struct naive {
    token anchor[4 * TOK], past[12 * TOK];
    int n_anchor, n_past; /* tokens */
    double recent[D];     /* rotated queries of the last committed frame, summed */
} naive;

static void rotate(double *x /*[H,HD]*/, double t, int place) {
    const double pos[3] = {t, place / GW, place % GW};
    for (int h = 0; h < H; h++)
        for (int axis = 0, c = h * HD; axis < 3; axis++)
            for (int m = 0; m < 2; m++, c += 2) {
                double a = pos[axis] * pow(10000, -2.0 * m / 4), x0 = x[c], x1 = x[c + 1];
                x[c] = x0 * cos(a) - x1 * sin(a);
                x[c + 1] = x0 * sin(a) + x1 * cos(a);
            }
}

static void add_rotated(const float *q /*[TOK,D]*/, double t, double *sum) {
    for (int i = 0; i < TOK; i++) {
        double x[D];
        for (int c = 0; c < D; c++) x[c] = (double)q[i * D + c];
        rotate(x, t, i);
        for (int c = 0; c < D; c++) sum[c] += x[c];
    }
}

/* Sink 4, window 5, chunk 3, budget 9, recent 4: keeps one frame's worth of tokens. */
static void naive_compress(naive *s, int layer, int64_t first, int reuse) {
    const int sink = 4, len = s->n_past / TOK, cand = s->n_past - TOK, keep = TOK;
    double sum[D], score[12 * TOK];
    float q[FRAME];
    memcpy(sum, s->recent, sizeof sum);
    for (int f = 0; f < 3; f++) {
        frame_data(first + f, layer, 2, 0, q);
        add_rotated(q, sink + len + f, sum);
    }
    for (int j = 0; j < cand; j++) {
        double k[D];
        memcpy(k, s->past[j].k, sizeof k);
        rotate(k, sink + j / TOK, s->past[j].place);
        score[j] = 0;
        for (int c = 0; c < D; c++) score[j] += sum[c] * k[c];
    }
    bool chosen[12 * TOK] = {false};
    for (int i = 0; i < keep; i++) {
        int best = -1;
        for (int j = 0; j < cand; j++)
            if (!chosen[j] && s->past[j].used < reuse && (best < 0 || score[j] > score[best]))
                best = j;
        assert_true(best >= 0);
        chosen[best] = true;
    }
    int n = 0;
    for (int j = 0; j < s->n_past; j++)
        if (j >= cand || chosen[j]) {
            s->past[n] = s->past[j];
            s->past[n++].used += j < cand;
        }
    s->n_past = n;
}

static int naive_keys(const naive *s, token *all /*[MAX_KEYS]*/) {
    int n = 0;
    for (int j = 0; j < s->n_anchor; j++, n++) {
        all[n] = s->anchor[j];
        rotate(all[n].k, n / TOK, all[n].place);
    }
    for (int j = 0; j < s->n_past; j++, n++) {
        all[n] = s->past[j];
        rotate(all[n].k, n / TOK, all[n].place);
    }
    return n;
}

/* The pass's own frames as tokens behind the n others. */
static int own_keys(token *all, int n, int layer, int64_t first, int kind, bool rotated) {
    float k[FRAME], v[FRAME];
    for (int f = 0; f < 3; f++) {
        frame_data(first + f, layer, 0, kind, k);
        frame_data(first + f, layer, 1, kind, v);
        for (int i = 0; i < TOK; i++, n++) {
            all[n] = (token){.place = i};
            for (int c = 0; c < D; c++) {
                all[n].k[c] = (double)k[i * D + c];
                all[n].v[c] = (double)v[i * D + c];
            }
            if (rotated) rotate(all[n].k, n / TOK, i);
        }
    }
    return n;
}

static void naive_pass(naive *s, int layer, int64_t first, int kind, float *out) {
    static token all[MAX_KEYS];
    int past = naive_keys(s, all), keys = own_keys(all, past, layer, first, kind, true);
    float q[FRAME];
    for (int r = 0; r < 3 * TOK; r++) {
        double x[D];
        frame_data(first + r / TOK, layer, 2, kind, q);
        for (int c = 0; c < D; c++) x[c] = (double)q[r % TOK * D + c];
        rotate(x, (past + r) / TOK, r % TOK);
        for (int h = 0; h < H; h++) {
            double sum = 0, acc[HD] = {0};
            for (int j = 0; j < keys; j++) {
                double dot = 0;
                for (int c = h * HD; c < (h + 1) * HD; c++) dot += x[c] * all[j].k[c];
                double w = exp(dot / sqrt(HD));
                sum += w;
                for (int c = 0; c < HD; c++) acc[c] += w * all[j].v[h * HD + c];
            }
            for (int c = 0; c < HD; c++) out[r * D + h * HD + c] = (float)(acc[c] / sum);
        }
    }
}

static void naive_commit(naive *s, int layer, int64_t first) {
    token own[3 * TOK];
    float q[FRAME];
    int past = (s->n_anchor + s->n_past) / TOK;
    memset(s->recent, 0, sizeof s->recent);
    frame_data(first + 2, layer, 2, 1, q);
    add_rotated(q, past + 2, s->recent);
    own_keys(own, 0, layer, first, 1, false);
    for (int i = 0; i < 3 * TOK; i++) {
        if (s->n_anchor < 4 * TOK) s->anchor[s->n_anchor++] = own[i];
        else s->past[s->n_past++] = own[i];
    }
}

/* The better form of Deep Forcing: everything stands in one row, whatever it was. */
static void test_deep_naive(void **state) {
    (void)state;
    enum { REUSE = 2 };
    lti_kv_config c = config(LTI_POLICY_DEEP, 3, 4, 5);
    c.deep_budget = 9;
    c.deep_recent = 4;
    c.deep_reuse = REUSE;
    lti_kv *kv = open_kv(&c);
    pass p = pass_open(LTI_F32);
    naive *s = calloc(LAYERS, sizeof *s);
    assert_non_null(s);
    static float want[3 * FRAME];
    double worst = 0;
    int compressions = 0;
    for (int b = 0; b < 40; b++)
        for (int kind = 0; kind < 2; kind++) { /* a noisy pass, then the clean one */
            const int64_t first = 3 * b;
            lti_kv_begin(kv, dev, first, 3, kind ? 3 : 0);
            const bool compress = lti_kv_get_view(kv).n_compress > 0;
            compressions += compress;
            for (int layer = 0; layer < LAYERS; layer++) {
                if (compress) naive_compress(&s[layer], layer, first, REUSE);
                run_layer(kv, &p, first, 3, layer, kind, kind ? 3 : 0);
                naive_pass(&s[layer], layer, first, kind, want);
                double e = lti_compare_f32(p.out.data, want, 3 * FRAME).rel;
                if (e > worst) worst = e;
                if (kind) naive_commit(&s[layer], layer, first);
            }
            if (kind) lti_kv_commit(kv, 3);
        }
    assert_true(compressions >= 15);
    if (worst > 3e-6) fail_msg("relative error %g", worst);
    free(s);
    pass_close(&p);
    lti_kv_close(dev, &kv);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void refuse(lti_kv_config c, const char *word) {
    lti_kv *kv = (void *)1;
    lt_error err = {0};
    assert_int_equal(lti_kv_open(dev, &c, &kv, &err), LT_EINVAL);
    assert_null(kv);
    if (!strstr(err.msg, word)) fail_msg("'%s' does not name %s", err.msg, word);
}

static void test_refused(void **state) {
    (void)state;
    lti_kv_config ema = config(LTI_POLICY_EMA, 3, 3, 3), deep = config(LTI_POLICY_DEEP, 3, 10, 8);
    deep.deep_budget = 16;
    deep.deep_recent = 4;
    lti_kv_config c = ema;
    c.sink = 2, refuse(c, "sink");
    c = ema, c.window = 0, refuse(c, "window");
    c = ema, c.window = 4, refuse(c, "window");
    c = ema, c.ema = 1, refuse(c, "ema");
    c = ema, c.ema = NAN, refuse(c, "ema");
    c = ema, c.in_flight = 12, refuse(c, "rolling");
    c = deep, c.in_flight = 12, refuse(c, "rolling");
    c = deep, c.deep_recent = 2, refuse(c, "recent");
    c = deep, c.deep_recent = 7, refuse(c, "recent");
    c = deep, c.deep_budget = 13, refuse(c, "budget");
    c = deep, c.deep_budget = 21, refuse(c, "budget");
    c = deep, c.deep_reuse = 256, refuse(c, "reuse");
}

static int setup(void **state) {
    (void)state;
    return lti_dev_open("ref", 1, NULL, &dev, NULL) == LT_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    lti_dev_close(&dev);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_self_forcing_and_longlive),
        cmocka_unit_test(test_rolling_forcing),
        cmocka_unit_test(test_deep_forcing),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_rewrite),
        cmocka_unit_test(test_ema),
        cmocka_unit_test(test_deep_naive),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

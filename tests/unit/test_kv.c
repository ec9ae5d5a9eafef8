/* SPDX-License-Identifier: Apache-2.0
 * The frame cache against a naive one: a list of all frames ever, from which every pass picks what
 * it may see, rotates it in double and attends densely. Ring == shift, for every policy. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "cache/kv.h"

enum {
    LAYERS = 2,
    H = 2,
    HD = 12,
    D = H * HD,
    GH = 2,
    GW = 3,
    TOK = GH * GW,
    FRAME = TOK * D,
    MAX_FRAMES = 1200,
    MAX_KEYS = 64 * TOK,
    MAX_Q = 16 * TOK
};

static lti_dev *dev;

/* Keys (what 0), values (1), queries (2) of one frame and layer. */
static void frame_data(int64_t frame, int layer, int what, float *out /*[TOK,H,HD]*/) {
    lti_randn(out, FRAME, 42, (uint64_t)frame, (uint32_t)(layer * 3 + what));
}

static void rotate(double *x /*[HD]*/, int64_t t, int tok) {
    const int size[3] = {4, 4, 4};
    const double pos[3] = {(double)t, tok / GW, tok % GW};
    for (int axis = 0, c = 0; axis < 3; axis++)
        for (int m = 0; m < size[axis] / 2; m++, c += 2) {
            double a = pos[axis] * pow(10000, -2.0 * m / size[axis]), x0 = x[c], x1 = x[c + 1];
            x[c] = x0 * cos(a) - x1 * sin(a);
            x[c + 1] = x0 * sin(a) + x1 * cos(a);
        }
}

/* What a pass over [c, c+n) sees, straight from the definition. */
static int naive_view(const lti_kv_config *k, int64_t c, int n, int64_t *frame, int64_t *pos) {
    int64_t sink = k->policy == LTI_POLICY_NONE ? 0 : k->sink, past[MAX_FRAMES];
    int count = 0, window = 0, most = k->window + k->in_flight - (n < k->chunk ? k->chunk : n);
    for (int64_t f = 0; f < c; f++)
        if (f >= sink) past[window++] = f;
    int skip = window > most ? window - most : 0;
    int64_t anchors = c < sink ? c : sink, nw = window - skip;
    for (int64_t f = 0; f < anchors; f++) frame[count++] = f;
    for (int i = skip; i < window; i++) frame[count++] = past[i];
    for (int64_t f = c; f < c + n; f++) frame[count++] = f;
    for (int i = 0; i < count; i++) {
        bool is_anchor = i < anchors;
        if (k->policy == LTI_POLICY_SLOT) pos[i] = i;
        else if (is_anchor)
            pos[i] = k->policy == LTI_POLICY_REALIGN ? c - nw - anchors + i : frame[i];
        else pos[i] = frame[i];
    }
    return count;
}

static double *naive_key, *naive_value; /* [MAX_KEYS, H, HD] */

static void naive_attention(const lti_kv_config *k, int64_t c, int n, int layer, float *out) {
    int64_t frame[64], pos[64];
    float buf[FRAME];
    int count = naive_view(k, c, n, frame, pos), keys = count * TOK;
    for (int i = 0; i < count; i++)
        for (int what = 0; what < 2; what++) {
            double *dst = (what ? naive_value : naive_key) + (size_t)i * FRAME;
            frame_data(frame[i], layer, what, buf);
            for (int e = 0; e < FRAME; e++) dst[e] = (double)buf[e];
            for (int h = 0; h < TOK * H && !what; h++) rotate(dst + h * HD, pos[i], h / H);
        }
    for (int q = 0; q < n * TOK; q++)
        for (int h = 0; h < H; h++) {
            double query[HD], score[MAX_KEYS], sum = 0, acc[HD] = {0}, top = -1e300;
            int f = q / TOK;
            if (q % TOK == 0 && h == 0) frame_data(c + f, layer, 2, buf);
            for (int e = 0; e < HD; e++) query[e] = (double)buf[(q % TOK) * D + h * HD + e];
            rotate(query, pos[count - n + f], q % TOK);
            for (int j = 0; j < keys; j++) {
                score[j] = 0;
                for (int e = 0; e < HD; e++)
                    score[j] += query[e] * naive_key[(j * H + h) * HD + e] / sqrt(HD);
                if (score[j] > top) top = score[j];
            }
            for (int j = 0; j < keys; j++) {
                double w = exp(score[j] - top);
                sum += w;
                for (int e = 0; e < HD; e++) acc[e] += w * naive_value[(j * H + h) * HD + e];
            }
            for (int e = 0; e < HD; e++) out[(q * H + h) * HD + e] = (float)(acc[e] / sum);
        }
}

typedef struct pass_buf {
    lti_arena arena;
    lti_tensor q, k, k_rot, v, out; /* [MAX_Q,H,HD] */
} pass_buf;

static lti_tensor buffer(lti_dtype dt) {
    lti_tensor t = LTI_VIEW(NULL, dt, MAX_Q, H, HD);
    t.data = dev->ops.alloc(dev, lti_nbytes(&t));
    assert_non_null(t.data);
    return t;
}

static pass_buf bufs_open(lti_dtype dt) {
    pass_buf b = {.q = buffer(dt),
                  .k = buffer(dt),
                  .k_rot = buffer(dt),
                  .v = buffer(dt),
                  .out = buffer(LTI_F32)};
    b.arena.cap = (size_t)MAX_KEYS * D * 4 + 4096;
    b.arena.base = dev->ops.alloc(dev, b.arena.cap);
    assert_non_null(b.arena.base);
    return b;
}

static void bufs_close(pass_buf *b) {
    void *p[] = {b->q.data, b->k.data, b->k_rot.data, b->v.data, b->out.data, b->arena.base};
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) dev->ops.free(dev, p[i]);
}

/* One pass of all layers through the cache; commit frames of it. Outputs [LAYERS, n*TOK, H, HD]. */
static void cached_pass(lti_kv *kv, pass_buf *b, int n, int commit, float *out) {
    int64_t c = lti_kv_frames(kv), rows = (int64_t)n * TOK;
    lti_kv_begin(kv, dev, c, n, commit);
    for (int layer = 0; layer < LAYERS; layer++) {
        lti_tensor t[3] = {lti_rows(b->k, 0, rows), lti_rows(b->v, 0, rows),
                           lti_rows(b->q, 0, rows)};
        float buf[FRAME];
        for (int what = 0; what < 3; what++)
            for (int f = 0; f < n; f++) {
                lti_tensor dst = lti_rows(t[what], (int64_t)f * TOK, TOK);
                frame_data(c + f, layer, what, buf);
                lti_from_f32(buf, FRAME, dst.dtype, dst.data);
            }
        lti_tensor k_rot = lti_rows(b->k_rot, 0, rows);
        lti_rope(dev, t[0], D, lti_kv_query_table(kv), k_rot);
        lti_rope(dev, t[2], D, lti_kv_query_table(kv), t[2]);
        lti_attn at = {.q = t[2], .scale = 1 / sqrtf(HD), .out = lti_rows(b->out, 0, rows)};
        at.n_span = lti_kv_spans(kv, dev, &b->arena, layer, at.span);
        at.span[at.n_span++] = (lti_span){k_rot.data, t[1].data, rows, D, k_rot.dtype};
        lti_attention(dev, &at);
        memcpy(out + layer * rows * D, b->out.data, (size_t)rows * D * sizeof *out);
        if (commit) lti_kv_store(kv, dev, layer, t[0], t[1], commit);
        b->arena.used = 0;
    }
    lti_kv_commit(kv, commit);
}

static void *no_alloc(lti_dev *d, size_t bytes) {
    (void)d;
    fail_msg("%zu bytes allocated in the loop", bytes);
    return NULL;
}

/* Worst relative error of a stream of chunks against the naive cache. drain: the last passes
 * of a rolling stream, n shrinking to one chunk. */
static double worst_error(const lti_kv_config *cfg, int chunks, bool drain) {
    lti_kv *kv;
    assert_int_equal(lti_kv_open(dev, cfg, &kv, NULL), LT_OK);
    pass_buf b = bufs_open(cfg->dtype);
    void *(*alloc)(lti_dev *, size_t) = dev->ops.alloc;
    dev->ops.alloc = no_alloc;
    static float got[LAYERS * MAX_Q * D], want[MAX_Q * D];
    double worst = 0;
    int flight = cfg->in_flight;
    for (int i = 0; i < chunks; i++) {
        if (drain && chunks - i < flight / cfg->chunk) flight = (chunks - i) * cfg->chunk;
        int64_t c = lti_kv_frames(kv);
        for (int pass = flight > cfg->chunk ? 0 : 1; pass < 2; pass++) {
            int n = pass ? cfg->chunk : flight;
            cached_pass(kv, &b, n, pass ? cfg->chunk : 0, got);
            for (int layer = 0; layer < LAYERS && (i < 12 || i % 29 == 0 || chunks - i < 6);
                 layer++) {
                naive_attention(cfg, c, n, layer, want);
                lti_diff e = lti_compare_f32(got + (size_t)layer * (size_t)(n * TOK * D), want,
                                             (int64_t)n * TOK * D);
                assert_true(e.finite);
                if (e.rel > worst) worst = e.rel;
            }
        }
    }
    dev->ops.alloc = alloc;
    assert_int_equal(lti_kv_frames(kv), (int64_t)chunks * cfg->chunk);
    bufs_close(&b);
    lti_kv_close(dev, &kv);
    assert_null(kv);
    return worst;
}

static lti_kv_config config(lti_policy policy, int sink, int window, int chunk, int flight) {
    return (lti_kv_config){.n_layer = LAYERS,
                           .n_head = H,
                           .head_dim = HD,
                           .grid_h = GH,
                           .grid_w = GW,
                           .chunk = chunk,
                           .sink = sink,
                           .window = window,
                           .in_flight = flight,
                           .policy = policy,
                           .dtype = LTI_F32};
}

static const struct {
    int sink, window, chunk, flight;
} geometry[] = {
    {3, 6, 3, 3}, {2, 5, 3, 3}, {3, 0, 3, 3},  {0, 6, 3, 3}, {0, 0, 3, 3}, {1, 4, 1, 1},
    {4, 1, 3, 3}, {7, 2, 3, 3}, {3, 3, 3, 12}, {2, 4, 3, 9}, {3, 0, 3, 9}, {0, 1, 1, 4},
};
enum { GEOMETRIES = sizeof geometry / sizeof *geometry };

static void test_equals_naive(void **state) {
    (void)state;
    for (int p = LTI_POLICY_NONE; p <= LTI_POLICY_REALIGN; p++)
        for (int g = 0; g < GEOMETRIES; g++) {
            lti_kv_config c = config((lti_policy)p, geometry[g].sink, geometry[g].window,
                                     geometry[g].chunk, geometry[g].flight);
            double e = worst_error(&c, g < 2 ? 200 : 24, true);
            if (e > 2e-6)
                fail_msg("policy %d, sink %d window %d chunk %d in flight %d: relative error %g", p,
                         c.sink, c.window, c.chunk, c.in_flight, e);
        }
}

static void test_bf16(void **state) {
    (void)state;
    for (int p = LTI_POLICY_NONE; p <= LTI_POLICY_REALIGN; p++) {
        lti_kv_config c = config((lti_policy)p, 3, 6, 3, 3);
        c.dtype = LTI_BF16;
        double e = worst_error(&c, 40, false);
        assert_true(e > 1e-5 && e < 1e-2);
    }
}

/* Outputs of `chunks` chunks, [chunks, LAYERS, chunk*TOK, D]. */
static float *outputs(lti_kv *kv, const lti_kv_config *cfg, int chunks) {
    pass_buf b = bufs_open(cfg->dtype);
    size_t one = (size_t)LAYERS * (size_t)cfg->chunk * TOK * D;
    float *out = malloc(one * (size_t)chunks * sizeof *out);
    assert_non_null(out);
    for (int i = 0; i < chunks; i++)
        cached_pass(kv, &b, cfg->chunk, cfg->chunk, out + one * (size_t)i);
    bufs_close(&b);
    return out;
}

static double policy_gap(lti_policy a, lti_policy b, int sink, int first, int chunks) {
    lti_kv_config c = config(a, sink, 6, 3, 3);
    lti_kv *kv;
    assert_int_equal(lti_kv_open(dev, &c, &kv, NULL), LT_OK);
    float *x = outputs(kv, &c, chunks);
    lti_kv_close(dev, &kv);
    c.policy = b;
    assert_int_equal(lti_kv_open(dev, &c, &kv, NULL), LT_OK);
    float *y = outputs(kv, &c, chunks);
    lti_kv_close(dev, &kv);
    size_t one = (size_t)LAYERS * 3 * TOK * D, off = one * (size_t)first;
    double rel = lti_compare_f32(x + off, y + off, (int64_t)(one * (size_t)(chunks - first))).rel;
    free(x);
    free(y);
    return rel;
}

/* Rotary scores depend on position differences only, so policies that keep all differences agree.
 */
static void test_policies_agree(void **state) {
    (void)state;
    const lti_policy none = LTI_POLICY_NONE, abs_ = LTI_POLICY_ABSOLUTE, slot = LTI_POLICY_SLOT,
                     realign = LTI_POLICY_REALIGN;
    assert_true(policy_gap(slot, none, 0, 0, 100) < 2e-6);
    assert_true(policy_gap(abs_, none, 0, 0, 100) == 0);
    assert_true(policy_gap(slot, realign, 3, 0, 100) < 2e-6);
    /* 3 + 6 past frames: chunk 4 is the first to have lost one */
    assert_true(policy_gap(abs_, realign, 3, 0, 4) < 2e-6);
    assert_true(policy_gap(abs_, realign, 3, 4, 100) > 1e-2);
    assert_true(policy_gap(none, realign, 3, 4, 100) > 1e-2);
}

/* The anchors' keys and values are the same bytes on chunk 200 as on chunk 2; reset starts anew. */
static void test_anchor_bytes(void **state) {
    (void)state;
    lti_kv_config c = config(LTI_POLICY_ABSOLUTE, 3, 6, 3, 3);
    c.dtype = LTI_BF16;
    lti_kv *kv;
    assert_int_equal(lti_kv_open(dev, &c, &kv, NULL), LT_OK);
    free(outputs(kv, &c, 2));
    pass_buf b = bufs_open(c.dtype);
    static float out[LAYERS * MAX_Q * D];
    enum { BYTES = 3 * FRAME * 2 };
    static unsigned char key[LAYERS][BYTES], value[LAYERS][BYTES];
    for (int i = 0; i < 198; i++) {
        lti_kv_begin(kv, dev, lti_kv_frames(kv), 3, 0);
        for (int layer = 0; layer < LAYERS; layer++) {
            lti_span span[LTI_MAX_SPANS];
            b.arena.used = 0;
            assert_true(lti_kv_spans(kv, dev, &b.arena, layer, span) >= 2);
            assert_int_equal(span[0].n, 3 * TOK);
            if (i == 0) {
                memcpy(key[layer], span[0].k, BYTES);
                memcpy(value[layer], span[0].v, BYTES);
            }
            assert_memory_equal(key[layer], span[0].k, BYTES);
            assert_memory_equal(value[layer], span[0].v, BYTES);
        }
        b.arena.used = 0;
        cached_pass(kv, &b, 3, 3, out);
    }
    bufs_close(&b);
    lti_kv_reset(kv);
    assert_int_equal(lti_kv_frames(kv), 0);
    float *again = outputs(kv, &c, 8);
    lti_kv_reset(kv);
    float *third = outputs(kv, &c, 8);
    assert_memory_equal(again, third, (size_t)8 * LAYERS * 3 * TOK * D * sizeof *again);
    free(again);
    free(third);
    lti_kv_close(dev, &kv);
}

static void test_bad_config(void **state) {
    (void)state;
    const struct {
        int sink, window, chunk;
        const char *word;
    } bad[] = {{-1, 6, 3, "sink"},      {70000, 6, 3, "sink"}, {3, -1, 3, "window"},
               {3, 70000, 3, "window"}, {3, 6, 0, "chunk"},    {3, 6, 5000, "chunk"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lti_kv_config c = config(LTI_POLICY_SLOT, bad[i].sink, bad[i].window, bad[i].chunk, 5000);
        lti_kv *kv = (void *)1;
        lt_error err = {0};
        assert_int_equal(lti_kv_open(dev, &c, &kv, &err), LT_EINVAL);
        assert_null(kv);
        assert_non_null(strstr(err.msg, bad[i].word));
    }
}

static int setup(void **state) {
    (void)state;
    naive_key = malloc(sizeof *naive_key * MAX_KEYS * D);
    naive_value = malloc(sizeof *naive_value * MAX_KEYS * D);
    return naive_key && naive_value && lti_dev_open("ref", 1, NULL, &dev, NULL) == LT_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    lti_dev_close(&dev);
    free(naive_key);
    free(naive_value);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_naive),   cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_policies_agree), cmocka_unit_test(test_anchor_bytes),
        cmocka_unit_test(test_bad_config),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

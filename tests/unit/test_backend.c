/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_backend.c - opening a device, `disable`, muting, and ref against answers known on
 * paper (checkops holds the other backends against ref, the golden tests hold the models). */
#include "backend/backend.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static lti_dev *open_dev(const char *name, const char *disable) {
    lt_error err = {0};
    lti_dev *d = NULL;
    assert_int_equal(lti_dev_open(name, 1, disable, &d, &err), LT_OK);
    assert_non_null(d);
    return d;
}

static void expect_refused(const char *name, int threads, const char *disable, const char *part) {
    lt_error err = {0};
    lti_dev *d = (lti_dev *)&err;
    assert_int_equal(lti_dev_open(name, threads, disable, &d, &err), LT_EINVAL);
    assert_null(d);
    assert_non_null(strstr(err.msg, part));
}

static void test_open(void **state) {
    (void)state;
    lti_dev *d = open_dev("auto", NULL);
    assert_string_equal(d->ops.name, "cpu");
    assert_int_equal(d->n_threads, 1);
    lti_dev_close(&d);
    assert_null(d);
    lti_dev_close(&d); /* safe */
    lt_error err = {0};
    assert_int_equal(lti_dev_open(NULL, 0, NULL, &d, &err), LT_OK);
    assert_true(d->n_threads >= 1);
    lti_dev_close(&d);
    expect_refused("gpu", 1, NULL, "ref, cpu");
    expect_refused("cpu", -1, NULL, "found -1");
    expect_refused("cpu", 99999, NULL, "99999");
    expect_refused("cpu", 1, "linear,convolution", "\"convolution\"");
    expect_refused("cpu", 1, "all", "norm_rope"); /* lists what exists */
}

static void test_disable(void **state) {
    (void)state;
    lti_dev *d = open_dev("cpu", "linear,,rope,norm_rope");
    assert_ptr_equal(d->ops.linear, lti_ops_ref.linear);
    assert_ptr_equal(d->ops.pack_linear, lti_ops_ref.pack_linear);
    assert_ptr_equal(d->ops.prepare_linear, lti_ops_ref.prepare_linear);
    assert_ptr_equal(d->ops.rope, lti_ops_ref.rope);
    assert_ptr_equal(d->ops.conv, lti_ops_cpu.conv);
    assert_ptr_equal(d->ops.pack_conv, lti_ops_cpu.pack_conv);
    assert_non_null(d->ops.norm_rope); /* composed */
    assert_ptr_not_equal(d->ops.norm_rope, lti_ops_cpu.norm_rope);
    /* Weights of both origins live and die on one device. */
    const float w[6] = {1, 2, 3, 4, 5, 6}, x[3] = {1, 10, 100};
    float y[2];
    lt_error err = {0};
    const lti_tensor lw = LTI_VIEW((void *)w, LTI_F32, 2, 3),
                     cw = LTI_VIEW((void *)w, LTI_F32, 2, 3, 1, 1, 1);
    lti_packed *l = lti_pack_linear(d, &lw, NULL, LTI_F32, &err);
    lti_packed *c = lti_pack_conv(d, &cw, NULL, LTI_F32, &err);
    assert_non_null(l);
    assert_non_null(c);
    lti_linear(d, LTI_VIEW((void *)x, LTI_F32, 1, 3), l, LTI_ACT_NONE, LTI_VIEW(y, LTI_F32, 1, 2));
    assert_true(y[0] == 321 && y[1] == 654);
    const lti_conv conv = {.x = LTI_VIEW((void *)x, LTI_F32, 1, 1, 1, 3),
                           .w = c,
                           .stride = {1, 1, 1},
                           .out = LTI_VIEW(y, LTI_F32, 1, 1, 1, 2)};
    y[0] = y[1] = 0;
    lti_conv_run(d, &conv);
    assert_true(y[0] == 321 && y[1] == 654);
    lti_pack_free(d, &l);
    lti_pack_free(d, &c);
    lti_pack_free(d, &c); /* safe */
    assert_null(c);
    lti_dev_close(&d);
}

static void test_mute_and_count(void **state) {
    (void)state;
    lti_dev *d = open_dev("ref", NULL);
    float x[2] = {1, 2}, y[2] = {7, 7};
    const lti_tensor tx = LTI_VIEW(x, LTI_F32, 2), ty = LTI_VIEW(y, LTI_F32, 2);
    d->measuring = true;
    lti_cast(d, tx, ty);
    lti_copy(d, y, x, sizeof x);
    lti_put(d, y, x, sizeof x);
    lti_get(d, y, x, sizeof x);
    lti_zero(d, y, sizeof y);
    assert_true(y[0] == 7 && y[1] == 7);
    assert_int_equal(d->n_calls, 0);
    d->measuring = false;
    lti_cast(d, tx, ty);
    assert_true(y[1] == 2);
    assert_int_equal(d->n_calls, 1);
    lti_cast(d, lti_rows(tx, 0, 0), lti_rows(ty, 0, 0)); /* nothing to do is no op */
    assert_int_equal(d->n_calls, 1);
    lti_zero(d, y, sizeof y);
    assert_true(y[0] == 0 && y[1] == 0);
    lti_dev_close(&d);
}

static void test_integer_weight_is_bad_input(void **state) {
    (void)state;
    lti_dev *d = open_dev("ref", NULL);
    int32_t w[4] = {0};
    lt_error err = {0};
    const lti_tensor t = LTI_VIEW(w, LTI_I32, 2, 2);
    assert_null(lti_pack_linear(d, &t, NULL, LTI_F32, &err));
    assert_int_equal(err.code, LT_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "I32"));
    lti_dev_close(&d);
}

/* Unaligned source, bias, activation, bf16 rounding of both operands. */
static void test_ref_linear(void **state) {
    (void)state;
    lti_dev *d = open_dev("ref", NULL);
    const float w[4] = {1.0f + 0x1p-9f, 2, -1, 0.5f}, b[2] = {0.25f, -8},
                x[2] = {1, 2.0f + 0x1p-8f};
    uint8_t raw[17];
    memcpy(raw + 1, w, sizeof w);
    lt_error err = {0};
    const lti_tensor tw = LTI_VIEW(raw + 1, LTI_F32, 2, 2), tb = LTI_VIEW((void *)b, LTI_F32, 2);
    float y[2];
    lti_packed *p = lti_pack_linear(d, &tw, &tb, LTI_F32, &err);
    lti_linear(d, LTI_VIEW((void *)x, LTI_F32, 1, 2), p, LTI_ACT_NONE, LTI_VIEW(y, LTI_F32, 1, 2));
    assert_true(y[0] == 1.0f + 0x1p-9f + 4.0f + 0x1p-7f + 0.25f && y[1] == -8.0f + 0x1p-9f);
    lti_pack_free(d, &p);
    p = lti_pack_linear(d, &tw, &tb, LTI_BF16, &err); /* 1 + 2^-9 and 2 + 2^-8 lose their tails */
    lti_linear(d, LTI_VIEW((void *)x, LTI_F32, 1, 2), p, LTI_ACT_SILU, LTI_VIEW(y, LTI_F32, 1, 2));
    assert_float_equal(y[0], 5.25 / (1 + exp(-5.25)), 1e-6);
    assert_float_equal(y[1], -8.0 / (1 + exp(8.0)), 1e-7);
    lti_pack_free(d, &p);
    lti_dev_close(&d);
}

/* A kernel that is 1 at one tap shifts the map; padding gives zeros; `add` accumulates. */
static void test_ref_conv(void **state) {
    (void)state;
    lti_dev *d = open_dev("ref", NULL);
    float w[27] = {0}, x[2 * 2 * 3], y[6];
    lti_tensor tw = LTI_VIEW(w, LTI_F32, 1, 1, 2, 3, 3);
    lt_error err = {0};
    w[9 + 3 * 0 + 2] = 1; /* time tap 1, row above, column to the right */
    for (int i = 0; i < 12; i++) x[i] = (float)(i + 1);
    lti_packed *p = lti_pack_conv(d, &tw, NULL, LTI_F32, &err);
    lti_conv c = {.x = LTI_VIEW(x, LTI_F32, 2, 2, 3, 1),
                  .w = p,
                  .stride = {1, 1, 1},
                  .pad_top = 1,
                  .pad_bottom = 1,
                  .pad_left = 1,
                  .pad_right = 1,
                  .out = LTI_VIEW(y, LTI_F32, 1, 2, 3, 1)};
    lti_conv_run(d, &c);
    const float want[6] = {0, 0, 0, 8, 9, 0};
    assert_memory_equal(y, want, sizeof want);
    c.add = true;
    lti_conv_run(d, &c);
    assert_true(y[3] == 16 && y[4] == 18 && y[5] == 0);
    c.add = false;
    c.stride[1] = c.stride[2] = 2; /* output (0, 1) looks at row -1; (0, 0) too */
    c.pad_top = 0;                 /* now row 0, column 1 and column 3 */
    c.pad_bottom = 1;
    c.pad_left = 0;
    c.pad_right = 1;
    c.out = LTI_VIEW(y, LTI_F32, 1, 1, 1, 1);
    lti_conv_run(d, &c);
    assert_true(y[0] == 9); /* x[1, 0, 2] */
    lti_pack_free(d, &p);
    lti_dev_close(&d);
}

static void test_ref_attention(void **state) {
    (void)state;
    lti_dev *d = open_dev("ref", NULL);
    /* q.k = ln 3 for the first key of the first span, 0 for the others; values 1, 5, 9. */
    const float q[2] = {1, 0}, sink[1] = {1.3862943611f /* ln 4 */};
    const float k1[2] = {1.0986122887f, 4}, k2[4] = {0, 1, 0, 2}, v1[2] = {1, 10};
    const float v2[4] = {5, 20, 9, 30};
    float out[2], lse[1];
    lti_attn a = {.q = LTI_VIEW((void *)q, LTI_F32, 1, 1, 2),
                  .out = LTI_VIEW(out, LTI_F32, 1, 1, 2),
                  .n_span = 3,
                  .scale = 1,
                  .lse = lse};
    a.span[0] = (lti_span){.k = k1, .v = v1, .n = 1, .stride = 2, .dtype = LTI_F32};
    a.span[1] = (lti_span){.n = 0};
    a.span[2] = (lti_span){.k = k2, .v = v2, .n = 2, .stride = 2, .dtype = LTI_F32};
    lti_attention(d, &a); /* weights 3/5, 1/5, 1/5 */
    assert_float_equal(out[0], (3 * 1 + 5 + 9) / 5.0, 1e-6);
    assert_float_equal(out[1], (3 * 10 + 20 + 30) / 5.0, 1e-5);
    assert_float_equal(lse[0], log(5), 1e-6);
    a.sink_logit = sink; /* 4 joins the denominator, not the lse */
    lti_attention(d, &a);
    assert_float_equal(out[0], (3 * 1 + 5 + 9) / 9.0, 1e-6);
    assert_float_equal(lse[0], log(5), 1e-6);
    const float bias[3] = {-INFINITY, 0.6931471806f, 0}; /* masks key 0, doubles key 1 */
    a.bias = bias;
    a.sink_logit = NULL;
    lti_attention(d, &a);
    assert_float_equal(out[0], (2 * 5 + 9) / 3.0, 1e-6);
    assert_float_equal(lse[0], log(3), 1e-6);
    const float huge[1] = {2000};
    a.sink_logit = huge; /* everything goes to the sink */
    lti_attention(d, &a);
    assert_true(out[0] == 0 && out[1] == 0);
    assert_float_equal(lse[0], log(3), 1e-6);
    a.n_span = 0;
    a.bias = NULL;
    lti_attention(d, &a);
    assert_true(out[0] == 0 && isinf(lse[0]) && lse[0] < 0);
    lti_dev_close(&d);
}

static void test_ref_norms(void **state) {
    (void)state;
    lti_dev *d = open_dev("ref", NULL);
    float x[4] = {1, 3, 5, 9}, y[4];
    const float mod[8] = {10, 20, 1, 2, 100, 200, 3, 0}; /* frame 0: shift, scale; frame 1 */
    lti_tensor tx = LTI_VIEW(x, LTI_F32, 2, 2), ty = LTI_VIEW(y, LTI_F32, 2, 2);
    lti_norm_mod(d, tx, mod, mod + 2, 4, 1, 0, ty); /* normalised rows are (-1, 1) */
    assert_float_equal(y[0], -1 * 2 + 10, 1e-6);
    assert_float_equal(y[1], 1 * 3 + 20, 1e-6);
    assert_float_equal(y[2], -1 * 4 + 100, 1e-5);
    assert_float_equal(y[3], 1 * 1 + 200, 1e-5);
    lti_layer_norm(d, tx, mod, mod + 2, 0, ty);
    assert_float_equal(y[0], -1 * 10 + 1, 1e-6);
    assert_float_equal(y[3], 1 * 20 + 2, 1e-6);
    const float w[2] = {1, 2};
    lti_rms_norm(d, tx, w, 3, ty); /* mean square 5, + 3 = 8 */
    assert_float_equal(y[1], 3 / sqrt(8) * 2, 1e-6);
    lti_chan_norm(d, tx, w, false, ty);
    assert_float_equal(y[1], 3 / sqrt(10) * sqrt(2) * 2, 1e-6);
    x[0] = x[1] = 0;
    lti_chan_norm(d, tx, w, true, ty);
    assert_true(y[0] == 0 && y[1] == 0);
    lti_dev_close(&d);
}

/* Composed from rms_norm and rope, or fused: the same numbers. */
static void test_composed_norm_rope(void **state) {
    (void)state;
    float x[4 * 24], table[4 * 8], w[24], fused[4 * 24], composed[4 * 24];
    lti_dev *d[2] = {open_dev("ref", NULL), open_dev("ref", "norm_rope")};
    assert_ptr_equal(d[0]->ops.norm_rope, lti_ops_ref.norm_rope);
    assert_ptr_not_equal(d[1]->ops.norm_rope, lti_ops_ref.norm_rope);
    lti_randn_op(d[0], LTI_VIEW(x, LTI_F32, 4, 24), 1, 2, 3);
    lti_randn_op(d[0], LTI_VIEW(w, LTI_F32, 24), 1, 3, 3);
    lti_randn_op(d[0], LTI_VIEW(table, LTI_F32, 4, 4, 2), 1, 4, 3);
    for (int norm_only = 0; norm_only < 2; norm_only++) {
        float *const out[2] = {fused, composed};
        for (int i = 0; i < 2; i++)
            lti_norm_rope(d[i], LTI_VIEW(x, LTI_F32, 4, 24), w, 1e-6f, norm_only ? NULL : table,
                          LTI_VIEW(out[i], LTI_F32, 4, 3, 8));
        assert_true(lti_compare_f32(composed, fused, 4 * 24).nmse < 1e-13);
    }
    lti_dev_close(&d[0]);
    lti_dev_close(&d[1]);
}

static void test_ref_rope(void **state) {
    (void)state;
    lti_dev *d = open_dev("ref", NULL);
    /* two rows of one head with four channels, three elements of something else after each row */
    const float x[11] = {1, 2, 3, 4, -9, -9, -9, 5, 6, 7, 8};
    const float table[8] = {0, 1, 1, 0, -1, 0, 0.6f, 0.8f}; /* 90, 0, 180 degrees, 3-4-5 */
    float y[8];
    lti_rope(d, LTI_VIEW((void *)x, LTI_F32, 2, 1, 4), 7, table, LTI_VIEW(y, LTI_F32, 2, 1, 4));
    const float want[8] = {-2, 1, 3, 4, -5, -6, 7 * 0.6f - 8 * 0.8f, 7 * 0.8f + 8 * 0.6f};
    for (int i = 0; i < 8; i++) assert_float_equal(y[i], want[i], 1e-6);
    const float w[4] = {1, 1, 2, 1}, z[4] = {1, 1, 1, 1};
    float u[4];
    lti_norm_rope(d, LTI_VIEW((void *)z, LTI_F32, 1, 4), w, 0, table,
                  LTI_VIEW(u, LTI_F32, 1, 1, 4));
    assert_true(u[0] == -1 && u[1] == 1 && u[2] == 2 && u[3] == 1);
    lti_norm_rope(d, LTI_VIEW((void *)z, LTI_F32, 1, 4), w, 0, NULL, LTI_VIEW(u, LTI_F32, 1, 1, 4));
    assert_memory_equal(u, w, sizeof w);
    lti_dev_close(&d);
}

static void test_ref_layout(void **state) {
    (void)state;
    lti_dev *d = open_dev("ref", NULL);
    /* one frame, two channels, 2x4: value = 100 c + 10 y + x */
    float x[16], y[16], z[16];
    for (int i = 0; i < 16; i++) x[i] = (float)(100 * (i / 8) + 10 * (i / 4 % 2) + i % 4);
    lti_tensor map = LTI_VIEW(x, LTI_F32, 1, 2, 2, 4), tok = LTI_VIEW(y, LTI_F32, 2, 8);
    lti_patchify(d, map, tok);
    const float want[16] = {0, 1, 10, 11, 100, 101, 110, 111, 2, 3, 12, 13, 102, 103, 112, 113};
    assert_memory_equal(y, want, sizeof want); /* c*4 + ph*2 + pw */
    for (int i = 0; i < 16; i++) y[i] = (float)i;
    lti_unpatchify(d, tok, LTI_VIEW(z, LTI_F32, 1, 2, 2, 4));
    /* channel 0, row 0: tokens' elements (0*2+0)*2, (0*2+1)*2 */
    const float back[16] = {0, 2, 8, 10, 4, 6, 12, 14, 1, 3, 9, 11, 5, 7, 13, 15};
    assert_memory_equal(z, back, sizeof back);
    lti_upsample2x(d, LTI_VIEW(x, LTI_F32, 1, 1, 2, 2), LTI_VIEW(z, LTI_F32, 1, 2, 4, 2));
    const float up[16] = {0, 1, 0, 1, 2, 3, 2, 3, 0, 1, 0, 1, 2, 3, 2, 3};
    assert_memory_equal(z, up, sizeof up);
    lti_time_unfold(d, LTI_VIEW(y, LTI_F32, 2, 1, 2, 4), LTI_VIEW(z, LTI_F32, 4, 1, 2, 2));
    const float unfolded[16] = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};
    assert_memory_equal(z, unfolded, sizeof unfolded);
    const float mul[2] = {2, 3}, add[2] = {1, -1};
    lti_latent_to_map(d, LTI_VIEW(y, LTI_F32, 2, 2, 1), mul, add, LTI_VIEW(z, LTI_F32, 2, 1, 2));
    assert_true(z[0] == 1 && z[1] == 5 && z[2] == 3 && z[3] == 8);
    const int32_t id[2] = {3, 0};
    lti_embed_rows(d, LTI_VIEW(y, LTI_F32, 4, 4), id, 2, LTI_VIEW(z, LTI_F32, 2, 4));
    assert_true(z[0] == 12 && z[3] == 15 && z[4] == 0 && z[7] == 3);
    lti_dev_close(&d);
}

static void test_ref_elementwise(void **state) {
    (void)state;
    lti_dev *d = open_dev("ref", NULL);
    const float x[6] = {-2, -1, -1.0f + 1.0f / 255, 0, 1, 9}, y[6] = {1, 1, 1, 2, 2, 2};
    uint8_t rgb[6];
    const lti_tensor tx = LTI_VIEW((void *)x, LTI_F32, 2, 3),
                     ty = LTI_VIEW((void *)y, LTI_F32, 2, 3);
    lti_to_rgb8(d, tx, LTI_VIEW(rgb, LTI_U8, 2, 3));
    const uint8_t want[6] = {0, 0, 1, 128, 255, 255}; /* 0.5 and 127.5 round up */
    assert_memory_equal(rgb + 3, want + 3, 3);
    assert_true(rgb[0] == 0 && rgb[1] == 0 && rgb[2] <= 1);
    float z[6];
    const lti_tensor tz = LTI_VIEW(z, LTI_F32, 2, 3);
    const float a[2] = {2, 3}, b[2] = {10, -1};
    lti_lincomb(d, tx, a, ty, b, tz);
    assert_true(z[0] == 6 && z[3] == -2 && z[5] == 25);
    const float gate[6] = {1, 2, 3, 4, 5, 6};
    for (int i = 0; i < 6; i++) z[i] = 1;
    lti_gated_add(d, tz, ty, gate, 3, 1);
    assert_true(z[0] == 2 && z[2] == 4 && z[3] == 9 && z[5] == 13);
    lti_gated_add(d, tz, ty, NULL, 0, 1);
    assert_true(z[0] == 3 && z[5] == 15);
    lti_unary(d, LTI_ACT_GELU_TANH, tx, tz);
    assert_float_equal(z[4], 0.8411920, 1e-6);
    assert_float_equal(z[0], -0.0454023, 1e-6);
    lti_unary(d, LTI_ACT_SILU, tx, tz);
    assert_float_equal(z[0], -0.2384058, 1e-6);
    lti_mul(d, tx, ty, tz);
    assert_true(z[5] == 18);
    lti_add(d, tx, ty, tz);
    assert_true(z[5] == 11);
    lti_dev_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_disable),
        cmocka_unit_test(test_mute_and_count),
        cmocka_unit_test(test_integer_weight_is_bad_input),
        cmocka_unit_test(test_ref_linear),
        cmocka_unit_test(test_ref_conv),
        cmocka_unit_test(test_ref_attention),
        cmocka_unit_test(test_ref_norms),
        cmocka_unit_test(test_composed_norm_rope),
        cmocka_unit_test(test_ref_rope),
        cmocka_unit_test(test_ref_layout),
        cmocka_unit_test(test_ref_elementwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_scale.c - 8-bit weights with scales in every convention, and scales that do not
 * fit. */
#include "tests/temp_rig.h"
#include "weights/weights_int.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FORMATS LT_SOURCE_DIR "/tests/golden/formats/"

static lti_weights *must_open(const char *path, lti_part part) {
    lti_weights *w = NULL;
    lt_error err = {0};
    if (lti_weights_open(path, part, &w, &err) != LT_OK) fail_msg("%s", err.msg);
    return w;
}

/* Every tensor of the want file, bit for bit; the scales are no tensors any more. */
static void check_file(const char *path, const char *want_path, const char *stored) {
    lti_weights *w = must_open(path, LTI_PART_DIT), *want = must_open(want_path, LTI_PART_NONE);
    assert_int_equal(lti_weights_count(w), 10); /* five weights, five biases */
    for (int i = 0; i < lti_weights_count(want); i++) {
        const lti_tensor *t;
        const char *name = lti_weights_name(want, i, &t);
        lti_tensor got;
        lt_error err = {0};
        if (lti_weights_get(w, name, t->rank, t->n, &got, &err) != LT_OK) fail_msg("%s", err.msg);
        const int64_t n = lti_numel(t), cols = t->n[1];
        float *x = malloc((size_t)n * 4), *y = malloc((size_t)n * 4);
        lti_to_f32(&got, x);
        lti_to_f32(t, y);
        assert_memory_equal(x, y, (size_t)n * 4);
        assert_int_equal(lti_weights_rows(w, name, 3, 5, x, &err), LT_OK);
        assert_memory_equal(x, y + 3 * cols, (size_t)(5 * cols) * 4);
        free(x);
        free(y);
    }
    bool seen = false;
    for (int i = 0; i < lti_weights_count(w); i++)
        seen |= !strcmp(lti_weights_stored(w, i, NULL), stored);
    assert_true(seen);
    lti_weights_close(&w);
    lti_weights_close(&want);
}

static void test_conventions(void **state) {
    (void)state;
    check_file(FORMATS "fp8_comfy.safetensors", FORMATS "fp8_comfy.want.safetensors",
               "F8_E4M3 scaled");
    check_file(FORMATS "fp8_rows.safetensors", FORMATS "fp8_rows.want.safetensors",
               "F8_E5M2 scaled");
    check_file(FORMATS "i8_rows.safetensors", FORMATS "i8_rows.want.safetensors", "I8 scaled");
    check_file(FORMATS "fp8_plain.safetensors", FORMATS "fp8_plain.want.safetensors", "F8_E4M3");
}

/* What torch rounds f32 to. */
static void test_e4m3(void **state) {
    (void)state;
    lti_weights *w = must_open(FORMATS "e4m3.safetensors", LTI_PART_NONE);
    lti_tensor x, want;
    assert_int_equal(lti_weights_get(w, "x", 1, (const int64_t[]){-1}, &x, NULL), LT_OK);
    assert_int_equal(lti_weights_get(w, "e4m3", 1, x.n, &want, NULL), LT_OK);
    for (int64_t i = 0; i < x.n[0]; i++) {
        const float f = lti_get_f32(&x, i);
        const int got = lti_f32_to_f8e4m3(f), wanted = (int)lti_get_f32(&want, i);
        if (got != wanted) fail_msg("%a gives %02x, torch %02x", (double)f, got, wanted);
    }
    lti_weights_close(&w);
    for (int b = 0; b < 256; b++) /* every value comes back; NaN has one form with each sign */
        assert_int_equal(lti_f32_to_f8e4m3(lti_f8e4m3_to_f32((uint8_t)b)), b);
    assert_int_equal(lti_f32_to_f8e4m3(1e9f), 0x7e);
    assert_int_equal(lti_f32_to_f8e4m3(-INFINITY), 0xfe);
    assert_int_equal(lti_f32_to_f8e4m3(460.0f), 0x7e);
}

static const float one[4] = {1, 1, 1, 1}, zero[4], bad[4] = {1, NAN, 1, 1};
static const uint8_t bytes[64];

#define W(name, ...)                                                                               \
    { name, LTI_VIEW((void *)(uintptr_t)bytes, LTI_F8_E4M3, __VA_ARGS__) }
#define S(name, p, ...)                                                                            \
    { name, LTI_VIEW((void *)(uintptr_t)(p), LTI_F32, __VA_ARGS__) }
#define Q "blocks.0.self_attn.q"

static lt_status open_list(const lti_named *list, int n, lt_error *err) {
    lti_weights *w = NULL;
    const char *file = in_dir("x.safetensors");
    *err = (lt_error){0};
    assert_int_equal(lti_safetensors_write(file, list, n, err), LT_OK);
    const lt_status st = lti_weights_open(file, LTI_PART_DIT, &w, err);
    lti_weights_close(&w);
    return st;
}

static void refused(const lti_named *list, int n, lt_status code, const char *part) {
    lt_error err;
    const lt_status st = open_list(list, n, &err);
    if (st != code || !strstr(err.msg, part) || strncmp(err.msg, dir, strlen(dir)))
        fail_msg("gave %d '%s', expected %d with '%s'", st, err.msg, code, part);
}

static void test_shapes(void **state) {
    (void)state;
    lt_error err;
    const lti_named row[] = {W(Q ".weight", 4, 3), S(Q ".weight_scale", one, 4)};
    assert_int_equal(open_list(row, 2, &err), LT_OK);
    const lti_named column[] = {W(Q ".weight", 4, 3), S(Q ".weight_scale", one, 4, 1)};
    assert_int_equal(open_list(column, 2, &err), LT_OK);
    const lti_named single[] = {W(Q ".weight", 4, 3), S(Q ".weight_scale", one, 1)};
    assert_int_equal(open_list(single, 2, &err), LT_OK);
    const lti_named conv[] = {W("patch_embedding.weight", 2, 3, 1, 2, 2),
                              S("patch_embedding.scale_weight", one, 2)};
    assert_int_equal(open_list(conv, 2, &err), LT_OK);
}

static void test_refused(void **state) {
    (void)state;
    const lti_named alone[] = {W(Q ".weight", 4, 3),
                               S("blocks.0.self_attn.k.scale_weight", one, 1)};
    refused(alone, 2, LT_EFORMAT, "without its weight 'blocks.0.self_attn.k.weight'");
    const lti_named across[] = {W(Q ".weight", 4, 3), S(Q ".weight_scale", one, 1, 3)};
    refused(across, 2, LT_EUNSUPPORTED, "3 values");
    const lti_named turned[] = {W(Q ".weight", 4, 3), S(Q ".weight_scale", one, 1, 4)};
    refused(turned, 2, LT_EUNSUPPORTED, "4 values");
    const lti_named none[] = {W(Q ".weight", 4, 3), S(Q ".weight_scale", one, 0)};
    refused(none, 2, LT_EUNSUPPORTED, "0 values");
    const lti_named no_rows[] = {W(Q ".weight", 0, 3), S(Q ".weight_scale", one, 0)};
    refused(no_rows, 2, LT_EUNSUPPORTED, "0 values");
    const lti_named zeroed[] = {W(Q ".weight", 4, 3), S(Q ".scale_weight", zero, 1)};
    refused(zeroed, 2, LT_EFORMAT, "value 0");
    const lti_named nan[] = {W(Q ".weight", 4, 3), S(Q ".weight_scale", bad, 4)};
    refused(nan, 2, LT_EFORMAT, "nan");
    const lti_named two[] = {W(Q ".weight", 4, 3), S(Q ".scale_weight", one, 1),
                             S(Q ".weight_scale", one, 1)};
    refused(two, 3, LT_EFORMAT, "two scales");
    const lti_named ints[] = {{Q ".weight", LTI_VIEW((void *)(uintptr_t)bytes, LTI_I32, 4, 3)},
                              S(Q ".scale_weight", one, 1)};
    refused(ints, 2, LT_EUNSUPPORTED, "I32");
    const lti_named blocks[] = {{Q ".weight", LTI_VIEW((void *)(uintptr_t)bytes, LTI_U8, 4, 3)},
                                W(Q ".weight_scale", 4, 2)};
    refused(blocks, 2, LT_EUNSUPPORTED, "U8");
    const lti_named mx[] = {W(Q ".weight", 4, 6), W(Q ".weight_scale", 4, 2)};
    refused(mx, 2, LT_EUNSUPPORTED, "MXFP8");
    const lti_named fp4[] = {W(Q ".weight", 4, 3), S(Q ".weight_scale_2", one, 1)};
    refused(fp4, 2, LT_EUNSUPPORTED, "NVFP4");
    const char *note = "{\"format\": \"nvfp4\"}";
    const lti_named quant[] = {
        W(Q ".weight", 4, 3),
        {Q ".comfy_quant", LTI_VIEW((void *)(uintptr_t)note, LTI_U8, (int64_t)strlen(note))}};
    refused(quant, 2, LT_EUNSUPPORTED, "nvfp4");
}

#define BIG 600 /* columns; large enough for the buffer that tensors share one after the other */

/* Element i of what write_big wrote for matrix m. */
static float big_value(int m, int64_t i) {
    return lti_f8e4m3_to_f32((uint8_t)((i * 7 + m * 31) % 0x7f)) * (float)(m + 1);
}

/* blocks.m.ffn.0 [200 (m + 1), BIG], m = 0, 1, 2 */
static const char *write_big(void) {
    static uint8_t data[3][600 * BIG];
    static float scale[3] = {1, 2, 3};
    static char name[6][48];
    const char *file = in_dir("big.safetensors");
    lti_named list[6];
    for (int m = 0; m < 3; m++) {
        const int64_t rows = 200 * (m + 1);
        for (int64_t i = 0; i < rows * BIG; i++) data[m][i] = (uint8_t)((i * 7 + m * 31) % 0x7f);
        snprintf(name[2 * m], 48, "blocks.%d.ffn.0.weight", m);
        snprintf(name[2 * m + 1], 48, "blocks.%d.ffn.0.scale_weight", m);
        list[2 * m] = (lti_named){name[2 * m], LTI_VIEW(data[m], LTI_F8_E4M3, rows, BIG)};
        list[2 * m + 1] = (lti_named){name[2 * m + 1], LTI_VIEW(&scale[m], LTI_F32, 1)};
    }
    assert_int_equal(lti_safetensors_write(file, list, 6, NULL), LT_OK);
    return file;
}

static const float *get_big(lti_weights *w, int m) {
    char name[48];
    lti_tensor t;
    snprintf(name, sizeof name, "blocks.%d.ffn.0.weight", m);
    assert_int_equal(lti_weights_get(w, name, 2, (const int64_t[]){-1, BIG}, &t, NULL), LT_OK);
    return t.data;
}

static void check_big(const float *x, int m) {
    for (int64_t i = 0; i < 200 * (m + 1) * BIG; i++)
        if (x[i] != big_value(m, i)) fail_msg("matrix %d, element %lld", m, (long long)i);
}

/* Several decoded tensors at once, then others in the place of one of them. */
static void test_buffer(void **state) {
    (void)state;
    lti_weights *w = must_open(write_big(), LTI_PART_DIT);
    const float *b = get_big(w, 1), *a = get_big(w, 0), *c = get_big(w, 2);
    assert_ptr_equal(get_big(w, 1), b);
    check_big(a, 0), check_big(b, 1), check_big(c, 2);
    lti_weights_forget(w);
    a = get_big(w, 0); /* fits where b was */
    check_big(a, 0);
    lti_weights_forget(w);
    c = get_big(w, 2); /* does not */
    b = get_big(w, 1);
    check_big(c, 2), check_big(b, 1);
    lti_weights_release(w);
    lti_weights_release(w);
    check_big(get_big(w, 1), 1);
    lti_weights_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conventions), cmocka_unit_test(test_e4m3),
        cmocka_unit_test(test_shapes),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_buffer),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_tensor.c - dtypes, views, conversions (exhaustive where 16 bits allow), compare.
 */
#include "tensor/tensor.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* Value of a small float from its fields, in double: the definition. */
static double small_float(unsigned bits, int exp_bits, int man_bits, int bias) {
    const unsigned man = bits & ((1u << man_bits) - 1u);
    const int exp = (int)(bits >> man_bits) & ((1 << exp_bits) - 1);
    const double sign = bits >> (exp_bits + man_bits) & 1u ? -1.0 : 1.0;
    if (exp == 0) return sign * ldexp(man, 1 - bias - man_bits);
    return sign * ldexp(1.0 + ldexp(man, -man_bits), exp - bias);
}

static void test_views(void **state) {
    (void)state;
    float data[24];
    lti_tensor t = LTI_VIEW(data, LTI_F32, 2, 3, 4);
    assert_int_equal(t.rank, 3);
    assert_int_equal(t.n[3], 1);
    assert_int_equal(lti_numel(&t), 24);
    assert_int_equal(lti_nbytes(&t), 96);
    const lti_tensor r = lti_rows(t, 1, 1);
    assert_ptr_equal(r.data, data + 12);
    assert_int_equal(r.n[0], 1);
    lti_tensor none = LTI_VIEW(data, LTI_BF16, 0, 5);
    assert_int_equal(lti_numel(&none), 0);
    assert_ptr_equal(lti_rows(none, 0, 0).data, data);
    assert_string_equal(lti_dtype_name(LTI_F8_E4M3), "F8_E4M3");
    assert_int_equal(lti_dtype_size(LTI_F64), 8);
    assert_int_equal(lti_dtype_size(LTI_BOOL), 1);
}

static void test_f16_all_values(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        const float f = lti_f16_to_f32((uint16_t)h);
        if ((h & 0x7c00u) == 0x7c00u) { /* infinity and NaN */
            if (h & 0x3ffu) assert_true(isnan(f) && isnan(lti_f16_to_f32(lti_f32_to_f16(f))));
            else assert_true(isinf(f) && (f < 0) == (h >> 15 == 1) && lti_f32_to_f16(f) == h);
            continue;
        }
        assert_true((double)f == small_float(h, 5, 10, 15));
        assert_int_equal(signbit(f) != 0, h >> 15);
        assert_int_equal(lti_f32_to_f16(f), h);
    }
}

static void test_f16_rounding(void **state) {
    (void)state;
    /* Between two neighbours a < b: below the middle gives a, above b, the middle the even one. */
    for (unsigned h = 0; h < 0x7bff; h++) {
        const float a = lti_f16_to_f32((uint16_t)h), b = lti_f16_to_f32((uint16_t)(h + 1));
        const float mid = (a + b) * 0.5f;
        assert_int_equal(lti_f32_to_f16(mid), h + (h & 1u));
        assert_int_equal(lti_f32_to_f16(nextafterf(mid, 0.0f)), h);
        assert_int_equal(lti_f32_to_f16(nextafterf(mid, 1e9f)), h + 1);
        assert_int_equal(lti_f32_to_f16(-mid), 0x8000u | (h + (h & 1u)));
    }
    assert_int_equal(lti_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(lti_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(lti_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(lti_f32_to_f16(1e-30f), 0);
    assert_int_equal(lti_f32_to_f16(from_bits(1)), 0);
}

static void test_bf16(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        const float f = lti_bf16_to_f32((uint16_t)h);
        if (isnan(f)) assert_true(isnan(lti_bf16_to_f32(lti_f32_to_bf16(f))));
        else assert_int_equal(lti_f32_to_bf16(f), h);
        if (isfinite(f) && (h & 0x7fffu) < 0x7f7fu) {
            const uint32_t u = h << 16;
            assert_int_equal(lti_f32_to_bf16(from_bits(u + 0x7fffu)), h);
            assert_int_equal(lti_f32_to_bf16(from_bits(u + 0x8000u)), h + (h & 1u));
            assert_int_equal(lti_f32_to_bf16(from_bits(u + 0x8001u)), h + 1);
        }
    }
    assert_true(isnan(lti_bf16_to_f32(lti_f32_to_bf16(from_bits(0x7f800001u))))); /* not infinity */
    assert_int_equal(lti_f32_to_bf16(3.4028235e38f), 0x7f80);                     /* rounds up */
}

static void test_f8(void **state) {
    (void)state;
    for (unsigned b = 0; b < 256; b++) {
        const float e4 = lti_f8e4m3_to_f32((uint8_t)b), e5 = lti_f8e5m2_to_f32((uint8_t)b);
        if ((b & 0x7fu) == 0x7fu) assert_true(isnan(e4));
        else assert_true((double)e4 == small_float(b, 4, 3, 7));
        if ((b & 0x7fu) == 0x7cu) assert_true(isinf(e5));
        else if ((b & 0x7cu) == 0x7cu) assert_true(isnan(e5));
        else assert_true((double)e5 == small_float(b, 5, 2, 15));
    }
    assert_true(lti_f8e4m3_to_f32(0x7e) == 448.0f);
    assert_true(lti_f8e5m2_to_f32(0x7b) == 57344.0f);
}

/* Each dtype: the value -3 (or 3, or true) at element 1 of an unaligned buffer. */
static void test_get_every_dtype(void **state) {
    (void)state;
    const float f32 = -3;
    const double f64 = -3;
    const uint16_t bf16 = 0xC040, f16 = 0xC200;
    const int64_t i64 = -3;
    const int32_t i32 = -3;
    const int16_t i16 = -3;
    const int8_t i8 = -3;
    const uint8_t u8 = 253, yes = 7, e4 = 0xC4, e5 = 0xC2;
    const struct {
        lti_dtype t;
        const void *p;
        float want;
    } c[] = {
        {LTI_F32, &f32, -3},    {LTI_BF16, &bf16, -3},  {LTI_F16, &f16, -3}, {LTI_F64, &f64, -3},
        {LTI_F8_E4M3, &e4, -3}, {LTI_F8_E5M2, &e5, -3}, {LTI_I64, &i64, -3}, {LTI_I32, &i32, -3},
        {LTI_I16, &i16, -3},    {LTI_I8, &i8, -3},      {LTI_U8, &u8, 253},  {LTI_BOOL, &yes, 1},
    };
    assert_int_equal(sizeof c / sizeof *c, LTI_DTYPE_COUNT);
    for (int i = 0; i < LTI_DTYPE_COUNT; i++) {
        uint8_t raw[32] = {0};
        const size_t size = lti_dtype_size(c[i].t);
        memcpy(raw + 1 + size, c[i].p, size);
        const lti_tensor t = LTI_VIEW(raw + 1, c[i].t, 2);
        float all[2];
        lti_to_f32(&t, all);
        assert_true(all[0] == 0.0f && all[1] == c[i].want);
        assert_true(lti_get_f32(&t, 1) == c[i].want);
    }
}

static void test_from_f32(void **state) {
    (void)state;
    const float src[3] = {1.0f, -2.5f, 3.1415927f};
    uint16_t h[3];
    float f[3];
    lti_from_f32(src, 3, LTI_F32, f);
    assert_memory_equal(src, f, sizeof f);
    lti_from_f32(src, 3, LTI_BF16, h);
    assert_int_equal(h[0], 0x3f80);
    assert_int_equal(h[2], 0x4049);
    lti_from_f32(src, 3, LTI_F16, h);
    assert_int_equal(h[0], 0x3c00);
    assert_int_equal(h[2], 0x4248);
    lti_from_f32(src, 0, LTI_F32, NULL);
}

static void test_compare(void **state) {
    (void)state;
    const float want[4] = {1, 2, -2, 0}, got[4] = {1, 2, -1, 0};
    lti_diff d = lti_compare_f32(got, want, 4);
    assert_true(fabs(d.nmse - 1.0 / 9.0) < 1e-12 && fabs(d.rel - 1.0 / 3.0) < 1e-12);
    assert_true(d.max_abs == 1.0 && d.worst == 2 && d.finite);
    assert_true(fabs(d.cosine - 7.0 / (3.0 * sqrt(6.0))) < 1e-12);
    d = lti_compare_f32(want, want, 4);
    assert_true(d.nmse == 0.0 && d.finite && fabs(d.cosine - 1.0) < 1e-12);
    const float zero[4] = {0};
    d = lti_compare_f32(got, zero, 4);
    assert_true(isinf(d.nmse) && d.cosine == 0.0 && d.finite);
    d = lti_compare_f32(zero, zero, 4);
    assert_true(d.nmse == 0.0 && d.cosine == 1.0);
    d = lti_compare_f32(NULL, NULL, 0);
    assert_true(d.nmse == 0.0 && d.finite);
}

/* Long tensors of one-byte types take another way to the same bits. */
static void test_many_bytes(void **state) {
    (void)state;
    static const lti_dtype types[] = {LTI_F8_E4M3, LTI_F8_E5M2, LTI_I8, LTI_U8, LTI_BOOL};
    static uint8_t bytes[2001];
    static float all[2000];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 5);
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        const lti_tensor t = LTI_VIEW(bytes + 1, types[k], 2000);
        lti_to_f32(&t, all);
        for (int64_t i = 0; i < 2000; i++) {
            const float want = lti_get_f32(&t, i);
            assert_memory_equal(&all[i], &want, sizeof want);
        }
    }
}

static void test_compare_not_finite(void **state) {
    (void)state;
    const float a[4] = {1, -INFINITY, 3, 4};
    lti_diff d = lti_compare_f32(a, a, 4);
    assert_true(d.nmse == 0.0 && d.finite); /* the same infinity agrees */
    const float b[4] = {9, -INFINITY, NAN, 4};
    d = lti_compare_f32(b, a, 4);
    assert_true(!d.finite && d.worst == 2 && isinf(d.nmse) && isinf(d.rel));
    d = lti_compare_f32(a, b, 4);
    assert_true(!d.finite && d.worst == 2 && !(d.nmse <= 1.0));
    const float c[4] = {1, INFINITY, 3, 4};
    d = lti_compare_f32(c, a, 4);
    assert_true(!d.finite && d.worst == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views),        cmocka_unit_test(test_f16_all_values),
        cmocka_unit_test(test_f16_rounding), cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_f8),           cmocka_unit_test(test_get_every_dtype),
        cmocka_unit_test(test_from_f32),     cmocka_unit_test(test_many_bytes),
        cmocka_unit_test(test_compare),      cmocka_unit_test(test_compare_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

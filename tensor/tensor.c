/* SPDX-License-Identifier: Apache-2.0
 * tensor/tensor.c - dtype table, conversions, comparison.
 *
 * Every read goes through memcpy: views of mapped weight files may be unaligned. */
#include "tensor/tensor.h"
#include "base/error.h"
#include <math.h>

static const struct {
    const char *name;
    size_t size;
} dtype_table[LTI_DTYPE_COUNT] = {
    [LTI_F32] = {"F32", 4}, [LTI_BF16] = {"BF16", 2},       [LTI_F16] = {"F16", 2},
    [LTI_F64] = {"F64", 8}, [LTI_F8_E4M3] = {"F8_E4M3", 1}, [LTI_F8_E5M2] = {"F8_E5M2", 1},
    [LTI_I64] = {"I64", 8}, [LTI_I32] = {"I32", 4},         [LTI_I16] = {"I16", 2},
    [LTI_I8] = {"I8", 1},   [LTI_U8] = {"U8", 1},           [LTI_BOOL] = {"BOOL", 1},
};

size_t lti_dtype_size(lti_dtype t) {
    LT_ASSERT((unsigned)t < LTI_DTYPE_COUNT);
    return dtype_table[t].size;
}

const char *lti_dtype_name(lti_dtype t) {
    return (unsigned)t < LTI_DTYPE_COUNT ? dtype_table[t].name : "?";
}

/* 1 sign, 5 exponent (bias 15), 10 mantissa bits. */
float lti_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exp = (h >> 10) & 0x1fu, man = h & 0x3ffu;
    if (exp == 0) { /* zero and subnormals: man * 2^-24, exact in f32 */
        float f = (float)man * 0x1p-24f;
        return sign ? -f : f;
    }
    uint32_t u = sign | (exp == 31 ? 0x7f800000u : (exp + 112) << 23) | man << 13;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* Shift right by s in 1..31, round to nearest even. */
static uint32_t shift_rne(uint32_t v, unsigned s) {
    uint32_t half = (1u << (s - 1)) - 1u + ((v >> s) & 1u);
    return (v + half) >> s;
}

uint16_t lti_f32_to_f16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    uint16_t sign = (uint16_t)((u >> 16) & 0x8000u);
    uint32_t mag = u & 0x7fffffffu;
    if (mag > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);  /* NaN */
    if (mag >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* >= 65536 and infinity */
    if (mag >=
        0x38800000u) /* normal; a carry out of the mantissa rounds 65520 and up to infinity */
        return (uint16_t)(sign | shift_rne(mag - 0x38000000u, 13));
    uint32_t exp = mag >> 23;
    if (exp < 102) return sign; /* below half of the smallest subnormal, 2^-25 */
    uint32_t man = (mag & 0x7fffffu) | 0x800000u;
    return (uint16_t)(sign | shift_rne(man, 126 - exp));
}

/* 1 sign, 4 exponent (bias 7), 3 mantissa bits; only 0x7f and 0xff are NaN, 448 is the largest. */
float lti_f8e4m3_to_f32(uint8_t b) {
    unsigned exp = (b >> 3) & 15u, man = b & 7u;
    float f = exp == 15 && man == 7 ? NAN
              : exp == 0            ? (float)man * 0x1p-9f
                                    : ldexpf(1.0f + (float)man * 0.125f, (int)exp - 7);
    return b & 0x80u ? -f : f;
}

/* The upper half of an f16. */
float lti_f8e5m2_to_f32(uint8_t b) { return lti_f16_to_f32((uint16_t)(b << 8)); }

uint8_t lti_f32_to_f8e4m3(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    const uint8_t sign = (uint8_t)(u >> 24 & 0x80u);
    const uint32_t mag = u & 0x7fffffffu;
    if (mag > 0x7f800000u) return (uint8_t)(sign | 0x7f);
    if (mag >= 0x43e00000u) return (uint8_t)(sign | 0x7e); /* 448 and up, infinity */
    if (mag >= 0x3c800000u) { /* normal, 2^-6 and up; up to 464 rounds to 448 */
        const uint32_t r = shift_rne(mag - 0x3c000000u, 20);
        return (uint8_t)(sign | (r > 0x7e ? 0x7e : r));
    }
    const uint32_t exp = mag >> 23;
    if (exp < 117) return sign; /* below half of the smallest subnormal, 2^-10 */
    const uint32_t man = (mag & 0x7fffffu) | 0x800000u;
    return (uint8_t)(sign | shift_rne(man, 141 - exp));
}

#define READ_AS(type, p)                                                                           \
    type v;                                                                                        \
    memcpy(&v, p, sizeof v)

float lti_get_f32(const lti_tensor *t, int64_t i) {
    const uint8_t *p = (const uint8_t *)t->data + (size_t)i * lti_dtype_size(t->dtype);
    switch (t->dtype) {
    case LTI_F32: {
        READ_AS(float, p);
        return v;
    }
    case LTI_BF16: {
        READ_AS(uint16_t, p);
        return lti_bf16_to_f32(v);
    }
    case LTI_F16: {
        READ_AS(uint16_t, p);
        return lti_f16_to_f32(v);
    }
    case LTI_F64: {
        READ_AS(double, p);
        return (float)v;
    }
    case LTI_F8_E4M3:
        return lti_f8e4m3_to_f32(*p);
    case LTI_F8_E5M2:
        return lti_f8e5m2_to_f32(*p);
    case LTI_I64: {
        READ_AS(int64_t, p);
        return (float)v;
    }
    case LTI_I32: {
        READ_AS(int32_t, p);
        return (float)v;
    }
    case LTI_I16: {
        READ_AS(int16_t, p);
        return (float)v;
    }
    case LTI_I8:
        return (float)(int8_t)*p;
    case LTI_U8:
        return (float)*p;
    case LTI_BOOL:
        return *p ? 1.0f : 0.0f;
    case LTI_DTYPE_COUNT:
        break;
    }
    LT_ASSERT(!"dtype");
    return 0.0f;
}

/* Of the types of one byte: each of the 256 values is computed once. */
static void bytes_to_f32(const lti_tensor *src, int64_t n, float *dst) {
    float value[256];
    for (int i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        const lti_tensor one = LTI_VIEW(&byte, src->dtype, 1);
        value[i] = lti_get_f32(&one, 0);
    }
    const uint8_t *p = src->data;
    for (int64_t i = 0; i < n; i++) dst[i] = value[p[i]];
}

void lti_to_f32(const lti_tensor *src, float *dst) {
    int64_t n = lti_numel(src);
    if (n == 0) return;
    if (src->dtype == LTI_F32) {
        memcpy(dst, src->data, (size_t)n * 4);
    } else if (src->dtype == LTI_BF16) { /* the common weight dtype: keep it fast */
        const uint8_t *p = src->data;
        for (int64_t i = 0; i < n; i++) {
            READ_AS(uint16_t, p + 2 * i);
            dst[i] = lti_bf16_to_f32(v);
        }
    } else if (lti_dtype_size(src->dtype) == 1 && n > 1024) {
        bytes_to_f32(src, n, dst);
    } else {
        for (int64_t i = 0; i < n; i++) dst[i] = lti_get_f32(src, i);
    }
}

void lti_from_f32(const float *src, int64_t n, lti_dtype dt, void *dst) {
    LT_ASSERT(dt == LTI_F32 || dt == LTI_BF16 || dt == LTI_F16);
    if (n == 0) return;
    if (dt == LTI_F32) {
        memmove(dst, src, (size_t)n * 4);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = dt == LTI_BF16 ? lti_f32_to_bf16(src[i]) : lti_f32_to_f16(src[i]);
        memcpy((char *)dst + 2 * i, &h, 2);
    }
}

lti_diff lti_compare_f32(const float *got, const float *want, int64_t n) {
    lti_diff d = {.cosine = 1.0, .finite = true};
    double err = 0.0, gg = 0.0, ww = 0.0, gw = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double g = got[i], w = want[i], e = fabs(g - w);
        if (isinf(g) && g == w) continue; /* the same infinity is agreement, e.g. an empty lse */
        if (!isfinite(e)) {
            d.finite = false;
            d.worst = i;
            d.nmse = d.rel = d.max_abs = INFINITY; /* no bound can hold */
            d.cosine = 0.0;
            return d;
        }
        err += e * e;
        gg += g * g;
        ww += w * w;
        gw += g * w;
        if (e > d.max_abs) {
            d.max_abs = e;
            d.worst = i;
        }
    }
    d.nmse = err == 0.0 ? 0.0 : ww > 0.0 ? err / ww : INFINITY;
    d.rel = sqrt(d.nmse);
    if (gg > 0.0 && ww > 0.0) d.cosine = gw / (sqrt(gg) * sqrt(ww));
    else if (gg != ww) d.cosine = 0.0;
    return d;
}

/* SPDX-License-Identifier: Apache-2.0
 * weights/ggml.c - quantized blocks to F32.
 *
 * A block of 32 elements has one scale d: y = d q (+ m). A "K" block of 256 elements has scales of
 * scales: y = (d sc) q - (dmin m), sc and m small integers, one pair per 16 or 32 elements.
 * Nibbles are stored in planes: the low halves of a run of bytes come first, then the high halves,
 * never alternating. Reference: ggml-quants.c and ggml-common.h (ggml-org/ggml d99724f).
 *
 * The products are rounded in this order on purpose: no fused multiply-add (gcc forbids it in ISO
 * mode, clang is told). Every inner loop has a constant count and restricted
 * pointers, so the compiler turns it into vector code; on x86 the whole is compiled twice, for the
 * baseline and for AVX2. */
#include "weights/ggml.h"
#include "base/error.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#define INLINE static inline __attribute__((always_inline))
#define IN const uint8_t *restrict b
#define OUT float *restrict y

/* Name, decoder of one block, elements of it, bytes of it. */
#define DECODED(X)                                                                                 \
    X(Q4_0, q4_0, 32, 18)                                                                          \
    X(Q4_1, q4_1, 32, 20)                                                                          \
    X(Q5_0, q5_0, 32, 22)                                                                          \
    X(Q5_1, q5_1, 32, 24)                                                                          \
    X(Q8_0, q8_0, 32, 34)                                                                          \
    X(Q2_K, q2_k, 256, 84)                                                                         \
    X(Q3_K, q3_k, 256, 110)                                                                        \
    X(Q4_K, q4_k, 256, 144)                                                                        \
    X(Q5_K, q5_k, 256, 176)                                                                        \
    X(Q6_K, q6_k, 256, 210)                                                                        \
    X(IQ4_NL, iq4_nl, 32, 18)

#define PLAIN(id, name, bytes, dtype)                                                              \
    { id, name, 1, bytes, dtype }
#define BLOCK(name, fn, block, bytes) {LTI_GGML_##name, #name, block, bytes, LTI_DTYPE_COUNT},
#define UNREAD(id, name)                                                                           \
    { id, name, 0, 0, LTI_DTYPE_COUNT }
static const lti_ggml_type types[] = {
    PLAIN(0, "F32", 4, LTI_F32),
    PLAIN(1, "F16", 2, LTI_F16),
    DECODED(BLOCK)
    /* integers, doubles */
    PLAIN(24, "I8", 1, LTI_I8),
    PLAIN(25, "I16", 2, LTI_I16),
    PLAIN(26, "I32", 4, LTI_I32),
    PLAIN(27, "I64", 8, LTI_I64),
    PLAIN(28, "F64", 8, LTI_F64),
    PLAIN(30, "BF16", 2, LTI_BF16),
    UNREAD(9, "Q8_1"),
    UNREAD(15, "Q8_K"),
    UNREAD(16, "IQ2_XXS"),
    UNREAD(17, "IQ2_XS"),
    UNREAD(18, "IQ3_XXS"),
    UNREAD(19, "IQ1_S"),
    UNREAD(21, "IQ3_S"),
    UNREAD(22, "IQ2_S"),
    UNREAD(23, "IQ4_XS"),
    UNREAD(29, "IQ1_M"),
    UNREAD(34, "TQ1_0"),
    UNREAD(35, "TQ2_0"),
    UNREAD(39, "MXFP4"),
};

const lti_ggml_type *lti_ggml_find(uint32_t id) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

/* -- parts --------------------------------------------------------------------------------- */

/* A half at any address. Without a table or a call: this runs once per 32 elements. */
INLINE float half(const uint8_t *p) {
    uint32_t h = (uint32_t)p[0] | (uint32_t)p[1] << 8, mag = h & 0x7fff;
    uint32_t u = (mag << 13) + (mag >= 0x7c00 ? 0x70000000u : 0x38000000u); /* exponent bias */
    float f;
    memcpy(&f, &u, 4);
    if (mag < 0x400) f = (float)mag * 0x1p-24f; /* zero and subnormals */
    return h & 0x8000 ? -f : f;
}

INLINE uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Scale and minimum j of the 8 pairs that Q4_K and Q5_K pack into 12 bytes, 6 bits each. */
INLINE void scale_min(const uint8_t *s, int j, int *sc, int *m) {
    if (j < 4) {
        *sc = s[j] & 63;
        *m = s[j + 4] & 63;
    } else {
        *sc = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *m = s[j + 4] >> 4 | (s[j] >> 6) << 4;
    }
}

/* -- blocks of 32 -------------------------------------------------------------------------- */

INLINE void q4_0(IN, OUT) { /* d, q[16] */
    const float d = half(b);
    for (int j = 0; j < 16; j++) y[j] = d * (float)((b[2 + j] & 15) - 8);
    for (int j = 0; j < 16; j++) y[16 + j] = d * (float)((b[2 + j] >> 4) - 8);
}

INLINE void q4_1(IN, OUT) { /* d, m, q[16] */
    const float d = half(b), m = half(b + 2);
    for (int j = 0; j < 16; j++) y[j] = d * (float)(b[4 + j] & 15) + m;
    for (int j = 0; j < 16; j++) y[16 + j] = d * (float)(b[4 + j] >> 4) + m;
}

/* Element j of 0..31 from 16 nibble bytes and a word of fifth bits. */
INLINE int five(const uint8_t *q, uint32_t high, int j) {
    int low = j < 16 ? q[j] & 15 : q[j - 16] >> 4;
    return low | (int)(high >> j & 1) << 4;
}

INLINE void q5_0(IN, OUT) { /* d, high[4], q[16] */
    const float d = half(b);
    const uint32_t high = le32(b + 2);
    for (int j = 0; j < 16; j++) y[j] = d * (float)(five(b + 6, high, j) - 16);
    for (int j = 16; j < 32; j++) y[j] = d * (float)(five(b + 6, high, j) - 16);
}

INLINE void q5_1(IN, OUT) { /* d, m, high[4], q[16] */
    const float d = half(b), m = half(b + 2);
    const uint32_t high = le32(b + 4);
    for (int j = 0; j < 16; j++) y[j] = d * (float)five(b + 8, high, j) + m;
    for (int j = 16; j < 32; j++) y[j] = d * (float)five(b + 8, high, j) + m;
}

INLINE void q8_0(IN, OUT) { /* d, q[32] */
    const float d = half(b);
    for (int j = 0; j < 32; j++) y[j] = d * (float)(int8_t)b[2 + j];
}

INLINE void iq4_nl(IN, OUT) { /* d, q[16]: indices of a table */
    static const float table[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};
    const float d = half(b);
    for (int j = 0; j < 16; j++) y[j] = d * table[b[2 + j] & 15];
    for (int j = 0; j < 16; j++) y[16 + j] = d * table[b[2 + j] >> 4];
}

/* -- blocks of 256 ------------------------------------------------------------------------- */

/* Q2_K and Q3_K order: run r of 16 elements takes 2 bits, `shift` up, of 16 bytes at `from`. */
INLINE int run_shift(int r) { return r / 2 % 4 * 2; }
INLINE int run_from(int r) { return r / 8 * 32 + r % 2 * 16; }

INLINE void q2_k(IN, OUT) { /* scales[16], q[64], d, dmin */
    const float d = half(b + 80), dmin = half(b + 82);
    for (int r = 0; r < 16; r++) {
        const uint8_t *q = b + 16 + run_from(r);
        const float dl = d * (float)(b[r] & 15), ml = dmin * (float)(b[r] >> 4);
        const int shift = run_shift(r);
        for (int l = 0; l < 16; l++) y[16 * r + l] = dl * (float)(q[l] >> shift & 3) - ml;
    }
}

INLINE void q3_k(IN, OUT) { /* high[32], q[64], scales[12], d */
    const uint8_t *s = b + 96;
    const float d = half(b + 108);
    for (int r = 0; r < 16; r++) {
        const uint8_t *q = b + 32 + run_from(r), *high = b + r % 2 * 16;
        const int low4 = r < 8 ? s[r] & 15 : s[r - 8] >> 4;
        const int sc = (low4 | (s[8 + r % 4] >> 2 * (r / 4) & 3) << 4) - 32;
        const float dl = d * (float)sc;
        const int shift = run_shift(r), bit = r / 2;
        for (int l = 0; l < 16; l++) /* the high bit is stored inverted: clear means minus 4 */
            y[16 * r + l] = dl * (float)((q[l] >> shift & 3) + (high[l] >> bit & 1) * 4 - 4);
    }
}

INLINE void q4_k(IN, OUT) { /* d, dmin, scales[12], q[128] */
    const float d = half(b), dmin = half(b + 2);
    for (int r = 0; r < 8; r++) { /* runs of 32 */
        int sc, m;
        scale_min(b + 4, r, &sc, &m);
        const uint8_t *q = b + 16 + r / 2 * 32;
        const float dl = d * (float)sc, ml = dmin * (float)m;
        const int shift = r % 2 * 4;
        for (int l = 0; l < 32; l++) y[32 * r + l] = dl * (float)(q[l] >> shift & 15) - ml;
    }
}

INLINE void q5_k(IN, OUT) { /* d, dmin, scales[12], high[32], q[128] */
    const float d = half(b), dmin = half(b + 2);
    const uint8_t *high = b + 16;
    for (int r = 0; r < 8; r++) {
        int sc, m;
        scale_min(b + 4, r, &sc, &m);
        const uint8_t *q = b + 48 + r / 2 * 32;
        const float dl = d * (float)sc, ml = dmin * (float)m;
        const int shift = r % 2 * 4;
        for (int l = 0; l < 32; l++)
            y[32 * r + l] = dl * (float)((q[l] >> shift & 15) | (high[l] >> r & 1) << 4) - ml;
    }
}

INLINE void q6_k(IN, OUT) { /* low[128], high[64], i8 scales[16], d */
    const float d = half(b + 208);
    for (int r = 0; r < 16; r++) { /* runs of 16 */
        const int part = r / 2 % 4;
        const uint8_t *low = b + r / 8 * 64 + part % 2 * 32 + r % 2 * 16;
        const uint8_t *high = b + 128 + r / 8 * 32 + r % 2 * 16;
        const float dl = d * (float)(int8_t)b[192 + r];
        const int s4 = part / 2 * 4, s2 = part * 2;
        for (int l = 0; l < 16; l++)
            y[16 * r + l] = dl * (float)(((low[l] >> s4 & 15) | (high[l] >> s2 & 3) << 4) - 32);
    }
}

/* -- all ----------------------------------------------------------------------------------- */

#define CASE(name, fn, block, bytes)                                                               \
    case LTI_GGML_##name:                                                                          \
        for (int64_t i = 0; i < n; i++) fn(src + i * (bytes), out + i * (block));                  \
        break;

INLINE void decode(int type, const uint8_t *src, int64_t n, float *out) {
    switch ((lti_ggml_id)type) {
        DECODED(CASE)
    default:
        LT_ASSERT(!"a ggml type that needs decoding");
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void decode_avx2(int type, const uint8_t *src, int64_t n,
                                                        float *out) {
    decode(type, src, n, out);
}
#endif

void lti_ggml_decode(int type, const uint8_t *src, int64_t n, float *out) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        decode_avx2(type, src, n, out);
        return;
    }
#endif
    decode(type, src, n, out);
}

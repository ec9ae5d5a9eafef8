/* SPDX-License-Identifier: Apache-2.0
 * tests/gguf_builder.h - GGUF images byte by byte, good or bad on purpose. */
#ifndef LT_TESTS_GGUF_BUILDER_H
#define LT_TESTS_GGUF_BUILDER_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct gguf_builder {
    uint8_t *p;
    size_t n, cap;
} gguf_builder;

static inline void gb_bytes(gguf_builder *b, const void *p, size_t n) {
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n);
        b->p = realloc(b->p, b->cap);
        if (!b->p) abort();
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}
static inline void gb_u(gguf_builder *b, uint64_t v, int bytes) {
    uint8_t raw[8];
    for (int i = 0; i < bytes; i++) raw[i] = (uint8_t)(v >> (8 * i));
    gb_bytes(b, raw, (size_t)bytes);
}
static inline void gb_str(gguf_builder *b, const char *s) {
    gb_u(b, strlen(s), 8);
    gb_bytes(b, s, strlen(s));
}
static inline gguf_builder gb_new(uint32_t version, uint64_t n_tensor, uint64_t n_kv) {
    gguf_builder b = {0};
    gb_bytes(&b, "GGUF", 4);
    gb_u(&b, version, 4);
    gb_u(&b, n_tensor, 8);
    gb_u(&b, n_kv, 8);
    return b;
}
static inline void gb_key(gguf_builder *b, const char *key, uint32_t type) {
    gb_str(b, key);
    gb_u(b, type, 4);
}
static inline void gb_tensor(gguf_builder *b, const char *name, int rank, const uint64_t *ne,
                             uint32_t type, uint64_t offset) {
    gb_str(b, name);
    gb_u(b, (uint64_t)rank, 4);
    for (int i = 0; i < rank; i++) gb_u(b, ne[i], 8);
    gb_u(b, type, 4);
    gb_u(b, offset, 8);
}
/* Zeros up to a multiple of alignment, then `data` bytes 0, 1, 2 ... */
static inline void gb_data(gguf_builder *b, size_t alignment, size_t data) {
    while (b->n % alignment) gb_u(b, 0, 1);
    for (size_t i = 0; i < data; i++) gb_u(b, i & 255, 1);
}
#define NE(...)                                                                                    \
    (const uint64_t[]) { __VA_ARGS__ }

#endif

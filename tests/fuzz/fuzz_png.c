/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_png.c - any bytes as a PNG picture. */
#include "base/error.h"
#include "encode/png_read.h"
#include "tests/fuzz/fuzz.h"
#include <stdlib.h>
#include <string.h>

static uint32_t crc(const uint8_t *p, size_t n) {
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++) c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
    }
    return ~c;
}

static void put32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Magic, the length of IHDR, sides small enough to be quick, and the sum of every chunk. */
void lt_fuzz_repair(uint8_t *data, size_t size) {
    static const uint8_t magic[16] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n',
                                      0,    0,   0,   13,  'I',  'H',  'D',  'R'};
    if (size < 33) return;
    memcpy(data, magic, 16);
    if (data[20] & 3) data[16] = data[17] = data[20] = data[21] = 0;
    for (size_t at = 8; at + 12 <= size;) {
        const size_t n = get32(data + at);
        if (n > size - at - 12) return;
        put32(data + at + 8 + n, crc(data + at + 4, n + 4));
        at += 12 + n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lti_picture pic;
    lt_error err = {0};
    const lt_status st = lti_png_decode(data, size, "fuzz", &pic, &err);
    LT_ASSERT((st == LT_OK) == (err.code == LT_OK) && (st == LT_OK) == (pic.rgb != NULL));
    LT_ASSERT(st == LT_OK || err.msg[0]);
    LT_ASSERT(pic.width <= LTI_PICTURE_MAX_SIDE && pic.height <= LTI_PICTURE_MAX_SIDE);
    uint8_t sum = 0;
    if (pic.rgb)
        for (size_t i = 0; i < 3 * (size_t)pic.width * (size_t)pic.height; i += 101)
            sum ^= pic.rgb[i];
    free(pic.rgb);
    return sum & 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * encode/none/md5.c - MD5 for builds without FFmpeg. Reference: RFC 1321. */
#include <libavutil/md5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct AVMD5 {
    uint32_t state[4], sine[64]; /* sine[i] = floor(2^32 |sin(i + 1)|) */
    uint64_t bytes;
    uint8_t rest[64]; /* bytes % 64 of them wait */
};

const int lti_md5_size = (int)sizeof(struct AVMD5);

struct AVMD5 *lti_md5_alloc(void) {
    return calloc(1, sizeof(struct AVMD5));
}

void lti_md5_init(struct AVMD5 *m) {
    static const uint32_t start[4] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};
    memset(m, 0, sizeof *m);
    memcpy(m->state, start, sizeof start);
    for (int i = 0; i < 64; i++) m->sine[i] = (uint32_t)(4294967296.0 * fabs(sin(i + 1.0)));
}

static void block(struct AVMD5 *m, const uint8_t *p) {
    static const int turn[4][4] = {
        {7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    uint32_t a = m->state[0], b = m->state[1], c = m->state[2], d = m->state[3], x[16];
    for (int i = 0; i < 16; i++)
        x[i] = (uint32_t)p[4 * i] | (uint32_t)p[4 * i + 1] << 8 | (uint32_t)p[4 * i + 2] << 16 |
               (uint32_t)p[4 * i + 3] << 24;
    for (int i = 0; i < 64; i++) {
        const int round = i / 16, by = turn[round][i % 4];
        const uint32_t f = round == 0   ? (b & c) | (~b & d)
                           : round == 1 ? (d & b) | (~d & c)
                           : round == 2 ? b ^ c ^ d
                                        : c ^ (b | ~d);
        const int at = (round == 0   ? i
                        : round == 1 ? 5 * i + 1
                        : round == 2 ? 3 * i + 5
                                     : 7 * i) %
                       16;
        const uint32_t v = a + f + m->sine[i] + x[at];
        a = d;
        d = c;
        c = b;
        b += v << by | v >> (32 - by);
    }
    m->state[0] += a;
    m->state[1] += b;
    m->state[2] += c;
    m->state[3] += d;
}

void lti_md5_update(struct AVMD5 *m, const uint8_t *p, size_t n) {
    size_t have = m->bytes % 64;
    m->bytes += n;
    while (n > 0) {
        const size_t take = n < 64 - have ? n : 64 - have;
        memcpy(m->rest + have, p, take);
        p += take;
        n -= take;
        have += take;
        if (have < 64) break;
        block(m, m->rest);
        have = 0;
    }
}

void lti_md5_final(struct AVMD5 *m, uint8_t sum[16]) {
    static const uint8_t pad[64] = {0x80};
    const uint64_t bits = 8 * m->bytes;
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> 8 * i);
    lti_md5_update(m, pad, 1 + (119 - m->bytes % 64) % 64);
    lti_md5_update(m, length, sizeof length);
    for (int i = 0; i < 16; i++) sum[i] = (uint8_t)(m->state[i / 4] >> 8 * (i % 4));
}

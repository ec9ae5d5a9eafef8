/* SPDX-License-Identifier: Apache-2.0
 * base/rng.c - Philox4x32-10 and the Gaussians made from it.
 *
 * One block gives four 32-bit words. The upper 24 bits of each become a uniform u = (x + 1) 2^-24
 * in (0, 1], exact in f32 and never 0, so that ln u is finite (|z| <= 5.77). Words (0, 1) give
 * elements 4i and 4i+1, words (2, 3) elements 4i+2 and 4i+3:
 *   r = sqrt(-2 ln u_a), z_a = r cos(2 pi u_b), z_b = r sin(2 pi u_b).
 * Constants and rounds: Salmon et al. 2011, section 4.3. */
#include "base/rng.h"
#include "base/error.h"
#include <math.h>

#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u /* golden ratio */
#define PHILOX_W1 0xBB67AE85u /* sqrt(3) - 1 */

void lti_philox(uint64_t seed, const uint32_t ctr[4], uint32_t out[4]) {
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3];
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0;
        uint64_t p1 = (uint64_t)PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static double uniform24(uint32_t x) { return ((double)(x >> 8) + 1.0) * 0x1p-24; }

static void box_muller(uint32_t a, uint32_t b, float z[2]) {
    double r = sqrt(-2.0 * log(uniform24(a)));
    double phi = 2.0 * 3.14159265358979323846 * uniform24(b);
    z[0] = (float)(r * cos(phi));
    z[1] = (float)(r * sin(phi));
}

void lti_randn(float *out, int64_t n, uint64_t seed, uint64_t frame, uint32_t step) {
    LT_ASSERT(n >= 0 && n <= (int64_t)UINT32_MAX * 4); /* the block index is 32 bits wide */
    uint32_t ctr[4] = {0, step, (uint32_t)frame, (uint32_t)(frame >> 32)};
    for (int64_t i = 0; i < n; i += 4) {
        uint32_t x[4];
        float z[4];
        ctr[0] = (uint32_t)(i / 4);
        lti_philox(seed, ctr, x);
        box_muller(x[0], x[1], z);
        box_muller(x[2], x[3], z + 2);
        for (int64_t j = 0; j < 4 && i + j < n; j++) out[i + j] = z[j];
    }
}

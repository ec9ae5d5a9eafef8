/* SPDX-License-Identifier: Apache-2.0
 * base/sha256.h - SHA-256, to name what a cached result was made from.
 *
 * Our own because nothing that the library links has a hash wide enough to trust files to: a
 * collision would be the wrong film, silently. Not used for secrets.
 * Reference: FIPS 180-4. */
#ifndef LT_BASE_SHA256_H
#define LT_BASE_SHA256_H
#include <stddef.h>
#include <stdint.h>

#define LTI_SHA256_SIZE 32

typedef struct lti_sha256 {
    uint32_t h[8];
    uint64_t n; /* bytes so far */
    uint8_t block[64];
} lti_sha256;

void lti_sha256_init(lti_sha256 *s);
void lti_sha256_add(lti_sha256 *s, const void *data, size_t n);
/* A length before the bytes, so that two fields never run into each other. */
void lti_sha256_field(lti_sha256 *s, const void *data, size_t n);
void lti_sha256_end(lti_sha256 *s, uint8_t out[LTI_SHA256_SIZE]);

#endif

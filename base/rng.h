/* SPDX-License-Identifier: Apache-2.0
 * base/rng.h - Philox4x32-10: randomness as a function, not a state.
 *
 * key = seed, counter = (element / 4, step, latent frame low, latent frame high). The same element
 * has the same value on every backend, chunking, thread count and after a resume.
 * Gaussians: Box-Muller on the four 24-bit uniforms of one block, in double, rounded once.
 * Reference: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". */
#ifndef LT_BASE_RNG_H
#define LT_BASE_RNG_H
#include <stdint.h>

void lti_philox(uint64_t seed, const uint32_t ctr[4], uint32_t out[4]);

/* n unit Gaussians: elements 0..n of (seed, frame, step). step 0 is the initial noise of a latent
 * frame; step s + 1 the noise of the transition from denoising step s to s + 1. */
void lti_randn(float *out, int64_t n, uint64_t seed, uint64_t frame, uint32_t step);

#endif

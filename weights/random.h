/* SPDX-License-Identifier: Apache-2.0
 * weights/random.h - models of random numbers that exist in no file: for measuring speed and memory,
 * which depend on names, shapes and dtypes and not on values. */
#ifndef LT_WEIGHTS_RANDOM_H
#define LT_WEIGHTS_RANDOM_H
#include "weights/weights.h"

typedef struct lti_random_sizes {
    int dim, ffn, layers; /* of the transformer; dim a multiple of 128: heads are 128 wide */
    int text_dim, freq_dim, channels; /* channels: of latents */
    int vae;                          /* base width of the VAE's decoder, Wan: 96 */
    int tae;                          /* last width of the TAE's decoder, taew2_1: 64 */
} lti_random_sizes;

/* Wan 2.1 T2V 1.3B's at dim 1536 and 30 layers; narrower parts in proportion. */
lti_random_sizes lti_random_wan(int dim, int layers);

/* part: DIT, VAE (the decoder's tensors) or TAE (the same). Values are drawn when they are asked for
 * and depend on name and element alone: about 1 / sqrt(inputs) for matrices, norms near 1. */
lt_status lti_weights_random(lti_part part, const lti_random_sizes *s, lti_weights **out,
                             lt_error *err);

#endif

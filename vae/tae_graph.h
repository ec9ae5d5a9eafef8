/* SPDX-License-Identifier: Apache-2.0
 * vae/tae_graph.h - a TAE as loaded. Internal to vae/tae*.c.
 *
 *   decoder: clamp, in, relu | 3 x (3 memory blocks, time grow, nearest 2x, conv) | relu, out
 *   encoder: in, relu | 3 x (time pool, conv stride 2, 3 memory blocks) | out */
#ifndef LT_VAE_TAE_GRAPH_H
#define LT_VAE_TAE_GRAPH_H
#include "vae/graph.h"
#include "vae/tae.h"

#define TAE_STAGES 3
#define TAE_BLOCKS 3
#define TAE_FRAMES 4 /* pictures per latent */

/* relu(c4(relu(c2(relu(c0([past | x]))))) + x); past is x of the frame before. */
typedef struct tae_block {
    lti_packed *c0;      /* [C, C, 2, 3, 3]: time 0 is the past */
    lti_packed *c2, *c4; /* [C, C, 1, 3, 3] */
    int slot;            /* one frame */
} tae_block;

typedef struct tae_stage {
    tae_block block[TAE_BLOCKS];
    lti_packed *time; /* grow: [sC, C, 1, 1, 1]; pool: [C, C, s, 1, 1] */
    int s;            /* frames made of one, or one made of */
    int slot;         /* pool: s - 1 frames that wait; -1: none */
    lti_packed *conv; /* [Co, C, 1, 3, 3] without bias */
} tae_stage;

typedef struct tae_half {
    lti_packed *in, *out;
    tae_stage stage[TAE_STAGES];
    vae_slots slots;
} tae_half;

struct lti_tae {
    lti_dtype dtype;
    int z;
    bool denormalised, has_encoder;
    float mean[VAE_MAX_CHANNELS], std[VAE_MAX_CHANNELS];
    tae_half decoder, encoder;
    int64_t params;
};

struct lti_tae_state {
    vae_history past;
    bool started;
    int waiting[TAE_STAGES]; /* encoder: frames before each pool */
    size_t split_bytes;      /* as in lti_vae_state */
};

#endif

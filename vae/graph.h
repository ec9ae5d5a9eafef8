/* SPDX-License-Identifier: Apache-2.0
 * vae/graph.h - the decoder as loaded: layers in the order they run. Internal to vae/.
 *
 *   latent -> conv2 (1x1x1) -> conv_in -> middle (res, attention, res) -> layer[] -> head
 *
 * layer[] is the flat list decoder.upsamples.I of the files: residual blocks and upsamplers, how
 * many and how wide is read from the tensors. */
#ifndef LT_VAE_GRAPH_H
#define LT_VAE_GRAPH_H
#include "vae/vae.h"

#define VAE_MAX_LAYERS 64                       /* entries of decoder.upsamples */
#define VAE_MAX_CAUSAL (2 * VAE_MAX_LAYERS + 6) /* convolutions with history */
#define VAE_MAX_CHANNELS 64                     /* latent channels: Wan 2.1 has 16 */
#define VAE_HISTORY 2                           /* frames a kernel of three looks back */

/* A convolution over time: slot is the index of its history in the state, -1 without history. */
typedef struct vae_conv {
    lti_packed *w; /* [Co, Ci, kt, kh, kw] */
    int slot;
} vae_conv;

typedef struct vae_res {
    float *gamma1, *gamma2; /* device [Ci], [Co] */
    vae_conv conv1, conv2;  /* 3x3x3: Ci -> Co, Co -> Co */
    lti_packed *shortcut;   /* 1x1x1 Ci -> Co; NULL when the block keeps its width */
} vae_res;

typedef struct vae_attn {
    float *gamma;     /* device [C] */
    lti_packed *q;    /* linear [C, C] */
    lti_packed *kv;   /* linear [2C, C]: keys, then values */
    lti_packed *proj; /* conv [C, C, 1, 1, 1], so that it can add to the map */
} vae_attn;

typedef struct vae_up {
    vae_conv time; /* (3,1,1): C -> 2C; w NULL: this one does not double time */
    lti_packed *w; /* 3x3 after nearest 2x: C -> Co */
} vae_up;

typedef struct vae_layer {
    bool is_up;
    vae_res res;
    vae_up up;
} vae_layer;

struct lti_vae {
    lti_dtype dtype; /* of the feature maps and the convolutions */
    int z;           /* latent channels */
    float mean[VAE_MAX_CHANNELS], std[VAE_MAX_CHANNELS];
    lti_packed *conv2; /* [z, z, 1, 1, 1] */
    vae_conv conv_in;  /* [C0, z, 3, 3, 3] */
    vae_res mid0, mid2;
    vae_attn mid1;
    int n_layer;
    vae_layer layer[VAE_MAX_LAYERS];
    float *head_gamma; /* device [C] */
    vae_conv head;     /* [3, C, 3, 3, 3] */
    int n_causal;
    struct {
        int64_t channels;
        int level;            /* the map is (h << level) x (w << level) */
    } causal[VAE_MAX_CAUSAL]; /* the input of the convolution with slot i */
    int64_t params;
};

struct lti_vae_state {
    int h, w;     /* latent height and width */
    bool started; /* the first latent frame is through */
    void *slab;   /* device, all histories */
    size_t bytes;
    void *history[VAE_MAX_CAUSAL]; /* [2, h << level, w << level, channels] in the map dtype */
};

#endif

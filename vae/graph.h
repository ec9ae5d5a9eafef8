/* SPDX-License-Identifier: Apache-2.0
 * vae/graph.h - the building blocks of both halves of the Wan VAE, as loaded. Internal to vae/.
 *
 *   decoder: latent -> conv2 (1x1x1) -> conv_in -> middle (res, attention, res) -> layer[] -> head
 *   encoder: picture -> conv_in -> layer[] -> middle -> head -> conv1 (1x1x1) -> latent
 *
 * layer[] is the flat list decoder.upsamples.I or encoder.downsamples.I of the files: residual
 * blocks and resamplers; how many and how wide is read from the tensors. Every causal convolution
 * has a slot in the stream's history. load.c fills the blocks, blocks.c runs them. */
#ifndef LT_VAE_GRAPH_H
#define LT_VAE_GRAPH_H
#include "vae/vae.h"

#define VAE_MAX_LAYERS 64                       /* entries of upsamples or downsamples */
#define VAE_MAX_CAUSAL (2 * VAE_MAX_LAYERS + 6) /* convolutions with history */
#define VAE_MAX_CHANNELS 64                     /* latent channels: Wan 2.1 has 16 */
#define VAE_MAX_WIDTH (1 << 14)                 /* channels of a map; Wan 2.1 has 384 */
#define VAE_HISTORY 2                           /* frames a kernel of three looks back */
#define VAE_NAME 192                            /* bytes of a tensor name */

/* ---- as loaded ------------------------------------------------------------------------------ */

/* A convolution over time: slot is the index of its history. */
typedef struct vae_conv {
    lti_packed *w; /* [Co, Ci, kt, kh, kw] */
    int slot;
} vae_conv;

typedef struct vae_res {
    float *gamma1, *gamma2; /* device [Ci], [Cm] */
    vae_conv conv1, conv2;  /* 3x3x3: Ci -> Cm, Cm -> Co; Wan has Cm = Co */
    lti_packed *shortcut;   /* 1x1x1 Ci -> Co; NULL when the block keeps its width */
} vae_res;

typedef struct vae_attn {
    float *gamma;     /* device [C] */
    lti_packed *q;    /* linear [C, C] */
    lti_packed *kv;   /* linear [2C, C]: keys, then values */
    lti_packed *proj; /* conv [C, C, 1, 1, 1], so that it can add to the map */
} vae_attn;

typedef struct vae_middle {
    vae_res res0, res2;
    vae_attn attn;
} vae_middle;

/* decoder: time (3,1,1) C -> 2C, then nearest 2x and w, 3x3, C -> Co.
 * encoder: w, 3x3 with stride 2, C -> Co, then time (3,1,1) with stride 2. */
typedef struct vae_resample {
    vae_conv time; /* w NULL: space only */
    lti_packed *w;
} vae_resample;

typedef struct vae_layer {
    bool is_resample;
    vae_res res;
    vae_resample resample;
} vae_layer;

/* What a stream has to remember, in the order of loading. */
typedef struct vae_slots {
    int n;
    struct {
        int64_t channels;
        int level;  /* the map is (h << level) x (w << level), h and w of the latent */
        int frames; /* how many past frames */
    } at[VAE_MAX_CAUSAL];
} vae_slots;

struct lti_vae {
    lti_dtype dtype; /* of the feature maps and the convolutions */
    int z;           /* latent channels */
    float mean[VAE_MAX_CHANNELS], std[VAE_MAX_CHANNELS];
    lti_packed *conv2; /* [z, z, 1, 1, 1] */
    vae_conv conv_in;  /* [C0, z, 3, 3, 3] */
    vae_middle middle;
    int n_layer;
    vae_layer layer[VAE_MAX_LAYERS];
    float *head_gamma; /* device [C] */
    vae_conv head;     /* [3, C, 3, 3, 3] */
    vae_slots slots;
    int64_t params;
};

/* ---- loading (load.c) ----------------------------------------------------------------------- */

typedef struct vae_loader {
    lti_dev *d;
    lti_weights *w;
    lti_dtype dtype;
    vae_slots *slots;
    int64_t *params;
    int level; /* of the map at this point of the graph */
    lt_error *err;
} vae_loader;

/* The compute type of a VAE: as asked, but f32 where a norm has fewer than four channels (bf16 errs
 * by 4e-2 there and saves nothing). */
lti_dtype lti_vae_compute(const lti_weights *w, lti_dtype asked);
bool lti_vae_have(const vae_loader *l, const char *prefix, const char *leaf);
/* "<prefix>.<leaf>", counted in params; rank and extents as in lti_weights_get. */
lt_status lti_vae_get(vae_loader *l, const char *prefix, const char *leaf, int rank,
                      const int64_t *n, lti_tensor *out);
/* An RMS norm's gain as f32 on the device: rank 4 [C,1,1,1] or 3 [C,1,1]. */
lt_status lti_vae_load_gamma(vae_loader *l, const char *prefix, const char *leaf, int rank,
                             int64_t c, float **out);
/* "<prefix>.weight" [Co,Ci,kt,kh,kh] and ".bias" [Co]; -1: as the tensor says. flat: the file has
 * [Co,Ci,kh,kh], used with kt = 1. */
lt_status lti_vae_load_conv(vae_loader *l, const char *prefix, bool flat, int64_t co, int64_t ci,
                            int kt, int kh, lti_packed **out);
/* Errors unless 1 <= channels <= VAE_MAX_WIDTH on both sides: later products stay small. */
lt_status lti_vae_check_width(const vae_loader *l, const char *prefix, const lti_tensor *w);
/* As load_conv with kt = 3 and a slot for two past frames. */
lt_status lti_vae_load_causal(vae_loader *l, const char *prefix, int64_t co, int64_t ci, int kh,
                              vae_conv *out);
int lti_vae_add_slot(vae_slots *s, int64_t channels, int level, int frames);
/* *c is the width going in, then the width coming out. */
lt_status lti_vae_load_res(vae_loader *l, const char *prefix, int64_t *c, vae_res *r);
lt_status lti_vae_load_middle(vae_loader *l, const char *prefix, int64_t *c, vae_middle *m);
/* Latent mean and deviation of z channels: from json, else Wan 2.1's. */
lt_status lti_vae_load_scale(const char *path, const cJSON *json, int z, float *mean, float *std,
                             lt_error *err);
void lti_vae_free_res(lti_dev *d, vae_res *r);
void lti_vae_free_middle(lti_dev *d, vae_middle *m);
void lti_vae_free_resample(lti_dev *d, vae_resample *r);

/* ---- history (state.c) ---------------------------------------------------------------------- */

typedef struct vae_history {
    int h, w;   /* latent height and width */
    void *slab; /* device */
    size_t bytes;
    void *at[VAE_MAX_CAUSAL]; /* [frames, h << level, w << level, channels] in the map dtype */
} vae_history;

lt_status lti_vae_history_open(lti_dev *d, const vae_slots *slots, lti_dtype dtype, int h, int w,
                               vae_history *out, lt_error *err);
void lti_vae_history_close(lti_dev *d, vae_history *s);
void lti_vae_history_reset(lti_dev *d, vae_history *s);

/* Maps of at least this many bytes a frame are worked on one frame at a time (decode.c). */
#define VAE_SPLIT_BYTES ((size_t)8 << 20)

struct lti_vae_state {
    vae_history past;
    bool started;       /* the first latent frame is through */
    size_t split_bytes; /* VAE_SPLIT_BYTES; tests compare other values */
};

/* ---- running (blocks.c) --------------------------------------------------------------------- */

typedef struct vae_run {
    lti_dev *d;
    lti_arena *a;
    lti_dtype dtype;
    vae_history *past;
} vae_run;

lti_tensor lti_vae_map(vae_run *r, int64_t t, int64_t h, int64_t w, int64_t c);
/* out = (or +=) w * x with the zero padding that keeps height and width; act NONE or RELU. */
void lti_vae_conv_same(vae_run *r, lti_tensor x, const lti_packed *w, bool add, lti_act act,
                       lti_tensor out);
/* Fill the first `frames` of `in` with the slot's past; returns the rest, where new frames go. */
lti_tensor lti_vae_recall(vae_run *r, int slot, int frames, lti_tensor in);
/* The last `frames` of `in` become the slot's past. */
void lti_vae_remember(vae_run *r, int slot, int frames, lti_tensor in);
/* conv_same over [past | new], then remember. */
void lti_vae_conv_causal(vae_run *r, const vae_conv *c, lti_tensor in, bool add, lti_tensor out);
/* x [t,h,w,Ci] -> [t,h,w,Co]; in place when the width stays. */
lti_tensor lti_vae_res_block(vae_run *r, const vae_res *b, lti_tensor x);
lti_tensor lti_vae_run_middle(vae_run *r, const vae_middle *m, lti_tensor x);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * pipeline/engine.h - what an engine holds, for the other files of pipeline/. */
#ifndef LT_PIPELINE_ENGINE_H
#define LT_PIPELINE_ENGINE_H
#include "dit/dit.h"
#include "longtake/longtake.h"
#include "pipeline/defaults.h"
#include "pipeline/folder.h"
#include "pipeline/stream.h"
#include "text/text.h"
#include "vae/codec.h"
#include "weights/random.h"

#define LTI_MAX_LORA 32

/* Bytes of the parts of a generation (budget.c). */
typedef struct lti_memory {
    size_t dit, text, vae; /* packed weights; of a streamed text encoder one layer */
    size_t cache;          /* keys and values of frames and text, latents */
    size_t activations;
    size_t vae_state; /* history, arena and buffers of the decoder */
    size_t frames;    /* pictures and latents between the workers, pictures to start from */
} lti_memory;

struct lt_engine {
    lti_dev *dev;            /* packs the weights; streams open their own */
    char *backend, *disable; /* as asked for; disable may be NULL */
    int threads;
    lti_dtype compute;
    bool fp8;                                    /* 8-bit products in the diffusion blocks */
    lti_weights *w_dit, *w_text, *w_vae, *w_tae; /* mapped as long as the models live */
    lti_dit *dit;                                /* NULL when the part was not asked for */
    lti_text *text;
    lti_vae *vae;
    lti_tae *tae;                 /* decodes instead of the VAE when it is there */
    lti_vae_encoder *vae_encoder; /* LT_PART_ENCODER */
    lt_model_info info;
    lti_defaults defaults;    /* of info */
    size_t max_ram, max_vram; /* bytes; 0: no limit */
    lti_memory memory;        /* of the weights */
    lti_text_mode text_mode;
    float
        *text_rows; /* [text_len, text_dim]: what every prompt becomes where there is no encoder */
    bool may_stream_text; /* nobody asked for a resident one */
};

/* A transformer, VAE and TAE of random numbers with LongLive's settings; tae decodes unless it is set
 * to NULL. Of params only backend, threads, dtype and the limits count. */
lt_status lti_engine_random(const lt_engine_params *params, const lti_random_sizes *s,
                            lt_engine **out, lt_error *err);
/* A dev of the engine's backend for one thread. n_threads 0: the engine's. */
lt_status lti_engine_dev(const lt_engine *e, int n_threads, lti_dev **out, lt_error *err);

/* Stream parameters with every default filled in and every range checked (params.c). n_chunk 0:
 * endless. The caller adds seed, noise, cancel and callbacks. */
typedef struct lti_plan {
    int width, height;
    int64_t n_frames; /* pixel frames to deliver, 0 endless */
    int64_t first;    /* number of the first of them: pictures that were given and are the past */
    lti_take_config take;
    double timesteps[LTI_MAX_STEPS];
    double shift;
    lti_prompt prompt[LTI_MAX_PROMPT]; /* take.n_prompt of them, without text */
} lti_plan;
/* *full = p over the defaults, also when p's struct is an older, shorter one or NULL. */
void lti_stream_params_read(lt_stream_params *full, const lt_stream_params *p);
lt_status lti_plan_make(const lt_engine *e, const lt_stream_params *p, lti_plan *out,
                        lt_error *err);
/* What workers.c takes for such a stream beside its denoiser and decoder. */
size_t lti_frames_bytes(const lt_engine *e, const lti_plan *p);

#endif

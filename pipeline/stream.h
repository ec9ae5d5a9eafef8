/* SPDX-License-Identifier: Apache-2.0
 * pipeline/stream.h - the method: a chunk loop that turns noise into an endless run of latent
 * frames.
 *
 * One lti_take is one generation on the denoiser's side: noise, schedule, frame cache, text keys.
 * It knows nothing of pixels, threads or files; pipeline/workers.c decodes and delivers. */
#ifndef LT_PIPELINE_STREAM_H
#define LT_PIPELINE_STREAM_H
#include <stdatomic.h>
#include "dit/dit.h"
#include "scheduler/schedule.h"

#define LTI_MAX_CHUNK 64 /* latent frames of one chunk */

typedef struct lti_take_config {
    int h, w;                /* latent height and width */
    int chunk, window, sink; /* latent frames */
    lti_policy policy;
    bool rolling;
    bool no_registers;
    int64_t n_chunk;       /* 0: endless */
    lti_schedule schedule; /* of every chunk */
    lti_schedule first;    /* of chunk 0; chunk-wise only */
    uint64_t seed;
    /* Given noise instead of the seed's (eval, tests); HOST memory or NULL. */
    const float *noise;       /* [n_chunk*chunk, C, h, w] */
    const float *renoise;     /* [n_step-1, n_chunk*chunk, C, h, w] */
    lti_dtype dtype;          /* of cached keys and values */
    const atomic_int *cancel; /* tested before every block of the network; NULL never */
    int (*on_step)(void *opaque, int64_t chunk, int step,
                   int n_step); /* non-zero cancels; NULL none */
    void *opaque;
} lti_take_config;

typedef struct lti_take lti_take;

/* text f32 [text_len, text_dim], HOST. Takes all memory of the generation and plans every shape. */
lt_status lti_take_open(lti_dev *d, const lti_dit *dit, const lti_take_config *c, const float *text,
                        lti_take **out, lt_error *err);
void lti_take_close(lti_take **t);
/* The next chunk of finished latents, f32 [chunk, C, h, w], HOST. LT_OK, LT_END or LT_ECANCELLED.
 */
lt_status lti_take_next(lti_take *t, float *latent, lt_error *err);
void lti_take_bytes(const lti_take *t, size_t *state, size_t *work);

#endif

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

#define LTI_MAX_CHUNK 64   /* latent frames of one chunk */
#define LTI_MAX_PROMPT 256 /* prompts of one schedule */

/* What becomes of the cache when the prompt changes. In every case the new text is what all layers
 * attend to from then on. */
typedef enum lti_switch {
    LTI_SWITCH_NONE,    /* nothing: the picture turns slowly, or not at all */
    LTI_SWITCH_RECACHE, /* keys and values of the window are made again from the finished latents
                              with the new text, all frames seeing each other; the anchors stay as
                              they are, unless the window still reaches back to them (LongLive) */
    LTI_SWITCH_RECACHE_ALL, /* also the anchors: the oldest frames of the window take their place */
    LTI_SWITCH_FLUSH, /* all but the anchors and the last two frames is forgotten (Infinity-RoPE) */
    LTI_SWITCH_LERP   /* nothing, but the text fades over some chunks (Krea) */
} lti_switch;

/* A later prompt of the schedule. */
typedef struct lti_prompt {
    int64_t chunk;     /* from this chunk on; ascending, above 0 */
    const float *text; /* HOST [n, text_dim]: its rows without the padding; the caller keeps it */
    int n;
    bool cut; /* this chunk stands apart in time: a scene cut */
} lti_prompt;

typedef struct lti_take_config {
    int h, w;                /* latent height and width */
    int chunk, window, sink; /* latent frames */
    lti_policy policy;
    bool compat; /* as the published code does it, where that is not what its paper means */
    float ema;   /* cache/kv.h says what these do */
    int deep_budget, deep_recent, deep_reuse;
    bool rolling;
    bool no_registers;
    int64_t n_chunk;       /* 0: endless */
    lti_schedule schedule; /* of every chunk */
    lti_schedule first;    /* of chunk 0; chunk-wise only */
    uint64_t seed;
    const lti_prompt *prompt; /* the schedule behind the first prompt; the caller keeps it */
    int n_prompt;
    lti_switch on_switch;
    int lerp; /* LTI_SWITCH_LERP: chunks until the new text stands alone; at least 1 */
    /* Given noise instead of the seed's (eval, tests); HOST memory or NULL. */
    const float *noise;       /* [n_chunk*chunk, C, h, w] */
    const float *renoise;     /* [n_step-1, n_chunk*chunk, C, h, w] */
    lti_dtype dtype;          /* of cached keys and values */
    const atomic_int *cancel; /* tested before every block of the network; NULL never */
    int (*on_step)(void *opaque, int64_t chunk, int step,
                   int n_step); /* non-zero cancels; NULL none */
    void *opaque;
    /* Given latents, frames 0 .. n_given - 1 of the video; the caller keeps them. clamp: fewer than
     * a chunk, they come out again as the first frames of chunk 0. Else whole chunks, which do not
     * come out: the first chunk is number n_given / chunk. n_chunk counts them. */
    const float *given; /* HOST [n_given, C, h, w] */
    int64_t n_given;
    bool clamp;
} lti_take_config;

typedef struct lti_take lti_take;

/* text f32 [text_len, text_dim], HOST. Takes all memory of the generation and plans every shape. */
lt_status lti_take_open(lti_dev *d, const lti_dit *dit, const lti_take_config *c, const float *text,
                        lti_take **out, lt_error *err);
void lti_take_close(lti_take **t);
/* The next chunk of finished latents, f32 [chunk, C, h, w], HOST. LT_OK, LT_END or LT_ECANCELLED.
 */
lt_status lti_take_next(lti_take *t, float *latent, lt_error *err);
/* From the next call of lti_take_next that makes `chunk` or a later one, the cache holds only the
 * first frames, numbered as if they came right before it. Returns `chunk`, or a later one if before
 * it there is nothing but those to remember. Any thread; a later wish replaces one that has not come
 * true. */
int64_t lti_take_reanchor(lti_take *t, int64_t chunk);
void lti_take_bytes(const lti_take *t, size_t *state, size_t *work);

#endif

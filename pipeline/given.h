/* SPDX-License-Identifier: Apache-2.0
 * pipeline/given.h - pictures that a stream starts from, as latents. */
#ifndef LT_PIPELINE_GIVEN_H
#define LT_PIPELINE_GIVEN_H
#include "pipeline/engine.h"

/* The rules of lt_stream_params.init_*: fills n_given and clamp of out->take, and out->first. The
 * chunk must be planned already. */
lt_status lti_given_plan(const lt_engine *e, const lt_stream_params *p, lti_plan *out,
                         lt_error *err);
/* rgb [n_init, height, width, 3] -> *latents [take.n_given, C, h, w], HOST, freed with free(). With
 * an encoder, device and state of its own that are gone again when it returns. */
lt_status lti_given_encode(const lt_engine *e, const lti_plan *plan, const uint8_t *rgb,
                           float **latents, lt_error *err);

/* What an autoencoder loses of the last given picture would be a jump at the join: it is added to
 * the first new frames, less and less. */
#define LTI_SEAM_FRAMES 8
typedef struct lti_seam {
    int16_t *loss; /* [height, width, 3]; NULL: there is no join */
    int64_t n;     /* samples in it */
} lti_seam;
/* last: the last given picture. */
lt_status lti_seam_open(lti_seam *s, const uint8_t *last, int64_t n, lt_error *err);
void lti_seam_close(lti_seam *s);
/* The same picture, encoded and decoded. */
void lti_seam_decoded(lti_seam *s, const uint8_t *rgb);
void lti_seam_apply(const lti_seam *s, int64_t frame, uint8_t *rgb); /* frame: 0 is the first new */

#endif

/* SPDX-License-Identifier: Apache-2.0
 * vae/tae.h - TAEHV ("taew2_1"): a tiny autoencoder for Wan 2.1's latents, as a stream.
 *
 * 25 times cheaper than the VAE and a little softer. Same geometry: 1, 4, 4, ... pictures per
 * latent. It reads normalised latents as the diffusion model makes them; "lighttae" weights of the
 * same shape want them denormalised (z * std + mean): told by "latents": "denormalised" in the
 * config.json beside the file, else by "lighttae" in the file's name.
 * Reference: madebyollin/taehv (taehv.py, sequential decode and encode), which is what a stream
 * computes; it pads the end of a video, so a latent here stands for pictures 4i to 4i + 3. */
#ifndef LT_VAE_TAE_H
#define LT_VAE_TAE_H
#include "backend/backend.h"
#include "base/arena.h"
#include "base/json.h"
#include "weights/weights.h"

typedef struct lti_tae lti_tae; /* immutable after open */

/* w opened with LTI_PART_TAE. json: config.json beside the file (latents, latents_mean,
 * latents_std) or NULL. The encoder is loaded when the file has one. */
lt_status lti_tae_open(lti_dev *d, lti_weights *w, const cJSON *json, lti_dtype compute,
                       lti_tae **out, lt_error *err);
void lti_tae_close(lti_dev *d, lti_tae **tae);
int lti_tae_channels(const lti_tae *tae);
int64_t lti_tae_params(const lti_tae *tae);
bool lti_tae_has_encoder(const lti_tae *tae);

/* What every memory block saw last. Decoding and encoding are two streams with a state each. */
typedef struct lti_tae_state lti_tae_state;
lt_status lti_tae_state_open(lti_dev *d, const lti_tae *tae, bool encode, int h, int w,
                             lti_tae_state **out, lt_error *err); /* latent height and width */
void lti_tae_state_close(lti_dev *d, lti_tae_state **s);
void lti_tae_state_reset(lti_dev *d, lti_tae_state *s);
size_t lti_tae_state_bytes(const lti_tae_state *s);

/* On the host: a normalised latent [C, n positions] -> what lti_tae_decode takes. */
void lti_tae_prepare(const lti_tae *tae, const float *latent, int64_t n, float *out);
/* latent: prepared, f32 [C,h,w], device. rgb: device, F32, [4,8h,8w,3]; about [-1,1] like
 * lti_vae_decode, not clamped. Returns the frames written: 1, then 4. Measure as there. */
int lti_tae_decode(const lti_tae *tae, lti_dev *d, lti_arena *a, lti_tae_state *s,
                   lti_tensor latent, lti_tensor rgb);
/* picture f32 [8h,8w,3] in [0,1], device. True with every fourth picture: a normalised latent
 * stands in map, device, F32, [h,w,C]. Measure with four calls. */
bool lti_tae_encode(const lti_tae *tae, lti_dev *d, lti_arena *a, lti_tae_state *s,
                    lti_tensor picture, lti_tensor map);

#endif

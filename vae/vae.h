/* SPDX-License-Identifier: Apache-2.0
 * vae/vae.h - the Wan 2.1 VAE decoder as a stream: one latent frame in, 1 (first) or 4 frames out.
 *
 * Every causal convolution keeps its last two input frames, so decoding one by one equals decoding
 * at once. Widths, number of residual blocks and channels are inferred from the tensors.
 * Reference: Wan2.1 wan/modules/vae.py (cached decode); diffusers AutoencoderKLWan. */
#ifndef LT_VAE_VAE_H
#define LT_VAE_VAE_H
#include "backend/backend.h"
#include "base/arena.h"
#include "base/json.h"
#include "weights/weights.h"

typedef struct lti_vae lti_vae; /* immutable after open */

/* json: vae/config.json (latents_mean, latents_std) or NULL: Wan 2.1's numbers, needs 16 channels.
 */
lt_status lti_vae_open(lti_dev *d, const lti_weights *w, const cJSON *json, lti_dtype compute,
                       lti_vae **out, lt_error *err);
void lti_vae_close(lti_dev *d, lti_vae **vae);
int lti_vae_channels(const lti_vae *vae); /* latent channels */
int64_t lti_vae_params(const lti_vae *vae);

/* Feature state of one stream: the last two inputs of every causal convolution. */
typedef struct lti_vae_state lti_vae_state;
lt_status lti_vae_state_open(lti_dev *d, const lti_vae *vae, int h, int w, lti_vae_state **out,
                             lt_error *err); /* latent height and width */
void lti_vae_state_close(lti_dev *d, lti_vae_state **s);
void lti_vae_state_reset(lti_dev *d, lti_vae_state *s); /* next latent is the first again */
size_t lti_vae_state_bytes(const lti_vae_state *s);

/* latent f32 [C,h,w] normalised, device. rgb: device, F32, room for [4, 8h, 8w, 3]; values about
 * [-1,1], not clamped. Returns the frames written: 1 for the first latent, then 4. With a measuring
 * arena: call once fresh and once after, take the larger peak; the state advances as in a real run.
 */
int lti_vae_decode(const lti_vae *vae, lti_dev *d, lti_arena *a, lti_vae_state *s,
                   lti_tensor latent, lti_tensor rgb);

#endif

/* SPDX-License-Identifier: Apache-2.0
 * vae/vae.h - the Wan 2.1 VAE as a stream: one latent frame in, 1 (first) or 4 pictures out, and the
 * other way round.
 *
 * Every causal convolution keeps its last two input frames, so decoding or encoding one by one
 * equals doing it at once. Widths, number of residual blocks and channels are inferred from the
 * tensors. vae/codec.h wraps both directions with their buffers.
 * Reference: Wan2.1 wan/modules/vae.py (cached decode and encode); diffusers AutoencoderKLWan. */
#ifndef LT_VAE_VAE_H
#define LT_VAE_VAE_H
#include "backend/backend.h"
#include "base/arena.h"
#include "base/json.h"
#include "weights/weights.h"

typedef struct lti_vae lti_vae; /* immutable after open */

/* json: vae/config.json (latents_mean, latents_std) or NULL: Wan 2.1's numbers, needs 16 channels.
 */
lt_status lti_vae_open(lti_dev *d, lti_weights *w, const cJSON *json, lti_dtype compute,
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

/* ---- encoder: the other half of the same file, opened on its own ----------------------------- */

typedef struct lti_vae_encoder lti_vae_encoder; /* immutable after open */

/* As lti_vae_open. A file with a decoder only is LT_EFORMAT (lti_weights_get names the tensor). */
lt_status lti_vae_encoder_open(lti_dev *d, lti_weights *w, const cJSON *json, lti_dtype compute,
                               lti_vae_encoder **out, lt_error *err);
void lti_vae_encoder_close(lti_dev *d, lti_vae_encoder **e);
int lti_vae_encoder_channels(const lti_vae_encoder *e);
int64_t lti_vae_encoder_params(const lti_vae_encoder *e);

typedef struct lti_vae_encoder_state lti_vae_encoder_state;
lt_status lti_vae_encoder_state_open(lti_dev *d, const lti_vae_encoder *e, int h, int w,
                                     lti_vae_encoder_state **out,
                                     lt_error *err); /* latent height and width */
void lti_vae_encoder_state_close(lti_dev *d, lti_vae_encoder_state **s);
void lti_vae_encoder_state_reset(lti_dev *d, lti_vae_encoder_state *s);
size_t lti_vae_encoder_state_bytes(const lti_vae_encoder_state *s);

/* One picture f32 [8h,8w,3] in [-1,1], device. True: a latent is complete (pictures 1, 5, 9, ...)
 * and stands, normalised, in map: device, F32, [h,w,C] (channels last!). With a measuring arena call
 * five times; the state advances as in a real run. */
bool lti_vae_encode(const lti_vae_encoder *e, lti_dev *d, lti_arena *a, lti_vae_encoder_state *s,
                    lti_tensor picture, lti_tensor map);

#endif

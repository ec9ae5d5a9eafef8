/* SPDX-License-Identifier: Apache-2.0
 * vae/codec.h - latents to pictures and back on a stream, whichever autoencoder does it.
 *
 * A codec owns its state, arena and device buffers, all made by open (with a measure pass); nothing
 * is allocated after that. The model outlives it. One thread at a time, the lti_dev's. */
#ifndef LT_VAE_CODEC_H
#define LT_VAE_CODEC_H
#include "vae/tae.h"
#include "vae/vae.h"

#define LTI_FRAMES_PER_LATENT 4 /* 1 for the first of a stream */

/* Exactly one of vae and tae is not NULL. h, w: latent height and width. */
typedef struct lti_decoder lti_decoder;
lt_status lti_decoder_open(lti_dev *d, const lti_vae *vae, const lti_tae *tae, int h, int w,
                           lti_decoder **out, lt_error *err);
void lti_decoder_close(lti_decoder **s);
void lti_decoder_reset(lti_decoder *s); /* the next latent is a stream's first */
/* Memory beside the weights: history; arena and buffers. The backend's own scratch comes on top. */
void lti_decoder_bytes(const lti_decoder *s, size_t *state, size_t *work);
/* latent: host, normalised f32 [C,h,w]. *rgb: device, F32 [1 or 4, 8h, 8w, 3], about [-1,1], not
 * clamped, valid until the next call. Returns the number of pictures. */
int lti_decode(lti_decoder *s, const float *latent, lti_tensor *rgb);

typedef struct lti_encoder lti_encoder;
lt_status lti_encoder_open(lti_dev *d, const lti_vae_encoder *vae, const lti_tae *tae, int h, int w,
                           lti_encoder **out, lt_error *err);
void lti_encoder_close(lti_encoder **s);
void lti_encoder_reset(lti_encoder *s);
void lti_encoder_bytes(const lti_encoder *s, size_t *state, size_t *work);
/* picture: host [8h,8w,3], U8 or F32 in [-1,1]. Returns 1 when latent (host, f32 [C,h,w],
 * normalised) was written: the VAE with pictures 1, 5, 9, ..., a TAE with 4, 8, 12, ... Device
 * errors are sticky: ask sync. */
int lti_encode(lti_encoder *s, lti_tensor picture, float *latent);
/* The end of the stream. A TAE repeats the last picture until a begun latent is complete (1, latent
 * written); the VAE drops what is not a group of four (0), as its reference does. */
int lti_encode_finish(lti_encoder *s, float *latent);

#endif

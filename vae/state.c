/* SPDX-License-Identifier: Apache-2.0
 * vae/state.c - what a decoding stream remembers: two input frames per causal convolution.
 *
 * Nothing else carries over time, so resetting is zeroing: the reference pads with zeros before the
 * first frame. 480x832 with Wan's widths is 944 M elements. One stream, one state. */
#include "base/error.h"
#include "vae/graph.h"

/* Sizes are bounded so that products stay far from overflow: 2^14 x 2^14 latents. */
#define MAX_SIDE (1 << 14)

lt_status lti_vae_state_open(lti_dev *d, const lti_vae *vae, int h, int w, lti_vae_state **out,
                             lt_error *err) {
    *out = NULL;
    if (h < 1 || w < 1 || h > MAX_SIDE || w > MAX_SIDE)
        return lti_fail(err, LT_EINVAL, "vae: latent size %d x %d, expected 1 to %d each way", w, h,
                        MAX_SIDE);
    lti_vae_state *s = calloc(1, sizeof *s);
    if (!s) return lti_oom(err, sizeof *s);
    s->h = h;
    s->w = w;
    size_t offset[VAE_MAX_CAUSAL];
    for (int i = 0; i < vae->n_causal; i++) {
        int level = vae->causal[i].level;
        int64_t positions = ((int64_t)h << level) * ((int64_t)w << level);
        size_t bytes = (size_t)(VAE_HISTORY * positions * vae->causal[i].channels) *
                       lti_dtype_size(vae->dtype);
        offset[i] = s->bytes;
        s->bytes += (bytes + LTI_ALIGN - 1) / LTI_ALIGN * LTI_ALIGN;
    }
    s->slab = d->ops.alloc(d, s->bytes); /* zeroed */
    if (!s->slab) {
        size_t bytes = s->bytes;
        free(s);
        return lti_oom(err, bytes);
    }
    for (int i = 0; i < vae->n_causal; i++) s->history[i] = (char *)s->slab + offset[i];
    *out = s;
    return LT_OK;
}

void lti_vae_state_close(lti_dev *d, lti_vae_state **s) {
    if (!*s) return;
    d->ops.free(d, (*s)->slab);
    free(*s);
    *s = NULL;
}

void lti_vae_state_reset(lti_dev *d, lti_vae_state *s) {
    lti_zero(d, s->slab, s->bytes);
    s->started = false;
}

size_t lti_vae_state_bytes(const lti_vae_state *s) { return s->bytes; }

/* SPDX-License-Identifier: Apache-2.0
 * vae/state.c - what a stream remembers: the last input frames of every causal convolution.
 *
 * Nothing else carries over time, so resetting is zeroing: the reference pads with zeros before the
 * first frame. The decoder at 480x832 with Wan's widths is 944 M elements. One stream, one state.
 */
#include "base/error.h"
#include "vae/graph.h"

/* Sizes are bounded so that products stay far from overflow: 2^14 x 2^14 latents. */
#define MAX_SIDE (1 << 14)

lt_status lti_vae_history_open(lti_dev *d, const vae_slots *slots, lti_dtype dtype, int h, int w,
                               vae_history *out, lt_error *err) {
    *out = (vae_history){.h = h, .w = w};
    if (h < 1 || w < 1 || h > MAX_SIDE || w > MAX_SIDE)
        return lti_fail(err, LT_EINVAL, "vae: latent size %d x %d, expected 1 to %d each way", w, h,
                        MAX_SIDE);
    size_t offset[VAE_MAX_CAUSAL];
    for (int i = 0; i < slots->n; i++) {
        int level = slots->at[i].level;
        int64_t positions = ((int64_t)h << level) * ((int64_t)w << level);
        size_t bytes = (size_t)(slots->at[i].frames * positions * slots->at[i].channels) *
                       lti_dtype_size(dtype);
        offset[i] = out->bytes;
        out->bytes += (bytes + LTI_ALIGN - 1) / LTI_ALIGN * LTI_ALIGN;
    }
    out->slab = d->ops.alloc(d, out->bytes); /* zeroed */
    if (!out->slab) return lti_oom(err, out->bytes);
    for (int i = 0; i < slots->n; i++) out->at[i] = (char *)out->slab + offset[i];
    return LT_OK;
}

void lti_vae_history_close(lti_dev *d, vae_history *s) {
    d->ops.free(d, s->slab);
    s->slab = NULL;
}

void lti_vae_history_reset(lti_dev *d, vae_history *s) { lti_zero(d, s->slab, s->bytes); }

lt_status lti_vae_state_open(lti_dev *d, const lti_vae *vae, int h, int w, lti_vae_state **out,
                             lt_error *err) {
    *out = NULL;
    lti_vae_state *s = calloc(1, sizeof *s);
    if (!s) return lti_oom(err, sizeof *s);
    s->split_bytes = VAE_SPLIT_BYTES;
    lt_status st = lti_vae_history_open(d, &vae->slots, vae->dtype, h, w, &s->past, err);
    if (st < 0) {
        free(s);
        return st;
    }
    *out = s;
    return LT_OK;
}

void lti_vae_state_close(lti_dev *d, lti_vae_state **s) {
    if (!*s) return;
    lti_vae_history_close(d, &(*s)->past);
    free(*s);
    *s = NULL;
}

void lti_vae_state_reset(lti_dev *d, lti_vae_state *s) {
    lti_vae_history_reset(d, &s->past);
    s->started = false;
}

size_t lti_vae_state_bytes(const lti_vae_state *s) { return s->past.bytes; }

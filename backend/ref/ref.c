/* SPDX-License-Identifier: Apache-2.0
 * backend/ref/ref.c - the table of the reference backend: host memory, synchronous, one thread. */
#include "backend/ref/ref.h"
#include "base/memory.h"
#include <stdlib.h>

static lt_status ref_open(lti_dev *d, lt_error *err) {
    (void)err;
    d->impl = NULL;
    return LT_OK;
}

static void ref_close(lti_dev *d) { (void)d; }

static void *ref_alloc(lti_dev *d, size_t bytes) {
    (void)d;
    if (bytes > SIZE_MAX / 2 || !lti_memory_fits(bytes)) return NULL;
    size_t rounded = (bytes + 63) / 64 * 64;
    void *p = aligned_alloc(64, rounded ? rounded : 64);
    if (p) memset(p, 0, rounded);
    return p;
}

static void ref_free(lti_dev *d, void *p) {
    (void)d;
    free(p);
}

static void move_bytes(lti_dev *d, void *dst, const void *src, size_t bytes) {
    (void)d;
    if (bytes) memcpy(dst, src, bytes);
}

static void ref_zero(lti_dev *d, void *dst, size_t bytes) {
    (void)d;
    if (bytes) memset(dst, 0, bytes);
}

static void ref_memory(lti_dev *d, size_t *left, size_t *total) {
    (void)d;
    *left = lti_memory_left();
    *total = lti_memory_all();
}

static lt_status ref_sync(lti_dev *d, lt_error *err) {
    (void)d;
    (void)err;
    return LT_OK;
}

static void ref_pack_free(lti_dev *d, lti_packed *p) {
    (void)d;
    lti_ref_weight *r = p->impl;
    free(r->w); /* one block with the bias */
    free(r);
    free(p);
}

const lti_ops lti_ops_ref = {
    .abi = LTI_BACKEND_ABI,
    .name = "ref",
    .open = ref_open,
    .close = ref_close,
    .alloc = ref_alloc,
    .free = ref_free,
    .put = move_bytes,
    .get = move_bytes,
    .copy = move_bytes,
    .zero = ref_zero,
    .sync = ref_sync,
    .memory = ref_memory,
    .pack_linear = lti_ref_pack_linear,
    .pack_conv = lti_ref_pack_conv,
    .pack_free = ref_pack_free,
    .linear = lti_ref_linear,
    .conv = lti_ref_conv,
    .attention = lti_ref_attention,
    .norm_mod = lti_ref_norm_mod,
    .layer_norm = lti_ref_layer_norm,
    .rms_norm = lti_ref_rms_norm,
    .chan_norm = lti_ref_chan_norm,
    .rope = lti_ref_rope,
    .gated_add = lti_ref_gated_add,
    .unary = lti_ref_unary,
    .add = lti_ref_add,
    .mul = lti_ref_mul,
    .embed_rows = lti_ref_embed_rows,
    .patchify = lti_ref_patchify,
    .unpatchify = lti_ref_unpatchify,
    .upsample2x = lti_ref_upsample2x,
    .time_unfold = lti_ref_time_unfold,
    .lincomb = lti_ref_lincomb,
    .latent_to_map = lti_ref_latent_to_map,
    .randn = lti_ref_randn,
    .cast = lti_ref_cast,
    .to_rgb8 = lti_ref_to_rgb8,
    .norm_rope = lti_ref_norm_rope,
    .sum_rows = lti_ref_sum_rows,
    .token_scores = lti_ref_token_scores,
};

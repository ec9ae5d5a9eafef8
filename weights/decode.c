/* SPDX-License-Identifier: Apache-2.0
 * weights/decode.c - tensors that are computed instead of read where they lie.
 *
 * Codecs of their own live with their format (gguf.c, scale.c); here are the two that formats share
 * and the step from codec and deltas to numbers.
 * Pitfall: payloads have any alignment, so every element goes through lti_get_f32. */
#include "base/error.h"
#include "weights/weights_int.h"

void lti_decode_plain(const lti_codec *c, const lti_tensor *t, int64_t first, int64_t n,
                      float *out) {
    (void)t;
    const uint8_t *at = c->src + (size_t)first * lti_dtype_size(c->from);
    lti_tensor v = LTI_VIEW((void *)(uintptr_t)at, c->from, n);
    lti_to_f32(&v, out);
}

void lti_decode_strided(const lti_codec *c, const lti_tensor *t, int64_t first, int64_t n,
                        float *out) {
    const lti_tensor v = LTI_VIEW((void *)(uintptr_t)c->src, c->from, 1);
    int64_t i[LTI_MAX_RANK] = {0}, at = 0, left = first;
    for (int k = t->rank - 1; k >= 0 && n > 0; k--) {
        i[k] = left % t->n[k];
        left /= t->n[k];
        at += i[k] * c->stride[k];
    }
    for (int64_t done = 0; done < n; done++) {
        out[done] = lti_get_f32(&v, at);
        for (int k = t->rank - 1; k >= 0; k--) { /* the next index, last axis fastest */
            at += c->stride[k];
            if (++i[k] < t->n[k]) break;
            at -= t->n[k] * c->stride[k];
            i[k] = 0;
        }
    }
}

void lti_entry_decoded(lti_entry *e) {
    if (e->codec.decode) return;
    e->codec = (lti_codec){.decode = lti_decode_plain,
                           .src = e->t.data,
                           .bytes = lti_nbytes(&e->t),
                           .unit = 1,
                           .from = e->t.dtype};
    e->t.data = NULL;
    e->t.dtype = LTI_F32;
}

bool lti_entry_lazy(const lti_entry *e) { return e->codec.decode || e->delta; }

lti_dtype lti_entry_from(const lti_entry *e) {
    if (e->codec.scale) return LTI_F32; /* I8 with scales is a float type */
    return e->codec.decode ? e->codec.from : e->t.dtype;
}

void lti_entry_rows(const lti_entry *e, int64_t first, int64_t n, float *out) {
    const lti_tensor *t = &e->t;
    const int64_t all = t->rank ? t->n[0] : 1, cols = all ? lti_numel(t) / all : 0;
    LT_ASSERT(first >= 0 && n >= 0 && first <= all && n <= all - first);
    if (n == 0 || cols == 0) return;
    if (e->codec.decode) {
        LT_ASSERT(first * cols % e->codec.unit == 0 && n * cols % e->codec.unit == 0);
        e->codec.decode(&e->codec, t, first * cols, n * cols, out);
    } else {
        const uint8_t *at =
            (const uint8_t *)t->data + (size_t)(first * cols) * lti_dtype_size(t->dtype);
        lti_tensor v = LTI_VIEW((void *)(uintptr_t)at, t->dtype, n * cols);
        lti_to_f32(&v, out);
    }
    for (const lti_delta *d = e->delta; d; d = d->next) lti_lora_add(d, t, first, n, out);
}

/* SPDX-License-Identifier: Apache-2.0
 * backend/ref/conv.c - 3-d convolution on channels-last maps, zero padding in space only.
 *
 * out[t,y,x,co] = act([out +] b[co] + sum over taps (a,i,j) and ci of
 *   in[t*st + a, y*sh + i - pad_top, x*sw + j - pad_left, ci] * w[co, ci, a, i, j])
 * Causal time context is the caller's: it stands in front of the input already. Compute BF16 rounds
 * in and w to bf16. Weights are packed tap-major, [kt*kh*kw, Co, Ci], so that a tap is a small
 * linear layer between two channel rows. */
#include "backend/ref/ref.h"

enum { C_TILE = 1024, CO_TILE = 64 };

lti_packed *lti_ref_pack_conv(lti_dev *d, const lti_tensor *w, const lti_tensor *b,
                              lti_dtype compute, lt_error *err) {
    (void)d;
    const int64_t co = w->n[0], ci = w->n[1], taps = w->n[2] * w->n[3] * w->n[4];
    lti_packed *p = lti_ref_packed_new(co * ci * taps, b ? co : 0, err);
    if (!p) return NULL;
    p->kind = 1;
    p->dtype = compute;
    for (int i = 0; i < 5; i++) p->n[i] = w->n[i];
    lti_ref_weight *r = p->impl;
    for (int64_t o = 0; o < co; o++)
        for (int64_t c = 0; c < ci; c++)
            for (int64_t t = 0; t < taps; t++) {
                float v = lti_get_f32(w, (o * ci + c) * taps + t);
                r->w[(t * co + o) * ci + c] = compute == LTI_BF16 ? round_bf16(v) : v;
            }
    if (b) lti_to_f32(b, r->b);
    return p;
}

/* acc[0..nb) += the taps of output channels [o0, o0 + nb) at output position (t, y, x). */
static void sum_taps(const lti_conv *c, int64_t t, int64_t y, int64_t x, int64_t o0, int64_t nb,
                     double *acc) {
    const lti_ref_weight *r = c->w->impl;
    const int64_t co = c->w->n[0], ci = c->w->n[1];
    const int64_t kt = c->w->n[2], kh = c->w->n[3], kw = c->w->n[4];
    const int64_t h = c->x.n[1], w = c->x.n[2];
    float strip[C_TILE];
    for (int64_t a = 0; a < kt; a++)
        for (int64_t i = 0; i < kh; i++)
            for (int64_t j = 0; j < kw; j++) {
                const int64_t it = t * c->stride[0] + a;
                const int64_t iy = y * c->stride[1] + i - c->pad_top;
                const int64_t ix = x * c->stride[2] + j - c->pad_left;
                if (iy < 0 || iy >= h || ix < 0 || ix >= w) continue;
                const int64_t tap = (a * kh + i) * kw + j;
                for (int64_t c0 = 0; c0 < ci; c0 += C_TILE) {
                    const int64_t cb = ci - c0 < C_TILE ? ci - c0 : C_TILE;
                    load_row(&c->x, ((it * h + iy) * w + ix) * ci + c0, cb, c->w->dtype, strip);
                    lti_ref_dots(acc, nb, strip, r->w + (tap * co + o0) * ci + c0, ci, cb);
                }
            }
}

void lti_ref_conv(lti_dev *d, const lti_conv *c) {
    (void)d;
    const lti_ref_weight *r = c->w->impl;
    const int64_t co = c->w->n[0], ho = c->out.n[1], wo = c->out.n[2];
    const int64_t positions = c->out.n[0] * ho * wo;
    double acc[CO_TILE];
    for (int64_t at = 0; at < positions; at++) {
        const int64_t t = at / (ho * wo), y = at / wo % ho, x = at % wo;
        for (int64_t o0 = 0; o0 < co; o0 += CO_TILE) {
            const int64_t nb = co - o0 < CO_TILE ? co - o0 : CO_TILE;
            for (int64_t o = 0; o < nb; o++) {
                acc[o] = r->b ? r->b[o0 + o] : 0.0;
                if (c->add) acc[o] += get(c->out.data, c->out.dtype, at * co + o0 + o);
            }
            sum_taps(c, t, y, x, o0, nb, acc);
            for (int64_t o = 0; o < nb; o++)
                set(c->out.data, c->out.dtype, at * co + o0 + o,
                    lti_ref_act(c->act, (float)acc[o]));
        }
    }
}
